//! Code Mode: two tools in the place of all, and the small language between a script and the portal.
//!
//! Decides what tools are called inside a script, what is made of a script's text, of a tool's result and of the script's
//! own, and how much one execution may do. Running scripts and calling tools is the plane's; whether a text is a program
//! is the compiler's. Invariants: two tools of a view never share a name in scripts; what a script gives back is bounded.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::catalog::Kind;
use crate::raw::{self, Object};
use crate::view::View;

/// Longest program, in bytes.
pub const MAX_CODE: usize = 64 * 1_024;
/// Most characters of a result: four to a token, 6,000 tokens.
pub const MAX_RESULT: usize = 24_000;

/// What the first tool says of itself.
pub const SEARCH_DESCRIPTION: &str = "Search the available tools by running JavaScript or TypeScript. `code` is an async \
    arrow function. Inside it `await codemode.tools()` gives every tool as {name, description, inputSchema}, and \
    `await codemode.search(\"words\")` the best matches for words. Return only what you need, for example: \
    async () => (await codemode.search(\"create issue\")).slice(0, 5)";

/// What the second tool says of itself.
pub const EXECUTE_DESCRIPTION: &str = "Run JavaScript or TypeScript that calls tools. `code` is an async arrow function. \
    Inside it `codemode.NAME({…})` calls the tool NAME, as portal_codemode_search names it, with one object of \
    arguments, and gives its result; await it, or several with Promise.all. There is no network and nothing else. \
    Return what you need, for example: \
    async () => { const a = await codemode.files_list({path: \"/\"}); return a.length; }";

/// JavaScript's reserved words, which no identifier may be.
const RESERVED: [&str; 48] = [
    "await",
    "break",
    "case",
    "catch",
    "class",
    "const",
    "continue",
    "debugger",
    "default",
    "delete",
    "do",
    "else",
    "enum",
    "eval",
    "export",
    "extends",
    "false",
    "finally",
    "for",
    "function",
    "if",
    "implements",
    "import",
    "in",
    "instanceof",
    "interface",
    "let",
    "new",
    "null",
    "package",
    "private",
    "protected",
    "public",
    "return",
    "static",
    "super",
    "switch",
    "this",
    "throw",
    "true",
    "try",
    "typeof",
    "undefined",
    "var",
    "void",
    "while",
    "with",
    "yield",
];
/// Members of `codemode` that are no tools.
const OWN: [&str; 3] = ["tools", "search", "then"];

/// Makes an identifier of a tool's name.
#[must_use]
pub fn identifier(name: &str) -> String {
    let mut made: String = name
        .chars()
        .map(|c| if matches!(c, '-' | '.') || c.is_whitespace() { '_' } else { c })
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$'))
        .collect();
    if made.starts_with(|c: char| c.is_ascii_digit()) {
        made.insert(0, '_');
    }
    if made.is_empty() {
        made.push('_');
    }
    if RESERVED.contains(&made.as_str()) || OWN.contains(&made.as_str()) {
        made.push('_');
    }
    made
}

/// The names of a view's tools in scripts.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Exposed names by identifier.
    tools: HashMap<String, String>,
    /// In the order of lists: identifier and exposed name.
    order: Vec<(String, String)>,
}

impl Names {
    /// Names every tool of a view. Of two that come to one identifier, the later one in the list gets a number.
    #[must_use]
    pub fn of(view: &View) -> Self {
        let mut names = Self::default();
        for target in view.list(Kind::Tool) {
            let plain = identifier(target.exposed);
            let mut name = plain.clone();
            let mut number = 2;
            while names.tools.contains_key(&name) {
                name = format!("{plain}_{number}");
                number += 1;
            }
            names.tools.insert(name.clone(), target.exposed.to_owned());
            names.order.push((name, target.exposed.to_owned()));
        }
        names
    }

    /// Finds the exposed name of a tool that a script names. Scripts that were written from a list of tools name them as
    /// they stand there, which is understood as well.
    #[must_use]
    pub fn exposed(&self, name: &str) -> Option<&str> {
        self.tools.get(name).or_else(|| self.tools.get(&identifier(name))).map(String::as_str)
    }

    /// Returns every definition for `codemode.tools()`, as JSON: `{name, description?, inputSchema}`.
    #[must_use]
    pub fn definitions(&self, view: &View) -> String {
        Self::written(view, self.order.iter())
    }

