//! Compiled rule sets: the order of enforcement, first match wins, and what to do while a fact is missing.
//!
//! Pure: facts and the current time go in, a step comes out. Order (reference section 1.7): `off` rules, decided on the
//! connection; `isolate` and `noisolate`; the rest by precedence. `noisolate` and `noscan` leave a mark and evaluation
//! goes on. No match is allow.
//!
//! # Security
//! A rule that cannot be evaluated blocks: an evaluation error never widens access.

mod compiled;
pub mod evaluation;
mod index;
mod single;
mod variables;

use std::sync::Arc;

use expr::{Fact, Facts, FieldSet, Lists, Outcome, ValueRef};
use jiff::Timestamp;
use types::RuleId;

pub use compiled::{RuleRef, check};
pub use variables::FactVariables;

use crate::action::{Action, ActionPlan, AllowPlan};
use crate::facts::email::Canonical;
use crate::hook::{Hook, Phase, http::id as http};
use crate::spec::{RuleSpec, SpecError};
use crate::trace::{Conclusion, Scratch};
use compiled::{AliasCache, Rule, awaited, email_field};
use index::Index;

/// A rule as the store keeps it.
#[derive(Debug, Clone)]
pub struct StoredRule {
    pub id: RuleId,
    /// Wins over the number in the document.
    pub precedence: i64,
    pub spec: RuleSpec,
}

/// What compiling depends on beside rules and lists.
#[derive(Debug, Clone, Copy, Default)]
pub struct CompileOptions {
    /// The account's `extended_email_matching.enabled`.
    pub extended_email_matching: bool,
}

/// The outcome of compiling an account's rules.
#[derive(Debug)]
pub struct CompileReport {
    pub http: HttpRuleset,
    pub l4: L4Ruleset,
    /// Enabled rules that do not compile and are in neither set. The caller decides: keep the snapshot that works.
    pub errors: Vec<RuleErrors>,
}

/// Why a rule does not compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleErrors {
    pub id: RuleId,
    pub name: String,
    pub errors: Vec<SpecError>,
}

/// Compiles the enabled rules of every hook.
#[must_use]
pub fn compile(rules: &[StoredRule], lists: &dyn Lists, options: CompileOptions) -> CompileReport {
    let mut cache = AliasCache::default();
    let mut errors = Vec::new();
    let (mut off, mut main, mut l4) = (Vec::new(), Vec::new(), Vec::new());
    for stored in rules.iter().filter(|stored| stored.spec.is_enabled()) {
        let spec = &stored.spec;
        match Rule::compile(stored.id, stored.precedence, spec, lists, options.extended_email_matching, &mut cache) {
            Ok(rule) if spec.hook == Hook::L4 => l4.push(rule),
            Ok(rule) if spec.action == Action::Off => off.push(rule),
            Ok(rule) => main.push(rule),
            Err(faults) => errors.push(RuleErrors { id: stored.id, name: spec.name.clone(), errors: faults }),
        }
    }
    CompileReport {
        http: HttpRuleset { off: Table::new(Hook::Http, off), main: Table::new(Hook::Http, main) },
        l4: L4Ruleset { table: Table::new(Hook::L4, l4) },
        errors,
    }
}

/// Where evaluation stands. Facts only ever become known, so what was passed need not be looked at again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Some rule was already looked at, though it may be the first.
    resumed: bool,
    position: u32,
    marks: Marks,
}

impl Cursor {
    /// The beginning.
    #[must_use]
    pub const fn start() -> Self {
        Self { resumed: false, position: 0, marks: Marks { no_isolate: false, no_scan: false } }
    }

    /// Returns the marks left so far.
    #[must_use]
    pub const fn marks(self) -> Marks {
        self.marks
    }
}

/// What rules that do not end evaluation have asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    pub no_isolate: bool,
    pub no_scan: bool,
}

/// What came of an evaluation.
#[derive(Debug, Clone)]
pub enum Step {
    /// It is decided.
    Verdict(Verdict),
    /// It hangs on facts that are not known yet.
    Needs(Needs),
}

/// The facts a decision hangs on.
#[derive(Debug, Clone)]
pub struct Needs {
    pub fields: FieldSet,
    /// The earliest phase that supplies one of them. `Connection` means the destination's name has to be resolved.
    pub phase: Phase,
    /// The rule that waits.
    pub rule: Arc<RuleRef>,
    /// Where to go on once they are known.
    pub cursor: Cursor,
}

