//! Drives one call: takes what the process says about it, performs its operations, sends back their results.
//!
//! The driver lives in the caller's future until the handler has answered, so that dropping that future drops the
//! operations and tells the process to forget the call. What goes on after the answer (`waitUntil`, a streamed body) is
//! handed to a task of the runtime, within its own bounds.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::call::{CallError, CallErrorKind, CallReport};
use crate::host::BoxFuture;
use crate::operations;
use crate::pool::ActiveGuard;
use crate::process::{Cause, Delivery, Held, Process, Started};
use crate::protocol::{FromWorker, OpId, OperationError, OperationResult, Outcome, ToWorker};
use crate::shared::CallShared;

/// How long the host keeps looking for an answer before it lets its thread sleep. Being woken takes longer than most
/// scripts run.
const ALERT: Duration = Duration::from_micros(200);

/// Operations of one call that may be under way.
const MAX_OPERATIONS: usize = 1024;

type Performed = (OpId, Held, Result<OperationResult, OperationError>);

/// One call in one process.
pub(crate) struct Driver {
    process: Arc<Process>,
    shared: Arc<CallShared>,
    started: Started,
    operations: FuturesUnordered<BoxFuture<'static, Performed>>,
    cpu_us: u64,
    settled: bool,
    /// The runtime's shutdown waits for this call.
    active: ActiveGuard,
}

/// How the handler ended.
pub(crate) enum Step {
    Done(Outcome),
    Settled,
    Failed(CallError),
}

impl Driver {
    pub(crate) fn new(process: Arc<Process>, shared: Arc<CallShared>, started: Started, active: ActiveGuard) -> Self {
        let operations = FuturesUnordered::new();
        Self { process, shared, started, operations, cpu_us: 0, settled: false, active }
    }

    /// Whether the process ended without having begun this call.
    pub(crate) fn never_began(&self) -> bool {
        self.process.never_began(self.started.call)
    }

    /// Works on the call until its handler answers, fails or is out of time.
    pub(crate) async fn step(&mut self, deadline: Instant) -> Step {
        self.expect_soon().await;
        let timeout = tokio::time::sleep_until(deadline);
        tokio::pin!(timeout);
        loop {
            tokio::select! {
                biased;
                delivery = self.started.mailbox.recv() => {
                    if let Some(step) = self.take(delivery) {
                        return step;
                    }
                }
                Some((op, held, result)) = self.operations.next(), if !self.operations.is_empty() => {
                    self.resolve(op, result).await;
                    drop(held);
                }
                () = &mut timeout => {
                    return Step::Failed(CallError::new(CallErrorKind::Wall, "no answer within the time allowed"));
                }
            }
        }
    }

