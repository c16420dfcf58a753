//! Limits how often something may be tried: a steady rate for API calls, a growing delay for failed sign-ins.
//!
//! Both take the time as an argument and keep a bounded number of keys; when full, the key closest to being free again
//! is dropped, so an attacker with many addresses only ever frees the addresses that matter least.
//! Invariant: memory is bounded by `capacity`, whatever arrives.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

/// A steady rate with a burst (generic cell rate algorithm).
#[derive(Debug)]
pub struct Rate<K> {
    interval: i128,
    tolerance: i128,
    capacity: usize,
    /// When each key's burst is fully available again, in nanoseconds.
    free_at: Mutex<HashMap<K, i128>>,
}

impl<K: Eq + Hash + Clone> Rate<K> {
    /// Allows `calls` per `period`, all of which may come at once.
    #[must_use]
    pub fn new(calls: u32, period: Duration, capacity: usize) -> Self {
        let interval = nanoseconds(period) / i128::from(calls.max(1));
        let tolerance = nanoseconds(period) - interval;
        Self { interval, tolerance, capacity: capacity.max(1), free_at: Mutex::new(HashMap::new()) }
    }

    /// Counts one call; an error is the time to wait until the next would be accepted.
    ///
    /// # Errors
    ///
    /// When the key has used its burst.
    pub fn check(&self, key: K, now: Timestamp) -> Result<(), Duration> {
        let now = now.as_nanosecond();
        let mut free_at = self.free_at.lock();
        let free = free_at.get(&key).copied().unwrap_or(now).max(now);
        if free - now > self.tolerance {
            return Err(duration(free - now - self.tolerance));
        }
        make_room(&mut free_at, &key, self.capacity, now, |free| *free);
        free_at.insert(key, free + self.interval);
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
struct Strikes {
    failures: u32,
    blocked_until: i128,
    forgotten_at: i128,
}

/// A delay that doubles with every failure and is forgotten after quiet.
#[derive(Debug)]
pub struct Backoff<K> {
    free_failures: u32,
    longest: i128,
    capacity: usize,
    strikes: Mutex<HashMap<K, Strikes>>,
}

impl<K: Eq + Hash + Clone> Backoff<K> {
    /// Lets `free_failures` pass, then delays one second, doubling up to `longest`.
    #[must_use]
    pub fn new(free_failures: u32, longest: Duration, capacity: usize) -> Self {
        let strikes = Mutex::new(HashMap::new());
        Self { free_failures, longest: nanoseconds(longest), capacity: capacity.max(1), strikes }
    }

    /// Says whether `key` may try.
    ///
    /// # Errors
    ///
    /// The time to wait.
    pub fn check(&self, key: &K, now: Timestamp) -> Result<(), Duration> {
        let now = now.as_nanosecond();
        match self.strikes.lock().get(key) {
            Some(strikes) if strikes.blocked_until > now => Err(duration(strikes.blocked_until - now)),
            _ => Ok(()),
        }
    }

    /// Records a failure. Call it before the slow check and [`Self::clear`] after success, so that parallel attempts
    /// cannot outrun the count.
    pub fn strike(&self, key: &K, now: Timestamp) {
        const SECOND: i128 = 1_000_000_000;
        let now = now.as_nanosecond();
        let mut all = self.strikes.lock();
        make_room(&mut all, key, self.capacity, now, |strikes| strikes.forgotten_at);
        let strikes = all.entry(key.clone()).or_insert(Strikes { failures: 0, blocked_until: 0, forgotten_at: 0 });
        if strikes.forgotten_at < now {
            strikes.failures = 0;
        }
        strikes.failures = strikes.failures.saturating_add(1);
        if strikes.failures > self.free_failures {
            let doublings = (strikes.failures - self.free_failures - 1).min(30);
            strikes.blocked_until = now + (SECOND << doublings).min(self.longest);
        }
        strikes.forgotten_at = now.max(strikes.blocked_until) + self.longest;
    }

    /// Forgets the failures of `key`.
    pub fn clear(&self, key: &K) {
        self.strikes.lock().remove(key);
    }
}

fn make_room<K: Eq + Hash + Clone, V>(
    map: &mut HashMap<K, V>,
    key: &K,
    capacity: usize,
    now: i128,
    ends: impl Fn(&V) -> i128,
) {
    if map.len() < capacity || map.contains_key(key) {
        return;
    }
    map.retain(|_, value| ends(value) > now);
    if map.len() >= capacity
        && let Some(soonest) = map.iter().min_by_key(|(_, value)| ends(value)).map(|(key, _)| key.clone())
    {
        map.remove(&soonest);
    }
}

fn nanoseconds(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX / 4)
}

fn duration(nanoseconds: i128) -> Duration {
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

/// What one "address" is when counting: a host for IPv4, a /64 for IPv6, because a client owns all of it.
#[must_use]
pub fn address_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::{Backoff, Rate, address_key};

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + milliseconds).unwrap()
    }

    #[test]
    fn a_burst_passes_and_the_rate_holds_after_it() {
        let rate = Rate::new(3, Duration::from_secs(3), 10);
        for _ in 0..3 {
            rate.check("a", at(0)).unwrap();
        }
        assert_eq!(rate.check("a", at(0)).unwrap_err(), Duration::from_secs(1));
        rate.check("b", at(0)).unwrap();
        rate.check("a", at(1000)).unwrap();
        assert!(rate.check("a", at(1999)).is_err());
        rate.check("a", at(60_000)).unwrap();
    }

    #[test]
    fn failures_double_the_delay_up_to_the_longest_and_quiet_forgets() {
        let backoff = Backoff::new(2, Duration::from_secs(4), 10);
        backoff.strike(&"a", at(0));
        backoff.strike(&"a", at(0));
        backoff.check(&"a", at(0)).unwrap();
        for seconds in [1, 2, 4, 4] {
            backoff.strike(&"a", at(0));
            assert_eq!(backoff.check(&"a", at(0)).unwrap_err(), Duration::from_secs(seconds));
        }
        backoff.check(&"a", at(4001)).unwrap();
        backoff.strike(&"a", at(60_000));
        backoff.check(&"a", at(60_000)).unwrap();
        backoff.strike(&"a", at(60_000));
        backoff.strike(&"a", at(60_000));
        assert!(backoff.check(&"a", at(60_000)).is_err());
        backoff.clear(&"a");
        backoff.check(&"a", at(60_000)).unwrap();
    }

    #[test]
    fn many_keys_stay_within_the_bound_and_the_worst_offender_is_kept() {
        let backoff = Backoff::new(0, Duration::from_secs(900), 8);
        for _ in 0..10 {
            backoff.strike(&0, at(0));
        }
        for key in 1..1000 {
            backoff.strike(&key, at(0));
        }
        assert!(backoff.strikes.lock().len() <= 8);
        assert!(backoff.check(&0, at(1)).is_err());
        let rate = Rate::new(1, Duration::from_secs(1), 8);
        for key in 0..1000 {
            rate.check(key, at(0)).unwrap();
        }
        assert!(rate.free_at.lock().len() <= 8);
    }

    #[test]
    fn an_ipv6_client_counts_once_per_64() {
        let [a, b, c] =
            ["2001:db8::1", "2001:db8::ffff", "2001:db8:0:1::1"].map(|text| address_key(text.parse().unwrap()));
        assert_eq!(a, b);
        assert_ne!(a, c);
        assert_eq!(address_key("::ffff:192.0.2.1".parse().unwrap()), address_key("192.0.2.1".parse().unwrap()));
    }
}
