//! The newest calls of a Worker: how often, how long, what failed.
//!
//! Counts over what the log returns. Invariant: at most one page of records is read.

use axum::extract::Path;
use maud::{Markup, html};
use serde_json::{Map, Value};

use super::{Calls, head, quantile};
use crate::operations::{logs, scripts};
use crate::pages::frame::{self, Place, empty};
use crate::pages::visitor::Visitor;
use crate::pages::{Page, activity, format, record};

/// Rows shown; all that were read are counted.
const ROWS: usize = 50;

/// Serves `GET /workers/{name}/calls`.
pub(in crate::pages) async fn page(visitor: Visitor, Path(name): Path<String>) -> Page {
    let name = scripts::parse_name(&name)?;
    scripts::get(&visitor.cx, &name).await?;
    let parameters = [("limit".to_owned(), "1000".to_owned()), ("ScriptName".to_owned(), name.to_string())];
    let found = logs::page(&visitor.cx, "worker", &parameters).await?;
    let records: Vec<&Map<String, Value>> = found.records.iter().map(|record| &record.0).collect();
    let mut calls = Calls::default();
    records.iter().for_each(|record| calls.add(record));
    calls.sort();
    let body = html! {
        (head(&visitor, &name, "/calls"))
        @if records.is_empty() {
            (empty("It has not been called.", &html! { "Write " a href={ "/rules/new?worker=" (name) } { "a rule that calls it" } ", or run it in the preview." }))
        } @else {
            (figures(&calls))
            (newest_failure(&records))
            div.scroll {
                table.records.worker {
                    thead { tr { @for column in ["Time", "Outcome", "Worker", "Decision", "Event", "CPU", "Took", "Fetches"] { th scope="col" { (column) } } } }
                    tbody { @for record in records.iter().take(ROWS) { (activity::row("worker", record)) } }
                }
            }
            p { a href={ "/activity?dataset=worker&host=" (name) } { "All calls, with filters" } }
        }
    };
    Ok(frame::page(&visitor, Place::Workers, name.as_str(), &body))
}

fn figures(calls: &Calls) -> Markup {
    html! {
        dl.figures {
            div { dt { "Calls" } dd { (calls.wall.len()) small { "newest 1000 at most" } } }
            div { dt { "Failed" } dd.bad[calls.failed > 0] { (calls.failed) } }
            div { dt { "p50" } dd { (quantile(&calls.wall, 50)) } }
            div { dt { "p99" } dd { (quantile(&calls.wall, 99)) } }
            div { dt { "CPU p50" } dd { (quantile(&calls.cpu, 50)) } }
            div { dt { "CPU p99" } dd { (quantile(&calls.cpu, 99)) } }
        }
    }
}

fn newest_failure(records: &[&Map<String, Value>]) -> Markup {
    let failed = records
        .iter()
        .find(|record| record.get("Exceptions").and_then(Value::as_array).is_some_and(|all| !all.is_empty()));
    html! {
        @if let Some(failed) = failed {
            section {
                h2 { "Newest exception" }
                p { (format::time(format::text(failed, "Datetime"))) " " a href={ "/activity/worker/" (format::text(failed, "RecordID")) } { "Open the call" } }
                pre.problem { @for one in failed.get("Exceptions").and_then(Value::as_array).into_iter().flatten() { (one.get("message").or_else(|| one.get("Message")).map_or_else(|| record::shown(one), record::shown)) "\n" } }
            }
        }
    }
}
