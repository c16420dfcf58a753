//! Reads v4 documents: strictly where an author sends one, leniently where the store gives one back.
//!
//! Decides only shape: a member that nobody knows is a fault at the API and is skipped in a stored document, so that an
//! older Portunus still reads what a newer one wrote. Invariant: `null` means absent, everywhere.

use std::fmt;

pub use policy::duration::Lifetime;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::colour::{Colour, ColourError};

/// Most faults reported for one document.
const MAX_PROBLEMS: usize = 50;

/// One fault of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// RFC 6901 pointer to the member; empty for the whole document.
    pub pointer: String,
    /// Fit for the author.
    pub message: String,
}

impl Problem {
    /// Makes a fault.
    #[must_use]
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pointer = if self.pointer.is_empty() { "document" } else { &self.pointer };
        write!(f, "{pointer}: {}", self.message)
    }
}

/// The faults found so far, bounded so that a hostile document cannot grow the answer.
#[derive(Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Adds a fault.
    pub fn add(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        if self.0.len() < MAX_PROBLEMS {
            self.0.push(Problem::new(pointer, message));
        }
    }

    /// Adds the faults of a part that stands at `prefix`.
    pub fn extend(&mut self, prefix: &str, others: Vec<Problem>) {
        for other in others {
            self.add(format!("{prefix}{}", other.pointer), other.message);
        }
    }

    /// Keeps the value, or the fault at `pointer`.
    pub fn check<T, E: fmt::Display>(&mut self, pointer: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(pointer, error.to_string())).ok()
    }

    /// Returns the value if there is no fault.
    ///
    /// # Errors
    /// With every fault.
    pub fn finish<T>(self, value: T) -> Result<T, Vec<Problem>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }

    /// Tells whether there is no fault.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the faults.
    #[must_use]
    pub fn into_vec(self) -> Vec<Problem> {
        self.0
    }
}

/// Reads what an author sent. Members of `read_only` at the top are dropped, as clients send back what they were given.
///
/// # Errors
/// With the first fault of shape, and every unknown member by name.
pub fn read<T: DeserializeOwned>(value: &Value, read_only: &[&str]) -> Result<T, Vec<Problem>> {
    let mut value = without_null(value);
    if let Value::Object(members) = &mut value {
        members.retain(|name, _| !read_only.contains(&name.as_str()));
    }
    let mut problems = Problems::default();
    let document = deserialize(value, |pointer| {
        let name = pointer.rsplit('/').next().unwrap_or_default().to_owned();
        problems.add(pointer, format!("unknown member `{name}`"));
    });
    match document {
        Ok(document) => problems.finish(document),
        Err(problem) => {
            problems.0.insert(0, problem);
            Err(problems.0)
        }
    }
}

/// Reads a stored document; members of a newer version are skipped.
///
/// # Errors
/// With the first fault of shape.
pub fn read_stored<T: DeserializeOwned>(value: &Value) -> Result<T, Problem> {
    deserialize(without_null(value), |_| {})
}

fn deserialize<T: DeserializeOwned>(value: Value, mut ignored: impl FnMut(String)) -> Result<T, Problem> {
    let mut track = serde_path_to_error::Track::new();
    let mut report = |path: serde_ignored::Path<'_>| ignored(ignored_pointer(&path));
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    let outcome = T::deserialize(serde_ignored::Deserializer::new(tracked, &mut report));
    outcome.map_err(|error| Problem::new(fault_pointer(&track.path()), error.to_string()))
}

fn ignored_pointer(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path as P;
    match path {
        P::Root => String::new(),
        P::Seq { parent, index } => format!("{}/{index}", ignored_pointer(parent)),
        P::Map { parent, key } => format!("{}/{}", ignored_pointer(parent), escape(key)),
        P::Some { parent } | P::NewtypeStruct { parent } | P::NewtypeVariant { parent } => ignored_pointer(parent),
    }
}

