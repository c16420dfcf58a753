//! The rule editor: one form for a new rule and for a stored one.
//!
//! Draws the document it is given, stored or refused, so that nothing typed is lost. Invariant: without a script the form
//! does everything but check while one writes.

use axum::extract::Path;
use maud::{Markup, html};
use serde_json::{Map, Value, json};
use types::RuleId;

use super::document::{self, DAYS, Draft};
use super::{hook_of, reference, replay, reset_button, settings, text};
use crate::failure::{Failure, Problem};
use crate::operations::{findings, rules, scripts, shadow_mcp};
use crate::pages::control::{Control, Problems, csrf};
use crate::pages::frame::{self, Place, refused_form, title};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, go, id, record};

/// The actions with what they say.
pub(super) const ACTIONS: [(&str, &str, &str); 10] = [
    ("allow", "Allow", "Lets the request pass, with changes to its headers."),
    ("block", "Block", "Answers with the block page."),
    ("worker", "Worker", "Asks a Worker of yours, which answers, changes or declines."),
    ("managed", "Managed", "Asks a Worker that ships with Portunus."),
    ("redirect", "Redirect", "Sends the browser elsewhere."),
    (
        "off",
        "Do not inspect",
        "Passes the connection through without decryption; only host, address and person are known.",
    ),
    ("noscan", "Do not scan", "Exempts from scanning of bodies; the search goes on."),
    (
        "quarantine",
        "Quarantine",
        "Holds files until they were examined; this version answers with a page that says so.",
    ),
    ("isolate", "Isolate", "Opens the page in a remote browser; this version answers with a page that says so."),
    ("noisolate", "Do not isolate", "Exempts from isolation; the search goes on."),
];

/// Serves `GET /rules/new`.
pub(in crate::pages) async fn new_page(visitor: Visitor) -> Page {
    let blank = json!({"name": "", "action": "block", "filters": ["http"], "enabled": true});
    let mut document = blank.as_object().cloned().unwrap_or_default();
    // A page about usage offers a rule about what was found there.
    if let Some(finding) = visitor.query.text("finding") {
        document = findings::draft(&visitor.cx, &finding, visitor.query.get("application")).await?;
    }
    // A Worker's page offers a rule that calls it.
    if let Some(script) = visitor.query.text("worker") {
        document.insert("action".to_owned(), Value::from("worker"));
        document.insert("rule_settings".to_owned(), json!({"worker": {"script": script}}));
    }
    // So does the page of an MCP server that was seen.
    if let Some(host) = visitor.query.text("mcp_server") {
        document = shadow_mcp::draft(&visitor.cx, &host, visitor.query.get("draft")).await?;
    }
    let body = form(&visitor, None, &document, Problems::NONE).await;
    Ok(frame::page(&visitor, Place::Rules, "New rule", &body))
}

/// Serves `GET /rules/{id}`.
pub(in crate::pages) async fn page(visitor: Visitor, Path(rule): Path<String>) -> Page {
    let rule: RuleId = id(&rule, "rule")?;
    let document = rules::get(&visitor.cx, rule).await?.0;
    let body = form(&visitor, Some(rule), &document, Problems::NONE).await;
    Ok(frame::page(&visitor, Place::Rules, text(&document, "name"), &body))
}

/// Serves `POST /rules`.
pub(in crate::pages) async fn create(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let draft = document::build(&fields, &Map::new());
    let saved = match refuse(&draft) {
        Some(failure) => Err(failure),
        None => rules::create(&visitor.cx, Value::Object(draft.document.clone())).await,
    };
    match saved {
        Ok(rule) => go(&format!("/rules/{}?note=created", text(&rule.0, "id"))),
        Err(failure) => {
            let body = form(&visitor, None, &draft.document, Problems::of(&failure)).await;
            Ok(refused_form(&visitor, Place::Rules, "New rule", &failure, &body))
        }
    }
}

/// Serves `POST /rules/{id}`.
pub(in crate::pages) async fn save(Path(rule): Path<String>, submission: Submission) -> Page {
    let rule: RuleId = id(&rule, "rule")?;
    let Submission { visitor, fields } = submission;
    let stored = rules::get(&visitor.cx, rule).await?.0;
    let draft = document::build(&fields, &stored);
    let saved = match refuse(&draft) {
        Some(failure) => Err(failure),
        None => rules::replace(&visitor.cx, rule, Value::Object(draft.document.clone())).await,
    };
    match saved {
        Ok(_) => go(&format!("/rules/{rule}?note=saved")),
        Err(failure) => {
            let body = form(&visitor, Some(rule), &draft.document, Problems::of(&failure)).await;
            Ok(refused_form(&visitor, Place::Rules, "Rule", &failure, &body))
        }
    }
}

/// What the form itself could not read.
pub(super) fn refuse(draft: &Draft) -> Option<Failure> {
    (!draft.problems.is_empty()).then(|| Failure::invalid_many(draft.problems.clone()))
}

