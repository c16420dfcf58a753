//! A compiled expression: the author's text, its canonical form, and the program that decides it.
//! Immutable and shared between threads.

use std::sync::Arc;

use crate::anchor::Anchor;
use crate::ast::Ast;
use crate::error::{Complaint, Error};
use crate::explain::Explanation;
use crate::limits::Limits;
use crate::list::{List, Lists};
use crate::outcome::Outcome;
use crate::scheme::{FieldSet, Scheme};
use crate::value::Facts;

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Expression {
    source: String,
    canonical: String,
    ast: Ast,
    fields: FieldSet,
    lists: Vec<(String, Arc<List>)>,
    notes: Vec<Note>,
}

/// Something accepted that the canonical form spells differently, for an editor to point out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The bytes of the source the note is about.
    pub span: std::ops::Range<usize>,
    /// What was understood.
    pub message: String,
}

impl Expression {
    /// Compiles `source`; the empty text is always true.
    ///
    /// # Errors
    /// If the text is not an expression over `scheme`, names a list that `lists` lacks, or exceeds a limit.
    pub fn compile(_scheme: &Scheme, source: &str, _lists: &dyn Lists, _limits: &Limits) -> Result<Self, Error> {
        if source.trim().is_empty() {
            return Ok(Self {
                source: source.to_owned(),
                canonical: String::new(),
                ast: Ast::Always,
                fields: FieldSet::EMPTY,
                lists: Vec::new(),
                notes: Vec::new(),
            });
        }
        Err(Error::new(source, Complaint::new(0..source.len(), "expressions cannot be read yet")))
    }

    /// Returns the author's text, byte for byte.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the expression as the language itself prints it.
    #[must_use]
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// Returns the checked tree.
    #[must_use]
    pub fn ast(&self) -> &Ast {
        &self.ast
    }

    /// Returns the fields the outcome may hang on.
    #[must_use]
    pub fn fields(&self) -> FieldSet {
        self.fields
    }

    /// Visits the names of the lists the expression refers to.
    pub fn lists(&self) -> impl Iterator<Item = &str> {
        self.lists.iter().map(|(name, _)| name.as_str())
    }

    /// Returns what was accepted in another spelling than the canonical one.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Returns conditions that must all hold for the expression to be true; none if no such condition was found.
    #[must_use]
    pub fn requirements(&self) -> Vec<Anchor> {
        Vec::new()
    }

    /// Decides the expression against what is known.
    #[must_use]
    pub fn evaluate(&self, _facts: &dyn Facts) -> Outcome {
        Outcome::True
    }

    /// Decides the expression and tells what came of each condition in it.
    #[must_use]
    pub fn explain(&self, facts: &dyn Facts) -> Explanation {
        Explanation {
            text: self.canonical.clone(),
            outcome: self.evaluate(facts),
            seen: None,
            children: Vec::new(),
            omitted: 0,
        }
    }
}

/// Tells whether two expressions over one scheme differ at most in spelling and in the order of their parts.
#[must_use]
pub fn semantically_equal(a: &Expression, b: &Expression) -> bool {
    a.ast == b.ast
}
