//! Which records a job sends: the filters of the Logpush API, `{"where": {"and": [{"key", "operator", "value"}, …]}}`.
//!
//! A filter is checked against the fields of its dataset when it is read. An absent field counts as empty text, zero and
//! false. Of a list, `contains` holds when an element does. Invariant: evaluation cannot fail.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::{Field, Shape, find};

/// The longest text of a filter, in bytes.
pub const MAX_TEXT: usize = 16 * 1024;
/// The most conditions a filter has.
pub const MAX_CONDITIONS: usize = 100;
/// How deep `and` and `or` may stand in each other.
const MAX_DEPTH: usize = 8;
/// The most values of an `in`.
const MAX_VALUES: usize = 1_000;

/// Which records.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter(Option<Node>);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    All(Vec<Self>),
    Any(Vec<Self>),
    Is(Condition),
}

#[derive(Debug, Clone, PartialEq)]
struct Condition {
    key: &'static str,
    shape: Shape,
    not: bool,
    test: Test,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Text(TextTest, String),
    Order(Order, Number),
    Flag(bool),
    OneOf(Vec<Value>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum TextTest {
    Equal,
    StartsWith,
    EndsWith,
    Contains,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    Equal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Number {
    Amount(f64),
    Moment(Timestamp),
}

impl Filter {
    /// Reads a filter; an empty text lets every record through.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong.
    pub fn parse(text: &str, fields: &[Field]) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self(None));
        }
        if text.len() > MAX_TEXT {
            return Err(format!("has more than {MAX_TEXT} bytes"));
        }
        let document: Value = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
        let object = document.as_object().ok_or("must be {\"where\": …}")?;
        if let Some(other) = object.keys().find(|key| *key != "where") {
            return Err(format!("has the member {other:?}; it has \"where\" alone"));
        }
        match object.get("where") {
            None => Ok(Self(None)),
            Some(Value::Object(members)) if members.is_empty() => Ok(Self(None)),
            Some(node) => {
                let mut left = MAX_CONDITIONS;
                Ok(Self(Some(read(node, fields, MAX_DEPTH, &mut left)?)))
            }
        }
    }

    /// Says whether a record is sent.
    #[must_use]
    pub fn holds(&self, record: &Map<String, Value>) -> bool {
        self.0.as_ref().is_none_or(|node| node.holds(record))
    }
}

fn read(node: &Value, fields: &[Field], depth: usize, left: &mut usize) -> Result<Node, String> {
    let object = node.as_object().ok_or("has a condition that is no object")?;
    let depth = depth.checked_sub(1).ok_or_else(|| format!("is more than {MAX_DEPTH} deep"))?;
    for (word, make) in [("and", Node::All as fn(Vec<Node>) -> Node), ("or", Node::Any)] {
        if let Some(list) = object.get(word) {
            if object.len() != 1 {
                return Err(format!("has other members beside {word:?}"));
            }
            let list = list.as_array().ok_or_else(|| format!("must have a list in {word:?}"))?;
            if list.is_empty() {
                return Err(format!("has an empty {word:?}"));
            }
            return Ok(make(list.iter().map(|node| read(node, fields, depth, left)).collect::<Result<_, _>>()?));
        }
    }
    *left = left.checked_sub(1).ok_or_else(|| format!("has more than {MAX_CONDITIONS} conditions"))?;
    if let Some(other) = object.keys().find(|key| !matches!(key.as_str(), "key" | "operator" | "value")) {
        return Err(format!("has the member {other:?}; a condition has key, operator and value"));
    }
    let text = |member: &str| {
        let value = object.get(member).and_then(Value::as_str);
        value.ok_or_else(|| format!("has a condition without a text in {member:?}"))
    };
    let (key, operator) = (text("key")?, text("operator")?);
    let value = object.get("value").ok_or("has a condition without \"value\"")?;
    let field = find(fields, key).ok_or_else(|| format!("names {key:?}, which is no field of the dataset"))?;
    Ok(Node::Is(condition(field, operator, value)?))
}

