//! A console with an account, a clock that tests move, and a client that speaks to its router.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ::mcp::catalog::Catalog;
use ::mcp::detector::{self, Surroundings};
use ::mcp::document::server::Pinning;
use ::mcp::explanation::{SeenDefinition, SeenServer, Why};
use ::mcp::pinning::{KindWord, Ledger, Listing};
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use console::{
    Addresses, BoxFuture, ConsoleDeps, Limits, McpServers, McpUnavailable, PolicyWorkers, Preview, PreviewError,
    PreviewJob, PreviewReport, SnapshotStatus, SnapshotView, Tried,
};
use http_body_util::BodyExt as _;
use identity::evaluation::WorkerWord;
use identity::identity::Identity;
use identity::selector::WorkerQuestion;
use jiff::Timestamp;
use logs::{Logs, LogsConfig};
use serde_json::{Value, json};
use store::{
    Account, McpCatalog, NewToken, Operate, Permission, Permissions, Principal, Store, StoreConfig, WriteTokens,
};
use tempfile::TempDir;
use tower::ServiceExt as _;
use types::{AccountId, ApplicationId, McpPortalId, McpServerId, Verbatim};
use url::Url;
use uuid::Uuid;

/// 2026-01-02T03:04:05Z
pub(crate) const START: i64 = 1_767_323_045;

pub(crate) struct Console {
    pub(crate) router: Router,
    pub(crate) store: Store,
    pub(crate) logs: Logs,
    pub(crate) account: AccountId,
    pub(crate) token: String,
    pub(crate) scripts: Arc<Scripts>,
    pub(crate) upstreams: Arc<Upstreams>,
    clock: Arc<AtomicI64>,
    _directory: TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap()
    }

    /// The result of a call that must have succeeded.
    #[track_caller]
    pub(crate) fn result(&self) -> Value {
        let json = self.json();
        assert_eq!(self.status, StatusCode::OK, "{json:#}");
        assert_eq!(json["success"], true, "{json:#}");
        json["result"].clone()
    }

    /// The first error of a call that must have failed so.
    #[track_caller]
    pub(crate) fn error(&self, status: u16) -> (String, String) {
        let json = self.json();
        assert_eq!(self.status.as_u16(), status, "{json:#}");
        assert_eq!(json["success"], false, "{json:#}");
        assert!(json["errors"][0]["code"].as_u64().is_some_and(|code| code >= 1000), "{json:#}");
        let pointer = json["errors"][0]["source"]["pointer"].as_str().unwrap_or_default();
        (pointer.to_owned(), json["errors"][0]["message"].as_str().unwrap_or_default().to_owned())
    }
}

struct Snapshot;

impl SnapshotView for Snapshot {
    fn status(&self) -> SnapshotStatus {
        SnapshotStatus {
            revision: 7,
            compiled_at: None,
            stale: Vec::new(),
            store_reachable: true,
            rule_errors: Vec::new(),
        }
    }

    fn inspection(&self) -> policy::replay::Inspection {
        policy::replay::Inspection { decrypts: true, exempt: Vec::new() }
    }

    fn settle(&self) -> console::BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn ask_origin(&self, _: types::ApplicationId) -> console::BoxFuture<'_, console::OriginAnswer> {
        Box::pin(std::future::ready(console::OriginAnswer::Status(204)))
    }

    fn classifier(&self) -> std::sync::Arc<catalog::Classifier> {
        std::sync::Arc::new(catalog::Classifier::embedded())
    }

    fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }
}

/// Answers with what it was asked to run.
struct Echo;

impl Preview for Echo {
    fn run(&self, job: PreviewJob) -> BoxFuture<'_, Result<PreviewReport, PreviewError>> {
        Box::pin(async move {
            Ok(PreviewReport {
                outcome: "response".to_owned(),
                detail: json!({
                    "main": job.version.main_module,
                    "modules": job.modules.iter().map(|module| module.name.clone()).collect::<Vec<_>>(),
                    "bindings": job.version.bindings.iter().map(store::Binding::name).collect::<Vec<_>>(),
                }),
                console: Vec::new(),
                subrequests: Vec::new(),
                cpu_microseconds: 1,
                wall_microseconds: 2,
            })
        })
    }
}

