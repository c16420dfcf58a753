//! Necessary conditions of an expression, from which a host builds an index over many rules.
//! An anchor never misses: where none of its keys match, the expression is false. It may well match in vain.

use std::net::IpAddr;
use std::sync::Arc;

use crate::list::List;
use crate::scheme::FieldId;

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
