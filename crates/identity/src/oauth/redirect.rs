//! Redirect URIs of clients: which may be registered and which request matches a registered one.
//!
//! The allow list is `dynamic_client_registration` of the application (reference section 4.1). Only the canonical spelling
//! of a URI is accepted, so that no second parser can see another host in it. Invariant: a code is sent nowhere that the
//! owner's list does not name.

use std::net::IpAddr;

use url::{Host, Url};

use crate::application::RegistrationDocument;

/// Most bytes of a redirect URI.
pub const MAX_BYTES: usize = 2_048;

/// Schemes that run something in the browser or read local data, whatever a list says.
const NEVER: [&str; 13] = [
    "javascript",
    "data",
    "vbscript",
    "blob",
    "file",
    "about",
    "filesystem",
    "view-source",
    "ws",
    "wss",
    "ftp",
    "mailto",
    "intent",
];

/// Why a redirect URI is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedirectError {
    #[error("redirect_uri is longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("redirect_uri is not an absolute URI in its canonical spelling")]
    NotCanonical,
    #[error("redirect_uri must not have a fragment")]
    Fragment,
    #[error("redirect_uri must not carry credentials")]
    Credentials,
    #[error("redirect_uri has a scheme that is never allowed")]
    Scheme,
    #[error("a wildcard is only allowed as the last segment of an http or https entry")]
    Wildcard,
    #[error("redirect_uri is not allowed by the account configuration")]
    NotAllowed,
}

/// Reads a redirect URI in its canonical spelling.
///
/// # Errors
/// On anything a browser might read differently, and on schemes that are never allowed.
pub fn parse(text: &str) -> Result<Url, RedirectError> {
    if text.len() > MAX_BYTES {
        return Err(RedirectError::TooLong);
    }
    let url = Url::parse(text).map_err(|_| RedirectError::NotCanonical)?;
    if NEVER.contains(&url.scheme()) {
        return Err(RedirectError::Scheme);
    }
    if url.fragment().is_some() {
        return Err(RedirectError::Fragment);
    }
    if !url.username().is_empty() || url.password().is_some() || text.contains('@') && url.cannot_be_a_base() {
        return Err(RedirectError::Credentials);
    }
    let web = matches!(url.scheme(), "http" | "https");
    // `https://host` and `https://host/` are the same address; any other difference is a spelling of its own.
    let canonical = url.as_str() == text || (web && url.as_str().strip_suffix('/') == Some(text));
    if !canonical || (web && url.host().is_none()) {
        return Err(RedirectError::NotCanonical);
    }
    Ok(url)
}

/// Checks one entry of `allowed_uris`.
///
/// # Errors
/// If it is not an exact URI, or an http(s) URI whose last segment is `*`.
pub fn check_pattern(entry: &str) -> Result<(), RedirectError> {
    let (text, wildcard) = match entry.strip_suffix("/*") {
        Some(stem) => (format!("{stem}/"), true),
        None => (entry.to_owned(), false),
    };
    let url = parse(&text)?;
    if text.contains('*') || (wildcard && !matches!(url.scheme(), "http" | "https")) {
        return Err(RedirectError::Wildcard);
    }
    Ok(())
}

/// Whether a URI leads to the person's own machine, and how it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Local {
    /// The name `localhost`.
    Name,
    /// An address of 127.0.0.0/8 or ::1.
    Address,
}

/// Tells whether an http(s) URI leads to the person's own machine.
#[must_use]
pub fn local(url: &Url) -> Option<Local> {
    if !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    match url.host()? {
        Host::Domain("localhost") => Some(Local::Name),
        Host::Ipv4(address) if IpAddr::V4(address).is_loopback() => Some(Local::Address),
        Host::Ipv6(address) if IpAddr::V6(address).is_loopback() => Some(Local::Address),
        Host::Domain(_) | Host::Ipv4(_) | Host::Ipv6(_) => None,
    }
}

/// Decides whether a client may register `text`.
///
/// # Errors
/// If it is malformed or the application's allow list does not name it.
pub fn may_register(text: &str, rules: &RegistrationDocument) -> Result<Url, RedirectError> {
    let url = parse(text)?;
    let any_port = match local(&url) {
        Some(Local::Name) => rules.allow_any_on_localhost,
        Some(Local::Address) => rules.allow_any_on_loopback,
        None => false,
    };
    if any_port || rules.allowed_uris.iter().any(|entry| listed(&url, entry)) {
        return Ok(url);
    }
    Err(RedirectError::NotAllowed)
}

fn listed(url: &Url, entry: &str) -> bool {
    if check_pattern(entry).is_err() {
        return false;
    }
    match entry.strip_suffix('*') {
        Some(prefix) => Url::parse(prefix).is_ok_and(|prefix| {
            url.origin() == prefix.origin() && url.path().starts_with(prefix.path()) && !hides_a_segment(url.path())
        }),
        None => Url::parse(entry).is_ok_and(|entry| entry == *url),
    }
}

/// An encoded slash, backslash or dot could leave the prefix again at a server that decodes before it routes.
fn hides_a_segment(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    ["%2f", "%5c", "%2e", "%25"].iter().any(|code| path.contains(code))
}

