//! Endpoints of the log explorer: SQL over what was recorded, in the vendor's shape and in ours.
//!
//! A query ends with the connection that asked for it. The stream tells how far a long one is.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, header};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream;
use logs::sql::{MAX_TEXT, Progress};
use serde::{Deserialize, Serialize};
use types::Code;
use utoipa::ToSchema;

use super::gate::{Cx, Input};
use super::reply::{Reply, ok};
use super::table::Access::Authenticated;
use super::table::{Endpoint, Paging, endpoint};
use crate::failure::Failure;
use crate::operations::explorer::{self, AnswerView, DatasetView, Form, RowView};
use crate::paging::single;

const DATASETS: &str = "/accounts/{account_id}/logs/explorer/datasets";
const SQL: &str = "/accounts/{account_id}/logs/explorer/query/sql";
const QUERY: &str = "/accounts/{account_id}/logs/explorer/query";
const STREAM: &str = "/accounts/{account_id}/portunus/logs/explorer/stream";
/// A query as JSON is at most this much longer than its text.
const BODY: usize = 2 * MAX_TEXT + 1_024;
/// How often the stream tells how far a query is.
const TICK: Duration = Duration::from_millis(250);

/// A query.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueryBody {
    /// One SELECT.
    query: String,
}

/// How far a query is.
#[derive(Debug, Clone, Copy, Serialize)]
struct ProgressView {
    rows_read: u64,
    rows_in_range: u64,
}

// Which datasets a query may ask about is known only with the caller: the operation asks for the permissions.
pub(super) fn endpoints() -> Vec<Endpoint> {
    const FORMAT: (&str, &str) = ("format", "json, or csv, jsonl or parquet for a file");
    vec![
        endpoint(Method::GET, DATASETS, Authenticated, "List the datasets that can be queried", datasets)
            .lists::<DatasetView>(Paging::Single),
        endpoint(Method::GET, SQL, Authenticated, "Run a query given in the URL", by_url)
            .returns::<Vec<RowView>>()
            .query(&[("query", "one SELECT"), FORMAT]),
        endpoint(Method::POST, SQL, Authenticated, "Run a query given as text", by_text)
            .returns::<Vec<RowView>>()
            .query(&[FORMAT])
            .body_limit(BODY),
        endpoint(Method::POST, QUERY, Authenticated, "Run a query; answers columns, rows, cost and plan", query)
            .takes_json::<QueryBody>()
            .returns::<AnswerView>()
            .query(&[FORMAT])
            .body_limit(BODY),
        endpoint(Method::POST, STREAM, Authenticated, "Run a query; progress and answer as server-sent events", follow)
            .takes_json::<QueryBody>()
            .returns_raw("text/event-stream")
            .body_limit(BODY),
    ]
}

fn message(failure: &Failure) -> String {
    failure.problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ")
}

async fn datasets(cx: Cx) -> Reply {
    ok(single(explorer::datasets(&cx.op)?, cx.query("page"))?)
}

async fn by_url(cx: Cx) -> Reply {
    let text = cx.query("query").unwrap_or_default().to_owned();
    folded(&cx, &text).await
}

async fn by_text(cx: Cx, input: Input) -> Reply {
    let text = std::str::from_utf8(input.bytes())
        .map_err(|_| Failure::new(Code::InvalidInput, "the query is not UTF-8"))?
        .to_owned();
    folded(&cx, &text).await
}

async fn folded(cx: &Cx, text: &str) -> Reply {
    let form = form(cx)?;
    let answer = explorer::run(&cx.op, text, Arc::default()).await?;
    match form {
        Some(form) => file(form, form.write(&answer)?),
        None => ok(explorer::folded(&answer)?),
    }
}

async fn query(cx: Cx, input: Input) -> Reply {
    let body: QueryBody = input.json()?;
    let form = form(&cx)?;
    let answer = explorer::run(&cx.op, &body.query, Arc::default()).await?;
    match form {
        Some(form) => file(form, form.write(&answer)?),
        None => ok(explorer::view(&answer)?),
    }
}

fn form(cx: &Cx) -> Result<Option<Form>, Failure> {
    match cx.query("format") {
        None | Some("" | "json") => Ok(None),
        Some(name) => Form::named(name).map(Some).ok_or_else(|| {
            Failure::new(Code::InvalidInput, "query parameter \"format\" must be json, csv, jsonl or parquet")
        }),
    }
}

fn file(form: Form, bytes: Vec<u8>) -> Reply {
    let name = format!("attachment; filename=\"logs.{}\"", form.extension());
    let headers = [(header::CONTENT_TYPE, form.media_type().to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, bytes).into_response())
}

async fn follow(cx: Cx, input: Input) -> Reply {
    let body: QueryBody = input.json()?;
    // Refused before the stream begins, so that the status tells.
    explorer::admitted(&cx.op)?;
    let progress = Arc::new(Progress::default());
    let running = {
        let (op, progress) = (cx.op.clone(), Arc::clone(&progress));
        Box::pin(
            async move { explorer::run(&op, &body.query, progress).await.and_then(|answer| explorer::view(&answer)) },
        )
    };
    let events = stream::unfold(Some(running), move |running| {
        let progress = Arc::clone(&progress);
        async move {
            let mut running = running?;
            let event = tokio::select! {
                ended = &mut running => {
                    let event = match ended {
                        Ok(answer) => Event::default().event("answer").json_data(answer),
                        Err(failure) => Event::default().event("error").json_data(message(&failure)),
                    };
                    return Some((Ok::<_, Infallible>(event.unwrap_or_default()), None));
                }
                () = tokio::time::sleep(TICK) => {
                    let view = ProgressView { rows_read: progress.rows_read(), rows_in_range: progress.rows_in_range() };
                    Event::default().event("progress").json_data(view).unwrap_or_default()
                }
            };
            Some((Ok(event), Some(running)))
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}
