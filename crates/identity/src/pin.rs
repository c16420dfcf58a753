//! One-time PIN by mail: the built-in way to sign in without a provider (reference section 3.2).
//!
//! Decides which PIN a login waits for and whether a typed one is it. Deliberately sends no mail. Invariants: what is
//! answered, stored and computed does not depend on whether an address may sign in; a PIN works once, in the browser and
//! the login that asked for it, within 10 minutes; the store alone does not give it.

use serde::{Deserialize, Serialize};
use types::{Email, Secret};

use crate::opaque::{Digest, Seed, derive, text};

/// Seconds a PIN lives.
pub const LIFE: i64 = 10 * 60;
/// Wrong entries after which a PIN is over.
pub const ATTEMPTS: u8 = 5;
const DIGITS: usize = 6;

/// Reads what a person typed as the address of a mailbox, in lower case. Narrower than what names an identity: a dot-atom
/// (RFC 5322 section 3.2.3) at a host name, in ASCII. So one text is one mailbox, and no server reads a second address, a
/// display name or a route in it.
#[must_use]
pub fn mailbox(typed: &str) -> Option<Email> {
    const ATOM: &[u8] = b"!#$%&'*+-/=?^_`{|}~";
    const LONGEST_LOCAL: usize = 64;
    const LONGEST_LABEL: usize = 63;
    let text = typed.trim().to_ascii_lowercase();
    let (local, host) = text.split_once('@')?;
    let atom = |atom: &str| !atom.is_empty() && atom.bytes().all(|b| b.is_ascii_alphanumeric() || ATOM.contains(&b));
    let label = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let sound = local.len() <= LONGEST_LOCAL && local.split('.').all(atom) && host.split('.').all(label);
    sound.then(|| text.parse().ok()).flatten()
}

/// How often something may happen: `burst` at once, then one each `interval` seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateRules {
    pub burst: i64,
    pub interval: i64,
}

/// PINs for one address: 3 at once, then one in 5 minutes.
pub const PER_ADDRESS: RateRules = RateRules { burst: 3, interval: 300 };
/// PINs for one source address: 20 at once, then one in 30 seconds.
pub const PER_SOURCE: RateRules = RateRules { burst: 20, interval: 30 };

/// How much of a rate is used, as stored: the time at which it is whole again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Seconds since the epoch.
    whole_at: i64,
}

impl Rate {
    /// Takes one, if there is one; else returns the seconds to wait.
    ///
    /// # Errors
    /// With the seconds to wait.
    pub fn take(&mut self, rules: RateRules, now: i64) -> Result<(), RateLimited> {
        let next = self.whole_at.max(now).saturating_add(rules.interval);
        let excess = next.saturating_sub(now).saturating_sub(rules.burst.saturating_mul(rules.interval));
        if excess > 0 {
            return Err(RateLimited { retry_after: excess });
        }
        self.whole_at = next;
        Ok(())
    }

    /// Returns the seconds until the record can be dropped; 0 if it can.
    #[must_use]
    pub fn whole_in(&self, now: i64) -> i64 {
        self.whole_at.saturating_sub(now).max(0)
    }
}

/// Too many PINs were asked for from one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests; try again in {retry_after} seconds")]
pub struct RateLimited {
    /// Seconds.
    pub retry_after: i64,
}

/// A request for a PIN.
#[derive(Debug)]
pub struct Start<'a> {
    pub address: Email,
    /// Whether some policy could let the address in.
    pub could_enter: bool,
    /// The login the PIN is for.
    pub login: &'a str,
    /// The secret in this browser's cookie.
    pub browser_secret: &'a str,
    pub address_rate: &'a mut Rate,
    pub source_rate: &'a mut Rate,
    /// Seconds since the epoch.
    pub now: i64,
    pub seed: &'a Seed,
}

/// A PIN that a login waits for, as stored (document version 1). A newer one for the same login replaces it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingPin {
    pub address: Email,
    /// Seconds since the epoch.
    pub expires_at: i64,
    pin: Digest,
    attempts_left: u8,
    could_enter: bool,
}

/// The mail to hand to the outbox. If `deliver` is false, the caller does the same work and lets the outbox drop it, so
/// that the time of the answer tells nothing.
#[derive(Debug, Clone)]
pub struct PinMail {
    pub to: Email,
    pub pin: Secret<String>,
    pub deliver: bool,
}

