//! Checks the licence of every dependency against the list the project accepts, and what is known against it.
//!
//! Advisories and yanked versions are `cargo deny`'s to find, with the RustSec database that it fetches. Where that is
//! not to be had the task goes on, because licences do not depend on it. Invariant: what was not checked is said to be
//! not checked, last and with the reason, by every task whose success could be read otherwise.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::run::{command, exists, output};

const ACCEPTED: [&str; 14] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT",
    "MIT-0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MPL-2.0",
    "Zlib",
    "Unicode-3.0",
    "Unlicense",
    "CC0-1.0",
    "0BSD",
    "CDLA-Permissive-2.0",
];

/// Whether anybody looked for advisories.
#[must_use]
pub(crate) enum Advisories {
    Checked,
    /// Why not.
    NotChecked(&'static str),
}

impl Advisories {
    /// Says what was left out; nothing if nothing was.
    pub(crate) fn report(&self) {
        if let Self::NotChecked(reason) = self {
            println!(
                "\nNOT CHECKED: advisories and yanked versions of dependencies, because {reason}.\nTo check them, on a machine that reaches github.com: cargo install cargo-deny --locked && cargo xtask licences"
            );
        }
    }
}

pub(crate) fn check() -> Result<Advisories> {
    let text = output(command("cargo").args(["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut refused = BTreeSet::new();
    for package in packages {
        let licence = package["license"].as_str().unwrap_or("");
        if !accepted(licence) {
            refused.insert(format!("{} {}: {licence:?}", package["name"], package["version"]));
        }
    }
    if !refused.is_empty() {
        bail!("licences not on the list:\n{}", refused.into_iter().collect::<Vec<_>>().join("\n"));
    }
    println!("licences: {} packages, all accepted", packages.len());
    advisories()
}

/// Evaluates an SPDX expression of `OR`, `AND` and parentheses; the old slash means `OR`.
fn accepted(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut position = 0;
    let value = either(&words, &mut position);
    value && position == words.len()
}

fn either(words: &[&str], position: &mut usize) -> bool {
    let mut value = both(words, position);
    while words.get(*position) == Some(&"OR") {
        *position += 1;
        value |= both(words, position);
    }
    value
}

fn both(words: &[&str], position: &mut usize) -> bool {
    let mut value = one(words, position);
    while words.get(*position) == Some(&"AND") {
        *position += 1;
        value &= one(words, position);
    }
    value
}

fn one(words: &[&str], position: &mut usize) -> bool {
    let Some(word) = words.get(*position) else { return false };
    *position += 1;
    if *word == "(" {
        let value = either(words, position);
        *position += 1;
        return value;
    }
    if words.get(*position) == Some(&"WITH") {
        let with = format!("{word} WITH {}", words.get(*position + 1).unwrap_or(&""));
        *position += 2;
        return ACCEPTED.contains(&with.as_str());
    }
    ACCEPTED.contains(word)
}

fn advisories() -> Result<Advisories> {
    if !exists("cargo-deny", "--version") {
        return Ok(Advisories::NotChecked("cargo-deny is not installed"));
    }
    let fetched = command("cargo").args(["deny", "fetch", "db"]).status()?;
    if !fetched.success() {
        return Ok(Advisories::NotChecked("the RustSec database cannot be fetched"));
    }
    crate::run::check(command("cargo").args(["deny", "check", "--disable-fetch", "advisories"]))?;
    Ok(Advisories::Checked)
}

#[cfg(test)]
mod tests {
    use super::accepted;

    #[test]
    fn spdx_expressions_are_read_as_written() {
        for (expression, expected) in [
            ("MIT", true),
            ("MIT OR Apache-2.0", true),
            ("MIT/Apache-2.0", true),
            ("GPL-3.0-only", false),
            ("GPL-3.0-only OR MIT", true),
            ("GPL-3.0-only AND MIT", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", true),
            ("", false),
        ] {
            assert_eq!(accepted(expression), expected, "{expression}");
        }
    }
}
