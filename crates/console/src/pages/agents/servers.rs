//! MCP servers: the forms that make and change one, and the page of one with its state, what it offers and its rules.
//!
//! Invariant: a credential is never shown; an empty box leaves the one that is stored.

use axum::extract::Path;
use maud::{Markup, html};
use serde_json::{Value, json};
use store::Permission;
use types::McpServerId;

use super::definitions::table;
use super::{extension, ours, rules, signed_in, status, who_may};
use crate::failure::Failure;
use crate::operations::access::AccessView;
use crate::operations::mcp::definitions::{self, DefinitionView};
use crate::operations::mcp::servers;
use crate::pages::control::{Control, Problems, button, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, confirm, refused_form, title};
use crate::pages::visitor::{Submission, Visitor, local_path};
use crate::pages::{Page, format, go, id};

const KINDS: [(&str, &str); 3] =
    [("unauthenticated", "Nothing"), ("bearer", "A token or headers"), ("oauth", "OAuth: people sign in themselves")];
/// The settings of pinning, with what they say.
const PINNING: [(&str, &str); 4] = [
    ("all", "Whatever is new or changed"),
    ("new", "Whatever is new"),
    ("changed", "Whatever changed"),
    ("none", "Nothing, not even what is flagged"),
];

/// Serves `GET /agents/servers/new`.
pub(in crate::pages) async fn new_page(visitor: Visitor) -> Page {
    let body = new_form(&visitor, &Fields::default(), Problems::NONE);
    Ok(frame::page(&visitor, Place::Agents, "Add an MCP server", &body))
}

/// Serves `POST /agents/servers`.
pub(in crate::pages) async fn create(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let mut document = json!({
        "id": fields.get("id"), "name": fields.get("name"), "hostname": fields.get("hostname"),
        "auth_type": fields.get("auth_type"), "description": fields.text("description"),
    });
    if let Some(credentials) = fields.text("auth_credentials") {
        document["auth_credentials"] = credentials.into();
    }
    match servers::create(&visitor.cx, &document).await {
        Ok(made) => {
            let id: McpServerId = id(made.text("id"), "MCP server")?;
            // What it offers is looked at once, so that it can be put behind a portal; the page says what came of it.
            let _ = servers::sync(&visitor.cx, &id).await;
            go(&format!("/agents/servers/{id}?note=created"))
        }
        Err(failure) => {
            let body = new_form(&visitor, &fields, Problems::of(&failure));
            Ok(refused_form(&visitor, Place::Agents, "Add an MCP server", &failure, &body))
        }
    }
}

fn new_form(visitor: &Visitor, fields: &Fields, problems: Problems<'_>) -> Markup {
    html! {
        p.crumbs { a href="/agents" { "Agents" } " / New server" }
        (title("Add an MCP server", "Where it is and how Portunus signs in to it. Neither changes later: make another server instead.", &html! {}))
        (problems.summary())
        form.sheet method="post" action="/agents/servers" {
            (csrf(&visitor.csrf))
            div.row {
                (Control::new("name", "Name").required().placeholder("Jira").problems(problems.at("/name")).input("text", fields.get("name")))
                (Control::new("id", "Id").required().mono().placeholder("jira").hint("What names of its tools begin with: letters, digits and -.").problems(problems.at("/id")).input("text", fields.get("id")))
            }
            (Control::new("hostname", "Address").required().mono().placeholder("https://jira.example.com/mcp").hint("The whole address, with its path.").problems(problems.at("/hostname")).input("text", fields.get("hostname")))
            div.row {
                (Control::new("auth_type", "It wants").problems(problems.at("/auth_type")).select(&KINDS, fields.get("auth_type")))
                (credentials(problems, "Empty for a server that wants nothing, or where people sign in themselves."))
            }
            (Control::new("description", "Description").problems(problems.at("/description")).input("text", fields.get("description")))
            div.actions { button.primary type="submit" { "Add" } a.button.quiet href="/agents" { "Cancel" } }
        }
    }
}

fn credentials(problems: Problems<'_>, hint: &str) -> Markup {
    let found = problems.at("/auth_credentials");
    Control::new("auth_credentials", "Token, or headers as JSON")
        .mono()
        .hint(hint)
        .problems(found)
        .input("password", "")
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
            a.button.quiet href={ (path) "/delete" } { "Delete" }
        }
    };
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
            div { dt { "State" } dd { (status(view)) } }
            div { dt { "Sign-in" } dd { (signed_in(view.text("authentication_status"))) } }
            div { dt { "Last answered" } dd { @match view.text("last_successful_sync") { "" => { "never" } at => { (format::time(at)) } } } }
            div { dt { "Tokens of its tools" } dd { (format::count(tools.iter().map(|tool| tool.tokens).sum())) } }
        }
        (who_may(visitor, is_it).await?)
        @if !tools.is_empty() { (table("Tools", &tools)) }
        p { a href={ (path) "/definitions" } { "Everything it offers" } @if others > 0 { span.muted { ", with " (format::plural(others as u64, "prompt or resource", "prompts and resources")) } } }
        (rules::section(view, &path, may_write))
        @if may_write { (settings(visitor, view, &path, typed, problems)) }
    })
}

fn settings(
    visitor: &Visitor,
    view: &AccessView,
    path: &str,
    typed: Option<&Fields>,
    problems: Problems<'_>,
) -> Markup {
    let of = |field: &str, stored: &str| typed.and_then(|fields| fields.find(field)).unwrap_or(stored).to_owned();
    let pinning = ours(view, "pinning").and_then(Value::as_str).unwrap_or("all");
    let bearer = view.text("auth_type") == "bearer";
    html! {
        h2 { "Settings" }
        form.sheet method="post" action=(path) {
            (csrf(&visitor.csrf))
            div.row {
                (Control::new("name", "Name").required().problems(problems.at("/name")).input("text", &of("name", view.text("name"))))
                (Control::new("description", "Description").problems(problems.at("/description")).input("text", &of("description", view.text("description"))))
            }
            div.row {
                (Control::new("pinning", "What waits for approval").hint("The first answer of a server is trusted, unless something in it is flagged.").problems(problems.at("/portunus/pinning")).select(&PINNING, &of("pinning", pinning)))
                @if bearer { (credentials(problems, "Empty: the one that is stored stays.")) }
            }
            div.actions { button.primary type="submit" { "Save" } }
        }
    }
}

/// Serves `POST /agents/servers/{id}`.
pub(in crate::pages) async fn save(Path(server): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let server: McpServerId = id(&server, "MCP server")?;
    let view = servers::get(&visitor.cx, &server).await?;
    let mut ours = extension(&view);
    ours.insert("pinning".to_owned(), fields.get("pinning").into());
    let mut document = json!({"name": fields.get("name"), "description": fields.text("description"), "portunus": ours});
    if let Some(credentials) = fields.text("auth_credentials") {
        document["auth_credentials"] = credentials.into();
    }
    match servers::replace(&visitor.cx, &server, &document).await {
        Ok(_) => go(&format!("/agents/servers/{server}?note=saved")),
        Err(failure) => {
            let body = draw(&visitor, &server, &view, Some(&fields), Problems::of(&failure)).await?;
            Ok(refused_form(&visitor, Place::Agents, view.text("name"), &failure, &body))
        }
    }
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
