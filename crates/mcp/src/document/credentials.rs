//! How Portunus signs in to an MCP server: `auth_credentials`, which takes three forms, and what may be shown of it.
//!
//! Decides form only. Invariants: a header's value is visible ASCII, so that it cannot begin another header; nothing of a
//! value is in an error; the settings of an OAuth client name https URLs, or http on loopback.

use identity::document::{Problem, Problems, link};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use types::Secret;
use url::{Host, Url};

/// Most headers of one server.
pub const MAX_HEADERS: usize = 32;
/// Longest value of a header or secret, in bytes.
pub const MAX_SECRET: usize = 16 * 1_024;
const MAX_REDIRECTS: usize = 16;

identity::words! {
    /// How Portunus becomes a client of the server's authorization server.
    AuthMode {
        /// It registers itself.
        Dcr = "dcr",
        /// An administrator registered it.
        Manual = "manual",
    }
}

identity::words! {
    /// How the client proves itself at the token endpoint.
    TokenAuthMethod {
        Basic = "client_secret_basic",
        Post = "client_secret_post",
        None = "none",
    }
}

/// The settings of an OAuth client, as `auth_credentials` holds them and `auth_config_summary` shows them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_mode: Option<AuthMode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Endpoints>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_info: Option<Registration>,
}

/// `config` of the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoints {
    pub authorization_endpoint: String,
    pub token_endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocation_endpoint: Option<String>,
}

/// `registration_info` of the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Registration {
    pub client_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redirect_uris: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_method: Option<TokenAuthMethod>,
}

/// A client that an administrator registered, known to be sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManualClient {
    pub authorization_endpoint: Url,
    pub token_endpoint: Url,
    pub issuer: Option<String>,
    pub resource: Option<Url>,
    pub revocation_endpoint: Option<Url>,
    pub client_id: String,
    pub redirect_uris: Vec<Url>,
    pub scope: Option<String>,
    pub auth_method: TokenAuthMethod,
}

/// `auth_credentials` as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Headers for every request, names in lower case: an object of strings in JSON.
    Headers(Secret<String>),
    /// Settings of an OAuth client.
    Oauth(AuthConfig),
}

impl Credentials {
    /// Reads `auth_credentials`: a raw token, `{"headers": {…}}`, or settings with `auth_mode`; JSON as such or in a text.
    ///
    /// # Errors
    /// With every fault, relative to the member.
    pub fn read(value: &Value) -> Result<Self, Vec<Problem>> {
        let parsed;
        let value = match value {
            Value::String(text) if text.trim_start().starts_with('{') => {
                parsed = serde_json::from_str::<Value>(text)
                    .map_err(|_| vec![Problem::new("", "begins like JSON and is none")])?;
                &parsed
            }
            Value::String(token) => return bearer(token).map_err(|message| vec![Problem::new("", message)]),
            Value::Object(_) => value,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                return Err(vec![Problem::new(
                    "",
                    "must be a token, `{\"headers\": {…}}`, or settings with `auth_mode`",
                )]);
            }
        };
        match value.get("headers") {
            Some(Value::Object(headers)) if value.as_object().is_some_and(|members| members.len() == 1) => {
                read_headers(headers)
            }
            None if value.get("auth_mode").is_some() => identity::document::read(value, &[]).map(Self::Oauth),
            _ => Err(vec![Problem::new("", "must hold `headers` alone, an object of strings, or `auth_mode`")]),
        }
    }
}

fn bearer(token: &str) -> Result<Credentials, String> {
    let token = token.trim();
    // RFC 6750 section 2.1 has fewer characters; servers hand out tokens with others.
    if token.is_empty() || token.len() > MAX_SECRET || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("a token is visible ASCII without spaces, at most 16 KiB".to_owned());
    }
    Ok(Credentials::Headers(Secret::new(serde_json::json!({"authorization": format!("Bearer {token}")}).to_string())))
}

fn read_headers(headers: &serde_json::Map<String, Value>) -> Result<Credentials, Vec<Problem>> {
    let mut problems = Problems::default();
    if headers.is_empty() || headers.len() > MAX_HEADERS {
        problems.add("/headers", format!("must hold 1 to {MAX_HEADERS} headers"));
    }
    let mut found = serde_json::Map::new();
    for (name, value) in headers.iter().take(MAX_HEADERS) {
        // The name of a header that cannot be one may be a secret in the wrong place.
        let pointer = if is_token(name) { format!("/headers/{name}") } else { "/headers".to_owned() };
        let checked = header_name(name).and_then(|name| Ok((name, header_value(value)?)));
        if let Some((name, value)) = problems.check(&pointer, checked)
            && found.insert(name, value.into()).is_some()
        {
            problems.add(pointer, "stands twice, in another case");
        }
    }
    problems.finish(Credentials::Headers(Secret::new(Value::Object(found).to_string())))
}

