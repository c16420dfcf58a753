//! Applications that Access publishes, and the policies that are theirs (reference sections 1.1 to 1.5).
//!
//! A policy that an author writes inside an application is stored as a document of its own, and the application keeps a
//! link with a precedence. Invariants: an application names only what exists; no two applications cover the same
//! destination; precedences are unique inside an application.

use std::collections::{BTreeSet, HashMap};

use identity::application::{Application as Sound, ApplicationDocument, ApplicationKind, ApplicationType};
use identity::audience::Audience;
use identity::destination::Pattern;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::{AccessPolicy, Application, Collection, ReadAccess, Revoked, Store, Stored, TagName, WriteAccess};
use types::{AccessPolicyId, ApplicationId, Code};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{AccessView, Kept, mcp_applications, members, policies, random, refused, system, view};
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::{Failure, Problem};

/// Two switches of an application that clients set alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplicationSettings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_iframe: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_interstitial: Option<bool>,
}

impl Kept for Application {
    const RESOURCE: &'static str = "access_application";
    const THING: &'static str = "application";

    fn collection(store: &Store) -> Collection<'_, Self> {
        store.applications()
    }

    fn show(stored: &Stored<Self>) -> Map<String, Value> {
        let document = identity::document::read_stored::<ApplicationDocument>(&stored.document.body);
        let mut members = document.map_or_else(|_| members(&stored.document.body), |document| document.show());
        members.insert("aud".to_owned(), stored.document.aud.clone().into());
        members
    }
}

/// What an application's document came to, ready to be stored.
struct Read {
    application: Application,
    own: Vec<(AccessPolicyId, AccessPolicy)>,
    linked: BTreeSet<AccessPolicyId>,
}

/// Returns every application.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext) -> Result<Vec<AccessView>, Failure> {
    let grant = cx.authorize::<ReadAccess>()?;
    let policies = all_policies(cx).await?;
    let applications = cx.store().applications().list(&grant).await?;
    Ok(applications.iter().map(|application| expanded(application, &policies)).collect())
}

/// Returns one application.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, id: ApplicationId) -> Result<AccessView, Failure> {
    let application = super::load::<Application>(cx, &id).await?;
    Ok(expanded(&application, &all_policies(cx).await?))
}

/// Makes an application.
///
/// # Errors
///
/// A [`Failure`] that points at every member at fault, `Conflict` for a destination that is taken.
pub async fn create(cx: &OpContext, document: &Value) -> Result<AccessView, Failure> {
    cx.authorize::<WriteAccess>()?;
    match mcp_applications::taken_over(cx, document).await? {
        Some(standing) => replace(cx, standing, document).await,
        None => create_as(cx, ApplicationId(Uuid::new_v4()), document).await,
    }
}

/// Makes an application under an id that was chosen already.
pub async fn create_as(cx: &OpContext, id: ApplicationId, document: &Value) -> Result<AccessView, Failure> {
    cx.authorize::<WriteAccess>()?;
    let read = read(cx, id, Audience(random()?), document, None).await?;
    save(cx, id, read, None).await
}

/// Replaces an application. Its own policies stay unless `policies` is sent and does not name them.
///
/// # Errors
///
/// As [`create`], and `NotFound`.
pub async fn replace(cx: &OpContext, id: ApplicationId, document: &Value) -> Result<AccessView, Failure> {
    cx.authorize::<WriteAccess>()?;
    let before = super::load::<Application>(cx, &id).await?;
    let aud = before.document.aud.parse().map_err(|error| Failure::internal("audience", &error))?;
    let mut document = document.clone();
    if let Value::Object(members) = &mut document
        && members.get("policies").is_none_or(Value::is_null)
    {
        members.insert("policies".to_owned(), before.document.body["policies"].clone());
    }
    let read = read(cx, id, aud, &document, Some(&before)).await?;
    save(cx, id, read, Some(before)).await
}

/// Changes the two switches that clients set alone.
///
/// # Errors
///
/// `NotFound`, `InvalidInput` for an application that has no such switch.
pub async fn settings(
    cx: &OpContext,
    id: ApplicationId,
    settings: ApplicationSettings,
) -> Result<ApplicationSettings, Failure> {
    cx.authorize::<WriteAccess>()?;
    let before = super::load::<Application>(cx, &id).await?;
    if before.document.body["type"] != ApplicationType::SelfHosted.as_str() {
        return Err(Failure::invalid("", "only applications of type self_hosted have these settings"));
    }
    let mut document = before.document.clone();
    for (name, value) in [("allow_iframe", settings.allow_iframe), ("skip_interstitial", settings.skip_interstitial)] {
        if let Some(value) = value {
            document.body[name] = value.into();
        }
    }
    let stored = super::replace(cx, &before, document).await?;
    let switch = |name: &str| stored.document.body[name].as_bool();
    Ok(ApplicationSettings { allow_iframe: switch("allow_iframe"), skip_interstitial: switch("skip_interstitial") })
}

