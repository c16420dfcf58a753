//! Activity: what was recorded, filtered, and what arrives while one looks.
//!
//! The operations read and follow the journal; here filters become their parameters and records become rows. Invariant: a
//! live row passes the same filters as a stored one.

use std::convert::Infallible;

use ::logs::TailEvent;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream;
use maud::{Markup, html};
use serde_json::{Map, Value};

use super::Page;
use super::access::log;
use super::fields::Fields;
use super::format;
use super::frame::{self, Place, empty, title};
use super::visitor::Visitor;
use crate::operations::{logs, mcp};

/// Rows of one page.
const ROWS: &str = "100";

/// The datasets with the words people use for them.
pub(super) const DATASETS: [(&str, &str); 6] = [
    ("gateway_http", "Web requests"),
    ("gateway_network", "Connections"),
    ("access_requests", "Access"),
    ("mcp_portal_logs", "MCP calls"),
    ("worker", "Worker calls"),
    ("audit", "Audit"),
];

/// A filter of a dataset.
struct Narrowing {
    /// The query parameter, and the field of the form.
    name: &'static str,
    label: &'static str,
    /// What of a record it looks at.
    field: &'static str,
    by: By,
}

/// How a filter compares.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// The whole text.
    Whole,
    /// A part of it, in either case.
    Part,
    /// One of [`OUTCOMES`], of a call.
    Outcome,
}

/// How calls end, with what they are called.
const OUTCOMES: [(&str, &str); 4] =
    [("", "Any"), ("succeeded", "Succeeded"), ("failed", "Failed"), ("blocked", "Blocked")];

const fn whole(name: &'static str, label: &'static str, field: &'static str) -> Narrowing {
    Narrowing { name, label, field, by: By::Whole }
}

const fn part(name: &'static str, label: &'static str, field: &'static str) -> Narrowing {
    Narrowing { name, label, field, by: By::Part }
}

const REQUESTS: &[Narrowing] = &[
    whole("action", "Action", "Action"),
    part("host", "Host", "HTTPHost"),
    part("person", "Person", "Email"),
    part("rule", "Rule", "PolicyName"),
];
const CONNECTIONS: &[Narrowing] = &[
    whole("action", "Action", "Action"),
    part("host", "Server name", "SNI"),
    part("person", "Person", "Email"),
    part("rule", "Rule", "PolicyName"),
];
const DECISIONS: &[Narrowing] = &[
    whole("action", "Act", "Action"),
    part("host", "Host", "AppDomain"),
    part("person", "Person", "Email"),
    part("rule", "Policy", "PolicyName"),
];
const MCP_CALLS: &[Narrowing] = &[
    whole("portal", "Portal", "PortalID"),
    whole("server", "Server", "ServerID"),
    Narrowing { name: "outcome", label: "Outcome", field: "Success", by: By::Outcome },
    part("person", "Person", "UserEmail"),
    part("host", "Tool", "ToolCallName"),
    part("rule", "Rule", "RuleName"),
    whole("action", "Action", "Action"),
];
const WORKER_CALLS: &[Narrowing] = &[
    whole("action", "Outcome", "Outcome"),
    part("host", "Worker", "ScriptName"),
    part("person", "Request", "RequestID"),
    part("rule", "Decision", "Decision"),
];
const CHANGES: &[Narrowing] = &[
    whole("action", "Act", "ActionType"),
    part("host", "Resource id", "ResourceID"),
    part("person", "Who", "ActorEmail"),
    part("rule", "Kind of thing", "ResourceType"),
];

/// The filters of a dataset.
const fn filtered(dataset: &str) -> &'static [Narrowing] {
    match dataset.as_bytes() {
        b"gateway_network" => CONNECTIONS,
        b"access_requests" => DECISIONS,
        b"mcp_portal_logs" => MCP_CALLS,
        b"worker" => WORKER_CALLS,
        b"audit" => CHANGES,
        _ => REQUESTS,
    }
}

impl Narrowing {
    /// The parameters of the operation for what was typed.
    fn parameters(&self, text: &str) -> Vec<(String, String)> {
        let one = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        match (self.by, text) {
            (By::Whole, _) => vec![one(self.field, text)],
            (By::Part, _) => vec![one(&format!("{}~", self.field), text)],
            (By::Outcome, "succeeded") => vec![one(self.field, "true")],
            (By::Outcome, "failed") => vec![one(self.field, "false"), one("Action!", "block")],
            (By::Outcome, "blocked") => vec![one("Action", "block")],
            // Any other word is that of no call.
            (By::Outcome, _) => vec![one(self.field, text)],
        }
    }

