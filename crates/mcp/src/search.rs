//! Ranked search over the tools of a view: names, descriptions and the names of parameters (Okapi BM25).
//!
//! The index is made once for a view and asked often; five hundred tools are few, so it is a table of words and no engine
//! with files. Invariant: the same view and words give the same order, and only tools of the view are found.

use std::collections::{HashMap, HashSet};

use crate::catalog::Kind;
use crate::raw::Object;
use crate::view::View;

/// BM25's two usual constants: how soon a word repeated counts no more, and how much a long text is held against it.
const SATURATION: f32 = 1.2;
const LENGTH: f32 = 0.75;
/// How much more a word of the name says than one of the description, and one of a parameter.
const OF_NAME: f32 = 4.0;
const OF_DESCRIPTION: f32 = 1.0;
const OF_PARAMETER: f32 = 1.5;
/// Words of one text that are looked at.
const MOST_WORDS: usize = 2_000;
/// Words of a question that are looked at.
const MOST_ASKED: usize = 32;

/// An index.
#[derive(Debug, Clone, Default)]
pub struct Index {
    /// For each word the tools that have it, and its weight in each.
    words: HashMap<String, Vec<(u32, f32)>>,
    tools: Vec<(String, f32)>,
    average: f32,
}

/// A tool that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// As clients see it.
    pub exposed: String,
    pub score: f32,
}

impl Index {
    /// Reads every tool of a view.
    #[must_use]
    pub fn of(view: &View) -> Self {
        let mut index = Self::default();
        for target in view.list(Kind::Tool) {
            // A view is bounded, so the number fits.
            let number = index.tools.len() as u32;
            let mut weights: HashMap<String, f32> = HashMap::new();
            let mut length = 0.0;
            let mut add = |text: &str, weight: f32| {
                for word in words(text).into_iter().take(MOST_WORDS) {
                    *weights.entry(word).or_default() += weight;
                    length += 1.0;
                }
            };
            add(target.exposed, OF_NAME);
            add(target.definition.title.as_deref().unwrap_or_default(), OF_NAME / 2.0);
            add(target.description().unwrap_or_default(), OF_DESCRIPTION);
            for name in parameters(target.definition.json.get()) {
                add(&name, OF_PARAMETER);
            }
            for (word, weight) in weights {
                index.words.entry(word).or_default().push((number, weight));
            }
            index.tools.push((target.exposed.to_owned(), length));
        }
        let total: f32 = index.tools.iter().map(|(_, length)| length).sum();
        index.average = total / (index.tools.len().max(1) as f32);
        index
    }

    /// Returns the tools that fit the words best, at most `limit`.
    #[must_use]
    pub fn search(&self, query: &str, limit: usize) -> Vec<Hit> {
        let asked: HashSet<String> = words(query).into_iter().take(MOST_ASKED).collect();
        let mut scores: HashMap<u32, f32> = HashMap::new();
        let count = self.tools.len() as f32;
        for word in &asked {
            let Some(found) = self.words.get(word) else { continue };
            let holding = found.len() as f32;
            let rarity = ((count - holding + 0.5) / (holding + 0.5)).ln_1p();
            for (tool, weight) in found {
                let length = self.tools.get(*tool as usize).map_or(0.0, |(_, length)| *length);
                let norm = SATURATION * (1.0 - LENGTH + LENGTH * length / self.average.max(1.0));
                *scores.entry(*tool).or_default() += rarity * weight * (SATURATION + 1.0) / (weight + norm);
            }
        }
        let mut hits: Vec<Hit> = scores
            .into_iter()
            .filter_map(|(tool, score)| Some(Hit { exposed: self.tools.get(tool as usize)?.0.clone(), score }))
            .collect();
        hits.sort_by(|one, other| other.score.total_cmp(&one.score).then_with(|| one.exposed.cmp(&other.exposed)));
        hits.truncate(limit);
        hits
    }
}

/// The words of a text, in lower case: parts of `snake_case`, `kebab-case` and `camelCase`, and a plural's singular.
fn words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut word = String::new();
    let mut was_lower = false;
    for c in text.chars() {
        let breaks = !c.is_alphanumeric() || (c.is_uppercase() && was_lower);
        if breaks && !word.is_empty() {
            found.push(stem(std::mem::take(&mut word)));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase() || c.is_ascii_digit();
    }
    if !word.is_empty() {
        found.push(stem(word));
    }
    found
}

/// Takes the commonest English endings off, so that "issues" finds "issue" and "creating" "create".
fn stem(word: String) -> String {
    let cut = |ending: &str, least: usize| {
        word.strip_suffix(ending).filter(|rest| rest.chars().count() >= least).map(str::to_owned)
    };
    let stem = if word.ends_with("ss") { None } else { cut("ies", 2).map(|rest| rest + "y").or_else(|| cut("s", 3)) };
    let stem = stem.or_else(|| cut("ing", 4)).or_else(|| cut("ed", 4)).unwrap_or_else(|| word.clone());
    stem.strip_suffix('e').filter(|rest| rest.chars().count() >= 4).map_or_else(|| stem.clone(), str::to_owned)
}

/// The names of the parameters of a tool.
fn parameters(json: &str) -> Vec<String> {
    let Ok(object) = Object::parse(json) else { return Vec::new() };
    let properties = object.object("inputSchema").and_then(|schema| schema.object("properties"));
    properties.map(|found| found.members().map(|(name, _)| name.to_owned()).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Index, words};
    use crate::fixture::{SERVERS, real};
    use crate::names::ServerId;
    use crate::view::{ServerView, Toggles, View};

    fn index() -> Index {
        let servers =
            SERVERS.iter().map(|name| Arc::new(ServerView::new(ServerId::parse(name).unwrap(), *name, real(name))));
        Index::of(&View::merge(servers, &Toggles::new(), |_, _| true))
    }

    #[test]
    fn the_tool_one_means_comes_first_among_those_of_four_real_servers() {
        let index = index();
        for (asked, first) in [
            ("take a screenshot of the page", "playwright_browser_take_screenshot"),
            ("read multiple files", "filesystem_read_multiple_files"),
            ("create directory", "filesystem_create_directory"),
            ("add observations to an entity", "memory_add_observations"),
            ("deleting relations", "memory_delete_relations"),
            ("sum of two numbers", "everything_get-sum"),
            ("navigate to url", "playwright_browser_navigate"),
            ("searchFiles", "filesystem_search_files"),
        ] {
            let found = index.search(asked, 3);
            assert_eq!(found.first().map(|hit| hit.exposed.as_str()), Some(first), "{asked}: {found:?}");
        }
        assert!(index.search("zebra", 3).is_empty());
        assert!(index.search("", 3).is_empty());
        assert_eq!(index.search("file", 2).len(), 2);
    }

    #[test]
    fn words_are_found_in_every_way_of_writing_them() {
        assert_eq!(words("readTextFile"), ["read", "text", "file"]);
        assert_eq!(words("read_text-files"), ["read", "text", "file"]);
        assert_eq!(words("Entities, created: URL2x"), ["entity", "creat", "url2x"]);
        assert_eq!(words("access pass"), ["access", "pass"]);
    }
}
