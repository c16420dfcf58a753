//! MCP servers that people's agents reach, in the traffic of the last days: the list, one server, and what to do about it.
//!
//! The operations ask the records; here the answer is drawn, and what to do leads to the rule editor with a draft in it.
//! Invariant: names that servers and programs give themselves are shown as text.

use ::chart::{Clock, Fold, Form, Series, Step, TimeSeries, Tone, Unit};
use axum::extract::Path;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use maud::{Markup, html};
use store::Permission;

use super::frame::{self, Place, empty, title};
use super::visitor::Visitor;
use super::{Page, format};
use crate::operations::logs;
use crate::operations::shadow_mcp::{self, McpSeen, McpSeenDay, McpSeenDetail, Period};

/// The periods that are offered, in days.
const PERIODS: [u16; 4] = [1, 7, 30, 90];
/// Calls that are shown of a server.
const CALLS: &str = "25";

/// Serves `GET /shadow/mcp`.
pub(super) async fn page(visitor: Visitor) -> Page {
    let period = Period::read(visitor.query.get("days"))?;
    let place = visitor.query.get("place").to_owned();
    let mut servers = shadow_mcp::list(&visitor.cx, period).await?;
    let past = |server: &McpSeen| server.portal != "portal";
    let (all, shadow) = (servers.len(), servers.iter().filter(|server| past(server)).count());
    if place == "shadow" {
        servers.retain(past);
    }
    let body = html! {
        (title("MCP servers seen", "What people's agents reach through the gateway, portals or not.", &period_links("/shadow/mcp", period, &place)))
        dl.figures {
            div { dt { "Servers" } dd { (format::count(all as u64)) } }
            div { dt { "Past the portal" } dd { (format::count(shadow as u64)) } }
            div { dt { "Calls of tools" } dd { (format::count(servers.iter().map(|server| server.calls).sum())) } }
        }
        nav.tabs aria-label="Which servers" {
            @for (word, text) in [("", "All"), ("shadow", "Past the portal")] {
                a href={ "/shadow/mcp?days=" (period.days) "&place=" (word) } aria-current=[(place == word).then_some("page")] { (text) }
            }
        }
        @if servers.is_empty() {
            (empty("No MCP server was reached in this time.", &html! { "The gateway tells MCP in the traffic it inspects; hosts that are not inspected are in " a href="/activity?dataset=gateway_network" { "connections" } " by name alone." }))
        } @else { (table(&servers, period)) }
    };
    Ok(frame::page(&visitor, Place::Agents, "MCP servers seen", &body))
}

fn period_links(path: &str, period: Period, place: &str) -> Markup {
    html! {
        nav.tabs.small aria-label="Period" {
            @for days in PERIODS {
                a href={ (path) "?days=" (days) @if !place.is_empty() { "&place=" (place) } } aria-current=[(days == period.days).then_some("page")] {
                    @if days == 1 { "1 day" } @else { (days) " days" }
                }
            }
        }
    }
}

fn table(servers: &[McpSeen], period: Period) -> Markup {
    html! {
        table.cards {
            thead { tr {
                th scope="col" { "Server" } th scope="col" { "Where" }
                th.number scope="col" { "People" } th.number scope="col" { "Calls" } th.number scope="col" { "Tools" } th.number scope="col" { "Clients" }
                th scope="col" { "First seen" } th scope="col" { "Last seen" }
            } }
            tbody {
                @for server in servers {
                    tr {
                        td data-label="Server" {
                            a.strong href={ (address(&server.host)) "?days=" (period.days) } { (server.host) }
                            @if let Some(name) = name(server) { div.muted { (name) } }
                        }
                        td data-label="Where" { (place_of(server)) }
                        td.number data-label="People" { (format::count(server.people)) }
                        td.number data-label="Calls" { (format::count(server.calls)) }
                        td.number data-label="Tools" { (format::count(server.tools)) }
                        td.number data-label="Clients" { (format::count(server.clients)) }
                        td data-label="First seen" { (format::day(&server.first_seen)) }
                        td data-label="Last seen" { (format::day(&server.last_seen)) }
                    }
                }
            }
        }
    }
}

