//! What an author changes of a tool or prompt: its alias, its description, whether it is on (reference section 5.3).
//!
//! Decides what is a well-formed change; which of two holds is the view's, which tools there are the catalogue's. Invariant: no
//! two changes of one list are of the same tool, and no two give the same alias.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use identity::document::Problems;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{MAX_DESCRIPTION, prose};
use crate::names::Change;

/// Most changes of one list.
pub const MAX_OVERRIDES: usize = 2_000;
/// Longest name of a tool or prompt, in characters.
const MAX_NAME: usize = 256;
/// Longest alias, in bytes.
const MAX_ALIAS: usize = 40;

/// One entry of `updated_tools` or `updated_prompts` as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OverrideDocument {
    /// The name at the server.
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// A change, known to be sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The name at the server.
    pub name: String,
    pub alias: Option<Alias>,
    pub description: Option<String>,
    /// `None` leaves it as it is.
    pub enabled: Option<bool>,
}

/// What a tool or prompt is called instead of its name: groups of letters and digits with single `_` or `-` between them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alias(String);

impl Alias {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is not an alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an alias has 1 to 40 letters and digits, with single `_` or `-` between them")]
pub struct AliasError;

impl FromStr for Alias {
    type Err = AliasError;

    fn from_str(text: &str) -> Result<Self, AliasError> {
        let group = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
        if text.len() <= MAX_ALIAS && text.split(['_', '-']).all(group) {
            Ok(Self(text.to_owned()))
        } else {
            Err(AliasError)
        }
    }
}

/// Reads a list of changes that stands at `pointer`.
pub(super) fn parse(documents: &[OverrideDocument], pointer: &str, problems: &mut Problems) -> Vec<Override> {
    if documents.len() > MAX_OVERRIDES {
        problems.add(pointer, format!("must hold at most {MAX_OVERRIDES} entries"));
        return Vec::new();
    }
    let (mut names, mut aliases) = (BTreeSet::new(), BTreeSet::new());
    let mut found = Vec::with_capacity(documents.len());
    for (index, document) in documents.iter().enumerate() {
        let at = |member: &str| format!("{pointer}/{index}/{member}");
        let name = problems.check(&at("name"), check_name(&document.name));
        let alias = document.alias.as_deref().filter(|alias| !alias.is_empty());
        let alias = alias.and_then(|alias| problems.check(&at("alias"), alias.parse::<Alias>()));
        let description = document.description.as_deref();
        let description = description.and_then(|text| problems.check(&at("description"), prose(text, MAX_DESCRIPTION)));
        if !names.insert(&document.name) {
            problems.add(at("name"), "stands twice in the list");
        }
        if alias.as_ref().is_some_and(|alias| !aliases.insert(alias.clone())) {
            problems.add(at("alias"), "is the alias of another entry of the list");
        }
        if let Some(name) = name {
            found.push(Override { name, alias, description, enabled: document.enabled });
        }
    }
    found
}

fn check_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().count() > MAX_NAME || text.chars().any(char::is_control) {
        return Err(format!("must be the name at the server: 1 to {MAX_NAME} characters, no control characters"));
    }
    Ok(text.to_owned())
}

impl<'a> From<&'a Override> for Change<'a> {
    fn from(change: &'a Override) -> Self {
        let Override { name, alias, description, enabled } = change;
        Self { name, alias: alias.as_ref().map(Alias::as_str), description: description.as_deref(), enabled: *enabled }
    }
}

impl<'a> From<&'a OverrideDocument> for Change<'a> {
    fn from(change: &'a OverrideDocument) -> Self {
        let OverrideDocument { name, alias, description, enabled } = change;
        Self { name, alias: alias.as_deref(), description: description.as_deref(), enabled: *enabled }
    }
}

/// Shows both lists in the form of a portal: one entry for each name, with what each of them says.
#[must_use]
pub(super) fn show(portal: &[OverrideDocument], server: &[OverrideDocument]) -> Value {
    let mut names: Vec<&str> = Vec::new();
    for change in portal.iter().chain(server) {
        if !names.contains(&change.name.as_str()) {
            names.push(&change.name);
        }
    }
    let entry = |name: &str| {
        let find = |list: &[OverrideDocument]| list.iter().find(|change| change.name == name).cloned();
        let (portal, server) = (find(portal).unwrap_or_default(), find(server).unwrap_or_default());
        let mut entry = Map::new();
        entry.insert("name".to_owned(), name.into());
        if let Some(enabled) = portal.enabled.or(server.enabled) {
            entry.insert("enabled".to_owned(), enabled.into());
        }
        for (member, text) in [
            ("portal_alias", portal.alias),
            ("portal_description", portal.description),
            ("server_alias", server.alias),
            ("server_description", server.description),
        ] {
            if let Some(text) = text {
                entry.insert(member.to_owned(), text.into());
            }
        }
        Value::Object(entry)
    };
    names.into_iter().map(entry).collect()
}

/// Turns an entry in the form of a portal back into the form an author writes; what the server says is not the portal's.
pub(super) fn writable(entry: &mut Map<String, Value>) {
    for (shown, written) in [("portal_alias", "alias"), ("portal_description", "description")] {
        if let Some(value) = entry.remove(shown) {
            entry.entry(written).or_insert(value);
        }
    }
    entry.remove("server_alias");
    entry.remove("server_description");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Alias;

    #[test]
    fn an_alias_has_the_published_form() {
        let longest = "a".repeat(40);
        for good in ["a", "A9", "find_issue", "find-issue-2", "a_b-c", &longest] {
            assert!(good.parse::<Alias>().is_ok(), "{good}");
        }
        let long = "a".repeat(41);
        for bad in ["", "_a", "a_", "a__b", "a-_b", "a b", "ä", "a.b", &long] {
            assert!(bad.parse::<Alias>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn an_alias_is_what_the_expression_says(text in "[a-zA-Z0-9_-]{0,45}") {
            let published = regex::Regex::new("^[a-zA-Z0-9]+([_-][a-zA-Z0-9]+)*$").unwrap();
            let expected = published.is_match(&text) && text.len() <= 40;
            prop_assert_eq!(text.parse::<Alias>().is_ok(), expected);
        }
    }
}
