//! Requests of the token, revocation and introspection endpoints, and their answers (RFC 6749, 7009, 7662).
//!
//! Reads and writes; what a request leads to is decided in [`super::grant`]. Invariant: a request that does not say
//! exactly one thing is refused.

use serde_json::{Value, json};
use types::Secret;

use super::client::{Credential, GrantType};
use super::error::{ErrorCode, OauthError};
use super::form::Form;
use super::grant::{Access, GrantId};

/// A request for tokens.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    pub credential: Credential,
    pub presented: Presented,
    pub(crate) resource: Option<String>,
}

/// What is presented for tokens.
#[derive(Debug, Clone)]
pub enum Presented {
    Code { code: Secret<String>, redirect_uri: Option<String>, verifier: Secret<String> },
    Refresh { token: Secret<String>, scope: Option<String> },
}

impl TokenRequest {
    /// Reads the form and the value of `Authorization`.
    ///
    /// # Errors
    /// With what the client must be told.
    pub fn read(form: &Form, authorization: Option<&str>) -> Result<Self, OauthError> {
        let credential = Credential::read(form, authorization)?;
        let needed = |name: &str, text: &'static str| {
            form.get(name).map(str::to_owned).ok_or_else(|| OauthError::new(ErrorCode::InvalidRequest, text))
        };
        let grant_type = needed("grant_type", "grant_type is missing")?;
        let presented = match GrantType::named(&grant_type) {
            Some(GrantType::AuthorizationCode) => Presented::Code {
                code: Secret::new(needed("code", "code is missing")?),
                redirect_uri: form.get("redirect_uri").map(str::to_owned),
                verifier: Secret::new(needed("code_verifier", "code_verifier is missing: PKCE is required")?),
            },
            Some(GrantType::RefreshToken) => Presented::Refresh {
                token: Secret::new(needed("refresh_token", "refresh_token is missing")?),
                scope: form.get("scope").map(str::to_owned),
            },
            None => {
                let text = "grant_type is neither authorization_code nor refresh_token";
                return Err(OauthError::new(ErrorCode::UnsupportedGrantType, text));
            }
        };
        let mut resources = form.all("resource");
        let resource = resources.next().map(str::to_owned);
        if resources.next().is_some() {
            return Err(OauthError::new(ErrorCode::InvalidTarget, "resource is given more than once"));
        }
        Ok(Self { credential, presented, resource })
    }

    /// Returns the grant the request is about. `None`: answer [`unknown`].
    #[must_use]
    pub fn grant(&self) -> Option<GrantId> {
        match &self.presented {
            Presented::Code { code, .. } => GrantId::of_code(code.expose()),
            Presented::Refresh { token, .. } => GrantId::of_refresh(token.expose()),
        }
    }
}

/// The one answer for codes and refresh tokens that are unknown, over, used, or another client's.
#[must_use]
pub fn unknown() -> OauthError {
    OauthError::new(ErrorCode::InvalidGrant, "the code or refresh token is not valid; start a new authorization")
}

/// Tokens as answered with status 200 and `Cache-Control: no-store`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenReply {
    pub access_token: Secret<String>,
    /// Seconds.
    pub expires_in: u64,
    pub scope: String,
    pub resource: String,
    pub refresh_token: Option<Secret<String>>,
}

impl TokenReply {
    /// Returns the JSON body.
    #[must_use]
    pub fn document(&self) -> Secret<Value> {
        let mut document = json!({
            "access_token": self.access_token.expose(),
            "token_type": "bearer",
            "expires_in": self.expires_in,
            "scope": self.scope,
            "resource": self.resource,
        });
        if let Some(token) = &self.refresh_token {
            document["refresh_token"] = json!(token.expose());
        }
        Secret::new(document)
    }
}

/// A request to revoke a token (RFC 7009). Once the client is authenticated the answer is 200 with no body, whatever the
/// token was.
#[derive(Debug, Clone)]
pub struct RevocationRequest {
    pub credential: Credential,
    pub token: TokenText,
}

/// A token as presented, told apart by its form; hints of clients are not needed.
#[derive(Debug, Clone)]
pub enum TokenText {
    Access(GrantId, Secret<String>),
    Refresh(GrantId, Secret<String>),
    /// Not of ours.
    Other,
}

impl TokenText {
    /// Tells which kind of token a text is.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let token = || Secret::new(text.to_owned());
        let access = GrantId::of_access(text).map(|id| Self::Access(id, token()));
        access.or_else(|| GrantId::of_refresh(text).map(|id| Self::Refresh(id, token()))).unwrap_or(Self::Other)
    }
}

impl RevocationRequest {
    /// Reads the form and the value of `Authorization`.
    ///
    /// # Errors
    /// With what the client must be told.
    pub fn read(form: &Form, authorization: Option<&str>) -> Result<Self, OauthError> {
        let credential = Credential::read(form, authorization)?;
        let token = form.get("token").ok_or_else(|| OauthError::new(ErrorCode::InvalidRequest, "token is missing"))?;
        Ok(Self { credential, token: TokenText::of(token) })
    }
}

/// Answers an origin that asks about a token (RFC 7662): tokens that were not found for its application are as unknown as
/// tokens that do not exist. `username` is the person's address, if the caller knows it.
#[must_use]
pub fn introspection(found: Option<Access<'_>>, issuer: &str, username: Option<&str>) -> Value {
    let Some(Access { grant, issued_at, expires_at }) = found else { return json!({"active": false}) };
    let mut document = json!({
        "active": true,
        "token_type": "bearer",
        "client_id": grant.client,
        "sub": grant.user.to_string(),
        "aud": grant.resource,
        "iss": issuer,
        "scope": grant.scopes.join(" "),
        "exp": expires_at,
        "iat": issued_at,
    });
    if let Some(username) = username {
        document["username"] = json!(username);
    }
    document
}