/// The Workers that policies ask: `training` allows people of `example.com`, `asleep` never answers, any other is missing.
#[derive(Default)]
pub(crate) struct Scripts {
    pub(crate) asked: Mutex<Vec<Value>>,
    at_once: AtomicUsize,
    pub(crate) most_at_once: AtomicUsize,
}

impl PolicyWorkers for Scripts {
    fn ask<'a>(&'a self, question: &'a WorkerQuestion, tried: Tried<'a>) -> BoxFuture<'a, WorkerWord> {
        let application = tried.application.map(|(id, name, url)| json!({"id": id, "name": name, "url": url}));
        let asked = json!({"account": tried.account, "identity": tried.identity, "application": application});
        self.asked.lock().unwrap().push(asked);
        Box::pin(async move {
            let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_at_once.fetch_max(now, Ordering::SeqCst);
            tokio::task::yield_now().await;
            if question.script.to_string() == "asleep" {
                std::future::pending::<()>().await;
            }
            self.at_once.fetch_sub(1, Ordering::SeqCst);
            let (allows, reason) = match question.script.to_string().as_str() {
                "training" => (Some(tried.identity.email.as_str().ends_with("@example.com")), "looked up"),
                _ => (None, "there is no Worker of that name that can run"),
            };
            WorkerWord { allows, reason: reason.to_owned(), took: std::time::Duration::from_millis(3) }
        })
    }
}

/// Servers of which `silent` never answers, `away` cannot be asked, and any other offers one tool and one prompt.
pub(crate) struct Upstreams {
    store: Store,
    account: AccountId,
    pub(crate) runs_programs: AtomicBool,
    /// The administrator's sign-in that was begun last, and what it is bound to.
    begun: Mutex<Option<(McpServerId, [u8; 32])>>,
    /// The tools that servers offer.
    pub(crate) tools: Mutex<Vec<Value>>,
}

/// What the plane would say of a portal with one server.
fn seen(open: bool) -> Vec<SeenServer> {
    let definition = |key: &str, why| SeenDefinition {
        kind: KindWord::Tool,
        key: key.to_owned(),
        exposed: format!("jira_{key}"),
        why,
    };
    let shown = vec![
        definition("get_issue", Why::Visible { rules: vec!["reading".to_owned()], conditions: Vec::new() }),
        definition("delete_issue", Why::Rule("nothing is deleted".to_owned())),
        definition("new_tool", Why::Held),
    ];
    vec![SeenServer {
        id: "jira".to_owned(),
        name: "Jira".to_owned(),
        open,
        on: true,
        broken: None,
        definitions: if open { shown } else { Vec::new() },
    }]
}

/// Keeps what a server listed, as the node does that asks it.
fn answered(standing: McpCatalog, tools: &[Value], now: Timestamp) -> McpCatalog {
    let tools: Vec<Verbatim> = tools.iter().map(Verbatim::from).collect();
    let prompts = vec![Verbatim::from(&json!({"name": "triage"}))];
    let of = |tools: &[Verbatim], prompts: &[Verbatim]| Catalog::of([tools, prompts, &[], &[]]);
    let (before, listed) = (of(&standing.tools, &standing.prompts), of(&tools, &prompts));
    let at = now.to_string();
    let listing = Listing { pinning: Pinning::All, before: &before, now: &listed, at: &at };
    let ledger = Ledger::read(standing.pins.as_ref()).unwrap();
    let ledger = ledger.settled(listing, |found| detector::inspect(found, &Surroundings::default()));
    let pins = Some(ledger.write());
    McpCatalog { synced_at: Some(now), succeeded_at: Some(now), tools, prompts, pins, ..McpCatalog::default() }
}

