//! What a Worker is given and held to: variables, secrets, namespaces, hosts it may reach, limits, triggers.
//!
//! Every change makes a new version with the same code. Invariant: a secret's text is never on a page.

use axum::extract::Path;
use maud::{Markup, html};
use serde_json::{Map, Value, json};
use types::{ScriptName, Secret};

use super::head;
use crate::failure::Failure;
use crate::operations::scripts::{self, NewCron, SettingsView};
use crate::operations::secrets::{self, NewSecret};
use crate::operations::{kv, upload::Metadata};
use crate::pages::control::{Control, Problems, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, refused_form};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, go, record};
use crate::strict;

/// Serves `GET /workers/{name}/settings`.
pub(in crate::pages) async fn page(visitor: Visitor, Path(name): Path<String>) -> Page {
    let name = scripts::parse_name(&name)?;
    let body = draw(&visitor, &name, &Fields::default(), Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Workers, name.as_str(), &body))
}

async fn draw(
    visitor: &Visitor,
    name: &ScriptName,
    fields: &Fields,
    problems: Problems<'_>,
) -> Result<Markup, Failure> {
    let settings = scripts::settings(&visitor.cx, name).await?;
    let schedules = scripts::schedules(&visitor.cx, name).await?;
    let crons: Vec<_> = schedules.schedules.into_iter().map(|one| one.cron).collect();
    let namespaces = kv::list(&visitor.cx).await.unwrap_or_default();
    let path = format!("/workers/{name}");
    Ok(html! {
        (head(visitor, name, "/settings"))
        (problems.summary())
        div.columns.wide {
            div {
                (bound(visitor, &path, &settings.bindings))
                (new_variable(visitor, &path, fields, &namespaces, problems))
                (new_secret(visitor, &path, fields, problems))
            }
            div {
                (limits(visitor, &path, &settings, fields, problems))
                form.sheet method="post" action={ (path) "/triggers" } {
                    (csrf(&visitor.csrf))
                    fieldset {
                        legend { "Cron triggers" }
                        (Control::new("crons", "One a line, in UTC").hint("minute hour day month weekday, such as */5 8-18 * * MON-FRI. Calls the scheduled handler.").mono().area(3, &fields.find("crons").map_or_else(|| crons.join("\n"), str::to_owned)))
                        div.actions { button type="submit" { "Save the triggers" } }
                    }
                }
            }
        }
    })
}

