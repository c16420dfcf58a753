//! What must outlive the process about managed OAuth: clients, requests that wait for a person, grants.
//!
//! It says what is kept and not how. Invariants: a request is decided once; of two writes over one revision of a grant only
//! one happens; a grant that came after its person or session was revoked is not kept.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use identity::oauth::authorization::PendingRequest;
use identity::oauth::client::Client;
use identity::oauth::grant::{Grant, GrantId};
use identity::opaque::Digest;
use identity::session::Session;
use types::{ApplicationId, UserId};

use crate::ledger::LedgerError;

/// A grant with the identity it was given under.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptGrant {
    /// Of the record as it was read; 0 before it was kept.
    pub revision: u64,
    pub grant: Grant,
    /// The session of the consent, with its identity, answers and proofs; it ends with the grant.
    pub session: Session,
}

/// Keeps what managed OAuth needs. What it takes is in force on this node when it returns, and comes to the others as
/// changes of [`crate::GrantTable`].
///
/// # Security
/// Codes and tokens come to it as hashes or under seals that the record alone does not open.
pub trait OauthLedger: Send + Sync {
    /// Finds a registered client of an application, which may have been found before: nothing of a client changes but when it
    /// was last used.
    fn client<'a>(
        &'a self,
        application: ApplicationId,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<Client>>, LedgerError>>;

    /// Counts the registered clients of an application.
    fn count_clients(&self, application: ApplicationId) -> BoxFuture<'_, Result<usize, LedgerError>>;

    /// Keeps a client that registered, or that was used.
    fn keep_client<'a>(&'a self, client: &'a Client) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// Keeps a request until it is decided; `source` is whose share of requests it counts into.
    fn begin<'a>(&'a self, request: &'a PendingRequest, source: &'a str) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// Finds a request that waits, by the hash of its id.
    fn pending(&self, request: Digest) -> BoxFuture<'_, Result<Option<PendingRequest>, LedgerError>>;

    /// Takes out a request and keeps its grant with one write. `false`: it was decided before, or the person or session was
    /// revoked meanwhile.
    fn approve<'a>(&'a self, request: Digest, grant: &'a KeptGrant) -> BoxFuture<'a, Result<bool, LedgerError>>;

    /// Takes out a request that was refused; `false`: it was decided before.
    fn abandon(&self, request: Digest) -> BoxFuture<'_, Result<bool, LedgerError>>;

    /// Finds a grant as it stands.
    fn grant(&self, id: GrantId) -> BoxFuture<'_, Result<Option<KeptGrant>, LedgerError>>;

    /// Writes a grant over the revision it was read at and returns the next one; `None`: another write came first.
    fn replace<'a>(&'a self, grant: &'a KeptGrant) -> BoxFuture<'a, Result<Option<u64>, LedgerError>>;

    /// Tells whether a person is still active, as far as this node has heard.
    fn is_active(&self, user: UserId) -> BoxFuture<'_, Result<bool, LedgerError>>;
}
