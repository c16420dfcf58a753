//! The kinds of MCP servers, and how each is reached.
//!
//! A server at an address may speak either transport, at the address or just below it; which, is found out in the order of
//! reference section 5.2 and remembered. Invariant: another place is tried only where the one before said that there is
//! nothing of the kind (404, 405, 406), so that a server which refuses somebody is never asked elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::StatusCode;
use http::header::HeaderMap;
use http::uri::PathAndQuery;

use super::duplex::{Duplex, Opener, Stdio};
use super::http::{Answered, Bounds, Endpoint, ExchangeError, Stream};
use super::inner::Inner;
use crate::visit::Holder;

/// How messages are carried to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Streamable,
    /// HTTP+SSE of 2024-11-05.
    Events,
}

/// A place where a server may be.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub transport: Transport,
    pub endpoint: Endpoint,
}

/// How a server is reached.
#[derive(Clone)]
pub enum Channel {
    Remote(Remote),
    Program(Stdio),
    Worker(Inner),
}

/// A server at an address.
#[derive(Debug, Clone)]
pub struct Remote {
    candidates: Arc<[Candidate]>,
    /// The one that answered last, for all who ask.
    found: Arc<AtomicUsize>,
}

/// What is remembered of the place where a server was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub transport: Transport,
    pub target: String,
}

impl From<Endpoint> for Channel {
    /// A server that is known to be there and to speak Streamable HTTP.
    fn from(endpoint: Endpoint) -> Self {
        Self::Remote(Remote::new(vec![Candidate { transport: Transport::Streamable, endpoint }]))
    }
}

impl Transport {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Streamable => "streamable-http",
            Self::Events => "sse",
        }
    }
}

/// Returns where a server of an address is looked for, in order: the transport, and the path with its query.
#[must_use]
pub fn places(path: &str, query: Option<&str>) -> Vec<Place> {
    let at = |transport, path: &str| {
        let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        Place { transport, target }
    };
    if path.ends_with("/mcp") {
        return vec![at(Transport::Streamable, path)];
    }
    if path.ends_with("/sse") {
        return vec![at(Transport::Events, path)];
    }
    let below = path.trim_end_matches('/');
    vec![
        at(Transport::Streamable, path),
        at(Transport::Events, path),
        at(Transport::Streamable, &format!("{below}/mcp")),
        at(Transport::Events, &format!("{below}/sse")),
    ]
}

impl Remote {
    #[must_use]
    pub fn new(candidates: Vec<Candidate>) -> Self {
        Self { candidates: candidates.into(), found: Arc::default() }
    }

    /// Looks first where the server was last found.
    #[must_use]
    pub fn expect(self, place: Option<&Place>) -> Self {
        let at = place.and_then(|place| self.candidates.iter().position(|candidate| candidate.place() == *place));
        self.found.store(at.unwrap_or(0), Ordering::Relaxed);
        self
    }
}

impl Candidate {
    fn place(&self) -> Place {
        Place { transport: self.transport, target: self.endpoint.target.to_string() }
    }

    /// Makes a candidate of a place of the same server.
    #[must_use]
    pub fn at(endpoint: &Endpoint, place: &Place) -> Option<Self> {
        let target = PathAndQuery::try_from(place.target.as_str()).ok()?;
        Some(Self { transport: place.transport, endpoint: Endpoint { target, ..endpoint.clone() } })
    }
}

impl Channel {
    /// Tells a Worker who calls, and for whom a program runs.
    pub(crate) fn for_caller(&self, owner: Holder, facts: impl FnOnce() -> serde_json::Value) -> Self {
        match self {
            Self::Worker(inner) => Self::Worker(Inner { facts: facts().to_string().into(), ..inner.clone() }),
            Self::Program(stdio) => Self::Program(Stdio { owner: format!("{owner:?}"), ..stdio.clone() }),
            Self::Remote(_) => self.clone(),
        }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        match self {
            Self::Remote(remote) => match remote.candidates.first() {
                Some(candidate) => candidate.endpoint.bounds,
                None => Bounds::NONE,
            },
            Self::Program(stdio) => stdio.bounds,
            Self::Worker(inner) => inner.bounds,
        }
    }

    /// Returns the ways to the server that are tried, in order: the one that was found last comes first.
    pub(crate) fn lines(&self) -> Vec<(usize, Line)> {
        match self {
            Self::Remote(remote) => {
                let found = remote.found.load(Ordering::Relaxed);
                let mut order: Vec<usize> = (0..remote.candidates.len()).collect();
                order.sort_by_key(|at| (*at != found, *at));
                let line = |at: usize| Some((at, Line::to(remote.candidates.get(at)?)));
                order.into_iter().filter_map(line).collect()
            }
            Self::Program(stdio) => vec![(0, Line::Duplex(Duplex::new(Opener::Program(stdio.clone()))))],
            Self::Worker(inner) => vec![(0, Line::Worker(inner.clone()))],
        }
    }

