//! The OpenID Connect client as pure steps: what to send, what to believe (OpenID Connect Core 1.0, RFC 9700, RFC 9207).
//!
//! Decides the authorization URL, whether an answer belongs to the login that asked for it, what to post for tokens, and
//! whether an ID token is good. Fetching documents and keys is the caller's; a key that is not known is the outcome
//! [`IdTokenError::FreshKeys`], once. Invariant: an answer is accepted only for the provider, browser and moment it was
//! asked for: `state`, `nonce`, PKCE and the issuer all match.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use types::ProviderId;
use url::Url;

use crate::jose::{Algorithm, JoseError, Jwks, Unverified, encode};
use crate::provider::{OidcSettings, endpoint};

/// How far the provider's clock may be from ours, in seconds.
pub const SKEW: i64 = 60;
/// How long a sign-in at the provider may take.
pub const LOGIN_LIFETIME: Duration = Duration::from_secs(15 * 60);
const MAX_DOCUMENT: usize = 256 * 1_024;

/// A provider's own description, of what is used (OpenID Connect Discovery 1.0 section 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Absent only where endpoints were written by hand without an issuer.
    pub issuer: Option<String>,
    pub authorization: Url,
    pub token: Url,
    pub keys: Url,
    pub end_session: Option<Url>,
    /// Core section 5.3.
    pub user_info: Option<Url>,
    /// The provider names itself in its answers (RFC 9207), so an answer that does not is refused.
    pub names_itself: bool,
}

/// A description that is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    #[error("the provider's description is not JSON or too large")]
    Malformed,
    #[error("the provider's description is of another issuer than the one asked")]
    Issuer,
    #[error("the provider's description lacks a sound `{0}`")]
    Endpoint(&'static str),
}

#[derive(Deserialize)]
struct MetadataDocument {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    jwks_uri: Option<String>,
    end_session_endpoint: Option<String>,
    userinfo_endpoint: Option<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Metadata {
    /// Returns where a provider describes itself.
    #[must_use]
    pub fn location(issuer: &Url) -> String {
        format!("{}/.well-known/openid-configuration", issuer.as_str().trim_end_matches('/'))
    }

    /// Reads the description of `issuer`. Its `issuer` must be the one that was asked (section 4.3 of Discovery), but for
    /// one slash at the end, which URLs of a bare host cannot tell apart.
    ///
    /// # Errors
    /// If it is of another issuer or lacks an endpoint.
    pub fn parse(body: &[u8], issuer: &Url) -> Result<Self, MetadataError> {
        if body.len() > MAX_DOCUMENT {
            return Err(MetadataError::Malformed);
        }
        let document: MetadataDocument = serde_json::from_slice(body).map_err(|_| MetadataError::Malformed)?;
        if document.issuer.trim_end_matches('/') != issuer.as_str().trim_end_matches('/') {
            return Err(MetadataError::Issuer);
        }
        let need = |name: &'static str, text: Option<String>| {
            text.and_then(|text| endpoint(&text).ok()).ok_or(MetadataError::Endpoint(name))
        };
        Ok(Self {
            issuer: Some(document.issuer),
            authorization: need("authorization_endpoint", document.authorization_endpoint)?,
            token: need("token_endpoint", document.token_endpoint)?,
            keys: need("jwks_uri", document.jwks_uri)?,
            end_session: document.end_session_endpoint.and_then(|text| endpoint(&text).ok()),
            user_info: document.userinfo_endpoint.and_then(|text| endpoint(&text).ok()),
            names_itself: document.authorization_response_iss_parameter_supported,
        })
    }
}

/// What is kept while somebody is at the provider, bound to their browser by the caller's cookie.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingLogin {
    pub provider: ProviderId,
    state: String,
    nonce: String,
    verifier: String,
    /// Seconds since the epoch.
    pub expires: i64,
}

impl fmt::Debug for PendingLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The rest are secrets of the login.
        write!(f, "PendingLogin({}, until {})", self.provider, self.expires)
    }
}

/// Randomness for one login.
pub struct LoginRandom {
    pub state: [u8; 32],
    pub nonce: [u8; 32],
    pub verifier: [u8; 32],
}

