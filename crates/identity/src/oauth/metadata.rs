//! Discovery: protected resource metadata (RFC 9728), authorization server metadata (RFC 8414), challenges (RFC 6750).
//!
//! Built from the URL the client dialled, not from configuration, because clients compare `resource` with that URL letter
//! for letter. Invariant: a challenge is one line of printable ASCII, whatever the request held.

use serde_json::{Value, json};
use types::ApplicationId;

/// The standard name of protected resource metadata.
pub const PROTECTED_RESOURCE: &str = "/.well-known/oauth-protected-resource";
/// The name Cloudflare's clients ask for; the same document.
pub const CLOUDFLARE_PROTECTED_RESOURCE: &str = "/.well-known/cloudflare-access-protected-resource";
/// The name of authorization server metadata.
pub const AUTHORIZATION_SERVER: &str = "/.well-known/oauth-authorization-server";
/// The endpoints of a host's authorization server are below it (reference section 4.3); `/<application>` below it is the
/// issuer of a further application of the same host, with its endpoints below that.
pub const ENDPOINTS: &str = "/cdn-cgi/access/oauth";
const KEYS_PATH: &str = "/cdn-cgi/access/certs";

/// An authorization server at an origin, `https://host[:port]` as it was dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    pub origin: String,
    /// `None`: the one that speaks for the host.
    pub application: Option<ApplicationId>,
}

impl Issuer {
    /// Reads the path that RFC 8414 section 3.1 inserts for an issuer with a path.
    #[must_use]
    pub fn application_of(path: &str) -> Option<ApplicationId> {
        path.strip_prefix(ENDPOINTS)?.strip_prefix('/')?.parse().ok()
    }

    /// Returns the identifier, a URL without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        match self.application {
            None => self.origin.clone(),
            Some(application) => format!("{}{ENDPOINTS}/{application}", self.origin),
        }
    }

    /// Returns the path of an endpoint, or with an empty name of all of them.
    #[must_use]
    pub fn endpoint(&self, name: &str) -> String {
        match self.application {
            None => format!("{ENDPOINTS}/{name}"),
            Some(application) => format!("{ENDPOINTS}/{application}/{name}"),
        }
    }
}

/// A well-known document, with the path that was inserted behind its name: empty, or starting with `/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WellKnown<'a> {
    ProtectedResource(&'a str),
    AuthorizationServer(&'a str),
}

/// Recognises the path of a well-known document.
#[must_use]
pub fn recognise(path: &str) -> Option<WellKnown<'_>> {
    let inserted = |name: &str| path.strip_prefix(name).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    if let Some(rest) = inserted(PROTECTED_RESOURCE).or_else(|| inserted(CLOUDFLARE_PROTECTED_RESOURCE)) {
        return Some(WellKnown::ProtectedResource(rest));
    }
    inserted(AUTHORIZATION_SERVER).map(WellKnown::AuthorizationServer)
}

/// Returns the protected resource metadata of `origin` + `path` (RFC 9728 section 3.2). `origin` is `https://host[:port]`
/// as dialled, `path` the inserted path as it came, `issuer` our authorization server, `team_domain` its host.
#[must_use]
pub fn protected_resource(origin: &str, path: &str, issuer: &str, team_domain: &str) -> Value {
    json!({
        "resource": format!("{origin}{path}"),
        "protected": true,
        "authorization_servers": [issuer],
        "bearer_methods_supported": ["header"],
        "team_domain": team_domain,
    })
}

/// What an application's configuration offers to clients that are not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offers {
    /// Dynamic registration (RFC 7591).
    pub registration: bool,
    /// Client ID metadata documents.
    pub client_documents: bool,
}

/// Returns the authorization server metadata (RFC 8414 section 2).
#[must_use]
pub fn authorization_server(issuer: &Issuer, offers: Offers) -> Value {
    let methods = json!(["client_secret_basic", "client_secret_post", "none"]);
    let endpoint = |name: &str| json!(format!("{}{}", issuer.origin, issuer.endpoint(name)));
    let mut document = json!({
        "issuer": issuer.url(),
        "authorization_endpoint": endpoint("authorization"),
        "token_endpoint": endpoint("token"),
        "revocation_endpoint": endpoint("revoke"),
        "introspection_endpoint": endpoint("introspect"),
        "jwks_uri": format!("{}{KEYS_PATH}", issuer.origin),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "client_id_metadata_document_supported": offers.client_documents,
    });
    if offers.registration {
        document["registration_endpoint"] = endpoint("registration");
    }
    document
}

/// What was wrong with a request to a protected application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge<'a> {
    /// No token: RFC 6750 section 3.1 gives no error code.
    Missing,
    /// Expired, revoked, of another application, or not ours: 401.
    InvalidToken,
    /// The token is good and lacks these scopes: 403.
    InsufficientScope(&'a [&'a str]),
}

