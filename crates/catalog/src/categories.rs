//! Which categories a host belongs to: lists of domains, merged into one index.
//!
//! It judges no host by itself; lists and the account's own words are arguments. Invariant: a host without categories of
//! its own has those of the closest parent that has any, and the number of names is bounded.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::format::check_name;
use crate::suffix::SuffixTable;
use crate::taxonomy;

/// Most names of one list.
pub const MOST_NAMES: usize = 500_000;
/// Most names of all lists of an account.
pub const MOST_NAMES_OF_ALL: usize = 1_000_000;

/// The list that ships with this version: well-known names, and those that testers use.
static OWN: &str = include_str!("../data/categories.txt");

/// Categories that hosts share: content first, then security.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Assignment {
    pub content: Vec<i64>,
    pub security: Vec<i64>,
}

/// Domains and the categories each belongs to.
#[derive(Debug, Clone, Default)]
pub struct CategoryIndex {
    names: SuffixTable<u32>,
    sets: Vec<Assignment>,
}

/// The list that ships with this version.
#[derive(Debug, Clone, Copy)]
pub struct OwnList;

impl OwnList {
    /// Gives each name of the list with its category to `take`.
    ///
    /// The format is a category's number in brackets, then names.
    pub fn each(mut take: impl FnMut(u32, &'static str)) {
        let mut category = None;
        for line in OWN.lines().filter(|line| !line.starts_with('#')) {
            match line.strip_prefix('[') {
                Some(head) => category = head.split([' ', ']']).next().and_then(|id| id.parse().ok()),
                None => line.split_whitespace().for_each(|name| {
                    if let Some(category) = category {
                        take(category, name);
                    }
                }),
            }
        }
    }
}

/// There is room for no more names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lists have more than {MOST_NAMES_OF_ALL} names together")]
pub struct TooMany;

/// Gathers lists into an index.
#[derive(Debug, Default)]
pub struct CategoryIndexBuilder {
    index: CategoryIndex,
    /// Sets by their members, in order.
    known: HashMap<Vec<u32>, u32>,
    members: Vec<Vec<u32>>,
}

impl CategoryIndexBuilder {
    /// Puts a name into a category.
    ///
    /// # Errors
    /// [`TooMany`], with what is there kept as it is.
    pub fn add(&mut self, category: u32, name: &str) -> Result<(), TooMany> {
        if self.index.names.len() >= MOST_NAMES_OF_ALL && self.index.names.get(name).is_none() {
            return Err(TooMany);
        }
        let mut members = match self.index.names.get(name) {
            Some(set) => self.members[set as usize].clone(),
            None => Vec::with_capacity(1),
        };
        if let Err(place) = members.binary_search(&category) {
            members.insert(place, category);
        }
        let set = match self.known.get(&members) {
            Some(set) => *set,
            None => {
                let set = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
                self.known.insert(members.clone(), set);
                self.index.sets.push(assignment(&members));
                self.members.push(members);
                set
            }
        };
        *self.index.names.entry(name, set) = set;
        Ok(())
    }

    /// Ends the gathering.
    #[must_use]
    pub fn finish(mut self) -> CategoryIndex {
        self.index.names.shrink();
        self.index
    }
}

fn assignment(members: &[u32]) -> Assignment {
    let (security, content) =
        members.iter().map(|id| i64::from(*id)).partition(|id| u32::try_from(*id).is_ok_and(taxonomy::is_security));
    Assignment { content, security }
}

impl CategoryIndex {
    /// Returns the index of the list that ships with this version alone.
    #[must_use]
    pub fn own() -> Arc<Self> {
        static LOADED: OnceLock<Arc<CategoryIndex>> = OnceLock::new();
        Arc::clone(LOADED.get_or_init(|| Arc::new(Self::with_own().finish())))
    }

    /// Starts an index with the list that ships with this version.
    #[must_use]
    pub fn with_own() -> CategoryIndexBuilder {
        let mut builder = CategoryIndexBuilder::default();
        // It is far smaller than the bound.
        OwnList::each(|category, name| {
            let _ = builder.add(category, name);
        });
        builder
    }

    /// Finds the categories of a host: the place of its set.
    #[must_use]
    pub fn find(&self, host: &str) -> Option<u32> {
        self.names.longest(host)
    }

    /// Returns the categories of a set.
    #[must_use]
    pub fn set(&self, place: u32) -> &Assignment {
        static NONE: Assignment = Assignment { content: Vec::new(), security: Vec::new() };
        self.sets.get(place as usize).unwrap_or(&NONE)
    }

    /// Counts the names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Tells whether there is no name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Returns the bytes the index takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.names.bytes()
    }
}

/// Says what is wrong with the list that ships with this version; tests hold that nothing is.
#[must_use]
pub fn faults_of_own() -> Vec<String> {
    let mut faults = Vec::new();
    let mut count = 0;
    OwnList::each(|category, name| {
        count += 1;
        if taxonomy::category_name(category).is_none() {
            faults.push(format!("{name}: there is no category {category}"));
        }
        if let Err(message) = check_name(name) {
            faults.push(format!("{name} {message}"));
        }
    });
    if count == 0 {
        faults.push("the list is empty".to_owned());
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::{CategoryIndex, CategoryIndexBuilder, faults_of_own};

    #[test]
    fn a_host_inherits_from_its_closest_parent_that_is_listed() {
        let mut builder = CategoryIndexBuilder::default();
        for (category, name) in [(8, "bets.test"), (117, "bets.test"), (6, "school.bets.test"), (117, "evil.test")] {
            builder.add(category, name).unwrap();
        }
        let index = builder.finish();
        for (host, content, security) in [
            ("bets.test", &[8][..], &[117][..]),
            ("www.bets.test", &[8], &[117]),
            ("a.school.bets.test", &[6], &[]),
            ("evil.test", &[], &[117]),
        ] {
            let set = index.set(index.find(host).unwrap());
            assert_eq!((&set.content[..], &set.security[..]), (content, security), "{host}");
        }
        assert_eq!(index.find("test"), None);
        assert_eq!(index.len(), 3);
    }

    #[test]
    fn the_list_that_ships_is_in_order() {
        assert_eq!(faults_of_own(), Vec::<String>::new());
        assert!(CategoryIndex::own().find("www.malware.testcategory.com").is_some());
    }
}
