//! How a record lies in the journal: the fields that hold something, each as a tag and a value. Pure.
//!
//! A tag is a varint (LEB128): the field's place in its dataset's list, shifted left by two, and how the value is
//! written: 0 a varint, 1 nothing (the flag is set), 2 a varint length and that many bytes. Signed numbers are zigzag
//! coded; times are Unix microseconds; lists are their elements one after the other, each text with its length; JSON is
//! its text. The record's id and time stand in the frame around it, so the id is left out. Fields are only ever added at
//! the end of a list, and a reader skips places it does not know. Invariant: decoding what was encoded gives the same
//! record, times cut to microseconds; arbitrary bytes give a record or nothing, never a panic.

use jiff::Timestamp;
use serde_json::{Number, Value};
use uuid::Uuid;

/// The shape of a field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text; empty when absent.
    Text,
    /// A list of texts.
    Texts,
    /// A signed number of 64 bits.
    Integer,
    /// An unsigned number of 64 bits.
    Count,
    /// An unsigned number of 16 bits.
    Small,
    /// True or false.
    Flag,
    /// A list of signed numbers.
    Integers,
    /// Any JSON value, or none.
    Json,
    /// A list of JSON values.
    Jsons,
    /// A moment, in microseconds.
    Time,
    /// The id of the record.
    Id,
}

impl Kind {
    /// Every kind.
    pub(crate) const ALL: [Self; 11] = [
        Self::Text,
        Self::Texts,
        Self::Integer,
        Self::Count,
        Self::Small,
        Self::Flag,
        Self::Integers,
        Self::Json,
        Self::Jsons,
        Self::Time,
        Self::Id,
    ];

    /// Returns the type's word in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Texts => "array of strings",
            Self::Integer | Self::Count | Self::Small => "int",
            Self::Flag => "bool",
            Self::Integers => "array of ints",
            Self::Json => "object",
            Self::Jsons => "array of objects",
            Self::Time => "time",
            Self::Id => "id",
        }
    }
}

/// A value as it lies in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Raw<'a> {
    Number(u64),
    Flag,
    Bytes(&'a [u8]),
}

const NUMBER: u64 = 0;
const FLAG: u64 = 1;
const BYTES: u64 = 2;

/// A type that a field may have.
pub(crate) trait Wire: Sized {
    const KIND: Kind;

    /// Appends tag and value of a field that holds something.
    fn put(&self, place: u64, out: &mut Vec<u8>);

    /// Reads what [`Wire::put`] wrote; `None` when it is something else.
    fn read(raw: Raw<'_>) -> Option<Self>;
}

pub(crate) fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[inline(always)]
fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[inline(always)]
fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_varint(bytes)?).ok()?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(text)
}

const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

pub(crate) const fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

fn put_bytes(place: u64, bytes: &[u8], out: &mut Vec<u8>) {
    put_varint(place << 2 | BYTES, out);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Appends a tag, and what `write` appends after its length.
fn put_written(place: u64, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    put_varint(place << 2 | BYTES, out);
    let start = out.len();
    write(out);
    let length = out.len() - start;
    put_varint(length as u64, out);
    let prefix = out.len() - start - length;
    out[start..].rotate_right(prefix);
}

/// Walks over the fields of a body.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// Returns the next field, `Some(None)` when the bytes are no body.
    #[inline(always)]
    fn field(&mut self) -> Option<(usize, Raw<'a>)> {
        let tag = take_varint(&mut self.rest)?;
        let raw = match tag & 3 {
            NUMBER => Raw::Number(take_varint(&mut self.rest)?),
            FLAG => Raw::Flag,
            BYTES => Raw::Bytes(take_text(&mut self.rest)?),
            _ => return None,
        };
        Some((usize::try_from(tag >> 2).ok()?, raw))
    }
}

