//! Adding, renaming and removing the modules of a Worker, one at a time.
//!
//! It decides what a new module begins as and keeps every import meaning what it meant; what is stored is a version like
//! any other. Invariant: no module that is left names one that is gone, and after a rename every import leads to the very
//! module it led to before.

use std::collections::{BTreeMap, BTreeSet};

use store::{Module, ModuleKind, Source};
use types::{Code, ScriptName};
use worker::imports::{self, Imports};

use super::modules;
use super::scripts::{self, Content, Upload, normal_name};
use super::upload::Metadata;
use crate::auth::OpContext;
use crate::failure::Failure;

/// Stores a version with one more module, empty as its kind allows, and returns its name.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] that points at `/new`.
pub async fn add(cx: &OpContext, script: &ScriptName, name: &str) -> Result<String, Failure> {
    let content = scripts::content(cx, script).await?;
    let name = normal_name(name);
    let kind = kind_of("/new", &name)?;
    let text = match kind {
        ModuleKind::EsModule | ModuleKind::TypeScript => "export {};\n",
        ModuleKind::Json => "{}\n",
        ModuleKind::Text | ModuleKind::Data | ModuleKind::SourceMap => "",
    };
    let mut set = content.modules;
    set.push(Module { name: name.clone(), kind, source: Source::Text(text.to_owned()) });
    store(cx, script, "/new", content.main, set).await?;
    Ok(name)
}

/// Stores a version in which a module has another name and every import follows it, and returns that name.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] that points at `/to`.
pub async fn rename(cx: &OpContext, script: &ScriptName, from: &str, to: &str) -> Result<String, Failure> {
    let content = scripts::content(cx, script).await?;
    let (from, to) = (from.to_owned(), normal_name(to));
    let main = if from == content.main { to.clone() } else { content.main.clone() };
    let name = to.clone();
    let set = off_thread(move || renamed(&content.modules, &from, &to)).await?;
    store(cx, script, "/to", main, set).await?;
    Ok(name)
}

/// Stores a version without a module that no other imports.
///
/// # Errors
///
/// `NotFound`, `Conflict` for the main module and while others import it.
pub async fn remove(cx: &OpContext, script: &ScriptName, name: &str) -> Result<(), Failure> {
    let content = scripts::content(cx, script).await?;
    if name == content.main {
        return Err(Failure::conflict("/module", "the main module cannot be removed"));
    }
    let name = name.to_owned();
    let set = off_thread(move || without(content.modules, &name)).await?;
    store(cx, script, "/module", content.main, set).await
}

/// Which modules import each module, by its name.
///
/// # Errors
///
/// A [`Failure`] when it cannot be worked out.
pub async fn importers(content: &Content) -> Result<BTreeMap<String, BTreeSet<String>>, Failure> {
    let set = content.modules.clone();
    off_thread(move || Ok(imported_by(&set, &read(&set)?))).await
}

/// Reading the imports of a large Worker takes a while.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::internal("read imports", &error))?
}

async fn store(
    cx: &OpContext,
    script: &ScriptName,
    pointer: &str,
    main: String,
    modules: Vec<Module>,
) -> Result<(), Failure> {
    let metadata = Metadata { main_module: Some(main), ..Metadata::default() };
    match scripts::put_content(cx, script, Upload { metadata, modules }).await {
        Ok(_) => Ok(()),
        Err(mut failure) => {
            for problem in &mut failure.problems {
                problem.pointer.get_or_insert_with(|| pointer.to_owned());
            }
            Err(failure)
        }
    }
}

/// The kind of a module that is written here: what its name's end says, and nothing that is not text.
fn kind_of(pointer: &str, name: &str) -> Result<ModuleKind, Failure> {
    let kind = modules::kind(name, None)
        .map_err(|failure| Failure { problems: pointed(pointer, failure.problems), ..failure })?;
    if matches!(kind, ModuleKind::Data | ModuleKind::SourceMap) {
        let endings = ".ts, .mts, .js, .mjs, .json, .txt, .html, .md, .css, .svg or .sql";
        return Err(Failure::invalid(
            pointer,
            format!("end the name with {endings}; other kinds are uploaded by the API"),
        ));
    }
    Ok(kind)
}

