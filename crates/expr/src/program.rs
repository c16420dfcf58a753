//! The compiled form of a condition: fields by index, constants as sets and automata, parts in order of cost.
//! Decides nothing that the tree does not say. Building it cannot change an outcome, only how soon it is reached.

use std::ops::Range;
use std::sync::Arc;

use memchr::memmem::Finder;
use regex::bytes::Regex;

use crate::ast::{Argument, Ast, Function, Item, Literal, Operand, Order, Step, Test};
use crate::check::Checked;
use crate::list::{List, without_slash};
use crate::literal::network_range;
use crate::scheme::{FieldId, Scheme};
use crate::set::{BytesSet, IpSet, RangeSet};

/// A compiled condition and its place in the canonical text.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) place: Range<usize>,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Always,
    Not(Box<Node>),
    And(Box<[Node]>),
    Or(Box<[Node]>),
    Xor(Box<[Node]>),
    Truth(Load),
    Compare(Load, Matcher),
    Any(Box<Over>),
    All(Box<Over>),
}

/// A condition on each element of an array.
#[derive(Debug)]
pub(crate) struct Over {
    pub(crate) field: FieldId,
    pub(crate) steps: Box<[Step]>,
    /// The last `[*]` visits a map as `key=value` texts.
    pub(crate) entries: bool,
    pub(crate) body: Node,
}

/// Where a value comes from.
#[derive(Debug)]
pub(crate) enum Load {
    Field(FieldId),
    Path(FieldId, Box<[Step]>),
    Element(Box<[Step]>),
    Call(Function, Box<[Source]>),
}

/// Where an argument comes from.
#[derive(Debug)]
pub(crate) enum Source {
    Load(Load),
    Bytes(Box<[u8]>),
}

/// What a value is held against.
#[derive(Debug)]
pub(crate) enum Matcher {
    Int(Order, i64),
    Ints(RangeSet<i64>),
    Bits(i64),
    Bytes(Order, Box<[u8]>),
    Strings(BytesSet),
    /// Equality or membership without regard to one trailing slash of the value.
    Slashless(Box<Matcher>),
    Contains(Box<Finder<'static>>),
    Pattern(Regex),
    Ip(Order, std::net::IpAddr),
    Ips(IpSet),
    Version(Order, Box<str>),
    Versions(Box<[Box<str>]>),
    List(Arc<List>),
    /// A pattern or list that the checker did not bind, which cannot happen; it makes the outcome an error.
    Unbound,
}

/// Compiles a checked expression, whose conditions stand at `places` of its canonical text.
pub(crate) fn build(checked: &Checked, scheme: &Scheme, places: Vec<Range<usize>>) -> Node {
    let mut builder = Builder { checked, scheme, places: places.into_iter() };
    builder.node(&checked.ast)
}

struct Builder<'a> {
    checked: &'a Checked,
    scheme: &'a Scheme,
    places: std::vec::IntoIter<Range<usize>>,
}

