//! An OpenID provider on loopback: it signs in whom the test says, without a page, and misbehaves when told to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::Origin;

pub const CLIENT_ID: &str = "portunus";
pub const CLIENT_SECRET: &str = "a secret of the client";

/// Whom the provider signs in.
#[derive(Debug, Clone)]
pub struct Identity {
    pub email: String,
    /// Claims beside those every token has; they replace what is there.
    pub claims: Value,
}

/// How the provider misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mischief {
    None,
    /// Answers no token request in time.
    Slow,
    /// Answers 500 to token requests.
    Down,
    /// Says no to the person.
    Refuses,
    WrongIssuer,
    WrongAudience,
    WrongNonce,
    /// Signs with a key it does not publish.
    OtherKey,
    /// Signs nothing (`alg: none`).
    Unsigned,
    /// Names another issuer in its answer (RFC 9207).
    NamesAnother,
}

struct Inner {
    issuer: String,
    identity: Identity,
    mischief: Mischief,
    key: EcdsaKeyPair,
    other: EcdsaKeyPair,
    /// What belongs to each code: challenge, nonce, redirect URI.
    codes: HashMap<String, (String, String, String)>,
    issued: usize,
    /// What the user-info endpoint answers; ID tokens then name the person by `sub` alone. Null fails.
    user_info: Option<Value>,
    /// Requests to it so far.
    asked: usize,
    /// The claims that the last person was sent with a request for.
    wanted: Option<String>,
}

type Shared = Arc<Mutex<Inner>>;

/// A running provider; it stops when dropped.
pub struct IdentityProvider {
    pub issuer: String,
    shared: Shared,
    _origin: Origin,
}

impl IdentityProvider {
    /// Starts a provider that signs in `email`.
    ///
    /// # Errors
    /// No free port.
    pub async fn start(email: &str) -> Result<Self> {
        let identity = Identity { email: email.to_owned(), claims: json!({}) };
        let inner = Inner {
            issuer: String::new(),
            identity,
            mischief: Mischief::None,
            key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?,
            other: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?,
            codes: HashMap::new(),
            issued: 0,
            user_info: None,
            asked: 0,
            wanted: None,
        };
        let shared = Arc::new(Mutex::new(inner));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .route("/keys", get(keys))
            .route("/userinfo", get(user_info))
            .with_state(Arc::clone(&shared));
        let origin = Origin::start(router, None).await?;
        let issuer = format!("http://{}", origin.address);
        lock(&shared).issuer.clone_from(&issuer);
        Ok(Self { issuer, shared, _origin: origin })
    }

    /// Signs in somebody else from here on.
    pub fn identify(&self, identity: Identity) {
        lock(&self.shared).identity = identity;
    }

    /// Tells by user-info what ID tokens told so far, as providers do that follow Core section 5.4 to the letter. With
    /// `Value::Null` the endpoint fails.
    pub fn tell_by_user_info(&self, claims: Value) {
        lock(&self.shared).user_info = Some(claims);
    }

    /// Returns how often the user-info endpoint was asked.
    #[must_use]
    pub fn user_info_requests(&self) -> usize {
        lock(&self.shared).asked
    }

    /// Returns the claims request that the last person was sent with.
    #[must_use]
    pub fn claims_request(&self) -> Option<Value> {
        let wanted = lock(&self.shared).wanted.clone();
        wanted.and_then(|text| serde_json::from_str(&text).ok())
    }

    pub fn misbehave(&self, mischief: Mischief) {
        lock(&self.shared).mischief = mischief;
    }

    /// Puts another key in the place of the published one.
    ///
    /// # Errors
    /// No randomness.
    pub fn rotate(&self) -> Result<()> {
        lock(&self.shared).key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        Ok(())
    }
}

fn lock(shared: &Shared) -> std::sync::MutexGuard<'_, Inner> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn metadata(State(shared): State<Shared>) -> Json<Value> {
    let inner = lock(&shared);
    let issuer = &inner.issuer;
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"),
        "end_session_endpoint": format!("{issuer}/logout"),
        "authorization_response_iss_parameter_supported": true,
    });
    if inner.user_info.is_some() {
        document["userinfo_endpoint"] = json!(format!("{issuer}/userinfo"));
    }
    Json(document)
}