    /// Returns those of some tools, in this order, by the names that clients see.
    #[must_use]
    pub fn definitions_of<'a>(&self, view: &View, exposed: impl Iterator<Item = &'a str>) -> String {
        Self::written(view, exposed.filter_map(|wanted| self.order.iter().find(|(_, exposed)| exposed == wanted)))
    }

    fn written<'a>(view: &View, tools: impl Iterator<Item = &'a (String, String)>) -> String {
        let mut out = String::from("[");
        for (name, exposed) in tools {
            let Some(target) = view.find(Kind::Tool, exposed) else { continue };
            if out.len() > 1 {
                out.push(',');
            }
            let _ = write!(out, "{{\"name\":{}", raw::raw(name).get());
            if let Some(description) = target.description() {
                let _ = write!(out, ",\"description\":{}", raw::raw(description).get());
            }
            let schema = Object::parse(target.definition.json.get()).ok();
            let schema = schema.and_then(|object| object.value("inputSchema").map(RawValue::get));
            let _ = write!(out, ",\"inputSchema\":{}}}", schema.unwrap_or("{}"));
        }
        out.push(']');
        out
    }
}

/// Takes the fences of Markdown off a program, which models like to put around it. Whether it is one, and whether it is an
/// expression or statements, its compiler finds out.
#[must_use]
pub fn normalise(code: &str) -> &str {
    let code = code.trim();
    let Some(rest) = code.strip_prefix("```") else { return code };
    let Some((language, body)) = rest.split_once('\n') else { return code };
    if language.trim().chars().any(|c| !c.is_ascii_alphanumeric()) {
        return code;
    }
    body.trim_end().strip_suffix("```").unwrap_or(body).trim()
}

/// The module that a program written as an expression becomes.
#[must_use]
pub fn expression_module(code: &str) -> String {
    let code = code.trim_end().trim_end_matches(';');
    format!("export default (codemode: any) => (\n{code}\n);\n")
}

/// The module that a program written as statements becomes; `last` is where its last one begins, if that is an expression.
#[must_use]
pub fn statements_module(code: &str, last: Option<usize>) -> String {
    let (before, after) = code.split_at_checked(last.unwrap_or_default()).unwrap_or(("", code));
    let give_back = if last.is_some() { "return " } else { "" };
    format!("export default (codemode: any) => async () => {{\n{before}{give_back}{after}\n}};\n")
}

/// The module that runs a program: it makes the `codemode` object over the one binding there is, and answers with what the
/// program gives back. A request's path says what is asked: `/call`, `/tools` or `/search`.
pub const RUNNER: &str = r#"import program from "./program.js";
const ask = async (env, path, body) => {
  const response = await env.PORTAL.fetch("https://portal.internal" + path, { method: "POST", body: JSON.stringify(body) });
  const { result, error } = await response.json();
  if (error !== undefined) throw new Error(error);
  return result;
};
export default {
  async fetch(request, env) {
    const own = {
      tools: () => ask(env, "/tools", {}),
      search: (query, limit) => ask(env, "/search", { query: `${query}`, limit }),
    };
    const codemode = new Proxy(own, {
      get(target, name) {
        if (typeof name !== "string" || name === "then") return undefined;
        return Object.hasOwn(target, name) ? target[name] : (input) => ask(env, "/call", { name, arguments: input ?? {} });
      },
    });
    const made = program(codemode);
    const value = await (typeof made === "function" ? made() : made);
    return new Response(JSON.stringify(value === undefined ? null : value) ?? "null");
  },
};
"#;

/// Makes of a tool's result what a script is given.
///
/// # Errors
/// The text of a result that says it is an error; it is thrown in the script.
pub fn unwrap(result: &RawValue) -> Result<Box<RawValue>, String> {
    let Ok(object) = Object::parse(result.get()) else { return Ok(result.to_owned()) };
    if let Some(inner) = object.value("toolResult") {
        return Ok(inner.to_owned());
    }
    let texts = texts(&object);
    if object.value("isError").is_some_and(|flag| flag.get() == "true") {
        let text = texts.map(|texts| texts.join("\n")).unwrap_or_default();
        return Err(if text.is_empty() { "the tool failed".to_owned() } else { text });
    }
    if let Some(structured) = object.value("structuredContent") {
        return Ok(structured.to_owned());
    }
    let Some(texts) = texts else { return Ok(result.to_owned()) };
    let text = texts.join("\n");
    Ok(RawValue::from_string(text.trim().to_owned()).unwrap_or_else(|_| raw::raw(&text)))
}

