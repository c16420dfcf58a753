//! Counts attempts by what they come from, so that guessing is slow, and keeps rates.
//!
//! Invariants: counts are bounded in number and forgotten after a minute; a rate is kept until it is whole again, and who
//! finds no room for one has none.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use identity::pin::Rate;
use moka::sync::Cache;
use parking_lot::Mutex;

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

/// What is used of the rates of many keys. None is dropped before it is whole, however many others come.
pub(crate) struct Rates<K> {
    kept: Mutex<Kept<K>>,
    most: usize,
}

struct Kept<K> {
    rates: HashMap<K, Rate>,
    /// When those that are whole were last dropped, in seconds since the epoch.
    swept: i64,
}

impl<K: Hash + Eq> Rates<K> {
    /// Makes room for `most` keys.
    pub(crate) fn new(most: usize) -> Self {
        Self { kept: Mutex::new(Kept { rates: HashMap::new(), swept: i64::MIN }), most }
    }

    /// Takes from a key's rate; beyond the bound on keys it is [`Rate::SPENT`].
    pub(crate) fn with<T>(&self, key: K, now: i64, take: impl FnOnce(&mut Rate) -> T) -> T {
        let mut kept = self.kept.lock();
        if kept.rates.len() >= self.most && kept.swept < now {
            kept.swept = now;
            kept.rates.retain(|_, rate| !rate.is_whole(now));
        }
        if kept.rates.len() >= self.most && !kept.rates.contains_key(&key) {
            return take(&mut { Rate::SPENT });
        }
        take(kept.rates.entry(key).or_default())
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
    use identity::pin::RateRules;

    use super::Rates;

    #[test]
    fn a_crowd_of_keys_makes_no_room_for_itself() {
        let (rates, rules) = (Rates::new(2), RateRules { burst: 1, interval: 10 });
        let take = |key, now| rates.with(key, now, |rate| rate.take(rules, now).is_ok());
        assert!(take("victim", 0) && !take("victim", 1) && take("a", 1));
        // There is no room for more, and nobody who is counted gives way.
        assert!(!take("b", 2) && !take("c", 2) && !take("victim", 3));
        assert!(take("b", 11) && take("victim", 11), "whole again");
    }
}
