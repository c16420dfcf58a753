//! What a replay reports: counts by what changes, by whom and where, with examples, and what stays unknown.
//!
//! Adds up what comparisons found. Invariant: its size has a bound whatever the records are, and what a bound cut off is
//! said to be cut off.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use types::RuleId;

use super::compare::{Compared, Outcome};
use super::decide::{Fate, Lost};
use super::record::{Row, SetAside, Who};
use super::tally::{Counter, Ranking};
use super::{Seen, describe};

/// Most people, hosts and applications listed.
const TOP: usize = 20;
/// Most different people, hosts and applications counted.
const MAX_NAMES: usize = 20_000;
/// Most kinds of change told apart.
const MAX_TRANSITIONS: usize = 200;
/// Most people told apart for one kind of change.
const MAX_PEOPLE: usize = 1_000;
/// Most examples of each kind.
const MAX_EXAMPLES: usize = 5;
/// Most examples of what stays undecided or came out otherwise at the time.
const MAX_OTHERS: usize = 10;
/// Longest text of an example in characters.
const MAX_SHOWN: usize = 300;

const NOBODY: &str = "(nobody signed in)";
const NOT_RECORDED: &str = "(not recorded)";

/// What came of a replay.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub records: Records,
    /// The newest and oldest record looked at.
    pub newest: Option<String>,
    pub oldest: Option<String>,
    /// What changes into what, the most frequent first.
    pub transitions: Vec<Transition>,
    /// Whether every change is among the transitions.
    pub transitions_exact: bool,
    /// Who would meet a change.
    pub people: Ranking,
    pub hosts: Ranking,
    pub applications: Ranking,
    /// What the undecided records hang on.
    pub unknown: Vec<MissingFact>,
    pub undecided_examples: Vec<Example>,
    pub in_force: InForce,
    /// Why records were not compared.
    pub set_aside: BTreeMap<&'static str, u64>,
}

/// How many records came to what. `scanned` is the sum of the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Records {
    pub scanned: u64,
    pub unchanged: u64,
    /// The draft would do something else, whatever the unknown facts were.
    pub changed: u64,
    /// Whether it would hangs on facts that are not recorded.
    pub undecided: u64,
    /// No rule is asked about these.
    pub set_aside: u64,
    /// Of the unchanged: another rule would decide, to the same effect.
    pub other_rule: u64,
    /// Of all: a rule that is only in the draft would decide.
    pub decided_by_draft: u64,
}

/// A decision, as a report names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Ruling {
    /// The action's word; `inspect` where a connection would be decrypted and its requests judged.
    pub action: String,
    /// Absent: no rule matches.
    pub rule_id: Option<String>,
    pub rule_name: Option<String>,
}

impl Ruling {
    pub(super) fn of(fate: &Fate) -> Self {
        Self {
            action: fate.action.to_owned(),
            rule_id: fate.rule.as_ref().map(|rule| rule.id.to_string()),
            rule_name: fate.rule.as_ref().map(|rule| rule.name.clone()),
        }
    }
}

/// One kind of change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Transition {
    /// Absent: a change for certain, and not certain from what.
    pub from: Option<Ruling>,
    pub to: Option<Ruling>,
    pub records: u64,
    /// How many people meet it; at least this many where it is not exact.
    pub people: usize,
    pub people_exact: bool,
    pub examples: Vec<Example>,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Example {
    pub dataset: &'static str,
    pub id: String,
    pub at: String,
    pub person: String,
    pub method: String,
    /// The URL of a request, the host of a connection.
    pub target: String,
    /// What was decided at the time.
    pub recorded: Ruling,
    /// What the rules in force come to, if that is certain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<Ruling>,
    /// What it hangs on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

/// A fact that is not recorded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MissingFact {
    pub fact: String,
    pub why: &'static str,
    pub records: u64,
}

