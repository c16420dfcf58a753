//! An MCP server that people sign in at, with its authorization server beside it on loopback: it lets everybody in without
//! a page, counts what it is asked, and misbehaves when told to.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::Origin;

/// How both behave.
#[derive(Debug, Clone)]
pub struct Manners {
    /// It says nothing of PKCE.
    pub without_pkce: bool,
    /// What it calls itself in its answers (RFC 9207); empty: nothing.
    pub names_itself: Option<String>,
    /// It says that it calls itself something there.
    pub promises_name: bool,
    /// Of access tokens, in seconds.
    pub lifetime: i64,
    /// It answers no request to renew a token but with this status and word.
    pub refuses_renewal: Option<(u16, &'static str)>,
    /// Its description is of two megabytes.
    pub huge: bool,
    /// It takes the address of a document as the id of a client.
    pub documents: bool,
    pub no_registration: bool,
    /// What the server's description calls itself; empty: by its address.
    pub resource: Option<String>,
    /// Where the server says that its authorization server is; empty: beside it.
    pub elsewhere: Option<String>,
    /// It has no sessions, and refuses to begin one whoever asks; what else it is asked needs this scope.
    pub without_sessions: Option<&'static str>,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            without_pkce: false,
            names_itself: None,
            promises_name: false,
            lifetime: 3_600,
            refuses_renewal: None,
            huge: false,
            documents: false,
            no_registration: false,
            resource: None,
            elsewhere: None,
            without_sessions: None,
        }
    }
}

#[derive(Clone)]
struct Code {
    client: String,
    challenge: String,
    redirect: String,
    resource: String,
    scope: String,
}

#[derive(Clone)]
struct Grant {
    account: usize,
    scope: String,
    resource: String,
    client: String,
}

/// What was asked of it so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub registrations: usize,
    pub codes: usize,
    pub renewals: usize,
    pub revocations: usize,
}

struct Inner {
    base: String,
    manners: Manners,
    secrets: HashMap<String, String>,
    codes: HashMap<String, Code>,
    access: HashMap<String, Grant>,
    refresh: HashMap<String, Grant>,
    spent: HashSet<String>,
    counts: Counts,
    made: usize,
    /// Every secret it ever gave out.
    given: Vec<String>,
    /// Every `Authorization` the MCP server saw.
    shown: Vec<Option<String>>,
    /// Every query a browser came with.
    visits: Vec<HashMap<String, String>>,
    sessions: usize,
    ended: usize,
}

#[derive(Clone)]
struct Shared {
    inner: Arc<Mutex<Inner>>,
    /// Requests for tokens pass while there are permits.
    gate: Arc<Semaphore>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running server; it stops when dropped.
pub struct ProtectedServer {
    /// Of the MCP server.
    pub address: String,
    shared: Shared,
    _origin: Origin,
}

impl ProtectedServer {
    /// Starts both on a port of their own.
    ///
    /// # Errors
    /// There is no port.
    pub async fn start() -> Result<Self> {
        let inner = Inner {
            base: String::new(),
            manners: Manners::default(),
            secrets: HashMap::new(),
            codes: HashMap::new(),
            access: HashMap::new(),
            refresh: HashMap::new(),
            spent: HashSet::new(),
            counts: Counts::default(),
            made: 0,
            given: Vec::new(),
            shown: Vec::new(),
            visits: Vec::new(),
            sessions: 0,
            ended: 0,
        };
        let shared = Shared { inner: Arc::new(Mutex::new(inner)), gate: Arc::new(Semaphore::new(1_000)) };
        let router = Router::new()
            .route("/mcp", post(message).get(|| async { StatusCode::METHOD_NOT_ALLOWED }).delete(end))
            .route("/.well-known/oauth-protected-resource/mcp", get(resource))
            .route("/.well-known/oauth-authorization-server", get(metadata))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .route("/register", post(register))
            .route("/revoke", post(revoke))
            .with_state(shared.clone());
        let origin = Origin::start(router, None).await?;
        let base = format!("http://{}", origin.address);
        shared.lock().base.clone_from(&base);
        Ok(Self { address: format!("{base}/mcp"), shared, _origin: origin })
    }

    /// Changes how both behave.
    pub fn behave(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.shared.lock().manners);
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.lock().counts.clone()
    }

    /// Returns every token and secret that was given out.
    #[must_use]
    pub fn given(&self) -> Vec<String> {
        self.shared.lock().given.clone()
    }

    /// Returns every `Authorization` the MCP server was shown.
    #[must_use]
    pub fn shown(&self) -> Vec<Option<String>> {
        self.shared.lock().shown.clone()
    }

    /// Returns what browsers came with.
    #[must_use]
    pub fn visits(&self) -> Vec<HashMap<String, String>> {
        self.shared.lock().visits.clone()
    }

