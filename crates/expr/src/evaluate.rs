//! Evaluates a compiled condition against facts, without allocating except within functions and `key=value` visits.
//!
//! Missing values: a comparison with an absent value is false, but for `!=`, which is true. A version that is absent
//! or cannot be read satisfies nothing, not even `!=`. `any` and `all` over an absent array are false; over an empty
//! array `any` is false and `all` is true. A fact of another type than its field, or a computed value beyond its
//! limit, is an error, which never widens access.

use std::cmp::Ordering;

use crate::ast::{Order, Step};
use crate::list::without_slash;
use crate::outcome::Outcome;
use crate::program::{Kind, Load, Matcher, Node, Over, Source};
use crate::scheme::{FieldId, FieldSet};
use crate::value::{ArrayRef, Fact, Facts, MapRef, Type, ValueRef};

/// What a condition is evaluated against.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) facts: &'a dyn Facts,
    /// The most bytes of a computed value.
    pub(crate) value_bytes: usize,
    /// The element at hand, and the field it belongs to.
    pub(crate) element: Option<(FieldId, ValueRef<'a>)>,
}

/// What loading a value gave.
pub(crate) enum Loaded<'a> {
    Value(ValueRef<'a>),
    Computed(Vec<u8>),
    Absent,
    Unknown(FieldSet),
    Unusable(FieldSet),
}

/// How a visit to the elements of an array ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    Finished,
    Stopped,
    /// There is no array.
    Absent,
    /// What should be an array is something else.
    Unusable,
}

impl Node {
    /// Decides the condition.
    pub(crate) fn evaluate(&self, context: Context<'_>) -> Outcome {
        match &self.kind {
            Kind::Always => Outcome::True,
            Kind::Not(inner) => inner.evaluate(context).negate(),
            Kind::And(parts) => {
                let mut outcome = Outcome::True;
                for part in parts {
                    outcome = outcome.and(part.evaluate(context));
                    if outcome == Outcome::False {
                        break;
                    }
                }
                outcome
            }
            Kind::Or(parts) => {
                let mut outcome = Outcome::False;
                for part in parts {
                    outcome = outcome.or(part.evaluate(context));
                    if outcome == Outcome::True {
                        break;
                    }
                }
                outcome
            }
            Kind::Xor(parts) => parts.iter().fold(Outcome::False, |outcome, part| outcome.xor(part.evaluate(context))),
            Kind::Truth(load) => match load.load(context) {
                Loaded::Value(ValueRef::Bool(truth)) => Outcome::of(truth),
                Loaded::Absent => Outcome::False,
                Loaded::Unknown(fields) => Outcome::Needs(fields),
                Loaded::Unusable(fields) => Outcome::Error(fields),
                Loaded::Value(_) | Loaded::Computed(_) => Outcome::Error(load.fields(context)),
            },
            Kind::Compare(load, matcher) => match load.load(context) {
                Loaded::Absent => Outcome::of(matcher.accepts_absent()),
                Loaded::Unknown(fields) => Outcome::Needs(fields),
                Loaded::Unusable(fields) => Outcome::Error(fields),
                Loaded::Value(value) => matcher.outcome(value, load, context),
                Loaded::Computed(bytes) => matcher.outcome(ValueRef::Bytes(&bytes), load, context),
            },
            Kind::Any(over) => over.evaluate(context, false),
            Kind::All(over) => over.evaluate(context, true),
        }
    }
}

impl Over {
    fn evaluate(&self, context: Context<'_>, all: bool) -> Outcome {
        let mut outcome = Outcome::of(all);
        let decided = Outcome::of(!all);
        let visit = self.visit(context, &mut |element| {
            let inner = Context { element: Some((self.field, element)), ..context };
            let of_element = self.body.evaluate(inner);
            outcome = if all { outcome.and(of_element) } else { outcome.or(of_element) };
            outcome != decided
        });
        match visit {
            Ok(Visit::Finished | Visit::Stopped) => outcome,
            Ok(Visit::Absent) => Outcome::False,
            // The elements that were reached count as much as one that cannot be read.
            Ok(Visit::Unusable) => {
                let broken = Outcome::Error(FieldSet::of(self.field));
                if all { outcome.and(broken) } else { outcome.or(broken) }
            }
            Err(undecided) => undecided,
        }
    }

