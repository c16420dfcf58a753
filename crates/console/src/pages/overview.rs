//! The overview: what happened in the last hour, and whether all is well.
//!
//! Reads the minute counts and the newest records through the operations. Invariant: it asks for a bounded number of
//! records however much traffic there is.

use std::collections::HashMap;

use axum::response::Response;
use chart::{Clock, Fold, Form, Series, Step, TimeSeries, Tone, Unit};
use maud::{Markup, html};
use serde_json::{Map, Value};

use super::Page;
use super::format;
use super::frame::{self, Place, empty, title};
use super::visitor::Visitor;
use crate::failure::Failure;
use crate::operations::logs::{self, MinuteView};
use crate::operations::{lists, rules, scripts};

/// Records that the rankings count.
const RECENT: &str = "500";
/// Minutes that the charts show.
const MINUTES: usize = 60;
/// Lines of a ranking.
const RANKED: usize = 6;

/// Serves `GET /`.
pub(super) async fn page(visitor: Visitor) -> Page {
    let live = live(&visitor).await?;
    if visitor.query.ticked("fragment") {
        return Ok(frame::fragment(live));
    }
    let proxy = &visitor.cx.app.deps.addresses.proxy;
    let actions = html! { a.button href="/activity" { "Activity" } a.button.primary href="/rules/new" { "New rule" } };
    let body = html! {
        (title("Overview", "The last hour, live.", &actions))
        (first_steps(&visitor, proxy).await)
        div data-refresh="/?fragment" data-every="4000" { (live) }
    };
    Ok(draw(&visitor, &body))
}

fn draw(visitor: &Visitor, body: &Markup) -> Response {
    frame::page(visitor, Place::Overview, "Overview", body)
}

async fn live(visitor: &Visitor) -> Result<Markup, Failure> {
    let minutes = logs::minutes(&visitor.cx, "gateway_http")?;
    let recent = logs::page(&visitor.cx, "gateway_http", &[("limit".to_owned(), RECENT.to_owned())]).await?;
    let records: Vec<&Map<String, Value>> = recent.records.iter().map(|record| &record.0).collect();
    let traffic = Traffic::read(&minutes, visitor.cx.now());
    Ok(html! {
        (figures(visitor, &minutes))
        div.charts {
            (traffic.requests())
            (traffic.times("decided", "Time to decide", &traffic.decision))
            (traffic.times("whole", "Whole request", &traffic.duration))
            (traffic.times("worker", "Waiting for Workers", &traffic.worker))
        }
        @if records.is_empty() {
            (empty("No web request has been recorded yet.", &html! {
                "Send one through the proxy: " code { "curl -x " (visitor.cx.app.deps.addresses.proxy) " --proxy-user EMAIL:TOKEN https://example.com/" }
                ". Make the token under " a href="/settings/people" { "Settings, People" } "."
            }))
        } @else {
            div.rankings {
                (ranking("Rules", "PolicyName", "rule", &records))
                (ranking("Hosts", "HTTPHost", "host", &records))
                (ranking("People", "Email", "person", &records))
            }
            (blocked(&records))
        }
    })
}

/// The minute counts, spread over the hour.
struct Traffic {
    clock: Clock,
    verdicts: Vec<Series>,
    decision: Vec<Series>,
    duration: Vec<Series>,
    worker: Vec<Series>,
}

impl Traffic {
    fn read(minutes: &[MinuteView], now: jiff::Timestamp) -> Self {
        let nothing = |name: &str, tone| Series { name: name.to_owned(), tone, values: vec![None; MINUTES] };
        let quantiles = || vec![nothing("p50", Tone::One), nothing("p99", Tone::Two)];
        let first = (now.as_second().div_euclid(60) + 1).saturating_sub_unsigned(MINUTES as u64) * 60;
        let start = jiff::Timestamp::from_second(first).unwrap_or(now);
        let mut this = Self {
            clock: Clock { start, step: Step::Minute, zone: jiff::tz::TimeZone::UTC },
            verdicts: vec![
                nothing("allowed", Tone::Four),
                nothing("Worker", Tone::One),
                nothing("other", Tone::Three),
                nothing("blocked", Tone::Two),
            ],
            decision: quantiles(),
            duration: quantiles(),
            worker: quantiles(),
        };
        for minute in minutes {
            let Ok(at) = minute.at.parse::<jiff::Timestamp>() else { continue };
            let back = now.as_second().div_euclid(60) - at.as_second().div_euclid(60);
            let Some(place) = usize::try_from(back).ok().and_then(|back| (MINUTES - 1).checked_sub(back)) else {
                continue;
            };
            let [allowed, worker, other, blocked] = by_kind(minute);
            let put = |series: &mut [Series], values: &[Option<u64>]| {
                for (one, value) in series.iter_mut().zip(values) {
                    one.values[place] = *value;
                }
            };
            put(&mut this.verdicts, &[Some(allowed), Some(worker), Some(other), Some(blocked)]);
            put(&mut this.decision, &[minute.decision_p50_micros, minute.decision_p99_micros]);
            put(&mut this.duration, &[minute.duration_p50_micros, minute.duration_p99_micros]);
            put(&mut this.worker, &[minute.worker_p50_micros, minute.worker_p99_micros]);
        }
        this
    }