    /// Whether a record passes, as the journal's own filter would have it.
    fn passes(&self, record: &Map<String, Value>, text: &str) -> bool {
        let value = format::text(record, self.field);
        let blocked = || format::text(record, "Action") == "block";
        let succeeded = || record.get(self.field).and_then(Value::as_bool).unwrap_or(false);
        match (self.by, text) {
            (By::Whole, _) => value == text,
            (By::Part, _) => value.to_ascii_lowercase().contains(&text.to_ascii_lowercase()),
            (By::Outcome, "succeeded") => succeeded(),
            (By::Outcome, "failed") => !succeeded() && !blocked(),
            (By::Outcome, "blocked") => blocked(),
            (By::Outcome, _) => false,
        }
    }
}

/// The field that holds a record's id.
pub(super) const fn id_field(dataset: &str) -> &'static str {
    match dataset.as_bytes() {
        b"gateway_network" => "SessionID",
        b"access_requests" => "RayID",
        b"mcp_portal_logs" => "CallID",
        b"worker" => "RecordID",
        b"audit" => "ID",
        _ => "RequestID",
    }
}

/// The field that holds when it happened.
pub(super) const fn time_field(dataset: &str) -> &'static str {
    match dataset.as_bytes() {
        b"access_requests" => "CreatedAt",
        b"audit" => "When",
        _ => "Datetime",
    }
}

fn dataset_of(query: &Fields) -> &'static str {
    let wanted = query.get("dataset");
    DATASETS.iter().find(|(name, _)| *name == wanted).map_or("gateway_http", |(name, _)| name)
}

/// Serves `GET /activity`.
pub(super) async fn page(visitor: Visitor) -> Page {
    let dataset = dataset_of(&visitor.query);
    let found = logs::page(&visitor.cx, dataset, &parameters(dataset, &visitor)).await?;
    let query = search(dataset, &visitor.query, None);
    let first_page = visitor.query.get("before").is_empty();
    let known = known(&visitor, dataset).await;
    let actions = html! {
        @if first_page && visitor.query.get("until").is_empty() {
            button type="button" hidden data-pause { "Pause" }
        }
    };
    let body = html! {
        (title("Activity", "Every request, connection, decision of Access, Worker call and change, newest first.", &actions))
        (tabs(dataset))
        (filters(dataset, &visitor.query, &known))
        div.scroll {
            table.records.(dataset) data-live=[first_page.then(|| format!("/activity/live?{query}"))] {
                thead { tr { @for name in columns(dataset) { th scope="col" { (name) } } } }
                tbody { @for record in &found.records { (row(dataset, &record.0)) } }
            }
        }
        @if found.records.is_empty() {
            (empty("Nothing matches.", &html! {
                @if filters_set(dataset, &visitor.query) { a href={ "/activity?dataset=" (dataset) } { "Clear the filters" } " or wait: records appear here as they arrive." }
                @else { "Records appear here as they arrive, within a second." }
            }))
        }
        nav.pages aria-label="Pages" {
            @if !first_page { a.button href={ "/activity?" (search(dataset, &visitor.query, None)) } { "Newest" } }
            @if !found.cursor.is_empty() { a.button href={ "/activity?" (search(dataset, &visitor.query, Some(&found.cursor))) } { "Older" } }
        }
    };
    Ok(frame::page(&visitor, Place::Activity, "Activity", &body))
}

/// The parameters of the filters of a dataset.
fn names(dataset: &str) -> impl Iterator<Item = &'static str> {
    filtered(dataset).iter().map(|one| one.name).chain(["since", "until"])
}

fn filters_set(dataset: &str, query: &Fields) -> bool {
    names(dataset).any(|name| !query.get(name).is_empty())
}

