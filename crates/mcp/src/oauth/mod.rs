//! The OAuth client that signs people in at MCP servers, as pure steps (MCP authorization 2025-11-25 and 2026-07-28).
//!
//! Decides where a server's authorization server is found ([`challenge`], [`discovery`]), as which client the portal goes
//! there ([`client`]), what is sent and what is believed of the answers ([`flow`]), and when what was given has to be
//! renewed ([`grant`]). Fetching, keeping and sealing are the caller's. Invariants: no sign-in begins without PKCE S256 and
//! a resource; an answer counts only for the browser, the moment and the issuer it was asked for; and what one issuer gave
//! is shown to no other.

pub mod challenge;
pub mod client;
pub mod discovery;
pub mod flow;
pub mod grant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use url::{Host, Url};

/// Longest document of a server or its authorization server, in bytes.
pub const MAX_DOCUMENT: usize = 256 << 10;
/// Longest list of scopes, in bytes.
pub const MAX_SCOPE: usize = 4_096;
const MAX_URL: usize = 2_048;

/// Reads an address that codes, tokens or trust hang on: https, or http on loopback; no credentials and no fragment.
pub(crate) fn address(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|_| text.len() <= MAX_URL)?;
    let loopback = match url.host()? {
        Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    let scheme = url.scheme() == "https" || (url.scheme() == "http" && loopback);
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    (scheme && plain).then_some(url)
}

/// Keeps the words of a list of scopes that can be ones (RFC 6749 section 3.3), each once, in order.
pub(crate) fn scopes<'a>(words: impl Iterator<Item = &'a str>) -> Option<String> {
    let allowed =
        |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
    let mut found: Vec<&str> = Vec::new();
    let mut length = 0;
    for word in words.filter(allowed) {
        length += word.len() + 1;
        if length > MAX_SCOPE {
            break;
        }
        if !found.contains(&word) {
            found.push(word);
        }
    }
    (!found.is_empty()).then(|| found.join(" "))
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An error word of a server, of letters, digits and `_`, so that it can stand in a page and a log.
fn plain_error(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect()
}
