//! Temporary access: who waits for an approval, what was granted until when, and ending it.

use axum::extract::Path;
use maud::{Markup, html};
use store::{HashId, Permission};

use super::head;
use crate::operations::access::approvals::{self, ApprovalView};
use crate::pages::control::button;
use crate::pages::frame::{self, Place, empty};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, go, id};

/// Requests shown on the page.
const SHOWN: usize = 500;

/// Serves `GET /access/approvals`.
pub(in crate::pages) async fn page(visitor: Visitor) -> Page {
    let all = approvals::list(&visitor.cx, None).await?;
    let body = html! {
        (head(&visitor, "approvals", &html! {}))
        p { "A policy may ask that others agree before it lets somebody in. They are asked by mail, answer at the sign-in host, and say for how long." }
        @if all.is_empty() { (empty("Nobody asks for anything.", &html! {})) } @else {
            table.cards {
                thead { tr { th scope="col" { "Person" } th scope="col" { "Application" } th scope="col" { "State" } th scope="col" { "Asked" } th scope="col" { span.hidden { "Actions" } } } }
                tbody { @for approval in all.iter().take(SHOWN) { (row(&visitor, approval)) } }
            }
            @if all.len() > SHOWN { p.muted { "The newest " (SHOWN) " are shown; the API lists them all." } }
        }
    };
    Ok(frame::page(&visitor, Place::Access, "Approvals", &body))
}

fn row(visitor: &Visitor, approval: &ApprovalView) -> Markup {
    let end = if approval.status == "granted" { "End access" } else { "Withdraw" };
    let live = matches!(approval.status.as_str(), "granted" | "waiting");
    html! {
        tr {
            td data-label="Person" {
                a.strong href={ "/access/people/" (approval.user_id) } { (approval.email) }
                @if let Some(why) = &approval.justification { div.muted { (why) } }
            }
            td data-label="Application" {
                @match &approval.app_name {
                    Some(name) => { a href={ "/access/apps/" (approval.app_id) } { (name) } }
                    None => { span.muted { "deleted" } }
                }
                @if let Some(policy) = &approval.policy_name { div.muted { (policy) } }
            }
            td data-label="State" { (state(approval)) }
            td data-label="Asked" { (format::time(&approval.asked_at)) }
            td {
                @if live && visitor.may(Permission::UsersWrite) {
                    (button(&format!("/access/approvals/{}/revoke", approval.id), &visitor.csrf, "quiet", &html! { (end) span.hidden { " of " (approval.email) } }, &[]))
                }
            }
        }
    }
}

fn state(approval: &ApprovalView) -> Markup {
    let agreed = approval.approvers.join(", ");
    html! {
        @match approval.status.as_str() {
            "granted" => {
                span.badge.calm { "granted" }
                div.muted { "until " (format::time(approval.granted_until.as_deref().unwrap_or_default())) ", by " (agreed) }
            }
            "waiting" => {
                span.badge.accent { "waits" }
                div.muted { "for " (format::plural(u64::from(approval.missing), "answer", "answers")) " of " (approval.invited.join(", ")) }
                @if !agreed.is_empty() { div.muted { "agreed: " (agreed) } }
            }
            "refused" => { span.badge.bad { "refused" } div.muted { "by " (approval.refused_by.as_deref().unwrap_or_default()) } }
            _ => { span.badge.plain { "over" } }
        }
    }
}

/// Serves `POST /access/approvals/{id}/revoke`.
pub(in crate::pages) async fn revoke(Path(approval): Path<String>, form: Submission) -> Page {
    let approval: HashId = id(&approval, "approval")?;
    approvals::revoke(&form.visitor.cx, approval).await?;
    go("/access/approvals?note=ended")
}
