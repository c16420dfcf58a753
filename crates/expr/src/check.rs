//! Gives names and types to a parsed expression and spells out every shorthand, which yields the [`Ast`].
//! Decides which spellings are accepted and what they mean; constants are read by `constant`, indexes and calls by
//! `operand`. Whatever passes here cannot fail a type check later, so long as the facts keep to the scheme.

use std::sync::Arc;

use crate::ast::{Ast, Operand, Order, Path, Step, Test};
use crate::error::Complaint;
use crate::expression::Note;
use crate::limits::Limits;
use crate::list::{List, Lists};
use crate::pattern::Patterns;
use crate::scheme::{FieldSet, Scheme};
use crate::syntax::{Connective, LiteralKind, Operator, RawTest, Right, Span, Tree};
use crate::value::Type;

/// What checking an expression yields.
pub(crate) struct Checked {
    pub(crate) ast: Ast,
    pub(crate) fields: FieldSet,
    pub(crate) lists: Vec<(String, Arc<List>)>,
    pub(crate) patterns: Patterns,
    pub(crate) notes: Vec<Note>,
}

/// The most notes an expression gathers; an editor has no use for more.
const MAX_NOTES: usize = 64;

/// Checks `tree` against `scheme`; no tree is the empty expression.
pub(crate) fn check(
    tree: Option<&Tree>,
    scheme: &Scheme,
    lists: &dyn Lists,
    limits: &Limits,
) -> Result<Checked, Complaint> {
    let mut checker = Checker {
        scheme,
        available: lists,
        limits,
        fields: FieldSet::EMPTY,
        lists: Vec::new(),
        patterns: Patterns::default(),
        notes: Vec::new(),
    };
    let ast = tree.map_or(Ok(Ast::Always), |tree| checker.condition(tree, Scope::Plain))?;
    let Checker { fields, lists, patterns, notes, .. } = checker;
    Ok(Checked { ast, fields, lists, patterns, notes })
}

pub(crate) struct Checker<'a> {
    pub(crate) scheme: &'a Scheme,
    pub(crate) limits: &'a Limits,
    pub(crate) fields: FieldSet,
    available: &'a dyn Lists,
    lists: Vec<(String, Arc<List>)>,
    patterns: Patterns,
    notes: Vec<Note>,
}

/// Where a condition stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Outside of `any` and `all`.
    Plain,
    /// Within `any` or `all`, where `[*]` is the element at hand.
    Elements,
}

/// An operand with its type and its place.
pub(crate) struct Typed {
    pub(crate) operand: Operand,
    pub(crate) kind: Type,
    pub(crate) span: Span,
}