/// What a filter may be asked for: the parameter's name, then words with what they are called.
type Known = Vec<(&'static str, Vec<(String, String)>)>;

/// The words that the filters offer. What is not there any more may still be typed: its records stay.
async fn known(visitor: &Visitor, dataset: &str) -> Known {
    let word = |word: &&str| ((*word).to_owned(), String::new());
    let mut known = vec![("action", words(dataset).iter().map(word).collect())];
    if dataset == "mcp_portal_logs" {
        // Someone who may read records and no portals types their ids.
        let portals = mcp::portals::search(&visitor.cx, None).await.unwrap_or_default();
        let servers = mcp::servers::search(&visitor.cx, None).await.unwrap_or_default();
        let named = |id: &str, body: &Value| (id.to_owned(), body["name"].as_str().unwrap_or_default().to_owned());
        known.push(("portal", portals.iter().map(|one| named(one.id.as_str(), &one.document.body)).collect()));
        known.push(("server", servers.iter().map(|one| named(one.id.as_str(), &one.document.body)).collect()));
    }
    known
}

fn tabs(dataset: &str) -> Markup {
    html! {
        nav.tabs aria-label="Datasets" {
            @for (name, text) in DATASETS { a href={ "/activity?dataset=" (name) } aria-current=[(name == dataset).then_some("page")] { (text) } }
        }
    }
}

fn filters(dataset: &str, query: &Fields, known: &Known) -> Markup {
    let offered = |name: &str| known.iter().find(|(of, words)| *of == name && !words.is_empty());
    html! {
        form.filters method="get" action="/activity" role="search" {
            input type="hidden" name="dataset" value=(dataset);
            @for one in filtered(dataset) {
                label {
                    span { (one.label) }
                    @if one.by == By::Outcome {
                        select name=(one.name) {
                            @for (word, text) in OUTCOMES { option value=(word) selected[query.get(one.name) == word] { (text) } }
                        }
                    } @else {
                        input type="search" name=(one.name) value=(query.get(one.name)) data-filter[one.name == "host"] list=[offered(one.name).map(|(name, _)| format!("{name}-words"))] autocomplete="off" spellcheck="false";
                    }
                }
            }
            @for (name, words) in known.iter().filter(|(_, words)| !words.is_empty()) {
                datalist id={ (name) "-words" } { @for (word, text) in words { option value=(word) { (text) } } }
            }
            label { span { "From" } input type="datetime-local" name="since" value=(query.get("since")); }
            label { span { "Until" } input type="datetime-local" name="until" value=(query.get("until")); }
            button type="submit" { "Filter" }
        }
    }
}

/// The words an action or outcome may be.
const fn words(dataset: &str) -> &'static [&'static str] {
    match dataset.as_bytes() {
        b"gateway_network" => &["allow", "block", "off"],
        b"access_requests" => &["login", "logout", "request", "mfa", "oauth", "approval"],
        b"mcp_portal_logs" => &["allow", "block", "require_approval", "require_mfa", "redact", "worker"],
        b"worker" => &["ok", "exception", "exceededCpu", "exceededMemory", "canceled"],
        b"audit" => &["create", "update", "delete", "login", "logout"],
        _ => &["allow", "block", "redirect", "worker", "managed", "off", "isolate", "quarantine"],
    }
}

/// The parameters of the operation for what the filters say.
fn parameters(dataset: &str, visitor: &Visitor) -> Vec<(String, String)> {
    let query = &visitor.query;
    let mut parameters =
        vec![("limit".to_owned(), ROWS.to_owned()), ("before".to_owned(), query.get("before").to_owned())];
    for name in ["since", "until"] {
        // Browsers send a local time without its zone; pages show UTC and say so.
        let text = query.get(name);
        let time = if text.is_empty() || text.ends_with('Z') {
            text.to_owned()
        } else if text.matches(':').count() == 1 {
            format!("{text}:00Z")
        } else {
            format!("{text}Z")
        };
        parameters.push((name.to_owned(), time));
    }
    for one in filtered(dataset) {
        let text = query.get(one.name);
        if !text.is_empty() {
            parameters.extend(one.parameters(text));
        }
    }
    parameters
}

/// The query string that says the same, for another page of it.
fn search(dataset: &str, query: &Fields, before: Option<&str>) -> String {
    let mut pairs = url::form_urlencoded::Serializer::new(String::new());
    pairs.append_pair("dataset", dataset);
    for name in names(dataset) {
        if !query.get(name).is_empty() {
            pairs.append_pair(name, query.get(name));
        }
    }
    if let Some(before) = before {
        pairs.append_pair("before", before);
    }
    pairs.finish()
}

