//! The names a portal exposes: `{server}_{name}` of tools and prompts, and the aliases that replace `{name}`.
//!
//! Decides what a name looks like and which server it belongs to; the view decides whether it exists for somebody.
//! Invariants: an exposed name split at its first underscore gives the server it belongs to; two different names of one
//! server never become one by being shortened.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};

/// Longest name the protocol allows, in characters.
pub const MAX_NAME: usize = 128;
const MAX_ALIAS: usize = 40;
const MAX_SERVER_ID: usize = 64;
/// Hexadecimal digits that tell shortened names apart.
const MARK: usize = 12;

/// The id of a server: letters, digits, `-` and `.`, never `_`, which ends it in exposed names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(Box<str>);

impl ServerId {
    /// Reads an id; `None` when names could not be split after it, or it is the portal's own.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let sound = (1..=MAX_SERVER_ID).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
            && text != PORTAL;
        sound.then(|| Self(text.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What stands before the names of the portal's own tools; no server may have it as its id.
pub const PORTAL: &str = "portal";

/// Tells whether `text` may replace a tool's or prompt's name: words of letters and digits, joined by `_` or `-`.
#[must_use]
pub fn is_alias(text: &str) -> bool {
    (1..=MAX_ALIAS).contains(&text.len())
        && text.split(['_', '-']).all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// What administrators changed about one tool or prompt of a server. Empty texts count as absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Override {
    pub enabled: Option<bool>,
    pub portal_alias: Option<String>,
    pub server_alias: Option<String>,
    pub alias: Option<String>,
    pub portal_description: Option<String>,
    pub server_description: Option<String>,
    pub description: Option<String>,
}

/// One administrator's change of one tool or prompt, as a server's or a portal's document says it.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// The name at the server.
    pub name: &'a str,
    pub alias: Option<&'a str>,
    pub description: Option<&'a str>,
    /// `None` leaves it as it is.
    pub enabled: Option<bool>,
}

impl Override {
    /// Returns the alias that counts: the portal's, then the server's, then the plain one.
    #[must_use]
    pub fn alias(&self) -> Option<&str> {
        first([&self.portal_alias, &self.server_alias, &self.alias])
    }

    /// Returns the description that counts, in the same order.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        first([&self.portal_description, &self.server_description, &self.description])
    }
}

fn first(texts: [&Option<String>; 3]) -> Option<&str> {
    texts.into_iter().flatten().map(String::as_str).find(|text| !text.is_empty())
}

/// Returns the name a portal exposes for `part`, which is an alias or the upstream's name; without a server, `part` alone.
///
/// Names over the protocol's length end in a mark made from the whole name.
#[must_use]
pub fn exposed(server: Option<&ServerId>, part: &str) -> String {
    let whole = match server {
        Some(server) => format!("{server}_{part}"),
        None => part.to_owned(),
    };
    if whole.chars().count() <= MAX_NAME {
        return whole;
    }
    let hash = digest(&SHA256, part.as_bytes());
    let mut name: String = whole.chars().take(MAX_NAME - MARK - 1).collect();
    name.push('-');
    for byte in hash.as_ref().iter().take(MARK / 2) {
        name.push_str(&format!("{byte:02x}"));
    }
    name
}

/// Splits an exposed name at its first underscore into server and rest; `None` when either would be empty.
#[must_use]
pub fn split(exposed: &str) -> Option<(&str, &str)> {
    exposed.split_once('_').filter(|(server, rest)| !server.is_empty() && !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_alias_is_words_joined_by_single_marks() {
        for text in ["a", "A1", "search_all", "a-b_c", &"x".repeat(40)] {
            assert!(is_alias(text), "{text}");
        }
        for text in ["", "_a", "a_", "a__b", "a-_b", "a.b", "a b", "é", "a\n", &"x".repeat(41)] {
            assert!(!is_alias(text), "{text}");
        }
    }

    #[test]
    fn the_portal_decides_before_the_server_and_the_server_before_the_plain_alias() {
        let some = |text: &str| Some(text.to_owned());
        let mut changed = Override {
            portal_alias: some("p"),
            server_alias: some("s"),
            alias: some("a"),
            portal_description: some("P"),
            server_description: some("S"),
            description: some("D"),
            ..Override::default()
        };
        assert_eq!((changed.alias(), changed.description()), (Some("p"), Some("P")));
        changed.portal_alias = some("");
        changed.portal_description = None;
        assert_eq!((changed.alias(), changed.description()), (Some("s"), Some("S")));
        changed.server_alias = None;
        changed.server_description = None;
        assert_eq!((changed.alias(), changed.description()), (Some("a"), Some("D")));
        assert_eq!((Override::default().alias(), Override::default().description()), (None, None));
    }

    #[test]
    fn the_portals_own_name_and_underscores_are_no_server_ids() {
        for id in ["a", "google-workspace", "a.b", "0"] {
            assert!(ServerId::parse(id).is_some(), "{id}");
        }
        for id in ["", "a_b", "portal", "a/b", "a b", "é", &"x".repeat(65)] {
            assert!(ServerId::parse(id).is_none(), "{id}");
        }
    }

    #[test]
    fn names_too_long_for_the_protocol_are_shortened_and_stay_apart() {
        let server = ServerId::parse("files").unwrap();
        let long = "x".repeat(200);
        let (one, other) = (exposed(Some(&server), &format!("{long}1")), exposed(Some(&server), &format!("{long}2")));
        assert_eq!((one.len(), other.len()), (MAX_NAME, MAX_NAME));
        assert_ne!(one, other);
        assert_eq!(split(&one).unwrap().0, "files");
        assert_eq!(exposed(None, "echo"), "echo");
    }

    proptest! {
        #[test]
        fn an_exposed_name_splits_into_its_server_and_its_name(
            server in "[a-zA-Z0-9.-]{1,20}", name in "[A-Za-z0-9_.-]{1,100}",
        ) {
            let Some(server) = ServerId::parse(&server) else { return Ok(()) };
            let exposed = exposed(Some(&server), &name);
            prop_assert!(exposed.len() <= MAX_NAME);
            prop_assert_eq!(split(&exposed), Some((server.as_str(), name.as_str())));
        }
    }
}
