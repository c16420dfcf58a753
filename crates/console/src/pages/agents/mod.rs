//! Agents: MCP portals and the servers behind them, what those offer and what waits, rules about calls, and what one person
//! sees. One file per kind of page.
//!
//! Invariant: pages change what is stored by the documents of the API alone, and keep members they do not show.

pub(super) mod calls;
pub(super) mod definitions;
mod diff;
pub(super) mod overrides;
pub(super) mod portals;
mod program;
pub(super) mod rules;
pub(super) mod seen;
pub(super) mod servers;
mod sign_in;
mod upstream;

use maud::{Markup, html};
use serde_json::{Map, Value};
use store::Permission;

use super::control::button;
use super::frame::{self, Place, empty, title};
use super::visitor::Visitor;
use super::{Page, format};
use crate::failure::Failure;
use crate::operations::access::{AccessView, applications};
use crate::operations::mcp as operations;

/// Serves `GET /agents`.
pub(super) async fn page(visitor: Visitor) -> Page {
    let cx = &visitor.cx;
    let stored = operations::portals::search(cx, None).await?;
    let portals = operations::portals::show_all(cx, &stored).await?;
    let stored = operations::servers::search(cx, None).await?;
    let mut servers = Vec::with_capacity(stored.len());
    for (view, server) in operations::servers::show_all(cx, &stored).await?.into_iter().zip(&stored) {
        // What cannot be read is said on the server's own page.
        let waiting = operations::definitions::list(cx, &server.id, Some("waiting")).await;
        servers.push((view, waiting.map_or(0, |found| found.waiting())));
    }
    let may_write = visitor.may(Permission::AccessWrite);
    let actions = html! {
        @if visitor.may(Permission::LogsRead) {
            a.button.quiet href="/activity?dataset=mcp_portal_logs" { "Calls" }
            a.button.quiet href="/shadow/mcp" { "Servers seen" }
        }
        @if may_write {
            a.button href="/agents/servers/new" { "Add a server" }
            a.button.primary href="/agents/portals/new" { "Make a portal" }
        }
    };
    let body = html! {
        (title("Agents", "One address for the MCP servers that a person's agent may use; every call is decided and recorded.", &actions))
        section {
            h2 { "Portals" }
            @if portals.is_empty() { (empty("There is no portal yet.", &html! { "Add servers, then make a portal in front of them and say who may enter." })) }
            @else {
                table.cards {
                    thead { tr { th scope="col" { "Portal" } th scope="col" { "Address" } th scope="col" { "Servers" } th scope="col" { "Code Mode" } th scope="col" { span.hidden { "Look" } } } }
                    tbody { @for portal in &portals { (portal_row(portal)) } }
                }
            }
        }
        section {
            h2 { "Servers" }
            @if servers.is_empty() { (empty("There is no server yet.", &html! { "A server has an address that speaks the Model Context Protocol." })) }
            @else {
                table.cards {
                    thead { tr { th scope="col" { "Server" } th scope="col" { "Address" } th scope="col" { "State" } th scope="col" { "Signed in" } th scope="col" { "Offers" } th scope="col" { span.hidden { "Ask it" } } } }
                    tbody { @for (server, waiting) in &servers { (server_row(&visitor, server, *waiting)) } }
                }
            }
        }
    };
    Ok(frame::page(&visitor, Place::Agents, "Agents", &body))
}

fn portal_row(portal: &AccessView) -> Markup {
    let servers = members(portal, "servers");
    let id = portal.text("id");
    html! {
        tr {
            td data-label="Portal" { a.strong href={ "/agents/portals/" (id) } { (portal.text("name")) } }
            td data-label="Address" { code { (portal.text("hostname")) } }
            td data-label="Servers" {
                @if servers.is_empty() { span.badge.bad { "none" } }
                @for (index, server) in servers.iter().enumerate() {
                    @if index > 0 { ", " }
                    a href={ "/agents/servers/" (text(server, "server_id")) } { (text(server, "name")) }
                }
            }
            td data-label="Code Mode" { (code_mode(portal.text("code_mode"))) }
            td { a href={ "/agents/portals/" (id) "/seen" } { "Who sees what" span.hidden { " at " (portal.text("name")) } } }
        }
    }
}