const fn columns(dataset: &str) -> &'static [&'static str] {
    match dataset.as_bytes() {
        b"gateway_network" => &["Time", "Action", "Host", "Person", "Rule", "Inspected", "Bytes", "Took"],
        b"access_requests" => &["Time", "Result", "What", "Person", "Policy", "Why", "From"],
        b"mcp_portal_logs" => {
            &["Time", "Action", "Call", "Result", "Portal", "Server", "Person", "Rule", "Client", "Took"]
        }
        b"worker" => &["Time", "Outcome", "Worker", "Decision", "Event", "CPU", "Took", "Fetches"],
        b"audit" => &["Time", "Act", "What", "Which", "Who", "From", "Result"],
        _ => &["Time", "Action", "Request", "Person", "Rule", "Status", "Decided", "Took"],
    }
}

/// One record as a row; each cell names its column for narrow screens.
pub(super) fn row(dataset: &str, record: &Map<String, Value>) -> Markup {
    let at = format::text(record, time_field(dataset));
    let link = format!("/activity/{dataset}/{}", format::text(record, id_field(dataset)));
    let cells = match dataset {
        "gateway_network" => connection_cells(record),
        "access_requests" => decision_cells(record),
        "mcp_portal_logs" => mcp_cells(record),
        "worker" => call_cells(record),
        "audit" => audit_cells(record),
        _ => request_cells(record),
    };
    html! {
        tr {
            td data-label="Time" { a.open href=(link) { (format::clock(at)) } (format::generated(record)) }
            @for (cell, name) in cells.iter().zip(columns(dataset).iter().skip(1)) { td data-label=(name) { (cell) } }
        }
    }
}

fn request_cells(record: &Map<String, Value>) -> Vec<Markup> {
    let text = |name: &str| format::text(record, name);
    let url = text("URL");
    let path = url.split_once("://").map_or(url, |(_, rest)| rest);
    vec![
        format::verdict(text("Action")),
        html! { span.request title=(url) { b { (text("HTTPMethod")) } " " (path.chars().take(160).collect::<String>()) } },
        html! { (text("Email")) },
        html! { (text("PolicyName")) },
        html! { @if let status @ 1.. = format::number(record, "HTTPStatusCode") { (status) } },
        html! { (format::micros(format::number(record, "DecisionMicros"))) },
        html! { (format::micros(format::number(record, "DurationMicros"))) },
    ]
}

fn connection_cells(record: &Map<String, Value>) -> Vec<Markup> {
    let text = |name: &str| format::text(record, name);
    let host = [text("SNI"), text("DestinationHost"), text("DestinationIP")].into_iter().find(|host| !host.is_empty());
    let moved = format::number(record, "BytesSent") + format::number(record, "BytesReceived");
    let inspected = record.get("Inspected").and_then(Value::as_bool).unwrap_or(false);
    vec![
        format::verdict(text("Action")),
        html! { span.request { (host.unwrap_or_default()) } },
        html! { (text("Email")) },
        html! { (text("PolicyName")) },
        html! { @if inspected { "yes" } @else { "no" } },
        html! { (format::bytes(moved)) },
        html! { (format::micros(format::number(record, "DurationMicros"))) },
    ]
}

fn call_cells(record: &Map<String, Value>) -> Vec<Markup> {
    let text = |name: &str| format::text(record, name);
    vec![
        format::verdict(text("Outcome")),
        html! { a href={ "/workers/" (text("ScriptName")) } { (text("ScriptName")) } },
        html! { (text("Decision")) },
        html! { (text("EventType")) },
        html! { (format::micros(format::number(record, "CPUTimeMicros"))) },
        html! { (format::micros(format::number(record, "WallTimeMicros"))) },
        html! { (format::number(record, "Subrequests")) },
    ]
}

fn mcp_cells(record: &Map<String, Value>) -> Vec<Markup> {
    let text = |name: &str| format::text(record, name);
    let names = ["ToolCallName", "PromptGetName", "ResourceReadURI"];
    let subject = names.into_iter().map(text).find(|name| !name.is_empty()).unwrap_or_default();
    let succeeded = record.get("Success").and_then(Value::as_bool).unwrap_or(false);
    vec![
        format::verdict(text("Action")),
        html! { span.request title=(subject) { b { (text("Method")) } " " (subject.chars().take(160).collect::<String>()) } },
        html! { span title=(text("Error")) { @if succeeded { "succeeded" } @else { "failed" } } },
        html! { (text("PortalID")) },
        html! { (text("ServerID")) },
        html! { (text("UserEmail")) },
        html! { (text("RuleName")) },
        html! { (text("ClientName")) " " (text("ClientVersion")) },
        html! { (format::micros(format::number(record, "DurationMicros"))) },
    ]
}

