//! The organisation's own pages (reference section 1.10). Invariant: a page that an application or the organisation shows
//! is not deleted, and goes on being of its type.

use identity::tag::CustomPageDocument;
use serde_json::{Map, Value};
use store::{Application, Collection, CustomPage, ReadAccess, Store, Stored, WriteAccess};
use types::{Code, CustomPageId};
use uuid::Uuid;

use super::{AccessView, Kept, body, members, organization, refused, system, view};
use crate::auth::OpContext;
use crate::failure::Failure;

impl Kept for CustomPage {
    const RESOURCE: &'static str = "access_custom_page";
    const THING: &'static str = "custom page";

    fn collection(store: &Store) -> Collection<'_, Self> {
        store.custom_pages()
    }

    fn show(stored: &Stored<Self>) -> Map<String, Value> {
        let mut members = members(&stored.document.body);
        members.insert("uid".to_owned(), stored.id.to_string().into());
        members
    }
}

fn shows(application: &Stored<Application>, id: CustomPageId) -> bool {
    let text = Value::from(id.to_string());
    application.document.body["custom_pages"].as_array().is_some_and(|pages| pages.contains(&text))
}

async fn page_view(cx: &OpContext, stored: &Stored<CustomPage>) -> Result<AccessView, Failure> {
    Ok(counted(stored, &applications(cx).await?))
}

async fn applications(cx: &OpContext) -> Result<Vec<Stored<Application>>, Failure> {
    let grant = system(cx, "count the applications of a page")?;
    Ok(cx.store().applications().list(&grant).await?)
}

fn counted(stored: &Stored<CustomPage>, applications: &[Stored<Application>]) -> AccessView {
    let mut view = view(stored);
    let count = applications.iter().filter(|application| shows(application, stored.id)).count();
    view.0.insert("app_count".to_owned(), count.into());
    view
}

/// Returns every page, without its markup.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext) -> Result<Vec<AccessView>, Failure> {
    let grant = cx.authorize::<ReadAccess>()?;
    let (pages, applications) = (cx.store().custom_pages().list(&grant).await?, applications(cx).await?);
    let mut views: Vec<AccessView> = pages.iter().map(|page| counted(page, &applications)).collect();
    for view in &mut views {
        view.0.remove("custom_html");
    }
    Ok(views)
}

/// Returns one page.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, id: CustomPageId) -> Result<AccessView, Failure> {
    let stored = super::load::<CustomPage>(cx, &id).await?;
    page_view(cx, &stored).await
}

/// Makes a page.
///
/// # Errors
///
/// A [`Failure`] that points at the member at fault.
pub async fn create(cx: &OpContext, document: &Value) -> Result<AccessView, Failure> {
    let page = read(document)?;
    let stored = super::create(cx, CustomPageId(Uuid::new_v4()), page).await?;
    page_view(cx, &stored).await
}

/// Replaces a page.
///
/// # Errors
///
/// `NotFound`, `Conflict` for another type of a page in use, and a [`Failure`] that points at the member at fault.
pub async fn replace(cx: &OpContext, id: CustomPageId, document: &Value) -> Result<AccessView, Failure> {
    cx.authorize::<WriteAccess>()?;
    let before = super::load::<CustomPage>(cx, &id).await?;
    let page = read(document)?;
    if page.body["type"] != before.document.body["type"] && user(cx, id).await?.is_some() {
        return Err(Failure::conflict(
            "/type",
            "the page is shown somewhere; take it out there first, or make another",
        ));
    }
    let stored = super::replace(cx, &before, page).await?;
    page_view(cx, &stored).await
}

/// Deletes a page that is shown nowhere.
///
/// # Errors
///
/// `NotFound`, `Conflict` when it is in use.
pub async fn delete(cx: &OpContext, id: CustomPageId) -> Result<(), Failure> {
    cx.authorize::<WriteAccess>()?;
    let before = super::load::<CustomPage>(cx, &id).await?;
    if let Some(user) = user(cx, id).await? {
        return Err(Failure::new(Code::Conflict, format!("{user} shows this page; change that first")));
    }
    super::delete(cx, &before).await
}

/// Who shows a page, if anybody does.
async fn user(cx: &OpContext, id: CustomPageId) -> Result<Option<String>, Failure> {
    let applications = applications(cx).await?;
    if let Some(user) = applications.iter().find(|application| shows(application, id)) {
        return Ok(Some(format!("application \"{}\"", user.document.name)));
    }
    Ok(organization::shows(cx, id).await?.then(|| "the organisation".to_owned()))
}

fn read(document: &Value) -> Result<CustomPage, Failure> {
    let document = CustomPageDocument::read(document).map_err(refused)?;
    Ok(CustomPage { name: document.name.trim().to_owned(), body: body(&document)? })
}
