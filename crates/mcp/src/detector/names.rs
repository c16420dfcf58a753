//! Names that look like others, and descriptions that speak of the tools of other servers.
//!
//! Servers do not know what stands beside them, so a description that does is out of place. Common words are names of
//! tools too: a bare name counts where it could not be a word and the text says what to do about it. Invariant: a name
//! that a server has itself is never another's.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use regex::Regex;
use unicode_security::skeleton;

use super::characters::imitates;
use super::text::ascii_twin;
use super::{Found, Reason};

/// The shortest bare name of another server's tool that is looked for.
const DISTINCT: usize = 6;
/// Bytes around a name in which is looked for what to do about it.
const NEAR: usize = 160;

/// What stands around a definition: the other tools of its server, and those of other servers.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// The names of the server's own tools and prompts.
    own: HashSet<String>,
    /// Skeletons of names, each with two of the names that have it: more say nothing more.
    skeletons: HashMap<String, Vec<String>>,
    /// Exposed and bare names of other servers' tools, in lower case, and the server they belong to.
    others: HashMap<String, String>,
}

impl Surroundings {
    /// Describes what stands around the definitions of one server. `others` are the tools of other servers, by server.
    #[must_use]
    pub fn new<'a>(
        own: impl IntoIterator<Item = &'a str>,
        others: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>,
    ) -> Self {
        let mut surroundings = Self::default();
        for name in own {
            surroundings.own.insert(name.to_owned());
            surroundings.remember(name);
        }
        for (server, tools) in others {
            for tool in tools {
                surroundings.remember(tool);
                surroundings.others.insert(format!("{server}_{tool}").to_lowercase(), server.to_owned());
                if is_distinct(tool) {
                    surroundings.others.entry(tool.to_lowercase()).or_insert_with(|| server.to_owned());
                }
            }
        }
        for name in &surroundings.own {
            surroundings.others.remove(&name.to_lowercase());
        }
        surroundings
    }

    fn remember(&mut self, name: &str) {
        let known = self.skeletons.entry(skeleton(name).collect()).or_default();
        if known.len() < 2 && !known.iter().any(|other| other == name) {
            known.push(name.to_owned());
        }
    }
}

/// Whether a name could not be a word of a sentence.
fn is_distinct(name: &str) -> bool {
    let humps = name.chars().zip(name.chars().skip(1)).any(|(one, next)| one.is_lowercase() && next.is_uppercase());
    name.len() >= DISTINCT && (name.contains(['_', '-', '.']) || humps)
}

/// Looks at the name of a tool or prompt.
pub(super) fn name(name: &str, surroundings: &Surroundings, found: &mut Found) {
    if imitates(name) || (!name.is_ascii() && name.chars().all(|c| c.is_ascii() || ascii_twin(c).is_some())) {
        found.add(Reason::Lookalike, "name", name);
    }
    let alike = surroundings.skeletons.get(&skeleton(name).collect::<String>());
    if let Some(other) = alike.into_iter().flatten().find(|other| *other != name) {
        found.add(Reason::Lookalike, "name", &format!("{name}, which looks like {other}"));
    }
}

/// What a text says to do about a tool it names.
static DIRECTS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let words = r"\b(?:must|always|never|instead|before|after|when(?:ever)?|first|every time|do not|don't|should|redirect|replace|change|bcc|also)\b";
    Regex::new(words).ok()
});

/// Looks for tools of other servers in a text. `folded` is the same text as rules read it.
pub(super) fn mentions(text: &str, folded: &str, place: &str, surroundings: &Surroundings, found: &mut Found) {
    if surroundings.others.is_empty() {
        return;
    }
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut at = 0;
    for word in folded.split(|c| !is_part(c)) {
        let start = at;
        at += word.len() + folded.get(at + word.len()..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        let word = word.trim_matches(['.', '-']);
        let Some(server) = surroundings.others.get(word) else { continue };
        let exposed = word.strip_prefix(&server.to_lowercase()).is_some_and(|rest| rest.starts_with('_'));
        if exposed || directs(folded, start, word.len()) {
            let shown = if text.is_ascii() { near(folded, start, word.len()) } else { word };
            found.add(Reason::CrossServer, place, &format!("{word} of the server {server}: {shown}"));
            return;
        }
    }
}

fn directs(folded: &str, start: usize, length: usize) -> bool {
    DIRECTS.as_ref().is_none_or(|words| words.is_match(near(folded, start, length)))
}

/// The text around a place.
fn near(text: &str, start: usize, length: usize) -> &str {
    let begin = (start.saturating_sub(NEAR)..=start).find(|at| text.is_char_boundary(*at)).unwrap_or(start);
    let wanted = (start + length + NEAR).min(text.len());
    let end = (wanted..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    text.get(begin..end).unwrap_or_default()
}
