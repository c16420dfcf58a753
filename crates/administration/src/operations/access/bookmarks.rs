//! Bookmarks of the older API (reference section 1.4): applications of type `bookmark` in another dress.

use identity::tag::BookmarkDocument;
use serde_json::{Map, Value};
use types::ApplicationId;

use super::{AccessView, applications, refused};
use crate::auth::OpContext;
use crate::failure::Failure;

const MEMBERS: [&str; 7] = ["id", "name", "domain", "logo_url", "app_launcher_visible", "created_at", "updated_at"];

fn dressed(view: AccessView) -> Option<AccessView> {
    let bookmark = view.text("type") == "bookmark";
    let members = view.0.into_iter().filter(|(name, _)| MEMBERS.contains(&name.as_str()));
    bookmark.then(|| AccessView(members.collect::<Map<_, _>>()))
}

fn application(document: &Value) -> Result<Value, Failure> {
    Ok(Value::Object(BookmarkDocument::read(document).map_err(refused)?.application().show()))
}

/// Returns every bookmark.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext) -> Result<Vec<AccessView>, Failure> {
    Ok(applications::list(cx).await?.into_iter().filter_map(dressed).collect())
}

/// Returns one bookmark.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, id: ApplicationId) -> Result<AccessView, Failure> {
    dressed(applications::get(cx, id).await?).ok_or_else(|| Failure::not_found("bookmark"))
}

/// Makes a bookmark under the id its author chose.
///
/// # Errors
///
/// A [`Failure`] that points at the member at fault, `Conflict` when the id is taken.
pub async fn create(cx: &OpContext, id: ApplicationId, document: &Value) -> Result<AccessView, Failure> {
    let made = applications::create_as(cx, id, &application(document)?).await?;
    dressed(made).ok_or_else(|| Failure::not_found("bookmark"))
}

/// Replaces a bookmark.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] that points at the member at fault.
pub async fn replace(cx: &OpContext, id: ApplicationId, document: &Value) -> Result<AccessView, Failure> {
    get(cx, id).await?;
    let saved = applications::replace(cx, id, &application(document)?).await?;
    dressed(saved).ok_or_else(|| Failure::not_found("bookmark"))
}

/// Deletes a bookmark.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn delete(cx: &OpContext, id: ApplicationId) -> Result<(), Failure> {
    get(cx, id).await?;
    applications::delete(cx, id).await
}
