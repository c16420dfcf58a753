//! What people really use: applications, people, groups, what waits for a decision.
//!
//! Numbers come from the rollups through the operations; what a page is narrowed by stands in its address. Invariant: every
//! page says which days it is about, what they are compared with, and up to when is counted.

mod application;
mod digest;
mod figures;
mod subject;

use chart::{Bar, Bars, Form, Leaf, Tone, Treemap, Unit};
use maud::{Markup, html};
use store::Permission::GatewayWrite;

use super::fields::Fields;
use super::frame::{self, Place, empty, title};
use super::library::{KINDS, STATUSES, badge, row_status};
use super::visitor::Visitor;
use super::{Page, format};
use crate::operations::usage::{self, ApplicationUsage, DayUsage, UsageQuery, UsageView};

pub(super) use application::page as application;
pub(super) use digest::{page as digest, save as save_digest};
pub(super) use subject::{group, groups, people, person};

/// Rows of one page.
const ROWS: usize = 25;

/// What a page may be narrowed by, in the order of its address.
const NARROWED: [&str; 7] = ["days", "search", "status", "ai", "type", "new", "order_by"];

const PERIODS: [(&str, &str); 4] = [("1", "Today"), ("7", "7 days"), ("30", "30 days"), ("90", "90 days")];

const ORDERS: [(&str, &str); 8] = [
    ("people", "People"),
    ("requests", "Requests"),
    ("bytes_sent", "Sent"),
    ("bytes_received", "Received"),
    ("uploads", "Uploads"),
    ("messages", "Prompts"),
    ("growth", "Growth"),
    ("name", "Name"),
];

/// The colour and the words of a status in charts.
const TONES: [(&str, &str, Tone); 5] = [
    ("approved", "Approved", Tone::Four),
    ("in review", "In review", Tone::Three),
    ("unreviewed", "Unreviewed", Tone::One),
    ("unapproved", "Unapproved", Tone::Two),
    ("unknown", "Not in the library", Tone::Six),
];

/// The pages of this part.
pub(super) const TABS: [(&str, &str); 6] = [
    ("/usage", "Applications"),
    ("/usage/people", "People"),
    ("/usage/groups", "Groups"),
    ("/usage/review", "To review"),
    ("/usage/digest", "Weekly letter"),
    ("/shadow/mcp", "MCP servers"),
];

fn tabs(here: &str, days: &str) -> Markup {
    html! {
        nav.tabs aria-label="Usage" {
            @for (path, text) in TABS {
                a href=(with_days(path, days)) aria-current=[(path == here).then_some("page")] { (text) }
            }
        }
    }
}

/// Keeps the period from page to page.
fn with_days(path: &str, days: &str) -> String {
    if days.is_empty() { path.to_owned() } else { format!("{path}?days={days}") }
}

fn query_of(visitor: &Visitor) -> Result<UsageQuery, crate::failure::Failure> {
    let mut query = UsageQuery::parse(|name| Some(visitor.query.get(name)).filter(|text| !text.is_empty()))?;
    query.which.limit = ROWS;
    Ok(query)
}

/// Serves `GET /usage`.
pub(super) async fn page(visitor: Visitor) -> Page {
    let query = query_of(&visitor)?;
    let view = usage::overview(&visitor.cx, &query).await?;
    let actions = html! {
        a.button.quiet href="/rules/new?finding=block-unapproved" { "Block what is unapproved" }
        a.button href="/explore" { "Ask in SQL" }
    };
    let body = html! {
        (title("Usage", "Which applications people really use, and what was decided about them.", &actions))
        (tabs("/usage", visitor.query.get("days")))
        (filters(&visitor.query))
        (figures::freshness(view.period, view.compared_with, view.comparable, &view.as_of))
        (figures::cards(&view.total, view.comparable.then_some(&view.total_before), Some((view.total_applications, view.new_applications))))
        @if view.applications.is_empty() && view.total.requests == 0 {
            (empty("Nothing of the kind was used in these days.", &html! {
                "Choose a longer period or " a href="/usage" { "clear the filters" } ". Requests are counted once they went through the proxy."
            }))
        } @else {
            div.charts {
                (by_status(&view))
                (figures::people(&view.days, view.comparable.then_some(&*view.days_before)))
                (treemap(&view.largest, visitor.query.get("days")))
                @if view.comparable { (growth(&view.growing, visitor.query.get("days"))) }
            }
            (status_table(&view, &visitor.query))
            h2 { "Applications" small { (format::count(view.total_applications as u64)) } }
            (table(&visitor, "/usage", &view, query.which.offset))
        }
    };
    Ok(frame::page(&visitor, Place::Usage, "Usage", &body))
}