/// The texts of a result whose content is text alone.
fn texts(object: &Object<'_>) -> Option<Vec<String>> {
    let content: Vec<Value> = serde_json::from_str(object.value("content")?.get()).ok()?;
    let text = |item: &Value| (item["type"] == "text").then(|| item["text"].as_str().unwrap_or_default().to_owned());
    let texts: Option<Vec<String>> = content.iter().map(text).collect();
    texts.filter(|texts| !texts.is_empty())
}

/// Makes the result of an execution: what the program gave back, cut off where it is too long.
#[must_use]
pub fn result(value: &str, logs: &[String]) -> Box<RawValue> {
    // A text is shown as it is; anything else as JSON.
    let text = match serde_json::from_str::<Value>(value) {
        Ok(Value::String(text)) => text,
        Ok(_) | Err(_) => value.to_owned(),
    };
    let mut content = vec![json!({"type": "text", "text": truncated(&text)})];
    if !logs.is_empty() {
        content.push(json!({"type": "text", "text": truncated(&format!("Console:\n{}", logs.join("\n")))}));
    }
    raw::raw(&json!({"content": content, "isError": false}))
}

/// Makes the result of an execution that failed.
#[must_use]
pub fn failure(message: &str, logs: &[String]) -> Box<RawValue> {
    let mut text = format!("Error: {message}");
    if !logs.is_empty() {
        let _ = write!(text, "\nConsole:\n{}", logs.join("\n"));
    }
    raw::raw(&json!({"content": [{"type": "text", "text": truncated(&text)}], "isError": true}))
}

fn truncated(text: &str) -> String {
    let Some((end, _)) = text.char_indices().nth(MAX_RESULT) else { return text.to_owned() };
    let whole = text.chars().count();
    format!(
        "{}\n--- TRUNCATED ---\nThese are {MAX_RESULT} of {whole} characters. Return less: pick members, filter, or slice.",
        text.get(..end).unwrap_or_default()
    )
}

/// How much one execution may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    pub calls: usize,
    /// Bytes of results that its script is given.
    pub bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { calls: 200, bytes: 32 * 1_024 * 1_024 }
    }
}

/// Why a script gets no further result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Spent {
    #[error("one execution may make at most {0} calls")]
    Calls(usize),
    #[error("one execution may be given at most {0} bytes of results")]
    Bytes(usize),
}

impl Budget {
    /// Takes one call.
    ///
    /// # Errors
    /// There is none left; `whole` says of how many.
    pub fn call(&mut self, whole: Self) -> Result<(), Spent> {
        self.calls = self.calls.checked_sub(1).ok_or(Spent::Calls(whole.calls))?;
        Ok(())
    }

    /// Takes the bytes of a result.
    ///
    /// # Errors
    /// It is more than is left.
    pub fn result(&mut self, bytes: usize, whole: Self) -> Result<(), Spent> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or(Spent::Bytes(whole.bytes))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fixture::{SERVERS, real};
    use crate::names::ServerId;
    use crate::view::{ServerView, Toggles};

    fn view() -> View {
        let servers =
            SERVERS.iter().map(|name| Arc::new(ServerView::new(ServerId::parse(name).unwrap(), *name, real(name))));
        View::merge(servers, &Toggles::new(), |_, _| true)
    }

    #[test]
    fn names_become_identifiers() {
        for (name, made) in [
            ("jira_search_jira_with_jql", "jira_search_jira_with_jql"),
            ("google-workspace_drive.get content", "google_workspace_drive_get_content"),
            ("1password_get", "_1password_get"),
            ("delete", "delete_"),
            ("then", "then_"),
            ("tools", "tools_"),
            ("é!", "_"),
            ("", "_"),
            ("a$b", "a$b"),
        ] {
            assert_eq!(identifier(name), made, "{name}");
        }
    }

