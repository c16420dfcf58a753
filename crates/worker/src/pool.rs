//! The runtime: which process serves a call, when one is started, evicted or given up.

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::call::{Call, CallError, CallErrorKind, Finished, Reply};
use crate::host::{Body, BoxFuture};
use crate::protocol::QueueMessage;
use crate::sandbox::Landlock;
use crate::script::{Script, ScriptKey};

/// How many processes there may be and how patient the host is.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// The program that calls [`crate::run_if_zygote`]; by default the running one.
    pub executable: PathBuf,
    /// Most resident processes; the least recently used idle one makes room.
    pub max_processes: usize,
    /// Most processes of one Worker version.
    pub processes_per_worker: usize,
    /// Most calls in flight in one process.
    pub calls_per_process: usize,
    /// Most calls waiting for a process of one Worker version.
    pub call_queue: usize,
    /// How long a process may sit on one message, whatever it does there.
    pub stall: Duration,
    /// How long `waitUntil` work and streamed bodies may go on without a sign of life after the answer.
    pub linger: Duration,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            executable: PathBuf::from("/proc/self/exe"),
            max_processes: 256,
            processes_per_worker: std::thread::available_parallelism().map_or(1, NonZero::get),
            calls_per_process: 256,
            call_queue: 1024,
            stall: Duration::from_secs(5),
            linger: Duration::from_secs(30),
        }
    }
}

/// Why the runtime did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the zygote cannot be started")]
    Spawn(#[source] std::io::Error),
    #[error("the zygote did not become ready: {0}")]
    NotReady(String),
}

/// Counters and sizes, for the console and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeStats {
    pub landlock: Landlock,
    pub processes: usize,
    pub calls_in_flight: usize,
    pub started: u64,
    pub evicted: u64,
    pub killed_cpu: u64,
    pub killed_stalled: u64,
    pub killed_protocol: u64,
    pub crashed: u64,
    pub zygote_starts: u64,
}

/// Runs scripts. Cheap to share behind an `Arc`; dropping it ends every process.
pub struct Runtime {}

impl Runtime {
    /// Starts the zygote and waits until it is ready.
    ///
    /// # Errors
    /// When the zygote cannot be started or says that it cannot lock itself down.
    pub async fn start(config: RuntimeConfig) -> Result<Self, StartError> {
        let _ = config;
        Ok(Self {})
    }

    /// Invokes the script's `fetch` handler. The request's URI must be absolute. Dropping the future cancels the call.
    ///
    /// # Errors
    /// When there is no answer, for whatever reason; see [`CallErrorKind`].
    pub fn fetch<'a>(
        &'a self,
        script: &'a Arc<Script>,
        request: http::Request<Body>,
        call: Call,
    ) -> BoxFuture<'a, Result<Reply, CallError>> {
        let _ = (script, request, call);
        Box::pin(async { Err(CallError::new(CallErrorKind::Unavailable, "not started")) })
    }

    /// Invokes the script's `scheduled` handler and waits for its `waitUntil` work.
    ///
    /// # Errors
    /// As [`Runtime::fetch`].
    pub fn scheduled<'a>(
        &'a self,
        script: &'a Arc<Script>,
        cron: String,
        scheduled_ms: f64,
        call: Call,
    ) -> BoxFuture<'a, Result<Finished, CallError>> {
        let _ = (script, cron, scheduled_ms, call);
        Box::pin(async { Err(CallError::new(CallErrorKind::Unavailable, "not started")) })
    }

    /// Invokes the script's `queue` handler and waits for its `waitUntil` work.
    ///
    /// # Errors
    /// As [`Runtime::fetch`].
    pub fn queue<'a>(
        &'a self,
        script: &'a Arc<Script>,
        queue: String,
        messages: Vec<QueueMessage>,
        call: Call,
    ) -> BoxFuture<'a, Result<Finished, CallError>> {
        let _ = (script, queue, messages, call);
        Box::pin(async { Err(CallError::new(CallErrorKind::Unavailable, "not started")) })
    }

    /// Loads the script in a fresh process and returns the handlers it has, so that an upload can be refused.
    ///
    /// # Errors
    /// As [`Runtime::fetch`].
    pub fn check<'a>(&'a self, script: &'a Arc<Script>) -> BoxFuture<'a, Result<Vec<String>, CallError>> {
        let _ = script;
        Box::pin(async { Err(CallError::new(CallErrorKind::Unavailable, "not started")) })
    }

    /// Retires the processes of every version for which `keep` is false, once their calls have ended.
    pub fn retain(&self, keep: impl Fn(&ScriptKey) -> bool) {
        let _ = keep;
    }

    /// Returns counters and sizes.
    pub fn stats(&self) -> RuntimeStats {
        RuntimeStats::default()
    }

    /// Refuses new calls, waits for those in flight up to `grace`, then ends every process.
    pub async fn shutdown(&self, grace: Duration) {
        let _ = grace;
    }
}
