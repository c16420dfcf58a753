//! Takes invisible text and control characters out of what servers give back: a model reads what no person sees.
//!
//! Decides character by character. What writing systems and emoji need stays: joiners, the variation selectors, line ends
//! and tabs, marks of direction of a single character. Invariants: a result without anything to take out is handed on
//! byte by byte; what is taken out of a text stands in no other of the result either, names of members included.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::raw;

/// Tells whether a character is taken out.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    match c {
        '\n' | '\r' | '\t' => false,
        // Tags: they spell ASCII without being seen. Only flags of regions need them, and lose little.
        '\u{E0000}'..='\u{E007F}'
        // The second set of variation selectors: it carries bytes.
        | '\u{E0100}'..='\u{E01EF}'
        // Embeddings, overrides and isolates: they make text read in another order than it is.
        | '\u{202A}'..='\u{202E}'
        | '\u{2066}'..='\u{2069}'
        // Without width and without a use between words.
        | '\u{200B}'
        | '\u{2060}'..='\u{2064}'
        | '\u{206A}'..='\u{206F}'
        | '\u{FEFF}'
        | '\u{00AD}'
        | '\u{115F}'
        | '\u{1160}'
        | '\u{3164}'
        | '\u{FFA0}'
        | '\u{FFF9}'..='\u{FFFB}' => true,
        _ => c.is_control(),
    }
}

/// Returns a result without hidden text; `None` where there is none.
#[must_use]
pub fn result(json: &RawValue) -> Option<Box<RawValue>> {
    let text = json.get();
    // What is escaped may be anything; else only these characters are looked for.
    if !text.contains("\\u") && !text.chars().any(is_hidden) {
        return None;
    }
    let mut value: Value = serde_json::from_str(text).ok()?;
    clean(&mut value).then(|| raw::raw(&value))
}

/// The depth of what was parsed is bounded by the reader of messages.
fn clean(value: &mut Value) -> bool {
    match value {
        Value::String(text) => {
            let found = text.contains(is_hidden);
            if found {
                text.retain(|c| !is_hidden(c));
            }
            found
        }
        Value::Array(items) => items.iter_mut().fold(false, |found, item| clean(item) | found),
        Value::Object(members) => {
            let names: Vec<String> = members.keys().filter(|name| name.contains(is_hidden)).cloned().collect();
            let mut found = !names.is_empty();
            for name in names {
                if let Some(member) = members.remove(&name) {
                    let shown: String = name.chars().filter(|c| !is_hidden(*c)).collect();
                    members.entry(shown).or_insert(member);
                }
            }
            for member in members.values_mut() {
                found |= clean(member);
            }
            found
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::result;
    use crate::raw::raw;

    fn cleaned(value: &Value) -> Option<Value> {
        result(&raw(value)).map(|json| serde_json::from_str(json.get()).unwrap())
    }

    #[test]
    fn text_that_nobody_sees_is_taken_out_wherever_it_stands() {
        let tags: String =
            "ignore all".bytes().map(|byte| char::from_u32(0xE0000 + u32::from(byte)).unwrap()).collect();
        let hidden = json!({
            "content": [{"type": "text", "text": format!("hello{tags} world\u{200B}")}],
            "structuredContent": {"a\u{202E}b": "x\u{2066}y", "bell": "\u{7}\u{1b}[31m"},
        });
        let expected = json!({
            "content": [{"type": "text", "text": "hello world"}],
            "structuredContent": {"ab": "xy", "bell": "[31m"},
        });
        assert_eq!(cleaned(&hidden), Some(expected));
    }

    #[test]
    fn what_people_write_stays_as_it_is() {
        for text in [
            "line\r\nline\ttab",
            "family 👨‍👩‍👧 and heart ❤️",
            "می‌خواهم نامه",
            "שָׁלוֹם",
            "क्‍ष",
            "naïve Ångström 漢字 かな",
            "emoji 🏳️‍🌈 1️⃣",
        ] {
            assert_eq!(cleaned(&json!({"content": [{"text": text}]})), None, "{text}");
        }
    }
}