fn condition(field: &Field, operator: &str, value: &Value) -> Result<Condition, String> {
    let (not, word) = operator.strip_prefix('!').map_or((false, operator), |word| (true, word));
    let unfit = || format!("compares {} with {operator:?}, which does not fit its type", field.name);
    let test = match word {
        "in" => {
            let values = value.as_array().ok_or_else(|| format!("needs a list as the value of {operator:?}"))?;
            if values.is_empty() || values.len() > MAX_VALUES {
                return Err(format!("needs 1 to {MAX_VALUES} values for {operator:?}"));
            }
            if !matches!(field.shape, Shape::Text | Shape::Number | Shape::Flag | Shape::List) {
                return Err(unfit());
            }
            let values = values.iter().map(|value| alike(field, value));
            Test::OneOf(values.collect::<Result<_, _>>()?)
        }
        "eq" if field.shape == Shape::Flag => Test::Flag(flag(field, value)?),
        "eq" if field.shape == Shape::Text => Test::Text(TextTest::Equal, words(field, value)?),
        "eq" | "lt" | "leq" | "gt" | "geq" if matches!(field.shape, Shape::Number | Shape::Time) => {
            let order = match word {
                "lt" => Order::Less,
                "leq" => Order::AtMost,
                "gt" => Order::Greater,
                "geq" => Order::AtLeast,
                _ => Order::Equal,
            };
            if not && order != Order::Equal {
                return Err(format!("has the unknown operator {operator:?}"));
            }
            Test::Order(order, number(field, value)?)
        }
        "startsWith" if field.shape == Shape::Text => Test::Text(TextTest::StartsWith, words(field, value)?),
        "endsWith" if field.shape == Shape::Text => Test::Text(TextTest::EndsWith, words(field, value)?),
        "contains" if matches!(field.shape, Shape::Text | Shape::List | Shape::Json) => {
            Test::Text(TextTest::Contains, words(field, value)?)
        }
        "eq" | "lt" | "leq" | "gt" | "geq" | "startsWith" | "endsWith" | "contains" => return Err(unfit()),
        _ => return Err(format!("has the unknown operator {operator:?}")),
    };
    Ok(Condition { key: field.name, shape: field.shape, not, test })
}

/// Returns a value in the shape of its field: the API's users write numbers as text, too.
fn alike(field: &Field, value: &Value) -> Result<Value, String> {
    Ok(match field.shape {
        Shape::Number => match number(field, value)? {
            Number::Amount(amount) => Value::from(amount),
            Number::Moment(_) => value.clone(),
        },
        Shape::Flag => Value::Bool(flag(field, value)?),
        Shape::Text | Shape::Time | Shape::List | Shape::Json => Value::String(words(field, value)?),
    })
}

fn words(field: &Field, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err(format!("needs a text to compare {} with", field.name))
        }
    }
}

fn flag(field: &Field, value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        Value::String(text) if text == "true" => Ok(true),
        Value::String(text) if text == "false" => Ok(false),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            Err(format!("needs true or false to compare {} with", field.name))
        }
    }
}

fn number(field: &Field, value: &Value) -> Result<Number, String> {
    if field.shape == Shape::Time {
        let time = value.as_str().and_then(|text| text.parse().ok());
        return time
            .map(Number::Moment)
            .ok_or_else(|| format!("needs a time (RFC 3339) to compare {} with", field.name));
    }
    let amount = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok().filter(|amount: &f64| amount.is_finite()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    amount.map(Number::Amount).ok_or_else(|| format!("needs a number to compare {} with", field.name))
}

impl Node {
    fn holds(&self, record: &Map<String, Value>) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.holds(record)),
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(record)),
            Self::Is(condition) => condition.holds(record.get(condition.key)) != condition.not,
        }
    }
}

