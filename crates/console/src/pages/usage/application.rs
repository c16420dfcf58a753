//! One application: who uses it, from where, how, which rules decided, and the rules it may need.

use axum::extract::Path;
use chart::{HeatMap, Unit, WorldMap};
use jiff::tz::TimeZone;
use maud::{Markup, html};
use store::Permission::GatewayWrite;

use super::{figures, with_days};
use crate::operations::usage::{self, ApplicationUsageView, KeyUsage};
use crate::pages::frame::{self, Place, empty, title};
use crate::pages::library::{badge, row_status};
use crate::pages::visitor::Visitor;
use crate::pages::{Page, format};

/// Lines of a table at first.
const SHOWN: usize = 8;

/// The rules that a finding may become.
const FINDINGS: [(&str, &str, &str); 5] = [
    ("block", "Block", "Nobody reaches it."),
    ("redirect", "Send elsewhere", "To the application that is approved for the same purpose."),
    ("coach", "Coach", "People read why, then may go on."),
    ("uploads", "Stop uploads", "It can be used, but takes no files."),
    ("log", "Allow and log", "A rule of its own, which the records name."),
];

/// Serves `GET /usage/applications/{application}`.
pub(in crate::pages) async fn page(visitor: Visitor, Path(id): Path<String>) -> Page {
    let days = visitor.query.get("days").to_owned();
    let view = usage::application(&visitor.cx, &id, usage::days(visitor.query.find("days"))?).await?;
    let application = &view.application;
    let address = with_days(&format!("/usage/applications/{id}"), &days);
    let known = application.id != 0;
    let actions = html! {
        @if known {
            a.button.quiet href={ "/library/" (application.human_id) } { "In the library" }
            @if visitor.may(GatewayWrite) { (row_status(&visitor, &application.human_id, &application.name, application.status, &address)) }
            @else { (badge(application.status)) }
        }
    };
    let lead = match (known, application.ai.is_empty()) {
        (false, _) => "Requests to hosts that the library does not know.".to_owned(),
        (true, true) => application.application_type.clone(),
        (true, false) => format!("{} · AI: {}", application.application_type, application.ai.join(", ")),
    };
    let body = html! {
        p.crumbs { a href=(with_days("/usage", &days)) { "Usage" } " / " (application.name) }
        (title(&application.name, &lead, &actions))
        (periods(&format!("/usage/applications/{id}"), view.period.days))
        (figures::freshness(view.period, view.compared_with, view.comparable, &view.as_of))
        (figures::cards(&application.usage, view.comparable.then_some(&application.before), None))
        @if application.usage.requests == 0 {
            (empty("Nobody used it in these days.", &html! { "Choose a longer period." }))
        } @else {
            @if known && visitor.may(GatewayWrite) { (findings(&application.human_id)) }
            div.charts {
                (figures::requests(&view.days, view.comparable.then_some(&*view.days_before)))
                (figures::people(&view.days, view.comparable.then_some(&*view.days_before)))
                (figures::bytes(&view.days))
                (when(&view))
                (countries(&view.countries))
            }
            div.tables {
                (keys("People", "Person", &view.people, |key| Some(format!("/usage/people/{}", format::path_part(key))), &days))
                (keys("Groups", "Group", &view.groups, |key| Some(format!("/usage/groups/{}", format::path_part(key))), &days))
                (keys("Devices", "Device", &view.devices, |_| None, &days))
                (keys("Rules that decided", "Rule", &view.policies, |key| Some(format!("/rules/{}", format::path_part(key))), ""))
                (keys("What was done", "Action", &view.actions, |_| None, ""))
                (keys("Methods", "Method", &view.methods, |_| None, ""))
                (keys("Answers", "Status", &view.answers, |_| None, ""))
            }
        }
    };
    Ok(frame::page(&visitor, Place::Usage, &application.name, &body))
}

pub(super) fn periods(path: &str, days: u16) -> Markup {
    html! {
        nav.tabs aria-label="Period" {
            @for (word, text) in super::PERIODS {
                a href={ (path) "?days=" (word) } aria-current=[(word == days.to_string()).then_some("page")] { (text) }
            }
        }
    }
}

fn findings(slug: &str) -> Markup {
    html! {
        section.findings aria-label="What to do about it" {
            h2 { "What to do about it" }
            ul.choices {
                @for (finding, name, text) in FINDINGS {
                    li { a.button href={ "/rules/new?finding=" (finding) "&application=" (slug) } { (name) } span.muted { (text) } }
                }
            }
            p.hint { "Each opens a drafted rule that can be replayed over recorded traffic before it is created." }
        }
    }
}

/// Draws a week by the hour.
fn when(view: &ApplicationUsageView) -> Markup {
    let (rows, columns) = chart::week();
    let mut values = vec![vec![0; columns.len()]; rows.len()];
    for (time, requests) in &view.hours {
        let time = time.to_zoned(TimeZone::UTC);
        let day = usize::try_from(time.weekday().to_monday_zero_offset()).unwrap_or_default();
        let hour = usize::try_from(time.hour()).unwrap_or_default();
        if let Some(cell) = values.get_mut(day).and_then(|row: &mut Vec<u64>| row.get_mut(hour)) {
            *cell += requests;
        }
    }
    HeatMap { id: "week", title: "Requests by the hours of a week (UTC)", unit: Unit::Count, rows, columns, values }
        .draw()
}

fn countries(countries: &[KeyUsage]) -> Markup {
    let known = countries.iter().filter(|country| !country.key.is_empty());
    let values: Vec<_> = known.map(|country| (country.key.clone(), country.usage.requests)).collect();
    html! {
        @if !values.is_empty() {
            (WorldMap { title: "Where requests came from", unit: Unit::Count, values }.draw())
        }
    }
}

/// Draws a table of people, devices, …; those beyond the first are folded in.
fn keys(heading: &str, column: &str, keys: &[KeyUsage], link: impl Fn(&str) -> Option<String>, days: &str) -> Markup {
    let most = keys.first().map_or(1, |key| key.usage.requests);
    let rows = |keys: &[KeyUsage]| {
        html! {
            @for key in keys {
                @let name = key.name.as_deref().unwrap_or(&key.key);
                tr {
                    td data-label=(column) {
                        @if name.is_empty() { span.muted { "none" } }
                        @else if let Some(link) = link(&key.key) { a href=(with_days(&link, days)) { (name) } }
                        @else { (name) }
                        (chart::share(key.usage.requests, most))
                    }
                    td.number data-label="Requests" { (format::count(key.usage.requests)) }
                    td.number data-label="Sent" { (format::bytes(key.usage.bytes_sent)) }
                    td.number data-label="Blocked" { (format::count(key.usage.blocked)) }
                }
            }
        }
    };
    let head = || html! { thead { tr { th scope="col" { (column) } th.number scope="col" { "Requests" } th.number scope="col" { "Sent" } th.number scope="col" { "Blocked" } } } };
    let (first, others) = keys.split_at(keys.len().min(SHOWN));
    html! {
        @if !keys.is_empty() {
            section {
                h2 { (heading) }
                table.cards { (head()) tbody { (rows(first)) } }
                @if !others.is_empty() {
                    details { summary { (format::plural(others.len() as u64, "more", "more")) } table.cards { (head()) tbody { (rows(others)) } } }
                }
            }
        }
    }
}
