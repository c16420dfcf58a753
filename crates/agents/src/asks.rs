//! What waits for a person on a page of the portal: calls to be confirmed, second factors to be proved.
//!
//! It remembers, at this node and in memory: after a restart a person is asked again. Invariants: what is remembered is
//! bounded for each person and in all; an answer counts for the one person it was asked of, and for the call that was
//! shown; an approval of a single call is used up by it.

use std::collections::HashMap;
use std::sync::Weak;

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::Mutex;
use types::UserId;

use crate::session::Session;

/// How long a question may be answered, and an approval of one call may wait for that call; in seconds.
pub(crate) const LIFE: i64 = 15 * 60;
/// Questions and answers of one person.
const MOST_OF_ONE: usize = 16;
/// People who have any.
const MOST_PEOPLE: usize = 4_096;
/// Bytes of arguments that are shown. What cannot be shown whole cannot be confirmed.
pub(crate) const MOST_SHOWN: usize = 32 << 10;

/// One question.
#[derive(Clone)]
pub(crate) struct Ask {
    /// Unguessable; stands in addresses.
    pub(crate) id: String,
    pub(crate) portal: String,
    pub(crate) rule: String,
    pub(crate) what: What,
    /// Whose client is told when it is answered.
    pub(crate) session: Weak<Session>,
    at: i64,
    state: State,
}

/// What is asked.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum What {
    Call(Box<Call>),
    Factor(Factor),
}

/// A call that a person is to confirm.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) server: String,
    pub(crate) method: &'static str,
    /// As its server knows it.
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    pub(crate) destructive: bool,
    /// JSON text, members in order of their names; empty where the method has none.
    pub(crate) arguments: String,
    /// How long an approval holds for calls of the same name, in seconds; zero: for these arguments, once.
    pub(crate) lifetime: i64,
}

/// A second factor that a person is to prove.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Factor {
    /// Whose agent called: another sign-in of the same person does not count for it.
    pub(crate) sign_in: [u8; 32],
    /// Seconds.
    pub(crate) max_age: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Granted { at: i64 },
    Refused { at: i64 },
}

/// How a question stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// `Some`: for the one call, which uses it up ([`Asks::use_up`]).
    Granted(Option<String>),
    Refused,
    /// The question's id.
    Waits(String),
    /// There is no room to remember another one.
    Full,
}

/// What a question is made from.
pub(crate) struct New {
    pub(crate) user: UserId,
    pub(crate) portal: String,
    pub(crate) rule: String,
    pub(crate) what: What,
    pub(crate) session: Weak<Session>,
}

impl Ask {
    fn is_over(&self, now: i64) -> bool {
        let until = match (self.state, &self.what) {
            (State::Granted { at }, What::Call(call)) => at.saturating_add(call.lifetime.max(LIFE)),
            (State::Granted { at }, What::Factor(factor)) => at.saturating_add(factor.max_age),
            (State::Refused { at }, _) => at.saturating_add(LIFE),
            (State::Waiting, _) => self.at.saturating_add(LIFE),
        };
        until <= now
    }

    fn grants(&self, now: i64) -> bool {
        match (self.state, &self.what) {
            (State::Granted { at }, What::Call(call)) if call.lifetime > 0 => at.saturating_add(call.lifetime) > now,
            (State::Granted { .. }, _) => !self.is_over(now),
            (State::Waiting | State::Refused { .. }, _) => false,
        }
    }

    /// Whether an answer to this question answers another one.
    fn is_about(&self, new: &New) -> bool {
        let same = match (&self.what, &new.what) {
            (What::Call(mine), What::Call(other)) => {
                mine.server == other.server
                    && mine.method == other.method
                    && mine.name == other.name
                    && mine.lifetime == other.lifetime
                    && (mine.lifetime > 0 || digest_of(mine) == digest_of(other))
            }
            (What::Factor(mine), What::Factor(other)) => mine == other,
            (What::Call(_), What::Factor(_)) | (What::Factor(_), What::Call(_)) => false,
        };
        same && self.portal == new.portal && self.rule == new.rule
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.state == State::Waiting
    }

    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.state, State::Refused { .. })
    }
}

