//! What must outlive the process about second factors.
//!
//! It says what is kept and not how. Invariant: of two writes over one revision only one happens, so that a code or a
//! challenge is used once on whatever node it comes to.

use futures_util::future::BoxFuture;
use types::{Secret, UserId};
use uuid::Uuid;

use crate::ledger::LedgerError;

/// Where among a person's records one stands; each place holds at most one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FactorPlace {
    /// An app that shows codes.
    Totp,
    /// Codes to print.
    RecoveryCodes,
    /// A WebAuthn authenticator, by an id made from the person and its credential.
    Key(Uuid),
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptFactor {
    pub place: FactorPlace,
    /// Grows with each write; at least 1.
    pub revision: u64,
    pub shown: Shown,
    /// What is needed to check it, as JSON.
    pub secret: Secret<Vec<u8>>,
}

/// What administrators see of a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// `totp`, `recovery_codes`, `biometrics`, `security_key` or `passkey`.
    pub kind: String,
    /// What its owner calls it.
    pub name: String,
    /// Seconds since the epoch.
    pub last_used_at: Option<i64>,
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
    fn remove(&self, user: UserId, place: FactorPlace, revision: u64) -> BoxFuture<'_, Result<bool, LedgerError>>;
}
