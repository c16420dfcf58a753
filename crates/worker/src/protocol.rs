//! The messages between the host and a Worker process.
//!
//! Plain data, both directions length-prefixed and bounded by [`MAX_FRAME`]. The child is not trusted: everything that
//! arrives in a [`FromWorker`] is treated as hostile input by the host. Bodies are handles: bytes enter the child only
//! when the script reads them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Largest frame either side accepts, in bytes.
pub const MAX_FRAME: usize = 4 << 20;
/// Largest body chunk carried by one message, in bytes.
pub const MAX_CHUNK: usize = 64 << 10;

/// Longest reason that an access handler may give, in characters; longer ones are cut.
pub const MAX_REASON: usize = 500;

/// One invocation of a handler. Chosen by the host, unique for the life of a process.
pub type CallId = u64;
/// One outstanding host operation. Chosen by the child, unique for the life of a process.
pub type OpId = u64;
/// A body. Host-side bodies have even numbers (given by the host), script-side bodies odd ones (given by the child).
pub type BodyId = u64;

/// Header fields in order, names lower case, values as bytes (latin-1 on the JS side).
pub type HeaderList = Vec<(String, Vec<u8>)>;

/// What a process is told once, before its first invocation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Load {
    /// ES modules, already JavaScript. The first is the entry point.
    pub modules: Vec<Module>,
    /// `env`, by binding name.
    pub bindings: BTreeMap<String, Binding>,
    pub limits: Limits,
    /// What one invocation may leave behind for the next.
    pub isolation: Isolation,
    /// Seed for `Math.random`, fresh for every process.
    pub random_seed: u64,
    /// Wall clock at load, milliseconds since the epoch.
    pub now_ms: f64,
}

/// How far the state of a script reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Isolation {
    /// Every invocation gets its own instance of the script's modules, its own `env`, and globals that are frozen all the
    /// way down, so nothing that one person's request stored can be read by another's.
    #[default]
    Request,
    /// The modules are instantiated once per process and globals are open, as Workers do elsewhere.
    Shared,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Module {
    pub name: String,
    pub code: String,
}

/// A capability in `env`. Values live here; everything else is a name the host resolves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Binding {
    /// A plain text variable or a secret.
    Text(String),
    /// A JSON variable, as its text.
    Json(String),
    Kv,
    RateLimit,
    /// Another Worker, or the admin API under a scoped token: has `fetch`.
    Service,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limits {
    /// CPU time one invocation may use, soft: the interrupt handler throws. The host kills at twice this.
    pub cpu_ms: u32,
    /// JS heap, in bytes.
    pub memory_bytes: u64,
    /// JS stack, in bytes.
    pub stack_bytes: u64,
    /// Host operations of kind fetch or service one invocation may start.
    pub subrequests: u32,
    /// Bytes of body one invocation may produce from JS.
    pub output_bytes: u64,
    /// Bytes of `console` output one invocation may produce; the rest is dropped with a note.
    pub log_bytes: u32,
}

