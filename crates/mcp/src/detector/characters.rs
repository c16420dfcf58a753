//! Characters that nobody sees, and words in letters of several scripts.
//!
//! Writing systems and emoji keep what they need. Invariant: plain text of one script is never flagged here.

use unicode_security::MixedScript as _;

use super::text::{ascii_twin, vanishes};
use super::{Found, Reason};
use crate::neutralise::is_hidden;

/// Letters that a word needs before it is held to imitate another.
const WORD: usize = 3;
/// Characters shown around one that is not seen.
const AROUND: usize = 20;

pub(super) fn look(text: &str, place: &str, found: &mut Found) {
    if text.is_ascii() {
        if let Some(at) = text.find(is_hidden) {
            found.add(Reason::Invisible, place, around(text, at));
        }
        return;
    }
    if let Some(at) = invisible(text) {
        found.add(Reason::Invisible, place, around(text, at));
    }
    if let Some(word) = text.split(|c: char| !c.is_alphanumeric()).find(|word| imitates(word)) {
        found.add(Reason::MixedScript, place, word);
    }
}

/// Whether a word is meant to be read as another one: of several scripts, and ASCII to the eye.
pub(super) fn imitates(word: &str) -> bool {
    !word.is_ascii()
        && word.chars().count() >= WORD
        && word.chars().any(|c| c.is_ascii_alphabetic())
        && word.chars().all(|c| c.is_ascii() || ascii_twin(c).is_some())
        && !word.is_single_script()
}

/// Returns where the first character stands that is not seen and that no writing system needs there.
fn invisible(text: &str) -> Option<usize> {
    let mut before: Option<char> = None;
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        let after = characters.peek().map(|(_, c)| *c);
        let plain = |c: Option<char>| c.is_none_or(|c| c.is_ascii() || vanishes(c));
        let out_of_place = match c {
            // Joiners and marks of direction belong between letters of scripts that join, or emoji.
            '\u{200C}' | '\u{200D}' | '\u{200E}' | '\u{200F}' => plain(before) && plain(after),
            // A selector belongs to the character before it; digits have emoji too.
            '\u{FE00}'..='\u{FE0F}' => {
                before.is_none_or(|c| vanishes(c) || (c.is_ascii() && !matches!(c, '0'..='9' | '#' | '*')))
            }
            _ => is_hidden(c),
        };
        if out_of_place {
            return Some(at);
        }
        before = Some(c);
    }
    None
}

/// The text from a little before a place on: what is hidden mostly follows.
fn around(text: &str, at: usize) -> &str {
    let start = text.get(..at).and_then(|before| before.char_indices().rev().nth(AROUND).map(|(start, _)| start));
    text.get(start.unwrap_or(0)..).unwrap_or_default()
}
