//! What a server offers: tools, prompts, resources with what they cost, and what waits to be approved, with its difference.
//!
//! Invariant: a decision names the definition that was shown, so one that changed meanwhile is not decided about.

use axum::extract::Path;
use maud::{Markup, html};
use store::Permission;
use types::McpServerId;

use super::diff;
use crate::failure::Failure;
use crate::operations::mcp::definitions::{self, ChoiceBody, Decision, DecisionBody, DefinitionView, Definitions};
use crate::operations::mcp::servers;
use crate::pages::control::{Problems, csrf};
use crate::pages::frame::{self, Place, empty, refused_form, title};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, go, id};

/// Definitions of one kind that are listed on the page.
const SHOWN: usize = 500;
/// Differences that are drawn on one page.
const DRAWN: usize = 40;

/// Serves `GET /agents/servers/{id}/definitions`.
pub(in crate::pages) async fn page(visitor: Visitor, Path(server): Path<String>) -> Page {
    let server: McpServerId = id(&server, "MCP server")?;
    let body = draw(&visitor, &server, Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Agents, "What it offers", &body))
}

/// Serves `POST /agents/servers/{id}/definitions`.
pub(in crate::pages) async fn decide(Path(server): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let server: McpServerId = id(&server, "MCP server")?;
    let decision = if fields.get("decision") == "refuse" { Decision::Refuse } else { Decision::Approve };
    let sent = if fields.ticked("all") {
        DecisionBody { definitions: Vec::new(), all: true }
    } else {
        let [kind, name, digest] = ["kind", "name", "digest"].map(|field| fields.raw(field).to_owned());
        DecisionBody { definitions: vec![ChoiceBody { kind, name, digest }], all: false }
    };
    let note = if decision == Decision::Approve { "approved" } else { "refused" };
    match definitions::decide(&visitor.cx, &server, decision, &sent).await {
        Ok(left) if left.is_empty() => go(&format!("/agents/servers/{server}?note={note}")),
        Ok(_) => go(&format!("/agents/servers/{server}/definitions?state=waiting&note={note}")),
        Err(failure) => {
            let body = draw(&visitor, &server, Problems::of(&failure)).await?;
            Ok(refused_form(&visitor, Place::Agents, "What it offers", &failure, &body))
        }
    }
}

async fn draw(visitor: &Visitor, server: &McpServerId, problems: Problems<'_>) -> Result<Markup, Failure> {
    let view = servers::get(&visitor.cx, server).await?;
    let found = definitions::list(&visitor.cx, server, None).await?;
    let path = format!("/agents/servers/{server}");
    let state = visitor.query.get("state");
    let waiting: Vec<&DefinitionView> = found.all.iter().filter(|one| one.state == "waiting").collect();
    Ok(html! {
        p.crumbs { a href="/agents" { "Agents" } " / " a href=(path) { (view.text("name")) } " / What it offers" }
        (title("What it offers", "", &html! {}))
        (problems.plain())
        nav.tabs aria-label="What is shown" {
            @for (word, name, query, count) in [("", "Everything", "", found.all.len()), ("waiting", "Waits for approval", "?state=waiting", waiting.len())] {
                a href={ (path) "/definitions" (query) } aria-current=[(word == state).then_some("page")] { (name) " " span.muted { (count) } }
            }
        }
        @if state == "waiting" { (waits(visitor, &path, &waiting)) } @else { (everything(&found)) }
    })
}

fn waits(visitor: &Visitor, path: &str, waiting: &[&DefinitionView]) -> Markup {
    let act = format!("{path}/definitions");
    let may_write = visitor.may(Permission::AccessWrite);
    let harmless = waiting.iter().filter(|one| one.flags.is_empty()).count();
    html! {
        @if waiting.is_empty() { (empty("Nothing waits.", &html! { "What the server changes or adds comes here first, as its setting for pinning says." })) }
        @if may_write && harmless > 1 {
            form.inline method="post" action=(act) {
                (csrf(&visitor.csrf))
                input type="hidden" name="all" value="1";
                button type="submit" { "Approve the " (harmless) " that are not flagged" }
            }
        }
        @for (index, one) in waiting.iter().enumerate().take(DRAWN) { (waits_one(visitor, &act, index, one, may_write)) }
        @if waiting.len() > DRAWN { p.muted { "The first " (DRAWN) " are shown; decide about them to see more." } }
    }
}