/// Makes a PIN. The page says that a code was sent, whatever happened.
///
/// # Errors
/// If this source asks too often. An address that is asked for too often is not told apart: its mail is dropped.
///
/// # Security
/// A PIN whose mail is dropped opens nothing, so that the guesses at an address are bounded with its mail, however many
/// sources ask.
pub fn start(start: Start<'_>) -> Result<(PendingPin, PinMail), RateLimited> {
    start.source_rate.take(PER_SOURCE, start.now)?;
    let within_rate = start.address_rate.take(PER_ADDRESS, start.now).is_ok();
    let deliver = start.could_enter && within_rate;
    let pin = digits(start.seed);
    let pending = PendingPin {
        address: start.address.clone(),
        expires_at: start.now.saturating_add(LIFE),
        pin: bound(&pin, start.login, start.browser_secret),
        attempts_left: ATTEMPTS,
        could_enter: deliver,
    };
    let mail = PinMail { to: start.address, pin: Secret::new(pin), deliver };
    Ok((pending, mail))
}

/// The one answer to every entry that does not sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("That account does not have access.")]
pub struct Refused;

impl PendingPin {
    /// Checks what was typed. The caller stores the record over the revision it read before it answers.
    ///
    /// # Errors
    /// If it is not the PIN, or is old, used, guessed at too often, of another browser or login, or of an address that
    /// may not enter.
    pub fn verify(&mut self, typed: &str, login: &str, browser_secret: &str, now: i64) -> Result<Email, Refused> {
        let typed: String = typed.chars().filter(|c| !c.is_whitespace()).take(DIGITS + 1).collect();
        let right = self.pin == bound(&typed, login, browser_secret);
        let open = self.attempts_left > 0 && now < self.expires_at;
        if right && open && self.could_enter {
            self.attempts_left = 0;
            return Ok(self.address.clone());
        }
        self.attempts_left = self.attempts_left.saturating_sub(1);
        Err(Refused)
    }
}

fn digits(seed: &Seed) -> String {
    let random = derive(seed, b"pin");
    // 64 bits modulo a million: no digit is more likely than another by more than 1 in 10^13.
    let number = random.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte)) % 1_000_000;
    format!("{number:06}")
}

/// Binds a PIN to its login and browser. The browser's secret is not stored, so that a million guesses at a stolen record
/// lead nowhere.
fn bound(pin: &str, login: &str, browser_secret: &str) -> Digest {
    let key = derive(browser_secret.as_bytes(), login.as_bytes());
    Digest::of(&text(&derive(&key, pin.as_bytes())))
}

#[cfg(test)]
mod tests {
    use types::Email;

    use super::{ATTEMPTS, LIFE, PendingPin, PinMail, Rate, RateLimited, RateRules, Start, mailbox, start};

    #[test]
    fn a_typed_address_is_one_mailbox_or_none() {
        for (typed, read) in [
            (" Ada.L+x@Acme.Example ", Some("ada.l+x@acme.example")),
            ("root@localhost", Some("root@localhost")),
            ("o'neil@x-y.example", Some("o'neil@x-y.example")),
            ("ada", None),
            ("@acme.example", None),
            ("ada@", None),
            ("ada@acme.example,eve@evil.example", None),
            ("ada@acme.example\r\nBcc: eve@evil.example", None),
            ("eve<ada@acme.example>", None),
            ("\"ada@acme.example\"@evil.example", None),
            ("ada@acme..example", None),
            (".ada@acme.example", None),
            ("ada@-acme.example", None),
            ("ada@[192.0.2.1]", None),
            ("ada@evil.example%acme.example", None),
            // The Kelvin sign is a `k` in lower case.
            ("\u{212a}im@acme.example", None),
            ("ada@\u{430}cme.example", None),
        ] {
            assert_eq!(mailbox(typed).as_ref().map(Email::as_str), read, "{typed}");
        }
        assert_eq!(mailbox(&format!("{}@acme.example", "a".repeat(65))), None);
    }

    fn begin(could_enter: bool, seed: u8) -> (PendingPin, PinMail) {
        let (mut address_rate, mut source_rate) = (Rate::default(), Rate::default());
        start(Start {
            address: "ada@acme.example".parse().unwrap(),
            could_enter,
            login: "login",
            browser_secret: "browser",
            address_rate: &mut address_rate,
            source_rate: &mut source_rate,
            now: 1_000,
            seed: &[seed; 32],
        })
        .unwrap()
    }

