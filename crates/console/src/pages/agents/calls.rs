//! One call through a portal with its explanation, from its record.
//!
//! Shows what was recorded. Invariant: arguments and results are shown as text, never as markup.

use maud::{Markup, html};
use serde_json::{Map, Value};

use crate::pages::format;

/// Explains one record of `mcp_portal_logs`.
pub(in crate::pages) fn explanation(record: &Map<String, Value>) -> Markup {
    let text = |name: &str| format::text(record, name);
    let succeeded = record.get("Success").and_then(Value::as_bool).unwrap_or(false);
    html! {
        section.why {
            h2 { "Why" }
            p.lead { (sentence(record, succeeded)) }
            @if !text("Error").is_empty() { p.notice.bad { (text("Error")) } }
            @if !text("ParentID").is_empty() {
                p { "A program of Code Mode made this call: " a href={ "/activity/mcp_portal_logs/" (text("ParentID")) } { "its execution" } "." }
            }
        }
        div.columns {
            section { h2 { "Who" } (pairs(record, &[("Person", "UserEmail"), ("From", "ClientIP"), ("Client", "ClientName"), ("Its version", "ClientVersion"), ("Protocol", "ProtocolVersion"), ("Session", "SessionID")])) }
            section {
                h2 { "Where" }
                dl.pairs {
                    @for (name, field, path) in [("Portal", "PortalID", "/agents/portals/"), ("Server", "ServerID", "/agents/servers/")] {
                        @if !text(field).is_empty() { div { dt { (name) } dd { a href={ (path) (text(field)) } { (text(field)) } } } }
                    }
                }
                (pairs(record, &[("Address", "ServerURL"), ("Tool", "ToolCallName"), ("Prompt", "PromptGetName"), ("Resource", "ResourceReadURI")]))
            }
            section {
                h2 { "Cost" }
                dl.pairs {
                    div { dt { "Tokens in, about" } dd { (format::count(format::number(record, "TokensIn"))) } }
                    div { dt { "Tokens out, about" } dd { (format::count(format::number(record, "TokensOut"))) } }
                    div { dt { "Whole call" } dd { (format::micros(format::number(record, "DurationMicros"))) } }
                    div { dt { "The server's part" } dd { (format::micros(format::number(record, "ServerResponseDurationMs").saturating_mul(1_000))) } }
                }
            }
        }
        @for (name, field) in [("Arguments", "Arguments"), ("Result", "Result")] {
            section {
                h2 { (name) }
                @match record.get(field).filter(|value| !value.is_null()) {
                    Some(value) => { pre.code.tall { (shown(value)) } }
                    None => { p.muted { "Not recorded." } }
                }
            }
        }
    }
}

fn sentence(record: &Map<String, Value>, succeeded: bool) -> String {
    let text = |name: &str| format::text(record, name);
    let rule = match text("RuleName") {
        "" => String::new(),
        rule => format!(" by the rule \"{rule}\""),
    };
    match (text("Action"), succeeded) {
        ("block", _) => format!("The call was blocked{rule}; nothing reached the server."),
        (_, true) if rule.is_empty() => {
            "The call was let through, as no rule was against it, and succeeded.".to_owned()
        }
        (_, true) => format!("The call was let through{rule} and succeeded."),
        _ if text("ServerID").is_empty() => "The portal answered with an error.".to_owned(),
        _ => format!("The call was let through{rule} and failed."),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            serde_json::to_string_pretty(value).unwrap_or_default()
        }
    }
}

fn pairs(record: &Map<String, Value>, fields: &[(&str, &str)]) -> Markup {
    html! {
        dl.pairs {
            @for (name, field) in fields {
                @let value = format::text(record, field);
                @if !value.is_empty() { div { dt { (name) } dd { (value) } } }
            }
        }
    }
}