/// A decision.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// `None`: no rule matched.
    pub rule: Option<Arc<RuleRef>>,
    pub action: ActionPlan,
    pub marks: Marks,
    /// Where to go on if the rule's Worker has no opinion.
    pub cursor: Cursor,
}

/// The rules for web requests.
#[derive(Debug)]
pub struct HttpRuleset {
    off: Table,
    main: Table,
}

impl HttpRuleset {
    /// Decides whether a connection is passed through without decryption: the verdict's action is `Off`, or `Allow` for
    /// inspecting it. Not for plaintext HTTP, which has nothing to decrypt.
    pub fn decide_connection(&self, facts: &dyn Facts, now: Timestamp, scratch: &mut Scratch) -> Step {
        self.off.run(facts, now, Cursor::start(), scratch, false)
    }

    /// As [`Self::decide_connection`], with facts that will not come counted as never matching.
    pub fn finish_connection(&self, facts: &dyn Facts, now: Timestamp, scratch: &mut Scratch) -> Verdict {
        self.off.finish(facts, now, Cursor::start(), scratch)
    }

    /// Decides a request, as far as its facts allow.
    pub fn decide(&self, facts: &dyn Facts, now: Timestamp, from: Cursor, scratch: &mut Scratch) -> Step {
        self.main.run(facts, now, from, scratch, false)
    }

    /// Decides a request whose missing facts will not come: a rule that hangs on them does not match. Before the request
    /// is sent while a rule waits for the response, this gives the plan to send it under.
    pub fn finish(&self, facts: &dyn Facts, now: Timestamp, from: Cursor, scratch: &mut Scratch) -> Verdict {
        self.main.finish(facts, now, from, scratch)
    }

    /// Returns the fields that any rule reads, so that nothing else need be computed.
    #[must_use]
    pub const fn fields(&self) -> FieldSet {
        self.main.fields
    }

    /// Counts the rules.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.off.rules.len() + self.main.rules.len()
    }

    /// Tells whether there are no rules.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Visits the rules in their order of enforcement.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<RuleRef>> {
        self.off.rules.iter().chain(&self.main.rules).map(|rule| &rule.reference)
    }

    pub(crate) const fn off_table(&self) -> &Table {
        &self.off
    }

    pub(crate) const fn main_table(&self) -> &Table {
        &self.main
    }
}

/// The rules for connections, decided before the first HTTP rule.
#[derive(Debug)]
pub struct L4Ruleset {
    table: Table,
}

impl L4Ruleset {
    /// Decides a connection, as far as its facts allow.
    pub fn decide(&self, facts: &dyn Facts, now: Timestamp, from: Cursor, scratch: &mut Scratch) -> Step {
        self.table.run(facts, now, from, scratch, false)
    }

    /// Decides a connection whose missing facts will not come.
    pub fn finish(&self, facts: &dyn Facts, now: Timestamp, from: Cursor, scratch: &mut Scratch) -> Verdict {
        self.table.finish(facts, now, from, scratch)
    }

    /// Returns the fields that any rule reads.
    #[must_use]
    pub const fn fields(&self) -> FieldSet {
        self.table.fields
    }

    /// Counts the rules.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.table.rules.len()
    }

    /// Tells whether there are no rules.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Visits the rules in their order of enforcement.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<RuleRef>> {
        self.table.rules.iter().map(|rule| &rule.reference)
    }

    pub(crate) const fn table(&self) -> &Table {
        &self.table
    }
}

/// Rules in their order, with the index over them.
#[derive(Debug)]
pub(crate) struct Table {
    hook: Hook,
    rules: Vec<Rule>,
    index: Index,
    /// Where the rules after `isolate` and `noisolate` begin.
    main_start: u32,
    fields: FieldSet,
    wants_address: bool,
    unmatched: Arc<AllowPlan>,
}

/// What a rule's outcome means for the evaluation.
enum Turn {
    /// Look at the next rule.
    Next,
    /// Go on at this position.
    Jump(u32),
    End(Step),
}

