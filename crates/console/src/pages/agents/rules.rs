//! Rules about calls, of a portal or of a server: the list in its order, and the form of one.
//!
//! A rule has no id, so a form names its place and what stood there. Invariant: a form that was drawn over another rule
//! than the one that stands there now changes nothing.

use axum::extract::Path;
use maud::{Markup, html};
use mcp::document::rule::RuleAction;
use serde_json::{Map, Value, json};
use types::{Code, McpPortalId, McpServerId};

use super::{extension, ours, text};
use crate::failure::{Failure, Problem};
use crate::operations::access::AccessView;
use crate::operations::mcp::{portals, servers};
use crate::operations::scripts;
use crate::pages::control::{Control, Problems, button, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, refused_form, title};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, go, id};

/// The actions, with what they say.
const ACTIONS: [(RuleAction, &str, &str); 6] = [
    (
        RuleAction::Block,
        "Block",
        "Answers with an error that names the rule. A tool that is blocked whatever the arguments is not listed.",
    ),
    (RuleAction::Allow, "Allow", "Lets the call go on; no later rule of this list is asked."),
    (RuleAction::RequireApproval, "Ask a person", "Waits until the person confirms on a page."),
    (RuleAction::RequireMfa, "Second factor", "Waits until the person proved a second factor."),
    (RuleAction::Redact, "Redact", "Takes parts out of arguments and results."),
    (RuleAction::Worker, "Worker", "Asks a Worker of yours."),
];

/// Whose rules.
enum Owner {
    Portal(McpPortalId),
    Server(McpServerId),
}

impl Owner {
    fn read(kind: &str, text: &str) -> Result<Self, Failure> {
        match kind {
            "portals" => Ok(Self::Portal(id(text, "MCP portal")?)),
            "servers" => Ok(Self::Server(id(text, "MCP server")?)),
            _ => Err(Failure::not_found("page")),
        }
    }

    fn path(&self) -> String {
        match self {
            Self::Portal(id) => format!("/agents/portals/{id}"),
            Self::Server(id) => format!("/agents/servers/{id}"),
        }
    }

    async fn view(&self, visitor: &Visitor) -> Result<AccessView, Failure> {
        match self {
            Self::Portal(id) => portals::get(&visitor.cx, id).await,
            Self::Server(id) => servers::get(&visitor.cx, id).await,
        }
    }

    async fn save(&self, visitor: &Visitor, view: &AccessView, rules: Vec<Value>) -> Result<(), Failure> {
        let mut ours = extension(view);
        ours.insert("rules".to_owned(), rules.into());
        let document = json!({"portunus": ours});
        match self {
            Self::Portal(id) => portals::replace(&visitor.cx, id, &document).await,
            Self::Server(id) => servers::replace(&visitor.cx, id, &document).await,
        }
        .map(|_| ())
    }
}

fn stored(view: &AccessView) -> Vec<Value> {
    ours(view, "rules").and_then(Value::as_array).cloned().unwrap_or_default()
}

/// Draws the rules of a portal or server.
pub(super) fn section(view: &AccessView, path: &str, may_write: bool) -> Markup {
    let rules = stored(view);
    html! {
        section {
            h2 { "Rules about calls" }
            p.muted { "The first that applies decides. A call must pass the rules of its portal and those of its server." }
            @if rules.is_empty() { p { "There is none; every call may go on." } }
            @else {
                table.cards {
                    thead { tr { th scope="col" { "Rule" } th scope="col" { "When" } th scope="col" { "Then" } } }
                    tbody { @for (index, rule) in rules.iter().enumerate() {
                        tr.off[rule["enabled"] == false] {
                            td data-label="Rule" { a.strong href={ (path) "/rules/" (index) } { (text(rule, "name")) } @if rule["enabled"] == false { " " span.badge.plain { "off" } } }
                            td data-label="When" { code.wrap { (text(rule, "expression")) } }
                            td data-label="Then" { (format::verdict(text(rule, "action"))) }
                        }
                    } }
                }
            }
            @if may_write { p { a.button href={ (path) "/rules/new" } { "Add a rule" } } }
        }
    }
}

/// Serves `GET /agents/{kind}/{id}/rules/{index}`, where `new` is the place after the last.
pub(in crate::pages) async fn page(
    visitor: Visitor,
    Path((kind, owner, index)): Path<(String, String, String)>,
) -> Page {
    let owner = Owner::read(&kind, &owner)?;
    let view = owner.view(&visitor).await?;
    let rules = stored(&view);
    let place = Spot::read(&index, &rules)?;
    let blank = json!({"action": "block", "enabled": true});
    let rule = place.index.and_then(|index| rules.get(index)).unwrap_or(&blank);
    let body = form(&visitor, &owner, &view, (place, rules.len()), rule, Problems::NONE).await;
    Ok(frame::page(&visitor, Place::Agents, "Rule", &body))
}

/// The place of a rule in its list; none for a new one.
#[derive(Clone, Copy)]
struct Spot {
    index: Option<usize>,
}