/// Decides whether the URI of a request is one the client registered: the same text, but for the port of a loopback
/// address or `localhost` over http, which native apps choose when they start (RFC 8252 section 7.3).
#[must_use]
pub fn matches(registered: &[String], requested: &str) -> bool {
    if registered.iter().any(|uri| uri == requested) {
        return true;
    }
    let Ok(requested) = parse(requested) else { return false };
    if requested.scheme() != "http" || local(&requested).is_none() {
        return false;
    }
    let without_port = |url: &Url| {
        let mut url = url.clone();
        url.set_port(None).is_ok().then_some(url)
    };
    let wanted = without_port(&requested);
    wanted.is_some() && registered.iter().filter_map(|uri| parse(uri).ok()).any(|uri| without_port(&uri) == wanted)
}

#[cfg(test)]
mod tests {
    use super::{RedirectError, check_pattern, matches, may_register, parse};
    use crate::application::RegistrationDocument;

    fn rules(allowed: &[&str], localhost: bool, loopback: bool) -> RegistrationDocument {
        RegistrationDocument {
            enabled: true,
            allow_any_on_localhost: localhost,
            allow_any_on_loopback: loopback,
            allowed_uris: allowed.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn the_allow_list_names_what_may_be_registered() {
        let listed = ["https://claude.ai/api/mcp/auth_callback", "https://ide.example/cb/*", "cursor://mcp/callback"];
        for (uri, allowed) in [
            ("https://claude.ai/api/mcp/auth_callback", true),
            ("https://claude.ai/api/mcp/auth_callback/x", false),
            ("https://claude.ai/api/mcp/auth_callback?x=1", false),
            ("http://claude.ai/api/mcp/auth_callback", false),
            ("https://claude.ai:444/api/mcp/auth_callback", false),
            ("https://claude.ai.evil.example/api/mcp/auth_callback", false),
            ("https://ide.example/cb/one/two?x=1", true),
            ("https://ide.example/cb", false),
            ("https://ide.example/cbx/one", false),
            ("https://ide.example/cb/../evil", false),
            ("https://ide.example/cb/%2e%2e/evil", false),
            ("https://ide.example/cb/..%2fevil", false),
            ("https://ide.example/cb/%252e%252e/evil", false),
            ("https://evil@ide.example/cb/one", false),
            ("https://ide.example\\@evil.example/cb/one", false),
            ("cursor://mcp/callback", true),
            ("cursor://mcp/callback2", false),
            ("javascript:alert(1)", false),
            ("http://localhost:3000/cb", false),
            ("http://127.0.0.1:3000/cb", false),
        ] {
            assert_eq!(may_register(uri, &rules(&listed, false, false)).is_ok(), allowed, "{uri}");
        }
    }

    #[test]
    fn the_two_switches_open_the_own_machine_and_nothing_else() {
        for (uri, localhost, loopback) in [
            ("http://localhost:3000/any", true, false),
            ("http://127.0.0.1:1/any", false, true),
            ("http://127.9.8.7/any", false, true),
            ("http://[::1]:9/any", false, true),
            ("http://localhost.evil.example/", false, false),
            ("http://127.0.0.1.evil.example/", false, false),
            ("http://128.0.0.1/", false, false),
            ("http://0.0.0.0/", false, false),
            ("http://[::ffff:127.0.0.1]/", false, false),
        ] {
            assert_eq!(may_register(uri, &rules(&[], true, false)).is_ok(), localhost, "{uri}");
            assert_eq!(may_register(uri, &rules(&[], false, true)).is_ok(), loopback, "{uri}");
        }
    }

    #[test]
    fn a_request_matches_exactly_or_by_the_port_of_the_own_machine() {
        let registered = ["https://a.example/cb", "http://127.0.0.1/cb", "http://localhost:1/cb"].map(str::to_owned);
        for (uri, expected) in [
            ("https://a.example/cb", true),
            ("https://a.example:8443/cb", false),
            ("https://a.example/cb/", false),
            ("https://a.example/cb?x", false),
            ("http://127.0.0.1:51234/cb", true),
            ("http://127.0.0.1:51234/other", false),
            ("http://127.0.0.2:51234/cb", false),
            ("https://127.0.0.1:51234/cb", false),
            ("http://localhost:51234/cb", true),
            ("http://localhost:51234/cb#x", false),
        ] {
            assert_eq!(matches(&registered, uri), expected, "{uri}");
        }
    }

    #[test]
    fn patterns_and_spellings_are_checked() {
        for (entry, expected) in [
            ("https://a.example/*", Ok(())),
            ("https://*.a.example/", Err(RedirectError::NotCanonical)),
            ("https://a.example/*/cb", Err(RedirectError::Wildcard)),
            ("app://x/*", Err(RedirectError::Wildcard)),
            ("https://u:p@a.example/", Err(RedirectError::Credentials)),
            ("https://a.example/#x", Err(RedirectError::Fragment)),
        ] {
            let checked = check_pattern(entry);
            assert_eq!(checked.is_ok(), expected.is_ok(), "{entry}: {checked:?}");
        }
        for uri in ["HTTPS://a.example/", "https://A.example/", "https://a.example:443/", "https:a.example", "/cb", ""]
        {
            assert!(parse(uri).is_err(), "{uri}");
        }
        assert!(parse("https://a.example").is_ok());
    }
}