fn digest_of(call: &Call) -> [u8; 32] {
    let mut found = [0; 32];
    found.copy_from_slice(digest(&SHA256, call.arguments.as_bytes()).as_ref());
    found
}

/// The questions of a node.
#[derive(Default)]
pub(crate) struct Asks {
    people: Mutex<HashMap<UserId, Vec<Ask>>>,
}

impl Asks {
    /// Tells how a question stands; asks it where nobody did.
    pub(crate) fn stand(&self, new: New, now: i64) -> Standing {
        let mut people = self.people.lock();
        if people.len() >= MOST_PEOPLE && !people.contains_key(&new.user) {
            people.retain(|_, asks| asks.iter().any(|ask| !ask.is_over(now)));
            if people.len() >= MOST_PEOPLE {
                return Standing::Full;
            }
        }
        let asks = people.entry(new.user).or_default();
        asks.retain(|ask| !ask.is_over(now));
        if let Some(at) = asks.iter().position(|ask| ask.is_about(&new)) {
            let Some(ask) = asks.get_mut(at) else { return Standing::Full };
            if ask.grants(now) {
                let once = matches!(&ask.what, What::Call(call) if call.lifetime == 0);
                return Standing::Granted(once.then(|| ask.id.clone()));
            }
            if matches!(ask.state, State::Refused { .. }) {
                return Standing::Refused;
            }
            // Whoever asked last is told.
            ask.session = new.session;
            return Standing::Waits(ask.id.clone());
        }
        if asks.len() >= MOST_OF_ONE {
            // The oldest question that nobody answered makes room.
            let oldest = asks.iter().enumerate().filter(|(_, ask)| ask.is_waiting()).min_by_key(|(_, ask)| ask.at);
            let Some((oldest, _)) = oldest else { return Standing::Full };
            asks.swap_remove(oldest);
        }
        let id = uuid::Uuid::new_v4().simple().to_string();
        let New { portal, rule, what, session, .. } = new;
        asks.push(Ask { id: id.clone(), portal, rule, what, session, at: now, state: State::Waiting });
        Standing::Waits(id)
    }

    /// Uses up approvals of single calls: all of them, or none where another call was quicker.
    pub(crate) fn use_up(&self, user: UserId, ids: &[String]) -> bool {
        let mut people = self.people.lock();
        let Some(asks) = people.get_mut(&user) else { return ids.is_empty() };
        let all = ids.iter().all(|id| asks.iter().any(|ask| ask.id == *id));
        if all {
            asks.retain(|ask| !ids.contains(&ask.id));
        }
        all
    }

    /// Finds a question of a person at a portal.
    pub(crate) fn find(&self, user: UserId, portal: &str, id: &str, now: i64) -> Option<Ask> {
        let people = self.people.lock();
        let mut asks = people.get(&user)?.iter();
        asks.find(|ask| ask.id == id && ask.portal == portal && !ask.is_over(now)).cloned()
    }

    /// Answers a question that waits, once: with when it was granted, or that it was not. `None` if there is none.
    pub(crate) fn answer(
        &self,
        (user, portal, id): (UserId, &str, &str),
        granted: Option<i64>,
        now: i64,
    ) -> Option<Ask> {
        let mut people = self.people.lock();
        let mut asks = people.get_mut(&user)?.iter_mut();
        let ask = asks.find(|ask| ask.id == id && ask.portal == portal && ask.is_waiting() && !ask.is_over(now))?;
        ask.state = granted.map_or(State::Refused { at: now }, |at| State::Granted { at });
        Some(ask.clone())
    }

