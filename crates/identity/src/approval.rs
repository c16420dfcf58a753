//! Temporary access: somebody asks, people named by the policy agree, and the application opens for a while (reference
//! section 1.9).
//!
//! Decides who must agree, whether an answer counts, and whether a request is admitted at a moment; sending the mail and
//! signing approvers in are the caller's. Invariants: nobody approves their own request; only hashes of links are kept, and
//! a link counts only together with the sign-in of the person it was sent to; a grant is for one person, application,
//! policy and sign-in, and never longer than a day.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use serde::{Deserialize, Serialize};
use types::{AccessPolicyId, ApplicationId, Email, Secret, UserId};

use crate::jose::encode;
use crate::opaque::Digest;
use crate::service_token::SecretHash;
use crate::session::SessionHash;

/// Version of the stored document.
pub const VERSION: u32 = 1;
/// Longest time an approver can grant.
pub const LONGEST_GRANT: Duration = Duration::from_secs(24 * 3_600);
/// Shortest time an approver can grant.
pub const SHORTEST_GRANT: Duration = Duration::from_secs(60);
/// How long a request waits for answers, in seconds.
pub const REQUEST_LIFETIME: i64 = 24 * 3_600;
/// Most people asked by one request.
pub const MAX_APPROVERS: usize = 200;
/// Most requests of one person that wait for answers, and most of them for one application.
pub const MOST_WAITING: usize = 20;
pub const MOST_WAITING_AT_ONE: usize = 3;
/// Longest justification, in characters.
pub const MAX_JUSTIFICATION: usize = 1_024;
/// How far the clock may have gone back since a grant before it no longer counts, in seconds.
const SKEW: i64 = 60;

/// Names the request of one sign-in for an application by a policy, so that asking twice is one request.
#[must_use]
pub fn id(session: SessionHash, application: ApplicationId, policy: AccessPolicyId) -> Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(session.bytes());
    context.update(application.0.as_bytes());
    context.update(policy.0.as_bytes());
    let mut id = [0; 32];
    id.copy_from_slice(context.finish().as_ref());
    Digest(id)
}

/// People of whom some must agree, lists of addresses put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approvers {
    pub needed: u32,
    pub people: Vec<Email>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    pub user: UserId,
    pub email: Email,
    pub application: ApplicationId,
    pub policy: AccessPolicyId,
    /// The sign-in it is for: the next one asks again.
    pub session: SessionHash,
    pub justification: Option<String>,
}

/// A request for access, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalRequest {
    pub asked: Asked,
    /// Seconds since the epoch.
    pub asked_at: i64,
    groups: Vec<Group>,
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Group {
    needed: u32,
    people: Vec<Invited>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Invited {
    email: Email,
    link: SecretHash,
    /// The seconds this person would grant.
    agreed: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Outcome {
    Waiting,
    /// Seconds since the epoch.
    Granted {
        at: i64,
        until: i64,
    },
    Refused {
        by: Email,
    },
}

/// The mail to send to one approver.
#[derive(Debug, Clone)]
pub struct Invitation {
    pub to: Email,
    /// 43 characters of base64url, for the link.
    pub link: Secret<String>,
}

/// What stands of a request at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Answers are missing: how many in each group, groups that agreed left out.
    Waiting(Vec<u32>),
    /// Open until this second since the epoch.
    Granted {
        until: i64,
    },
    Refused {
        by: Email,
    },
    /// Nobody answered in time, or the time that was granted is over.
    Expired,
}

/// An approver's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Grant(Duration),
    Refuse,
}

/// Why something about a request cannot be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    #[error("not enough people besides the one who asks can approve; ask an administrator to name more")]
    NobodyToAsk,
    #[error("the policy names more than {MAX_APPROVERS} approvers")]
    TooMany,
    #[error("the justification is longer than {MAX_JUSTIFICATION} characters")]
    Justification,
    /// One answer for a wrong link, a wrong person and a request that does not exist.
    #[error("this link does not approve anything for you")]
    Link,
    #[error("access can be granted for one minute to 24 hours")]
    Length,
    #[error("this request was answered already or has expired")]
    Over,
}

