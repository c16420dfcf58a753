//! The rules of a table one by one, for those who walk them with answers of their own: replaying recorded traffic, where
//! a fact may be lost for good.
//!
//! Decides a single rule exactly as a run over the table would. Invariant: a position that is not a candidate is false for
//! these facts.

use std::sync::Arc;

use expr::{Facts, FieldSet, Outcome};
use jiff::Timestamp;

use super::{RuleRef, Table};
use crate::action::Action;
use crate::facts::email::Canonical;
use crate::ruleset::compiled::email_field;

/// One rule of a table.
pub(crate) struct Single<'t> {
    pub(crate) reference: &'t Arc<RuleRef>,
    pub(crate) action: Action,
    pub(crate) fields: FieldSet,
}

impl Table {
    /// Collects the positions that could match, in order. Facts that become known later never add one.
    pub(crate) fn possible(&self, facts: &dyn Facts, canonical: Option<&Canonical>, found: &mut Vec<u32>) {
        self.index.candidates(facts, canonical, found);
        found.extend_from_slice(self.index.always());
        found.sort_unstable();
        found.dedup();
    }

    pub(crate) fn single(&self, position: u32) -> Option<Single<'_>> {
        let rule = self.rules.get(position as usize)?;
        Some(Single { reference: &rule.reference, action: rule.action, fields: rule.fields })
    }

    /// Holds one rule against facts; `None` while it is not in force.
    pub(crate) fn outcome(
        &self,
        position: u32,
        facts: &dyn Facts,
        canonical: Option<&Canonical>,
        now: Timestamp,
    ) -> Option<Outcome> {
        let rule = self.rules.get(position as usize).filter(|rule| rule.is_in_force(now))?;
        Some(self.applicable(rule, facts).and(rule.evaluate(email_field(self.hook), facts, canonical)))
    }

    /// Where the rules after `isolate` and `noisolate` begin.
    pub(crate) const fn after_isolation(&self) -> u32 {
        self.main_start
    }

    /// Visits every condition of the rules with their ids.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = (&Arc<RuleRef>, &expr::Ast)> {
        self.rules.iter().flat_map(|rule| rule.expressions.iter().map(|(_, one)| (&rule.reference, one.ast())))
    }

    /// Visits the rules in order.
    pub(crate) fn positions(&self) -> impl Iterator<Item = (u32, &Arc<RuleRef>)> {
        (0u32..).zip(self.rules.iter().map(|rule| &rule.reference))
    }
}
