//! What every request to the console passes and every response carries, whoever asks: the Host allow list, the Origin
//! check for browsers and the security headers.
//!
//! It does not authenticate. Invariant: a page of another site can neither reach a console on loopback through DNS
//! rebinding (its host name is not on the list) nor make a signed-in browser change anything (Origin and CSRF token).

use std::net::IpAddr;
use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// Only our own files, no inline script or style, nobody may frame us.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' \
     data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Returns the host name of a request without its port, in lower case.
#[must_use]
pub fn host_name(headers: &HeaderMap, uri: &axum::http::Uri) -> Option<String> {
    let mut values = headers.get_all(header::HOST).iter();
    let host = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok()?,
        // HTTP/2 carries the host as `:authority`.
        (None, None) => uri.authority()?.as_str(),
        (_, Some(_)) => return None,
    };
    let authority = axum::http::uri::Authority::from_str(host).ok()?;
    (!authority.as_str().contains('@')).then(|| authority.host().to_ascii_lowercase())
}

/// Says whether a host name is one of ours. A literal address needs no list: a rebinding page always has a name.
#[must_use]
pub fn is_our_host(name: &str, allowed: &[String]) -> bool {
    name == "localhost" || is_address(name) || allowed.iter().any(|host| covers(host, name))
}

fn is_address(name: &str) -> bool {
    name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}

/// Says whether `allowed` is `name`, or a wildcard for exactly one label of it.
fn covers(allowed: &str, name: &str) -> bool {
    match allowed.strip_prefix("*.") {
        None => allowed.eq_ignore_ascii_case(name),
        Some(parent) => name.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent)),
    }
}

/// Says whether a browser may be told to insist on https for a host name. Browsers ignore the wish for an address, and
/// for `localhost` it would bind every other program on the person's machine, because it holds for all ports.
#[must_use]
pub fn may_insist(name: &str) -> bool {
    name != "localhost" && !is_address(name)
}

/// Says whether a state-changing request that carries a cookie comes from one of our own pages. Where the console speaks
/// https, a page of the same name in clear is somebody else's: anyone on the way can have written it.
#[must_use]
pub fn is_same_origin(headers: &HeaderMap, uri: &axum::http::Uri, https: bool) -> bool {
    let host =
        headers.get(header::HOST).and_then(|value| value.to_str().ok()).or_else(|| Some(uri.authority()?.as_str()));
    let (Some(host), origin) = (host, headers.get(header::ORIGIN)) else { return false };
    match origin {
        Some(origin) => {
            let origin = origin.to_str().unwrap_or("null");
            let schemes: &[&str] = if https { &["https://"] } else { &["http://", "https://"] };
            schemes
                .iter()
                .any(|scheme| origin.strip_prefix(scheme).is_some_and(|authority| authority.eq_ignore_ascii_case(host)))
        }
        None => headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin"),
    }
}

/// Says whether a method may change state.
#[must_use]
pub fn changes_state(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Adds the security headers a response does not already set.
pub fn add_security_headers(headers: &mut HeaderMap, insist_on_https: bool) {
    const HEADERS: [(HeaderName, &str); 8] = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ];
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if insist_on_https {
        let year = HeaderValue::from_static("max-age=31536000");
        headers.entry(header::STRICT_TRANSPORT_SECURITY).or_insert(year);
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, Uri};

    use super::{host_name, is_our_host, is_same_origin, may_insist};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_our_names_and_literal_addresses_are_served() {
        let allowed = ["console.example.com".to_owned(), "*.example.org".to_owned()];
        for (host, ours) in [
            ("127.0.0.1:9080", true),
            ("[::1]:9080", true),
            ("localhost:9080", true),
            ("Console.Example.com", true),
            ("gate.example.org", true),
            ("example.org", false),
            ("a.gate.example.org", false),
            ("attacker.example", false),
            ("127.0.0.1.nip.io", false),
            ("localhost.attacker.example:9080", false),
            ("user@127.0.0.1", false),
            ("", false),
        ] {
            let name = host_name(&headers(&[("host", host)]), &Uri::from_static("/"));
            assert_eq!(name.is_some_and(|name| is_our_host(&name, &allowed)), ours, "{host}");
        }
        assert!(host_name(&headers(&[("host", "localhost"), ("host", "evil")]), &Uri::from_static("/")).is_none());
        assert!(host_name(&headers(&[]), &Uri::from_static("/")).is_none());
    }

    #[test]
    fn a_request_of_another_origin_is_told_apart() {
        for (pairs, same) in [
            (vec![("host", "localhost:1"), ("origin", "http://localhost:1")], true),
            (vec![("host", "localhost:1"), ("origin", "https://localhost:1")], true),
            (vec![("host", "localhost:1"), ("origin", "http://localhost:2")], false),
            (vec![("host", "localhost:1"), ("origin", "null")], false),
            (vec![("host", "localhost:1"), ("sec-fetch-site", "same-origin")], true),
            (vec![("host", "localhost:1"), ("sec-fetch-site", "cross-site")], false),
            (vec![("host", "localhost:1")], false),
        ] {
            assert_eq!(is_same_origin(&headers(&pairs), &Uri::from_static("/"), false), same, "{pairs:?}");
        }
    }

    #[test]
    fn over_https_a_page_in_clear_is_another_origin() {
        for (origin, same) in [("https://localhost:1", true), ("http://localhost:1", false), ("localhost:1", false)] {
            let pairs = [("host", "localhost:1"), ("origin", origin)];
            assert_eq!(is_same_origin(&headers(&pairs), &Uri::from_static("/"), true), same, "{origin}");
        }
    }

    #[test]
    fn browsers_are_bound_to_https_for_host_names_alone() {
        for (name, bound) in
            [("console.example.com", true), ("localhost", false), ("127.0.0.1", false), ("[::1]", false)]
        {
            assert_eq!(may_insist(name), bound, "{name}");
        }
    }
}
