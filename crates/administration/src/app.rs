//! What the console is given and what it keeps while it runs.
//!
//! Everything it reaches is in [`ConsoleDeps`]: plain handles and small traits that the server implements. It owns no
//! listener and no task. Invariant: whatever it keeps per caller is bounded.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use identity::evaluation::WorkerWord;
use identity::identity::Identity;
use identity::selector::WorkerQuestion;
use jiff::Timestamp;
use mcp::explanation::SeenServer;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use types::{AccountId, ApplicationId, Email, McpPortalId, McpServerId, ScriptName, TokenId};
use url::Url;
use utoipa::ToSchema;

use crate::operations::access::policy_tests::PolicyTests;
use crate::recent::RecentSessions;
use crate::throttle::{Backoff, Rate};

/// A future whose type does not show at a crate boundary.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The state of the running configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SnapshotStatus {
    /// Counts the configurations that were put into force; 0 before the first.
    pub revision: u64,
    /// When the one in force was compiled.
    #[schema(value_type = Option<String>)]
    pub compiled_at: Option<Timestamp>,
    /// Parts of the stored configuration that are not in force; what each was before is, and so is everything else.
    pub stale: Vec<StalePart>,
    /// Whether the store answered last time it was asked.
    pub store_reachable: bool,
    /// Rules that do not compile, by id, with the reason.
    pub rule_errors: Vec<(String, String)>,
}

/// A part of the configuration that is older than the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct StalePart {
    /// `rules`, `people`, `Workers`, `settings`, `proxy endpoints`, `network`, `certificate authority` or `application
    /// catalogue`.
    pub part: String,
    /// Why the stored one cannot be put in force.
    pub reason: String,
}

/// What the console may know about the data plane.
pub trait SnapshotView: Send + Sync {
    /// Returns the state of the running configuration.
    fn status(&self) -> SnapshotStatus;

    /// Says what of TLS is inspected, as it is in force.
    fn inspection(&self) -> policy::replay::Inspection;

    /// Waits until everything stored before the call is in force, or has failed to be.
    fn settle(&self) -> BoxFuture<'_, ()>;

    /// Asks the origin of a published application for its front page, the way a request reaches it.
    fn ask_origin(&self, application: ApplicationId) -> BoxFuture<'_, OriginAnswer>;

    /// Returns what hosts mean under the running configuration: applications, statuses, categories.
    fn classifier(&self) -> Arc<catalog::Classifier>;

    /// Returns the metrics of the whole process in OpenMetrics text.
    fn metrics(&self) -> String;
}

/// What came of asking an origin for a sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginAnswer {
    /// It answered, with this status.
    Status(u16),
    /// It did not, and why.
    Failed(String),
    /// Access is not served here, or the application is not in force.
    NotServed,
}

/// Runs a script once, outside the data plane.
pub trait Preview: Send + Sync {
    /// Runs `job`; the answer tells of the script's own failures, an error of ours.
    fn run(&self, job: PreviewJob) -> BoxFuture<'_, Result<PreviewReport, PreviewError>>;
}

/// Asks the owner's Workers about people on whom policies are tried.
pub trait PolicyWorkers: Send + Sync {
    /// Asks one as at a sign-in, marked as a test, within its own time. Dropping the future cancels the call.
    fn ask<'a>(&'a self, question: &'a WorkerQuestion, tried: Tried<'a>) -> BoxFuture<'a, WorkerWord>;
}

/// Speaks to MCP servers.
pub trait McpServers: Send + Sync {
    /// Asks a server what it offers, with the administrator's own sign-in, and keeps what came of it in its catalogue: a
    /// server that does not answer is no error here.
    fn sync<'a>(&'a self, server: &'a McpServerId) -> BoxFuture<'a, Result<(), McpUnavailable>>;

    /// Begins the administrator's sign-in at a server. The browser goes where the answer says and comes back to `back`;
    /// `bound` is what it is bound to.
    fn begin_sign_in<'a>(
        &'a self,
        server: &'a McpServerId,
        back: &'a Url,
        bound: [u8; 32],
    ) -> BoxFuture<'a, Result<Url, McpUnavailable>>;

    /// Ends one that a browser comes back from with `query`, if it is bound to one of `bounds`.
    fn complete_sign_in<'a>(
        &'a self,
        query: &'a str,
        bounds: &'a [[u8; 32]],
    ) -> BoxFuture<'a, Result<McpServerId, McpUnavailable>>;

    /// Signs the administrator out at a server.
    fn end_sign_in<'a>(&'a self, server: &'a McpServerId) -> BoxFuture<'a, Result<(), McpUnavailable>>;

    /// Whether programs may be run as MCP servers. They run with the rights of this service, so it is its operator who
    /// allows them, and nobody through the API.
    fn may_run_programs(&self) -> bool;

    /// Says what somebody sees of a portal, as they last signed in; `open` are the applications of its servers that let
    /// them in. `None` where the portal is not in force.
    fn sees(&self, portal: &McpPortalId, person: &Identity, open: &[ApplicationId]) -> Option<Vec<SeenServer>>;
}

