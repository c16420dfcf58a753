//! Decides which process serves a call: one that is not running anything, or a new one.
//!
//! One slot per Worker version and limits. A process may have many calls in flight, but it is given a call only when it
//! has handled everything before: what is in its socket cannot be taken back when it turns out to be stuck. A second
//! process is started when a message has kept the first for over a millisecond, up to the configured number; beyond that
//! calls wait, within a bound. Residents are capped over all
//! Workers, the least recently used idle one makes room. A Worker whose processes keep crashing is left alone for a
//! while, longer each time. Invariant: every process is in the resident table until the kernel has ended it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::call::{CallError, CallErrorKind};
use crate::launcher::Launcher;
use crate::pool::{RuntimeConfig, StartError};
use crate::process::{Cause, Process};
use crate::protocol::{Isolation, Limits, Load, ToWorker};
use crate::script::{Script, ScriptKey};
use crate::watch::Watch;

/// A process that has been busy with one message for longer is no longer worth waiting for, if another may be started.
const BUSY: Duration = Duration::from_millis(1);
/// How often a waiting call looks again, should it miss its turn.
const RECHECK: Duration = Duration::from_millis(20);
/// Crashes in a row without a success that are forgiven.
const FORGIVEN: u32 = 3;
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// How long the error of a script that does not load stands before it is tried again.
const LOAD_RETRY: Duration = Duration::from_secs(2);
/// How long a script may take to load, when the call would wait longer.
const LOAD_WAIT: Duration = Duration::from_secs(10);
/// Slots without a process that are kept, per place for a process.
const EMPTY_SLOTS: usize = 4;

/// Counters of the runtime's life.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) processes: usize,
    pub(crate) started: u64,
    pub(crate) evicted: u64,
    pub(crate) killed_cpu: u64,
    pub(crate) killed_stalled: u64,
    pub(crate) killed_protocol: u64,
    pub(crate) crashed: u64,
}

#[derive(Default)]
struct Counters {
    started: AtomicU64,
    evicted: AtomicU64,
    killed_cpu: AtomicU64,
    killed_stalled: AtomicU64,
    killed_protocol: AtomicU64,
    crashed: AtomicU64,
}

/// The processes of one Worker version under one set of limits.
pub(crate) struct Slot {
    limits: Limits,
    isolation: Isolation,
    state: Mutex<State>,
    free: Arc<Notify>,
    waiting: AtomicUsize,
    /// Crashes since the last success.
    failures: AtomicU32,
}

#[derive(Default)]
struct State {
    processes: Vec<Arc<Process>>,
    starting: usize,
    /// No process is started before this, and what calls are told meanwhile.
    closed: Option<(Instant, CallError)>,
}

enum Choice {
    Use(Arc<Process>),
    Start,
    Wait,
    Refuse(CallError),
}

/// A process for one call.
pub(crate) struct Lease {
    pub(crate) process: Arc<Process>,
    /// It was started for this call.
    pub(crate) cold: bool,
    slot: Arc<Slot>,
}

impl Lease {
    /// Notes that a call succeeded, which ends a series of crashes.
    pub(crate) fn succeeded(&self) {
        if self.slot.failures.load(Ordering::Relaxed) != 0 {
            self.slot.failures.store(0, Ordering::Relaxed);
        }
    }
}

/// All slots, and the table of residents.
pub(crate) struct Slots {
    config: RuntimeConfig,
    launcher: Arc<Launcher>,
    tracker: TaskTracker,
    stop: CancellationToken,
    watch: Watch,
    table: Arc<Table>,
    places: Arc<Semaphore>,
    epoch: Instant,
}

#[derive(Default)]
struct Table {
    slots: Mutex<HashMap<ScriptKey, Vec<Arc<Slot>>>>,
    residents: Mutex<HashMap<u64, Arc<Process>>>,
    counters: Counters,
}

