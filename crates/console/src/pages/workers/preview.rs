//! Runs what is in the editor against an invented request and shows what came of it.
//!
//! The operation compiles, binds and runs; here a form becomes its event and its report becomes a page. Invariant: nothing
//! is stored, and no one's traffic is touched.

use axum::extract::Path;
use maud::{Markup, html};
use serde_json::{Value, json};
use types::ScriptName;

use super::editor::{Shown, draw, with_typed};
use crate::app::{PreviewEvent, PreviewReport};
use crate::failure::Failure;
use crate::operations::people::{self, GroupView};
use crate::operations::preview::{self, Draft, DraftModule, PreviewBody};
use crate::operations::{rules, scripts};
use crate::pages::control::{Control, Problems};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, record};

const EVENTS: [(&str, &str); 3] =
    [("fetch", "A web request"), ("scheduled", "A cron trigger"), ("queue", "A batch of events")];
const METHODS: [(&str, &str); 6] =
    [("GET", "GET"), ("POST", "POST"), ("PUT", "PUT"), ("PATCH", "PATCH"), ("DELETE", "DELETE"), ("HEAD", "HEAD")];
/// What the fields of a web request hold until someone writes something else.
pub(super) struct Example {
    url: String,
    cf: String,
}

impl Example {
    /// Takes the address from a rule that calls the Worker and the person from those the account has, so that a first run
    /// takes the way real traffic would. What the visitor may not read is invented.
    pub(super) async fn of(visitor: &Visitor, name: &ScriptName) -> Self {
        let rules = rules::list(&visitor.cx).await.unwrap_or_default();
        let calls = |rule: &&rules::RuleView| {
            rule.0.get("rule_settings").is_some_and(|settings| settings["worker"]["script"] == name.as_str())
        };
        let host = rules.iter().filter(calls).find_map(|rule| named_host(rule.0.get("traffic")?.as_str()?));
        let person = people::anyone(&visitor.cx).await.ok().flatten();
        let identity = match person {
            Some(person) => {
                let group = |group: GroupView| json!({ "id": group.id, "name": group.name, "email": group.email });
                let groups: Vec<_> = person.groups.into_iter().map(group).collect();
                json!({ "id": person.id, "email": person.email, "name": person.name, "groups": groups })
            }
            None => {
                let groups = json!([{ "id": "1", "name": "finance", "email": null }]);
                json!({ "id": "1", "email": "ann@example.com", "name": "Ann", "groups": groups })
            }
        };
        let cf = json!({ "identity": identity, "source": { "ip": "192.0.2.1", "port": 50_000 } });
        Self {
            url: format!("https://{}/", host.unwrap_or("example.com")),
            cf: serde_json::to_string_pretty(&cf).unwrap_or_default(),
        }
    }
}

/// Returns the first text of an expression that is a host name.
fn named_host(expression: &str) -> Option<&str> {
    let texts = expression.split('"').skip(1).step_by(2);
    let is_name = |text: &&str| {
        text.contains('.')
            && text.split('.').all(|label| {
                !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            })
    };
    texts.into_iter().find(is_name)
}

/// The fields of the event, kept across runs.
pub(super) fn controls(fields: &Fields, path: &str, may_run: bool, example: &Example) -> Markup {
    let event = if fields.get("event").is_empty() { "fetch" } else { fields.get("event") };
    let or = |name: &str, other: &str| -> String { fields.find(name).unwrap_or(other).to_owned() };
    html! {
        fieldset {
            legend { "Preview" }
            div.chips {
                @for (word, name) in EVENTS { label.chip { input type="radio" name="event" value=(word) checked[word == event]; span { (name) } } }
            }
            div.when data-event="fetch" {
                div.row.request {
                    (Control::new("method", "Method").select(&METHODS, &or("method", "GET")))
                    (Control::new("url", "Address").mono().input("text", &or("url", &example.url)))
                }
                (Control::new("headers", "Headers").hint("One a line, Name: value.").mono().area(2, &or("headers", "")))
                (Control::new("body", "Body").mono().area(2, &or("body", "")))
                (Control::new("cf", "request.cf").mono().area(4, &or("cf", &example.cf)))
            }
            div.when data-event="scheduled" { (Control::new("cron", "Cron expression").mono().input("text", &or("cron", "*/5 * * * *"))) }
            div.when data-event="queue" { (Control::new("messages", "Messages, a JSON array").mono().area(4, &or("messages", "[{\"type\": \"block\"}]"))) }
            div.actions { button type="submit" formaction={ (path) "/preview#result" } data-partial="#result" disabled[!may_run] { "Run what is in the editor" } }
        }
        div id="result" aria-live="polite" {}
    }
}

fn event(fields: &Fields) -> Result<PreviewEvent, Failure> {
    let json = |name: &str, pointer: &str| -> Result<Option<Value>, Failure> {
        let invalid = |error: serde_json::Error| Failure::invalid(pointer, format!("{name} is not JSON: {error}"));
        fields.text(name).map(|text| serde_json::from_str(&text).map_err(invalid)).transpose()
    };
    Ok(match fields.get("event") {
        "scheduled" => PreviewEvent::Scheduled { cron: fields.get("cron").to_owned() },
        "queue" => {
            let Some(Value::Array(messages)) = json("messages", "/event/messages")? else {
                return Err(Failure::invalid("/event/messages", "messages must be a JSON array"));
            };
            PreviewEvent::Queue { messages }
        }
        _ => {
            let mut headers = Vec::new();
            for line in fields.lines("headers") {
                let (name, value) = line.split_once(':').ok_or_else(|| {
                    Failure::invalid("/event/headers", format!("\"{line}\" is not a header; write Name: value"))
                })?;
                headers.push((name.trim().to_owned(), value.trim().to_owned()));
            }
            PreviewEvent::Fetch {
                url: fields.get("url").to_owned(),
                method: fields.text("method"),
                headers,
                body: Some(fields.raw("body").to_owned()).filter(|body| !body.is_empty()),
                cf: json("cf", "/event/cf")?,
            }
        }
    })
}

