//! Necessary conditions of an expression, from which a host builds an index over many rules.
//! An anchor never misses: where none of its keys match, the expression is false. It may well match in vain.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::ast::{Ast, Item, Literal, Operand, Order, Path, Step, Test};
use crate::list::List;
use crate::program::ip_range;
use crate::scheme::{FieldId, Scheme};
use crate::value::Type;

/// A condition the expression cannot be true without: a field, or an element of the array it holds, is one of these.
///
/// The promise holds where the field's fact is known with the field's type, or absent. While the fact is unknown or
/// of another type, treat the expression as a candidate.
#[derive(Clone, Debug)]
pub struct Anchor {
    /// The field.
    pub field: FieldId,
    /// The values, one of which the field equals or lies within; empty if only lists will do.
    pub keys: Vec<Key>,
    /// The lists, one of which may hold the field instead.
    pub lists: Vec<Arc<List>>,
}

/// One value of an [`Anchor`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Exactly this byte string.
    Bytes(Box<[u8]>),
    /// Exactly this number.
    Int(i64),
    /// A number between these two, both included.
    Ints(i64, i64),
    /// Exactly this address; mapped IPv6 addresses are given as IPv4.
    Ip(IpAddr),
    /// An address between these two of one family, both included.
    Ips(IpAddr, IpAddr),
}

/// Finds conditions that must all hold for `ast` to be true.
pub(crate) fn requirements(ast: &Ast, scheme: &Scheme, lists: &[(String, Arc<List>)]) -> Vec<Anchor> {
    match ast {
        Ast::And(parts) => parts.iter().flat_map(|part| requirements(part, scheme, lists)).collect(),
        Ast::Or(parts) => alternatives(parts.iter().map(|part| requirements(part, scheme, lists))),
        // Some element makes the body true, so the body's own requirements hold.
        Ast::Any(body) => requirements(body, scheme, lists),
        Ast::Compare(Operand::Path(path), test) if indexable(path, scheme) => {
            comparison(path.field, test, lists).into_iter().collect()
        }
        // `all` is true of an empty array, and nothing is known of a negation.
        Ast::All(_) | Ast::Not(_) | Ast::Xor(_) | Ast::Always | Ast::Truth(_) | Ast::Compare(..) => Vec::new(),
    }
}

/// Tells whether the path reaches the field itself or an element of the array it holds.
fn indexable(path: &Path, scheme: &Scheme) -> bool {
    let field = scheme.field(path.field);
    // A URL equals more than one text here, so it cannot be looked up by its text.
    !field.ignores_trailing_slash
        && matches!(
            (path.steps.as_slice(), field.kind),
            ([], Type::Int | Type::Bytes | Type::Ip)
                | ([Step::Each | Step::Index(_)], Type::Array(Type::Int | Type::Bytes | Type::Ip))
        )
}

fn comparison(field: FieldId, test: &Test, lists: &[(String, Arc<List>)]) -> Option<Anchor> {
    match test {
        Test::Order(Order::Equal, literal) => {
            let keys = vec![key(&Item::One(literal.clone()))?];
            Some(Anchor { field, keys, lists: Vec::new() })
        }
        Test::In(items) => {
            let mut keys = items.iter().map(key).collect::<Option<Vec<Key>>>()?;
            keys.sort_unstable();
            keys.dedup();
            Some(Anchor { field, keys, lists: Vec::new() })
        }
        Test::InList(name) => {
            // What an unknown list holds cannot be looked up.
            let (_, list) = lists.iter().find(|(known, list)| known == name && !list.is_unknown())?;
            Some(Anchor { field, keys: Vec::new(), lists: vec![Arc::clone(list)] })
        }
        Test::Order(..) | Test::Contains(_) | Test::Matches(_) | Test::Wildcard { .. } | Test::Bits(_) => None,
    }
}

fn key(item: &Item) -> Option<Key> {
    match item {
        Item::One(Literal::Bytes(bytes)) => Some(Key::Bytes(bytes.as_slice().into())),
        Item::One(Literal::Int(value)) => Some(Key::Int(*value)),
        Item::One(Literal::Ip(address)) => Some(Key::Ip(address.to_canonical())),
        Item::One(Literal::Version(_)) => None,
        Item::Ints(first, last) => Some(Key::Ints(*first, *last)),
        // A range of mapped addresses would have to be given twice.
        Item::Ips(..) | Item::Network(..) => match ip_range(item)? {
            (IpAddr::V6(first), IpAddr::V6(last)) if first.to_bits() >> 48 == 0 && last.to_bits() >> 32 >= 0xffff => {
                None
            }
            (first, last) => Some(Key::Ips(first, last)),
        },
    }
}

/// Joins the requirements of alternatives: a field that each of them requires, with what any of them requires of it.
fn alternatives(parts: impl Iterator<Item = Vec<Anchor>>) -> Vec<Anchor> {
    let mut joined: Option<HashMap<FieldId, Anchor>> = None;
    for part in parts {
        let part = narrowest(part);
        joined = Some(match joined {
            None => part,
            Some(mut joined) => {
                joined.retain(|field, _| part.contains_key(field));
                for (field, anchor) in part {
                    if let Some(known) = joined.get_mut(&field) {
                        known.keys.extend(anchor.keys);
                        known.lists.extend(anchor.lists);
                    }
                }
                joined
            }
        });
    }
    let mut anchors: Vec<Anchor> = joined.unwrap_or_default().into_values().collect();
    for anchor in &mut anchors {
        anchor.keys.sort_unstable();
        anchor.keys.dedup();
    }
    anchors.sort_unstable_by_key(|anchor| anchor.field);
    anchors
}

/// Keeps the anchor with the fewest keys of each field.
fn narrowest(anchors: Vec<Anchor>) -> HashMap<FieldId, Anchor> {
    let mut narrowest: HashMap<FieldId, Anchor> = HashMap::new();
    for anchor in anchors {
        match narrowest.get(&anchor.field) {
            Some(known) if known.weight() <= anchor.weight() => {}
            _ => {
                narrowest.insert(anchor.field, anchor);
            }
        }
    }
    narrowest
}

impl Anchor {
    /// Counts the values that satisfy the anchor, as far as an index has to hold them.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.lists.iter().map(|list| list.len()).sum::<usize>() + self.keys.len()
    }
}
