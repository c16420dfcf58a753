//! The policies of an application: in order, each checked as it stands, and the form that writes one.
//!
//! Invariant: a reusable policy is shown where it is used and changed on a page of its own ([`super::reusable`]), so that
//! no application changes another by accident.

use axum::extract::Path;
use maud::{Markup, html};
use serde_json::{Map, Value, json};
use store::Permission;
use types::{AccessPolicyId, ApplicationId};

use super::agreement;
use super::factors;
use super::reusable;
use super::selectors::{HINT, Names};
use crate::failure::{Failure, Problem};
use crate::operations::access::policies::remarks;
use crate::operations::access::{AccessView, applications, policies};
use crate::pages::control::{Control, Problems, button, csrf, spoken};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, empty, fragment, refused_form, title};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, go, id};

const DECISIONS: [(&str, &str); 4] = [
    ("allow", "Allow: people who sign in"),
    ("deny", "Deny"),
    ("non_identity", "Service Auth: programs, without sign-in"),
    ("bypass", "Bypass: no check, no log"),
];
pub(super) const LISTS: [(&str, &str); 3] =
    [("include", "Anyone of"), ("require", "Who also is all of"), ("exclude", "And is none of")];

/// The part of an application's page.
pub(super) async fn section(visitor: &Visitor, names: &Names, app: &AccessView) -> Result<Markup, Failure> {
    let path = format!("/access/apps/{}/policies", app.text("id"));
    let may_write = visitor.may(Permission::AccessWrite);
    let mut rows = Vec::new();
    let listed = app.0.get("policies").and_then(Value::as_array).cloned().unwrap_or_default();
    for policy in &listed {
        let mut document = policy.as_object().cloned().unwrap_or_default();
        document.retain(|name, _| !matches!(name.as_str(), "precedence"));
        rows.push((policy, remarks(&visitor.cx, &Value::Object(document)).await?));
    }
    let last = rows.len();
    Ok(html! {
        h2 { "Who may enter" small { "the first that fits decides; bypass and Service Auth come before the others" } }
        @if rows.is_empty() { (empty("Nobody may enter.", &html! { "Add a policy." })) } @else {
            table.cards {
                thead { tr { th scope="col" { "Policy" } th scope="col" { "Decision" } th scope="col" { "Who" } th scope="col" { span.hidden { "Order" } } } }
                tbody { @for (index, (policy, remarks)) in rows.iter().enumerate() { (row(visitor, names, &path, policy, remarks, (index, last))) } }
            }
        }
        @if may_write {
            p { a.button href={ (path) "/new" } { "Add a policy" } }
            (reusable::attach(visitor, &path, &listed).await?)
        }
    })
}

fn text<'p>(policy: &'p Value, member: &str) -> &'p str {
    policy[member].as_str().unwrap_or_default()
}

fn row(
    visitor: &Visitor,
    names: &Names,
    path: &str,
    policy: &Value,
    remarks: &[String],
    (index, count): (usize, usize),
) -> Markup {
    let (name, own) = (text(policy, "name"), policy["reusable"] == false);
    let here = format!("{path}/{}", text(policy, "id"));
    html! {
        tr {
            td data-label="Policy" {
                @if own { a.strong href=(here) { (name) } } @else { a.strong href={ (reusable::PATH) "/" (text(policy, "id")) } { (name) } " " span.badge.plain { "reusable" } }
                @if remarks.is_empty() { p.fine { "Ready." } }
                @for remark in remarks { p.warning { (remark) } }
            }
            td data-label="Decision" { (badge(text(policy, "decision"))) }
            td data-label="Who" { (who(names, policy)) }
            td {
                @if visitor.may(Permission::AccessWrite) {
                    @if index > 0 { (button(&format!("{here}/move"), &visitor.csrf, "icon", &html! { span aria-hidden="true" { "↑" } span.hidden { "Move " (name) " up" } }, &[("to", "up")])) }
                    @if index + 1 < count { (button(&format!("{here}/move"), &visitor.csrf, "icon", &html! { span aria-hidden="true" { "↓" } span.hidden { "Move " (name) " down" } }, &[("to", "down")])) }
                    (button(&format!("{here}/delete"), &visitor.csrf, "quiet", &html! { "Take out" span.hidden { " " (name) } }, &[]))
                }
            }
        }
    }
}

