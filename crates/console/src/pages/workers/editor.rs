//! The code of a Worker, one module at a time, with the preview below it.
//!
//! The set of modules is changed below it. Saving makes a new version with the same bindings. Invariant: what does not compile is not stored, and what was typed is
//! shown again with the errors beside their lines.

use axum::extract::Path;
use maud::{Markup, PreEscaped, html};
use store::{Module, Source};
use types::ScriptName;

use super::{head, modules, preview};
use crate::failure::Failure;
use crate::operations::scripts::{self, Content, Upload};
use crate::operations::upload::Metadata;
use crate::pages::control::{Problems, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, refused_form};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, go};

/// Serves `GET /workers/{name}`.
pub(in crate::pages) async fn page(visitor: Visitor, Path(name): Path<String>) -> Page {
    let name = scripts::parse_name(&name)?;
    let content = scripts::content(&visitor.cx, &name).await?;
    let shown = Shown {
        name: &name,
        content: &content,
        fields: &visitor.query,
        source: None,
        failure: None,
        refused: Problems::NONE,
    };
    let body = draw(&visitor, &shown, &html! {}).await;
    Ok(frame::page(&visitor, Place::Workers, name.as_str(), &body))
}

/// What the page shows: the stored code, or what was typed over it.
pub(super) struct Shown<'a> {
    pub name: &'a ScriptName,
    pub content: &'a Content,
    /// Of the query or of the form.
    pub fields: &'a Fields,
    pub source: Option<&'a str>,
    pub failure: Option<&'a Failure>,
    /// Of a change to the set of modules.
    pub refused: Problems<'a>,
}

impl Shown<'_> {
    /// The module that is edited: the one asked for, else the main one.
    fn module(&self) -> &str {
        let wanted = self.fields.get("module");
        if self.content.modules.iter().any(|module| module.name == wanted) { wanted } else { &self.content.main }
    }
}

pub(super) async fn draw(visitor: &Visitor, shown: &Shown<'_>, result: &Markup) -> Markup {
    let path = format!("/workers/{}", shown.name);
    let module = shown.module();
    let stored = shown.content.modules.iter().find(|one| one.name == module);
    let text = shown.source.map(str::to_owned).or_else(|| stored.and_then(text_of)).unwrap_or_default();
    let may_write = visitor.may(store::Permission::WorkersWrite);
    let example = preview::Example::of(visitor, shown.name).await;
    let editable = may_write && stored.is_none_or(|stored| matches!(stored.source, Source::Text(_)));
    html! {
        (head(visitor, shown.name, ""))
        @if let Some(failure) = shown.failure { (faults(failure)) }
        @if shown.content.modules.len() > 1 {
            nav.files aria-label="Modules" {
                @for one in &shown.content.modules { a href={ (path) "?" (query("module", &one.name)) } aria-current=[(one.name == module).then_some("true")] { (one.name) @if one.name == shown.content.main { " (main)" } } }
            }
        }
        form.workbench method="post" action=(path) data-keep {
            (csrf(&visitor.csrf))
            input type="hidden" name="module" value=(module);
            div.pane {
                (source_area(&text))
                div.actions {
                    button.primary type="submit" disabled[!editable] { "Save and serve" }
                    span.muted { (module) " · " (format::bytes(text.len() as u64)) " · Tab indents, Esc then Tab leaves" }
                }
            }
            div.pane id="preview" {
                (preview::controls(shown.fields, &path, may_write, &example))
                (result)
            }
        }
        @if may_write { (modules::section(visitor, shown, module).await) }
    }
}

pub(super) fn query(name: &str, value: &str) -> String {
    url::form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish()
}

fn text_of(module: &Module) -> Option<String> {
    match &module.source {
        Source::Text(text) => Some(text.clone()),
        Source::Base64(_) => None,
    }
}

/// The text area code is written in; the script adds line numbers and indentation.
pub(super) fn source_area(text: &str) -> Markup {
    html! {
        div.field.code {
            label for="source" { "Source" }
            div.gutter {
                textarea.mono id="source" name="source" rows="26" spellcheck="false" autocapitalize="off" autocomplete="off" wrap="off" data-code {
                    (PreEscaped("\n")) (text)
                }
            }
        }
    }
}

/// Compile errors with links to their lines.
fn faults(failure: &Failure) -> Markup {
    html! {
        div.notice.bad role="alert" {
            strong { "Not saved." }
            ul {
                @for problem in &failure.problems {
                    @let (place, rest) = located(&problem.message);
                    li { @if let Some((line, column)) = place { a href="#source" data-line=(line) { "Line " (line) ", column " (column) } " " } pre { (rest) } }
                }
            }
        }
    }
}

/// Splits `worker.ts:3:7: message` into its place and the message.
fn located(message: &str) -> (Option<(u32, u32)>, &str) {
    let mut parts = message.splitn(4, ':');
    let (_, line, column, rest) = (parts.next(), parts.next(), parts.next(), parts.next());
    match (line.and_then(|line| line.parse().ok()), column.and_then(|column| column.parse().ok()), rest) {
        (Some(line), Some(column), Some(rest)) => (Some((line, column)), rest.trim_start()),
        _ => (None, message),
    }
}

/// The stored modules with one of them replaced by what was typed.
pub(super) fn with_typed(content: &Content, fields: &Fields) -> Vec<Module> {
    let wanted = fields.get("module");
    let typed = |module: &Module| {
        let source =
            if module.name == wanted { Source::Text(fields.raw("source").to_owned()) } else { module.source.clone() };
        Module { source, ..module.clone() }
    };
    content.modules.iter().map(typed).collect()
}

/// Serves `POST /workers/{name}`.
pub(in crate::pages) async fn save(Path(name): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let name = scripts::parse_name(&name)?;
    let content = scripts::content(&visitor.cx, &name).await?;
    let upload = Upload { metadata: Metadata::default(), modules: with_typed(&content, &fields) };
    match scripts::put_content(&visitor.cx, &name, upload).await {
        Ok(_) => {
            let module = fields.get("module");
            let tail = if module == content.main { String::new() } else { format!("&{}", query("module", module)) };
            go(&format!("/workers/{name}?note=saved{tail}"))
        }
        Err(failure) => {
            let shown = Shown {
                name: &name,
                content: &content,
                fields: &fields,
                source: Some(fields.raw("source")),
                failure: Some(&failure),
                refused: Problems::NONE,
            };
            let body = draw(&visitor, &shown, &html! {}).await;
            Ok(refused_form(&visitor, Place::Workers, name.as_str(), &failure, &body))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::located;

    #[test]
    fn a_compile_error_is_split_into_place_and_message() {
        for (message, place, rest) in [
            ("worker.ts:3:7: expected `;`\n  x", Some((3, 7)), "expected `;`\n  x"),
            ("something else: entirely", None, "something else: entirely"),
            ("a:b:c:d", None, "a:b:c:d"),
        ] {
            assert_eq!(located(message), (place, rest));
        }
    }
}
