//! Where a server's authorization server is, and what it can do: RFC 9728, RFC 8414, OpenID Connect Discovery.
//!
//! Decides which addresses are asked in which order, and whether a document is believed. Invariants: a description of a
//! resource counts only for the server it was asked for; one of an issuer only under that issuer's own name; and an
//! authorization server that does not say that it does PKCE with S256 is not used.

use serde::Deserialize;
use url::Url;

use super::{MAX_DOCUMENT, address, scopes};
use crate::document::credentials::TokenAuthMethod;

/// What RFC 9728 names a description of a resource.
const RESOURCE: &str = "/.well-known/oauth-protected-resource";
const AUTHORITY: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";
/// Authorization servers of one resource that are looked at.
const MOST_AUTHORITIES: usize = 8;
const MOST_WORDS: usize = 200;

/// Why a description is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    #[error("its description is not the JSON that was expected, or too large")]
    Malformed,
    #[error("its description is of another resource")]
    Resource,
    #[error("its description names no authorization server that can be used")]
    NoAuthority,
    #[error("the authorization server's description is of another issuer")]
    Issuer,
    #[error("the authorization server's description lacks a sound `{0}`")]
    Endpoint(&'static str),
    #[error("the authorization server does not say that it supports PKCE with S256")]
    Pkce,
}

/// Returns where a server may describe itself: where its challenge points, else below its path, else at its root.
#[must_use]
pub fn resource_locations(server: &Url, challenged: Option<&Url>) -> Vec<Url> {
    match challenged {
        Some(url) => vec![url.clone()],
        None => inserted(server, &[RESOURCE]),
    }
}

/// Returns where an issuer may describe itself, in the order in which it is asked.
#[must_use]
pub fn issuer_locations(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let at = |path: &str| {
        let mut url = issuer.clone();
        url.set_path(path);
        url.set_query(None);
        url
    };
    if path.is_empty() {
        return vec![at(AUTHORITY), at(OPENID)];
    }
    vec![at(&format!("{AUTHORITY}{path}")), at(&format!("{OPENID}{path}")), at(&format!("{path}{OPENID}"))]
}

/// Names below which a path is inserted, then the same without it.
fn inserted(url: &Url, names: &[&str]) -> Vec<Url> {
    let path = url.path().trim_end_matches('/');
    let at = |path: String| {
        let mut found = url.clone();
        found.set_path(&path);
        found.set_query(None);
        found.set_fragment(None);
        found
    };
    let mut found: Vec<Url> = names.iter().map(|name| at(format!("{name}{path}"))).collect();
    if !path.is_empty() {
        found.extend(names.iter().map(|name| at((*name).to_owned())));
    }
    found
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// As it is named in requests for tokens, letter for letter.
    pub resource: String,
    /// Its authorization servers, in its order.
    pub authorities: Vec<Url>,
    /// Everything it has scopes for.
    pub scopes: Option<String>,
}

#[derive(Deserialize)]
struct ResourceDocument {
    resource: String,
    #[serde(default)]
    authorization_servers: Vec<String>,
    #[serde(default)]
    scopes_supported: Vec<String>,
}

impl Resource {
    /// Reads the description that was found for `server`.
    ///
    /// # Errors
    /// It is none, or is about something else.
    pub fn parse(body: &[u8], server: &Url) -> Result<Self, DiscoveryError> {
        if body.len() > MAX_DOCUMENT {
            return Err(DiscoveryError::Malformed);
        }
        let document: ResourceDocument = serde_json::from_slice(body).map_err(|_| DiscoveryError::Malformed)?;
        let resource = Url::parse(&document.resource).map_err(|_| DiscoveryError::Resource)?;
        if !covers(&resource, server) {
            return Err(DiscoveryError::Resource);
        }
        let authorities: Vec<Url> =
            document.authorization_servers.iter().take(MOST_AUTHORITIES).filter_map(|text| address(text)).collect();
        if authorities.is_empty() {
            return Err(DiscoveryError::NoAuthority);
        }
        let words = document.scopes_supported.iter().take(MOST_WORDS).map(String::as_str);
        Ok(Self { resource: document.resource, authorities, scopes: scopes(words) })
    }
}

/// Whether a token for `resource` is one for `server`: the same origin, and the path or one above it, by whole segments.
fn covers(resource: &Url, server: &Url) -> bool {
    let (whole, part) = (resource.path().trim_end_matches('/'), server.path().trim_end_matches('/'));
    let below = part.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    resource.origin() == server.origin() && below && resource.fragment().is_none()
}

