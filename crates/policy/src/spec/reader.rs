//! Reads JSON objects strictly: every fault is collected with its pointer, and an unknown member is answered with the
//! closest known one. Decides nothing about rules. Invariant: a member that is absent or null reads as `None`.

use serde_json::{Map, Value};

use super::SpecError;

/// The faults found so far, bounded so that a hostile document cannot grow the answer without limit.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    list: Vec<SpecError>,
}

const MAX_PROBLEMS: usize = 50;

impl Problems {
    pub(crate) fn add(&mut self, pointer: &str, message: impl Into<String>) {
        self.push(SpecError { pointer: pointer.to_owned(), message: message.into(), suggestion: None });
    }

    pub(crate) fn push(&mut self, error: SpecError) {
        if self.list.len() < MAX_PROBLEMS {
            self.list.push(error);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn into_vec(self) -> Vec<SpecError> {
        self.list
    }
}

/// One JSON object being read.
pub(crate) struct Reader<'v, 'p> {
    pointer: String,
    members: &'v Map<String, Value>,
    problems: &'p mut Problems,
}

impl<'v, 'p> Reader<'v, 'p> {
    /// Opens `value` as an object whose members are among `known`; `tolerated` members are skipped without a word.
    pub(crate) fn open(
        value: &'v Value,
        pointer: &str,
        known: &[&str],
        tolerated: &[&str],
        problems: &'p mut Problems,
    ) -> Option<Self> {
        let Value::Object(members) = value else {
            problems.add(pointer, format!("must be an object, not {}", describe(value)));
            return None;
        };
        for name in members.keys() {
            if !known.contains(&name.as_str()) && !tolerated.contains(&name.as_str()) {
                problems.push(SpecError {
                    pointer: join(pointer, name),
                    message: format!("unknown member `{}`", shorten(name)),
                    suggestion: closest(name, known.iter().copied()),
                });
            }
        }
        Some(Self { pointer: pointer.to_owned(), members, problems })
    }

    /// Opens the member `name` as an object.
    pub(crate) fn object(&mut self, name: &str, known: &[&str]) -> Option<Reader<'v, '_>> {
        let value = self.get(name)?;
        let pointer = self.at(name);
        Reader::open(value, &pointer, known, &[], self.problems)
    }

    /// Returns the member `name` unless it is absent or null.
    pub(crate) fn get(&self, name: &str) -> Option<&'v Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// Returns the pointer of the member `name`.
    pub(crate) fn at(&self, name: &str) -> String {
        join(&self.pointer, name)
    }

    /// Returns the pointer of this object.
    pub(crate) fn pointer(&self) -> &str {
        &self.pointer
    }

    pub(crate) fn fault(&mut self, name: &str, message: impl Into<String>) {
        let pointer = self.at(name);
        self.problems.add(&pointer, message);
    }

    pub(crate) fn problems(&mut self) -> &mut Problems {
        self.problems
    }

    pub(crate) fn string(&mut self, name: &str) -> Option<&'v str> {
        let value = self.get(name)?;
        if value.as_str().is_none() {
            self.fault(name, format!("must be a string, not {}", describe(value)));
        }
        value.as_str()
    }

    /// Reads a string of at most `limit` characters.
    pub(crate) fn text(&mut self, name: &str, limit: usize) -> Option<&'v str> {
        let text = self.string(name)?;
        if text.chars().count() > limit {
            self.fault(name, format!("must be at most {limit} characters"));
            return None;
        }
        Some(text)
    }

    pub(crate) fn boolean(&mut self, name: &str) -> Option<bool> {
        let value = self.get(name)?;
        if value.as_bool().is_none() {
            self.fault(name, format!("must be true or false, not {}", describe(value)));
        }
        value.as_bool()
    }

    pub(crate) fn integer(&mut self, name: &str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let value = self.get(name)?;
        match value.as_i64() {
            Some(number) if range.contains(&number) => Some(number),
            Some(number) => {
                self.fault(name, format!("must be between {} and {}, not {number}", range.start(), range.end()));
                None
            }
            None => {
                self.fault(name, format!("must be a whole number, not {}", describe(value)));
                None
            }
        }
    }

    /// Reads an array of strings of at most `limit` elements.
    pub(crate) fn strings(&mut self, name: &str, limit: usize) -> Option<Vec<String>> {
        let value = self.get(name)?;
        let pointer = self.at(name);
        strings(value, &pointer, limit, self.problems)
    }

    /// Reads a string that must be one of `words`.
    pub(crate) fn word<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.string(name)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let pointer = self.at(name);
        self.problems.push(SpecError {
            pointer,
            message: format!("`{}` is not one of {}", shorten(text), known.join(", ")),
            suggestion: closest(text, known.iter().copied()),
        });
        None
    }

    pub(crate) fn members(&self) -> &'v Map<String, Value> {
        self.members
    }
}

/// Reads an array of strings of at most `limit` elements.
pub(crate) fn strings(value: &Value, pointer: &str, limit: usize, problems: &mut Problems) -> Option<Vec<String>> {
    let Value::Array(items) = value else {
        problems.add(pointer, format!("must be an array of strings, not {}", describe(value)));
        return None;
    };
    if items.len() > limit {
        problems.add(pointer, format!("must hold at most {limit} elements"));
        return None;
    }
    let mut texts = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let Value::String(text) = item else {
            problems.add(&join(pointer, &index.to_string()), format!("must be a string, not {}", describe(item)));
            return None;
        };
        texts.push(text.clone());
    }
    Some(texts)
}

/// Appends a member name to an RFC 6901 pointer.
pub(crate) fn join(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", shorten(name).replace('~', "~0").replace('/', "~1"))
}

/// Names the JSON type of a value.
pub(crate) const fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Cuts outside input to a length fit for a message.
pub(crate) fn shorten(text: &str) -> String {
    if text.chars().count() <= 80 { text.to_owned() } else { text.chars().take(79).chain(['…']).collect() }
}

/// Finds the known word that `text` was most likely meant to be.
pub(crate) fn closest<'k>(text: &str, known: impl Iterator<Item = &'k str>) -> Option<String> {
    let limit = (text.len() / 3).clamp(1, 4);
    if text.len() > 64 {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    known
        .map(|word| (distance(&lower, word), word))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| format!("did you mean `{word}`?"))
}

/// Counts the single-byte edits between two short words (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in right.bytes().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::{closest, distance, join};

    #[test]
    fn the_closest_word_is_suggested_and_a_distant_one_is_not() {
        let known = ["redirect", "worker", "block_reason"];
        assert_eq!(closest("redirct", known.into_iter()).as_deref(), Some("did you mean `redirect`?"));
        assert_eq!(closest("Blockreason", known.into_iter()).as_deref(), Some("did you mean `block_reason`?"));
        assert_eq!(closest("zzzz", known.into_iter()), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn pointers_escape_their_two_special_characters() {
        assert_eq!(join("/a", "b/c~d"), "/a/b~1c~0d");
    }
}
