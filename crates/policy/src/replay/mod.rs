//! Replays recorded traffic: what a draft of the rules would have done that the rules in force would not, before anybody
//! meets it.
//!
//! Both sets are held against the same facts, those that the record tells; a fact it does not tell is unknown, and a
//! record whose comparison hangs on one is counted as such, with the fact. What was decided at the time is a third thing,
//! and kept apart: how many records the rules in force come to something else about, because they have changed since.
//! Reads no log and no clock: rows go in, a report comes out. Invariant: "unchanged" and "changed" are said only where
//! they hold whatever the unknown facts were.

mod compare;
mod decide;
mod mcp;
mod record;
mod report;
mod tally;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use expr::Lists;
use jiff::Timestamp;
use types::RuleId;

use crate::ruleset::{CompileOptions, RuleErrors, StoredRule, compile};
use compare::{Compared, compare};
use decide::{Set, Side};

pub use decide::{Inspection, Lost};
pub use record::{ConnectionRecord, Meanings, Row, SetAside, WebRecord, why_unknown};
pub use report::{Example, InForce, MissingFact, Records, Report, Ruling, Transition};
pub use tally::{Named, Ranking};

/// What a replay depends on beside the rules and lists.
#[derive(Clone)]
pub struct ReplayOptions {
    pub compile: CompileOptions,
    pub inspection: Inspection,
    /// What hosts mean; without it, applications and categories are unknown.
    pub meanings: Option<Arc<dyn Meanings>>,
    /// The time of the replay: a rule that has expired by then is in neither set. Schedules are held against the time of
    /// each record.
    pub now: Timestamp,
}

/// A comparison of two rule sets over recorded traffic, as far as it has come.
pub struct Replay {
    current: Set,
    draft: Set,
    inspection: Inspection,
    meanings: Option<Arc<dyn Meanings>>,
    broken: Vec<RuleErrors>,
    own: HashSet<RuleId>,
    report: report::Draft,
}

/// What one record came to, for tests and for those who look at one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Nobody would notice.
    Unchanged,
    /// From what to what; `None` where it is not certain which.
    Changed(Option<Ruling>, Option<Ruling>),
    /// It hangs on these.
    Undecided(Vec<Lost>),
}

impl Replay {
    /// Prepares a comparison of the rules in force with a draft of them. Rules with the same id and document are the same.
    #[must_use]
    pub fn new(current: &[StoredRule], draft: &[StoredRule], lists: &dyn Lists, options: ReplayOptions) -> Self {
        let living = |rules: &[StoredRule]| -> Vec<StoredRule> {
            let expired = |rule: &StoredRule| rule.spec.expiration.is_some_and(|one| one.is_expired(options.now));
            rules.iter().filter(|rule| rule.spec.is_enabled() && !expired(rule)).cloned().collect()
        };
        let (current, draft) = (living(current), living(draft));
        let documents: HashMap<RuleId, _> = current.iter().map(|rule| (rule.id, rule.spec.document())).collect();
        let same = |rule: &&StoredRule| documents.get(&rule.id).is_some_and(|one| is_same(one, rule.spec.document()));
        let shared: Arc<HashSet<RuleId>> = Arc::new(draft.iter().filter(same).map(|rule| rule.id).collect());
        let own = draft.iter().map(|rule| rule.id).filter(|id| !shared.contains(id)).collect();
        let mut before = compile(&current, lists, options.compile);
        let mut after = compile(&draft, lists, options.compile);
        let mut broken = std::mem::take(&mut before.errors);
        let known: HashSet<RuleId> = broken.iter().map(|one| one.id).collect();
        broken.extend(std::mem::take(&mut after.errors).into_iter().filter(|one| !known.contains(&one.id)));
        let mut current = Set::new(before, Side::Current, Arc::clone(&shared));
        let mut draft = Set::new(after, Side::Draft, shared);
        Set::align(&mut current, &mut draft);
        Self {
            current,
            draft,
            inspection: options.inspection,
            meanings: options.meanings,
            broken,
            own,
            report: report::Draft::default(),
        }
    }

    /// Rules that do not compile and take no part.
    #[must_use]
    pub fn broken(&self) -> &[RuleErrors] {
        &self.broken
    }