impl Table {
    fn new(hook: Hook, mut rules: Vec<Rule>) -> Self {
        // Equal numbers, which only an import can bring, are ordered by id, so that every node agrees.
        rules.sort_by_key(|rule| (!is_isolation(rule.action), rule.reference.precedence, rule.reference.id));
        let main_start = rules.iter().take_while(|rule| is_isolation(rule.action)).count();
        let index = Index::new(hook, &rules);
        Self {
            hook,
            main_start: u32::try_from(main_start).unwrap_or(u32::MAX),
            fields: rules.iter().fold(FieldSet::EMPTY, |set, rule| set.union(rule.fields)),
            wants_address: index.wants_address() || rules.iter().any(|rule| !rule.aliases.is_empty()),
            index,
            rules,
            unmatched: Arc::default(),
        }
    }

    pub(crate) const fn hook(&self) -> Hook {
        self.hook
    }

    pub(crate) fn rule_ref(&self, position: u32) -> Option<&Arc<RuleRef>> {
        self.rules.get(position as usize).map(|rule| &rule.reference)
    }

    pub(crate) fn rule_fields(&self, position: u32) -> FieldSet {
        self.rules.get(position as usize).map_or(FieldSet::EMPTY, |rule| rule.fields)
    }

    fn finish(&self, facts: &dyn Facts, now: Timestamp, from: Cursor, scratch: &mut Scratch) -> Verdict {
        match self.run(facts, now, from, scratch, true) {
            Step::Verdict(verdict) => verdict,
            // Finishing never waits; were it to, the request must not pass.
            Step::Needs(needs) => Verdict {
                action: ActionPlan::Unevaluable("the decision is still waiting for facts".into()),
                marks: needs.cursor.marks,
                cursor: needs.cursor,
                rule: Some(needs.rule),
            },
        }
    }

    fn run(&self, facts: &dyn Facts, now: Timestamp, from: Cursor, scratch: &mut Scratch, finish: bool) -> Step {
        if !from.resumed {
            scratch.restart();
        }
        scratch.begin_round();
        let canonical = self.canonical(facts);
        let mut candidates = scratch.take_candidates();
        self.index.candidates(facts, canonical.as_ref(), &mut candidates);
        let step = self.walk(&candidates, facts, canonical.as_ref(), now, from, scratch, finish);
        scratch.give_candidates(candidates);
        step
    }

    /// Walks the candidates and the unindexed rules in their common order.
    #[expect(clippy::too_many_arguments, reason = "one private loop with one caller; a struct would only rename them")]
    fn walk(
        &self,
        candidates: &[u32],
        facts: &dyn Facts,
        canonical: Option<&Canonical>,
        now: Timestamp,
        from: Cursor,
        scratch: &mut Scratch,
        finish: bool,
    ) -> Step {
        let always = self.index.always();
        let seek = |list: &[u32], position: u32| list.partition_point(|candidate| *candidate < position);
        let (mut filed, mut open) = (seek(candidates, from.position), seek(always, from.position));
        let mut marks = from.marks;
        loop {
            let position = match (candidates.get(filed), always.get(open)) {
                (Some(a), Some(b)) if a < b => *a,
                (Some(_) | None, Some(b)) => *b,
                (Some(a), None) => *a,
                (None, None) => break,
            };
            filed += usize::from(candidates.get(filed) == Some(&position));
            open += usize::from(always.get(open) == Some(&position));
            let Some(rule) = self.rules.get(position as usize) else { break };
            if !rule.is_in_force(now) {
                scratch.note(position, Conclusion::NotInForce);
                continue;
            }
            let outcome = self.applicable(rule, facts).and(rule.evaluate(email_field(self.hook), facts, canonical));
            match self.turn(rule, position, outcome, &mut marks, scratch, finish) {
                Turn::Next => {}
                Turn::Jump(to) => (filed, open) = (seek(candidates, to), seek(always, to)),
                Turn::End(step) => return step,
            }
        }
        let end = u32::try_from(self.rules.len()).unwrap_or(u32::MAX);
        Step::Verdict(Verdict {
            rule: None,
            action: ActionPlan::Allow(self.unmatched.clone()),
            marks,
            cursor: Cursor { resumed: true, position: end, marks },
        })
    }

