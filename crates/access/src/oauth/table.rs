//! The grants that this node gave or used: what a request with a bearer is held against without a database, and what a
//! refresh is decided on before it is written.
//!
//! Filled as grants are written here or first used here, kept in step by the store's change feed. Invariants: a copy is
//! never replaced by an older one; none is held of a grant that has ended, or of which this node was told more than the copy
//! says; and there are no more than the bound.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use identity::oauth::grant::{Access, GrantId};
use identity::session::SessionHash;
use parking_lot::RwLock;
use types::{ApplicationId, UserId};

use super::ledger::KeptGrant;

/// Seconds for which a grant is held after its last access token ended: about then its client refreshes.
const HELD_FOR: i64 = 3_600;
/// What a node was told of a grant that must be read again whatever its revision.
const ANYTHING: u64 = u64::MAX;

/// Grants by id, each with the revision it was read or written at.
pub struct GrantTable {
    inner: RwLock<Inner>,
    limit: usize,
}

#[derive(Default)]
struct Inner {
    held: HashMap<GrantId, Arc<Held>>,
    underway: HashMap<GrantId, Underway>,
    /// When room was last made, in seconds since the epoch.
    swept: i64,
}

/// Reads and writes of one grant that are under way.
#[derive(Default)]
struct Underway {
    count: usize,
    /// The newest revision that the node was told of meanwhile.
    told: u64,
}

/// A grant as this node knows it.
pub(crate) struct Held {
    pub(crate) kept: KeptGrant,
    /// Of the session of the consent.
    pub(crate) hash: SessionHash,
}

impl Held {
    pub(crate) fn of(kept: KeptGrant) -> Self {
        Self { hash: SessionHash::of(kept.grant.session.0), kept }
    }

    /// Finds what a token stands for at an application.
    pub(crate) fn access(&self, token: &str, application: ApplicationId, now: i64) -> Option<Access<'_>> {
        self.kept.grant.access(token, application, now)
    }
}

/// A read or write of a grant that is under way: what it leads to is held only if nothing newer was told meanwhile.
pub struct Ahead<'t> {
    table: &'t GrantTable,
    grant: GrantId,
}

impl GrantTable {
    /// Makes an empty table for at most `limit` grants.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { inner: RwLock::default(), limit }
    }

    /// Finds a grant that was not told to have ended.
    pub(crate) fn find(&self, grant: GrantId) -> Option<Arc<Held>> {
        self.inner.read().held.get(&grant).cloned()
    }

    /// Returns the revision of the copy that is held, if one is.
    #[must_use]
    pub fn revision(&self, grant: GrantId) -> Option<u64> {
        self.inner.read().held.get(&grant).map(|held| held.kept.revision)
    }

    /// Says that a grant is about to be read or written.
    #[must_use]
    pub fn ahead(&self, grant: GrantId) -> Ahead<'_> {
        self.inner.write().underway.entry(grant).or_default().count += 1;
        Ahead { table: self, grant }
    }

    /// Takes over that a grant stands at a revision, where that is known. `true`: the copy held is older, and nobody is about
    /// to replace it, so it has to be read again.
    #[must_use]
    pub fn is_behind(&self, grant: GrantId, revision: Option<u64>) -> bool {
        let revision = revision.unwrap_or(ANYTHING);
        let mut inner = self.inner.write();
        let inner = &mut *inner;
        let is_behind = inner.held.get(&grant).is_some_and(|held| held.kept.revision < revision);
        let Some(underway) = inner.underway.get_mut(&grant) else { return is_behind };
        underway.told = underway.told.max(revision);
        if is_behind {
            inner.held.remove(&grant);
        }
        false
    }

    /// Forgets a grant.
    pub fn forget(&self, grant: GrantId) {
        let mut inner = self.inner.write();
        inner.held.remove(&grant);
        if let Some(underway) = inner.underway.get_mut(&grant) {
            underway.told = ANYTHING;
        }
    }

    /// Forgets every grant of a person.
    pub fn forget_person(&self, user: UserId) {
        self.forget_where(|held| held.kept.grant.user == user);
    }

    /// Forgets everything; what is still good is found again in the store.
    pub fn clear(&self) {
        self.forget_where(|_| true);
    }

    fn forget_where(&self, over: impl Fn(&Held) -> bool) {
        let mut inner = self.inner.write();
        inner.held.retain(|_, held| !over(held));
        // What comes of those under way is not known yet.
        inner.underway.values_mut().for_each(|underway| underway.told = ANYTHING);
    }

    /// Drops grants that have ended or that nobody used for long. `now` is in seconds since the epoch.
    pub fn sweep(&self, now: i64) {
        self.inner.write().sweep(now);
    }
}

impl Inner {
    fn sweep(&mut self, now: i64) {
        self.swept = now;
        self.held.retain(|_, held| is_in_use(&held.kept, now));
    }
}

fn is_in_use(kept: &KeptGrant, now: i64) -> bool {
    let grant = &kept.grant;
    grant.is_live(now) && grant.last_access().is_some_and(|end| now < end.saturating_add(HELD_FOR))
}

impl Ahead<'_> {
    /// Holds the grant as it was read or written. Without room it is not held, and looked up in the store. `now` is in seconds
    /// since the epoch.
    pub fn enter(self, kept: KeptGrant, now: i64) {
        self.hold(kept, now);
    }

    pub(crate) fn hold(self, kept: KeptGrant, now: i64) -> Arc<Held> {
        let held = Arc::new(Held::of(kept));
        let kept = &held.kept;
        let mut inner = self.table.inner.write();
        let inner = &mut *inner;
        let told = inner.underway.get(&self.grant).map_or(ANYTHING, |underway| underway.told);
        // Looking through all of them is not for every request.
        if inner.held.len() >= self.table.limit && !inner.held.contains_key(&self.grant) && inner.swept < now {
            inner.sweep(now);
        }
        let has_room = inner.held.len() < self.table.limit;
        let counts = is_in_use(kept, now) && told <= kept.revision;
        match inner.held.entry(self.grant) {
            Entry::Occupied(before) if before.get().kept.revision > kept.revision => {}
            Entry::Occupied(mut before) if counts => drop(before.insert(Arc::clone(&held))),
            Entry::Occupied(before) => drop(before.remove()),
            Entry::Vacant(place) if counts && has_room => drop(place.insert(Arc::clone(&held))),
            Entry::Vacant(_) => {}
        }
        held
    }
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        let mut inner = self.table.inner.write();
        let Entry::Occupied(mut underway) = inner.underway.entry(self.grant) else { return };
        underway.get_mut().count -= 1;
        if underway.get().count == 0 {
            underway.remove();
        }
    }
}
