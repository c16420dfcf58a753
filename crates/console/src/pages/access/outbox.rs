//! The outbox: mail that waits, was sent or failed, for administrators alone.

use axum::extract::Path;
use maud::html;
use store::MailStatus;

use super::head;
use crate::operations::access::outbox;
use crate::pages::frame::{self, Place, empty, title};
use crate::pages::visitor::Visitor;
use crate::pages::{Page, format, id};

/// Mails shown on the page.
const SHOWN: usize = 500;

/// Serves `GET /access/outbox`.
pub(in crate::pages) async fn page(visitor: Visitor) -> Page {
    let all = outbox::list(&visitor.cx).await?;
    let body = html! {
        (head(&visitor, "outbox", &html! { a.button href="/access/outbox/server" { "Mail server" } }))
        p { "Codes and requests for approval leave as mail. Without a mail server they wait here, where administrators read them." }
        @if all.is_empty() { (empty("The outbox is empty.", &html! {})) } @else {
            table.cards {
                thead { tr { th scope="col" { "Subject" } th scope="col" { "To" } th scope="col" { "State" } th scope="col" { "Written" } } }
                tbody {
                    @for mail in all.iter().take(SHOWN) {
                        tr {
                            td data-label="Subject" { a.strong href={ "/access/outbox/" (mail.id) } { (mail.subject) } }
                            td data-label="To" { (mail.to) }
                            td data-label="State" {
                                @match mail.status {
                                    MailStatus::Pending => { span.badge.plain { "waits" } }
                                    MailStatus::Sent => { span.badge.calm { "sent" } }
                                    MailStatus::Failed => { span.badge.bad { "failed" } }
                                }
                                @if let Some(failure) = &mail.failure { div.muted { (failure) } }
                            }
                            td data-label="Written" { (format::time(&mail.created_at)) }
                        }
                    }
                }
            }
            @if all.len() > SHOWN { p.muted { "The first " (SHOWN) " are shown; the API lists them all." } }
        }
    };
    Ok(frame::page(&visitor, Place::Access, "Outbox", &body))
}

/// Serves `GET /access/outbox/{id}`.
pub(in crate::pages) async fn mail_page(visitor: Visitor, Path(mail): Path<String>) -> Page {
    let mail = outbox::get(&visitor.cx, id(&mail, "mail")?).await?;
    let body = html! {
        p.crumbs { a href="/access/outbox" { "Outbox" } " / " (mail.subject) }
        (title(&mail.subject, &format!("To {}", mail.to), &html! {}))
        @if let Some(text) = &mail.text { pre.code { (text) } } @else { p { "Its text was erased when the server took it." } }
        p.muted { "Written " (format::time(&mail.created_at)) ", tried " (format::plural(u64::from(mail.attempts), "time", "times")) ", worth nothing after " (format::time(&mail.expires_at)) "." }
    };
    Ok(frame::page(&visitor, Place::Access, &mail.subject, &body))
}