async fn user_info(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let mut inner = lock(&shared);
    inner.asked += 1;
    let bearer = headers.get("authorization").is_some_and(|value| value == "Bearer at");
    match &inner.user_info {
        Some(Value::Null) | None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Some(_) if !bearer => (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_token"}))).into_response(),
        Some(claims) => Json(claims).into_response(),
    }
}

async fn authorize(State(shared): State<Shared>, Query(query): Query<HashMap<String, String>>) -> Response {
    let mut inner = lock(&shared);
    let text = |name: &str| query.get(name).cloned().unwrap_or_default();
    let (redirect, state) = (text("redirect_uri"), text("state"));
    inner.wanted = query.get("claims").cloned();
    let issuer = if inner.mischief == Mischief::NamesAnother {
        "https://other.example".to_owned()
    } else {
        inner.issuer.clone()
    };
    if query.get("client_id").is_none_or(|id| id != CLIENT_ID) || text("code_challenge_method") != "S256" {
        return (StatusCode::BAD_REQUEST, "unknown client, or no PKCE").into_response();
    }
    let answer = if inner.mischief == Mischief::Refuses {
        format!("{redirect}?error=access_denied&state={state}&iss={issuer}")
    } else {
        inner.issued += 1;
        let code = format!("code-{}", inner.issued);
        inner.codes.insert(code.clone(), (text("code_challenge"), text("nonce"), redirect.clone()));
        format!("{redirect}?code={code}&state={state}&iss={issuer}")
    };
    Redirect::to(&answer).into_response()
}

async fn token(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let mischief = lock(&shared).mischief;
    if mischief == Mischief::Slow {
        tokio::time::sleep(Duration::from_secs(3_600)).await;
    }
    if mischief == Mischief::Down {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let mut inner = lock(&shared);
    let text = |name: &str| form.get(name).cloned().unwrap_or_default();
    let client = STANDARD.encode(format!("{CLIENT_ID}:{}", CLIENT_SECRET.replace(' ', "+")));
    let known =
        headers.get("authorization").is_some_and(|value| value.as_bytes() == format!("Basic {client}").as_bytes());
    // A code works once.
    let Some((challenge, nonce, redirect)) = inner.codes.remove(&text("code")) else {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"}))).into_response();
    };
    let verifier = URL_SAFE_NO_PAD.encode(digest(&SHA256, text("code_verifier").as_bytes()));
    if !known || verifier != challenge || redirect != text("redirect_uri") {
        return (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_client"}))).into_response();
    }
    match id_token(&inner, nonce) {
        Ok(token) => Json(json!({"id_token": token, "access_token": "at", "token_type": "Bearer"})).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn id_token(inner: &Inner, nonce: String) -> Result<String> {
    let mischief = inner.mischief;
    let now = std::time::UNIX_EPOCH.elapsed()?.as_secs();
    let mut claims = json!({
        "iss": if mischief == Mischief::WrongIssuer { "https://other.example" } else { &inner.issuer },
        "aud": if mischief == Mischief::WrongAudience { "somebody else" } else { CLIENT_ID },
        "sub": inner.identity.email,
        "email": inner.identity.email,
        "email_verified": true,
        "name": "Ada Example",
        "nonce": if mischief == Mischief::WrongNonce { "another".to_owned() } else { nonce },
        "iat": now,
        "exp": now + 300,
    });
    if let (Some(_), Some(claims)) = (&inner.user_info, claims.as_object_mut()) {
        for told_there in ["email", "email_verified", "name"] {
            claims.remove(told_there);
        }
    }
    if let (Some(claims), Some(more)) = (claims.as_object_mut(), inner.identity.claims.as_object()) {
        claims.extend(more.clone());
    }
    let key = if mischief == Mischief::OtherKey { &inner.other } else { &inner.key };
    let header = if mischief == Mischief::Unsigned {
        json!({"alg": "none"})
    } else {
        json!({"alg": "ES256", "kid": kid(&inner.key)})
    };
    let signed = format!("{}.{}", encode(&header), encode(&claims));
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes())?;
    let signature = if mischief == Mischief::Unsigned { &[] } else { signature.as_ref() };
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

async fn keys(State(shared): State<Shared>) -> Json<Value> {
    let inner = lock(&shared);
    // An uncompressed point: a four, then both coordinates (SEC 1 section 2.3.3).
    let point = inner.key.public_key().as_ref();
    let [x, y] = [point.get(1..33), point.get(33..65)].map(|part| URL_SAFE_NO_PAD.encode(part.unwrap_or_default()));
    Json(json!({"keys": [
        {"kty": "EC", "crv": "P-256", "kid": kid(&inner.key), "use": "sig", "alg": "ES256", "x": x, "y": y},
    ]}))
}

fn kid(key: &EcdsaKeyPair) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, key.public_key().as_ref()))
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Makes an RSA key in PKCS #8 DER, for platforms that sign tokens.
///
/// # Errors
/// No randomness.
pub fn rsa_key() -> Result<Vec<u8>> {
    let pair = KeyPair::generate(KeySize::Rsa2048)?;
    let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|error| anyhow!("{error}"))?;
    Ok(der.as_ref().to_vec())
}
