//! Maven's order, as its reference on versions specifies it: tokens, their separators and known qualifiers.

use std::cmp::Ordering;

use super::{compare_digits, is_digits};

/// A token and whether a hyphen, or a change between digits and letters, stands before it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    hyphen: bool,
    text: String,
}

/// Orders two versions.
pub(super) fn compare(a: &str, b: &str) -> Option<Ordering> {
    let (a, b) = (parse(a)?, parse(b)?);
    for index in 0..a.len().max(b.len()) {
        let ordering = match (a.get(index), b.get(index)) {
            (Some(a), Some(b)) => compare_tokens(a, b),
            (Some(a), None) => compare_tokens(a, &null(a)),
            (None, Some(b)) => compare_tokens(&null(b), b),
            (None, None) => Ordering::Equal,
        };
        if ordering.is_ne() {
            return Some(ordering);
        }
    }
    Some(Ordering::Equal)
}

/// Returns what a shorter version is padded with: nothing, in the shape of the other's token.
fn null(other: &Token) -> Token {
    let text = if is_digits(&other.text) { "0" } else { "" };
    Token { hyphen: other.hyphen, text: text.to_owned() }
}

fn parse(text: &str) -> Option<Vec<Token>> {
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'+');
    if text.is_empty() || !text.bytes().all(valid) {
        return None;
    }
    let mut tokens = split(&text.to_ascii_lowercase());
    trim(&mut tokens);
    Some(tokens)
}

fn split(text: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut current = String::new();
    let mut hyphen = false;
    let mut finish = |current: &mut String, hyphen: bool, digit_next: bool| {
        let text = std::mem::take(current);
        let text = match text.as_str() {
            "" => "0",
            "a" if digit_next => "alpha",
            "b" if digit_next => "beta",
            "m" if digit_next => "milestone",
            "cr" => "rc",
            "ga" | "final" | "release" => "",
            other => other,
        };
        tokens.push(Token { hyphen, text: text.to_owned() });
    };
    for c in text.chars() {
        if c == '.' || c == '-' {
            finish(&mut current, hyphen, false);
            hyphen = c == '-';
            continue;
        }
        let changes = current.chars().last().is_some_and(|last| last.is_ascii_digit() != c.is_ascii_digit());
        if changes {
            finish(&mut current, hyphen, c.is_ascii_digit());
            hyphen = true;
        }
        current.push(c);
    }
    finish(&mut current, hyphen, false);
    tokens
}

/// Removes tokens that mean nothing from the end, and from before each hyphen.
fn trim(tokens: &mut Vec<Token>) {
    let mut end = tokens.len();
    while end > 0 {
        // `end` is where a run ends: the end of the version, or just before a hyphen.
        let mut start = end;
        while start > 0 && tokens.get(start - 1).is_some_and(is_null) {
            start -= 1;
        }
        tokens.drain(start..end);
        end = tokens.get(..start).and_then(|head| head.iter().rposition(|token| token.hyphen)).unwrap_or(0);
    }
}

fn is_null(token: &Token) -> bool {
    token.text.bytes().all(|b| b == b'0')
}

fn compare_tokens(a: &Token, b: &Token) -> Ordering {
    let (rank_a, rank_b) = (rank(a), rank(b));
    rank_a
        .cmp(&rank_b)
        .then_with(|| if rank_a == 0 { compare_qualifiers(&a.text, &b.text) } else { compare_digits(&a.text, &b.text) })
}

/// Ranks a qualifier below a number after a hyphen, and that below a number after a dot.
fn rank(token: &Token) -> u8 {
    match (is_digits(&token.text), token.hyphen) {
        (false, _) => 0,
        (true, true) => 1,
        (true, false) => 2,
    }
}

fn compare_qualifiers(a: &str, b: &str) -> Ordering {
    const KNOWN: [&str; 7] = ["alpha", "beta", "milestone", "rc", "snapshot", "", "sp"];
    let place = |text: &str| KNOWN.iter().position(|known| *known == text).unwrap_or(KNOWN.len());
    place(a).cmp(&place(b)).then_with(|| if place(a) == KNOWN.len() { a.cmp(b) } else { Ordering::Equal })
}