/// Begins a login: where to send the browser, and what to keep.
#[must_use]
pub fn begin(
    provider: ProviderId,
    settings: &OidcSettings,
    metadata: &Metadata,
    callback: &Url,
    random: &LoginRandom,
    now: i64,
) -> (Url, PendingLogin) {
    let length = i64::try_from(LOGIN_LIFETIME.as_secs()).unwrap_or(0);
    let pending = PendingLogin {
        provider,
        state: encode(&random.state),
        nonce: encode(&random.nonce),
        verifier: encode(&random.verifier),
        expires: now.saturating_add(length),
    };
    let mut url = metadata.authorization.clone();
    {
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &settings.client.id)
            .append_pair("redirect_uri", callback.as_str())
            .append_pair("scope", &settings.scopes.join(" "))
            .append_pair("state", &pending.state)
            .append_pair("nonce", &pending.nonce);
        if settings.pkce {
            let challenge = encode(digest(&SHA256, pending.verifier.as_bytes()).as_ref());
            query.append_pair("code_challenge", &challenge).append_pair("code_challenge_method", "S256");
        }
        if let Some(prompt) = &settings.prompt {
            query.append_pair("prompt", prompt);
        }
        if let Some(domain) = &settings.hosted_domain {
            query.append_pair("hd", domain);
        }
    }
    (url, pending)
}

/// Adds to the address of a login that the ID token must say one of these authentication contexts (`acrs`): a claims request
/// (Core section 5.5), on which Entra has the person meet what its conditional access asks for them.
pub fn demand_contexts(address: &mut Url, contexts: &[&str]) {
    let wanted = match contexts {
        [] => return,
        [one] => json!({"essential": true, "value": one}),
        several => json!({"essential": true, "values": several}),
    };
    address.query_pairs_mut().append_pair("claims", &json!({"id_token": {"acrs": wanted}}).to_string());
}

/// What the provider sent the browser back with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Callback<'a> {
    pub state: Option<&'a str>,
    pub code: Option<&'a str>,
    pub iss: Option<&'a str>,
    pub error: Option<&'a str>,
}

/// Why an answer is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    #[error("the sign-in was not started in this browser")]
    State,
    #[error("the sign-in took too long; start again")]
    Expired,
    #[error("the answer is of another identity provider than the one asked")]
    Issuer,
    #[error("the identity provider refused: {0}")]
    Refused(String),
    #[error("the answer holds no code")]
    NoCode,
}

/// Checks an answer and returns the form to post to the token endpoint. The client's secret is the caller's to add.
///
/// # Errors
/// If the answer does not belong to this login.
pub fn redeem(
    callback: &Callback<'_>,
    pending: &PendingLogin,
    settings: &OidcSettings,
    metadata: &Metadata,
    redirect: &Url,
    now: i64,
) -> Result<Vec<(&'static str, String)>, CallbackError> {
    let state = callback.state.unwrap_or_default();
    if verify_slices_are_equal(state.as_bytes(), pending.state.as_bytes()).is_err() {
        return Err(CallbackError::State);
    }
    if now >= pending.expires {
        return Err(CallbackError::Expired);
    }
    // RFC 9207 section 2.4: compared as strings; missing is a fault where the provider said it sends it.
    match (callback.iss, &metadata.issuer) {
        (Some(named), Some(issuer)) if named == issuer => {}
        (Some(_), Some(_)) => return Err(CallbackError::Issuer),
        (None, _) if metadata.names_itself => return Err(CallbackError::Issuer),
        (None, _) => {}
        // The issuer was not configured: that it lives where the person was sent is what can be held against it.
        (Some(named), None) => {
            let origin = Url::parse(named).map(|url| url.origin());
            if origin.ok() != Some(metadata.authorization.origin()) {
                return Err(CallbackError::Issuer);
            }
        }
    }
    if let Some(error) = callback.error {
        let plain = error.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect();
        return Err(CallbackError::Refused(plain));
    }
    let code = callback.code.filter(|code| !code.is_empty() && code.len() <= 4_096).ok_or(CallbackError::NoCode)?;
    let mut form = vec![
        ("grant_type", "authorization_code".to_owned()),
        ("code", code.to_owned()),
        ("redirect_uri", redirect.as_str().to_owned()),
        ("client_id", settings.client.id.clone()),
    ];
    if settings.pkce {
        form.push(("code_verifier", pending.verifier.clone()));
    }
    Ok(form)
}

/// Why an ID token is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    /// Fetch the provider's keys again and ask once more; the second time it is a refusal.
    #[error("the ID token is signed with a key that is not known")]
    FreshKeys,
    #[error(transparent)]
    Jose(JoseError),
    #[error("the ID token is of another issuer")]
    Issuer,
    #[error("the ID token is for another client")]
    Audience,
    #[error("the ID token has expired or is not valid yet")]
    Time,
    #[error("the ID token was not made for this sign-in")]
    Nonce,
    #[error("the ID token does not belong to the access token beside it")]
    AccessToken,
    #[error("the ID token names nobody")]
    Subject,
}

