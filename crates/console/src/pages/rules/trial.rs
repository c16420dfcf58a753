//! Tests the rules, or a draft of one, against an invented request, and explains every rule condition by condition.
//!
//! The decision is the policy engine's own. Invariant: nothing is stored, recorded or sent.

use std::collections::HashMap;

use maud::{Markup, html};
use policy::ruleset::evaluation::{Decision, Evaluation, Node, RuleReport};
use policy::{CompileOptions, FactsDocument, Hook, RuleSpec, StoredRule};
use serde_json::{Map, Value, json};
use types::RuleId;
use uuid::Uuid;

use super::document;
use super::editor::refuse;
use super::text;
use crate::failure::{Failure, Problem};
use crate::operations::rules::{lists_named_in, refused};
use crate::operations::{configuration, people, rules};
use crate::pages::control::{Control, Problems, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, refused_form, title};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, record};

const METHODS: [(&str, &str); 7] = [
    ("GET", "GET"),
    ("POST", "POST"),
    ("PUT", "PUT"),
    ("PATCH", "PATCH"),
    ("DELETE", "DELETE"),
    ("HEAD", "HEAD"),
    ("OPTIONS", "OPTIONS"),
];

/// Serves `GET /rules/test`.
pub(in crate::pages) async fn page(visitor: Visitor) -> Page {
    let body = html! { (heading()) (form(&visitor, &visitor.query, "", Problems::NONE).await) };
    Ok(frame::page(&visitor, Place::Rules, "Test a request", &body))
}

fn heading() -> Markup {
    html! {
        p.crumbs { a href="/rules" { "Rules" } " / Test" }
        (title("Test a request", "What the stored rules would decide, and why. Nothing is sent and nothing is recorded.", &html! {}))
    }
}

/// Serves `POST /rules/test`, from this page and, with a draft, from the editor.
pub(in crate::pages) async fn run(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let draft = match draft_of(&visitor, &fields).await {
        Ok(draft) => draft,
        Err(failure) => return Ok(refusal(&visitor, &fields, "", &failure).await),
    };
    let carried = draft.as_ref().map(Value::to_string).unwrap_or_default();
    // The editor sends its own fields; the request is asked for on this page.
    if fields.find("url").is_none() {
        let body = html! { (heading()) (form(&visitor, &fields, &carried, Problems::NONE).await) };
        return Ok(frame::page(&visitor, Place::Rules, "Test a request", &body));
    }
    match evaluate(&visitor, &fields, draft).await {
        Ok((evaluation, broken)) => {
            let body = html! {
                (heading())
                (result(&evaluation, &broken))
                (form(&visitor, &fields, &carried, Problems::NONE).await)
            };
            Ok(frame::page(&visitor, Place::Rules, "Test a request", &body))
        }
        Err(failure) => Ok(refusal(&visitor, &fields, &carried, &failure).await),
    }
}

async fn refusal(visitor: &Visitor, fields: &Fields, carried: &str, failure: &Failure) -> axum::response::Response {
    let problems = Problems::of(failure);
    let body = html! { (heading()) (problems.plain()) (form(visitor, fields, carried, problems).await) };
    refused_form(visitor, Place::Rules, "Test a request", failure, &body)
}

/// The draft that came with the form, if one did: from the editor as fields, from this page as JSON.
pub(super) async fn draft_of(visitor: &Visitor, fields: &Fields) -> Result<Option<Value>, Failure> {
    if let Some(carried) = fields.text("draft") {
        let unreadable = |_| Failure::invalid("/draft", "the draft cannot be read; start again from the editor");
        return serde_json::from_str(&carried).map(Some).map_err(unreadable);
    }
    if fields.find("action").is_none() {
        return Ok(None);
    }
    let id = fields.get("id").parse::<RuleId>().ok();
    let stored = match id {
        Some(id) => rules::get(&visitor.cx, id).await?.0,
        None => Map::new(),
    };
    let mut draft = document::build(fields, &stored);
    if let Some(failure) = refuse(&draft) {
        return Err(failure);
    }
    if let Some(id) = id {
        draft.document.insert("id".to_owned(), Value::from(id.to_string()));
    }
    Ok(Some(Value::Object(draft.document)))
}

