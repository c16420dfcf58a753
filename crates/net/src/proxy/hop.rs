//! Header fields that belong to one connection and must not travel on, and the few a proxy adds.
//!
//! RFC 9110 section 7.6.1 and 7.6.3. It decides nothing about policy headers. Invariant: what `Connection` names is
//! removed, except that an upgrade the proxy relays keeps its own two fields, set by us.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Version};

/// Fields of one hop, besides those that `Connection` names. `TE` is handled apart.
const HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes the fields of the client's hop. Returns the protocol of an upgrade that the client asked for.
pub fn strip_request(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let upgrade = upgrade(headers);
    // gRPC needs `TE: trailers`; every other value is about this hop.
    let trailers = headers.get_all(header::TE).iter().any(|value| {
        value.to_str().is_ok_and(|text| text.split(',').any(|part| part.trim().eq_ignore_ascii_case("trailers")))
    });
    strip(headers);
    headers.remove(header::TE);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    // Answered by this hop: hyper sends 100 when the body is first read.
    headers.remove(header::EXPECT);
    upgrade
}

/// Removes the fields of the origin's hop.
pub fn strip_response(headers: &mut HeaderMap) {
    strip(headers);
    headers.remove("alt-svc");
}

fn strip(headers: &mut HeaderMap) {
    // Most heads inside a connection that is kept have none.
    if !headers.keys().any(|name| HOP.contains(name)) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // Naming an end-to-end field here is a known way to strip it from what the origin sees.
        .filter(|name| !matches!(*name, header::HOST | header::CONTENT_LENGTH | header::AUTHORIZATION | header::COOKIE))
        .collect();
    for name in named.iter().chain(&HOP) {
        headers.remove(name);
    }
}

fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers.get_all(header::CONNECTION).iter().any(|value| {
        value.to_str().is_ok_and(|text| text.split(',').any(|part| part.trim().eq_ignore_ascii_case("upgrade")))
    });
    // Only WebSocket is relayed. An upgrade to h2c is declined by silence, as RFC 9110 section 7.8 allows.
    headers.get(header::UPGRADE).filter(|value| asked && value.as_bytes().eq_ignore_ascii_case(b"websocket")).cloned()
}

/// Puts back the two fields of an upgrade that is relayed.
pub fn restore_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// Says whether `Via` shows that the request has been here before.
pub fn is_loop(headers: &HeaderMap, pseudonym: &str) -> bool {
    headers.get_all(header::VIA).iter().any(|value| {
        value.to_str().is_ok_and(|text| {
            text.split(',')
                .any(|hop| hop.split_whitespace().nth(1).is_some_and(|by| by.eq_ignore_ascii_case(pseudonym)))
        })
    })
}

pub fn add_via(headers: &mut HeaderMap, version: Version, pseudonym: &str) {
    let number = match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    if let Ok(value) = HeaderValue::try_from(format!("{number} {pseudonym}")) {
        headers.append(header::VIA, value);
    }
}

/// Says whether sending the request twice means the same as once (RFC 9110 section 9.2.2).
pub fn is_replayable(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

#[cfg(test)]
mod tests {
    use http::header::HeaderMap;

    use super::{add_via, is_loop, strip_request, strip_response};

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn fields_of_one_hop_do_not_travel() {
        let mut headers = map(&[
            ("host", "a"),
            ("connection", "keep-alive, X-Secret, cookie, host"),
            ("x-secret", "1"),
            ("cookie", "a=b"),
            ("keep-alive", "5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eA=="),
            ("te", "gzip, trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("x-other", "2"),
        ]);
        assert_eq!(strip_request(&mut headers), None);
        assert_eq!(names(&headers), ["cookie", "host", "te", "x-other"]);
        assert_eq!(headers["te"], "trailers");
    }

    #[test]
    fn an_upgrade_counts_only_when_connection_names_it_and_it_is_websocket() {
        for (connection, upgrade, expected) in [
            ("Upgrade", "websocket", true),
            ("keep-alive, upgrade", "WebSocket", true),
            ("keep-alive", "websocket", false),
            ("upgrade", "h2c", false),
        ] {
            let mut headers = map(&[("connection", connection), ("upgrade", upgrade)]);
            assert_eq!(strip_request(&mut headers).is_some(), expected, "{connection} {upgrade}");
            assert!(headers.is_empty());
        }
    }

    #[test]
    fn responses_lose_their_hop_and_offers_of_other_ways_around_the_gateway() {
        let mut headers = map(&[("connection", "close"), ("alt-svc", "h3=\":443\""), ("etag", "x")]);
        strip_response(&mut headers);
        assert_eq!(names(&headers), ["etag"]);
    }

    #[test]
    fn a_loop_is_seen_by_its_pseudonym() {
        let mut headers = map(&[("via", "1.1 other, 2 there")]);
        assert!(!is_loop(&headers, "here"));
        add_via(&mut headers, http::Version::HTTP_11, "here");
        assert!(is_loop(&headers, "HERE"));
    }
}