fn address(host: &str) -> String {
    let host = format::path_part(host);
    format!("/shadow/mcp/{host}")
}

fn name(server: &McpSeen) -> Option<&str> {
    Some(server.server.as_str()).filter(|name| !name.is_empty()).or(server.known)
}

fn place_of(server: &McpSeen) -> Markup {
    html! {
        @match server.portal.as_str() {
            "portal" => { span.badge.calm { "portal" } }
            "behind_portal" => { span.badge.accent title="It is behind a portal, and was reached past it" { "behind a portal" } }
            _ => { span.badge.bad { "shadow" } }
        }
        " "
        @if server.known.is_some() { span.badge.plain title="A public server that is known by its host" { "known" } }
        @else { span.badge.plain { "unknown" } }
    }
}

/// Serves `GET /shadow/mcp/{host}`.
pub(super) async fn server(visitor: Visitor, Path(host): Path<String>) -> Page {
    let period = Period::read(visitor.query.get("days"))?;
    let seen = shadow_mcp::get(&visitor.cx, period, &host).await?;
    let filters = [("limit", CALLS), ("HTTPHost", host.as_str()), ("IsMCP", "true")];
    let filters: Vec<_> = filters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let calls = logs::page(&visitor.cx, "gateway_http", &filters).await?;
    let portal = shadow_mcp::portal(&visitor.cx).await?;
    let server = &seen.server;
    let lead = name(server).map_or_else(String::new, str::to_owned);
    let body = html! {
        p.crumbs { a href={ "/shadow/mcp?days=" (period.days) } { "MCP servers seen" } " / " (server.host) }
        (title(&server.host, &lead, &period_links(&address(&host), period, "")))
        p { (place_of(server)) " " span.muted { "first seen " (format::day(&server.first_seen)) ", last " (format::day(&server.last_seen)) } }
        dl.figures {
            div { dt { "People" } dd { (format::count(server.people)) } }
            div { dt { "Requests" } dd { (format::count(server.requests)) } }
            div { dt { "Calls of tools" } dd { (format::count(server.calls)) } }
            div { dt { "Blocked" } dd { (format::count(server.blocked)) } }
        }
        @if visitor.may(Permission::GatewayWrite) { (acts(server, portal.as_deref())) }
        @if let Some(chart) = days(&seen.days) { (chart) }
        (use_of(&seen))
        section {
            h2 { "Newest messages" }
            table.cards {
                thead { tr { th scope="col" { "When" } th scope="col" { "Person" } th scope="col" { "Method" } th scope="col" { "Tool" } th scope="col" { "Action" } } }
                tbody { @for record in &calls.records {
                    @let record = &record.0;
                    tr {
                        td data-label="When" { a href={ "/activity/gateway_http/" (format::text(record, "RequestID")) } { (format::time(format::text(record, "Datetime"))) } (format::generated(record)) }
                        td data-label="Person" { (or_nobody(format::text(record, "Email"))) }
                        td data-label="Method" { code { (format::text(record, "MCPMethod")) } }
                        td data-label="Tool" { code { (format::text(record, "MCPTool")) } }
                        td data-label="Action" { (format::verdict(format::text(record, "Action"))) }
                    }
                } }
            }
        }
    };
    Ok(frame::page(&visitor, Place::Agents, &server.host, &body))
}

/// What can be done: each leads to a draft in the rule editor, where it is replayed and saved.
fn acts(server: &McpSeen, portal: Option<&str>) -> Markup {
    let host = format::path_part(&server.host);
    let draft = |act: &str| format!("/rules/new?mcp_server={host}&draft={act}");
    html! {
        section.acts aria-labelledby="acts" {
            h2 id="acts" { "What to do about it" }
            @if server.portal == "portal" { p { "This is a portal of yours: its own rules decide about tools." } }
            @else {
                p.muted { "Each opens a rule to look at, replay over recorded traffic and save." }
                div.actions {
                    a.button href=(draft("block")) { "Block it" }
                    @if portal.is_some() { a.button href=(draft("redirect")) { "Send it to the portal" } }
                    @else { a.button.quiet href="/agents/portals/new" { "Make a portal to send it to" } }
                    a.button href=(draft("log")) { "Allow it and keep its messages, masked" }
                }
            }
        }
    }
}

