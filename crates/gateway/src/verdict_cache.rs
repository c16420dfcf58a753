//! Answers of Workers that may be used again, per script version and the facts the rule names as key.
//!
//! It holds what is small and safe to repeat: no opinion, header changes, short responses. Invariant: bounded in bytes,
//! an entry never outlives its rule's `ttl_s`, and the key holds the facts themselves, not a hash of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use expr::{Fact, Facts, FieldId, ValueRef};
use http::{HeaderMap, StatusCode};
use moka::sync::Cache;
use tokio::time::Instant;

/// Longest body of a response that is kept.
pub(crate) const MOST_BODY: usize = 16 << 10;

/// Most bytes of all entries.
const MOST_BYTES: u64 = 32 << 20;

/// An answer that may be repeated.
#[derive(Debug, Clone)]
pub(crate) enum Remembered {
    NoOpinion,
    Response {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    },
    /// The request goes on with these headers in place of its own.
    Headers(HeaderChange),
}

/// The difference a Worker made to the headers of a request.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct HeaderChange {
    pub(crate) removed: Vec<http::HeaderName>,
    pub(crate) set: HeaderMap,
}

impl HeaderChange {
    /// Computes what turns `before` into `after`.
    pub(crate) fn between(before: &HeaderMap, after: &HeaderMap) -> Self {
        let removed = before.keys().filter(|name| !after.contains_key(*name)).cloned().collect();
        let mut set = HeaderMap::new();
        for name in after.keys() {
            if !before.get_all(name).iter().eq(after.get_all(name).iter()) {
                for value in after.get_all(name) {
                    set.append(name.clone(), value.clone());
                }
            }
        }
        Self { removed, set }
    }

    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.removed {
            headers.remove(name);
        }
        for name in self.set.keys() {
            headers.remove(name);
            for value in self.set.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
    }
}

/// A script version, a rule and the facts it names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key(Box<[u8]>);

#[derive(Debug, Clone)]
struct Entry {
    remembered: Arc<Remembered>,
    until: Instant,
    size: u32,
}

#[derive(Debug)]
pub(crate) struct VerdictCache {
    entries: Cache<Key, Entry>,
}

impl VerdictCache {
    pub(crate) fn new(entries: u64) -> Self {
        // Moka weighs or counts; the bound on bytes follows from both by the smallest weight of an entry.
        let least = u32::try_from(MOST_BYTES / entries.max(1)).unwrap_or(u32::MAX);
        let entries = Cache::builder()
            .max_capacity(MOST_BYTES)
            .weigher(move |key: &Key, entry: &Entry| {
                entry.size.saturating_add(u32::try_from(key.0.len()).unwrap_or(u32::MAX)).max(least)
            })
            .build();
        Self { entries }
    }

    pub(crate) fn find(&self, key: &Key) -> Option<Arc<Remembered>> {
        let entry = self.entries.get(key)?;
        (Instant::now() < entry.until).then_some(entry.remembered)
    }

