//! Workers: which there are, how they fare, a new one.
//!
//! Times come from the newest calls in the log. Invariant: the numbers on these pages are counted over a bounded number
//! of records.

pub(super) mod bindings;
pub(super) mod calls;
pub(super) mod editor;
pub(super) mod modules;
pub(super) mod preview;
pub(super) mod versions;

use std::collections::HashMap;

use axum::extract::Path;
use maud::{Markup, html};
use serde_json::{Map, Value};
use store::{Module, ModuleKind, Source};
use types::ScriptName;

use super::control::{Control, Problems, csrf};
use super::frame::{self, Place, confirm, empty, refused_form, title};
use super::visitor::{Submission, Visitor};
use super::{Page, format, go};
use crate::failure::Failure;
use crate::operations::logs;
use crate::operations::scripts::{self, Serve, Upload};
use crate::operations::upload::Metadata;

/// What a new Worker begins as.
const FIRST_SOURCE: &str = r#"/// <reference path="./portunus.d.ts" />

export default {
  // Return a Response to answer, a changed Request to send on, or nothing to have no opinion.
  async fetch(request, env, ctx) {
    const { identity } = request.cf;
    if (!identity?.email) {
      return new Response("Please sign in.", { status: 403 });
    }
    const changed = new Request(request);
    changed.headers.set("X-User", identity.email);
    return changed;
  },
};
"#;

/// How the newest calls of a Worker went.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub wall: Vec<u64>,
    pub cpu: Vec<u64>,
    pub failed: u64,
}

impl Calls {
    pub(super) fn add(&mut self, record: &Map<String, Value>) {
        self.wall.push(format::number(record, "WallTimeMicros"));
        self.cpu.push(format::number(record, "CPUTimeMicros"));
        self.failed += u64::from(format::text(record, "Outcome") != "ok");
    }

    pub(super) fn sort(&mut self) {
        self.wall.sort_unstable();
        self.cpu.sort_unstable();
    }
}

/// A quantile in words.
pub(super) fn quantile(values: &[u64], numerator: usize) -> String {
    format::quantile(values, numerator, 100).map_or_else(|| "–".to_owned(), format::micros)
}

/// Serves `GET /workers`.
pub(super) async fn page(visitor: Visitor) -> Page {
    let all = scripts::list(&visitor.cx).await?;
    let calls = recent(&visitor).await;
    let may_write = visitor.may(store::Permission::WorkersWrite);
    let actions = html! {
        a.button href="/portunus.d.ts" download="portunus.d.ts" { "portunus.d.ts" }
        @if may_write { a.button.primary href="/workers/new" { "New Worker" } }
    };
    let none = Calls::default();
    let body = html! {
        (title("Workers", "TypeScript of yours that rules call. Each runs in a locked-down process of its own.", &actions))
        @if all.is_empty() {
            (empty("There are no Workers.", &html! { "Where a rule is not enough, a Worker decides: it may ask another system, change the request, or answer itself. " a href="/workers/new" { "Write one" } "." }))
        } @else {
            label.finder { span { "Find" } input type="search" data-filter data-narrows="#workers" autocomplete="off"; }
            table.cards id="workers" {
                thead { tr { @for name in ["Worker", "Calls", "Failed", "p50", "p99", "CPU p50", "May reach", "Changed"] { th scope="col" { (name) } } } }
                tbody {
                    @for script in &all {
                        @let own = calls.get(&script.id).unwrap_or(&none);
                        tr {
                            td data-label="Worker" { a.strong href={ "/workers/" (script.id) } { (script.id) } div.muted { (script.entry_point) } }
                            td data-label="Calls" { (own.wall.len()) }
                            td data-label="Failed" { span.bad[own.failed > 0] { (own.failed) } }
                            td data-label="p50" { (quantile(&own.wall, 50)) }
                            td data-label="p99" { (quantile(&own.wall, 99)) }
                            td data-label="CPU p50" { (quantile(&own.cpu, 50)) }
                            td data-label="May reach" { @if script.egress.is_empty() { span.muted { "only the origin" } } @else { code.clip title=(script.egress.join(" ")) { (script.egress.join(" ")) } } }
                            td data-label="Changed" { (format::day(&script.modified_on)) }
                        }
                    }
                }
            }
            p.muted { "Counted over the newest 1000 calls." }
        }
    };
    Ok(frame::page(&visitor, Place::Workers, "Workers", &body))
}

