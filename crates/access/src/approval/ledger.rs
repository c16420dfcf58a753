//! What must outlive the process about approvals.
//!
//! It says what is kept and not how. Invariants: of two writes over one revision only one happens, so that every answer
//! counts; a request is kept together with the letters that ask for answers, or neither is.

use futures_util::future::BoxFuture;
use identity::approval::ApprovalRequest;
use identity::opaque::Digest;
use types::UserId;

use crate::ledger::LedgerError;
use crate::mail::Letter;

/// A request as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptApproval {
    /// Of the record as it was read; 0 before it was kept.
    pub revision: u64,
    pub request: ApprovalRequest,
}

/// Keeps requests for approval. What it takes is in force on this node when it returns, and comes to the others as changes
/// of [`crate::ApprovalTable`].
pub trait ApprovalLedger: Send + Sync {
    /// Finds a request by [`identity::approval::id`].
    fn find(&self, id: Digest) -> BoxFuture<'_, Result<Option<KeptApproval>, LedgerError>>;

    /// Returns what a person asked for and is still kept.
    fn of(&self, user: UserId) -> BoxFuture<'_, Result<Vec<ApprovalRequest>, LedgerError>>;

    /// Writes a request over the revision it was read at, and puts letters into the outbox; `false`: another write came
    /// first, and nothing was kept.
    fn write(&self, id: Digest, kept: KeptApproval, letters: Vec<Letter>) -> BoxFuture<'_, Result<bool, LedgerError>>;
}