fn pointed(pointer: &str, problems: Vec<crate::failure::Problem>) -> Vec<crate::failure::Problem> {
    let point = |problem| crate::failure::Problem { pointer: Some(pointer.to_owned()), ..problem };
    problems.into_iter().map(point).collect()
}

/// The imports of every module, in the modules' order.
fn read(set: &[Module]) -> Result<Vec<Imports>, Failure> {
    set.iter()
        .map(|module| imports::of(modules::source(module)))
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::new(Code::InvalidInput, error.to_string()))
}

fn imported_by(set: &[Module], imports: &[Imports]) -> BTreeMap<String, BTreeSet<String>> {
    let names: BTreeSet<&str> = set.iter().map(|module| module.name.as_str()).collect();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, imports) in set.iter().zip(imports) {
        for import in &imports.named {
            let target = imports::resolve(&module.name, &import.specifier, |name| names.get(name).copied());
            if let Some(target) = target.filter(|target| *target != module.name) {
                found.entry(target.to_owned()).or_default().insert(module.name.clone());
            }
        }
    }
    found
}

/// A module that makes a specifier at run time may mean any other, so none can change its name under it.
fn refuse_computed(pointer: &str, set: &[Module], imports: &[Imports]) -> Result<(), Failure> {
    let computed = set.iter().zip(imports).filter(|(_, imports)| imports.computed);
    let names: Vec<_> = computed.map(|(module, _)| module.name.as_str()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let message = format!(
        "{} imports by a name made at run time, so what it means cannot be followed; import by literal names first",
        names.join(", ")
    );
    Err(Failure::conflict(pointer, message))
}

fn without(set: Vec<Module>, name: &str) -> Result<Vec<Module>, Failure> {
    let imports = read(&set)?;
    if !set.iter().any(|module| module.name == name) {
        return Err(missing());
    }
    if let Some(importers) = imported_by(&set, &imports).get(name) {
        let list: Vec<_> = importers.iter().map(String::as_str).collect();
        return Err(Failure::conflict("/module", format!("{} imports it; change that first", list.join(", "))));
    }
    refuse_computed("/module", &set, &imports)?;
    Ok(set.into_iter().filter(|module| module.name != name).collect())
}

fn missing() -> Failure {
    Failure::new(Code::NotFound, "the Worker has no module of this name")
}

fn renamed(set: &[Module], from: &str, to: &str) -> Result<Vec<Module>, Failure> {
    let module = set.iter().find(|module| module.name == from).ok_or_else(missing)?;
    if to == from {
        return Err(Failure::invalid("/to", "is the name it has"));
    }
    if set.iter().any(|module| module.name == to) {
        return Err(Failure::conflict("/to", "another module has this name"));
    }
    let ending = |name: &str| name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    let kind = if ending(from) == ending(to) { module.kind } else { kind_of("/to", to)? };
    if kind != module.kind && matches!(module.source, Source::Base64(_)) {
        return Err(Failure::invalid("/to", "the module holds bytes; its name must keep its ending"));
    }
    let imports = read(set)?;
    refuse_computed("/to", set, &imports)?;
    let before: BTreeSet<&str> = set.iter().map(|module| module.name.as_str()).collect();
    let moved = |name: &str| -> String { if name == from { to } else { name }.to_owned() };
    let after: BTreeSet<String> = before.iter().map(|name| moved(name)).collect();
    let after: BTreeSet<&str> = after.iter().map(String::as_str).collect();
    let (mut result, mut lost) = (Vec::with_capacity(set.len()), Vec::new());
    for (module, imports) in set.iter().zip(imports) {
        let name = moved(&module.name);
        let mut edits = Vec::new();
        for import in imports.named {
            let specifier = &import.specifier;
            let Some(target) = imports::resolve(&module.name, specifier, |name| before.get(name).copied()) else {
                continue;
            };
            let target = moved(target);
            if imports::resolve(&name, specifier, |name| after.get(name).copied()) == Some(target.as_str()) {
                continue;
            }
            match imports::respell(specifier, &name, &target, &after) {
                Some(new) => edits.push((import.literal, new)),
                None => lost.push(format!("{} (\"{specifier}\")", module.name)),
            }
        }
        let source = match &module.source {
            Source::Text(text) if !edits.is_empty() => Source::Text(imports::rewrite(text, edits)),
            unchanged @ (Source::Text(_) | Source::Base64(_)) => unchanged.clone(),
        };
        let kind = if module.name == from { kind } else { module.kind };
        result.push(Module { name, kind, source });
    }
    if !lost.is_empty() {
        let message = format!("these imports could not be made to follow it: {}", lost.join(", "));
        return Err(Failure::conflict("/to", message));
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use store::{Module, ModuleKind, Source};

    use super::{renamed, without};
    use crate::operations::modules::kind;

    fn set(files: &[(&str, &str)]) -> Vec<Module> {
        let module = |(name, text): &(&str, &str)| Module {
            name: (*name).to_owned(),
            kind: kind(name, None).unwrap(),
            source: Source::Text((*text).to_owned()),
        };
        files.iter().map(module).collect()
    }

    fn texts(set: &[Module]) -> Vec<(&str, &str)> {
        let text = |module: &Module| match &module.source {
            Source::Text(text) => text.clone(),
            Source::Base64(_) => String::new(),
        };
        set.iter().map(|module| (module.name.as_str(), &*text(module).leak())).collect()
    }

    #[test]
    fn imports_follow_a_module_to_its_new_name() {
        let before = set(&[
            ("main.ts", "import { a } from './lib/a';\nimport x from \"./data.json\";\n"),
            ("lib/a.ts", "import '../data.json';\nimport './b.js';\n"),
            ("lib/b.ts", "import './a.ts';\n"),
            ("data.json", "{}"),
        ]);
        let after = renamed(&before, "lib/a.ts", "deep/er/c.ts").unwrap();
        assert_eq!(
            texts(&after),
            [
                ("main.ts", "import { a } from './deep/er/c';\nimport x from \"./data.json\";\n"),
                ("deep/er/c.ts", "import '../../data.json';\nimport '../../lib/b.js';\n"),
                ("lib/b.ts", "import '../deep/er/c.ts';\n"),
                ("data.json", "{}"),
            ]
        );
    }

    #[test]
    fn an_import_that_would_come_to_mean_the_renamed_module_keeps_its_own() {
        let before = set(&[("main.ts", "import './x';\n"), ("x.js", ""), ("y.ts", "")]);
        let after = renamed(&before, "y.ts", "x.ts").unwrap();
        assert_eq!(texts(&after)[0], ("main.ts", "import './x.js';\n"));
    }

    #[test]
    fn the_kind_follows_the_ending() {
        let before = set(&[("main.js", "export default {};"), ("a.txt", "hello")]);
        let after = renamed(&before, "a.txt", "a.ts").unwrap();
        assert_eq!(after[1].kind, ModuleKind::TypeScript);
        for (to, reason) in [
            ("a.bin", "end the name with"),
            ("a", "end the name with"),
            ("a.wasm", "WebAssembly"),
            ("main.js", "another module has this name"),
            ("a.txt", "is the name it has"),
        ] {
            let failure = renamed(&before, "a.txt", to).unwrap_err();
            let problem = &failure.problems[0];
            assert!(problem.message.contains(reason), "{to}: {}", problem.message);
            assert_eq!(problem.pointer.as_deref(), Some("/to"), "{to}");
        }
    }

    #[test]
    fn what_others_import_is_not_removed_and_they_are_named() {
        let before = set(&[("main.ts", "import './a';\n"), ("b.ts", "export * from './a';\n"), ("a.ts", "")]);
        let failure = without(before.clone(), "a.ts").unwrap_err();
        assert!(failure.problems[0].message.starts_with("b.ts, main.ts imports it"), "{failure:?}");
        assert_eq!(texts(&without(before, "b.ts").unwrap()).len(), 2);
    }

    #[test]
    fn names_made_at_run_time_hold_every_module_in_place() {
        let before = set(&[("main.ts", "const n = 'a'; await import('./' + n);\n"), ("a.ts", "")]);
        for failure in [without(before.clone(), "a.ts").unwrap_err(), renamed(&before, "a.ts", "b.ts").unwrap_err()] {
            assert!(
                failure.problems[0].message.starts_with("main.ts imports by a name made at run time"),
                "{failure:?}"
            );
        }
    }
}
