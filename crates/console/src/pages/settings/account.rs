//! The people who sign in to the console, and one's own password.
//!
//! Invariant: the operations see to it that somebody who may do everything is always left.

use axum::extract::Path;
use maud::{Markup, html};
use types::{Secret, UserId};

use super::{head, permission_boxes};
use crate::failure::Failure;
use crate::operations::administrators::{
    self, AdministratorPatch, AdministratorView, NewAdministrator, PasswordChange,
};
use crate::pages::control::{Control, Problems, button, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, confirm, refused_form};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, go, id};

/// Serves `GET /settings/account`.
pub(in crate::pages) async fn page(visitor: Visitor) -> Page {
    let body = draw(&visitor, &Fields::default(), Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Settings, "Administrators", &body))
}

async fn draw(visitor: &Visitor, fields: &Fields, problems: Problems<'_>) -> Result<Markup, Failure> {
    let all = administrators::list(&visitor.cx).await?;
    let may_write = visitor.may(store::Permission::Admin);
    Ok(html! {
        (head("account"))
        (problems.summary())
        table.cards {
            thead { tr { th scope="col" { "Administrator" } th scope="col" { "May" } th scope="col" { "Since" } th scope="col" { "State" } th scope="col" { span.hidden { "Change" } } } }
            tbody { @for one in &all { (row(visitor, one, may_write)) } }
        }
        @if may_write { (new_form(visitor, fields, problems)) }
        (password_form(visitor, problems))
    })
}

fn row(visitor: &Visitor, one: &AdministratorView, may_write: bool) -> Markup {
    let path = format!("/settings/account/{}", one.id);
    html! {
        tr.off[one.disabled] {
            td data-label="Administrator" { b { (one.email) } @if !one.name.is_empty() { div.muted { (one.name) } } }
            td data-label="May" { @for permission in &one.permissions { code { (permission) } " " } }
            td data-label="Since" { (format::day(&one.created_at)) }
            td data-label="State" { @if one.disabled { span.badge.plain { "disabled" } } @else { span.badge.calm { "active" } } }
            td {
                @if may_write && one.email != visitor.email {
                    (button(&path, &visitor.csrf, "quiet", &html! { @if one.disabled { "Enable" } @else { "Disable" } }, &[("disabled", if one.disabled { "no" } else { "yes" })]))
                    a.button.quiet href={ (path) "/delete" } { "Delete" }
                }
            }
        }
    }
}

fn new_form(visitor: &Visitor, fields: &Fields, problems: Problems<'_>) -> Markup {
    html! {
        details.fold open[fields.find("email").is_some()] {
            summary { "Add an administrator" }
            form.sheet method="post" action="/settings/account" {
                (csrf(&visitor.csrf))
                div.row {
                    (Control::new("email", "E-mail address").required().problems(problems.at("/email")).input("email", fields.get("email")))
                    (Control::new("name", "Name").problems(problems.at("/name")).input("text", fields.get("name")))
                    (Control::new("new_administrator_password", "First password").required().hint("At least twelve characters. They should change it.").autocomplete("new-password").problems(problems.at("/password")).input("password", ""))
                }
                (permission_boxes(&|word| fields.all("permission").any(|chosen| chosen == word), true))
                div.actions { button.primary type="submit" { "Add" } }
            }
        }
    }
}

fn password_form(visitor: &Visitor, problems: Problems<'_>) -> Markup {
    html! {
        details.fold open[!problems.at("/current_password").is_empty()] {
            summary { "Change your own password" }
            form.sheet method="post" action="/settings/account/password" {
                (csrf(&visitor.csrf))
                p.hint { "Every session of yours ends, this one included." }
                div.row {
                    (Control::new("current_password", "Current password").required().autocomplete("current-password").problems(problems.at("/current_password")).input("password", ""))
                    (Control::new("new_password", "New password").required().hint("At least twelve characters.").autocomplete("new-password").problems(problems.at("/password")).input("password", ""))
                }
                div.actions { button type="submit" { "Change it" } }
            }
        }
    }
}

async fn finish(visitor: &Visitor, fields: &Fields, done: Result<&str, Failure>) -> Page {
    match done {
        Ok(path) => go(path),
        Err(failure) => {
            let body = draw(visitor, fields, Problems::of(&failure)).await?;
            Ok(refused_form(visitor, Place::Settings, "Administrators", &failure, &body))
        }
    }
}

/// Serves `POST /settings/account`.
pub(in crate::pages) async fn create(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let new = NewAdministrator {
        email: fields.get("email").to_owned(),
        name: fields.get("name").to_owned(),
        permissions: fields.all("permission").map(str::to_owned).collect(),
        password: Secret::new(fields.raw("new_administrator_password").to_owned()),
    };
    let done = administrators::create(&visitor.cx, new).await.map(|_| "/settings/account?note=created");
    finish(&visitor, &fields, done).await
}

/// Serves `POST /settings/account/{id}`: enables or disables.
pub(in crate::pages) async fn change(Path(administrator): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let administrator: UserId = id(&administrator, "administrator")?;
    let patch = AdministratorPatch { disabled: Some(fields.get("disabled") == "yes"), ..AdministratorPatch::default() };
    let done = administrators::patch(&visitor.cx, administrator, patch).await.map(|_| "/settings/account?note=saved");
    finish(&visitor, &Fields::default(), done).await
}

/// Serves `POST /settings/account/password`.
pub(in crate::pages) async fn change_password(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let change = PasswordChange {
        current_password: Secret::new(fields.raw("current_password").to_owned()),
        password: Secret::new(fields.raw("new_password").to_owned()),
    };
    let done = administrators::change_password(&visitor.cx, change).await.map(|()| "/sign-in");
    finish(&visitor, &Fields::default(), done).await
}

/// Serves `GET /settings/account/{id}/delete`.
pub(in crate::pages) async fn confirm_delete(visitor: Visitor, Path(administrator): Path<String>) -> Page {
    let administrator: UserId = id(&administrator, "administrator")?;
    let all = administrators::list(&visitor.cx).await?;
    let named = administrator.to_string();
    let one = all.iter().find(|one| one.id == named).ok_or_else(|| Failure::not_found("administrator"))?;
    let text = html! { p { strong { (one.email) } " is signed out and cannot sign in again. What they did stays in the audit log." } };
    let action = format!("/settings/account/{administrator}/delete");
    Ok(confirm(
        &visitor,
        Place::Settings,
        "Delete this administrator?",
        &text,
        (&action, "Delete the administrator"),
        "/settings/account",
    ))
}

/// Serves `POST /settings/account/{id}/delete`.
pub(in crate::pages) async fn delete(Path(administrator): Path<String>, form: Submission) -> Page {
    administrators::delete(&form.visitor.cx, id(&administrator, "administrator")?).await?;
    go("/settings/account?note=deleted")
}
