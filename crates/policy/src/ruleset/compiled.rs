//! One rule, compiled: its expressions, when it is in force, and how it is held against facts.
//!
//! Decides a single rule; order and index are elsewhere. Invariant: a rule whose outcome could only be settled by a field
//! without a data source is never a match.

use std::collections::HashMap;
use std::sync::Arc;

use expr::{
    Ast, Expression, Fact, Facts, FieldId, FieldSet, Item, Limits, Lists, Literal, Operand, Order, Outcome, Test,
    ValueRef,
};
use jiff::Timestamp;
use types::RuleId;

use crate::action::{Action, ActionPlan};
use crate::facts::Overlay;
use crate::facts::email::Canonical;
use crate::hook::{Hook, Phase, Selector, Source, http::id as http, l4::id as l4, permits};
use crate::schedule::{Expiration, Schedule};
use crate::spec::{RuleSpec, SpecError};

/// What a verdict says about the rule behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleRef {
    pub id: RuleId,
    pub name: String,
    pub precedence: i64,
    pub action: ActionPlan,
    /// What the author should know although the rule is valid; the API's `warning_status`.
    pub warnings: Vec<String>,
}

/// Canonical address to the spelling a rule uses for it.
pub(super) type Aliases = HashMap<Box<[u8]>, Box<[u8]>>;

/// The aliases of lists, shared by the rules that refer to them.
#[derive(Default)]
pub(super) struct AliasCache(HashMap<String, Arc<Aliases>>);

/// A compiled rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) reference: Arc<RuleRef>,
    pub(super) action: Action,
    /// Identity first: it is the cheapest to decide.
    pub(super) expressions: Vec<(&'static str, Expression)>,
    pub(super) fields: FieldSet,
    /// No facts that can come could make it match.
    pub(super) dormant: bool,
    /// Set where variants of an address match.
    pub(super) aliases: Vec<Arc<Aliases>>,
    uses_body_phase: bool,
    schedule: Option<Schedule>,
    expiration: Option<Expiration>,
}

/// Compiles and checks the expressions of a rule. Without a fault returns warnings for its author, beside those that
/// reading the document gave ([`RuleSpec::warnings`]).
///
/// # Errors
/// With every fault found, at least one.
pub fn check(spec: &RuleSpec, lists: &dyn Lists) -> Result<Vec<String>, Vec<SpecError>> {
    expressions(spec, lists).map(|expressions| warnings(spec, &expressions))
}

fn expressions(spec: &RuleSpec, lists: &dyn Lists) -> Result<Vec<(&'static str, Expression)>, Vec<SpecError>> {
    let hook = spec.hook;
    let fields = hook.fields();
    let mut faults = Vec::new();
    let mut compiled = Vec::with_capacity(3);
    for (member, source) in spec.expressions() {
        let expression = match Expression::compile(&fields.scheme, source, lists, &Limits::default()) {
            Ok(expression) => expression,
            Err(error) => {
                faults.push(SpecError {
                    pointer: format!("/{member}"),
                    message: error.to_string(),
                    suggestion: error.suggestion,
                });
                continue;
            }
        };
        for field in expression.fields().iter() {
            let info = fields.info(field);
            if let Err(reason) = permits(hook, spec.action, info) {
                faults.push(SpecError {
                    pointer: format!("/{member}"),
                    message: format!("`{}` cannot be used with the action `{}`: {reason}", info.name, spec.action),
                    suggestion: None,
                });
            }
        }
        if !matches!(expression.ast(), Ast::Always) {
            compiled.push((member, expression));
        }
    }
    // Identity and posture are known with the connection; traffic may read more.
    compiled.reverse();
    if faults.is_empty() { Ok(compiled) } else { Err(faults) }
}

