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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, Method, Request};
    use http_body_util::{BodyExt as _, Full};

    use super::super::pool::Body;
    use super::{authenticates_connection, replayable, request};
    use crate::host::{Host, Origin, Scheme};
    use crate::tls::Protocol;

    fn body(text: &'static str) -> Body {
        Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed_unsync()
    }

    fn origin() -> Origin {
        Origin::new(Scheme::Https, Host::parse("origin.test").unwrap(), 8443)
    }

    #[test]
    fn a_request_names_its_host_once_in_either_version() {
        for (uri, host, as_http1, as_http2) in [
            ("/a?b", Some("site.test"), "/a?b site.test", "https://site.test/a?b"),
            ("https://site.test:99/a", None, "/a site.test:99", "https://site.test:99/a"),
            ("https://site.test/a", Some("other.test"), "/a site.test", "https://site.test/a"),
            ("/a", None, "/a origin.test:8443", "https://origin.test:8443/a"),
            ("http://site.test", None, "/ site.test", "https://site.test/"),
        ] {
            let make = || {
                let mut made = Request::builder().uri(uri);
                made = host.into_iter().fold(made, |made, host| made.header("host", host));
                made.body(body("")).unwrap()
            };
            let http1 = request(make(), &origin(), Protocol::Http1).unwrap();
            let seen = format!("{} {}", http1.uri(), http1.headers()["host"].to_str().unwrap());
            assert_eq!(seen, as_http1);
            let http2 = request(make(), &origin(), Protocol::Http2).unwrap();
            assert_eq!((http2.uri().to_string().as_str(), http2.headers().get("host")), (as_http2, None));
            // There and back: a request refused in one version can be sent in the other.
            let back = request(http2, &origin(), Protocol::Http1).unwrap();
            assert_eq!(format!("{} {}", back.uri(), back.headers()["host"].to_str().unwrap()), as_http1);
        }
    }

    #[test]
    fn asterisk_form_survives() {
        let made = Request::options("*").header("host", "site.test").body(body("")).unwrap();
        assert_eq!(request(made, &origin(), Protocol::Http1).unwrap().uri(), "*");
    }

    #[test]
    fn http2_carries_no_header_of_the_clients_connection() {
        let made = Request::get("/")
            .header("host", "site.test")
            .header("connection", "close, X-Private, TE")
            .header("x-private", "1")
            .header("keep-alive", "5")
            .header("proxy-connection", "keep-alive")
            .header("transfer-encoding", "chunked")
            .header("upgrade", "h2c")
            .header("te", "gzip, trailers")
            .header("accept", "*/*")
            .body(body(""))
            .unwrap();
        let sent = request(made, &origin(), Protocol::Http2).unwrap();
        let mut names: Vec<_> = sent.headers().iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        names.sort();
        assert_eq!(names, ["accept: \"*/*\"", "te: \"trailers\""]);
    }

    #[test]
    fn only_safe_requests_without_a_body_may_be_sent_twice() {
        for (method, text, expected) in [
            (Method::GET, "", true),
            (Method::HEAD, "", true),
            (Method::OPTIONS, "", true),
            (Method::GET, "body", false),
            (Method::POST, "", false),
            (Method::PUT, "", false),
            (Method::DELETE, "", false),
            (Method::PATCH, "", false),
        ] {
            let made = Request::builder().method(method.clone()).uri("/a").header("x", "1").body(body(text)).unwrap();
            let copy = replayable(&made);
            assert_eq!(copy.is_some(), expected, "{method} {text:?}");
            if let Some(copy) = copy {
                assert_eq!((copy.method(), copy.uri(), copy.headers()), (made.method(), made.uri(), made.headers()));
            }
        }
    }

    #[test]
    fn connection_authentication_is_recognised_in_any_case() {
        for (value, expected) in [
            ("Negotiate abc", true),
            ("NTLM", true),
            ("ntlm TlRM", true),
            ("Basic abc", false),
            ("Bearer negotiate", false),
            ("Negotiated", false),
        ] {
            let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, HeaderValue::from_static(value))]);
            assert_eq!(authenticates_connection(&headers), expected, "{value}");
        }
    }
}
