//! Two rule sets on the same recorded facts: the same, changed, or hanging on something the record does not tell.
//!
//! Follows every answer a lost fact could have, with the same answer for both sets, up to a bound. Invariant: "same" and
//! "changed" are said only where every answer leads there.

use std::collections::BTreeSet;

use super::decide::{Answer, Ask, Attempt, Fate, Inspection, Lost, Question, Set};

/// Most combinations of answers followed for one record.
const MAX_ATTEMPTS: usize = 64;

/// What came of a comparison.
#[derive(Debug)]
pub(super) struct Compared {
    /// What the rules in force come to, where every answer leads to the same.
    pub(super) current: Option<Fate>,
    /// The same of the draft.
    pub(super) draft: Option<Fate>,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// Nobody would notice; `other_rule`: though another rule decides.
    Same { other_rule: bool },
    /// Somebody would, whatever the facts were.
    Changed,
    /// It hangs on these.
    Undecided(BTreeSet<Lost>),
}

/// One of the sets, asked about one record.
pub(super) type Decide<'d> = &'d dyn Fn(&Attempt<'_>) -> Result<Fate, Ask>;

/// Compares what two sets would do. `idle`: no rule that only one of them has matches, so that they do the same.
pub(super) fn compare(
    (current, draft): (&Set, &Set),
    idle: bool,
    inspection: &Inspection,
    decide: Decide<'_>,
) -> Compared {
    let mut open: Vec<Vec<(Question, Answer)>> = vec![Vec::new()];
    let mut pairs: Vec<(Fate, Fate)> = Vec::new();
    let mut lost = BTreeSet::new();
    let mut attempts = 0;
    while let Some(answers) = open.pop() {
        attempts += 1;
        if attempts > MAX_ATTEMPTS {
            let outcome = if idle { Outcome::Same { other_rule: false } } else { Outcome::Undecided(lost) };
            return Compared { current: None, draft: None, outcome };
        }
        let attempt = |set| decide(&Attempt { set, inspection, answers: &answers });
        let both = attempt(current).and_then(|from| {
            let to = if idle { from.clone() } else { attempt(draft)? };
            Ok((from, to))
        });
        match both {
            Ok(pair) => {
                let differs = pairs.first().is_some_and(|first| !is_one(&pair.0, &first.0));
                pairs.push(pair);
                // What both do alike is not certain, and no other answer makes it so.
                if idle && differs {
                    break;
                }
            }
            Err(ask) => {
                lost.extend(ask.lost);
                open.extend(ask.answers.iter().map(|answer| {
                    let mut more = answers.clone();
                    more.push((ask.question, *answer));
                    more
                }));
            }
        }
    }
    let certain = |side: fn(&(Fate, Fate)) -> &Fate| {
        let first = side(pairs.first()?);
        let all = pairs.iter().all(|pair| is_one(side(pair), first) && !side(pair).opaque);
        all.then(|| first.clone())
    };
    let (from, to) = (certain(|pair| &pair.0), certain(|pair| &pair.1));
    let opaque = pairs.iter().any(|(from, to)| from.opaque || to.opaque);
    let outcome = if opaque && !idle {
        lost.insert(Lost::Worker);
        Outcome::Undecided(lost)
    } else if pairs.iter().all(|(from, to)| from.same_effect(to)) {
        Outcome::Same { other_rule: pairs.iter().any(|(from, to)| rule_id(from) != rule_id(to)) }
    } else if pairs.iter().all(|(from, to)| !from.same_effect(to)) {
        Outcome::Changed
    } else {
        Outcome::Undecided(lost)
    };
    Compared { current: from, draft: to, outcome }
}

/// Tells whether two fates are the same one, by the same rule.
fn is_one(one: &Fate, other: &Fate) -> bool {
    one.same_effect(other) && rule_id(one) == rule_id(other)
}

fn rule_id(fate: &Fate) -> Option<types::RuleId> {
    fate.rule.as_ref().map(|rule| rule.id)
}
