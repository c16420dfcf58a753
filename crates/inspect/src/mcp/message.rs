//! Reads the start of a body as JSON-RPC and tells MCP from everything else that speaks it.
//!
//! Language servers have `initialize` too, and so has the Agent Client Protocol; tasks are got from A2A servers as well. So a
//! method alone is evidence only where no other protocol has it, and is otherwise held against its params. A member named
//! twice counts with each of its values, because receivers differ in which one they take. Invariants: one pass over the
//! bytes; what is kept of them are the names that are returned; nothing here recurses deeper than serde_json's limit.

use std::fmt;

use memchr::memmem;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::methods::{self, Proof};
use super::result::{self, Shape};
use super::value::{Leaf, Text};

/// What MCP messages in a body say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The methods of its requests and notifications, in order; empty for answers alone.
    pub methods: Vec<String>,
    /// The tools it calls, in order.
    pub tools: Vec<String>,
    /// The name the client gives itself.
    pub client: Option<String>,
    /// The name the server gives itself.
    pub server: Option<String>,
    /// The protocol version it asks for or answers with.
    pub version: Option<String>,
    /// Everything was read: no further method or tool can follow.
    pub complete: bool,
}

/// What a body is, as far as it was handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    Mcp(Message),
    /// Something else, whatever follows.
    Other,
    /// The bytes end before it can be told.
    Cut,
}

/// Reads a body, or its start when it is not `whole`.
#[must_use]
pub fn read(bytes: &[u8], whole: bool) -> Reading {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{' | b'[') => {}
        None if !whole => return Reading::Cut,
        Some(_) | None => return Reading::Other,
    }
    if whole && !may_be_rpc(bytes) {
        return Reading::Other;
    }
    let mut found = Found::default();
    let ended = Top(&mut found).deserialize(&mut serde_json::Deserializer::from_slice(bytes));
    let complete = ended.is_ok();
    found.close(complete);
    match (found.is_mcp, ended) {
        (true, _) => Reading::Mcp(Message { complete: complete || whole, ..found.message }),
        (false, Err(error)) if error.is_eof() && !whole => Reading::Cut,
        (false, _) => Reading::Other,
    }
}

/// Most JSON says no such word, and finding that out costs next to nothing. A letter may also stand as its number.
fn may_be_rpc(bytes: &[u8]) -> bool {
    memmem::find(bytes, b"jsonrpc").is_some() || memmem::find(bytes, b"\\u").is_some()
}

/// What was found, and the message that is being read.
#[derive(Default)]
struct Found {
    message: Message,
    is_mcp: bool,
    current: Option<Rpc>,
}

/// One JSON-RPC message.
#[derive(Default)]
struct Rpc {
    /// `jsonrpc` was there, and said 2.0.
    version: Option<bool>,
    methods: Vec<String>,
    params: Params,
    result: Option<result::Seen>,
    /// It has a member that JSON-RPC does not know.
    strange: bool,
}

/// What the params of a request hold.
#[derive(Default)]
pub(super) struct Params {
    /// They are something else than an object.
    odd: bool,
    /// What was seen of [`Proof`].
    pub(super) proofs: u32,
    names: Vec<String>,
    meta: Meta,
    pub(super) version: Option<String>,
    client: Option<String>,
}

/// What `_meta` holds of the protocol's own keys.
#[derive(Default)]
pub(super) struct Meta {
    pub(super) is_mcp: bool,
    pub(super) version: Option<String>,
    pub(super) client: Option<String>,
    pub(super) server: Option<String>,
}

impl Found {
    /// Ends the message that is being read, and judges it.
    fn close(&mut self, complete: bool) {
        let Some(rpc) = self.current.take() else { return };
        let says_so = match rpc.version {
            Some(says_so) => says_so,
            // It may be the last member, of a message that holds nothing else than one does.
            None => !complete && !rpc.strange,
        };
        if !says_so {
            return;
        }
        let Rpc { methods, mut params, result, .. } = rpc;
        for method in methods {
            let proven = !params.odd && (params.meta.is_mcp || methods::is_proven(&method, params.proofs, complete));
            if !proven {
                continue;
            }
            self.is_mcp = true;
            if method == "tools/call" {
                self.message.tools.append(&mut params.names);
            }
            self.message.methods.push(method);
        }
        let shape = result.as_ref().map(|result| result.shape(complete));
        if matches!(shape, Some(Shape::Mcp)) {
            self.is_mcp = true;
        }
        if self.is_mcp {
            let Meta { version, client, server, .. } = params.meta;
            let result = result.unwrap_or_default();
            let message = &mut self.message;
            message.version = message.version.take().or(params.version).or(version).or(result.version);
            message.client = message.client.take().or(params.client).or(client);
            message.server = message.server.take().or(server).or(result.server).or(result.meta.server);
        }
    }
}

/// A body: one message or a batch.
struct Top<'a>(&'a mut Found);

impl<'de> DeserializeSeed<'de> for Top<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message or a batch of them")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        One(self.0).visit_map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(One(&mut *self.0))?.is_some() {}
        Ok(())
    }
}

/// One message; anything but an object is passed over.
struct One<'a>(&'a mut Found);

impl<'de> DeserializeSeed<'de> for One<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

enum Member {
    Version,
    Method,
    Params,
    Result,
    Known,
    Strange,
}