/// Deletes an application with its own policies.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn delete(cx: &OpContext, id: ApplicationId) -> Result<(), Failure> {
    let grant = cx.authorize::<WriteAccess>()?;
    let before = super::load::<Application>(cx, &id).await?;
    cx.store().applications().delete_with_policies(&grant, id, Some(before.revision)).await?;
    let change = Change::new(Verb::Delete, Application::RESOURCE, id);
    cx.record(change.before(Value::Object(Application::show(&before)))).await
}

/// Ends every session at an application.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn revoke_tokens(cx: &OpContext, id: ApplicationId) -> Result<(), Failure> {
    cx.authorize::<WriteAccess>()?;
    super::load::<Application>(cx, &id).await?;
    let grant = system(cx, "end the sessions at an application")?;
    cx.store().revocations().revoke(&grant, Revoked::Application(id)).await?;
    cx.record(Change::new(Verb::Delete, "access_application_sessions", id)).await
}

/// Returns the policies of an application in their order.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn list_policies(cx: &OpContext, id: ApplicationId) -> Result<Vec<AccessView>, Failure> {
    let application = super::load::<Application>(cx, &id).await?;
    Ok(policy_views(&application, &all_policies(cx).await?))
}

/// Returns one policy of an application.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get_policy(cx: &OpContext, id: ApplicationId, policy: AccessPolicyId) -> Result<AccessView, Failure> {
    let text = policy.to_string();
    let found = list_policies(cx, id).await?.into_iter().find(|view| view.text("id") == text);
    found.ok_or_else(|| Failure::not_found(AccessPolicy::THING))
}

/// Adds a policy of its own to an application, at the end unless it names a precedence.
///
/// # Errors
///
/// As [`create`].
pub async fn add_policy(cx: &OpContext, id: ApplicationId, document: &Value) -> Result<AccessView, Failure> {
    cx.authorize::<WriteAccess>()?;
    let before = super::load::<Application>(cx, &id).await?;
    let policy = AccessPolicyId(Uuid::new_v4());
    let entry = entry(document, policy)?;
    change_links(cx, before, |links| links.push(entry)).await?;
    get_policy(cx, id, policy).await
}

/// Makes an application name a reusable policy, behind those it has. One that it names already stays where it is.
///
/// # Errors
///
/// `NotFound` for an application or a reusable policy that is not there.
pub async fn attach_policy(cx: &OpContext, id: ApplicationId, policy: AccessPolicyId) -> Result<(), Failure> {
    cx.authorize::<WriteAccess>()?;
    let before = super::load::<Application>(cx, &id).await?;
    policies::get(cx, policy).await?;
    let text = policy.to_string();
    change_links(cx, before, |links| {
        if !links.iter().any(|link| link["id"] == text) {
            links.push(json!({"id": text}));
        }
    })
    .await
}

/// Replaces a policy of an application.
///
/// # Errors
///
/// As [`create`], and `Conflict` for a reusable policy, which is changed where it stands.
pub async fn replace_policy(
    cx: &OpContext,
    id: ApplicationId,
    policy: AccessPolicyId,
    document: &Value,
) -> Result<AccessView, Failure> {
    cx.authorize::<WriteAccess>()?;
    let before = super::load::<Application>(cx, &id).await?;
    own_policy(cx, id, policy).await?;
    let mut changed = entry(document, policy)?;
    let text = policy.to_string();
    change_links(cx, before, |links| {
        if let Some(link) = links.iter_mut().find(|link| link["id"] == text) {
            if changed.get("precedence").is_none_or(Value::is_null) {
                changed["precedence"] = link["precedence"].clone();
            }
            *link = changed;
        }
    })
    .await?;
    get_policy(cx, id, policy).await
}

