//! SQL over the lake and the journal, for one account, within bounds.
//!
//! A query sees the tables of its account and nothing else: no files, no settings, no writing. It runs on threads of its
//! own, with a bound on its memory, its time and its answer; what goes over a bound fails the query, with words that say
//! which, and nothing else. The dialect is that of DataFusion; names of datasets and fields are found in any case.
//! Invariant: a query reads only snapshots of the account it was started for.

mod answer;
#[cfg(feature = "sql")]
mod distinct;
#[cfg(feature = "sql")]
pub(crate) mod engine;
#[cfg(feature = "sql")]
mod names;
#[cfg(feature = "sql")]
mod runs;
#[cfg(feature = "sql")]
mod table;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use types::Code;

use crate::error::QueryError;

pub use answer::{Answer, Column};

/// The longest text of a query, in bytes.
pub const MAX_TEXT: usize = 64 * 1024;
/// The most bytes of an answer, as it is held in memory.
pub const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// The most rows of an answer.
pub const MAX_ROWS: usize = 10_000;

/// What a query may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of memory.
    pub memory: usize,
    /// Time from start to end.
    pub time: Duration,
    /// Rows of the answer, at most [`MAX_ROWS`].
    pub rows: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { memory: 1024 * 1024 * 1024, time: Duration::from_secs(60), rows: MAX_ROWS }
    }
}

/// A value that a query names as `$name`. It is put where it is named when the query has been read, so no text of it is
/// ever part of the query's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parameter {
    /// A text.
    Text(String),
    /// A moment.
    Time(jiff::Timestamp),
}

/// The values of a query, by name.
pub type Parameters = Vec<(&'static str, Parameter)>;

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The text is no query that can be run; the message says where and why.
    #[error("{0}")]
    Invalid(String),
    /// It needs more memory than a query may have.
    #[error("the query needs more than {} MiB of memory; narrow it by time, or group by fewer columns", .0 / 1024 / 1024)]
    Memory(usize),
    /// Its rows are too large together.
    #[error("the answer is larger than {} MiB; ask for fewer rows or columns", MAX_ANSWER / 1024 / 1024)]
    Answer,
    /// It takes longer than a query may.
    #[error("the query took longer than {} seconds; narrow it by time or by person", .0.as_secs())]
    Time(Duration),
    /// The lake or the journal cannot be read.
    #[error(transparent)]
    Logs(#[from] QueryError),
    /// This program has no SQL.
    #[error("this program was built without SQL (the feature `sql`)")]
    Missing,
    /// It failed while it ran.
    #[error("the query failed: {0}")]
    Failed(String),
}

impl SqlError {
    /// Returns the closed code the edge answers with.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidInput,
            Self::Missing => Code::Unavailable,
            Self::Memory(_) | Self::Answer | Self::Time(_) => Code::LimitExceeded,
            Self::Logs(error) => error.code(),
            Self::Failed(_) => Code::Internal,
        }
    }
}

/// Returns the values that a text names, as `from` of `$from`; what stands in texts and comments is none. The text need be no
/// query that can be run.
///
/// # Errors
///
/// [`SqlError::Invalid`] for what falls into no words, [`SqlError::Missing`] where there is no SQL.
#[cfg(feature = "sql")]
pub fn named(text: &str) -> Result<BTreeSet<String>, SqlError> {
    names::named(text)
}

/// Says that this program was built without the feature `sql`.
///
/// # Errors
///
/// Always.
#[cfg(not(feature = "sql"))]
pub fn named(_: &str) -> Result<BTreeSet<String>, SqlError> {
    Err(SqlError::Missing)
}

/// Counts rows that were read.
type Counter = Box<dyn Fn() -> u64 + Send + Sync>;

/// How far a query is.
#[derive(Default)]
pub struct Progress {
    rows: AtomicU64,
    /// Rows of the journal, which are read before the query runs.
    journal: AtomicU64,
    counter: Mutex<Option<Counter>>,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").field("rows_in_range", &self.rows).finish_non_exhaustive()
    }
}

impl Progress {
    /// Returns how many rows the tables it reads have, as far as files that cannot matter are known.
    #[must_use]
    pub fn rows_in_range(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Returns how many rows have been read.
    #[must_use]
    pub fn rows_read(&self) -> u64 {
        self.journal.load(Ordering::Relaxed) + self.counter.lock().as_ref().map_or(0, |count| count())
    }

    #[cfg(feature = "sql")]
    pub(crate) fn count_with(&self, counter: Counter) {
        *self.counter.lock() = Some(counter);
    }

    #[cfg(feature = "sql")]
    pub(crate) fn expect_rows(&self, files: u64, journal: u64) {
        self.rows.fetch_add(files + journal, Ordering::Relaxed);
        self.journal.fetch_add(journal, Ordering::Relaxed);
    }
}
