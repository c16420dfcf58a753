//! Takes out of arguments and results what rules name.
//!
//! Pure. Invariant: what a pattern matches is nowhere in what is passed on, in names of members neither.

use mcp::raw;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::rules::Redaction;

/// What stands in the place of what was taken out.
const MASK: &str = "[redacted]";

/// Takes out of a JSON value what redactions name; the value itself where there is nothing to do.
pub(crate) fn apply(redactions: &[Redaction], json: &RawValue) -> Box<RawValue> {
    if redactions.is_empty() {
        return json.to_owned();
    }
    let Ok(mut value) = serde_json::from_str::<Value>(json.get()) else { return RawValue::NULL.to_owned() };
    for redaction in redactions {
        for path in redaction.paths.iter() {
            if let Some(found) = value.pointer_mut(path) {
                *found = Value::from(MASK);
            }
        }
        if !redaction.patterns.is_empty() {
            mask(redaction, &mut value);
        }
    }
    raw::raw(&value)
}

/// Takes out of a result what redactions name: paths lead into its `structuredContent`, patterns are looked for everywhere,
/// in texts that are JSON themselves as well.
pub(crate) fn result(redactions: &[Redaction], json: &RawValue) -> Box<RawValue> {
    if redactions.is_empty() {
        return json.to_owned();
    }
    let Ok(mut value) = serde_json::from_str::<Value>(json.get()) else { return RawValue::NULL.to_owned() };
    for redaction in redactions {
        if let Some(structured) = value.get_mut("structuredContent") {
            take_out(redaction, structured);
        }
        for content in value.get_mut("content").and_then(Value::as_array_mut).into_iter().flatten() {
            // Servers repeat structured content as text; a path taken out of one must not be read in the other.
            let Some(Value::String(text)) = content.get_mut("text") else { continue };
            if let Ok(mut inner @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str::<Value>(text)
                && take_out(redaction, &mut inner)
            {
                *text = inner.to_string();
            }
        }
        if !redaction.patterns.is_empty() {
            mask(redaction, &mut value);
        }
    }
    raw::raw(&value)
}

fn take_out(redaction: &Redaction, value: &mut Value) -> bool {
    let mut found = false;
    for path in redaction.paths.iter() {
        if let Some(place) = value.pointer_mut(path) {
            *place = Value::from(MASK);
            found = true;
        }
    }
    found
}

/// The depth of what was parsed is bounded by the reader of messages.
fn mask(redaction: &Redaction, value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(masked) = masked(redaction, text) {
                *text = masked;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| mask(redaction, item)),
        Value::Object(members) => {
            let names: Vec<(String, String)> =
                members.keys().filter_map(|name| Some((name.clone(), masked(redaction, name)?))).collect();
            for (name, masked) in names {
                if let Some(member) = members.remove(&name) {
                    members.insert(masked, member);
                }
            }
            members.values_mut().for_each(|member| mask(redaction, member));
        }
        Value::Number(number) => {
            if masked(redaction, &number.to_string()).is_some() {
                *value = Value::from(MASK);
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn masked(redaction: &Redaction, text: &str) -> Option<String> {
    let mut found: Option<String> = None;
    for pattern in redaction.patterns.iter() {
        let replaced = pattern.replace_all(found.as_deref().unwrap_or(text), MASK);
        if let std::borrow::Cow::Owned(replaced) = replaced {
            found = Some(replaced);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use mcp::raw::raw;
    use regex::Regex;
    use serde_json::{Value, json};

    use super::{apply, result};
    use crate::rules::Redaction;

    fn redaction(paths: &[&str], patterns: &[&str]) -> Vec<Redaction> {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let patterns: Vec<Regex> = patterns.iter().map(|pattern| Regex::new(pattern).unwrap()).collect();
        vec![Redaction { paths: paths.into(), patterns: patterns.into() }]
    }

    fn read(json: &serde_json::value::RawValue) -> Value {
        serde_json::from_str(json.get()).unwrap()
    }

    #[test]
    fn paths_and_patterns_are_taken_out_of_arguments_wherever_they_stand() {
        let found = apply(
            &redaction(&["/card", "/none"], &["[0-9]{4}-[0-9]{4}"]),
            &raw(&json!({"card": {"a": 1}, "note": "id 1234-5678.", "1234-5678": ["1234-5678"], "n": 3})),
        );
        let expected = json!({"card": "[redacted]", "note": "id [redacted].", "[redacted]": ["[redacted]"], "n": 3});
        assert_eq!(read(&found), expected);
    }

    #[test]
    fn a_path_is_taken_out_of_structured_content_and_of_its_copy_in_text() {
        let inner = json!({"iban": "DE00", "name": "Ana"});
        let found = result(
            &redaction(&["/iban"], &[]),
            &raw(
                &json!({"content": [{"type": "text", "text": inner.to_string()}, {"type": "text", "text": "hi"}], "structuredContent": inner}),
            ),
        );
        let found = read(&found);
        assert_eq!(found["structuredContent"], json!({"iban": "[redacted]", "name": "Ana"}));
        assert_eq!(found["content"][0]["text"], json!({"iban": "[redacted]", "name": "Ana"}).to_string());
        assert_eq!(found["content"][1]["text"], "hi");
    }

    #[test]
    fn what_no_rule_names_stays_as_it_came() {
        let untouched = raw(&json!({"n": 1.0}));
        assert_eq!(apply(&[], &untouched).get(), untouched.get());
        let digits = serde_json::value::RawValue::from_string("{\"n\":1.000}".to_owned()).unwrap();
        assert_eq!(result(&[], &digits).get(), "{\"n\":1.000}");
    }
}
