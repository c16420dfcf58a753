//! What must outlive the process about second factors.
//!
//! It says what is kept and not how. Invariant: of two writes over one revision only one happens, so that a code is used
//! once on whatever node it comes to.

use futures_util::future::BoxFuture;
use types::{Secret, UserId};

use crate::ledger::LedgerError;

/// What a record is about; a person has at most one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FactorKind {
    /// An app that shows codes.
    Totp,
    /// Codes to print.
    RecoveryCodes,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptFactor {
    pub kind: FactorKind,
    /// Grows with each write; at least 1.
    pub revision: u64,
    /// What is needed to check it, as JSON.
    pub secret: Secret<Vec<u8>>,
}

/// Keeps the factors of people.
///
/// # Security
/// An implementation seals `secret` where it is stored.
pub trait FactorLedger: Send + Sync {
    /// Returns what a person has.
    fn of(&self, user: UserId) -> BoxFuture<'_, Result<Vec<KeptFactor>, LedgerError>>;

    /// Writes a record over the revision that was read, 0 if there was none; `false` if another write came first.
    fn write(&self, user: UserId, factor: KeptFactor) -> BoxFuture<'_, Result<bool, LedgerError>>;

    /// Removes a record over the revision that was read; `false` if another write came first.
    fn remove(&self, user: UserId, kind: FactorKind, revision: u64) -> BoxFuture<'_, Result<bool, LedgerError>>;
}
