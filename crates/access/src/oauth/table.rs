//! The live access tokens of this node: what a request with a bearer is held against without a database.
//!
//! Filled as tokens are given here or first shown here, kept in step by the store's change feed. Invariants: it holds no
//! token that its grant no longer lists, no more than its bound, and nothing of a grant that it was told has ended.

use std::collections::HashMap;
use std::sync::Arc;

use identity::oauth::access::{AccessGrant, AccessIndex};
use identity::oauth::grant::GrantId;
use identity::session::{Session, SessionHash};
use parking_lot::RwLock;
use types::{ApplicationId, UserId};

use super::ledger::KeptGrant;

/// Access tokens by hash, with who stands behind them.
pub struct TokenTable(RwLock<Inner>);

struct Inner {
    index: AccessIndex,
    holders: HashMap<GrantId, Arc<Holder>>,
}

/// The person behind the tokens of a grant, as of their consent.
pub(crate) struct Holder {
    pub(crate) hash: SessionHash,
    pub(crate) session: Session,
}

impl Holder {
    pub(crate) fn of(kept: &KeptGrant) -> Self {
        Self { hash: SessionHash::of(kept.grant.session.0), session: kept.session.clone() }
    }
}

/// What an access token stands for.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) access: Arc<AccessGrant>,
    pub(crate) holder: Arc<Holder>,
}

impl TokenTable {
    /// Makes an empty table for at most `limit` tokens.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(RwLock::new(Inner { index: AccessIndex::new(limit), holders: HashMap::new() }))
    }

    /// Replaces what is known of a grant by its record. `now` is in seconds since the epoch. Without room the grant is
    /// forgotten, and its tokens are looked up in the store.
    pub fn apply(&self, kept: &KeptGrant, now: i64) {
        let mut inner = self.0.write();
        inner.holders.remove(&kept.grant.id);
        if inner.index.apply(&kept.grant, now).is_ok() && kept.grant.live_access(now).next().is_some() {
            inner.holders.insert(kept.grant.id, Arc::new(Holder::of(kept)));
        }
    }

    /// Tells whether a token of a grant is held here.
    #[must_use]
    pub fn knows(&self, grant: GrantId) -> bool {
        self.0.read().holders.contains_key(&grant)
    }

    /// Forgets a grant.
    pub fn forget(&self, grant: GrantId) {
        let mut inner = self.0.write();
        inner.index.forget(grant);
        inner.holders.remove(&grant);
    }

    /// Forgets every grant of a person.
    pub fn forget_person(&self, user: UserId) {
        let mut inner = self.0.write();
        inner.index.forget_where(|grant| grant.user == user);
        inner.holders.retain(|_, holder| holder.session.identity.user != user);
    }

    /// Forgets everything; what is still good is found again in the store.
    pub fn clear(&self) {
        let mut inner = self.0.write();
        inner.index.forget_where(|_| true);
        inner.holders.clear();
    }

    /// Drops tokens that have expired.
    pub fn sweep(&self, now: i64) {
        let mut inner = self.0.write();
        let Inner { index, holders } = &mut *inner;
        index.expire(now);
        holders.retain(|grant, _| index.holds(*grant));
    }

    pub(crate) fn find(&self, token: &str, application: ApplicationId, now: i64) -> Option<Found> {
        let inner = self.0.read();
        let access = Arc::clone(inner.index.check(token, application, now)?);
        let holder = Arc::clone(inner.holders.get(&access.grant)?);
        Some(Found { access, holder })
    }
}
