//! One exchange with an MCP server over Streamable HTTP: a message goes out, a message or a stream of them comes back.
//!
//! It knows HTTP and nothing of what the messages say; its answers and errors are those of the other kinds of server too. Invariants: nothing of a client's request goes along, only the
//! fields set here and the server's own credential; and neither a head, a message nor a stream is waited for or held
//! beyond the bounds of [`Bounds`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use net::proxy::body::{Body, boxed, collect, empty_body, full_body};
use net::upstream::{Pool, Route, SendError};

use super::alert::Pace;
use super::wire::Receiver;
use crate::sse::{self, Event, EventError};

/// The session at a server (2025-03-26 to 2025-11-25).
pub(crate) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// The version both sides agreed on.
pub(crate) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// The method of the message (2026-07-28).
pub(crate) const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// What the message names: a tool, a prompt, a resource (2026-07-28).
pub(crate) const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// The last event that was seen of a stream.
pub(crate) const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

pub(super) const EITHER: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Bytes of an error's body that are read for its reason.
const MAX_REASON: usize = 16 << 10;

/// What one server may take of us.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From the request to the head of the response.
    pub head: Duration,
    /// Between two pieces of a response.
    pub silence: Duration,
    /// Bytes of one message.
    pub message: usize,
}

impl Bounds {
    /// Of what is not there.
    pub(crate) const NONE: Self = Self { head: Duration::ZERO, silence: Duration::ZERO, message: 0 };
}

/// How a server is reached.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub pool: Pool,
    pub route: Route,
    pub target: PathAndQuery,
    /// The `Host` the server is told.
    pub authority: HeaderValue,
    pub bounds: Bounds,
    pub pace: Pace,
}

/// What came back.
pub(crate) enum Answer {
    /// Taken; there is nothing to say (202).
    Accepted,
    Message(Bytes),
    Stream(Stream),
}

