//! Looks into JSON objects, and changes single members of them, without rewriting the rest.
//!
//! Decides nothing about MCP. A gateway reads a few members of what it carries and must hand on the others as they came:
//! numbers with their digits, texts with their escapes, members it has never heard of. Invariants: what [`Object::parse`]
//! accepts names no member twice, so that Portunus and the receiver cannot read two different values; [`splice`] leaves
//! every byte of the values it was not asked to change; nothing here recurses deeper than serde_json's own limit.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Why a JSON text cannot be looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RawError {
    #[error("not a JSON object")]
    NotAnObject,
    #[error("an object names a member twice")]
    Twice,
}

/// Members up to which comparing each name with each is less work than remembering all.
const FEW: usize = 16;

fn names_twice<V>(members: &[(Cow<'_, str>, V)]) -> bool {
    if members.len() <= FEW {
        let stands_before =
            |(at, (name, _)): (usize, &(Cow<'_, str>, V))| members.iter().take(at).any(|(other, _)| other == name);
        return members.iter().enumerate().any(stands_before);
    }
    let mut names = HashSet::with_capacity(members.len());
    !members.iter().all(|(name, _)| names.insert(name.as_ref()))
}

/// The members of one JSON object, in their order, values unread.
#[derive(Debug, Clone)]
pub struct Object<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// Reads the outermost object of `text`.
    ///
    /// # Errors
    /// When `text` is no object, or names a member twice.
    pub fn parse(text: &'a str) -> Result<Self, RawError> {
        let Members(members) = serde_json::from_str(text).map_err(|_| RawError::NotAnObject)?;
        if names_twice(&members) { Err(RawError::Twice) } else { Ok(Self { members }) }
    }

    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a RawValue> {
        self.members.iter().find(|(other, _)| other == name).map(|(_, value)| *value)
    }

    /// Returns the text a member holds; `None` when it is absent or no text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.value(name).and_then(text)
    }

    /// Returns the object a member holds; `None` when it is absent or no sound object.
    #[must_use]
    pub fn object(&self, name: &str) -> Option<Object<'a>> {
        self.value(name).and_then(|value| Self::parse(value.get()).ok())
    }

    pub fn members(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.members.iter().map(|(name, value)| (name.as_ref(), *value))
    }
}

/// Reads a JSON text; `None` when `value` is of another kind.
#[must_use]
pub fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Borrowed<'_>>(value.get()).ok().map(|found| found.0)
}

/// Tells whether a name may stand in JSON, written plainly or by the numbers of its letters.
#[must_use]
pub fn may_hold(value: &RawValue, name: &str) -> bool {
    let text = value.get().as_bytes();
    memchr::memmem::find(text, name.as_bytes()).is_some() || memchr::memmem::find(text, b"\\u").is_some()
}

/// Turns a value of our own into JSON.
///
/// What is passed are texts, numbers and objects with text keys, which always serialize; `null` stands for what does not.
#[must_use]
pub fn raw<T: Serialize + ?Sized>(value: &T) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// Sets members of the object `text`, and removes those set to `None`; every other byte stays as it is.
///
/// New members go to the front, in the order given.
///
/// # Errors
/// As [`Object::parse`].
pub fn splice(text: &str, changes: &[(&str, Option<&RawValue>)]) -> Result<Box<RawValue>, RawError> {
    let object = Object::parse(text)?;
    let changed = |name: &str| changes.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
    if !object.members.iter().any(|(name, _)| matches!(changed(name), Some(None))) {
        return replace(text, &object, changes);
    }
    // A removal takes a comma with it; the remaining members are put together anew, their values untouched.
    let mut out = String::with_capacity(text.len());
    let mut kept: Vec<(&str, &RawValue)> = Vec::with_capacity(object.members.len() + changes.len());
    kept.extend(changes.iter().filter_map(|(name, value)| {
        let value = (*value)?;
        object.value(name).is_none().then_some((*name, value))
    }));
    for (name, value) in object.members() {
        match changed(name) {
            Some(None) => {}
            Some(Some(other)) => kept.push((name, other)),
            None => kept.push((name, value)),
        }
    }
    out.push('{');
    for (index, (name, value)) in kept.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(raw(name).get());
        out.push(':');
        out.push_str(value.get());
    }
    out.push('}');
    RawValue::from_string(out).map_err(|_| RawError::NotAnObject)
}