/// Reaches the destinations of push jobs, as jobs do.
pub trait PushProbe: Send + Sync {
    /// Sends one record that says it is a test. An error says in a few words why it was not taken.
    fn probe<'a>(&'a self, destination: &'a push::Destination) -> BoxFuture<'a, Result<(), String>>;
}

/// A server could not be asked at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server cannot be asked: {0}")]
pub struct McpUnavailable(pub String);

/// Somebody on whom policies are tried.
#[derive(Debug, Clone, Copy)]
pub struct Tried<'a> {
    pub account: AccountId,
    /// As they last signed in.
    pub identity: &'a Identity,
    /// The application with its name and the address of its first page; `None`: policies of no application are tried.
    pub application: Option<(ApplicationId, &'a str, &'a str)>,
}

/// A script and what to call it with.
#[derive(Debug, Clone)]
pub struct PreviewJob {
    pub account: AccountId,
    /// The Worker whose secrets and namespaces are bound.
    pub script: ScriptName,
    /// The version or draft, bindings included.
    pub version: store::ScriptVersion,
    /// Its modules, in TypeScript or JavaScript.
    pub modules: Vec<store::Module>,
    pub event: PreviewEvent,
}

/// What a previewed script is called with.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum PreviewEvent {
    /// A web request.
    Fetch {
        /// Absolute.
        url: String,
        /// `GET` unless it says otherwise.
        #[serde(default)]
        method: Option<String>,
        /// Names and values, in order.
        #[serde(default)]
        headers: Vec<(String, String)>,
        /// Text of the body.
        #[serde(default)]
        body: Option<String>,
        /// `request.cf`.
        #[serde(default)]
        #[schema(value_type = Object)]
        cf: Option<Value>,
    },
    /// A cron trigger.
    Scheduled {
        /// The expression that fired.
        cron: String,
    },
    /// A batch of messages.
    Queue {
        /// Bodies of the messages.
        #[schema(value_type = Vec<Object>)]
        messages: Vec<Value>,
    },
}

/// What a previewed script did.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PreviewReport {
    /// `response`, `request` (changed and sent on), `none` (no opinion) or `error`.
    pub outcome: String,
    /// The response's or request's head and the first bytes of its body, or the error with its stack.
    #[schema(value_type = Object)]
    pub detail: Value,
    /// Console output in order: level and text.
    pub console: Vec<PreviewLine>,
    /// What it fetched: method, URL, status.
    #[schema(value_type = Vec<Object>)]
    pub subrequests: Vec<Value>,
    pub cpu_microseconds: u64,
    pub wall_microseconds: u64,
}

/// One line of console output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PreviewLine {
    pub level: String,
    pub message: String,
}

/// Why a preview could not run at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PreviewError {
    /// The script or its bindings cannot be prepared.
    #[error("{0}")]
    Invalid(String),
    /// The runtime refuses work; trying again may succeed.
    #[error("the Worker runtime is not available: {0}")]
    Unavailable(String),
}

/// Where this installation is reached, as shown to people and checked against `Host`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Addresses {
    /// `http://127.0.0.1:9080`
    pub console_url: String,
    /// Ends in `/client/v4`.
    pub api_url: String,
    /// `http://127.0.0.1:9081`
    pub proxy: String,
    /// The port people reach Access at; `None`: it is not served here.
    pub access_port: Option<u16>,
    /// Host names besides `localhost` and literal addresses that browsers may use.
    pub host_names: Vec<String>,
    /// Whether browsers reach the console over https.
    pub https: bool,
    /// Whether browsers may be told to insist on https for a host name from now on. Not with a certificate of the
    /// account's own authority: on a device that does not trust it nobody could get past the browser's warning.
    pub insist_on_https: bool,
}

impl Addresses {
    /// Returns the address of a host that is served by Access.
    #[must_use]
    pub fn of_access(&self, host: &str) -> String {
        match self.access_port {
            None | Some(443) => format!("https://{host}"),
            Some(port) => format!("https://{host}:{port}"),
        }
    }
}

/// Host names that the connection of a request may carry besides [`Addresses::host_names`]: those of the certificate it
/// was opened with. A listener puts them into the request's extensions; `*.example.com` stands for one label.
#[derive(Debug, Clone)]
pub struct HostNames(pub Arc<[String]>);

