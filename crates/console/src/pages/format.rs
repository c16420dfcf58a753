//! How pages write times, durations, sizes and counts.
//!
//! Times are in UTC; the script rewrites them to the reader's own zone. Invariant: no value is rounded so that it could be
//! taken for another order of magnitude.

/// Numbers are written as in charts.
pub(super) use chart::{bytes, count, micros};
use maud::{Markup, html};
use serde_json::{Map, Value};

/// A text as a part of a path or a value in a query.
pub(super) fn path_part(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// A number of things.
pub(super) fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A time as the API writes it, to the second.
pub(super) fn time(text: &str) -> Markup {
    let shown = shown(text, "%Y-%m-%d %H:%M:%S");
    html! { time datetime=(text) { (shown) } }
}

/// A time of day, for records that follow each other closely.
pub(super) fn clock(text: &str) -> Markup {
    html! { time.clock datetime=(text) title=(text) { (shown(text, "%H:%M:%S")) } }
}

/// A day.
pub(super) fn day(text: &str) -> Markup {
    html! { time.day datetime=(text) title=(text) { (shown(text, "%Y-%m-%d")) } }
}

fn shown(text: &str, pattern: &str) -> String {
    text.parse::<jiff::Timestamp>().map_or_else(|_| text.to_owned(), |at| at.strftime(pattern).to_string())
}

/// The verdict's badge.
pub(super) fn verdict(word: &str) -> Markup {
    let tone = match word {
        "allow" | "ok" | "allowedOnNoRuleMatch" | "allowedRule" | "active" | "available" => "calm",
        "block" | "blocked" | "blockedRule" | "exception" | "exceededCpu" | "exceededMemory" | "exceededWall"
        | "error" => "bad",
        "worker" | "managed" | "redirect" => "accent",
        _ => "plain",
    };
    html! { span class={ "badge " (tone) } { (word) } }
}

/// The mark of a record that nobody's traffic left.
pub(super) fn generated(record: &Map<String, Value>) -> Markup {
    let generated = record.get("Generated").and_then(Value::as_bool).unwrap_or(false);
    html! { @if generated { " " span.badge title="Made up for the demo or a test" { "generated" } } }
}

/// A member of a record as text; empty when it is absent.
pub(super) fn text<'a>(record: &'a Map<String, Value>, name: &str) -> &'a str {
    record.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A member of a record as a number; zero when it is absent.
pub(super) fn number(record: &Map<String, Value>, name: &str) -> u64 {
    record.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// The value at a quantile of values that are in order.
pub(super) fn quantile(ordered: &[u64], numerator: usize, denominator: usize) -> Option<u64> {
    let last = ordered.len().checked_sub(1)?;
    ordered.get(last * numerator / denominator).copied()
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        assert_eq!(quantile(&[], 1, 2), None);
        assert_eq!(quantile(&[7], 99, 100), Some(7));
        assert_eq!(quantile(&[1, 2, 3, 4, 5], 1, 2), Some(3));
        assert_eq!(quantile(&[1, 2, 3, 4, 5], 99, 100), Some(4));
    }
}