fn replace(text: &str, object: &Object<'_>, changes: &[(&str, Option<&RawValue>)]) -> Result<Box<RawValue>, RawError> {
    let text = text.trim_ascii();
    let mut out = String::with_capacity(text.len() + 64);
    out.push('{');
    let mut added = 0;
    for (name, value) in changes {
        let (Some(value), None) = (value, object.value(name)) else { continue };
        if added > 0 {
            out.push(',');
        }
        added += 1;
        out.push_str(raw(*name).get());
        out.push(':');
        out.push_str(value.get());
    }
    if added > 0 && !object.members.is_empty() {
        out.push(',');
    }
    // Each value was borrowed from `text`, so the distance of their addresses is its offset.
    let mut copied = 1;
    for (name, value) in object.members() {
        let Some((_, Some(new))) = changes.iter().find(|(other, _)| *other == name) else { continue };
        let start = value.get().as_ptr() as usize - text.as_ptr() as usize;
        out.push_str(text.get(copied..start).ok_or(RawError::NotAnObject)?);
        out.push_str(new.get());
        copied = start + value.get().len();
    }
    out.push_str(text.get(copied..).ok_or(RawError::NotAnObject)?);
    RawValue::from_string(out).map_err(|_| RawError::NotAnObject)
}

/// Tells whether no object anywhere in `text` names a member twice.
///
/// Two readers of such an object may each see another value: the one that policy allowed, and the one that runs.
#[must_use]
pub fn is_unambiguous(text: &str) -> bool {
    serde_json::from_str::<Unambiguous>(text).is_ok()
}

/// Tells whether every number of a JSON text is read as it is written: whole numbers of up to 64 bits, and others of up to
/// 15 digits that count, which a double holds (IEEE 754).
#[must_use]
pub fn holds_exact_numbers(text: &str) -> bool {
    let (mut in_text, mut escaped, mut start) = (false, false, None);
    let end = std::iter::once((text.len(), b' '));
    for (at, byte) in text.bytes().enumerate().chain(end) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E' if start.is_some() => {}
            b'0'..=b'9' | b'-' => start = Some(at),
            _ => {
                let number = start.take().and_then(|start: usize| text.get(start..at));
                if number.is_some_and(|number| !is_exact(number)) {
                    return false;
                }
            }
        }
    }
    true
}

fn is_exact(number: &str) -> bool {
    if number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok() {
        return true;
    }
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let counting = digits.trim_matches('0');
    let read = number.parse::<f64>().is_ok_and(|read| read.is_finite() && (read != 0.0 || counting.is_empty()));
    read && counting.len() <= 15
}

/// Measures how deep arrays and objects nest, without recursion; texts are skipped.
#[must_use]
pub fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                #[derive(Deserialize)]
                struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
                let mut members = Vec::new();
                while let Some((Key(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

struct Unambiguous;

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)?;
        Ok(Self)
    }
}

struct Walk;

