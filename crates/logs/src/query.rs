//! What can be asked of the records: the newest that match, page by page.
//!
//! Order is the time of a record, then its id. Answers come from `lake::list`. Invariant: a filter means the same for a
//! record of the journal and for one of the lake.

use std::fmt;
use std::fs::File;
use std::io;
use std::str::FromStr;

use jiff::Timestamp;
use serde_json::{Map, Value};
use types::AccountId;
use uuid::Uuid;

use crate::error::QueryError;
use crate::frame::{Codec, Frame};
use crate::records::{Dataset, Record, decode_fields};
use crate::segment::{Block, Segment, read_block};

/// The most records one page holds.
pub const MAX_LIMIT: usize = 1_000;

/// What to look for.
#[derive(Debug, Clone)]
pub struct Query {
    /// Whose records.
    pub account: AccountId,
    /// Which records.
    pub dataset: Dataset,
    /// Not before this.
    pub since: Option<Timestamp>,
    /// Before this.
    pub until: Option<Timestamp>,
    /// All of these hold.
    pub filters: Vec<Filter>,
    /// At most this many, and at most [`MAX_LIMIT`].
    pub limit: usize,
    /// Only what comes before this place.
    pub before: Option<Cursor>,
}

impl Query {
    /// Returns a query for the newest 100 records.
    #[must_use]
    pub const fn newest(account: AccountId, dataset: Dataset) -> Self {
        Self { account, dataset, since: None, until: None, filters: Vec::new(), limit: 100, before: None }
    }
}

/// A condition on one field. An absent field counts as empty text, zero and false; of an array, any element may hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// The field's name, as in [`Dataset::fields`].
    pub field: String,
    /// How to compare.
    pub operator: Operator,
    /// What with.
    pub value: Value,
}

/// How a filter compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// The same.
    Equal,
    /// Not the same.
    NotEqual,
    /// Text within the text, ASCII letters in either case.
    Contains,
    /// Text at the start of the text.
    StartsWith,
    /// A larger number, or text later in order.
    Greater,
    /// A smaller number, or text earlier in order.
    Less,
    /// One of an array of values.
    In,
}

impl Filter {
    pub(crate) fn holds(&self, record: &Map<String, Value>) -> bool {
        self.holds_value(record.get(&self.field))
    }

    /// Says whether it holds for the value of its field, `None` when that is absent.
    pub(crate) fn holds_value(&self, value: Option<&Value>) -> bool {
        match (value, self.operator) {
            (Some(Value::Array(elements)), Operator::NotEqual) => {
                !elements.iter().any(|element| element == &self.value)
            }
            (Some(Value::Array(elements)), _) => elements.iter().any(|element| self.holds_for(element)),
            (Some(value), _) => self.holds_for(value),
            (None, _) => self.holds_for(&self.empty()),
        }
    }

    /// What an absent field counts as, in the type it is compared with.
    fn empty(&self) -> Value {
        let like = self.value.as_array().map_or(&self.value, |values| values.first().unwrap_or(&Value::Null));
        match like {
            Value::Number(_) => Value::from(0),
            Value::Bool(_) => Value::Bool(false),
            Value::String(_) => Value::String(String::new()),
            Value::Null | Value::Array(_) | Value::Object(_) => Value::Null,
        }
    }

    fn holds_for(&self, value: &Value) -> bool {
        let texts = || Some((value.as_str()?, self.value.as_str()?));
        match self.operator {
            Operator::Equal => value == &self.value,
            Operator::NotEqual => value != &self.value,
            Operator::Contains => texts().is_some_and(|(text, part)| contains_ignoring_case(text, part)),
            Operator::StartsWith => texts().is_some_and(|(text, start)| text.starts_with(start)),
            Operator::Greater => compare(value, &self.value).is_some_and(std::cmp::Ordering::is_gt),
            Operator::Less => compare(value, &self.value).is_some_and(std::cmp::Ordering::is_lt),
            Operator::In => self.value.as_array().is_some_and(|values| values.contains(value)),
        }
    }
}

fn contains_ignoring_case(text: &str, part: &str) -> bool {
    let (text, part) = (text.as_bytes(), part.as_bytes());
    part.is_empty() || text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

fn compare(left: &Value, right: &Value) -> Option<std::cmp::Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

/// A place in the order of a dataset's records: a time, and the id of a record at that time. As text
/// `microseconds-id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// Unix microseconds.
    pub(crate) micros: i64,
    pub(crate) id: Uuid,
}

