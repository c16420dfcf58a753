//! Where a new server is: the form that chooses among an address, a program and a Worker, and its document.
//!
//! Invariant: only the fields of the chosen kind are sent, so that what was typed for another is no fault of this one.

use maud::{Markup, html};
use mcp::document::server::AuthType;
use serde_json::{Map, Value, json};

use super::servers::PINNING;
use super::{program, sign_in};
use crate::operations::scripts;
use crate::pages::control::{Control, Problems, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::title;
use crate::pages::visitor::Visitor;

/// What a server can be, with what each is.
const KINDS: [(&str, &str, &str); 3] = [
    ("remote", "A remote server", "It has an address that speaks the Model Context Protocol."),
    ("stdio", "A program", "Portunus runs it on its machine, and speaks with it on its standard streams."),
    ("worker", "A Worker", "A script of yours answers, in this process and over no network."),
];

fn chosen(fields: &Fields) -> &'static str {
    KINDS.iter().map(|(kind, ..)| *kind).find(|kind| *kind == fields.get("kind")).unwrap_or("remote")
}

/// The document of a new server.
pub(super) fn document(fields: &Fields) -> Value {
    let mut document = Map::new();
    let mut ours = Map::new();
    for name in ["id", "name"] {
        document.insert(name.to_owned(), fields.get(name).into());
    }
    document.insert("description".to_owned(), fields.text("description").into());
    if let Some(pinning) = fields.text("pinning") {
        ours.insert("pinning".to_owned(), pinning.into());
    }
    match chosen(fields) {
        "stdio" => drop(ours.insert("stdio".to_owned(), program::document(fields, None))),
        "worker" => drop(ours.insert("worker".to_owned(), fields.get("worker").into())),
        _ => {
            document.insert("hostname".to_owned(), fields.get("hostname").into());
            let kind = fields.find("auth_type").unwrap_or(AuthType::Unauthenticated.as_str());
            document.insert("auth_type".to_owned(), kind.into());
            if let Some(kind) = AuthType::named(kind) {
                sign_in::write(fields, kind, None, &mut document);
            }
        }
    }
    document.insert("portunus".to_owned(), json!(ours));
    document.into()
}

/// Draws the form.
pub(super) async fn form(visitor: &Visitor, fields: &Fields, problems: Problems<'_>) -> Markup {
    let kind = chosen(fields);
    html! {
        p.crumbs { a href="/agents" { "Agents" } " / New server" }
        (title("Add an MCP server", "What it is and where. Neither changes later: make another server instead.", &html! {}))
        (problems.summary())
        form.sheet method="post" action="/agents/servers" {
            (csrf(&visitor.csrf))
            fieldset.choice {
                legend { "It is" }
                div.chips {
                    @for (word, name, _) in KINDS {
                        label.chip { input type="radio" name="kind" value=(word) checked[word == kind]; span { (name) } }
                    }
                }
                @for (word, _, says) in KINDS { p.hint.when data-kind=(word) { (says) } }
                @for problem in problems.exactly("/portunus") { p.problem { (problem) } }
            }
            div.row {
                (Control::new("name", "Name").required().placeholder("Jira").problems(problems.at("/name")).input("text", fields.get("name")))
                (Control::new("id", "Id").required().mono().placeholder("jira").hint("What names of its tools begin with: letters, digits and -.").problems(problems.at("/id")).input("text", fields.get("id")))
            }
            (Control::new("description", "Description").problems(problems.at("/description")).input("text", fields.get("description")))
            div.when data-kind="remote" {
                (Control::new("hostname", "Address").mono().placeholder("https://jira.example.com/mcp").hint("The whole address, with its path.").problems(problems.at("/hostname")).input("text", fields.get("hostname")))
                (sign_in::choices(fields, problems))
            }
            div.when data-kind="stdio" {
                (program::note(visitor))
                @for problem in problems.exactly("/portunus/stdio") { p.problem { (problem) } }
                (Control::new("command", "Command").mono().placeholder("mcp-server-time").hint("The program alone: a path, or a name that PATH finds.").problems(problems.at("/portunus/stdio/command")).input("text", fields.get("command")))
                (program::controls(None, Some(fields).filter(|fields| fields.find("args").is_some()), problems))
            }
            div.when data-kind="worker" { (worker(visitor, fields.get("worker"), problems).await) }
            (Control::new("pinning", "What waits for approval").hint("The first answer of a server is trusted, unless something in it is flagged.").problems(problems.at("/portunus/pinning")).select(&PINNING, fields.get("pinning")))
            div.actions { button.primary type="submit" { "Add" } a.button.quiet href="/agents" { "Cancel" } }
        }
    }
}

/// The choice among the account's Workers; who may not look at them writes a name.
async fn worker(visitor: &Visitor, chosen: &str, problems: Problems<'_>) -> Markup {
    let control = Control::new("worker", "Worker").problems(problems.at("/portunus/worker"));
    let Ok(workers) = scripts::list(&visitor.cx).await else {
        return control.mono().hint("The name of the script.").input("text", chosen);
    };
    let mut options = vec![("", "Choose one")];
    options.extend(workers.iter().map(|worker| (worker.id.as_str(), worker.id.as_str())));
    if !chosen.is_empty() && !options.iter().any(|(known, _)| *known == chosen) {
        options.push((chosen, chosen));
    }
    html! {
        (control.hint("It answers as a server of tools does; those that may write are off until they are switched on by name.").select(&options, chosen))
        @if workers.is_empty() { p.hint { "There is no Worker yet; " a href="/workers/new" { "write one" } ", or begin with " code { "portunus mcp new" } "." } }
    }
}
