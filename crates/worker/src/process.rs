//! The host's side of one Worker process: what was sent, what came back, whose it is, and how it ended.
//!
//! Everything read from the process is checked here for form: frames, progress, ids. What a message asks for is checked
//! where it is done. Invariant: whatever the process sends, the host holds a bounded amount of it; a process that breaks
//! the protocol is killed, and every call in it learns that it ended.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use parking_lot::Mutex;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::child::{EXIT_DONE, EXIT_PANIC, EXIT_SANDBOX};
use crate::codec::{self, Progress};
use crate::control::End;
use crate::launcher::Forked;
use crate::protocol::{CallId, FromWorker, Limits, OpId, OperationError, ScriptError, ToWorker};
use crate::shared::CallShared;
use crate::watch::{self, Reading, Ruling};

/// Messages of one call that may wait to be taken up.
const MAILBOX: usize = 1024;
/// Places in a mailbox that operations may not take, for the messages that end a call.
const RESERVED: usize = 8;
/// Bytes of messages from one process that may be held on behalf of its calls; beyond it operations are refused.
const MAX_HELD: usize = 32 << 20;
/// Bytes for one process that may wait to be written; beyond it, results wait where they are.
const MAX_UNSENT: usize = 8 << 20;
/// How much larger than the soft CPU limit the hard one is.
const HARD_FACTOR: u64 = 2;
/// CPU time for evaluating the modules, when that is more than the calls' hard limit.
const LOAD_CPU: Duration = Duration::from_secs(1);
/// How long the host waits to hear how a process ended whose socket has closed.
const END_REPORT: Duration = Duration::from_secs(2);
const READ_SIZE: usize = 64 << 10;

/// Why a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Used more CPU than the hard limit on one message.
    Cpu,
    /// Sat on one message for longer than the stall limit.
    Stalled,
    /// Sent something that breaks the protocol.
    Protocol(&'static str),
    /// Made room for another process, was replaced by a newer version, or the runtime shut down.
    Dismissed,
    /// Left by itself after an answer: the engine asked to be replaced.
    Spent,
    /// Ran out of address space or native stack.
    Memory,
    Crashed(String),
}

/// One message of a call, with its weight.
pub(crate) struct Delivery {
    pub(crate) message: FromWorker,
    pub(crate) held: Held,
}

/// Bytes counted against a process for as long as this lives.
pub(crate) struct Held {
    total: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A call that has been handed to a process.
pub(crate) struct Started {
    pub(crate) call: CallId,
    pub(crate) mailbox: mpsc::Receiver<Delivery>,
}

struct Entry {
    mailbox: mpsc::Sender<Delivery>,
    shared: Arc<CallShared>,
}

#[derive(Default)]
struct Output {
    unsent: Vec<u8>,
    /// The process reads no more; what is sent is dropped, and its end is what tells the calls.
    broken: bool,
    /// The messages that the process has not reported as handled, oldest first.
    unhandled: VecDeque<Sent>,
}

/// A message that was sent.
struct Sent {
    call: Option<CallId>,
    /// It begins the call.
    begins: bool,
}

type LoadResult = Result<Vec<String>, ScriptError>;

/// One process, for as long as anyone refers to it.
pub(crate) struct Process {
    pub(crate) serial: u64,
    pid: i32,
    pidfd: OwnedFd,
    stream: UnixStream,
    output: Mutex<Output>,
    flush: Notify,
    room: Notify,
    calls: Mutex<HashMap<CallId, Entry>>,
    next_call: AtomicU64,
    loaded: Mutex<Option<oneshot::Sender<LoadResult>>>,
    is_loaded: AtomicBool,
    /// The count of handled messages the process reported last, wrapping as it does.
    handled: AtomicU32,
    /// The CPU clock the process reported last, and when its current message began, since `epoch`.
    reported_us: AtomicU64,
    progress_us: AtomicU64,
    /// How long a message keeps the process busy, of late.
    usual_us: AtomicU64,
    epoch: Instant,
    used_at_us: AtomicU64,
    /// Takes no new calls and ends with its last one.
    retiring: AtomicBool,
    held: Arc<AtomicUsize>,
    hard_us: u64,
    /// CPU time the message had used when the process was killed for it.
    overrun_us: AtomicU64,
    stall: Duration,
    /// Why the host killed it, if it did.
    verdict: OnceLock<Cause>,
    ended: OnceLock<Ending>,
    /// Tells the queue of the Worker that this process may have become free.
    free: Arc<Notify>,
}

struct Ending {
    cause: Cause,
    /// The call whose message was being handled.
    culprit: Option<CallId>,
    /// Calls that the process never began, when it left in good order.
    unbegun: HashSet<CallId>,
}

impl Process {
    /// Takes charge of a forked process. The receiver resolves when its script is loaded.
    pub(crate) fn new(
        forked: Forked,
        limits: &Limits,
        stall: Duration,
        epoch: Instant,
        free: Arc<Notify>,
    ) -> (Arc<Self>, oneshot::Receiver<LoadResult>, oneshot::Receiver<End>) {
        let (sender, receiver) = oneshot::channel();
        let process = Self {
            serial: forked.serial,
            pid: forked.pid,
            pidfd: forked.pidfd,
            stream: forked.stream,
            output: Mutex::default(),
            flush: Notify::new(),
            room: Notify::new(),
            calls: Mutex::default(),
            next_call: AtomicU64::new(1),
            loaded: Mutex::new(Some(sender)),
            is_loaded: AtomicBool::new(false),
            handled: AtomicU32::new(0),
            reported_us: AtomicU64::new(0),
            progress_us: AtomicU64::new(0),
            usual_us: AtomicU64::new(0),
            epoch,
            used_at_us: AtomicU64::new(micros(epoch.elapsed())),
            retiring: AtomicBool::new(false),
            held: Arc::default(),
            hard_us: u64::from(limits.cpu_ms.max(1)) * 1_000 * HARD_FACTOR,
            overrun_us: AtomicU64::new(0),
            stall,
            verdict: OnceLock::new(),
            ended: OnceLock::new(),
            free,
        };
        (Arc::new(process), receiver, forked.end)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.get().is_some()
    }

