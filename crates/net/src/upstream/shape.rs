//! How one request looks in each HTTP version, and what a failure says about trying again. Pure.
//!
//! It adds only what the protocol demands. Invariant: a request that leaves here names its host exactly once, carries
//! no header that belongs to the client's connection, and is called repeatable only if repeating it can do no harm.

use std::error::Error as _;

use http::header::{
    AUTHORIZATION, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, PathAndQuery};
use http::{Method, Request, Uri, Version};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Empty};

use super::pool::Body;
use crate::host::Origin;
use crate::tls::Protocol;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Rewrites a request for `protocol`. What comes back from one can be given in again for the other.
pub(super) fn request(
    mut request: Request<Body>,
    origin: &Origin,
    protocol: Protocol,
) -> Result<Request<Body>, http::Error> {
    let authority = authority(&request, origin)?;
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    match protocol {
        Protocol::Http1 => {
            *request.version_mut() = Version::HTTP_11;
            let mut parts = http::uri::Parts::default();
            parts.path_and_query = Some(path);
            *request.uri_mut() = Uri::from_parts(parts)?;
            request.headers_mut().insert(HOST, HeaderValue::from_str(authority.as_str())?);
        }
        Protocol::Http2 => {
            *request.version_mut() = Version::HTTP_2;
            *request.uri_mut() =
                Uri::builder().scheme(origin.scheme.as_str()).authority(authority).path_and_query(path).build()?;
            remove_connection_headers(request.headers_mut());
        }
    }
    Ok(request)
}

/// Returns whom the origin is told it is: the URI's authority, the `Host` header, or the route's own.
fn authority(request: &Request<Body>, origin: &Origin) -> Result<Authority, http::Error> {
    if let Some(authority) = request.uri().authority() {
        return Ok(authority.clone());
    }
    match request.headers().get(HOST) {
        Some(host) if !host.is_empty() => Ok(Authority::try_from(host.as_bytes())?),
        _ => Ok(Authority::try_from(origin.authority())?),
    }
}

/// Removes what RFC 9113 8.2.2 forbids, and what `Connection` names.
fn remove_connection_headers(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&[CONNECTION, HOST, KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING, UPGRADE]) {
        // `TE: trailers` is named in `Connection` by HTTP/1.1 clients and is the one value HTTP/2 allows.
        if *name != TE {
            headers.remove(name);
        }
    }
    if headers.get_all(TE).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"trailers")) {
        let trailers = headers.get_all(TE).iter().any(|value| {
            value.to_str().is_ok_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case("trailers")))
        });
        headers.remove(TE);
        if trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
    }
}

/// Returns a copy of a request that may be sent twice: safe by its method, and without a body.
pub(super) fn replayable(request: &Request<Body>) -> Option<Request<Body>> {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
    if !safe || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy.extensions_mut().clone_from(request.extensions());
    Some(copy)
}

/// Reports whether a failed HTTP/2 exchange says that HTTP/1.1 should be used.
pub(super) fn http2_unusable(error: &hyper::Error) -> bool {
    use h2::Reason;
    http2_reason(error).is_some_and(|reason| {
        // The first is a request by the origin; the others are its HTTP/2 failing at the protocol itself.
        matches!(
            reason,
            Reason::HTTP_1_1_REQUIRED
                | Reason::PROTOCOL_ERROR
                | Reason::FRAME_SIZE_ERROR
                | Reason::COMPRESSION_ERROR
                | Reason::INADEQUATE_SECURITY
        )
    })
}

/// Reports whether the origin says it has not looked at the request (RFC 9113 8.7).
pub(super) fn refused_stream(error: &hyper::Error) -> bool {
    http2_reason(error) == Some(h2::Reason::REFUSED_STREAM)
}

fn http2_reason(error: &hyper::Error) -> Option<h2::Reason> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.reason();
        }
        cause = error.source();
    }
    None
}

/// Reports whether a request authenticates the connection it travels on.
pub(super) fn authenticates_connection(headers: &HeaderMap) -> bool {
    headers.get_all(AUTHORIZATION).iter().any(is_connection_scheme)
}

/// Reports whether a response asks for such an authentication; its connection is half way through it.
pub(super) fn challenges_connection(headers: &HeaderMap) -> bool {
    headers.get_all(http::header::WWW_AUTHENTICATE).iter().any(is_connection_scheme)
}

fn is_connection_scheme(value: &HeaderValue) -> bool {
    let scheme = value.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
}