/// Collects what the author should know.
fn warnings(spec: &RuleSpec, expressions: &[(&'static str, Expression)]) -> Vec<String> {
    let fields = spec.hook.fields();
    let mut warnings = Vec::new();
    let used = union(expressions);
    for field in used.intersection(fields.later()).iter() {
        let info = fields.info(field);
        if let Source::Later(what) = info.source {
            warnings.push(format!("`{}` is not known until this installation has {what}", info.name));
        }
    }
    if !can_match(spec.hook, expressions) {
        warnings.push("this rule cannot match yet: its outcome hangs on fields that nothing supplies".to_owned());
    }
    for (_, expression) in expressions {
        visit_comparisons(expression.ast(), &mut |operand, test| {
            if let Some(text) = never_equal(spec.hook, operand, test) {
                warnings
                    .push(format!("`{text}` has capitals, and hosts and e-mail addresses are compared in lower case"));
            }
        });
    }
    for name in spec.settings.headers.variables().filter(|name| !super::variables::is_known(name)) {
        warnings.push(format!("the header variable @{{{name}}} is not known and will be empty"));
    }
    warnings
}

impl Rule {
    /// Compiles a rule.
    ///
    /// # Errors
    /// With every fault found, at least one.
    pub(super) fn compile(
        id: RuleId,
        precedence: i64,
        spec: &RuleSpec,
        lists: &dyn Lists,
        forced_variants: bool,
        cache: &mut AliasCache,
    ) -> Result<Self, Vec<SpecError>> {
        let expressions = expressions(spec, lists)?;
        let fields = union(&expressions);
        let email = email_field(spec.hook);
        let variants =
            fields.contains(email) && crate::facts::email::matches_variants(spec.hook, spec.action, forced_variants);
        let aliases = if variants { aliases(&expressions, email, lists, cache) } else { Vec::new() };
        Ok(Self {
            reference: Arc::new(RuleRef {
                id,
                name: spec.name.clone(),
                precedence,
                action: spec.plan(),
                warnings: spec.warnings.iter().cloned().chain(warnings(spec, &expressions)).collect(),
            }),
            action: spec.action,
            dormant: !can_match(spec.hook, &expressions),
            uses_body_phase: spec.hook == Hook::Http && fields.contains(http::BODY_PHASE),
            expressions,
            fields,
            aliases,
            schedule: spec.schedule.clone(),
            expiration: spec.expiration,
        })
    }

    /// Tells whether the rule is neither expired nor outside its schedule.
    pub(super) fn is_in_force(&self, now: Timestamp) -> bool {
        !self.expiration.is_some_and(|expiration| expiration.is_expired(now))
            && self.schedule.as_ref().is_none_or(|schedule| schedule.is_active(now))
    }

    /// Returns the spelling under which the rule names the person's address, if it means variants too and names one.
    pub(super) fn spelling(&self, canonical: Option<&Canonical>) -> Option<&[u8]> {
        let canonical = canonical?;
        self.aliases.iter().find_map(|aliases| aliases.get(canonical.as_bytes())).map(|spelling| &**spelling)
    }

    /// Holds the rule against facts. `canonical` is the canonical spelling of the person's address, where one is needed.
    pub(super) fn evaluate(&self, email: FieldId, facts: &dyn Facts, canonical: Option<&Canonical>) -> Outcome {
        match self.spelling(canonical) {
            Some(value) => self.evaluate_bodies(&Overlay { base: facts, field: email, value }),
            None => self.evaluate_bodies(facts),
        }
    }

    /// A rule that names the body phase asks about each body in turn and matches if it does for either.
    fn evaluate_bodies(&self, facts: &dyn Facts) -> Outcome {
        if !self.uses_body_phase || !matches!(facts.fact(http::BODY_PHASE), Fact::Unknown) {
            return self.evaluate_all(facts);
        }
        let upload = Overlay { base: facts, field: http::BODY_PHASE, value: b"upload" };
        let download = Overlay { base: facts, field: http::BODY_PHASE, value: b"download" };
        body_present(facts, http::HAS_BODY).and(self.evaluate_all(&upload)).or(body_present(
            facts,
            http::RESPONSE_HAS_BODY,
        )
        .and(self.evaluate_all(&download)))
    }

    fn evaluate_all(&self, facts: &dyn Facts) -> Outcome {
        let mut outcome = Outcome::True;
        for (_, expression) in &self.expressions {
            outcome = outcome.and(expression.evaluate(facts));
            if outcome == Outcome::False {
                break;
            }
        }
        outcome
    }
}

/// Tells whether a message has a body, as an outcome that waits for its head.
fn body_present(facts: &dyn Facts, field: FieldId) -> Outcome {
    match facts.fact(field) {
        Fact::Known(ValueRef::Bool(present)) => Outcome::of(present),
        Fact::Absent => Outcome::False,
        Fact::Unknown => Outcome::Needs(FieldSet::of(field)),
        Fact::Known(_) => Outcome::Error(FieldSet::of(field)),
    }
}

pub(super) const fn email_field(hook: Hook) -> FieldId {
    match hook {
        Hook::Http => http::IDENTITY_EMAIL,
        Hook::L4 => l4::IDENTITY_EMAIL,
    }
}

fn union(expressions: &[(&'static str, Expression)]) -> FieldSet {
    expressions.iter().fold(FieldSet::EMPTY, |set, (_, expression)| set.union(expression.fields()))
}

/// Collects the addresses a rule names, by their canonical spelling. A rule that spells one address in two ways is held
/// against the first of them.
fn aliases(
    expressions: &[(&'static str, Expression)],
    email: FieldId,
    lists: &dyn Lists,
    cache: &mut AliasCache,
) -> Vec<Arc<Aliases>> {
    let mut own = Aliases::new();
    let mut found = Vec::new();
    let add = |aliases: &mut Aliases, address: &[u8]| {
        if let Some(canonical) = Canonical::of(address) {
            aliases.entry(canonical.as_bytes().into()).or_insert_with(|| address.into());
        }
    };
    for (_, expression) in expressions {
        visit_comparisons(expression.ast(), &mut |operand, test| {
            let Operand::Path(path) = operand else { return };
            if path.field != email {
                return;
            }
            for_each_text(test, &mut |address| add(&mut own, address));
            if let Test::InList(name) = test
                && let Some(list) = lists.list(name)
            {
                let shared = cache.0.entry(name.clone()).or_insert_with(|| {
                    let mut aliases = Aliases::new();
                    list.keys().for_each(|address| add(&mut aliases, address));
                    Arc::new(aliases)
                });
                found.push(shared.clone());
            }
        });
    }
    found.insert(0, Arc::new(own));
    found
}

/// Visits the texts a value is compared with for equality.
fn for_each_text(test: &Test, visit: &mut dyn FnMut(&[u8])) {
    match test {
        Test::Order(Order::Equal | Order::NotEqual, Literal::Bytes(text)) => visit(text),
        Test::In(items) => {
            for item in items {
                if let Item::One(Literal::Bytes(text)) = item {
                    visit(text);
                }
            }
        }
        Test::Order(..)
        | Test::InList(_)
        | Test::Contains(_)
        | Test::Matches(_)
        | Test::Wildcard { .. }
        | Test::Bits(_) => {}
    }
}

/// Visits every comparison of a condition.
fn visit_comparisons<'a>(ast: &'a Ast, visit: &mut dyn FnMut(&'a Operand, &'a Test)) {
    match ast {
        Ast::Always | Ast::Truth(_) => {}
        Ast::Not(inner) | Ast::Any(inner) | Ast::All(inner) => visit_comparisons(inner, visit),
        Ast::And(parts) | Ast::Or(parts) | Ast::Xor(parts) => {
            parts.iter().for_each(|part| visit_comparisons(part, visit))
        }
        Ast::Compare(operand, test) => visit(operand, test),
    }
}

/// Returns a constant that a lower-case field can never equal.
fn never_equal(hook: Hook, operand: &Operand, test: &Test) -> Option<String> {
    let Operand::Path(path) = operand else { return None };
    let lower_case = hook.fields().info(path.field).selector == Selector::Host || path.field == email_field(hook);
    let mut found = None;
    if lower_case {
        for_each_text(test, &mut |text| {
            if found.is_none() && text.iter().any(u8::is_ascii_uppercase) {
                found = Some(String::from_utf8_lossy(text).chars().take(80).collect());
            }
        });
    }
    found
}

/// The outcomes a condition can still have, once everything that has a data source is known.
#[derive(Clone, Copy)]
struct Possible {
    holds: bool,
    fails: bool,
    unknown: bool,
}

const DECIDED: Possible = Possible { holds: true, fails: true, unknown: false };
const UNKNOWN: Possible = Possible { holds: false, fails: false, unknown: true };

/// Tells whether any facts that can come could make the rule match.
fn can_match(hook: Hook, expressions: &[(&'static str, Expression)]) -> bool {
    let later = hook.fields().later();
    expressions.iter().all(|(_, expression)| possible(expression.ast(), later).holds)
}

fn possible(ast: &Ast, later: FieldSet) -> Possible {
    match ast {
        Ast::Always => Possible { fails: false, ..DECIDED },
        Ast::Not(inner) => {
            let inner = possible(inner, later);
            Possible { holds: inner.fails, fails: inner.holds, ..inner }
        }
        Ast::And(parts) => parts.iter().map(|part| possible(part, later)).fold(
            Possible { holds: true, fails: false, unknown: false },
            |a, b| Possible {
                holds: a.holds && b.holds,
                fails: a.fails || b.fails,
                unknown: (a.unknown && (b.holds || b.unknown)) || (b.unknown && a.holds),
            },
        ),
        Ast::Or(parts) => parts.iter().map(|part| possible(part, later)).fold(
            Possible { holds: false, fails: true, unknown: false },
            |a, b| Possible {
                holds: a.holds || b.holds,
                fails: a.fails && b.fails,
                unknown: (a.unknown && (b.fails || b.unknown)) || (b.unknown && a.fails),
            },
        ),
        Ast::Xor(parts) => parts.iter().map(|part| possible(part, later)).fold(
            Possible { holds: false, fails: true, unknown: false },
            |a, b| Possible {
                holds: (a.holds && b.fails) || (a.fails && b.holds),
                fails: (a.holds && b.holds) || (a.fails && b.fails),
                unknown: a.unknown || b.unknown,
            },
        ),
        Ast::Truth(operand) | Ast::Compare(operand, _) => {
            let mut waits = false;
            operand.visit_paths(&mut |path| waits |= later.contains(path.field));
            if waits { UNKNOWN } else { DECIDED }
        }
        // An array of a field that nothing supplies is unknown as a whole.
        Ast::Any(inner) | Ast::All(inner) => {
            let inner = possible(inner, later);
            if inner.holds || inner.fails { Possible { unknown: inner.unknown, ..DECIDED } } else { UNKNOWN }
        }
    }
}

/// Returns the earliest phase that supplies one of `fields`, and those of them that can come at all.
pub(super) fn awaited(hook: Hook, fields: FieldSet) -> Option<(FieldSet, Phase)> {
    let table = hook.fields();
    let coming = fields.difference(table.later());
    table.earliest(coming).map(|phase| (coming, phase))
}