    /// Whether it takes calls: neither ended nor about to.
    pub(crate) fn is_live(&self) -> bool {
        self.verdict.get().is_none() && self.ended.get().is_none()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.calls.lock().len()
    }

    /// Returns how many messages it has not handled, and for how long it has been busy with the oldest.
    pub(crate) fn backlog(&self, now: Instant) -> (usize, Duration) {
        let depth = self.output.lock().unhandled.len();
        (depth, if depth == 0 { Duration::ZERO } else { self.since_progress(now) })
    }

    /// Returns when it last began a call, for choosing whom to evict.
    pub(crate) fn used_at(&self) -> u64 {
        self.used_at_us.load(Ordering::Relaxed)
    }

    pub(crate) fn id(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// Returns why it ended; before its end, what would be known of it.
    pub(crate) fn cause(&self) -> Cause {
        self.ended.get().map_or(Cause::Crashed("its socket closed".into()), |ending| ending.cause.clone())
    }

    /// Ends the process if it has no call, and says whether it did.
    pub(crate) fn dismiss_if_idle(&self) -> bool {
        let calls = self.calls.lock();
        if !calls.is_empty() || self.verdict.set(Cause::Dismissed).is_err() {
            return false;
        }
        drop(calls);
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        true
    }

    /// Lets the calls in flight end, then ends the process.
    pub(crate) fn retire(&self) {
        self.retiring.store(true, Ordering::Release);
        self.dismiss_if_idle();
    }

    /// Returns why it ended, as the given call should see it.
    pub(crate) fn cause_for(&self, call: CallId) -> (Cause, bool) {
        self.ended.get().map_or((Cause::Crashed("its socket closed".into()), false), |ending| {
            let culprit = ending.culprit.is_none_or(|culprit| culprit == call);
            (ending.cause.clone(), culprit)
        })
    }

    /// Returns the CPU time that a message had used when the process was killed for it; zero if it was not.
    pub(crate) fn overrun(&self) -> Duration {
        Duration::from_micros(self.overrun_us.load(Ordering::Relaxed))
    }

    /// Whether it ended without ever having begun the call, so that another process can serve it.
    pub(crate) fn never_began(&self, call: CallId) -> bool {
        self.ended.get().is_some_and(|ending| ending.unbegun.contains(&call))
    }

    /// Kills the process; the first reason given stands.
    pub(crate) fn kill(&self, cause: Cause) {
        if self.verdict.set(cause).is_ok() {
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        }
    }

    /// Says whether a message usually keeps the process busy for no longer than `limit`.
    pub(crate) fn answers_within(&self, limit: Duration) -> bool {
        self.usual_us.load(Ordering::Relaxed) <= micros(limit)
    }

    /// Registers a call and sends its invocation; `message` gets the call's id. Nothing, if the process has ended.
    pub(crate) fn invoke(&self, shared: &Arc<CallShared>, message: &mut ToWorker) -> Option<Started> {
        let id = self.next_call.fetch_add(1, Ordering::Relaxed);
        if let ToWorker::Invoke { call, now_ms, .. } = message {
            *call = id;
            *now_ms = crate::clock::now_ms();
        }
        let (sender, mailbox) = mpsc::channel(MAILBOX);
        {
            let mut calls = self.calls.lock();
            // Checked under the lock that `finish` takes, so that no call slips in after everyone was told.
            if !self.is_live() {
                return None;
            }
            calls.insert(id, Entry { mailbox: sender, shared: Arc::clone(shared) });
        }
        self.used_at_us.store(self.now_us(), Ordering::Relaxed);
        if self.send(Some(id), message).is_err() {
            self.calls.lock().remove(&id);
            return None;
        }
        Some(Started { call: id, mailbox })
    }

    /// Tells the process to forget a call, and forgets it here at once.
    pub(crate) fn cancel(&self, call: CallId) {
        if self.calls.lock().remove(&call).is_some() && self.is_live() {
            let _ = self.send(Some(call), &ToWorker::Cancel { call });
        }
        self.after_call();
        self.free.notify_one();
    }

    fn after_call(&self) {
        if self.retiring.load(Ordering::Acquire) {
            self.dismiss_if_idle();
        }
    }

    /// Sends the result of an operation once there is room for it.
    pub(crate) async fn resolve(&self, call: CallId, op: OpId, mut message: ToWorker) {
        loop {
            let room = self.room.notified();
            if self.output.lock().unsent.len() < MAX_UNSENT || !self.is_live() {
                break;
            }
            room.await;
        }
        if let ToWorker::Resolve { now_ms, .. } = &mut message {
            *now_ms = crate::clock::now_ms();
        }
        if self.send(Some(call), &message).is_err() {
            let _ = self.send(Some(call), &refusal(op, "RangeError", "the result is too large"));
        }
    }

    /// Encodes a message and writes it, or as much of it as the socket takes.
    pub(crate) fn send(&self, call: Option<CallId>, message: &ToWorker) -> Result<(), codec::FrameError> {
        let mut output = self.output.lock();
        let idle = output.unhandled.is_empty();
        let before = output.unsent.len();
        codec::push_to_worker(&mut output.unsent, message)?;
        if idle {
            self.progress_us.store(self.now_us(), Ordering::Relaxed);
        }
        output.unhandled.push_back(Sent { call, begins: matches!(message, ToWorker::Invoke { .. }) });
        if before == 0 {
            self.write(&mut output);
        }
        if !output.unsent.is_empty() {
            self.flush.notify_one();
        }
        Ok(())
    }

    fn write(&self, output: &mut Output) {
        let mut written = 0;
        while let Some(rest) = output.unsent.get(written..)
            && !rest.is_empty()
            && !output.broken
        {
            match self.stream.try_write(rest) {
                Ok(count) if count > 0 => written += count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Ok(_) | Err(_) => output.broken = true,
            }
        }
        if output.broken || written == output.unsent.len() {
            output.unsent.clear();
            output.unsent.shrink_to(READ_SIZE);
        } else {
            output.unsent.drain(..written);
        }
    }

    /// Reads from and writes to the process until it ends, then tells every call of it.
    pub(crate) async fn run(self: Arc<Self>, end: oneshot::Receiver<End>, stop: CancellationToken) {
        let mut input = BytesMut::new();
        let mut messages = Vec::new();
        loop {
            let unsent = !self.output.lock().unsent.is_empty();
            tokio::select! {
                biased;
                ready = self.stream.readable() => {
                    if ready.is_err() || !self.read(&mut input, &mut messages) {
                        break;
                    }
                }
                ready = self.stream.writable(), if unsent => {
                    if ready.is_err() {
                        break;
                    }
                    self.write(&mut self.output.lock());
                    self.room.notify_waiters();
                }
                () = self.flush.notified() => {}
                () = stop.cancelled() => {
                    self.kill(Cause::Dismissed);
                    break;
                }
            }
        }
        // Whatever closed the socket, the process must not outlive it.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let end = tokio::time::timeout(END_REPORT, end).await.ok().and_then(Result::ok);
        self.finish(end);
    }

    /// Reads what there is. False when the socket is closed or the process was killed for what it sent.
    fn read(&self, input: &mut BytesMut, messages: &mut Vec<(FromWorker, usize)>) -> bool {
        loop {
            input.reserve(READ_SIZE);
            match self.stream.try_read_buf(input) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
            loop {
                match codec::next_from_worker(input, messages) {
                    Ok(Some(progress)) => {
                        if let Err(reason) = self.take(progress, messages) {
                            self.kill(Cause::Protocol(reason));
                            return false;
                        }
                    }
                    Ok(None) => break,
                    Err(_) => {
                        self.kill(Cause::Protocol("a frame does not decode"));
                        return false;
                    }
                }
            }
        }
    }

    /// Takes one frame: its messages first, so that whoever waits for the process to be free finds them delivered.
    fn take(&self, progress: Progress, messages: &mut Vec<(FromWorker, usize)>) -> Result<(), &'static str> {
        for (message, bytes) in messages.drain(..) {
            self.deliver(message, bytes)?;
        }
        self.advance(progress)
    }

