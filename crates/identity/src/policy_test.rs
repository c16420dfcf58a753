//! The policy tester: what some policies would decide for everybody who ever signed in (reference section 1.8).
//!
//! Decides the outcome for one person at a time, from their last identity and their most recent device, and keeps the
//! counts; going through the people, the time limit and keeping outcomes are the caller's. Nothing is guessed: what hangs
//! on a fact nobody has, or on a policy that cannot be evaluated, is an error and not a refusal. Invariant: a person counts
//! once, as approved, blocked or in error.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use types::{Email, PostureRuleId, UserId};

use crate::document::words;
use crate::evaluation::{Caller, Denial, Lookups, Need, PolicySet, RequestContext, Trace, Truth, Verdict};
use crate::identity::{Device, Identity};
use crate::selector::{RiskScore, WorkerQuestion};

/// Most policies of one test.
pub const MAX_POLICIES: usize = 64;

words! {
    /// How far a test is.
    Progress {
        /// It was not begun or was stopped.
        Blocked = "blocked",
        Processing = "processing",
        ExceededTime = "exceeded time",
        Complete = "complete",
    }
}

words! {
    /// What the policies decide for one person.
    PersonStatus {
        Approved = "approved",
        Blocked = "blocked",
        Error = "error",
    }
}

impl PersonStatus {
    /// Reads the value of the query parameter `status` of the list of people.
    #[must_use]
    pub fn of_filter(word: &str) -> Option<Self> {
        match word {
            "success" => Some(Self::Approved),
            "fail" => Some(Self::Blocked),
            "error" => Some(Self::Error),
            _ => None,
        }
    }
}

/// Somebody who has signed in before.
#[derive(Debug, Clone, Copy)]
pub struct Person<'a> {
    /// As of their last sign-in.
    pub identity: &'a Identity,
    /// Posture checks their most recent device passes; `None`: no device of theirs is known.
    pub passed: Option<&'a [PostureRuleId]>,
    /// `None`: nobody scores it.
    pub risk: Option<RiskScore>,
}

/// One entry of the list of people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonOutcome {
    pub id: UserId,
    pub email: Email,
    pub name: String,
    pub status: PersonStatus,
    /// What the vendor does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portunus: Option<Told>,
}

/// What was told about somebody on whom policies were tried.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What each Worker said that was asked, or why it gave no answer.
    pub workers: Vec<String>,
}

/// A test under way.
#[derive(Debug, Clone)]
pub struct PolicyTest {
    policies: PolicySet,
    total: u64,
    /// Approved, blocked, in error.
    counts: [u64; 3],
    stopped: Option<Progress>,
}

impl PolicyTest {
    /// Begins a test for `total` people.
    #[must_use]
    pub const fn begin(policies: PolicySet, total: u64) -> Self {
        Self { policies, total, counts: [0; 3], stopped: None }
    }

    /// Returns the Workers that the outcome for one person hangs on and that `lookups` knows no word of.
    #[must_use]
    pub fn questions(policies: &PolicySet, person: &Person<'_>, lookups: &dyn Lookups) -> Vec<WorkerQuestion> {
        let Verdict::Needs(needs) = ask(policies, person, lookups, None) else { return Vec::new() };
        let questions = needs.into_iter().filter_map(|need| if let Need::Worker(it) = need { Some(it) } else { None });
        let mut questions: Vec<WorkerQuestion> = questions.collect();
        questions.sort();
        questions.dedup();
        questions
    }

    /// Decides for one person and counts them.
    pub fn judge(&mut self, person: &Person<'_>, lookups: &dyn Lookups) -> PersonOutcome {
        self.explain(person, lookups).0
    }

    /// Counts somebody of whose last sign-in nothing is known to decide by.
    pub fn unknown(&mut self, id: UserId, email: Email, name: String) -> PersonOutcome {
        let status = PersonStatus::Error;
        self.counts[status as usize] += 1;
        PersonOutcome { id, email, name, status, portunus: None }
    }

    /// As [`Self::judge`], with what was looked at.
    pub fn explain(&mut self, person: &Person<'_>, lookups: &dyn Lookups) -> (PersonOutcome, Trace) {
        let identity = person.identity;
        let mut trace = Trace::default();
        let verdict = ask(&self.policies, person, lookups, Some(&mut trace));
        let broken = trace.policies.iter().any(|policy| policy.outcome == Truth::Broken);
        let status = match verdict {
            Verdict::Allow(_) | Verdict::NonIdentity(_) | Verdict::Bypass(_) => PersonStatus::Approved,
            Verdict::Needs(_) | Verdict::SignIn | Verdict::Deny(Denial::Broken(_)) => PersonStatus::Error,
            Verdict::Deny(Denial::Policy(_)) => PersonStatus::Blocked,
            Verdict::Deny(Denial::NoPolicy | Denial::NothingMatched) if broken => PersonStatus::Error,
            Verdict::Deny(Denial::NoPolicy | Denial::NothingMatched) => PersonStatus::Blocked,
        };
        self.counts[status as usize] += 1;
        let (email, name) = (identity.email.clone(), identity.name.to_string());
        (PersonOutcome { id: identity.user, email, name, status, portunus: None }, trace)
    }

    /// Ends the test before its time; people who were not looked at count nowhere.
    pub const fn stop(&mut self, progress: Progress) {
        self.stopped = Some(progress);
    }

    /// Tells how far the test is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        match self.stopped {
            Some(progress) => progress,
            None if self.processed() >= self.total => Progress::Complete,
            None => Progress::Processing,
        }
    }

    fn processed(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Writes the result of `GET /policy-tests/{id}`. Shares are whole percent of the people looked at.
    #[must_use]
    pub fn report(&self) -> Map<String, Value> {
        let processed = self.processed();
        let mut report = Map::new();
        report.insert("status".into(), json!(self.progress()));
        for (name, count) in ["approved", "blocked", "errored"].into_iter().zip(self.counts) {
            report.insert(format!("users_{name}"), json!(count));
            report.insert(format!("percent_{name}"), json!(percent(count, processed)));
        }
        report.insert("percent_users_processed".into(), json!(percent(processed, self.total)));
        report.insert("total_users".into(), json!(self.total));
        report
    }
}

fn ask(policies: &PolicySet, person: &Person<'_>, lookups: &dyn Lookups, trace: Option<&mut Trace>) -> Verdict {
    let identity = person.identity;
    let caller = Caller { identity: Some(identity), ..Caller::default() };
    let context = RequestContext {
        ip: identity.ip,
        country: identity.country(),
        certificate: None,
        device: person.passed.map(|passed| Device { passed }),
        risk: person.risk,
        request: None,
    };
    policies.evaluate(&caller, &context, lookups, trace)
}

/// Rounds to the nearest whole percent; of nothing, all is done.
fn percent(part: u64, whole: u64) -> u64 {
    match whole {
        0 => u64::from(part == whole) * 100,
        _ => (part.saturating_mul(200) / whole).saturating_add(1) / 2,
    }
}
