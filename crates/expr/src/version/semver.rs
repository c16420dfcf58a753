//! Semantic Versioning 2.0.0, and NuGet's variant of it.
//! Build metadata has no part in the order, and numbers left out are zero.

use std::cmp::Ordering;

use super::{compare_digits, is_digits};

/// Where the variants differ.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    numbers: usize,
    ignore_case: bool,
}

impl Rules {
    pub(super) const STRICT: Self = Self { numbers: 3, ignore_case: false };
    pub(super) const NUGET: Self = Self { numbers: 4, ignore_case: true };
}

struct Parts<'a> {
    numbers: [&'a str; 4],
    prerelease: Option<&'a str>,
}

/// Orders two versions.
pub(super) fn compare(a: &str, b: &str, rules: Rules) -> Option<Ordering> {
    let (a, b) = (parse(a, rules)?, parse(b, rules)?);
    let numbers = a.numbers.iter().zip(b.numbers).map(|(a, b)| compare_digits(a, b));
    let numbers = numbers.fold(Ordering::Equal, Ordering::then);
    Some(numbers.then_with(|| match (a.prerelease, b.prerelease) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => compare_identifiers(a, b, rules),
    }))
}

fn parse(text: &str, rules: Rules) -> Option<Parts<'_>> {
    let (text, build) = match text.split_once('+') {
        Some((text, build)) => (text, Some(build)),
        None => (text, None),
    };
    let (core, prerelease) = match text.split_once('-') {
        Some((core, prerelease)) => (core, Some(prerelease)),
        None => (text, None),
    };
    let identifiers = |text: &str| {
        text.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
    };
    if !build.is_none_or(identifiers) || !prerelease.is_none_or(identifiers) {
        return None;
    }
    let mut numbers = ["0"; 4];
    for (index, number) in core.split('.').enumerate() {
        if index >= rules.numbers || !is_digits(number) {
            return None;
        }
        *numbers.get_mut(index)? = number;
    }
    Some(Parts { numbers, prerelease })
}

/// Orders the identifiers of two pre-releases (section 11.4 of the specification).
fn compare_identifiers(a: &str, b: &str, rules: Rules) -> Ordering {
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    loop {
        let ordering = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => match (is_digits(a), is_digits(b)) {
                (true, true) => compare_digits(a, b),
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
                (false, false) if rules.ignore_case => compare_ignoring_case(a, b),
                (false, false) => a.cmp(b),
            },
        };
        if ordering.is_ne() {
            return ordering;
        }
    }
}

fn compare_ignoring_case(a: &str, b: &str) -> Ordering {
    a.bytes().map(|b| b.to_ascii_lowercase()).cmp(b.bytes().map(|b| b.to_ascii_lowercase()))
}
