//! Named lists, compiled for membership, and the trait an expression is bound to them through.
//! Decides what each kind of list matches; who owns a list and how it is stored is the host's affair.
//! A list is immutable: a change makes a new one, and expressions are compiled anew.

use std::fmt;
use std::sync::Arc;

use crate::literal;
use crate::set::{BytesSet, IpSet, RangeSet};
use crate::value::{Type, ValueRef};

/// The most items one list can hold.
pub const MAX_LIST_ITEMS: usize = 1_000_000;

/// How the items of a list are read and matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// Exact byte strings: serial numbers, e-mail addresses, identifiers.
    Strings,
    /// Domains: each matches itself and every name below it, in any case.
    Domains,
    /// URLs without regard to one trailing slash; an item without a scheme matches under `http` and `https`.
    Urls,
    /// Addresses, networks `10.0.0.0/8` and ranges `10.0.0.1..10.0.0.9`.
    Ips,
    /// Numbers and ranges `8000..9000`: categories, ports.
    Ints,
}

/// Finds the lists of an account by name while an expression is compiled.
pub trait Lists {
    /// Returns the list called `name`; a UUID arrives in lower case.
    fn list(&self, name: &str) -> Option<Arc<List>>;
}

/// No lists at all.
impl Lists for () {
    fn list(&self, _name: &str) -> Option<Arc<List>> {
        None
    }
}

impl Lists for std::collections::HashMap<String, Arc<List>> {
    fn list(&self, name: &str) -> Option<Arc<List>> {
        self.get(name).cloned()
    }
}

/// A compiled list.
pub struct List {
    kind: ListKind,
    len: usize,
    members: Members,
}

enum Members {
    Bytes(BytesSet),
    Ips(IpSet),
    Ints(RangeSet<i64>),
    Unknown,
}

impl List {
    /// Stands for a list that exists elsewhere: it goes with values of every type a list can hold, and whether a value is
    /// in it is unknown, as if the value itself were.
    #[must_use]
    pub const fn unknown() -> Self {
        Self { kind: ListKind::Strings, len: 0, members: Members::Unknown }
    }

    /// Tells whether the items are not known.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        matches!(self.members, Members::Unknown)
    }

    /// Compiles a list.
    ///
    /// # Errors
    /// If an item cannot be read as the kind asks, or there are more than [`MAX_LIST_ITEMS`].
    pub fn new<I, S>(kind: ListKind, items: I) -> Result<Self, ListError>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        let (mut texts, mut ips, mut ints) = (Vec::new(), Vec::new(), Vec::new());
        let mut len = 0;
        for item in items {
            if len == MAX_LIST_ITEMS {
                return Err(ListError::TooLong);
            }
            let item = item.as_ref().trim();
            let bad = || ListError::BadItem { index: len, item: item.chars().take(80).collect(), kind };
            match kind {
                ListKind::Strings => texts.push(item.as_bytes().to_vec()),
                ListKind::Domains => texts.push(domain_key(item).ok_or_else(bad)?),
                ListKind::Urls => texts.push(without_slash(item.as_bytes()).to_vec()),
                ListKind::Ips => ips.push(literal::ip_range(item).ok_or_else(bad)?),
                ListKind::Ints => ints.push(literal::int_range(item).ok_or_else(bad)?),
            }
            len += 1;
        }
        let members = match kind {
            ListKind::Strings | ListKind::Domains | ListKind::Urls => Members::Bytes(texts.into_iter().collect()),
            ListKind::Ips => Members::Ips(IpSet::new(ips)),
            ListKind::Ints => Members::Ints(RangeSet::new(ints)),
        };
        Ok(Self { kind, len, members })
    }

    /// Returns how the items are matched.
    #[must_use]
    pub fn kind(&self) -> ListKind {
        self.kind
    }

    /// Returns the type of value that can be looked up; `None` if the list is not known.
    #[must_use]
    pub fn element(&self) -> Option<Type> {
        match (&self.members, self.kind) {
            (Members::Unknown, _) => None,
            (_, ListKind::Strings | ListKind::Domains | ListKind::Urls) => Some(Type::Bytes),
            (_, ListKind::Ips) => Some(Type::Ip),
            (_, ListKind::Ints) => Some(Type::Int),
        }
    }

    /// Counts the items the list was made from.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Tells whether the list has no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Tells whether `value` is matched by an item; a value of another type never is.
    #[must_use]
    pub fn contains(&self, value: ValueRef<'_>) -> bool {
        match (&self.members, value) {
            (Members::Bytes(set), ValueRef::Bytes(value)) => match self.kind {
                ListKind::Domains => contains_domain(set, value),
                ListKind::Urls => contains_url(set, value),
                ListKind::Strings | ListKind::Ips | ListKind::Ints => set.contains(value),
            },
            (Members::Ips(set), ValueRef::Ip(value)) => set.contains(value),
            (Members::Ints(set), ValueRef::Int(value)) => set.contains(value),
            _ => false,
        }
    }

    /// Visits the byte-string keys of a list of strings, domains or URLs, for an index over many rules.
    ///
    /// A domain key is in lower case without a leading or trailing dot; a URL key has no trailing slash.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let set = match &self.members {
            Members::Bytes(set) => Some(set),
            Members::Ips(_) | Members::Ints(_) | Members::Unknown => None,
        };
        set.into_iter().flat_map(BytesSet::iter)
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stored = match &self.members {
            Members::Bytes(set) => set.len(),
            Members::Ips(set) => set.len(),
            Members::Ints(set) => set.ranges().len(),
            Members::Unknown => return f.write_str("List(unknown)"),
        };
        write!(f, "List({:?}, {} items, {stored} stored)", self.kind, self.len)
    }
}

