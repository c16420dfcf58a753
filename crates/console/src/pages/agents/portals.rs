//! MCP portals: the form that makes one, and the page of one with its servers, Code Mode, what its lists cost and its rules.
//!
//! Invariant: members that the forms do not show keep their value.

use axum::extract::Path;
use maud::{Markup, html};
use mcp::document::portal::{LinkDocument, LinkExtension};
use serde_json::{Value, json};
use store::Permission;
use types::McpPortalId;

use super::{CODE_MODES, extension, members, ours, rules, status, text, who_may};
use crate::failure::Failure;
use crate::operations::access::AccessView;
use crate::operations::mcp::{cost, portals, servers};
use crate::pages::control::{Control, Problems, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, confirm, refused_form, title};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, go, id};

/// Serves `GET /agents/portals/new`.
pub(in crate::pages) async fn new_page(visitor: Visitor) -> Page {
    let body = new_form(&visitor, &Fields::default(), Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Agents, "Make a portal", &body))
}

/// Serves `POST /agents/portals`.
pub(in crate::pages) async fn create(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let document = json!({
        "id": fields.get("id"), "name": fields.get("name"), "hostname": fields.get("hostname"),
        "description": fields.text("description"), "code_mode": fields.get("code_mode"), "servers": links(&fields, &[]),
    });
    match portals::create(&visitor.cx, &document).await {
        Ok(made) => go(&format!("/agents/portals/{}?note=created", made.text("id"))),
        Err(failure) => {
            let body = new_form(&visitor, &fields, Problems::of(&failure)).await?;
            Ok(refused_form(&visitor, Place::Agents, "Make a portal", &failure, &body))
        }
    }
}

async fn new_form(visitor: &Visitor, fields: &Fields, problems: Problems<'_>) -> Result<Markup, Failure> {
    let choices = choices(visitor, &[], Some(fields)).await?;
    Ok(html! {
        p.crumbs { a href="/agents" { "Agents" } " / New portal" }
        (title("Make a portal", "One address in front of several servers. Say afterwards who may enter.", &html! {}))
        (problems.summary())
        form.sheet method="post" action="/agents/portals" {
            (csrf(&visitor.csrf))
            div.row {
                (Control::new("name", "Name").required().placeholder("Staff").problems(problems.at("/name")).input("text", fields.get("name")))
                (Control::new("id", "Id").required().mono().placeholder("staff").problems(problems.at("/id")).input("text", fields.get("id")))
            }
            (Control::new("hostname", "Host").required().mono().placeholder("mcp.example.com").hint("Agents connect to /mcp below it; its own address shows people how.").problems(problems.at("/hostname")).input("text", fields.get("hostname")))
            (common(&Form { description: fields.get("description"), code_mode: fields.get("code_mode"), choices: &choices }, problems))
            div.actions { button.primary type="submit" { "Make" } a.button.quiet href="/agents" { "Cancel" } }
        }
    })
}

/// What the forms for a new and a stored portal have in common.
struct Form<'a> {
    description: &'a str,
    code_mode: &'a str,
    choices: &'a [ServerChoice],
}

/// A server that may stand behind a portal.
struct ServerChoice {
    id: String,
    name: String,
    chosen: bool,
    /// A person turns it on first.
    off: bool,
    on_behalf: bool,
    /// Names without the server's id before them.
    bare: bool,
}

async fn choices(
    visitor: &Visitor,
    standing: &[LinkDocument],
    typed: Option<&Fields>,
) -> Result<Vec<ServerChoice>, Failure> {
    let stored = servers::search(&visitor.cx, None).await?;
    let all = servers::show_all(&visitor.cx, &stored).await?;
    let choice = |view: &AccessView| {
        let (id, name) = (view.text("id").to_owned(), view.text("name").to_owned());
        let link = standing.iter().find(|link| link.server_id == id);
        match typed.filter(|fields| fields.find("name").is_some()) {
            Some(fields) => {
                let ticked = |field: &str| fields.all(field).any(|chosen| chosen == id);
                let [chosen, off, on_behalf, bare] = ["server", "off", "on_behalf", "bare"].map(ticked);
                ServerChoice { id, name, chosen, off, on_behalf, bare }
            }
            None => ServerChoice {
                chosen: link.is_some(),
                off: link.is_some_and(|link| link.default_disabled),
                on_behalf: link.map_or(view.text("auth_type") == "oauth", |link| link.on_behalf),
                bare: link.is_some_and(is_bare),
                id,
                name,
            },
        }
    };
    Ok(all.iter().map(choice).collect())
}

fn is_bare(link: &LinkDocument) -> bool {
    link.portunus.as_ref().is_some_and(|ours| !ours.prefix)
}

