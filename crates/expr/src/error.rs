//! The error of an expression that does not compile: what is wrong, where, and what was probably meant.
//! Its text has the shape users of Gateway know: a header, the line, a caret under the place.

use std::fmt;
use std::ops::Range;

/// The most characters of a source line that an error shows.
const EXCERPT: usize = 120;

/// Why an expression does not compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What is wrong, in lower case without a full stop.
    pub message: String,
    /// The bytes of the source the message is about.
    pub span: Range<usize>,
    /// The line, counted from one.
    pub line: usize,
    /// The character within the line, counted from one.
    pub column: usize,
    /// What was probably meant, to put in place of the span or to read as advice.
    pub suggestion: Option<String>,
    /// The line, and below it the caret.
    excerpt: String,
}

impl Error {
    /// Places a complaint in the source it is about.
    pub(crate) fn new(source: &str, complaint: Complaint) -> Self {
        let start = floor(source, complaint.span.start);
        let end = floor(source, complaint.span.end.max(start));
        let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = source[start..].find('\n').map_or(source.len(), |at| start + at);
        let before = &source[line_start..start];
        let column = before.chars().count() + 1;
        // Long lines are shown from a little before the place.
        let skipped = (column - 1).saturating_sub(EXCERPT / 2);
        let line = source[line_start..line_end].trim_end_matches('\r');
        let excerpt: String = line.chars().skip(skipped).take(EXCERPT).map(shown).collect();
        let lead: String = before.chars().skip(skipped).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let width = source[start..end.min(line_end).max(start)].chars().count().clamp(1, EXCERPT / 2);
        Self {
            message: complaint.message,
            span: start..end,
            line: source[..start].matches('\n').count() + 1,
            column,
            suggestion: complaint.suggestion,
            excerpt: format!("{excerpt}\n{lead}{}", "^".repeat(width)),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Filter parsing error ({}:{}):", self.line, self.column)?;
        write!(f, "{} {}", self.excerpt, self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; did you mean `{suggestion}`?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Returns the nearest character boundary at or before `at`.
fn floor(source: &str, at: usize) -> usize {
    let mut at = at.min(source.len());
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Keeps control characters of a source from reaching a terminal or a page.
fn shown(c: char) -> char {
    if c.is_control() && c != '\t' { '\u{fffd}' } else { c }
}

/// An error that has not been placed in its source yet.
#[derive(Clone, Debug)]
pub(crate) struct Complaint {
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
    pub(crate) suggestion: Option<String>,
}

impl Complaint {
    pub(crate) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), suggestion: None }
    }

    pub(crate) fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    pub(crate) fn suggest_some(mut self, suggestion: Option<impl Into<String>>) -> Self {
        self.suggestion = suggestion.map(Into::into);
        self
    }
}

/// Returns the candidate that takes the fewest edits to reach from `word`, if it is close enough to be a slip.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(200).collect();
    // One edit turns any letter into any other, so a single letter is like nothing.
    let allowed = if word.len() < 2 { 0 } else { (word.len() / 4).clamp(1, 4) };
    candidates
        .into_iter()
        .map(|candidate| (edits(&word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Counts insertions, deletions, substitutions and swaps of neighbours (optimal string alignment).
fn edits(word: &[char], candidate: &str) -> usize {
    let candidate: Vec<char> = candidate.chars().collect();
    if word.len().abs_diff(candidate.len()) > 4 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=candidate.len()).collect();
    for (i, a) in word.iter().enumerate() {
        let mut current = vec![i + 1; candidate.len() + 1];
        for (j, b) in candidate.iter().enumerate() {
            let mut cost =
                (previous[j] + usize::from(!a.eq_ignore_ascii_case(b))).min(previous[j + 1] + 1).min(current[j] + 1);
            if i > 0 && j > 0 && *a == candidate[j - 1] && word[i - 1] == *b {
                cost = cost.min(before[j - 1] + 1);
            }
            current[j + 1] = cost;
        }
        before = std::mem::replace(&mut previous, current);
    }
    previous[candidate.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_when_it_is_near() {
        let words = ["http.request.host", "http.request.uri", "matches", "in"];
        for (word, expected) in [
            ("http.request.hots", Some("http.request.host")),
            ("http.requst.uri", Some("http.request.uri")),
            ("matchs", Some("matches")),
            ("completely.different", None),
            ("im", Some("in")),
            ("i", None),
        ] {
            assert_eq!(nearest(word, words), expected, "{word}");
        }
    }

    #[test]
    fn the_caret_stands_under_the_place_on_its_own_line() {
        let source = "a == 1 and\n\té\u{7} == \"x\"";
        let at = source.find("\"x\"").unwrap();
        let error = Error::new(source, Complaint::new(at..at + 3, "is wrong").suggest("y"));
        assert_eq!(
            error.to_string(),
            "Filter parsing error (2:8):\n\té\u{fffd} == \"x\"\n\t      ^^^ is wrong; did you mean `y`?"
        );
    }

    #[test]
    fn a_long_line_is_shown_in_part() {
        let source = format!("{}!", "a".repeat(100_000));
        let error = Error::new(&source, Complaint::new(100_000..100_001, "is wrong"));
        assert_eq!(error.column, 100_001);
        assert!(error.to_string().len() < 300);
    }
}