    fn requests(&self) -> Markup {
        let chart = TimeSeries {
            id: "requests",
            title: "Requests",
            clock: self.clock.clone(),
            unit: Unit::Count,
            fold: Fold::Sum,
            form: Form::Columns,
            series: self.verdicts.clone(),
            before: None,
        };
        chart.draw()
    }

    fn times(&self, id: &str, title: &str, series: &[Series]) -> Markup {
        let chart = TimeSeries {
            id,
            title,
            clock: self.clock.clone(),
            unit: Unit::Micros,
            fold: Fold::Largest,
            form: Form::Lines,
            series: series.to_vec(),
            before: None,
        };
        chart.draw()
    }
}

/// Allowed, decided by a Worker, anything else, blocked.
fn by_kind(minute: &MinuteView) -> [u64; 4] {
    let mut kinds = [0; 4];
    for (word, count) in &minute.by_word {
        let kind = match word.as_str() {
            "allow" => 0,
            "worker" | "managed" => 1,
            "block" => 3,
            _ => 2,
        };
        kinds[kind] += count;
    }
    kinds
}

fn figures(visitor: &Visitor, minutes: &[MinuteView]) -> Markup {
    let sum = |of: fn(&MinuteView) -> u64| minutes.iter().map(of).sum::<u64>();
    let (requests, blocked, errors) = (sum(|m| m.records), sum(|m| by_kind(m)[3]), sum(|m| m.errors));
    let (sent, received) = (sum(|m| m.bytes_sent), sum(|m| m.bytes_received));
    let snapshot = visitor.cx.app.deps.snapshot.status();
    let since = snapshot.compiled_at.map(|at| at.to_string());
    html! {
        dl.figures {
            div { dt { "Requests" } dd { (format::count(requests)) } }
            div { dt { "Blocked" } dd.bad[blocked > 0] { (format::count(blocked)) } }
            div { dt { "Failed" } dd.bad[errors > 0] { (format::count(errors)) } }
            div { dt { "Received" } dd { (format::bytes(received)) } }
            div { dt { "Sent" } dd { (format::bytes(sent)) } }
            div { dt { "Configuration" } dd { (snapshot.revision) @if let Some(at) = &since { small { "since " (format::clock(at)) } } } }
        }
    }
}

fn ranking(name: &str, field: &str, filter: &str, records: &[&Map<String, Value>]) -> Markup {
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for record in records {
        *counts.entry(format::text(record, field)).or_default() += 1;
    }
    counts.remove("");
    let mut ranked: Vec<_> = counts.into_iter().collect();
    ranked.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let most = ranked.first().map_or(1, |(_, count)| *count);
    html! {
        section.ranking {
            h2 { (name) small { "newest " (records.len()) } }
            @if ranked.is_empty() { p.muted { "None named." } }
            ol {
                @for (text, count) in ranked.into_iter().take(RANKED) {
                    li { a href={ "/activity?" (query(filter, text)) } title=(text) { (text) } b { (format::count(count)) } (chart::share(count, most)) }
                }
            }
        }
    }
}

fn query(name: &str, value: &str) -> String {
    url::form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish()
}

fn blocked(records: &[&Map<String, Value>]) -> Markup {
    let newest: Vec<_> = records.iter().filter(|record| format::text(record, "Action") == "block").take(6).collect();
    html! {
        @if !newest.is_empty() {
            section {
                h2 { "Newest blocks" }
                ul.feed {
                    @for record in newest {
                        li {
                            (format::clock(format::text(record, "Datetime")))
                            a href={ "/activity/gateway_http/" (format::text(record, "RequestID")) } { (format::text(record, "HTTPHost")) }
                            span.muted { (format::text(record, "Email")) }
                            span { (format::text(record, "Explanation")) }
                        }
                    }
                }
            }
        }
    }
}

/// What to do on an installation that has nothing yet. Someone who may not look at a part is not told about it.
async fn first_steps(visitor: &Visitor, proxy: &str) -> Markup {
    let cx = &visitor.cx;
    // Whoever waits for a store that is gone sees the banner late.
    if !cx.app.deps.snapshot.status().store_reachable {
        return Markup::default();
    }
    let no_rules = rules::list(cx).await.is_ok_and(|all| all.is_empty());
    let no_workers = scripts::list(cx).await.is_ok_and(|all| all.is_empty());
    let no_lists = lists::list(cx, None).await.is_ok_and(|all| all.is_empty());
    html! {
        @if no_rules && no_workers && no_lists {
            section.steps {
                h2 { "First steps" }
                ol {
                    li { a href="/settings/authority" { "Trust the certificate authority" } " on the devices whose traffic is to be inspected." }
                    li { a href="/settings/people" { "Add a person" } " and make them a proxy token." }
                    li { "Point a browser or program at the proxy " code { (proxy) } "." }
                    li { a href="/rules/new" { "Write a rule" } ", or " a href="/workers/new" { "write a Worker" } " that decides." }
                }
            }
        }
    }
}
