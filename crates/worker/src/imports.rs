//! Which modules a Worker's module names, and which one it means by a name.
//!
//! It reads, resolves and rewrites the specifiers of a source; it runs nothing and decides nothing about what a Worker
//! may hold. Invariant: a specifier is resolved here exactly as a process resolves it when the Worker is loaded.

use std::collections::BTreeSet;
use std::ops::Range;

use oxc::allocator::Allocator;
use oxc::parser::Parser;

use crate::modules::{ModuleError, SourceKind, SourceModule, named};
use crate::typescript::{TypeScriptError, source_type};

/// Endings that may be left out of a specifier, first the one that is tried first.
const ENDINGS: [&str; 6] = ["ts", "mts", "js", "mjs", "tsx", "jsx"];

/// One place where a module names another: an import, an export from, or a dynamic import of a literal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    pub specifier: String,
    /// Bytes of the source that the string literal takes, quotes included.
    pub literal: Range<usize>,
}

/// What a module imports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imports {
    /// In source order.
    pub named: Vec<Import>,
    /// There is a dynamic import whose specifier is made at run time.
    pub computed: bool,
}

/// Reads the imports of a module; only JavaScript and TypeScript have any. Types named with `import("…")` in a type are
/// not among them: nothing is loaded for them.
///
/// # Errors
/// The module does not parse.
pub fn of(module: SourceModule<'_>) -> Result<Imports, ModuleError> {
    let SourceModule { name, kind, source } = module;
    if !matches!(kind, SourceKind::EsModule | SourceKind::TypeScript) {
        return Ok(Imports::default());
    }
    let source = std::str::from_utf8(source).map_err(|_| ModuleError::NotText(name.to_owned()))?;
    let allocator = Allocator::default();
    let parsed = Parser::new(&allocator, source, source_type(&named(name, kind))).parse();
    if let Some(error) = parsed.diagnostics.iter().next() {
        let source = TypeScriptError::from_diagnostic(source, error);
        return Err(ModuleError::Syntax { module: name.to_owned(), source });
    }
    let record = parsed.module_record;
    let mut found = Imports::default();
    for (specifier, places) in &record.requested_modules {
        for place in places {
            let literal = place.span.start as usize..place.span.end as usize;
            found.named.push(Import { specifier: specifier.as_str().to_owned(), literal });
        }
    }
    for dynamic in &record.dynamic_imports {
        let literal = dynamic.module_request.start as usize..dynamic.module_request.end as usize;
        match literal_text(&source[literal.clone()]) {
            Some(specifier) => found.named.push(Import { specifier: specifier.to_owned(), literal }),
            None => found.computed = true,
        }
    }
    found.named.sort_by_key(|import| import.literal.start);
    Ok(found)
}

/// The text of a string literal without escapes; a specifier with escapes counts as made at run time.
fn literal_text(expression: &str) -> Option<&str> {
    let inner = ["\"", "'"].iter().find_map(|quote| expression.strip_prefix(quote)?.strip_suffix(quote))?;
    (!inner.contains(['\\', '"', '\''])).then_some(inner)
}

/// Finds the module that `from` means by `specifier` among those that `find` knows by name.
pub fn resolve<T>(from: &str, specifier: &str, find: impl Fn(&str) -> Option<T>) -> Option<T> {
    let path = if is_relative(specifier) {
        let mut parts: Vec<&str> = from.split('/').collect();
        parts.pop();
        for part in specifier.split('/') {
            match part {
                "." | "" => {}
                ".." => {
                    parts.pop()?;
                }
                _ => parts.push(part),
            }
        }
        parts.join("/")
    } else {
        specifier.to_owned()
    };
    let stem = path.strip_suffix(".js").or_else(|| path.strip_suffix(".mjs")).unwrap_or(&path);
    find(&path).or_else(|| {
        ENDINGS
            .iter()
            .find_map(|ending| find(&format!("{stem}.{ending}")).or_else(|| find(&format!("{path}/index.{ending}"))))
    })
}

fn is_relative(specifier: &str) -> bool {
    specifier.starts_with("./") || specifier.starts_with("../")
}

/// Writes how `from` names `to`, in the manner of `before`: relative or bare, with its ending, without, or as `.js`.
///
/// `None` when no way of writing it is resolved to `to` among `names`.
#[must_use]
pub fn respell(before: &str, from: &str, to: &str, names: &BTreeSet<&str>) -> Option<String> {
    let base = if is_relative(before) { relative(from, to) } else { to.to_owned() };
    let (stem, ending) = base.rsplit_once('.').unwrap_or((&base, ""));
    let styled = match before.rsplit('/').next().and_then(|last| last.rsplit_once('.')) {
        None if ENDINGS.contains(&ending) => stem.to_owned(),
        Some((_, "js" | "mjs")) if matches!(ending, "ts" | "tsx") => format!("{stem}.js"),
        Some((_, "js" | "mjs")) if ending == "mts" => format!("{stem}.mjs"),
        None | Some(_) => base.clone(),
    };
    let means = |specifier: &String| resolve(from, specifier, |name| names.get(name).copied()) == Some(to);
    [styled, base].into_iter().find(means)
}

fn relative(from: &str, to: &str) -> String {
    let mut from: Vec<&str> = from.split('/').collect();
    from.pop();
    let to: Vec<&str> = to.split('/').collect();
    let shared = from.iter().zip(&to[..to.len() - 1]).take_while(|(left, right)| left == right).count();
    let up = from.len() - shared;
    let start = if up == 0 { "./".to_owned() } else { "../".repeat(up) };
    start + &to[shared..].join("/")
}

