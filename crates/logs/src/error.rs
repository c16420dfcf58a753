//! Why the journal cannot be opened, appended to or read, as far as a caller would act differently.

use std::path::PathBuf;

use types::Code;

use crate::bucket::BucketError;
use crate::lake::table::TableError;

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the journal in {0} is in use by another process")]
    InUse(PathBuf),
    /// The directory or a file in it cannot be used.
    #[error("journal {path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The bucket cannot be used as it is configured.
    #[error("the bucket of the log lake")]
    Bucket(#[from] BucketError),
    /// A bucket is configured, and records are in the directory.
    #[error(
        "the lake in {lake} has records that would not be found in {bucket}: move them with `portunus logs move`, or take \
         [logs.bucket] out of the configuration again"
    )]
    Unmoved {
        /// The directory.
        lake: PathBuf,
        /// The bucket's URL.
        bucket: String,
    },
    /// The lake is in another place than the configured one.
    #[error(
        "the records of this journal are in {found}, and the configuration says {wanted}: name the place of before again; or \
         copy everything from there to the new place while nothing runs, and delete {mark}"
    )]
    Elsewhere {
        /// The bucket they are in.
        found: String,
        /// The configured place.
        wanted: String,
        /// The file that names the bucket.
        mark: PathBuf,
    },
}

/// Why a lake was not moved, or not wholly. It goes on where it was when it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The journal or the bucket cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A table cannot be read or written.
    #[error("{0}; what was moved is in the bucket, the rest is where it was: try again")]
    Lake(String),
}

/// Why a record was not accepted. It is then not in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// There is no room at the moment; only the calls that do not wait say so.
    #[error("the log queue is full")]
    Full,
    /// There was no room within the deadline: the disk is full, failing, or too slow.
    #[error("the log did not accept a record in time")]
    TimedOut,
    /// The record is larger than a record may be, even without its optional parts.
    #[error("the record is too large")]
    TooLarge,
    /// The journal was shut down.
    #[error("the log is closed")]
    Closed,
}

impl AppendError {
    /// Returns the closed code the edge answers with.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Full | Self::TimedOut | Self::Closed => Code::Unavailable,
            Self::TooLarge => Code::LimitExceeded,
        }
    }
}

/// Why the journal is not wholly in the lake.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The journal ended before.
    #[error(transparent)]
    Journal(#[from] AppendError),
    /// The lake does not take it over.
    #[error("the lake cannot be written: {0}")]
    Lake(String),
}

/// Why records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// A field is not one of the dataset's.
    #[error("the dataset has no field {0:?}")]
    UnknownField(String),
    /// A file cannot be read.
    #[error("the journal cannot be read")]
    Read(#[source] std::io::Error),
    /// A file of the lake cannot be read.
    #[error("the lake cannot be read")]
    Lake(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The journal was shut down, or too many queries run.
    #[error("the log takes no queries at the moment")]
    Busy,
}

impl From<TableError> for QueryError {
    fn from(error: TableError) -> Self {
        Self::Lake(Box::new(error))
    }
}

impl QueryError {
    /// Returns the closed code the edge answers with.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::UnknownField(_) => Code::InvalidInput,
            Self::Read(_) | Self::Lake(_) | Self::Busy => Code::Unavailable,
        }
    }
}