pub(super) fn badge(decision: &str) -> Markup {
    html! { span.badge.bad[decision == "deny"].accent[decision == "allow"] { (decision.replace('_', " ")) } }
}

/// Whom a policy covers, in short.
pub(super) fn who(names: &Names, policy: &Value) -> Markup {
    let line = |label: &str, selectors: &Value| {
        let selectors = selectors.as_array().map(Vec::as_slice).unwrap_or_default();
        html! {
            @if !selectors.is_empty() {
                div { span.muted { (label) " " } @for (index, selector) in selectors.iter().take(8).enumerate() { @if index > 0 { ", " } code { (names.line(selector)) } } @if selectors.len() > 8 { " and more" } }
            }
        }
    };
    html! { @for (list, label) in LISTS { (line(label, &policy[list])) } }
}

/// What a policy's form shows besides its plain fields.
pub(super) struct Parts {
    groups: Vec<agreement::Group>,
    factor: factors::Choice,
}

impl Parts {
    pub(super) fn stored(policy: &AccessView) -> Self {
        Self { groups: agreement::stored(policy), factor: factors::stored(&policy.0) }
    }

    /// Those of a new policy.
    pub(super) fn fresh() -> Self {
        Self { groups: Vec::new(), factor: factors::stored(&Map::new()) }
    }

    pub(super) fn typed(fields: &Fields) -> Self {
        Self { groups: agreement::typed(fields), factor: factors::typed(fields).unwrap_or_default() }
    }
}

/// A policy as its form has it.
pub(super) struct Draft {
    pub(super) document: Value,
    pub(super) problems: Vec<Problem>,
}

pub(super) fn draft(names: &Names, fields: &Fields, stored: Option<&AccessView>) -> Draft {
    let mut problems = Vec::new();
    // Members the form does not show stay as they are.
    let mut document: Map<String, Value> = stored.map(|stored| stored.0.clone()).unwrap_or_default();
    document.insert("name".to_owned(), fields.get("name").into());
    document.insert("decision".to_owned(), fields.get("decision").into());
    for (list, _) in LISTS {
        let selectors = names.read(&format!("/{list}"), &fields.lines(list), &mut problems);
        document.insert(list.to_owned(), Value::Array(selectors));
    }
    let expression = fields.text("expression").map_or(Value::Null, Value::from);
    document.insert("portunus".to_owned(), json!({"expression": expression}));
    let session = fields.text("session_duration").map_or(Value::Null, Value::from);
    document.insert("session_duration".to_owned(), session);
    agreement::write(&mut document, &agreement::typed(fields));
    if let Some(choice) = factors::typed(fields) {
        factors::write(&mut document, &choice, &mut problems);
    }
    Draft { document: Value::Object(document), problems }
}

pub(super) fn typed(names: &Names, policy: Option<&AccessView>) -> Vec<(&'static str, String)> {
    let Some(policy) = policy else { return vec![("decision", "allow".to_owned())] };
    let list = |name: &str| names.write(policy.0.get(name).unwrap_or(&Value::Null));
    vec![
        ("name", policy.text("name").to_owned()),
        ("decision", policy.text("decision").to_owned()),
        ("include", list("include")),
        ("require", list("require")),
        ("exclude", list("exclude")),
        ("expression", super::at(policy, "portunus/expression").to_owned()),
        ("session_duration", policy.text("session_duration").to_owned()),
    ]
}

