//! When a certificate is asked for: the renewal, and the pause after a failure. Pure: time and chance are arguments.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The pause after the first failure; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// The longest pause of our own. Authorities count failures by the hour and by the week.
const LONGEST_PAUSE: Duration = Duration::from_secs(12 * 3_600);
/// The longest pause that an authority is believed to want.
const LONGEST_WISH: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Returns when to renew: after two thirds of the lifetime, and a part of the rest as `chance` (0 to 1) has it, so that
/// certificates that were issued together are not renewed together.
#[must_use]
pub fn renewal(not_before: Timestamp, not_after: Timestamp, chance: f64) -> Timestamp {
    let life = not_after.duration_since(not_before).max(SignedDuration::ZERO);
    let chance = if chance.is_finite() { chance.clamp(0.0, 1.0) } else { 0.0 };
    // At most a tenth of the lifetime later: there is time left for failures.
    let later = SignedDuration::from_secs_f64(life.as_secs_f64() * (2.0 / 3.0 + chance / 10.0));
    not_before.saturating_add(later).unwrap_or(not_after).min(not_after)
}

/// Returns how long to wait after so many failures in a row (1 and more). What the authority asks for (`Retry-After`) is
/// the least.
#[must_use]
pub fn pause(failures: u32, wished: Option<Duration>, chance: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let own = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
    let chance = if chance.is_finite() { chance.clamp(0.0, 1.0) } else { 0.0 };
    own.max(wished.unwrap_or_default().min(LONGEST_WISH)).mul_f64(1.0 + chance / 4.0)
}

/// Tells whether an authority in the Internet can vouch for a name: not where it is one of this machine, of a network of
/// its own or of documentation (RFC 6761, RFC 6762, RFC 8375, RFC 9476), and not for an address.
#[must_use]
pub fn is_public_name(name: &str) -> bool {
    const PRIVATE: [&str; 10] =
        ["localhost", "local", "test", "example", "invalid", "internal", "alt", "onion", "lan", "home.arpa"];
    let under = |suffix: &str| name.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    name.contains('.')
        && !name.contains('*')
        && name.parse::<std::net::IpAddr>().is_err()
        && !PRIVATE.iter().any(|suffix| under(suffix))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::{LONGEST_PAUSE, LONGEST_WISH, is_public_name, pause, renewal};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn renewal_comes_after_two_thirds_and_well_before_the_end() {
        const DAY: i64 = 86_400;
        for (life, chance, expected) in [
            (90 * DAY, 0.0, 60 * DAY),
            (90 * DAY, 1.0, 69 * DAY),
            (6 * DAY, 0.0, 4 * DAY),
            (3_600, 0.5, 2_580),
            (90 * DAY, f64::NAN, 60 * DAY),
            (0, 0.5, 0),
            (-5, 0.5, -5),
        ] {
            let moment = renewal(at(1_000), at(1_000 + life), chance);
            assert_eq!(moment.as_second() - 1_000, expected, "{life} {chance}");
        }
    }

    #[test]
    fn pauses_double_to_a_bound_and_are_never_shorter_than_the_authority_asks() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        for (failures, wished, expected) in [
            (0, None, minutes(1)),
            (1, None, minutes(1)),
            (2, None, minutes(2)),
            (6, None, minutes(32)),
            (40, None, LONGEST_PAUSE),
            (u32::MAX, None, LONGEST_PAUSE),
            (1, Some(minutes(90)), minutes(90)),
            (9, Some(minutes(1)), minutes(256)),
            (1, Some(Duration::from_secs(u64::MAX)), LONGEST_WISH),
        ] {
            assert_eq!(pause(failures, wished, 0.0), expected, "{failures} {wished:?}");
            let jittered = pause(failures, wished, 1.0);
            assert!(jittered > expected && jittered <= expected.mul_f64(1.25), "{jittered:?}");
        }
    }

    #[test]
    fn names_of_this_machine_and_of_networks_of_their_own_are_not_asked_for() {
        for name in ["docs.example.net", "wiki.acme.com", "localhost.example.net", "mylocal.dev", "xn--bcher-kva.de"] {
            assert!(is_public_name(name), "{name}");
        }
        for name in [
            "localhost",
            "wiki.localhost",
            "wiki",
            "printer.local",
            "a.test",
            "acme.example",
            "x.internal",
            "box.home.arpa",
            "192.0.2.7",
            "2001:db8::1",
            "*.example.net",
            "",
        ] {
            assert!(!is_public_name(name), "{name}");
        }
    }
}
