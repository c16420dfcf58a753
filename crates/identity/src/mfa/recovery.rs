//! Recovery codes: ten words to print, each good once, for a person whose authenticators are gone.
//!
//! Invariant: only hashes are stored, and a code that was used is not stored any more.

use serde::{Deserialize, Serialize};
use types::Secret;

use super::attempts::{Attempts, FACTOR, TooManyAttempts};
use crate::opaque::{Digest, Seed, derive};

/// Codes of one set.
pub const CODES: usize = 10;
/// Characters of a code without its dashes: 80 bits, too many to guess even from the hashes.
const CHARACTERS: usize = 16;
/// Without the characters that are misread: I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A person's codes, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryCodes {
    unused: Vec<Digest>,
    /// Seconds since the epoch.
    pub created_at: i64,
    pub attempts: Attempts,
}

/// Why a code is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    #[error("the recovery code is not right, or was used")]
    Wrong,
    #[error(transparent)]
    TooMany(#[from] TooManyAttempts),
}

impl RecoveryCodes {
    /// Makes a new set, which replaces an older one. The codes in clear are shown once.
    #[must_use]
    pub fn new(seed: &Seed, now: i64) -> (Self, Secret<Vec<String>>) {
        let codes: Vec<String> = (0..CODES).map(|index| code(&derive(seed, &index.to_be_bytes()))).collect();
        let unused = codes.iter().map(|code| Digest::of(&canonical(code))).collect();
        (Self { unused, created_at: now, attempts: Attempts::default() }, Secret::new(codes))
    }

    /// Returns how many codes are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.unused.len()
    }

    /// Uses a code as typed. The caller stores the record over the revision it read before it answers.
    ///
    /// # Errors
    /// If it is not one of those left, or there were too many attempts.
    pub fn redeem(&mut self, typed: &str, now: i64) -> Result<(), RecoveryError> {
        self.attempts.check(&FACTOR, now)?;
        let typed = canonical(typed);
        let Some(found) = self.unused.iter().position(|hash| hash.matches(&typed)) else {
            self.attempts.fail(&FACTOR, now);
            return Err(RecoveryError::Wrong);
        };
        self.unused.remove(found);
        self.attempts.succeed();
        Ok(())
    }
}

fn code(random: &Seed) -> String {
    let symbols = random.iter().take(CHARACTERS).map(|byte| char::from(ALPHABET[usize::from(byte & 31)]));
    let mut text = String::new();
    for (at, symbol) in symbols.enumerate() {
        if at > 0 && at % 4 == 0 {
            text.push('-');
        }
        text.push(symbol);
    }
    text
}

/// Reads a code as people type it: any case, with or without dashes, and the usual misreadings.
fn canonical(typed: &str) -> String {
    typed
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '-')
        .take(CHARACTERS + 1)
        .map(|c| match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{CODES, RecoveryCodes, RecoveryError};

    #[test]
    fn each_code_works_once_however_it_is_typed() {
        let (mut record, codes) = RecoveryCodes::new(&[9; 32], 0);
        let codes = codes.into_inner();
        assert_eq!(record.left(), CODES);
        assert!(codes.iter().enumerate().all(|(at, code)| code.len() == 19 && !codes[..at].contains(code)));
        assert_eq!(record.redeem(&codes[3].to_lowercase().replace('-', " "), 0), Ok(()));
        assert_eq!(record.redeem(&codes[3], 0), Err(RecoveryError::Wrong));
        assert_eq!((record.left(), record.redeem(&codes[4], 0)), (CODES - 1, Ok(())));
        let stored = serde_json::to_string(&record).unwrap();
        assert!(codes.iter().all(|code| !stored.contains(code.as_str())));
    }

    #[test]
    fn guesses_are_bounded() {
        let (mut record, codes) = RecoveryCodes::new(&[9; 32], 0);
        for _ in 0..5 {
            assert_eq!(record.redeem("AAAA", 0), Err(RecoveryError::Wrong));
        }
        assert!(matches!(record.redeem(&codes.expose()[0], 0), Err(RecoveryError::TooMany(_))));
        assert_eq!(record.left(), CODES);
    }
}
