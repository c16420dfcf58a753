//! The organisation's settings (reference section 1.10). There is always one; what was never written is the default.
//!
//! Invariants: a PUT changes what it names; a member that is `null` returns to its default; a custom page that it names
//! was there, and made for that place.

use identity::document;
use identity::organization::{DEFAULT_AUTH_DOMAIN, Organization as Sound, OrganizationDocument};
use identity::tag::PageType;
use serde_json::{Map, Value, json};
use store::{Collection, Only, Organization, ReadIdentity, Store, Stored, WriteIdentity};
use types::CustomPageId;

use super::{AccessView, Kept, body, members, refused, view};
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::Failure;

impl Kept for Organization {
    const RESOURCE: &'static str = "access_organization";
    const THING: &'static str = "organisation";

    fn collection(store: &Store) -> Collection<'_, Self> {
        store.organization()
    }

    fn show(stored: &Stored<Self>) -> Map<String, Value> {
        shown(&stored.document.body)
    }
}

fn shown(body: &Value) -> Map<String, Value> {
    let mut members = members(body);
    members.entry("session_duration").or_insert_with(|| "24h".into());
    members.entry("strict_service_token_auth").or_insert_with(|| true.into());
    members
}

/// Returns the settings.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn get(cx: &OpContext) -> Result<AccessView, Failure> {
    let grant = cx.authorize::<ReadIdentity>()?;
    match cx.store().organization().get(&grant, &Only).await? {
        Some(stored) => Ok(organization_view(&stored)),
        None => Ok(AccessView(shown(&body(&default(cx).await?)?))),
    }
}

/// Changes the settings.
///
/// # Errors
///
/// A [`Failure`] that points at every member at fault.
pub async fn put(cx: &OpContext, document: &Value) -> Result<AccessView, Failure> {
    let grant = cx.authorize::<WriteIdentity>()?;
    let Value::Object(sent) = document else { return Err(Failure::invalid("", "the settings are an object")) };
    let before = cx.store().organization().get(&grant, &Only).await?;
    let mut merged = match &before {
        Some(before) => members(&before.document.body),
        None => members(&body(&default(cx).await?)?),
    };
    merged.extend(sent.iter().map(|(name, value)| (name.clone(), value.clone())));
    let read = OrganizationDocument::read(&Value::Object(merged)).map_err(refused)?;
    let sound = Sound::parse(&read).map_err(refused)?;
    if sent.contains_key("custom_pages") {
        check_pages(cx, &sound).await?;
    }
    let document = Organization { body: body(&read)? };
    let stored = cx.store().organization().put(&grant, Only, document).await?;
    let change = Change::new(Verb::Update, Organization::RESOURCE, cx.account);
    let change = change.after(Value::Object(Organization::show(&stored)));
    cx.record(match before {
        Some(before) => change.before(Value::Object(Organization::show(&before))),
        None => change,
    })
    .await?;
    Ok(organization_view(&stored))
}

/// The pages of an organisation, each with when it is shown.
const fn pages_of(sound: &Sound) -> [(PageType, Option<CustomPageId>); 2] {
    [(PageType::Forbidden, sound.forbidden_page), (PageType::IdentityDenied, sound.denied_page)]
}

/// A page that is named must be there and be made for where it is named, or it would never be shown.
async fn check_pages(cx: &OpContext, sound: &Sound) -> Result<(), Failure> {
    let grant = super::system(cx, "check what the organisation names")?;
    for (kind, id) in pages_of(sound) {
        let Some(id) = id else { continue };
        let word = kind.as_str();
        let pointer = format!("/custom_pages/{word}");
        let Some(page) = cx.store().custom_pages().get(&grant, &id).await? else {
            return Err(Failure::invalid(pointer, "there is no such custom page"));
        };
        if page.document.body["type"] != word {
            return Err(Failure::invalid(pointer, format!("must be a custom page of type `{word}`")));
        }
    }
    Ok(())
}

/// Tells whether the organisation shows a custom page.
pub async fn shows(cx: &OpContext, page: CustomPageId) -> Result<bool, Failure> {
    let grant = super::system(cx, "check that a page is not in use")?;
    let stored = cx.store().organization().get(&grant, &Only).await?;
    let read = stored.and_then(|stored| document::read_stored::<OrganizationDocument>(&stored.document.body).ok());
    let sound = read.and_then(|read| Sound::parse(&read).ok());
    Ok(sound.is_some_and(|sound| pages_of(&sound).iter().any(|(_, id)| *id == Some(page))))
}

fn organization_view(stored: &Stored<Organization>) -> AccessView {
    let mut view = view(stored);
    view.0.remove("id");
    view
}

/// The name of the account, and the host people sign in at while nothing is stored: storing anything must not move it.
async fn default(cx: &OpContext) -> Result<OrganizationDocument, Failure> {
    let grant = super::system(cx, "name the organisation")?;
    let account = cx.store().account().get(&grant, &cx.account).await?;
    let name = account.map_or_else(|| "Portunus".to_owned(), |account| account.document.name);
    OrganizationDocument::read(&json!({"name": name, "auth_domain": DEFAULT_AUTH_DOMAIN})).map_err(refused)
}