fn fault_pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment as S;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            S::Seq { index } => pointer.push_str(&format!("/{index}")),
            S::Map { key } => pointer.push_str(&format!("/{}", escape(key))),
            S::Enum { variant } => pointer.push_str(&format!("/{}", escape(variant))),
            S::Unknown => {}
        }
    }
    pointer
}

fn escape(name: &str) -> String {
    name.chars().take(80).collect::<String>().replace('~', "~0").replace('/', "~1")
}

fn without_null(value: &Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .iter()
                .filter(|(_, member)| !member.is_null())
                .map(|(name, member)| (name.clone(), without_null(member)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(without_null).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// Checks a name people see: 1 to `limit` characters, no control character.
///
/// # Errors
/// With what is wrong.
pub fn name(text: &str, limit: usize) -> Result<String, String> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if trimmed.chars().count() > limit {
        return Err(format!("must be at most {limit} characters"));
    }
    if trimmed.chars().any(char::is_control) {
        return Err("must not hold control characters".to_owned());
    }
    Ok(trimmed.to_owned())
}

/// Checks a link that pages show: absolute, http or https, no credentials.
///
/// # Errors
/// With what is wrong.
pub fn link(text: &str) -> Result<url::Url, String> {
    let url = url::Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must be an http or https URL".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not carry credentials".to_owned());
    }
    Ok(url)
}

/// Longest image written into a document itself, in bytes of its text.
const MAX_DATA_IMAGE: usize = 64 * 1_024;
const DATA_IMAGES: [&str; 5] = ["png", "jpeg", "gif", "webp", "svg+xml"];

/// Checks an image that pages show: an https URL (reference section 11), or a `data:` URL of an image in base64.
pub(crate) fn image(text: &str) -> Result<url::Url, String> {
    if let Some(data) = text.strip_prefix("data:") {
        let kinds = DATA_IMAGES.map(|kind| format!("image/{kind};base64,"));
        let body = kinds.iter().find_map(|kind| data.strip_prefix(kind.as_str()));
        let base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        return match body {
            Some(body) if text.len() <= MAX_DATA_IMAGE && !body.is_empty() && body.bytes().all(base64) => {
                url::Url::parse(text).map_err(|error| format!("not a URL: {error}"))
            }
            _ => Err(format!(
                "must be `data:image/png;base64,` (or jpeg, gif, webp, svg+xml) and at most {MAX_DATA_IMAGE} bytes"
            )),
        };
    }
    let url = link(text)?;
    if url.scheme() == "https" { Ok(url) } else { Err("must be an https or data URL".to_owned()) }
}

/// Checks a colour.
pub(crate) fn colour(text: &str) -> Result<Colour, String> {
    text.parse().map_err(|error: ColourError| error.to_string())
}

/// Makes an enum of words on the wire, read and written as exactly those.
#[macro_export]
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// Every value with its word on the wire.
            pub const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant),)*];

            /// Returns the word on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// Finds a value by its word.
            #[must_use]
            pub fn named(word: &str) -> Option<Self> {
                Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, found)| *found)
            }
        }
    };
}
pub use words;

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::{read, read_stored};

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default)]
    struct Inner {
        size: u8,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default)]
    struct Outer {
        name: String,
        inner: Vec<Inner>,
    }

    #[test]
    fn an_author_learns_every_unknown_member_and_the_store_reads_on() {
        let value = json!({"name": null, "colour": 1, "inner": [{"size": 3, "weight": 4}], "id": "x"});
        let problems = read::<Outer>(&value, &["id"]).unwrap_err();
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["/colour: unknown member `colour`", "/inner/0/weight: unknown member `weight`"]);
        let stored: Outer = read_stored(&value).unwrap();
        assert_eq!(stored, Outer { name: String::new(), inner: vec![Inner { size: 3 }] });
    }

    #[test]
    fn a_wrong_type_is_named_with_its_place() {
        let problems = read::<Outer>(&json!({"inner": [{"size": "big"}]}), &[]).unwrap_err();
        assert_eq!(problems[0].pointer, "/inner/0/size");
        assert!(problems[0].message.contains("expected u8"), "{}", problems[0].message);
    }
}
