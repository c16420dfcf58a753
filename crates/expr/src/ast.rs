//! The checked, normalised form of an expression: what it means once every shorthand has been spelled out.
//! Two texts with the same tree are the same expression. Every value in it already has the type its place asks for.

use std::net::IpAddr;

use crate::scheme::FieldId;

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ast {
    /// The empty expression, which is always true.
    Always,
    /// True where the operand is false.
    Not(Box<Ast>),
    /// True where every operand is.
    And(Vec<Ast>),
    /// True where an operand is.
    Or(Vec<Ast>),
    /// True where an odd number of operands is.
    Xor(Vec<Ast>),
    /// A boolean value on its own.
    Truth(Operand),
    /// A value held against constants.
    Compare(Operand, Test),
    /// True where the condition holds for an element of the one array its `[*]` paths name.
    Any(Box<Ast>),
    /// True where the condition holds for every element of the one array its `[*]` paths name.
    All(Box<Ast>),
}

/// A value taken from the facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A field, or a value within it.
    Path(Path),
    /// The result of a function.
    Call(Call),
}

/// A field and the way into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The field.
    pub field: FieldId,
    /// The field's name in its scheme.
    pub name: &'static str,
    /// The indexes after the name.
    pub steps: Vec<Step>,
}

/// One index of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `[3]`: an array's element, counted from zero.
    Index(u32),
    /// `["key"]`: a map's value.
    Key(Vec<u8>),
    /// `[*]`: each element or value in turn.
    Each,
}

/// A function call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The function.
    pub function: Function,
    /// What it is called with.
    pub arguments: Vec<Argument>,
}

/// An argument of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A value taken from the facts.
    Operand(Operand),
    /// A constant string.
    Bytes(Vec<u8>),
}

/// The functions of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// `concat(a, b, …)`: the strings one after another.
    Concat,
    /// `lower(text)`: ASCII letters in lower case.
    Lower,
    /// `upper(text)`: ASCII letters in upper case.
    Upper,
    /// `len(value)`: the bytes of a string, the elements of an array, the entries of a map.
    Len,
    /// `starts_with(text, prefix)`.
    StartsWith,
    /// `ends_with(text, suffix)`.
    EndsWith,
    /// `url_decode(text)`: `%2F` as its byte, `+` as a space; a malformed escape stays as it is.
    UrlDecode,
    /// `to_string(value)`: a number, address, version or boolean as text.
    ToString,
}

impl Function {
    /// Every function.
    pub const ALL: [Self; 8] = [
        Self::Concat,
        Self::Lower,
        Self::Upper,
        Self::Len,
        Self::StartsWith,
        Self::EndsWith,
        Self::UrlDecode,
        Self::ToString,
    ];

    /// Returns the name the function is called by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Concat => "concat",
            Self::Lower => "lower",
            Self::Upper => "upper",
            Self::Len => "len",
            Self::StartsWith => "starts_with",
            Self::EndsWith => "ends_with",
            Self::UrlDecode => "url_decode",
            Self::ToString => "to_string",
        }
    }
}

/// What a value is held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// `==`, `!=`, `<`, `<=`, `>`, `>=`.
    Order(Order, Literal),
    /// `in {…}`.
    In(Vec<Item>),
    /// `in $name`.
    InList(String),
    /// `contains "…"`.
    Contains(Vec<u8>),
    /// `matches "…"`: the pattern of a regular expression.
    Matches(String),
    /// `wildcard "…"` and `strict wildcard "…"`.
    Wildcard {
        /// The pattern, in which only `*` is special.
        pattern: String,
        /// Whether case matters.
        strict: bool,
    },
    /// `& 3`: shares a bit with the number.
    Bits(i64),
}

/// An ordering operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
}

impl Order {
    /// Returns the operator's canonical spelling.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
        }
    }

    /// Tells whether the operator accepts this outcome of comparing left with right.
    #[must_use]
    pub fn accepts(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterEqual => ordering.is_ge(),
        }
    }
}

/// A constant of the type its place asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Literal {
    /// A number.
    Int(i64),
    /// A string.
    Bytes(Vec<u8>),
    /// An address.
    Ip(IpAddr),
    /// The text of a version.
    Version(String),
}

/// A member of a set literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// One value.
    One(Literal),
    /// `first..last` of numbers, both included.
    Ints(i64, i64),
    /// `first..last` of addresses, both included.
    Ips(IpAddr, IpAddr),
    /// `address/length`.
    Network(IpAddr, u8),
}

impl Path {
    /// Tells whether the path visits each element of an array or map.
    #[must_use]
    pub fn has_each(&self) -> bool {
        self.steps.contains(&Step::Each)
    }
}

impl Operand {
    /// Tells whether the value differs from element to element of an array.
    #[must_use]
    pub fn has_each(&self) -> bool {
        let mut found = false;
        self.visit_paths(&mut |path| found |= path.has_each());
        found
    }

    /// Visits every path in the operand.
    pub fn visit_paths<'a>(&'a self, visit: &mut dyn FnMut(&'a Path)) {
        match self {
            Self::Path(path) => visit(path),
            Self::Call(call) => {
                for argument in &call.arguments {
                    if let Argument::Operand(operand) = argument {
                        operand.visit_paths(visit);
                    }
                }
            }
        }
    }
}

impl Ast {
    /// Visits every operand in the condition, in the order of the text.
    pub fn visit_operands<'a>(&'a self, visit: &mut dyn FnMut(&'a Operand)) {
        match self {
            Self::Always => {}
            Self::Not(inner) | Self::Any(inner) | Self::All(inner) => inner.visit_operands(visit),
            Self::And(parts) | Self::Or(parts) | Self::Xor(parts) => {
                for part in parts {
                    part.visit_operands(visit);
                }
            }
            Self::Truth(operand) | Self::Compare(operand, _) => visit(operand),
        }
    }
}
