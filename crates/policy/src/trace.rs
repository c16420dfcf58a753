//! How a decision came about: the rules looked at, the one that decided, the facts it read, the facts it waited for.
//!
//! While deciding, only numbers are noted, in a buffer that lives as long as its connection; names and values are looked
//! up when the record is written. Decides nothing. Invariant: a trace's size has a bound whatever the rules are.

use expr::{Facts, FieldSet};
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::facts::show_map;
use crate::hook::Hook;
use crate::ruleset::{HttpRuleset, L4Ruleset, Table};

/// Most rules listed in a trace; the rest are counted.
pub const MAX_RULES: usize = 64;

/// What holding one rule against the facts came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    Match,
    NoMatch,
    /// Expired or outside its schedule.
    NotInForce,
    /// Hangs on facts that are not known yet.
    Waits,
    /// Hangs on facts that will not come.
    Unknowable,
    /// Could not be evaluated.
    Error,
}

/// Reusable memory of evaluations: one for each connection or task. Nothing is allocated once it has grown.
#[derive(Debug)]
pub struct Scratch {
    candidates: Vec<u32>,
    noted: [(u32, Conclusion); MAX_RULES],
    listed: usize,
    considered: u32,
    decided: Option<u32>,
    waited: FieldSet,
    unknowable: FieldSet,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            candidates: Vec::new(),
            noted: [(0, Conclusion::NoMatch); MAX_RULES],
            listed: 0,
            considered: 0,
            decided: None,
            waited: FieldSet::EMPTY,
            unknowable: FieldSet::EMPTY,
        }
    }
}

impl Scratch {
    /// Makes an empty scratch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns how many rules were looked at.
    #[must_use]
    pub const fn considered(&self) -> u32 {
        self.considered
    }

    pub(crate) fn restart(&mut self) {
        self.listed = 0;
        self.considered = 0;
        self.waited = FieldSet::EMPTY;
        self.unknowable = FieldSet::EMPTY;
    }

    /// Begins a round: a Worker that an earlier one chose and that had no opinion does not decide this one.
    pub(crate) const fn begin_round(&mut self) {
        self.decided = None;
    }

    pub(crate) fn take_candidates(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.candidates)
    }

    pub(crate) fn give_candidates(&mut self, candidates: Vec<u32>) {
        self.candidates = candidates;
    }

    pub(crate) fn note(&mut self, position: u32, conclusion: Conclusion) {
        // A rule that waited is looked at again; its last conclusion stands.
        if let Some(last) = self.listed.checked_sub(1).and_then(|index| self.noted.get_mut(index))
            && last.0 == position
        {
            last.1 = conclusion;
            return;
        }
        self.considered = self.considered.saturating_add(1);
        if let Some(slot) = self.noted.get_mut(self.listed) {
            *slot = (position, conclusion);
            self.listed += 1;
        }
    }

    pub(crate) fn note_unknown(&mut self, position: u32, fields: FieldSet) {
        self.unknowable = self.unknowable.union(fields);
        self.note(position, Conclusion::Unknowable);
    }

    pub(crate) fn wait(&mut self, position: u32, fields: FieldSet) {
        self.waited = self.waited.union(fields);
        self.note(position, Conclusion::Waits);
    }

    pub(crate) const fn decide(&mut self, position: u32) {
        self.decided = Some(position);
    }
}

/// A decision's history, ready to be recorded and shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trace {
    pub hook: &'static str,
    /// `None`: no rule matched.
    pub decided_by: Option<TraceRule>,
    /// How many rules were looked at, listed or not.
    pub considered: u32,
    pub rules: Vec<TraceRule>,
    /// The values that the deciding rule read.
    pub facts: Map<String, Json>,
    /// The fields that had to be waited for.
    pub waited_for: Vec<&'static str>,
    /// The fields that rules hung on in vain.
    pub never_known: Vec<&'static str>,
    /// Filled in by the caller, who has a clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub microseconds: Option<u64>,
}

/// One rule in a trace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TraceRule {
    pub id: String,
    pub name: String,
    pub action: &'static str,
    pub outcome: Conclusion,
}

impl HttpRuleset {
    /// Writes out how the last decision made with `scratch` came about.
    #[must_use]
    pub fn trace(&self, scratch: &Scratch, facts: &dyn Facts) -> Trace {
        trace(self.main_table(), scratch, facts)
    }

    /// Writes out how the last connection decision made with `scratch` came about.
    #[must_use]
    pub fn trace_connection(&self, scratch: &Scratch, facts: &dyn Facts) -> Trace {
        trace(self.off_table(), scratch, facts)
    }
}

impl L4Ruleset {
    /// Writes out how the last decision made with `scratch` came about.
    #[must_use]
    pub fn trace(&self, scratch: &Scratch, facts: &dyn Facts) -> Trace {
        trace(self.table(), scratch, facts)
    }
}

fn trace(table: &Table, scratch: &Scratch, facts: &dyn Facts) -> Trace {
    let line = |position: u32, outcome: Conclusion| {
        table.rule_ref(position).map(|rule| TraceRule {
            id: rule.id.to_string(),
            name: rule.name.clone(),
            action: rule.action.word(),
            outcome,
        })
    };
    let rules: Vec<TraceRule> =
        scratch.noted[..scratch.listed].iter().filter_map(|(position, outcome)| line(*position, *outcome)).collect();
    let outcome_of = |position: u32| {
        let noted = scratch.noted[..scratch.listed].iter().rev().find(|(noted, _)| *noted == position);
        noted.map_or(Conclusion::Match, |(_, outcome)| *outcome)
    };
    let used = scratch.decided.map_or(FieldSet::EMPTY, |position| table.rule_fields(position));
    Trace {
        hook: table.hook().as_str(),
        decided_by: scratch.decided.and_then(|position| line(position, outcome_of(position))),
        considered: scratch.considered,
        rules,
        facts: show_map(table.hook(), used, facts),
        waited_for: names(table.hook(), scratch.waited),
        never_known: names(table.hook(), scratch.unknowable),
        microseconds: None,
    }
}

/// Names the fields of a set.
#[must_use]
pub fn names(hook: Hook, fields: FieldSet) -> Vec<&'static str> {
    fields.iter().map(|field| hook.scheme().field(field).name).collect()
}