impl ApprovalRequest {
    /// Opens a request and returns the mail to send. `random` is drawn for this request alone; every link is made of it
    /// and forgotten.
    ///
    /// # Errors
    /// If the policy's groups cannot be met without the person who asks.
    pub fn open(
        mut asked: Asked,
        approvers: &[Approvers],
        random: &[u8; 32],
        now: i64,
    ) -> Result<(Self, Vec<Invitation>), ApprovalError> {
        let justification = asked.justification.take().map(|text| text.trim().to_owned());
        asked.justification = justification.filter(|text| !text.is_empty());
        if asked.justification.as_ref().is_some_and(|text| text.chars().count() > MAX_JUSTIFICATION) {
            return Err(ApprovalError::Justification);
        }
        if approvers.is_empty() {
            return Err(ApprovalError::NobodyToAsk);
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, random);
        let link = |email: &Email| encode(hmac::sign(&key, email.as_str().as_bytes()).as_ref());
        let mut everybody = BTreeSet::new();
        let mut groups = Vec::new();
        for group in approvers {
            let people: BTreeSet<&Email> = group.people.iter().filter(|email| **email != asked.email).collect();
            let needed = group.needed.max(1);
            if people.len() < usize::try_from(needed).unwrap_or(usize::MAX) {
                return Err(ApprovalError::NobodyToAsk);
            }
            everybody.extend(people.iter().map(|email| (*email).clone()));
            if everybody.len() > MAX_APPROVERS {
                return Err(ApprovalError::TooMany);
            }
            let invite =
                |email: &Email| Invited { email: email.clone(), link: SecretHash::of(&link(email)), agreed: None };
            groups.push(Group { needed, people: people.into_iter().map(invite).collect() });
        }
        let mail = |email: Email| Invitation { link: Secret::new(link(&email)), to: email };
        let invitations = everybody.into_iter().map(mail).collect();
        Ok((Self { asked, asked_at: now, groups, outcome: Outcome::Waiting }, invitations))
    }

    /// Tells what stands at a moment.
    #[must_use]
    pub fn state(&self, now: i64) -> State {
        match &self.outcome {
            Outcome::Refused { by } if live(self.asked_at, self.ends_at(), now) => State::Refused { by: by.clone() },
            Outcome::Granted { at, until } if live(*at, *until, now) => State::Granted { until: *until },
            Outcome::Waiting if live(self.asked_at, self.asked_at.saturating_add(REQUEST_LIFETIME), now) => {
                State::Waiting(self.groups.iter().map(Group::missing).filter(|missing| *missing > 0).collect())
            }
            Outcome::Granted { .. } | Outcome::Refused { .. } | Outcome::Waiting => State::Expired,
        }
    }

    /// Tells whether a signed-in person holding a link was asked.
    ///
    /// # Errors
    /// If they were not.
    pub fn recognize(&self, approver: &Email, link: &str) -> Result<(), ApprovalError> {
        let mut known = false;
        for person in self.groups.iter().flat_map(|group| &group.people) {
            // Every link is compared, so that the time taken does not tell whose link it is.
            known |= person.link.verifies(link) && person.email == *approver;
        }
        if known { Ok(()) } else { Err(ApprovalError::Link) }
    }