/// Serves `GET /usage/review`: what is used and nobody has decided about.
pub(super) async fn review(visitor: Visitor) -> Page {
    let mut query = query_of(&visitor)?;
    if visitor.query.get("status").is_empty() {
        query.which.status = Some(catalog::Status::Unreviewed);
    }
    let view = usage::overview(&visitor.cx, &query).await?;
    let waiting = match query.which.status {
        Some(status) => status.as_str(),
        None => "",
    };
    let body = html! {
        (title("To review", "What is in use and nobody has decided about, the most people first.", &html! {}))
        (tabs("/usage/review", visitor.query.get("days")))
        (figures::freshness(view.period, view.compared_with, view.comparable, &view.as_of))
        nav.tabs.small aria-label="Waiting" {
            @for word in ["unreviewed", "in review"] {
                @let label = STATUSES.iter().find(|(status, _)| *status == word).map_or(word, |(_, text)| text);
                @let count = view.statuses.iter().find(|status| status.status == word).map_or(0, |status| status.applications);
                a href={ "/usage/review?status=" (word.replace(' ', "+")) "&days=" (view.period.days) } aria-current=[(waiting == word).then_some("page")] {
                    (label) @if waiting == word { small { " " (format::count(count as u64)) } }
                }
            }
        }
        @if view.applications.is_empty() {
            (empty("Nothing waits.", &html! { "Every application in use has a decision. " a href="/usage" { "See all that is used" } "." }))
        } @else { (table(&visitor, "/usage/review", &view, query.which.offset)) }
    };
    Ok(frame::page(&visitor, Place::Usage, "To review", &body))
}

fn filters(query: &Fields) -> Markup {
    let select = |name: &str, label: &str, all: &str, usual: &str, options: &[(&str, &str)]| {
        let chosen = query.text(name).unwrap_or_else(|| usual.to_owned());
        html! {
            label {
                span { (label) }
                select name=(name) {
                    @if !all.is_empty() { option value="" { (all) } }
                    @for (word, text) in options { option value=(word) selected[chosen == *word] { (text) } }
                }
            }
        }
    };
    html! {
        form.filters method="get" action="/usage" role="search" {
            label.wide {
                span { "Name, vendor or host" }
                input type="search" name="search" value=(query.get("search")) minlength="2" maxlength="200" data-filter autocomplete="off" spellcheck="false";
            }
            (select("days", "Period", "", "30", &PERIODS))
            (select("status", "Status", "Any", "", &STATUSES))
            (select("ai", "Artificial intelligence", "All applications", "", &KINDS))
            (select("new", "Seen before", "Or not", "", &[("true", "Only new ones")]))
            (select("order_by", "Order", "", "people", &ORDERS))
            button type="submit" { "Show" }
        }
    }
}

fn by_status(view: &UsageView) -> Markup {
    let series = TONES.iter().filter_map(|(status, name, tone)| {
        let of = |day: &DayUsage| day.by_status.get(status).copied().unwrap_or_default();
        let some = view.days.iter().any(|day| of(day) > 0);
        some.then(|| figures::series(name, *tone, &view.days, of))
    });
    let before = view.comparable.then(|| view.days_before.iter().map(|day| Some(day.usage.requests)).collect());
    figures::by_day("status", "Requests by status", Unit::Count, Form::Columns, &view.days, series.collect(), before)
}

fn page_of(application: &ApplicationUsage, days: &str) -> String {
    let slug = if application.id == 0 { "0" } else { &application.human_id };
    with_days(&format!("/usage/applications/{slug}"), days)
}

fn treemap(applications: &[ApplicationUsage], days: &str) -> Markup {
    let group = |application: &ApplicationUsage| {
        let status = if application.id == 0 { "unknown" } else { application.status };
        TONES.iter().position(|(word, ..)| *word == status).unwrap_or_default()
    };
    let leaves = applications.iter().map(|application| Leaf {
        name: application.name.clone(),
        link: Some(page_of(application, days)),
        value: application.usage.requests,
        group: group(application),
    });
    let groups = TONES.iter().map(|(_, name, tone)| (*name, *tone)).collect();
    Treemap { title: "Largest applications", unit: Unit::Count, groups, leaves: leaves.collect() }.draw()
}

