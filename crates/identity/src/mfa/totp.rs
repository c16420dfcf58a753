//! Time-based one-time passwords: RFC 6238 with SHA-1, 30 seconds and 6 digits, which is what every app supports.
//!
//! Decides whether a code is right now. The secret is sealed by the caller where it is stored. Invariant: a step that was
//! accepted, and every step before it, is never accepted again (RFC 6238 section 5.2).

use aws_lc_rs::{constant_time, hmac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use types::Secret;

use super::attempts::{Attempts, FACTOR, TooManyAttempts};

/// Seconds of one step.
pub const STEP: i64 = 30;
/// Digits of a code.
pub const DIGITS: usize = 6;
/// Steps before and after the current one that are accepted, for clocks that differ.
const DRIFT: i64 = 1;

/// Characters that stand for themselves in a URI's path and query (RFC 3986 section 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A secret shared with a person's app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TotpSecret(Secret<[u8; 20]>);

impl TotpSecret {
    /// Makes a secret of 160 random bits (RFC 4226 section 4, R6).
    #[must_use]
    pub const fn new(random: [u8; 20]) -> Self {
        Self(Secret::new(random))
    }

    /// Reads the bytes the caller had sealed.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::new)
    }

    /// Returns the bytes for the caller to seal.
    #[must_use]
    pub const fn bytes(&self) -> &Secret<[u8; 20]> {
        &self.0
    }

    /// Returns the secret as people type it: base32 without padding.
    #[must_use]
    pub fn base32(&self) -> Secret<String> {
        Secret::new(base32(self.0.expose()))
    }

    /// Returns the `otpauth` URI for a QR code.
    #[must_use]
    pub fn uri(&self, issuer: &str, account: &str) -> Secret<String> {
        // The colon divides the two in the label, so that it may not stand in either.
        let encode = |text: &str| utf8_percent_encode(&text.replace(':', " "), UNRESERVED).to_string();
        let (issuer, account) = (encode(issuer), encode(account));
        Secret::new(format!(
            "otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}&algorithm=SHA1&digits={DIGITS}&period={STEP}",
            base32(self.0.expose())
        ))
    }

    fn code(&self, step: i64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.0.expose());
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let tag = tag.as_ref();
        // RFC 4226 section 5.3: the last four bits say where the 31 bits stand.
        let offset = usize::from(tag[tag.len() - 1] & 0xf);
        let bits = tag[offset..offset + 4].iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) & 0x7fff_ffff;
        format!("{:06}", bits % 1_000_000)
    }
}

/// What is stored beside the secret.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TotpState {
    /// The last step that was accepted.
    pub last_step: Option<i64>,
    pub attempts: Attempts,
}

/// Why a code does not prove anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TotpError {
    /// One text for wrong, old and used codes.
    #[error("the code is not right, or was used; wait for the next one")]
    Wrong,
    #[error(transparent)]
    TooMany(#[from] TooManyAttempts),
}

impl TotpState {
    /// Checks a code as typed. The caller stores the state over the revision it read before it answers, so that two
    /// requests cannot use one code.
    ///
    /// # Errors
    /// If the code is wrong or used, or there were too many attempts.
    pub fn verify(&mut self, secret: &TotpSecret, typed: &str, now: i64) -> Result<(), TotpError> {
        self.attempts.check(&FACTOR, now)?;
        let digits: String = typed.chars().filter(|c| !c.is_whitespace()).take(DIGITS + 1).collect();
        let current = now.div_euclid(STEP);
        let mut found = None;
        // Every step is compared, so that the time taken tells nothing.
        for step in current - DRIFT..=current + DRIFT {
            if constant_time::verify_slices_are_equal(secret.code(step).as_bytes(), digits.as_bytes()).is_ok() {
                found = Some(step);
            }
        }
        match found.filter(|step| self.last_step.is_none_or(|last| *step > last)) {
            Some(step) => {
                self.last_step = Some(step);
                self.attempts.succeed();
                Ok(())
            }
            None => {
                self.attempts.fail(&FACTOR, now);
                Err(TotpError::Wrong)
            }
        }
    }
}

fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::new();
    for group in bytes.chunks(5) {
        let mut block = [0; 8];
        block[3..3 + group.len()].copy_from_slice(group);
        let bits = u64::from_be_bytes(block);
        for index in 0..(group.len() * 8).div_ceil(5) {
            let five = usize::try_from(bits >> (35 - 5 * index) & 31).unwrap_or(0);
            text.push(char::from(ALPHABET[five]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{TotpError, TotpSecret, TotpState, base32};

    fn secret() -> TotpSecret {
        TotpSecret::new(*b"12345678901234567890")
    }

    #[test]
    fn codes_are_those_of_rfc_6238_appendix_b() {
        for (time, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(secret().code(time / 30), code, "{time}");
            assert_eq!(TotpState::default().verify(&secret(), code, time), Ok(()), "{time}");
        }
    }

    #[test]
    fn a_code_works_one_step_early_or_late_and_no_further() {
        let (now, code) = (1_111_111_110, secret().code(1_111_111_110 / 30));
        for (shift, works) in [(-60, false), (-30, true), (0, true), (30, true), (60, false)] {
            assert_eq!(TotpState::default().verify(&secret(), &code, now + shift).is_ok(), works, "{shift}");
        }
    }

    #[test]
    fn neither_the_accepted_step_nor_one_before_it_is_accepted_again() {
        let now = 1_111_111_110;
        let mut state = TotpState::default();
        let code = |shift: i64| secret().code(now / 30 + shift);
        assert_eq!(state.verify(&secret(), &code(0), now), Ok(()));
        assert_eq!(state.verify(&secret(), &code(0), now), Err(TotpError::Wrong));
        assert_eq!(state.verify(&secret(), &code(-1), now), Err(TotpError::Wrong));
        assert_eq!(state.verify(&secret(), &code(1), now), Ok(()));
    }

    #[test]
    fn guesses_are_bounded_and_the_right_code_does_not_help_during_the_pause() {
        let now = 1_111_111_110;
        let mut state = TotpState::default();
        for guess in ["", "abcdef", "0000000", "99999", "１２３４５６"] {
            assert_eq!(state.verify(&secret(), guess, now), Err(TotpError::Wrong), "{guess}");
        }
        let code = secret().code(now / 30);
        assert!(matches!(state.verify(&secret(), &code, now), Err(TotpError::TooMany(_))));
    }

    #[test]
    fn the_uri_is_what_apps_read() {
        assert_eq!(base32(b"12345678901234567890"), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        assert_eq!(base32(b"foo"), "MZXW6");
        assert_eq!(
            secret().uri("Acme: Inc", "a+b@x.example").expose(),
            "otpauth://totp/Acme%20%20Inc:a%2Bb%40x.example?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
             &issuer=Acme%20%20Inc&algorithm=SHA1&digits=6&period=30"
        );
    }
}