    /// Visits the elements until `each` returns false.
    fn visit(&self, context: Context<'_>, each: &mut dyn FnMut(ValueRef<'_>) -> bool) -> Result<Visit, Outcome> {
        match context.facts.fact(self.field) {
            Fact::Known(value) => Ok(visit(value, &self.steps, self.entries, each)),
            Fact::Absent => Ok(Visit::Absent),
            Fact::Unknown => Err(Outcome::Needs(FieldSet::of(self.field))),
        }
    }

    /// Returns the first element for which the condition is `outcome`, as far as `show` renders it.
    pub(crate) fn first<T>(
        &self,
        context: Context<'_>,
        outcome: Outcome,
        show: impl Fn(ValueRef<'_>) -> T,
    ) -> Option<T> {
        let mut found = None;
        let visited = self.visit(context, &mut |element| {
            let inner = Context { element: Some((self.field, element)), ..context };
            if self.body.evaluate(inner) == outcome {
                found = Some(show(element));
            }
            found.is_none()
        });
        visited.ok().and(found)
    }
}

/// Walks into `value` and hands each element to `each` until that returns false.
fn visit(value: ValueRef<'_>, steps: &[Step], entries: bool, each: &mut dyn FnMut(ValueRef<'_>) -> bool) -> Visit {
    let Some((step, rest)) = steps.split_first() else {
        return if each(value) { Visit::Finished } else { Visit::Stopped };
    };
    match (step, value) {
        (Step::Each, ValueRef::Map(map)) if entries => visit_entries(map, each),
        (Step::Each, ValueRef::Map(map)) => visit_all(map.iter().map(|(_, value)| value), rest, each),
        (Step::Each, ValueRef::Array(array)) => visit_all(array.iter(), rest, each),
        (Step::Index(index), ValueRef::Array(array)) => {
            let element = usize::try_from(*index).ok().and_then(|index| array.get(index));
            element.map_or(Visit::Absent, |element| visit(element, rest, entries, each))
        }
        (Step::Key(key), ValueRef::Map(map)) => {
            map.get(key).map_or(Visit::Absent, |value| visit(value, rest, entries, each))
        }
        _ => Visit::Unusable,
    }
}

fn visit_all<'v>(
    elements: impl Iterator<Item = ValueRef<'v>>,
    rest: &[Step],
    each: &mut dyn FnMut(ValueRef<'_>) -> bool,
) -> Visit {
    for element in elements {
        match visit(element, rest, false, each) {
            // An element without the wanted part contributes nothing.
            Visit::Finished | Visit::Absent => {}
            ended @ (Visit::Stopped | Visit::Unusable) => return ended,
        }
    }
    Visit::Finished
}

/// Visits a map of strings, or of arrays of strings, as `key=value` texts.
fn visit_entries(map: MapRef<'_>, each: &mut dyn FnMut(ValueRef<'_>) -> bool) -> Visit {
    let mut text = Vec::new();
    let mut entry = |key: &[u8], value: &[u8]| {
        text.clear();
        text.extend_from_slice(key);
        text.push(b'=');
        text.extend_from_slice(value);
        each(ValueRef::Bytes(&text))
    };
    for (key, value) in map.iter() {
        let array = if let ValueRef::Array(array) = value { Some(array) } else { None };
        let one = if array.is_none() { Some(value) } else { None };
        for value in array.into_iter().flat_map(ArrayRef::iter).chain(one) {
            let ValueRef::Bytes(value) = value else { return Visit::Unusable };
            if !entry(key, value) {
                return Visit::Stopped;
            }
        }
    }
    Visit::Finished
}

impl Load {
    /// Loads the value.
    pub(crate) fn load<'a>(&'a self, context: Context<'a>) -> Loaded<'a> {
        match self {
            Self::Field(field) => fact(context, *field, &[]),
            Self::Path(field, steps) => fact(context, *field, steps),
            Self::Element(steps) => match context.element {
                Some((field, value)) => walk(value, steps, field),
                None => Loaded::Unusable(FieldSet::EMPTY),
            },
            Self::Call(function, arguments) => crate::function::call(*function, arguments, context),
        }
    }

    /// Returns the fields the value comes from, for an error.
    pub(crate) fn fields(&self, context: Context<'_>) -> FieldSet {
        match self {
            Self::Field(field) | Self::Path(field, _) => FieldSet::of(*field),
            Self::Element(_) => context.element.map_or(FieldSet::EMPTY, |(field, _)| FieldSet::of(field)),
            Self::Call(_, arguments) => arguments.iter().fold(FieldSet::EMPTY, |fields, argument| match argument {
                Source::Load(load) => fields.union(load.fields(context)),
                Source::Bytes(_) => fields,
            }),
        }
    }
}

fn fact<'a>(context: Context<'a>, field: FieldId, steps: &[Step]) -> Loaded<'a> {
    match context.facts.fact(field) {
        Fact::Known(value) => walk(value, steps, field),
        Fact::Absent => Loaded::Absent,
        Fact::Unknown => Loaded::Unknown(FieldSet::of(field)),
    }
}