fn growth(applications: &[ApplicationUsage], days: &str) -> Markup {
    let bars = applications.iter().map(|application| Bar {
        name: application.name.clone(),
        link: Some(page_of(application, days)),
        values: vec![application.usage.requests],
        before: Some(application.before.requests),
    });
    Bars { title: "Growing most", unit: Unit::Count, parts: vec![("requests", Tone::One)], bars: bars.collect() }.draw()
}

fn status_table(view: &UsageView, query: &Fields) -> Markup {
    html! {
        h2 { "By status" }
        table.cards {
            thead { tr { th scope="col" { "Status" } th.number scope="col" { "Applications" } th.number scope="col" { "Requests" } th.number scope="col" { "Sent" } th.number scope="col" { "Uploads" } th.number scope="col" { "Blocked" } } }
            tbody {
                @for status in &view.statuses {
                    tr {
                        td data-label="Status" {
                            a href={ "/usage?status=" (status.status.replace(' ', "+")) "&days=" (view.period.days) @if !query.get("ai").is_empty() { "&ai=" (query.get("ai")) } } { (badge(status.status)) }
                        }
                        td.number data-label="Applications" { (format::count(status.applications as u64)) }
                        td.number data-label="Requests" { (format::count(status.usage.requests)) }
                        td.number data-label="Sent" { (format::bytes(status.usage.bytes_sent)) }
                        td.number data-label="Uploads" { (format::count(status.usage.uploads)) }
                        td.number data-label="Blocked" { (format::count(status.usage.blocked)) }
                    }
                }
            }
        }
    }
}

fn table(visitor: &Visitor, path: &str, view: &UsageView, offset: usize) -> Markup {
    let back = visitor.query.address(path, &NARROWED, offset);
    let days = visitor.query.get("days");
    let may_write = visitor.may(GatewayWrite);
    html! {
        table.cards.usage {
            thead { tr {
                th scope="col" { "Application" } th.number scope="col" { "People" } th.number scope="col" { "Requests" } th.number scope="col" { "Sent" }
                th.number scope="col" { "Uploads" } th.number scope="col" { "Prompts" } th scope="col" { "Status" } th scope="col" { "Rule" }
            } }
            tbody {
                @for application in &view.applications {
                    tr {
                        td data-label="Application" {
                            a.strong href=(page_of(application, days)) { (application.name) }
                            @if application.new { " " span.badge.accent { "new" } }
                            div.muted { (application.application_type) @if !application.ai.is_empty() { " · AI: " (application.ai.join(", ")) } }
                        }
                        td.number data-label="People" { (format::count(application.usage.people.unwrap_or_default())) }
                        td.number data-label="Requests" { (format::count(application.usage.requests)) div.muted { (figures::change(application.usage.requests, application.before.requests, view.comparable)) } }
                        td.number data-label="Sent" { (format::bytes(application.usage.bytes_sent)) }
                        td.number data-label="Uploads" { (format::count(application.usage.uploads)) }
                        td.number data-label="Prompts" { @if application.ai.is_empty() { "–" } @else { (format::count(application.usage.messages)) } }
                        td data-label="Status" {
                            @if application.id == 0 { span.muted { "–" } }
                            @else if may_write { (row_status(visitor, &application.human_id, &application.name, application.status, &back)) }
                            @else { (badge(application.status)) }
                        }
                        td data-label="Rule" {
                            @if application.id != 0 && may_write {
                                a.button.quiet href={ "/rules/new?finding=" (suggested(application)) "&application=" (application.human_id) } aria-label={ (suggestion(application)) " " (application.name) } { (suggestion(application)) }
                            }
                        }
                    }
                }
            }
        }
        nav.pages aria-label="Pages" {
            @if offset > 0 { a.button href=(visitor.query.address(path, &NARROWED, offset.saturating_sub(ROWS))) rel="prev" { "Before" } }
            @if offset + ROWS < view.total_applications { a.button href=(visitor.query.address(path, &NARROWED, offset + ROWS)) rel="next" { "Further" } }
        }
    }
}

/// The rule that a row offers: what follows from the status.
fn suggested(application: &ApplicationUsage) -> &'static str {
    match application.status {
        "unapproved" => "block",
        "approved" => "log",
        "in review" => "uploads",
        _ => "coach",
    }
}

fn suggestion(application: &ApplicationUsage) -> &'static str {
    match application.status {
        "unapproved" => "Block",
        "approved" => "Log",
        "in review" => "Stop uploads",
        _ => "Coach",
    }
}