/// Replaces specifiers in a source, each at its literal; the quotes stay what they were where they can.
#[must_use]
pub fn rewrite(source: &str, mut edits: Vec<(Range<usize>, String)>) -> String {
    edits.sort_by_key(|(literal, _)| literal.start);
    let (mut text, mut from) = (String::with_capacity(source.len() + 64), 0);
    for (literal, specifier) in edits {
        text.push_str(&source[from..literal.start]);
        match &source[literal.start..=literal.start] {
            "'" if !specifier.contains('\'') => text.push_str(&format!("'{specifier}'")),
            // JSON text is a JavaScript string literal.
            _ => text.push_str(&serde_json::Value::from(specifier).to_string()),
        }
        from = literal.end;
    }
    text.push_str(&source[from..]);
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Imports, of, relative, resolve, respell, rewrite};
    use crate::modules::{SourceKind, SourceModule};

    fn read(name: &str, source: &str) -> Imports {
        of(SourceModule { name, kind: SourceKind::TypeScript, source: source.as_bytes() }).unwrap()
    }

    #[test]
    fn every_way_of_naming_a_module_is_found_where_it_stands() {
        let source = "import a, { b } from './a';\nimport type { T } from \"./types.ts\";\nimport './é';\nexport * from '../c.js';\nexport { d } from './d';\nconst e = await import('./e');\n// from './comment'\nconst text = \"from './text'\";\n";
        let found = read("lib/main.ts", source);
        let named: Vec<_> = found.named.iter().map(|import| import.specifier.as_str()).collect();
        assert_eq!(named, ["./a", "./types.ts", "./é", "../c.js", "./d", "./e"]);
        for import in &found.named {
            assert_eq!(source[import.literal.clone()].trim_matches(['"', '\'']), import.specifier);
        }
        assert!(!found.computed);
        assert!(read("a.ts", "const name = 'x'; await import(`./${name}`);").computed);
        let text = SourceModule { name: "a.txt", kind: SourceKind::Text, source: b"import './a'" };
        assert_eq!(of(text), Ok(Imports::default()));
        assert!(of(SourceModule { name: "a.ts", kind: SourceKind::TypeScript, source: b"import (" }).is_err());
    }

    #[test]
    fn a_name_is_resolved_as_processes_do() {
        let names = BTreeSet::from(["main.ts", "lib/a.ts", "lib/b.js", "lib/index.ts", "data.json", "x.js", "x.ts"]);
        for (from, specifier, expected) in [
            ("main.ts", "./lib/a", Some("lib/a.ts")),
            ("main.ts", "./lib/a.js", Some("lib/a.ts")),
            ("main.ts", "./lib", Some("lib/index.ts")),
            ("main.ts", "lib/b.js", Some("lib/b.js")),
            ("lib/a.ts", "./b", Some("lib/b.js")),
            ("lib/a.ts", "../data.json", Some("data.json")),
            ("lib/a.ts", "../x", Some("x.ts")),
            ("lib/a.ts", "../x.js", Some("x.js")),
            ("main.ts", "../main.ts", None),
            ("main.ts", "./none", None),
        ] {
            assert_eq!(resolve(from, specifier, |name| names.get(name).copied()), expected, "{from} {specifier}");
        }
    }

    #[test]
    fn a_new_name_is_written_in_the_manner_of_the_old_one() {
        let names = BTreeSet::from(["main.ts", "lib/b.ts", "lib/c.js", "y.ts", "y.js", "data.json"]);
        for (before, from, to, expected) in [
            ("./a", "main.ts", "lib/b.ts", Some("./lib/b")),
            ("./a.ts", "main.ts", "lib/b.ts", Some("./lib/b.ts")),
            ("./a.js", "main.ts", "lib/b.ts", Some("./lib/b.js")),
            ("./a.js", "main.ts", "lib/c.js", Some("./lib/c.js")),
            ("../a", "lib/b.ts", "main.ts", Some("../main")),
            ("a", "main.ts", "lib/b.ts", Some("lib/b")),
            // Without its ending the other of the two would be meant.
            ("./a", "main.ts", "y.js", Some("./y.js")),
            ("./a", "main.ts", "data.json", Some("./data.json")),
            ("./a", "main.ts", "absent.ts", None),
        ] {
            assert_eq!(respell(before, from, to, &names).as_deref(), expected, "{before} in {from} to {to}");
        }
    }

    #[test]
    fn relative_paths_lead_from_one_module_to_the_other() {
        for (from, to, expected) in [
            ("a.ts", "b.ts", "./b.ts"),
            ("a.ts", "lib/b.ts", "./lib/b.ts"),
            ("lib/a.ts", "b.ts", "../b.ts"),
            ("lib/deep/a.ts", "lib/b.ts", "../b.ts"),
            ("lib/a.ts", "other/b.ts", "../other/b.ts"),
        ] {
            assert_eq!(relative(from, to), expected, "{from} {to}");
            assert_eq!(resolve(from, expected, |name| (name == to).then_some(())), Some(()), "{from} {to}");
        }
    }

    #[test]
    fn only_the_literals_change() {
        let source = "import a from './a'; // './a'\nimport b from \"./b\";\n";
        let edits =
            read("m.ts", source).named.into_iter().map(|import| (import.literal, "./it's".to_owned())).collect();
        assert_eq!(rewrite(source, edits), "import a from \"./it's\"; // './a'\nimport b from \"./it's\";\n");
    }
}