impl Challenge<'_> {
    /// Returns the HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Missing | Self::InvalidToken => 401,
            Self::InsufficientScope(_) => 403,
        }
    }

    /// Returns the value of `WWW-Authenticate` for a request to `origin` + `path` (without its query).
    #[must_use]
    pub fn header(self, origin: &str, path: &str) -> String {
        let path = if path == "/" { "" } else { path };
        let mut value = r#"Bearer realm="OAuth""#.to_owned();
        let mut attribute = |name: &str, text: &str| {
            value.push_str(&format!(", {name}=\"{}\"", quotable(text)));
        };
        attribute("resource_metadata", &format!("{origin}{PROTECTED_RESOURCE}{path}"));
        match self {
            Self::Missing => {}
            Self::InvalidToken => {
                attribute("error", "invalid_token");
                attribute("error_description", "The access token is expired, revoked or not for this resource");
            }
            Self::InsufficientScope(scopes) => {
                attribute("error", "insufficient_scope");
                attribute("error_description", "The access token lacks a scope that this resource needs");
                attribute("scope", &scopes.join(" "));
            }
        }
        value
    }
}

/// Keeps what may stand in a quoted string and needs no escape; a path brings everything else percent-encoded.
fn quotable(text: &str) -> String {
    text.chars().filter(|c| matches!(c, ' '..='~') && *c != '"' && *c != '\\').collect()
}

#[cfg(test)]
mod tests {
    use types::ApplicationId;
    use uuid::Uuid;

    use super::{Challenge, Issuer, Offers, WellKnown, authorization_server, protected_resource, recognise};

    #[test]
    fn both_names_carry_the_path_the_client_dialled() {
        for (path, found) in [
            ("/.well-known/oauth-protected-resource", Some(WellKnown::ProtectedResource(""))),
            ("/.well-known/oauth-protected-resource/mcp/", Some(WellKnown::ProtectedResource("/mcp/"))),
            ("/.well-known/cloudflare-access-protected-resource/mcp", Some(WellKnown::ProtectedResource("/mcp"))),
            ("/.well-known/oauth-authorization-server/mcp", Some(WellKnown::AuthorizationServer("/mcp"))),
            ("/.well-known/oauth-protected-resourcex", None),
            ("/mcp", None),
        ] {
            assert_eq!(recognise(path), found, "{path}");
        }
        let document = protected_resource("https://a.example:8443", "/mcp/", "https://t.example", "t.example");
        assert_eq!(document["resource"], "https://a.example:8443/mcp/");
        assert_eq!(document["authorization_servers"][0], "https://t.example");
    }

    #[test]
    fn a_challenge_names_the_metadata_and_cannot_be_broken_out_of() {
        let header = Challenge::InvalidToken.header("https://a.example", "/x\"\r\nSet-Cookie: a=b/é");
        assert!(
            header.starts_with(
                "Bearer realm=\"OAuth\", resource_metadata=\"https://a.example/.well-known/oauth-protected-resource/x\
                 Set-Cookie: a=b/\", error=\"invalid_token\""
            ),
            "{header}"
        );
        assert_eq!(
            Challenge::Missing.header("https://a.example", "/"),
            r#"Bearer realm="OAuth", resource_metadata="https://a.example/.well-known/oauth-protected-resource""#
        );
        let scoped = Challenge::InsufficientScope(&["read", "write"]);
        assert!(scoped.header("https://a.example", "/").ends_with(r#"scope="read write""#));
        assert_eq!((scoped.status(), Challenge::InvalidToken.status()), (403, 401));
    }

    #[test]
    fn the_server_document_offers_what_the_application_allows() {
        let offers = |registration| Offers { registration, client_documents: true };
        let host = Issuer { origin: "https://t.example".to_owned(), application: None };
        let open = authorization_server(&host, offers(true));
        assert_eq!(open["registration_endpoint"], "https://t.example/cdn-cgi/access/oauth/registration");
        assert_eq!(open["code_challenge_methods_supported"], serde_json::json!(["S256"]));
        assert_eq!(open["authorization_response_iss_parameter_supported"], true);
        assert!(authorization_server(&host, offers(false)).get("registration_endpoint").is_none());
    }

    #[test]
    fn a_further_application_of_a_host_is_an_issuer_of_its_own() {
        let application = ApplicationId(Uuid::from_u128(7));
        let issuer = Issuer { origin: "https://t.example:8443".to_owned(), application: Some(application) };
        let url = issuer.url();
        assert_eq!(url, format!("https://t.example:8443/cdn-cgi/access/oauth/{application}"));
        let document = authorization_server(&issuer, Offers { registration: true, client_documents: true });
        assert_eq!(document["issuer"], url);
        assert_eq!(document["token_endpoint"], format!("{url}/token"));
        assert_eq!(document["jwks_uri"], "https://t.example:8443/cdn-cgi/access/certs");
        // RFC 8414 section 3.1 inserts the name before the path of the issuer.
        let path = format!("/.well-known/oauth-authorization-server/cdn-cgi/access/oauth/{application}");
        let Some(WellKnown::AuthorizationServer(inserted)) = recognise(&path) else { panic!("{path}") };
        assert_eq!(Issuer::application_of(inserted), Some(application));
        for other in ["", "/", "/cdn-cgi/access/oauth", "/cdn-cgi/access/oauth/x", "/mcp"] {
            assert_eq!(Issuer::application_of(other), None, "{other}");
        }
    }
}
