//! Two definitions, line by line: what was approved and what is listed.
//!
//! Invariant: invisible characters are spelled out, so that nothing is approved unseen; work is bounded.

use std::time::Duration;

use maud::{Markup, html};
use mcp::detector::spelled;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

/// How long lines are compared; what is left is shown as changed.
const PATIENCE: Duration = Duration::from_millis(200);
/// Equal lines shown around a change.
const AROUND: usize = 3;
/// Most lines shown.
const MOST: usize = 2_000;

/// Draws the difference; without what was approved, everything is new.
pub(super) fn draw(approved: Option<&Value>, listed: &Value) -> Markup {
    let (old, new) = (approved.map(readable).unwrap_or_default(), readable(listed));
    let mut config = TextDiff::configure();
    let diff = config.timeout(PATIENCE).diff_lines(&old, &new);
    let groups = diff.grouped_ops(AROUND);
    let mut lines = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        if index > 0 {
            lines.push(html! { div.gap { "⋯" } });
        }
        let changes = group.iter().flat_map(|op| diff.iter_changes(op));
        lines.extend(changes.map(|change| line(change.tag(), change.value())).take(MOST));
    }
    html! {
        div.diff {
            @for line in lines.iter().take(MOST) { (line) }
            @if lines.len() > MOST { div.gap { "More than is shown here; the API has all of it." } }
        }
    }
}

fn line(tag: ChangeTag, text: &str) -> Markup {
    let (class, mark, spoken) = match tag {
        ChangeTag::Equal => ("same", " ", ""),
        ChangeTag::Delete => ("gone", "−", "was: "),
        ChangeTag::Insert => ("new", "+", "is: "),
    };
    html! {
        div class=(class) {
            span.mark aria-hidden="true" { (mark) }
            code { span.hidden { (spoken) } (text.trim_end_matches('\n')) }
        }
    }
}

/// A definition as people read it: a text of several lines takes several.
fn readable(value: &Value) -> String {
    let mut out = String::new();
    write(value, 0, &mut out);
    out.push('\n');
    out
}

fn write(value: &Value, depth: usize, out: &mut String) {
    let indent = |out: &mut String, depth: usize| out.extend(std::iter::repeat_n("  ", depth));
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, member) in members {
                if !out.is_empty() {
                    out.push('\n');
                }
                indent(out, depth);
                out.push_str(&spelled(name));
                out.push(':');
                nested(member, depth, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                out.push('\n');
                indent(out, depth);
                out.push('-');
                nested(item, depth, out);
            }
        }
        Value::String(text) if text.contains('\n') => {
            for line in text.lines() {
                out.push('\n');
                indent(out, depth);
                out.push_str("| ");
                out.push_str(&spelled(line));
            }
        }
        Value::String(text) => out.push_str(&spelled(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            out.push_str(&value.to_string());
        }
    }
}

/// Writes what stands beside a name: on its line where it is one line, below it where it is more.
fn nested(value: &Value, depth: usize, out: &mut String) {
    let below = match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::String(text) => text.contains('\n'),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    };
    if !below {
        out.push(' ');
    }
    write(value, depth + 1, out);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{draw, readable};

    #[test]
    fn a_definition_is_read_line_by_line_with_what_is_invisible_spelled_out() {
        let tool = json!({"description": "one\ntwo\u{200B}", "inputSchema": {"properties": {}, "required": ["x", {"y": 1}]}, "name": "a"});
        assert_eq!(
            readable(&tool),
            "description:\n  | one\n  | two‹U+200B›\ninputSchema:\n  properties: {}\n  required:\n    - x\n    -\n      y: 1\nname: a\n"
        );
    }

    #[test]
    fn what_changed_is_marked_and_what_a_server_wrote_is_escaped() {
        let shown = draw(Some(&json!({"name": "a", "title": "old"})), &json!({"name": "a", "title": "<b>new</b>"}));
        let shown = shown.into_string();
        assert!(shown.contains("title: old") && shown.contains("title: &lt;b&gt;new&lt;/b&gt;"), "{shown}");
        assert!(
            shown.contains("class=\"gone\"") && shown.contains("class=\"new\"") && shown.contains("class=\"same\"")
        );
        let new = draw(None, &json!({"name": "a"})).into_string();
        assert!(!new.contains("class=\"gone\""), "{new}");
    }
}
