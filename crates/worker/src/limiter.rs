//! Counts uses per key for the rate limiter binding, in memory and within a bound.
//!
//! The caller passes the time in. The count is a sliding window made of two fixed ones, so a key never gets more than its
//! limit across a boundary. Invariant: the table never outgrows its capacity; keys that find no place share one counter,
//! so filling the table can only make the limiter stricter, never laxer.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use parking_lot::Mutex;

const SHARDS: usize = 16;

/// How often a key may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateSpec {
    pub limit: u32,
    pub period: Duration,
}

/// A bounded table of counters, shared by every script of a process.
#[derive(Debug)]
pub struct RateLimiter {
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Shard {
    counters: HashMap<Key, Counter>,
    /// Serves every key that finds no place.
    overflow: HashMap<(u32, u64), Counter>,
}

/// Two independent keyed hashes: neither the scope nor the key is stored, and nobody outside can aim for a collision.
type Key = (u64, u64);

#[derive(Debug, Clone, Copy, Default)]
struct Counter {
    window: u64,
    current: u32,
    previous: u32,
    period_ms: u64,
}

impl RateLimiter {
    /// Builds a table for about `capacity` keys.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            capacity: capacity.div_ceil(SHARDS).max(1),
        }
    }

    /// Counts one use of `key` within `scope` (account, script and binding) and says whether there was room for it.
    /// A refused use is not counted.
    pub fn allow(&self, scope: &str, key: &str, spec: RateSpec, now_ms: u64) -> bool {
        let period_ms = u64::try_from(spec.period.as_millis()).unwrap_or(u64::MAX).max(1);
        let hashed = (self.hasher.hash_one((scope, key)), self.hasher.hash_one((1_u8, scope, key)));
        let index = usize::try_from(hashed.0 % SHARDS as u64).unwrap_or(0);
        let Some(shard) = self.shards.get(index) else {
            return false;
        };
        let mut shard = shard.lock();
        if !shard.counters.contains_key(&hashed) && shard.counters.len() >= self.capacity {
            shard.counters.retain(|_, counter| !counter.expired(now_ms));
        }
        let full = !shard.counters.contains_key(&hashed) && shard.counters.len() >= self.capacity;
        let counter = if full {
            // Specs come from configuration, so this table is as small as the number of distinct limits.
            shard.overflow.entry((spec.limit, period_ms)).or_default()
        } else {
            shard.counters.entry(hashed).or_default()
        };
        counter.take(spec.limit, period_ms, now_ms)
    }
}

impl Counter {
    fn take(&mut self, limit: u32, period_ms: u64, now_ms: u64) -> bool {
        let window = now_ms / period_ms;
        if self.period_ms != period_ms {
            *self = Self { window, period_ms, ..Self::default() };
        }
        match window.checked_sub(self.window) {
            // The clock went back: keep counting in the window there is.
            Some(0) | None => {}
            Some(1) => *self = Self { window, previous: self.current, current: 0, period_ms },
            Some(_) => *self = Self { window, period_ms, ..Self::default() },
        }
        let left = period_ms - now_ms % period_ms;
        let carried = u64::from(self.previous).saturating_mul(left).div_ceil(period_ms);
        if carried + u64::from(self.current) >= u64::from(limit) {
            return false;
        }
        self.current += 1;
        true
    }

    fn expired(&self, now_ms: u64) -> bool {
        now_ms / self.period_ms.max(1) > self.window + 1
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{RateLimiter, RateSpec};

    const SPEC: RateSpec = RateSpec { limit: 3, period: Duration::from_secs(10) };

    fn uses(limiter: &RateLimiter, key: &str, count: usize, now_ms: u64) -> usize {
        (0..count).filter(|_| limiter.allow("scope", key, SPEC, now_ms)).count()
    }

    #[test]
    fn a_key_gets_its_limit_per_period_and_no_more_across_a_boundary() {
        let limiter = RateLimiter::new(100);
        assert_eq!(uses(&limiter, "a", 5, 9_000), 3);
        assert_eq!(uses(&limiter, "b", 1, 9_000), 1, "keys are separate");
        assert_eq!(uses(&limiter, "a", 5, 10_000), 0, "the previous window still counts");
        assert_eq!(uses(&limiter, "a", 5, 20_000), 3, "a period later all of it is back");
        assert_eq!(uses(&limiter, "a", 5, 1_000), 0, "a clock that goes back grants nothing");
    }

    #[test]
    fn a_full_table_makes_newcomers_share_one_counter() {
        let limiter = RateLimiter::new(16);
        let granted: usize = (0..1_000).map(|index| uses(&limiter, &format!("key {index}"), 1, 5_000)).sum();
        assert!(granted <= 16 + 16 * 3, "{granted}");
        let later: usize = (0..8).map(|index| uses(&limiter, &format!("later {index}"), 1, 50_000)).sum();
        assert!(later >= 1, "expired counters make room");
    }

    #[test]
    fn a_limit_of_zero_refuses_everything() {
        let limiter = RateLimiter::new(16);
        assert!(!limiter.allow("s", "k", RateSpec { limit: 0, period: Duration::ZERO }, 0));
    }
}