/// An authorization server, known to be sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    pub issuer: String,
    pub authorization: Url,
    pub token: Url,
    pub registration: Option<Url>,
    pub revocation: Option<Url>,
    /// It takes the address of a document about a client as the client's id.
    pub client_documents: bool,
    /// It names itself in its answers (RFC 9207), so an answer that does not is refused.
    pub names_itself: bool,
    /// How clients prove themselves at the token endpoint.
    pub methods: Vec<TokenAuthMethod>,
    /// It has a scope for access without the person, which it wants asked for.
    pub offline: bool,
}

#[derive(Deserialize)]
struct AuthorityDocument {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    registration_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    #[serde(default)]
    code_challenge_methods_supported: Vec<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    client_id_metadata_document_supported: bool,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    #[serde(default)]
    scopes_supported: Vec<String>,
}

impl AuthorityDocument {
    fn read(body: &[u8]) -> Result<Self, DiscoveryError> {
        if body.len() > MAX_DOCUMENT {
            return Err(DiscoveryError::Malformed);
        }
        serde_json::from_slice(body).map_err(|_| DiscoveryError::Malformed)
    }
}

impl Authority {
    /// Reads the description of `issuer`, which must be of that issuer (RFC 8414 section 3.3), but for one slash at the
    /// end, which addresses of a bare host cannot tell apart.
    ///
    /// # Errors
    /// It is none, of another issuer, lacks an endpoint, or says nothing of PKCE.
    pub fn parse(body: &[u8], issuer: &Url) -> Result<Self, DiscoveryError> {
        let document = AuthorityDocument::read(body)?;
        let same = match issuer.path() {
            "/" => document.issuer.trim_end_matches('/') == issuer.as_str().trim_end_matches('/'),
            _ => document.issuer == issuer.as_str(),
        };
        if same { Self::of(document) } else { Err(DiscoveryError::Issuer) }
    }

    /// Reads what a server of 2025-03-26 has at its root, whose issuer is whatever it says at its own origin.
    ///
    /// # Errors
    /// As [`Authority::parse`].
    pub fn parse_at_root(body: &[u8], server: &Url) -> Result<Self, DiscoveryError> {
        let document = AuthorityDocument::read(body)?;
        let own = address(&document.issuer).is_some_and(|issuer| issuer.origin() == server.origin());
        if own { Self::of(document) } else { Err(DiscoveryError::Issuer) }
    }

