//! MCP servers: the forms that make and change one, and the page of one with its state, what it offers and its rules.
//!
//! Invariant: a credential is never shown; an empty box leaves the one that is stored.

use axum::extract::Path;
use maud::{Markup, html};
use mcp::document::server::ServerDocument;
use serde_json::{Map, Value};
use store::Permission;
use types::McpServerId;

use super::definitions::table;
use super::{extension, program, rules, sign_in, signed_in, status, upstream, who_may};
use crate::failure::Failure;
use crate::operations::access::AccessView;
use crate::operations::mcp::definitions::{self, DefinitionView};
use crate::operations::mcp::servers;
use crate::pages::control::{Control, Problems, button, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, confirm, refused_form, title};
use crate::pages::visitor::{Submission, Visitor, local_path};
use crate::pages::{Page, format, go, id};

/// The settings of pinning, with what they say.
pub(super) const PINNING: [(&str, &str); 4] = [
    ("all", "Whatever is new or changed"),
    ("new", "Whatever is new"),
    ("changed", "Whatever changed"),
    ("none", "Nothing, not even what is flagged"),
];

/// Serves `GET /agents/servers/new`.
pub(in crate::pages) async fn new_page(visitor: Visitor) -> Page {
    let body = upstream::form(&visitor, &Fields::default(), Problems::NONE).await;
    Ok(frame::page(&visitor, Place::Agents, "Add an MCP server", &body))
}

/// Serves `POST /agents/servers`.
pub(in crate::pages) async fn create(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    match servers::create(&visitor.cx, &upstream::document(&fields)).await {
        Ok(made) => {
            let id: McpServerId = id(made.text("id"), "MCP server")?;
            // What it offers is looked at once, so that it can be put behind a portal; the page says what came of it.
            let _ = servers::sync(&visitor.cx, &id).await;
            go(&format!("/agents/servers/{id}?note=created"))
        }
        Err(failure) => {
            let body = upstream::form(&visitor, &fields, Problems::of(&failure)).await;
            Ok(refused_form(&visitor, Place::Agents, "Add an MCP server", &failure, &body))
        }
    }
}

/// Serves `GET /agents/servers/{id}`.
pub(in crate::pages) async fn page(visitor: Visitor, Path(server): Path<String>) -> Page {
    let server: McpServerId = id(&server, "MCP server")?;
    let view = servers::get(&visitor.cx, &server).await?;
    let body = draw(&visitor, &server, &view, None, Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Agents, view.text("name"), &body))
}

async fn draw(
    visitor: &Visitor,
    server: &McpServerId,
    view: &AccessView,
    typed: Option<&Fields>,
    problems: Problems<'_>,
) -> Result<Markup, Failure> {
    let path = format!("/agents/servers/{server}");
    let found = definitions::list(&visitor.cx, server, None).await?;
    let waiting = found.waiting();
    let may_write = visitor.may(Permission::AccessWrite);
    let actions = html! {
        @if may_write {
            @if view.text("auth_type") == "oauth" {
                @let sign_in = |action: &str| format!("/mcp/servers/{server}/{action}");
                @if view.text("authentication_status") == "connected" {
                    (button(&sign_in("sign-out"), &visitor.csrf, "quiet", &html! { "Sign out at it" }, &[]))
                } @else {
                    (button(&sign_in("sign-in"), &visitor.csrf, "primary", &html! { "Sign in at it" }, &[]))
                }
            }
            (button(&format!("{path}/sync"), &visitor.csrf, "", &html! { "Ask it what it offers" }, &[]))
        }
        @if visitor.may(Permission::LogsRead) { a.button.quiet href={ "/activity?dataset=mcp_portal_logs&server=" (server) } { "Calls" } }
        @if may_write { a.button.quiet href={ (path) "/delete" } { "Delete" } }
    };
    let document = servers::document(&visitor.cx, server).await?;
    let is_it = |app: &AccessView| {
        app.text("type") == "mcp" && app.0["destinations"][0]["mcp_server_id"].as_str() == Some(server.as_str())
    };
    let tools: Vec<&DefinitionView> = found.all.iter().filter(|one| one.kind == "tool").collect();
    let others = found.all.len() - tools.len();
    Ok(html! {
        p.crumbs { a href="/agents" { "Agents" } " / " (view.text("name")) }
        (title(view.text("name"), view.text("hostname"), &actions))
        (problems.summary())
        @if waiting > 0 {
            p.notice { strong { (format::plural(waiting as u64, "definition waits", "definitions wait")) } " for approval. " a href={ (path) "/definitions?state=waiting" } { "Look at what changed" } "." }
        }
        dl.figures {
            div { dt { "State" } dd { (status(view.text("status"), view.text("error"))) } }
            div { dt { "Sign-in" } dd { (signed_in(view.text("authentication_status"))) } }
            div { dt { "Last answered" } dd { @match view.text("last_successful_sync") { "" => { "never" } at => { (format::time(at)) } } } }
            div { dt { "Tokens of its tools" } dd { (format::count(tools.iter().map(|tool| tool.tokens).sum())) } }
        }
        @if let Some(cause) = view.0.get("error_details").and_then(|details| details["cause"].as_str()).filter(|cause| *cause != view.text("error")) {
            details.fold { summary { "What went wrong" } pre.code { (cause) } }
        }
        (runs_here(visitor, &document))
        (who_may(visitor, is_it).await?)
        @if !tools.is_empty() { (table("Tools", &tools)) }
        p { a href={ (path) "/overrides" } { "Names and switches of its tools and prompts" } ", for every portal. " a href={ (path) "/definitions" } { "Everything it offers" } @if others > 0 { span.muted { ", with " (format::plural(others as u64, "prompt or resource", "prompts and resources")) } } }
        (rules::section(view, &path, may_write))
        @if may_write { (settings(visitor, &document, &path, typed, problems)) }
    })
}

