//! Rules held against a document of facts, with everything said: for the console's test pane, the evaluation API and
//! `portunus explain`.
//!
//! Decides exactly as the gateway does and then explains; never used on a request's path. Invariant: the answer's size
//! has a bound whatever the rules are.

use expr::{Explanation, Facts, Outcome, Seen};
use jiff::Timestamp;
use serde::Serialize;

use super::compiled::{Rule, email_field};
use super::{Cursor, HttpRuleset, L4Ruleset, Needs, Step, Table, Verdict};
use crate::action::ActionPlan;
use crate::facts::{FactsDocument, Overlay, mask};
use crate::hook::{Hook, http::id as http};
use crate::trace::{Conclusion, Scratch, Trace, names};

/// Most rules explained one by one.
const MAX_RULES: usize = 200;
/// Most Workers followed by what comes if they have no opinion.
const MAX_FOLLOWED: usize = 8;

/// What the rules say about some facts, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    pub hook: &'static str,
    /// Whether the connection is decrypted; absent for plaintext and for connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inspected: Option<bool>,
    pub verdict: Decision,
    /// What follows if the Worker before has no opinion, in turn.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub if_declined: Vec<Decision>,
    pub trace: Trace,
    pub rules: Vec<RuleReport>,
    /// How many rules are not in `rules`.
    pub omitted: usize,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    pub action: &'static str,
    /// Absent: no rule matched.
    pub rule: Option<Decider>,
    /// The rule could not be evaluated, which blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub no_isolate: bool,
    pub no_scan: bool,
    /// Set while facts are missing: what the decision would hang on. The decision given counts them as never matching.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<Waiting>,
}

/// The rule behind a decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decider {
    pub id: String,
    pub name: String,
    pub precedence: i64,
}

/// What a decision hangs on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Waiting {
    pub rule: String,
    pub fields: Vec<&'static str>,
    /// When the first of them is known.
    pub phase: &'static str,
}

/// One rule and what its expressions came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleReport {
    pub id: String,
    pub name: String,
    pub precedence: i64,
    pub action: &'static str,
    pub outcome: Conclusion,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    pub expressions: Vec<ExpressionReport>,
}

/// One expression of a rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExpressionReport {
    /// `traffic`, `identity` or `device_posture`.
    pub member: &'static str,
    pub source: String,
    pub explanation: Node,
}

/// One condition of an expression.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    pub text: String,
    /// `true`, `false`, `unknown` or `error`.
    pub outcome: &'static str,
    /// The value a comparison looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Node>,
    #[serde(skip_serializing_if = "is_zero")]
    pub omitted: usize,
}

impl HttpRuleset {
    /// Decides a request described by a document and explains every rule.
    #[must_use]
    pub fn evaluate(&self, facts: &FactsDocument, now: Timestamp) -> Evaluation {
        let mut scratch = Scratch::new();
        let plaintext = facts.text(http::SCHEME).is_some_and(|scheme| scheme == "http");
        let connection = self.finish_connection(facts, now, &mut scratch);
        let passes = !plaintext && connection.rule.is_some();
        if passes {
            let trace = self.trace_connection(&scratch, facts);
            return self.off.report(facts, now, Decision::of(&connection), Vec::new(), trace, Some(false), &[]);
        }
        let (verdict, if_declined) = decisions(
            Hook::Http,
            |from, finish, scratch| self.main.run(facts, now, from, scratch, finish),
            &mut scratch,
        );
        let trace = self.trace(&scratch, facts);
        let off: &[&Table] = if plaintext { &[] } else { &[&self.off] };
        self.main.report(facts, now, verdict, if_declined, trace, (!plaintext).then_some(true), off)
    }
}

impl L4Ruleset {
    /// Decides a connection described by a document and explains every rule.
    #[must_use]
    pub fn evaluate(&self, facts: &FactsDocument, now: Timestamp) -> Evaluation {
        let mut scratch = Scratch::new();
        let (verdict, if_declined) = decisions(
            Hook::L4,
            |from, finish, scratch| self.table.run(facts, now, from, scratch, finish),
            &mut scratch,
        );
        let trace = self.trace(&scratch, facts);
        self.table.report(facts, now, verdict, if_declined, trace, None, &[])
    }
}

