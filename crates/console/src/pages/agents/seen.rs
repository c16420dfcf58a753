//! What one person sees of a portal, and why: every server with the policy that decided, every tool with what decides it.
//!
//! Nothing is stored and nobody's session changes. Invariant: it asks the view and the rules that answer the person.

use axum::extract::Path;
use maud::{Markup, html};
use store::Permission;
use types::McpPortalId;

use crate::operations::mcp::portals;
use crate::operations::mcp::seen::{self, GateView, SeenServerView, SeenView};
use crate::pages::control::Problems;
use crate::pages::frame::{self, Place, refused_form, title};
use crate::pages::visitor::Visitor;
use crate::pages::{Page, format, id};

/// Definitions of one server that are listed on the page.
const SHOWN: usize = 500;

/// Serves `GET /agents/portals/{id}/seen`, of a person in `?email=`.
pub(in crate::pages) async fn page(visitor: Visitor, Path(portal): Path<String>) -> Page {
    let portal: McpPortalId = id(&portal, "MCP portal")?;
    let name = portals::get(&visitor.cx, &portal).await?.text("name").to_owned();
    let email = visitor.query.get("email");
    let found = if email.is_empty() { None } else { Some(seen::of(&visitor.cx, &portal, email).await) };
    let outcome = found.as_ref().and_then(|found| found.as_ref().ok());
    let failure = found.as_ref().and_then(|found| found.as_ref().err());
    let problems = failure.map_or(Problems::NONE, Problems::of);
    let body = html! {
        p.crumbs { a href="/agents" { "Agents" } " / " a href={ "/agents/portals/" (portal) } { (name) } " / Who sees what" }
        (title("Who sees what", "A person as they last signed in: at another address or with other groups it may be otherwise.", &html! {}))
        @if visitor.may(Permission::UsersRead) { (question(&portal, email, problems)) }
        @else { p.notice { "Looking at what people see needs the permission to read people." } }
        @if let Some(seen) = outcome {
            @if visitor.may(Permission::LogsRead) { p { a href=(calls(&portal, &seen.email)) { "What they called" } } }
            (answer(seen))
        }
    };
    match failure {
        Some(failure) => Ok(refused_form(&visitor, Place::Agents, "Who sees what", failure, &body)),
        None => Ok(frame::page(&visitor, Place::Agents, "Who sees what", &body)),
    }
}

/// The address of a person's calls at a portal.
fn calls(portal: &McpPortalId, email: &str) -> String {
    let pairs = [("dataset", "mcp_portal_logs"), ("portal", portal.as_str()), ("person", email)];
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("/activity?{query}")
}

fn question(portal: &McpPortalId, email: &str, problems: Problems<'_>) -> Markup {
    html! {
        (problems.plain())
        form.filters method="get" action={ "/agents/portals/" (portal) "/seen" } {
            label { span { "Person" } input type="email" name="email" value=(email) required placeholder="ann@example.com" autocomplete="off" spellcheck="false"; }
            button.primary type="submit" { "Look" }
        }
    }
}

fn answer(seen: &SeenView) -> Markup {
    html! {
        section {
            h2 { (seen.email) " " (gate_badge(&seen.portal)) " at the portal" }
            (policies(&seen.portal))
            @if seen.portal.status != "approved" { p.notice { "The person cannot enter the portal, so sees nothing of what follows." } }
        }
        @for server in &seen.servers { (server_section(server)) }
    }
}

fn gate_badge(gate: &GateView) -> Markup {
    let (tone, words) = match gate.status.as_str() {
        "approved" => ("calm", "is let in"),
        "blocked" => ("bad", "is not let in"),
        _ => ("plain", "cannot be told"),
    };
    html! { span class={ "badge " (tone) } { (words) } }
}

fn policies(gate: &GateView) -> Markup {
    html! {
        @if gate.app_id.is_none() { p.muted { "No application stands before it, which lets nobody in." } }
        @else if gate.policies.is_empty() { p.muted { "It has no policy, which lets nobody in." } }
        ol.trace { @for policy in &gate.policies {
            @let member = |name: &str| policy[name].as_str().unwrap_or_default();
            li.match[member("status") == "matched"] {
                span.outcome { (member("status")) }
                @match &gate.app_id {
                    Some(app) => { a href={ "/access/apps/" (app) "/policies/" (member("id")) } { (member("name")) } }
                    None => { b { (member("name")) } }
                }
                " " span.muted { (member("decision").replace('_', " ")) }
            }
        } }
    }
}

fn server_section(server: &SeenServerView) -> Markup {
    let visible = server.definitions.iter().filter(|one| one.visible).count();
    let open = server.gate.status == "approved";
    html! {
        section {
            h2 {
                a href={ "/agents/servers/" (server.server_id) } { (server.name) } " " (gate_badge(&server.gate))
                @if open { small { (visible) " of " (format::count(server.definitions.len() as u64)) " seen" @if !server.on { ", off at first" } } }
            }
            (policies(&server.gate))
            @if let Some(problem) = &server.problem { p.notice { "Calls fail: " (problem) } }
            @if open && !server.definitions.is_empty() {
                table.cards {
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Kind" } th scope="col" { "Seen" } th scope="col" { "Why" } } }
                    tbody { @for one in server.definitions.iter().take(SHOWN) {
                        tr.off[!one.visible] {
                            td data-label="Name" { code { (one.exposed) } }
                            td data-label="Kind" { (one.kind.replace('_', " ")) }
                            td data-label="Seen" { @if one.visible { span.badge.calm { "seen" } } @else { span.badge.plain { "hidden" } } }
                            td data-label="Why" {
                                @if one.decided_by == "held" { a href={ "/agents/servers/" (server.server_id) "/definitions?state=waiting" } { (one.why) } }
                                @else { (one.why) }
                            }
                        }
                    } }
                }
                @if server.definitions.len() > SHOWN { p.muted { "The first " (SHOWN) " are shown; the API lists them all." } }
            }
        }
    }
}
