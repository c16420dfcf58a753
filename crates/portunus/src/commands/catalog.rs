//! `portunus catalog stats | lookup | update | reset | import | lists`.
//!
//! Questions are answered without a platform too, from the edition that ships. Invariant: a data file or list that is
//! refused leaves everything as it was, and what changes is printed before it does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use administration::failure::Failure;
use administration::operations::applications::look_up;
use administration::operations::category_lists::{self, Import};
use administration::operations::editions;
use anyhow::{Context, Result, bail};
use catalog::difference;
use catalog::import::{MOST_BYTES, ut1_category};
use catalog::{Catalog, CategoryIndex, Classifier};
use serde_json::{Value, json};
use store::{CatalogEdition, CategoryList, CategoryNames, Only, ReadGateway, WriteGateway};
use types::CategoryListId;

use super::state::Opened;
use crate::arguments::{Catalog as Arguments, State};

pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments {
        Arguments::Stats { state, json } => stats(&state, json).await?,
        Arguments::Lookup { state, host, json } => return lookup(&state, &host, json).await,
        Arguments::Update { state, file, dry_run, json } => update(&state, &file, dry_run, json).await?,
        Arguments::Reset { state } => reset(&state).await?,
        Arguments::Import { state, path, category, name, format, json } => {
            let opened = Opened::open(&state).await?;
            let wanted = Wanted { category: category.as_deref(), name: name.as_deref(), format: format.as_deref() };
            import(&opened, &path, &wanted, json).await?;
        }
        Arguments::Lists { state, json } => lists(&state, json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What this installation knows of hosts; without one, what ships. Says which it was.
async fn known(state: &State) -> Result<(Classifier, &'static str)> {
    let asked = state.data.is_some() || state.config.is_some();
    let opened = match Opened::open(state).await {
        Ok(opened) => opened,
        Err(error) if asked => return Err(error),
        Err(_) => return Ok((Classifier::embedded(), "the edition that ships; no platform was named")),
    };
    let read = opened.grant::<ReadGateway>()?;
    let (catalog, _) = edition(&opened).await?;
    let mut builder = CategoryIndex::with_own();
    for list in opened.store.category_lists().list(&read).await? {
        let Some(names) = opened.store.category_names().get(&read, &list.id).await? else { continue };
        for name in names.document.0.lines() {
            builder.add(list.document.category, name)?;
        }
    }
    let reviews = opened.store.catalog_reviews().list(&read).await?;
    let statuses = reviews.into_iter().map(|review| (review.id.0, review.document.0.status));
    Ok((Classifier::new(catalog, builder.finish().into(), statuses), "this platform"))
}

/// The edition a platform uses, and whether it is the one that ships.
async fn edition(opened: &Opened) -> Result<(Arc<Catalog>, bool)> {
    let stored = opened.store.catalog_edition().get(&opened.grant::<ReadGateway>()?, &Only).await?;
    match stored {
        Some(stored) => Ok((Arc::new(Catalog::parse(stored.document.data).context("the stored edition")?), false)),
        None => Ok((Catalog::embedded(), true)),
    }
}

async fn stats(state: &State, json: bool) -> Result<()> {
    let (classifier, whose) = known(state).await?;
    let statistics = classifier.catalog().statistics();
    if json {
        let mut value = serde_json::to_value(&statistics)?;
        value["ai_kinds"] =
            statistics.ai_kinds.iter().map(|(kind, count)| ((*kind).to_owned(), json!(count))).collect();
        value["categorised_names"] = json!(classifier.categories().len());
        println!("{value}");
        return Ok(());
    }
    println!("edition              {} ({whose})", statistics.version);
    println!("applications         {}", statistics.applications);
    println!("domains              {}", statistics.domains);
    println!("supporting domains   {}", statistics.support_domains);
    println!("vendors              {}", statistics.vendors);
    println!("AI applications      {}", statistics.ai);
    println!("with AI as a feature {}", statistics.embedded_ai);
    for (kind, count) in &statistics.ai_kinds {
        println!("  {kind:18} {count}");
    }
    println!("conflicts            {}", statistics.conflicts);
    println!("categorised names    {}", classifier.categories().len());
    println!("index                {} kB", statistics.index_bytes / 1024);
    Ok(())
}

/// Fails when nothing is known about the host, so that scripts can ask.
async fn lookup(state: &State, host: &str, json: bool) -> Result<ExitCode> {
    let (classifier, _) = known(state).await?;
    let found = look_up(&classifier, host);
    let nothing =
        found.application.is_none() && found.content_categories.is_empty() && found.security_categories.is_empty();
    if json {
        println!("{}", serde_json::to_string(&found)?);
    } else if nothing {
        println!("{}: nothing is known", found.host);
    } else {
        if let Some(application) = &found.application {
            let role = if application.role == "own" { "is" } else { "supports" };
            println!(
                "{} {role} {} ({}, {}), {}",
                found.host, application.name, application.human_id, application.id, application.status
            );
        }
        for (word, categories) in [("content", &found.content_categories), ("security", &found.security_categories)] {
            for category in categories {
                println!("{word} category {} ({})", category.name, category.id);
            }
        }
    }
    Ok(if nothing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn read(path: &Path, most: usize) -> Result<String> {
    let shown = path.display();
    let length = std::fs::metadata(path).with_context(|| format!("cannot read {shown}"))?.len();
    if length > most as u64 {
        bail!("{shown} has {length} bytes, and {most} are the most");
    }
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("{shown} is not text in UTF-8"))
}

/// A failure as the command line says it: every problem on a line of its own.
fn told(failure: &Failure) -> anyhow::Error {
    let problems = failure.problems.iter().map(|problem| match problem.pointer.as_deref() {
        Some(pointer) => format!("{} {}", pointer.trim_start_matches('/'), problem.message),
        None => problem.message.clone(),
    });
    anyhow::anyhow!("{}", problems.collect::<Vec<_>>().join("\n"))
}

async fn update(state: &State, file: &Path, dry_run: bool, json: bool) -> Result<()> {
    let data = read(file, catalog::format::MOST_BYTES)?;
    let new = editions::check(&data).map_err(|failure| told(&failure)).with_context(|| file.display().to_string())?;
    let opened = Opened::open(state).await?;
    let (before, _) = edition(&opened).await?;
    editions::newer(&before, &new).map_err(|failure| told(&failure))?;
    let difference = difference::between(&editions::rows(&before), &editions::rows(&new));
    let (from, to) = (before.header().version.clone(), new.header().version.clone());
    if json {
        println!("{}", json!({"from": from, "to": to, "dry_run": dry_run, "difference": difference}));
    } else {
        print!("{from} -> {to}: {difference}");
    }
    if dry_run {
        return Ok(());
    }
    let stored = CatalogEdition { version: to.clone(), data };
    opened.store.catalog_edition().put(&opened.grant::<WriteGateway>()?, Only, stored).await?;
    let after = json!({"version": to, "added": difference.added.len(), "removed": difference.removed.len(), "changed": difference.changed.len()});
    opened.record("update", "application catalogue", "edition", after)?;
    eprintln!("edition {to} is stored; a running platform uses it within a second");
    Ok(())
}

async fn reset(state: &State) -> Result<()> {
    let opened = Opened::open(state).await?;
    let write = opened.grant::<WriteGateway>()?;
    if opened.store.catalog_edition().get(&write, &Only).await?.is_none() {
        println!("the edition that ships is in use already: {}", Catalog::embedded().header().version);
        return Ok(());
    }
    opened.store.catalog_edition().delete(&write, &Only, None).await?;
    opened.record("delete", "application catalogue", "edition", Value::Null)?;
    println!("back to the edition that ships: {}", Catalog::embedded().header().version);
    Ok(())
}

/// What the flags say about a list.
struct Wanted<'a> {
    category: Option<&'a str>,
    name: Option<&'a str>,
    format: Option<&'a str>,
}

/// Imports a file, or each directory of the UT1 layout: a directory with a file `domains` in it for each category.
async fn import(opened: &Opened, path: &Path, wanted: &Wanted<'_>, json: bool) -> Result<()> {
    if path.is_dir() {
        if wanted.category.is_some() && !path.join("domains").is_file() {
            bail!(
                "{} holds several lists, whose directories name their categories; leave --category away",
                path.display()
            );
        }
        return import_directories(opened, path, wanted, json).await;
    }
    let Some(category) = wanted.category else {
        bail!("--category is needed: the number or name of the category that the names of the list belong to");
    };
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let name = wanted.name.unwrap_or(&stem);
    import_one(opened, path, name, category, wanted.format, json).await
}

async fn import_directories(opened: &Opened, path: &Path, wanted: &Wanted<'_>, json: bool) -> Result<()> {
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut passed_over = Vec::new();
    let named = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if path.join("domains").is_file() {
        found.insert(named(path), path.join("domains"));
    } else {
        for entry in std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
            let directory = entry?.path();
            if directory.join("domains").is_file() {
                found.insert(named(&directory), directory.join("domains"));
            }
        }
    }
    if found.is_empty() {
        bail!("{}: no directory in it has a file named `domains`, as in the layout of UT1", path.display());
    }
    for (directory, file) in found {
        let category = match (wanted.category, ut1_category(&directory)) {
            (Some(category), _) => category.to_owned(),
            (None, Some(category)) => category.to_string(),
            (None, None) => {
                passed_over.push(directory);
                continue;
            }
        };
        import_one(opened, &file, &format!("ut1-{directory}"), &category, Some("ut1"), json).await?;
    }
    if !passed_over.is_empty() {
        eprintln!("passed over, for no category of Gateway stands for them: {}", passed_over.join(", "));
    }
    Ok(())
}

async fn import_one(
    opened: &Opened,
    file: &Path,
    name: &str,
    category: &str,
    format: Option<&str>,
    json: bool,
) -> Result<()> {
    let text = read(file, MOST_BYTES)?;
    let import = Import { name, category, format, text: &text };
    let (list, names) =
        category_lists::read(&import).map_err(|failure| told(&failure)).with_context(|| file.display().to_string())?;
    let write = opened.grant::<WriteGateway>()?;
    let all = opened.store.category_lists().list(&write).await?;
    category_lists::fits(&all, &list).map_err(|failure| told(&failure))?;
    let known = all.into_iter().find(|stored| stored.document.name == list.name).map(|stored| stored.id);
    let id = known.unwrap_or_else(|| CategoryListId(uuid::Uuid::new_v4()));
    let stored = opened.store.category_lists().put_with_names(&write, id, list, CategoryNames(names)).await?;
    opened.record(if known.is_some() { "update" } else { "create" }, "category list", id, summary(&stored.document))?;
    print_list(&id, &stored.document, json);
    Ok(())
}

fn summary(list: &CategoryList) -> Value {
    json!({"name": list.name, "category": list.category, "names": list.names, "format": list.format, "skipped": list.skipped})
}

fn print_list(id: &CategoryListId, list: &CategoryList, json: bool) {
    if json {
        let mut value = summary(list);
        value["id"] = json!(id);
        println!("{value}");
        return;
    }
    let category = catalog::taxonomy::category_name(list.category).unwrap_or_default();
    let skipped: Vec<String> = list.skipped.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    let skipped = if skipped.is_empty() { String::new() } else { format!("; left out {}", skipped.join(", ")) };
    println!("{}: {} names in {category} ({}){skipped}", list.name, list.names, list.category);
}

async fn lists(state: &State, json: bool) -> Result<()> {
    let opened = Opened::open(state).await?;
    for list in opened.store.category_lists().list(&opened.grant::<ReadGateway>()?).await? {
        print_list(&list.id, &list.document, json);
    }
    Ok(())
}
