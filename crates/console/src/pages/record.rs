//! One record with its whole explanation: why it ended as it did, what was looked at, how long each part took.
//!
//! Shows what was recorded and computes nothing new. Invariant: every field of the record is on the page, the known ones
//! in their place and the rest in the table at the end.

use axum::extract::Path;
use maud::{Markup, html};
use serde_json::{Map, Value};

use super::access::log;
use super::activity::{DATASETS, time_field};
use super::agents::calls;
use super::frame::{self, Place};
use super::visitor::Visitor;
use super::{Page, format, id};
use crate::operations::logs;

/// Serves `GET /activity/{dataset}/{id}`.
pub(super) async fn page(visitor: Visitor, Path((dataset, record)): Path<(String, String)>) -> Page {
    let record = logs::get(&visitor.cx, &dataset, id(&record, "record")?).await?.0;
    let name = DATASETS.iter().find(|(known, _)| *known == dataset).map_or("Record", |(_, text)| text);
    let at = format::text(&record, time_field(&dataset));
    // An intercepted connection may have left no record of its own.
    let has_connection = match (dataset.as_str(), format::text(&record, "SessionID").parse()) {
        ("gateway_http", Ok(connection)) => logs::get(&visitor.cx, "gateway_network", connection).await.is_ok(),
        _ => false,
    };
    let body = html! {
        p.crumbs { a href={ "/activity?dataset=" (dataset) } { "Activity" } " / " (name) }
        (headline(&dataset, &record))
        p.muted { (format::time(at)) " UTC" (format::generated(&record)) }
        @match dataset.as_str() {
            "access_requests" => (log::explanation(&record)),
            "mcp_portal_logs" => (calls::explanation(&record)),
            "worker" => (call(&record)),
            "audit" => (change(&record)),
            _ => (exchange(&dataset, &record, has_connection)),
        }
        (everything(&dataset, &record))
    };
    Ok(frame::page(&visitor, Place::Activity, name, &body))
}

fn headline(dataset: &str, record: &Map<String, Value>) -> Markup {
    let text = |name: &str| format::text(record, name);
    match dataset {
        "worker" => html! { h1 { (format::verdict(text("Outcome"))) " " (text("ScriptName")) } },
        "access_requests" => html! { h1 { "A decision of Access" } },
        "mcp_portal_logs" => {
            html! { h1.long { (format::verdict(text("Action"))) " " (text("Method")) " " (text("ToolCallName")) } }
        }
        "audit" => html! { h1 { (text("ActionType")) " " (text("ResourceType")) } },
        "gateway_network" => {
            let host = if text("SNI").is_empty() { text("DestinationHost") } else { text("SNI") };
            html! { h1 { (format::verdict(text("Action"))) " " (host) } }
        }
        _ => html! { h1.long { (format::verdict(text("Action"))) " " (text("HTTPMethod")) " " (text("URL")) } },
    }
}

/// A web request or a connection.
fn exchange(dataset: &str, record: &Map<String, Value>, has_connection: bool) -> Markup {
    let text = |name: &str| format::text(record, name);
    html! {
        section.why {
            h2 { "Why" }
            @if !text("Explanation").is_empty() { p.lead { (sentence(text("Explanation"))) } }
            @if record.contains_key("Generated") {
                @if !text("PolicyName").is_empty() { p { "Decided by the made-up rule " (text("PolicyName")) "." } }
            } @else if !text("PolicyID").is_empty() {
                p { "Decided by the rule " a href={ "/rules/" (text("PolicyID")) } { (text("PolicyName")) } "." }
            } @else { p.muted { "No rule matched; the default is to allow." } }
            @if !text("Error").is_empty() { p.notice.bad { (text("Error")) } }
            @for warning in list(record, "Warnings") { p.notice { (warning) } }
        }
        @if let Some(trace) = record.get("RuleTrace") { (trace_view(trace)) }
        @if dataset == "gateway_http" { (timings(record)) }
        div.columns {
            section { h2 { "Who" } (pairs(record, &[("Person", "Email"), ("Groups", "GroupNames"), ("From", "SourceIP"), ("Program", "UserAgent"), ("Endpoint", "ProxyEndpoint"), ("Device", "DeviceName")])) }
            section { h2 { "Where" } (pairs(record, &[("Host", "HTTPHost"), ("Server name", "SNI"), ("Host asked for", "DestinationHost"), ("Address", "DestinationIP"), ("Port", "DestinationPort"), ("Applications", "ApplicationNames"), ("Categories", "CategoryNames"), ("Redirected to", "RedirectTargetURI")])) }
            section { h2 { "TLS" } (pairs(record, &[("Client", "TLSVersion"), ("Client key exchange", "TLSKeyExchange"), ("Origin", "OriginTLSVersion"), ("Origin key exchange", "OriginTLSKeyExchange"), ("JA4", "JA4"), ("Untrusted certificate", "UntrustedCertificateAction")])) }
            section { h2 { "What moved" } (moved(record)) }
        }
        @if !text("WorkerScript").is_empty() {
            section {
                h2 { "Worker" }
                p {
                    a href={ "/workers/" (text("WorkerScript")) } { (text("WorkerScript")) } " ended with "
                    (format::verdict(text("WorkerOutcome"))) " after " (format::micros(format::number(record, "WorkerMicros"))) ". "
                    @if !text("WorkerInvocationID").is_empty() { a href={ "/activity/worker/" (text("WorkerInvocationID")) } { "Open the call" } }
                }
            }
        }
        @if has_connection {
            p { a href={ "/activity/gateway_network/" (text("SessionID")) } { "The connection it came on" } }
        }
    }
}