pub(super) fn form(
    visitor: &Visitor,
    (action, back): (&str, &str),
    values: &dyn Fn(&str) -> String,
    parts: &Parts,
    problems: Problems<'_>,
) -> Markup {
    html! {
        form.sheet method="post" action=(action) data-check="/access/policies/check" {
            (csrf(&visitor.csrf))
            div.row {
                (Control::new("name", "Name").required().problems(problems.at("/name")).input("text", &values("name")))
                (Control::new("decision", "Decision").problems(problems.at("/decision")).select(&DECISIONS, &values("decision")))
            }
            @for (list, label) in LISTS {
                (Control::new(list, label).mono().hint(if list == "include" { HINT } else { "" }).live(list).problems(problems.at(&format!("/{list}"))).area(if list == "include" { 4 } else { 2 }, &values(list)))
            }
            (Control::new("expression", "And where").mono().hint("An expression of the access hook; empty asks nothing more.").live("expression").problems(problems.at("/portunus")).area(2, &values("expression")))
            (Control::new("session_duration", "A session lasts").mono().hint("Empty: as long as the application says.").problems(problems.at("/session_duration")).input("text", &values("session_duration")))
            (factors::draw(&parts.factor, "As the application says", problems))
            (agreement::draw(&parts.groups, problems))
            div.check data-for="policy" aria-live="polite" {}
            div.actions { button.primary type="submit" { "Save" } a.button.quiet href=(back) { "Cancel" } }
        }
    }
}

fn editor(visitor: &Visitor, app: &AccessView, name: &str, form: &Markup, problems: Problems<'_>) -> Markup {
    let path = format!("/access/apps/{}", app.text("id"));
    html! {
        p.crumbs { a href="/access" { "Access" } " / " a href=(path) { (app.text("name")) } " / " (name) }
        (title(name, "", &html! {}))
        (problems.summary())
        (form)
        @if !visitor.may(Permission::AccessWrite) { p.muted { "You may look at policies and not change them." } }
    }
}

/// Serves `GET /access/apps/{id}/policies/new`.
pub(in crate::pages) async fn new_page(visitor: Visitor, Path(app): Path<String>) -> Page {
    let app = applications::get(&visitor.cx, id(&app, "application")?).await?;
    let names = Names::load(&visitor).await?;
    let path = format!("/access/apps/{}", app.text("id"));
    let known = typed(&names, None);
    let values = |name: &str| value(&known, name);
    let form = form(&visitor, (&format!("{path}/policies"), &path), &values, &Parts::fresh(), Problems::NONE);
    let body = editor(&visitor, &app, "New policy", &form, Problems::NONE);
    Ok(frame::page(&visitor, Place::Access, "New policy", &body))
}

