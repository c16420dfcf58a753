//! Client ID metadata documents: a client whose id is the https URL of a document about it.
//!
//! Decides which ids are such URLs, where the caller may fetch them from, and what a fetched document makes. Deliberately
//! fetches nothing. Invariant: the id in the document is the URL it was fetched from, letter for letter, and such a client
//! never has a secret.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use types::ApplicationId;
use url::{Host, Url};

use super::client::{AuthenticationMethod, Client, MAX_ID_BYTES, Origin};
use super::error::OauthError;
use super::registration::{Metadata, check, grant_types, metadata_error};
use crate::application::RegistrationDocument;

/// How the caller fetches a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchRules {
    pub max_bytes: usize,
    pub timeout: Duration,
    /// A redirect would let another host speak for the id.
    pub follow_redirects: bool,
    /// How long a fetched document holds, whatever its headers say.
    pub keep_for: Duration,
    /// How long a failure holds, so that an id cannot be used to make us hammer a host.
    pub keep_failure_for: Duration,
}

/// The rules; the size is the draft's recommendation.
pub const FETCH: FetchRules = FetchRules {
    max_bytes: 5 * 1024,
    timeout: Duration::from_secs(5),
    follow_redirects: false,
    keep_for: Duration::from_secs(15 * 60),
    keep_failure_for: Duration::from_secs(60),
};

/// Reads a client id that is the URL of a document: https, a path other than `/`, canonical, no fragment, no credentials,
/// a name rather than an address as its host.
#[must_use]
pub fn document_url(client_id: &str) -> Option<Url> {
    if client_id.len() > MAX_ID_BYTES {
        return None;
    }
    let url = Url::parse(client_id).ok()?;
    // A canonical spelling has no dot segments left, which the draft forbids.
    let valid = url.scheme() == "https"
        && url.as_str() == client_id
        && url.path() != "/"
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && matches!(url.host(), Some(Host::Domain(name)) if name.contains('.') && !name.ends_with(".localhost"));
    valid.then_some(url)
}

/// Whether a document may be fetched from an address its host resolved to. The caller checks the very address it connects
/// to, so that a second resolution cannot change it.
#[must_use]
pub fn may_connect(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let reserved = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !reserved
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // Global unicast is 2000::/3. Inside of it, 2001::/23 is for protocols (Teredo among them), 2001:db8::/32 and
    // 3fff::/20 for documentation, and 2002::/16 reaches an IPv4 address that is not checked here.
    (0x2000..=0x3fff).contains(&a)
        && !(a == 0x2001 && (b < 0x0200 || b == 0x0db8))
        && a != 0x2002
        && !(a == 0x3fff && b < 0x1000)
}

/// Makes the client of a fetched document. `content_type` is the header's value.
///
/// # Errors
/// `invalid_client_metadata` or `invalid_redirect_uri` with what is wrong.
pub fn client(
    url: &Url,
    content_type: Option<&str>,
    body: &[u8],
    application: ApplicationId,
    rules: &RegistrationDocument,
    now: i64,
) -> Result<Client, OauthError> {
    let media_type = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(metadata_error("the client's document is not application/json"));
    }
    if body.len() > FETCH.max_bytes {
        return Err(metadata_error("the client's document is longer than 5 KiB"));
    }
    let metadata: Metadata =
        serde_json::from_slice(body).map_err(|_| metadata_error("the client's document is not client metadata"))?;
    if metadata.client_id.as_deref() != Some(url.as_str()) {
        return Err(metadata_error("client_id in the client's document is not its URL"));
    }
    if metadata.client_secret.is_some() || metadata.token_endpoint_auth_method.as_deref().is_some_and(|m| m != "none") {
        return Err(metadata_error("a client with a document must have the token_endpoint_auth_method none"));
    }
    check(&metadata, rules)?;
    let grant_types = grant_types(&metadata)?;
    Ok(Client {
        id: url.as_str().to_owned(),
        application,
        origin: Origin::Document,
        name: metadata.client_name.unwrap_or_default(),
        redirect_uris: metadata.redirect_uris,
        method: AuthenticationMethod::None,
        secret: None,
        grant_types,
        created_at: now,
        last_used_at: None,
    })
}

#[cfg(test)]
mod tests {
    use super::{document_url, may_connect};

    #[test]
    fn only_a_plain_https_url_with_a_path_is_a_documents_id() {
        for (id, valid) in [
            ("https://app.example/client.json", true),
            ("https://app.example/client.json?v=1", true),
            ("https://app.example/", false),
            ("https://app.example", false),
            ("http://app.example/client.json", false),
            ("https://u@app.example/client.json", false),
            ("https://app.example/a/../client.json", false),
            ("https://app.example/client.json#x", false),
            ("https://127.0.0.1/client.json", false),
            ("https://[::1]/client.json", false),
            ("https://2130706433/client.json", false),
            ("https://localhost/client.json", false),
            ("https://a.localhost/client.json", false),
            ("https://internal/client.json", false),
            ("some-client", false),
        ] {
            assert_eq!(document_url(id).is_some(), valid, "{id}");
        }
    }

    #[test]
    fn documents_are_fetched_from_the_public_internet_only() {
        for (address, allowed) in [
            ("93.184.215.14", true),
            ("2606:4700::1111", true),
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("169.254.169.254", false),
            ("100.100.100.200", false),
            ("172.31.0.1", false),
            ("192.168.0.1", false),
            ("198.18.0.1", false),
            ("0.0.0.0", false),
            ("255.255.255.255", false),
            ("::1", false),
            ("::ffff:169.254.169.254", false),
            ("64:ff9b::7f00:1", false),
            ("fe80::1", false),
            ("fd00:ec2::254", false),
            ("2002:7f00:1::", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(may_connect(address.parse().unwrap()), allowed, "{address}");
        }
    }
}
