//! Identity providers: whom people sign in with.
//!
//! Invariants: a client's secret is typed and never shown; members that the form does not show keep their value.

use axum::extract::Path;
use maud::{Markup, html};
use serde_json::{Map, Value, json};
use store::Permission;
use types::ProviderId;

use super::{at, head};
use crate::failure::Failure;
use crate::operations::access::{AccessView, directory, organization, providers};
use crate::pages::control::{Control, Problems, button, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, confirm, empty, refused_form, shown_once, title};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, go, id};

/// Members of `config` with their labels.
type Members = &'static [(&'static str, &'static str)];

/// The types, with the members of `config` each asks for beyond the client.
const TYPES: [(&str, &str, Members); 11] = [
    ("onetimepin", "A code by mail", &[]),
    ("portunus", "People kept here, with passkeys", &[]),
    ("oidc", "OpenID Connect", &[("issuer", "Issuer URL")]),
    ("okta", "Okta", &[("okta_account", "Okta URL")]),
    ("azureAD", "Microsoft Entra", &[("directory_id", "Directory (tenant) id")]),
    ("google", "Google", &[]),
    ("google-apps", "Google Workspace", &[("apps_domain", "Workspace domain")]),
    ("github", "GitHub", &[]),
    ("keycloak", "Keycloak", &[("keycloak_url", "Keycloak URL"), ("realm", "Realm")]),
    ("nametag", "Nametag", &[("issuer", "Issuer URL")]),
    ("pingone", "PingOne", &[("ping_env_id", "Environment id")]),
];

fn needs_client(kind: &str) -> bool {
    !matches!(kind, "onetimepin" | "portunus")
}

fn type_of(kind: &str) -> (&'static str, Members) {
    TYPES.iter().find(|(word, ..)| *word == kind).map_or(("Another type", &[]), |(_, name, members)| (*name, *members))
}

/// Serves `GET /access/providers`.
pub(in crate::pages) async fn page(visitor: Visitor) -> Page {
    let all = providers::list(&visitor.cx).await?;
    let body = html! {
        (head(&visitor, "providers", &html! {}))
        @if all.is_empty() { (empty("Nobody can sign in yet.", &html! { "Add the provider your organisation uses, or let people sign in with a code by mail." })) } @else {
            table.cards {
                thead { tr { th scope="col" { "Provider" } th scope="col" { "Type" } th scope="col" { "Directory" } th scope="col" { "Changed" } } }
                tbody {
                    @for provider in &all {
                        tr {
                            td data-label="Provider" { a.strong href={ "/access/providers/" (provider.text("id")) } { (provider.text("name")) } }
                            td data-label="Type" { (type_of(provider.text("type")).0) }
                            td data-label="Directory" { @if has_scim(provider) { span.badge.calm { "SCIM" } } @else { span.muted { "not connected" } } }
                            td data-label="Changed" { (format::day(provider.text("updated_at"))) }
                        }
                    }
                }
            }
        }
        @if visitor.may(Permission::IdentityWrite) {
            h2 { "Add a provider" }
            div.chips { @for (word, name, _) in TYPES { a.button href={ "/access/providers/new?type=" (word) } { (name) } } }
        }
    };
    Ok(frame::page(&visitor, Place::Access, "Identity providers", &body))
}

fn has_scim(provider: &AccessView) -> bool {
    provider.0.get("scim_config").is_some_and(|scim| scim["enabled"] == true)
}

/// Serves `GET /access/providers/new`.
pub(in crate::pages) async fn new_page(visitor: Visitor) -> Page {
    let kind = visitor.query.get("type").to_owned();
    let body = new_form(&visitor, &kind, &Fields::default(), Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Access, "Add a provider", &body))
}

async fn new_form(visitor: &Visitor, kind: &str, fields: &Fields, problems: Problems<'_>) -> Result<Markup, Failure> {
    let (name, _) = type_of(kind);
    let callback = callback(visitor).await?;
    let values = |field: &str| match fields.find(field) {
        Some(value) => value.to_owned(),
        None if field == "name" => name.to_owned(),
        None => String::new(),
    };
    Ok(html! {
        p.crumbs { a href="/access/providers" { "Sign-in" } " / New" }
        (title(&format!("Add {name}"), "", &html! {}))
        (problems.summary())
        (form(visitor, "/access/providers", kind, &values, (false, fields.ticked("scim")), &callback, problems))
    })
}

