//! The values an expression reads: their types, borrowed and owned forms, and the traits a host supplies them through.
//! Decides nothing about comparison. Borrowed values are `Copy`, so that reading a fact allocates nothing.

use std::fmt;
use std::net::IpAddr;

use crate::scheme::FieldId;
use crate::version::Version;

/// The type of a field or of a value computed from fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// True or false; stands alone as a condition.
    Bool,
    /// A signed 64-bit integer.
    Int,
    /// A byte string, usually UTF-8 text.
    Bytes,
    /// An IPv4 or IPv6 address.
    Ip,
    /// A package version, ordered by the rules of its ecosystem.
    Version,
    /// A list of values of one type.
    Array(&'static Type),
    /// Values of one type under byte-string keys.
    Map(&'static Type),
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("boolean"),
            Self::Int => f.write_str("number"),
            Self::Bytes => f.write_str("string"),
            Self::Ip => f.write_str("IP address"),
            Self::Version => f.write_str("version"),
            Self::Array(element) => write!(f, "array of {element}"),
            Self::Map(value) => write!(f, "map of {value}"),
        }
    }
}

/// A borrowed value of a field.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    /// A [`Type::Bool`].
    Bool(bool),
    /// A [`Type::Int`].
    Int(i64),
    /// A [`Type::Bytes`].
    Bytes(&'a [u8]),
    /// A [`Type::Ip`].
    Ip(IpAddr),
    /// A [`Type::Version`].
    Version(Version<'a>),
    /// A [`Type::Array`].
    Array(ArrayRef<'a>),
    /// A [`Type::Map`].
    Map(MapRef<'a>),
}

impl<'a> From<&'a str> for ValueRef<'a> {
    fn from(text: &'a str) -> Self {
        Self::Bytes(text.as_bytes())
    }
}

/// A borrowed array, in whichever shape the host already holds it.
#[derive(Clone, Copy)]
pub enum ArrayRef<'a> {
    /// Integers.
    Ints(&'a [i64]),
    /// Owned strings.
    Strings(&'a [String]),
    /// Borrowed strings.
    Strs(&'a [&'a str]),
    /// Owned byte strings.
    Bytes(&'a [Vec<u8>]),
    /// Addresses.
    Ips(&'a [IpAddr]),
    /// Owned values of any type.
    Values(&'a [Value]),
    /// Anything that computes its elements, such as the parent domains of a host.
    Custom(&'a dyn Array),
}

impl<'a> ArrayRef<'a> {
    /// Counts the elements.
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            Self::Ints(items) => items.len(),
            Self::Strings(items) => items.len(),
            Self::Strs(items) => items.len(),
            Self::Bytes(items) => items.len(),
            Self::Ips(items) => items.len(),
            Self::Values(items) => items.len(),
            Self::Custom(items) => items.len(),
        }
    }

    /// Tells whether there is no element.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Returns the element at `index`, counted from zero.
    #[must_use]
    pub fn get(self, index: usize) -> Option<ValueRef<'a>> {
        match self {
            Self::Ints(items) => items.get(index).map(|item| ValueRef::Int(*item)),
            Self::Strings(items) => items.get(index).map(|item| ValueRef::Bytes(item.as_bytes())),
            Self::Strs(items) => items.get(index).map(|item| ValueRef::Bytes(item.as_bytes())),
            Self::Bytes(items) => items.get(index).map(|item| ValueRef::Bytes(item)),
            Self::Ips(items) => items.get(index).map(|item| ValueRef::Ip(*item)),
            Self::Values(items) => items.get(index).map(Value::as_ref),
            Self::Custom(items) => items.get(index),
        }
    }

    /// Visits the elements in order.
    pub fn iter(self) -> impl Iterator<Item = ValueRef<'a>> {
        (0..self.len()).map_while(move |index| self.get(index))
    }
}

impl fmt::Debug for ArrayRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// An array whose elements the host computes on demand.
pub trait Array {
    /// Counts the elements.
    fn len(&self) -> usize;
    /// Returns the element at `index`, counted from zero.
    fn get(&self, index: usize) -> Option<ValueRef<'_>>;
    /// Tells whether there is no element.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A borrowed map.
#[derive(Clone, Copy)]
pub enum MapRef<'a> {
    /// Owned entries, few enough to be searched in order.
    Entries(&'a [(Vec<u8>, Value)]),
    /// Anything that looks its values up itself.
    Custom(&'a dyn Map),
}

impl<'a> MapRef<'a> {
    /// Counts the entries.
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            Self::Entries(entries) => entries.len(),
            Self::Custom(map) => map.len(),
        }
    }

    /// Tells whether there is no entry.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Returns the value under `key`.
    #[must_use]
    pub fn get(self, key: &[u8]) -> Option<ValueRef<'a>> {
        match self {
            Self::Entries(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_ref()),
            Self::Custom(map) => map.get(key),
        }
    }

    /// Returns the entry at `index` in the map's own order.
    #[must_use]
    pub fn entry(self, index: usize) -> Option<(&'a [u8], ValueRef<'a>)> {
        match self {
            Self::Entries(entries) => entries.get(index).map(|(name, value)| (name.as_slice(), value.as_ref())),
            Self::Custom(map) => map.entry(index),
        }
    }

    /// Visits the entries in the map's own order.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], ValueRef<'a>)> {
        (0..self.len()).map_while(move |index| self.entry(index))
    }
}

