//! Rules: their order, which are enabled, and the small changes that need no editor.
//!
//! Every change replaces the stored document through the operation an API client would call. Invariant: a change made here
//! touches the members it names and keeps the rest.

pub(super) mod check;
pub(super) mod document;
pub(super) mod editor;
pub(super) mod reference;
pub(super) mod replay;
pub(super) mod settings;
pub(super) mod trial;

use axum::extract::Path;
use maud::{Markup, html};
use serde_json::{Map, Value};
use types::RuleId;

use super::control::{button, csrf};
use super::frame::{self, Place, confirm, empty, title};
use super::visitor::{Submission, Visitor};
use super::{Page, format, go, id};
use crate::failure::Failure;
use crate::operations::lists::{self, ListView};
use crate::operations::rules::{self, Reorder, RuleView};

/// Serves `GET /rules`.
pub(super) async fn page(visitor: Visitor) -> Page {
    let all = rules::list(&visitor.cx).await?;
    // Someone who may not look at lists sees their ids alone.
    let lists = lists::list(&visitor.cx, None).await.unwrap_or_default();
    let may_write = visitor.may(store::Permission::GatewayWrite);
    let actions = html! {
        a.button href="/rules/test" { "Test a request" }
        @if may_write { a.button.primary href="/rules/new" { "New rule" } }
    };
    let body = html! {
        (title("Rules", "Held against every request in this order; the first that matches decides.", &actions))
        @if all.is_empty() {
            (empty("There are no rules: every request is allowed and recorded.", &html! { a.button.primary href="/rules/new" { "Write the first rule" } }))
        } @else {
            label.finder { span { "Find" } input type="search" data-filter data-narrows="#rules" placeholder="Name, action, expression" autocomplete="off"; }
            @for (hook, name) in [("l4", "Connections"), ("http", "Web requests")] {
                @let of_hook: Vec<_> = all.iter().filter(|rule| hook_of(&rule.0) == hook).collect();
                @if !of_hook.is_empty() {
                    section id=[(hook == "http").then_some("rules")] {
                        h2 { (name) small { (of_hook.len()) } }
                        table.cards.rules {
                            thead { tr { th scope="col" { "Order" } th scope="col" { "Rule" } th scope="col" { "Action" } th scope="col" { "When" } th scope="col" { "Enabled" } } }
                            tbody { @for (index, rule) in of_hook.iter().enumerate() { (row(&visitor, &rule.0, (index, of_hook.len()), may_write, &lists)) } }
                        }
                    }
                }
            }
        }
    };
    Ok(frame::page(&visitor, Place::Rules, "Rules", &body))
}

fn text<'a>(rule: &'a Map<String, Value>, name: &str) -> &'a str {
    format::text(rule, name)
}

pub(super) fn hook_of(rule: &Map<String, Value>) -> &str {
    let first = rule.get("filters").and_then(Value::as_array).and_then(|filters| filters.first());
    first.and_then(Value::as_str).unwrap_or("http")
}

fn row(
    visitor: &Visitor,
    rule: &Map<String, Value>,
    (index, of): (usize, usize),
    may_write: bool,
    lists: &[ListView],
) -> Markup {
    let path = format!("/rules/{}", text(rule, "id"));
    let enabled = rule.get("enabled").and_then(Value::as_bool).unwrap_or(true);
    let precedence = rule.get("precedence").map(super::record::shown).unwrap_or_default();
    // Whoever moved it with the keyboard goes on where they were.
    let moved = visitor.query.get("moved") == text(rule, "id");
    let focused = |by: &str, possible: bool| moved && possible && visitor.query.get("by") == by;
    let (up, down) = (index > 0, index + 1 < of);
    let typed = moved && !focused("up", up) && !focused("down", down);
    html! {
        tr.off[!enabled] {
            td.order data-label="Order" title={ "Precedence " (precedence) } {
                @if may_write {
                    form.inline method="post" action={ (path) "/move" } {
                        (csrf(&visitor.csrf))
                        input.position type="number" name="position" min="1" max=(of) value=(index + 1) required autofocus[typed]
                            aria-label={ "Place of " (text(rule, "name")) ", type another and press Enter" };
                    }
                    form.inline method="post" action={ (path) "/move" } {
                        (csrf(&visitor.csrf))
                        button.icon type="submit" name="by" value="up" disabled[!up] autofocus[focused("up", up)] aria-label={ "Move " (text(rule, "name")) " up" } { "↑" }
                        button.icon type="submit" name="by" value="down" disabled[!down] autofocus[focused("down", down)] aria-label={ "Move " (text(rule, "name")) " down" } { "↓" }
                    }
                } @else { span { (index + 1) } }
            }
            td data-label="Rule" {
                a.strong href=(path) { (text(rule, "name")) }
                @if !text(rule, "description").is_empty() { div.muted { (text(rule, "description")) } }
                @if !text(rule, "warning_status").is_empty() { div.warning { (text(rule, "warning_status")) } }
            }
            td data-label="Action" { (format::verdict(text(rule, "action"))) (target(rule)) }
            td data-label="When" { (conditions(rule, lists)) }
            td data-label="Enabled" {
                @if may_write {
                    form.inline method="post" action={ (path) "/enabled" } {
                        (csrf(&visitor.csrf))
                        button.switch.on[enabled] type="submit" name="enabled" value=(if enabled { "no" } else { "yes" })
                            role="switch" aria-checked=(if enabled { "true" } else { "false" }) aria-label={ (text(rule, "name")) " enabled" } { span {} }
                    }
                } @else { @if enabled { "yes" } @else { "no" } }
            }
        }
    }
}

