//! What one call shares between its driver, its operations and the process: who it is for, its bodies, its log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::call::LogLine;
use crate::host::{CallContext, Host};
use crate::protocol::LogLevel;
use crate::streams::Bodies;

/// Weight of one log line beyond its text, so that empty lines are not free.
const LINE_WEIGHT: usize = 16;
/// How much more than the limit the host takes, since the engine counts text alone and adds a note at the end.
const LOG_SLACK: usize = 4;

pub(crate) struct CallShared {
    pub(crate) context: CallContext,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) bodies: Bodies,
    /// The request being handled was a `HEAD`.
    pub(crate) head_request: bool,
    subrequests: AtomicU32,
    output: AtomicU64,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    lines: Vec<LogLine>,
    weight: usize,
    full: bool,
}

impl CallShared {
    pub(crate) fn new(context: CallContext, host: Arc<dyn Host>, head_request: bool) -> Self {
        Self {
            context,
            host,
            bodies: Bodies::default(),
            head_request,
            subrequests: AtomicU32::new(0),
            output: AtomicU64::new(0),
            log: Mutex::default(),
        }
    }

    /// Records and passes on one line, as long as the call's limit has room. The engine keeps the same limit; this one
    /// holds for an engine that does not.
    pub(crate) fn log(&self, level: LogLevel, message: String) {
        let limit = usize::try_from(self.context.script.limits.log_bytes).unwrap_or(usize::MAX);
        let mut log = self.log.lock();
        if log.full {
            return;
        }
        log.weight += message.len() + LINE_WEIGHT;
        log.full = log.weight > limit.saturating_mul(LOG_SLACK).saturating_add(4096);
        let line = if log.full {
            LogLine { level: LogLevel::Warn, message: "more output was dropped".into() }
        } else {
            LogLine { level, message }
        };
        self.host.log(&self.context, line.level, &line.message);
        log.lines.push(line);
    }

    /// Takes the lines recorded so far.
    pub(crate) fn take_log(&self) -> Vec<LogLine> {
        std::mem::take(&mut self.log.lock().lines)
    }

    /// Counts one subrequest and says whether the limit leaves room for it.
    pub(crate) fn count_subrequest(&self) -> bool {
        self.subrequests.fetch_add(1, Ordering::Relaxed) < self.context.script.limits.subrequests
    }

    pub(crate) fn subrequests(&self) -> u32 {
        self.subrequests.load(Ordering::Relaxed).min(self.context.script.limits.subrequests)
    }

    /// Counts body bytes from the script and says whether the limit leaves room for them.
    pub(crate) fn count_output(&self, bytes: usize) -> bool {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let before = self.output.fetch_add(bytes, Ordering::Relaxed);
        before.saturating_add(bytes) <= self.context.script.limits.output_bytes
    }
}
