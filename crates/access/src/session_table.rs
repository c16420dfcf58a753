//! The live sessions, in memory: what every request is held against without a database.
//!
//! The server fills it from the store at the start and keeps it in step by the store's change feed; sign-ins on this node
//! enter it at once. It decides nothing but whether a session still counts. Invariant: a revocation that was applied is
//! seen by every request that begins after it, and the table never holds more than its bound.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use identity::identity::Interner;
use identity::session::{Ended, Moment, Revocations, Revoked, Session, SessionHash};
use parking_lot::{Mutex, RwLock};

const SHARDS: usize = 64;

/// Sessions by the hash of their secret.
pub struct SessionTable {
    shards: [RwLock<HashMap<SessionHash, Arc<Live>>>; SHARDS],
    count: AtomicUsize,
    limit: usize,
    revocations: ArcSwap<Revocations>,
    /// The latest moment at which something was issued here.
    latest: AtomicI64,
    /// Serialises changes of the revocations; readers never take it.
    revoking: Mutex<()>,
    interner: Mutex<Interner>,
}

/// A session and when it was last used, which moves.
pub struct Live {
    session: Session,
    seen: AtomicI64,
}

impl SessionTable {
    /// Makes an empty table for at most `limit` sessions.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::default()),
            count: AtomicUsize::new(0),
            limit,
            revocations: ArcSwap::default(),
            latest: AtomicI64::new(i64::MIN),
            revoking: Mutex::default(),
            interner: Mutex::default(),
        }
    }

    fn shard(&self, hash: &SessionHash) -> &RwLock<HashMap<SessionHash, Arc<Live>>> {
        &self.shards[usize::from(hash.bytes()[0]) % SHARDS]
    }

    /// Enters a session; `false` when there is no room. Entering one again replaces it.
    pub fn insert(&self, hash: SessionHash, mut session: Session) -> bool {
        if self.count.load(Ordering::Relaxed) >= self.limit {
            return false;
        }
        let identity = self.interner.lock().share((*session.identity).clone());
        session.identity = Arc::new(identity);
        let live = Arc::new(Live { seen: AtomicI64::new(session.seen.0), session });
        if self.shard(&hash).write().insert(hash, live).is_none() {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    /// Removes a session that ended or was deleted.
    pub fn remove(&self, hash: &SessionHash) {
        if self.shard(hash).write().remove(hash).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Applies a revocation that began here: it ends what this node issued until now, even under a clock that was ahead.
    pub fn revoke(&self, what: Revoked, at: Moment) {
        self.change(|revocations| {
            revocations.revoke(what, at);
        });
    }

    /// Applies a revocation that was kept. Applying it twice, or out of order, changes nothing.
    pub fn replay(&self, what: Revoked, at: Moment) {
        self.change(|revocations| revocations.replay(what, at));
    }

    fn change(&self, change: impl FnOnce(&mut Revocations)) {
        let _one_at_a_time = self.revoking.lock();
        let mut revocations = Revocations::clone(&self.revocations.load());
        revocations.note(Moment(self.latest.load(Ordering::Relaxed)));
        change(&mut revocations);
        self.revocations.store(Arc::new(revocations));
    }

    /// Returns the moment at which something new is issued: later than everything issued here before, so that a clock
    /// that went back brings nothing under a revocation it came after, or out of one it came before.
    pub(crate) fn stamp(&self, now: Moment) -> Moment {
        let next = |latest: i64| now.0.max(latest.saturating_add(1));
        let before = self.latest.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |latest| Some(next(latest)));
        Moment(before.map_or(now.0, next))
    }

    /// Returns the revocations in force.
    pub(crate) fn revocations(&self) -> Arc<Revocations> {
        self.revocations.load_full()
    }

    /// Finds a session that counts now.
    ///
    /// # Errors
    /// With why it does not; `None` when there is none of this hash.
    pub fn find(&self, hash: SessionHash, idle: Option<Duration>, now: Moment) -> Result<Arc<Live>, Option<Ended>> {
        let live = self.shard(&hash).read().get(&hash).cloned().ok_or(None)?;
        live.check(hash, &self.revocations.load(), idle, now).map_err(Some)?;
        live.seen.store(now.0, Ordering::Relaxed);
        Ok(live)
    }

    /// Returns how many sessions are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Tells whether nobody is signed in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets sessions that no longer count, and revocations that end nothing any more.
    pub fn sweep(&self, idle: Option<Duration>, now: Moment) {
        for shard in &self.shards {
            let revocations = self.revocations.load_full();
            let mut shard = shard.write();
            let before = shard.len();
            shard.retain(|hash, live| live.check(*hash, &revocations, idle, now).is_ok());
            self.count.fetch_sub(before - shard.len(), Ordering::Relaxed);
        }
        self.interner.lock().sweep();
        self.change(|revocations| revocations.sweep(now));
    }
}

impl Live {
    fn check(
        &self,
        hash: SessionHash,
        revocations: &Revocations,
        idle: Option<Duration>,
        now: Moment,
    ) -> Result<(), Ended> {
        if idle.is_none() {
            return self.session.check(hash, revocations, None, now);
        }
        let mut session = self.session.clone();
        session.seen = Moment(self.seen.load(Ordering::Relaxed));
        session.check(hash, revocations, idle, now)
    }

    /// Returns the session as it began.
    #[must_use]
    pub const fn session(&self) -> &Session {
        &self.session
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use identity::identity::Identity;
    use identity::provider::ProviderType;
    use identity::session::{Ended, Moment, Revoked, Session, SessionSecret};
    use types::{ProviderId, UserId};
    use uuid::Uuid;

    use super::SessionTable;

    fn session(user: u128, now: i64) -> Session {
        let identity = Identity {
            user: UserId(Uuid::from_u128(user)),
            email: format!("p{user}@example.com").parse().unwrap(),
            name: "P".into(),
            provider: ProviderId(Uuid::nil()),
            provider_type: ProviderType::BuiltIn,
            signed_in: 1,
            ip: [127, 0, 0, 1].into(),
            country: None,
            amr: [].into(),
            steps: [].into(),
        };
        Session::start(Arc::new(identity), Arc::default(), Duration::from_secs(100), Moment(now))
    }

    #[test]
    fn the_table_is_bounded_and_swept() {
        let table = SessionTable::new(2);
        let hash = |number| SessionSecret::of([number; 32]).hash();
        assert!(table.insert(hash(1), session(1, 0)) && table.insert(hash(2), session(2, 50_000)));
        assert!(!table.insert(hash(3), session(3, 0)));
        table.sweep(None, Moment(100_000));
        assert_eq!(table.len(), 1);
        assert!(table.insert(hash(3), session(3, 100_000)));
        table.remove(&hash(3));
        table.remove(&hash(3));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_revocation_and_idleness_end_a_session_at_once() {
        let table = SessionTable::new(10);
        let hash = SessionSecret::of([1; 32]).hash();
        table.insert(hash, session(1, 0));
        let idle = Some(Duration::from_secs(10));
        assert!(table.find(hash, idle, Moment(9_000)).is_ok());
        assert!(table.find(hash, idle, Moment(18_000)).is_ok());
        assert_eq!(table.find(hash, idle, Moment(28_000)).err(), Some(Some(Ended::Idle)));
        table.revoke(Revoked::User(UserId(Uuid::from_u128(1))), Moment(20_000));
        assert_eq!(table.find(hash, None, Moment(20_001)).err(), Some(Some(Ended::Revoked)));
        assert!(table.find(SessionSecret::of([2; 32]).hash(), None, Moment(1)).is_err_and(|ended| ended.is_none()));
    }
}