async fn form(visitor: &Visitor, fields: &Fields, draft: &str, problems: Problems<'_>) -> Markup {
    let people = people::list(&visitor.cx).await.unwrap_or_default();
    let method = if fields.get("method").is_empty() { "GET" } else { fields.get("method") };
    html! {
        form.sheet method="post" action="/rules/test" {
            (csrf(&visitor.csrf))
            @if !draft.is_empty() {
                input type="hidden" name="draft" value=(draft);
                p.notice { "With your draft in place of the stored rule. It is not saved." }
            }
            fieldset {
                legend { "Request" }
                div.row.request {
                    (Control::new("method", "Method").select(&METHODS, method))
                    (Control::new("url", "Address").required().placeholder("https://example.com/path").mono().problems(problems.at("/facts/http.request.uri")).input("text", fields.get("url")))
                }
                (Control::new("headers", "Headers").hint("One a line, Name: value.").mono().area(2, fields.raw("headers")))
                div.row {
                    div.field {
                        label for="person" { "Person" }
                        input type="text" id="person" name="person" value=(fields.get("person")) list="people" placeholder="nobody" autocomplete="off";
                        datalist id="people" { @for person in &people { option value=(person.email) { (person.name) } } }
                    }
                    (Control::new("source", "From the address").placeholder("192.0.2.1").problems(problems.at("/facts/http.conn.src_ip")).input("text", fields.get("source")))
                }
                details.fold open[!fields.get("facts").is_empty()] {
                    summary { "More facts" }
                    (Control::new("facts", "As JSON").hint("Field to value; null means it has none. For example {\"http.response.status_code\": 200}").mono().problems(problems.at("/facts")).area(3, fields.raw("facts")))
                }
            }
            div.actions { button.primary type="submit" { "Decide" } @if !draft.is_empty() { a.button.quiet href="/rules/test" { "Without the draft" } } }
        }
    }
}

async fn facts(visitor: &Visitor, fields: &Fields) -> Result<Value, Failure> {
    let method = fields.get("method").to_ascii_uppercase();
    let mut facts = json!({
        "http.request.uri": fields.get("url"),
        "http.request.method": method,
        "http.request.has_body": matches!(method.as_str(), "POST" | "PUT" | "PATCH"),
        "identity.email": null, "identity.name": null, "identity.id": null,
        "identity.groups.id": null, "identity.groups.name": null, "identity.groups.email": null,
    });
    let mut headers: Map<String, Value> = Map::new();
    for line in fields.lines("headers") {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| Failure::invalid("/headers", format!("\"{line}\" is not a header; write Name: value")))?;
        if let Value::Array(values) = headers.entry(name.trim().to_ascii_lowercase()).or_insert_with(|| json!([])) {
            values.push(Value::from(value.trim()));
        }
    }
    facts["http.request.headers"] = Value::Object(headers);
    if let Some(source) = fields.text("source") {
        facts["http.conn.src_ip"] = Value::from(source);
    }
    if let Some(email) = fields.text("person") {
        let known = people::list(&visitor.cx).await.unwrap_or_default();
        facts["identity.email"] = Value::from(email.to_lowercase());
        if let Some(person) = known.into_iter().find(|person| person.email.eq_ignore_ascii_case(&email)) {
            facts["identity.name"] = Value::from(person.name);
            facts["identity.id"] = Value::from(person.id);
            facts["identity.groups.id"] = person.groups.iter().map(|group| group.id.clone()).collect();
            facts["identity.groups.name"] = person.groups.iter().map(|group| group.name.clone()).collect();
            facts["identity.groups.email"] = person.groups.iter().filter_map(|group| group.email.clone()).collect();
        }
    }
    if let Some(more) = fields.text("facts") {
        let Ok(Value::Object(more)) = serde_json::from_str(&more) else {
            return Err(Failure::invalid("/facts", "is not a JSON object; write {\"field\": value}"));
        };
        for (name, value) in more {
            facts[name] = value;
        }
    }
    Ok(facts)
}

async fn evaluate(
    visitor: &Visitor,
    fields: &Fields,
    draft: Option<Value>,
) -> Result<(Evaluation, Vec<String>), Failure> {
    let cx = &visitor.cx;
    let facts = facts(visitor, fields).await?;
    let facts = FactsDocument::parse(Hook::Http, &facts).map_err(|errors| {
        let problem = |error: &policy::SpecError| Problem {
            message: error.message.clone(),
            pointer: Some(format!("/facts{}", error.pointer)),
        };
        Failure::invalid_many(errors.iter().map(problem).collect())
    })?;
    let (mut compiled, mut broken) = (Vec::new(), Vec::new());
    for rule in rules::list(cx).await? {
        let id: RuleId = super::id(text(&rule.0, "id"), "rule")?;
        let precedence = rule.0.get("precedence").and_then(Value::as_i64).unwrap_or(i64::MAX);
        match RuleSpec::parse(&Value::Object(rule.0.clone())) {
            Ok(spec) => compiled.push(StoredRule { id, precedence, spec }),
            Err(_) => broken.push(text(&rule.0, "name").to_owned()),
        }
    }
    if let Some(draft) = draft {
        place(&mut compiled, &draft)?;
    }
    let texts: Vec<&str> = compiled.iter().flat_map(|rule| rule.spec.expressions().map(|(_, text)| text)).collect();
    let lists: HashMap<_, _> = lists_named_in(cx, texts).await?;
    let settings = configuration::get(cx).await.map(|view| Value::Object(view.settings)).unwrap_or_default();
    let extended = settings.pointer("/extended_email_matching/enabled").and_then(Value::as_bool).unwrap_or(false);
    let report = policy::compile(&compiled, &lists, CompileOptions { extended_email_matching: extended });
    broken.extend(report.errors.iter().map(|errors| errors.name.clone()));
    Ok((report.http.evaluate(&facts, cx.now()), broken))
}

