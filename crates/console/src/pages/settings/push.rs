//! Push jobs: where records are sent, how each job is, and the forms to change it.
//!
//! Draws and submits; what a job may be is the operations'. Options that the form does not show are kept as the API set them.
//! Invariant: no secret of a destination is drawn; a refused form keeps what was typed but for one.

use axum::extract::Path;
use logs::Dataset;
use maud::{Markup, html};
use serde_json::{Map, Value, json};
use store::Permission;
use types::{PushJobId, Secret};

use super::head;
use crate::failure::Failure;
use crate::operations::push_jobs::{self, DestinationView, PeriodBody, PushJobBody, PushJobView};
use crate::pages::control::{Control, Problems, button, csrf};
use crate::pages::fields::Fields;
use crate::pages::format::{bytes, plural, time};
use crate::pages::frame::{self, Place, confirm, empty, refused_form};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, go, id};

const TITLE: &str = "Push jobs";
/// Destinations to begin with.
const EXAMPLES: [(&str, &str); 4] = [
    ("An HTTP endpoint", "https://siem.example.com/in?header_Authorization=Bearer%20TOKEN"),
    (
        "Splunk",
        "splunk://splunk.example.com:8088/services/collector/raw?channel=ID&sourcetype=_json&header_Authorization=Splunk%20TOKEN",
    ),
    ("Syslog over TLS", "syslog+tls://logs.example.com:6514?app-name=portunus"),
    ("A bucket", "s3://bucket/portunus/{DATE}?region=eu-central-1&access-key-id=ID&secret-access-key=KEY"),
];

/// Serves `GET /settings/push`.
pub(in crate::pages) async fn page(visitor: Visitor) -> Page {
    let jobs = push_jobs::list(&visitor.cx).await?;
    Ok(frame::page(&visitor, Place::Settings, TITLE, &overview(&visitor, &jobs, None)))
}

fn overview(visitor: &Visitor, jobs: &[PushJobView], tested: Option<(&str, &DestinationView)>) -> Markup {
    let may_write = visitor.may(Permission::LogsWrite);
    html! {
        (head("push"))
        p.muted { "A job sends the records of one dataset to somewhere else as they come, and again until it has them." }
        @if let Some((name, answer)) = tested { (said(name, answer)) }
        @if may_write && !jobs.is_empty() { p { a.button.primary href="/settings/push/new" { "New job" } } }
        @if jobs.is_empty() {
            (empty("Nothing is sent anywhere.", &html! { @if may_write { a.button.primary href="/settings/push/new" { "New job" } } @else { "Whoever may change logs can make a job." } }))
        } @else {
            table.cards {
                thead { tr { th scope="col" { "Job" } th scope="col" { "Records" } th scope="col" { "State" } th scope="col" { "Sent" } th scope="col" { span.hidden { "Actions" } } } }
                tbody { @for job in jobs { (row(visitor, job)) } }
            }
            @if let Some(job) = jobs.first() {
                p.muted { "Kept back for jobs on this node: " (bytes(job.portunus.held_bytes)) " of " (bytes(job.portunus.max_held_bytes)) ". Beyond that the oldest records are let go, and the job says which." }
            }
        }
    }
}

fn said(name: &str, answer: &DestinationView) -> Markup {
    html! {
        @if answer.valid { p.notice.good role="status" { "A test record arrived: " (name) "." } }
        @else { div.notice.bad role="alert" { strong { "The test record did not arrive: " (name) "." } " " (answer.message) } }
    }
}

fn shown(job: &PushJobView) -> String {
    if job.name.is_empty() { format!("Job {}", job.id) } else { job.name.clone() }
}

fn row(visitor: &Visitor, job: &PushJobView) -> Markup {
    let path = format!("/settings/push/{}", job.id);
    let (address, _) = job.destination_conf.split_once('?').unwrap_or((&job.destination_conf, ""));
    html! {
        tr.off[!job.enabled] {
            td data-label="Job" { a.strong href=(path) { (shown(job)) } div.muted { (address) } }
            td data-label="Records" { span.badge { (job.dataset) } @if job.filter.is_some() { div.muted { "filtered" } } }
            td data-label="State" { (state(job)) }
            td data-label="Sent" {
                (plural(job.portunus.sent_records, "record", "records"))
                @if let Some(last) = &job.last_complete { div.muted { "last " (time(last)) } }
            }
            td data-label="Actions" {
                @if visitor.may(Permission::LogsWrite) {
                    div.actions {
                        (button(&format!("{path}/test"), &visitor.csrf, "quiet", &html! { "Send a test record" }, &[]))
                        @if job.enabled { (button(&format!("{path}/pause"), &visitor.csrf, "quiet", &html! { "Pause" }, &[("enabled", "0")])) }
                        @else { (button(&format!("{path}/pause"), &visitor.csrf, "quiet", &html! { "Resume" }, &[("enabled", "1")])) }
                    }
                }
            }
        }
    }
}

