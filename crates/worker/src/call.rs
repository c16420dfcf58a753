//! What goes into one invocation and what comes out of it.
//!
//! Plain data. Every way an invocation can end is one [`Reply`] or one [`CallError`]; what a failure means for the
//! exchange (`on_error`) is the caller's decision.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::host::{Body, Host};
use crate::protocol::{LogLevel, ScriptErrorKind};

/// The circumstances of one invocation.
pub struct Call {
    /// Performs what the script asks for.
    pub host: Arc<dyn Host>,
    /// `request.cf`, as JSON text.
    pub cf: Arc<str>,
    /// Wall-clock bound from the call to the handler's answer, waiting for a process included.
    pub timeout: Duration,
}

/// What a `fetch` handler answered.
#[derive(Debug)]
pub enum Answer {
    /// Ends the exchange.
    Response(http::Response<Body>),
    /// Goes on with these changes; the URI is absolute.
    Request(http::Request<Body>),
    /// `undefined`: the script has no opinion.
    NoOpinion,
}

/// A completed `fetch` invocation.
#[derive(Debug)]
pub struct Reply {
    pub answer: Answer,
    pub report: CallReport,
}

/// A completed `access` invocation.
#[derive(Debug)]
pub struct Said {
    pub allow: bool,
    /// At most [`crate::protocol::MAX_REASON`] characters, without control characters; may be empty.
    pub reason: String,
    pub report: CallReport,
}

/// A completed `scheduled` or `queue` invocation.
#[derive(Debug)]
pub struct Finished {
    /// Ids of the queue messages the script asked to see again.
    pub retry: Vec<String>,
    pub report: CallReport,
}

/// What an invocation cost and said.
#[derive(Debug, Clone, Default)]
pub struct CallReport {
    /// CPU time as the process reports it; of a process killed for using too much, as its clock stood then.
    pub cpu: Duration,
    pub wall: Duration,
    /// A process was started for this call.
    pub cold: bool,
    /// Fetch and service operations started.
    pub subrequests: u32,
    /// `console` output up to the answer, bounded by the script's limit.
    pub logs: Vec<LogLine>,
}

/// One line of `console` output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    pub level: LogLevel,
    pub message: String,
}

/// Why an invocation has no answer.
#[derive(Debug, Clone)]
pub struct CallError {
    pub kind: CallErrorKind,
    pub message: String,
    /// The script's stack, when the script failed.
    pub stack: String,
    /// `ctx.passThroughOnException()` had been called.
    pub pass_through: bool,
    pub report: CallReport,
}

impl CallError {
    pub(crate) fn new(kind: CallErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), stack: String::new(), pass_through: false, report: CallReport::default() }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl std::error::Error for CallError {}

/// The closed set of ways an invocation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallErrorKind {
    /// The script threw, rejected, or returned a value of the wrong type.
    Exception,
    /// The script does not parse or its modules do not link.
    Syntax,
    /// More CPU time than the limit; the process may have been killed for it.
    Cpu,
    Memory,
    Stack,
    /// More body bytes than the limit.
    Output,
    Subrequests,
    /// No answer within the call's timeout.
    Wall,
    /// The default export has no handler for the event.
    NoHandler,
    /// The process broke the protocol and was killed.
    Protocol,
    /// The process ended under the call: a crash, a forbidden system call, or a kill for another call's sake.
    Killed,
    /// Every process is busy and the queue is full, or the Worker is backing off after repeated crashes.
    Overloaded,
    /// No process can be started, or the runtime is shutting down.
    Unavailable,
}

impl CallErrorKind {
    /// Every kind, for tables of documentation and metrics.
    pub const ALL: [Self; 13] = [
        Self::Exception,
        Self::Syntax,
        Self::Cpu,
        Self::Memory,
        Self::Stack,
        Self::Output,
        Self::Subrequests,
        Self::Wall,
        Self::NoHandler,
        Self::Protocol,
        Self::Killed,
        Self::Overloaded,
        Self::Unavailable,
    ];

    /// Returns the word used in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exception => "exception",
            Self::Syntax => "syntax",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Stack => "stack",
            Self::Output => "output",
            Self::Subrequests => "subrequests",
            Self::Wall => "wall",
            Self::NoHandler => "no_handler",
            Self::Protocol => "protocol",
            Self::Killed => "killed",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
        }
    }
}

impl fmt::Display for CallErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<ScriptErrorKind> for CallErrorKind {
    fn from(kind: ScriptErrorKind) -> Self {
        match kind {
            ScriptErrorKind::Exception => Self::Exception,
            ScriptErrorKind::Syntax => Self::Syntax,
            ScriptErrorKind::Cpu => Self::Cpu,
            ScriptErrorKind::Memory => Self::Memory,
            ScriptErrorKind::Stack => Self::Stack,
            ScriptErrorKind::Output => Self::Output,
            ScriptErrorKind::Subrequests => Self::Subrequests,
            ScriptErrorKind::NoHandler => Self::NoHandler,
        }
    }
}
