//! How long records are kept, what there is of each dataset, and erasing those of a person.
//!
//! A size is typed in GiB, a size that is left empty is none. Invariant: a dataset whose fields say what is done by
//! default anyway is not chosen, and follows a default that changes.

use maud::{Markup, html};
use store::Permission;

use super::head;
use crate::failure::Failure;
use crate::operations::erasures::{self, ErasureBody, ErasureView};
use crate::operations::retention::{self, KeepBody, KeptView, RetentionBody};
use crate::pages::control::{Control, Problems, csrf};
use crate::pages::fields::Fields;
use crate::pages::format::{bytes, count, time};
use crate::pages::frame::{self, Place, refused_form};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, go};

/// Erasures shown on the page.
const SHOWN: usize = 20;
const GIB: f64 = (1_u64 << 30) as f64;

/// Serves `GET /settings/records`.
pub(in crate::pages) async fn page(visitor: Visitor) -> Page {
    let kept = kept(&visitor).await?;
    let body = draw(&visitor, &kept, &Fields::default(), Problems::NONE)?;
    Ok(frame::page(&visitor, Place::Settings, "Records", &body))
}

/// Returns how records are kept. Whoever may erase and nothing else sees none of it.
async fn kept(visitor: &Visitor) -> Result<Vec<KeptView>, Failure> {
    if visitor.may(Permission::LogsErase) && !visitor.may(Permission::LogsRead) {
        return Ok(Vec::new());
    }
    retention::get(&visitor.cx).await
}

fn draw(visitor: &Visitor, kept: &[KeptView], typed: &Fields, problems: Problems<'_>) -> Result<Markup, Failure> {
    Ok(html! {
        (head("records"))
        (problems.summary())
        @if !kept.is_empty() { (keeping(visitor, kept, typed, problems)) }
        @if visitor.may(Permission::LogsErase) { (erasing(visitor, &erasures::list(&visitor.cx)?, typed, problems)) }
    })
}

fn erasing(visitor: &Visitor, all: &[ErasureView], typed: &Fields, problems: Problems<'_>) -> Markup {
    // The page of a person leads here with their address.
    let email = typed.find("email").unwrap_or_else(|| visitor.query.get("erase"));
    html! {
        section id="erase" {
            h2 { "Erase a person" }
            p.muted { "Everything recorded of a person up to now goes from every dataset, for good: web requests, what Workers wrote about them, connections, sign-ins, calls of MCP tools. The audit trail is kept, and so are mentions of them in other people's records. Copies that were made elsewhere are not reached." }
            form.sheet method="post" action="/settings/records/erase" {
                (csrf(&visitor.csrf))
                div.row {
                    (Control::new("email", "E-mail address").required().problems(problems.at("/email")).input("email", email))
                    (Control::new("confirm", "The same address again").required().problems(problems.at("/confirm")).input("email", ""))
                }
                div.actions { button.danger type="submit" { "Erase their records" } }
            }
            @if !all.is_empty() {
                table.cards {
                    thead { tr { th scope="col" { "Asked for" } th scope="col" { "State" } th scope="col" { "Files" } th scope="col" { "Records erased" } } }
                    tbody { @for erasure in all.iter().take(SHOWN) { (erased(erasure)) } }
                }
                @if all.iter().any(|erasure| erasure.state == "waiting" || erasure.state == "running") { p { a href="/settings/records#erase" { "Look again" } } }
            }
        }
    }
}

fn erased(erasure: &ErasureView) -> Markup {
    let (tone, words) = match erasure.state {
        "waiting" => ("plain", "waits"),
        "running" => ("accent", "under way"),
        "erased" => ("calm", "erased; old files go within ten minutes"),
        _ => ("calm", "done"),
    };
    html! {
        tr {
            td data-label="Asked for" { (time(&erasure.asked_at)) }
            td data-label="State" { span class={ "badge " (tone) } { (words) } @if let Some(error) = &erasure.error { div.problem { (error) } } }
            td data-label="Files" { (count(erasure.files_done)) " of " (count(erasure.files_total)) }
            td data-label="Records erased" {
                @if erasure.records.is_empty() { "none" }
                @for (dataset, records) in &erasure.records { div { code { (dataset) } " " (count(*records)) } }
            }
        }
    }
}

/// Serves `POST /settings/records/erase`.
pub(in crate::pages) async fn erase(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let text = |name: &str| fields.get(name).to_owned();
    let body = ErasureBody { email: text("email"), confirm: text("confirm"), user_ids: Vec::new() };
    match erasures::create(&visitor.cx, body).await {
        Ok(_) => go("/settings/records?note=erasing#erase"),
        Err(failure) => {
            let kept = kept(&visitor).await?;
            let body = draw(&visitor, &kept, &fields, Problems::of(&failure))?;
            Ok(refused_form(&visitor, Place::Settings, "Records", &failure, &body))
        }
    }
}