fn or_nobody(email: &str) -> Markup {
    html! { @if email.is_empty() { span.muted { "nobody signed in" } } @else { (email) } }
}

fn use_of(seen: &McpSeenDetail) -> Markup {
    html! {
        section {
            h2 { "Tools" small { (seen.tools.len()) } }
            @if seen.tools.is_empty() { p.muted { "No tool was called." } } @else {
                table.cards {
                    thead { tr { th scope="col" { "Tool" } th.number scope="col" { "Calls" } th.number scope="col" { "People" } th scope="col" { "Last called" } } }
                    tbody { @for tool in &seen.tools { tr {
                        td data-label="Tool" { code { (tool.tool) } }
                        td.number data-label="Calls" { (format::count(tool.calls)) }
                        td.number data-label="People" { (format::count(tool.people)) }
                        td data-label="Last called" { (format::time(&tool.last_seen)) }
                    } } }
                }
            }
        }
        section {
            h2 { "People" small { (seen.people.len()) } }
            table.cards {
                thead { tr { th scope="col" { "Person" } th.number scope="col" { "Calls" } th.number scope="col" { "Requests" } th scope="col" { "Last seen" } } }
                tbody { @for person in &seen.people { tr {
                    td data-label="Person" { (or_nobody(&person.email)) }
                    td.number data-label="Calls" { (format::count(person.calls)) }
                    td.number data-label="Requests" { (format::count(person.requests)) }
                    td data-label="Last seen" { (format::time(&person.last_seen)) }
                } } }
            }
        }
        section {
            h2 { "Programs" small { (seen.clients.len()) } }
            table.cards {
                thead { tr { th scope="col" { "Program" } th scope="col" { "Version of MCP" } th.number scope="col" { "Requests" } th.number scope="col" { "People" } } }
                tbody { @for client in &seen.clients { tr {
                    td data-label="Program" { @if client.client.is_empty() { span.muted { "does not say" } } @else { (client.client) } }
                    td data-label="Version of MCP" { @if client.protocol_version.is_empty() { span.muted { "does not say" } } @else { code { (client.protocol_version) } } }
                    td.number data-label="Requests" { (format::count(client.requests)) }
                    td.number data-label="People" { (format::count(client.people)) }
                } } }
            }
        }
    }
}

fn days(days: &[McpSeenDay]) -> Option<Markup> {
    let dated: Vec<(Date, &McpSeenDay)> = days.iter().filter_map(|day| Some((day.date.parse().ok()?, day))).collect();
    let (first, last) = (dated.first()?.0, dated.last()?.0);
    let at = |date: Date| first.until(date).ok().and_then(|span| usize::try_from(span.get_days()).ok());
    let slots = at(last)? + 1;
    let series = |name: &str, tone: Tone, of: fn(&McpSeenDay) -> u64| {
        let mut values = vec![Some(0); slots];
        for (date, day) in &dated {
            if let Some(slot) = at(*date).and_then(|at| values.get_mut(at)) {
                *slot = Some(of(day));
            }
        }
        Series { name: name.to_owned(), tone, values }
    };
    let chart = TimeSeries {
        id: "days",
        title: "Requests by day",
        clock: Clock { start: first.to_zoned(TimeZone::UTC).ok()?.timestamp(), step: Step::Day, zone: TimeZone::UTC },
        unit: Unit::Count,
        fold: Fold::Sum,
        form: Form::Lines,
        series: vec![
            series("requests", Tone::One, |day| day.requests),
            series("blocked", Tone::Two, |day| day.blocked),
        ],
        before: None,
    };
    Some(chart.draw())
}