/// Follows indexes into a value.
fn walk<'a>(mut value: ValueRef<'a>, steps: &[Step], field: FieldId) -> Loaded<'a> {
    for step in steps {
        let inner = match (step, value) {
            (Step::Index(index), ValueRef::Array(array)) => {
                usize::try_from(*index).ok().and_then(|index| array.get(index))
            }
            (Step::Key(key), ValueRef::Map(map)) => map.get(key),
            _ => return Loaded::Unusable(FieldSet::of(field)),
        };
        match inner {
            Some(inner) => value = inner,
            None => return Loaded::Absent,
        }
    }
    Loaded::Value(value)
}

impl Matcher {
    /// Tells whether the comparison holds for a value that is not there.
    fn accepts_absent(&self) -> bool {
        match self {
            Self::Int(order, _) | Self::Bytes(order, _) | Self::Ip(order, _) => *order == Order::NotEqual,
            Self::Slashless(inner) => inner.accepts_absent(),
            Self::Ints(_)
            | Self::Bits(_)
            | Self::Strings(_)
            | Self::Contains(_)
            | Self::Pattern(_)
            | Self::Ips(_)
            | Self::Version(..)
            | Self::Versions(_)
            | Self::List(_)
            | Self::Unbound => false,
        }
    }

    fn outcome(&self, value: ValueRef<'_>, load: &Load, context: Context<'_>) -> Outcome {
        match self.accepts(value) {
            Some(truth) => Outcome::of(truth),
            None if self.is_unknown() => Outcome::Needs(load.fields(context)),
            None => Outcome::Error(load.fields(context)),
        }
    }

    /// Tells whether this is membership in a list whose items are not known.
    fn is_unknown(&self) -> bool {
        if let Self::Slashless(inner) = self {
            return inner.is_unknown();
        }
        matches!(self, Self::List(list) if list.is_unknown())
    }

    /// Tells whether the comparison holds; `None` if the value is of another type.
    fn accepts(&self, value: ValueRef<'_>) -> Option<bool> {
        Some(match (self, value) {
            (Self::Int(order, constant), ValueRef::Int(value)) => order.accepts(value.cmp(constant)),
            (Self::Ints(set), ValueRef::Int(value)) => set.contains(value),
            (Self::Bits(bits), ValueRef::Int(value)) => value & bits != 0,
            (Self::Bytes(order, constant), ValueRef::Bytes(value)) => match order {
                Order::Equal => *value == **constant,
                Order::NotEqual => *value != **constant,
                Order::Less | Order::LessEqual | Order::Greater | Order::GreaterEqual => {
                    order.accepts(value.cmp(constant))
                }
            },
            (Self::Strings(set), ValueRef::Bytes(value)) => set.contains(value),
            (Self::Slashless(inner), ValueRef::Bytes(value)) => {
                return inner.accepts(ValueRef::Bytes(without_slash(value)));
            }
            (Self::Contains(finder), ValueRef::Bytes(value)) => finder.find(value).is_some(),
            (Self::Pattern(regex), ValueRef::Bytes(value)) => regex.is_match(value),
            (Self::Ip(order, constant), ValueRef::Ip(value)) => {
                let value = value.to_canonical();
                // Addresses of different families have no order, so they differ and nothing more.
                let same_family = value.is_ipv4() == constant.is_ipv4();
                if same_family { order.accepts(value.cmp(constant)) } else { *order == Order::NotEqual }
            }
            (Self::Ips(set), ValueRef::Ip(value)) => set.contains(value),
            (Self::Version(order, constant), ValueRef::Version(value)) => {
                value.compare(constant).is_some_and(|ordering| order.accepts(ordering))
            }
            (Self::Versions(set), ValueRef::Version(value)) => {
                set.iter().any(|constant| value.compare(constant) == Some(Ordering::Equal))
            }
            (Self::List(list), _) if kind(value).is_some_and(|kind| list.element() == Some(kind)) => {
                list.contains(value)
            }
            _ => return None,
        })
    }
}

/// Returns the type of a value that a list can hold.
fn kind(value: ValueRef<'_>) -> Option<Type> {
    match value {
        ValueRef::Bytes(_) => Some(Type::Bytes),
        ValueRef::Ip(_) => Some(Type::Ip),
        ValueRef::Int(_) => Some(Type::Int),
        ValueRef::Bool(_) | ValueRef::Version(_) | ValueRef::Array(_) | ValueRef::Map(_) => None,
    }
}
