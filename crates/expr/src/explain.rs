//! The explanation of an outcome: each condition in its canonical text, what came of it and the value it saw.
//! For traces and pages, not for the hot path. Values are shortened, and the tree has a bounded width.

use crate::outcome::Outcome;

/// What came of one condition and of the conditions within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The condition's canonical text.
    pub text: String,
    /// What evaluating it gave.
    pub outcome: Outcome,
    /// The value a comparison looked at.
    pub seen: Option<Seen>,
    /// The conditions within it, in the order of the text.
    pub children: Vec<Explanation>,
    /// How many further conditions were left out.
    pub omitted: usize,
}

/// The value a comparison looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The value, as the language writes it, shortened.
    Value(String),
    /// There was none.
    Absent,
    /// It is not known yet.
    Unknown,
    /// It could not be used.
    Unusable,
}
