//! The people whose traffic is decided, and the tokens they show the proxy.
//!
//! Invariant: a proxy token's text is on the page that answers its making and on no other.

use axum::extract::Path;
use maud::{Markup, html};
use types::{TokenId, UserId};

use super::head;
use crate::failure::Failure;
use crate::operations::people::{self, GroupView, NewProxyToken, PersonBody, PersonView, ProxyTokenView};
use crate::pages::control::{Control, Problems, button, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, confirm, empty, refused_form, shown_once};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, go, id};

/// People shown on the page.
const SHOWN: usize = 1_000;

/// Serves `GET /settings/people`.
pub(in crate::pages) async fn page(visitor: Visitor) -> Page {
    let body = draw(&visitor, &Fields::default(), Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Settings, "People", &body))
}

async fn draw(visitor: &Visitor, fields: &Fields, problems: Problems<'_>) -> Result<Markup, Failure> {
    let all = people::list(&visitor.cx).await?;
    Ok(html! {
        (head("people"))
        @if all.is_empty() { (empty("Nobody is known yet.", &html! { "Add a person and make them a proxy token; rules can then ask who makes a request." })) }
        @else {
            label.finder { span { "Find" } input type="search" data-filter data-narrows="#people" autocomplete="off"; }
            table.cards id="people" {
                thead { tr { th scope="col" { "Person" } th scope="col" { "Groups" } th scope="col" { "Since" } th scope="col" { "State" } } }
                tbody {
                    @for person in all.iter().take(SHOWN) {
                        tr.off[person.disabled] {
                            td data-label="Person" { a.strong href={ "/settings/people/" (person.id) } { (person.email) } @if !person.name.is_empty() { div.muted { (person.name) } } }
                            td data-label="Groups" { (groups(person)) }
                            td data-label="Since" { (format::day(&person.created_at)) }
                            td data-label="State" { @if person.disabled { span.badge.plain { "disabled" } } @else { span.badge.calm { "active" } } }
                        }
                    }
                }
            }
            @if all.len() > SHOWN { p.muted { "The first " (SHOWN) " are shown; the API lists everyone." } }
        }
        @if visitor.may(store::Permission::UsersWrite) {
            details.fold open[all.is_empty() || fields.find("email").is_some()] {
                summary { "Add a person" }
                (problems.summary())
                form.sheet method="post" action="/settings/people" { (csrf(&visitor.csrf)) (inputs(fields.get("email"), fields.get("name"), fields.get("groups"), problems)) div.actions { button.primary type="submit" { "Add" } } }
            }
        }
    })
}

fn groups(person: &PersonView) -> String {
    person.groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn inputs(email: &str, name: &str, groups: &str, problems: Problems<'_>) -> Markup {
    html! {
        div.row {
            (Control::new("email", "E-mail address").required().problems(problems.at("/email")).input("email", email))
            (Control::new("name", "Name").problems(problems.at("/name")).input("text", name))
        }
        (Control::new("groups", "Groups").hint("Separated by commas.").problems(problems.at("/groups")).input("text", groups))
    }
}

fn body_of(fields: &Fields, known: &[GroupView]) -> PersonBody {
    let names = fields.get("groups").split(',').map(str::trim).filter(|name| !name.is_empty());
    // A group that came from a directory keeps the id it has there.
    let group = |name: &str| {
        let same = known.iter().find(|group| group.name == name).cloned();
        same.unwrap_or_else(|| GroupView { id: String::new(), name: name.to_owned(), email: None })
    };
    PersonBody {
        email: fields.get("email").to_owned(),
        name: fields.get("name").to_owned(),
        groups: names.map(group).collect(),
        disabled: fields.ticked("disabled"),
    }
}

/// Serves `POST /settings/people`.
pub(in crate::pages) async fn create(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    match people::create(&visitor.cx, body_of(&fields, &[])).await {
        Ok(person) => go(&format!("/settings/people/{}?note=created", person.id)),
        Err(failure) => {
            let body = draw(&visitor, &fields, Problems::of(&failure)).await?;
            Ok(refused_form(&visitor, Place::Settings, "People", &failure, &body))
        }
    }
}

/// Serves `GET /settings/people/{id}`.
pub(in crate::pages) async fn person_page(visitor: Visitor, Path(person): Path<String>) -> Page {
    let person = people::get(&visitor.cx, id(&person, "person")?).await?;
    let body = draw_person(&visitor, &person, None, None, Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Settings, &person.email, &body))
}