    pub(crate) fn keep(&self, key: Key, remembered: Remembered, ttl: Duration) {
        let size = match &remembered {
            Remembered::NoOpinion => 0,
            Remembered::Response { headers, body, .. } => header_bytes(headers) + body.len(),
            Remembered::Headers(change) => header_bytes(&change.set) + change.removed.len() * 32,
        };
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        self.entries.insert(key, Entry { remembered: Arc::new(remembered), until: Instant::now() + ttl, size });
    }
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

/// Writes the key: script version, rule, then each fact with its type and length, so that no two keys run together.
///
/// Returns nothing when a fact is not known, because the answer might depend on it.
pub(crate) fn key(script: &worker::ScriptKey, rule: &str, fields: &[FieldId], facts: &dyn Facts) -> Option<Key> {
    let mut key = Vec::with_capacity(128);
    write_bytes(&mut key, script.account.0.as_bytes());
    write_bytes(&mut key, script.name.as_bytes());
    write_bytes(&mut key, script.version.as_bytes());
    write_bytes(&mut key, rule.as_bytes());
    for field in fields {
        match facts.fact(*field) {
            Fact::Unknown => return None,
            Fact::Absent => key.push(0),
            Fact::Known(value) => write_value(&mut key, value),
        }
    }
    Some(Key(key.into()))
}

fn write_bytes(key: &mut Vec<u8>, bytes: &[u8]) {
    key.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    key.extend_from_slice(bytes);
}

fn write_value(key: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Bool(value) => key.extend_from_slice(&[1, u8::from(value)]),
        ValueRef::Int(value) => {
            key.push(2);
            key.extend_from_slice(&value.to_le_bytes());
        }
        ValueRef::Bytes(bytes) => {
            key.push(3);
            write_bytes(key, bytes);
        }
        ValueRef::Ip(address) => {
            key.push(4);
            write_bytes(key, address.to_string().as_bytes());
        }
        ValueRef::Version(version) => {
            key.push(5);
            write_bytes(key, format!("{version:?}").as_bytes());
        }
        ValueRef::Array(items) => {
            key.push(6);
            key.extend_from_slice(&(items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| write_value(key, item));
        }
        ValueRef::Map(entries) => {
            key.push(7);
            key.extend_from_slice(&(entries.len() as u64).to_le_bytes());
            for (name, item) in entries.iter() {
                write_bytes(key, name);
                write_value(key, item);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expr::{Fact, Facts, FieldId, ValueRef};
    use http::HeaderMap;
    use types::AccountId;

    use super::{HeaderChange, Key, Remembered, VerdictCache, key};

    struct Texts(Vec<Option<&'static str>>);

    impl Facts for Texts {
        fn fact(&self, field: FieldId) -> Fact<'_> {
            match self.0[usize::from(field.0)] {
                Some("?") => Fact::Unknown,
                Some(text) => Fact::Known(ValueRef::from(text)),
                None => Fact::Absent,
            }
        }
    }

    fn written(facts: &[Option<&'static str>]) -> Option<Key> {
        let script =
            worker::ScriptKey { account: AccountId(uuid::Uuid::nil()), name: "a".to_owned(), version: "1".to_owned() };
        let fields: Vec<_> = (0..facts.len()).map(|index| FieldId(u16::try_from(index).unwrap())).collect();
        key(&script, "rule", &fields, &Texts(facts.to_vec()))
    }

    #[test]
    fn different_facts_never_share_a_key() {
        let keys = [
            written(&[Some("ab"), Some("c")]),
            written(&[Some("a"), Some("bc")]),
            written(&[Some("abc"), None]),
            written(&[None, Some("abc")]),
            written(&[Some(""), Some("abc")]),
        ];
        for (at, one) in keys.iter().enumerate() {
            assert!(one.is_some() && keys.iter().skip(at + 1).all(|other| other != one));
        }
        assert_eq!(written(&[Some("a"), Some("?")]), None, "an unknown fact makes no key");
    }

    #[test]
    fn header_changes_replay_on_other_requests() {
        let map = |fields: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in fields {
                map.append(*name, value.parse().unwrap());
            }
            map
        };
        let before = map(&[("a", "1"), ("b", "1"), ("c", "1"), ("c", "2")]);
        let after = map(&[("a", "1"), ("c", "2"), ("c", "1"), ("d", "x")]);
        let change = HeaderChange::between(&before, &after);
        let mut other = map(&[("a", "9"), ("b", "9"), ("c", "9"), ("e", "9")]);
        change.apply(&mut other);
        assert_eq!(other, map(&[("a", "9"), ("c", "2"), ("c", "1"), ("d", "x"), ("e", "9")]));
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_ends_with_its_time_to_live() {
        let cache = VerdictCache::new(100);
        cache.keep(Key(Box::from(*b"k")), Remembered::NoOpinion, Duration::from_secs(5));
        assert!(cache.find(&Key(Box::from(*b"k"))).is_some());
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(cache.find(&Key(Box::from(*b"k"))).is_none());
    }
}
