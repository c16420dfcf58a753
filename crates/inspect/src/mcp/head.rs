//! What the head of a request says by itself.

use memchr::memmem;

use super::known::{self, Server};
use super::{Evidence, EvidenceSet, Reading, is_version};

/// What kind of body a request has, by its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    None,
    /// JSON, or nothing is said about it.
    Json,
    Other,
}

/// The parts of a request's head that count.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// In lower case, without a port.
    pub host: &'a str,
    /// Without the query.
    pub path: &'a str,
    pub method: &'a str,
    pub body: Body,
    pub accept: Option<&'a [u8]>,
    /// `MCP-Protocol-Version`.
    pub version: Option<&'a [u8]>,
    /// `Mcp-Session-Id`.
    pub session: Option<&'a [u8]>,
    /// `Mcp-Method`.
    pub rpc_method: Option<&'a [u8]>,
}

/// What a head says.
#[derive(Debug, Clone, Copy)]
pub struct Hint {
    pub evidence: EvidenceSet,
    /// The known server at this host.
    pub server: Option<&'static Server>,
    /// The head alone settles that it is MCP.
    pub is_mcp: bool,
    /// The body may hold messages.
    pub reads_body: bool,
    /// The answer may be the stream that begins a session of the older transport.
    pub opens_stream: bool,
}

/// Tells what kind of body a media type announces. `media_type` is in lower case, without parameters.
#[must_use]
pub fn body_of(has_body: bool, media_type: Option<&str>) -> Body {
    match media_type {
        _ if !has_body => Body::None,
        None | Some("application/json" | "text/json" | "application/json-rpc" | "application/jsonrequest") => {
            Body::Json
        }
        Some(other) if other.ends_with("+json") => Body::Json,
        Some(_) => Body::Other,
    }
}

/// Tells whether an `Accept` value names a media type, in any case.
#[must_use]
pub fn accepts(accept: &[u8], media_type: &str) -> bool {
    accept.split(|byte| *byte == b',').any(|part| {
        let name = part.split(|byte| *byte == b';').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(media_type.as_bytes())
    })
}

impl Head<'_> {
    /// Reads the head.
    #[must_use]
    pub fn hint(&self) -> Hint {
        let mut evidence = EvidenceSet::default();
        let text = |value: Option<&[u8]>| value.is_some_and(|value| !value.is_empty() && value.len() <= 1_024);
        let version = self.version.and_then(|version| std::str::from_utf8(version).ok());
        if version.is_some_and(|version| is_version(version.trim())) {
            evidence.insert(Evidence::VersionHeader);
        }
        if text(self.session) {
            evidence.insert(Evidence::SessionHeader);
        }
        if text(self.rpc_method) {
            evidence.insert(Evidence::MethodHeader);
        }
        let posts = self.method == "POST";
        let takes = |media_type| self.accept.is_some_and(|accept| accepts(accept, media_type));
        let events = self.accept.is_some() && takes("text/event-stream");
        let opens_stream = self.method == "GET" && events;
        if posts && events && takes("application/json") {
            evidence.insert(Evidence::Accept);
        }
        let speaks = opens_stream || (posts && self.body == Body::Json);
        let server = known::known_server(self.host);
        if let Some(server) = server {
            let at_endpoint = server.has_endpoint(self.path) && speaks;
            evidence.insert(if at_endpoint { Evidence::KnownEndpoint } else { Evidence::KnownHost });
        }
        if is_named(self.host) {
            evidence.insert(Evidence::HostName);
        }
        if is_path(self.path) {
            evidence.insert(Evidence::Path);
        }
        let headers = [Evidence::VersionHeader, Evidence::SessionHeader, Evidence::MethodHeader];
        let by_name = opens_stream && evidence.contains(Evidence::HostName) && evidence.contains(Evidence::Path);
        let is_mcp = evidence.any(&headers) || evidence.contains(Evidence::KnownEndpoint) || by_name;
        let reads_body = self.body == Body::Json || (is_mcp && self.body == Body::Other);
        Hint { evidence, server, is_mcp, reads_body, opens_stream }
    }
}

impl Hint {
    /// Tells whether the request is MCP, with what its body says; `None`: the body cannot be read.
    #[must_use]
    pub fn settle(&self, body: Option<&Reading>) -> bool {
        match body {
            _ if self.is_mcp => true,
            Some(Reading::Mcp(_)) => true,
            Some(Reading::Other) => false,
            // What a client must accept is seen at few others; with a name that says the same, it stands for the body.
            Some(Reading::Cut) | None => {
                let named = [Evidence::KnownHost, Evidence::HostName, Evidence::Path];
                self.evidence.contains(Evidence::Accept) && self.evidence.any(&named)
            }
        }
    }
}

/// `mcp.example.com`, `docs.mcp.example.com`, `mcp-server.example.com`, `acme-mcp.example.app`.
fn is_named(host: &str) -> bool {
    if memmem::find(host.as_bytes(), b"mcp").is_none() {
        return false;
    }
    host.split('.').enumerate().any(|(at, label)| {
        label == "mcp" || (at == 0 && (label.starts_with("mcp-") || label.ends_with("-mcp") || label.contains("-mcp-")))
    })
}

/// A segment `mcp`, or `sse` at the end.
fn is_path(path: &str) -> bool {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty()).rev();
    let last = segments.next();
    matches!(last, Some("mcp" | "sse")) || segments.any(|segment| segment == "mcp")
}
