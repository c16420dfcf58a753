//! Reading the journal: newest first, block by block from the end, stopping as soon as a page is full.
//!
//! Order is the order of writing, which follows the end of an exchange; `Datetime` is its beginning. A page reads a
//! bounded number of bytes and hands out a cursor to go on from. It parses only what could match. Invariant: every
//! record handed out belongs to the account asked about.

use std::fmt;
use std::fs::File;
use std::io;
use std::str::FromStr;

use jiff::Timestamp;
use serde_json::{Map, Value};
use types::AccountId;
use uuid::Uuid;

use crate::error::QueryError;
use crate::frame::{self, Codec, Frame};
use crate::records::{Dataset, Record, decode_fields};
use crate::segment::{Block, Segment, id_prefix, read_block};

/// The most records one page holds.
pub const MAX_LIMIT: usize = 1_000;
/// The most bytes one page reads.
const SCAN_BUDGET: u64 = 256 * 1024 * 1024;

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
    /// Only what was written before this place.
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
    fn holds(&self, record: &Map<String, Value>) -> bool {
        match (record.get(&self.field), self.operator) {
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

/// A place in a dataset's journal; as text `segment-offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    segment: u64,
    offset: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.segment, self.offset)
    }
}

/// A text that is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct BadCursor;

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let (segment, offset) = text.split_once('-').ok_or(BadCursor)?;
        let number = |text: &str| text.parse().map_err(|_| BadCursor);
        Ok(Self { segment: number(segment)?, offset: number(offset)? })
    }
}

/// A record as it was stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its id.
    pub id: Uuid,
    /// Its place in the journal.
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

/// Runs a query over a dataset's segments, oldest first as they lie on the shelf.
pub(crate) fn run(segments: &[Segment], query: &Query) -> Result<Page, QueryError> {
    let limit = query.limit.clamp(1, MAX_LIMIT);
    let account = query.account.to_string();
    let since = query.since.map_or(i64::MIN, |time| time.as_millisecond());
    let until = query.until.map_or(i64::MAX, |time| time.as_millisecond());
    let mut page = Page::default();
    let mut budget = SCAN_BUDGET;
    for segment in segments.iter().rev() {
        if query.before.is_some_and(|before| segment.number > before.segment) {
            continue;
        }
        let mut file = None;
        for block in segment.blocks.iter().rev() {
            let start = Cursor { segment: segment.number, offset: block.offset };
            let outside = query.before.is_some_and(|before| start >= before);
            // Milliseconds: a block is skipped only when none of its records can be in the range.
            if outside || block.last_time < since || block.first_time > until {
                continue;
            }
            if budget < u64::from(block.length) {
                page.next = Some(Cursor { segment: segment.number, offset: block.offset + u64::from(block.length) });
                return Ok(page);
            }
            budget -= u64::from(block.length);
            let Some(bytes) = read(segment, block, &mut file)? else { break };
            let frames: Vec<_> = frame::frames(&bytes).collect();
            for (offset, frame) in frames.into_iter().rev() {
                let cursor = Cursor { segment: segment.number, offset: block.offset + offset as u64 };
                if query.before.is_some_and(|before| cursor >= before) {
                    continue;
                }
                let Some(fields) = matching(query, &account, since, until, segment.codec, &frame) else { continue };
                page.entries.push(Entry { id: frame.id, cursor, dataset: query.dataset, fields });
                if page.entries.len() == limit {
                    page.next = Some(cursor);
                    return Ok(page);
                }
            }
        }
    }
    Ok(page)
}

/// Finds one record by its id.
pub(crate) fn get(
    segments: &[Segment],
    account: AccountId,
    dataset: Dataset,
    id: Uuid,
) -> Result<Option<Entry>, QueryError> {
    let prefix = id_prefix(id);
    let query = Query::newest(account, dataset);
    let account = account.to_string();
    for segment in segments.iter().rev() {
        let mut file = None;
        let candidates = segment.blocks.iter().filter(|block| (block.first_id..=block.last_id).contains(&prefix));
        for block in candidates {
            let Some(bytes) = read(segment, block, &mut file)? else { break };
            let found = frame::frames(&bytes).find(|(_, frame)| frame.id == id);
            if let Some((offset, frame)) = found {
                let cursor = Cursor { segment: segment.number, offset: block.offset + offset as u64 };
                let fields = matching(&query, &account, i64::MIN, i64::MAX, segment.codec, &frame);
                return Ok(fields.map(|fields| Entry { id, cursor, dataset, fields }));
            }
        }
    }
    Ok(None)
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

fn matching(
    query: &Query,
    account: &str,
    since: i64,
    until: i64,
    codec: Codec,
    frame: &Frame<'_>,
) -> Option<Map<String, Value>> {
    if frame.milliseconds < since || frame.milliseconds >= until {
        return None;
    }
    // Cheap first: a record of the account has its id somewhere.
    memchr::memmem::find(frame.body, account.as_bytes())?;
    let fields = fields(query.dataset, codec, frame)?;
    let own = fields.get("AccountID").and_then(Value::as_str) == Some(account);
    (own && query.filters.iter().all(|filter| filter.holds(&fields))).then_some(fields)
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
        let cursor = Cursor { segment: 7, offset: 4_096 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "7", "7-", "a-b", "-1-2", "7-4096-1"] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    }
}