impl<'de> Visitor<'de> for One<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let name = |name: &str| match name {
            "jsonrpc" => Member::Version,
            "method" => Member::Method,
            "params" => Member::Params,
            "result" => Member::Result,
            "id" | "error" => Member::Known,
            _ => Member::Strange,
        };
        let rpc = self.0.current.insert(Rpc::default());
        while let Some(member) = map.next_key_seed(Text(name))? {
            match member {
                Member::Version => {
                    let says_so = matches!(map.next_value()?, Leaf::Text(text) if text == "2.0");
                    rpc.version = Some(says_so || rpc.version == Some(true));
                }
                Member::Method => {
                    if let Leaf::Text(method) = map.next_value()?
                        && method.len() <= methods::LONGEST
                    {
                        rpc.methods.push(method);
                    }
                }
                Member::Params => map.next_value_seed(&mut rpc.params)?,
                Member::Result => map.next_value_seed(rpc.result.get_or_insert_default())?,
                Member::Known => drop(map.next_value::<IgnoredAny>()?),
                Member::Strange => {
                    rpc.strange = true;
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        self.0.close(true);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    super::value::ignore_scalars!();
}

impl<'de> DeserializeSeed<'de> for &mut Params {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

enum Param {
    Proof(Proof),
    Client,
    Meta,
    Other,
}

fn param(name: &str) -> Param {
    Param::Proof(match name {
        "name" => Proof::Name,
        "uri" => Proof::Uri,
        "messages" => Proof::Messages,
        "message" => Proof::Message,
        "level" => Proof::Level,
        "progressToken" => Proof::ProgressToken,
        "taskId" => Proof::TaskId,
        "ref" => Proof::Reference,
        "elicitationId" => Proof::ElicitationId,
        "protocolVersion" => Proof::ProtocolVersion,
        "clientInfo" => return Param::Client,
        "_meta" => return Param::Meta,
        _ => return Param::Other,
    })
}

impl Params {
    fn see(&mut self, proof: Proof, value: Leaf) {
        let holds = match (proof, &value) {
            (Proof::ProtocolVersion, Leaf::Text(text)) => is_version(text),
            (Proof::Messages, value) => matches!(value, Leaf::Array),
            (Proof::Reference, value) => matches!(value, Leaf::Object),
            (Proof::ProgressToken, value) => matches!(value, Leaf::Text(_) | Leaf::Number),
            (_, value) => matches!(value, Leaf::Text(_)),
        };
        if !holds {
            return;
        }
        self.proofs |= proof.bit();
        if let Leaf::Text(text) = value {
            match proof {
                Proof::Name => self.names.push(text),
                Proof::ProtocolVersion => self.version = Some(text),
                Proof::Uri
                | Proof::Messages
                | Proof::Message
                | Proof::Level
                | Proof::ProgressToken
                | Proof::TaskId
                | Proof::Reference
                | Proof::ElicitationId => {}
            }
        }
    }
}

impl<'de> Visitor<'de> for &mut Params {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("params")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(member) = map.next_key_seed(Text(param))? {
            match member {
                Param::Proof(proof) => {
                    let value = map.next_value()?;
                    self.see(proof, value);
                }
                Param::Client => map.next_value_seed(Info(&mut self.client))?,
                Param::Meta => map.next_value_seed(&mut self.meta)?,
                Param::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.odd = true;
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    super::value::ignore_scalars!();
}

impl<'de> DeserializeSeed<'de> for &mut Meta {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

enum Key {
    Version,
    Client,
    Server,
    Protocol,
    Other,
}

impl<'de> Visitor<'de> for &mut Meta {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_meta")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let name = |name: &str| match name.strip_prefix("io.modelcontextprotocol/") {
            Some("protocolVersion") => Key::Version,
            Some("clientInfo") => Key::Client,
            Some("serverInfo") => Key::Server,
            Some(_) => Key::Protocol,
            None => Key::Other,
        };
        while let Some(key) = map.next_key_seed(Text(name))? {
            self.is_mcp |= !matches!(key, Key::Other);
            match key {
                Key::Version => {
                    if let Leaf::Text(text) = map.next_value()? {
                        self.version = Some(text);
                    }
                }
                Key::Client => map.next_value_seed(Info(&mut self.client))?,
                Key::Server => map.next_value_seed(Info(&mut self.server))?,
                Key::Protocol | Key::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    super::value::ignore_scalars!();
}

/// `{name, version, …}` of a client or server.
pub(super) struct Info<'a>(pub(super) &'a mut Option<String>);

impl<'de> DeserializeSeed<'de> for Info<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Info<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("who it is")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(is_name) = map.next_key_seed(Text(|name: &str| name == "name"))? {
            match map.next_value()? {
                Leaf::Text(text) if is_name => *self.0 = Some(text),
                Leaf::Text(_) | Leaf::Number | Leaf::Flag | Leaf::Null | Leaf::Object | Leaf::Array => {}
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    super::value::ignore_scalars!();
}

/// Tells whether a text is a protocol version: a date, or a draft of one.
#[must_use]
pub fn is_version(text: &str) -> bool {
    let is_date = |date: &[u8]| {
        date.len() == 10
            && date.iter().enumerate().all(|(at, byte)| match at {
                4 | 7 => *byte == b'-',
                _ => byte.is_ascii_digit(),
            })
    };
    is_date(text.as_bytes()) || text.strip_prefix("DRAFT-").is_some_and(|rest| rest.starts_with("202"))
}