/// What a server is that has no address.
fn runs_here(visitor: &Visitor, document: &ServerDocument) -> Markup {
    let ours = document.portunus.as_ref();
    html! {
        @if let Some(stdio) = ours.and_then(|ours| ours.stdio.as_ref()) {
            @if !servers::runs_programs(&visitor.cx) { (program::note(visitor)) }
            section {
                h2 { "The program" }
                dl.pairs {
                    div { dt { "Command" } dd { code { (stdio.command) } } }
                    @if !stdio.args.is_empty() { div { dt { "Arguments" } dd { @for argument in &stdio.args { code.argument { (argument) } " " } } } }
                    @if !stdio.env.is_empty() { div { dt { "Variables" } dd { @for variable in &stdio.env { code { (variable.name) } " " } span.muted { "whose values are never shown" } } } }
                }
            }
        }
        @if let Some(worker) = ours.and_then(|ours| ours.worker.as_ref()) {
            p { "The Worker " a href={ "/workers/" (worker) } { (worker) } " answers." }
        }
    }
}

fn settings(
    visitor: &Visitor,
    document: &ServerDocument,
    path: &str,
    typed: Option<&Fields>,
    problems: Problems<'_>,
) -> Markup {
    let of = |field: &str, stored: &str| typed.and_then(|fields| fields.find(field)).unwrap_or(stored).to_owned();
    let ours = document.portunus.as_ref();
    let pinning = ours.and_then(|ours| ours.pinning).map_or("all", |pinning| pinning.as_str());
    html! {
        h2 { "Settings" }
        form.sheet method="post" action=(path) {
            (csrf(&visitor.csrf))
            div.row {
                (Control::new("name", "Name").required().problems(problems.at("/name")).input("text", &of("name", &document.name)))
                (Control::new("description", "Description").problems(problems.at("/description")).input("text", &of("description", document.description.as_deref().unwrap_or_default())))
            }
            @if let Some(stdio) = ours.and_then(|ours| ours.stdio.as_ref()) {
                @for problem in problems.exactly("/portunus/stdio") { p.problem { (problem) } }
                (program::controls(Some(stdio), typed, problems))
            }
            (sign_in::controls(document, typed, problems))
            (Control::new("pinning", "What waits for approval").hint("The first answer of a server is trusted, unless something in it is flagged.").problems(problems.at("/portunus/pinning")).select(&PINNING, &of("pinning", pinning)))
            div.actions { button.primary type="submit" { "Save" } }
        }
    }
}

/// Serves `POST /agents/servers/{id}`.
pub(in crate::pages) async fn save(Path(server): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let server: McpServerId = id(&server, "MCP server")?;
    let view = servers::get(&visitor.cx, &server).await?;
    let standing = servers::document(&visitor.cx, &server).await?;
    match servers::replace(&visitor.cx, &server, &changed(&fields, &view, &standing)).await {
        Ok(_) => go(&format!("/agents/servers/{server}?note=saved")),
        Err(failure) => {
            let body = draw(&visitor, &server, &view, Some(&fields), Problems::of(&failure)).await?;
            Ok(refused_form(&visitor, Place::Agents, view.text("name"), &failure, &body))
        }
    }
}

/// The document of what was typed over a server that stands.
fn changed(fields: &Fields, view: &AccessView, standing: &ServerDocument) -> Value {
    let mut ours = extension(view);
    ours.insert("pinning".to_owned(), fields.get("pinning").into());
    if let Some(stdio) = standing.portunus.as_ref().and_then(|ours| ours.stdio.as_ref()) {
        ours.insert("stdio".to_owned(), program::document(fields, Some(stdio)));
    }
    let mut document = Map::from_iter([
        ("name".to_owned(), fields.get("name").into()),
        ("description".to_owned(), fields.text("description").into()),
        ("portunus".to_owned(), ours.into()),
    ]);
    if let Some(kind) = standing.auth_type {
        sign_in::write(fields, kind, standing.auth_config.as_ref(), &mut document);
    }
    document.into()
}

/// Serves `POST /agents/servers/{id}/sync`.
pub(in crate::pages) async fn sync(Path(server): Path<String>, form: Submission) -> Page {
    let server: McpServerId = id(&server, "MCP server")?;
    servers::sync(&form.visitor.cx, &server).await?;
    let back = match form.fields.find("back") {
        Some(back) => local_path(back),
        None => format!("/agents/servers/{server}"),
    };
    go(&format!("{back}?note=asked"))
}

/// Serves `GET /agents/servers/{id}/delete`.
pub(in crate::pages) async fn confirm_delete(visitor: Visitor, Path(server): Path<String>) -> Page {
    let view = servers::get(&visitor.cx, &id(&server, "MCP server")?).await?;
    let path = format!("/agents/servers/{}", view.text("id"));
    let text = html! { p { strong { (view.text("name")) } " goes with what it offers, every sign-in at it, its rules and its application. A server that a portal names cannot be deleted." } };
    let act = format!("{path}/delete");
    Ok(confirm(&visitor, Place::Agents, "Delete this server?", &text, (&act, "Delete the server"), &path))
}

/// Serves `POST /agents/servers/{id}/delete`.
pub(in crate::pages) async fn delete(Path(server): Path<String>, form: Submission) -> Page {
    servers::delete(&form.visitor.cx, &id(&server, "MCP server")?).await?;
    go("/agents?note=deleted")
}