/// Takes a policy out of an application; one of its own is deleted.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn delete_policy(cx: &OpContext, id: ApplicationId, policy: AccessPolicyId) -> Result<(), Failure> {
    cx.authorize::<WriteAccess>()?;
    let before = super::load::<Application>(cx, &id).await?;
    get_policy(cx, id, policy).await?;
    let text = policy.to_string();
    change_links(cx, before, |links| links.retain(|link| link["id"] != text)).await
}

/// Makes an application's own policy reusable; the application goes on naming it.
///
/// # Errors
///
/// `NotFound`, `Conflict` when it is reusable already.
pub async fn make_reusable(cx: &OpContext, id: ApplicationId, policy: AccessPolicyId) -> Result<AccessView, Failure> {
    cx.authorize::<WriteAccess>()?;
    super::load::<Application>(cx, &id).await?;
    let before = own_policy(cx, id, policy).await?;
    let document = AccessPolicy { application: None, ..before.document.clone() };
    super::replace(cx, &before, document).await?;
    get_policy(cx, id, policy).await
}

/// Moves a policy of an application one place up or down.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn move_policy(cx: &OpContext, id: ApplicationId, policy: AccessPolicyId, up: bool) -> Result<(), Failure> {
    cx.authorize::<WriteAccess>()?;
    let before = super::load::<Application>(cx, &id).await?;
    let text = policy.to_string();
    change_links(cx, before, |links| {
        links.sort_by_key(precedence);
        let Some(at) = links.iter().position(|link| link["id"] == text) else { return };
        let other = if up { at.checked_sub(1) } else { Some(at + 1).filter(|next| *next < links.len()) };
        let Some(other) = other else { return };
        links.swap(at, other);
        for (index, link) in links.iter_mut().enumerate() {
            link["precedence"] = (index + 1).into();
        }
    })
    .await
}

async fn own_policy(
    cx: &OpContext,
    id: ApplicationId,
    policy: AccessPolicyId,
) -> Result<Stored<AccessPolicy>, Failure> {
    get_policy(cx, id, policy).await?;
    let found = super::load::<AccessPolicy>(cx, &policy).await?;
    if found.document.application == Some(id) {
        return Ok(found);
    }
    Err(Failure::new(Code::Conflict, "this policy is reusable; change it at /access/policies"))
}

/// A policy's document as an entry of `policies`.
fn entry(document: &Value, id: AccessPolicyId) -> Result<Value, Failure> {
    let Value::Object(members) = document else { return Err(Failure::invalid("", "a policy is an object")) };
    if !members.contains_key("decision") {
        return Err(Failure::invalid("/decision", "is required: allow, deny, non_identity or bypass"));
    }
    let mut members = members.clone();
    members.insert("id".to_owned(), id.to_string().into());
    Ok(Value::Object(members))
}

async fn change_links(
    cx: &OpContext,
    before: Stored<Application>,
    change: impl FnOnce(&mut Vec<Value>),
) -> Result<(), Failure> {
    let aud = before.document.aud.parse().map_err(|error| Failure::internal("audience", &error))?;
    let mut document = before.document.body.clone();
    let mut links = document["policies"].as_array().cloned().unwrap_or_default();
    change(&mut links);
    document["policies"] = Value::Array(links);
    let id = before.id;
    let read = read(cx, id, aud, &document, Some(&before)).await?;
    save(cx, id, read, Some(before)).await.map(|_| ())
}

async fn save(
    cx: &OpContext,
    id: ApplicationId,
    read: Read,
    before: Option<Stored<Application>>,
) -> Result<AccessView, Failure> {
    let grant = cx.authorize::<WriteAccess>()?;
    let Read { application, own, linked } = read;
    let standing = cx.store().access_policies().list_of(&grant, id).await?;
    let dropped = standing.iter().map(|policy| policy.id).filter(|policy| !linked.contains(policy)).collect();
    let expected = before.as_ref().map(|before| before.revision);
    let applications = cx.store().applications();
    let stored = applications.save_with_policies(&grant, id, application, expected, own, dropped).await?;
    let shown = expanded(&stored, &all_policies(cx).await?);
    let verb = if before.is_some() { Verb::Update } else { Verb::Create };
    let mut change = Change::new(verb, Application::RESOURCE, id).after(Value::Object(shown.0.clone()));
    if let Some(before) = before {
        change = change.before(Value::Object(Application::show(&before)));
    }
    cx.record(change).await?;
    Ok(shown)
}