fn state(job: &PushJobView) -> Markup {
    let standing = &job.portunus;
    let tone = match standing.state {
        "healthy" => "accent",
        "failing" | "behind" => "bad",
        _ => "plain",
    };
    html! {
        span class={ "badge " (tone) } { (standing.state) }
        @if let Some(since) = &standing.failing_since { " since " (time(since)) }
        @if let Some(error) = &job.error_message { div.warning { (error) } }
        @if standing.behind_records > 0 && standing.state != "healthy" && standing.state != "starting" {
            div.muted {
                "at most " (plural(standing.behind_records, "record waits", "records wait"))
                @if let Some(since) = &standing.behind_since { ", the oldest of " (time(since)) }
            }
        }
        @if let Some(past) = &standing.delivering {
            div.muted { "delivering " (time(&past.from)) " to " (time(&past.until)) ": " (plural(past.sent_records, "record", "records")) " so far" }
        }
        @for gap in standing.missed.iter().rev().take(3) {
            div.warning { "missed " (plural(gap.records, "record", "records")) " of " (time(&gap.from)) " to " (time(&gap.until)) }
        }
    }
}

/// Serves `GET /settings/push/new`.
pub(in crate::pages) async fn new_page(visitor: Visitor) -> Page {
    let fields = Fields::parse(b"dataset=gateway_http&output_type=ndjson&timestamp_format=rfc3339&enabled=1");
    Ok(frame::page(&visitor, Place::Settings, "New push job", &form(&visitor, None, &fields, Problems::NONE)))
}

/// Serves `GET /settings/push/{id}`.
pub(in crate::pages) async fn job_page(visitor: Visitor, Path(job): Path<String>) -> Page {
    let job: PushJobId = id(&job, "push job")?;
    let stored = push_jobs::get(&visitor.cx, job).await?;
    let fields = Fields::parse(fields_of(&stored).finish().as_bytes());
    let body = form(&visitor, Some(&stored), &fields, Problems::NONE);
    Ok(frame::page(&visitor, Place::Settings, &shown(&stored), &body))
}

/// What a job says, as its form has it.
fn fields_of(stored: &PushJobView) -> url::form_urlencoded::Serializer<'static, String> {
    let option = |name: &str| stored.output_options.as_ref().and_then(|options| options.get(name));
    let word = |name: &str| option(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let names = option("field_names").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let names = names.collect::<Vec<_>>().join("\n");
    let rate = option("sample_rate").map(Value::to_string).unwrap_or_default();
    let interval = Some(stored.max_upload_interval_seconds).filter(|seconds| *seconds > 0);
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    text.append_pair("name", &stored.name)
        .append_pair("dataset", &stored.dataset)
        .append_pair("destination_conf", &stored.destination_conf)
        .append_pair("field_names", &names)
        .append_pair("output_type", &word("output_type"))
        .append_pair("timestamp_format", &word("timestamp_format"))
        .append_pair("sample_rate", &rate)
        .append_pair("filter", stored.filter.as_deref().unwrap_or_default())
        .append_pair("interval", &interval.map(|seconds| seconds.to_string()).unwrap_or_default());
    if stored.enabled {
        text.append_pair("enabled", "1");
    }
    text
}

