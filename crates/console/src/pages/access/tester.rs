//! The policy tester: who of everybody that ever signed in would enter, and what decides for one person.
//!
//! Nothing is stored and nobody's session changes. Invariant: the tester asks the policies as an application does.

use maud::{Markup, html};
use serde_json::{Value, json};
use store::Permission;
use uuid::Uuid;

use super::selectors::{HINT, Names};
use super::{at, head};
use crate::failure::Failure;
use crate::operations::access::policy_tests::{self, TestBody};
use crate::operations::access::{AccessView, applications, trials};
use crate::pages::control::{Control, Problems, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, refused_form};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, id};

/// People shown of one outcome.
const SHOWN: usize = 200;

/// Serves `GET /access/test`.
pub(in crate::pages) async fn page(visitor: Visitor) -> Page {
    let body = draw(&visitor, &visitor.query, None, Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Access, "Policy tester", &body))
}

/// Serves `POST /access/test`: one person at one application, or everybody.
pub(in crate::pages) async fn run(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    match outcome(&visitor, &fields).await {
        Ok(outcome) => {
            let body = draw(&visitor, &fields, Some(&outcome), Problems::NONE).await?;
            Ok(frame::page(&visitor, Place::Access, "Policy tester", &body))
        }
        Err(failure) => {
            let body = draw(&visitor, &fields, None, Problems::of(&failure)).await?;
            Ok(refused_form(&visitor, Place::Access, "Policy tester", &failure, &body))
        }
    }
}

async fn outcome(visitor: &Visitor, fields: &Fields) -> Result<Markup, Failure> {
    let cx = &visitor.cx;
    let app = fields.get("app");
    if let Some(person) = fields.text("person") {
        let app = id(app, "application").map_err(|_| Failure::invalid("/app", "choose the application to enter"))?;
        return Ok(one(&trials::check(cx, app, Some(&person), None).await?));
    }
    let policies = if app.is_empty() {
        let names = Names::load(visitor).await?;
        let mut problems = Vec::new();
        let include = names.read("/include", &fields.lines("include"), &mut problems);
        if !problems.is_empty() {
            return Err(Failure::invalid_many(problems));
        }
        vec![json!({"name": "Test", "decision": "allow", "include": include})]
    } else {
        let policies = applications::list_policies(cx, id(app, "application")?).await?;
        policies.iter().map(|policy| Value::from(policy.text("id"))).collect()
    };
    let started =
        policy_tests::start(cx, &TestBody { policies }).await.map_err(|failure| inside(failure, "/policies/0"))?;
    let test: Uuid = id(&started.id, "policy test")?;
    let report = policy_tests::get(cx, test)?;
    let mut groups = Vec::new();
    for (word, title) in [("success", "Would enter"), ("fail", "Would not"), ("error", "Cannot be told")] {
        groups.push((title, policy_tests::people(cx, test, Some(word))?));
    }
    Ok(everybody(&report, &groups))
}

/// The problems of the one policy that was written here, beside its box.
fn inside(mut failure: Failure, prefix: &str) -> Failure {
    for problem in &mut failure.problems {
        let rest = problem.pointer.as_deref().and_then(|pointer| pointer.strip_prefix(prefix)).map(str::to_owned);
        problem.pointer = rest.or_else(|| problem.pointer.take());
    }
    failure
}

fn one(check: &AccessView) -> Markup {
    let status = at(check, "app_state/status");
    let policies = check.0.get("app_state").and_then(|state| state["policies"].as_array());
    let (tone, words) = match status {
        "approved" => ("calm", "would enter"),
        "blocked" => ("bad", "would not enter"),
        _ => ("plain", "cannot be told"),
    };
    html! {
        section.why {
            h2 { (at(check, "user_identity/email")) " " span class={ "badge " (tone) } { (words) } " " (at(check, "app_state/name")) }
            p.muted { "As they last signed in: at another address, on another device or with new groups it may be otherwise." }
            ol.trace { @for policy in policies.into_iter().flatten() {
                @let member = |name: &str| policy[name].as_str().unwrap_or_default();
                li.match[member("status") == "matched"] {
                    span.outcome { (member("status")) }
                    b { (member("name")) } " " span.muted { (member("decision").replace('_', " ")) }
                    @let reasons = policy["reasons"].as_array();
                    @if reasons.is_some_and(|reasons| !reasons.is_empty()) {
                        ul { @for reason in reasons.into_iter().flatten().filter_map(Value::as_str) { li { (reason) } } }
                    }
                }
            } }
        }
    }
}

/// What Workers said of a person.
fn said(person: &AccessView) -> impl Iterator<Item = &str> {
    let told = person.0.get("portunus").and_then(|told| told["workers"].as_array());
    told.into_iter().flatten().filter_map(Value::as_str)
}

fn everybody(report: &AccessView, groups: &[(&str, Vec<AccessView>)]) -> Markup {
    let number = |name: &str| report.0.get(name).and_then(Value::as_u64).unwrap_or_default();
    html! {
        section {
            h2 { "Everybody who ever signed in" }
            dl.figures {
                @for (name, field) in [("People", "total_users"), ("Would enter", "users_approved"), ("Would not", "users_blocked"), ("Cannot be told", "users_errored")] {
                    div { dt { (name) } dd { (format::count(number(field))) } }
                }
            }
            @if report.text("status") != "complete" { p.notice { "There was no time for everybody: " (number("percent_users_processed")) " % were looked at." } }
            @for (title, people) in groups {
                @if !people.is_empty() {
                    details.fold open[people.len() <= 20] {
                        summary { (title) " (" (format::count(people.len() as u64)) ")" }
                        ul { @for person in people.iter().take(SHOWN) { li { a href={ "/access/people/" (person.text("id")) } { (person.text("email")) } " " span.muted { (person.text("name")) }
                            @for said in said(person) { br; span.muted { (said) } }
                        } } }
                        @if people.len() > SHOWN { p.muted { "The first " (SHOWN) " are shown; the API lists everyone." } }
                    }
                }
            }
        }
    }
}

async fn draw(
    visitor: &Visitor,
    fields: &Fields,
    outcome: Option<&Markup>,
    problems: Problems<'_>,
) -> Result<Markup, Failure> {
    let apps = applications::list(&visitor.cx).await?;
    let web: Vec<_> = apps.iter().filter(|app| app.0.contains_key("policies")).collect();
    let mut options = vec![("", "What is written below")];
    options.extend(web.iter().map(|app| (app.text("id"), app.text("name"))));
    Ok(html! {
        (head(visitor, "test", &html! {}))
        @if !visitor.may(Permission::UsersRead) {
            p.notice { "Trying policies on people needs the permission to read people." }
        } @else {
            (problems.plain())
            form.sheet method="post" action="/access/test" {
                (csrf(&visitor.csrf))
                div.row {
                    (Control::new("app", "Policies of").problems(problems.at("/app")).select(&options, fields.get("app")))
                    (Control::new("person", "For").mono().placeholder("everybody").hint("An address, or nothing for everybody who ever signed in.").problems(problems.at("/email")).input("text", fields.get("person")))
                }
                (Control::new("include", "Who may enter").mono().placeholder("@example.com").hint(HINT).problems(problems.at("/include")).area(3, fields.get("include")))
                div.actions { button.primary type="submit" { "Try" } }
            }
            @if let Some(outcome) = outcome { (outcome) }
        }
    })
}