/// Bounds of the console, all of them generous for people and tight for floods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// API calls one credential may make in five minutes.
    pub calls_per_five_minutes: u32,
    /// Calls without a valid credential one address may make in five minutes.
    pub failures_per_five_minutes: u32,
    /// How long a sign-in lasts.
    pub session_lifetime: Duration,
    /// Live views open at once.
    pub live_views: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_per_five_minutes: 6_000,
            failures_per_five_minutes: 300,
            session_lifetime: Duration::from_secs(12 * 3600),
            live_views: 64,
        }
    }
}

/// Records that nobody made, and how far putting them in has come.
#[derive(Debug)]
pub struct GeneratedTraffic {
    /// The first moment of their period.
    pub from: Timestamp,
    /// The moment after the last.
    pub until: Timestamp,
    percent: AtomicU64,
}

impl GeneratedTraffic {
    /// Begins with so many percent of them there.
    #[must_use]
    pub const fn new(from: Timestamp, until: Timestamp, percent: u64) -> Self {
        Self { from, until, percent: AtomicU64::new(percent) }
    }

    /// Notes how many percent are there.
    pub fn reach(&self, percent: u64) {
        self.percent.store(percent.min(100), Ordering::Relaxed);
    }

    /// Returns how many percent are there.
    #[must_use]
    pub fn percent(&self) -> u64 {
        self.percent.load(Ordering::Relaxed)
    }
}

/// Everything the console is given.
#[derive(Clone)]
pub struct ConsoleDeps {
    pub store: Arc<store::Store>,
    pub logs: logs::Logs,
    /// The account the console serves; every other id answers 404.
    pub account: AccountId,
    pub snapshot: Arc<dyn SnapshotView>,
    pub preview: Arc<dyn Preview>,
    pub workers: Arc<dyn PolicyWorkers>,
    /// `None`: no MCP server is spoken to here.
    pub mcp: Option<Arc<dyn McpServers>>,
    /// `None`: no destination is reached from here.
    pub push: Option<Arc<dyn PushProbe>>,
    pub addresses: Addresses,
    /// Generated records among those of the account, as in the demo.
    pub generated: Option<Arc<GeneratedTraffic>>,
    /// `portunus.d.ts`, the types of the Worker contract.
    pub worker_types: &'static str,
    pub limits: Limits,
    /// Wall clock, so that tests can move it.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

/// Who is counted for the rate of API calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CallerKey {
    Token(TokenId),
    Session(TokenId),
    Worker(ScriptName),
    Address(IpAddr),
}

/// How many addresses, accounts or credentials are remembered.
const REMEMBERED: usize = 20_000;
const FIVE_MINUTES: Duration = Duration::from_secs(300);

/// The console at run time.
pub struct App {
    pub deps: ConsoleDeps,
    /// Failed sign-ins from one address.
    pub strikes_by_address: Backoff<IpAddr>,
    /// Failed sign-ins to one account, from anywhere: slower, so that a stranger cannot lock its owner out for long.
    pub strikes_by_account: Backoff<Email>,
    pub call_rate: Rate<CallerKey>,
    pub failure_rate: Rate<IpAddr>,
    /// Held while a rule is stored, so that two writers cannot take one precedence.
    pub rule_writes: tokio::sync::Mutex<()>,
    /// Who was signed in a short while ago, for when the store does not answer.
    pub recent: RecentSessions,
    /// Bounds the live views.
    pub live_views: Arc<tokio::sync::Semaphore>,
    /// Bounds the replays of recorded traffic.
    pub replays: Arc<tokio::sync::Semaphore>,
    /// The newest outcomes of the policy tester.
    pub policy_tests: PolicyTests,
    /// The OpenAPI document, made once.
    pub openapi: bytes::Bytes,
}

impl App {
    /// `openapi` is the document that describes the API, in JSON.
    #[must_use]
    pub fn new(deps: ConsoleDeps, openapi: bytes::Bytes) -> Arc<Self> {
        let limits = deps.limits;
        Arc::new(Self {
            strikes_by_address: Backoff::new(5, Duration::from_secs(900), REMEMBERED),
            strikes_by_account: Backoff::new(10, Duration::from_secs(60), REMEMBERED),
            call_rate: Rate::new(limits.calls_per_five_minutes, FIVE_MINUTES, REMEMBERED),
            failure_rate: Rate::new(limits.failures_per_five_minutes, FIVE_MINUTES, REMEMBERED),
            rule_writes: tokio::sync::Mutex::new(()),
            recent: RecentSessions::default(),
            live_views: Arc::new(tokio::sync::Semaphore::new(limits.live_views)),
            replays: Arc::new(tokio::sync::Semaphore::new(crate::operations::replay::AT_ONCE)),
            policy_tests: PolicyTests::default(),
            openapi,
            deps,
        })
    }

    /// Returns the time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.deps.clock)()
    }
}
