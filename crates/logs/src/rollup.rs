//! Counts per minute for the last hour, for the overview page: in memory, of fixed size.
//!
//! Counting is a function of a record and the minute it fell in; nothing here reads a clock. Invariant: memory does not
//! grow with traffic: 61 minutes, at most 24 words each, fixed histograms.

use std::collections::BTreeMap;

use crate::records::{Dataset, RecordMut};

/// How many minutes are kept.
pub const MINUTES: usize = 61;
/// How many different words (actions, outcomes) one minute counts; the rest count as `other`.
const WORDS: usize = 24;

/// Durations in microseconds, in buckets that each span a quarter of a power of two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: [u32; Self::BUCKETS],
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; Self::BUCKETS], total: 0 }
    }
}

impl Histogram {
    /// Up to 2^32 microseconds, over an hour.
    const BUCKETS: usize = 32 * 4;

    /// Counts one duration.
    pub fn record(&mut self, micros: u64) {
        let bucket = Self::bucket(micros);
        self.counts[bucket] = self.counts[bucket].saturating_add(1);
        self.total += 1;
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Self) {
        for (own, theirs) in self.counts.iter_mut().zip(other.counts) {
            *own = own.saturating_add(theirs);
        }
        self.total += other.total;
    }

    /// Returns how many durations were counted.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Returns the upper end of the bucket that the `quantile` (0 to 1) falls in, or `None` when nothing was counted.
    /// At most a quarter above the true value.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<u64> {
        if self.total == 0 {
            return None;
        }
        // Counts are far below 2^52, where f64 is exact.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the counted range")]
        let rank = ((quantile.clamp(0.0, 1.0) * self.total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                return Some(Self::upper(bucket));
            }
        }
        Some(Self::upper(Self::BUCKETS - 1))
    }

    fn bucket(micros: u64) -> usize {
        if micros < 4 {
            return micros as usize;
        }
        let power = micros.ilog2();
        let quarter = (micros >> (power - 2)) & 3;
        ((power as usize - 1) * 4 + quarter as usize).min(Self::BUCKETS - 1)
    }

    fn upper(bucket: usize) -> u64 {
        if bucket < 4 {
            return bucket as u64;
        }
        let (power, quarter) = (bucket / 4 + 1, (bucket % 4) as u64);
        (1_u64 << power) + (quarter + 1) * (1 << (power - 2)) - 1
    }
}

/// What one minute of one dataset held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Minute {
    /// The minute, counted from the Unix epoch.
    pub minute: i64,
    /// How many records.
    pub records: u64,
    /// How many by action (`gateway_http`, `gateway_network`), outcome (`worker`) or act (`audit`).
    pub by_word: BTreeMap<String, u64>,
    /// Time in policy; processor time for `worker`.
    pub decision: Histogram,
    /// Time waiting for Workers; elapsed time for `worker`.
    pub worker: Histogram,
    /// The whole exchange.
    pub duration: Histogram,
    /// Bytes from the client.
    pub bytes_sent: u64,
    /// Bytes to the client.
    pub bytes_received: u64,
    /// Records that carry an error.
    pub errors: u64,
}

/// The last hour of every dataset.
#[derive(Debug, Default)]
pub(crate) struct Rollup {
    minutes: [BTreeMap<i64, Minute>; Dataset::ALL.len()],
}

impl Rollup {
    /// Counts a record in the minute of its own time, unless that is older than what is kept.
    pub(crate) fn count(&mut self, record: &RecordMut<'_>) {
        let minutes = &mut self.minutes[record.dataset().index()];
        let number = record.datetime().as_second().div_euclid(60);
        if minutes.len() >= MINUTES && !minutes.contains_key(&number) {
            match minutes.first_key_value().map(|(oldest, _)| *oldest) {
                Some(oldest) if oldest < number => minutes.remove(&oldest),
                _ => return,
            };
        }
        let minute = minutes.entry(number).or_insert_with(|| Minute { minute: number, ..Minute::default() });
        minute.count(record);
    }

    /// Returns the minutes from `first` on that held something, oldest first.
    pub(crate) fn since(&self, dataset: Dataset, first: i64) -> Vec<Minute> {
        self.minutes[dataset.index()].range(first..).map(|(_, minute)| minute.clone()).collect()
    }
}