    /// Notes which of the ways leads to the server.
    pub(crate) fn found(&self, at: usize) {
        if let Self::Remote(remote) = self {
            remote.found.store(at, Ordering::Relaxed);
        }
    }

    /// Returns where the server was found; nothing of one that has no address.
    pub(crate) fn place(&self) -> Option<Place> {
        match self {
            Self::Remote(remote) => remote.candidates.get(remote.found.load(Ordering::Relaxed)).map(Candidate::place),
            Self::Program(_) | Self::Worker(_) => None,
        }
    }

    /// Tells whether two ways lead to the same server with the same settings.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Remote(one), Self::Remote(other)) => {
                let first = |remote: &Remote| {
                    let endpoint = &remote.candidates.first()?.endpoint;
                    Some((endpoint.authority.clone(), endpoint.target.clone()))
                };
                first(one) == first(other)
            }
            (Self::Program(one), Self::Program(other)) => one.program == other.program,
            (Self::Worker(one), Self::Worker(other)) => one.script == other.script,
            (Self::Remote(_) | Self::Program(_) | Self::Worker(_), _) => false,
        }
    }
}

/// What carries the messages of one link.
pub(crate) enum Line {
    Http(Box<Endpoint>),
    Duplex(Duplex),
    Worker(Inner),
}

impl Line {
    fn to(candidate: &Candidate) -> Self {
        match candidate.transport {
            Transport::Streamable => Self::Http(Box::new(candidate.endpoint.clone())),
            Transport::Events => Self::Duplex(Duplex::new(Opener::Events(Box::new(candidate.endpoint.clone())))),
        }
    }

    /// Whether only the older era is spoken there.
    pub(crate) fn is_of_2024(&self) -> bool {
        matches!(self, Self::Duplex(duplex) if duplex.is_of_2024())
    }

    /// Sends one message.
    ///
    /// # Errors
    /// As the kinds of server say.
    pub(crate) async fn post(&self, headers: HeaderMap, message: Bytes) -> Result<Answered, ExchangeError> {
        match self {
            Self::Http(endpoint) => endpoint.post(headers, message).await,
            Self::Duplex(duplex) => Box::pin(duplex.post(headers, message)).await,
            Self::Worker(inner) => inner.post(headers, message).await,
        }
    }

    /// Opens the stream on which the server speaks unasked; `None` where there is none.
    ///
    /// # Errors
    /// As [`Line::post`].
    pub(crate) async fn listen(&self, headers: HeaderMap) -> Result<Option<Stream>, ExchangeError> {
        let stream = match self {
            Self::Http(endpoint) => endpoint.listen(headers).await,
            Self::Duplex(duplex) => Box::pin(duplex.listen(&headers)).await,
            Self::Worker(_) => return Ok(None),
        };
        match stream {
            Ok(stream) => Ok(Some(stream)),
            Err(ExchangeError::Status { status, .. }) if status.is_client_error() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Ends what the server keeps for the link; `headers` name a session that was opened.
    pub(crate) async fn end(&self, headers: Option<HeaderMap>) {
        match (self, headers) {
            (Self::Http(endpoint), Some(headers)) => endpoint.end(headers).await,
            (Self::Duplex(duplex), _) => duplex.end().await,
            (Self::Http(_), None) | (Self::Worker(_), _) => {}
        }
    }
}

/// Whether an answer says that there is nothing of the kind, so that the next place may be tried.
pub(crate) fn is_elsewhere(error: &ExchangeError) -> bool {
    let nothing = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_ACCEPTABLE];
    matches!(error, ExchangeError::Status { status, .. } if nothing.contains(status))
}

#[cfg(test)]
mod tests {
    use super::{Transport, places};

    #[test]
    fn a_server_is_looked_for_in_the_order_of_the_reference() {
        use Transport::{Events, Streamable};
        for (path, query, expected) in [
            ("/mcp", None, vec![(Streamable, "/mcp")]),
            ("/v1/mcp", Some("a=b"), vec![(Streamable, "/v1/mcp?a=b")]),
            ("/sse", None, vec![(Events, "/sse")]),
            ("/", None, vec![(Streamable, "/"), (Events, "/"), (Streamable, "/mcp"), (Events, "/sse")]),
            (
                "/api/",
                Some("k=v"),
                vec![
                    (Streamable, "/api/?k=v"),
                    (Events, "/api/?k=v"),
                    (Streamable, "/api/mcp?k=v"),
                    (Events, "/api/sse?k=v"),
                ],
            ),
        ] {
            let found = places(path, query);
            let found: Vec<_> = found.iter().map(|place| (place.transport, place.target.as_str())).collect();
            assert_eq!(found, expected, "{path}");
        }
    }
}
