//! A bound on guesses: of one person at one factor, of one source, of one address.
//!
//! The record is data; the caller stores it with what it guards. Invariant: within any span of the window no more than the
//! allowed failures are let through, whatever the clock does.

use serde::{Deserialize, Serialize};

/// How many failures are allowed, and how long the pause is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptRules {
    /// Failures before a pause; at least 1.
    pub allowed: u32,
    /// Seconds after which failures are forgotten, if there are no others.
    pub window: i64,
    /// Seconds of the first pause; each further failure doubles it.
    pub pause: i64,
    /// Seconds of the longest pause.
    pub longest: i64,
}

/// For factors of a person: 5 failures, then 1 minute doubling up to 1 hour. A six-digit code with three steps valid is
/// guessed with probability under 0.1 percent a day.
pub const FACTOR: AttemptRules = AttemptRules { allowed: 5, window: 24 * 3_600, pause: 60, longest: 3_600 };

/// Failures so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    failures: u32,
    /// Seconds since the epoch of the last failure.
    last: i64,
}

/// Too many failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many attempts; try again in {retry_after} seconds")]
pub struct TooManyAttempts {
    /// Seconds.
    pub retry_after: i64,
}

impl Attempts {
    /// Decides whether one more attempt is let through. Ask before the guess is looked at.
    ///
    /// # Errors
    /// With the seconds to wait.
    pub fn check(&self, rules: &AttemptRules, now: i64) -> Result<(), TooManyAttempts> {
        let pause = self.pause(rules);
        // A clock that went back makes the wait longer, never shorter.
        let elapsed = now.saturating_sub(self.last).max(0);
        if self.is_over(rules, now) || elapsed >= pause {
            return Ok(());
        }
        Err(TooManyAttempts { retry_after: pause - elapsed })
    }

    /// Records a failure. Store it before the answer is sent.
    pub fn fail(&mut self, rules: &AttemptRules, now: i64) {
        if self.is_over(rules, now) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.last = self.last.max(now);
    }

    /// Forgets the failures after a success.
    pub fn succeed(&mut self) {
        *self = Self::default();
    }

    fn is_over(&self, rules: &AttemptRules, now: i64) -> bool {
        self.failures == 0 || now.saturating_sub(self.last) >= rules.window
    }

    fn pause(&self, rules: &AttemptRules) -> i64 {
        let Some(excess) = self.failures.checked_sub(rules.allowed) else { return 0 };
        let doubled = 1_i64.checked_shl(excess.min(40)).unwrap_or(i64::MAX);
        rules.pause.saturating_mul(doubled).min(rules.longest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Attempts, FACTOR};

    #[test]
    fn the_sixth_guess_waits_and_each_further_one_waits_longer() {
        let mut attempts = Attempts::default();
        for _ in 0..5 {
            assert!(attempts.check(&FACTOR, 1_000).is_ok());
            attempts.fail(&FACTOR, 1_000);
        }
        assert_eq!(attempts.check(&FACTOR, 1_010).unwrap_err().retry_after, 50);
        assert!(attempts.check(&FACTOR, 900).is_err(), "a clock that went back opens nothing");
        assert!(attempts.check(&FACTOR, 1_060).is_ok());
        attempts.fail(&FACTOR, 1_060);
        assert_eq!(attempts.check(&FACTOR, 1_060).unwrap_err().retry_after, 120);
        attempts.succeed();
        assert!(attempts.check(&FACTOR, 1_060).is_ok());
    }

    proptest! {
        #[test]
        fn a_day_of_guessing_is_a_few_dozen_guesses(steps in prop::collection::vec(0_i64..7_200, 1..400)) {
            let mut attempts = Attempts::default();
            let (mut now, mut let_through) = (1_000_000, 0);
            for step in steps {
                now += step;
                if now >= 1_000_000 + 24 * 3_600 {
                    break;
                }
                if attempts.check(&FACTOR, now).is_ok() {
                    let_through += 1;
                    attempts.fail(&FACTOR, now);
                }
            }
            prop_assert!(let_through <= 5 + 6 + 24);
        }
    }
}