    /// Takes an answer. `approver` is who has signed in. One refusal ends the request; the time granted is the shortest
    /// that anybody agreed to, from the moment the last group agreed.
    ///
    /// # Errors
    /// If the answer does not count; then nothing changes.
    pub fn answer(&mut self, approver: &Email, link: &str, answer: Answer, now: i64) -> Result<State, ApprovalError> {
        self.recognize(approver, link)?;
        if !matches!(self.state(now), State::Waiting(_)) {
            return Err(ApprovalError::Over);
        }
        let length = match answer {
            Answer::Refuse => {
                self.outcome = Outcome::Refused { by: approver.clone() };
                return Ok(self.state(now));
            }
            Answer::Grant(length) if (SHORTEST_GRANT..=LONGEST_GRANT).contains(&length) => length,
            Answer::Grant(_) => return Err(ApprovalError::Length),
        };
        let seconds = i64::try_from(length.as_secs()).map_err(|_| ApprovalError::Length)?;
        let own = self.groups.iter_mut().flat_map(|group| &mut group.people).filter(|person| person.email == *approver);
        for person in own {
            person.agreed = Some(seconds);
        }
        if self.groups.iter().all(|group| group.missing() == 0) {
            let lengths = self.groups.iter().flat_map(|group| &group.people).filter_map(|person| person.agreed);
            let until = now.saturating_add(lengths.min().unwrap_or(0));
            self.outcome = Outcome::Granted { at: now, until };
        }
        Ok(self.state(now))
    }

    /// Tells whether a request is admitted by this grant, and until when.
    #[must_use]
    pub fn admits(
        &self,
        user: UserId,
        application: ApplicationId,
        policy: AccessPolicyId,
        session: SessionHash,
        now: i64,
    ) -> Option<i64> {
        let asked = &self.asked;
        let same = (asked.user, asked.application, asked.policy, asked.session) == (user, application, policy, session);
        match self.state(now) {
            State::Granted { until } if same => Some(until),
            State::Granted { .. } | State::Waiting(_) | State::Refused { .. } | State::Expired => None,
        }
    }

    /// Returns the second since the epoch at which the request, or what was granted, is over.
    #[must_use]
    pub fn ends_at(&self) -> i64 {
        match self.outcome {
            Outcome::Granted { until, .. } => until,
            Outcome::Waiting | Outcome::Refused { .. } => self.asked_at.saturating_add(REQUEST_LIFETIME),
        }
    }

