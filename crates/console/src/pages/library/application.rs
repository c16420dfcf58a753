//! One application: what is known, what the account says, what its scores are made of, which rules may touch it.
//!
//! Each tab is a page of its own. Invariant: a fact that nobody knows is shown as unknown, with what it is worth.

use axum::extract::Path;
use catalog::score::{Evidence, Hundredths, Rubric, points, question};
use maud::{Markup, html};
use serde_json::Value;
use store::Permission::{GatewayWrite, LogsRead};

use super::{STATUSES, badge, status};
use crate::failure::Failure;
use crate::operations::applications::{self, ApplicationView, ReviewPatch, TouchingRule};
use crate::pages::control::{Control, Problems, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, empty, refused_form, title};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, go};

const TABS: [(&str, &str); 3] = [("", "Overview"), ("/findings", "Findings"), ("/policies", "Policies")];

fn frame_of(visitor: &Visitor, application: &ApplicationView, tab: &str, body: &Markup) -> Markup {
    let ours = &application.portunus;
    let vendor = ours.vendor.as_deref().map(|vendor| format!("{vendor} · ")).unwrap_or_default();
    let lead = format!("{vendor}{} · number {}", application.application_type, application.id);
    html! {
        p.crumbs { a href="/library" { "Library" } " / " (application.name) }
        (title(&application.name, &lead, &html! { (badge(ours.status)) }))
        nav.tabs aria-label="Application" {
            @for (path, text) in TABS { a href={ "/library/" (application.human_id) (path) } aria-current=[(path == tab).then_some("page")] { (text) } }
            @if visitor.may(LogsRead) { a href={ "/usage/applications/" (application.human_id) } { "Usage" } }
        }
        (body)
    }
}

/// Serves `GET /library/{application}`.
pub(in crate::pages) async fn overview(visitor: Visitor, Path(id): Path<String>) -> Page {
    let application = applications::get(&visitor.cx, &id).await?;
    let body = draw_overview(&visitor, &application, &Fields::default(), Problems::NONE);
    Ok(frame::page(&visitor, Place::Library, &application.name, &body))
}

fn draw_overview(visitor: &Visitor, application: &ApplicationView, fields: &Fields, problems: Problems<'_>) -> Markup {
    let ours = &application.portunus;
    let rule = format!("any(app.ids[*] in {{{}}})", application.id);
    let body = html! {
        @if visitor.may(GatewayWrite) { (review_form(visitor, application, fields, problems)) }
        @else { @if !ours.notes.is_empty() { h2 { "Notes" } p { (ours.notes) } } }
        h2 { "What is known" }
        dl.facts {
            div { dt { "Confidence" } dd { (ours.score) " of 5" } }
            @if let Some(score) = &ours.gen_ai_score { div { dt { "Generative AI" } dd { (score) " of 5" } } }
            @if !ours.ai.is_empty() { div { dt { "Artificial intelligence" } dd { (ours.ai.join(", ")) @if ours.embedded_ai { " (a feature among others)" } } } }
            div { dt { "Vendor" } dd { (ours.vendor.as_deref().unwrap_or("unknown")) } }
            div { dt { "Country" } dd { (ours.country.as_deref().unwrap_or("unknown")) } }
            div { dt { "Content category" } dd { (ours.content_category_name) " (" (ours.content_category) ")" } }
            div { dt { "In a rule" } dd { code { (rule) } } }
            div { dt { "Sources" } dd { (ours.sources.join(", ")) ", edition " (application.version) } }
        }
        (hosts("Hosts", "A request to one of these, or to a name below it, belongs to the application.", &application.hostnames))
        (hosts("Left out", "Below the hosts above, but of no application.", &ours.excluded_hostnames))
        (hosts("Supporting hosts", "It needs these and others may too, so rules on the application leave them alone.", &application.support_domains))
    };
    frame_of(visitor, application, "", &body)
}

fn hosts(heading: &str, lead: &str, names: &[String]) -> Markup {
    html! {
        @if !names.is_empty() {
            h2 { (heading) small { (names.len()) } }
            p.muted { (lead) }
            ul.names { @for name in names { li { code { (name) } } } }
        }
    }
}