impl<'a> Iterator for Fields<'a> {
    /// `None` for bytes that are no field; nothing follows it.
    type Item = Option<(usize, Raw<'a>)>;

    // Handed over through memory, each field would be waited for.
    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl Raw<'_> {
    /// Returns the value as the JSON of a record shows it.
    pub(crate) fn json(self, kind: Kind) -> Option<Value> {
        Some(match kind {
            Kind::Text => Value::String(String::read(self)?),
            Kind::Texts => Value::from(Vec::<String>::read(self)?),
            Kind::Integer => Value::from(i64::read(self)?),
            Kind::Count | Kind::Small => Value::Number(Number::from(u64::read(self)?)),
            Kind::Flag => Value::Bool(bool::read(self)?),
            Kind::Integers => Value::from(Vec::<i64>::read(self)?),
            Kind::Json => Option::<Value>::read(self)??,
            Kind::Jsons => Value::Array(Vec::<Value>::read(self)?),
            Kind::Time => Value::String(Timestamp::read(self)?.to_string()),
            Kind::Id => Value::String(Uuid::read(self)?.to_string()),
        })
    }

    /// Returns a time in Unix microseconds.
    pub(crate) const fn time(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(unzigzag(*number)),
            Self::Flag | Self::Bytes(_) => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Bytes(bytes) => str::from_utf8(bytes).ok(),
            Self::Number(_) | Self::Flag => None,
        }
    }

    /// Returns the elements of a list of texts.
    pub(crate) fn texts(&self) -> Option<impl Iterator<Item = Option<&str>>> {
        let Self::Bytes(mut rest) = *self else { return None };
        Some(std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let text = take_text(&mut rest).and_then(|text| str::from_utf8(text).ok());
            if text.is_none() {
                rest = &[];
            }
            Some(text)
        }))
    }

    /// Returns the elements of a list of numbers.
    pub(crate) fn integers(&self) -> Option<impl Iterator<Item = Option<i64>>> {
        let Self::Bytes(mut rest) = *self else { return None };
        Some(std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let number = take_varint(&mut rest).map(unzigzag);
            if number.is_none() {
                rest = &[];
            }
            Some(number)
        }))
    }
}

impl Wire for String {
    const KIND: Kind = Kind::Text;

    fn put(&self, place: u64, out: &mut Vec<u8>) {
        put_bytes(place, self.as_bytes(), out);
    }

    fn read(raw: Raw<'_>) -> Option<Self> {
        raw.text().map(Self::from)
    }
}

impl Wire for Vec<String> {
    const KIND: Kind = Kind::Texts;

    fn put(&self, place: u64, out: &mut Vec<u8>) {
        put_written(place, out, |out| {
            for text in self {
                put_varint(text.len() as u64, out);
                out.extend_from_slice(text.as_bytes());
            }
        });
    }

    fn read(raw: Raw<'_>) -> Option<Self> {
        raw.texts()?.map(|text| text.map(String::from)).collect()
    }
}

impl Wire for i64 {
    const KIND: Kind = Kind::Integer;

    fn put(&self, place: u64, out: &mut Vec<u8>) {
        put_varint(place << 2 | NUMBER, out);
        put_varint(zigzag(*self), out);
    }

    fn read(raw: Raw<'_>) -> Option<Self> {
        match raw {
            Raw::Number(number) => Some(unzigzag(number)),
            Raw::Flag | Raw::Bytes(_) => None,
        }
    }
}

impl Wire for u64 {
    const KIND: Kind = Kind::Count;

    fn put(&self, place: u64, out: &mut Vec<u8>) {
        put_varint(place << 2 | NUMBER, out);
        put_varint(*self, out);
    }

    fn read(raw: Raw<'_>) -> Option<Self> {
        match raw {
            Raw::Number(number) => Some(number),
            Raw::Flag | Raw::Bytes(_) => None,
        }
    }
}

impl Wire for u16 {
    const KIND: Kind = Kind::Small;

    fn put(&self, place: u64, out: &mut Vec<u8>) {
        u64::from(*self).put(place, out);
    }

    fn read(raw: Raw<'_>) -> Option<Self> {
        u64::read(raw)?.try_into().ok()
    }
}

