//! What the pages about usage share: the numbers on top, charts by day, what the numbers are about.

use chart::{Clock, Fold, Form, Series, Step, TimeSeries, Tone, Unit};
use jiff::tz::TimeZone;
use maud::{Markup, html};

use crate::operations::usage::{DayUsage, Figures, Period};
use crate::pages::format;

/// Says which days a page is about and up to when they are counted.
pub(super) fn freshness(period: Period, before: Period, comparable: bool, as_of: &str) -> Markup {
    let days = |period: Period| html! { (period.from) @if period.days > 1 { " to " (period.to) } };
    html! {
        p.muted.wide role="status" {
            (days(period)) " (UTC)"
            @if comparable { ", compared with " (days(before)) } @else { "; nothing to compare with: records begin later than " (before.from) }
            "; counted up to " (format::time(as_of)) "."
        }
    }
}

/// What a number is compared with, when there is something.
pub(super) fn change(now: u64, before: u64, comparable: bool) -> Markup {
    html! { @if comparable { (chart::change(now, before)) } }
}

/// Draws the numbers with how they stand against those before; how many applications there are, and how many are new.
pub(super) fn cards(now: &Figures, before: Option<&Figures>, applications: Option<(usize, usize)>) -> Markup {
    let card = |name: &str, text: String, of: fn(&Figures) -> u64| {
        html! { div { dt { (name) } dd { (text) @if let Some(before) = before { small { (chart::change(of(now), of(before))) } } } } }
    };
    let counted = |name: &str, of: fn(&Figures) -> u64| card(name, format::count(of(now)), of);
    html! {
        dl.figures {
            @if let Some((all, new)) = applications {
                div { dt { "Applications" } dd { (format::count(all as u64)) @if before.is_some() { small { (format::count(new as u64)) " new" } } } }
            }
            @if now.people.is_some() { (counted("People", |figures| figures.people.unwrap_or_default())) }
            @if now.devices.is_some() { (counted("Devices", |figures| figures.devices.unwrap_or_default())) }
            (counted("Requests", |figures| figures.requests))
            (counted("Blocked", |figures| figures.blocked))
            (card("Sent", format::bytes(now.bytes_sent), |figures| figures.bytes_sent))
            (card("Received", format::bytes(now.bytes_received), |figures| figures.bytes_received))
            (counted("Uploads", |figures| figures.uploads))
            (counted("JSON posted", |figures| figures.messages))
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
pub(super) fn people(days: &[DayUsage], before: Option<&[DayUsage]>) -> Markup {
    let of = |day: &DayUsage| day.usage.people.unwrap_or_default();
    let series = vec![series("people", Tone::One, days, of)];
    let before = before.map(|before| before.iter().map(|day| Some(of(day))).collect());
    by_day("people", "People by day", Unit::Count, Form::Lines, days, series, before)
}

/// Draws requests by day, those that were blocked apart.
pub(super) fn requests(days: &[DayUsage], before: Option<&[DayUsage]>) -> Markup {
    let series = vec![
        series("let through", Tone::Four, days, |day| day.usage.requests.saturating_sub(day.usage.blocked)),
        series("blocked", Tone::Two, days, |day| day.usage.blocked),
    ];
    let before = before.map(|before| before.iter().map(|day| Some(day.usage.requests)).collect());
    by_day("requests", "Requests by day", Unit::Count, Form::Columns, days, series, before)
}

/// Draws bytes by day.
pub(super) fn bytes(days: &[DayUsage]) -> Markup {
    let series = vec![
        series("sent", Tone::Two, days, |day| day.usage.bytes_sent),
        series("received", Tone::One, days, |day| day.usage.bytes_received),
    ];
    by_day("bytes", "Bytes by day", Unit::Bytes, Form::Columns, days, series, None)
}