fn is_token(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn header_name(name: &str) -> Result<String, String> {
    let lower = name.to_ascii_lowercase();
    if !is_token(name) {
        return Err("is not the name of a header".to_owned());
    }
    // Framing, routing and the protocol's own headers are not a credential's to set.
    let own = lower.starts_with("mcp-")
        || matches!(
            lower.as_str(),
            "host"
                | "connection"
                | "content-length"
                | "content-type"
                | "transfer-encoding"
                | "te"
                | "upgrade"
                | "trailer"
                | "accept"
                | "keep-alive"
                | "proxy-connection"
                | "last-event-id"
        );
    if own { Err(format!("`{lower}` has a meaning of its own; name another header")) } else { Ok(lower) }
}

fn header_value(value: &Value) -> Result<String, String> {
    let text = value.as_str().map(str::trim).unwrap_or_default();
    let visible = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    if text.is_empty() || text.len() > MAX_SECRET || !visible {
        return Err("must be a text of visible ASCII, at most 16 KiB".to_owned());
    }
    Ok(text.to_owned())
}

impl ManualClient {
    /// Makes a client of settings; `has_secret` says whether its secret is known.
    ///
    /// # Errors
    /// With every fault, relative to the settings.
    pub fn parse(config: &AuthConfig, has_secret: bool) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::default();
        let endpoints = config.config.clone().unwrap_or_default();
        let registration = config.registration_info.clone().unwrap_or_default();
        let at = |member: &str| format!("/config/{member}");
        let mut url = |member: &str, text: &str| problems.check(&at(member), endpoint(text));
        let authorization_endpoint = url("authorization_endpoint", &endpoints.authorization_endpoint);
        let token_endpoint = url("token_endpoint", &endpoints.token_endpoint);
        let revocation_endpoint =
            endpoints.revocation_endpoint.as_deref().and_then(|text| url("revocation_endpoint", text));
        let resource = endpoints.resource.as_deref().and_then(|text| url("resource", text));
        if let Some(issuer) = &endpoints.issuer {
            // Kept as written: issuers are compared as texts (RFC 8414 section 3.3).
            problems.check("/config/issuer", endpoint(issuer));
        }
        let client_id = problems
            .check("/registration_info/client_id", identity::document::name(&registration.client_id, 2_048))
            .unwrap_or_default();
        if registration.redirect_uris.len() > MAX_REDIRECTS {
            problems.add("/registration_info/redirect_uris", format!("must hold at most {MAX_REDIRECTS} addresses"));
        }
        let redirect_uris = registration.redirect_uris.iter().take(MAX_REDIRECTS).enumerate();
        let redirect_uris = redirect_uris
            .filter_map(|(index, text)| {
                problems.check(&format!("/registration_info/redirect_uris/{index}"), endpoint(text))
            })
            .collect();
        let scope = registration.scope.filter(|scope| !scope.is_empty());
        if scope.as_ref().is_some_and(|scope| scope.len() > 4_096 || scope.chars().any(char::is_control)) {
            problems.add("/registration_info/scope", "must be words with spaces between them");
        }
        let unsaid = if has_secret { TokenAuthMethod::Basic } else { TokenAuthMethod::None };
        let auth_method = registration.token_endpoint_auth_method.unwrap_or(unsaid);
        if auth_method != TokenAuthMethod::None && !has_secret {
            let message = format!("`{}` needs a `client_secret`", auth_method.as_str());
            problems.add("/registration_info/token_endpoint_auth_method", message);
        }
        let (Some(authorization_endpoint), Some(token_endpoint)) = (authorization_endpoint, token_endpoint) else {
            return Err(problems.into_vec());
        };
        problems.finish(Self {
            authorization_endpoint,
            token_endpoint,
            issuer: endpoints.issuer,
            resource,
            revocation_endpoint,
            client_id,
            redirect_uris,
            scope,
            auth_method,
        })
    }
}

/// An address that codes and tokens are sent to.
fn endpoint(text: &str) -> Result<Url, String> {
    let url = link(text)?;
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() == "https" || loopback { Ok(url) } else { Err("must be an https URL".to_owned()) }
}