impl Spot {
    fn read(text: &str, rules: &[Value]) -> Result<Self, Failure> {
        if text == "new" {
            return Ok(Self { index: None });
        }
        let index = text.parse().ok().filter(|index| *index < rules.len());
        Ok(Self { index: Some(index.ok_or_else(|| Failure::not_found("rule"))?) })
    }

    fn word(self) -> String {
        self.index.map_or_else(|| "new".to_owned(), |index| index.to_string())
    }
}

/// Finds the rule that a form is about, as long as it is the one that was shown.
async fn opened(
    (kind, owner, index): (&str, &str, &str),
    submission: &Submission,
) -> Result<(Owner, AccessView, Vec<Value>, Spot), Failure> {
    let owner = Owner::read(kind, owner)?;
    let view = owner.view(&submission.visitor).await?;
    let rules = stored(&view);
    let place = Spot::read(index, &rules)?;
    still_there(place, &rules, &submission.fields)?;
    Ok((owner, view, rules, place))
}

/// Serves `POST /agents/{kind}/{id}/rules/{index}`.
pub(in crate::pages) async fn save(
    Path((kind, owner, index)): Path<(String, String, String)>,
    submission: Submission,
) -> Page {
    let (owner, view, mut rules, place) = opened((&kind, &owner, &index), &submission).await?;
    let Submission { visitor, fields } = submission;
    let typed = document(&fields);
    let at = match place.index {
        Some(index) => {
            rules[index] = typed.clone();
            index
        }
        None => {
            rules.push(typed.clone());
            rules.len() - 1
        }
    };
    let count = rules.len();
    match owner.save(&visitor, &view, rules).await {
        Ok(()) => go(&format!("{}?note=saved", owner.path())),
        Err(failure) => {
            let failure = inside(failure, &format!("/portunus/rules/{at}"));
            let body = form(&visitor, &owner, &view, (place, count), &typed, Problems::of(&failure)).await;
            Ok(refused_form(&visitor, Place::Agents, "Rule", &failure, &body))
        }
    }
}

/// Serves `POST /agents/{kind}/{id}/rules/{index}/change`: up, down, or away.
pub(in crate::pages) async fn change(
    Path((kind, owner, index)): Path<(String, String, String)>,
    submission: Submission,
) -> Page {
    let (owner, view, mut rules, place) = opened((&kind, &owner, &index), &submission).await?;
    let Submission { visitor, fields } = submission;
    let index = place.index.ok_or_else(|| Failure::not_found("rule"))?;
    let note = match fields.get("act") {
        "up" if index > 0 => {
            rules.swap(index, index - 1);
            "moved"
        }
        "down" if index + 1 < rules.len() => {
            rules.swap(index, index + 1);
            "moved"
        }
        "delete" => {
            rules.remove(index);
            "deleted"
        }
        _ => return go(&owner.path()),
    };
    owner.save(&visitor, &view, rules).await?;
    go(&format!("{}?note={note}", owner.path()))
}

fn still_there(place: Spot, rules: &[Value], fields: &Fields) -> Result<(), Failure> {
    let Some(rule) = place.index.and_then(|index| rules.get(index)) else { return Ok(()) };
    let stands = rule.to_string();
    if fields.raw("was") == stands {
        return Ok(());
    }
    Err(Failure::new(Code::Conflict, "the rules were changed meanwhile; open the rule again"))
}

/// The problems of one rule, beside its fields.
fn inside(mut failure: Failure, prefix: &str) -> Failure {
    failure.problems = failure
        .problems
        .into_iter()
        .map(|problem| {
            let rest = problem.pointer.as_deref().and_then(|pointer| pointer.strip_prefix(prefix)).map(str::to_owned);
            Problem { pointer: rest.or(problem.pointer), ..problem }
        })
        .collect();
    failure
}

/// The document of what was typed: the settings of the chosen action alone.
fn document(fields: &Fields) -> Value {
    let mut rule = Map::new();
    rule.insert("name".to_owned(), fields.get("name").into());
    rule.insert("expression".to_owned(), fields.get("expression").into());
    rule.insert("action".to_owned(), fields.get("action").into());
    rule.insert("enabled".to_owned(), fields.ticked("enabled").into());
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            rule.insert(name.to_owned(), value);
        }
    };
    match RuleAction::named(fields.get("action")) {
        Some(RuleAction::Block) => set("message", fields.text("message").map(Value::from)),
        Some(RuleAction::RequireApproval) => {
            set("approval", fields.text("lifetime").map(|text| json!({"lifetime": text})))
        }
        Some(RuleAction::RequireMfa) => set("mfa", fields.text("max_age").map(|text| json!({"max_age": text}))),
        Some(RuleAction::Redact) => {
            set("redact", Some(json!({"paths": fields.lines("paths"), "patterns": fields.lines("patterns")})));
        }
        Some(RuleAction::Worker) => {
            set("worker", Some(json!({"script": fields.text("script"), "on_error": fields.get("on_error")})));
        }
        Some(RuleAction::Allow) | None => {}
    }
    Value::Object(rule)
}

