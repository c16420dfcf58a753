//! People and groups: who uses most, and what one of them uses.

use axum::extract::Path;
use maud::{Markup, html};

use super::application::periods;
use super::{figures, page_of, tabs, with_days};
use crate::operations::usage::{self, ApplicationUsage, Subject, SubjectUsageView, SubjectsView};
use crate::pages::frame::{self, Place, empty, title};
use crate::pages::library::badge;
use crate::pages::visitor::Visitor;
use crate::pages::{Page, format};

/// Rows of a listing.
const ROWS: usize = 100;

/// Serves `GET /usage/people`.
pub(in crate::pages) async fn people(visitor: Visitor) -> Page {
    list(&visitor, Subject::Person).await
}

/// Serves `GET /usage/groups`.
pub(in crate::pages) async fn groups(visitor: Visitor) -> Page {
    list(&visitor, Subject::Group).await
}

/// Serves `GET /usage/people/{person}`.
pub(in crate::pages) async fn person(visitor: Visitor, Path(person): Path<String>) -> Page {
    one(&visitor, Subject::Person, &person).await
}

/// Serves `GET /usage/groups/{group}`.
pub(in crate::pages) async fn group(visitor: Visitor, Path(group): Path<String>) -> Page {
    one(&visitor, Subject::Group, &group).await
}

/// The path and the words of a kind of subject.
const fn words(subject: Subject) -> (&'static str, &'static str, &'static str) {
    match subject {
        Subject::Person => ("/usage/people", "People", "Person"),
        Subject::Group => ("/usage/groups", "Groups", "Group"),
    }
}

async fn list(visitor: &Visitor, subject: Subject) -> Page {
    let (path, many, one) = words(subject);
    let days = visitor.query.get("days");
    let length = usage::days(visitor.query.find("days"))?;
    let view = usage::subjects(&visitor.cx, subject, length, visitor.query.get("search"), ROWS).await?;
    let lead = match subject {
        Subject::Person => "Who uses most. Who has no address is named by that of their machine.",
        Subject::Group => "Which groups use most. Somebody in several counts for each.",
    };
    let body = html! {
        (title(many, lead, &html! {}))
        (tabs(path, days))
        form.filters method="get" action=(path) role="search" {
            label.wide { span { (one) } input type="search" name="search" value=(visitor.query.get("search")) maxlength="200" data-filter autocomplete="off" spellcheck="false"; }
            label { span { "Period" } select name="days" { @for (word, text) in super::PERIODS { option value=(word) selected[word == length.to_string()] { (text) } } } }
            button type="submit" { "Show" }
        }
        p.muted role="status" { (format::plural(view.total as u64, "fits", "fit")) "; counted up to " (format::time(&view.as_of)) "." }
        @if view.subjects.is_empty() { (empty("Nobody.", &html! { "Choose a longer period or search for something else." })) }
        @else { (table(&view, path, one, days)) }
    };
    Ok(frame::page(visitor, Place::Usage, many, &body))
}

fn table(view: &SubjectsView, path: &str, column: &str, days: &str) -> Markup {
    let most = view.subjects.first().map_or(1, |subject| subject.usage.requests);
    html! {
        table.cards.usage {
            thead { tr { th scope="col" { (column) } th.number scope="col" { "Requests" } th.number scope="col" { "Sent" } th.number scope="col" { "Received" } th.number scope="col" { "Uploads" } th.number scope="col" { "Blocked" } } }
            tbody {
                @for subject in &view.subjects {
                    tr {
                        td data-label=(column) {
                            @if subject.subject.is_empty() { span.muted { "unknown" } }
                            @else { a.strong href=(with_days(&format!("{path}/{}", format::path_part(&subject.subject)), days)) { (subject.subject) } }
                            (chart::share(subject.usage.requests, most))
                        }
                        td.number data-label="Requests" { (format::count(subject.usage.requests)) }
                        td.number data-label="Sent" { (format::bytes(subject.usage.bytes_sent)) }
                        td.number data-label="Received" { (format::bytes(subject.usage.bytes_received)) }
                        td.number data-label="Uploads" { (format::count(subject.usage.uploads)) }
                        td.number data-label="Blocked" { (format::count(subject.usage.blocked)) }
                    }
                }
            }
        }
    }
}

async fn one(visitor: &Visitor, subject: Subject, key: &str) -> Page {
    let (path, many, _) = words(subject);
    let days = visitor.query.get("days");
    let view = usage::subject(&visitor.cx, subject, key, usage::days(visitor.query.find("days"))?).await?;
    let actions = html! {
        @if subject == Subject::Person { a.button.quiet href={ "/activity?person=" (format::path_part(key)) } { "Activity" } }
    };
    let body = html! {
        p.crumbs { a href=(with_days("/usage", days)) { "Usage" } " / " a href=(with_days(path, days)) { (many) } " / " (key) }
        (title(key, "What is used, and how that changed.", &actions))
        (periods(&format!("{path}/{}", format::path_part(key)), view.period.days))
        (figures::freshness(view.period, view.compared_with, view.comparable, &view.as_of))
        (figures::cards(&view.total, view.comparable.then_some(&view.total_before), Some((view.applications.len(), view.applications.iter().filter(|application| application.new).count()))))
        @if view.total.requests == 0 { (empty("No request in these days.", &html! { "Choose a longer period." })) }
        @else {
            div.charts { (figures::requests(&view.days, view.comparable.then_some(&*view.days_before))) (figures::bytes(&view.days)) }
            h2 { "Applications" }
            (applications(&view, days))
        }
    };
    Ok(frame::page(visitor, Place::Usage, key, &body))
}

fn applications(view: &SubjectUsageView, days: &str) -> Markup {
    let row = |application: &ApplicationUsage| {
        html! {
            tr {
                td data-label="Application" {
                    a.strong href=(page_of(application, days)) { (application.name) }
                    @if application.new { " " span.badge.accent { "new" } }
                    div.muted { (application.application_type) @if !application.ai.is_empty() { " · AI: " (application.ai.join(", ")) } }
                }
                td.number data-label="Requests" { (format::count(application.usage.requests)) div.muted { (figures::change(application.usage.requests, application.before.requests, view.comparable)) } }
                td.number data-label="Sent" { (format::bytes(application.usage.bytes_sent)) }
                td.number data-label="Uploads" { (format::count(application.usage.uploads)) }
                td.number data-label="Blocked" { (format::count(application.usage.blocked)) }
                td data-label="Status" { @if application.id == 0 { span.muted { "–" } } @else { (badge(application.status)) } }
            }
        }
    };
    html! {
        table.cards.usage {
            thead { tr { th scope="col" { "Application" } th.number scope="col" { "Requests" } th.number scope="col" { "Sent" } th.number scope="col" { "Uploads" } th.number scope="col" { "Blocked" } th scope="col" { "Status" } } }
            tbody { @for application in &view.applications { (row(application)) } }
        }
    }
}