impl Slots {
    pub(crate) fn start(
        config: RuntimeConfig,
        launcher: Arc<Launcher>,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, StartError> {
        let places = Arc::new(Semaphore::new(config.max_processes.max(1)));
        let watch = Watch::start().map_err(StartError::Spawn)?;
        Ok(Self { config, launcher, tracker, stop, watch, table: Arc::default(), places, epoch: Instant::now() })
    }

    /// Finds or starts a process for one call.
    pub(crate) async fn acquire(
        &self,
        script: &Arc<Script>,
        deadline: tokio::time::Instant,
    ) -> Result<Lease, CallError> {
        let slot = self.table.slot(script, self.config.max_processes);
        loop {
            match slot.choose(&self.config, Instant::now()) {
                Choice::Use(process) => return Ok(Lease { process, cold: false, slot }),
                Choice::Start => {
                    let (process, _) = self.start_process(&slot, script, deadline).await?;
                    return Ok(Lease { process, cold: true, slot });
                }
                Choice::Refuse(error) => return Err(error),
                Choice::Wait => slot.wait(&self.config, deadline).await?,
            }
        }
    }

    /// Starts a process for the script and returns its handlers.
    pub(crate) async fn check(&self, script: &Arc<Script>) -> Result<Vec<String>, CallError> {
        let slot = self.table.slot(script, self.config.max_processes);
        slot.state.lock().starting += 1;
        let deadline = tokio::time::Instant::now() + LOAD_WAIT;
        self.start_process(&slot, script, deadline).await.map(|(_, handlers)| handlers)
    }

    pub(crate) fn retain(&self, keep: impl Fn(&ScriptKey) -> bool) {
        let mut retired = Vec::new();
        self.table.slots.lock().retain(|key, slots| {
            let keep = keep(key);
            if !keep {
                retired.append(slots);
            }
            keep
        });
        for slot in retired {
            for process in slot.state.lock().processes.drain(..) {
                process.retire();
            }
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        let counters = &self.table.counters;
        Tally {
            processes: self.table.residents.lock().len(),
            started: counters.started.load(Ordering::Relaxed),
            evicted: counters.evicted.load(Ordering::Relaxed),
            killed_cpu: counters.killed_cpu.load(Ordering::Relaxed),
            killed_stalled: counters.killed_stalled.load(Ordering::Relaxed),
            killed_protocol: counters.killed_protocol.load(Ordering::Relaxed),
            crashed: counters.crashed.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn process_ids(&self) -> Vec<u32> {
        self.table.residents.lock().values().map(|process| process.id()).collect()
    }

    /// Forks a process, loads the script and adds it to the slot. The slot has counted it as starting already.
    async fn start_process(
        &self,
        slot: &Arc<Slot>,
        script: &Arc<Script>,
        deadline: tokio::time::Instant,
    ) -> Result<(Arc<Process>, Vec<String>), CallError> {
        let _starting = Starting(slot);
        let place = self.place(deadline).await?;
        let forked = self.launcher.fork(script.limits.memory_bytes).await.map_err(|error| {
            tracing::warn!(%error, script = %script.key, "no process can be started");
            CallError::new(CallErrorKind::Unavailable, format!("no process can be started: {error}"))
        })?;
        self.table.counters.started.fetch_add(1, Ordering::Relaxed);
        let (process, loaded, end) =
            Process::new(forked, &script.limits, self.config.stall, self.epoch, Arc::clone(&slot.free));
        self.table.residents.lock().insert(process.serial, Arc::clone(&process));
        self.watch.add(&process);
        let life = Arc::clone(&process).run(end, self.stop.clone());
        let (table, slot_of_life, of_life) = (Arc::clone(&self.table), Arc::clone(slot), Arc::clone(&process));
        self.tracker.spawn(async move {
            life.await;
            table.bury(&slot_of_life, &of_life, place);
        });
        let unfinished = DismissOnDrop(Some(&process));
        process
            .send(None, &ToWorker::Load(load(script)))
            .map_err(|_| CallError::new(CallErrorKind::Syntax, "the script is too large"))?;
        let patience = deadline.min(tokio::time::Instant::now() + LOAD_WAIT);
        match tokio::time::timeout_at(patience, loaded).await {
            Ok(Ok(Ok(handlers))) => {
                unfinished.disarm();
                let mut state = slot.state.lock();
                state.processes.push(Arc::clone(&process));
                state.closed = None;
                drop(state);
                slot.free.notify_one();
                Ok((process, handlers))
            }
            Ok(Ok(Err(error))) => {
                let mut refusal = CallError::new(error.kind.into(), error.message);
                refusal.stack = error.stack;
                slot.state.lock().closed = Some((Instant::now() + LOAD_RETRY, refusal.clone()));
                Err(refusal)
            }
            Ok(Err(_)) => Err(CallError::new(CallErrorKind::Killed, "the process ended while it loaded the script")),
            Err(_) => Err(CallError::new(CallErrorKind::Wall, "the script did not load within the time allowed")),
        }
    }

    /// Gets a place among the residents, evicting the least recently used idle process if there is none.
    async fn place(&self, deadline: tokio::time::Instant) -> Result<OwnedSemaphorePermit, CallError> {
        loop {
            if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                return Ok(place);
            }
            self.table.evict_one();
            let until = deadline.min(tokio::time::Instant::now() + RECHECK);
            match tokio::time::timeout_at(until, Arc::clone(&self.places).acquire_owned()).await {
                Ok(Ok(place)) => return Ok(place),
                Ok(Err(_)) => return Err(CallError::new(CallErrorKind::Unavailable, "the runtime is shutting down")),
                Err(_) if until < deadline => {}
                Err(_) => return Err(CallError::new(CallErrorKind::Overloaded, "every process is busy")),
            }
        }
    }
}

fn load(script: &Script) -> Load {
    Load {
        modules: script.modules.clone(),
        bindings: script.bindings.iter().map(|(name, binding)| (name.clone(), binding.to_protocol())).collect(),
        limits: script.limits,
        isolation: script.isolation,
        random_seed: rand::random(),
        now_ms: crate::clock::now_ms(),
    }
}

/// Counts a start as over, however it ended.
struct Starting<'a>(&'a Slot);

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.0.state.lock().starting -= 1;
        self.0.free.notify_waiters();
    }
}

