//! When a delivery that failed is tried again. Pure: randomness is an argument.
//!
//! Invariant: pauses grow to a bound and never end: nothing is dropped because it failed often.

use std::time::Duration;

/// The first pause after a failure that may pass by itself.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause after such failures.
const LONGEST: Duration = Duration::from_secs(300);
/// The first and the longest pause after a failure that somebody has to mend.
const MENDING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(900));

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It may pass by itself: unreachable, too slow, 429, 5xx.
    Passing,
    /// Somebody has to mend it: 401, 403, 404, a certificate that is not believed.
    Mending,
}

/// Returns the pause before the next attempt after so many failures in a row. `random` is in 0 to 1; the pause lies
/// between half and the whole of what it doubles to. What the receiver asked for (`Retry-After`) is kept, up to the longest.
#[must_use]
pub fn pause(failures: u32, kind: Failure, asked: Option<Duration>, random: f64) -> Duration {
    let (first, longest) = match kind {
        Failure::Passing => (FIRST, LONGEST),
        Failure::Mending => MENDING,
    };
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest);
    let jittered = doubled.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
    jittered.max(asked.unwrap_or_default().min(LONGEST))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Failure, pause};

    #[test]
    fn pauses_double_to_a_bound_and_keep_what_was_asked() {
        let seconds = Duration::from_secs;
        for (failures, kind, asked, random, expected) in [
            (1, Failure::Passing, None, 1.0, seconds(1)),
            (1, Failure::Passing, None, 0.0, Duration::from_millis(500)),
            (4, Failure::Passing, None, 1.0, seconds(8)),
            (40, Failure::Passing, None, 1.0, seconds(300)),
            (u32::MAX, Failure::Passing, None, 0.0, seconds(150)),
            (1, Failure::Mending, None, 1.0, seconds(30)),
            (9, Failure::Mending, None, 1.0, seconds(900)),
            (1, Failure::Passing, Some(seconds(17)), 1.0, seconds(17)),
            (1, Failure::Passing, Some(seconds(86_400)), 1.0, seconds(300)),
        ] {
            assert_eq!(pause(failures, kind, asked, random), expected, "{failures} {kind:?} {asked:?} {random}");
        }
    }
}
