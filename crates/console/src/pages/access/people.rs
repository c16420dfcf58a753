//! People as Access knows them: their last login, sessions, second factors and refused logins.
//!
//! Who they are and which groups they are in is written under Settings. Invariant: what an authenticator holds is never
//! shown.

use axum::extract::Path;
use maud::{Markup, html};
use serde_json::Value;
use store::Permission;
use types::{FactorId, UserId};

use super::{at, head, log};
use crate::failure::Failure;
use crate::operations::access::users::FactorView;
use crate::operations::access::{AccessView, sessions, users};
use crate::pages::control::button;
use crate::pages::frame::{self, Place, empty, title};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, go, id};

/// People shown on the page.
const SHOWN: usize = 1_000;

/// Serves `GET /access/people`.
pub(in crate::pages) async fn page(visitor: Visitor) -> Page {
    let all = users::list(&visitor.cx, None, None, None).await?;
    let body = html! {
        (head(&visitor, "people", &html! { @if visitor.may(Permission::UsersWrite) { a.button href="/settings/people" { "Add a person" } } }))
        @if all.is_empty() { (empty("Nobody is known yet.", &html! { "People appear when they first sign in." })) } @else {
            label.finder { span { "Find" } input type="search" data-filter data-narrows="#people" autocomplete="off"; }
            table.cards id="people" {
                thead { tr { th scope="col" { "Person" } th scope="col" { "Last login" } th scope="col" { "State" } } }
                tbody {
                    @for person in all.iter().take(SHOWN) {
                        tr {
                            td data-label="Person" { a.strong href={ "/access/people/" (person.text("id")) } { (person.text("email")) } @if !person.text("name").is_empty() { div.muted { (person.text("name")) } } }
                            td data-label="Last login" { @if person.text("last_successful_login").is_empty() { span.muted { "never" } } @else { (format::time(person.text("last_successful_login"))) } }
                            td data-label="State" { @if person.0.get("gateway_seat") == Some(&Value::Bool(true)) { span.badge.calm { "active" } } @else { span.badge.plain { "disabled" } } }
                        }
                    }
                }
            }
            @if all.len() > SHOWN { p.muted { "The first " (SHOWN) " are shown; the API lists everyone." } }
        }
    };
    Ok(frame::page(&visitor, Place::Access, "People", &body))
}

/// Serves `GET /access/people/{id}`.
pub(in crate::pages) async fn person_page(visitor: Visitor, Path(person): Path<String>) -> Page {
    let user: UserId = id(&person, "person")?;
    let person = users::get(&visitor.cx, user).await?;
    let (sessions, factors) = (sessions::list(&visitor.cx, user).await?, users::factors(&visitor.cx, user).await?);
    let failed = users::failed_logins(&visitor.cx, user).await?;
    let identity = users::last_seen_identity(&visitor.cx, user).await.ok();
    let path = format!("/access/people/{user}");
    let may_write = visitor.may(Permission::UsersWrite);
    let actions = html! {
        @if may_write && !sessions.is_empty() { (button(&format!("{path}/end"), &visitor.csrf, "danger", &html! { "End every session" }, &[])) }
        a.button.quiet href={ "/settings/people/" (user) } { "Name, groups, proxy tokens" }
    };
    let body = html! {
        p.crumbs { a href="/access/people" { "People" } " / " (person.text("email")) }
        (title(person.text("email"), person.text("name"), &actions))
        (identity_part(identity.as_ref()))
        h2 { "Sessions" }
        (session_part(&visitor, &path, &sessions, may_write))
        h2 { "Second factors" }
        (factor_part(&visitor, &path, &factors, may_write))
        h2 { "Last decisions" }
        (log::of_person(&visitor, person.text("email")).await?)
        @if !failed.is_empty() { h2 { "Refused logins" } (failed_part(&failed)) }
        p { a href={ "/activity?person=" (person.text("email")) } { "What they did through the gateway" } }
    };
    Ok(frame::page(&visitor, Place::Access, person.text("email"), &body))
}

fn identity_part(identity: Option<&AccessView>) -> Markup {
    html! {
        h2 { "Who they were at their last login" }
        @match identity {
            None => { p.muted { "This person has not signed in yet." } }
            Some(identity) => {
                table.cards {
                    thead { tr { th scope="col" { "Provider" } th scope="col" { "Country" } th scope="col" { "Address" } th scope="col" { "Groups" } } }
                    tbody { tr {
                        td data-label="Provider" { (at(identity, "idp/type")) }
                        td data-label="Country" { (at(identity, "geo/country")) }
                        td data-label="Address" { code { (identity.text("ip")) } }
                        td data-label="Groups" { (groups(identity)) }
                    } }
                }
            }
        }
    }
}

fn groups(identity: &AccessView) -> String {
    let groups = identity.0.get("groups").and_then(Value::as_array);
    // Providers name their groups, number them or give them addresses.
    let name = |group: &Value| {
        let members = ["name", "email", "id"].into_iter().filter_map(|member| group[member].as_str());
        group.as_str().into_iter().chain(members).find(|text| !text.is_empty()).map(str::to_owned)
    };
    groups.into_iter().flatten().filter_map(name).collect::<Vec<_>>().join(", ")
}