fn bound(visitor: &Visitor, path: &str, bindings: &[Value]) -> Markup {
    let member = |binding: &Value, name: &str| binding.get(name).map(record::shown).unwrap_or_default();
    html! {
        section {
            h2 { "env" }
            @if bindings.is_empty() { p.muted { "Nothing is bound. Add a variable, a secret or a namespace below." } }
            @else {
                table.cards {
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Kind" } th scope="col" { "Value" } th scope="col" { span.hidden { "Remove" } } } }
                    tbody {
                        @for binding in bindings {
                            @let (name, kind) = (member(binding, "name"), member(binding, "type"));
                            @let secret = kind == "secret_text";
                            tr {
                                td data-label="Name" { code { (name) } }
                                td data-label="Kind" { (kind.replace('_', " ")) }
                                td data-label="Value" { code.clip { @if secret { "set, never shown" } @else { (value_of(binding)) } } }
                                td {
                                    form.inline method="post" action={ (path) (if secret { "/secrets/delete" } else { "/variables/delete" }) } {
                                        (csrf(&visitor.csrf))
                                        input type="hidden" name="name" value=(name);
                                        button.quiet type="submit" aria-label={ "Remove " (name) } { "Remove" }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn value_of(binding: &Value) -> String {
    let members =
        binding.as_object().into_iter().flatten().filter(|(name, _)| !matches!(name.as_str(), "name" | "type"));
    members.map(|(_, value)| record::shown(value)).collect::<Vec<_>>().join(" ")
}

fn new_variable(
    visitor: &Visitor,
    path: &str,
    fields: &Fields,
    namespaces: &[kv::NamespaceView],
    problems: Problems<'_>,
) -> Markup {
    let kinds = [
        ("plain_text", "Text"),
        ("json", "JSON"),
        ("kv_namespace", "KV namespace (its id or name)"),
        ("service", "Another Worker (its name)"),
    ];
    html! {
        form.sheet method="post" action={ (path) "/variables" } {
            (csrf(&visitor.csrf))
            fieldset {
                legend { "Add or replace a variable" }
                div.row {
                    (Control::new("variable_name", "Name").required().mono().problems(problems.at("/variable/name")).input("text", fields.get("variable_name")))
                    (Control::new("variable_kind", "Kind").select(&kinds, fields.get("variable_kind")))
                }
                div.field {
                    label for="variable_value" { "Value" }
                    input.mono type="text" id="variable_value" name="variable_value" value=(fields.raw("variable_value")) list="namespaces" autocomplete="off";
                    datalist id="namespaces" { @for namespace in namespaces { option value=(namespace.id) { (namespace.title) } } }
                    @for problem in problems.at("/variable/value") { p.problem { (problem) } }
                    p.hint { "For a namespace that does not exist yet, write its name: it is made." }
                }
                div.actions { button type="submit" { "Set the variable" } }
            }
        }
    }
}

fn new_secret(visitor: &Visitor, path: &str, fields: &Fields, problems: Problems<'_>) -> Markup {
    html! {
        form.sheet method="post" action={ (path) "/secrets" } {
            (csrf(&visitor.csrf))
            fieldset {
                legend { "Set or replace a secret" }
                div.row {
                    (Control::new("secret_name", "Name").required().mono().problems(problems.at("/name")).input("text", fields.get("secret_name")))
                    (Control::new("secret_text", "Text").required().autocomplete("new-password").hint("Stored sealed, never shown again.").problems(problems.at("/text")).input("password", ""))
                }
                div.actions { button type="submit" { "Set the secret" } }
            }
        }
    }
}

fn limits(visitor: &Visitor, path: &str, settings: &SettingsView, fields: &Fields, problems: Problems<'_>) -> Markup {
    let number = |limit: Option<u32>| limit.map(|limit| limit.to_string()).unwrap_or_default();
    let typed = |name: &str, stored: String| fields.find(name).map_or(stored, str::to_owned);
    let isolation = serde_json::to_value(settings.isolation).map(|word| record::shown(&word)).unwrap_or_default();
    html! {
        form.sheet method="post" action={ (path) "/settings" } {
            (csrf(&visitor.csrf))
            fieldset {
                legend { "Reach and limits" }
                (Control::new("egress", "May fetch from").hint("One a line: api.example.com, *.example.com, https://api.example.com:8443. The request's own origin needs no entry; everything else is refused.").mono().problems(problems.at("/egress")).area(3, &typed("egress", settings.egress.join("\n"))))
                div.row {
                    (Control::new("cpu_ms", "CPU, ms").placeholder("by the rule").problems(problems.at("/limits/cpu_ms")).input("text", &typed("cpu_ms", number(settings.limits.cpu_ms))))
                    (Control::new("memory_mb", "Memory, MiB").placeholder("by the rule").problems(problems.at("/limits/memory_mb")).input("text", &typed("memory_mb", number(settings.limits.memory_mb))))
                    (Control::new("subrequests", "Fetches").placeholder("default").problems(problems.at("/limits/subrequests")).input("text", &typed("subrequests", number(settings.limits.subrequests))))
                }
                (Control::new("isolation", "Isolation").hint("Shared: globals outlive a request, as Workers do. Request: a fresh isolate for each.").select(&[("shared", "Shared"), ("request", "Request")], &typed("isolation", isolation)))
                (Control::new("events", "Gets security events").hint("Calls the queue handler with batches of them.").tick(if fields.find("egress").is_some() { fields.ticked("events") } else { !settings.queues.is_empty() }))
                div.actions { button.primary type="submit" { "Save the limits" } }
            }
        }
    }
}

fn parse(name: &str) -> Result<ScriptName, Failure> {
    scripts::parse_name(name)
}

async fn finish(visitor: &Visitor, name: &ScriptName, fields: &Fields, done: Result<(), Failure>, note: &str) -> Page {
    match done {
        Ok(()) => go(&format!("/workers/{name}/settings?note={note}")),
        Err(failure) => {
            let body = draw(visitor, name, fields, Problems::of(&failure)).await?;
            Ok(refused_form(visitor, Place::Workers, name.as_str(), &failure, &body))
        }
    }
}

async fn patch(visitor: &Visitor, name: &ScriptName, metadata: Value) -> Result<(), Failure> {
    let metadata: Metadata = strict::from_value(metadata)?;
    scripts::patch_settings(&visitor.cx, name, metadata).await.map(|_| ())
}

/// Serves `POST /workers/{name}/settings`.
pub(in crate::pages) async fn save(Path(name): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let name = parse(&name)?;
    let mut limits = Map::new();
    for member in ["cpu_ms", "memory_mb", "subrequests"] {
        if let Some(limit) = fields.number(member) {
            limits.insert(member.to_owned(), limit);
        }
    }
    let queues: &[&str] = if fields.ticked("events") { &[store::SECURITY_EVENTS] } else { &[] };
    let metadata = json!({"egress": fields.lines("egress"), "isolation": fields.get("isolation"), "limits": limits, "queues": queues});
    let done = patch(&visitor, &name, metadata).await;
    finish(&visitor, &name, &fields, done, "saved").await
}

/// The bindings that stand, without secrets and without the one called `without`.
async fn standing(visitor: &Visitor, name: &ScriptName, without: &str) -> Result<Vec<Value>, Failure> {
    let mut bindings = scripts::settings(&visitor.cx, name).await?.bindings;
    let keep = |binding: &Value| binding["type"] != "secret_text" && binding["name"] != without;
    bindings.retain(keep);
    Ok(bindings)
}

/// Serves `POST /workers/{name}/variables`.
pub(in crate::pages) async fn put_variable(Path(name): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let name = parse(&name)?;
    let done = set_variable(&visitor, &name, &fields).await;
    finish(&visitor, &name, &fields, done, "saved").await
}

async fn set_variable(visitor: &Visitor, name: &ScriptName, fields: &Fields) -> Result<(), Failure> {
    let (variable, kind, value) =
        (fields.get("variable_name"), fields.get("variable_kind"), fields.raw("variable_value"));
    let binding = match kind {
        "json" => {
            let invalid = |error| Failure::invalid("/variable/value", format!("is not JSON: {error}"));
            let value: Value = serde_json::from_str(value).map_err(invalid)?;
            json!({"name": variable, "type": kind, "json": value})
        }
        "kv_namespace" => {
            json!({"name": variable, "type": kind, "namespace_id": namespace(visitor, value.trim()).await?})
        }
        "service" => json!({"name": variable, "type": kind, "service": value.trim()}),
        _ => json!({"name": variable, "type": "plain_text", "text": value}),
    };
    let mut bindings = standing(visitor, name, variable).await?;
    bindings.push(binding);
    patch(visitor, name, json!({"bindings": bindings})).await
}

/// The id of the namespace that is called so, made if there is none.
async fn namespace(visitor: &Visitor, text: &str) -> Result<String, Failure> {
    let all = kv::list(&visitor.cx).await?;
    if let Some(found) = all.into_iter().find(|one| one.id == text || one.title == text) {
        return Ok(found.id);
    }
    let made = kv::create(&visitor.cx, kv::NewNamespace { title: text.to_owned() }).await;
    made.map(|made| made.id)
        .map_err(|failure| Failure { problems: failure.problems, ..Failure::invalid("/variable/value", "") })
}

/// Serves `POST /workers/{name}/variables/delete`.
pub(in crate::pages) async fn delete_variable(Path(name): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let name = parse(&name)?;
    let done = match standing(&visitor, &name, fields.get("name")).await {
        Ok(bindings) => patch(&visitor, &name, json!({"bindings": bindings})).await,
        Err(failure) => Err(failure),
    };
    finish(&visitor, &name, &Fields::default(), done, "saved").await
}

/// Serves `POST /workers/{name}/secrets`.
pub(in crate::pages) async fn put_secret(Path(name): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let name = parse(&name)?;
    let text = Secret::new(fields.raw("secret_text").to_owned());
    let new = NewSecret { name: fields.get("secret_name").to_owned(), text, kind: None };
    let done = secrets::put(&visitor.cx, &name, new).await.map(|_| ());
    finish(&visitor, &name, &fields, done, "secret").await
}

/// Serves `POST /workers/{name}/secrets/delete`.
pub(in crate::pages) async fn delete_secret(Path(name): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let name = parse(&name)?;
    let done = secrets::delete(&visitor.cx, &name, fields.get("name")).await;
    finish(&visitor, &name, &Fields::default(), done, "deleted").await
}

/// Serves `POST /workers/{name}/triggers`.
pub(in crate::pages) async fn put_triggers(Path(name): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let name = parse(&name)?;
    let crons = fields.lines("crons").into_iter().map(|cron| NewCron { cron, _created_on: None, _modified_on: None });
    let done = scripts::put_schedules(&visitor.cx, &name, crons.collect()).await.map(|_| ());
    finish(&visitor, &name, &fields, done, "saved").await
}