    /// Takes in a row of `gateway_http`.
    pub fn web(&mut self, row: &Row) {
        let meanings = self.meanings.clone();
        match WebRecord::read(row, meanings.as_deref()) {
            Ok(record) => {
                let compared = self.compare_web(&record);
                self.report.take("gateway_http", &Seen::web(&record), &compared, &self.own);
            }
            Err(why) => self.report.set_aside(row, why),
        }
    }

    /// Takes in a row of `gateway_network`.
    pub fn connection(&mut self, row: &Row) {
        let meanings = self.meanings.clone();
        match ConnectionRecord::read(row, meanings.as_deref()) {
            Ok(record) => {
                let compared = self.compare_connection(&record);
                self.report.take("gateway_network", &Seen::connection(&record), &compared, &self.own);
            }
            Err(why) => self.report.set_aside(row, why),
        }
    }

    /// Compares what both sets would do about one web request, without counting it.
    #[must_use]
    pub fn finding(&self, record: &WebRecord<'_>) -> Finding {
        finding(&self.compare_web(record))
    }

    /// Compares what both sets would do about one connection, without counting it.
    #[must_use]
    pub fn finding_of_connection(&self, record: &ConnectionRecord<'_>) -> Finding {
        finding(&self.compare_connection(record))
    }

    /// How many records came to what so far.
    #[must_use]
    pub const fn report_counts(&self) -> Records {
        self.report.records()
    }

    /// Writes out what was counted so far.
    #[must_use]
    pub fn report(&self) -> Report {
        self.report.finish()
    }

    fn compare_web(&self, record: &WebRecord<'_>) -> Compared {
        let idle = self.current.is_idle(record) && self.draft.is_idle(record);
        compare((&self.current, &self.draft), idle, &self.inspection, &|attempt| attempt.web(record))
    }

    fn compare_connection(&self, record: &ConnectionRecord<'_>) -> Compared {
        let idle = self.current.is_idle_about(record) && self.draft.is_idle_about(record);
        compare((&self.current, &self.draft), idle, &self.inspection, &|attempt| attempt.connection(record))
    }
}

fn finding(compared: &Compared) -> Finding {
    match &compared.outcome {
        compare::Outcome::Same { .. } => Finding::Unchanged,
        compare::Outcome::Changed => {
            Finding::Changed(compared.current.as_ref().map(Ruling::of), compared.draft.as_ref().map(Ruling::of))
        }
        compare::Outcome::Undecided(lost) => Finding::Undecided(lost.iter().copied().collect()),
    }
}

/// Tells whether two documents make the same rule, wherever it stands in the order.
fn is_same(one: &Row, other: &Row) -> bool {
    let beside = |member: &String| matches!(member.as_str(), "precedence" | "enabled");
    let inner = |document: &'_ Row| -> usize { document.keys().filter(|member| !beside(member)).count() };
    inner(one) == inner(other)
        && one.iter().filter(|(member, _)| !beside(member)).all(|(member, value)| other.get(member) == Some(value))
}

/// A record as a report shows it.
struct Seen<'r> {
    at: Timestamp,
    row: &'r Row,
    who: &'r record::Who<'r>,
    host: &'r str,
    decided: record::Decided<'r>,
}

impl<'r> Seen<'r> {
    fn web(record: &'r WebRecord<'r>) -> Self {
        let host = record.connection.host.map_or("", |host| host.0);
        Self { at: record.at, row: record.row, who: &record.connection.who, host, decided: record.decided }
    }

    fn connection(record: &'r ConnectionRecord<'r>) -> Self {
        let host = record.server_name.or(record.connection.host.map(|host| host.0)).unwrap_or_default();
        Self { at: record.at, row: record.row, who: &record.connection.who, host, decided: record.decided }
    }
}

/// The name and the reason of something lost, as reports show them.
fn describe(lost: Lost) -> (String, &'static str) {
    match lost {
        Lost::Field(hook, field) => (hook.scheme().field(field).name.to_owned(), why_unknown(hook, field)),
        Lost::SignInAge => {
            ("the age of the sign-in".to_owned(), "records do not tell when the person's token was issued")
        }
        Lost::Worker => (
            "the opinion of a Worker".to_owned(),
            "a Worker is not asked again, and the record does not tell what it said or what it made of the request",
        ),
        Lost::Resolution => (
            "the addresses of the server name".to_owned(),
            "the client named an address, and records do not tell whether the name in its greeting led there",
        ),
    }
}