fn form(visitor: &Visitor, job: Option<&PushJobView>, fields: &Fields, problems: Problems<'_>) -> Markup {
    let may_write = visitor.may(Permission::LogsWrite);
    let action = job.map_or_else(|| "/settings/push".to_owned(), |job| format!("/settings/push/{}", job.id));
    let datasets = Dataset::ALL.map(|dataset| (push_jobs::dataset_name(dataset), push_jobs::dataset_name(dataset)));
    let known = job.map_or(&[] as &[_], |job| std::slice::from_ref(job));
    let kept: Vec<(&str, &str)> = known.iter().map(|job| (job.dataset.as_str(), job.dataset.as_str())).collect();
    html! {
        (head("push"))
        p.crumbs { a href="/settings/push" { (TITLE) } " / " @if let Some(job) = job { (shown(job)) } @else { "New" } }
        @if let Some(job) = job {
            p { (state(job)) }
            @if may_write {
                div.actions {
                    (button(&format!("{action}/test"), &visitor.csrf, "quiet", &html! { "Send a test record" }, &[]))
                    a.button.quiet href={ (action) "/delete" } { "Delete" }
                }
            }
        }
        (problems.summary())
        form.sheet method="post" action=(action) {
            (csrf(&visitor.csrf))
            (Control::new("name", "Name").problems(problems.at("/name")).input("text", fields.get("name")))
            (Control::new("dataset", "Records").required().problems(problems.at("/dataset")).select(if job.is_some() { &kept } else { &datasets }, fields.get("dataset")))
            (Control::new("destination_conf", "Destination").required().mono().problems(problems.at("/destination_conf")).hint("Secrets stand in its parameters and read REDACTED once it is saved. To change anything of it, write it whole.").area(3, fields.get("destination_conf")))
            details {
                summary { "Destinations to begin with" }
                dl.facts { @for (name, text) in EXAMPLES { div { dt { (name) } dd { code { (text) } } } } }
            }
            div.row {
                (Control::new("output_type", "Form").problems(problems.at("/output_options/output_type")).select(&[("ndjson", "JSON lines"), ("csv", "CSV")], fields.get("output_type")))
                (Control::new("timestamp_format", "Times").problems(problems.at("/output_options/timestamp_format")).select(&[("unixnano", "nanoseconds since 1970"), ("unix", "seconds since 1970"), ("rfc3339", "2026-11-28T10:00:00Z")], fields.get("timestamp_format")))
                (Control::new("interval", "Every so many seconds").problems(problems.at("/max_upload_interval_seconds")).hint("1 to 300; 10 when it is empty.").input("number", fields.get("interval")))
                (Control::new("sample_rate", "Part").problems(problems.at("/output_options/sample_rate")).hint("0.1 is a tenth of the records; empty is all.").input("text", fields.get("sample_rate")))
            }
            (Control::new("field_names", "Fields").mono().problems(problems.at("/output_options/field_names")).hint("One a line, in their order; empty for all that hold something. CSV needs them.").area(4, fields.get("field_names")))
            (Control::new("filter", "Filter").mono().problems(problems.at("/filter")).hint("{\"where\": {\"key\": \"Action\", \"operator\": \"eq\", \"value\": \"block\"}}; empty for all records.").area(2, fields.get("filter")))
            (Control::new("enabled", "Enabled").hint("A job that is paused keeps its place.").tick(fields.ticked("enabled")))
            div.actions { button.primary type="submit" disabled[!may_write] { @if job.is_some() { "Save" } @else { "Create" } } }
        }
        @if may_write && job.is_some_and(|job| job.portunus.state != "starting") { (period(visitor, &action, fields, problems)) }
    }
}

/// What was recorded before, or was missed.
fn period(visitor: &Visitor, action: &str, fields: &Fields, problems: Problems<'_>) -> Markup {
    html! {
        section {
            h2 { "Deliver a period" }
            p.muted { "What was recorded then is sent from the lake, newest first, beside what comes. A record may arrive a second time." }
            form.sheet method="post" action={ (action) "/deliver" } {
                (csrf(&visitor.csrf))
                div.row {
                    (Control::new("from", "From").required().problems(problems.at("/from")).placeholder("2026-11-21T00:00:00Z").input("text", fields.get("from")))
                    (Control::new("until", "Until").problems(problems.at("/until")).hint("Now, when it is empty.").input("text", fields.get("until")))
                }
                div.actions { button type="submit" { "Deliver" } }
            }
        }
    }
}

/// Serves `POST /settings/push/{id}/deliver`.
pub(in crate::pages) async fn deliver(Path(job): Path<String>, submission: Submission) -> Page {
    let job: PushJobId = id(&job, "push job")?;
    let Submission { visitor, fields } = submission;
    let body = PeriodBody { from: fields.get("from").to_owned(), until: fields.text("until") };
    match push_jobs::deliver(&visitor.cx, job, &body).await {
        Ok(_) => go("/settings/push?note=delivering"),
        Err(failure) => {
            let stored = push_jobs::get(&visitor.cx, job).await?;
            let mut typed = fields_of(&stored);
            typed.append_pair("from", fields.get("from")).append_pair("until", fields.get("until"));
            let typed = Fields::parse(typed.finish().as_bytes());
            let body = form(&visitor, Some(&stored), &typed, Problems::of(&failure));
            Ok(refused_form(&visitor, Place::Settings, TITLE, &failure, &body))
        }
    }
}

