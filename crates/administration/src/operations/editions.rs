//! Which edition of the catalogue is used: the one that ships, or a newer data file in its place.
//!
//! Invariants: a data file is checked whole before it replaces anything, one that has conflicts is refused, and what would
//! change is known before it does.

use std::sync::Arc;

use catalog::catalog::Statistics;
use catalog::difference::{self, Difference};
use catalog::{Catalog, Row};
use serde::Serialize;
use serde_json::json;
use store::{CatalogEdition, Only, ReadGateway, WriteGateway};
use utoipa::ToSchema;

use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::Failure;

/// The edition in use.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct EditionView {
    /// Whether it came with the program.
    pub embedded: bool,
    #[schema(value_type = Object)]
    pub statistics: Statistics,
    /// What changed, or would change, against the edition before.
    #[schema(value_type = Option<Object>)]
    pub difference: Option<Difference>,
}

async fn current(cx: &OpContext) -> Result<(bool, Arc<Catalog>), Failure> {
    let grant = cx.authorize::<ReadGateway>()?;
    match cx.store().catalog_edition().get(&grant, &Only).await? {
        // What the store holds was checked before it was stored; should it not load, the one in force is what is used.
        Some(stored) => match Catalog::parse(stored.document.data) {
            Ok(catalog) => Ok((false, Arc::new(catalog))),
            Err(_) => Ok((false, Arc::clone(cx.app.deps.snapshot.classifier().catalog()))),
        },
        None => Ok((true, Catalog::embedded())),
    }
}

/// Returns every application of a catalogue with all that is known.
#[must_use]
pub fn rows(catalog: &Catalog) -> Vec<Row> {
    catalog.applications().iter().map(|application| catalog.row(application)).collect()
}

/// Returns the edition in use.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn get(cx: &OpContext) -> Result<EditionView, Failure> {
    let (embedded, catalog) = current(cx).await?;
    Ok(EditionView { embedded, statistics: catalog.statistics(), difference: None })
}

/// Checks a data file.
///
/// # Errors
///
/// A [`Failure`] that names the line at fault or the hosts that two applications claim.
pub fn check(data: &str) -> Result<Catalog, Failure> {
    Catalog::parse(data.to_owned()).map_err(|error| match &error {
        catalog::LoadError::Line(_) => Failure::new(types::Code::InvalidInput, error.to_string()),
        catalog::LoadError::Conflicts(conflicts) => Failure::invalid_many(
            conflicts
                .iter()
                .take(20)
                .map(|conflict| crate::failure::Problem {
                    message: format!("a host belongs to two applications: {conflict}"),
                    pointer: None,
                })
                .collect(),
        ),
    })
}

/// Puts a data file in the place of the edition in use, or only says what would change.
///
/// # Errors
///
/// As [`check`]; `Conflict` when the file is older than the edition in use.
pub async fn replace(cx: &OpContext, data: &str, dry_run: bool) -> Result<EditionView, Failure> {
    let grant = cx.authorize::<WriteGateway>()?;
    let new = check(data)?;
    let (_, before) = current(cx).await?;
    newer(&before, &new)?;
    let difference = difference::between(&rows(&before), &rows(&new));
    let statistics = new.statistics();
    if !dry_run {
        let version = new.header().version.clone();
        let edition = CatalogEdition { version: version.clone(), data: data.to_owned() };
        cx.store().catalog_edition().put(&grant, Only, edition).await?;
        let change = Change::new(Verb::Update, "application catalogue", "edition")
            .before(json!({"version": before.header().version}))
            .after(json!({
                "version": version,
                "added": difference.added.len(),
                "removed": difference.removed.len(),
                "changed": difference.changed.len(),
            }));
        cx.record(change).await?;
    }
    Ok(EditionView { embedded: false, statistics, difference: Some(difference) })
}

/// An older edition would bring back applications that were corrected since.
///
/// # Errors
///
/// `Conflict` when `new` is older than `before`.
pub fn newer(before: &Catalog, new: &Catalog) -> Result<(), Failure> {
    let (old, version) = (&before.header().version, &new.header().version);
    if version < old {
        let message = format!("the edition in use is {old}, and this one is older: {version}");
        return Err(Failure::new(types::Code::Conflict, message));
    }
    Ok(())
}

/// Goes back to the edition that ships with the program.
///
/// # Errors
///
/// `NotFound` when it is in use already.
pub async fn reset(cx: &OpContext) -> Result<EditionView, Failure> {
    let grant = cx.authorize::<WriteGateway>()?;
    let before = cx.store().catalog_edition().get(&grant, &Only).await?;
    let before = before.ok_or_else(|| Failure::not_found("edition in place of the one that ships"))?;
    cx.store().catalog_edition().delete(&grant, &Only, Some(before.revision)).await?;
    let change = Change::new(Verb::Delete, "application catalogue", "edition")
        .before(json!({"version": before.document.version}));
    cx.record(change).await?;
    get(cx).await
}
