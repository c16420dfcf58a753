//! GitHub on loopback, as its Enterprise Server answers: OAuth under `/login/oauth`, the API under `/api/v3`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::{CLIENT_ID, CLIENT_SECRET, Origin};

const TOKEN: &str = "gho_0123456789";
/// Teams before the last one, which so stands on the second page.
const PAGE: usize = 100;

struct Inner {
    email: String,
    verified: bool,
    lists_break: bool,
    /// What belongs to each code: challenge and redirect URI.
    codes: HashMap<String, (String, String)>,
}

type Shared = Arc<Mutex<Inner>>;

/// A running stand-in; it stops when dropped. The person is in the organisation `acme` and its teams `team-0` to
/// `team-99` and `core`.
pub struct GithubServer {
    pub base: String,
    shared: Shared,
    _origin: Origin,
}

impl GithubServer {
    /// Starts it with `email` as the primary, verified address.
    ///
    /// # Errors
    /// No free port.
    pub async fn start(email: &str) -> Result<Self> {
        let inner = Inner { email: email.to_owned(), verified: true, lists_break: false, codes: HashMap::new() };
        let shared = Arc::new(Mutex::new(inner));
        let router = Router::new()
            .route("/login/oauth/authorize", get(authorize))
            .route("/login/oauth/access_token", post(token))
            .route("/api/v3/user", get(user))
            .route("/api/v3/user/emails", get(emails))
            .route("/api/v3/user/orgs", get(organizations))
            .route("/api/v3/user/teams", get(teams))
            .with_state(Arc::clone(&shared));
        let origin = Origin::start(router, None).await?;
        Ok(Self { base: format!("http://{}", origin.address), shared, _origin: origin })
    }

    /// Says of the primary address whether it is verified.
    pub fn verify(&self, verified: bool) {
        lock(&self.shared).verified = verified;
    }

    /// Answers 500 to the second page of teams.
    pub fn break_lists(&self) {
        lock(&self.shared).lists_break = true;
    }
}

fn lock(shared: &Shared) -> std::sync::MutexGuard<'_, Inner> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn authorize(State(shared): State<Shared>, Query(query): Query<HashMap<String, String>>) -> Response {
    let text = |name: &str| query.get(name).cloned().unwrap_or_default();
    if text("client_id") != CLIENT_ID || !text("scope").contains("read:org") {
        return (StatusCode::NOT_FOUND, "unknown client, or too little asked for").into_response();
    }
    let mut inner = lock(&shared);
    let code = format!("code-{}", inner.codes.len());
    let redirect = text("redirect_uri");
    inner.codes.insert(code.clone(), (text("code_challenge"), redirect.clone()));
    Redirect::to(&format!("{redirect}?code={code}&state={}", text("state"))).into_response()
}

async fn token(State(shared): State<Shared>, Form(form): Form<HashMap<String, String>>) -> Json<Value> {
    let text = |name: &str| form.get(name).cloned().unwrap_or_default();
    let verifier = URL_SAFE_NO_PAD.encode(digest(&SHA256, text("code_verifier").as_bytes()));
    let found = lock(&shared).codes.remove(&text("code"));
    let right = found.is_some_and(|(challenge, redirect)| challenge == verifier && redirect == text("redirect_uri"));
    // Refusals come with status 200.
    if !right || text("client_id") != CLIENT_ID || text("client_secret") != CLIENT_SECRET {
        return Json(json!({"error": "bad_verification_code", "error_description": "incorrect or expired"}));
    }
    Json(json!({"access_token": TOKEN, "scope": "read:org,read:user,user:email", "token_type": "bearer"}))
}

fn known(headers: &HeaderMap) -> bool {
    headers.get("authorization").is_some_and(|value| value.as_bytes() == format!("Bearer {TOKEN}").as_bytes())
        && headers.contains_key("user-agent")
}

fn refused() -> Response {
    (StatusCode::UNAUTHORIZED, Json(json!({"message": "Bad credentials"}))).into_response()
}

async fn user(headers: HeaderMap) -> Response {
    if !known(&headers) {
        return refused();
    }
    Json(json!({"login": "ada-example", "id": 4_242, "name": "Ada Example", "email": null})).into_response()
}

async fn emails(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    if !known(&headers) {
        return refused();
    }
    let inner = lock(&shared);
    Json(json!([
        {"email": "old@elsewhere.test", "primary": false, "verified": true, "visibility": null},
        {"email": inner.email, "primary": true, "verified": inner.verified, "visibility": "private"},
    ]))
    .into_response()
}

async fn organizations(headers: HeaderMap) -> Response {
    if !known(&headers) {
        return refused();
    }
    Json(json!([{"login": "acme", "id": 1}])).into_response()
}

async fn teams(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    if !known(&headers) {
        return refused();
    }
    let team = |slug: String| json!({"slug": slug, "name": slug, "organization": {"login": "acme"}});
    let second = query.get("page").is_some_and(|page| page == "2");
    if second && lock(&shared).lists_break {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let page: Vec<Value> = if second {
        vec![team("core".to_owned())]
    } else {
        (0..PAGE).map(|number| team(format!("team-{number}"))).collect()
    };
    Json(page).into_response()
}