async fn report(
    visitor: &Visitor,
    name: &types::ScriptName,
    content: &scripts::Content,
    fields: &Fields,
) -> Result<PreviewReport, Failure> {
    let event = event(fields)?;
    // A module that is not text cannot be typed; a draft with the text modules is what is in the editor.
    let modules = with_typed(content, fields).into_iter().filter_map(|module| match module.source {
        store::Source::Text(text) => Some(DraftModule { name: module.name, text }),
        store::Source::Base64(_) => None,
    });
    let draft = Draft { modules: modules.collect(), main_module: Some(content.main.clone()), settings: None };
    preview::run(&visitor.cx, name, PreviewBody { event, version_id: None, draft: Some(draft) }).await
}

/// Serves `POST /workers/{name}/preview`.
pub(in crate::pages) async fn run(Path(name): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let name = scripts::parse_name(&name)?;
    let content = scripts::content(&visitor.cx, &name).await?;
    let result = match report(&visitor, &name, &content, &fields).await {
        Ok(report) => shown(&report),
        Err(failure) => html! {
            div.notice.bad role="alert" { strong { "Did not run." } ul { @for problem in &failure.problems { li { pre { (problem.message) } } } } }
        },
    };
    if fields.ticked("partial") {
        return Ok(frame::fragment(result));
    }
    let page = Shown {
        name: &name,
        content: &content,
        fields: &fields,
        source: Some(fields.raw("source")),
        failure: None,
        refused: Problems::NONE,
    };
    let body = draw(&visitor, &page, &result).await;
    Ok(frame::page(&visitor, Place::Workers, name.as_str(), &body))
}

fn shown(report: &PreviewReport) -> Markup {
    let says = match report.outcome.as_str() {
        "response" => "It answered.",
        "request" => "It sent the request on with changes.",
        "none" => "It had no opinion; the rules after it decide.",
        _ => "It failed.",
    };
    let text = |member: &str| report.detail.get(member).map(record::shown);
    html! {
        section.result {
            h2 { (format::verdict(&report.outcome)) " " (says) }
            dl.figures { div { dt { "CPU" } dd { (format::micros(report.cpu_microseconds)) } } div { dt { "Elapsed" } dd { (format::micros(report.wall_microseconds)) } } div { dt { "Fetches" } dd { (report.subrequests.len()) } } }
            @if let Some(status) = text("status") { p { "Status " b { (status) } } }
            @if let Some(method) = text("method") { p { b { (method) } " " (text("url").unwrap_or_default()) } }
            @if let Some(message) = text("message") { pre.problem { (message) @if let Some(stack) = text("stack") { "\n" (stack) } } }
            @if let Some(headers) = report.detail.get("headers") { (headers_view(headers)) }
            @if let Some(body) = text("body").filter(|body| !body.is_empty()) { h3 { "Body" } pre.code { (body) } }
            h3 { "Console" }
            @if report.console.is_empty() { p.muted { "It wrote nothing." } }
            @else { pre.console { @for line in &report.console { span class=(line.level) { (line.level) " " (line.message) } "\n" } } }
            @if !report.subrequests.is_empty() {
                h3 { "Fetched" }
                ul.plain { @for one in &report.subrequests { li { code { (one.get("method").map(record::shown).unwrap_or_default()) " " (one.get("url").map(record::shown).unwrap_or_default()) } " " (one.get("status").map(record::shown).unwrap_or_default()) @if let Some(error) = one.get("error").filter(|error| !error.is_null()) { " " span.bad { (record::shown(error)) } } } } }
            }
            details { summary { "The whole report" } pre.code { (serde_json::to_string_pretty(&report.detail).unwrap_or_default()) } }
        }
    }
}

/// Headers, whether they come as pairs or as an object.
fn headers_view(headers: &Value) -> Markup {
    let pairs: Vec<(String, String)> = match headers {
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), record::shown(value))).collect(),
        Value::Array(pairs) => {
            pairs.iter().filter_map(|pair| Some((record::shown(pair.get(0)?), record::shown(pair.get(1)?)))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    html! { @if !pairs.is_empty() { dl.facts { @for (name, value) in &pairs { div { dt { code { (name) } } dd { code { (value) } } } } } } }
}

#[cfg(test)]
mod tests {
    use super::named_host;

    #[test]
    fn the_host_a_rule_names_is_found_in_its_condition() {
        for (expression, host) in [
            ("http.request.host == \"finance.acme.test\"", Some("finance.acme.test")),
            (
                "http.request.method == \"GET\" and any(http.request.domains[*] in {\"a.test\" \"b.test\"})",
                Some("a.test"),
            ),
            ("http.request.uri.path matches \"[a-z].test\"", None),
            ("", None),
        ] {
            assert_eq!(named_host(expression), host, "{expression}");
        }
    }
}
