//! Rebuilds a JSON value from form fields in bracket notation, the way generated SDKs flatten objects into multipart:
//! `metadata[bindings][][name]`, `metadata[bindings][][type]`.
//!
//! The notation loses types: every leaf is text. Readers of such a value accept digits for a number.
//! Invariant: depth and size are bounded by the form's own limits and [`DEEPEST`].

use serde_json::{Map, Value};

use crate::failure::Failure;

/// Deepest nesting a field name may spell.
pub const DEEPEST: usize = 8;

/// Splits `name` into the form field and what stands in its brackets: `a[b][]` is `("a", ["b", ""])`.
#[must_use]
pub fn split_name(name: &str) -> Option<(&str, Vec<&str>)> {
    let Some((root, mut rest)) = name.split_once('[').map(|(root, _)| (root, &name[root.len()..])) else {
        return Some((name, Vec::new()));
    };
    let mut segments = Vec::new();
    while !rest.is_empty() {
        let (segment, after) = rest.strip_prefix('[')?.split_once(']')?;
        segments.push(segment);
        rest = after;
    }
    (segments.len() <= DEEPEST).then_some((root, segments))
}

/// Puts `leaf` at `segments` under `target`; an empty segment means "in the list".
///
/// # Errors
///
/// A [`Failure`] when the fields contradict each other.
pub fn insert(target: &mut Value, segments: &[&str], leaf: Value) -> Result<(), Failure> {
    let Some((first, rest)) = segments.split_first() else {
        if !target.is_null() {
            return Err(contradiction());
        }
        *target = leaf;
        return Ok(());
    };
    if target.is_null() {
        *target = if first.is_empty() { Value::Array(Vec::new()) } else { Value::Object(Map::new()) };
    }
    match target {
        Value::Array(items) if first.is_empty() => match items.last_mut() {
            // Members of one element follow each other; the next element begins where a member would stand twice.
            Some(last) if !rest.is_empty() && accepts(last, rest) => insert(last, rest, leaf),
            _ => {
                let mut item = Value::Null;
                insert(&mut item, rest, leaf)?;
                items.push(item);
                Ok(())
            }
        },
        Value::Object(members) if !first.is_empty() => insert(members.entry(*first).or_insert(Value::Null), rest, leaf),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            Err(contradiction())
        }
    }
}

fn accepts(value: &Value, segments: &[&str]) -> bool {
    match (segments.split_first(), value) {
        (_, Value::Null) => true,
        (Some((first, rest)), Value::Object(members)) if !first.is_empty() => {
            members.get(*first).is_none_or(|member| accepts(member, rest))
        }
        (Some((first, _)), Value::Array(_)) => first.is_empty(),
        _ => false,
    }
}

fn contradiction() -> Failure {
    Failure::invalid("/metadata", "the bracketed fields of the form contradict each other; send metadata as JSON")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{insert, split_name};

    #[test]
    fn bracketed_fields_become_the_object_the_client_had() {
        let mut value = Value::Null;
        for (name, text) in [
            ("metadata[main_module]", "main.mjs"),
            ("metadata[bindings][][name]", "A"),
            ("metadata[bindings][][type]", "plain_text"),
            ("metadata[bindings][][text]", "1"),
            ("metadata[bindings][][name]", "L"),
            ("metadata[bindings][][type]", "ratelimit"),
            ("metadata[bindings][][simple][limit]", "10"),
            ("metadata[bindings][][simple][period]", "60"),
            ("metadata[compatibility_flags][]", "x"),
            ("metadata[compatibility_flags][]", "y"),
        ] {
            let (root, segments) = split_name(name).unwrap();
            assert_eq!(root, "metadata");
            insert(&mut value, &segments, json!(text)).unwrap();
        }
        let expected = json!({
            "main_module": "main.mjs",
            "bindings": [
                {"name": "A", "type": "plain_text", "text": "1"},
                {"name": "L", "type": "ratelimit", "simple": {"limit": "10", "period": "60"}},
            ],
            "compatibility_flags": ["x", "y"],
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn contradictions_and_malformed_names_are_refused() {
        let mut value = json!({"a": "text"});
        assert!(insert(&mut value, &["a"], json!("again")).is_err());
        assert!(insert(&mut value, &["a", "b"], json!("x")).is_err());
        assert!(insert(&mut value, &[""], json!("x")).is_err());
        assert_eq!(split_name("a[b"), None);
        assert_eq!(split_name("a[b]c[d]"), None);
        assert_eq!(split_name(&format!("a{}", "[b]".repeat(9))), None);
        assert_eq!(split_name("plain"), Some(("plain", vec![])));
    }
}
