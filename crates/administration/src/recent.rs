//! Sessions that the store vouched for a short while ago, for the time in which it does not answer.
//!
//! With the store gone an administrator must still see what the gateway does and that the store is gone. Decides nothing
//! while the store answers: what it says counts, and a session it refuses is forgotten. Invariants: a session is
//! recalled for requests that change nothing, at most [`KEPT`] after the store last vouched for it and never past its
//! end; one that ends here, or whose administrator changes here, is forgotten at once.

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use types::{Secret, TokenId, UserId};

use crate::auth::{Caller, Credential};

/// How long the store's word counts.
pub const KEPT: Duration = Duration::from_secs(15 * 60);
/// How many are remembered; the one that was vouched for longest ago makes room.
const MOST: usize = 1_000;

#[derive(Debug, Clone)]
struct Vouched {
    caller: Caller,
    at: Timestamp,
    ends: Timestamp,
}

/// What is remembered, under the hash of the cookie's secret.
#[derive(Debug, Default)]
pub struct RecentSessions(Mutex<HashMap<[u8; 32], Vouched>>);

impl RecentSessions {
    /// Remembers that the store vouched for a session that ends at `ends`.
    pub fn remember(&self, secret: &Secret<String>, caller: Caller, ends: Timestamp, now: Timestamp) {
        let key = key(secret);
        let mut known = self.0.lock();
        if known.len() >= MOST
            && !known.contains_key(&key)
            && let Some(oldest) = known.iter().min_by_key(|(_, vouched)| vouched.at).map(|(key, _)| *key)
        {
            known.remove(&oldest);
        }
        known.insert(key, Vouched { caller, at: now, ends });
    }

    /// Returns who a session belongs to, if the store vouched for it lately.
    pub fn recall(&self, secret: &Secret<String>, now: Timestamp) -> Option<Caller> {
        let known = self.0.lock();
        let vouched = known.get(&key(secret))?;
        let kept = SignedDuration::try_from(KEPT).ok()?;
        let lately = now.duration_since(vouched.at) < kept && now < vouched.ends;
        lately.then(|| vouched.caller.clone())
    }

    /// Forgets a session that the store does not vouch for any more.
    pub fn forget(&self, secret: &Secret<String>) {
        self.0.lock().remove(&key(secret));
    }

    /// Forgets a session that ends.
    pub fn forget_session(&self, ended: TokenId) {
        self.retain(|credential| !matches!(credential, Credential::Session { id, .. } if *id == ended));
    }

    /// Forgets the sessions of an administrator who changed.
    pub fn forget_administrator(&self, changed: UserId) {
        self.retain(
            |credential| !matches!(credential, Credential::Session { administrator, .. } if *administrator == changed),
        );
    }

    fn retain(&self, keeps: impl Fn(&Credential) -> bool) {
        self.0.lock().retain(|_, vouched| keeps(&vouched.caller.credential));
    }
}

fn key(secret: &Secret<String>) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, secret.expose().as_bytes()).as_ref());
    key
}

#[cfg(test)]
mod tests {
    use store::Principal;
    use uuid::Uuid;

    use super::*;

    fn caller(session: u128, administrator: u128) -> Caller {
        Caller {
            principal: Principal::system("test"),
            credential: Credential::Session {
                id: TokenId(Uuid::from_u128(session)),
                administrator: UserId(Uuid::from_u128(administrator)),
                email: "a@b.example".parse().unwrap(),
                csrf: String::new(),
            },
        }
    }

    fn secret(number: u128) -> Secret<String> {
        Secret::new(number.to_string())
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[test]
    fn a_session_is_recalled_for_a_while_and_not_past_its_end() {
        let recent = RecentSessions::default();
        recent.remember(&secret(1), caller(1, 1), at(100_000), at(0));
        recent.remember(&secret(2), caller(2, 1), at(60), at(0));
        let kept = i64::try_from(KEPT.as_secs()).unwrap();
        for (number, seconds, known) in
            [(1, 0, true), (1, kept - 1, true), (1, kept, false), (2, 59, true), (2, 60, false), (3, 0, false)]
        {
            assert_eq!(recent.recall(&secret(number), at(seconds)).is_some(), known, "{number} after {seconds} s");
        }
    }

    #[test]
    fn what_ends_or_changes_is_forgotten() {
        let recent = RecentSessions::default();
        for (session, administrator) in [(1, 1), (2, 1), (3, 2), (4, 2)] {
            recent.remember(&secret(session), caller(session, administrator), at(1_000), at(0));
        }
        let known = || (1..=4).filter(|number| recent.recall(&secret(*number), at(1)).is_some()).collect::<Vec<_>>();
        recent.forget_session(TokenId(Uuid::from_u128(3)));
        assert_eq!(known(), [1, 2, 4]);
        recent.forget_administrator(UserId(Uuid::from_u128(1)));
        assert_eq!(known(), [4]);
        recent.forget(&secret(4));
        assert!(known().is_empty());
    }

    #[test]
    fn the_oldest_makes_room() {
        let recent = RecentSessions::default();
        for number in 0..=MOST as u128 {
            recent.remember(&secret(number), caller(number, 1), at(1_000_000), at(i64::try_from(number).unwrap()));
        }
        assert_eq!(recent.0.lock().len(), MOST);
        assert!(recent.recall(&secret(0), at(1)).is_none() && recent.recall(&secret(1), at(1)).is_some());
    }
}