    #[test]
    fn a_pin_works_once_here_and_in_time() {
        let (pending, mail) = begin(true, 1);
        let pin = mail.pin.expose().as_str();
        assert!(mail.deliver && pin.len() == 6);
        for (name, typed, login, browser, now, works) in [
            ("right", pin, "login", "browser", 1_001, true),
            ("spaced", &format!(" {} {}", &pin[..3], &pin[3..]), "login", "browser", 1_001, true),
            ("last second", pin, "login", "browser", 1_000 + LIFE - 1, true),
            ("late", pin, "login", "browser", 1_000 + LIFE, false),
            ("other login", pin, "other", "browser", 1_001, false),
            ("other browser", pin, "login", "thief", 1_001, false),
            ("wrong", "x", "login", "browser", 1_001, false),
            ("longer", &format!("{pin}0"), "login", "browser", 1_001, false),
        ] {
            let mut pending = pending.clone();
            assert_eq!(pending.verify(typed, login, browser, now).is_ok(), works, "{name}");
            if works {
                assert!(pending.verify(typed, login, browser, now).is_err(), "{name}, again");
            }
        }
    }

    #[test]
    fn guesses_are_bounded() {
        let (mut pending, mail) = begin(true, 1);
        for _ in 0..ATTEMPTS {
            assert!(pending.verify("x", "login", "browser", 1_001).is_err());
        }
        assert!(pending.verify(mail.pin.expose(), "login", "browser", 1_001).is_err());
    }

    #[test]
    fn an_address_that_may_not_enter_is_answered_alike() {
        let (mut pending, mail) = begin(false, 1);
        let (allowed, _) = begin(true, 1);
        let shape = |pending: &PendingPin| serde_json::to_string(pending).unwrap().replace("true", "false");
        assert_eq!(shape(&pending), shape(&allowed));
        assert!(!mail.deliver);
        let refused = pending.verify(mail.pin.expose(), "login", "browser", 1_001).unwrap_err();
        let wrong = begin(true, 2).0.verify("x", "login", "browser", 1_001).unwrap_err();
        assert_eq!(refused.to_string(), wrong.to_string());
    }

    #[test]
    fn a_pin_that_is_not_mailed_opens_nothing_so_guesses_are_bounded_whatever_their_sources() {
        let mut address_rate = Rate::default();
        let opened = (0..100_u8).filter(|number| {
            // Each from a source of its own.
            let (mut pending, mail) = start(Start {
                address: "ada@acme.example".parse().unwrap(),
                could_enter: true,
                login: "login",
                browser_secret: "browser",
                address_rate: &mut address_rate,
                source_rate: &mut Rate::default(),
                now: 1_000,
                seed: &[*number; 32],
            })
            .unwrap();
            pending.verify(mail.pin.expose(), "login", "browser", 1_001).is_ok()
        });
        assert_eq!(opened.count(), 3);
    }

    #[test]
    fn mail_is_bounded_for_an_address_in_silence_and_for_a_source_aloud() {
        let (mut address_rate, mut source_rate) = (Rate::default(), Rate::default());
        let mut ask = |address: &str, now| {
            let address: Email = address.parse().unwrap();
            start(Start {
                address,
                could_enter: true,
                login: "login",
                browser_secret: "browser",
                address_rate: &mut address_rate,
                source_rate: &mut source_rate,
                now,
                seed: &[1; 32],
            })
            .map(|(_, mail)| mail.deliver)
        };
        let answers: Vec<_> = (0..20).map(|_| ask("ada@acme.example", 1_000).unwrap()).collect();
        assert_eq!(answers.iter().filter(|delivered| **delivered).count(), 3);
        assert_eq!(ask("ada@acme.example", 1_000), Err(RateLimited { retry_after: 30 }));
        assert_eq!(ask("ada@acme.example", 1_300), Ok(true));
        let mut rate = Rate::default();
        let rules = RateRules { burst: 1, interval: 10 };
        assert_eq!((rate.take(rules, 5), rate.take(rules, 14).is_err(), rate.take(rules, 15)), (Ok(()), true, Ok(())));
        assert_eq!((rate.whole_in(15), rate.whole_in(25), rate.whole_in(99)), (10, 0, 0));
    }
}