fn keeping(visitor: &Visitor, kept: &[KeptView], typed: &Fields, problems: Problems<'_>) -> Markup {
    let may_write = visitor.may(Permission::LogsWrite);
    html! {
        form.sheet method="post" action="/settings/records" {
            (csrf(&visitor.csrf))
            fieldset {
                legend { "How long records are kept" }
                p.hint { "Whole days go, the oldest first, within a minute of a change. A dataset without a size of its own shares 20 GiB with other traffic; the audit trail and the sign-ins have 1 GiB each, and at least 30 days." }
                table.cards.retention {
                    thead { tr { th scope="col" { "Dataset" } th scope="col" { "Records" } th scope="col" { "Size" } th scope="col" { "Oldest" } th scope="col" { "Days" } th scope="col" { "At most, GiB" } } }
                    tbody { @for (index, view) in kept.iter().enumerate() { (row(index, view, typed, problems, may_write)) } }
                }
            }
            @if may_write { div.actions { button.primary type="submit" { "Save" } } }
        }
    }
}

fn row(index: usize, view: &KeptView, typed: &Fields, problems: Problems<'_>, may_write: bool) -> Markup {
    let names = [format!("days_{}", view.dataset), format!("size_{}", view.dataset)];
    let [days, size] = &names;
    let days_value = typed.find(days).map_or_else(|| view.days.to_string(), str::to_owned);
    let stored_size = view.max_bytes.map(gib).unwrap_or_default();
    let size_value = typed.find(size).map_or(stored_size, str::to_owned);
    let wrong = |member: &str| problems.at(&format!("/datasets/{index}/{member}"));
    let cell = |name: &str, value: &str, label: &str, mode: &str, wrong: Vec<&str>| {
        html! {
            input.short type="text" inputmode=(mode) name=(name) value=(value) aria-label={ (label) ", " (view.dataset) } autocomplete="off"
                disabled[!may_write] aria-invalid=[(!wrong.is_empty()).then_some("true")];
            @for problem in wrong { div.problem { (problem) } }
        }
    };
    html! {
        tr {
            td data-label="Dataset" { code { (view.dataset) } @if !view.default { " " span.badge.plain { "chosen" } } }
            td data-label="Records" { (view.rows) }
            td data-label="Size" { (bytes(view.bytes)) }
            td data-label="Oldest" { (view.oldest.as_deref().unwrap_or("none")) }
            td data-label="Days" { (cell(days, &days_value, "Days", "numeric", wrong("days"))) }
            td data-label="At most, GiB" { (cell(size, &size_value, "At most, GiB", "decimal", wrong("max_bytes"))) }
        }
    }
}

/// A size as it is typed.
fn gib(bytes: u64) -> String {
    let text = format!("{:.4}", bytes as f64 / GIB);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Serves `POST /settings/records`.
pub(in crate::pages) async fn save(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let kept = retention::get(&visitor.cx).await?;
    let saved = match wanted(&kept, &fields) {
        Ok(body) => retention::replace(&visitor.cx, body).await,
        Err(failure) => Err(failure),
    };
    match saved {
        Ok(_) => go("/settings/records?note=saved"),
        Err(failure) => {
            let body = draw(&visitor, &kept, &fields, Problems::of(&failure))?;
            Ok(refused_form(&visitor, Place::Settings, "Records", &failure, &body))
        }
    }
}

/// Returns what the form asks for. Every dataset is named as long as the form is wrong, so that the places agree.
fn wanted(kept: &[KeptView], fields: &Fields) -> Result<RetentionBody, Failure> {
    let mut datasets = Vec::new();
    for (index, view) in kept.iter().enumerate() {
        let (days, size) =
            (fields.get(&format!("days_{}", view.dataset)), fields.get(&format!("size_{}", view.dataset)));
        let pointer = |member: &str| format!("/datasets/{index}/{member}");
        let days = days.parse().map_err(|_| Failure::invalid(pointer("days"), "must be a whole number of days"))?;
        let max_bytes = match size {
            "" => None,
            // What was not touched keeps its exact bytes.
            text if view.max_bytes.is_some_and(|stored| gib(stored) == text) => view.max_bytes,
            text => {
                let size: Option<f64> = text.replace(',', ".").parse().ok();
                let size = size.filter(|size| (0.0..=GIB).contains(size));
                Some(
                    (size.ok_or_else(|| Failure::invalid(pointer("max_bytes"), "must be a number of GiB"))? * GIB)
                        as u64,
                )
            }
        };
        datasets.push((view, KeepBody { dataset: view.dataset.to_owned(), days, max_bytes }));
    }
    let untouched =
        |view: &KeptView, keep: &KeepBody| view.default && keep.days == view.days && keep.max_bytes.is_none();
    let all_in_order =
        datasets.iter().all(|(view, keep)| retention::is_within_bounds(view.dataset, keep.days, keep.max_bytes));
    let chosen = datasets.into_iter().filter(|(view, keep)| !all_in_order || !untouched(view, keep));
    Ok(RetentionBody { datasets: chosen.map(|(_, keep)| keep).collect() })
}
