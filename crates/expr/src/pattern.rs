//! Regular expressions and wildcards, compiled once per expression however often they stand in it.
//! Matching takes time linear in the text: both become finite automata over bytes, without Unicode classes.

use std::collections::HashMap;

use regex::bytes::{Regex, RegexBuilder};

use crate::ast::Test;
use crate::limits::Limits;

/// The compiled patterns of one expression.
#[derive(Default)]
pub(crate) struct Patterns(HashMap<(Kind, String), Regex>);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Regex,
    Wildcard,
    StrictWildcard,
}

impl Patterns {
    /// Compiles the pattern of `test`, or says what is wrong with it.
    pub(crate) fn add(&mut self, test: &Test, limits: &Limits) -> Result<(), String> {
        let Some(key) = key(test) else { return Ok(()) };
        if self.0.contains_key(&key) {
            return Ok(());
        }
        let (kind, pattern) = &key;
        let (source, insensitive) = match kind {
            Kind::Regex => (pattern.clone(), false),
            Kind::Wildcard => (wildcard(pattern)?, true),
            Kind::StrictWildcard => (wildcard(pattern)?, false),
        };
        let regex = RegexBuilder::new(&source)
            .unicode(false)
            .case_insensitive(insensitive)
            .size_limit(limits.regex_bytes)
            .dfa_size_limit(limits.regex_cache_bytes)
            .build()
            .map_err(|error| complaint(&error))?;
        self.0.insert(key, regex);
        Ok(())
    }

    /// Returns the compiled pattern of `test`.
    pub(crate) fn get(&self, test: &Test) -> Option<Regex> {
        self.0.get(&key(test)?).cloned()
    }
}

fn key(test: &Test) -> Option<(Kind, String)> {
    match test {
        Test::Matches(pattern) => Some((Kind::Regex, pattern.clone())),
        Test::Wildcard { pattern, strict: true } => Some((Kind::StrictWildcard, pattern.clone())),
        Test::Wildcard { pattern, strict: false } => Some((Kind::Wildcard, pattern.clone())),
        Test::Order(..) | Test::In(_) | Test::InList(_) | Test::Contains(_) | Test::Bits(_) => None,
    }
}

/// Rewrites a wildcard as the regular expression of the whole text: `*` is anything, `\*` and `\\` are themselves.
fn wildcard(pattern: &str) -> Result<String, String> {
    let mut source = String::from("(?s)\\A");
    let mut characters = pattern.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '*' if characters.peek() == Some(&'*') => return Err("a wildcard takes no `**`".to_owned()),
            '*' => source.push_str(".*"),
            '\\' => match characters.next() {
                Some(escaped @ ('*' | '\\')) => source.push_str(&regex::escape(&escaped.to_string())),
                _ => return Err("in a wildcard a backslash stands before `*` or another backslash".to_owned()),
            },
            other => source.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    source.push_str("\\z");
    Ok(source)
}

/// Puts the engine's complaint on one line.
fn complaint(error: &regex::Error) -> String {
    if let regex::Error::CompiledTooBig(limit) = error {
        return format!("the pattern takes more than {limit} bytes once compiled");
    }
    let text = error.to_string();
    let reason = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let reason = reason.trim().trim_start_matches("error: ");
    format!("this is not a regular expression: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(test: &Test, text: &[u8]) -> bool {
        let mut patterns = Patterns::default();
        patterns.add(test, &Limits::default()).unwrap();
        patterns.get(test).unwrap().is_match(text)
    }

    #[test]
    fn wildcards_cover_the_whole_text() {
        for (pattern, strict, text, expected) in [
            ("*.example.com", false, "a.EXAMPLE.com", true),
            ("*.example.com", true, "a.EXAMPLE.com", false),
            ("*.example.com", true, "a.example.com.evil", false),
            ("*.example.com", true, "axexample.com", false),
            ("/a/*/c", true, "/a/b\n/c", true),
            ("\\*", true, "*", true),
            ("\\*", true, "x", false),
            ("a\\\\b", true, "a\\b", true),
            ("", true, "", true),
            ("*", true, "", true),
        ] {
            let test = Test::Wildcard { pattern: pattern.to_owned(), strict };
            assert_eq!(matches(&test, text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn regular_expressions_read_bytes() {
        assert!(matches(&Test::Matches("^a.c$".to_owned()), b"a\xffc"));
        assert!(matches(&Test::Matches("\u{e9}".to_owned()), "caf\u{e9}".as_bytes()));
        assert!(!matches(&Test::Matches("^\\w$".to_owned()), "\u{e9}".as_bytes()));
    }

    #[test]
    fn broken_patterns_are_explained() {
        let explain = |test: &Test| Patterns::default().add(test, &Limits::default()).unwrap_err();
        assert_eq!(explain(&Test::Matches("(a".to_owned())), "this is not a regular expression: unclosed group");
        assert_eq!(
            explain(&Test::Matches("(?:\\w{1000}){1000}".to_owned())),
            "the pattern takes more than 10485760 bytes once compiled"
        );
        let wildcard = |pattern: &str| Test::Wildcard { pattern: pattern.to_owned(), strict: true };
        assert_eq!(explain(&wildcard("a**")), "a wildcard takes no `**`");
        assert!(explain(&wildcard("a\\d")).contains("backslash"));
    }
}
