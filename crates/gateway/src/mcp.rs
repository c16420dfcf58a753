//! The Model Context Protocol in a request: what the head says, what the body says once a rule waits for it, and what is noted
//! for the record as the messages pass by.
//!
//! Detection is `inspect`'s, deciding is policy's. Invariants: a body is held only for a rule; for the record alone its first
//! bytes are looked at in passing, and only where the head announces JSON or events. What a rule has to know and cannot be
//! read is never taken for "nothing".

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use expr::FieldSet;
use http::header::{self, HeaderMap, HeaderName};
use http_body::{Frame, SizeHint};
use inspect::mcp::{self as protocol, Evidence, Head, Hint, Message, Reading};
use logs::GatewayHttp;
use parking_lot::Mutex;
use policy::facts::{McpMessages, McpTraffic};
use policy::hook::http::id as field;

use crate::body::{Body, BoxError, boxed};
use crate::exchange::{Target, media_type};
use crate::sniff;

/// First bytes of a message that are looked at for the record alone.
const PASSING: usize = 16 << 10;
/// How often a stream of events is looked at for the record.
const LOOKS: usize = 8;
/// Longest text that is recorded, in characters.
const LONGEST: usize = 256;

/// Hosts at which this account's own MCP is: what goes there is not in the shadow.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct McpPlaces {
    /// Of portals, in lower case.
    pub portals: HashSet<String>,
    /// Of the servers that stand behind portals, in lower case.
    pub servers: HashSet<String>,
}

/// What is known of MCP in one request.
pub(crate) struct Mcp {
    hint: Hint,
    body: Looked,
    version: Option<String>,
    is_portal: bool,
    behind_portal: bool,
    /// What was read of a body that is MCP, for a rule that records it masked.
    kept: Option<Bytes>,
    /// A rule wants the messages recorded, masked.
    masks: bool,
    payload: Option<serde_json::Value>,
    request: Option<Arc<Tap>>,
    response: Option<Arc<Tap>>,
}

/// What is known of the body.
#[derive(Default)]
enum Looked {
    #[default]
    NotYet,
    Read(Reading),
    /// It is in a coding that cannot be undone, or it is gone.
    Unreadable,
}

/// The fields that are read from messages.
pub(crate) fn message_fields() -> FieldSet {
    [field::MCP_METHODS, field::MCP_TOOLS, field::MCP_CLIENT_NAME, field::MCP_VERSION]
        .into_iter()
        .fold(FieldSet::EMPTY, |set, field| set.union(FieldSet::of(field)))
}

impl Mcp {
    /// Looks at the head of a request.
    pub(crate) fn of(
        target: &Target,
        method: &http::Method,
        headers: &HeaderMap,
        has_body: bool,
        mime: Option<&str>,
        places: &McpPlaces,
    ) -> Self {
        const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
        const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
        const METHOD: HeaderName = HeaderName::from_static("mcp-method");
        let value = |name: HeaderName| headers.get(name).map(http::HeaderValue::as_bytes);
        let version = value(VERSION);
        let head = Head {
            host: &target.host,
            path: target.path(),
            method: method.as_str(),
            body: protocol::body_of(has_body, mime),
            accept: value(header::ACCEPT),
            version,
            session: value(SESSION),
            rpc_method: value(METHOD),
        };
        let version = version.and_then(|version| std::str::from_utf8(version).ok()).map(str::trim);
        Self {
            hint: head.hint(),
            body: Looked::NotYet,
            version: version.filter(|version| protocol::is_version(version)).map(str::to_owned),
            is_portal: places.portals.contains(&target.host),
            behind_portal: places.servers.contains(&target.host),
            kept: None,
            masks: false,
            payload: None,
            request: None,
            response: None,
        }
    }