impl Builder<'_> {
    /// Compiles a condition; the places are taken in the order in which the printer left them.
    fn node(&mut self, ast: &Ast) -> Node {
        let place = self.places.next().unwrap_or_default();
        let kind = match ast {
            Ast::Always => Kind::Always,
            Ast::Not(inner) => Kind::Not(Box::new(self.node(inner))),
            Ast::And(parts) => Kind::And(self.by_cost(parts)),
            Ast::Or(parts) => Kind::Or(self.by_cost(parts)),
            Ast::Xor(parts) => Kind::Xor(parts.iter().map(|part| self.node(part)).collect()),
            Ast::Truth(operand) => Kind::Truth(self.load(operand)),
            Ast::Compare(operand, test) => Kind::Compare(self.load(operand), self.matcher(operand, test)),
            Ast::Any(inner) => self.over(inner, Kind::Any),
            Ast::All(inner) => self.over(inner, Kind::All),
        };
        Node { place, kind }
    }

    /// Puts the cheap conditions first, so that they spare the dear ones. The order cannot change the outcome.
    fn by_cost(&mut self, parts: &[Ast]) -> Box<[Node]> {
        let mut nodes: Vec<Node> = parts.iter().map(|part| self.node(part)).collect();
        nodes.sort_by_cached_key(cost);
        nodes.into_boxed_slice()
    }

    fn over(&mut self, inner: &Ast, wrap: impl FnOnce(Box<Over>) -> Kind) -> Kind {
        let mut source = None;
        inner.visit_operands(&mut |operand| {
            operand.visit_paths(&mut |path| {
                if path.has_each() {
                    source.get_or_insert_with(|| path.source());
                }
            });
        });
        let body = self.node(inner);
        match source {
            Some((field, steps)) => {
                let entries = self.scheme.field(field).entries && steps == [Step::Each];
                wrap(Box::new(Over { field, steps: steps.into(), entries, body }))
            }
            // The checker leaves no quantifier without an array; a single value is its own array.
            None => body.kind,
        }
    }

    fn load(&self, operand: &Operand) -> Load {
        match operand {
            Operand::Path(path) if path.has_each() => {
                let (_, source) = path.source();
                Load::Element(path.steps[source.len()..].into())
            }
            Operand::Path(path) if path.steps.is_empty() => Load::Field(path.field),
            Operand::Path(path) => Load::Path(path.field, path.steps.as_slice().into()),
            Operand::Call(call) => {
                let source = |argument: &Argument| match argument {
                    Argument::Operand(operand) => Source::Load(self.load(operand)),
                    Argument::Bytes(bytes) => Source::Bytes(bytes.as_slice().into()),
                };
                Load::Call(call.function, call.arguments.iter().map(source).collect())
            }
        }
    }

    fn matcher(&self, operand: &Operand, test: &Test) -> Matcher {
        let slashless = match operand {
            Operand::Path(path) => self.scheme.field(path.field).ignores_trailing_slash,
            Operand::Call(_) => false,
        };
        let trim = |bytes: &[u8]| if slashless { without_slash(bytes).to_vec() } else { bytes.to_vec() };
        let wrap = |matcher| if slashless { Matcher::Slashless(Box::new(matcher)) } else { matcher };
        match test {
            Test::Order(order, Literal::Int(value)) => Matcher::Int(*order, *value),
            Test::Order(order, Literal::Ip(value)) => Matcher::Ip(*order, *value),
            Test::Order(order, Literal::Version(text)) => Matcher::Version(*order, text.as_str().into()),
            Test::Order(order @ (Order::Equal | Order::NotEqual), Literal::Bytes(bytes)) => {
                wrap(Matcher::Bytes(*order, trim(bytes).into()))
            }
            Test::Order(order, Literal::Bytes(bytes)) => Matcher::Bytes(*order, bytes.as_slice().into()),
            Test::In(items) => match items.first() {
                Some(Item::One(Literal::Int(_)) | Item::Ints(..)) => Matcher::Ints(RangeSet::new(ints(items))),
                Some(Item::One(Literal::Ip(_)) | Item::Ips(..) | Item::Network(..)) => {
                    Matcher::Ips(IpSet::new(items.iter().filter_map(ip_range)))
                }
                Some(Item::One(Literal::Version(_))) => Matcher::Versions(items.iter().filter_map(version).collect()),
                Some(Item::One(Literal::Bytes(_))) | None => {
                    wrap(Matcher::Strings(items.iter().filter_map(bytes).map(trim).collect()))
                }
            },
            Test::InList(name) => {
                let bound = self.checked.lists.iter().find(|(known, _)| known == name);
                bound.map_or(Matcher::Unbound, |(_, list)| wrap(Matcher::List(Arc::clone(list))))
            }
            Test::Contains(bytes) => Matcher::Contains(Box::new(Finder::new(bytes).into_owned())),
            Test::Matches(_) | Test::Wildcard { .. } => {
                self.checked.patterns.get(test).map_or(Matcher::Unbound, Matcher::Pattern)
            }
            Test::Bits(bits) => Matcher::Bits(*bits),
        }
    }
}

fn ints(items: &[Item]) -> Vec<(i64, i64)> {
    let range = |item: &Item| match item {
        Item::One(Literal::Int(value)) => Some((*value, *value)),
        Item::Ints(first, last) => Some((*first, *last)),
        Item::One(_) | Item::Ips(..) | Item::Network(..) => None,
    };
    items.iter().filter_map(range).collect()
}

/// Returns the addresses of a set's member.
pub(crate) fn ip_range(item: &Item) -> Option<(std::net::IpAddr, std::net::IpAddr)> {
    match item {
        Item::One(Literal::Ip(address)) => Some((*address, *address)),
        Item::Ips(first, last) => Some((*first, *last)),
        Item::Network(address, length) => Some(network_range(*address, *length)),
        Item::One(_) | Item::Ints(..) => None,
    }
}

fn version(item: &Item) -> Option<Box<str>> {
    match item {
        Item::One(Literal::Version(text)) => Some(text.as_str().into()),
        Item::One(_) | Item::Ints(..) | Item::Ips(..) | Item::Network(..) => None,
    }
}

fn bytes(item: &Item) -> Option<&[u8]> {
    match item {
        Item::One(Literal::Bytes(bytes)) => Some(bytes),
        Item::One(_) | Item::Ints(..) | Item::Ips(..) | Item::Network(..) => None,
    }
}

/// Ranks conditions by what they cost: a comparison, a walk over an array, a pattern or a computed value.
fn cost(node: &Node) -> u8 {
    match &node.kind {
        Kind::Always => 0,
        Kind::Not(inner) => cost(inner),
        Kind::And(parts) | Kind::Or(parts) | Kind::Xor(parts) => parts.iter().map(cost).max().unwrap_or(0),
        Kind::Truth(load) => load_cost(load),
        Kind::Compare(
            load,
            Matcher::Pattern(_) | Matcher::Contains(_) | Matcher::Version(..) | Matcher::Versions(_),
        ) => load_cost(load).max(2),
        Kind::Compare(load, _) => load_cost(load),
        Kind::Any(over) | Kind::All(over) => cost(&over.body).saturating_add(1),
    }
}

fn load_cost(load: &Load) -> u8 {
    match load {
        Load::Field(_) | Load::Path(..) | Load::Element(_) => 0,
        Load::Call(..) => 3,
    }
}
