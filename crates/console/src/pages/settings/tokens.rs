//! API tokens and what they may do.
//!
//! Invariant: a token's text is on the page that answers its making and on no other.

use axum::extract::Path;
use maud::{Markup, html};

use super::{head, permission_boxes};
use crate::failure::Failure;
use crate::operations::tokens::{self, TokenBody, TokenView};
use crate::pages::control::{Control, Problems, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, confirm, empty, refused_form, shown_once};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, go, id};

/// Serves `GET /settings/tokens`.
pub(in crate::pages) async fn page(visitor: Visitor) -> Page {
    let body = draw(&visitor, &Fields::default(), None, Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Settings, "API tokens", &body))
}

async fn draw(
    visitor: &Visitor,
    fields: &Fields,
    made: Option<&TokenView>,
    problems: Problems<'_>,
) -> Result<Markup, Failure> {
    let all = tokens::list(&visitor.cx).await?;
    let addresses = &visitor.cx.app.deps.addresses;
    let advice = html! { p { "The API is at " code { (addresses.api_url) } ", the account is " code { (visitor.cx.account) } "." } };
    Ok(html! {
        (head("tokens"))
        (problems.summary())
        @if let Some(value) = made.and_then(|token| token.value.as_deref()) { (shown_once("The API token.", value, &advice)) }
        @else { (advice) }
        @if all.is_empty() { (empty("There are no API tokens.", &html! { "Programs, SDKs and " code { "wrangler" } " need one." })) } @else {
            table.cards {
                thead { tr { th scope="col" { "Token" } th scope="col" { "May" } th scope="col" { "Made" } th scope="col" { "Expires" } th scope="col" { "State" } th scope="col" { span.hidden { "Revoke" } } } }
                tbody { @for token in &all { (row(visitor, token)) } }
            }
        }
        @if visitor.may(store::Permission::TokensWrite) {
            details.fold open[all.is_empty() || fields.find("name").is_some()] {
                summary { "New token" }
                form.sheet method="post" action="/settings/tokens" {
                    (csrf(&visitor.csrf))
                    div.row {
                        (Control::new("name", "Name").required().hint("Where it is used.").problems(problems.at("/name")).input("text", fields.get("name")))
                        (Control::new("expires_on", "Expires (UTC)").hint("Empty: never.").problems(problems.at("/expires_on")).input("datetime-local", fields.get("expires_on")))
                    }
                    (permission_boxes(&|word| fields.all("permission").any(|chosen| chosen == word), true))
                    div.actions { button.primary type="submit" { "Make the token" } }
                }
            }
        }
    })
}

fn row(visitor: &Visitor, token: &TokenView) -> Markup {
    html! {
        tr.off[token.status != "active"] {
            td data-label="Token" { b { (token.name) } }
            td data-label="May" { @for permission in token.permissions.iter() { code { (permission) } " " } }
            td data-label="Made" { (format::day(&token.issued_on)) }
            td data-label="Expires" { @if let Some(end) = &token.expires_on { (format::day(end)) } @else { span.muted { "never" } } }
            td data-label="State" { (format::verdict(token.status)) }
            td { @if visitor.may(store::Permission::TokensWrite) { a.button.quiet href={ "/settings/tokens/" (token.id) "/revoke" } { "Revoke" } } }
        }
    }
}

/// Serves `POST /settings/tokens`; the answer shows the token.
pub(in crate::pages) async fn create(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let expires_on = fields
        .text("expires_on")
        .map(|text| if text.matches(':').count() == 1 { format!("{text}:00Z") } else { format!("{text}Z") });
    let body = TokenBody {
        name: fields.get("name").to_owned(),
        policies: Vec::new(),
        permissions: fields.all("permission").map(str::to_owned).collect(),
        not_before: None,
        expires_on,
        status: None,
        condition: None,
    };
    match tokens::create(&visitor.cx, body).await {
        Ok(token) => {
            let body = draw(&visitor, &Fields::default(), Some(&token), Problems::NONE).await?;
            Ok(frame::page(&visitor, Place::Settings, "API tokens", &body))
        }
        Err(failure) => {
            let body = draw(&visitor, &fields, None, Problems::of(&failure)).await?;
            Ok(refused_form(&visitor, Place::Settings, "API tokens", &failure, &body))
        }
    }
}

/// Serves `GET /settings/tokens/{id}/revoke`.
pub(in crate::pages) async fn confirm_revoke(visitor: Visitor, Path(token): Path<String>) -> Page {
    let token = tokens::get(&visitor.cx, id(&token, "token")?).await?;
    let text = html! { p { "Whatever uses the token " strong { (token.name) } " stops working at once." } };
    let action = format!("/settings/tokens/{}/revoke", token.id);
    Ok(confirm(
        &visitor,
        Place::Settings,
        "Revoke this token?",
        &text,
        (&action, "Revoke the token"),
        "/settings/tokens",
    ))
}

/// Serves `POST /settings/tokens/{id}/revoke`.
pub(in crate::pages) async fn revoke(Path(token): Path<String>, form: Submission) -> Page {
    tokens::delete(&form.visitor.cx, id(&token, "token")?).await?;
    go("/settings/tokens?note=revoked")
}
