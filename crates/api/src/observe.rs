//! Endpoints for looking at what happens: records, live views, minute counts, the state of this installation.

use std::convert::Infallible;

use axum::http::Method;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream;
use logs::TailEvent;
use serde::Serialize;
use store::Permission::SettingsRead;
use types::ResultInfo;
use utoipa::ToSchema;

use super::gate::Cx;
use super::reply::{Reply, ok, page};
use super::table::Access::{Authenticated, Permission};
use super::table::{Endpoint, Paging, endpoint};
use crate::app::{Addresses, SnapshotStatus};
use crate::operations::logs as records;
use crate::paging::single;

const LOGS: &str = "/accounts/{account_id}/portunus/logs/{dataset}";
const RECORD: &str = "/accounts/{account_id}/portunus/logs/{dataset}/records/{record_id}";
const TAIL: &str = "/accounts/{account_id}/portunus/logs/{dataset}/tail";
const MINUTES: &str = "/accounts/{account_id}/portunus/logs/{dataset}/minutes";
const FIELDS: &str = "/accounts/{account_id}/portunus/logs/{dataset}/fields";
const STATUS: &str = "/accounts/{account_id}/portunus/status";

/// The state of this installation.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct StatusView {
    pub(crate) version: &'static str,
    pub(crate) snapshot: SnapshotStatus,
    pub(crate) addresses: Addresses,
    /// `sqlite` or `postgres`
    pub(crate) store: &'static str,
    pub(crate) store_error: Option<String>,
    /// Why the journal does not take records, if it does not.
    pub(crate) journal_error: Option<String>,
    /// Why records stay in the journal, if the lake does not take them over; or why those of other nodes are not seen.
    pub(crate) lake_error: Option<String>,
}

// Which permission a dataset needs is known only with its name: the operation asks for it.
pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(Method::GET, LOGS, Authenticated, "List records, newest first; fields filter as Field=value", list)
            .lists::<records::RecordView>(Paging::Cursor)
            .query(&[("since", "a time"), ("until", "a time")]),
        endpoint(Method::GET, RECORD, Authenticated, "Get one record", get).returns::<records::RecordView>(),
        endpoint(Method::GET, TAIL, Authenticated, "Follow records as server-sent events", tail)
            .returns_raw("text/event-stream"),
        endpoint(Method::GET, MINUTES, Authenticated, "Count records by minute", minutes)
            .lists::<records::MinuteView>(Paging::Single),
        endpoint(Method::GET, FIELDS, Authenticated, "List the fields of a dataset", fields)
            .lists::<records::FieldView>(Paging::Single),
        endpoint(Method::GET, STATUS, Permission(SettingsRead), "Get the state of this installation", status)
            .returns::<StatusView>(),
    ]
}

async fn list(cx: Cx) -> Reply {
    let found = records::page(&cx.op, cx.text("dataset"), cx.queries()).await?;
    let info =
        ResultInfo { count: Some(found.records.len() as u64), cursor: Some(found.cursor), ..ResultInfo::default() };
    page(found.records, info)
}

async fn get(cx: Cx) -> Reply {
    ok(records::get(&cx.op, cx.text("dataset"), cx.id("record_id", "record")?).await?)
}

async fn minutes(cx: Cx) -> Reply {
    ok(single(records::minutes(&cx.op, cx.text("dataset"))?, cx.query("page"))?)
}

async fn fields(cx: Cx) -> Reply {
    ok(single(records::fields(&cx.op, cx.text("dataset"))?, cx.query("page"))?)
}

async fn tail(cx: Cx) -> Reply {
    let follower = records::follow(&cx.op, cx.text("dataset"))?;
    let events = stream::unfold(follower, |(mut tail, permit)| async move {
        let event = match tail.next().await? {
            TailEvent::Record(record) => Event::default().id(record.id.to_string()).event("record").data(&*record.json),
            TailEvent::Missed(count) => Event::default().event("missed").data(count.to_string()),
        };
        Some((Ok::<_, Infallible>(event), (tail, permit)))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

async fn status(cx: Cx) -> Reply {
    let health = cx.op.store().health().await;
    let journal = cx.op.app.deps.logs.health();
    ok(StatusView {
        version: env!("CARGO_PKG_VERSION"),
        snapshot: cx.op.app.deps.snapshot.status(),
        addresses: cx.op.app.deps.addresses.clone(),
        store: health.backend,
        store_error: health.answered.err().map(|error| error.to_string()),
        journal_error: journal.failing.map(|failing| failing.error),
        lake_error: journal.lake_failing,
    })
}