impl Wire for bool {
    const KIND: Kind = Kind::Flag;

    fn put(&self, place: u64, out: &mut Vec<u8>) {
        put_varint(place << 2 | FLAG, out);
    }

    fn read(raw: Raw<'_>) -> Option<Self> {
        (raw == Raw::Flag).then_some(true)
    }
}

impl Wire for Vec<i64> {
    const KIND: Kind = Kind::Integers;

    fn put(&self, place: u64, out: &mut Vec<u8>) {
        put_written(place, out, |out| self.iter().for_each(|number| put_varint(zigzag(*number), out)));
    }

    fn read(raw: Raw<'_>) -> Option<Self> {
        raw.integers()?.collect()
    }
}

impl Wire for Option<Value> {
    const KIND: Kind = Kind::Json;

    fn put(&self, place: u64, out: &mut Vec<u8>) {
        // JSON values always have a text.
        put_written(place, out, |out| drop(serde_json::to_writer(out, self)));
    }

    fn read(raw: Raw<'_>) -> Option<Self> {
        serde_json::from_str(raw.text()?).ok().map(Some)
    }
}

impl Wire for Vec<Value> {
    const KIND: Kind = Kind::Jsons;

    fn put(&self, place: u64, out: &mut Vec<u8>) {
        put_written(place, out, |out| drop(serde_json::to_writer(out, self)));
    }

    fn read(raw: Raw<'_>) -> Option<Self> {
        serde_json::from_str(raw.text()?).ok()
    }
}

impl Wire for Timestamp {
    const KIND: Kind = Kind::Time;

    fn put(&self, place: u64, out: &mut Vec<u8>) {
        self.as_microsecond().put(place, out);
    }

    fn read(raw: Raw<'_>) -> Option<Self> {
        Self::from_microsecond(i64::read(raw)?).ok()
    }
}

/// The id of a record stands in its frame; this is for other ids a dataset may carry.
impl Wire for Uuid {
    const KIND: Kind = Kind::Id;

    fn put(&self, place: u64, out: &mut Vec<u8>) {
        put_bytes(place, self.as_bytes(), out);
    }

    fn read(raw: Raw<'_>) -> Option<Self> {
        match raw {
            Raw::Bytes(bytes) => Self::from_slice(bytes).ok(),
            Raw::Number(_) | Raw::Flag => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::{Fields, Raw, Wire};

    fn survives<T: Wire + PartialEq + std::fmt::Debug>(value: &T) {
        let mut body = Vec::new();
        value.put(300, &mut body);
        value.put(1, &mut body);
        let fields: Vec<_> = Fields::new(&body).map(Option::unwrap).collect();
        assert_eq!(fields.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [300, 1]);
        for (_, raw) in fields {
            assert_eq!(T::read(raw).as_ref(), Some(value));
        }
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken(
            text in ".{0,200}",
            texts in proptest::collection::vec(".{0,20}", 0..10),
            integer in any::<i64>(),
            count in any::<u64>(),
            small in any::<u16>(),
            integers in proptest::collection::vec(any::<i64>(), 0..10),
        ) {
            survives(&text);
            survives(&texts);
            survives(&integer);
            survives(&count);
            survives(&small);
            survives(&integers);
            survives(&vec![Value::from(text.clone()), Value::from(integer)]);
            survives(&Some(Value::from(texts)));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            for (_, raw) in Fields::new(&bytes).flatten() {
                let _ = (String::read(raw), Vec::<String>::read(raw), i64::read(raw), Vec::<i64>::read(raw));
                let _ = (Option::<Value>::read(raw), jiff::Timestamp::read(raw), uuid::Uuid::read(raw));
            }
        }
    }

    #[test]
    fn a_flag_is_its_tag_alone() {
        let mut body = Vec::new();
        true.put(2, &mut body);
        assert_eq!(body, [9]);
        assert_eq!(Fields::new(&body).collect::<Vec<_>>(), [Some((2, Raw::Flag))]);
    }
}
