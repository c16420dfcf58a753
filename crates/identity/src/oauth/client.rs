//! Clients of the authorization server and how they prove who they are.
//!
//! A client is registered (RFC 7591) or is a document at its own URL. Everything it says about itself is untrusted.
//! Invariant: a secret is stored as a hash only, and a client that has one cannot act without it.

use serde::{Deserialize, Serialize};
use types::{ApplicationId, Secret};

use super::error::{ErrorCode, OauthError};
use super::form::{self, Form};
use crate::document::words;
use crate::opaque::Digest;

/// Most bytes of a client id, which may be a URL.
pub const MAX_ID_BYTES: usize = 2_048;
/// Most bytes of a client secret as presented.
const MAX_SECRET_BYTES: usize = 256;

words! {
    /// `token_endpoint_auth_method`.
    AuthenticationMethod {
        Basic = "client_secret_basic",
        Post = "client_secret_post",
        /// A public client.
        None = "none",
    }
}

words! {
    /// `grant_types`.
    GrantType {
        AuthorizationCode = "authorization_code",
        RefreshToken = "refresh_token",
    }
}

/// Where a client's data comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// It registered itself; nothing it says is proved.
    Registered,
    /// A document at its id; the host of the id is proved by TLS.
    Document,
}

/// A client of one application's authorization server, as stored (document version 1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    pub id: String,
    pub application: ApplicationId,
    pub origin: Origin,
    /// Untrusted text; show it through [`super::consent::shown`].
    pub name: String,
    pub redirect_uris: Vec<String>,
    pub method: AuthenticationMethod,
    /// `Some` exactly if `method` is not `none`.
    pub secret: Option<Digest>,
    pub grant_types: Vec<GrantType>,
    /// Seconds since the epoch.
    pub created_at: i64,
    /// Seconds since the epoch of the last grant; `None` until the first.
    pub last_used_at: Option<i64>,
}

/// Most clients one application keeps; above it, registration is refused.
pub const MAX_CLIENTS: usize = 10_000;
/// A registered client that never got a grant may be removed after a day, another after 90 days without use, in seconds.
const UNUSED: i64 = 24 * 3_600;
const FORGOTTEN: i64 = 90 * 24 * 3_600;

/// How a client says who it is at the token, revocation and introspection endpoints.
#[derive(Debug, Clone)]
pub struct Credential {
    pub client_id: String,
    secret: Option<Secret<String>>,
    method: AuthenticationMethod,
}

impl Credential {
    /// Reads the credential from the form and the value of `Authorization`, if it was sent.
    ///
    /// # Errors
    /// `invalid_client` if there is none, and `invalid_request` if two ways are mixed (RFC 6749 section 2.3).
    pub fn read(form: &Form, authorization: Option<&str>) -> Result<Self, OauthError> {
        let in_form = (form.get("client_id"), form.get("client_secret"));
        if let Some(header) = authorization {
            let (client_id, secret) =
                basic(header).ok_or_else(|| invalid_client("the Authorization header is not HTTP Basic"))?;
            if in_form.1.is_some() || in_form.0.is_some_and(|other| other != client_id) {
                return Err(OauthError::new(ErrorCode::InvalidRequest, "client credentials are given in two ways"));
            }
            return Self::bounded(client_id, Some(secret), AuthenticationMethod::Basic);
        }
        let Some(client_id) = in_form.0 else { return Err(invalid_client("client_id is missing")) };
        let method = if in_form.1.is_some() { AuthenticationMethod::Post } else { AuthenticationMethod::None };
        Self::bounded(client_id.to_owned(), in_form.1.map(str::to_owned), method)
    }

    fn bounded(client_id: String, secret: Option<String>, method: AuthenticationMethod) -> Result<Self, OauthError> {
        if client_id.len() > MAX_ID_BYTES || secret.as_ref().is_some_and(|secret| secret.len() > MAX_SECRET_BYTES) {
            return Err(invalid_client("client credentials are too long"));
        }
        Ok(Self { client_id, secret: secret.map(Secret::new), method })
    }
}

fn basic(header: &str) -> Option<(String, String)> {
    use base64::Engine as _;
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || encoded.len() > 4 * (MAX_ID_BYTES + MAX_SECRET_BYTES) {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    // RFC 6749 section 2.3.1: both halves are form-encoded before they are joined.
    Some((form::decode(id).ok()?, form::decode(secret).ok()?))
}

pub(crate) fn invalid_client(description: &'static str) -> OauthError {
    OauthError::new(ErrorCode::InvalidClient, description)
}

impl Client {
    /// Checks a credential against this client. A confidential client may send its secret in either of the two ways, as
    /// many libraries ignore what was registered; a public one must not send any.
    ///
    /// # Errors
    /// `invalid_client`, the same for an unknown and a wrong secret.
    pub fn authenticate(&self, credential: &Credential) -> Result<Authenticated<'_>, OauthError> {
        let proved = match (&self.secret, &credential.secret) {
            (Some(hash), Some(secret)) => hash.matches(secret.expose()),
            (None, None) => credential.method == AuthenticationMethod::None,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if proved && self.id == credential.client_id {
            return Ok(Authenticated(self));
        }
        Err(invalid_client("client authentication failed"))
    }

    /// Whether the client may use a grant type.
    #[must_use]
    pub fn may(&self, grant: GrantType) -> bool {
        self.grant_types.contains(&grant)
    }

    /// Whether a registered client may be removed: it never got a grant within a day, or none for 90 days.
    #[must_use]
    pub fn is_stale(&self, now: i64) -> bool {
        match self.last_used_at {
            None => now.saturating_sub(self.created_at) > UNUSED,
            Some(used) => now.saturating_sub(used) > FORGOTTEN,
        }
    }
}

/// A client that has proved who it is; only [`Client::authenticate`] makes one.
#[derive(Debug, Clone, Copy)]
pub struct Authenticated<'a>(&'a Client);

impl Authenticated<'_> {
    #[must_use]
    pub const fn client(&self) -> &Client {
        self.0
    }
}