/// A clause as a sentence.
pub(super) fn sentence(clause: &str) -> String {
    let mut letters = clause.chars();
    let first = letters.next().map(char::to_uppercase).into_iter().flatten();
    let stop = if clause.ends_with(['.', '!', '?']) { "" } else { "." };
    first.chain(letters).chain(stop.chars()).collect()
}

/// The rules considered, the facts used and the facts waited for.
pub(super) fn trace_view(trace: &Value) -> Markup {
    let texts = |name: &str| -> Vec<&str> {
        trace.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let rules = trace.get("rules").and_then(Value::as_array);
    let facts = trace.get("facts").and_then(Value::as_object);
    let considered = trace.get("considered").and_then(Value::as_u64).unwrap_or(0);
    html! {
        section {
            h2 { "Rules considered" small { (considered) } }
            @if let Some(rules) = rules.filter(|rules| !rules.is_empty()) {
                ol.trace {
                    @for rule in rules {
                        @let member = |name: &str| rule.get(name).and_then(Value::as_str).unwrap_or_default();
                        li class=(member("outcome")) {
                            span.outcome { (outcome(member("outcome"))) }
                            a href={ "/rules/" (member("id")) } { (member("name")) }
                            (format::verdict(member("action")))
                        }
                    }
                }
            } @else { p.muted { "No rule could match." } }
        }
        @if let Some(facts) = facts.filter(|facts| !facts.is_empty()) {
            section {
                h2 { "Facts the deciding rule read" }
                dl.facts { @for (name, value) in facts { div { dt { code { (name) } } dd { code { (shown(value)) } } } } }
            }
        }
        @let waited = texts("waited_for");
        @let never = texts("never_known");
        @if !waited.is_empty() { p { "Waited for " (codes(&waited)) } }
        @if !never.is_empty() { p { "Never known: " (codes(&never)) " Rules that hang on these do not match." } }
    }
}

fn codes(names: &[&str]) -> Markup {
    html! { @for name in names { code { (name) } " " } }
}

/// The outcome of a rule in words.
pub(super) fn outcome(word: &str) -> &'static str {
    match word {
        "match" => "matched",
        "no_match" => "did not match",
        "not_in_force" => "not in force",
        "waits" => "waits",
        "unknowable" => "facts never come",
        "error" => "error",
        _ => "considered",
    }
}

/// Where the time of a request went, as bars on one scale.
fn timings(record: &Map<String, Value>) -> Markup {
    let parts = [
        ("Policy", "DecisionMicros"),
        ("Workers", "WorkerMicros"),
        ("Origin's first byte", "OriginMicros"),
        ("Whole request", "DurationMicros"),
    ];
    let most = parts.iter().map(|(_, field)| format::number(record, field)).max().unwrap_or(1);
    html! {
        section {
            h2 { "Time" }
            dl.timings {
                @for (name, field) in parts {
                    @let value = format::number(record, field);
                    @if value > 0 { div { dt { (name) } dd { (format::micros(value)) (chart::share(value, most)) } } }
                }
            }
        }
    }
}

