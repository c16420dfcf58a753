//! The weekly letter: who gets it, and what the last one said or would have.

use maud::{Markup, html};
use store::Permission::LogsWrite;

use super::tabs;
use crate::operations::digest::{self, DigestBody, DigestView, LetterView};
use crate::pages::control::{Control, Problems, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, refused_form, title};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, go};

/// Serves `GET /usage/digest`.
pub(in crate::pages) async fn page(visitor: Visitor) -> Page {
    let (view, letter) = (digest::get(&visitor.cx).await?, digest::preview(&visitor.cx).await?);
    let body = draw(&visitor, &view, &letter, &Fields::default(), Problems::NONE);
    Ok(frame::page(&visitor, Place::Usage, "Weekly letter", &body))
}

fn draw(visitor: &Visitor, view: &DigestView, letter: &LetterView, typed: &Fields, problems: Problems<'_>) -> Markup {
    let recipients = typed.find("recipients").map_or_else(|| view.recipients.join("\n"), str::to_owned);
    html! {
        (title("Weekly letter", "What was used, by mail, on Monday morning.", &html! {}))
        (tabs("/usage/digest", ""))
        (problems.summary())
        @if visitor.may(LogsWrite) {
            form.sheet method="post" action="/usage/digest" {
                (csrf(&visitor.csrf))
                (Control::new("recipients", "Who gets it").hint("An address a line; nobody: no letter is written. Each week is written about once, to who stands here then.").problems(problems.at("/recipients")).area(4, &recipients))
                div.actions {
                    button.primary type="submit" { "Save" }
                    a href="/access/outbox/server" { "The mail server" }
                    @if let Some(day) = &view.written_up_to { span.muted { "Last written about the week up to " (day) } }
                }
            }
        } @else if view.recipients.is_empty() { p { "Nobody gets it." } } @else { ul.names { @for one in &view.recipients { li { (one) } } } }
        h2 { "What it says about the last week" }
        section.letter aria-label="The letter" {
            h3 { (letter.subject) }
            pre { (letter.text) }
        }
    }
}

/// Serves `POST /usage/digest`.
pub(in crate::pages) async fn save(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    match digest::replace(&visitor.cx, DigestBody { recipients: fields.lines("recipients") }).await {
        Ok(_) => go("/usage/digest?note=saved"),
        Err(failure) => {
            let (view, letter) = (digest::get(&visitor.cx).await?, digest::preview(&visitor.cx).await?);
            let body = draw(&visitor, &view, &letter, &fields, Problems::of(&failure));
            Ok(refused_form(&visitor, Place::Usage, "Weekly letter", &failure, &body))
        }
    }
}