fn waits_one(visitor: &Visitor, act: &str, index: usize, one: &DefinitionView, may_write: bool) -> Markup {
    let meanwhile = match one.shown {
        "approved" => "People go on seeing it as it was approved.",
        _ => "Nobody sees it, and calls are answered as if it did not exist.",
    };
    html! {
        section.waits aria-labelledby={ "waits-" (index) } {
            h2 id={ "waits-" (index) } {
                code { (one.name) } " " span.badge.plain { (kind(one.kind)) } " "
                span.badge.accent { (one.change.unwrap_or_default()) @if one.words_alone { ", words alone" } }
            }
            @for flag in &one.flags {
                p.notice.bad { strong { (flag.message) } @if !flag.place.is_empty() { " in " code { (flag.place) } } @if !flag.found.is_empty() { ": " q { (flag.found) } } }
            }
            p.muted { "Since " (format::time(one.since.as_deref().unwrap_or_default())) ". " (meanwhile) }
            @if one.change == Some("changed") && one.approved.is_none() { p.muted { "The approved definition was not kept, so all of it is shown as new." } }
            (diff::draw(one.approved.as_ref(), &one.listed))
            @if may_write {
                div.actions {
                    @for (word, verb, class) in [("approve", "Approve", if one.flags.is_empty() { "primary" } else { "danger" }), ("refuse", "Refuse", "quiet")] {
                        form.inline method="post" action=(act) {
                            (csrf(&visitor.csrf))
                            input type="hidden" name="decision" value=(word);
                            input type="hidden" name="kind" value=(one.kind);
                            input type="hidden" name="name" value=(one.name);
                            input type="hidden" name="digest" value=(one.digest.as_deref().unwrap_or_default());
                            button class=(class) type="submit" { (verb) span.hidden { " " (one.name) } }
                        }
                    }
                }
            }
        }
    }
}

fn everything(found: &Definitions) -> Markup {
    html! {
        @if found.all.is_empty() { (empty("It offers nothing yet.", &html! { "Ask it for what it offers on its page." })) }
        @for (word, name) in [("tool", "Tools"), ("prompt", "Prompts"), ("resource", "Resources"), ("resource_template", "Resource templates")] {
            @let all: Vec<&DefinitionView> = found.all.iter().filter(|one| one.kind == word).collect();
            @if !all.is_empty() { (table(name, &all)) }
        }
    }
}

/// What is offered of one kind, with an estimate of what each costs a model.
pub(super) fn table(name: &str, all: &[&DefinitionView]) -> Markup {
    let tokens: u64 = all.iter().map(|one| one.tokens).sum();
    html! {
        section {
            h2 { (name) " " small { (format::count(all.len() as u64)) ", about " (format::count(tokens)) " tokens" } }
            table.cards {
                thead { tr { th scope="col" { "Name" } th scope="col" { "What it says" } th scope="col" { "State" } th scope="col" { "Tokens" } } }
                tbody { @for one in all.iter().take(SHOWN) {
                    tr {
                        td data-label="Name" { code { (one.name) } }
                        td data-label="What it says" {
                            div.said { (said(one)) }
                            details { summary { "Definition" } pre.code { (serde_json::to_string_pretty(&one.listed).unwrap_or_default()) } }
                        }
                        td data-label="State" { (state(one)) }
                        td data-label="Tokens" { (format::count(one.tokens)) }
                    }
                } }
            }
            @if all.len() > SHOWN { p.muted { "The first " (SHOWN) " are shown; the API lists them all." } }
        }
    }
}

/// The first of what a definition says of itself.
fn said(one: &DefinitionView) -> String {
    let text = ["description", "title", "name"].iter().find_map(|name| one.listed[*name].as_str()).unwrap_or_default();
    let first: String = text.chars().take(240).collect();
    let more = if first.len() < text.len() { "…" } else { "" };
    format!("{}{more}", mcp::detector::spelled(&first))
}

fn state(one: &DefinitionView) -> Markup {
    let (tone, words) = match (one.state, one.shown) {
        ("approved", _) => ("calm", "shown"),
        ("refused", "approved") => ("plain", "change refused"),
        ("refused", _) => ("bad", "refused"),
        (_, "approved") => ("accent", "change waits"),
        _ => ("bad", "held"),
    };
    html! {
        span class={ "badge " (tone) } { (words) }
        @for flag in &one.flags { div.muted { (flag.message) } }
        @if let Some(by) = &one.approved_by { div.muted { "approved by " (by) } }
    }
}

fn kind(word: &str) -> String {
    word.replace('_', " ")
}
