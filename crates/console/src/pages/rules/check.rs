//! Checks a rule while it is written: errors with their place, the canonical form, warnings.
//!
//! Answers with parts of the page, one for each text that is checked. Invariant: nothing is stored.

use maud::{Markup, html};
use serde_json::{Map, Value};

use super::document;
use super::editor::as_problems;
use crate::failure::Problem;
use crate::operations::rules::{self, lists_named_in};
use crate::pages::Page;
use crate::pages::control::spoken;
use crate::pages::frame::fragment;
use crate::pages::visitor::Submission;

/// The members that hold an expression.
const MEMBERS: [&str; 3] = ["traffic", "identity", "device_posture"];

/// Serves `POST /rules/check`.
pub(in crate::pages) async fn check(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let draft = document::build(&fields, &Map::new());
    let mut problems = draft.problems;
    let checked = rules::check(&visitor.cx, &Value::Object(draft.document.clone())).await?;
    problems.extend(as_problems(&checked.errors));
    let texts = MEMBERS.map(|member| fields.raw(member));
    let lists = lists_named_in(&visitor.cx, texts).await?;
    let hook = if fields.get("hook") == "l4" { policy::Hook::L4 } else { policy::Hook::Http };
    let body = html! {
        @for (member, text) in MEMBERS.iter().zip(texts) { div data-for=(member) { (expression(hook, text, &lists, &about(&problems, member))) } }
        div data-for="rule" { (whole(&problems, &checked.warnings)) }
    };
    Ok(fragment(body))
}

fn about<'a>(problems: &'a [Problem], member: &str) -> Vec<&'a str> {
    let of = problems
        .iter()
        .filter(|problem| problem.pointer.as_deref().and_then(|pointer| pointer.strip_prefix('/')) == Some(member));
    of.map(|problem| problem.message.as_str()).collect()
}

fn expression(hook: policy::Hook, text: &str, lists: &dyn expr::Lists, problems: &[&str]) -> Markup {
    if text.trim().is_empty() {
        return html! {};
    }
    match expr::Expression::compile(hook.scheme(), text, lists, &expr::Limits::default()) {
        Err(error) => html! { pre.problem { (error) } },
        Ok(compiled) => html! {
            // What compiles may still be refused for the action.
            @for problem in problems { pre.problem { (problem) } }
            @if problems.is_empty() {
                p.fine { "Compiles." }
                @if compiled.canonical() != text.trim() { p.canonical { "Read as " code { (compiled.canonical()) } } }
            }
        },
    }
}

fn whole(problems: &[Problem], warnings: &[String]) -> Markup {
    let elsewhere = problems.iter().filter(|problem| {
        !problem.pointer.as_deref().is_some_and(|pointer| MEMBERS.contains(&pointer.trim_start_matches('/')))
    });
    html! {
        @for problem in elsewhere { p.problem { b { (spoken(problem.pointer.as_deref().unwrap_or_default())) } " " (problem.message) } }
        @for warning in warnings { p.warning { (warning) } }
        @if problems.is_empty() && warnings.is_empty() { p.fine { "Ready to save." } }
    }
}
