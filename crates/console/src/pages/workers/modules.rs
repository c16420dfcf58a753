//! The modules of a Worker as a set: a new one, another name for one, one less.
//!
//! Drawn below the editor, about the module that is open in it. Invariant: what is refused is said beside its field, with
//! the modules that stand in the way by name.

use axum::extract::Path;
use maud::{Markup, html};
use types::ScriptName;

use super::editor::{Shown, draw, query};
use crate::failure::Failure;
use crate::operations::modules::{LARGEST_MODULE, LARGEST_WORKER, MOST_MODULES};
use crate::operations::{module_names, scripts};
use crate::pages::control::{Control, Problems, button, csrf};
use crate::pages::frame::{Place, refused_form};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, go};

/// Draws the set, folded unless something about it was refused.
pub(super) async fn section(visitor: &Visitor, shown: &Shown<'_>, module: &str) -> Markup {
    let (content, problems) = (shown.content, shown.refused);
    let path = format!("/workers/{}/modules", shown.name);
    let size: usize = content.modules.iter().map(|module| module.source.as_bytes().len()).sum();
    let bytes = |size: usize| format::bytes(size as u64);
    // What cannot be read is refused with its reason when somebody tries.
    let importers = module_names::importers(content).await.unwrap_or_default().remove(module).unwrap_or_default();
    let importers: Vec<_> = importers.into_iter().collect();
    let to = if shown.fields.get("to").is_empty() { module } else { shown.fields.get("to") };
    let most = format!(
        "At most {MOST_MODULES} modules, {} each and {} together. What the name ends with says what it is: .ts, .js, .json, or text such as .txt and .html.",
        bytes(LARGEST_MODULE),
        bytes(LARGEST_WORKER)
    );
    html! {
        details id="modules" open[!problems.is_empty()] {
            summary { "Modules " span.muted { (content.modules.len()) " of " (MOST_MODULES) " · " (bytes(size)) " of " (bytes(LARGEST_WORKER)) } }
            (problems.general())
            div.columns {
                form.sheet method="post" action=(path) {
                    (csrf(&visitor.csrf))
                    input type="hidden" name="module" value=(module);
                    fieldset {
                        legend { "A new module" }
                        (Control::new("new", "Name").required().hint(&most).placeholder("lib/check.ts").mono().problems(problems.at("/new")).input("text", shown.fields.get("new")))
                        div.actions { button type="submit" { "Add" } }
                    }
                }
                div.sheet {
                    form method="post" action={ (path) "/rename" } {
                        (csrf(&visitor.csrf))
                        input type="hidden" name="module" value=(module);
                        fieldset {
                            legend { code { (module) } }
                            (Control::new("to", "New name").required().hint("Imports of it, and its own, are rewritten to follow.").mono().problems(problems.at("/to")).input("text", to))
                            div.actions { button type="submit" { "Rename" } }
                        }
                    }
                    @for problem in problems.at("/module") { p.problem role="alert" { (problem) } }
                    @if module == content.main { p.muted { "It is the main module and cannot be removed." } }
                    @else if !importers.is_empty() { p.muted { "It cannot be removed while these import it: " @for (at, name) in importers.iter().enumerate() { @if at > 0 { ", " } code { (name) } } } }
                    @else { (button(&format!("{path}/remove"), &visitor.csrf, "quiet", &html! { "Remove " (module) }, &[("module", module)])) }
                }
            }
        }
    }
}

/// Serves `POST /workers/{name}/modules`.
pub(in crate::pages) async fn add(Path(name): Path<String>, submission: Submission) -> Page {
    let name = scripts::parse_name(&name)?;
    let added = module_names::add(&submission.visitor.cx, &name, submission.fields.get("new")).await;
    answer(&submission, &name, added.map(Some)).await
}

/// Serves `POST /workers/{name}/modules/rename`.
pub(in crate::pages) async fn rename(Path(name): Path<String>, submission: Submission) -> Page {
    let name = scripts::parse_name(&name)?;
    let (from, to) = (submission.fields.get("module"), submission.fields.get("to"));
    let renamed = module_names::rename(&submission.visitor.cx, &name, from, to).await;
    answer(&submission, &name, renamed.map(Some)).await
}

/// Serves `POST /workers/{name}/modules/remove`.
pub(in crate::pages) async fn remove(Path(name): Path<String>, submission: Submission) -> Page {
    let name = scripts::parse_name(&name)?;
    let removed = module_names::remove(&submission.visitor.cx, &name, submission.fields.get("module")).await;
    answer(&submission, &name, removed.map(|()| None)).await
}

/// Leads to the module that is now open, or shows what was refused where it was asked.
async fn answer(submission: &Submission, name: &ScriptName, done: Result<Option<String>, Failure>) -> Page {
    let Submission { visitor, fields } = submission;
    match done {
        Ok(module) => {
            let tail = module.map(|module| format!("&{}", query("module", &module))).unwrap_or_default();
            go(&format!("/workers/{name}?note=saved{tail}"))
        }
        Err(failure) => {
            let content = scripts::content(&visitor.cx, name).await?;
            let refused = Problems::of(&failure);
            let shown = Shown { name, content: &content, fields, source: None, failure: None, refused };
            let body = draw(visitor, &shown, &html! {}).await;
            Ok(refused_form(visitor, Place::Workers, name.as_str(), &failure, &body))
        }
    }
}