fn session_part(visitor: &Visitor, path: &str, sessions: &[AccessView], may_write: bool) -> Markup {
    let moment = |view: &AccessView, member: &str| {
        let seconds = view.0.get("metadata").and_then(|metadata| metadata[member].as_i64()).unwrap_or_default();
        jiff::Timestamp::from_second(seconds).map(|at| at.to_string()).unwrap_or_default()
    };
    html! {
        @if sessions.is_empty() { p.muted { "None: this person is signed in nowhere." } } @else {
            table.cards {
                thead { tr { th scope="col" { "Since" } th scope="col" { "Ends" } th scope="col" { "Browser" } th scope="col" { "Applications" } th scope="col" { span.hidden { "End" } } } }
                tbody {
                    @for session in sessions {
                        tr {
                            td data-label="Since" { (format::time(&moment(session, "iat"))) }
                            td data-label="Ends" { (format::time(&moment(session, "expires"))) }
                            td data-label="Browser" { (at(session, "metadata/user_agent")) " " code { (at(session, "metadata/ip")) } }
                            td data-label="Applications" { (applications(session)) }
                            td { @if may_write { (button(&format!("{path}/end"), &visitor.csrf, "quiet", &html! { "End" }, &[("nonce", session.text("name"))])) } }
                        }
                    }
                }
            }
        }
    }
}

fn applications(session: &AccessView) -> String {
    let apps = session.0.get("metadata").and_then(|metadata| metadata["apps"].as_object());
    let names = apps.into_iter().flatten().filter_map(|(_, app)| app["name"].as_str());
    names.collect::<Vec<_>>().join(", ")
}

fn factor_part(visitor: &Visitor, path: &str, factors: &[FactorView], may_write: bool) -> Markup {
    html! {
        @if factors.is_empty() { p.muted { "None enrolled." } } @else {
            table.cards {
                thead { tr { th scope="col" { "Factor" } th scope="col" { "Enrolled" } th scope="col" { "Last used" } th scope="col" { span.hidden { "Take away" } } } }
                tbody {
                    @for factor in factors {
                        tr {
                            td data-label="Factor" { span.strong { (factor.kind.replace('_', " ")) } @if !factor.name.is_empty() { " " span.muted { (factor.name) } } }
                            td data-label="Enrolled" { (format::day(&factor.created_at)) }
                            td data-label="Last used" { @if let Some(at) = &factor.last_used_at { (format::time(at)) } @else { span.muted { "not yet" } } }
                            td { @if may_write { (button(&format!("{path}/factors/{}", factor.id), &visitor.csrf, "quiet", &html! { "Take away" }, &[])) } }
                        }
                    }
                }
            }
            p.hint { "Taking a factor away ends the person's sessions; they enrol a new one at their next login." }
            @if may_write { (button(&format!("{path}/factors"), &visitor.csrf, "danger", &html! { "Reset every factor" }, &[])) }
        }
    }
}

fn failed_part(failed: &[AccessView]) -> Markup {
    html! {
        @if !failed.is_empty() {
            table.cards {
                thead { tr { th scope="col" { "When" } th scope="col" { "Why" } th scope="col" { "From" } } }
                tbody { @for login in failed { tr {
                    td data-label="When" { (format::time(at(login, "metadata/time"))) }
                    td data-label="Why" { (at(login, "metadata/reason")) }
                    td data-label="From" { code { (at(login, "metadata/ip")) } }
                } } }
            }
        }
    }
}

/// Serves `POST /access/people/{id}/end`: one session, or every one.
pub(in crate::pages) async fn end(Path(person): Path<String>, form: Submission) -> Page {
    let user: UserId = id(&person, "person")?;
    let ended: Result<(), Failure> = match form.fields.text("nonce") {
        Some(nonce) => sessions::end(&form.visitor.cx, user, &nonce).await,
        None => sessions::end_every(&form.visitor.cx, user).await,
    };
    ended?;
    go(&format!("/access/people/{user}?note=ended"))
}

/// Serves `POST /access/people/{id}/factors/{factor}`.
pub(in crate::pages) async fn delete_factor(Path((person, factor)): Path<(String, String)>, form: Submission) -> Page {
    let (user, factor): (UserId, FactorId) = (id(&person, "person")?, id(&factor, "authenticator")?);
    users::delete_factor(&form.visitor.cx, user, factor).await?;
    go(&format!("/access/people/{user}?note=deleted"))
}

/// Serves `POST /access/people/{id}/factors`: takes all of them away.
pub(in crate::pages) async fn reset_factors(Path(person): Path<String>, form: Submission) -> Page {
    let user: UserId = id(&person, "person")?;
    users::reset_factors(&form.visitor.cx, user).await?;
    go(&format!("/access/people/{user}?note=deleted"))
}
