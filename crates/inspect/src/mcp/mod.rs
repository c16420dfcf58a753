//! The Model Context Protocol on the wire, of either generation: which requests speak it, and what they say.
//!
//! There are four kinds of evidence. The head of a request can settle it: the protocol's own headers, or a known server's
//! address. Names in host and path are hints that settle nothing on their own. A body settles it either way ([`read`]), and so
//! does a stream of events ([`events`]). Invariant: what speaks JSON-RPC and is not MCP stays silent, and a request is never
//! told to be none because its body could not be read while its head hints that it is one.

mod events;
mod head;
mod known;
mod mask;
mod message;
mod methods;
mod result;
mod value;

pub use self::events::{Stream, events};
pub use self::head::{Body, Head, Hint, accepts, body_of};
pub use self::known::{Server, known_server, known_servers};
pub use self::mask::{MAX_MASKED, masked};
pub use self::message::{Message, Reading, is_version, read};
pub use self::methods::is_known as is_known_method;

/// One thing that speaks for MCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// `MCP-Protocol-Version`.
    VersionHeader,
    /// `Mcp-Session-Id`.
    SessionHeader,
    /// `Mcp-Method`.
    MethodHeader,
    /// The address a known server's clients are configured with.
    KnownEndpoint,
    /// Another address of a known server.
    KnownHost,
    /// A host that is named for MCP.
    HostName,
    /// A path that is named for it.
    Path,
    /// A client that takes JSON and events in answer to a POST, as the protocol demands.
    Accept,
    /// A message in the request.
    RequestBody,
    /// A message in the response.
    ResponseBody,
    /// The event by which the older transport says where messages go.
    EndpointEvent,
}

impl Evidence {
    /// Every kind, as they are listed in records.
    pub const ALL: [Self; 11] = [
        Self::VersionHeader,
        Self::SessionHeader,
        Self::MethodHeader,
        Self::KnownEndpoint,
        Self::KnownHost,
        Self::HostName,
        Self::Path,
        Self::Accept,
        Self::RequestBody,
        Self::ResponseBody,
        Self::EndpointEvent,
    ];

    /// Returns its word in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VersionHeader => "version_header",
            Self::SessionHeader => "session_header",
            Self::MethodHeader => "method_header",
            Self::KnownEndpoint => "known_endpoint",
            Self::KnownHost => "known_host",
            Self::HostName => "host_name",
            Self::Path => "path",
            Self::Accept => "accept",
            Self::RequestBody => "request_body",
            Self::ResponseBody => "response_body",
            Self::EndpointEvent => "endpoint_event",
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// Several of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EvidenceSet(u16);

impl EvidenceSet {
    pub const fn insert(&mut self, evidence: Evidence) {
        self.0 |= evidence.bit();
    }

    #[must_use]
    pub const fn contains(self, evidence: Evidence) -> bool {
        self.0 & evidence.bit() != 0
    }

    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Evidence> {
        Evidence::ALL.into_iter().filter(move |evidence| self.contains(*evidence))
    }

    fn any(self, of: &[Evidence]) -> bool {
        of.iter().any(|evidence| self.contains(*evidence))
    }
}
