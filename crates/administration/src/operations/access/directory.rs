//! What providers' directories sent over SCIM: people, groups, and the log of their changes (reference section 3.3).
//!
//! It reads only; the SCIM endpoints at the sign-in host write. Invariant: a provider's records are shown under that
//! provider alone.

use logs::{Dataset, Filter, Operator, Query};
use scim::group::Group;
use scim::user::User;
use serde_json::{Map, Value, json};
use store::{ReadAudit, ReadIdentity, ReadUsers};
use types::ProviderId;

use super::{AccessView, load};
use crate::auth::OpContext;
use crate::failure::Failure;
use crate::operations::logs as journal;

/// Most ids of one question.
const MAX_IDS: usize = 50;
/// Most updates of one answer.
const MAX_UPDATES: usize = 1_000;

/// Which records are wanted; what is not named fits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// Ids of ours, with commas between.
    pub ours: Option<&'a str>,
    /// Ids of the provider's, with commas between.
    pub theirs: Option<&'a str>,
    pub email: Option<&'a str>,
    pub name: Option<&'a str>,
    pub username: Option<&'a str>,
}

impl Wanted<'_> {
    fn checked(&self) -> Result<(), Failure> {
        if self.ours.is_some() && self.theirs.is_some() {
            return Err(Failure::invalid("", "ask by cf_resource_id or by idp_resource_id, not by both"));
        }
        let many = |ids: Option<&str>| ids.is_some_and(|ids| ids.split(',').count() > MAX_IDS);
        if many(self.ours) || many(self.theirs) {
            return Err(Failure::invalid("", format!("at most {MAX_IDS} ids can be asked for at once")));
        }
        Ok(())
    }

    fn fits(&self, id: &str, external: Option<&str>, name: &str) -> bool {
        let among = |ids: Option<&str>, id: &str| ids.is_none_or(|ids| ids.split(',').any(|one| one.trim() == id));
        among(self.ours, id)
            && self.theirs.is_none_or(|_| external.is_some_and(|external| among(self.theirs, external)))
            && self.name.is_none_or(|wanted| wanted.eq_ignore_ascii_case(name))
    }
}

/// Returns the people of a provider's directory.
///
/// # Errors
///
/// `NotFound` for an unknown provider, and a [`Failure`] for the caller.
pub async fn users(cx: &OpContext, provider: ProviderId, wanted: Wanted<'_>) -> Result<Vec<AccessView>, Failure> {
    wanted.checked()?;
    cx.authorize::<ReadIdentity>()?;
    load::<store::Provider>(cx, &provider).await?;
    let grant = cx.authorize::<ReadUsers>()?;
    let mut views = Vec::new();
    for stored in cx.store().directory_users().list_of(&grant, provider).await? {
        let user: User = read(stored.document.state)?;
        let attributes = &user.attributes;
        let same = |wanted: Option<&str>, text: &str| wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(text));
        let mailed = wanted.email.is_none_or(|wanted| {
            attributes.addresses().iter().any(|address| address.as_str().eq_ignore_ascii_case(wanted))
        });
        let fits = wanted.fits(&user.id.to_string(), attributes.external_id.as_deref(), &attributes.name());
        if fits && mailed && same(wanted.username, &attributes.user_name) {
            views.push(shown(user.document("")));
        }
    }
    Ok(views)
}

/// Returns the groups of a provider's directory, without their members.
///
/// # Errors
///
/// `NotFound` for an unknown provider, and a [`Failure`] for the caller.
pub async fn groups(cx: &OpContext, provider: ProviderId, wanted: Wanted<'_>) -> Result<Vec<AccessView>, Failure> {
    wanted.checked()?;
    cx.authorize::<ReadIdentity>()?;
    load::<store::Provider>(cx, &provider).await?;
    let grant = cx.authorize::<ReadUsers>()?;
    let mut views = Vec::new();
    for stored in cx.store().directory_groups().list_of(&grant, provider).await? {
        let group: Group = read(stored.document.state)?;
        let attributes = &group.attributes;
        if wanted.fits(&group.id.to_string(), attributes.external_id.as_deref(), &attributes.display_name) {
            let members = attributes.members.len();
            let mut view = shown(group.document("", false));
            view.0.insert("member_count".to_owned(), members.into());
            views.push(view);
        }
    }
    Ok(views)
}

fn read<R: serde::de::DeserializeOwned>(state: Value) -> Result<R, Failure> {
    serde_json::from_value(state).map_err(|error| Failure::internal("directory record", &error))
}

fn shown(document: Value) -> AccessView {
    let mut members = super::members(&document);
    if let Some(Value::Object(meta)) = members.get_mut("meta") {
        // A path without the host it hangs off leads nowhere.
        meta.remove("location");
    }
    AccessView(members)
}

/// Returns what directories changed, newest first; of one provider if `provider` is given.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn updates(cx: &OpContext, provider: Option<ProviderId>) -> Result<Vec<AccessView>, Failure> {
    cx.authorize::<ReadAudit>()?;
    let mut query = Query { limit: MAX_UPDATES, ..Query::newest(cx.account, Dataset::Audit) };
    let equal = |field: &str, value: String| Filter {
        field: field.to_owned(),
        operator: Operator::Equal,
        value: Value::from(value),
    };
    query.filters.push(equal("ActorType", "scim".to_owned()));
    if let Some(provider) = provider {
        query.filters.push(equal("ActorID", provider.to_string()));
    }
    let page = cx.app.deps.logs.query(query).await.map_err(journal::query_failed)?;
    Ok(page.entries.into_iter().map(|entry| update(&entry.fields)).collect())
}

fn update(record: &Map<String, Value>) -> AccessView {
    let field = |name: &str| record.get(name).cloned().unwrap_or(Value::Null);
    let metadata = field("Metadata");
    let of = |name: &str| metadata.get(name).cloned().unwrap_or(Value::Null);
    let kind = if field("ResourceType") == "directory_group" { "GROUP" } else { "USER" };
    let worked = field("ActionResult") == Value::Bool(true);
    AccessView(super::members(&json!({
        "cf_resource_id": field("ResourceID"),
        "error_description": field("Error"),
        "idp_id": of("idp_id"),
        "idp_resource_id": of("idp_resource_id"),
        "logged_at": field("When"),
        "request_body": of("request_body").to_string(),
        "request_method": of("request_method"),
        "resource_group_name": of("resource_group_name"),
        "resource_type": kind,
        "resource_user_email": of("resource_user_email"),
        "status": if worked { "SUCCESS" } else { "FAILURE" },
    })))
}
