//! The text of a credential: `ptn_`, 40 random letters and digits, 8 hexadecimal digits of checksum.
//!
//! The prefix and the checksum let scanners find a leaked token and let a mistyped one be refused without a lookup.
//! Only the SHA-256 of the text is stored: with 238 bits of entropy there is nothing to guess, so a slow hash would buy
//! nothing. Comparing is looking the hash up, which leaks no timing about the secret.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use types::Secret;

use crate::seal::{SealError, random};

const PREFIX: &str = "ptn_";
const RANDOM_LENGTH: usize = 40;
const CHECKSUM_LENGTH: usize = 8;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The hash a credential is known by; it is not a secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretHash(String);

impl SecretHash {
    /// Hashes a presented credential, or returns `None` when it cannot be one of ours.
    #[must_use]
    pub fn of(secret: &str) -> Option<Self> {
        is_well_formed(secret).then(|| Self::unchecked(secret))
    }

    /// Returns the 64 hexadecimal digits that documents carry.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn unchecked(secret: &str) -> Self {
        Self(digest(&SHA256, secret.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Draws a fresh credential.
pub(crate) fn generate() -> Result<(Secret<String>, SecretHash), SealError> {
    let mut text = String::with_capacity(PREFIX.len() + RANDOM_LENGTH + CHECKSUM_LENGTH);
    text.push_str(PREFIX);
    while text.len() < PREFIX.len() + RANDOM_LENGTH {
        for byte in random::<RANDOM_LENGTH>()? {
            // 248 is the largest multiple of 62 in a byte; larger values would favour the first letters.
            if byte < 248 && text.len() < PREFIX.len() + RANDOM_LENGTH {
                text.push(char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
            }
        }
    }
    let checksum = crc32fast::hash(text.as_bytes());
    text.push_str(&format!("{checksum:08x}"));
    let hash = SecretHash::unchecked(&text);
    Ok((Secret::new(text), hash))
}

/// Says whether a text has the form of a credential, checksum included.
#[must_use]
pub fn is_well_formed(text: &str) -> bool {
    if text.len() != PREFIX.len() + RANDOM_LENGTH + CHECKSUM_LENGTH || !text.is_ascii() || !text.starts_with(PREFIX) {
        return false;
    }
    let (body, checksum) = text.split_at(PREFIX.len() + RANDOM_LENGTH);
    body.bytes().skip(PREFIX.len()).all(|byte| byte.is_ascii_alphanumeric())
        && format!("{:08x}", crc32fast::hash(body.as_bytes())) == checksum
}

#[cfg(test)]
mod tests {
    use super::{SecretHash, generate, is_well_formed};

    #[test]
    fn a_generated_credential_is_well_formed_and_its_own() {
        let (first, first_hash) = generate().unwrap();
        let (second, second_hash) = generate().unwrap();
        assert!(is_well_formed(first.expose()) && is_well_formed(second.expose()));
        assert_ne!(first_hash, second_hash);
        assert_eq!(SecretHash::of(first.expose()), Some(first_hash));
    }

    #[test]
    fn a_mistyped_credential_is_refused_without_a_lookup() {
        let (secret, _) = generate().unwrap();
        let secret = secret.expose();
        for position in 0..secret.len() {
            let mut bytes = secret.clone().into_bytes();
            bytes[position] = if bytes[position] == b'a' { b'b' } else { b'a' };
            assert!(!is_well_formed(std::str::from_utf8(&bytes).unwrap()), "position {position}");
        }
        for text in ["", "ptn_", "ptn_é", &secret[1..], &format!("{secret}0")] {
            assert!(!is_well_formed(text), "{text}");
        }
    }
}
