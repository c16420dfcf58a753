//! Passwords of people the platform keeps itself: argon2id, checked off the async threads.
//!
//! It decides whether a password matches. Invariant: an address nobody has takes as long as a wrong password, and no more
//! than [`PARALLEL`] checks hold memory at once.

use std::sync::atomic::{AtomicU64, Ordering};

use argon2::Argon2;
use argon2::password_hash::phc;
use argon2::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;
use types::Secret;

/// Checks that run at once; each takes about 19 MiB.
const PARALLEL: usize = 4;
/// Checks that wait; beyond it the answer is to come back later.
const WAITING: usize = 64;
/// Most bytes of a password: more only costs time.
const LONGEST: usize = 1_024;

/// A hash that no password matches and that costs as much as a real one.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c29tZS1zYWx0LW9mLW91cg$7Zl3hsGvvjYpqZ3bJcXz5n4tN4mIhJ7o4kC8Q5q0x9E";

/// A password's hash in PHC form.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

/// A text that is not an argon2id hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an argon2id hash in PHC form")]
pub struct NotAHash;

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

impl PasswordHash {
    /// Takes a stored hash.
    ///
    /// # Errors
    /// If it is not one of argon2id.
    pub fn parse(text: &str) -> Result<Self, NotAHash> {
        let valid = text.starts_with("$argon2id$") && phc::PasswordHash::new(text).is_ok();
        if valid { Ok(Self(text.to_owned())) } else { Err(NotAHash) }
    }

    /// Hashes a password: tens of milliseconds and 19 MiB.
    ///
    /// # Errors
    /// If there is no memory or no randomness.
    pub fn of(password: &Secret<String>) -> Result<Self, argon2::password_hash::Error> {
        Ok(Self(Argon2::default().hash_password(password.expose().as_bytes())?.to_string()))
    }

    /// Returns the PHC form, to be stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Bounds the memory and the queue of checks.
pub(crate) struct Passwords {
    running: Semaphore,
    waiting: Semaphore,
    checked: AtomicU64,
}

/// There is more to check than can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Busy;

impl Passwords {
    pub(crate) const fn new() -> Self {
        Self {
            running: Semaphore::const_new(PARALLEL),
            waiting: Semaphore::const_new(WAITING),
            checked: AtomicU64::new(0),
        }
    }

    /// Tells whether a password is the one behind `stored`; without one it takes as long and says no.
    ///
    /// # Errors
    /// [`Busy`].
    pub(crate) async fn verify(&self, password: Secret<String>, stored: Option<PasswordHash>) -> Result<bool, Busy> {
        if password.expose().len() > LONGEST {
            return Ok(false);
        }
        let _place = self.waiting.try_acquire().map_err(|_| Busy)?;
        let _turn = self.running.acquire().await.map_err(|_| Busy)?;
        self.checked.fetch_add(1, Ordering::Relaxed);
        let check = move || {
            let known = stored.is_some();
            let text = stored.as_ref().map_or(NOBODY, |hash| hash.0.as_str());
            let Ok(hash) = phc::PasswordHash::new(text) else { return false };
            Argon2::default().verify_password(password.expose().as_bytes(), &hash).is_ok() && known
        };
        tokio::task::spawn_blocking(check).await.map_err(|_| Busy)
    }

    /// How many were checked, those of nobody among them.
    pub(crate) fn checked(&self) -> u64 {
        self.checked.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use argon2::Params;
    use argon2::password_hash::phc;
    use types::Secret;

    use super::{NOBODY, PasswordHash, Passwords};

    /// What decides how long a check takes: parameters, and lengths of salt and output.
    fn cost(text: &str) -> (Params, Option<usize>, Option<usize>) {
        let hash = phc::PasswordHash::new(text).unwrap();
        let length = |bytes: &[u8]| bytes.len();
        let params = Params::try_from(&hash).unwrap();
        (params, hash.salt.map(|salt| length(salt.as_ref())), hash.hash.map(|hash| length(hash.as_ref())))
    }

    #[tokio::test]
    async fn the_hash_of_nobody_costs_what_a_real_one_does_and_matches_nothing() {
        let password = || Secret::new("correct horse battery".to_owned());
        let real = PasswordHash::of(&password()).unwrap();
        assert_eq!(cost(NOBODY), cost(real.as_str()));
        let passwords = Passwords::new();
        assert_eq!(passwords.verify(password(), Some(real)).await, Ok(true));
        assert_eq!(passwords.verify(password(), None).await, Ok(false));
        assert_eq!(passwords.checked(), 2);
    }
}