fn server_row(visitor: &Visitor, server: &AccessView, waiting: usize) -> Markup {
    let path = format!("/agents/servers/{}", server.text("id"));
    let (tools, prompts) = (members(server, "tools").len() as u64, members(server, "prompts").len() as u64);
    html! {
        tr {
            td data-label="Server" { a.strong href=(path) { (server.text("name")) } }
            td data-label="Address" { code.clip title=(server.text("hostname")) { (server.text("hostname")) } }
            td data-label="State" { (status(server.text("status"), server.text("error"))) }
            td data-label="Signed in" { (signed_in(server.text("authentication_status"))) }
            td data-label="Offers" {
                (format::plural(tools, "tool", "tools")) @if prompts > 0 { ", " (format::plural(prompts, "prompt", "prompts")) }
                @if waiting > 0 { br; a.badge.accent href={ (path) "/definitions?state=waiting" } { (format::plural(waiting as u64, "waits", "wait")) } }
            }
            td {
                @if visitor.may(Permission::AccessWrite) {
                    (button(&format!("{path}/sync"), &visitor.csrf, "quiet", &html! { "Ask it" span.hidden { ": " (server.text("name")) } }, &[("back", "/agents")]))
                }
            }
        }
    }
}

/// How the definitions of a server stand.
fn status(state: &str, error: &str) -> Markup {
    let (tone, words) = match state {
        "ready" => ("calm", "ready"),
        "stale" => ("accent", "silent of late"),
        "error" => ("bad", "no answer"),
        _ => ("plain", "not asked yet"),
    };
    html! {
        span class={ "badge " (tone) } { (words) }
        @if !error.is_empty() { div.muted { (error) } }
    }
}

/// How the administrator's sign-in at a server stands.
fn signed_in(word: &str) -> Markup {
    let (tone, words) = match word {
        "not_required" => ("plain", "needs no sign-in"),
        "connected" => ("calm", "signed in"),
        "stale" => ("bad", "lapsed"),
        "manual" => ("plain", "people themselves"),
        _ => ("bad", "not signed in"),
    };
    html! { span class={ "badge " (tone) } { (words) } }
}

/// The choices in the forms of servers that show more of the form: the field, and the value.
pub(super) const CHOICES: [(&str, &str); 9] = [
    ("kind", "remote"),
    ("kind", "stdio"),
    ("kind", "worker"),
    ("auth_type", "unauthenticated"),
    ("auth_type", "bearer"),
    ("auth_type", "oauth"),
    ("auth_mode", ""),
    ("auth_mode", "dcr"),
    ("auth_mode", "manual"),
];

/// The settings of Code Mode, with what they say.
const CODE_MODES: [(&str, &str); 4] = [
    ("opt_in", "When the client asks"),
    ("default_on", "Unless the client asks not to"),
    ("enforced", "Always"),
    ("off", "Never"),
];

fn code_mode(word: &str) -> &'static str {
    CODE_MODES.iter().find(|(known, _)| *known == word).map_or("", |(_, text)| text)
}

/// The elements of a list in a view.
fn members<'v>(view: &'v AccessView, name: &str) -> &'v [Value] {
    view.0.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

/// A member of the group `portunus`.
fn ours<'v>(view: &'v AccessView, name: &str) -> Option<&'v Value> {
    view.0.get("portunus")?.get(name)
}

/// The group `portunus` of a view, to be changed and sent back.
fn extension(view: &AccessView) -> Map<String, Value> {
    view.0.get("portunus").and_then(Value::as_object).cloned().unwrap_or_default()
}

/// The link to the application that says who may use a portal or server, with how many policies it has.
async fn who_may(visitor: &Visitor, is_it: impl Fn(&AccessView) -> bool) -> Result<Markup, Failure> {
    let apps = applications::list(&visitor.cx).await?;
    let Some(app) = apps.iter().find(|app| is_it(app)) else {
        return Ok(html! { p.notice.bad { "No application of Access stands before it, so nobody may use it." } });
    };
    let policies = members(app, "policies").len() as u64;
    let path = format!("/access/apps/{}", app.text("id"));
    Ok(html! {
        @if policies == 0 {
            p.notice.bad { "Nobody may use it yet. " a href=(path) { "Say who may" } "." }
        } @else {
            p { "Who may use it: " a href=(path) { (format::plural(policies, "policy", "policies")) } "." }
        }
    })
}
