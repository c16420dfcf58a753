//! Queries of the log explorer that people keep under a name.
//!
//! Their text is kept as it is written; it runs, and is recorded, when somebody runs it. Invariant: a query that a signal asks
//! is not deleted.

use logs::sql::MAX_TEXT;
use serde::{Deserialize, Serialize};
use store::{ReadLogs, SavedQuery, Stored, WriteLogs};
use types::SavedQueryId;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{check_name, time};
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::{Failure, taken};

const LONGEST_DESCRIPTION: usize = 2_000;
/// What the audit log calls one.
const RESOURCE: &str = "saved query";

/// A saved query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SavedQueryView {
    pub id: String,
    pub name: String,
    pub description: String,
    /// One SELECT. `$from` and `$until` are the ends of a signal's window; the explorer puts the last 24 hours there.
    pub sql: String,
    pub created_at: String,
    pub updated_at: String,
}

/// A query to save.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SavedQueryBody {
    pub name: String,
    #[serde(default)]
    pub description: String,
    pub sql: String,
}

fn view(stored: Stored<SavedQuery>) -> SavedQueryView {
    SavedQueryView {
        id: stored.id.to_string(),
        name: stored.document.name,
        description: stored.document.description,
        sql: stored.document.sql,
        created_at: time(stored.created_at),
        updated_at: time(stored.updated_at),
    }
}

fn checked(body: SavedQueryBody) -> Result<SavedQuery, Failure> {
    check_name("/name", &body.name, 120)?;
    if body.description.chars().count() > LONGEST_DESCRIPTION {
        return Err(Failure::invalid("/description", format!("must have at most {LONGEST_DESCRIPTION} characters")));
    }
    if body.sql.trim().is_empty() || body.sql.len() > MAX_TEXT {
        return Err(Failure::invalid("/sql", format!("must be one SELECT of at most {MAX_TEXT} bytes")));
    }
    Ok(SavedQuery { name: body.name, description: body.description, sql: body.sql })
}

fn name_taken() -> Failure {
    Failure::conflict("/name", "another saved query has this name")
}

/// Lists the saved queries by name.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext) -> Result<Vec<SavedQueryView>, Failure> {
    let grant = cx.authorize::<ReadLogs>()?;
    let mut all: Vec<_> = cx.store().saved_queries().list(&grant).await?.into_iter().map(view).collect();
    all.sort_by_key(|query| query.name.to_lowercase());
    Ok(all)
}

/// Returns one.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, id: SavedQueryId) -> Result<SavedQueryView, Failure> {
    let grant = cx.authorize::<ReadLogs>()?;
    let found = cx.store().saved_queries().get(&grant, &id).await?;
    found.map(view).ok_or_else(|| Failure::not_found(RESOURCE))
}

/// Saves a new query.
///
/// # Errors
///
/// A [`Failure`] that points at what is wrong; `Conflict` for a name that is taken.
pub async fn create(cx: &OpContext, body: SavedQueryBody) -> Result<SavedQueryView, Failure> {
    let grant = cx.authorize::<WriteLogs>()?;
    let (id, query) = (SavedQueryId(Uuid::now_v7()), checked(body)?);
    let stored =
        cx.store().saved_queries().create(&grant, id, query).await.map_err(|error| taken(error, name_taken))?;
    cx.record(Change::new(Verb::Create, RESOURCE, id).after(summary(&stored.document))).await?;
    Ok(view(stored))
}

/// Replaces one.
///
/// # Errors
///
/// As [`create`], and `NotFound`.
pub async fn replace(cx: &OpContext, id: SavedQueryId, body: SavedQueryBody) -> Result<SavedQueryView, Failure> {
    let grant = cx.authorize::<WriteLogs>()?;
    let queries = cx.store().saved_queries();
    let before = queries.get(&grant, &id).await?.ok_or_else(|| Failure::not_found(RESOURCE))?;
    let query = checked(body)?;
    if !super::signals::of_query(cx, &grant, id).await?.is_empty() {
        super::signals::check_window(&query.sql).map_err(|failure| super::signals::at(failure, "/sql"))?;
    }
    let saved = queries.replace(&grant, id, query, Some(before.revision)).await;
    let stored = saved.map_err(|error| taken(error, name_taken))?;
    let change = Change::new(Verb::Update, RESOURCE, id).before(summary(&before.document));
    cx.record(change.after(summary(&stored.document))).await?;
    Ok(view(stored))
}

/// Deletes one that no signal asks.
///
/// # Errors
///
/// `Conflict` when a signal asks it, `NotFound`, and a [`Failure`] for the caller.
pub async fn delete(cx: &OpContext, id: SavedQueryId) -> Result<(), Failure> {
    let grant = cx.authorize::<WriteLogs>()?;
    let before = cx.store().saved_queries().get(&grant, &id).await?.ok_or_else(|| Failure::not_found(RESOURCE))?;
    if let Some(name) = super::signals::of_query(cx, &grant, id).await?.first() {
        return Err(Failure::conflict("", format!("the signal \"{name}\" asks it; delete that first")));
    }
    cx.store().saved_queries().delete(&grant, &id, Some(before.revision)).await?;
    cx.record(Change::new(Verb::Delete, RESOURCE, id).before(summary(&before.document))).await
}

fn summary(query: &SavedQuery) -> serde_json::Value {
    serde_json::json!({"name": query.name, "description": query.description, "sql": query.sql})
}