/// Checks an ID token (Core section 3.1.3.7) and returns its claims.
///
/// # Errors
/// If any check fails.
pub fn verify_id_token(
    token: &str,
    access_token: Option<&str>,
    pending: &PendingLogin,
    settings: &OidcSettings,
    metadata: &Metadata,
    keys: &Jwks,
    now: i64,
) -> Result<Map<String, Value>, IdTokenError> {
    let accepted: Vec<Algorithm> = Algorithm::WORDS.iter().map(|(_, algorithm)| *algorithm).collect();
    let unverified = Unverified::parse(token, &accepted).map_err(IdTokenError::Jose)?;
    let claims = unverified.verify(keys).map_err(|error| match error {
        JoseError::UnknownKey => IdTokenError::FreshKeys,
        JoseError::TooLarge
        | JoseError::Malformed
        | JoseError::Algorithm
        | JoseError::Critical
        | JoseError::AmbiguousKey
        | JoseError::Signature => IdTokenError::Jose(error),
    })?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if metadata.issuer.as_deref().is_some_and(|issuer| text("iss") != Some(issuer)) {
        return Err(IdTokenError::Issuer);
    }
    audience(&claims, &settings.client.id)?;
    let number = |name: &str| claims.get(name).and_then(Value::as_i64);
    let (Some(issued), Some(expires)) = (number("iat"), number("exp")) else { return Err(IdTokenError::Time) };
    let late = now >= expires.saturating_add(SKEW);
    // A claim that is there and is no moment is not the same as one that is missing.
    let starts = if claims.contains_key("nbf") { number("nbf").ok_or(IdTokenError::Time)? } else { issued };
    let early = starts.max(issued) > now.saturating_add(SKEW);
    if late || early {
        return Err(IdTokenError::Time);
    }
    let nonce = text("nonce").unwrap_or_default();
    if verify_slices_are_equal(nonce.as_bytes(), pending.nonce.as_bytes()).is_err() {
        return Err(IdTokenError::Nonce);
    }
    if let (Some(expected), Some(access_token)) = (claims.get("at_hash"), access_token)
        && expected.as_str() != Some(&at_hash(unverified.header.algorithm, access_token))
    {
        return Err(IdTokenError::AccessToken);
    }
    if text("sub").is_none_or(|subject| subject.is_empty() || subject.len() > 255) {
        return Err(IdTokenError::Subject);
    }
    if settings.hosted_domain.as_deref().is_some_and(|domain| text("hd") != Some(domain)) {
        return Err(IdTokenError::Issuer);
    }
    Ok(claims)
}

/// The token is for us, and if for others too, we are the party it was issued to.
fn audience(claims: &Map<String, Value>, client: &str) -> Result<(), IdTokenError> {
    let (ours, several) = match claims.get("aud") {
        Some(Value::String(one)) => (one == client, false),
        Some(Value::Array(all)) => (all.iter().any(|one| one.as_str() == Some(client)), all.len() > 1),
        _ => (false, false),
    };
    let party = claims.get("azp").map(|party| party.as_str() == Some(client));
    if ours && party.unwrap_or(!several) { Ok(()) } else { Err(IdTokenError::Audience) }
}

/// Core section 3.1.3.6: the left half of the hash of the access token, by the ID token's own hash.
fn at_hash(algorithm: Algorithm, access_token: &str) -> String {
    let hash = match algorithm {
        Algorithm::Rs256 | Algorithm::Es256 => &SHA256,
        Algorithm::Es384 => &SHA384,
        Algorithm::Rs512 | Algorithm::Ps512 | Algorithm::Es512 => &SHA512,
    };
    let hash = digest(hash, access_token.as_bytes());
    encode(&hash.as_ref()[..hash.as_ref().len() / 2])
}

/// Returns where to send the browser so that the provider's session ends too (RP-Initiated Logout 1.0).
#[must_use]
pub fn logout(settings: &OidcSettings, metadata: &Metadata, id_token: Option<&str>, back: &Url) -> Option<Url> {
    let mut url = metadata.end_session.clone()?;
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("client_id", &settings.client.id).append_pair("post_logout_redirect_uri", back.as_str());
        if let Some(token) = id_token {
            query.append_pair("id_token_hint", token);
        }
    }
    Some(url)
}
