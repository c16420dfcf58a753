//! The runtime: carries an event to a process of its Worker and the answer back.
//!
//! Which process that is, and when one is started, is decided in `slots`. Invariant: every call ends, by its answer, its
//! failure, its deadline, the end of its process or the drop of its future, and none of these touches another Worker.

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::call::{Answer, Call, CallError, CallErrorKind, CallReport, Finished, Reply, Said};
use crate::convert::{self, Outgoing};
use crate::drive::{Driver, Step};
use crate::host::{Body, BoxFuture, CallContext, EventKind, HostError};
use crate::launcher::Launcher;
use crate::operations::body_from;
use crate::protocol::{Event, MAX_REASON, Outcome, QueueMessage, ToWorker};
use crate::sandbox::Landlock;
use crate::script::{Script, ScriptKey};
use crate::shared::CallShared;
use crate::slots::{Slots, Tally};

/// Times a call is offered to a process that leaves before it begins it.
const ATTEMPTS: usize = 3;
/// How long a shutdown waits for processes that have been told to end.
const LAST_WAIT: Duration = Duration::from_secs(10);

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
pub struct Runtime {
    slots: Slots,
    launcher: Arc<Launcher>,
    tracker: TaskTracker,
    stop: CancellationToken,
    linger: Duration,
    closed: AtomicBool,
    active: Arc<Active>,
    _stop_on_drop: DropGuard,
}

/// Calls under way, counted.
struct Active {
    calls: AtomicUsize,
    none: Notify,
    /// One of them has its thread kept awake.
    alert: AtomicBool,
}

impl Active {
    /// On a machine with one core a thread that is kept awake takes the core from the process it waits for, so none is.
    fn new() -> Self {
        let one_core = std::thread::available_parallelism().is_ok_and(|cores| cores.get() == 1);
        Self { calls: AtomicUsize::new(0), none: Notify::new(), alert: AtomicBool::new(one_core) }
    }
}

/// The one call whose thread is kept awake.
pub(crate) struct Alert<'a>(&'a AtomicBool);

impl Drop for Alert<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Counts as one call under way for as long as it lives.
pub(crate) struct ActiveGuard(Arc<Active>);

impl ActiveGuard {
    fn new(active: &Arc<Active>) -> Self {
        active.calls.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(active))
    }

    /// Claims to be the one call whose thread is kept awake.
    pub(crate) fn only_alert(&self) -> Option<Alert<'_>> {
        (!self.0.alert.swap(true, Ordering::AcqRel)).then(|| Alert(&self.0.alert))
    }
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        if self.0.calls.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none.notify_waiters();
        }
    }
}

/// A call that has been answered, and what is left of it.
struct Answered {
    outcome: Outcome,
    driver: Driver,
    shared: Arc<CallShared>,
    report: CallReport,
    started: Instant,
}

