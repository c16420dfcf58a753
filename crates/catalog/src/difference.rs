//! What changes between two editions of the catalogue, said to a person before one replaces the other.
//!
//! It compares; it replaces nothing. Invariant: applications are told apart by their number, and every difference that a
//! rule or a report could notice is named.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::format::Row;

/// Most lines of one kind that are written out.
const SHOWN: usize = 40;

/// The differences between two editions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub added: Vec<Named>,
    /// Rules that name their numbers will match nothing.
    pub removed: Vec<Named>,
    pub changed: Vec<Changed>,
}

/// An application by number and slug.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    pub id: u32,
    pub slug: String,
}

/// An application that both editions have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    pub id: u32,
    pub slug: String,
    /// `name: A -> B`, `+host`, `-host`.
    pub what: Vec<String>,
}

impl Difference {
    /// Tells whether the editions say the same.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// Compares two editions.
#[must_use]
pub fn between(before: &[Row], after: &[Row]) -> Difference {
    let index = |rows: &[Row]| rows.iter().map(|row| (row.id, row.clone())).collect::<BTreeMap<_, _>>();
    let (before, after) = (index(before), index(after));
    let named = |row: &Row| Named { id: row.id, slug: row.slug.clone() };
    let mut difference = Difference {
        added: after.values().filter(|row| !before.contains_key(&row.id)).map(named).collect(),
        removed: before.values().filter(|row| !after.contains_key(&row.id)).map(named).collect(),
        changed: Vec::new(),
    };
    for (id, new) in &after {
        let Some(old) = before.get(id) else { continue };
        let what = changes(old, new);
        if !what.is_empty() {
            difference.changed.push(Changed { id: *id, slug: new.slug.clone(), what });
        }
    }
    difference
}

fn changes(old: &Row, new: &Row) -> Vec<String> {
    let mut what = Vec::new();
    let mut note = |name: &str, old: String, new: String| {
        if old != new {
            what.push(format!("{name}: {old} -> {new}"));
        }
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let kinds = |row: &Row| row.ai.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(" ");
    note("slug", old.slug.clone(), new.slug.clone());
    note("name", old.name.clone(), new.name.clone());
    note("vendor", text(&old.vendor), text(&new.vendor));
    note("country", text(&old.country), text(&new.country));
    note("type", old.kind.to_string(), new.kind.to_string());
    note("category", old.category.to_string(), new.category.to_string());
    note("AI", kinds(old), kinds(new));
    note("embedded", old.embedded.to_string(), new.embedded.to_string());
    if old.facts != new.facts {
        what.push("facts".to_owned());
    }
    for (word, old, new) in [
        ("", &old.hosts, &new.hosts),
        ("excluded ", &old.exclude, &new.exclude),
        ("support ", &old.support, &new.support),
    ] {
        let (old, new): (BTreeSet<_>, BTreeSet<_>) = (old.iter().collect(), new.iter().collect());
        what.extend(new.difference(&old).map(|host| format!("+{word}{host}")));
        what.extend(old.difference(&new).map(|host| format!("-{word}{host}")));
    }
    what
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} added, {} removed, {} changed", self.added.len(), self.removed.len(), self.changed.len())?;
        for (mark, named) in [('+', &self.added), ('-', &self.removed)] {
            for Named { id, slug } in named.iter().take(SHOWN) {
                writeln!(f, "  {mark} {slug} ({id})")?;
            }
            rest(f, named.len())?;
        }
        for Changed { id, slug, what } in self.changed.iter().take(SHOWN) {
            writeln!(f, "  ~ {slug} ({id}): {}", what.join(", "))?;
        }
        rest(f, self.changed.len())
    }
}

fn rest(f: &mut fmt::Formatter<'_>, count: usize) -> fmt::Result {
    if count > SHOWN { writeln!(f, "    and {} more", count - SHOWN) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::between;
    use crate::format::Row;

    #[test]
    fn every_difference_is_named() {
        let row = |id, slug: &str, hosts: &[&str]| Row {
            id,
            slug: slug.into(),
            name: slug.into(),
            hosts: hosts.iter().map(ToString::to_string).collect(),
            ..Row::default()
        };
        let before = [row(1, "a", &["a.test"]), row(2, "b", &["b.test"]), row(3, "c", &["c.test"])];
        let mut after = [row(1, "a", &["a.test"]), row(2, "b", &["b.test", "bb.test"]), row(4, "d", &["c.test"])];
        after[1].vendor = Some("B".into());
        assert_eq!(
            between(&before, &after).to_string(),
            "1 added, 1 removed, 1 changed\n  + d (4)\n  - c (3)\n  ~ b (2): vendor: unknown -> B, +bb.test\n"
        );
        assert!(between(&before, &before).is_empty());
    }
}
