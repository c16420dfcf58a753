//! Counts attempts by what they come from, so that guessing is slow.
//!
//! Invariant: counts are bounded in number and forgotten after a minute.

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

impl<K: Hash + Eq + Send + Sync + 'static> Throttle<K> {
    pub(crate) fn new(limit: u32) -> Self {
        let counts = Cache::builder().max_capacity(20_000).time_to_live(Duration::from_secs(60)).build();
        Self { counts, limit }
    }

    /// Counts one attempt; `false` when there were too many.
    pub(crate) fn admit(&self, key: K) -> bool {
        self.counts.get_with(key, Arc::default).fetch_add(1, Ordering::Relaxed) < self.limit
    }

    /// Tells whether a key has no attempt left, without counting one.
    pub(crate) fn is_spent(&self, key: &K) -> bool {
        self.counts.get(key).is_some_and(|count| count.load(Ordering::Relaxed) >= self.limit)
    }

    /// Forgets the attempts of a key, as after one that succeeded.
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