/// Where the provider sends people back to.
async fn callback(visitor: &Visitor) -> Result<String, Failure> {
    let organization = organization::get(&visitor.cx).await?;
    Ok(format!("https://{}/cdn-cgi/access/callback", organization.text("auth_domain")))
}

fn form(
    visitor: &Visitor,
    action: &str,
    kind: &str,
    values: &dyn Fn(&str) -> String,
    (stored, scim): (bool, bool),
    callback: &str,
    problems: Problems<'_>,
) -> Markup {
    let (_, members) = type_of(kind);
    html! {
        form.sheet method="post" action=(action) {
            (csrf(&visitor.csrf))
            input type="hidden" name="type" value=(kind);
            (Control::new("name", "Name").required().problems(problems.at("/name")).input("text", &values("name")))
            @if kind == "onetimepin" {
                p { "A person types their address and gets a code of six digits by mail, if some policy of the application could let them in. Without a " a href="/access/outbox/server" { "mail server" } " codes wait in the outbox, where administrators read them." }
                p.hint { "Whoever reads a mailbox is its person here. A policy that includes everyone opens an application to anybody with a mailbox." }
            }
            @if needs_client(kind) {
                p { "Register Portunus there with this address to return to:" }
                pre.code data-copy { (callback) }
                @for (member, label) in members {
                    (Control::new(member, label).required().mono().problems(problems.at(&format!("/config/{member}"))).input("text", &values(member)))
                }
                div.row {
                    (Control::new("client_id", "Client id").required().mono().problems(problems.at("/config/client_id")).input("text", &values("client_id")))
                    (Control::new("client_secret", "Client secret").mono().hint(if stored { "Empty keeps the one that is stored." } else { "Sealed when it is stored, and never shown." }).autocomplete("new-password").problems(problems.at("/config/client_secret")).input("password", ""))
                }
                (Control::new("scim", "Its directory tells of people who leave (SCIM)").problems(problems.at("/scim_config")).tick(scim))
            }
            div.actions { button.primary type="submit" { "Save" } a.button.quiet href="/access/providers" { "Cancel" } }
        }
    }
}

fn document(fields: &Fields, stored: Option<&AccessView>) -> Value {
    let kind = stored.map_or_else(|| fields.get("type"), |stored| stored.text("type"));
    let mut members: Map<String, Value> = stored.map(|stored| stored.0.clone()).unwrap_or_default();
    members.insert("name".to_owned(), fields.get("name").into());
    members.insert("type".to_owned(), kind.into());
    let config = members.entry("config").or_insert_with(|| json!({}));
    if needs_client(kind) {
        let (_, own) = type_of(kind);
        for member in own.iter().map(|(member, _)| *member).chain(["client_id", "client_secret"]) {
            if let Some(value) = fields.text(member) {
                config[member] = value.into();
            }
        }
        let scim = members.entry("scim_config").or_insert_with(|| json!({"user_deprovision": true}));
        scim["enabled"] = fields.ticked("scim").into();
    }
    Value::Object(members)
}

/// Serves `POST /access/providers`; with SCIM the answer shows its secret.
pub(in crate::pages) async fn create(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    match providers::create(&visitor.cx, &document(&fields, None)).await {
        Ok(provider) if at(&provider, "scim_config/secret").is_empty() => go("/access/providers?note=created"),
        Ok(provider) => shown(&visitor, &provider).await,
        Err(failure) => {
            let body = new_form(&visitor, fields.get("type"), &fields, Problems::of(&failure)).await?;
            Ok(refused_form(&visitor, Place::Access, "Add a provider", &failure, &body))
        }
    }
}

async fn shown(visitor: &Visitor, provider: &AccessView) -> Page {
    let body = one(visitor, provider, None, Problems::NONE).await?;
    Ok(frame::page(visitor, Place::Access, provider.text("name"), &body))
}