/// Decides, counting missing facts as never matching but telling which they are, and follows Workers that decline.
fn decisions(
    hook: Hook,
    run: impl Fn(Cursor, bool, &mut Scratch) -> Step,
    scratch: &mut Scratch,
) -> (Decision, Vec<Decision>) {
    let decide = |from: Cursor, scratch: &mut Scratch| -> Option<(Verdict, Option<Needs>)> {
        match run(from, false, scratch) {
            Step::Verdict(verdict) => Some((verdict, None)),
            Step::Needs(needs) => match run(needs.cursor, true, scratch) {
                Step::Verdict(verdict) => Some((verdict, Some(needs))),
                Step::Needs(_) => None,
            },
        }
    };
    let mut found = Vec::new();
    let mut from = Cursor::start();
    // The first pass is made last, so that the scratch is left with its history.
    while found.len() <= MAX_FOLLOWED
        && let Some((verdict, needs)) = decide(from, scratch)
    {
        from = verdict.cursor;
        let asks = matches!(verdict.action, ActionPlan::Worker(_) | ActionPlan::Managed(_));
        found.push(Decision { waits_for: needs.map(|needs| Waiting::of(hook, &needs)), ..Decision::of(&verdict) });
        if !asks {
            break;
        }
    }
    let _ = decide(Cursor::start(), scratch);
    let mut found = found.into_iter();
    (found.next().unwrap_or_else(Decision::undecided), found.collect())
}

impl Decision {
    fn of(verdict: &Verdict) -> Self {
        Self {
            action: verdict.action.word(),
            rule: verdict.rule.as_ref().map(|rule| Decider {
                id: rule.id.to_string(),
                name: rule.name.clone(),
                precedence: rule.precedence,
            }),
            error: match &verdict.action {
                ActionPlan::Unevaluable(reason) => Some(reason.to_string()),
                ActionPlan::Allow(_)
                | ActionPlan::Block(_)
                | ActionPlan::Redirect(_)
                | ActionPlan::Isolate(_)
                | ActionPlan::Quarantine(_)
                | ActionPlan::Worker(_)
                | ActionPlan::Managed(_)
                | ActionPlan::Off
                | ActionPlan::NoScan
                | ActionPlan::NoIsolate => None,
            },
            no_isolate: verdict.marks.no_isolate,
            no_scan: verdict.marks.no_scan,
            waits_for: None,
        }
    }

    /// Finishing always decides; were it not to, this blocks.
    fn undecided() -> Self {
        Self {
            action: "block",
            rule: None,
            error: Some("the decision is still waiting for facts".to_owned()),
            no_isolate: false,
            no_scan: false,
            waits_for: None,
        }
    }
}

impl Waiting {
    fn of(hook: Hook, needs: &Needs) -> Self {
        Self { rule: needs.rule.id.to_string(), fields: names(hook, needs.fields), phase: needs.phase.describe() }
    }
}

impl Table {
    #[expect(clippy::too_many_arguments, reason = "each part of the answer is computed by its caller")]
    fn report(
        &self,
        facts: &FactsDocument,
        now: Timestamp,
        verdict: Decision,
        if_declined: Vec<Decision>,
        trace: Trace,
        inspected: Option<bool>,
        before: &[&Self],
    ) -> Evaluation {
        let tables = || before.iter().copied().chain([self]);
        let total: usize = tables().map(|table| table.rules.len()).sum();
        let rules: Vec<RuleReport> = tables()
            .flat_map(|table| table.rules.iter().map(move |rule| table.rule_report(rule, facts, now)))
            .take(MAX_RULES)
            .collect();
        Evaluation {
            hook: self.hook.as_str(),
            inspected,
            verdict,
            if_declined,
            trace,
            omitted: total - rules.len(),
            rules,
        }
    }

    fn rule_report(&self, rule: &Rule, facts: &FactsDocument, now: Timestamp) -> RuleReport {
        let judgement = self.judge(rule, facts, now);
        let canonical = self.canonical(facts);
        // The address is shown in the spelling it was compared in.
        let spelled = rule.spelling(canonical.as_ref()).map(|value| Overlay {
            base: facts,
            field: email_field(self.hook),
            value,
        });
        let seen: &dyn Facts = spelled.as_ref().map_or(facts, |spelled| spelled);
        RuleReport {
            id: rule.reference.id.to_string(),
            name: rule.reference.name.clone(),
            precedence: rule.reference.precedence,
            action: rule.action.as_str(),
            outcome: judgement.conclusion,
            waits_for: names(self.hook, judgement.waits_for),
            warnings: rule.reference.warnings.clone(),
            expressions: rule
                .expressions
                .iter()
                .map(|(member, expression)| ExpressionReport {
                    member,
                    source: expression.source().to_owned(),
                    explanation: Node::of(expression.explain(seen)),
                })
                .collect(),
        }
    }
}

impl Node {
    fn of(explanation: Explanation) -> Self {
        let value = match explanation.seen {
            Some(Seen::Value(value)) => Some(mask(&explanation.text, value)),
            Some(Seen::Absent) => Some("(no value)".to_owned()),
            Some(Seen::Unknown) => Some("(not known)".to_owned()),
            Some(Seen::Unusable) => Some("(unusable)".to_owned()),
            None => None,
        };
        Self {
            outcome: match explanation.outcome {
                Outcome::True => "true",
                Outcome::False => "false",
                Outcome::Needs(_) => "unknown",
                Outcome::Error(_) => "error",
            },
            text: explanation.text,
            value,
            children: explanation.children.into_iter().map(Self::of).collect(),
            omitted: explanation.omitted,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}