/// Puts a draft where the stored rule stands, or at the end.
fn place(compiled: &mut Vec<StoredRule>, draft: &Value) -> Result<(), Failure> {
    let spec = RuleSpec::parse(draft).map_err(|errors| refused(&errors))?;
    let id = draft.get("id").and_then(Value::as_str).and_then(|id| id.parse::<RuleId>().ok());
    let stored = id.and_then(|id| compiled.iter().position(|rule| rule.id == id));
    let last = compiled.iter().map(|rule| rule.precedence).max().unwrap_or(0).saturating_add(1);
    let precedence = spec.precedence.or(stored.map(|place| compiled[place].precedence)).unwrap_or(last);
    let rule = StoredRule { id: id.unwrap_or_else(|| RuleId(Uuid::new_v4())), precedence, spec };
    match stored {
        Some(place) => compiled[place] = rule,
        None => compiled.push(rule),
    }
    Ok(())
}

fn result(evaluation: &Evaluation, broken: &[String]) -> Markup {
    html! {
        section.result id="result" {
            h2 { "Decision" }
            (decision(&evaluation.verdict))
            @if evaluation.inspected == Some(false) { p { "The connection is not decrypted, so nothing but host, address and person is looked at." } }
            @for declined in &evaluation.if_declined { p.muted { "If that Worker has no opinion:" } (decision(declined)) }
            @if !broken.is_empty() { p.notice.bad { "These rules do not compile and took no part: " (broken.join(", ")) } }
            h3 { "Rules, in order" }
            @if evaluation.rules.is_empty() { p.muted { "There are no rules." } }
            ol.trace { @for rule in &evaluation.rules { (report(rule)) } }
            @if evaluation.omitted > 0 { p.muted { (format::plural(evaluation.omitted as u64, "rule is", "rules are")) " not shown." } }
            @if let Ok(trace) = serde_json::to_value(&evaluation.trace) { details { summary { "Facts the decision read" } (record::trace_view(&trace)) } }
        }
    }
}

fn decision(decision: &Decision) -> Markup {
    html! {
        p.decision {
            (format::verdict(decision.action)) " "
            @if let Some(rule) = &decision.rule { "by " a href={ "/rules/" (rule.id) } { (rule.name) } } @else { "because no rule matches" }
        }
        @if let Some(error) = &decision.error { p.notice.bad { "The rule could not be evaluated, which blocks: " (error) } }
        @if let Some(waits) = &decision.waits_for {
            p { "The gateway would wait for " @for field in &waits.fields { code { (field) } " " } "(" (waits.phase) ") because of “" (waits.rule) "”. Shown is the decision when they never match." }
        }
    }
}

fn report(rule: &RuleReport) -> Markup {
    let word = serde_json::to_value(rule.outcome).ok();
    let word = word.as_ref().and_then(Value::as_str).unwrap_or_default();
    html! {
        li class=(word) {
            details {
                summary {
                    span.outcome { (record::outcome(word)) }
                    a href={ "/rules/" (rule.id) } { (rule.name) }
                    (format::verdict(rule.action))
                    @if !rule.waits_for.is_empty() { span.muted { "waits for " (rule.waits_for.join(", ")) } }
                }
                @for warning in &rule.warnings { p.warning { (warning) } }
                @if rule.expressions.is_empty() { p.muted { "It has no condition." } }
                @for expression in &rule.expressions { div { span.muted { (expression.member) } ul.tree { (node(&expression.explanation, 0)) } } }
            }
        }
    }
}

/// One condition and what is inside it; deeper than anyone reads is left out.
fn node(one: &Node, depth: usize) -> Markup {
    const DEEPEST: usize = 24;
    html! {
        li class=(one.outcome) {
            code { (one.text) } " " b { (one.outcome) }
            @if let Some(value) = &one.value { span.muted { " looked at " } code { (value) } }
            @if !one.children.is_empty() && depth < DEEPEST { ul { @for child in &one.children { (node(child, depth + 1)) } } }
            @if one.omitted > 0 { p.muted { (one.omitted) " more" } }
        }
    }
}
