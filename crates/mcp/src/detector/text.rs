//! Text as rules read it, and as people may be shown it.
//!
//! Invariant: what is folded has no invisible character, no letter that only looks like one of ASCII, and single spaces.

use unicode_normalization::UnicodeNormalization as _;
use unicode_security::skeleton;

use crate::neutralise::is_hidden;

/// Folds a text: compatible forms and lookalikes become ASCII, case and invisible characters go, blanks become one space.
/// In names of members the words are parted.
pub(super) fn fold(text: &str, is_name: bool) -> String {
    let mut folded = String::with_capacity(text.len());
    let shown = text.chars().filter(|c| !vanishes(*c)).collect::<String>();
    for c in shown.nfkc() {
        if c.is_whitespace() || (is_name && matches!(c, '_' | '-' | '.')) {
            if !folded.ends_with(' ') {
                folded.push(' ');
            }
        } else if c.is_ascii() {
            folded.push(c.to_ascii_lowercase());
        } else {
            match ascii_twin(c) {
                Some(twin) => folded.push(twin.to_ascii_lowercase()),
                None if matches!(c, '’' | '‘' | 'ʼ') => folded.push('\''),
                None => folded.extend(c.to_lowercase()),
            }
        }
    }
    folded
}

/// Returns the letter or digit of ASCII that a character is easily taken for.
pub(super) fn ascii_twin(c: char) -> Option<char> {
    if c.is_ascii() {
        return None;
    }
    let mut buffer = [0; 4];
    let mut found = skeleton(c.encode_utf8(&mut buffer));
    let twin = found.next().filter(char::is_ascii_alphanumeric)?;
    found.next().is_none().then_some(twin)
}

/// Whether a character leaves no trace between those around it.
pub(super) fn vanishes(c: char) -> bool {
    (is_hidden(c) && !c.is_whitespace())
        || matches!(c, '\u{200C}' | '\u{200D}' | '\u{200E}' | '\u{200F}' | '\u{FE00}'..='\u{FE0F}')
}

/// Spells out what would not be seen. Tags are shown as the letters they stand for.
#[must_use]
pub fn spelled(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut in_tags = false;
    for c in text.chars() {
        let tag = char::from_u32(u32::from(c).wrapping_sub(0xE_0000)).filter(|c| (' '..='~').contains(c));
        if tag.is_some() != in_tags {
            shown.push_str(if in_tags { "›" } else { "‹tags: " });
            in_tags = !in_tags;
        }
        match tag {
            Some(tag) => shown.push(tag),
            None if vanishes(c) || (c.is_control() && !matches!(c, '\n' | '\t')) => {
                shown.push_str(&format!("‹U+{:04X}›", u32::from(c)));
            }
            None => shown.push(c),
        }
    }
    if in_tags {
        shown.push('›');
    }
    shown
}

/// Returns the most blanks in a row, and the most line ends among such.
pub(super) fn blanks(text: &str) -> (usize, usize) {
    let (mut run, mut ends, mut most) = (0, 0, (0, 0));
    for c in text.chars() {
        if c.is_whitespace() || c == '\u{2800}' {
            run += 1;
            ends += usize::from(c == '\n');
            most = (run.max(most.0), ends.max(most.1));
        } else {
            (run, ends) = (0, 0);
        }
    }
    most
}