/// The answer, and the session the server opened with it.
pub(crate) struct Answered {
    pub(crate) session: Option<HeaderValue>,
    pub(crate) answer: Answer,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error("the server cannot be reached")]
    Send(#[from] SendError),
    #[error("the server did not answer within {0:?}")]
    Late(Duration),
    /// Another status than the protocol has for an answer.
    #[error("the server answered {status}")]
    Status {
        status: StatusCode,
        /// `WWW-Authenticate`.
        challenge: Option<String>,
        /// The message or text of the body, as far as it was read.
        body: Bytes,
    },
    #[error("the server answered with content of type {0:?}")]
    ContentType(String),
    #[error("the server's message is larger than {0} bytes, or broke off")]
    Message(usize),
    #[error("the server's stream cannot be read")]
    Events(#[from] EventError),
    #[error("the server's stream broke off")]
    Broken(#[source] net::BoxError),
    #[error("the server's program does not run")]
    Start(#[source] programs::StartError),
    /// It ended, or failed; why, in words for its administrator.
    #[error("the server is gone: {0}")]
    Gone(Arc<str>),
    /// The connection that a session lived on is gone; nothing was sent.
    #[error("the server's connection is gone")]
    Forgotten,
}

impl Endpoint {
    /// Sends one message.
    ///
    /// # Errors
    /// The server cannot be reached, is late, or answers what is no answer.
    pub(crate) async fn post(&self, headers: HeaderMap, message: Bytes) -> Result<Answered, ExchangeError> {
        let mut request = self.request(Method::POST, headers, full_body(message));
        request.headers_mut().insert(header::CONTENT_TYPE, JSON);
        request.headers_mut().insert(header::ACCEPT, EITHER);
        self.exchange(request).await
    }

    /// Opens the stream on which a server speaks unasked, or goes on with one after its last event.
    ///
    /// # Errors
    /// As [`Endpoint::post`]; a server without such a stream answers 405.
    pub(crate) async fn listen(&self, headers: HeaderMap) -> Result<Stream, ExchangeError> {
        let mut request = self.request(Method::GET, headers, empty_body());
        request.headers_mut().insert(header::ACCEPT, EVENTS);
        match self.exchange(request).await?.answer {
            Answer::Stream(stream) => Ok(stream),
            Answer::Accepted | Answer::Message(_) => Err(ExchangeError::ContentType("no event stream".to_owned())),
        }
    }

    /// Ends a session. A server may refuse: it ends by itself then.
    pub(crate) async fn end(&self, headers: HeaderMap) {
        let request = self.request(Method::DELETE, headers, empty_body());
        let _ = tokio::time::timeout(self.bounds.head, self.pool.send_erased(self.route.clone(), request)).await;
    }

    fn request(&self, method: Method, mut headers: HeaderMap, body: Body) -> Request<Body> {
        headers.insert(header::HOST, self.authority.clone());
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from(self.target.clone());
        *request.headers_mut() = headers;
        request
    }

    async fn exchange(&self, request: Request<Body>) -> Result<Answered, ExchangeError> {
        let sent = self.pool.send_erased(self.route.clone(), request);
        let arrived = tokio::time::timeout(self.bounds.head, self.pace.wait(sent)).await;
        let response = arrived.map_err(|_| ExchangeError::Late(self.bounds.head))??.response;
        answered(response.map(boxed), self.bounds).await
    }
}

/// Makes an answer of a response.
///
/// # Errors
/// It is none.
pub(super) async fn answered(response: Response<Body>, bounds: Bounds) -> Result<Answered, ExchangeError> {
    let (parts, body) = response.into_parts();
    if parts.status == StatusCode::ACCEPTED || parts.status == StatusCode::NO_CONTENT {
        return Ok(Answered { session: None, answer: Answer::Accepted });
    }
    if parts.status != StatusCode::OK {
        let challenges = parts.headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenge = Some(challenges.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty());
        let body = whole(body, bounds, MAX_REASON).await.unwrap_or_default();
        return Err(ExchangeError::Status { status: parts.status, challenge, body });
    }
    let session = parts.headers.get(SESSION).cloned();
    let kind = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let answer = if kind.eq_ignore_ascii_case(b"text/event-stream") {
        let reader = sse::Reader::new(bounds.message);
        Answer::Stream(Stream { source: Source::Events { body, reader, silence: bounds.silence } })
    } else if kind.eq_ignore_ascii_case(b"application/json") {
        let limit = bounds.message;
        Answer::Message(whole(body, bounds, limit).await.ok_or(ExchangeError::Message(limit))?)
    } else {
        return Err(ExchangeError::ContentType(String::from_utf8_lossy(kind).into_owned()));
    };
    Ok(Answered { session, answer })
}

async fn whole(body: Body, bounds: Bounds, limit: usize) -> Option<Bytes> {
    tokio::time::timeout(bounds.silence, collect(body, limit)).await.ok()?
}

/// Messages of a server, one after the other.
pub(crate) struct Stream {
    source: Source,
}

enum Source {
    Events { body: Body, reader: sse::Reader, silence: Duration },
    Wire { receiver: Receiver, first: Option<Bytes> },
}

impl Stream {
    /// What comes over a connection in both directions; `first` has come already.
    pub(super) fn of_wire(receiver: Receiver, first: Option<Bytes>) -> Self {
        Self { source: Source::Wire { receiver, first } }
    }

    /// Returns after which event to go on when the stream breaks off; `None` where it cannot be gone on with.
    pub(crate) fn last_id(&self) -> Option<&str> {
        match &self.source {
            Source::Events { reader, .. } => reader.last_id(),
            Source::Wire { .. } => None,
        }
    }

    /// Returns after how many milliseconds to go on, when the server said so.
    pub(crate) fn retry(&self) -> Option<u64> {
        match &self.source {
            Source::Events { reader, .. } => reader.retry(),
            Source::Wire { .. } => None,
        }
    }

    /// Waits for the next event; `None` at the end.
    ///
    /// # Errors
    /// The connection is lost, nothing came for too long, or what came is no event.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, ExchangeError> {
        match &mut self.source {
            Source::Events { body, reader, silence } => next_event(body, reader, *silence).await,
            Source::Wire { receiver, first } => {
                let message = match first.take() {
                    Some(first) => Some(first),
                    None => receiver.next().await?,
                };
                Ok(message.map(|data| Event { name: "message".to_owned(), data, id: None }))
            }
        }
    }
}

async fn next_event(
    body: &mut Body,
    reader: &mut sse::Reader,
    silence: Duration,
) -> Result<Option<Event>, ExchangeError> {
    loop {
        if let Some(event) = reader.next_event()? {
            return Ok(Some(event));
        }
        let frame = tokio::time::timeout(silence, body.frame()).await;
        match frame.map_err(|_| ExchangeError::Late(silence))? {
            None => return Ok(None),
            Some(Err(error)) => return Err(ExchangeError::Broken(error)),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    reader.push(data);
                }
            }
        }
    }
}
