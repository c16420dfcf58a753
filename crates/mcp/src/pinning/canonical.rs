//! Digests of definitions: of everything a definition says, and of what it says about calls alone.
//!
//! Two texts that mean the same JSON have the same digest; numbers count by their digits, as nobody says how a reader takes
//! them. Invariants: a digest is of one kind and covers every member; the digest of the conduct leaves out nothing but
//! what is told to people and models: titles, descriptions, icons and examples.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::catalog::{Definition, Kind};
use crate::raw::{self, Object};

/// SHA-256 over the canonical form of a definition, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(Box<str>);

impl Digest {
    /// Returns the hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let sound = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if sound { Ok(Self(text.into())) } else { Err("not a digest of 64 hexadecimal digits") }
    }
}

/// Digests everything a definition says.
#[must_use]
pub fn whole(definition: &Definition) -> Digest {
    of(definition, Place::Data)
}

/// Digests what a definition says about calls: what it takes and gives, its hints, and whatever is not known to be words.
#[must_use]
pub fn conduct(definition: &Definition) -> Digest {
    of(definition, Place::Definition)
}

fn of(definition: &Definition, place: Place) -> Digest {
    let kind = match definition.kind {
        Kind::Tool => "tool",
        Kind::Prompt => "prompt",
        Kind::Resource => "resource",
        Kind::ResourceTemplate => "template",
    };
    // The kind ends at the first brace, so no definition of one kind reads as one of another.
    let mut out = kind.as_bytes().to_vec();
    write(&definition.json, place, &mut out);
    let digest = digest(&SHA256, &out);
    Digest(digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
}

/// What a value is, as far as words in it are told from what is done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Everything counts.
    Data,
    Definition,
    /// A JSON Schema, an argument of a prompt, or a list of either.
    Schema,
    /// An object whose members are schemas, under names of the author's own.
    Schemas,
    /// The hints of a tool.
    Hints,
}

impl Place {
    /// What a member is; `None` for words.
    fn member(self, name: &str) -> Option<Self> {
        match (self, name) {
            (Self::Definition, "title" | "description" | "icons")
            | (Self::Schema, "title" | "description" | "examples" | "$comment")
            | (Self::Hints, "title") => None,
            (Self::Definition, "inputSchema" | "outputSchema" | "arguments") => Some(Self::Schema),
            (Self::Definition, "annotations") => Some(Self::Hints),
            (Self::Schema, "enum" | "const" | "default" | "required") => Some(Self::Data),
            (Self::Schema, "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas") => {
                Some(Self::Schemas)
            }
            (Self::Schema | Self::Schemas, _) => Some(Self::Schema),
            (Self::Data | Self::Definition | Self::Hints, _) => Some(Self::Data),
        }
    }
}

/// Writes a value in its canonical form. A definition that was read is nested at most as deep as the catalogue allows.
fn write(value: &RawValue, place: Place, out: &mut Vec<u8>) {
    let text = value.get().trim_ascii();
    match text.as_bytes().first() {
        Some(b'{') => {
            let Ok(object) = Object::parse(text) else { return out.extend_from_slice(text.as_bytes()) };
            let mut members: Vec<(&str, &RawValue)> = object.members().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            out.push(b'{');
            for (name, value) in members {
                let Some(place) = place.member(name) else { continue };
                out.extend_from_slice(raw::raw(name).get().as_bytes());
                out.push(b':');
                write(value, place, out);
                out.push(b',');
            }
            out.push(b'}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
            out.push(b'[');
            for item in items {
                write(item, place, out);
                out.push(b',');
            }
            out.push(b']');
        }
        Some(b'"') => match raw::text(value) {
            Some(text) => out.extend_from_slice(raw::raw(&*text).get().as_bytes()),
            None => out.extend_from_slice(text.as_bytes()),
        },
        _ => out.extend_from_slice(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn tool(text: &str) -> Definition {
        Definition::read(Kind::Tool, &RawValue::from_string(text.to_owned()).unwrap()).unwrap()
    }

    #[test]
    fn order_and_spaces_and_escapes_do_not_matter_and_everything_else_does() {
        let base = tool(r#"{"name":"a","inputSchema":{"type":"object","properties":{"n":{"default":1}}},"x":"é"}"#);
        for (text, same) in [
            (r#"{ "x" : "\u00e9", "inputSchema":{"properties":{"n":{"default":1}},"type":"object"},"name":"a"}"#, true),
            (r#"{"name":"b","inputSchema":{"type":"object","properties":{"n":{"default":1}}},"x":"é"}"#, false),
            (r#"{"name":"a","inputSchema":{"type":"object","properties":{"n":{"default":1.0}}},"x":"é"}"#, false),
            (r#"{"name":"a","inputSchema":{"type":"object","properties":{"n":{"default":"1"}}},"x":"é"}"#, false),
            (r#"{"name":"a","inputSchema":{"type":"object","properties":{"n":{"default":1}}},"x":["é"]}"#, false),
            (r#"{"name":"a","inputSchema":{"type":"object","properties":{"n":{"default":1}}}}"#, false),
        ] {
            assert_eq!(whole(&tool(text)) == whole(&base), same, "{text}");
        }
        // Beyond what a float tells apart.
        let big = |n: &str| tool(&format!(r#"{{"name":"a","inputSchema":{{"maximum":{n}}}}}"#));
        assert_ne!(whole(&big("18446744073709551616")), whole(&big("18446744073709551617")));
    }

    #[test]
    fn words_are_told_from_what_is_done() {
        let base = json!({
            "name": "a", "title": "A", "description": "does", "annotations": {"readOnlyHint": true, "title": "A"},
            "inputSchema": {"type": "object", "properties": {"description": {"type": "string", "description": "d"}}},
        });
        let conduct_of = |value: &Value| conduct(&tool(&value.to_string()));
        for (pointer, value, same) in [
            ("/title", json!("B"), true),
            ("/description", json!("does more"), true),
            ("/annotations/title", json!("B"), true),
            ("/inputSchema/properties/description/description", json!("e"), true),
            ("/annotations/readOnlyHint", json!(false), false),
            ("/inputSchema/type", json!("array"), false),
            // A property that happens to be called so is no word.
            ("/inputSchema/properties/description", json!({"type": "number", "description": "d"}), false),
            ("/name", json!("b"), false),
        ] {
            let mut changed = base.clone();
            *changed.pointer_mut(pointer).unwrap() = value;
            assert_eq!(conduct_of(&changed) == conduct_of(&base), same, "{pointer}");
            assert_ne!(whole(&tool(&changed.to_string())), whole(&tool(&base.to_string())), "{pointer}");
        }
        let mut with = base.clone();
        with["_meta"] = json!({"ui": "x"});
        assert_ne!(conduct_of(&with), conduct_of(&base));
    }

    proptest! {
        #[test]
        fn a_digest_is_that_of_the_value_however_it_is_written(
            members in proptest::collection::btree_map("[a-c\"é]{1,2}", "[ -~é]{0,5}", 0..5), pretty: bool,
        ) {
            let mut value = json!({"name": "n", "inputSchema": {}});
            value["more"] = json!(members);
            let one = serde_json::to_string(&value).unwrap();
            let other = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { one.replace('é', "\\u00e9") };
            prop_assert_eq!(whole(&tool(&one)), whole(&tool(&other)));
        }
    }
}