async fn form(
    visitor: &Visitor,
    rule: Option<RuleId>,
    document: &Map<String, Value>,
    problems: Problems<'_>,
) -> Markup {
    // Someone who may not look at Workers still sees the name a rule calls.
    let workers: Vec<String> =
        scripts::list(&visitor.cx).await.map(|all| all.into_iter().map(|one| one.id).collect()).unwrap_or_default();
    let action = rule.map_or_else(|| "/rules".to_owned(), |rule| format!("/rules/{rule}"));
    let name = if rule.is_some() { text(document, "name") } else { "New rule" };
    let may_write = visitor.may(store::Permission::GatewayWrite);
    let actions = html! {
        @if let Some(rule) = rule { @if may_write {
            @if document.get("expiration").is_some() { (reset_button(visitor, rule)) }
            a.button.quiet href={ (action) "/delete" } { "Delete" }
        } }
    };
    html! {
        p.crumbs { a href="/rules" { "Rules" } " / " @if rule.is_some() { "Edit" } @else { "New" } }
        (title(name, "", &actions))
        (problems.summary())
        @if !text(document, "warning_status").is_empty() { p.notice { (text(document, "warning_status")) } }
        div.editor {
            form.sheet method="post" action=(action) data-check="/rules/check" {
                (csrf(&visitor.csrf))
                @if let Some(rule) = rule { input type="hidden" name="id" value=(rule); }
                (what(document, problems))
                (when(document, problems))
                (settings::sections(document, &workers, problems))
                (life(document, problems))
                @if visitor.may(store::Permission::LogsRead) { (replay::panel(rule.is_some())) }
                div.actions.sticky {
                    button.primary type="submit" disabled[!may_write] { @if rule.is_some() { "Save" } @else { "Create" } }
                    button type="submit" formaction="/rules/test" { "Test this draft" }
                    div.check data-for="rule" aria-live="polite" {}
                }
            }
            (reference::panel())
        }
    }
}

fn what(document: &Map<String, Value>, problems: Problems<'_>) -> Markup {
    let chosen = text(document, "action");
    let hook = hook_of(document);
    html! {
        fieldset {
            legend { "What" }
            div.row {
                (Control::new("name", "Name").required().problems(problems.at("/name")).input("text", text(document, "name")))
                (Control::new("hook", "Applies to").problems(problems.at("/filters")).select(&[("http", "Web requests"), ("l4", "Connections, before decryption")], hook))
            }
            fieldset.choice {
                legend { "Action" }
                div.chips {
                    @for (word, name, _) in ACTIONS {
                        label.chip { input type="radio" name="action" value=(word) checked[word == chosen]; span { (name) } }
                    }
                }
                @for (word, _, says) in ACTIONS { p.hint.when data-action=(word) { (says) } }
                @for problem in problems.at("/action") { p.problem { (problem) } }
            }
            (Control::new("description", "Description").problems(problems.at("/description")).input("text", text(document, "description")))
            (Control::new("enabled", "Enabled").tick(document.get("enabled").and_then(Value::as_bool).unwrap_or(true)))
        }
    }
}

fn when(document: &Map<String, Value>, problems: Problems<'_>) -> Markup {
    let area = |name: &'static str, label: &'static str, hint: &'static str, rows: usize| {
        let pointer = format!("/{name}");
        let problems = problems.at(&pointer);
        Control::new(name, label).hint(hint).mono().live(name).problems(problems).area(rows, text(document, name))
    };
    html! {
        fieldset {
            legend { "When" }
            p.hint { "All three must be true. Empty means always." }
            (area("traffic", "Traffic", "For example: any(http.request.domains[*] == \"example.com\") and http.request.method == \"POST\"", 4))
            (area("identity", "Identity", "For example: identity.email == \"ann@example.com\" or any(identity.groups.name[*] in {\"finance\"})", 2))
            (area("device_posture", "Device posture", "No device client exists in this version; leave it empty.", 1))
        }
    }
}

fn life(document: &Map<String, Value>, problems: Problems<'_>) -> Markup {
    let at = |pointer: &str| {
        let value = document.get(pointer.split('/').nth(1).unwrap_or_default());
        let member = pointer.split('/').nth(2).and_then(|member| value?.get(member));
        member.map(record::shown).unwrap_or_default()
    };
    let precedence = document.get("precedence").map(record::shown).unwrap_or_default();
    let used = document.get("schedule").is_some() || document.get("expiration").is_some();
    let open = used || !problems.at("/schedule").is_empty() || !problems.at("/expiration").is_empty();
    html! {
        details.fold open[open || !problems.at("/precedence").is_empty()] {
            summary { "Order, schedule and expiry" }
            div.row {
                (Control::new("precedence", "Precedence").hint("Lower comes first. Empty: at the end.").problems(problems.at("/precedence")).input("text", &precedence))
                (Control::new("expires_at", "Expires (UTC)").problems(problems.at("/expiration/expires_at")).input("datetime-local", at("/expiration/expires_at").trim_end_matches('Z')))
                (Control::new("expires_after", "Lives for, minutes").problems(problems.at("/expiration/duration")).input("text", &at("/expiration/duration")))
            }
            p.hint { "Hours as 08:00-12:30,13:30-17:00. With any day filled in, the rule rests on the others." }
            div.row.days {
                @for (day, name) in DAYS {
                    (Control::new(day, name).problems(problems.at(&format!("/schedule/{day}"))).input("text", &at(&format!("/schedule/{day}"))))
                }
                (Control::new("time_zone", "Time zone").placeholder("UTC").problems(problems.at("/schedule/time_zone")).input("text", &at("/schedule/time_zone")))
            }
        }
    }
}

/// The problems of a check, as problems of a form.
pub(super) fn as_problems(errors: &[policy::SpecError]) -> Vec<Problem> {
    let problem =
        |error: &policy::SpecError| Problem { message: error.message.clone(), pointer: Some(error.pointer.clone()) };
    errors.iter().map(problem).collect()
}