fn decision_cells(record: &Map<String, Value>) -> Vec<Markup> {
    let text = |name: &str| format::text(record, name);
    vec![
        log::result(record),
        html! { span.request { (log::act(record)) } },
        html! { (log::who(record)) },
        html! { (text("PolicyName")) },
        html! { span.request title=(text("Reason")) { (text("Reason")) } },
        html! { (text("IPAddress")) },
    ]
}

fn audit_cells(record: &Map<String, Value>) -> Vec<Markup> {
    let text = |name: &str| format::text(record, name);
    let done = record.get("ActionResult").and_then(Value::as_bool).unwrap_or(false);
    vec![
        html! { b { (text("ActionType")) } },
        html! { (text("ResourceType")) },
        html! { span.request title=(text("ResourceID")) { (text("ResourceID")) } },
        html! { (text("ActorEmail")) },
        html! { (text("ActorIP")) " " span.muted { (text("Interface")) } },
        html! { @if done { "done" } @else { span.badge.bad { "refused" } } },
    ]
}

/// Serves `GET /activity/live`: rows as server-sent events.
pub(super) async fn live(visitor: Visitor) -> Page {
    let dataset = dataset_of(&visitor.query);
    let follower = logs::follow(&visitor.cx, dataset)?;
    let wanted: Vec<(&'static Narrowing, String)> = filtered(dataset)
        .iter()
        .map(|one| (one, visitor.query.get(one.name).to_owned()))
        .filter(|(_, text)| !text.is_empty())
        .collect();
    let events = stream::unfold((follower, wanted), move |((mut tail, permit), wanted)| async move {
        loop {
            let event = match tail.next().await? {
                TailEvent::Record(record) => {
                    let Ok(fields) = serde_json::from_str::<Map<String, Value>>(&record.json) else { continue };
                    if !wanted.iter().all(|(one, text)| one.passes(&fields, text)) {
                        continue;
                    }
                    Event::default().event("row").data(row(dataset, &fields).into_string())
                }
                TailEvent::Missed(count) => Event::default().event("missed").data(count.to_string()),
            };
            return Some((Ok::<_, Infallible>(event), ((tail, permit), wanted)));
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{filtered, row};

    fn passes(dataset: &str, record: &serde_json::Value, name: &str, text: &str) -> bool {
        let one = filtered(dataset).iter().find(|one| one.name == name).unwrap();
        one.passes(record.as_object().unwrap(), text)
    }

    #[test]
    fn a_live_record_passes_the_filters_a_stored_one_would() {
        let record = json!({"Action": "block", "HTTPHost": "Files.example", "Email": "ann@example.com"});
        for (name, text, expected) in [
            ("action", "block", true),
            ("action", "blo", false),
            ("host", "files", true),
            ("person", "bob", false),
            ("rule", "x", false),
        ] {
            assert_eq!(passes("gateway_http", &record, name, text), expected, "{name} {text}");
        }
    }

    #[test]
    fn a_call_has_one_outcome() {
        // What is false or empty is not in a record.
        for (record, outcome) in [
            (json!({"Action": "allow", "Success": true}), "succeeded"),
            (json!({"Action": "allow", "Error": "it said no"}), "failed"),
            (json!({"Action": "block"}), "blocked"),
        ] {
            for word in ["succeeded", "failed", "blocked", "unheard-of"] {
                assert_eq!(passes("mcp_portal_logs", &record, "outcome", word), word == outcome, "{record} {word}");
            }
        }
    }

    #[test]
    fn what_a_client_sent_is_escaped_in_a_row() {
        let record = json!({"URL": "http://x/<script>", "HTTPMethod": "\"><b>", "Email": "<i>", "PolicyName": "'", "Reason": "<script>", "AppName": "<i>"});
        for (dataset, _) in super::DATASETS {
            let row = row(dataset, record.as_object().unwrap()).into_string();
            assert!(!row.contains("<script>") && !row.contains("<i>"), "{row}");
        }
    }
}