async fn read(
    cx: &OpContext,
    id: ApplicationId,
    aud: Audience,
    document: &Value,
    before: Option<&Stored<Application>>,
) -> Result<Read, Failure> {
    let mut document = ApplicationDocument::read(document).map_err(refused)?;
    let (links, own) = split_policies(cx, id, std::mem::take(&mut document.policies)).await?;
    document.policies = links;
    document.aud = None;
    let sound = Sound::parse(id, aud, &document).map_err(refused)?;
    if let Some(before) = before
        && before.document.body["type"] != document.kind.as_str()
    {
        return Err(Failure::invalid("/type", "the type of an application cannot change; make another application"));
    }
    check_names(cx, &document).await?;
    mcp_applications::check(cx, &sound).await?;
    check_others(cx, id, &sound).await?;
    let linked = sound.policies().iter().filter_map(|link| match link {
        identity::application::PolicyLink::Reusable { id, .. } => Some(*id),
        identity::application::PolicyLink::Inline(_) => None,
    });
    let linked = linked.collect();
    let application = Application { name: sound.name, aud: aud.to_string(), body: stored_body(&document) };
    Ok(Read { application, own, linked })
}

/// The members of the application's type; one that was not written stays absent, so that it goes on inheriting.
fn stored_body(document: &ApplicationDocument) -> Value {
    let mut members = document.show();
    if document.session_duration.is_none() {
        members.remove("session_duration");
    }
    Value::Object(members)
}

/// Takes policies written inside an application out of it, and gives every link a precedence.
async fn split_policies(
    cx: &OpContext,
    id: ApplicationId,
    entries: Vec<Value>,
) -> Result<(Vec<Value>, Vec<(AccessPolicyId, AccessPolicy)>), Failure> {
    let standing = all_policies(cx).await?;
    let mut links: Vec<(AccessPolicyId, Option<i64>)> = Vec::with_capacity(entries.len());
    let mut own = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let at = |failure: Failure| prefixed(failure, &format!("/policies/{index}"));
        let named = entry.as_str().or_else(|| entry.get("id").and_then(Value::as_str));
        let named: Option<AccessPolicyId> =
            named.map(|text| text.parse().map_err(|_| unknown_policy(index))).transpose()?;
        let known = named.and_then(|policy| standing.get(&policy));
        let foreign = known.is_some_and(|policy| policy.document.application.is_some_and(|owner| owner != id));
        let precedence = entry.get("precedence").and_then(Value::as_i64);
        let written = entry.get("decision").is_some_and(|decision| !decision.is_null());
        match (named, known) {
            _ if foreign => return Err(unknown_policy(index)),
            // What a client read and sends back: a reusable policy is changed where it stands, not here.
            (Some(policy), Some(known)) if !written || known.document.application.is_none() => {
                links.push((policy, precedence));
            }
            (named, _) if written => {
                let policy = named.unwrap_or_else(|| AccessPolicyId(Uuid::new_v4()));
                own.push((policy, policies::read(cx, policy, entry, Some(id)).await.map_err(at)?));
                links.push((policy, precedence));
            }
            _ => return Err(unknown_policy(index)),
        }
    }
    let mut next = links.iter().filter_map(|(_, precedence)| *precedence).max().unwrap_or(0);
    let mut place = |precedence: Option<i64>| {
        precedence.unwrap_or_else(|| {
            next += 1;
            next
        })
    };
    let mut links: Vec<Value> = links
        .into_iter()
        .map(|(policy, precedence)| json!({"id": policy.to_string(), "precedence": place(precedence)}))
        .collect();
    links.sort_by_key(precedence);
    Ok((links, own))
}

fn precedence(link: &Value) -> i64 {
    link["precedence"].as_i64().unwrap_or(i64::MAX)
}

fn unknown_policy(index: usize) -> Failure {
    Failure::invalid(format!("/policies/{index}"), "there is no such policy; make it first, or write it here")
}

fn prefixed(failure: Failure, prefix: &str) -> Failure {
    let problems = failure.problems.into_iter().map(|problem| Problem {
        pointer: Some(format!("{prefix}{}", problem.pointer.unwrap_or_default())),
        message: problem.message,
    });
    Failure { problems: problems.collect(), ..failure }
}

