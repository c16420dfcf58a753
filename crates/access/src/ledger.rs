//! What must outlive the process and reach every node: people, sessions, revocations, the last use of service tokens.
//!
//! The store implements it; the plane asks it at sign-in and sign-out and never for an ordinary request. Invariant: a
//! sign-in that could not be written down did not happen.

use std::net::IpAddr;

use futures_util::future::BoxFuture;
use identity::session::{Moment, Revoked, Session, SessionHash};
use types::{Email, ProviderId, ServiceTokenId, UserId};

/// Somebody a provider vouches for.
#[derive(Debug, Clone, Copy)]
pub struct Newcomer<'a> {
    pub email: &'a Email,
    pub name: &'a str,
    pub provider: ProviderId,
    pub ip: IpAddr,
    pub user_agent: &'a str,
}

/// Why something could not be written down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The person was deactivated.
    #[error("the person may not sign in")]
    Deactivated,
    /// The session ended meanwhile.
    #[error("the session has ended")]
    Ended,
    #[error("what is kept about sign-ins cannot be reached: {0}")]
    Unavailable(String),
}

/// Keeps people, sessions and revocations. What it takes is in force on this node when it returns, and comes to the
/// others as changes of [`crate::SessionTable`].
pub trait Ledger: Send + Sync {
    /// Finds or makes the person behind an address.
    fn person<'a>(&'a self, newcomer: Newcomer<'a>) -> BoxFuture<'a, Result<UserId, LedgerError>>;

    /// Returns the address and name of somebody who may sign in; `None` for nobody and whoever was deactivated.
    fn known(&self, user: UserId) -> BoxFuture<'_, Result<Option<(Email, String)>, LedgerError>>;

    /// Keeps a new session.
    fn start<'a>(
        &'a self,
        hash: SessionHash,
        session: &'a Session,
        newcomer: Newcomer<'a>,
    ) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// Keeps what changed at a session, such as what was proved in it. One that has ended stays ended.
    ///
    /// # Errors
    /// With [`LedgerError::Ended`] then.
    fn change<'a>(&'a self, hash: SessionHash, session: &'a Session) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// Keeps when a request was let in last with a service token; an earlier moment than the one that is kept changes
    /// nothing, nor does a token that is gone.
    fn used(&self, token: ServiceTokenId, at: Moment) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// Revokes what was made until now, and returns that moment.
    fn revoke(&self, what: Revoked) -> BoxFuture<'_, Result<Moment, LedgerError>>;
}
