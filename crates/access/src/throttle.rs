//! Counts attempts by what they come from, so that guessing is slow.
//!
//! Invariant: counts are bounded in number and forgotten after a minute. An attempt that succeeded can be taken back, and
//! takes back no other.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use moka::sync::Cache;

/// Attempts of the last minute by key.
pub(crate) struct Throttle<K: Hash + Eq + Send + Sync + 'static> {
    counts: Cache<K, Arc<AtomicU32>>,
    limit: u32,
}

/// One attempt that was counted.
#[must_use = "an attempt that is not taken back counts"]
pub(crate) struct Attempt(Arc<AtomicU32>);

impl Attempt {
    /// Takes this attempt back, as after one that succeeded.
    ///
    /// # Security
    /// Those before it stay counted: whoever guesses at others and signs in as themselves in between gains nothing.
    pub(crate) fn take_back(self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> Throttle<K> {
    pub(crate) fn new(limit: u32) -> Self {
        let counts = Cache::builder().max_capacity(20_000).time_to_live(Duration::from_secs(60)).build();
        Self { counts, limit }
    }

    /// Counts one attempt; `None` when there were too many.
    pub(crate) fn attempt(&self, key: K) -> Option<Attempt> {
        let count = self.counts.get_with(key, Arc::default);
        (count.fetch_add(1, Ordering::Relaxed) < self.limit).then_some(Attempt(count))
    }

    /// Counts one attempt for good; `false` when there were too many.
    pub(crate) fn admit(&self, key: K) -> bool {
        self.attempt(key).is_some()
    }

    /// Tells whether a key has no attempt left, without counting one.
    pub(crate) fn is_spent(&self, key: &K) -> bool {
        self.counts.get(key).is_some_and(|count| count.load(Ordering::Relaxed) >= self.limit)
    }

    /// Forgets the attempts of a key: only where whoever succeeded has shown that the key is theirs.
    pub(crate) fn forget(&self, key: &K) {
        self.counts.invalidate(key);
    }
}

/// An IPv6 host owns its /64, so that is what is counted.
pub(crate) fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & (u128::MAX << 64)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::Throttle;

    #[test]
    fn a_success_takes_back_its_own_attempt_and_no_other() {
        let throttle = Throttle::new(3);
        assert!(throttle.admit("source") && throttle.admit("source"));
        // However many people of a source sign in, they leave what was left.
        for _ in 0..10 {
            throttle.attempt("source").unwrap().take_back();
        }
        assert!(!throttle.is_spent(&"source") && throttle.admit("source"));
        assert!(throttle.attempt("source").is_none() && throttle.is_spent(&"source"));
        assert!(throttle.admit("another"));
    }
}