    /// Keeps the thread awake until the process says something, for as long as an answer is to be expected at once.
    ///
    /// Every other task that is ready is run meanwhile; one call at a time has its thread kept awake, and only in a
    /// process whose last calls were short, so that what is spent is the idle time of one core.
    async fn expect_soon(&mut self) {
        let begun = Instant::now();
        if self.process.answers_within(ALERT)
            && let Some(_alone) = self.active.only_alert()
        {
            let until = begun + ALERT;
            while self.started.mailbox.is_empty() && !self.mailbox_closed() && Instant::now() < until {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Goes on after the answer until the call settles. A body that is still being streamed may take as long as its
    /// reader needs, provided that something happens within `linger`; anything else ends after `linger`.
    pub(crate) async fn linger(mut self, linger: Duration) {
        let mut deadline = Instant::now() + linger;
        while !self.settled {
            let streaming = self.shared.bodies.any_open();
            tokio::select! {
                biased;
                delivery = self.started.mailbox.recv() => {
                    if self.take(delivery).is_some_and(|step| matches!(step, Step::Failed(_))) && self.mailbox_closed() {
                        return;
                    }
                }
                Some((op, held, result)) = self.operations.next(), if !self.operations.is_empty() => {
                    self.resolve(op, result).await;
                    drop(held);
                }
                () = tokio::time::sleep_until(deadline) => return,
            }
            if streaming {
                deadline = Instant::now() + linger;
            }
        }
    }

    /// Takes what has arrived already, without waiting: most calls are settled when they answer.
    pub(crate) fn is_settled(&mut self) -> bool {
        while !self.settled
            && self.operations.is_empty()
            && let Ok(delivery) = self.started.mailbox.try_recv()
        {
            let _ = self.take(Some(delivery));
        }
        self.settled
    }

    /// Fills in what is known about the cost of the call.
    pub(crate) fn report(&self, mut report: CallReport) -> CallReport {
        report.cpu = Duration::from_micros(self.cpu_us);
        report.subrequests = self.shared.subrequests();
        report.logs = self.shared.take_log();
        report
    }

    /// Completes a failure with what the call cost and said.
    pub(crate) fn fail(&self, mut error: CallError, report: CallReport, started: Instant) -> CallError {
        error.report = self.report(report);
        if error.kind == CallErrorKind::Cpu {
            error.report.cpu = error.report.cpu.max(self.process.overrun());
        }
        error.report.wall = started.elapsed();
        error
    }

    fn mailbox_closed(&self) -> bool {
        self.started.mailbox.is_closed()
    }

    async fn resolve(&mut self, op: OpId, result: Result<OperationResult, OperationError>) {
        let message = ToWorker::Resolve { op, now_ms: 0.0, result };
        self.process.resolve(self.started.call, op, message).await;
    }

    fn take(&mut self, delivery: Option<Delivery>) -> Option<Step> {
        let Some(Delivery { message, held }) = delivery else {
            self.settled = true;
            return Some(Step::Failed(self.ended()));
        };
        match message {
            FromWorker::HostCall { op, operation, .. } => {
                let future = if self.operations.len() < MAX_OPERATIONS {
                    operations::begin(&self.shared, operation)
                } else {
                    let message = "too many operations at once".into();
                    let error = OperationError { name: "QuotaExceededError".into(), message };
                    Box::pin(std::future::ready(Err(error)))
                };
                self.operations.push(Box::pin(async move { (op, held, future.await) }));
                None
            }
            FromWorker::Done { outcome, cpu_us, .. } => {
                self.cpu_us = self.cpu_us.max(cpu_us);
                Some(Step::Done(outcome))
            }
            FromWorker::Fail { error, cpu_us, pass_through, .. } => {
                self.cpu_us = self.cpu_us.max(cpu_us);
                let mut failed = CallError::new(error.kind.into(), error.message);
                failed.stack = error.stack;
                failed.pass_through = pass_through;
                Some(Step::Failed(failed))
            }
            FromWorker::Settled { cpu_us, .. } => {
                self.cpu_us = self.cpu_us.max(cpu_us);
                self.settled = true;
                Some(Step::Settled)
            }
            FromWorker::Loaded { .. } | FromWorker::LoadFailed(_) | FromWorker::Log { .. } => None,
        }
    }

    /// Says what the end of the process means for this call.
    fn ended(&self) -> CallError {
        let (cause, culprit) = self.process.cause_for(self.started.call);
        let (kind, message) = match (cause, culprit) {
            (Cause::Cpu, true) => {
                (CallErrorKind::Cpu, "killed: more than twice the CPU time allowed, without a pause".to_owned())
            }
            (Cause::Memory, true) => (CallErrorKind::Memory, "the process ran out of memory or stack".to_owned()),
            (Cause::Stalled, true) => (CallErrorKind::Killed, "the process stopped answering".to_owned()),
            (Cause::Protocol(reason), _) => (CallErrorKind::Protocol, format!("the process was killed: {reason}")),
            (Cause::Crashed(reason), true) => (CallErrorKind::Killed, reason),
            (Cause::Dismissed, _) => (CallErrorKind::Killed, "the process was dismissed".to_owned()),
            (Cause::Spent, _) => (CallErrorKind::Killed, "another call broke a limit in this process".to_owned()),
            (Cause::Cpu | Cause::Memory | Cause::Stalled | Cause::Crashed(_), false) => {
                (CallErrorKind::Killed, "another call ended this process".to_owned())
            }
        };
        CallError::new(kind, message)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if !self.settled {
            self.process.cancel(self.started.call);
        }
    }
}