impl Minute {
    fn count(&mut self, record: &RecordMut<'_>) {
        self.records += 1;
        match record {
            RecordMut::GatewayHttp(http) => {
                self.word(&http.action);
                self.decision.record(http.decision_micros);
                if http.worker_micros > 0 {
                    self.worker.record(http.worker_micros);
                }
                self.duration.record(http.duration_micros);
                self.bytes_sent += http.request_bytes;
                self.bytes_received += http.response_bytes;
                self.errors += u64::from(!http.error.is_empty());
            }
            RecordMut::GatewayNetwork(network) => {
                self.word(&network.action);
                self.decision.record(network.decision_micros);
                self.duration.record(network.duration_micros);
                self.bytes_sent += network.bytes_sent;
                self.bytes_received += network.bytes_received;
                self.errors += u64::from(!network.error.is_empty());
            }
            RecordMut::Worker(worker) => {
                self.word(&worker.outcome);
                self.decision.record(worker.cpu_time_micros);
                self.worker.record(worker.wall_time_micros);
                self.errors += u64::from(!worker.exceptions.is_empty());
            }
            RecordMut::Audit(audit) => {
                self.word(&audit.action_type);
                self.errors += u64::from(!audit.action_result);
            }
            RecordMut::AccessRequests(access) => {
                self.word(&access.action);
                self.errors += u64::from(!access.allowed);
            }
            RecordMut::McpPortalLogs(call) => {
                self.word(&call.action);
                self.decision.record(call.decision_micros);
                self.duration.record(call.duration_micros);
                self.errors += u64::from(!call.success);
            }
        }
    }

    fn word(&mut self, word: &str) {
        let word = if self.by_word.len() < WORDS || self.by_word.contains_key(word) { word } else { "other" };
        if let Some(count) = self.by_word.get_mut(word) {
            *count += 1;
        } else {
            self.by_word.insert(word.chars().take(40).collect(), 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::{Histogram, MINUTES, Rollup};
    use crate::records::{AsRecord as _, Dataset, GatewayHttp};

    fn request(second: i64, action: &str) -> GatewayHttp {
        let datetime = Timestamp::from_second(second).unwrap();
        GatewayHttp { datetime, action: action.to_owned(), decision_micros: 100, ..GatewayHttp::default() }
    }

    proptest! {
        #[test]
        fn a_quantile_is_never_below_and_at_most_a_quarter_above(micros in 0_u64..1 << 32) {
            let mut histogram = Histogram::default();
            histogram.record(micros);
            let found = histogram.quantile(0.5).unwrap();
            prop_assert!(found >= micros && found <= micros + micros / 4 + 1, "{} for {}", found, micros);
        }
    }

    #[test]
    fn quantiles_follow_the_counts() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for _ in 0..99 {
            histogram.record(2);
        }
        histogram.record(1_000_000);
        assert_eq!(histogram.quantile(0.5), Some(2));
        assert!(histogram.quantile(1.0).unwrap() >= 1_000_000);
    }

    #[test]
    fn memory_does_not_grow_with_time_or_words() {
        let mut rollup = Rollup::default();
        for number in 0..10_000 {
            rollup.count(&request(number * 60, &format!("action {number}")).as_record());
        }
        let minutes = rollup.since(Dataset::GatewayHttp, 0);
        assert_eq!(minutes.len(), MINUTES);
        assert_eq!(minutes.last().unwrap().minute, 9_999);
        for number in 0..1_000 {
            rollup.count(&request(9_999 * 60, &format!("word {number}")).as_record());
        }
        let last = rollup.since(Dataset::GatewayHttp, 9_999);
        assert!(last[0].by_word.len() <= 25);
        assert_eq!(last[0].by_word.values().sum::<u64>(), last[0].records);
    }

    #[test]
    fn a_record_counts_in_the_minute_of_its_own_time() {
        let mut rollup = Rollup::default();
        for (second, action) in [(0, "allow"), (59, "block"), (60, "allow"), (30, "block")] {
            rollup.count(&request(second, action).as_record());
        }
        let minutes = rollup.since(Dataset::GatewayHttp, 0);
        let counts: Vec<_> = minutes.iter().map(|minute| (minute.minute, minute.records)).collect();
        assert_eq!(counts, [(0, 3), (1, 1)]);
        assert_eq!(minutes[0].by_word["block"], 2);
    }
}