    #[test]
    fn every_tool_has_a_name_of_its_own_that_leads_back_to_it() {
        let view = view();
        let names = Names::of(&view);
        let listed: Vec<Value> = serde_json::from_str(&names.definitions(&view)).unwrap();
        assert_eq!(listed.len(), view.count(Kind::Tool));
        for tool in &listed {
            let name = tool["name"].as_str().unwrap();
            assert!(view.find(Kind::Tool, names.exposed(name).unwrap()).is_some(), "{name}");
            assert!(tool["inputSchema"].is_object());
        }
        assert_eq!(names.exposed("everything_get-sum"), names.exposed("everything_get_sum"));
        assert!(names.exposed("everything_none").is_none());
    }

    #[test]
    fn tools_that_come_to_one_identifier_are_told_apart() {
        let mut catalog = crate::catalog::Catalog::default();
        let items = ["a-b", "a_b", "a.b"].map(|name| raw::raw(&json!({"name": name, "inputSchema": {}})));
        catalog.extend(Kind::Tool, items.iter().map(|item| &**item));
        let server = ServerView::new(ServerId::parse("s").unwrap(), "s", Arc::new(catalog));
        let view = View::merge([Arc::new(server)], &Toggles::new(), |_, _| true);
        let names = Names::of(&view);
        let mut found: Vec<_> = ["s_a_b", "s_a_b_2", "s_a_b_3"].map(|name| names.exposed(name).unwrap()).into();
        found.sort_unstable();
        assert_eq!(found, ["s_a-b", "s_a.b", "s_a_b"]);
    }

    #[test]
    fn fences_are_taken_off_and_nothing_else() {
        for (written, code) in [
            ("async () => 1", "async () => 1"),
            ("```js\nasync () => 1\n```", "async () => 1"),
            ("```typescript\nasync () => 1\n```\n", "async () => 1"),
            ("  ```\n1\n```", "1"),
            ("`a` + `b`", "`a` + `b`"),
            ("```js", "```js"),
        ] {
            assert_eq!(normalise(written), code, "{written}");
        }
        assert_eq!(statements_module("const a = 1; a", Some(13)).matches("const a = 1; return a").count(), 1);
    }

    #[test]
    fn results_become_what_a_script_expects() {
        let text = |text: &str| json!({"content": [{"type": "text", "text": text}]});
        for (result, given) in [
            (json!({"toolResult": 7, "content": []}), "7"),
            (json!({"content": [{"type": "text", "text": "x"}], "structuredContent": {"a": 1}}), "{\"a\":1}"),
            (text("{\"a\": [1]}"), "{\"a\": [1]}"),
            (text("plain"), "\"plain\""),
            (text("1 2"), "\"1 2\""),
        ] {
            assert_eq!(unwrap(&raw::raw(&result)).unwrap().get(), given, "{result}");
        }
        let mixed =
            json!({"content": [{"type": "text", "text": "a"}, {"type": "image", "data": "", "mimeType": "image/png"}]});
        let given: Value = serde_json::from_str(unwrap(&raw::raw(&mixed)).unwrap().get()).unwrap();
        assert_eq!(given, mixed);
        let failed =
            json!({"isError": true, "content": [{"type": "text", "text": "no"}, {"type": "text", "text": "way"}]});
        assert_eq!(unwrap(&raw::raw(&failed)).unwrap_err(), "no\nway");
    }

    #[test]
    fn long_results_are_cut_off_and_say_so() {
        let long = "ä".repeat(MAX_RESULT + 5);
        let shown: Value = serde_json::from_str(result(raw::raw(&long).get(), &[]).get()).unwrap();
        let text = shown["content"][0]["text"].as_str().unwrap();
        assert!(text.starts_with('ä') && text.contains("--- TRUNCATED ---") && text.contains("24005 characters"));
        let failed: Value = serde_json::from_str(failure("boom", &["log: x".to_owned()]).get()).unwrap();
        assert_eq!(failed["content"][0]["text"], "Error: boom\nConsole:\nlog: x");
        assert_eq!(failed["isError"], true);
    }

    #[test]
    fn a_budget_ends() {
        let whole = Budget { calls: 2, bytes: 10 };
        let mut left = whole;
        assert!(left.call(whole).is_ok() && left.call(whole).is_ok());
        assert_eq!(left.call(whole), Err(Spent::Calls(2)));
        assert!(left.result(6, whole).is_ok());
        assert_eq!(left.result(6, whole), Err(Spent::Bytes(10)));
    }
}
