//! Checks the shape of the workspace: arrows between crates point down, and nothing outgrows its budget.
//!
//! The layers are those of docs/architecture.md. It reads manifests and sources as text and syntax; it builds nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use syn::spanned::Spanned;
use syn::visit::Visit;

use crate::run::root;

const CRATE_LINES: usize = 20_000;
/// Crates that may have more lines, and why.
const RAISED: [(&str, usize, &str); 1] =
    [("console", 22_000, "its tests are those of Access in the v4 API, too: one harness drives both")];
/// Percent of the workspace one crate may be, checked once the workspace is large enough for a share to mean anything.
const CRATE_SHARE: usize = 25;
const FILE_LINES: usize = 1_000;
const FUNCTION_LINES: usize = 100;

/// Crates by layer, lowest first. A crate may use crates of lower layers; planes, administration and ports never use
/// their own layer, assembly, engines and vocabulary may.
const LAYERS: [(&str, &[&str]); 7] = [
    ("vocabulary", &["types", "expr"]),
    ("engines", &["policy", "identity", "scim", "mcp", "markdown", "catalog", "chart", "inspect", "push"]),
    ("ports", &["store", "logs", "net", "worker", "programs"]),
    ("administration", &["administration"]),
    ("interfaces", &["api"]),
    ("planes", &["gateway", "access", "agents", "console"]),
    ("assembly", &["portunus", "server", "testkit", "generate", "xtask"]),
];

pub(crate) fn check() -> Result<()> {
    let mut faults = Vec::new();
    let crates = crates()?;
    for (name, directory) in &crates {
        arrows(name, directory, &mut faults)?;
    }
    budgets(&crates, &mut faults)?;
    if faults.is_empty() {
        println!("layers: {} crates, arrows and budgets hold", crates.len());
        return Ok(());
    }
    bail!("{}", faults.join("\n"))
}

fn crates() -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(root().join("crates"))? {
        let path = entry?.path();
        if path.join("Cargo.toml").exists()
            && let Some(name) = path.file_name()
        {
            found.insert(name.to_string_lossy().into_owned(), path);
        }
    }
    Ok(found)
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|(_, members)| members.contains(&name))
}

fn arrows(name: &str, directory: &Path, faults: &mut Vec<String>) -> Result<()> {
    let Some(own) = layer(name) else {
        faults.push(format!("crates/{name}: not in the layer table of crates/xtask/src/layers.rs"));
        return Ok(());
    };
    let manifest: toml::Table = std::fs::read_to_string(directory.join("Cargo.toml"))?
        .parse()
        .with_context(|| format!("crates/{name}/Cargo.toml"))?;
    let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
    for dependency in dependencies.into_iter().flat_map(toml::Table::keys) {
        let Some(other) = layer(dependency) else { continue };
        let sideways_allowed = matches!(LAYERS[own].0, "vocabulary" | "engines" | "assembly");
        if other > own || (other == own && !sideways_allowed) {
            faults.push(format!("crates/{name} ({}) must not use {dependency} ({})", LAYERS[own].0, LAYERS[other].0));
        }
    }
    Ok(())
}

fn budgets(crates: &BTreeMap<String, PathBuf>, faults: &mut Vec<String>) -> Result<()> {
    let mut sizes = BTreeMap::new();
    for (name, directory) in crates {
        let mut lines = 0;
        for file in sources(directory)? {
            lines += file_budget(&file, faults)?;
        }
        sizes.insert(name, lines);
    }
    let total: usize = sizes.values().sum();
    for (name, lines) in sizes {
        let budget = RAISED.iter().find(|(raised, ..)| raised == name).map_or(CRATE_LINES, |(_, lines, _)| *lines);
        if lines > budget || (total > 50_000 && lines * 100 > total * CRATE_SHARE) {
            faults.push(format!("crates/{name}: {lines} of {total} lines"));
        }
    }
    Ok(())
}

/// Checks one file and its functions; returns its lines.
fn file_budget(file: &Path, faults: &mut Vec<String>) -> Result<usize> {
    let text = std::fs::read_to_string(file)?;
    let shown = file.strip_prefix(root()).unwrap_or(file).display().to_string();
    let lines = text.lines().count();
    // Generated code sits in its own file, says so in its first line, and is exempt.
    if text.starts_with("//! Generated") {
        return Ok(lines);
    }
    if lines > FILE_LINES {
        faults.push(format!("{shown}: {lines} lines, the budget is {FILE_LINES}"));
    }
    if !text.starts_with("//!") {
        faults.push(format!("{shown}: does not open with a //! module comment"));
    }
    let syntax = syn::parse_file(&text).with_context(|| shown.clone())?;
    let mut functions = Functions { file: &shown, faults };
    functions.visit_file(&syntax);
    Ok(lines)
}

struct Functions<'a> {
    file: &'a str,
    faults: &'a mut Vec<String>,
}

impl Functions<'_> {
    fn measure(&mut self, name: &syn::Ident, block: &syn::Block) {
        let span = block.span();
        let lines = span.end().line - span.start().line + 1;
        if lines > FUNCTION_LINES {
            let (file, line) = (self.file, span.start().line);
            self.faults.push(format!("{file}:{line}: {name} has {lines} lines, the budget is {FUNCTION_LINES}"));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.measure(&item.sig.ident, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.measure(&item.sig.ident, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }
}

fn sources(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_path_buf()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