    /// Returns how many sessions were begun and ended at the MCP server.
    #[must_use]
    pub fn sessions(&self) -> (usize, usize) {
        let inner = self.shared.lock();
        (inner.sessions, inner.ended)
    }

    /// Makes every access token worthless, and with `all` what renews them.
    pub fn forget(&self, all: bool) {
        let mut inner = self.shared.lock();
        inner.access.clear();
        if all {
            inner.refresh.clear();
        }
    }

    /// Answers no request for tokens until [`ProtectedServer::go_on`].
    pub fn hold(&self) {
        self.shared.gate.forget_permits(1_000_000);
    }

    pub fn go_on(&self) {
        self.shared.gate.add_permits(1_000);
    }
}

fn huge() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], format!("{{\"x\": \"{}\"}}", "a".repeat(2 << 20))).into_response()
}

async fn resource(State(shared): State<Shared>) -> Response {
    let inner = shared.lock();
    let named = inner.manners.resource.clone().unwrap_or_else(|| format!("{}/mcp", inner.base));
    let server = inner.manners.elsewhere.clone().unwrap_or_else(|| inner.base.clone());
    Json(json!({"resource": named, "authorization_servers": [server], "scopes_supported": ["read"]})).into_response()
}

async fn metadata(State(shared): State<Shared>) -> Response {
    let inner = shared.lock();
    let (base, manners) = (&inner.base, &inner.manners);
    if manners.huge {
        return huge();
    }
    let mut document = json!({
        "issuer": base, "authorization_endpoint": format!("{base}/authorize"), "token_endpoint": format!("{base}/token"),
        "revocation_endpoint": format!("{base}/revoke"), "response_types_supported": ["code"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "none"],
        "client_id_metadata_document_supported": manners.documents,
        "authorization_response_iss_parameter_supported": manners.promises_name,
    });
    if !manners.without_pkce {
        document["code_challenge_methods_supported"] = json!(["S256"]);
    }
    if !manners.no_registration {
        document["registration_endpoint"] = format!("{base}/register").into();
    }
    Json(document).into_response()
}

impl Inner {
    fn make(&mut self, what: &str) -> String {
        self.made += 1;
        let text = format!("{what}-{}-{}", self.made, self.base.len());
        let text = format!("{what}-{}", URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()).as_ref()));
        self.given.push(text.clone());
        text
    }
}

async fn register(State(shared): State<Shared>, Json(asked): Json<Value>) -> Response {
    let mut inner = shared.lock();
    inner.counts.registrations += 1;
    if asked["application_type"].is_null() || asked["redirect_uris"][0].is_null() {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_client_metadata"}))).into_response();
    }
    let id = format!("client-{}", inner.counts.registrations);
    let secret = inner.make("secret");
    inner.secrets.insert(id.clone(), secret.clone());
    let answer = json!({
        "client_id": id, "client_secret": secret, "client_secret_expires_at": 0,
        "token_endpoint_auth_method": asked["token_endpoint_auth_method"], "redirect_uris": asked["redirect_uris"],
    });
    (StatusCode::CREATED, Json(answer)).into_response()
}

async fn authorize(State(shared): State<Shared>, Query(query): Query<HashMap<String, String>>) -> Response {
    let mut inner = shared.lock();
    inner.visits.push(query.clone());
    let get = |name: &str| query.get(name).cloned().unwrap_or_default();
    if get("code_challenge_method") != "S256" || get("resource").is_empty() || get("redirect_uri").is_empty() {
        return (StatusCode::BAD_REQUEST, "the request is not one").into_response();
    }
    let text = inner.make("code");
    let code = Code {
        client: get("client_id"),
        challenge: get("code_challenge"),
        redirect: get("redirect_uri"),
        resource: get("resource"),
        scope: get("scope"),
    };
    inner.codes.insert(text.clone(), code);
    let mut answer = vec![("code", text), ("state", get("state"))];
    answer.extend(inner.manners.names_itself.clone().map(|name| ("iss", name)));
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(answer).finish();
    Redirect::to(&format!("{}?{query}", get("redirect_uri"))).into_response()
}

fn refused(status: u16, word: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    (status, Json(json!({"error": word}))).into_response()
}

/// Finds the client that asks, if it proves itself.
fn client(inner: &Inner, headers: &HeaderMap, form: &HashMap<String, String>) -> Option<String> {
    let basic = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
    let (id, secret) = match basic {
        Some(pair) => {
            let pair = String::from_utf8(STANDARD.decode(pair).ok()?).ok()?;
            let (id, secret) = pair.split_once(':')?;
            let decode =
                |text: &str| url::form_urlencoded::parse(text.as_bytes()).next().map(|(text, _)| text.into_owned());
            (decode(id)?, decode(secret))
        }
        None => (form.get("client_id")?.clone(), None),
    };
    (inner.secrets.get(&id) == secret.as_ref()).then_some(id)
}

