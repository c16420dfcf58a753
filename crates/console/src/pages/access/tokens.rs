//! Service tokens. Invariant: a secret is on the page that answers its making and on no other.

use axum::extract::Path;
use maud::{Markup, html};
use serde_json::{Value, json};
use store::Permission;
use types::ServiceTokenId;

use super::head;
use crate::failure::Failure;
use crate::operations::access::service_tokens::Rotation;
use crate::operations::access::{AccessView, service_tokens};
use crate::pages::control::{Control, Problems, button, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, confirm, empty, refused_form, shown_once};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, go, id};

const LIFETIMES: [(&str, &str); 4] =
    [("8760h", "a year"), ("720h", "30 days"), ("24h", "a day"), ("forever", "for ever")];

/// Serves `GET /access/tokens`.
pub(in crate::pages) async fn page(visitor: Visitor) -> Page {
    let body = draw(&visitor, &Fields::default(), None, Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Access, "Service tokens", &body))
}

async fn draw(
    visitor: &Visitor,
    fields: &Fields,
    made: Option<&AccessView>,
    problems: Problems<'_>,
) -> Result<Markup, Failure> {
    let all = service_tokens::list(&visitor.cx).await?;
    let may_write = visitor.may(Permission::ServiceTokensWrite);
    Ok(html! {
        (head(visitor, "tokens", &html! {}))
        @if let Some(token) = made { (once(token)) }
        @if all.is_empty() { (empty("There are no service tokens.", &html! { "Programs show one where people sign in; a policy with the decision Service Auth lets them in." })) } @else {
            table.cards {
                thead { tr { th scope="col" { "Token" } th scope="col" { "Client id" } th scope="col" { "Expires" } th scope="col" { "Last seen" } th scope="col" { span.hidden { "Change" } } } }
                tbody { @for token in &all { (row(visitor, token, may_write)) } }
            }
        }
        @if may_write {
            details.fold open[all.is_empty() || fields.find("name").is_some()] {
                summary { "New service token" }
                (problems.summary())
                form.sheet method="post" action="/access/tokens" {
                    (csrf(&visitor.csrf))
                    div.row {
                        (Control::new("name", "Name").required().placeholder("backup").problems(problems.at("/name")).input("text", fields.get("name")))
                        (Control::new("duration", "Works for").problems(problems.at("/duration")).select(&LIFETIMES, fields.get("duration")))
                    }
                    div.actions { button.primary type="submit" { "Create" } }
                }
            }
        }
    })
}

fn row(visitor: &Visitor, token: &AccessView, may_write: bool) -> Markup {
    let path = format!("/access/tokens/{}", token.text("id"));
    let enabled = token.0.get("enabled").and_then(Value::as_bool).unwrap_or(true);
    html! {
        tr.off[!enabled] {
            td data-label="Token" { span.strong { (token.text("name")) } @if !enabled { " " span.badge.plain { "disabled" } } }
            td data-label="Client id" { code { (token.text("client_id")) } }
            td data-label="Expires" { @if token.text("expires_at").is_empty() { span.muted { "never" } } @else { (format::day(token.text("expires_at"))) } }
            td data-label="Last seen" { @if token.text("last_seen_at").is_empty() { span.muted { "not yet" } } @else { (format::time(token.text("last_seen_at"))) } }
            td {
                @if may_write {
                    (button(&format!("{path}/rotate"), &visitor.csrf, "quiet", &html! { "New secret" span.hidden { " for " (token.text("name")) } }, &[]))
                    (button(&format!("{path}/refresh"), &visitor.csrf, "quiet", &html! { "Add a year" span.hidden { " to " (token.text("name")) } }, &[]))
                    a.button.quiet href={ (path) "/delete" } { "Delete" span.hidden { " " (token.text("name")) } }
                }
            }
        }
    }
}

fn once(token: &AccessView) -> Markup {
    let (client, secret) = (token.text("client_id"), token.text("client_secret"));
    let advice = html! {
        p { "A program shows both halves:" }
        pre.code data-copy { "curl -H 'CF-Access-Client-Id: " (client) "' -H 'CF-Access-Client-Secret: " (secret) "' https://app.example.com/" }
    };
    shown_once("The secret of the service token.", secret, &advice)
}

/// Serves `POST /access/tokens`; the answer shows the secret.
pub(in crate::pages) async fn create(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let document = json!({"name": fields.get("name"), "duration": fields.get("duration")});
    match service_tokens::create(&visitor.cx, &document).await {
        Ok(token) => {
            let body = draw(&visitor, &Fields::default(), Some(&token), Problems::NONE).await?;
            Ok(frame::page(&visitor, Place::Access, "Service tokens", &body))
        }
        Err(failure) => {
            let body = draw(&visitor, &fields, None, Problems::of(&failure)).await?;
            Ok(refused_form(&visitor, Place::Access, "Service tokens", &failure, &body))
        }
    }
}

/// Serves `POST /access/tokens/{id}/rotate`; the answer shows the secret.
pub(in crate::pages) async fn rotate(Path(token): Path<String>, form: Submission) -> Page {
    let visitor = form.visitor;
    let token: ServiceTokenId = id(&token, "service token")?;
    let token = service_tokens::rotate(&visitor.cx, token, Rotation::default()).await?;
    let body = draw(&visitor, &Fields::default(), Some(&token), Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Access, "Service tokens", &body))
}

/// Serves `POST /access/tokens/{id}/refresh`.
pub(in crate::pages) async fn refresh(Path(token): Path<String>, form: Submission) -> Page {
    service_tokens::refresh(&form.visitor.cx, id(&token, "service token")?).await?;
    go("/access/tokens?note=saved")
}

/// Serves `GET /access/tokens/{id}/delete`.
pub(in crate::pages) async fn confirm_delete(visitor: Visitor, Path(token): Path<String>) -> Page {
    let token = service_tokens::get(&visitor.cx, id(&token, "service token")?).await?;
    let text = html! { p { strong { (token.text("name")) } " stops working at once." } };
    let act = format!("/access/tokens/{}/delete", token.text("id"));
    let question = "Delete this service token?";
    Ok(confirm(&visitor, Place::Access, question, &text, (&act, "Delete the token"), "/access/tokens"))
}

/// Serves `POST /access/tokens/{id}/delete`.
pub(in crate::pages) async fn delete(Path(token): Path<String>, form: Submission) -> Page {
    service_tokens::delete(&form.visitor.cx, id(&token, "service token")?).await?;
    go("/access/tokens?note=deleted")
}