impl Runtime {
    /// Starts the zygote and waits until it is ready.
    ///
    /// # Errors
    /// When the zygote cannot be started or says that it cannot lock itself down.
    pub async fn start(config: RuntimeConfig) -> Result<Self, StartError> {
        let tracker = TaskTracker::new();
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let launcher = Launcher::start(config.executable.clone(), tracker.clone(), stop.clone()).await?;
        let linger = config.linger;
        let slots = Slots::start(config, Arc::clone(&launcher), tracker.clone(), stop.clone())?;
        Ok(Self {
            slots,
            launcher,
            tracker,
            stop,
            linger,
            closed: AtomicBool::new(false),
            active: Arc::new(Active::new()),
            _stop_on_drop: guard,
        })
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
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let url = convert::parse_url(&parts.uri.to_string()).map_err(unusable)?;
            let context = context(script, EventKind::Fetch, Some(url), &call);
            let shared = CallShared::new(context, call.host, parts.method == http::Method::HEAD);
            let body = shared.bodies.keep(body).map_err(|error| unusable(HostError::type_error(error.message)))?;
            let event = Event::Fetch(convert::request_head(&parts, &call.cf, body));
            let answered = self.call(script, Arc::new(shared), event, call.timeout).await?;
            self.reply(answered)
        })
    }

    /// Invokes the script's `access` handler with a question, which is JSON text. Dropping the future cancels the call.
    ///
    /// # Errors
    /// As [`Runtime::fetch`].
    pub fn access<'a>(
        &'a self,
        script: &'a Arc<Script>,
        question: String,
        call: Call,
    ) -> BoxFuture<'a, Result<Said, CallError>> {
        Box::pin(async move {
            let context = context(script, EventKind::Access, None, &call);
            let shared = CallShared::new(context, call.host, false);
            let event = Event::Access { question };
            let answered = self.call(script, Arc::new(shared), event, call.timeout).await?;
            let Answered { outcome, mut driver, report, started, .. } = answered;
            let Outcome::Access { allow, reason } = outcome else {
                let wrong = CallError::new(CallErrorKind::Protocol, "the answer does not fit the event");
                return Err(driver.fail(wrong, report, started));
            };
            let settled = driver.is_settled();
            let mut report = driver.report(report);
            report.wall = started.elapsed();
            if !settled {
                self.leave(driver);
            }
            let printable = reason.chars().map(|c| if c.is_control() { ' ' } else { c });
            Ok(Said { allow, reason: printable.take(MAX_REASON).collect(), report })
        })
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
        Box::pin(self.background(script, EventKind::Scheduled, Event::Scheduled { cron, scheduled_ms }, call))
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
        Box::pin(self.background(script, EventKind::Queue, Event::Queue { queue, messages }, call))
    }

    /// Loads the script and returns the handlers it has, so that an upload can be refused.
    ///
    /// # Errors
    /// As [`Runtime::fetch`].
    pub fn check<'a>(&'a self, script: &'a Arc<Script>) -> BoxFuture<'a, Result<Vec<String>, CallError>> {
        Box::pin(async move {
            let _active = self.begin()?;
            self.slots.check(script).await
        })
    }

    /// Retires the processes of every version for which `keep` is false, once their calls have ended.
    pub fn retain(&self, keep: impl Fn(&ScriptKey) -> bool) {
        self.slots.retain(keep);
    }

    /// Returns counters and sizes.
    pub fn stats(&self) -> RuntimeStats {
        let Tally { processes, started, evicted, killed_cpu, killed_stalled, killed_protocol, crashed } =
            self.slots.tally();
        RuntimeStats {
            landlock: self.launcher.landlock(),
            processes,
            calls_in_flight: self.active.calls.load(Ordering::Relaxed),
            started,
            evicted,
            killed_cpu,
            killed_stalled,
            killed_protocol,
            crashed,
            zygote_starts: self.launcher.starts(),
        }
    }

    /// Returns the ids of the live processes, for diagnostics and measurements.
    pub fn process_ids(&self) -> Vec<u32> {
        self.slots.process_ids()
    }

    /// Refuses new calls, waits for those in flight up to `grace`, then ends every process.
    pub async fn shutdown(&self, grace: Duration) {
        self.closed.store(true, Ordering::Release);
        let none = async {
            loop {
                let notified = self.active.none.notified();
                if self.active.calls.load(Ordering::Acquire) == 0 {
                    break;
                }
                notified.await;
            }
        };
        let _ = tokio::time::timeout(grace, none).await;
        self.stop.cancel();
        self.launcher.close().await;
        self.tracker.close();
        if tokio::time::timeout(LAST_WAIT, self.tracker.wait()).await.is_err() {
            tracing::warn!("worker processes are slow to end");
        }
    }

    fn begin(&self) -> Result<ActiveGuard, CallError> {
        let guard = ActiveGuard::new(&self.active);
        if self.closed.load(Ordering::Acquire) {
            return Err(CallError::new(CallErrorKind::Unavailable, "the runtime is shutting down"));
        }
        Ok(guard)
    }

    /// Invokes a handler without a client: waits until everything it started has ended.
    async fn background(
        &self,
        script: &Arc<Script>,
        kind: EventKind,
        event: Event,
        call: Call,
    ) -> Result<Finished, CallError> {
        let shared = Arc::new(CallShared::new(context(script, kind, None, &call), Arc::clone(&call.host), false));
        let deadline = Instant::now() + call.timeout;
        let mut answered = self.call(script, shared, event, call.timeout).await?;
        let Outcome::Finished { retry } = answered.outcome else {
            let wrong = CallError::new(CallErrorKind::Protocol, "the answer does not fit the event");
            return Err(answered.driver.fail(wrong, answered.report, answered.started));
        };
        while !answered.driver.is_settled() {
            if let Step::Failed(error) = answered.driver.step(deadline).await {
                return Err(answered.driver.fail(error, answered.report, answered.started));
            }
        }
        let mut report = answered.driver.report(answered.report);
        report.wall = answered.started.elapsed();
        Ok(Finished { retry, report })
    }

    /// Carries an event to a process and waits for the handler's answer. A process that leaves in good order before it
    /// has begun the call is replaced by another, once.
    async fn call(
        &self,
        script: &Arc<Script>,
        shared: Arc<CallShared>,
        event: Event,
        timeout: Duration,
    ) -> Result<Answered, CallError> {
        let _active = self.begin()?;
        let started = Instant::now();
        let deadline = started + timeout;
        let mut message = ToWorker::Invoke { call: 0, now_ms: 0.0, event };
        let mut report = CallReport::default();
        for attempt in 0..ATTEMPTS {
            let lease = self.slots.acquire(script, deadline).await.map_err(|mut error| {
                error.report.wall = started.elapsed();
                error
            })?;
            report.cold |= lease.cold;
            let Some(invoked) = lease.process.invoke(&shared, &mut message) else {
                continue;
            };
            let active = ActiveGuard::new(&self.active);
            let mut driver = Driver::new(Arc::clone(&lease.process), Arc::clone(&shared), invoked, active);
            match driver.step(deadline).await {
                Step::Done(outcome) => {
                    lease.succeeded();
                    return Ok(Answered { outcome, driver, shared, report, started });
                }
                Step::Settled => {
                    let error = CallError::new(CallErrorKind::Protocol, "the call settled without an answer");
                    return Err(driver.fail(error, report, started));
                }
                Step::Failed(_) if driver.never_began() && attempt + 1 < ATTEMPTS => {}
                Step::Failed(error) => {
                    let error = driver.fail(error, report, started);
                    // A script that failed may still have `waitUntil` work; one out of time is cancelled by the drop.
                    if error.kind != CallErrorKind::Wall {
                        self.leave(driver);
                    }
                    return Err(error);
                }
            }
        }
        Err(CallError::new(CallErrorKind::Unavailable, "processes end before they begin the call"))
    }

    /// Builds the reply to a fetch event and lets what is left of the call go on.
    fn reply(&self, answered: Answered) -> Result<Reply, CallError> {
        let Answered { outcome, mut driver, shared, report, started } = answered;
        let answer = match answer(&shared, outcome) {
            Ok(answer) => answer,
            Err(error) => {
                let error = CallError::new(error.0, error.1.message);
                return Err(driver.fail(error, report, started));
            }
        };
        let settled = driver.is_settled();
        let mut report = driver.report(report);
        report.wall = started.elapsed();
        if !settled {
            self.leave(driver);
        }
        Ok(Reply { answer, report })
    }

    /// Lets a call that has been answered go on in a task of the runtime.
    fn leave(&self, mut driver: Driver) {
        if driver.is_settled() {
            return;
        }
        let (stop, linger) = (self.stop.clone(), self.linger);
        self.tracker.spawn(async move {
            tokio::select! {
                () = driver.linger(linger) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

fn context(script: &Arc<Script>, event: EventKind, url: Option<url::Url>, call: &Call) -> CallContext {
    CallContext { script: Arc::clone(script), event, url, cf: Arc::clone(&call.cf) }
}

fn unusable(error: HostError) -> CallError {
    CallError::new(CallErrorKind::Unavailable, format!("the request cannot be handed to a script: {}", error.message))
}

/// Checks and builds what a `fetch` handler answered.
fn answer(shared: &CallShared, outcome: Outcome) -> Result<Answer, (CallErrorKind, HostError)> {
    let malformed = |error: HostError| {
        let kind = if error.name == "RangeError" { CallErrorKind::Output } else { CallErrorKind::Exception };
        (kind, error)
    };
    match outcome {
        Outcome::NoOpinion => Ok(Answer::NoOpinion),
        Outcome::Response(head) => {
            let response = convert::response_parts(&head, shared.head_request).map_err(malformed)?;
            let (body, _) = body_from(shared, head.body).map_err(malformed)?;
            Ok(Answer::Response(response.map(|()| body)))
        }
        Outcome::Request(request) => {
            let outgoing = Outgoing::parse(&request).map_err(malformed)?;
            let (body, _) = body_from(shared, request.body).map_err(malformed)?;
            outgoing.build(body).map(Answer::Request).map_err(malformed)
        }
        Outcome::Finished { .. } | Outcome::Access { .. } => {
            Err((CallErrorKind::Protocol, HostError::type_error("the answer does not fit the event")))
        }
    }
}