/// Returns what a form says; options that it does not show are those of `before`.
fn body_of(fields: &Fields, before: Option<&Value>) -> Result<PushJobBody, Failure> {
    let mut options = before.and_then(Value::as_object).cloned().unwrap_or_default();
    let mut set = |name: &str, value: Option<Value>| match value {
        Some(value) => drop(options.insert(name.to_owned(), value)),
        None => drop(options.remove(name)),
    };
    let names: Vec<String> = fields
        .get("field_names")
        .split([',', '\n'])
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    set("field_names", (!names.is_empty()).then(|| json!(names)));
    set("output_type", fields.text("output_type").map(Value::from));
    set("timestamp_format", fields.text("timestamp_format").map(Value::from));
    let rate = fields.text("sample_rate").map(|text| text.replace(',', ".").parse::<f64>());
    let rate = rate.transpose().map_err(|_| Failure::invalid("/output_options/sample_rate", "must be a number"))?;
    set("sample_rate", rate.map(Value::from));
    let interval = fields.text("interval").map(|text| text.parse::<u64>()).transpose();
    let interval = interval.map_err(|_| Failure::invalid("/max_upload_interval_seconds", "must be a number"))?;
    Ok(PushJobBody {
        name: Some(fields.get("name").to_owned()),
        dataset: fields.text("dataset"),
        // Long ones are typed over several lines.
        destination_conf: fields
            .text("destination_conf")
            .map(|text| Secret::new(text.replace(char::is_whitespace, ""))),
        enabled: Some(fields.ticked("enabled")),
        output_options: Some(Value::Object(Map::from_iter(options))),
        filter: Some(fields.get("filter").to_owned()),
        max_upload_interval_seconds: Some(interval.unwrap_or_default()),
        ..PushJobBody::default()
    })
}

/// Serves `POST /settings/push`.
pub(in crate::pages) async fn create(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let made = match body_of(&fields, None) {
        Ok(body) => push_jobs::create(&visitor.cx, body).await,
        Err(failure) => Err(failure),
    };
    answered(&visitor, None, &fields, made)
}

/// Serves `POST /settings/push/{id}`.
pub(in crate::pages) async fn save(Path(job): Path<String>, submission: Submission) -> Page {
    let job: PushJobId = id(&job, "push job")?;
    let Submission { visitor, fields } = submission;
    let before = push_jobs::get(&visitor.cx, job).await?;
    let saved = match body_of(&fields, before.output_options.as_ref()) {
        Ok(body) => push_jobs::replace(&visitor.cx, job, body).await,
        Err(failure) => Err(failure),
    };
    answered(&visitor, Some(&before), &fields, saved)
}

fn answered(
    visitor: &Visitor,
    job: Option<&PushJobView>,
    fields: &Fields,
    saved: Result<PushJobView, Failure>,
) -> Page {
    match saved {
        Ok(_) => go("/settings/push?note=saved"),
        Err(failure) => {
            let body = form(visitor, job, fields, Problems::of(&failure));
            Ok(refused_form(visitor, Place::Settings, TITLE, &failure, &body))
        }
    }
}

/// Serves `POST /settings/push/{id}/pause`.
pub(in crate::pages) async fn pause(Path(job): Path<String>, submission: Submission) -> Page {
    let enabled = submission.fields.get("enabled") == "1";
    let body = PushJobBody { enabled: Some(enabled), ..PushJobBody::default() };
    push_jobs::replace(&submission.visitor.cx, id(&job, "push job")?, body).await?;
    go("/settings/push?note=saved")
}

/// Serves `POST /settings/push/{id}/test`.
pub(in crate::pages) async fn test(Path(job): Path<String>, submission: Submission) -> Page {
    let job: PushJobId = id(&job, "push job")?;
    let visitor = submission.visitor;
    let answer = push_jobs::test(&visitor.cx, job).await?;
    let jobs = push_jobs::list(&visitor.cx).await?;
    let name = jobs.iter().find(|one| one.id == job.number()).map(shown).unwrap_or_default();
    Ok(frame::page(&visitor, Place::Settings, TITLE, &overview(&visitor, &jobs, Some((&name, &answer)))))
}

/// Serves `GET /settings/push/{id}/delete`.
pub(in crate::pages) async fn confirm_delete(visitor: Visitor, Path(job): Path<String>) -> Page {
    let job: PushJobId = id(&job, "push job")?;
    let stored = push_jobs::get(&visitor.cx, job).await?;
    let text = html! { p { "\"" (shown(&stored)) "\" sends nothing any more, and what it has not sent is not kept back for it. What was recorded stays in the lake." } };
    let action = format!("/settings/push/{job}/delete");
    Ok(confirm(&visitor, Place::Settings, "Delete the push job?", &text, (&action, "Delete"), "/settings/push"))
}

/// Serves `POST /settings/push/{id}/delete`.
pub(in crate::pages) async fn delete(Path(job): Path<String>, submission: Submission) -> Page {
    push_jobs::delete(&submission.visitor.cx, id(&job, "push job")?).await?;
    go("/settings/push?note=deleted")
}