impl McpServers for Upstreams {
    fn sync<'a>(&'a self, server: &'a McpServerId) -> BoxFuture<'a, Result<(), McpUnavailable>> {
        Box::pin(async move {
            if server.as_str() == "away" {
                return Err(McpUnavailable("too much waits to be asked".to_owned()));
            }
            let operate = Principal::system("test").authorize::<Operate>(self.account).unwrap();
            let catalogs = self.store.mcp_catalogs();
            let read = catalogs.get(&operate, server).await.unwrap();
            let now = Some(self.store.now());
            let catalog = match server.as_str() {
                "silent" => McpCatalog {
                    synced_at: now,
                    error: Some(json!({"message": "the server did not answer", "retryable": true, "status_code": 504})),
                    ..McpCatalog::default()
                },
                _ => {
                    let standing = read.as_ref().map(|read| read.document.clone()).unwrap_or_default();
                    answered(standing, &self.tools.lock().unwrap().clone(), self.store.now())
                }
            };
            catalogs.keep(&operate, server.clone(), catalog, read.map(|read| read.revision)).await.unwrap();
            Ok(())
        })
    }

    fn begin_sign_in<'a>(
        &'a self,
        server: &'a McpServerId,
        back: &'a Url,
        bound: [u8; 32],
    ) -> BoxFuture<'a, Result<Url, McpUnavailable>> {
        *self.begun.lock().unwrap() = Some((server.clone(), bound));
        let url = Url::parse_with_params("https://as.example/authorize", [("redirect_uri", back.as_str())]).unwrap();
        Box::pin(async move { Ok(url) })
    }

    fn complete_sign_in<'a>(
        &'a self,
        _: &'a str,
        bounds: &'a [[u8; 32]],
    ) -> BoxFuture<'a, Result<McpServerId, McpUnavailable>> {
        let begun = self.begun.lock().unwrap().take().filter(|(_, bound)| bounds.contains(bound));
        Box::pin(
            async move { begun.map(|(server, _)| server).ok_or_else(|| McpUnavailable("another browser".to_owned())) },
        )
    }

    fn end_sign_in<'a>(&'a self, _: &'a McpServerId) -> BoxFuture<'a, Result<(), McpUnavailable>> {
        Box::pin(async { Ok(()) })
    }

    fn may_run_programs(&self) -> bool {
        self.runs_programs.load(Ordering::SeqCst)
    }

    fn sees(&self, portal: &McpPortalId, _: &Identity, open: &[ApplicationId]) -> Option<Vec<SeenServer>> {
        (portal.as_str() == "staff").then(|| seen(!open.is_empty()))
    }
}

impl Console {
    pub(crate) async fn new() -> Self {
        Self::with(Limits::default(), false).await
    }