    /// Forgets what is over, and everything of sign-ins and people that is.
    pub(crate) fn sweep(&self, now: i64) {
        let mut people = self.people.lock();
        people.retain(|_, asks| {
            asks.retain(|ask| !ask.is_over(now));
            !asks.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const ANA: UserId = UserId(Uuid::from_u128(1));
    const BOB: UserId = UserId(Uuid::from_u128(2));

    fn call(user: UserId, arguments: &str, lifetime: i64) -> New {
        let call = Call {
            server: "jira".into(),
            method: "tools/call",
            name: "delete".into(),
            title: None,
            destructive: true,
            arguments: arguments.into(),
            lifetime,
        };
        ask(user, What::Call(Box::new(call)))
    }

    fn ask(user: UserId, what: What) -> New {
        New { user, portal: "work".into(), rule: "careful".into(), what, session: Weak::new() }
    }

    fn waits(standing: Standing) -> String {
        let Standing::Waits(id) = standing else { panic!("{standing:?}") };
        id
    }

    #[test]
    fn an_approval_of_one_call_is_for_that_call_of_that_person_once() {
        let asks = Asks::default();
        let id = waits(asks.stand(call(ANA, "{\"id\":1}", 0), 0));
        assert_eq!(asks.stand(call(ANA, "{\"id\":1}", 0), 1), Standing::Waits(id.clone()));
        assert!(
            asks.answer((BOB, "work", &id), Some(2), 2).is_none()
                && asks.answer((ANA, "play", &id), Some(2), 2).is_none()
        );
        assert!(asks.answer((ANA, "work", &id), Some(2), 2).is_some());
        assert!(asks.answer((ANA, "work", &id), None, 2).is_none(), "an answer stands");
        waits(asks.stand(call(ANA, "{\"id\":2}", 0), 3));
        waits(asks.stand(call(BOB, "{\"id\":1}", 0), 3));
        let granted = asks.stand(call(ANA, "{\"id\":1}", 0), 4);
        assert_eq!(granted, Standing::Granted(Some(id.clone())));
        let ids = [id.clone()];
        assert!(asks.use_up(ANA, &ids) && !asks.use_up(ANA, &ids));
        assert_ne!(waits(asks.stand(call(ANA, "{\"id\":1}", 0), 5)), id);
    }

    #[test]
    fn an_approval_with_a_lifetime_holds_for_the_tool_that_long() {
        let asks = Asks::default();
        let id = waits(asks.stand(call(ANA, "{\"id\":1}", 60), 0));
        asks.answer((ANA, "work", &id), Some(10), 10);
        for (arguments, now, granted) in [("{\"id\":1}", 11, true), ("{\"id\":2}", 69, true), ("{\"id\":2}", 70, false)]
        {
            assert_eq!(asks.stand(call(ANA, arguments, 60), now) == Standing::Granted(None), granted, "{now}");
        }
    }

    #[test]
    fn what_was_refused_stays_so_and_what_nobody_answers_is_forgotten() {
        let asks = Asks::default();
        let id = waits(asks.stand(call(ANA, "{}", 0), 0));
        asks.answer((ANA, "work", &id), None, 1);
        assert_eq!(asks.stand(call(ANA, "{}", 0), LIFE), Standing::Refused);
        assert_ne!(waits(asks.stand(call(ANA, "{}", 0), LIFE + 1)), id);
        asks.sweep(3 * LIFE);
        assert!(asks.people.lock().is_empty());
    }

    #[test]
    fn a_factor_counts_for_the_sign_in_that_asked_while_it_is_fresh() {
        let asks = Asks::default();
        let factor = |sign_in| ask(ANA, What::Factor(Factor { sign_in: [sign_in; 32], max_age: 300 }));
        let id = waits(asks.stand(factor(1), 0));
        asks.answer((ANA, "work", &id), Some(10), 10);
        assert_eq!(asks.stand(factor(1), 309), Standing::Granted(None));
        assert_eq!(asks.stand(factor(1), 309), Standing::Granted(None));
        waits(asks.stand(factor(2), 20));
        waits(asks.stand(factor(1), 310));
    }

    #[test]
    fn what_one_person_can_make_us_remember_is_bounded_and_an_answer_is_not_what_goes() {
        let asks = Asks::default();
        let first = waits(asks.stand(call(ANA, "0", 0), 0));
        asks.answer((ANA, "work", &first), Some(1), 1);
        for number in 1..100 {
            waits(asks.stand(call(ANA, &number.to_string(), 0), 2 + number));
        }
        assert_eq!(asks.people.lock()[&ANA].len(), MOST_OF_ONE);
        assert_eq!(asks.stand(call(ANA, "0", 0), 200), Standing::Granted(Some(first)));
    }
}
