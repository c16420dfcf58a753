//! What an account says about applications and hosts: its reviews, the edition of the catalogue it uses, its category lists.
//!
//! Shapes only; the catalogue engine gives reviews and data files their meaning. Invariant: the names of a list stand in a
//! document of their own, so that listing lists reads none of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use types::CategoryListId;

use super::document;

/// The number of an application in the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CatalogId(pub u32);

impl fmt::Display for CatalogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for CatalogId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// The account's view of one application.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CatalogReview(pub catalog::review::Review);

document!(CatalogReview, CatalogReview, id CatalogId, ReadGateway / WriteGateway {
    const MAX_COUNT: usize = 50_000;
});

/// An edition of the catalogue in place of the one that ships with the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogEdition {
    /// Its version, as its header says.
    pub version: String,
    /// The data file, as it was given.
    pub data: String,
}

document!(CatalogEdition, CatalogEdition, id crate::document::Only, ReadGateway / WriteGateway {
    const MAX_BYTES: usize = 24 * 1024 * 1024;
    const MAX_COUNT: usize = 1;
});

/// A list of domains that belong to a category.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CategoryList {
    /// What people call it.
    pub name: String,
    /// The category.
    pub category: u32,
    /// How many names it has.
    pub names: u64,
    /// The format it was imported from.
    pub format: String,
    /// Lines that were left out when it was imported, by reason.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub skipped: std::collections::BTreeMap<String, u64>,
}

document!(CategoryList, CategoryList, id CategoryListId, ReadGateway / WriteGateway {
    const MAX_COUNT: usize = 100;

    fn unique_name(&self) -> Option<&str> {
        Some(&self.name)
    }
});

/// The names of a list, one a line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CategoryNames(pub String);

document!(CategoryNames, CategoryNames, id CategoryListId, ReadGateway / WriteGateway {
    const MAX_BYTES: usize = 24 * 1024 * 1024;
    const MAX_COUNT: usize = 100;
});