impl Condition {
    fn holds(&self, value: Option<&Value>) -> bool {
        match &self.test {
            Test::Flag(wanted) => value.and_then(Value::as_bool).unwrap_or_default() == *wanted,
            Test::Order(order, Number::Amount(wanted)) => {
                let amount = value.and_then(Value::as_f64).unwrap_or_default();
                order.holds(amount.partial_cmp(wanted))
            }
            Test::Order(order, Number::Moment(wanted)) => {
                let moment = value.and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok());
                order.holds(moment.map(|moment| moment.cmp(wanted)))
            }
            Test::Text(test, wanted) => match value {
                Some(Value::Array(elements)) => elements.iter().any(|element| text_holds(*test, element, wanted)),
                Some(value) => text_holds(*test, value, wanted),
                None => test.holds("", wanted),
            },
            Test::OneOf(values) => match value {
                Some(Value::Array(elements)) => elements.iter().any(|element| values.contains(element)),
                Some(Value::Number(number)) => {
                    values.iter().any(|value| value.as_f64().is_some() && value.as_f64() == number.as_f64())
                }
                Some(value) => values.contains(value),
                None => values.contains(&self.absent()),
            },
        }
    }

    fn absent(&self) -> Value {
        match self.shape {
            Shape::Number => Value::from(0.0),
            Shape::Flag => Value::Bool(false),
            Shape::Text => Value::String(String::new()),
            Shape::Time | Shape::List | Shape::Json => Value::Null,
        }
    }
}

fn text_holds(test: TextTest, value: &Value, wanted: &str) -> bool {
    match value.as_str() {
        Some(text) => test.holds(text, wanted),
        None => test.holds(&value.to_string(), wanted),
    }
}

impl TextTest {
    fn holds(self, text: &str, wanted: &str) -> bool {
        match self {
            Self::Equal => text == wanted,
            Self::StartsWith => text.starts_with(wanted),
            Self::EndsWith => text.ends_with(wanted),
            Self::Contains => text.contains(wanted),
        }
    }
}