impl Checker<'_> {
    pub(crate) fn note(&mut self, span: Span, message: impl Into<String>) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(Note { span, message: message.into() });
        }
    }

    fn condition(&mut self, tree: &Tree, scope: Scope) -> Result<Ast, Complaint> {
        match tree {
            Tree::Not(inner) => Ok(Ast::Not(Box::new(self.condition(inner, scope)?))),
            Tree::Logic(connective, parts) => self.logic(*connective, parts, scope),
            Tree::Quantified { all, inner, span } => self.quantified(*all, inner, span),
            Tree::Leaf { operand, test, deepest } => {
                let typed = self.operand(operand)?;
                let condition = match test {
                    None => self.truth(typed, scope),
                    Some(test) => self.comparison(typed, test, scope),
                }?;
                if *deepest && matches!(condition, Ast::Not(_)) {
                    let message = "the expression is nested too deep for a negation here";
                    return Err(Complaint::new(operand.span.clone(), message));
                }
                Ok(condition)
            }
        }
    }

    /// Joins conditions; parentheses around the same connective mean nothing, since each is associative.
    fn logic(&mut self, connective: Connective, parts: &[Tree], scope: Scope) -> Result<Ast, Complaint> {
        let mut joined = Vec::with_capacity(parts.len());
        for part in parts {
            match (connective, self.condition(part, scope)?) {
                (Connective::And, Ast::And(inner))
                | (Connective::Or, Ast::Or(inner))
                | (Connective::Xor, Ast::Xor(inner)) => joined.extend(inner),
                (_, other) => joined.push(other),
            }
        }
        Ok(match connective {
            Connective::And => Ast::And(joined),
            Connective::Or => Ast::Or(joined),
            Connective::Xor => Ast::Xor(joined),
        })
    }

    fn quantified(&mut self, all: bool, inner: &Tree, span: &Span) -> Result<Ast, Complaint> {
        let name = if all { "all" } else { "any" };
        let body = self.condition(inner, Scope::Elements)?;
        let mut source: Option<&Path> = None;
        let mut other: Option<&Path> = None;
        body.visit_operands(&mut |operand| {
            operand.visit_paths(&mut |path| {
                if path.has_each() {
                    let first = *source.get_or_insert(path);
                    if first.source() != path.source() {
                        other.get_or_insert(path);
                    }
                }
            });
        });
        match (source, other) {
            (Some(first), Some(other)) => Err(Complaint::new(
                span.clone(),
                format!("`{name}` visits one array, but both `{}` and `{}` stand in it", first.name, other.name),
            )
            .suggest(format!("{name}(…) and {name}(…)"))),
            (Some(_), None) if all => Ok(Ast::All(Box::new(body))),
            (Some(_), None) => Ok(Ast::Any(Box::new(body))),
            (None, _) => {
                self.note(span.clone(), format!("there is no array within `{name}`, so it changes nothing"));
                Ok(body)
            }
        }
    }

    /// Checks a value that stands without an operator.
    fn truth(&mut self, mut typed: Typed, scope: Scope) -> Result<Ast, Complaint> {
        let implied = self.visit_elements(&mut typed, scope);
        if typed.kind != Type::Bool {
            let complaint = Complaint::new(
                typed.span,
                format!("this is {}, so it needs an operator and a value", with_article(typed.kind)),
            );
            let example = match &typed.operand {
                Operand::Path(path) => Some(self.scheme.field(path.field).example),
                Operand::Call(_) => None,
            };
            return Err(complaint.suggest_some(example.filter(|example| !example.is_empty())));
        }
        let truth = Ast::Truth(typed.operand);
        Ok(if implied { Ast::Any(Box::new(truth)) } else { truth })
    }

    /// Turns a whole array into its elements, and tells whether an `any` has to be put around the condition.
    fn visit_elements(&mut self, typed: &mut Typed, scope: Scope) -> bool {
        let mut whole = false;
        while let (Type::Array(element) | Type::Map(element), Operand::Path(path)) = (typed.kind, &mut typed.operand) {
            let entries = matches!(typed.kind, Type::Map(_)) && self.scheme.field(path.field).entries;
            typed.kind = if entries { Type::Bytes } else { *element };
            path.steps.push(Step::Each);
            whole = true;
        }
        let implied = scope == Scope::Plain && typed.operand.has_each();
        if implied {
            self.note(typed.span.clone(), "this visits each element, as within `any(…)`");
        } else if whole {
            self.note(typed.span.clone(), "this visits each element, as with `[*]`");
        }
        implied
    }

    fn comparison(&mut self, mut typed: Typed, test: &RawTest, scope: Scope) -> Result<Ast, Complaint> {
        let implied = self.visit_elements(&mut typed, scope);
        // "Is not" means that no element is: `!=` is the negation of `==` wherever `any` is implied.
        let negated = implied && test.operator == Operator::Order(Order::NotEqual);
        let operator = if negated { Operator::Order(Order::Equal) } else { test.operator };
        let condition = if typed.kind == Type::Bool {
            self.boolean(typed, operator, test)?
        } else {
            let test = self.test(&typed, operator, test)?;
            Ast::Compare(typed.operand, test)
        };
        let condition = if implied { Ast::Any(Box::new(condition)) } else { condition };
        Ok(if negated { Ast::Not(Box::new(condition)) } else { condition })
    }

    /// Rewrites a comparison with `true` or `false` into the bare value or its negation.
    fn boolean(&mut self, typed: Typed, operator: Operator, test: &RawTest) -> Result<Ast, Complaint> {
        let (Operator::Order(order @ (Order::Equal | Order::NotEqual)), Right::Literal(literal)) =
            (operator, &test.right)
        else {
            return Err(Complaint::new(
                test.operator_span.clone(),
                format!("`{}` does not apply to a boolean, which stands on its own", test.operator.spelling()),
            ));
        };
        let expected = match &literal.kind {
            LiteralKind::Word(word) if word == "true" => true,
            LiteralKind::Word(word) if word == "false" => false,
            LiteralKind::Word(_) | LiteralKind::Quoted(_) => {
                return Err(Complaint::new(literal.span.clone(), "expected `true` or `false`"));
            }
        };
        let truth = Ast::Truth(typed.operand);
        Ok(if expected == (order == Order::Equal) { truth } else { Ast::Not(Box::new(truth)) })
    }

    fn test(&mut self, typed: &Typed, operator: Operator, test: &RawTest) -> Result<Test, Complaint> {
        let applies = match (operator, typed.kind) {
            (Operator::Order(_), Type::Int | Type::Bytes | Type::Ip | Type::Version) => true,
            (Operator::In, Type::Int | Type::Bytes | Type::Ip | Type::Version) => true,
            (Operator::Contains | Operator::Matches | Operator::Wildcard | Operator::StrictWildcard, kind) => {
                kind == Type::Bytes
            }
            (Operator::Bits, kind) => kind == Type::Int,
            (Operator::Order(_) | Operator::In, Type::Bool | Type::Array(_) | Type::Map(_)) => false,
        };
        if !applies {
            let message = format!("`{}` does not apply to {}", operator.spelling(), with_article(typed.kind));
            return Err(Complaint::new(test.operator_span.clone(), message));
        }
        match (&test.right, operator) {
            (Right::Set(items), _) => {
                let items = items.iter().map(|item| self.item(item, typed.kind)).collect::<Result<_, _>>()?;
                Ok(Test::In(items))
            }
            (Right::List(name, span), _) => self.list(name, span, typed.kind),
            (Right::Literal(literal), Operator::Order(order)) => {
                Ok(Test::Order(order, self.constant(literal, typed.kind)?))
            }
            (Right::Literal(literal), Operator::Bits) => self.number(literal).map(Test::Bits),
            (Right::Literal(literal), Operator::Contains) => self.bytes(literal).map(Test::Contains),
            (Right::Literal(literal), _) => self.pattern(literal, operator),
        }
    }

    fn pattern(&mut self, literal: &crate::syntax::RawLiteral, operator: Operator) -> Result<Test, Complaint> {
        let pattern = match &literal.kind {
            LiteralKind::Quoted(bytes) => String::from_utf8(bytes.clone())
                .map_err(|_| Complaint::new(literal.span.clone(), "a pattern is UTF-8 text"))?,
            LiteralKind::Word(word) => {
                let complaint = Complaint::new(literal.span.clone(), "a pattern stands between double quotes");
                return Err(complaint.suggest(format!("\"{word}\"")));
            }
        };
        let test = match operator {
            Operator::Wildcard => Test::Wildcard { pattern, strict: false },
            Operator::StrictWildcard => Test::Wildcard { pattern, strict: true },
            Operator::Matches | Operator::Order(_) | Operator::In | Operator::Contains | Operator::Bits => {
                Test::Matches(pattern)
            }
        };
        match self.patterns.add(&test, self.limits) {
            Ok(()) => Ok(test),
            Err(message) => Err(Complaint::new(literal.span.clone(), message)),
        }
    }

    fn list(&mut self, name: &str, span: &Span, kind: Type) -> Result<Test, Complaint> {
        let bound = self.lists.iter().find(|(known, _)| known == name).map(|(_, list)| Arc::clone(list));
        let list = match bound {
            Some(list) => list,
            None => {
                let Some(list) = self.available.list(name) else {
                    return Err(Complaint::new(span.clone(), format!("there is no list `{name}`")));
                };
                if list.len() > self.limits.list_items {
                    let message = format!("the list has more than {} items", self.limits.list_items);
                    return Err(Complaint::new(span.clone(), message));
                }
                self.lists.push((name.to_owned(), Arc::clone(&list)));
                list
            }
        };
        if let Some(element) = list.element()
            && element != kind
        {
            let message = format!("the list holds values of type {element}, not {kind}");
            return Err(Complaint::new(span.clone(), message));
        }
        if !matches!(kind, Type::Bytes | Type::Ip | Type::Int) {
            return Err(Complaint::new(span.clone(), format!("no list holds values of type {kind}")));
        }
        Ok(Test::InList(name.to_owned()))
    }
}

impl Path {
    /// Returns the array that the path's `[*]` visits: the field and the steps up to the last `[*]`.
    pub(crate) fn source(&self) -> (crate::scheme::FieldId, &[Step]) {
        let length = self.steps.iter().rposition(|step| *step == Step::Each).map_or(0, |last| last + 1);
        (self.field, &self.steps[..length])
    }
}

/// Returns the type's name after its article.
pub(crate) fn with_article(kind: Type) -> String {
    match kind {
        Type::Ip | Type::Array(_) => format!("an {kind}"),
        Type::Bool | Type::Int | Type::Bytes | Type::Version | Type::Map(_) => format!("a {kind}"),
    }
}