    /// Returns what rules may read.
    pub(crate) fn facts(&self) -> McpTraffic<'_> {
        McpTraffic {
            is_mcp: self.is_mcp(),
            messages: self.messages(),
            server_name: self.hint.server.map(|server| server.name.as_str()),
            is_portal: self.is_portal,
            behind_portal: self.behind_portal,
        }
    }

    /// Tells whether the request is MCP, as soon as that is known.
    pub(crate) fn is_mcp(&self) -> Option<bool> {
        if self.hint.is_mcp {
            return Some(true);
        }
        if !self.hint.reads_body {
            return Some(self.hint.settle(None));
        }
        match &self.body {
            Looked::NotYet => None,
            Looked::Read(reading) => Some(self.hint.settle(Some(reading))),
            Looked::Unreadable => Some(self.hint.settle(None)),
        }
    }

    fn messages(&self) -> Option<McpMessages<'_>> {
        let none = McpMessages { version: self.version.as_deref(), ..McpMessages::default() };
        if !self.hint.reads_body {
            return Some(none);
        }
        match &self.body {
            Looked::Read(Reading::Mcp(message)) if message.complete => Some(McpMessages {
                methods: &message.methods,
                tools: &message.tools,
                client_name: message.client.as_deref(),
                version: self.version.as_deref().or(message.version.as_deref()),
            }),
            Looked::Read(Reading::Other) => Some(none),
            // A later member could name another tool than the first one did.
            Looked::Read(Reading::Mcp(_) | Reading::Cut) | Looked::NotYet | Looked::Unreadable => None,
        }
    }

    /// Whether reading the start of the body would tell more.
    pub(crate) fn waits(&self) -> bool {
        self.hint.reads_body && matches!(self.body, Looked::NotYet)
    }

    /// Whether what the messages say is not known although a rule may ask.
    pub(crate) fn is_open(&self) -> bool {
        self.is_mcp() != Some(false) && self.messages().is_none()
    }

    /// Says why messages are not known although everything was read that ever is.
    pub(crate) fn why_open(&self) -> &'static str {
        match self.body {
            Looked::Unreadable => "its body is in a content coding that this gateway cannot undo",
            Looked::Read(_) | Looked::NotYet => "its MCP message is longer than is read before it is sent on",
        }
    }

    /// Takes in what was read of the body.
    pub(crate) fn see(&mut self, bytes: &Bytes, complete: bool, coding: Option<&[u8]>) {
        if !self.hint.reads_body {
            return;
        }
        let Some((plain, whole)) = sniff::plain(bytes, complete, coding) else {
            self.body = Looked::Unreadable;
            return;
        };
        let reading = protocol::read(&plain, whole);
        if matches!(reading, Reading::Mcp(_)) {
            self.kept = whole.then(|| match plain {
                std::borrow::Cow::Borrowed(_) => bytes.clone(),
                std::borrow::Cow::Owned(plain) => plain.into(),
            });
        }
        self.body = Looked::Read(reading);
    }

    /// The body is gone; what it said will not be known.
    pub(crate) fn lose(&mut self) {
        if self.waits() {
            self.body = Looked::Unreadable;
        }
    }

    /// A rule decided, and wants the messages recorded, masked, or does not.
    pub(crate) fn mask(&mut self, wanted: bool) {
        self.masks = wanted;
        if !wanted {
            self.payload = None;
        } else if let Some(kept) = &self.kept {
            self.payload = protocol::masked(kept);
        }
    }

    /// Watches the request body on its way to the origin, if the record could say more for it.
    pub(crate) fn watch_request(&mut self, body: Body, headers: &HeaderMap, longest: usize) -> Body {
        self.kept = None;
        let known = matches!(self.body, Looked::Read(_)) && (!self.masks || self.payload.is_some());
        if !self.hint.reads_body || known {
            return body;
        }
        let bound = if self.masks { longest } else { PASSING };
        let tap = Arc::new(Tap::new(bound, self.masks, false, sniff::content_coding(headers)));
        self.request = Some(Arc::clone(&tap));
        boxed(Tapped { body, tap: Some(tap) })
    }

    /// Watches the response body on its way to the client, if it may say who the server is.
    pub(crate) fn watch_response(&mut self, body: Body, headers: &HeaderMap) -> Body {
        let mime = media_type(headers);
        let streams = mime.as_deref() == Some("text/event-stream");
        let greets = |message: &Message| {
            message.methods.iter().any(|method| matches!(method.as_str(), "initialize" | "server/discover"))
        };
        let greeted = || match &self.body {
            Looked::Read(Reading::Mcp(message)) => greets(message),
            Looked::Read(_) | Looked::NotYet | Looked::Unreadable => {
                self.request.as_ref().and_then(|tap| tap.message()).is_some_and(|message| greets(&message))
            }
        };
        let opens = streams && self.hint.opens_stream;
        let answers = streams || mime.as_deref() == Some("application/json");
        if !(opens || (answers && greeted())) {
            return body;
        }
        let tap = Arc::new(Tap::new(PASSING, false, streams, sniff::content_coding(headers)));
        self.response = Some(Arc::clone(&tap));
        boxed(Tapped { body, tap: Some(tap) })
    }

    /// Whether the record will say anything about MCP.
    pub(crate) fn is_worth_noting(&self) -> bool {
        self.is_mcp() == Some(true) || self.request.is_some() || self.response.is_some()
    }

    /// Writes what is known to the record.
    pub(crate) fn write(&self, fields: &mut GatewayHttp) {
        let tapped = self.request.as_ref().map(|tap| tap.result());
        let answered = self.response.as_ref().map(|tap| tap.result()).unwrap_or_default();
        let reading = match (&self.body, &tapped) {
            (Looked::Read(reading), _) => Some(reading),
            (Looked::NotYet | Looked::Unreadable, Some(seen)) => seen.reading.as_ref(),
            (Looked::NotYet | Looked::Unreadable, None) => None,
        };
        let message = match reading {
            Some(Reading::Mcp(message)) => Some(message),
            Some(Reading::Other | Reading::Cut) | None => None,
        };
        let stream = answered.is_mcp && self.hint.opens_stream;
        if !(self.hint.settle(reading) || stream) {
            return;
        }
        let mut evidence = self.hint.evidence;
        if message.is_some() {
            evidence.insert(Evidence::RequestBody);
        }
        if answered.is_mcp && answered.reading.is_some() {
            evidence.insert(Evidence::ResponseBody);
        }
        if answered.endpoint {
            evidence.insert(Evidence::EndpointEvent);
        }
        let reply = match &answered.reading {
            Some(Reading::Mcp(message)) => Some(message),
            Some(Reading::Other | Reading::Cut) | None => None,
        };
        fields.is_mcp = true;
        if let Some(message) = message {
            fields.mcp_method = joined(&message.methods);
            fields.mcp_tool = joined(&message.tools);
            fields.mcp_client_name = short(message.client.as_deref());
        }
        let own = reply.and_then(|reply| reply.server.as_deref());
        fields.mcp_server_name = short(own.or(self.hint.server.map(|server| server.name.as_str())));
        let version = message.and_then(|message| message.version.as_deref());
        let agreed = reply.and_then(|reply| reply.version.as_deref());
        fields.mcp_protocol_version = short(agreed.or(self.version.as_deref()).or(version));
        fields.mcp_evidence = evidence.iter().map(|evidence| evidence.as_str().to_owned()).collect();
        let place = if self.is_portal {
            "portal"
        } else if self.behind_portal {
            "behind_portal"
        } else {
            ""
        };
        place.clone_into(&mut fields.mcp_portal);
        fields.mcp_payload = self.payload.clone().or_else(|| tapped.and_then(|seen| seen.payload));
    }
}

