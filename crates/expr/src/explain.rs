//! The explanation of an outcome: each condition in its canonical text, what came of it and the value it saw.
//! For traces and pages, not for the hot path. Values are shortened, and the tree has a bounded width.

use crate::evaluate::{Context, Loaded};
use crate::outcome::Outcome;
use crate::print;
use crate::program::{Kind, Load, Node};
use crate::value::ValueRef;

/// The most conditions shown within one condition.
const MAX_CHILDREN: usize = 100;

/// The most elements of an array shown, and the most characters of a value.
const MAX_ELEMENTS: usize = 10;
const MAX_CHARACTERS: usize = 200;

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

/// Explains `node`, whose text is part of `canonical`.
pub(crate) fn explain(node: &Node, canonical: &str, context: Context<'_>) -> Explanation {
    let outcome = node.evaluate(context);
    let mut inner: Vec<&Node> = match &node.kind {
        Kind::Not(inner) => vec![inner],
        Kind::And(parts) | Kind::Or(parts) | Kind::Xor(parts) => parts.iter().collect(),
        // The condition within a quantifier has as many outcomes as there are elements.
        Kind::Always | Kind::Truth(_) | Kind::Compare(..) | Kind::Any(_) | Kind::All(_) => Vec::new(),
    };
    inner.sort_by_key(|node| node.place.start);
    let omitted = inner.len().saturating_sub(MAX_CHILDREN);
    Explanation {
        text: canonical.get(node.place.clone()).unwrap_or_default().to_owned(),
        outcome,
        seen: seen(node, outcome, context),
        children: inner.into_iter().take(MAX_CHILDREN).map(|node| explain(node, canonical, context)).collect(),
        omitted,
    }
}

fn seen(node: &Node, outcome: Outcome, context: Context<'_>) -> Option<Seen> {
    match &node.kind {
        Kind::Truth(load) | Kind::Compare(load, _) => Some(loaded(load.load(context))),
        Kind::Any(over) | Kind::All(over) => {
            // The element that decided says more than the array it stands in.
            let telling = match (&node.kind, outcome) {
                (Kind::Any(_), Outcome::True) | (Kind::All(_), Outcome::False) => {
                    over.first(context, outcome, |element| Seen::Value(shown(element)))
                }
                _ => None,
            };
            let whole = || loaded(Load::Field(over.field).load(context));
            Some(telling.unwrap_or_else(whole))
        }
        Kind::Always | Kind::Not(_) | Kind::And(_) | Kind::Or(_) | Kind::Xor(_) => None,
    }
}

fn loaded(loaded: Loaded<'_>) -> Seen {
    match loaded {
        Loaded::Value(value) => Seen::Value(shown(value)),
        Loaded::Computed(bytes) => Seen::Value(shown(ValueRef::Bytes(&bytes))),
        Loaded::Absent => Seen::Absent,
        Loaded::Unknown(_) => Seen::Unknown,
        Loaded::Unusable(_) => Seen::Unusable,
    }
}

/// Writes a value the way the language does, shortened.
fn shown(value: ValueRef<'_>) -> String {
    let mut text = String::new();
    write(&mut text, value);
    match text.char_indices().nth(MAX_CHARACTERS) {
        Some((end, _)) => format!("{}\u{2026}", &text[..end]),
        None => text,
    }
}

fn write(text: &mut String, value: ValueRef<'_>) {
    match value {
        ValueRef::Bool(value) => text.push_str(if value { "true" } else { "false" }),
        ValueRef::Int(value) => text.push_str(&value.to_string()),
        ValueRef::Bytes(bytes) => {
            print::string(text, bytes.get(..MAX_CHARACTERS * 4).unwrap_or(bytes));
        }
        ValueRef::Ip(value) => text.push_str(&value.to_string()),
        ValueRef::Version(version) => {
            print::string(text, version.text.as_bytes().get(..MAX_CHARACTERS).unwrap_or(version.text.as_bytes()));
        }
        ValueRef::Array(array) => {
            text.push('{');
            for (index, element) in array.iter().take(MAX_ELEMENTS).enumerate() {
                if index > 0 {
                    text.push(' ');
                }
                write(text, element);
            }
            text.push_str(if array.len() > MAX_ELEMENTS { " \u{2026}}" } else { "}" });
        }
        ValueRef::Map(map) => {
            text.push('{');
            for (index, (key, element)) in map.iter().take(MAX_ELEMENTS).enumerate() {
                if index > 0 {
                    text.push(' ');
                }
                print::string(text, key);
                text.push('=');
                write(text, element);
            }
            text.push_str(if map.len() > MAX_ELEMENTS { " \u{2026}}" } else { "}" });
        }
    }
}