    pub(crate) async fn with(limits: Limits, https: bool) -> Self {
        let clock = Arc::new(AtomicI64::new(START));
        let seconds = Arc::clone(&clock);
        let now: Arc<dyn Fn() -> Timestamp + Send + Sync> =
            Arc::new(move || Timestamp::from_second(seconds.load(Ordering::SeqCst)).unwrap());
        let store = Store::open(StoreConfig { clock: Arc::clone(&now), ..StoreConfig::memory() }).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let config = LogsConfig { clock: Arc::clone(&now), ..LogsConfig::default() };
        let logs = Logs::open(directory.path(), config).await.unwrap();
        let account = AccountId(Uuid::new_v4());
        let operate = Principal::system("test").authorize::<Operate>(account).unwrap();
        store.create_account(&operate, Account { name: "Example".to_owned() }).await.unwrap();
        let addresses = Addresses {
            console_url: "http://localhost:9080".to_owned(),
            api_url: "http://localhost:9080/client/v4".to_owned(),
            proxy: "http://localhost:9081".to_owned(),
            access_port: Some(9443),
            host_names: vec!["console.example.com".to_owned()],
            https,
            insist_on_https: https,
        };
        let scripts = Arc::new(Scripts::default());
        let tools = vec![json!({"name": "get_issue", "inputSchema": {"type": "object"}})];
        let upstreams = Arc::new(Upstreams {
            store: store.clone(),
            account,
            runs_programs: AtomicBool::new(false),
            begun: Mutex::default(),
            tools: Mutex::new(tools),
        });
        let router = console::router(ConsoleDeps {
            store: Arc::new(store.clone()),
            logs: logs.clone(),
            account,
            snapshot: Arc::new(Snapshot),
            preview: Arc::new(Echo),
            workers: Arc::clone(&scripts) as Arc<dyn PolicyWorkers>,
            mcp: Some(Arc::clone(&upstreams) as Arc<dyn McpServers>),
            push: None,
            addresses,
            generated: None,
            worker_types: "declare const types: unknown;",
            limits,
            clock: now,
        });
        let token = String::new();
        let mut console =
            Self { router, store, logs, account, token, scripts, upstreams, clock, _directory: directory };
        console.token = console.issue(&[Permission::Admin]).await;
        console
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Issues a token that carries `permissions`.
    pub(crate) async fn issue(&self, permissions: &[Permission]) -> String {
        let grant = Principal::system("test").authorize::<WriteTokens>(self.account).unwrap();
        let permissions: Permissions = permissions.iter().copied().collect();
        let new = NewToken { name: "test".to_owned(), permissions, not_before: None, expires_at: None };
        self.store.tokens().issue(&grant, new).await.unwrap().1.into_inner()
    }

    /// A set-up link's token.
    pub(crate) async fn setup_link(&self) -> String {
        let operate = Principal::system("test").authorize::<Operate>(self.account).unwrap();
        let lifetime = std::time::Duration::from_secs(3600);
        self.store.issue_setup_link(&operate, lifetime).await.unwrap().into_inner()
    }

    /// A path below the account.
    pub(crate) fn path(&self, path: &str) -> String {
        format!("/client/v4/accounts/{}/{path}", self.account)
    }

    pub(crate) async fn send(&self, mut request: Request<Body>) -> Answer {
        request.headers_mut().entry(header::HOST).or_insert("localhost:9080".parse().unwrap());
        if request.extensions().get::<ConnectInfo<SocketAddr>>().is_none() {
            request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 1], 4711))));
        }
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> axum::http::request::Builder {
        let bearer = format!("Bearer {}", self.token);
        Request::builder().method(method).uri(path).header(header::AUTHORIZATION, bearer)
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let request = self.request(method, &self.path(path));
        let request = match body {
            Some(body) => request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string())),
            None => request.body(Body::empty()),
        };
        self.send(request.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PATCH, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }

    /// The audit records, newest first.
    pub(crate) async fn audit(&self) -> Vec<Value> {
        self.logs.flush().await.unwrap();
        let query = logs::Query { limit: 1000, ..logs::Query::newest(self.account, logs::Dataset::Audit) };
        let page = self.logs.query(query).await.unwrap();
        page.entries.into_iter().map(|entry| Value::Object(entry.fields)).collect()
    }

    /// Uploads a Worker as a form with JSON metadata.
    pub(crate) async fn upload(&self, name: &str, metadata: Value, modules: &[(&str, &str, &str)]) -> Answer {
        let mut form = Form::default().field("metadata", &metadata.to_string());
        for (name, media_type, source) in modules {
            form = form.file(name, name, media_type, source);
        }
        let request = self.request(Method::PUT, &self.path(&format!("workers/scripts/{name}")));
        self.send(form.request(request)).await
    }
}

/// A multipart form.
#[derive(Default)]
pub(crate) struct Form(String);

impl Form {
    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        self.0.push_str(&format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"));
        self
    }

    pub(crate) fn file(mut self, name: &str, filename: &str, media_type: &str, content: &str) -> Self {
        self.0.push_str(&format!(
            "--b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{filename}\"\r\n\
             Content-Type: {media_type}\r\n\r\n{content}\r\n"
        ));
        self
    }

    pub(crate) fn request(self, request: axum::http::request::Builder) -> Request<Body> {
        let body = format!("{}--b--\r\n", self.0);
        request.header(header::CONTENT_TYPE, "multipart/form-data; boundary=b").body(Body::from(body)).unwrap()
    }
}