pub(super) fn value(known: &[(&'static str, String)], name: &str) -> String {
    known.iter().find(|(other, _)| *other == name).map(|(_, value)| value.clone()).unwrap_or_default()
}

/// Serves `POST /access/apps/{id}/policies`.
pub(in crate::pages) async fn create(Path(app): Path<String>, submission: Submission) -> Page {
    save_policy(submission, &app, None).await
}

/// Serves `GET /access/apps/{id}/policies/{policy}`.
pub(in crate::pages) async fn page(visitor: Visitor, Path((app, policy)): Path<(String, String)>) -> Page {
    let app: ApplicationId = id(&app, "application")?;
    let policy = applications::get_policy(&visitor.cx, app, id(&policy, "policy")?).await?;
    let app = applications::get(&visitor.cx, app).await?;
    let names = Names::load(&visitor).await?;
    let path = format!("/access/apps/{}", app.text("id"));
    let known = typed(&names, Some(&policy));
    let action = format!("{path}/policies/{}", policy.text("id"));
    let parts = Parts::stored(&policy);
    let form = form(&visitor, (&action, &path), &|name| value(&known, name), &parts, Problems::NONE);
    let body = editor(&visitor, &app, policy.text("name"), &form, Problems::NONE);
    Ok(frame::page(&visitor, Place::Access, policy.text("name"), &body))
}

/// Serves `POST /access/apps/{id}/policies/{policy}`.
pub(in crate::pages) async fn save(Path((app, policy)): Path<(String, String)>, submission: Submission) -> Page {
    save_policy(submission, &app, Some(id(&policy, "policy")?)).await
}

async fn save_policy(submission: Submission, app: &str, policy: Option<AccessPolicyId>) -> Page {
    let Submission { visitor, fields } = submission;
    let app: ApplicationId = id(app, "application")?;
    let names = Names::load(&visitor).await?;
    let stored = match policy {
        Some(policy) => Some(applications::get_policy(&visitor.cx, app, policy).await?),
        None => None,
    };
    let Draft { document, problems } = draft(&names, &fields, stored.as_ref());
    let saved = match policy {
        _ if !problems.is_empty() => Err(Failure::invalid_many(problems)),
        Some(policy) => applications::replace_policy(&visitor.cx, app, policy, &document).await,
        None => applications::add_policy(&visitor.cx, app, &document).await,
    };
    let path = format!("/access/apps/{app}");
    match saved {
        Ok(_) => go(&format!("{path}?note=saved")),
        Err(mut failure) => {
            // Faults inside the application are shown beside the fields of its policy.
            for problem in &mut failure.problems {
                problem.pointer = problem.pointer.take().map(|pointer| own_pointer(&pointer));
            }
            let app = applications::get(&visitor.cx, app).await?;
            let action =
                policy.map_or_else(|| format!("{path}/policies"), |policy| format!("{path}/policies/{policy}"));
            let values = |name: &str| fields.find(name).unwrap_or_default().to_owned();
            let problems = Problems::of(&failure);
            let form = form(&visitor, (&action, &path), &values, &Parts::typed(&fields), problems);
            let body = editor(&visitor, &app, "Policy", &form, problems);
            Ok(refused_form(&visitor, Place::Access, "Policy", &failure, &body))
        }
    }
}

/// `/policies/3/include/0` is `/include/0` of the policy one writes.
fn own_pointer(pointer: &str) -> String {
    match pointer.strip_prefix("/policies/").and_then(|rest| rest.split_once('/')) {
        Some((_, inside)) => format!("/{inside}"),
        None => pointer.to_owned(),
    }
}

/// Serves `POST /access/policies/check`: parts of the page, for the script.
pub(in crate::pages) async fn check(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let names = Names::load(&visitor).await?;
    let Draft { document, mut problems } = draft(&names, &fields, None);
    let checked = policies::check(&visitor.cx, &document).await?;
    let warnings = checked.warnings;
    problems.extend(
        checked.errors.into_iter().map(|fault| Problem { message: fault.message, pointer: Some(fault.pointer) }),
    );
    let of = |member: &str| {
        let about = |problem: &&Problem| problem.pointer.as_deref().is_some_and(|pointer| pointer.contains(member));
        problems.iter().filter(about).map(|problem| problem.message.clone()).collect::<Vec<_>>()
    };
    let members = ["include", "require", "exclude", "expression"];
    let elsewhere = problems.iter().filter(|problem| {
        !problem.pointer.as_deref().is_some_and(|pointer| members.iter().any(|member| pointer.contains(member)))
    });
    Ok(fragment(html! {
        @for member in members { div data-for=(member) { @for message in of(member) { p.problem { (message) } } } }
        div data-for="policy" {
            @for problem in elsewhere { p.problem { b { (spoken(problem.pointer.as_deref().unwrap_or_default())) } " " (problem.message) } }
            @for warning in &warnings { p.warning { (warning) } }
            @if problems.is_empty() && warnings.is_empty() { p.fine { "Ready to save." } }
        }
    }))
}

/// Serves `POST /access/apps/{id}/policies/{policy}/move`.
pub(in crate::pages) async fn shift(Path((app, policy)): Path<(String, String)>, form: Submission) -> Page {
    let (app, policy): (ApplicationId, AccessPolicyId) = (id(&app, "application")?, id(&policy, "policy")?);
    applications::move_policy(&form.visitor.cx, app, policy, form.fields.get("to") == "up").await?;
    go(&format!("/access/apps/{app}?note=moved"))
}

/// Serves `POST /access/apps/{id}/policies/attach`.
pub(in crate::pages) async fn attach(Path(app): Path<String>, form: Submission) -> Page {
    let app: ApplicationId = id(&app, "application")?;
    applications::attach_policy(&form.visitor.cx, app, id(form.fields.get("policy"), "policy")?).await?;
    go(&format!("/access/apps/{app}?note=saved"))
}

/// Serves `POST /access/apps/{id}/policies/{policy}/delete`.
pub(in crate::pages) async fn delete(Path((app, policy)): Path<(String, String)>, form: Submission) -> Page {
    let (app, policy): (ApplicationId, AccessPolicyId) = (id(&app, "application")?, id(&policy, "policy")?);
    applications::delete_policy(&form.visitor.cx, app, policy).await?;
    go(&format!("/access/apps/{app}?note=saved"))
}
