//! The outcome of a condition and how outcomes combine: Kleene's three-valued logic with errors as a fourth value.
//! An error is a truth that will never be known, so it decides nothing that the rest of the condition does not decide.

use crate::scheme::FieldSet;

/// What evaluating a condition gave.
///
/// # Security
/// `Error` must be treated as a verdict of its own that blocks; it is never a match and never a miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The condition holds, whatever the unknown facts turn out to be.
    True,
    /// The condition does not hold, whatever the unknown facts turn out to be.
    False,
    /// The outcome hangs on these unknown facts.
    Needs(FieldSet),
    /// The outcome hangs on these fields, whose facts cannot be used: of another type than their field, or too large.
    Error(FieldSet),
}

impl Outcome {
    /// Makes `True` or `False`.
    #[must_use]
    pub fn of(truth: bool) -> Self {
        if truth { Self::True } else { Self::False }
    }

    /// Returns the outcome of the negated condition.
    #[must_use]
    pub fn negate(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            Self::Needs(_) | Self::Error(_) => self,
        }
    }

    /// Combines two conditions that must both hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::False, _) | (_, Self::False) => Self::False,
            (Self::True, outcome) | (outcome, Self::True) => outcome,
            (a, b) => a.undecided(b),
        }
    }

    /// Combines two conditions of which one must hold.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::True, _) | (_, Self::True) => Self::True,
            (Self::False, outcome) | (outcome, Self::False) => outcome,
            (a, b) => a.undecided(b),
        }
    }

    /// Combines two conditions of which exactly one must hold.
    #[must_use]
    pub fn xor(self, other: Self) -> Self {
        match (self, other) {
            (Self::True, outcome) | (outcome, Self::True) => outcome.negate(),
            (Self::False, outcome) | (outcome, Self::False) => outcome,
            (a, b) => a.undecided(b),
        }
    }

    /// Combines two undecided outcomes: while a fact is missing, an error may yet turn out not to matter.
    fn undecided(self, other: Self) -> Self {
        match (self, other) {
            (Self::Needs(a), Self::Needs(b)) => Self::Needs(a.union(b)),
            (Self::Needs(_), _) => self,
            (_, Self::Needs(_)) => other,
            (Self::Error(a), Self::Error(b)) => Self::Error(a.union(b)),
            (Self::Error(_), _) => self,
            (_, _) => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheme::FieldId;

    #[test]
    fn outcomes_combine_in_any_order_and_grouping() {
        let needs = |field| Outcome::Needs(FieldSet::of(FieldId(field)));
        let error = |field| Outcome::Error(FieldSet::of(FieldId(field)));
        let all = [Outcome::True, Outcome::False, needs(1), needs(2), error(3), error(4)];
        let operators: [fn(Outcome, Outcome) -> Outcome; 3] = [Outcome::and, Outcome::or, Outcome::xor];
        for operator in operators {
            for a in all {
                for b in all {
                    assert_eq!(operator(a, b), operator(b, a), "{a:?} {b:?}");
                    for c in all {
                        let (left, right) = (operator(operator(a, b), c), operator(a, operator(b, c)));
                        assert_eq!(left, right, "{a:?} {b:?} {c:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_decided_side_settles_what_it_can() {
        let unknown = Outcome::Needs(FieldSet::of(FieldId(0)));
        let error = Outcome::Error(FieldSet::of(FieldId(1)));
        assert_eq!(Outcome::False.and(unknown), Outcome::False);
        assert_eq!(Outcome::False.and(error), Outcome::False);
        assert_eq!(Outcome::True.or(error), Outcome::True);
        assert_eq!(Outcome::True.and(error), error);
        assert_eq!(unknown.and(error), unknown);
        assert_eq!(error.negate(), error);
    }
}