impl Order {
    fn holds(self, found: Option<std::cmp::Ordering>) -> bool {
        found.is_some_and(|found| match self {
            Self::Equal => found.is_eq(),
            Self::Less => found.is_lt(),
            Self::AtMost => found.is_le(),
            Self::Greater => found.is_gt(),
            Self::AtLeast => found.is_ge(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::{Filter, MAX_CONDITIONS};
    use crate::{Field, Shape};

    const FIELDS: [Field; 6] = [
        Field { name: "Host", shape: Shape::Text },
        Field { name: "Status", shape: Shape::Number },
        Field { name: "Isolated", shape: Shape::Flag },
        Field { name: "Datetime", shape: Shape::Time },
        Field { name: "Groups", shape: Shape::List },
        Field { name: "Info", shape: Shape::Json },
    ];

    fn record() -> Map<String, Value> {
        let record = json!({"Host": "app.example.com", "Status": 403, "Isolated": true,
            "Datetime": "2026-11-28T10:00:00.5Z", "Groups": ["Eng", "Operations"], "Info": {"a": "deep"}});
        record.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn conditions_hold_as_the_api_says() {
        for (key, operator, value, holds) in [
            ("Host", "eq", json!("app.example.com"), true),
            ("Host", "!eq", json!("app.example.com"), false),
            ("Host", "startsWith", json!("app."), true),
            ("Host", "!startsWith", json!("app."), false),
            ("Host", "endsWith", json!(".com"), true),
            ("Host", "!endsWith", json!(".org"), true),
            ("Host", "contains", json!("example"), true),
            ("Host", "!contains", json!("example"), false),
            ("Host", "in", json!(["a", "app.example.com"]), true),
            ("Host", "!in", json!(["a"]), true),
            ("Status", "eq", json!(403), true),
            ("Status", "eq", json!("403"), true),
            ("Status", "lt", json!(403), false),
            ("Status", "leq", json!("403"), true),
            ("Status", "gt", json!(402.5), true),
            ("Status", "geq", json!(404), false),
            ("Status", "in", json!(["200", 403]), true),
            ("Status", "!in", json!([403]), false),
            ("Isolated", "eq", json!(true), true),
            ("Isolated", "!eq", json!("true"), false),
            ("Datetime", "geq", json!("2026-11-28T10:00:00Z"), true),
            ("Datetime", "lt", json!("2026-11-28T11:00:00+01:00"), false),
            ("Groups", "contains", json!("Oper"), true),
            ("Groups", "!contains", json!("Sales"), true),
            ("Groups", "in", json!(["Eng"]), true),
            ("Info", "contains", json!("deep"), true),
        ] {
            let text = json!({"where": {"key": key, "operator": operator, "value": value}}).to_string();
            assert_eq!(Filter::parse(&text, &FIELDS).map(|filter| filter.holds(&record())), Ok(holds), "{text}");
        }
    }

    #[test]
    fn absent_fields_are_empty() {
        for (key, operator, value, holds) in [
            ("Host", "eq", json!(""), true),
            ("Host", "in", json!(["", "x"]), true),
            ("Status", "lt", json!(1), true),
            ("Status", "in", json!([0]), true),
            ("Isolated", "eq", json!(false), true),
            ("Datetime", "lt", json!("2026-11-28T10:00:00Z"), false),
            ("Groups", "contains", json!("x"), false),
        ] {
            let text = json!({"where": {"key": key, "operator": operator, "value": value}}).to_string();
            assert_eq!(Filter::parse(&text, &FIELDS).map(|filter| filter.holds(&Map::new())), Ok(holds), "{text}");
        }
    }

    #[test]
    fn conditions_combine() {
        let is = |key: &str, value: Value| json!({"key": key, "operator": "eq", "value": value});
        let (yes, no) = (is("Status", json!(403)), is("Status", json!(200)));
        for (node, holds) in [
            (json!({"and": [yes, yes]}), true),
            (json!({"and": [yes, no]}), false),
            (json!({"or": [no, yes]}), true),
            (json!({"or": [no, {"and": [yes, {"or": [no, no]}]}]}), false),
            (json!({}), true),
        ] {
            let text = json!({ "where": node }).to_string();
            assert_eq!(Filter::parse(&text, &FIELDS).map(|filter| filter.holds(&record())), Ok(holds), "{text}");
        }
        assert_eq!(Filter::parse(" ", &FIELDS).map(|filter| filter.holds(&record())), Ok(true));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let many = vec![json!({"key": "Host", "operator": "eq", "value": "x"}); MAX_CONDITIONS + 1];
        let mut deep = json!({"key": "Host", "operator": "eq", "value": "x"});
        for _ in 0..9 {
            deep = json!({ "and": [deep] });
        }
        for (text, said) in [
            ("{".to_owned(), "is not JSON"),
            ("[]".to_owned(), "must be {\"where\""),
            (r#"{"where": {"key": "Nope", "operator": "eq", "value": "x"}}"#.to_owned(), "no field"),
            (r#"{"where": {"key": "Host", "operator": "like", "value": "x"}}"#.to_owned(), "unknown operator"),
            (r#"{"where": {"key": "Host", "operator": "lt", "value": "x"}}"#.to_owned(), "does not fit"),
            (r#"{"where": {"key": "Status", "operator": "!lt", "value": 1}}"#.to_owned(), "unknown operator"),
            (r#"{"where": {"key": "Status", "operator": "eq", "value": "x"}}"#.to_owned(), "needs a number"),
            (r#"{"where": {"key": "Isolated", "operator": "eq", "value": 1}}"#.to_owned(), "true or false"),
            (r#"{"where": {"key": "Host", "operator": "in", "value": []}}"#.to_owned(), "1 to"),
            (r#"{"where": {"key": "Host", "operator": "eq"}}"#.to_owned(), "without \"value\""),
            (r#"{"where": {"and": []}}"#.to_owned(), "empty"),
            (json!({"where": {"and": many}}).to_string(), "more than 100"),
            (json!({ "where": deep }).to_string(), "deep"),
        ] {
            let error = Filter::parse(&text, &FIELDS).err().unwrap_or_default();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,200}") {
            let _ = Filter::parse(&text, &FIELDS);
        }
    }
}
