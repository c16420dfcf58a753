//! Tags of applications (reference section 11). Invariant: a tag that an application carries is neither renamed nor
//! deleted.

use identity::tag::TagDocument;
use serde_json::{Map, Value};
use store::{Application, Collection, Store, Stored, Tag, TagName, WriteAccess};
use types::Code;

use super::{AccessView, Kept, refused, system, view};
use crate::auth::OpContext;
use crate::failure::Failure;

impl Kept for Tag {
    const RESOURCE: &'static str = "access_tag";
    const THING: &'static str = "tag";

    fn collection(store: &Store) -> Collection<'_, Self> {
        store.tags()
    }

    fn show(stored: &Stored<Self>) -> Map<String, Value> {
        Map::from_iter([("name".to_owned(), stored.id.as_str().into())])
    }
}

fn tag_view(stored: &Stored<Tag>, applications: &[Stored<Application>]) -> AccessView {
    let mut view = view(stored);
    view.0.remove("id");
    let count = applications.iter().filter(|application| carries(application, &stored.id)).count();
    view.0.insert("app_count".to_owned(), count.into());
    view
}

fn carries(application: &Stored<Application>, tag: &TagName) -> bool {
    let tags = application.document.body["tags"].as_array();
    tags.is_some_and(|tags| tags.iter().any(|known| known.as_str() == Some(tag.as_str())))
}

async fn applications(cx: &OpContext) -> Result<Vec<Stored<Application>>, Failure> {
    let grant = system(cx, "count the applications of a tag")?;
    Ok(cx.store().applications().list(&grant).await?)
}

/// Returns every tag.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext) -> Result<Vec<AccessView>, Failure> {
    let grant = cx.authorize::<store::ReadAccess>()?;
    let applications = applications(cx).await?;
    Ok(cx.store().tags().list(&grant).await?.iter().map(|tag| tag_view(tag, &applications)).collect())
}

/// Returns one tag.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, name: &TagName) -> Result<AccessView, Failure> {
    let tag = super::load::<Tag>(cx, name).await?;
    Ok(tag_view(&tag, &applications(cx).await?))
}

/// Makes a tag.
///
/// # Errors
///
/// `Conflict` when it exists.
pub async fn create(cx: &OpContext, document: &Value) -> Result<AccessView, Failure> {
    let name = read(document)?;
    let made = super::create(cx, name, Tag {}).await;
    let stored = made.map_err(|failure| {
        if failure.code == Code::Conflict { Failure::conflict("/name", "there is a tag of this name") } else { failure }
    })?;
    Ok(tag_view(&stored, &[]))
}

/// Renames a tag that no application carries.
///
/// # Errors
///
/// `NotFound`, `Conflict` when it is in use or the new name is taken.
pub async fn rename(cx: &OpContext, name: &TagName, document: &Value) -> Result<AccessView, Failure> {
    cx.authorize::<WriteAccess>()?;
    let before = super::load::<Tag>(cx, name).await?;
    let wanted = read(document)?;
    if wanted == *name {
        return get(cx, name).await;
    }
    check_unused(cx, name).await?;
    let made = create(cx, document).await?;
    super::delete(cx, &before).await?;
    Ok(made)
}

/// Deletes a tag that no application carries.
///
/// # Errors
///
/// `NotFound`, `Conflict` when it is in use.
pub async fn delete(cx: &OpContext, name: &TagName) -> Result<(), Failure> {
    cx.authorize::<WriteAccess>()?;
    let before = super::load::<Tag>(cx, name).await?;
    check_unused(cx, name).await?;
    super::delete(cx, &before).await
}

async fn check_unused(cx: &OpContext, name: &TagName) -> Result<(), Failure> {
    match applications(cx).await?.iter().find(|application| carries(application, name)) {
        None => Ok(()),
        Some(user) => {
            let message = format!("application \"{}\" carries this tag; take it off first", user.document.name);
            Err(Failure::new(Code::Conflict, message))
        }
    }
}

fn read(document: &Value) -> Result<TagName, Failure> {
    let document = TagDocument::read(document).map_err(refused)?;
    document.name.parse().map_err(|message: &str| Failure::invalid("/name", message))
}