/// The rules in force, held against what was decided at the time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InForce {
    /// They come to what was decided then.
    pub reproduced: u64,
    /// They come to something else: they, or what they depend on, have changed since.
    pub differs: u64,
    /// The record does not tell enough.
    pub undecided: u64,
    /// Nothing was decided then that could be compared.
    pub not_decided: u64,
    pub examples: Vec<Example>,
}

/// A report in the making.
pub(super) struct Draft {
    records: Records,
    newest: Option<Timestamp>,
    oldest: Option<Timestamp>,
    transitions: BTreeMap<(Option<Ruling>, Option<Ruling>), Kind>,
    /// Changes that found no room among the transitions.
    others: u64,
    people: Counter<String>,
    hosts: Counter<String>,
    applications: Counter<String>,
    lost: Counter<Lost>,
    undecided: Vec<Example>,
    in_force: InForce,
    set_aside: BTreeMap<&'static str, u64>,
}

struct Kind {
    records: u64,
    people: Counter<String>,
    examples: Vec<Example>,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            records: Records::default(),
            newest: None,
            oldest: None,
            transitions: BTreeMap::new(),
            others: 0,
            people: Counter::up_to(MAX_NAMES),
            hosts: Counter::up_to(MAX_NAMES),
            applications: Counter::up_to(MAX_NAMES),
            lost: Counter::up_to(MAX_NAMES),
            undecided: Vec::new(),
            in_force: InForce { reproduced: 0, differs: 0, undecided: 0, not_decided: 0, examples: Vec::new() },
            set_aside: BTreeMap::new(),
        }
    }
}

impl Draft {
    pub(super) const fn records(&self) -> Records {
        self.records
    }

    /// Counts a record that no rule is asked about.
    pub(super) fn set_aside(&mut self, row: &Row, why: SetAside) {
        self.records.scanned += 1;
        self.records.set_aside += 1;
        *self.set_aside.entry(why.word()).or_default() += 1;
        if let Some(at) = row.get("Datetime").and_then(Value::as_str).and_then(|at| at.parse().ok()) {
            self.cover(at);
        }
    }

    /// Counts a record that was compared. `own` are the rules that only the draft has.
    pub(super) fn take(&mut self, dataset: &'static str, seen: &Seen<'_>, compared: &Compared, own: &HashSet<RuleId>) {
        self.records.scanned += 1;
        self.cover(seen.at);
        let decider = compared.draft.as_ref().and_then(|fate| fate.rule.as_ref());
        self.records.decided_by_draft += u64::from(decider.is_some_and(|rule| own.contains(&rule.id)));
        match &compared.outcome {
            Outcome::Same { other_rule } => {
                self.records.unchanged += 1;
                self.records.other_rule += u64::from(*other_rule);
            }
            Outcome::Changed => self.change(dataset, seen, compared),
            Outcome::Undecided(lost) => {
                self.records.undecided += 1;
                lost.iter().for_each(|one| self.lost.count(one));
                if self.undecided.len() < MAX_OTHERS {
                    let unknown = lost.iter().map(|one| describe(*one).0).collect();
                    self.undecided.push(Example { unknown, ..example(dataset, seen, None) });
                }
            }
        }
        self.hold_against_record(dataset, seen, compared.current.as_ref());
    }

    fn change(&mut self, dataset: &'static str, seen: &Seen<'_>, compared: &Compared) {
        self.records.changed += 1;
        let person = person(seen.who);
        self.people.count(person);
        self.hosts.count(seen.host);
        for application in seen.row.get("ApplicationNames").and_then(Value::as_array).into_iter().flatten() {
            if let Some(name) = application.as_str() {
                self.applications.count(name);
            }
        }
        let key = (compared.current.as_ref().map(Ruling::of), compared.draft.as_ref().map(Ruling::of));
        if self.transitions.len() >= MAX_TRANSITIONS && !self.transitions.contains_key(&key) {
            self.others += 1;
            return;
        }
        let kind = self.transitions.entry(key).or_insert_with(|| Kind {
            records: 0,
            people: Counter::up_to(MAX_PEOPLE),
            examples: Vec::new(),
        });
        kind.records += 1;
        kind.people.count(person);
        if kind.examples.len() < MAX_EXAMPLES {
            kind.examples.push(example(dataset, seen, None));
        }
    }

