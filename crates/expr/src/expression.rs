//! A compiled expression: the author's text, its canonical form, and the program that decides it.
//! Immutable and shared between threads; a clone costs a reference count.

use std::sync::Arc;

use crate::anchor::{self, Anchor};
use crate::ast::Ast;
use crate::check::check;
use crate::equality;
use crate::error::Error;
use crate::evaluate::Context;
use crate::explain::{self, Explanation};
use crate::limits::Limits;
use crate::list::{List, Lists};
use crate::outcome::Outcome;
use crate::parse::parse;
use crate::print;
use crate::program::{self, Node};
use crate::scheme::{FieldSet, Scheme};
use crate::value::Facts;

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Expression(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: String,
    canonical: String,
    ast: Ast,
    program: Node,
    fields: FieldSet,
    lists: Vec<(String, Arc<List>)>,
    requirements: Vec<Anchor>,
    notes: Vec<Note>,
    value_bytes: usize,
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
    pub fn compile(scheme: &Scheme, source: &str, lists: &dyn Lists, limits: &Limits) -> Result<Self, Error> {
        let located = |complaint| Error::new(source, complaint);
        let tree = parse(source, limits).map_err(located)?;
        let checked = check(tree.as_ref(), scheme, lists, limits).map_err(located)?;
        let printed = print::print(&checked.ast);
        let program = program::build(&checked, scheme, printed.places);
        let requirements = anchor::requirements(&checked.ast, scheme, &checked.lists);
        Ok(Self(Arc::new(Inner {
            source: source.to_owned(),
            canonical: printed.text,
            ast: checked.ast,
            program,
            fields: checked.fields,
            lists: checked.lists,
            requirements,
            notes: checked.notes,
            value_bytes: limits.value_bytes,
        })))
    }

    /// Returns the author's text, byte for byte.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Returns the expression as the language itself prints it.
    #[must_use]
    pub fn canonical(&self) -> &str {
        &self.0.canonical
    }

    /// Returns the checked tree.
    #[must_use]
    pub fn ast(&self) -> &Ast {
        &self.0.ast
    }

    /// Returns the fields the outcome may hang on.
    #[must_use]
    pub fn fields(&self) -> FieldSet {
        self.0.fields
    }

    /// Visits the names of the lists the expression refers to.
    pub fn lists(&self) -> impl Iterator<Item = &str> {
        self.0.lists.iter().map(|(name, _)| name.as_str())
    }

    /// Returns what was accepted in another spelling than the canonical one.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.0.notes
    }

    /// Returns conditions that must all hold for the expression to be true; none if no such condition was found.
    #[must_use]
    pub fn requirements(&self) -> &[Anchor] {
        &self.0.requirements
    }

    /// Decides the expression against what is known.
    #[must_use]
    pub fn evaluate(&self, facts: &dyn Facts) -> Outcome {
        self.0.program.evaluate(self.context(facts))
    }

    /// Decides the expression and tells what came of each condition in it.
    #[must_use]
    pub fn explain(&self, facts: &dyn Facts) -> Explanation {
        explain::explain(&self.0.program, &self.0.canonical, self.context(facts))
    }

    fn context<'a>(&self, facts: &'a dyn Facts) -> Context<'a> {
        Context { facts, value_bytes: self.0.value_bytes, element: None }
    }
}

/// Tells whether two expressions over one scheme differ at most in spelling and in the order of their parts.
#[must_use]
pub fn semantically_equal(a: &Expression, b: &Expression) -> bool {
    equality::normal(&a.0.ast) == equality::normal(&b.0.ast)
}
