//! Passwords of administrators: argon2id with a salt of its own, at least twelve characters.
//!
//! It decides what is a good enough password and whether one matches. Hashing costs about 19 MiB and tens of
//! milliseconds, so callers run it off the async threads through [`hash`] and [`verify`]; at most
//! [`PARALLEL_HASHES`] run at once. Invariant: the password is never stored, logged or put in an error.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;
use types::Secret;

use crate::failure::Failure;

/// Fewest characters of a password.
pub const MINIMUM_LENGTH: usize = 12;
/// Most bytes of a password: more only costs time.
pub const MAXIMUM_BYTES: usize = 1024;
/// Bounds the memory that sign-ins can claim.
pub const PARALLEL_HASHES: usize = 4;

static HASHING: Semaphore = Semaphore::const_new(PARALLEL_HASHES);

/// A hash that no password matches and that costs as much to check as a real one, so that an unknown address takes as
/// long as a wrong password.
const UNKNOWN: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c29tZS1zYWx0LW9mLW91cg$7Zl3hsGvvjYpqZ3bJcXz5n4tN4mIhJ7o4kC8Q5q0x9E";

/// Says what is wrong with a password, if anything.
///
/// # Errors
///
/// A [`Failure`] pointing at `/password`.
pub fn check_strength(password: &Secret<String>, email: &str) -> Result<(), Failure> {
    let text = password.expose();
    if text.chars().count() < MINIMUM_LENGTH {
        return Err(Failure::invalid("/password", format!("the password needs at least {MINIMUM_LENGTH} characters")));
    }
    if text.len() > MAXIMUM_BYTES {
        return Err(Failure::invalid("/password", format!("the password is limited to {MAXIMUM_BYTES} bytes")));
    }
    let distinct: std::collections::BTreeSet<char> = text.chars().collect();
    if distinct.len() < 5 {
        return Err(Failure::invalid("/password", "the password repeats the same few characters; choose another"));
    }
    if text.eq_ignore_ascii_case(email) {
        return Err(Failure::invalid("/password", "the password must not be the address"));
    }
    Ok(())
}

/// Hashes a password into the PHC string that is stored.
///
/// # Errors
///
/// `Internal` when hashing fails, which takes a defect or no memory.
pub async fn hash(password: Secret<String>) -> Result<String, Failure> {
    run(move || {
        Argon2::default().hash_password(password.expose().as_bytes()).map(|hash| hash.to_string()).map_err(|error| {
            tracing::error!(%error, "password hashing failed");
            Failure::new(types::Code::Internal, "the password could not be hashed")
        })
    })
    .await?
}

/// Says whether `password` is the one behind `stored`; without a stored hash it takes as long and says no.
///
/// # Errors
///
/// `Internal` when the check could not run.
pub async fn verify(password: Secret<String>, stored: Option<String>) -> Result<bool, Failure> {
    if password.expose().len() > MAXIMUM_BYTES {
        return Ok(false);
    }
    run(move || {
        let known = stored.is_some();
        let stored = stored.as_deref().unwrap_or(UNKNOWN);
        let Ok(parsed) = PasswordHash::new(stored) else { return false };
        Argon2::default().verify_password(password.expose().as_bytes(), &parsed).is_ok() && known
    })
    .await
}

async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let defect = |_| Failure::new(types::Code::Internal, "the password check did not finish");
    let _permit = HASHING.acquire().await.map_err(|_| Failure::new(types::Code::Unavailable, "shutting down"))?;
    tokio::task::spawn_blocking(work).await.map_err(defect)
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::phc::PasswordHash;
    use types::Secret;

    use super::{UNKNOWN, check_strength, hash, verify};

    #[tokio::test]
    async fn only_the_right_password_matches_and_an_unknown_account_never_does() {
        let stored = hash(Secret::new("correct horse battery".to_owned())).await.unwrap();
        assert!(stored.starts_with("$argon2id$"));
        for (attempt, matches) in [("correct horse battery", true), ("correct horse batterz", false), ("", false)] {
            assert_eq!(verify(Secret::new(attempt.to_owned()), Some(stored.clone())).await.unwrap(), matches);
            assert!(!verify(Secret::new(attempt.to_owned()), None).await.unwrap());
        }
    }

    #[test]
    fn the_stand_in_hash_costs_what_a_real_one_costs() {
        let parsed = PasswordHash::new(UNKNOWN).unwrap();
        let parameters = argon2::Params::default();
        assert_eq!(parsed.params.get_decimal("m"), Some(parameters.m_cost()));
        assert_eq!(parsed.params.get_decimal("t"), Some(parameters.t_cost()));
        // The length of the salt is a part of the work too.
        assert_eq!(parsed.salt.map(|salt| salt.as_ref().len()), Some(16));
    }

    #[test]
    fn weak_passwords_are_refused_with_a_reason() {
        for (password, accepted) in [
            ("short", false),
            ("elevenchars", false),
            ("aaaaaaaaaaaaaaaa", false),
            ("ada@example.com", false),
            ("twelve chars", true),
            ("äöüßéèêñçøåæ", true),
        ] {
            let secret = Secret::new(password.to_owned());
            assert_eq!(check_strength(&secret, "ada@example.com").is_ok(), accepted, "{password}");
        }
        assert!(check_strength(&Secret::new("abcdefgh".repeat(200)), "").is_err());
    }
}
