//! How pages write times, durations, sizes and counts.
//!
//! Times are in UTC; the script rewrites them to the reader's own zone. Invariant: no value is rounded so that it could be
//! taken for another order of magnitude.

use maud::{Markup, html};
use serde_json::{Map, Value};

/// Microseconds as people say them.
pub(super) fn micros(value: u64) -> String {
    match value {
        0..=999 => format!("{value} µs"),
        1_000..=9_999 => format!("{}.{} ms", value / 1_000, value % 1_000 / 100),
        10_000..=999_999 => format!("{} ms", value / 1_000),
        _ => format!("{}.{} s", value / 1_000_000, value % 1_000_000 / 100_000),
    }
}

/// Bytes in binary units.
pub(super) fn bytes(value: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if value < 1_024 {
        return format!("{value} B");
    }
    let mut tenths = value.saturating_mul(10) / 1_024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1_024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// A count with thin spaces between thousands.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
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
    use super::{bytes, count, micros, quantile};

    #[test]
    fn values_read_well() {
        for (value, text) in [(0, "0 µs"), (999, "999 µs"), (1_234, "1.2 ms"), (45_678, "45 ms"), (1_500_000, "1.5 s")]
        {
            assert_eq!(micros(value), text);
        }
        for (value, text) in [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (5 << 30, "5.0 GiB")] {
            assert_eq!(bytes(value), text);
        }
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(count(123), "123");
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        assert_eq!(quantile(&[], 1, 2), None);
        assert_eq!(quantile(&[7], 99, 100), Some(7));
        assert_eq!(quantile(&[1, 2, 3, 4, 5], 1, 2), Some(3));
        assert_eq!(quantile(&[1, 2, 3, 4, 5], 99, 100), Some(4));
    }
}