async fn token(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let Ok(permit) = shared.gate.acquire().await else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    drop(permit);
    let mut inner = shared.lock();
    let get = |name: &str| form.get(name).cloned().unwrap_or_default();
    let Some(client) = client(&inner, &headers, &form) else { return refused(401, "invalid_client") };
    let grant = match get("grant_type").as_str() {
        "authorization_code" => {
            inner.counts.codes += 1;
            let Some(code) = inner.codes.remove(&get("code")) else { return refused(400, "invalid_grant") };
            let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, get("code_verifier").as_bytes()).as_ref());
            if code.client != client || code.challenge != challenge || code.redirect != get("redirect_uri") {
                return refused(400, "invalid_grant");
            }
            if code.resource != get("resource") {
                return refused(400, "invalid_target");
            }
            let account = inner.counts.codes;
            Grant { account, scope: code.scope, resource: code.resource, client }
        }
        "refresh_token" => {
            inner.counts.renewals += 1;
            if let Some((status, word)) = inner.manners.refuses_renewal {
                return refused(status, word);
            }
            let token = get("refresh_token");
            if inner.spent.contains(&token) {
                // Shown twice: somebody stole it, so nothing of its line holds any more.
                inner.refresh.clear();
                inner.access.clear();
                return refused(400, "invalid_grant");
            }
            let Some(grant) = inner.refresh.remove(&token) else { return refused(400, "invalid_grant") };
            if grant.client != client || grant.resource != get("resource") {
                return refused(400, "invalid_grant");
            }
            inner.spent.insert(token);
            grant
        }
        _ => return refused(400, "unsupported_grant_type"),
    };
    let (access, refresh) = (inner.make("access"), inner.make("refresh"));
    inner.access.insert(access.clone(), grant.clone());
    inner.refresh.insert(refresh.clone(), grant.clone());
    let answer = json!({
        "access_token": access, "token_type": "Bearer", "expires_in": inner.manners.lifetime,
        "refresh_token": refresh, "scope": grant.scope,
    });
    Json(answer).into_response()
}

async fn revoke(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let mut inner = shared.lock();
    if client(&inner, &headers, &form).is_none() {
        return refused(401, "invalid_client");
    }
    inner.counts.revocations += 1;
    let gone = form.get("token").and_then(|token| inner.refresh.remove(token));
    if let Some(gone) = gone {
        inner.access.retain(|_, grant| grant.account != gone.account);
    }
    StatusCode::OK.into_response()
}

async fn end(State(shared): State<Shared>) -> StatusCode {
    shared.lock().ended += 1;
    StatusCode::NO_CONTENT
}

async fn message(State(shared): State<Shared>, headers: HeaderMap, Json(message): Json<Value>) -> Response {
    let mut inner = shared.lock();
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    inner.shown.push(shown.clone());
    let base = inner.base.clone();
    let about = format!("resource_metadata=\"{base}/.well-known/oauth-protected-resource/mcp\"");
    let mut challenge = format!("Bearer {about}");
    if let Some(scope) = inner.manners.without_sessions {
        if message["method"] == "initialize" {
            let error = json!({"code": -32_601, "message": "there are no sessions here"});
            let answer = json!({"jsonrpc": "2.0", "id": message["id"], "error": error});
            return (StatusCode::BAD_REQUEST, Json(answer)).into_response();
        }
        challenge = format!("Bearer scope=\"{scope}\", {about}");
    }
    let grant = shown.and_then(|value| inner.access.get(value.strip_prefix("Bearer ")?).cloned());
    let Some(grant) = grant.filter(|grant| grant.resource == format!("{base}/mcp")) else {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response();
    };
    let id = &message["id"];
    let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
    let result = match message["method"].as_str().unwrap_or_default() {
        "initialize" => {
            inner.sessions += 1;
            json!({
                "protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}},
                "serverInfo": {"name": "protected", "version": "1"},
            })
        }
        "tools/list" => json!({"tools": [tool("whoami"), tool("write")]}),
        "tools/call" if message["params"]["name"] == "write" && !grant.scope.split(' ').any(|word| word == "write") => {
            let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"write\", {about}");
            return (StatusCode::FORBIDDEN, [(header::WWW_AUTHENTICATE, challenge)]).into_response();
        }
        "tools/call" => json!({"content": [{"type": "text", "text": format!("account {}", grant.account)}]}),
        method if method.starts_with("notifications/") => return StatusCode::ACCEPTED.into_response(),
        _ => {
            let error = json!({"code": -32_601, "message": "no such method"});
            return Json(json!({"jsonrpc": "2.0", "id": id, "error": error})).into_response();
        }
    };
    let session = [("mcp-session-id", format!("session-{}", inner.sessions))];
    (session, Json(json!({"jsonrpc": "2.0", "id": id, "result": result}))).into_response()
}
