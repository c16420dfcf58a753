//! Package versions and their order in each ecosystem.
//! A text that is not a version of its ecosystem has no order, so that no comparison with it holds. Numbers are
//! compared as digits, so none is too large.

mod maven;
mod pep440;
mod rubygems;
mod semver;

use std::cmp::Ordering;

/// The rules a version is read and ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ecosystem {
    /// Semantic Versioning 2.0.0, as npm reads it: a leading `v` or `=` is passed over.
    Npm,
    /// PEP 440.
    PyPi,
    /// RubyGems' `Gem::Version`.
    RubyGems,
    /// Semantic Versioning 2.0.0.
    Cargo,
    /// Go modules: Semantic Versioning with a leading `v`.
    Go,
    /// Maven's `ComparableVersion`; the only order that allocates.
    Maven,
    /// NuGet: Semantic Versioning with an optional fourth number, in any case.
    NuGet,
}

impl Ecosystem {
    /// Finds an ecosystem by the name that `pkg.ecosystem` gives it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "npm" => Self::Npm,
            "pypi" => Self::PyPi,
            "rubygems" => Self::RubyGems,
            "cargo" => Self::Cargo,
            "go" => Self::Go,
            "maven" => Self::Maven,
            "nuget" => Self::NuGet,
            _ => return None,
        })
    }

    /// Returns the name that [`Ecosystem::named`] finds.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::PyPi => "pypi",
            Self::RubyGems => "rubygems",
            Self::Cargo => "cargo",
            Self::Go => "go",
            Self::Maven => "maven",
            Self::NuGet => "nuget",
        }
    }
}

/// The longest text that is read as a version.
const MAX_LENGTH: usize = 256;

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
    ///
    /// Numbers that a semantic version leaves out count as zero, so that `1.2` is `1.2.0`.
    #[must_use]
    pub fn compare(self, other: &str) -> Option<Ordering> {
        if self.text.len() > MAX_LENGTH || other.len() > MAX_LENGTH {
            return None;
        }
        match self.ecosystem {
            Ecosystem::Npm => {
                let clean = |text| str::trim_start_matches(text, ['v', '=']);
                semver::compare(clean(self.text), clean(other), semver::Rules::STRICT)
            }
            Ecosystem::Cargo => semver::compare(self.text, other, semver::Rules::STRICT),
            Ecosystem::Go => {
                let clean = |text: &'_ str| -> usize { usize::from(text.starts_with('v')) };
                semver::compare(&self.text[clean(self.text)..], &other[clean(other)..], semver::Rules::STRICT)
            }
            Ecosystem::NuGet => semver::compare(self.text, other, semver::Rules::NUGET),
            Ecosystem::PyPi => pep440::compare(self.text, other),
            Ecosystem::RubyGems => rubygems::compare(self.text, other),
            Ecosystem::Maven => maven::compare(self.text, other),
        }
    }
}

/// Orders two runs of digits as numbers.
fn compare_digits(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Splits off the digits that `text` starts with.
fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ecosystem_has_its_own_order() {
        // Every line rises from left to right; `=` joins equal versions.
        let cases = [
            (Ecosystem::Npm, "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0"),
            (Ecosystem::Npm, "0.9.9 v1.0.0=1.0.0+build=1.0 1.0.1 1.10.0 2 99999999999999999999999.0.0"),
            (Ecosystem::Cargo, "0.1.0 0.1.1-alpha 0.1.1 0.10.0"),
            (Ecosystem::Go, "v0.0.0-20190101000000-abcdef v0.1.0=0.1.0 v1.2.3 v2.0.0+incompatible"),
            (Ecosystem::NuGet, "1.0.0-Alpha=1.0.0-alpha 1.0.0-BETA 1.0.0=1.0.0.0 1.0.0.1 1.0.1"),
            (
                Ecosystem::PyPi,
                "1.0.dev1 1.0a1.dev1 1.0a1=1.0-ALPHA.1=1.0alpha1 1.0a2 1.0b1 1.0rc1=1.0c1 1.0=1=1.0.0=v1.0",
            ),
            (Ecosystem::PyPi, "1.0 1.0+abc 1.0+abc.1 1.0+5 1.0.post1.dev1 1.0.post1=1.0-1=1.0.r1 1.1 1.10 1!0.1"),
            (
                Ecosystem::RubyGems,
                "1.0.0.a=1.0.a=1.a 1.0.0.b2 1.0.0.b10 1.0.0-1=1.0.0.pre.1 1.0.0.rc1 1=1.0=1.0.0 1.0.1 1.10",
            ),
            (
                Ecosystem::Maven,
                "1.0-alpha-1=1.0alpha1=1.0a1 1.0-beta-1 1.0-m1=1.0-milestone-1 1.0-rc1=1.0-cr1 1.0-SNAPSHOT 1.0=1=1.0.0=1-ga=1-final",
            ),
            (Ecosystem::Maven, "1.0 1.0-sp1 1.0-xyz 1-1 1.1 1.2 1.10 2"),
        ];
        for (ecosystem, line) in cases {
            let groups: Vec<Vec<&str>> = line.split(' ').map(|group| group.split('=').collect()).collect();
            for (i, left) in groups.iter().enumerate() {
                for (j, right) in groups.iter().enumerate() {
                    for (a, b) in left.iter().flat_map(|a| right.iter().map(move |b| (*a, *b))) {
                        let version = Version { ecosystem, text: a };
                        assert_eq!(version.compare(b), Some(i.cmp(&j)), "{ecosystem:?} {a} {b}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_read_has_no_order() {
        for (ecosystem, text) in [
            (Ecosystem::Npm, "latest"),
            (Ecosystem::Npm, "1.2.3.4"),
            (Ecosystem::Npm, "1.2.3-"),
            (Ecosystem::Npm, "1.2.3-a..b"),
            (Ecosystem::Npm, ""),
            (Ecosystem::Cargo, "v1.2.3"),
            (Ecosystem::Go, "vv1"),
            (Ecosystem::NuGet, "1.2.3.4.5"),
            (Ecosystem::PyPi, "1.0-foo"),
            (Ecosystem::PyPi, "1..0"),
            (Ecosystem::PyPi, "1.0+"),
            (Ecosystem::PyPi, "!1.0"),
            (Ecosystem::RubyGems, "a1"),
            (Ecosystem::RubyGems, "1..0"),
            (Ecosystem::RubyGems, "1.0-"),
            (Ecosystem::Maven, ""),
            (Ecosystem::Maven, "1 2"),
            (Ecosystem::Maven, "${version}"),
        ] {
            assert_eq!(Version { ecosystem, text }.compare(text), None, "{ecosystem:?} {text}");
            assert_eq!(Version { ecosystem, text: "1.0" }.compare(text), None, "{ecosystem:?} {text}");
        }
        let long = format!("1.{}", "0".repeat(300));
        assert_eq!(Version { ecosystem: Ecosystem::Npm, text: &long }.compare("1.0.0"), None);
    }

    #[test]
    fn names_lead_back_to_their_ecosystem() {
        for name in ["npm", "pypi", "rubygems", "cargo", "go", "maven", "nuget"] {
            assert_eq!(Ecosystem::named(name).map(Ecosystem::name), Some(name));
        }
        assert_eq!(Ecosystem::named("NPM"), None);
    }
}
