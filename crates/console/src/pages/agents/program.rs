//! The fields of a server that is a program of this machine: its command, arguments and variables.
//!
//! Invariants: a variable's value is never on a page; arguments come back as they were, whatever they hold.

use std::collections::BTreeSet;

use maud::{Markup, PreEscaped, html};
use mcp::document::server::StdioDocument;
use serde_json::{Value, json};

use crate::operations::mcp::servers;
use crate::pages::control::{Control, Problems};
use crate::pages::fields::Fields;
use crate::pages::visitor::Visitor;

/// Variables that one program may have.
const MOST: usize = 64;
/// Rows for more variables that are shown at once.
const SPARE: usize = 3;

/// The document of what was typed; the command of a server that stands is not asked for again.
pub(super) fn document(fields: &Fields, standing: Option<&StdioDocument>) -> Value {
    let command = standing.map_or_else(|| fields.get("command"), |standing| standing.command.as_str());
    json!({"command": command, "args": arguments(fields.raw("args")), "env": variables(fields)})
}

/// Reads arguments: a JSON array of texts, or one on each line.
fn arguments(text: &str) -> Vec<String> {
    if let Ok(all) = serde_json::from_str(text) {
        return all;
    }
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Writes arguments as [`arguments`] reads them: as lines wherever those say the same.
fn written(all: &[String]) -> String {
    let lines = all.join("\n");
    if arguments(&lines) == all { lines } else { serde_json::to_string_pretty(all).unwrap_or_default() }
}

/// The variables that were typed, in their order; a row without anything is none.
fn variables(fields: &Fields) -> Vec<Value> {
    let row = |index: usize| {
        let field = |name: &str| fields.raw(&format!("env_{name}.{index}"));
        let (name, value, empty) = (field("name").trim(), field("value"), fields.ticked(&format!("env_empty.{index}")));
        if name.is_empty() && value.is_empty() && !empty {
            return None;
        }
        // A box that was left alone leaves the value that is stored.
        Some(if value.is_empty() && !empty { json!({"name": name}) } else { json!({"name": name, "value": value}) })
    };
    (0..MOST).filter_map(row).collect()
}

/// Says where programs are not run, or as whom they are.
pub(super) fn note(visitor: &Visitor) -> Markup {
    html! {
        @if servers::runs_programs(&visitor.cx) {
            p.hint { "It runs as the user of this service, confined to the directories that its operator named. Nothing is downloaded: name a program that is installed." }
        } @else {
            p.notice.bad {
                strong { "Programs are not run here." } " Whoever operates this service has to allow them, in " code { "portunus.toml" } ": "
                code { "[programs] allow = true" } ". Until then none is accepted, and those that are stored do not answer."
            }
        }
    }
}

/// Draws what may change of a program, as it was typed or as it is stored.
pub(super) fn controls(standing: Option<&StdioDocument>, typed: Option<&Fields>, problems: Problems<'_>) -> Markup {
    let stored = standing.map(|standing| written(&standing.args)).unwrap_or_default();
    let args = typed.and_then(|fields| fields.find("args")).map_or(stored, str::to_owned);
    let known: BTreeSet<&str> =
        standing.into_iter().flat_map(|standing| &standing.env).map(|one| one.name.as_str()).collect();
    let names: Vec<String> = match typed.filter(|fields| fields.find("args").is_some()) {
        Some(fields) => {
            variables(fields).iter().map(|one| one["name"].as_str().unwrap_or_default().to_owned()).collect()
        }
        None => known.iter().map(|name| (*name).to_owned()).collect(),
    };
    let shown = (names.len() + SPARE).min(MOST);
    html! {
        (Control::new("args", "Arguments").mono().hint("One on each line, or a JSON array of texts for those with line breaks. They are shown to whoever may look at this page; secrets belong into variables.").problems(problems.at("/portunus/stdio/args")).area(4, &args))
        fieldset {
            legend { "Variables" }
            p.hint { "Values are sealed and never shown again. An empty box leaves the value that is stored; tick Empty for a value of no characters. A row without a name is no variable." }
            @if typed.is_some() && !names.is_empty() { p.notice { "Values that were typed have to be typed again: they are not sent back to you." } }
            @for problem in problems.exactly("/portunus/stdio/env") { p.problem { (problem) } }
            (rows(0..shown, &names, &known, problems))
            @if shown < MOST {
                details.fold { summary { "More variables" } (rows(shown..MOST, &names, &known, problems)) }
            }
        }
    }
}

fn rows(range: std::ops::Range<usize>, names: &[String], known: &BTreeSet<&str>, problems: Problems<'_>) -> Markup {
    html! {
        table.cards.variables {
            thead { tr { th scope="col" { "Name" } th scope="col" { "Value" } th scope="col" { "Empty" } } }
            tbody { @for index in range {
                @let name = names.get(index).map(String::as_str).unwrap_or_default();
                @let at = |member: &str| problems.at(&format!("/portunus/stdio/env/{index}/{member}"));
                @let what = if name.is_empty() { format!("variable {}", index + 1) } else { name.to_owned() };
                tr {
                    td data-label="Name" {
                        input.mono type="text" name={ "env_name." (index) } value=(name) aria-label={ "Name of " (what) } aria-invalid=[(!at("name").is_empty()).then_some("true")] autocomplete="off" autocapitalize="off" spellcheck="false";
                        @for problem in at("name") { p.problem { (problem) } }
                    }
                    td data-label="Value" {
                        textarea.mono.secret name={ "env_value." (index) } rows="1" aria-label={ "Value of " (what) } aria-invalid=[(!at("value").is_empty()).then_some("true")] autocomplete="off" autocapitalize="off" spellcheck="false"
                            placeholder=[known.contains(name).then_some("stored, not shown")] { (PreEscaped("\n")) }
                        @for problem in at("value") { p.problem { (problem) } }
                    }
                    td data-label="Empty" { input type="checkbox" name={ "env_empty." (index) } value="1" aria-label={ "The value of " (what) " is empty" }; }
                }
            } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{arguments, variables, written};
    use crate::pages::fields::Fields;

    #[test]
    fn arguments_come_back_as_they_were() {
        let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        for all in [
            texts(&[]),
            texts(&["-y", "server", " with spaces "]),
            texts(&[""]),
            texts(&["one", "", "two"]),
            texts(&["two\nlines", "and\r\nmore"]),
            texts(&["[\"looks like JSON\"]"]),
            texts(&["[]"]),
            texts(&["["]),
            texts(&["{\"a\": 1}"]),
            texts(&["ends in\r"]),
        ] {
            assert_eq!(arguments(&written(&all)), all);
        }
        assert_eq!(written(&texts(&["-m", "mcp_server_time"])), "-m\nmcp_server_time");
    }

    #[test]
    fn a_box_that_was_left_alone_leaves_the_value() {
        let fields = Fields::parse(
            b"env_name.0=KEPT&env_value.0=&env_name.1=&env_value.1=&env_name.2=SET&env_value.2=+x%0D%0Ay&env_name.3=NONE&env_value.3=&env_empty.3=1&env_name.4=&env_value.4=lost",
        );
        let found: Vec<String> = variables(&fields).iter().map(ToString::to_string).collect();
        let expected = [
            r#"{"name":"KEPT"}"#,
            r#"{"name":"SET","value":" x\ny"}"#,
            r#"{"name":"NONE","value":""}"#,
            r#"{"name":"","value":"lost"}"#,
        ];
        assert_eq!(found, expected);
    }
}