impl<'de> DeserializeSeed<'de> for Walk {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Walk {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Walk)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name) {
                return Err(A::Error::custom(RawError::Twice));
            }
            map.next_value_seed(Walk)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn spliced(text: &str, changes: &[(&str, Option<&str>)]) -> String {
        let values: Vec<_> = changes
            .iter()
            .map(|(name, value)| (*name, value.map(|value| RawValue::from_string(value.to_owned()).unwrap())))
            .collect();
        let changes: Vec<_> = values.iter().map(|(name, value)| (*name, value.as_deref())).collect();
        splice(text, &changes).unwrap().get().to_owned()
    }

    #[test]
    fn a_changed_member_leaves_the_bytes_of_the_others() {
        for (text, changes, expected) in [
            (
                r#"{"name":"a","arguments":{"n":1.50,"t":"\u00e9"}}"#,
                vec![("name", Some(r#""b""#))],
                r#"{"name":"b","arguments":{"n":1.50,"t":"\u00e9"}}"#,
            ),
            (r#" { "x" : 1e3 , "name" : "a" } "#, vec![("name", Some("2"))], r#"{ "x" : 1e3 , "name" : 2 }"#),
            (r#"{"x":1}"#, vec![("new", Some("[]"))], r#"{"new":[],"x":1}"#),
            ("{}", vec![("new", Some("[]")), ("other", Some("0"))], r#"{"new":[],"other":0}"#),
            (r#"{"x":1.0,"gone":{},"y":2}"#, vec![("gone", None), ("n", Some("3"))], r#"{"n":3,"x":1.0,"y":2}"#),
            (r#"{"x":1}"#, vec![("gone", None)], r#"{"x":1}"#),
            (r#"{"na\u006de":"a"}"#, vec![("name", Some("1"))], r#"{"na\u006de":1}"#),
        ] {
            assert_eq!(spliced(text, &changes), expected, "{text}");
        }
    }

    #[test]
    fn a_number_is_exact_where_it_is_read_as_it_is_written() {
        for (text, exact) in [
            (r#"{"a":1,"b":-2.50,"c":[18446744073709551615,-9223372036854775808,1e3]}"#, true),
            (r#"{"a":"100000000000000000001","b\"1":"\\"}"#, true),
            ("0.000000000000001", true),
            ("123456789012345e10", true),
            (r#"{"a":100000000000000000001}"#, false),
            ("[0.1234567890123456789]", false),
            ("1e-400", false),
            ("1e400", false),
        ] {
            assert_eq!(holds_exact_numbers(text), exact, "{text}");
        }
    }

    #[test]
    fn an_object_that_names_a_member_twice_is_refused() {
        for text in [r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#] {
            assert_eq!(Object::parse(text).unwrap_err(), RawError::Twice, "{text}");
            assert!(!is_unambiguous(text));
            assert!(!is_unambiguous(&format!(r#"{{"deep":[0,{text}]}}"#)));
        }
        let many = |last: &str| {
            let members: Vec<String> = (0..40).map(|number| format!("\"m{number}\":0")).collect();
            format!("{{{},\"{last}\":1}}", members.join(","))
        };
        assert!(Object::parse(&many("m40")).is_ok());
        assert_eq!(Object::parse(&many("m7")).unwrap_err(), RawError::Twice);
        assert_eq!(Object::parse("[]").unwrap_err(), RawError::NotAnObject);
        assert!(is_unambiguous(r#"[{"a":{"a":1}},{"a":null,"b":-1.5}]"#));
    }

    #[test]
    fn depth_counts_brackets_outside_of_texts() {
        for (text, deep) in [("1", 0), ("[]", 1), (r#"{"a":[{}]}"#, 3), (r#"["[[[\"[["]"#, 1), ("]]][[", 2)] {
            assert_eq!(depth(text.as_bytes()), deep, "{text}");
        }
    }

    proptest! {
        #[test]
        fn splicing_changes_what_it_was_asked_to_and_nothing_else(
            members in proptest::collection::btree_map("[a-d\"é]{1,2}", any::<f64>().prop_filter("finite", |n| n.is_finite()), 0..6),
            name in "[a-d]", remove: bool, pretty: bool,
        ) {
            let object = json!(members);
            let text = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) }.unwrap();
            let new = raw("new");
            let changed = splice(&text, &[(&name, (!remove).then_some(&*new))]).unwrap();
            // Numbers as the reader of this very text takes them.
            let mut expected: Value = serde_json::from_str(&text).unwrap();
            if remove {
                expected.as_object_mut().unwrap().remove(&name);
            } else {
                expected[&name] = json!("new");
            }
            prop_assert_eq!(serde_json::from_str::<Value>(changed.get()).unwrap(), expected);
        }
    }
}
