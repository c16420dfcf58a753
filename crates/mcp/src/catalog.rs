//! What one server offers: its tools, prompts, resources and resource templates, as it listed them.
//!
//! Reads the few members the portal needs and keeps the rest as it came. Decides which definitions can be carried at all,
//! not who sees them. Invariants: the definition handed on is the one that was read; a catalogue has bounds, whatever a
//! server lists; within a kind no key stands twice.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use types::Verbatim;

use crate::raw::{self, Object};

/// Most definitions of one kind that one server may have.
pub const MAX_DEFINITIONS: usize = 2_000;
/// Largest definition, in bytes.
pub const MAX_DEFINITION: usize = 256 * 1_024;
const MAX_KEY: usize = 2_048;
const MAX_DEPTH: usize = 64;
/// Most faults kept to be shown.
const MAX_FAULTS: usize = 100;

/// The four kinds of things a server lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Tool,
    Prompt,
    Resource,
    ResourceTemplate,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Tool, Self::Prompt, Self::Resource, Self::ResourceTemplate];

    /// Returns the method that lists it.
    #[must_use]
    pub const fn method(self) -> &'static str {
        match self {
            Self::Tool => "tools/list",
            Self::Prompt => "prompts/list",
            Self::Resource => "resources/list",
            Self::ResourceTemplate => "resources/templates/list",
        }
    }

    /// Returns the member of the result that holds the list.
    #[must_use]
    pub const fn member(self) -> &'static str {
        match self {
            Self::Tool => "tools",
            Self::Prompt => "prompts",
            Self::Resource => "resources",
            Self::ResourceTemplate => "resourceTemplates",
        }
    }

    /// Returns the member of a definition by which it is addressed.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Tool | Self::Prompt => "name",
            Self::Resource => "uri",
            Self::ResourceTemplate => "uriTemplate",
        }
    }
}

/// What a tool says of itself; hints, not facts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Annotations {
    pub read_only_hint: Option<bool>,
    pub destructive_hint: Option<bool>,
    pub idempotent_hint: Option<bool>,
    pub open_world_hint: Option<bool>,
}

/// One tool, prompt, resource or template.
#[derive(Debug, Clone)]
pub struct Definition {
    pub kind: Kind,
    /// Its name, URI or URI template, as the server knows it.
    pub key: Box<str>,
    pub title: Option<Box<str>>,
    pub description: Option<Box<str>>,
    pub annotations: Annotations,
    /// The definition as the server wrote it.
    pub json: Box<RawValue>,
}

/// Why a definition is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    #[error("larger or nested deeper than is carried")]
    TooLarge,
    #[error("not an object, or one that names a member twice")]
    Shape,
    #[error("its name or URI is missing, too long or has control characters")]
    Key,
    #[error("a tool needs an inputSchema, an object")]
    InputSchema,
    #[error("another definition has the same name or URI")]
    Twice,
    #[error("the server lists more than is carried")]
    TooMany,
}

impl Definition {
    /// Tells whether it is a tool that does not say that it only reads.
    #[must_use]
    pub fn may_write(&self) -> bool {
        self.kind == Kind::Tool && self.annotations.read_only_hint != Some(true)
    }

    /// Reads one item of a list.
    ///
    /// # Errors
    /// When it cannot be carried; the server's other definitions are not affected.
    pub fn read(kind: Kind, json: &RawValue) -> Result<Self, DefinitionError> {
        let text = json.get();
        if text.len() > MAX_DEFINITION || raw::depth(text.as_bytes()) > MAX_DEPTH {
            return Err(DefinitionError::TooLarge);
        }
        if !raw::is_unambiguous(text) {
            return Err(DefinitionError::Shape);
        }
        let object = Object::parse(text).map_err(|_| DefinitionError::Shape)?;
        let key = object.text(kind.key()).ok_or(DefinitionError::Key)?;
        if key.is_empty() || key.len() > MAX_KEY || key.chars().any(char::is_control) {
            return Err(DefinitionError::Key);
        }
        if kind == Kind::Tool && object.object("inputSchema").is_none() {
            return Err(DefinitionError::InputSchema);
        }
        let text_of = |name: &str| object.text(name).map(|text| text.into_owned().into_boxed_str());
        let annotations = object.value("annotations").filter(|_| kind == Kind::Tool);
        Ok(Self {
            kind,
            title: text_of("title"),
            description: text_of("description"),
            annotations: annotations.and_then(|hints| serde_json::from_str(hints.get()).ok()).unwrap_or_default(),
            key: key.into_owned().into_boxed_str(),
            json: json.to_owned(),
        })
    }

    /// Returns a member of the definition as a value; `Null` when it is absent.
    #[must_use]
    pub fn member(&self, name: &str) -> Value {
        let object = Object::parse(self.json.get()).ok();
        object.and_then(|object| serde_json::from_str(object.value(name)?.get()).ok()).unwrap_or(Value::Null)
    }
}

/// One page of a server's list.
#[derive(Debug, Clone)]
pub struct ListPage {
    pub items: Vec<Box<RawValue>>,
    pub next_cursor: Option<String>,
}

impl ListPage {
    /// Reads the result of a list request; `None` when it holds no list.
    #[must_use]
    pub fn read(kind: Kind, result: &RawValue) -> Option<Self> {
        let object = Object::parse(result.get()).ok()?;
        let items = serde_json::from_str(object.value(kind.member())?.get()).ok()?;
        let next_cursor = object.text("nextCursor").map(std::borrow::Cow::into_owned);
        Some(Self { items, next_cursor })
    }
}

/// Everything one server listed, by kind, in its order.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    lists: [Vec<Definition>; 4],
    index: [HashMap<Box<str>, usize>; 4],
    faults: Vec<(Kind, usize, DefinitionError)>,
}