    fn turn(
        &self,
        rule: &Rule,
        position: u32,
        outcome: Outcome,
        marks: &mut Marks,
        scratch: &mut Scratch,
        finish: bool,
    ) -> Turn {
        let after = |marks: Marks| Cursor { resumed: true, position: position + 1, marks };
        match outcome {
            Outcome::False => {
                scratch.note(position, Conclusion::NoMatch);
                Turn::Next
            }
            Outcome::True => {
                scratch.note(position, Conclusion::Match);
                if rule.action == Action::NoScan {
                    marks.no_scan = true;
                    return Turn::Next;
                }
                if rule.action == Action::NoIsolate {
                    marks.no_isolate = true;
                    return Turn::Jump(self.main_start);
                }
                scratch.decide(position);
                Turn::End(Step::Verdict(Verdict {
                    rule: Some(rule.reference.clone()),
                    action: rule.reference.action.clone(),
                    marks: *marks,
                    cursor: after(*marks),
                }))
            }
            Outcome::Needs(fields) => match awaited(self.hook, fields).filter(|_| !finish) {
                Some((fields, phase)) => {
                    scratch.wait(position, fields);
                    let cursor = Cursor { resumed: true, position, marks: *marks };
                    Turn::End(Step::Needs(Needs { fields, phase, rule: rule.reference.clone(), cursor }))
                }
                None => {
                    scratch.note_unknown(position, fields);
                    Turn::Next
                }
            },
            Outcome::Error(fields) => {
                scratch.note(position, Conclusion::Error);
                scratch.decide(position);
                let names: Vec<&str> = fields.iter().map(|field| self.hook.scheme().field(field).name).collect();
                let reason = format!("rule \"{}\" cannot be evaluated: {}", rule.reference.name, names.join(", "));
                Turn::End(Step::Verdict(Verdict {
                    rule: Some(rule.reference.clone()),
                    action: ActionPlan::Unevaluable(reason.into()),
                    marks: *marks,
                    cursor: after(*marks),
                }))
            }
        }
    }

    /// Isolation is for pages alone: requests whose `Accept` begins with `text/html` (reference section 1.2).
    fn applicable(&self, rule: &Rule, facts: &dyn Facts) -> Outcome {
        if rule.action != Action::Isolate {
            return Outcome::True;
        }
        match facts.fact(http::HEADERS) {
            Fact::Known(ValueRef::Map(headers)) => Outcome::of(headers.get(b"accept").is_some_and(wants_page)),
            Fact::Absent => Outcome::False,
            Fact::Unknown => Outcome::Needs(FieldSet::of(http::HEADERS)),
            Fact::Known(_) => Outcome::Error(FieldSet::of(http::HEADERS)),
        }
    }

    pub(crate) fn canonical(&self, facts: &dyn Facts) -> Option<Canonical> {
        if !self.wants_address {
            return None;
        }
        let Fact::Known(ValueRef::Bytes(address)) = facts.fact(email_field(self.hook)) else { return None };
        Canonical::of(address)
    }

    /// Decides one rule on its own, as evaluation would.
    fn judge(&self, rule: &Rule, facts: &dyn Facts, now: Timestamp) -> Judgement {
        if !rule.is_in_force(now) {
            return Judgement { conclusion: Conclusion::NotInForce, waits_for: FieldSet::EMPTY };
        }
        let canonical = self.canonical(facts);
        let outcome =
            self.applicable(rule, facts).and(rule.evaluate(email_field(self.hook), facts, canonical.as_ref()));
        let (conclusion, waits_for) = match outcome {
            Outcome::True => (Conclusion::Match, FieldSet::EMPTY),
            Outcome::False => (Conclusion::NoMatch, FieldSet::EMPTY),
            Outcome::Needs(fields) if awaited(self.hook, fields).is_some() => (Conclusion::Waits, fields),
            Outcome::Needs(fields) => (Conclusion::Unknowable, fields),
            Outcome::Error(fields) => (Conclusion::Error, fields),
        };
        Judgement { conclusion, waits_for }
    }
}

/// What one rule alone comes to.
struct Judgement {
    conclusion: Conclusion,
    waits_for: FieldSet,
}

const fn is_isolation(action: Action) -> bool {
    matches!(action, Action::Isolate | Action::NoIsolate)
}

fn wants_page(accept: ValueRef<'_>) -> bool {
    if let ValueRef::Array(values) = accept {
        return values.get(0).is_some_and(wants_page);
    }
    let ValueRef::Bytes(text) = accept else { return false };
    text.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"text/html"))
}