    /// Returns who was asked, once each.
    #[must_use]
    pub fn invited(&self) -> Vec<&Email> {
        let people = self.groups.iter().flat_map(|group| &group.people);
        people.map(|person| &person.email).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Tells whether somebody agreed already.
    #[must_use]
    pub fn has_agreed(&self, approver: &Email) -> bool {
        self.approvers().contains(&approver)
    }

    /// Returns who agreed, once each, for the log (`TemporaryAccessApprovers`).
    #[must_use]
    pub fn approvers(&self) -> Vec<&Email> {
        let people = self.groups.iter().flat_map(|group| &group.people);
        let agreed: BTreeSet<&Email> =
            people.filter(|person| person.agreed.is_some()).map(|person| &person.email).collect();
        agreed.into_iter().collect()
    }

    /// Returns the time that was granted, for the log (`TemporaryAccessDuration`).
    #[must_use]
    pub fn granted(&self) -> Option<Duration> {
        match self.outcome {
            Outcome::Granted { at, until } => u64::try_from(until.saturating_sub(at)).ok().map(Duration::from_secs),
            Outcome::Waiting | Outcome::Refused { .. } => None,
        }
    }
}

impl Group {
    fn missing(&self) -> u32 {
        let agreed = self.people.iter().filter(|person| person.agreed.is_some()).count();
        self.needed.saturating_sub(u32::try_from(agreed).unwrap_or(u32::MAX))
    }
}

/// A clock that went back far must not make a grant last longer than it was given for.
const fn live(from: i64, until: i64, now: i64) -> bool {
    now >= from.saturating_sub(SKEW) && now < until
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use types::{AccessPolicyId, ApplicationId, Email, UserId};
    use uuid::Uuid;

    use super::{
        Answer, ApprovalError, ApprovalRequest, Approvers, Asked, Invitation, MAX_APPROVERS, REQUEST_LIFETIME, State,
        id,
    };
    use crate::session::{SessionHash, SessionSecret};

    fn email(name: &str) -> Email {
        format!("{name}@example.com").parse().unwrap()
    }

    fn session(number: u8) -> SessionHash {
        SessionSecret::of([number; 32]).hash()
    }

    fn asked() -> Asked {
        Asked {
            user: UserId(Uuid::from_u128(1)),
            email: email("ann"),
            application: ApplicationId(Uuid::from_u128(2)),
            policy: AccessPolicyId(Uuid::from_u128(3)),
            session: session(1),
            justification: Some("  incident 7 ".into()),
        }
    }

    fn group(needed: u32, people: &[&str]) -> Approvers {
        Approvers { needed, people: people.iter().map(|name| email(name)).collect() }
    }

    fn open(groups: &[Approvers]) -> (ApprovalRequest, Vec<Invitation>) {
        ApprovalRequest::open(asked(), groups, &[9; 32], 1_000).unwrap()
    }

    fn link<'i>(invitations: &'i [Invitation], name: &str) -> &'i str {
        invitations.iter().find(|mail| mail.to == email(name)).unwrap().link.expose()
    }

    fn hours(hours: u64) -> Answer {
        Answer::Grant(Duration::from_secs(hours * 3_600))
    }

    #[test]
    fn a_request_has_one_name_for_each_sign_in_application_and_policy() {
        let (application, policy) = (asked().application, asked().policy);
        let names = [
            id(session(1), application, policy),
            id(session(2), application, policy),
            id(session(1), ApplicationId(Uuid::nil()), policy),
            id(session(1), application, AccessPolicyId(Uuid::nil())),
        ];
        assert_eq!(names[0], id(session(1), application, policy));
        assert_eq!(std::collections::BTreeSet::from(names).len(), names.len());
    }

    #[test]
    fn every_group_must_agree_and_the_shortest_time_holds() {
        let (mut request, mail) = open(&[group(2, &["bob", "eve", "ann"]), group(1, &["bob", "dan"])]);
        assert_eq!(mail.len(), 3);
        assert_eq!(request.invited(), [&email("bob"), &email("dan"), &email("eve")]);
        assert_eq!(request.ends_at(), 1_000 + REQUEST_LIFETIME);
        assert_eq!(request.state(1_000), State::Waiting(vec![2, 1]));
        let mut answer = |name: &str, length, now| request.answer(&email(name), link(&mail, name), length, now);
        assert_eq!(answer("bob", hours(8), 1_010), Ok(State::Waiting(vec![1])));
        // Saying yes twice does not count twice.
        assert_eq!(answer("bob", hours(8), 1_011), Ok(State::Waiting(vec![1])));
        assert_eq!(answer("eve", hours(2), 2_000), Ok(State::Granted { until: 2_000 + 7_200 }));
        assert_eq!(answer("dan", Answer::Refuse, 2_001), Err(ApprovalError::Over));
        assert_eq!(request.approvers(), [&email("bob"), &email("eve")]);
        assert!(request.has_agreed(&email("bob")) && !request.has_agreed(&email("dan")));
        assert_eq!(request.ends_at(), 2_000 + 7_200);
        assert_eq!(request.granted(), Some(Duration::from_secs(7_200)));
    }

    #[test]
    fn a_grant_is_for_one_person_application_policy_and_sign_in_and_ends() {
        let (mut request, mail) = open(&[group(1, &["bob"])]);
        let (user, application, policy) = (asked().user, asked().application, asked().policy);
        assert_eq!(request.admits(user, application, policy, session(1), 1_001), None);
        request.answer(&email("bob"), link(&mail, "bob"), hours(1), 2_000).unwrap();
        let admits = |user, application, policy, session, now| request.admits(user, application, policy, session, now);
        assert_eq!(admits(user, application, policy, session(1), 2_000), Some(5_600));
        assert_eq!(admits(user, application, policy, session(1), 5_600), None);
        // A clock that went back does not prolong it.
        assert_eq!(admits(user, application, policy, session(1), 1_900), None);
        assert_eq!(admits(UserId(Uuid::nil()), application, policy, session(1), 2_000), None);
        assert_eq!(admits(user, ApplicationId(Uuid::nil()), policy, session(1), 2_000), None);
        assert_eq!(admits(user, application, AccessPolicyId(Uuid::nil()), session(1), 2_000), None);
        assert_eq!(admits(user, application, policy, session(2), 2_000), None);
        assert_eq!(request.state(5_600), State::Expired);
    }

    #[test]
    fn a_link_counts_only_for_whom_it_was_sent_to_and_while_the_request_waits() {
        let (request, mail) = open(&[group(1, &["bob", "eve"])]);
        let bob = link(&mail, "bob");
        for (name, link, answer, now, expected) in [
            ("eve", bob, hours(1), 1_001, ApprovalError::Link),
            ("ann", bob, hours(1), 1_001, ApprovalError::Link),
            ("bob", "", hours(1), 1_001, ApprovalError::Link),
            ("bob", link(&mail, "eve"), hours(1), 1_001, ApprovalError::Link),
            ("bob", bob, hours(25), 1_001, ApprovalError::Length),
            ("bob", bob, Answer::Grant(Duration::ZERO), 1_001, ApprovalError::Length),
            ("bob", bob, hours(1), 1_000 + REQUEST_LIFETIME, ApprovalError::Over),
            ("bob", bob, Answer::Refuse, 1_000 + REQUEST_LIFETIME, ApprovalError::Over),
        ] {
            let mut attempt = request.clone();
            assert_eq!(attempt.answer(&email(name), link, answer, now), Err(expected), "{name} {now}");
            assert_eq!(attempt, request, "nothing changed");
        }
        let mut refused = request;
        let state = refused.answer(&email("bob"), bob, Answer::Refuse, 1_001);
        assert_eq!(state, Ok(State::Refused { by: email("bob") }));
        assert_eq!(refused.answer(&email("eve"), link(&mail, "eve"), hours(1), 1_002), Err(ApprovalError::Over));
        assert_eq!(refused.state(1_000 + REQUEST_LIFETIME), State::Expired, "after a day one may ask again");
    }

    #[test]
    fn nobody_approves_themselves_and_a_request_is_bounded() {
        let crowd: Vec<String> = (0..=MAX_APPROVERS).map(|number| format!("p{number}")).collect();
        let crowd: Vec<&str> = crowd.iter().map(String::as_str).collect();
        for (groups, expected) in [
            (vec![], ApprovalError::NobodyToAsk),
            (vec![group(1, &["ann"])], ApprovalError::NobodyToAsk),
            (vec![group(2, &["ann", "bob"])], ApprovalError::NobodyToAsk),
            (vec![group(2, &["bob", "bob"])], ApprovalError::NobodyToAsk),
            (vec![group(0, &[])], ApprovalError::NobodyToAsk),
            (vec![group(1, &crowd)], ApprovalError::TooMany),
        ] {
            assert_eq!(ApprovalRequest::open(asked(), &groups, &[9; 32], 0).unwrap_err(), expected, "{groups:?}");
        }
        let long = Asked { justification: Some("x".repeat(2_000)), ..asked() };
        let outcome = ApprovalRequest::open(long, &[group(1, &["bob"])], &[9; 32], 0);
        assert_eq!(outcome.unwrap_err(), ApprovalError::Justification);
    }

    #[test]
    fn the_store_alone_gives_no_link_and_is_read_back() {
        let (request, mail) = open(&[group(1, &["bob"])]);
        let stored = serde_json::to_string(&request).unwrap();
        assert!(!stored.contains(link(&mail, "bob")) && stored.contains("incident 7"));
        assert_eq!(link(&mail, "bob").len(), 43);
        assert_eq!(serde_json::from_str::<ApprovalRequest>(&stored).unwrap(), request);
        assert!(!format!("{mail:?}").contains(link(&mail, "bob")));
    }
}