async fn draw_person(
    visitor: &Visitor,
    person: &PersonView,
    typed: Option<&Fields>,
    made: Option<&ProxyTokenView>,
    problems: Problems<'_>,
) -> Result<Markup, Failure> {
    let tokens = people::tokens(&visitor.cx, id(&person.id, "person")?).await?;
    let path = format!("/settings/people/{}", person.id);
    let may_write = visitor.may(store::Permission::UsersWrite);
    let stored = groups(person);
    let of = |name: &str, stored: &str| typed.and_then(|fields| fields.find(name)).unwrap_or(stored).to_owned();
    let (email, name, groups) = (of("email", &person.email), of("name", &person.name), of("groups", &stored));
    Ok(html! {
        (head("people"))
        p.crumbs { a href="/settings/people" { "People" } " / " (person.email) }
        (problems.summary())
        @if let Some(value) = made.and_then(|token| token.value.as_deref()) { (once(visitor, person, value)) }
        @if may_write {
            form.sheet method="post" action=(path) {
                (csrf(&visitor.csrf))
                (inputs(&email, &name, &groups, problems))
                (Control::new("disabled", "Disabled").hint("Their tokens stop working; they are nobody to the gateway.").tick(typed.map_or(person.disabled, |fields| fields.ticked("disabled"))))
                div.actions { button.primary type="submit" { "Save" } a.button.quiet href={ (path) "/delete" } { "Delete" } }
            }
        }
        section {
            h2 { "Proxy tokens" }
            @if tokens.is_empty() { p.muted { "None: this person cannot use the proxy by name." } } @else {
                table.cards {
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Made" } th scope="col" { "Expires" } th scope="col" { span.hidden { "Revoke" } } } }
                    tbody { @for token in &tokens { (token_row(visitor, &path, token, may_write)) } }
                }
            }
            @if may_write {
                form.sheet method="post" action={ (path) "/tokens" } {
                    (csrf(&visitor.csrf))
                    div.row {
                        (Control::new("token_name", "Name of a new token").placeholder("laptop").input("text", ""))
                        (Control::new("expires_on", "Expires (UTC)").problems(problems.at("/expires_on")).input("datetime-local", ""))
                    }
                    div.actions { button type="submit" { "Make a proxy token" } }
                }
            }
        }
        p {
            a href={ "/activity?person=" (person.email) } { "What they did" }
            @if visitor.may(store::Permission::LogsErase) { " · " a href={ "/settings/records?erase=" (format::path_part(&person.email)) "#erase" } { "Erase what is recorded of them" } }
        }
    })
}

fn token_row(visitor: &Visitor, path: &str, token: &ProxyTokenView, may_write: bool) -> Markup {
    html! {
        tr {
            td data-label="Name" { @if token.name.is_empty() { span.muted { "unnamed" } } @else { (token.name) } }
            td data-label="Made" { (format::day(&token.created_at)) }
            td data-label="Expires" { @if let Some(end) = &token.expires_on { (format::time(end)) } @else { span.muted { "never" } } }
            td { @if may_write { (button(&format!("{path}/tokens/{}/revoke", token.id), &visitor.csrf, "quiet", &html! { "Revoke" }, &[])) } }
        }
    }
}

fn once(visitor: &Visitor, person: &PersonView, value: &str) -> Markup {
    let proxy = &visitor.cx.app.deps.addresses.proxy;
    let advice = html! {
        p { "User name " code { (person.email) } ", password the token, proxy " code { (proxy) } ":" }
        pre.code data-copy { "curl -x " (proxy) " --proxy-user '" (person.email) ":" (value) "' https://example.com/" }
    };
    shown_once("The proxy token.", value, &advice)
}

/// Serves `POST /settings/people/{id}`.
pub(in crate::pages) async fn save(Path(person): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let person: UserId = id(&person, "person")?;
    let stored = people::get(&visitor.cx, person).await?;
    match people::replace(&visitor.cx, person, body_of(&fields, &stored.groups)).await {
        Ok(_) => go(&format!("/settings/people/{person}?note=saved")),
        Err(failure) => {
            let body = draw_person(&visitor, &stored, Some(&fields), None, Problems::of(&failure)).await?;
            Ok(refused_form(&visitor, Place::Settings, "Person", &failure, &body))
        }
    }
}

/// Serves `POST /settings/people/{id}/tokens`; the answer shows the token.
pub(in crate::pages) async fn issue_token(Path(person): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let person: UserId = id(&person, "person")?;
    let stored = people::get(&visitor.cx, person).await?;
    let expires_on = fields
        .text("expires_on")
        .map(|text| if text.matches(':').count() == 1 { format!("{text}:00Z") } else { format!("{text}Z") });
    let new = NewProxyToken { name: fields.get("token_name").to_owned(), expires_on };
    match people::issue_token(&visitor.cx, person, new).await {
        Ok(token) => {
            let body = draw_person(&visitor, &stored, None, Some(&token), Problems::NONE).await?;
            Ok(frame::page(&visitor, Place::Settings, &stored.email, &body))
        }
        Err(failure) => {
            let body = draw_person(&visitor, &stored, None, None, Problems::of(&failure)).await?;
            Ok(refused_form(&visitor, Place::Settings, &stored.email, &failure, &body))
        }
    }
}

/// Serves `POST /settings/people/{id}/tokens/{token}/revoke`.
pub(in crate::pages) async fn revoke_token(Path((person, token)): Path<(String, String)>, form: Submission) -> Page {
    let (person, token): (UserId, TokenId) = (id(&person, "person")?, id(&token, "proxy token")?);
    people::revoke_token(&form.visitor.cx, person, token).await?;
    go(&format!("/settings/people/{person}?note=revoked"))
}

/// Serves `GET /settings/people/{id}/delete`.
pub(in crate::pages) async fn confirm_delete(visitor: Visitor, Path(person): Path<String>) -> Page {
    let person = people::get(&visitor.cx, id(&person, "person")?).await?;
    let path = format!("/settings/people/{}", person.id);
    let text = html! { p { strong { (person.email) } " and their proxy tokens go; what was recorded about them stays. To keep them and shut them out, disable them." } };
    Ok(confirm(
        &visitor,
        Place::Settings,
        "Delete this person?",
        &text,
        (&format!("{path}/delete"), "Delete the person"),
        &path,
    ))
}

/// Serves `POST /settings/people/{id}/delete`.
pub(in crate::pages) async fn delete(Path(person): Path<String>, form: Submission) -> Page {
    people::delete(&form.visitor.cx, id(&person, "person")?).await?;
    go("/settings/people?note=deleted")
}
