//! Reads JSON request bodies strictly: no duplicate member, no unknown member, bounded depth, and an error that points
//! at the member and suggests the name that was probably meant.
//!
//! It deliberately knows no product type. Invariant: a body that is accepted was understood entirely.

use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::failure::{Failure, Problem};

/// Parses `text` into a JSON value, refusing duplicate members.
///
/// # Errors
///
/// A [`Failure`] with the line and column, or a pointer to the member that stands twice.
pub fn parse_value(text: &[u8]) -> Result<Value, Failure> {
    let mut duplicate = None;
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let parsed = Strict { path: &mut Vec::new(), duplicate: &mut duplicate }.deserialize(&mut deserializer);
    if let Some(pointer) = duplicate {
        return Err(Failure::invalid(pointer, "this member stands twice; JSON members must be unique"));
    }
    let value = parsed.and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|error| Failure::invalid("", format!("the body is not JSON: {error}")).numbered(6003))
}

/// Reads an already parsed value as `T`.
///
/// # Errors
///
/// A [`Failure`] that points at the first member that is wrong.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_path_to_error::deserialize(value).map_err(|error| Failure::invalid_many(vec![describe(&error)]))
}

fn describe(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let mut pointer = String::new();
    for segment in error.path() {
        match segment {
            serde_path_to_error::Segment::Seq { index } => {
                push_pointer(&mut pointer, &index.to_string());
            }
            serde_path_to_error::Segment::Map { key } => push_pointer(&mut pointer, key),
            serde_path_to_error::Segment::Enum { .. } | serde_path_to_error::Segment::Unknown => {}
        }
    }
    let text = error.inner().to_string();
    let Some(unknown) = quoted(&text, "unknown field ") else {
        return Problem { message: text, pointer: Some(pointer) };
    };
    if !pointer.ends_with(&format!("/{unknown}")) {
        push_pointer(&mut pointer, unknown);
    }
    let message = match closest(unknown, text.split('`').skip(3).step_by(2)) {
        Some(meant) => format!("unknown member \"{unknown}\"; did you mean \"{meant}\"?"),
        None => format!("unknown member \"{unknown}\"; remove it"),
    };
    Problem { message, pointer: Some(pointer) }
}

fn quoted<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    text.strip_prefix(prefix)?.strip_prefix('`')?.split('`').next()
}

/// Appends one segment to an RFC 6901 pointer.
pub fn push_pointer(pointer: &mut String, segment: &str) {
    pointer.push('/');
    for character in segment.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

/// Returns the candidate that `word` was probably meant to be: two letters, or a third of them, differ.
pub fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| match candidate.chars().count() {
            0..4 => *distance <= 1,
            length => *distance <= (length / 3).max(2),
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance, on words short enough that the square does not matter.
fn distance(left: &str, right: &str) -> usize {
    const LONGEST: usize = 64;
    let right: Vec<char> = right.chars().take(LONGEST).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, letter) in left.chars().take(LONGEST).enumerate() {
        let mut diagonal = above;
        row[0] = above + 1;
        for (index, other) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(letter != *other);
            diagonal = row[index + 1];
            row[index + 1] = substituted.min(diagonal + 1).min(row[index] + 1);
        }
    }
    row[right.len()]
}

/// Builds a `Value` while watching for members that stand twice.
struct Strict<'a> {
    path: &'a mut Vec<String>,
    duplicate: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        loop {
            self.path.push(array.len().to_string());
            let item = items.next_element_seed(Strict { path: &mut *self.path, duplicate: &mut *self.duplicate });
            self.path.pop();
            match item? {
                Some(item) => array.push(item),
                None => return Ok(Value::Array(array)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            self.path.push(name.clone());
            let value = members.next_value_seed(Strict { path: &mut *self.path, duplicate: &mut *self.duplicate });
            if object.contains_key(&name) && self.duplicate.is_none() {
                let mut pointer = String::new();
                self.path.iter().for_each(|segment| push_pointer(&mut pointer, segment));
                *self.duplicate = Some(pointer);
            }
            self.path.pop();
            object.insert(name, value?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::Value;

    use super::{from_value, parse_value};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[serde(rename = "description")]
        _description: Option<String>,
        #[serde(rename = "items", default)]
        _items: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[serde(rename = "value")]
        _value: String,
    }

    #[test]
    fn errors_point_at_the_member_and_suggest_the_name() {
        for (body, pointer, message) in [
            (r#"{"descripton": "x"}"#, "/descripton", "did you mean \"description\"?"),
            (r#"{"items": [{"value": "a"}, {"valeu": "b"}]}"#, "/items/1/valeu", "did you mean \"value\"?"),
            (r#"{"items": [{"value": 1}]}"#, "/items/0/value", "invalid type: integer `1`, expected a string"),
            (r#"{"zzz": 1}"#, "/zzz", "unknown member \"zzz\"; remove it"),
            (r#"{"description": "a", "description": "b"}"#, "/description", "stands twice"),
            (r#"{"items": [{"value": "a", "value": "b"}]}"#, "/items/0/value", "stands twice"),
            (r#"{"items": []"#, "", "not JSON"),
            (r#"{} {}"#, "", "not JSON"),
        ] {
            let failure = parse_value(body.as_bytes()).and_then(from_value::<Outer>).unwrap_err();
            assert_eq!(failure.problems[0].pointer.as_deref(), Some(pointer), "{body}");
            assert!(failure.problems[0].message.contains(message), "{body}: {}", failure.problems[0].message);
        }
    }

    #[test]
    fn values_survive_unchanged() {
        let text = r#"{"a":[1,-2,3.5,true,null,"é"],"b":{"c":18446744073709551615}}"#;
        assert_eq!(parse_value(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(parse_value(deep.as_bytes()).is_err());
    }
}
