//! Dynamic client registration (RFC 7591).
//!
//! Decides whether a client may register and what is kept of what it says. Members it does not know are ignored, as the
//! RFC demands; every string and list is bounded. Invariant: no redirect URI outside of the allow list is ever stored.

use serde::Deserialize;
use serde_json::{Value, json};
use types::{ApplicationId, Secret};

use super::client::{AuthenticationMethod, Client, GrantType, MAX_CLIENTS, Origin};
use super::error::{ErrorCode, OauthError};
use super::redirect;
use crate::application::RegistrationDocument;
use crate::opaque::{self, Digest, Seed};

/// Most bytes of a registration request.
pub const MAX_BYTES: usize = 16 * 1024;
const MAX_REDIRECTS: usize = 10;
const MAX_NAME: usize = 200;
const MAX_LIST: usize = 10;
const MAX_WORD: usize = 64;

/// What registers or describes a client.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) client_id: Option<String>,
    pub(crate) client_secret: Option<Value>,
    #[serde(default)]
    pub(crate) redirect_uris: Vec<String>,
    pub(crate) client_name: Option<String>,
    pub(crate) token_endpoint_auth_method: Option<String>,
    pub(crate) grant_types: Option<Vec<String>>,
    pub(crate) response_types: Option<Vec<String>>,
    pub(crate) scope: Option<String>,
    pub(crate) client_uri: Option<String>,
    pub(crate) logo_uri: Option<String>,
    pub(crate) tos_uri: Option<String>,
    pub(crate) policy_uri: Option<String>,
    pub(crate) contacts: Option<Vec<String>>,
    pub(crate) software_id: Option<String>,
    pub(crate) software_version: Option<String>,
}

/// A client that has registered: what to store, and what to answer with status 201.
#[derive(Debug)]
pub struct Registered {
    pub client: Client,
    /// Holds the secret in clear, once.
    pub reply: Secret<Value>,
}

/// What a registration stands on besides its body.
#[derive(Debug, Clone, Copy)]
pub struct RegistrationContext<'a> {
    pub application: ApplicationId,
    pub rules: &'a RegistrationDocument,
    /// Clients the application has.
    pub registered: usize,
    /// Seconds since the epoch.
    pub now: i64,
    pub seed: &'a Seed,
}

/// Registers a client.
///
/// # Errors
/// `invalid_redirect_uri`, `invalid_client_metadata`, or `access_denied` if registration is off.
pub fn register(body: &[u8], context: RegistrationContext<'_>) -> Result<Registered, OauthError> {
    if !context.rules.enabled {
        return Err(OauthError::new(
            ErrorCode::AccessDenied,
            "dynamic client registration is off for this application",
        ));
    }
    if context.registered >= MAX_CLIENTS {
        let text = "this application has too many clients; ask its administrator to remove some";
        return Err(OauthError::new(ErrorCode::TemporarilyUnavailable, text));
    }
    let metadata = read(body)?;
    check(&metadata, context.rules)?;
    let method = match metadata.token_endpoint_auth_method.as_deref() {
        // RFC 7591 section 2: the default if omitted.
        None => AuthenticationMethod::Basic,
        Some(word) => AuthenticationMethod::named(word)
            .ok_or_else(|| metadata_error("token_endpoint_auth_method is none of those in the metadata"))?,
    };
    let grant_types = grant_types(&metadata)?;
    let secret =
        (method != AuthenticationMethod::None).then(|| opaque::text(&opaque::derive(context.seed, b"client secret")));
    let client = Client {
        id: opaque::text(&opaque::derive(context.seed, b"client id")[..16]),
        application: context.application,
        origin: Origin::Registered,
        name: metadata.client_name.clone().unwrap_or_default(),
        redirect_uris: metadata.redirect_uris.clone(),
        method,
        secret: secret.as_deref().map(Digest::of),
        grant_types,
        created_at: context.now,
        last_used_at: None,
    };
    let reply = Secret::new(echo(&client, &metadata, secret));
    Ok(Registered { client, reply })
}

fn read(body: &[u8]) -> Result<Metadata, OauthError> {
    if body.len() > MAX_BYTES {
        return Err(metadata_error("the request is longer than 16 KiB"));
    }
    serde_json::from_slice(body).map_err(|_| metadata_error("the body is not a JSON object of client metadata"))
}

pub(crate) fn metadata_error(description: &'static str) -> OauthError {
    OauthError::new(ErrorCode::InvalidClientMetadata, description)
}