/// Names of a batch, each once, as one text.
fn joined(names: &[String]) -> String {
    let mut text = String::new();
    for (at, name) in names.iter().enumerate() {
        if text.len() + name.len() > 2 * LONGEST || names.iter().take(at).any(|before| before == name) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(name);
    }
    text
}

fn short(text: Option<&str>) -> String {
    text.map(|text| text.chars().take(LONGEST).collect()).unwrap_or_default()
}

/// The start of a body, looked at while it passes.
struct Tap(Mutex<Passing>);

struct Passing {
    bytes: BytesMut,
    bound: usize,
    masks: bool,
    streams: bool,
    coding: Option<Vec<u8>>,
    looks: usize,
    /// Nothing more is looked at.
    done: bool,
    seen: Seen,
}

/// What was seen of a body that passed.
#[derive(Clone, Default)]
struct Seen {
    reading: Option<Reading>,
    is_mcp: bool,
    endpoint: bool,
    payload: Option<serde_json::Value>,
}

impl Tap {
    fn new(bound: usize, masks: bool, streams: bool, coding: Option<Vec<u8>>) -> Self {
        let seen = Seen::default();
        Self(Mutex::new(Passing { bytes: BytesMut::new(), bound, masks, streams, coding, looks: 0, done: false, seen }))
    }

