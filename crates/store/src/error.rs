//! Why a store operation failed, as far as a caller would act differently. It deliberately names no database: both
//! backends map their own errors into these. Invariant: no variant prints a stored value.

use types::Code;

use crate::document::Kind;
use crate::seal::SealError;

/// The cause as the backend reported it, for the log; never shown to a client.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why an operation on an open store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The document to change does not exist in this account.
    #[error("there is no such {0}")]
    NotFound(Kind),
    /// Someone else saved first.
    #[error("the {0} was changed since it was read")]
    Stale(Kind),
    /// The id or the unique name is taken.
    #[error("a {0} with this name or id already exists")]
    Taken(Kind),
    /// The document would let someone do what its author may not.
    #[error("a {0} cannot confer permissions its author does not hold")]
    Escalates(Kind),
    /// A value has a form no backend may hold.
    #[error("{0}")]
    Invalid(&'static str),
    /// A size or a count is over its bound.
    #[error("{what} is limited to {limit}")]
    LimitExceeded {
        /// What is bounded.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// The database cannot be reached or refuses work; trying again may succeed.
    #[error("the store is unavailable")]
    Unavailable(#[source] Cause),
    /// The database did not answer in time. A write may or may not have happened.
    #[error("the store did not answer in time")]
    TimedOut,
    /// The disk under the database is full. Nothing was written.
    #[error("the disk of the store is full")]
    DiskFull,
    /// A stored document cannot be read by this version.
    #[error("stored {kind} {id} cannot be read")]
    Unreadable {
        /// The kind of the document.
        kind: Kind,
        /// The id of the document.
        id: String,
        /// What the reader said.
        #[source]
        source: Cause,
    },
    /// A secret cannot be sealed or opened.
    #[error("a stored secret cannot be used")]
    Seal(#[from] SealError),
}

impl StoreError {
    /// Returns the closed code the edge answers with.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::NotFound(_) => Code::NotFound,
            Self::Stale(_) => Code::Stale,
            Self::Taken(_) => Code::Conflict,
            Self::Escalates(_) => Code::PermissionDenied,
            Self::Invalid(_) => Code::InvalidInput,
            Self::LimitExceeded { .. } => Code::LimitExceeded,
            Self::Unavailable(_) | Self::TimedOut | Self::DiskFull => Code::Unavailable,
            Self::Unreadable { .. } | Self::Seal(_) => Code::Internal,
        }
    }

    /// Whether the same operation may well succeed later although nobody changes anything in the store: it is away, or the
    /// key file of this process is older than a rotation.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::TimedOut | Self::DiskFull | Self::Seal(SealError::UnknownKey(_)))
    }

    pub(crate) fn unavailable(source: impl Into<Cause>) -> Self {
        Self::Unavailable(source.into())
    }

    pub(crate) fn unreadable(kind: Kind, id: &str, source: impl Into<Cause>) -> Self {
        Self::Unreadable { kind, id: id.to_owned(), source: source.into() }
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database cannot be reached, read or created.
    #[error("the database cannot be opened")]
    Database(#[source] StoreError),
    /// The database was written by a newer version of this program.
    #[error("the database has schema version {found}; this program knows versions up to {known}")]
    NewerSchema {
        /// The version the database says it has.
        found: i64,
        /// The newest version this program can read.
        known: i64,
    },
    /// A migration failed; it was rolled back.
    #[error("migration {version} failed and was rolled back")]
    Migration {
        /// The migration that failed.
        version: i64,
        /// What the database said.
        #[source]
        source: Cause,
    },
    /// The sealing key cannot be read, or is not the one this database was sealed with.
    #[error("the sealing key cannot be used")]
    SealingKey(#[from] SealError),
}