fn review_form(visitor: &Visitor, application: &ApplicationView, fields: &Fields, problems: Problems<'_>) -> Markup {
    let ours = &application.portunus;
    let typed = |name: &str, stored: &str| fields.find(name).unwrap_or(stored).to_owned();
    html! {
        (problems.summary())
        form.sheet method="post" action={ "/library/" (application.human_id) } {
            (csrf(&visitor.csrf))
            div.row {
                (Control::new("status", "Status").hint("Changes no traffic by itself: rules read it as app.statuses.").problems(problems.at("/status")).select(&STATUSES, &typed("status", ours.status)))
                (Control::new("owner", "Owner").problems(problems.at("/owner")).input("text", &typed("owner", &ours.owner)))
                (Control::new("review_date", "Look again on").problems(problems.at("/review_date")).input("date", &typed("review_date", ours.review_date.as_deref().unwrap_or_default())))
            }
            (Control::new("notes", "Notes").problems(problems.at("/notes")).area(3, &typed("notes", &ours.notes)))
            div.actions {
                button.primary type="submit" { "Save" }
                @if let Some(at) = &ours.reviewed_at { span.muted { "Last changed " (format::day(at)) } }
            }
        }
    }
}

/// Serves `POST /library/{application}`.
pub(in crate::pages) async fn save_review(Path(id): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let patch = match status(&fields) {
        Ok(status) => Ok(ReviewPatch {
            status: Some(status),
            notes: Some(fields.get("notes").to_owned()),
            owner: Some(fields.get("owner").to_owned()),
            review_date: Some(fields.get("review_date").to_owned()),
            evidence: None,
        }),
        Err(failure) => Err(failure),
    };
    let saved = match patch {
        Ok(patch) => applications::patch(&visitor.cx, &id, patch).await,
        Err(failure) => Err(failure),
    };
    match saved {
        Ok(application) => go(&format!("/library/{}?note=saved", application.human_id)),
        Err(failure) => {
            let application = applications::get(&visitor.cx, &id).await?;
            let body = draw_overview(&visitor, &application, &fields, Problems::of(&failure));
            Ok(refused_form(&visitor, Place::Library, &application.name, &failure, &body))
        }
    }
}

/// Serves `GET /library/{application}/findings`.
pub(in crate::pages) async fn findings(visitor: Visitor, Path(id): Path<String>) -> Page {
    let application = applications::get(&visitor.cx, &id).await?;
    let body = draw_findings(&visitor, &application, &Fields::default(), Problems::NONE);
    Ok(frame::page(&visitor, Place::Library, &application.name, &body))
}

fn draw_findings(visitor: &Visitor, application: &ApplicationView, fields: &Fields, problems: Problems<'_>) -> Markup {
    let scores = &application.application_score_composition;
    let body = html! {
        (problems.summary())
        p { "Each score has five points. What nobody knows is neither given nor taken: the score is a range until it is known." }
        form method="post" action={ "/library/" (application.human_id) "/findings" } {
            (csrf(&visitor.csrf))
            (rubric(visitor, "Application posture", &scores["application"], Rubric::Application, fields))
            @if !scores["gen_ai"].is_null() {
                (rubric(visitor, "Generative AI posture", &scores["gen_ai"], Rubric::GenAi, fields))
            }
            @if visitor.may(GatewayWrite) {
                div.actions.sticky { button.primary type="submit" { "Save the findings" } span.muted { "What is left as unknown is not stored." } }
            }
        }
    };
    frame_of(visitor, application, "/findings", &body)
}

fn hundredths(value: &Value) -> Hundredths {
    value.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
}

fn range(scored: &Value) -> String {
    let (least, most) = (hundredths(&scored["at_least"]), hundredths(&scored["at_most"]));
    if least == most { points(least) } else { format!("{} to {}", points(least), points(most)) }
}

fn rubric(visitor: &Visitor, heading: &str, score: &Value, rubric: Rubric, fields: &Fields) -> Markup {
    html! {
        h2 { (heading) small { (range(score)) " of 5" } }
        @for (component, scored) in rubric.components().iter().zip(score["components"].as_array().into_iter().flatten()) {
            h3 { (component.title) small.muted { " " (range(scored)) " of " (points(component.points())) } }
            table.cards.findings {
                thead { tr { th scope="col" { "Question" } th scope="col" { "Finding" } th scope="col" { "Points" } th scope="col" { "Where it shows" } th scope="col" { "Seen on" } } }
                tbody { @for fact in scored["facts"].as_array().into_iter().flatten() { (fact_row(visitor, fact, fields)) } }
            }
        }
    }
}