/// The newest calls by Worker; nothing for someone who may not read logs.
async fn recent(visitor: &Visitor) -> HashMap<String, Calls> {
    let mut calls: HashMap<String, Calls> = HashMap::new();
    let Ok(page) = logs::page(&visitor.cx, "worker", &[("limit".to_owned(), "1000".to_owned())]).await else {
        return calls;
    };
    for record in &page.records {
        calls.entry(format::text(&record.0, "ScriptName").to_owned()).or_default().add(&record.0);
    }
    calls.values_mut().for_each(Calls::sort);
    calls
}

/// Serves `GET /workers/new`.
pub(super) async fn new_page(visitor: Visitor) -> Page {
    let body = new_form(&visitor, "", FIRST_SOURCE, Problems::NONE);
    Ok(frame::page(&visitor, Place::Workers, "New Worker", &body))
}

fn new_form(visitor: &Visitor, name: &str, source: &str, problems: Problems<'_>) -> Markup {
    html! {
        p.crumbs { a href="/workers" { "Workers" } " / New" }
        (title("New Worker", "", &html! { a.button href="/portunus.d.ts" download="portunus.d.ts" { "portunus.d.ts" } }))
        (problems.summary())
        form.sheet.wide method="post" action="/workers" {
            (csrf(&visitor.csrf))
            (Control::new("name", "Name").required().hint("Small letters, digits, - and _. Rules call it by this name.").mono().problems(problems.at("/name")).input("text", name))
            (editor::source_area(source))
            div.actions.sticky { button.primary type="submit" { "Create" } }
        }
    }
}

/// Serves `POST /workers`.
pub(super) async fn create(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    match make(&visitor, fields.get("name"), fields.raw("source")).await {
        Ok(name) => go(&format!("/workers/{name}?note=created")),
        Err(failure) => {
            let body = new_form(&visitor, fields.get("name"), fields.raw("source"), Problems::of(&failure));
            Ok(refused_form(&visitor, Place::Workers, "New Worker", &failure, &body))
        }
    }
}

async fn make(visitor: &Visitor, name: &str, source: &str) -> Result<ScriptName, Failure> {
    let pointed = |failure: Failure| Failure {
        code: failure.code,
        ..Failure::invalid("/name", failure.problems.first().map(|problem| problem.message.clone()).unwrap_or_default())
    };
    let name = scripts::parse_name(name).map_err(pointed)?;
    if scripts::get(&visitor.cx, &name).await.is_ok() {
        return Err(Failure::conflict("/name", "another Worker has this name; choose a different one"));
    }
    let module =
        Module { name: "worker.ts".to_owned(), kind: ModuleKind::TypeScript, source: Source::Text(source.to_owned()) };
    let metadata = Metadata { main_module: Some(module.name.clone()), ..Metadata::default() };
    scripts::put(&visitor.cx, &name, Upload { metadata, modules: vec![module] }, Serve::Now).await?;
    Ok(name)
}

/// Serves `GET /workers/{name}/delete`.
pub(super) async fn confirm_delete(visitor: Visitor, Path(name): Path<String>) -> Page {
    let name = scripts::parse_name(&name)?;
    scripts::get(&visitor.cx, &name).await?;
    let path = format!("/workers/{name}");
    let text = html! { p { strong { (name) } ", its versions, secrets and triggers go. A Worker that a rule calls cannot be deleted." } };
    Ok(confirm(
        &visitor,
        Place::Workers,
        "Delete this Worker?",
        &text,
        (&format!("{path}/delete"), "Delete the Worker"),
        &path,
    ))
}

/// Serves `POST /workers/{name}/delete`.
pub(super) async fn delete(Path(name): Path<String>, form: Submission) -> Page {
    let name = scripts::parse_name(&name)?;
    scripts::delete(&form.visitor.cx, &name, false).await?;
    go("/workers?note=deleted")
}

/// The head of every page of one Worker.
pub(super) fn head(visitor: &Visitor, name: &ScriptName, here: &str) -> Markup {
    let path = format!("/workers/{name}");
    let tabs = [
        ("", "Code and preview"),
        ("/settings", "Bindings and limits"),
        ("/calls", "Calls"),
        ("/versions", "Versions"),
    ];
    let actions = html! {
        @if visitor.may(store::Permission::GatewayWrite) { a.button href={ "/rules/new?worker=" (name) } { "Rule that calls it" } }
        @if visitor.may(store::Permission::WorkersWrite) { a.button.quiet href={ (path) "/delete" } { "Delete" } }
    };
    html! {
        p.crumbs { a href="/workers" { "Workers" } " / " (name) }
        (title(name.as_str(), "", &actions))
        nav.tabs aria-label="Worker" { @for (tail, text) in tabs { a href={ (path) (tail) } aria-current=[(tail == here).then_some("page")] { (text) } } }
    }
}