/// Host to child.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ToWorker {
    /// The first message of a process; answered by `Loaded` or `LoadFailed`.
    Load(Load),
    Invoke {
        call: CallId,
        now_ms: f64,
        event: Event,
    },
    Resolve {
        op: OpId,
        now_ms: f64,
        result: Result<OperationResult, OperationError>,
    },
    /// The caller is gone or out of time: abort the call's `request.signal`, forget the call, answer nothing more for it.
    Cancel {
        call: CallId,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Event {
    Fetch(RequestHead),
    /// A policy of Access asks; `question` is JSON text.
    Access {
        question: String,
    },
    Scheduled {
        cron: String,
        scheduled_ms: f64,
    },
    Queue {
        queue: String,
        messages: Vec<QueueMessage>,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RequestHead {
    pub method: String,
    pub url: String,
    pub headers: HeaderList,
    /// `request.cf`, as JSON text; parsed on first use.
    pub cf: String,
    /// The incoming body, if there is one.
    pub body: Option<BodyId>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QueueMessage {
    pub id: String,
    pub timestamp_ms: f64,
    pub attempts: u32,
    /// JSON text.
    pub body: String,
}

/// Child to host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum FromWorker {
    /// The module evaluated; the handlers its default export has (`fetch`, `access`, `scheduled`, `queue`).
    Loaded {
        handlers: Vec<String>,
    },
    LoadFailed(ScriptError),
    HostCall {
        call: CallId,
        op: OpId,
        operation: Operation,
    },
    /// The handler's promise settled with a value. `waitUntil` work may go on until `Settled`.
    Done {
        call: CallId,
        outcome: Outcome,
        cpu_us: u64,
    },
    /// The handler threw, rejected or broke a limit.
    Fail {
        call: CallId,
        error: ScriptError,
        cpu_us: u64,
        pass_through: bool,
    },
    /// Every `waitUntil` promise and script-side body of the call has settled. Always the last message of a call.
    Settled {
        call: CallId,
        cpu_us: u64,
    },
    Log {
        call: Option<CallId>,
        level: LogLevel,
        message: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogLevel {
    Debug,
    Log,
    Info,
    Warn,
    Error,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptError {
    pub kind: ScriptErrorKind,
    pub message: String,
    pub stack: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScriptErrorKind {
    /// Thrown or rejected by the script, or a value of the wrong type returned.
    Exception,
    Syntax,
    Cpu,
    Memory,
    Stack,
    Output,
    Subrequests,
    /// The event has no handler in the default export.
    NoHandler,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Operation {
    /// Global `fetch`. `incoming` is true when the request being sent is the one the handler was given (`fetch(request)`):
    /// the host sends it to the real origin without applying the egress list.
    Fetch {
        request: OutgoingRequest,
        incoming: bool,
    },
    /// `env.NAME.fetch`.
    Service {
        binding: String,
        request: OutgoingRequest,
    },
    /// Reads the next chunk of a host-side body; answered by `Chunk`.
    BodyRead {
        body: BodyId,
    },
    BodyCancel {
        body: BodyId,
    },
    /// One chunk of a script-side stream; answered by `Unit` when the consumer has room. `error` ends it abnormally.
    BodyWrite {
        body: BodyId,
        #[serde(with = "serde_bytes")]
        chunk: Vec<u8>,
        end: bool,
        error: Option<String>,
    },
    KvGet {
        binding: String,
        key: String,
    },
    KvPut {
        binding: String,
        key: String,
        #[serde(with = "serde_bytes")]
        value: Vec<u8>,
        metadata: Option<String>,
        expiration_ttl_s: Option<u64>,
        expiration_s: Option<u64>,
    },
    KvDelete {
        binding: String,
        key: String,
    },
    KvList {
        binding: String,
        prefix: String,
        limit: u32,
        cursor: Option<String>,
    },
    RateLimit {
        binding: String,
        key: String,
    },
    CacheMatch {
        key: String,
    },
    CachePut {
        key: String,
        response: ResponseHead,
    },
    CacheDelete {
        key: String,
    },
    Sleep {
        ms: u32,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OutgoingRequest {
    pub method: String,
    pub url: String,
    pub headers: HeaderList,
    pub body: BodySource,
    pub redirect: Redirect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Redirect {
    Follow,
    Manual,
    Error,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum BodySource {
    None,
    Inline(#[serde(with = "serde_bytes")] Vec<u8>),
    /// A host-side body passed on untouched; its bytes never enter the child.
    Host(BodyId),
    /// A script-side stream; `BodyWrite` follows.
    Script(BodyId),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum OperationResult {
    Unit,
    Response(ResponseHead),
    /// `None` is the end of the body.
    Chunk(#[serde(with = "serde_bytes")] Option<Vec<u8>>),
    KvValue(Option<KvValue>),
    KvKeys {
        keys: Vec<KvKey>,
        cursor: Option<String>,
    },
    /// Whether the rate limit leaves room.
    Allowed(bool),
    CacheHit(Option<ResponseHead>),
    Deleted(bool),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KvValue {
    #[serde(with = "serde_bytes")]
    pub value: Vec<u8>,
    /// JSON text.
    pub metadata: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KvKey {
    pub name: String,
    pub expiration_s: Option<u64>,
    /// JSON text.
    pub metadata: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ResponseHead {
    pub status: u16,
    pub status_text: String,
    pub headers: HeaderList,
    pub body: BodySource,
    /// Final URL, for fetch results.
    pub url: String,
    pub redirected: bool,
}

/// Becomes a `TypeError` (or the named DOMException) in the script.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OperationError {
    pub name: String,
    pub message: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Outcome {
    /// Ends the exchange.
    Response(ResponseHead),
    /// Goes on with these changes.
    Request(OutgoingRequest),
    /// `undefined`: no opinion.
    NoOpinion,
    /// What an access handler says.
    Access { allow: bool, reason: String },
    /// A scheduled or queue handler ended; for queues the ids the script asked to retry.
    Finished { retry: Vec<String> },
}