fn fact_row(visitor: &Visitor, fact: &Value, fields: &Fields) -> Markup {
    let name = fact["fact"].as_str().unwrap_or_default();
    let Some(asked) = question(name) else { return html! {} };
    let text = |member: &str| fact[member].as_str().unwrap_or_default().to_owned();
    let from_catalogue = fact["origin"] == "catalogue";
    // What the catalogue knows is shown beside an empty field: to write it down would make it the account's own.
    let own = |member: &str| if from_catalogue { String::new() } else { text(member) };
    let typed = |part: &str, stored: String| fields.find(&format!("{name}.{part}")).map_or(stored, str::to_owned);
    let value = typed("value", own("value"));
    html! {
        tr {
            td data-label="Question" { (asked.text) }
            td data-label="Finding" {
                @if visitor.may(GatewayWrite) {
                    select name={ (name) ".value" } aria-label={ "Finding: " (asked.text) } {
                        option value="" { @if from_catalogue { "as the catalogue: " (text("value").replace('_', " ")) } @else { "unknown" } }
                        @for (word, _) in asked.values { option value=(word) selected[value == *word] { (word.replace('_', " ")) } }
                    }
                } @else { @if fact["value"].is_null() { span.muted { "unknown" } } @else { (text("value").replace('_', " ")) } }
            }
            td data-label="Points" { (range(fact)) }
            td data-label="Where it shows" {
                @if from_catalogue && !text("url").is_empty() { a href=(text("url")) rel="noreferrer noopener" { "the catalogue's source" } }
                @if visitor.may(GatewayWrite) { input type="url" name={ (name) ".url" } value=(typed("url", own("url"))) aria-label={ "Where it shows: " (asked.text) } placeholder="https://"; }
                @else { @if !own("url").is_empty() { a href=(own("url")) rel="noreferrer noopener" { (own("url")) } } }
            }
            td data-label="Seen on" {
                @if visitor.may(GatewayWrite) { input type="date" name={ (name) ".date" } value=(typed("date", own("date"))) aria-label={ "Seen on: " (asked.text) }; }
                @else { (text("date")) }
            }
        }
    }
}

/// Reads the findings of the form: those with a value.
fn evidence(fields: &Fields) -> Vec<Evidence> {
    let questions = [Rubric::Application, Rubric::GenAi].into_iter().flat_map(|rubric| rubric.components());
    let names = questions.flat_map(|component| component.questions.iter().chain(&component.forfeits));
    let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    names
        .filter_map(|question| {
            let part = |part: &str| some(fields.get(&format!("{}.{part}", question.name)));
            Some(Evidence {
                fact: question.name.to_owned(),
                value: part("value")?,
                url: part("url"),
                date: part("date"),
            })
        })
        .collect()
}

/// Serves `POST /library/{application}/findings`.
pub(in crate::pages) async fn save_evidence(Path(id): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let patch = ReviewPatch { evidence: Some(evidence(&fields)), ..ReviewPatch::default() };
    match applications::patch(&visitor.cx, &id, patch).await {
        Ok(application) => go(&format!("/library/{}/findings?note=saved", application.human_id)),
        Err(failure) => refuse(&visitor, &id, &fields, &failure).await,
    }
}

async fn refuse(visitor: &Visitor, id: &str, fields: &Fields, failure: &Failure) -> Page {
    let application = applications::get(&visitor.cx, id).await?;
    let body = draw_findings(visitor, &application, fields, Problems::of(failure));
    Ok(refused_form(visitor, Place::Library, &application.name, failure, &body))
}

/// Serves `GET /library/{application}/policies`.
pub(in crate::pages) async fn policies(visitor: Visitor, Path(id): Path<String>) -> Page {
    let application = applications::get(&visitor.cx, &id).await?;
    let rules = applications::touching_rules(&visitor.cx, &id).await?;
    let body = html! {
        p { "Rules that may decide a request to this application: nothing about its hosts, categories or status rules them out." }
        @if rules.is_empty() {
            (empty("No rule touches it.", &html! { "What no rule decides is allowed. " a href="/rules/new" { "Write a rule" } " with " code { "any(app.ids[*] in {" (application.id) "})" } "." }))
        } @else { (rule_table(&rules)) }
    };
    Ok(frame::page(&visitor, Place::Library, &application.name, &frame_of(&visitor, &application, "/policies", &body)))
}

fn rule_table(rules: &[TouchingRule]) -> Markup {
    html! {
        table.cards {
            thead { tr { th scope="col" { "Rule" } th scope="col" { "Action" } th scope="col" { "Hook" } th scope="col" { "Applies" } } }
            tbody {
                @for rule in rules {
                    tr {
                        td data-label="Rule" { a.strong href={ "/rules/" (rule.id) } { (rule.name) } @if !rule.enabled { " " span.badge { "disabled" } } }
                        td data-label="Action" { (format::verdict(&rule.action)) }
                        td data-label="Hook" { (rule.hook) }
                        td data-label="Applies" { @if rule.always { "to every request" } @else { "depending on more than the host" } }
                    }
                }
            }
        }
    }
}