    /// Takes in what passes; false once nothing more is looked at.
    fn push(&self, data: &[u8]) -> bool {
        let mut passing = self.0.lock();
        if passing.done {
            return false;
        }
        let room = passing.bound.saturating_sub(passing.bytes.len());
        let part = data.get(..data.len().min(room)).unwrap_or_default();
        passing.bytes.extend_from_slice(part);
        if part.len() < data.len() || passing.bytes.len() == passing.bound {
            passing.look(false);
            passing.end();
        } else if passing.streams {
            // A stream may last for hours; its first events say what it is, and whose.
            passing.look(false);
            if passing.names_server() || passing.looks >= LOOKS {
                passing.end();
            }
        }
        !passing.done
    }

    fn finish(&self) {
        let mut passing = self.0.lock();
        if !passing.done {
            passing.look(true);
            passing.end();
        }
    }

    /// Returns what was seen; a body that has not ended is judged by what passed of it.
    fn result(&self) -> Seen {
        let mut passing = self.0.lock();
        if !passing.done {
            passing.look(false);
        }
        passing.seen.clone()
    }

    /// Returns the messages that were seen.
    fn message(&self) -> Option<Message> {
        match self.result().reading {
            Some(Reading::Mcp(message)) => Some(message),
            Some(Reading::Other | Reading::Cut) | None => None,
        }
    }
}

impl Passing {
    fn look(&mut self, complete: bool) {
        self.looks += 1;
        let Some((plain, whole)) = sniff::plain(&self.bytes, complete, self.coding.as_deref()) else { return };
        if self.streams {
            let stream = protocol::events(&plain, whole);
            self.seen.is_mcp = stream.is_mcp();
            self.seen.endpoint = stream.endpoint;
            self.seen.reading = stream.message.map(Reading::Mcp);
            return;
        }
        let reading = protocol::read(&plain, whole);
        self.seen.is_mcp = matches!(reading, Reading::Mcp(_));
        if self.masks && self.seen.is_mcp && whole {
            self.seen.payload = protocol::masked(&plain);
        }
        self.seen.reading = Some(reading);
    }

    fn names_server(&self) -> bool {
        matches!(&self.seen.reading, Some(Reading::Mcp(message)) if message.server.is_some())
    }

    fn end(&mut self) {
        self.done = true;
        self.bytes = BytesMut::new();
    }
}

/// A body that is watched.
struct Tapped {
    body: Body,
    tap: Option<Arc<Tap>>,
}

impl http_body::Body for Tapped {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let next = Pin::new(&mut self.body).poll_frame(context);
        if let (Poll::Ready(next), Some(tap)) = (&next, &self.tap) {
            let goes_on = match next {
                Some(Ok(frame)) => {
                    let goes_on = frame.data_ref().is_none_or(|data| tap.push(data));
                    if goes_on && self.body.is_end_stream() {
                        tap.finish();
                    }
                    goes_on
                }
                None => {
                    tap.finish();
                    false
                }
                // What broke off is judged by what passed.
                Some(Err(_)) => false,
            };
            if !goes_on {
                self.tap = None;
            }
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