fn common(form: &Form<'_>, problems: Problems<'_>) -> Markup {
    html! {
        div.row {
            (Control::new("description", "Description").problems(problems.at("/description")).input("text", form.description))
            (Control::new("code_mode", "Code Mode").hint("Two tools in the place of all: one searches, one runs a program.").problems(problems.at("/code_mode")).select(&CODE_MODES, form.code_mode))
        }
        fieldset {
            legend { "Servers" }
            @for problem in problems.at("/servers") { p.problem { (problem) } }
            @if form.choices.is_empty() { p.hint { "There is no server yet; " a href="/agents/servers/new" { "add one" } "." } }
            @else {
                table.cards {
                    thead { tr { th scope="col" { "Server" } th scope="col" { "Behind it" } th scope="col" { "Off at first" } th scope="col" { "Own sign-in" } th scope="col" { "Bare names" } } }
                    tbody { @for server in form.choices {
                        tr {
                            td data-label="Server" { strong { (server.name) } " " code { (server.id) } }
                            @for (label, field, on) in [("Behind it", "server", server.chosen), ("Off at first", "off", server.off), ("Own sign-in", "on_behalf", server.on_behalf), ("Bare names", "bare", server.bare)] {
                                td data-label=(label) { input type="checkbox" name=(field) value=(server.id) checked[on] aria-label={ (label) ": " (server.name) }; }
                            }
                        }
                    } }
                }
                p.hint { "Off at first: people turn it on themselves. Own sign-in: calls use what each person signed in with at the server, not what you gave Portunus for everybody. Bare names: without the server's id before them, for the only server of a portal." }
            }
        }
    }
}

/// The servers that were ticked: those that stood behind the portal first, with what the form does not show.
fn links(fields: &Fields, standing: &[LinkDocument]) -> Vec<LinkDocument> {
    let ticked = |field: &str, id: &str| fields.all(field).any(|chosen| chosen == id);
    let known = standing.iter().map(|link| link.server_id.as_str());
    let before: Vec<&str> = known.filter(|id| ticked("server", id)).collect();
    let new = fields.all("server").filter(|id| !before.contains(id));
    let link = |id: &str| {
        let mut link = standing.iter().find(|link| link.server_id == id).cloned().unwrap_or_default();
        link.server_id = id.to_owned();
        link.default_disabled = ticked("off", id);
        link.on_behalf = ticked("on_behalf", id);
        if ticked("bare", id) {
            link.portunus = Some(LinkExtension { prefix: false });
        } else if let Some(ours) = &mut link.portunus {
            ours.prefix = true;
        }
        link
    };
    before.iter().copied().chain(new).map(link).collect()
}

/// Serves `GET /agents/portals/{id}`.
pub(in crate::pages) async fn page(visitor: Visitor, Path(portal): Path<String>) -> Page {
    let portal: McpPortalId = id(&portal, "MCP portal")?;
    let view = portals::get(&visitor.cx, &portal).await?;
    let body = draw(&visitor, &portal, &view, None, Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Agents, view.text("name"), &body))
}

async fn draw(
    visitor: &Visitor,
    portal: &McpPortalId,
    view: &AccessView,
    typed: Option<&Fields>,
    problems: Problems<'_>,
) -> Result<Markup, Failure> {
    let path = format!("/agents/portals/{portal}");
    let may_write = visitor.may(Permission::AccessWrite);
    let host = view.text("hostname");
    let address = format!("{}/mcp", visitor.cx.app.deps.addresses.of_access(host));
    let actions = html! {
        a.button href={ (path) "/seen" } { "Who sees what" }
        @if visitor.may(Permission::LogsRead) { a.button.quiet href={ "/activity?dataset=mcp_portal_logs&portal=" (portal) } { "Calls" } }
        @if may_write { a.button.quiet href={ (path) "/delete" } { "Delete" } }
    };
    let is_it =
        |app: &AccessView| app.text("type") == "mcp_portal" && app.0["destinations"][0]["uri"].as_str() == Some(host);
    let standing = portals::document(&visitor.cx, portal).await?.servers;
    let choices = choices(visitor, &standing, typed).await?;
    Ok(html! {
        p.crumbs { a href="/agents" { "Agents" } " / " (view.text("name")) }
        (title(view.text("name"), view.text("description"), &actions))
        (problems.summary())
        p { "Agents connect to:" }
        pre.code data-copy { (address) }
        (who_may(visitor, is_it).await?)
        (behind(view, &path, &standing))
        (costs(&cost::of(&visitor.cx, portal).await?))
        (rules::section(view, &path, may_write))
        @if may_write { (settings(visitor, view, (&path, &choices), typed, problems)) }
    })
}

