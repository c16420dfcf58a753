//! Estimates how many tokens a text costs a model, without the vocabulary of one.
//!
//! Counts the pieces that the tokenizer of o200k_base parts a text into, and how many tokens pieces of a length take on
//! average. Of definitions of tools it is at most a tenth off. It is for showing, never for a bound.

/// Letters of a word that are one token, and two.
const WORD: (usize, usize) = (9, 14);
/// Letters of each token of longer words.
const PART: usize = 6;
/// Marks in a row that are one token on average: JSON is full of them.
const MARKS: usize = 5;

/// What a character begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Digit,
    Mark,
    Blank,
}

fn class(c: char) -> Class {
    match c {
        c if c.is_alphabetic() => Class::Letter,
        c if c.is_numeric() => Class::Digit,
        c if c.is_whitespace() => Class::Blank,
        _ => Class::Mark,
    }
}

/// Returns about how many tokens of o200k_base a text is.
#[must_use]
pub fn estimate(text: &str) -> u64 {
    let mut characters = text.chars().peekable();
    let mut tokens = 0;
    while let Some(first) = characters.next() {
        let kind = class(first);
        let (mut length, mut capitals) = (1, first.is_uppercase());
        while let Some(next) = characters.next_if(|next| {
            // A capital after a small letter begins a word of its own, as the tokenizer has it.
            class(*next) == kind && !(kind == Class::Letter && !capitals && next.is_uppercase())
        }) {
            capitals &= next.is_uppercase();
            length += 1;
        }
        tokens += match kind {
            Class::Letter if length <= WORD.0 => 1,
            Class::Letter if length <= WORD.1 => 2,
            Class::Letter => length.div_ceil(PART),
            Class::Digit => length.div_ceil(3),
            Class::Mark => length.div_ceil(MARKS),
            // One space belongs to the word after it.
            Class::Blank => usize::from(length > 1 || first != ' '),
        };
    }
    tokens as u64
}

#[cfg(test)]
mod tests {
    use super::estimate;
    use crate::catalog::Kind;
    use crate::fixture::{SERVERS, real};

    #[test]
    fn real_definitions_are_estimated_to_a_tenth() {
        // Counted with npm gpt-tokenizer 4.0.0, o200k_base, over the compact JSON of each list.
        for (server, counted) in SERVERS.iter().zip([2_036_u64, 2_823, 2_378, 4_413]) {
            let catalog = real(server);
            let compact = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap().to_string();
            let estimated: u64 = catalog.list(Kind::Tool).iter().map(|tool| estimate(&compact(tool.json.get()))).sum();
            assert!(estimated.abs_diff(counted) * 10 <= counted, "{server}: {estimated} for {counted}");
        }
        assert_eq!(estimate(""), 0);
    }
}
