//! The header fields of a message as a map of expressions.
//!
//! It borrows; it decides nothing. Invariant: a field that was sent several times is one entry with all its values, in order.

use std::cell::OnceCell;

use expr::{ArrayRef, Map, ValueRef};
use http::header::{HeaderMap, HeaderValue};

/// Header fields as rules and policies read them: a lower-case name to an array of byte strings.
///
/// The arrays are made when a rule first looks, so rules that read no headers cost nothing here.
pub struct HeaderFacts<'a> {
    headers: &'a HeaderMap,
    fields: OnceCell<Vec<(&'a str, Values<'a>)>>,
}

impl<'a> HeaderFacts<'a> {
    /// Reads from `headers`.
    #[must_use]
    pub const fn new(headers: &'a HeaderMap) -> Self {
        Self { headers, fields: OnceCell::new() }
    }

    fn fields(&self) -> &[(&'a str, Values<'a>)] {
        self.fields.get_or_init(|| {
            self.headers
                .keys()
                .map(|name| {
                    let values = self.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
                    (name.as_str(), Values(values))
                })
                .collect()
        })
    }
}

struct Values<'a>(Vec<&'a [u8]>);

impl expr::Array for Values<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> Option<ValueRef<'_>> {
        self.0.get(index).map(|bytes| ValueRef::Bytes(bytes))
    }
}

impl Map for HeaderFacts<'_> {
    fn len(&self) -> usize {
        self.headers.keys_len()
    }

    fn get(&self, key: &[u8]) -> Option<ValueRef<'_>> {
        // A header that is not there needs no arrays.
        let name = std::str::from_utf8(key).ok().filter(|name| self.headers.contains_key(*name))?;
        let (_, values) = self.fields().iter().find(|(field, _)| field.eq_ignore_ascii_case(name))?;
        Some(ValueRef::Array(ArrayRef::Custom(values)))
    }

    fn entry(&self, index: usize) -> Option<(&[u8], ValueRef<'_>)> {
        let (name, values) = self.fields().get(index)?;
        Some((name.as_bytes(), ValueRef::Array(ArrayRef::Custom(values))))
    }
}

#[cfg(test)]
mod tests {
    use expr::{Map, ValueRef};
    use http::HeaderMap;

    use super::HeaderFacts;

    #[test]
    fn header_facts_are_arrays_under_lower_case_names() {
        let mut headers = HeaderMap::new();
        headers.append("X-A", "1".parse().unwrap());
        headers.append("x-a", "2".parse().unwrap());
        let facts = HeaderFacts::new(&headers);
        let Some(ValueRef::Array(values)) = facts.get(b"x-a") else { unreachable!("x-a is there") };
        assert_eq!(values.len(), 2);
        assert!(facts.get(b"x-b").is_none() && facts.get(b"\xff").is_none());
        assert_eq!(facts.entry(0).map(|(name, _)| name.to_vec()), Some(b"x-a".to_vec()));
    }
}