impl fmt::Debug for MapRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// A map whose values the host looks up itself.
pub trait Map {
    /// Counts the entries.
    fn len(&self) -> usize;
    /// Returns the value under `key`.
    fn get(&self, key: &[u8]) -> Option<ValueRef<'_>>;
    /// Returns the entry at `index` in a stable order.
    fn entry(&self, index: usize) -> Option<(&[u8], ValueRef<'_>)>;
    /// Tells whether there is no entry.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An owned value, for facts that arrive as data: a replay, a test, an API call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A [`Type::Bool`].
    Bool(bool),
    /// A [`Type::Int`].
    Int(i64),
    /// A [`Type::Bytes`].
    Bytes(Vec<u8>),
    /// A [`Type::Ip`].
    Ip(IpAddr),
    /// A [`Type::Version`]: its ecosystem and its text.
    Version(crate::version::Ecosystem, String),
    /// A [`Type::Array`].
    Array(Vec<Value>),
    /// A [`Type::Map`].
    Map(Vec<(Vec<u8>, Value)>),
}

impl Value {
    /// Borrows this value.
    #[must_use]
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Bool(value) => ValueRef::Bool(*value),
            Self::Int(value) => ValueRef::Int(*value),
            Self::Bytes(value) => ValueRef::Bytes(value),
            Self::Ip(value) => ValueRef::Ip(*value),
            Self::Version(ecosystem, text) => ValueRef::Version(Version { ecosystem: *ecosystem, text }),
            Self::Array(items) => ValueRef::Array(ArrayRef::Values(items)),
            Self::Map(entries) => ValueRef::Map(MapRef::Entries(entries)),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Bytes(value.as_bytes().to_vec())
    }
}

impl From<IpAddr> for Value {
    fn from(value: IpAddr) -> Self {
        Self::Ip(value)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        Self::Array(items.into_iter().map(Into::into).collect())
    }
}

/// What a host knows about one field.
#[derive(Clone, Copy, Debug)]
pub enum Fact<'a> {
    /// The field has this value.
    Known(ValueRef<'a>),
    /// The field is known to have no value.
    Absent,
    /// The value has not been found out yet.
    Unknown,
}

/// The facts an expression is evaluated against.
pub trait Facts {
    /// Returns what is known about `field`.
    fn fact(&self, field: FieldId) -> Fact<'_>;
}

/// Owned facts by field; a field that was never set is unknown.
#[derive(Clone, Debug, Default)]
pub struct FactTable {
    slots: Vec<Slot>,
}

#[derive(Clone, Debug, Default)]
enum Slot {
    #[default]
    Unknown,
    Absent,
    Known(Value),
}

impl FactTable {
    /// Makes a table in which every field is unknown.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Records the value of `field`.
    pub fn set(&mut self, field: FieldId, value: impl Into<Value>) -> &mut Self {
        *self.slot(field) = Slot::Known(value.into());
        self
    }

    /// Records that `field` has no value.
    pub fn set_absent(&mut self, field: FieldId) -> &mut Self {
        *self.slot(field) = Slot::Absent;
        self
    }

    /// Forgets what was recorded about `field`.
    pub fn forget(&mut self, field: FieldId) -> &mut Self {
        *self.slot(field) = Slot::Unknown;
        self
    }

    fn slot(&mut self, field: FieldId) -> &mut Slot {
        let index = usize::from(field.0);
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, Slot::default);
        }
        &mut self.slots[index]
    }
}

impl Facts for FactTable {
    fn fact(&self, field: FieldId) -> Fact<'_> {
        match self.slots.get(usize::from(field.0)) {
            None | Some(Slot::Unknown) => Fact::Unknown,
            Some(Slot::Absent) => Fact::Absent,
            Some(Slot::Known(value)) => Fact::Known(value.as_ref()),
        }
    }
}
