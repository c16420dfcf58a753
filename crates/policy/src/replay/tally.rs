//! Counts of a replay, each with a bound, and whether a bound was reached.
//!
//! Counts only. Invariant: memory does not grow with the records looked at.

use std::collections::HashMap;
use std::hash::Hash;

use serde::Serialize;

/// How often each key was met, up to a number of keys.
#[derive(Debug)]
pub(super) struct Counter<K> {
    counts: HashMap<K, u64>,
    most: usize,
    /// Met when there was no room for another key.
    beyond: u64,
}

impl<K: Hash + Eq + Ord + Clone> Counter<K> {
    /// Counts up to `most` different keys.
    pub(super) fn up_to(most: usize) -> Self {
        Self { counts: HashMap::new(), most, beyond: 0 }
    }

    pub(super) fn count<Q>(&mut self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(count) = self.counts.get_mut(key) {
            *count += 1;
        } else if self.counts.len() < self.most {
            self.counts.insert(key.to_owned(), 1);
        } else {
            self.beyond += 1;
        }
    }

    /// Returns the most frequent, then in order of the key.
    pub(super) fn top(&self, most: usize) -> Vec<(K, u64)> {
        let mut all: Vec<(K, u64)> = self.counts.iter().map(|(key, count)| (key.clone(), *count)).collect();
        all.sort_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
        all.truncate(most);
        all
    }

    pub(super) fn len(&self) -> usize {
        self.counts.len()
    }

    pub(super) const fn is_exact(&self) -> bool {
        self.beyond == 0
    }
}

impl Counter<String> {
    pub(super) fn ranking(&self, most: usize) -> Ranking {
        Ranking {
            top: self.top(most).into_iter().map(|(name, records)| Named { name, records }).collect(),
            distinct: self.len(),
            exact: self.is_exact(),
        }
    }
}

/// The most frequent of something.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ranking {
    pub top: Vec<Named>,
    /// How many there are; at least this many where it is not exact.
    pub distinct: usize,
    /// Whether all of them were counted.
    pub exact: bool,
}

/// A name and how many records it is in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Named {
    pub name: String,
    pub records: u64,
}