    fn advance(&self, progress: Progress) -> Result<(), &'static str> {
        let mut output = self.output.lock();
        let total = self.handled.load(Ordering::Relaxed);
        let newly = progress.handled.wrapping_sub(total);
        if newly == 0 {
            return Ok(());
        }
        let newly_size = usize::try_from(newly).unwrap_or(usize::MAX);
        if newly_size > output.unhandled.len() {
            return Err("it reports messages as handled that it was not sent");
        }
        if progress.cpu_us < self.reported_us.load(Ordering::Relaxed) {
            return Err("its clock goes backwards");
        }
        output.unhandled.drain(..newly_size);
        self.handled.store(progress.handled, Ordering::Relaxed);
        self.reported_us.store(progress.cpu_us, Ordering::Relaxed);
        let now_us = self.now_us();
        let took_us = now_us.saturating_sub(self.progress_us.swap(now_us, Ordering::Relaxed)) / u64::from(newly);
        // Written under the lock, read without it: a guess is all it is for.
        self.usual_us.store((3 * self.usual_us.load(Ordering::Relaxed) + took_us) / 4, Ordering::Relaxed);
        drop(output);
        self.free.notify_one();
        Ok(())
    }

    fn deliver(&self, message: FromWorker, bytes: usize) -> Result<(), &'static str> {
        let call = match &message {
            FromWorker::Loaded { .. } | FromWorker::LoadFailed(_) => return self.deliver_load(message),
            FromWorker::Log { call: Some(call), .. }
            | FromWorker::HostCall { call, .. }
            | FromWorker::Done { call, .. }
            | FromWorker::Fail { call, .. }
            | FromWorker::Settled { call, .. } => *call,
            FromWorker::Log { call: None, level, message } => {
                tracing::debug!(process = self.serial, ?level, message, "log of a script outside of a call");
                return Ok(());
            }
        };
        let mut calls = self.calls.lock();
        let Some(entry) = calls.get(&call) else {
            let known = call < self.next_call.load(Ordering::Relaxed) && call > 0;
            // A call that was cancelled may have been answered in the meantime.
            return if known { Ok(()) } else { Err("it names a call that there never was") };
        };
        if let FromWorker::Log { level, message, .. } = message {
            let shared = Arc::clone(&entry.shared);
            drop(calls);
            shared.log(level, message);
            return Ok(());
        }
        let total = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let held = Held { total: Arc::clone(&self.held), bytes };
        if total > 4 * MAX_HELD {
            return Err("it floods the host");
        }
        if let FromWorker::HostCall { op, .. } = &message
            && (total > MAX_HELD || entry.mailbox.capacity() <= RESERVED)
        {
            let op = *op;
            drop(calls);
            let _ = self.send(Some(call), &refusal(op, "QuotaExceededError", "too many operations at once"));
            return if self.output.lock().unsent.len() > 4 * MAX_UNSENT { Err("it does not read") } else { Ok(()) };
        }
        let last = matches!(message, FromWorker::Settled { .. });
        let delivered = entry.mailbox.try_send(Delivery { message, held });
        if last {
            calls.remove(&call);
        }
        drop(calls);
        if last {
            self.after_call();
        }
        match delivered {
            Err(mpsc::error::TrySendError::Full(_)) => Err("it answers one call too often"),
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
        }
    }

    fn deliver_load(&self, message: FromWorker) -> Result<(), &'static str> {
        let result = match message {
            FromWorker::Loaded { handlers } => Ok(handlers),
            FromWorker::LoadFailed(error) => Err(error),
            FromWorker::HostCall { .. }
            | FromWorker::Done { .. }
            | FromWorker::Fail { .. }
            | FromWorker::Settled { .. }
            | FromWorker::Log { .. } => return Err("it confuses the host"),
        };
        let sender = self.loaded.lock().take().ok_or("it reports a second load")?;
        self.is_loaded.store(true, Ordering::Release);
        let _ = sender.send(result);
        Ok(())
    }

    /// Records the end and wakes everyone: dropping the mailboxes is what tells the calls.
    fn finish(&self, end: Option<End>) {
        let unhandled: Vec<_> = self.output.lock().unhandled.drain(..).collect();
        let cause = self.verdict.get().cloned().unwrap_or_else(|| describe(end));
        let orderly = cause == Cause::Spent;
        let culprit = unhandled.first().filter(|_| !orderly).and_then(|sent| sent.call);
        // A process that left by itself had finished a message and begun no other.
        let unbegun = unhandled.iter().filter(|sent| orderly && sent.begins).filter_map(|sent| sent.call).collect();
        let mut calls = self.calls.lock();
        let _ = self.ended.set(Ending { cause, culprit, unbegun });
        calls.clear();
        drop(calls);
        self.loaded.lock().take();
        self.room.notify_waiters();
        self.free.notify_waiters();
    }

    /// Checks the process against its limits; returns when to look again, or nothing if it is over.
    pub(crate) fn inspect(&self, now: Instant) -> Option<Duration> {
        // The report must be read before the clock: then it can only be older.
        let reported_us = self.reported_us.load(Ordering::Acquire);
        let cpu_us = watch::cpu_clock_us(self.pid)?;
        let (depth, busy) = self.backlog(now);
        let loaded = self.is_loaded.load(Ordering::Acquire);
        let ruling = watch::judge(Reading {
            cpu_us,
            reported_us,
            allowed_us: if loaded { self.hard_us } else { self.hard_us.max(micros(LOAD_CPU)) },
            next_us: self.hard_us,
            busy: (depth > 0).then_some(busy),
            stall: self.stall,
        });
        match ruling {
            Ruling::Later(pause) => return Some(pause),
            Ruling::KillCpu => {
                self.overrun_us.store(cpu_us.saturating_sub(reported_us), Ordering::Relaxed);
                self.kill(Cause::Cpu);
            }
            Ruling::KillStalled => self.kill(Cause::Stalled),
            Ruling::KillLying => self.kill(Cause::Protocol("it reports more CPU time than it used")),
        }
        None
    }

    fn now_us(&self) -> u64 {
        micros(self.epoch.elapsed())
    }

    fn since_progress(&self, now: Instant) -> Duration {
        let began = self.epoch + Duration::from_micros(self.progress_us.load(Ordering::Relaxed));
        now.saturating_duration_since(began)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn refusal(op: OpId, name: &str, message: &str) -> ToWorker {
    let error = OperationError { name: name.into(), message: message.into() };
    ToWorker::Resolve { op, now_ms: crate::clock::now_ms(), result: Err(error) }
}

/// Says what an end that the host did not bring about means.
fn describe(end: Option<End>) -> Cause {
    match end {
        Some(End::Exited(EXIT_DONE)) => Cause::Spent,
        Some(End::Exited(EXIT_SANDBOX)) => Cause::Crashed("the process could not be locked down".into()),
        Some(End::Exited(EXIT_PANIC)) => Cause::Crashed("the script engine failed".into()),
        Some(End::Exited(code)) => Cause::Crashed(format!("the process exited with code {code}")),
        Some(End::Signalled(libc::SIGABRT)) => Cause::Memory,
        Some(End::Signalled(libc::SIGSYS)) => Cause::Crashed("the process made a forbidden system call".into()),
        Some(End::Signalled(libc::SIGKILL)) => Cause::Crashed("the process was killed from outside".into()),
        Some(End::Signalled(signal)) => Cause::Crashed(format!("the process was ended by signal {signal}")),
        None => Cause::Crashed("the process is gone".into()),
    }
}