/// The servers behind a portal, with the way to what is changed of each.
fn behind(view: &AccessView, path: &str, standing: &[LinkDocument]) -> Markup {
    let servers = members(view, "servers");
    let changes = |id: &str| {
        let link = standing.iter().find(|link| link.server_id == id);
        link.map_or(0, |link| link.updated_tools.len() + link.updated_prompts.len()) as u64
    };
    html! {
        section {
            h2 { "What stands behind it" }
            @if servers.is_empty() { p { "No server, so nothing is shown." } }
            @else {
                table.cards {
                    thead { tr { th scope="col" { "Server" } th scope="col" { "State" } th scope="col" { "Changed here" } th scope="col" { span.hidden { "Change" } } } }
                    tbody { @for server in servers {
                        @let id = text(server, "server_id");
                        tr {
                            td data-label="Server" { a.strong href={ "/agents/servers/" (id) } { (text(server, "name")) } " " code { (id) } @if server["default_disabled"] == true { " " span.badge.plain { "off at first" } } }
                            td data-label="State" { (status(text(server, "status"), text(server, "error"))) }
                            td data-label="Changed here" { @match changes(id) { 0 => { span.muted { "nothing" } } number => { (format::plural(number, "tool or prompt", "tools and prompts")) } } }
                            td { a href={ (path) "/servers/" (id) } { "Tools and prompts" span.hidden { " of " (text(server, "name")) } } }
                        }
                    } }
                }
            }
        }
    }
}

/// What a client's list of tools costs a model, by what it may ask for.
fn costs(cost: &cost::CostView) -> Markup {
    let most = cost.surfaces.iter().map(|surface| surface.tokens).max().unwrap_or(1).max(1);
    html! {
        section {
            h2 { "What its tools cost" small { (format::plural(cost.tools, "tool", "tools")) ", for who sees all of them" } }
            dl.timings {
                @for surface in &cost.surfaces {
                    div { dt { (surface.name) } dd { "about " (format::count(surface.tokens)) " tokens" (chart::share(surface.tokens, most)) } }
                }
            }
            p.muted { "An estimate of what the list takes of a model's context each time, by the words of o200k_base." }
        }
    }
}

fn settings(
    visitor: &Visitor,
    view: &AccessView,
    (path, choices): (&str, &[ServerChoice]),
    typed: Option<&Fields>,
    problems: Problems<'_>,
) -> Markup {
    let of = |field: &str| typed.and_then(|fields| fields.find(field)).unwrap_or_else(|| view.text(field)).to_owned();
    let flag = |name: &str, usual: bool| match typed {
        Some(fields) => fields.ticked(name),
        None => ours(view, name).and_then(Value::as_bool).unwrap_or(usual),
    };
    let (description, code_mode) = (of("description"), of("code_mode"));
    html! {
        h2 { "Settings" }
        form.sheet method="post" action=(path) {
            (csrf(&visitor.csrf))
            div.row {
                (Control::new("name", "Name").required().problems(problems.at("/name")).input("text", &of("name")))
                (Control::new("hostname", "Host").required().mono().problems(problems.at("/hostname")).input("text", &of("hostname")))
            }
            (common(&Form { description: &description, code_mode: &code_mode, choices }, problems))
            (Control::new("neutralize_results", "Make invisible text in results harmless").tick(flag("neutralize_results", true)))
            (Control::new("log_arguments", "Record the arguments of calls, masked").tick(flag("log_arguments", true)))
            (Control::new("log_results", "Record their results, masked").tick(flag("log_results", false)))
            div.actions { button.primary type="submit" { "Save" } }
        }
    }
}

/// Serves `POST /agents/portals/{id}`.
pub(in crate::pages) async fn save(Path(portal): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let portal: McpPortalId = id(&portal, "MCP portal")?;
    let view = portals::get(&visitor.cx, &portal).await?;
    let standing = portals::document(&visitor.cx, &portal).await?.servers;
    let mut ours = extension(&view);
    for name in ["neutralize_results", "log_arguments", "log_results"] {
        ours.insert(name.to_owned(), fields.ticked(name).into());
    }
    let document = json!({
        "name": fields.get("name"), "hostname": fields.get("hostname"), "description": fields.text("description"),
        "code_mode": fields.get("code_mode"), "servers": links(&fields, &standing), "portunus": ours,
    });
    match portals::replace(&visitor.cx, &portal, &document).await {
        Ok(_) => go(&format!("/agents/portals/{portal}?note=saved")),
        Err(failure) => {
            let body = draw(&visitor, &portal, &view, Some(&fields), Problems::of(&failure)).await?;
            Ok(refused_form(&visitor, Place::Agents, view.text("name"), &failure, &body))
        }
    }
}

/// Serves `GET /agents/portals/{id}/delete`.
pub(in crate::pages) async fn confirm_delete(visitor: Visitor, Path(portal): Path<String>) -> Page {
    let view = portals::get(&visitor.cx, &id(&portal, "MCP portal")?).await?;
    let path = format!("/agents/portals/{}", view.text("id"));
    let text = html! { p { strong { (view.text("name")) } " goes with its rules and its application; its address answers nothing from then on. Its servers stay." } };
    let act = format!("{path}/delete");
    Ok(confirm(&visitor, Place::Agents, "Delete this portal?", &text, (&act, "Delete the portal"), &path))
}

/// Serves `POST /agents/portals/{id}/delete`.
pub(in crate::pages) async fn delete(Path(portal): Path<String>, form: Submission) -> Page {
    portals::delete(&form.visitor.cx, &id(&portal, "MCP portal")?).await?;
    go("/agents?note=deleted")
}