impl Cursor {
    /// Returns the place after every record of a time.
    pub(crate) const fn end_of(micros: i64) -> Self {
        Self { micros, id: Uuid::max() }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.micros, self.id.simple())
    }
}

/// A text that is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct BadCursor;

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let (micros, id) = text.rsplit_once('-').ok_or(BadCursor)?;
        Ok(Self { micros: micros.parse().map_err(|_| BadCursor)?, id: id.parse().map_err(|_| BadCursor)? })
    }
}

/// A record as it was stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its id.
    pub id: Uuid,
    /// Its place in the order of records.
    pub cursor: Cursor,
    /// Which dataset it belongs to.
    pub dataset: Dataset,
    /// Its fields; empty ones are absent.
    pub fields: Map<String, Value>,
}

impl Entry {
    /// Returns the record as its type.
    ///
    /// # Errors
    ///
    /// When a field has another type, as a damaged or foreign journal may.
    pub fn record(&self) -> serde_json::Result<Record> {
        Record::from_json(self.dataset, &serde_json::to_string(&self.fields)?)
    }
}

/// Some records, newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// The records.
    pub entries: Vec<Entry>,
    /// Where to go on; `None` when there is nothing older. A page may be short and still have one.
    pub next: Option<Cursor>,
}

/// Checks that a query names fields that exist.
pub(crate) fn check(query: &Query) -> Result<(), QueryError> {
    let fields = query.dataset.fields();
    for filter in &query.filters {
        if !fields.iter().any(|field| field.name == filter.field) {
            return Err(QueryError::UnknownField(filter.field.chars().take(80).collect()));
        }
    }
    Ok(())
}

/// Reads a block, opening its segment once; `None` when retention has deleted the segment.
pub(crate) fn read(segment: &Segment, block: &Block, file: &mut Option<File>) -> Result<Option<Vec<u8>>, QueryError> {
    if file.is_none() {
        match File::open(&segment.path) {
            Ok(opened) => *file = Some(opened),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(QueryError::Read(error)),
        }
    }
    file.as_ref().map(|file| read_block(file, block)).transpose().map_err(QueryError::Read)
}

/// Returns the fields of a record of a segment, as its JSON has them; `None` for what is no record.
pub(crate) fn fields(dataset: Dataset, codec: Codec, frame: &Frame<'_>) -> Option<Map<String, Value>> {
    match codec {
        Codec::Json => serde_json::from_slice(frame.body).ok(),
        Codec::Fields => decode_fields(dataset, frame.id, frame.body),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Cursor, Filter, Operator};

    #[test]
    fn filters_compare_as_documented() {
        use Operator::{Contains, Equal, Greater, In, Less, NotEqual, StartsWith};
        let record =
            json!({"Action": "block", "HTTPStatusCode": 403, "GroupNames": ["Eng", "Ops"], "Quarantined": true});
        for (field, operator, value, holds) in [
            ("Action", Equal, json!("block"), true),
            ("Action", Equal, json!("Block"), false),
            ("Action", NotEqual, json!("block"), false),
            ("Action", Contains, json!("LOC"), true),
            ("Action", StartsWith, json!("bl"), true),
            ("Action", In, json!(["allow", "block"]), true),
            ("HTTPStatusCode", Greater, json!(400), true),
            ("HTTPStatusCode", Less, json!(403), false),
            ("HTTPStatusCode", Greater, json!("400"), false),
            ("GroupNames", Equal, json!("Eng"), true),
            ("GroupNames", NotEqual, json!("Eng"), false),
            ("GroupNames", Contains, json!("op"), true),
            ("Quarantined", Equal, json!(true), true),
            ("Email", Equal, json!(""), true),
            ("Email", NotEqual, json!("a@b"), true),
            ("RequestBytes", Equal, json!(0), true),
            ("IsIsolated", Equal, json!(false), true),
        ] {
            let filter = Filter { field: field.into(), operator, value: value.clone() };
            assert_eq!(filter.holds(record.as_object().unwrap()), holds, "{field} {operator:?} {value}");
        }
    }

    #[test]
    fn a_cursor_survives_its_text() {
        for micros in [7, -7, i64::MIN, i64::MAX] {
            let cursor = Cursor { micros, id: uuid::Uuid::from_u128(5) };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for bad in ["", "7", "7-", "a-b", "-1-2", "7-4096-1"] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    }
}
