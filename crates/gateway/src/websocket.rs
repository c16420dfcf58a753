//! WebSocket over HTTP/2 (RFC 8441) as the same request over HTTP/1.1, so that one set of rules and one way to the origin
//! serve both.
//!
//! It translates and decides nothing. Invariant: an extended CONNECT is answered with 2xx exactly when both sides have
//! changed protocols, because to its client any 2xx means that they have.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};

/// The one protocol that extended CONNECT opens here.
pub(crate) const PROTOCOL: HeaderValue = HeaderValue::from_static("websocket");

/// What every server appends to the key (RFC 6455 section 1.3).
const SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Says whether a request asks for WebSocket by extended CONNECT.
pub(crate) fn is_extended<B>(request: &Request<B>) -> bool {
    request.method() == Method::CONNECT
        && request.extensions().get::<hyper::ext::Protocol>().is_some_and(|protocol| protocol.as_str() == "websocket")
}

/// Rewrites extended CONNECT as the request that asks for the same over HTTP/1.1. The key, which HTTP/2 has no use for, is
/// the gateway's own.
pub(crate) fn as_upgrade<B>(request: &mut Request<B>) {
    *request.method_mut() = Method::GET;
    request.extensions_mut().remove::<hyper::ext::Protocol>();
    let key = STANDARD.encode(uuid::Uuid::new_v4().as_bytes());
    let headers = request.headers_mut();
    if let Ok(key) = HeaderValue::try_from(key) {
        headers.insert(header::SEC_WEBSOCKET_KEY, key);
    }
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
}

/// Says whether an origin's 101 answers the key that was sent. An HTTP/2 client cannot tell, so it is told here.
pub(crate) fn is_accepted(sent: &HeaderMap, answered: &HeaderMap) -> bool {
    let Some(key) = sent.get(header::SEC_WEBSOCKET_KEY) else { return false };
    let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key.as_bytes());
    digest.update(SUFFIX.as_bytes());
    let expected = STANDARD.encode(digest.finish());
    answered.get(header::SEC_WEBSOCKET_ACCEPT).is_some_and(|accept| accept.as_bytes() == expected.as_bytes())
}

/// Rewrites the answer to such a request as one to extended CONNECT.
pub(crate) fn answer<B>(response: &mut Response<B>) {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        *response.status_mut() = StatusCode::OK;
        for name in [header::CONNECTION, header::UPGRADE, header::SEC_WEBSOCKET_ACCEPT] {
            response.headers_mut().remove(name);
        }
    } else if response.status().is_success() {
        // A page in place of a WebSocket: from an origin that has none there, or from a Worker.
        *response.status_mut() = StatusCode::BAD_GATEWAY;
    }
}

#[cfg(test)]
mod tests {
    use http::header::{self, HeaderMap};

    use super::is_accepted;

    #[test]
    fn an_accepted_key_is_the_one_that_was_sent() {
        // The example of RFC 6455 section 1.3.
        let mut sent = HeaderMap::new();
        sent.insert(header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
        for (accept, good) in [("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", true), ("s3pPLMBiTxaQ9kYGzzhZRbK+xOp=", false)] {
            let mut answered = HeaderMap::new();
            answered.insert(header::SEC_WEBSOCKET_ACCEPT, accept.parse().unwrap());
            assert_eq!(is_accepted(&sent, &answered), good);
        }
        assert!(!is_accepted(&sent, &HeaderMap::new()));
    }
}