fn moved(record: &Map<String, Value>) -> Markup {
    let sizes = [
        ("Request body", "RequestBytes"),
        ("Response body", "ResponseBytes"),
        ("Sent", "BytesSent"),
        ("Received", "BytesReceived"),
    ];
    html! {
        dl.pairs {
            @for (name, field) in sizes {
                @if record.contains_key(field) { div { dt { (name) } dd { (format::bytes(format::number(record, field))) } } }
            }
        }
        (pairs(record, &[("Status", "HTTPStatusCode"), ("Protocol", "HTTPVersion"), ("Type", "ContentType"), ("Headers added", "AddedHeaders"), ("Headers set", "SetHeaders"), ("Headers removed", "DeletedHeaders"), ("Inspected", "Inspected"), ("Ended by", "ConnectionCloseReason")]))
    }
}

fn pairs(record: &Map<String, Value>, fields: &[(&str, &str)]) -> Markup {
    let known: Vec<_> = fields.iter().filter_map(|(name, field)| Some((name, record.get(*field)?))).collect();
    html! {
        @if known.is_empty() { p.muted { "Nothing recorded." } }
        dl.pairs { @for (name, value) in known { div { dt { (name) } dd { (shown(value)) } } } }
    }
}

fn list<'a>(record: &'a Map<String, Value>, name: &str) -> Vec<&'a str> {
    record.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A value as people read it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(|item| item.is_string() || item.is_number()) => {
            items.iter().map(shown).collect::<Vec<_>>().join(", ")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// A Worker's call.
fn call(record: &Map<String, Value>) -> Markup {
    let script = format::text(record, "ScriptName");
    html! {
        dl.figures {
            div { dt { "CPU" } dd { (format::micros(format::number(record, "CPUTimeMicros"))) } }
            div { dt { "Elapsed" } dd { (format::micros(format::number(record, "WallTimeMicros"))) } }
            @if let memory @ 1.. = format::number(record, "MemoryBytes") { div { dt { "Memory" } dd { (format::bytes(memory)) } } }
            div { dt { "Fetches" } dd { (format::number(record, "Subrequests")) } }
            div { dt { "Start" } dd { @if record.contains_key("ColdStart") { "cold" } @else { "warm" } } }
            @if !format::text(record, "Decision").is_empty() { div { dt { "Decision" } dd { (format::text(record, "Decision")) } } }
        }
        p { a href={ "/workers/" (script) } { "Open the Worker " (script) } }
        @for (name, field) in [("Exceptions", "Exceptions"), ("Console", "Logs")] {
            @if let Some(lines) = record.get(field).and_then(Value::as_array).filter(|lines| !lines.is_empty()) {
                section { h2 { (name) } pre.console { @for line in lines { (console_line(line)) "\n" } } }
            }
        }
        @if !format::text(record, "RequestID").is_empty() {
            p { a href={ "/activity/gateway_http/" (format::text(record, "RequestID")) } { "The web request it was asked about" } }
        }
    }
}

fn console_line(line: &Value) -> String {
    let member = |names: &[&str]| names.iter().find_map(|name| line.get(*name));
    let level = member(&["Level", "level", "Name", "name"]).map(shown);
    let message = member(&["Message", "message"]).map(shown);
    match (level, message) {
        (level, Some(message)) => format!("{} {message}", level.unwrap_or_default()).trim_start().to_owned(),
        _ => shown(line),
    }
}

/// A change, before and after.
fn change(record: &Map<String, Value>) -> Markup {
    let pretty = |name: &str| record.get(name).and_then(|value| serde_json::to_string_pretty(value).ok());
    html! {
        (pairs(record, &[("Who", "ActorEmail"), ("From", "ActorIP"), ("Through", "Interface"), ("Which", "ResourceID"), ("Note", "Metadata"), ("Error", "Error")]))
        div.columns {
            @for (name, field) in [("Before", "OldValue"), ("After", "NewValue")] {
                section { h2 { (name) } @if let Some(text) = pretty(field) { pre.code { (text) } } @else { p.muted { "Nothing." } } }
            }
        }
    }
}

fn everything(dataset: &str, record: &Map<String, Value>) -> Markup {
    html! {
        details {
            summary { "Every field of the record" }
            dl.facts {
                @for (name, value) in record {
                    div { dt { code { (name) } } dd { @if value.is_object() || value.is_array() { pre.code { (serde_json::to_string_pretty(value).unwrap_or_default()) } } @else { code { (shown(value)) } } } }
                }
            }
            p.muted { "The same through the API: " code { "GET …/portunus/logs/" (dataset) "/records/" (format::text(record, super::activity::id_field(dataset))) } }
        }
    }
}
