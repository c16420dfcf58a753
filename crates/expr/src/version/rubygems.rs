//! RubyGems' order, `Gem::Version`: numbers and words, where a word comes before any number.

use std::cmp::Ordering;

use super::{compare_digits, is_digits, split_digits};

/// Orders two versions.
pub(super) fn compare(a: &str, b: &str) -> Option<Ordering> {
    let (a, b) = (parse(a)?, parse(b)?);
    let (mut left, mut right) = (canonical(a), canonical(b));
    loop {
        let ordering = match (left.next(), right.next()) {
            (None, None) => return Some(Ordering::Equal),
            (a, b) => {
                let (a, b) = (a.unwrap_or("0"), b.unwrap_or("0"));
                match (is_digits(a), is_digits(b)) {
                    (true, true) => compare_digits(a, b),
                    (false, false) => a.cmp(b),
                    (a, b) => a.cmp(&b),
                }
            }
        };
        if ordering.is_ne() {
            return Some(ordering);
        }
    }
}

fn parse(text: &str) -> Option<&str> {
    let text = text.trim();
    let (release, rest) = match text.split_once('-') {
        Some((release, rest)) => (release, Some(rest)),
        None => (text, None),
    };
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
    let dashed = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let valid = release.split('.').next().is_some_and(is_digits)
        && release.split('.').all(word)
        && rest.is_none_or(|rest| rest.split('.').all(dashed));
    valid.then_some(text)
}

/// Leaves out the zeros that end the leading numbers, so that `1.0.a` is `1.a`.
fn canonical(text: &str) -> impl Iterator<Item = &str> {
    let numbers = Segments(text).take_while(|segment| is_digits(segment)).count();
    let kept = Segments(text)
        .take(numbers)
        .enumerate()
        .filter(|(_, segment)| segment.bytes().any(|b| b != b'0'))
        .last()
        .map_or(0, |(index, _)| index + 1);
    Segments(text).take(kept).chain(Segments(text).skip(numbers))
}

/// The runs of digits and of letters; a dash is the word `pre`.
struct Segments<'a>(&'a str);

impl<'a> Iterator for Segments<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.0 = self.0.strip_prefix('.').unwrap_or(self.0);
        if let Some(rest) = self.0.strip_prefix('-') {
            self.0 = rest;
            return Some("pre");
        }
        let (digits, rest) = split_digits(self.0);
        if !digits.is_empty() {
            self.0 = rest;
            return Some(digits);
        }
        let end = self.0.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(self.0.len());
        let (letters, rest) = self.0.split_at(end);
        self.0 = rest;
        (!letters.is_empty()).then_some(letters)
    }
}