/// Ends a process whose start was given up.
struct DismissOnDrop<'a>(Option<&'a Process>);

impl DismissOnDrop<'_> {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for DismissOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(process) = self.0 {
            process.kill(Cause::Dismissed);
        }
    }
}

impl Slot {
    fn choose(&self, config: &RuntimeConfig, now: Instant) -> Choice {
        let mut state = self.state.lock();
        let mut best: Option<(usize, Duration, &Arc<Process>)> = None;
        for process in state.processes.iter().filter(|process| process.is_live()) {
            if process.in_flight() >= config.calls_per_process {
                continue;
            }
            let (depth, busy) = process.backlog(now);
            if best.is_none_or(|(least, ..)| depth < least) {
                best = Some((depth, busy, process));
            }
            if depth == 0 {
                break;
            }
        }
        if let Some((0, _, process)) = best {
            return Choice::Use(Arc::clone(process));
        }
        // A process that is merely busy is worth a short wait; only a stuck one is worth a fork.
        let stuck = best.is_none_or(|(_, busy, _)| busy >= BUSY);
        let live = state.processes.iter().filter(|process| process.is_live()).count();
        if !stuck || state.starting > 0 || live >= config.processes_per_worker.max(1) {
            return Choice::Wait;
        }
        match &state.closed {
            Some((until, error)) if now < *until => Choice::Refuse(error.clone()),
            Some(_) | None => {
                state.closed = None;
                state.starting += 1;
                Choice::Start
            }
        }
    }

    /// Waits until a process may have become free.
    async fn wait(&self, config: &RuntimeConfig, deadline: tokio::time::Instant) -> Result<(), CallError> {
        let waiting = self.waiting.fetch_add(1, Ordering::AcqRel);
        let _guard = Waiting(&self.waiting);
        if waiting >= config.call_queue {
            return Err(CallError::new(CallErrorKind::Overloaded, "too many calls wait for this Worker"));
        }
        let now = tokio::time::Instant::now();
        if now >= deadline {
            return Err(CallError::new(CallErrorKind::Wall, "no process was free within the time allowed"));
        }
        let more = self.state.lock().processes.len() < config.processes_per_worker;
        let pause = if more { BUSY } else { RECHECK };
        let _ = tokio::time::timeout_at(deadline.min(now + pause), self.free.notified()).await;
        Ok(())
    }

    /// Notes that a process ended and, if it crashed, when the next may be started.
    fn lost(&self, process: &Process, cause: &Cause) {
        let mut state = self.state.lock();
        state.processes.retain(|other| other.serial != process.serial);
        if matches!(cause, Cause::Dismissed | Cause::Spent) {
            return;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(beyond) = failures.checked_sub(FORGIVEN) {
            let backoff = FIRST_BACKOFF.saturating_mul(1 << beyond.min(16)).min(LONGEST_BACKOFF);
            let error = CallError::new(
                CallErrorKind::Overloaded,
                format!("this Worker's process ended {failures} times in a row; it is tried again shortly"),
            );
            state.closed = Some((Instant::now() + backoff, error));
        }
    }

    fn is_spare(&self) -> bool {
        let state = self.state.lock();
        state.processes.is_empty() && state.starting == 0 && self.waiting.load(Ordering::Acquire) == 0
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Table {
    fn slot(&self, script: &Script, max_processes: usize) -> Arc<Slot> {
        let mut slots = self.slots.lock();
        if let Some(versions) = slots.get(&script.key)
            && let Some(slot) =
                versions.iter().find(|slot| slot.limits == script.limits && slot.isolation == script.isolation)
        {
            return Arc::clone(slot);
        }
        if slots.len() >= max_processes.saturating_mul(EMPTY_SLOTS) {
            slots.retain(|_, versions| {
                versions.retain(|slot| !slot.is_spare());
                !versions.is_empty()
            });
        }
        let slot = Arc::new(Slot {
            limits: script.limits,
            isolation: script.isolation,
            state: Mutex::default(),
            free: Arc::default(),
            waiting: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
        });
        slots.entry(script.key.clone()).or_default().push(Arc::clone(&slot));
        slot
    }

    fn evict_one(&self) {
        let mut candidates: Vec<_> = self.residents.lock().values().cloned().collect();
        candidates.sort_by_key(|process| process.used_at());
        if candidates.iter().any(|process| process.dismiss_if_idle()) {
            self.counters.evicted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes a process that has ended out of the tables and gives its place back.
    fn bury(&self, slot: &Slot, process: &Process, place: OwnedSemaphorePermit) {
        self.residents.lock().remove(&process.serial);
        let cause = process.cause();
        let counter = match &cause {
            Cause::Cpu => Some(&self.counters.killed_cpu),
            Cause::Stalled => Some(&self.counters.killed_stalled),
            Cause::Protocol(_) => Some(&self.counters.killed_protocol),
            Cause::Memory | Cause::Crashed(_) => Some(&self.counters.crashed),
            Cause::Dismissed | Cause::Spent => None,
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(process = process.id(), ?cause, "a worker process ended");
        }
        slot.lost(process, &cause);
        drop(place);
    }
}
