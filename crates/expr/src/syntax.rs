//! The tree of an expression as written, before names and types mean anything.
//! Every part remembers its place, so that the checker can point at it.

use std::ops::Range;

/// Bytes of the source.
pub(crate) type Span = Range<usize>;

/// A condition as written.
#[derive(Debug)]
pub(crate) enum Tree {
    Not(Box<Tree>),
    Logic(Connective, Vec<Tree>),
    Quantified {
        all: bool,
        inner: Box<Tree>,
        span: Span,
    },
    Leaf {
        operand: RawOperand,
        test: Option<RawTest>,
        /// There is no depth left for a negation that the canonical form spells out.
        deepest: bool,
    },
}

/// What joins conditions, from the loosest to the tightest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connective {
    Or,
    Xor,
    And,
}

/// A name or call with the indexes after it.
#[derive(Debug)]
pub(crate) struct RawOperand {
    pub(crate) base: Base,
    pub(crate) steps: Vec<(RawStep, Span)>,
    pub(crate) span: Span,
}

#[derive(Debug)]
pub(crate) enum Base {
    Name { name: String, span: Span },
    Call { name: String, span: Span, arguments: Vec<RawArgument> },
}

#[derive(Debug)]
pub(crate) enum RawStep {
    Index(u32),
    Key(Vec<u8>),
    Each,
    Attribute(String),
}

#[derive(Debug)]
pub(crate) enum RawArgument {
    Operand(RawOperand),
    Literal(RawLiteral),
}

/// A constant whose meaning depends on the type it meets.
#[derive(Clone, Debug)]
pub(crate) struct RawLiteral {
    pub(crate) kind: LiteralKind,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum LiteralKind {
    /// Between quotes, with its escapes resolved.
    Quoted(Vec<u8>),
    /// Anything else: numbers, addresses, ranges, hexadecimal bytes, `true`.
    Word(String),
}

#[derive(Debug)]
pub(crate) struct RawTest {
    pub(crate) operator: Operator,
    pub(crate) operator_span: Span,
    pub(crate) right: Right,
}

#[derive(Debug)]
pub(crate) enum Right {
    Literal(RawLiteral),
    Set(Vec<RawLiteral>),
    List(String, Span),
}

/// A comparison operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Order(crate::ast::Order),
    In,
    Contains,
    Matches,
    Wildcard,
    StrictWildcard,
    Bits,
}

impl Operator {
    /// Returns the spelling used in messages, which is the canonical one.
    pub(crate) fn spelling(self) -> &'static str {
        match self {
            Self::Order(order) => order.symbol(),
            Self::In => "in",
            Self::Contains => "contains",
            Self::Matches => "matches",
            Self::Wildcard => "wildcard",
            Self::StrictWildcard => "strict wildcard",
            Self::Bits => "&",
        }
    }
}
