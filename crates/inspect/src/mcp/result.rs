//! Answers without their question: what in a result only MCP's results have.
//!
//! A client of the older transport answers its server's questions in a request of its own, and a server's stream carries
//! answers to requests that were not seen. A result counts when all it holds is what one of MCP's results holds.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::message::{Info, Meta, is_version};
use super::value::{Leaf, Text, ignore_scalars};

/// What a result turned out to be.
pub(super) enum Shape {
    Mcp,
    Other,
}

/// What was seen of a result.
#[derive(Default)]
pub(super) struct Seen {
    members: u32,
    /// It holds something that no result of MCP does.
    strange: bool,
    pub(super) version: Option<String>,
    pub(super) server: Option<String>,
    pub(super) meta: Meta,
}

#[derive(Debug, Clone, Copy)]
enum Member {
    Version,
    Server,
    Capabilities,
    SupportedVersions,
    /// Definitions of tools.
    Tools,
    NoTools,
    Resources,
    Templates,
    Prompts,
    Roots,
    Contents,
    Content,
    Messages,
    Completion,
    Action,
    Role,
    Model,
    /// What may stand beside any of them.
    Beside,
}

impl Member {
    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl Seen {
    /// Tells what it is. `complete`: nothing of the message is missing.
    pub(super) fn shape(&self, complete: bool) -> Shape {
        use Member as M;
        let has = |members: &[Member]| members.iter().all(|member| self.members & member.bit() != 0);
        let greeting = has(&[M::Version, M::Server]) || has(&[M::SupportedVersions, M::Capabilities]);
        if self.meta.is_mcp || greeting {
            return Shape::Mcp;
        }
        let listing =
            [M::Tools, M::Resources, M::Templates, M::Prompts, M::Roots, M::Contents, M::Content, M::Messages];
        let own = listing.into_iter().any(|member| has(&[member]))
            || (complete && (has(&[M::NoTools]) || has(&[M::Completion]) || has(&[M::Action])))
            || has(&[M::Role, M::Model]);
        if own && !self.strange { Shape::Mcp } else { Shape::Other }
    }

    fn see(&mut self, member: Member) {
        self.members |= member.bit();
    }
}

/// A member's name, and how its value is read.
enum Name {
    Version,
    Server,
    Meta,
    Action,
    List(Member),
    Object(Member),
    Text(Member),
    Any(Member),
    Strange,
}

fn name(name: &str) -> Name {
    match name {
        "protocolVersion" => Name::Version,
        "serverInfo" => Name::Server,
        "_meta" => Name::Meta,
        "action" => Name::Action,
        "tools" => Name::List(Member::Tools),
        "resources" => Name::List(Member::Resources),
        "resourceTemplates" => Name::List(Member::Templates),
        "prompts" => Name::List(Member::Prompts),
        "roots" => Name::List(Member::Roots),
        "contents" => Name::List(Member::Contents),
        "content" => Name::List(Member::Content),
        "messages" => Name::List(Member::Messages),
        "supportedVersions" => Name::Any(Member::SupportedVersions),
        "capabilities" => Name::Object(Member::Capabilities),
        "completion" => Name::Object(Member::Completion),
        "role" => Name::Text(Member::Role),
        "model" => Name::Text(Member::Model),
        "instructions" | "nextCursor" | "isError" | "structuredContent" | "description" | "stopReason"
        | "resultType" | "ttlMs" | "cacheScope" => Name::Any(Member::Beside),
        _ => Name::Strange,
    }
}

impl<'de> DeserializeSeed<'de> for &mut Seen {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Seen {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a result")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Text(name))? {
            match name {
                Name::Version => match map.next_value()? {
                    Leaf::Text(text) if is_version(&text) => {
                        self.see(Member::Version);
                        self.version = Some(text);
                    }
                    Leaf::Text(_) | Leaf::Number | Leaf::Flag | Leaf::Null | Leaf::Object | Leaf::Array => {
                        self.strange = true;
                    }
                },
                Name::Server => {
                    map.next_value_seed(Info(&mut self.server))?;
                    self.see(if self.server.is_some() { Member::Server } else { Member::Beside });
                }
                Name::Meta => map.next_value_seed(&mut self.meta)?,
                Name::Action => {
                    let known = |text: &str| matches!(text, "accept" | "decline" | "cancel");
                    let known = matches!(map.next_value()?, Leaf::Text(text) if known(&text));
                    if known { self.see(Member::Action) } else { self.strange = true }
                }
                Name::List(member) => {
                    let mut items = Items { member, first: None };
                    map.next_value_seed(&mut items)?;
                    match items.kind() {
                        Some(found) => self.see(found),
                        // An answer of a model has one block, an answer to a form has values; both are read by what is
                        // beside them.
                        None if matches!(member, Member::Content) => {}
                        None => self.strange = true,
                    }
                }
                Name::Object(member) => match map.next_value()? {
                    Leaf::Object => self.see(member),
                    Leaf::Text(_) | Leaf::Number | Leaf::Flag | Leaf::Null | Leaf::Array => self.strange = true,
                },
                Name::Text(member) => match map.next_value()? {
                    Leaf::Text(_) => self.see(member),
                    Leaf::Number | Leaf::Flag | Leaf::Null | Leaf::Object | Leaf::Array => self.strange = true,
                },
                Name::Any(member) => {
                    map.next_value::<IgnoredAny>()?;
                    self.see(member);
                }
                Name::Strange => {
                    map.next_value::<IgnoredAny>()?;
                    self.strange = true;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.strange = true;
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    ignore_scalars!();
}

/// A list of a result: what its first element holds.
struct Items {
    member: Member,
    /// Absent: there is none, or it is no list.
    first: Option<Item>,
}

impl Items {
    /// Tells what kind of list it is, if it is one of MCP's.
    fn kind(&self) -> Option<Member> {
        let Some(item) = &self.first else {
            return matches!(self.member, Member::Tools).then_some(Member::NoTools);
        };
        let fits = match self.member {
            Member::Tools => item.name && item.input_schema,
            Member::Resources => item.uri && item.name,
            Member::Templates => item.uri_template,
            Member::Prompts => item.name && !item.uri,
            Member::Roots => item.file,
            Member::Contents => item.uri && item.body,
            Member::Content => item.block,
            Member::Messages => item.role && item.content,
            Member::Version
            | Member::Server
            | Member::Capabilities
            | Member::SupportedVersions
            | Member::NoTools
            | Member::Completion
            | Member::Action
            | Member::Role
            | Member::Model
            | Member::Beside => false,
        };
        fits.then_some(self.member)
    }
}

#[derive(Default)]
struct Item {
    name: bool,
    input_schema: bool,
    uri: bool,
    /// Its URI is a file's.
    file: bool,
    uri_template: bool,
    /// `text` or `blob`.
    body: bool,
    role: bool,
    content: bool,
    /// Its `type` is that of a content block.
    block: bool,
}

impl<'de> DeserializeSeed<'de> for &mut Items {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Items {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut first = Item::default();
        if items.next_element_seed(&mut first)?.is_some() {
            self.first = Some(first);
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // An object is no list, and none of its members is an element.
        self.first = Some(Item::default());
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }

    ignore_scalars!();
}

enum Part {
    Name,
    InputSchema,
    Uri,
    UriTemplate,
    Body,
    Role,
    Content,
    Type,
    Other,
}

impl<'de> DeserializeSeed<'de> for &mut Item {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Item {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an element")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let name = |name: &str| match name {
            "name" => Part::Name,
            "inputSchema" => Part::InputSchema,
            "uri" => Part::Uri,
            "uriTemplate" => Part::UriTemplate,
            "text" | "blob" => Part::Body,
            "role" => Part::Role,
            "content" => Part::Content,
            "type" => Part::Type,
            _ => Part::Other,
        };
        while let Some(part) = map.next_key_seed(Text(name))? {
            let value: Leaf = map.next_value()?;
            let text = match &value {
                Leaf::Text(text) => Some(text.as_str()),
                Leaf::Number | Leaf::Flag | Leaf::Null | Leaf::Object | Leaf::Array => None,
            };
            match part {
                Part::Name => self.name = text.is_some(),
                Part::InputSchema => self.input_schema = matches!(value, Leaf::Object),
                Part::Uri => {
                    self.uri = text.is_some();
                    self.file = text.is_some_and(|uri| uri.starts_with("file:"));
                }
                Part::UriTemplate => self.uri_template = text.is_some(),
                Part::Body => self.body = text.is_some(),
                Part::Role => self.role = text.is_some(),
                Part::Content => self.content = matches!(value, Leaf::Object | Leaf::Array),
                Part::Type => {
                    let blocks = ["text", "image", "audio", "resource", "resource_link", "tool_use", "tool_result"];
                    self.block = text.is_some_and(|kind| blocks.contains(&kind));
                }
                Part::Other => {}
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    ignore_scalars!();
}
