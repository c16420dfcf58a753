//! The library of applications: every application with its kind, status and scores, narrowed by what stands in the address.
//!
//! Statuses are set from a row or on the page of an application. Invariant: a page shows a bounded number of rows, and what
//! it is narrowed by can be shared as its address.

mod application;
mod lists;

use maud::{Markup, html};
use store::Permission::GatewayWrite;

use super::control::csrf;
use super::frame::{self, Place, empty, title};
use super::visitor::{Submission, Visitor, local_path};
use super::{Page, fields::Fields, format, go};
use crate::failure::Failure;
use crate::operations::applications::{self, ApplicationQuery, ApplicationView, ReviewPatch};

pub(super) use application::{findings, overview, policies, save_evidence, save_review};
pub(super) use lists::{delete_list, import, lists_page};

/// Rows of one page.
const ROWS: usize = 50;

pub(super) const STATUSES: [(&str, &str); 4] =
    [("unreviewed", "Unreviewed"), ("in review", "In review"), ("approved", "Approved"), ("unapproved", "Unapproved")];

pub(super) const KINDS: [(&str, &str); 8] = [
    ("any", "Any AI application"),
    ("chat", "Chat"),
    ("code", "Code"),
    ("image", "Image and video"),
    ("voice", "Voice and music"),
    ("agents", "Agents"),
    ("api", "API"),
    ("embedded", "AI as a feature"),
];

/// What a page may be narrowed by, in the order of its address.
const NARROWED: [&str; 5] = ["search", "status", "ai", "type", "order_by"];

/// Serves `GET /library`.
pub(super) async fn page(visitor: Visitor) -> Page {
    let mut query = ApplicationQuery::parse(|name| Some(visitor.query.get(name)).filter(|text| !text.is_empty()))?;
    query.limit = ROWS;
    let found = applications::list(&visitor.cx, &query).await?;
    let statistics = applications::statistics(&visitor.cx)?;
    let lead = format!(
        "{} applications, {} of them artificial intelligence, known by {} domains. Edition {}.",
        format::count(statistics.applications as u64),
        format::count(statistics.ai as u64),
        format::count(statistics.domains as u64),
        statistics.version
    );
    let actions = html! {
        a.button.quiet href="/library/lists" { "Category lists" }
    };
    let back = visitor.query.address("/library", &NARROWED, query.offset);
    let body = html! {
        (title("Library", &lead, &actions))
        (filters(&visitor.query))
        p.muted role="status" { (format::plural(found.total as u64, "application fits", "applications fit")) }
        @if found.applications.is_empty() {
            (empty("No application fits.", &html! {
                "Search for a part of a name, a vendor or a host, or " a href="/library" { "clear the filters" } "."
            }))
        } @else {
            (table(&visitor, &found.applications, &back))
            nav.pages aria-label="Pages" {
                @if query.offset > 0 { a.button href=(visitor.query.address("/library", &NARROWED, query.offset.saturating_sub(ROWS))) rel="prev" { "Before" } }
                @if query.offset + ROWS < found.total { a.button href=(visitor.query.address("/library", &NARROWED, query.offset + ROWS)) rel="next" { "Further" } }
            }
        }
    };
    Ok(frame::page(&visitor, Place::Library, "Library", &body))
}

fn filters(query: &Fields) -> Markup {
    let select = |name: &str, label: &str, all: &str, options: &[(&str, &str)]| {
        html! {
            label {
                span { (label) }
                select name=(name) {
                    option value="" { (all) }
                    @for (word, text) in options { option value=(word) selected[query.get(name) == *word] { (text) } }
                }
            }
        }
    };
    html! {
        form.filters method="get" action="/library" role="search" {
            label.wide {
                span { "Name, vendor or host" }
                input type="search" name="search" value=(query.get("search")) minlength="2" maxlength="200" data-filter autocomplete="off" spellcheck="false";
            }
            (select("status", "Status", "Any", &STATUSES))
            (select("ai", "Artificial intelligence", "All applications", &KINDS))
            label {
                span { "Type" }
                select name="type" {
                    option value="" { "Any" }
                    @for (id, name) in catalog::taxonomy::types() {
                        option value=(id) selected[query.get("type") == id.to_string()] { (name) }
                    }
                }
            }
            (select("order_by", "Order", "Name", &[("status", "Status")]))
            button type="submit" { "Filter" }
        }
    }
}

fn table(visitor: &Visitor, applications: &[ApplicationView], back: &str) -> Markup {
    let may_write = visitor.may(GatewayWrite);
    html! {
        table.cards.library {
            thead { tr {
                th scope="col" { "Application" } th scope="col" { "Type" } th scope="col" { "Hosts" } th scope="col" { "Confidence" }
                th scope="col" { "Generative AI" } th scope="col" { "Status" }
            } }
            tbody {
                @for application in applications {
                    @let ours = &application.portunus;
                    tr {
                        td data-label="Application" {
                            a.strong href={ "/library/" (application.human_id) } { (application.name) }
                            @if let Some(vendor) = ours.vendor.as_ref().filter(|vendor| **vendor != application.name) { div.muted { (vendor) @if let Some(country) = &ours.country { " · " (country) } } }
                        }
                        td data-label="Type" { (application.application_type) @if !ours.ai.is_empty() { div.muted { @if ours.embedded_ai { "with AI: " } (ours.ai.join(", ")) } } }
                        td data-label="Hosts" { code { (application.hostnames.first().map_or("", String::as_str)) } @if application.hostnames.len() > 1 { span.muted { " and " (application.hostnames.len() - 1) " more" } } }
                        td data-label="Confidence" { (ours.score) }
                        td data-label="Generative AI" { (ours.gen_ai_score.as_deref().unwrap_or("–")) }
                        td data-label="Status" {
                            @if may_write { (row_status(visitor, &application.human_id, &application.name, ours.status, back)) } @else { (badge(ours.status)) }
                        }
                    }
                }
            }
        }
    }
}

/// Sets a status without leaving the list.
pub(super) fn row_status(visitor: &Visitor, slug: &str, name: &str, status: &str, back: &str) -> Markup {
    html! {
        form.inline.status method="post" action={ "/library/" (slug) "/status" } {
            (csrf(&visitor.csrf))
            input type="hidden" name="next" value=(back);
            select name="status" aria-label={ "Status of " (name) } {
                @for (word, text) in STATUSES { option value=(word) selected[status == word] { (text) } }
            }
            button type="submit" aria-label={ "Set the status of " (name) } { "Set" }
        }
    }
}

/// A status as a mark.
pub(super) fn badge(status: &str) -> Markup {
    let text = STATUSES.iter().find(|(word, _)| *word == status).map_or(status, |(_, text)| text);
    html! { span.badge.accent[status == "approved"].bad[status == "unapproved"] { (text) } }
}

/// Serves `POST /library/{application}/status`.
pub(super) async fn set_status(
    axum::extract::Path(application): axum::extract::Path<String>,
    submission: Submission,
) -> Page {
    let Submission { visitor, fields } = submission;
    let status = status(&fields)?;
    let patch = ReviewPatch { status: Some(status), ..ReviewPatch::default() };
    applications::patch(&visitor.cx, &application, patch).await?;
    let back = local_path(fields.get("next"));
    let joint = if back.contains('?') { '&' } else { '?' };
    let back = if back.contains("note=") { back } else { format!("{back}{joint}note=saved") };
    go(&back)
}

fn status(fields: &Fields) -> Result<catalog::Status, Failure> {
    catalog::Status::named(fields.get("status")).ok_or_else(|| Failure::invalid("/status", "choose a status"))
}