async fn form(
    visitor: &Visitor,
    owner: &Owner,
    view: &AccessView,
    (place, count): (Spot, usize),
    rule: &Value,
    problems: Problems<'_>,
) -> Markup {
    let (path, word) = (owner.path(), place.word());
    let act = format!("{path}/rules/{word}");
    let was = place.index.and_then(|index| stored(view).get(index).map(Value::to_string)).unwrap_or_default();
    let name = if place.index.is_some() { text(rule, "name") } else { "New rule" };
    let change = format!("{act}/change");
    let actions = html! {
        @if let Some(index) = place.index {
            @for (word, verb, offered) in [("up", "Earlier", index > 0), ("down", "Later", index + 1 < count), ("delete", "Delete", true)] {
                @if offered { (button(&change, &visitor.csrf, "quiet", &html! { (verb) }, &[("act", word), ("was", &was)])) }
            }
        }
    };
    html! {
        p.crumbs { a href="/agents" { "Agents" } " / " a href=(path) { (view.text("name")) } " / Rule" }
        (title(name, "", &actions))
        (problems.summary())
        form.sheet method="post" action=(act) {
            (csrf(&visitor.csrf))
            input type="hidden" name="was" value=(was);
            (Control::new("name", "Name").required().hint("Named in errors and records.").problems(problems.at("/name")).input("text", text(rule, "name")))
            (Control::new("expression", "When").required().mono().hint("For example: mcp.tool.annotations.destructiveHint and not any(identity.groups.name[*] in {\"admins\"}). docs/fields.md has every field.").problems(problems.at("/expression")).area(4, text(rule, "expression")))
            (then(rule, problems))
            (settings(visitor, rule, problems).await)
            (Control::new("enabled", "Enabled").tick(rule["enabled"].as_bool().unwrap_or(true)))
            div.actions { button.primary type="submit" { @if place.index.is_some() { "Save" } @else { "Add" } } a.button.quiet href=(path) { "Cancel" } }
        }
    }
}

fn then(rule: &Value, problems: Problems<'_>) -> Markup {
    html! {
        fieldset.choice {
            legend { "Then" }
            div.chips {
                @for (action, name, _) in ACTIONS {
                    label.chip { input type="radio" name="action" value=(action.as_str()) checked[text(rule, "action") == action.as_str()]; span { (name) } }
                }
            }
            @for (action, _, says) in ACTIONS { p.hint.when data-action=(action.as_str()) { (says) } }
            @for problem in problems.at("/action") { p.problem { (problem) } }
        }
    }
}

async fn settings(visitor: &Visitor, rule: &Value, problems: Problems<'_>) -> Markup {
    // Someone who may not look at Workers still sees the name a rule calls.
    let workers = scripts::list(&visitor.cx).await.unwrap_or_default();
    let script = rule["worker"]["script"].as_str().unwrap_or_default();
    let mut options: Vec<(&str, &str)> = vec![("", "Choose one")];
    options.extend(workers.iter().map(|worker| (worker.id.as_str(), worker.id.as_str())));
    if !script.is_empty() && !options.iter().any(|(known, _)| *known == script) {
        options.push((script, script));
    }
    let lines = |name: &str| {
        let all = rule["redact"][name].as_array();
        all.into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
    };
    html! {
        div.when data-action="block" {
            (Control::new("message", "What the caller is told").problems(problems.at("/message")).input("text", text(rule, "message")))
        }
        div.when data-action="require_approval" {
            (Control::new("lifetime", "Holds for").mono().hint("For calls of the same tool, such as 1h. Empty: for the one call.").problems(problems.at("/approval")).input("text", rule["approval"]["lifetime"].as_str().unwrap_or_default()))
        }
        div.when data-action="require_mfa" {
            (Control::new("max_age", "The proof may be this old").mono().hint("Such as 15m. Empty: an hour.").problems(problems.at("/mfa")).input("text", rule["mfa"]["max_age"].as_str().unwrap_or_default()))
        }
        div.when data-action="redact" {
            div.row {
                (Control::new("paths", "Paths").mono().hint("JSON pointers into arguments and structured results, one on each line, such as /customer/card.").problems(problems.at("/redact/paths")).area(3, &lines("paths")))
                (Control::new("patterns", "Patterns").mono().hint("Regular expressions, one on each line.").problems(problems.at("/redact/patterns")).area(3, &lines("patterns")))
            }
        }
        div.when data-action="worker" {
            div.row {
                (Control::new("script", "Worker").problems(problems.at("/worker/script")).select(&options, script))
                (Control::new("on_error", "When it fails").problems(problems.at("/worker/on_error")).select(&[("block", "Block"), ("continue", "Go on")], rule["worker"]["on_error"].as_str().unwrap_or("block")))
            }
        }
    }
}