/// Checks what both kinds of clients say about themselves.
pub(crate) fn check(metadata: &Metadata, rules: &RegistrationDocument) -> Result<(), OauthError> {
    if metadata.redirect_uris.is_empty() || metadata.redirect_uris.len() > MAX_REDIRECTS {
        return Err(OauthError::new(ErrorCode::InvalidRedirectUri, "1 to 10 redirect_uris are needed"));
    }
    for uri in &metadata.redirect_uris {
        redirect::may_register(uri, rules).map_err(|error| {
            // The code that clients of the vendor know for a URI outside of the list.
            let code = match error {
                redirect::RedirectError::NotAllowed => ErrorCode::InvalidClientMetadata,
                redirect::RedirectError::TooLong
                | redirect::RedirectError::NotCanonical
                | redirect::RedirectError::Fragment
                | redirect::RedirectError::Credentials
                | redirect::RedirectError::Scheme
                | redirect::RedirectError::Wildcard => ErrorCode::InvalidRedirectUri,
            };
            OauthError::new(code, error.to_string())
        })?;
    }
    if metadata.client_name.as_ref().is_some_and(|name| name.len() > MAX_NAME || name.chars().any(char::is_control)) {
        return Err(metadata_error("client_name is longer than 200 bytes or holds control characters"));
    }
    for uri in [&metadata.client_uri, &metadata.logo_uri, &metadata.tos_uri, &metadata.policy_uri].into_iter().flatten()
    {
        if uri.len() > redirect::MAX_BYTES || crate::document::link(uri).is_err() {
            return Err(metadata_error("client_uri, logo_uri, tos_uri and policy_uri must be http or https URLs"));
        }
    }
    let contacts = metadata.contacts.as_deref().unwrap_or_default();
    let words = [&metadata.software_id, &metadata.software_version];
    if contacts.len() > MAX_LIST
        || contacts.iter().any(|contact| contact.len() > 254)
        || words.into_iter().flatten().any(|word| word.len() > MAX_NAME)
        || metadata.scope.as_ref().is_some_and(|scope| scope.len() > 1_000)
    {
        return Err(metadata_error("contacts, scope, software_id or software_version is too long"));
    }
    if metadata.response_types.as_ref().is_some_and(|types| types.len() > MAX_LIST || types.iter().any(|t| t != "code"))
    {
        return Err(metadata_error("the only response type is code"));
    }
    Ok(())
}

/// Reads `grant_types`: those we do not have are left out, as RFC 7591 section 2 lets a server replace what was asked.
pub(crate) fn grant_types(metadata: &Metadata) -> Result<Vec<GrantType>, OauthError> {
    let Some(words) = &metadata.grant_types else { return Ok(vec![GrantType::AuthorizationCode]) };
    if words.len() > MAX_LIST || words.iter().any(|word| word.len() > MAX_WORD) {
        return Err(metadata_error("grant_types is too long"));
    }
    let known: Vec<GrantType> =
        GrantType::WORDS.iter().filter(|(word, _)| words.iter().any(|w| w == word)).map(|(_, kind)| *kind).collect();
    if known.contains(&GrantType::AuthorizationCode) {
        return Ok(known);
    }
    Err(metadata_error("grant_types must hold authorization_code"))
}

fn echo(client: &Client, metadata: &Metadata, secret: Option<String>) -> Value {
    let mut reply = json!({
        "client_id": client.id,
        "client_id_issued_at": client.created_at,
        "redirect_uris": client.redirect_uris,
        "token_endpoint_auth_method": client.method,
        "grant_types": client.grant_types,
        "response_types": ["code"],
    });
    if let Some(secret) = secret {
        reply["client_secret"] = json!(secret);
        // RFC 7591 section 3.2.1: 0 means that it does not expire.
        reply["client_secret_expires_at"] = json!(0);
    }
    for (name, value) in [
        ("client_name", &metadata.client_name),
        ("scope", &metadata.scope),
        ("client_uri", &metadata.client_uri),
        ("logo_uri", &metadata.logo_uri),
        ("tos_uri", &metadata.tos_uri),
        ("policy_uri", &metadata.policy_uri),
        ("software_id", &metadata.software_id),
        ("software_version", &metadata.software_version),
    ] {
        if let Some(value) = value {
            reply[name] = json!(value);
        }
    }
    if let Some(contacts) = &metadata.contacts {
        reply["contacts"] = json!(contacts);
    }
    reply
}