    fn hold_against_record(&mut self, dataset: &'static str, seen: &Seen<'_>, current: Option<&Fate>) {
        let decided = seen.decided;
        let Some(fate) = current else {
            self.in_force.undecided += 1;
            return;
        };
        if decided.action == "unknown" {
            self.in_force.not_decided += 1;
            return;
        }
        let rule = fate.rule.as_ref().map(|rule| rule.id.to_string());
        let same_action = decided.failed
            || fate.action == decided.action
            // A file that is not of a held type passes, and a managed action is a Worker's answer.
            || matches!((fate.action, decided.action), ("quarantine", "allow") | ("managed", "worker"));
        if rule.as_deref() == decided.rule && same_action {
            self.in_force.reproduced += 1;
            return;
        }
        self.in_force.differs += 1;
        if self.in_force.examples.len() < MAX_OTHERS {
            self.in_force.examples.push(example(dataset, seen, Some(Ruling::of(fate))));
        }
    }

    fn cover(&mut self, at: Timestamp) {
        self.newest = Some(self.newest.map_or(at, |newest| newest.max(at)));
        self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
    }

    pub(super) fn finish(&self) -> Report {
        let mut transitions: Vec<Transition> = self
            .transitions
            .iter()
            .map(|((from, to), kind)| Transition {
                from: from.clone(),
                to: to.clone(),
                records: kind.records,
                people: kind.people.len(),
                people_exact: kind.people.is_exact(),
                examples: kind.examples.clone(),
            })
            .collect();
        transitions.sort_by_key(|one| std::cmp::Reverse(one.records));
        let missing = self.lost.top(MAX_NAMES).into_iter().map(|(lost, records)| {
            let (fact, why) = describe(lost);
            MissingFact { fact, why, records }
        });
        Report {
            records: self.records,
            newest: self.newest.map(|at| at.to_string()),
            oldest: self.oldest.map(|at| at.to_string()),
            transitions,
            transitions_exact: self.others == 0,
            people: self.people.ranking(TOP),
            hosts: self.hosts.ranking(TOP),
            applications: self.applications.ranking(TOP),
            unknown: missing.collect(),
            undecided_examples: self.undecided.clone(),
            in_force: self.in_force.clone(),
            set_aside: self.set_aside.clone(),
        }
    }
}

fn person<'r>(who: &Who<'r>) -> &'r str {
    match who {
        Who::Withheld => NOT_RECORDED,
        Who::Nobody => NOBODY,
        Who::Somebody { email, id, .. } => email.or(*id).unwrap_or(NOT_RECORDED),
    }
}

fn example(dataset: &'static str, seen: &Seen<'_>, current: Option<Ruling>) -> Example {
    let text = |name: &str| seen.row.get(name).and_then(Value::as_str).unwrap_or_default();
    let bounded = |text: &str| text.chars().take(MAX_SHOWN).collect::<String>();
    let id = if dataset == "gateway_http" { text("RequestID") } else { text("SessionID") };
    let target = if text("URL").is_empty() { seen.host } else { text("URL") };
    Example {
        dataset,
        id: id.to_owned(),
        at: seen.at.to_string(),
        person: person(seen.who).to_owned(),
        method: bounded(text("HTTPMethod")),
        target: bounded(target),
        recorded: Ruling {
            action: seen.decided.action.to_owned(),
            rule_id: seen.decided.rule.map(str::to_owned),
            rule_name: seen.decided.rule_name.map(str::to_owned),
        },
        current,
        unknown: Vec::new(),
    }
}