/// What the action leads to, in a word.
fn target(rule: &Map<String, Value>) -> Markup {
    let settings = rule.get("rule_settings");
    let at = |pointer: &str| settings.and_then(|settings| settings.pointer(pointer)).and_then(Value::as_str);
    html! {
        @if let Some(script) = at("/worker/script") { " " a href={ "/workers/" (script) } { (script) } }
        @if let Some(template) = at("/managed/template") { " " span { (template) } }
        @if let Some(target) = at("/redirect/target_uri") { div.muted.clip title=(target) { (target) } }
    }
}

fn conditions(rule: &Map<String, Value>, lists: &[ListView]) -> Markup {
    let parts = [("traffic", ""), ("identity", "identity"), ("device_posture", "device")];
    let used: Vec<_> =
        lists.iter().filter(|list| parts.iter().any(|(member, _)| text(rule, member).contains(&list.id))).collect();
    let written: Vec<_> = parts.iter().filter(|(member, _)| !text(rule, member).trim().is_empty()).collect();
    html! {
        @if written.is_empty() { span.muted { "always" } }
        @for (member, label) in written {
            div.expression { @if !label.is_empty() { span.muted { (label) } " " } code title=(text(rule, member)) { (text(rule, member)) } }
        }
        @if !used.is_empty() { div.lists-used { "List " @for list in used { a href={ "/lists/" (list.id) } { (list.name) } " " } } }
    }
}

async fn stored(visitor: &Visitor, rule: RuleId) -> Result<RuleView, Failure> {
    rules::get(&visitor.cx, rule).await
}

/// Serves `POST /rules/{id}/enabled`.
pub(super) async fn toggle(Path(rule): Path<String>, form: Submission) -> Page {
    let rule: RuleId = id(&rule, "rule")?;
    let mut document = stored(&form.visitor, rule).await?.0;
    let enabled = form.fields.get("enabled") == "yes";
    document.insert("enabled".to_owned(), Value::Bool(enabled));
    rules::replace(&form.visitor.cx, rule, Value::Object(document)).await?;
    go(if enabled { "/rules?note=enabled" } else { "/rules?note=disabled" })
}

/// Serves `POST /rules/{id}/move`.
pub(super) async fn shift(Path(rule): Path<String>, form: Submission) -> Page {
    let rule: RuleId = id(&rule, "rule")?;
    let cx = &form.visitor.cx;
    let all = rules::list(cx).await?;
    let named = rule.to_string();
    let moved = all.iter().find(|one| text(&one.0, "id") == named).ok_or_else(|| Failure::not_found("rule"))?;
    let hook = hook_of(&moved.0);
    let mut order: Vec<RuleId> = Vec::new();
    for one in all.iter().filter(|one| hook_of(&one.0) == hook) {
        order.push(id(text(&one.0, "id"), "rule")?);
    }
    let from = order.iter().position(|one| *one == rule).unwrap_or_default();
    let by = form.fields.get("by");
    // Counted as people do, from 1.
    let to = match by {
        "up" => from.saturating_sub(1),
        "down" => from + 1,
        _ => {
            let typed = form.fields.get("position").parse::<usize>().ok().and_then(|place| place.checked_sub(1));
            typed.ok_or_else(|| Failure::invalid("/position", "the place of a rule is a number from 1"))?
        }
    };
    order.retain(|one| *one != rule);
    order.insert(to.min(order.len()), rule);
    rules::reorder(cx, Reorder { order }).await?;
    let by = if matches!(by, "up" | "down") { by } else { "typing" };
    go(&format!("/rules?note=moved&moved={rule}&by={by}"))
}

/// Serves `POST /rules/{id}/reset`.
pub(super) async fn reset(Path(rule): Path<String>, form: Submission) -> Page {
    let rule: RuleId = id(&rule, "rule")?;
    rules::reset_expiration(&form.visitor.cx, rule).await?;
    go(&format!("/rules/{rule}?note=saved"))
}

/// Serves `GET /rules/{id}/delete`.
pub(super) async fn confirm_delete(visitor: Visitor, Path(rule): Path<String>) -> Page {
    let rule: RuleId = id(&rule, "rule")?;
    let document = stored(&visitor, rule).await?.0;
    let text = html! {
        p { "Requests that the rule " strong { (text(&document, "name")) } " decides are decided by the rules after it from then on." }
        p { "To keep it and take it out of force, disable it." }
    };
    let path = format!("/rules/{rule}");
    Ok(confirm(
        &visitor,
        Place::Rules,
        "Delete this rule?",
        &text,
        (&format!("{path}/delete"), "Delete the rule"),
        &path,
    ))
}

/// Serves `POST /rules/{id}/delete`.
pub(super) async fn delete(Path(rule): Path<String>, form: Submission) -> Page {
    rules::delete(&form.visitor.cx, id(&rule, "rule")?).await?;
    go("/rules?note=deleted")
}

/// A form that resets how long a rule lives.
fn reset_button(visitor: &Visitor, rule: RuleId) -> Markup {
    button(&format!("/rules/{rule}/reset"), &visitor.csrf, "quiet", &html! { "Start its life again" }, &[])
}