/// Reads a domain item: `example.com`, `.example.com` and `*.example.com.` mean the same.
fn domain_key(item: &str) -> Option<Vec<u8>> {
    let name = item.strip_prefix("*.").or_else(|| item.strip_prefix('.')).unwrap_or(item);
    let name = name.strip_suffix('.').unwrap_or(name);
    let plain = |b: u8| !b.is_ascii_whitespace() && !matches!(b, b'/' | b'*' | b':' | b'@');
    (!name.is_empty() && name.bytes().all(plain)).then(|| name.to_ascii_lowercase().into_bytes())
}

fn contains_domain(set: &BytesSet, host: &[u8]) -> bool {
    let host = host.strip_suffix(b".").unwrap_or(host);
    if !host.iter().any(u8::is_ascii_uppercase) {
        return contains_suffix(set, host);
    }
    // A name has at most 253 octets (RFC 1035 section 2.3.4), so the buffer serves every real host.
    let mut buffer = [0u8; 255];
    match buffer.get_mut(..host.len()) {
        Some(lower) => {
            lower.copy_from_slice(host);
            lower.make_ascii_lowercase();
            contains_suffix(set, lower)
        }
        None => contains_suffix(set, &host.to_ascii_lowercase()),
    }
}

fn contains_suffix(set: &BytesSet, host: &[u8]) -> bool {
    set.contains(host)
        || host.iter().enumerate().filter(|(_, byte)| **byte == b'.').any(|(dot, _)| set.contains(&host[dot + 1..]))
}

fn contains_url(set: &BytesSet, url: &[u8]) -> bool {
    let url = without_slash(url);
    let bare = url.strip_prefix(b"https://").or_else(|| url.strip_prefix(b"http://"));
    set.contains(url) || bare.is_some_and(|bare| set.contains(bare))
}

/// Removes one trailing slash.
pub(crate) fn without_slash(url: &[u8]) -> &[u8] {
    url.strip_suffix(b"/").unwrap_or(url)
}

/// Why a list could not be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// More items than a list can hold.
    #[error("a list holds at most {MAX_LIST_ITEMS} items")]
    TooLong,
    /// An item that is not of the list's kind.
    #[error("item {index} of the list, `{item}`, cannot be read: the list holds {kind:?}")]
    BadItem {
        /// Counted from zero.
        index: usize,
        /// The first characters of the item.
        item: String,
        /// What the list holds.
        kind: ListKind,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_matches_as_documented() {
        let cases = [
            (ListKind::Strings, "A-1 b", "A-1 b", "a-1 bb B"),
            (
                ListKind::Domains,
                "Example.com *.sub.example.org test.",
                "example.com a.b.EXAMPLE.com sub.example.org x.test test example.com.",
                "badexample.com com example.org",
            ),
            (
                ListKind::Urls,
                "example.com/a/ https://only.example/x",
                "https://example.com/a http://example.com/a/ https://only.example/x/",
                "https://example.com/A http://only.example/x https://example.com",
            ),
        ];
        for (kind, items, inside, outside) in cases {
            let list = List::new(kind, items.split(' ')).unwrap();
            assert!(!list.contains(ValueRef::from("")), "{kind:?}");
            for (texts, expected) in [(inside, true), (outside, false)] {
                for text in texts.split(' ') {
                    assert_eq!(list.contains(ValueRef::from(text)), expected, "{kind:?} {text}");
                }
            }
        }
    }

    #[test]
    fn a_host_longer_than_any_real_name_is_still_matched() {
        let list = List::new(ListKind::Domains, ["example.com"]).unwrap();
        let host = format!("{}.EXAMPLE.com", "A".repeat(400));
        assert!(list.contains(ValueRef::from(host.as_str())));
    }

    #[test]
    fn addresses_and_numbers_match_by_range() {
        let ips = List::new(ListKind::Ips, ["10.0.0.0/8", "192.0.2.1..192.0.2.4", "2001:db8::/32"]).unwrap();
        for (text, inside) in
            [("10.9.9.9", true), ("192.0.2.4", true), ("192.0.2.5", false), ("2001:db8::1", true), ("::1", false)]
        {
            assert_eq!(ips.contains(ValueRef::Ip(text.parse().unwrap())), inside, "{text}");
        }
        let ints = List::new(ListKind::Ints, ["17", "8000..9000"]).unwrap();
        for (value, inside) in [(17, true), (8500, true), (9001, false)] {
            assert_eq!(ints.contains(ValueRef::Int(value)), inside, "{value}");
        }
        assert!(!ints.contains(ValueRef::from("17")));
    }

    #[test]
    fn a_bad_item_is_named_with_its_place() {
        let error = List::new(ListKind::Ips, ["10.0.0.1", "ten"]).unwrap_err();
        assert_eq!(error.to_string(), "item 1 of the list, `ten`, cannot be read: the list holds Ips");
        assert!(List::new(ListKind::Domains, ["https://example.com/"]).is_err());
        assert!(List::new(ListKind::Ints, ["9..1"]).is_err());
    }
}
