//! The origin's leg of one request: which route, what a failure means, HTTP/1.1 where HTTP/2 is broken.
//!
//! `net` dials, verifies and pools; the verdict about an untrusted certificate was made before. Invariant: a request is
//! sent a second time only when its method is safe and none of its body had been read.

use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderMap};
use http::{Request, Response};
use http_body::Body as _;
use net::upstream::{CertificatePolicy, ConnectError, ConnectionInfo, Pool, Route, SendError, Stage};
use net::{Host, Offer, Origin, Protocol};

use crate::body::{Body, boxed, empty_body};
use crate::fault::Fault;
use net::proxy::hop;

/// A response head and the connection it came over.
pub(crate) struct Answer {
    pub(crate) response: Response<Body>,
    pub(crate) connection: Arc<ConnectionInfo>,
}

/// What makes a route besides the origin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leg {
    pub(crate) offer: Offer,
    pub(crate) certificates: CertificatePolicy,
    /// Number of the client's connection, for authentication schemes that bind to one.
    pub(crate) client: u64,
    pub(crate) within: Duration,
}

/// Sends `request` and waits for the response head.
pub(crate) async fn send(pool: &Pool, origin: &Origin, leg: Leg, request: Request<Body>) -> Result<Answer, Fault> {
    let mut route = Route::new(origin.clone(), leg.offer).with_certificates(leg.certificates);
    if binds_the_connection(request.headers()) {
        route = route.with_partition(leg.client);
    }
    // Only where HTTP/2 is offered can it turn out not to work.
    let again = if leg.offer.includes(Protocol::Http2) { replay(&request) } else { None };
    let again = again.map(|again| (route.clone(), again));
    let first = exchange(pool, route, leg.within, request, &origin.host).await;
    match (first, again) {
        // The origin asked for HTTP/1.1 or its HTTP/2 does not work; the pool remembers, so this goes the other way.
        (Err(Failure::Http2Unusable), Some((route, again))) => {
            let again = Box::pin(exchange(pool, route, leg.within, again, &origin.host)).await;
            again.map_err(|failure| failure.fault(&origin.host))
        }
        (outcome, _) => outcome.map_err(|failure| failure.fault(&origin.host)),
    }
}

enum Failure {
    Http2Unusable,
    Fault(Fault),
}

impl Failure {
    fn fault(self, host: &Host) -> Fault {
        match self {
            Self::Fault(fault) => fault,
            Self::Http2Unusable => Fault::Broken {
                host: host.to_string(),
                why: "its HTTP/2 does not work; repeating the request will use HTTP/1.1".to_owned(),
            },
        }
    }
}

async fn exchange(
    pool: &Pool,
    route: Route,
    within: Duration,
    request: Request<Body>,
    host: &Host,
) -> Result<Answer, Failure> {
    match tokio::time::timeout(within, pool.send_erased(route, request)).await {
        Err(_) => Err(Failure::Fault(Fault::ResponseTimeout { host: host.to_string() })),
        Ok(Ok(exchange)) => Ok(Answer { response: exchange.response.map(boxed), connection: exchange.connection }),
        Ok(Err(SendError::Http2Unusable(_))) => Err(Failure::Http2Unusable),
        Ok(Err(SendError::Connect(error))) => Err(Failure::Fault(connect_fault(&error, host))),
        Ok(Err(SendError::ShutDown)) => Err(Failure::Fault(Fault::Busy)),
        Ok(Err(SendError::Request(_))) => {
            Err(Failure::Fault(Fault::Target("it cannot be expressed as a request to the origin".to_owned())))
        }
        Ok(Err(SendError::Exchange(error))) => {
            Err(Failure::Fault(Fault::Broken { host: host.to_string(), why: exchange_words(&error) }))
        }
    }
}

/// A copy of a request that may be sent twice: safe by its method and without a body.
fn replay(request: &Request<Body>) -> Option<Request<Body>> {
    if !hop::is_replayable(request.method()) || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(empty_body());
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    Some(copy)
}

/// NTLM and Negotiate authenticate a connection, which must then belong to one client alone.
fn binds_the_connection(headers: &HeaderMap) -> bool {
    headers.get_all(header::AUTHORIZATION).iter().any(|value| {
        let scheme = value.as_bytes().split(|b| *b == b' ').next().unwrap_or_default();
        scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
    })
}

/// Says in plain words why no connection came about.
pub(crate) fn connect_fault(error: &ConnectError, host: &Host) -> Fault {
    let name = host.to_string();
    match error {
        ConnectError::Resolve(why) => Fault::Resolve { host: name, why: why.to_string() },
        ConnectError::Refused(why) => Fault::Guard { host: name, why: why.to_string() },
        ConnectError::Tcp(why) => Fault::Connect { host: name, why: tcp_words(why) },
        ConnectError::Tls(why) => Fault::Tls { host: name, why: chain(why) },
        ConnectError::Certificate(certificate) => Fault::Untrusted {
            why: certificate.plain_words(host).unwrap_or_else(|| "it could not be verified.".to_owned()),
            host: name,
        },
        ConnectError::Http(_) => {
            Fault::Broken { host: name, why: "it does not speak the protocol it agreed to".to_owned() }
        }
        ConnectError::Timeout(Stage::Resolve) => {
            Fault::Resolve { host: name, why: "the name server did not answer in time".to_owned() }
        }
        ConnectError::Timeout(_) => Fault::ConnectTimeout { host: name },
    }
}

fn tcp_words(error: &std::io::Error) -> String {
    use std::io::ErrorKind;

    const WORDS: [(ErrorKind, &str); 6] = [
        (ErrorKind::ConnectionRefused, "nothing listens at its address and port (connection refused)"),
        (ErrorKind::ConnectionReset, "it closed the connection at once (connection reset)"),
        (ErrorKind::NetworkUnreachable, "there is no way to its network"),
        (ErrorKind::HostUnreachable, "there is no way to its address"),
        (ErrorKind::TimedOut, "it did not answer in time"),
        (ErrorKind::AddrNotAvailable, "the gateway has no address to connect from"),
    ];
    let known = WORDS.iter().find(|(kind, _)| *kind == error.kind());
    known.map_or_else(|| error.to_string(), |(_, words)| (*words).to_owned())
}

fn exchange_words(error: &hyper::Error) -> String {
    if error.is_parse() {
        "its answer is not HTTP".to_owned()
    } else if error.is_incomplete_message() {
        "it closed the connection before its answer was complete".to_owned()
    } else if error.is_canceled() {
        "the exchange was cancelled".to_owned()
    } else {
        chain(error)
    }
}

/// The last cause says most; outer layers repeat each other.
fn chain(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