    fn of(document: AuthorityDocument) -> Result<Self, DiscoveryError> {
        if !document.code_challenge_methods_supported.iter().any(|method| method == "S256") {
            return Err(DiscoveryError::Pkce);
        }
        let need = |name: &'static str, text: &Option<String>| {
            text.as_deref().and_then(address).ok_or(DiscoveryError::Endpoint(name))
        };
        // RFC 8414 section 2: what is not said is `client_secret_basic`.
        let methods = match &document.token_endpoint_auth_methods_supported {
            None => vec![TokenAuthMethod::Basic],
            Some(words) => words.iter().filter_map(|word| TokenAuthMethod::named(word)).collect(),
        };
        Ok(Self {
            authorization: need("authorization_endpoint", &document.authorization_endpoint)?,
            token: need("token_endpoint", &document.token_endpoint)?,
            registration: document.registration_endpoint.as_deref().and_then(address),
            revocation: document.revocation_endpoint.as_deref().and_then(address),
            client_documents: document.client_id_metadata_document_supported,
            names_itself: document.authorization_response_iss_parameter_supported,
            methods,
            offline: document.scopes_supported.iter().any(|word| word == "offline_access"),
            issuer: document.issuer,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use url::Url;

    use super::{Authority, DiscoveryError, Resource, issuer_locations, resource_locations};
    use crate::document::credentials::TokenAuthMethod;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn documents_are_looked_for_in_the_order_of_the_specification() {
        let texts = |urls: Vec<Url>| urls.iter().map(ToString::to_string).collect::<Vec<_>>();
        let challenged = url("https://x.example/meta");
        assert_eq!(
            texts(resource_locations(&url("https://a.example/mcp"), Some(&challenged))),
            ["https://x.example/meta"]
        );
        for (server, expected) in [
            (
                "https://a.example/mcp?x=1",
                vec![
                    "https://a.example/.well-known/oauth-protected-resource/mcp",
                    "https://a.example/.well-known/oauth-protected-resource",
                ],
            ),
            ("https://a.example/", vec!["https://a.example/.well-known/oauth-protected-resource"]),
        ] {
            assert_eq!(texts(resource_locations(&url(server), None)), expected);
        }
        assert_eq!(
            texts(issuer_locations(&url("https://as.example/tenant/"))),
            [
                "https://as.example/.well-known/oauth-authorization-server/tenant",
                "https://as.example/.well-known/openid-configuration/tenant",
                "https://as.example/tenant/.well-known/openid-configuration",
            ]
        );
        assert_eq!(
            texts(issuer_locations(&url("https://as.example"))),
            [
                "https://as.example/.well-known/oauth-authorization-server",
                "https://as.example/.well-known/openid-configuration"
            ]
        );
    }

    #[test]
    fn a_resource_is_described_by_its_own_description_alone() {
        let server = url("https://a.example/mcp/v1");
        for (resource, sound) in [
            ("https://a.example/mcp/v1", true),
            ("https://a.example/mcp/v1/", true),
            ("https://a.example/mcp", true),
            ("https://a.example", true),
            ("https://a.example/mc", false),
            ("https://a.example/mcp/v1/x", false),
            ("https://b.example/mcp/v1", false),
            ("http://a.example/mcp/v1", false),
            ("https://a.example:444/mcp/v1", false),
            ("a.example", false),
        ] {
            let body = json!({"resource": resource, "authorization_servers": ["https://as.example"]}).to_string();
            assert_eq!(Resource::parse(body.as_bytes(), &server).is_ok(), sound, "{resource}");
        }
        let none = json!({"resource": server, "authorization_servers": ["http://as.example", "ftp://x"]}).to_string();
        assert_eq!(Resource::parse(none.as_bytes(), &server), Err(DiscoveryError::NoAuthority));
        assert_eq!(Resource::parse(&vec![b' '; 300 << 10], &server), Err(DiscoveryError::Malformed));
    }

    fn authority(change: &[(&str, Value)]) -> Result<Authority, DiscoveryError> {
        let mut document = json!({
            "issuer": "https://as.example",
            "authorization_endpoint": "https://as.example/authorize",
            "token_endpoint": "https://as.example/token",
            "code_challenge_methods_supported": ["plain", "S256"],
        });
        for (member, value) in change {
            document[*member] = value.clone();
        }
        Authority::parse(document.to_string().as_bytes(), &url("https://as.example"))
    }

    #[test]
    fn an_authorization_server_is_used_only_when_it_is_the_one_and_does_pkce() {
        assert_eq!(authority(&[]).unwrap().methods, [TokenAuthMethod::Basic]);
        assert!(authority(&[("issuer", json!("https://as.example/"))]).is_ok());
        for (member, value, expected) in [
            ("issuer", json!("https://as.example.evil"), DiscoveryError::Issuer),
            ("issuer", json!("https://as.example/x"), DiscoveryError::Issuer),
            ("code_challenge_methods_supported", json!([]), DiscoveryError::Pkce),
            ("code_challenge_methods_supported", json!(["plain"]), DiscoveryError::Pkce),
            ("token_endpoint", json!("http://as.example/token"), DiscoveryError::Endpoint("token_endpoint")),
            ("authorization_endpoint", Value::Null, DiscoveryError::Endpoint("authorization_endpoint")),
            (
                "authorization_endpoint",
                json!("javascript:alert(1)"),
                DiscoveryError::Endpoint("authorization_endpoint"),
            ),
        ] {
            assert_eq!(authority(&[(member, value.clone())]), Err(expected), "{member} {value}");
        }
        let elsewhere = json!({
            "issuer": "https://as.example/oauth", "authorization_endpoint": "https://as.example/oauth/a",
            "token_endpoint": "https://as.example/oauth/t", "code_challenge_methods_supported": ["S256"],
        });
        let at_root = |server: &str| Authority::parse_at_root(elsewhere.to_string().as_bytes(), &url(server));
        assert_eq!(at_root("https://as.example/mcp").unwrap().issuer, "https://as.example/oauth");
        assert_eq!(at_root("https://other.example/mcp"), Err(DiscoveryError::Issuer));
        let found = authority(&[
            ("token_endpoint_auth_methods_supported", json!(["private_key_jwt", "none", "client_secret_post"])),
            ("scopes_supported", json!(["a", "offline_access"])),
            ("client_id_metadata_document_supported", json!(true)),
        ]);
        let found = found.unwrap();
        assert_eq!(found.methods, [TokenAuthMethod::None, TokenAuthMethod::Post]);
        assert!(found.offline && found.client_documents && !found.names_itself);
    }
}
