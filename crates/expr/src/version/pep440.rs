//! Python's versions, PEP 440, in every spelling it normalises.

use std::cmp::Ordering;

use super::{compare_digits, is_digits, split_digits};

struct Parts<'a> {
    epoch: &'a str,
    release: &'a str,
    /// The phase (alpha, beta, release candidate) and its number.
    pre: Option<(u8, &'a str)>,
    post: Option<&'a str>,
    dev: Option<&'a str>,
    local: Option<&'a str>,
}

/// Orders two versions.
pub(super) fn compare(a: &str, b: &str) -> Option<Ordering> {
    let (a, b) = (parse(a)?, parse(b)?);
    Some(
        compare_digits(a.epoch, b.epoch)
            .then_with(|| compare_release(a.release, b.release))
            .then_with(|| a.phase().cmp(&b.phase()).then_with(|| compare_digits(a.pre_number(), b.pre_number())))
            .then_with(|| compare_optional(a.post, b.post))
            .then_with(|| compare_dev(a.dev, b.dev))
            .then_with(|| compare_local(a.local, b.local)),
    )
}

impl Parts<'_> {
    /// Ranks a development release of the final version below every pre-release of it.
    fn phase(&self) -> u8 {
        match (self.pre, self.post, self.dev) {
            (Some((phase, _)), _, _) => phase,
            (None, None, Some(_)) => 0,
            (None, _, _) => 4,
        }
    }

    fn pre_number(&self) -> &str {
        self.pre.map_or("", |(_, number)| number)
    }
}

fn parse(text: &str) -> Option<Parts<'_>> {
    let text = text.trim();
    let text = strip_word(text, "v").unwrap_or(text);
    let (text, local) = match text.split_once('+') {
        Some((text, local)) => (text, Some(local)),
        None => (text, None),
    };
    let in_local = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
    if !local.is_none_or(|local| local.split(['.', '-', '_']).all(in_local)) {
        return None;
    }
    let (epoch, text) = match text.split_once('!') {
        Some((epoch, text)) if is_digits(epoch) => (epoch, text),
        Some(_) => return None,
        None => ("0", text),
    };
    let (release, mut rest) = split_release(text)?;
    let pre = take_pre(&mut rest);
    let post = take_post(&mut rest);
    let dev = take_word(&mut rest, &["dev"]);
    rest.is_empty().then_some(Parts { epoch, release, pre, post, dev, local })
}

/// Splits off `N(.N)*`.
fn split_release(text: &str) -> Option<(&str, &str)> {
    let mut end = split_digits(text).0.len();
    if end == 0 {
        return None;
    }
    while let Some(next) = text[end..].strip_prefix('.') {
        let digits = split_digits(next).0.len();
        if digits == 0 {
            break;
        }
        end += 1 + digits;
    }
    Some(text.split_at(end))
}

fn take_pre<'a>(rest: &mut &'a str) -> Option<(u8, &'a str)> {
    let phases: [(u8, &[&str]); 3] = [(1, &["alpha", "a"]), (2, &["beta", "b"]), (3, &["rc", "c", "preview", "pre"])];
    phases.into_iter().find_map(|(phase, words)| take_word(rest, words).map(|number| (phase, number)))
}

fn take_post<'a>(rest: &mut &'a str) -> Option<&'a str> {
    // `1.0-1` is an implicit post-release.
    if let Some(after) = rest.strip_prefix('-')
        && let (digits, after) = split_digits(after)
        && !digits.is_empty()
    {
        *rest = after;
        return Some(digits);
    }
    take_word(rest, &["post", "rev", "r"])
}

/// Takes one of `words` and the number after it, each with an optional separator before it; no number is zero.
fn take_word<'a>(rest: &mut &'a str, words: &[&str]) -> Option<&'a str> {
    let bare = rest.strip_prefix(['.', '-', '_']).unwrap_or(rest);
    let after = words.iter().find_map(|word| strip_word(bare, word))?;
    let numbered = after.strip_prefix(['.', '-', '_']).unwrap_or(after);
    let (digits, remaining) = split_digits(numbered);
    if digits.is_empty() {
        *rest = after;
        return Some("0");
    }
    *rest = remaining;
    Some(digits)
}

fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let head = text.get(..word.len())?;
    head.eq_ignore_ascii_case(word).then(|| &text[word.len()..])
}

/// Orders release numbers; missing ones are zero.
fn compare_release(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let ordering = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (a, b) => compare_digits(a.unwrap_or("0"), b.unwrap_or("0")),
        };
        if ordering.is_ne() {
            return ordering;
        }
    }
}

fn compare_optional(a: Option<&str>, b: Option<&str>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => compare_digits(a, b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

/// Orders development releases, which come before what they lead up to.
fn compare_dev(a: Option<&str>, b: Option<&str>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => compare_digits(a, b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

fn compare_local(a: Option<&str>, b: Option<&str>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => {
            let (mut a, mut b) = (a.split(['.', '-', '_']), b.split(['.', '-', '_']));
            loop {
                let ordering = match (a.next(), b.next()) {
                    (None, None) => return Ordering::Equal,
                    (Some(a), Some(b)) => compare_segment(a, b),
                    (a, b) => return a.is_some().cmp(&b.is_some()),
                };
                if ordering.is_ne() {
                    return ordering;
                }
            }
        }
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

fn compare_segment(a: &str, b: &str) -> Ordering {
    match (is_digits(a), is_digits(b)) {
        (true, true) => compare_digits(a, b),
        (false, false) => a.bytes().map(|b| b.to_ascii_lowercase()).cmp(b.bytes().map(|b| b.to_ascii_lowercase())),
        (a, b) => a.cmp(&b),
    }
}