async fn one(
    visitor: &Visitor,
    provider: &AccessView,
    typed: Option<&Fields>,
    problems: Problems<'_>,
) -> Result<Markup, Failure> {
    let path = format!("/access/providers/{}", provider.text("id"));
    let kind = provider.text("type");
    let may_write = visitor.may(Permission::IdentityWrite);
    let secret = at(provider, "scim_config/secret");
    let values = |field: &str| match (typed.and_then(|fields| fields.find(field)), field) {
        (Some(value), _) => value.to_owned(),
        (None, "name") => provider.text("name").to_owned(),
        (None, member) => at(provider, &format!("config/{member}")).to_owned(),
    };
    let scim = typed.map_or_else(|| has_scim(provider), |fields| fields.ticked("scim"));
    let callback = callback(visitor).await?;
    let known = if has_scim(provider) && visitor.may(Permission::UsersRead) {
        let id: ProviderId = id(provider.text("id"), "identity provider")?;
        let wanted = directory::Wanted::default();
        let people = directory::users(&visitor.cx, id, wanted).await?.len();
        Some((people, directory::groups(&visitor.cx, id, wanted).await?.len()))
    } else {
        None
    };
    let actions = html! {
        @if may_write {
            @if has_scim(provider) { (button(&format!("{path}/scim"), &visitor.csrf, "quiet", &html! { "New SCIM secret" }, &[])) }
            a.button.quiet href={ (path) "/delete" } { "Delete" }
        }
    };
    Ok(html! {
        p.crumbs { a href="/access/providers" { "Sign-in" } " / " (provider.text("name")) }
        (title(provider.text("name"), type_of(kind).0, &actions))
        @if !secret.is_empty() { (shown_once("The secret of the directory.", secret, &html! { p { "The directory sends it as a bearer token." } })) }
        @if has_scim(provider) {
            p { "The directory reaches Portunus at this address:" }
            pre.code data-copy { (at(provider, "scim_config/scim_base_url")) }
            @if let Some((people, groups)) = &known { p.muted { (people) " people and " (groups) " groups were sent so far." } }
        }
        (problems.summary())
        (form(visitor, &path, kind, &values, (true, scim), &callback, problems))
    })
}

/// Serves `GET /access/providers/{id}`.
pub(in crate::pages) async fn provider_page(visitor: Visitor, Path(provider): Path<String>) -> Page {
    let provider = providers::get(&visitor.cx, id(&provider, "identity provider")?).await?;
    shown(&visitor, &provider).await
}

/// Serves `POST /access/providers/{id}`.
pub(in crate::pages) async fn save(Path(provider): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let provider: ProviderId = id(&provider, "identity provider")?;
    let stored = providers::get(&visitor.cx, provider).await?;
    match providers::replace(&visitor.cx, provider, &document(&fields, Some(&stored))).await {
        Ok(saved) if at(&saved, "scim_config/secret").is_empty() => go("/access/providers?note=saved"),
        Ok(saved) => shown(&visitor, &saved).await,
        Err(failure) => {
            let body = one(&visitor, &stored, Some(&fields), Problems::of(&failure)).await?;
            Ok(refused_form(&visitor, Place::Access, stored.text("name"), &failure, &body))
        }
    }
}

/// Serves `POST /access/providers/{id}/scim`; the answer shows the secret.
pub(in crate::pages) async fn refresh_scim(Path(provider): Path<String>, form: Submission) -> Page {
    let provider: ProviderId = id(&provider, "identity provider")?;
    let provider = providers::refresh_scim_secret(&form.visitor.cx, provider).await?;
    shown(&form.visitor, &provider).await
}

/// Serves `GET /access/providers/{id}/delete`.
pub(in crate::pages) async fn confirm_delete(visitor: Visitor, Path(provider): Path<String>) -> Page {
    let provider = providers::get(&visitor.cx, id(&provider, "identity provider")?).await?;
    let path = format!("/access/providers/{}", provider.text("id"));
    let text = html! { p { "Nobody signs in with " strong { (provider.text("name")) } " from then on. A provider that an application names cannot be deleted." } };
    let act = format!("{path}/delete");
    Ok(confirm(&visitor, Place::Access, "Delete this provider?", &text, (&act, "Delete the provider"), &path))
}

/// Serves `POST /access/providers/{id}/delete`.
pub(in crate::pages) async fn delete(Path(provider): Path<String>, form: Submission) -> Page {
    providers::delete(&form.visitor.cx, id(&provider, "identity provider")?).await?;
    go("/access/providers?note=deleted")
}