impl Catalog {
    /// Makes a catalogue of what was kept, in the order of [`Kind::ALL`].
    #[must_use]
    pub fn of(lists: [&[Verbatim]; 4]) -> Self {
        let mut catalog = Self::default();
        for (kind, items) in Kind::ALL.into_iter().zip(lists) {
            catalog.extend(kind, items.iter().map(Verbatim::raw));
        }
        catalog
    }

    /// Adds definitions in the order given; what cannot be carried is left out and kept as a fault.
    pub fn extend<'a>(&mut self, kind: Kind, items: impl IntoIterator<Item = &'a RawValue>) {
        let (list, index) = (&mut self.lists[kind as usize], &mut self.index[kind as usize]);
        for (position, item) in items.into_iter().enumerate() {
            if list.len() >= MAX_DEFINITIONS {
                self.faults.push((kind, position, DefinitionError::TooMany));
                return;
            }
            let fault = match Definition::read(kind, item) {
                Ok(definition) if index.contains_key(&definition.key) => DefinitionError::Twice,
                Ok(definition) => {
                    index.insert(definition.key.clone(), list.len());
                    list.push(definition);
                    continue;
                }
                Err(error) => error,
            };
            if self.faults.len() < MAX_FAULTS {
                self.faults.push((kind, position, fault));
            }
        }
    }

    /// Returns what was left out: its kind, its place in the list it came in, and why.
    #[must_use]
    pub fn faults(&self) -> &[(Kind, usize, DefinitionError)] {
        &self.faults
    }

    #[must_use]
    pub fn list(&self, kind: Kind) -> &[Definition] {
        &self.lists[kind as usize]
    }

    #[must_use]
    pub fn find(&self, kind: Kind, key: &str) -> Option<&Definition> {
        self.lists[kind as usize].get(*self.index[kind as usize].get(key)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{SERVERS, real};
    use serde_json::json;

    #[test]
    fn real_servers_are_read_whole_and_kept_as_they_are() {
        let mut tools = 0;
        for (server, expected) in SERVERS.iter().zip([16, 14, 9, 25]) {
            let catalog = real(server);
            assert_eq!((catalog.list(Kind::Tool).len(), catalog.faults()), (expected, &[][..]), "{server}");
            tools += expected;
        }
        assert_eq!(tools, 64);
        let files = real("filesystem");
        let read = files.find(Kind::Tool, "read_file").unwrap();
        assert_eq!(read.annotations.read_only_hint, Some(true));
        assert_eq!(read.title.as_deref(), Some("Read File (Deprecated)"));
        assert_eq!(read.member("execution"), json!({"taskSupport": "forbidden"}));
        // Spaces and order of the server's own text are still there.
        assert!(read.json.get().starts_with("{\n"));
    }

    #[test]
    fn what_cannot_be_carried_is_left_out_with_its_reason() {
        let deep = format!(r#"{{"name":"d","inputSchema":{}1{}}}"#, "{\"a\":".repeat(80), "}".repeat(80));
        let large = format!(r#"{{"name":"l","inputSchema":{{}},"description":"{}"}}"#, "x".repeat(MAX_DEFINITION));
        for (text, error) in [
            ("7", DefinitionError::Shape),
            (r#"{"name":"a","name":"b","inputSchema":{}}"#, DefinitionError::Shape),
            (r#"{"name":"a","inputSchema":{"type":"object","type":"array"}}"#, DefinitionError::Shape),
            (r#"{"inputSchema":{}}"#, DefinitionError::Key),
            (r#"{"name":"","inputSchema":{}}"#, DefinitionError::Key),
            (r#"{"name":"a\nb","inputSchema":{}}"#, DefinitionError::Key),
            (r#"{"name":"a"}"#, DefinitionError::InputSchema),
            (&deep, DefinitionError::TooLarge),
            (&large, DefinitionError::TooLarge),
        ] {
            let item = RawValue::from_string(text.to_owned()).unwrap();
            let mut catalog = Catalog::default();
            catalog.extend(Kind::Tool, [&*item]);
            assert_eq!(catalog.faults(), [(Kind::Tool, 0, error)], "{text:.80}");
            assert!(catalog.list(Kind::Tool).is_empty());
        }
    }

    #[test]
    fn a_server_that_lists_without_end_is_cut_off() {
        let mut catalog = Catalog::default();
        let items: Vec<_> =
            (0..MAX_DEFINITIONS + 10).map(|number| raw::raw(&json!({"name": number.to_string()}))).collect();
        catalog.extend(Kind::Prompt, items.iter().map(|item| &**item));
        assert_eq!(catalog.list(Kind::Prompt).len(), MAX_DEFINITIONS);
        assert_eq!(catalog.faults(), [(Kind::Prompt, MAX_DEFINITIONS, DefinitionError::TooMany)]);
        let mut twice = Catalog::default();
        let same = raw::raw(&json!({"name": "a"}));
        twice.extend(Kind::Prompt, vec![&*same; 200]);
        assert_eq!((twice.list(Kind::Prompt).len(), twice.faults().len()), (1, MAX_FAULTS));
    }

    #[test]
    fn a_page_of_a_list_is_read_with_its_cursor() {
        let result = RawValue::from_string(r#"{"prompts":[{"name": "a"}],"nextCursor":"n"}"#.to_owned()).unwrap();
        let page = ListPage::read(Kind::Prompt, &result).unwrap();
        assert_eq!((page.items.len(), page.next_cursor.as_deref()), (1, Some("n")));
        assert_eq!(page.items[0].get(), r#"{"name": "a"}"#);
        assert!(ListPage::read(Kind::Tool, &result).is_none());
    }
}