/// What an application names must exist.
async fn check_names(cx: &OpContext, document: &ApplicationDocument) -> Result<(), Failure> {
    let grant = system(cx, "check what an application names")?;
    let mut problems = Vec::new();
    let mut missing = |pointer: String, thing: &str| {
        problems.push(Problem { message: format!("there is no such {thing}"), pointer: Some(pointer) });
    };
    let chain = document.portunus.as_ref().map(|extension| extension.login_chain.as_slice()).unwrap_or_default();
    for (list, providers) in [("/allowed_idps", document.allowed_idps.as_slice()), ("/portunus/login_chain", chain)] {
        for (index, provider) in providers.iter().enumerate() {
            if cx.store().providers().get(&grant, provider).await?.is_none() {
                missing(format!("{list}/{index}"), "identity provider");
            }
        }
    }
    for (index, tag) in document.tags.iter().enumerate() {
        let known = match tag.parse::<TagName>() {
            Ok(tag) => cx.store().tags().get(&grant, &tag).await?.is_some(),
            Err(_) => false,
        };
        if !known {
            missing(format!("/tags/{index}"), "tag");
        }
    }
    for (index, page) in document.custom_pages.iter().enumerate() {
        if cx.store().custom_pages().get(&grant, page).await?.is_none() {
            missing(format!("/custom_pages/{index}"), "custom page");
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::invalid_many(problems)) }
}

/// No two applications may cover the same destination, and there is one launcher.
async fn check_others(cx: &OpContext, id: ApplicationId, sound: &Sound) -> Result<(), Failure> {
    let grant = system(cx, "check what other applications cover")?;
    for other in cx.store().applications().list(&grant).await?.into_iter().filter(|other| other.id != id) {
        let Ok(document) = identity::document::read_stored::<ApplicationDocument>(&other.document.body) else {
            continue;
        };
        match &sound.kind {
            ApplicationKind::Launcher(_) if document.kind == ApplicationType::AppLauncher => {
                return Err(Failure::conflict("/type", "there is an app launcher already; change that one"));
            }
            ApplicationKind::SelfHosted(app) | ApplicationKind::McpPortal(app)
                if matches!(document.kind, ApplicationType::SelfHosted | ApplicationType::McpPortal) =>
            {
                let taken = covered(&document).into_iter().find(|pattern| app.destinations.contains(pattern));
                if let Some(pattern) = taken {
                    let message = format!("{pattern} is published by application \"{}\"", other.document.name);
                    return Err(Failure::conflict("/domain", message));
                }
            }
            ApplicationKind::McpServer(app)
                if document.kind == ApplicationType::Mcp
                    && mcp_applications::stands_for(&document).as_ref() == Some(&app.server) =>
            {
                let message = format!("application \"{}\" stands for the server", other.document.name);
                return Err(Failure::conflict("/destinations/0/mcp_server_id", message));
            }
            ApplicationKind::SelfHosted(_)
            | ApplicationKind::Launcher(_)
            | ApplicationKind::Bookmark(_)
            | ApplicationKind::McpPortal(_)
            | ApplicationKind::McpServer(_) => {}
        }
    }
    Ok(())
}

/// The patterns a document covers.
pub(super) fn covered(document: &ApplicationDocument) -> Vec<Pattern> {
    let uris = document.destinations.iter().filter_map(|destination| destination.public_uri().ok());
    let older = document.self_hosted_domains.iter().map(String::as_str);
    uris.chain(older).chain(document.domain.as_deref()).filter_map(|text| text.parse().ok()).collect()
}

type Policies = HashMap<AccessPolicyId, Stored<AccessPolicy>>;

async fn all_policies(cx: &OpContext) -> Result<Policies, Failure> {
    let grant = cx.authorize::<ReadAccess>()?;
    let policies = cx.store().access_policies().list(&grant).await?;
    Ok(policies.into_iter().map(|policy| (policy.id, policy)).collect())
}

fn policy_views(application: &Stored<Application>, policies: &Policies) -> Vec<AccessView> {
    let links = application.document.body["policies"].as_array();
    let shown = links.into_iter().flatten().filter_map(|link| {
        let policy = policies.get(&link["id"].as_str()?.parse().ok()?)?;
        let mut shown = view(policy);
        shown.0.insert("precedence".to_owned(), link["precedence"].clone());
        Some(shown)
    });
    shown.collect()
}

/// The application with its policies in full, as clients know it.
fn expanded(application: &Stored<Application>, policies: &Policies) -> AccessView {
    let mut shown = view(application);
    if shown.0.contains_key("policies") {
        let policies = policy_views(application, policies).into_iter().map(|policy| Value::Object(policy.0));
        shown.0.insert("policies".to_owned(), policies.collect());
    }
    shown
}
