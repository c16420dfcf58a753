//! What the pages about usage share: the numbers on top, charts by day, what the numbers are about.

use chart::{Clock, Fold, Form, Series, Step, TimeSeries, Tone, Unit};
use jiff::tz::TimeZone;
use maud::{Markup, html};

use crate::operations::usage::{DayUsage, Figures, Period};
use crate::pages::format;

/// Says which days a page is about and up to when they are counted.
pub(super) fn freshness(period: Period, before: Period, as_of: &str) -> Markup {
    html! {
        p.muted role="status" {
            (period.from) @if period.days > 1 { " to " (period.to) } " (UTC), compared with " (before.from) @if before.days > 1 { " to " (before.to) }
            "; counted up to " (format::time(as_of)) "."
        }
    }
}

/// Draws the numbers with how they stand against those before; how many applications there are, and how many are new.
pub(super) fn cards(now: &Figures, before: &Figures, applications: Option<(usize, usize)>) -> Markup {
    let card = |name: &str, text: String, now: u64, before: u64| {
        html! { div { dt { (name) } dd { (text) small { (chart::change(now, before)) } } } }
    };
    let counted = |name: &str, now: u64, before: u64| card(name, format::count(now), now, before);
    html! {
        dl.figures {
            @if let Some((all, new)) = applications {
                div { dt { "Applications" } dd { (format::count(all as u64)) small { (format::count(new as u64)) " new" } } }
            }
            @if let Some(people) = now.people { (counted("People", people, before.people.unwrap_or_default())) }
            @if let Some(devices) = now.devices { (counted("Devices", devices, before.devices.unwrap_or_default())) }
            (counted("Requests", now.requests, before.requests))
            (counted("Blocked", now.blocked, before.blocked))
            (card("Sent", format::bytes(now.bytes_sent), now.bytes_sent, before.bytes_sent))
            (card("Received", format::bytes(now.bytes_received), now.bytes_received, before.bytes_received))
            (counted("Uploads", now.uploads, before.uploads))
            (counted("JSON posted", now.messages, before.messages))
        }
    }
}

pub(super) fn series(name: &str, tone: Tone, days: &[DayUsage], of: impl Fn(&DayUsage) -> u64) -> Series {
    Series { name: name.to_owned(), tone, values: days.iter().map(|day| Some(of(day))).collect() }
}

/// Draws values of days.
pub(super) fn by_day(
    id: &str,
    title: &str,
    unit: Unit,
    form: Form,
    days: &[DayUsage],
    series: Vec<Series>,
    before: Option<Vec<Option<u64>>>,
) -> Markup {
    let start = days.first().and_then(|day| day.date.to_zoned(TimeZone::UTC).ok());
    let clock =
        Clock { start: start.map(|start| start.timestamp()).unwrap_or_default(), step: Step::Day, zone: TimeZone::UTC };
    // Distinct people of several days are not their sum.
    let fold = if form == Form::Lines { Fold::Largest } else { Fold::Sum };
    TimeSeries { id, title, clock, unit, fold, form, series, before }.draw()
}

/// Draws people by day.
pub(super) fn people(days: &[DayUsage], before: &[DayUsage]) -> Markup {
    let of = |day: &DayUsage| day.usage.people.unwrap_or_default();
    let series = vec![series("people", Tone::One, days, of)];
    let before = before.iter().map(|day| Some(of(day))).collect();
    by_day("people", "People by day", Unit::Count, Form::Lines, days, series, Some(before))
}

/// Draws requests by day, those that were blocked apart.
pub(super) fn requests(days: &[DayUsage], before: &[DayUsage]) -> Markup {
    let series = vec![
        series("let through", Tone::Four, days, |day| day.usage.requests.saturating_sub(day.usage.blocked)),
        series("blocked", Tone::Two, days, |day| day.usage.blocked),
    ];
    let before = before.iter().map(|day| Some(day.usage.requests)).collect();
    by_day("requests", "Requests by day", Unit::Count, Form::Columns, days, series, Some(before))
}

/// Draws bytes by day.
pub(super) fn bytes(days: &[DayUsage]) -> Markup {
    let series = vec![
        series("sent", Tone::Two, days, |day| day.usage.bytes_sent),
        series("received", Tone::One, days, |day| day.usage.bytes_received),
    ];
    by_day("bytes", "Bytes by day", Unit::Bytes, Form::Columns, days, series, None)
}
