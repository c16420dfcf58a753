//! Endpoints of saved queries, of the signals that ask them on a schedule, and of the events that came of it.

use axum::http::Method;
use serde_json::json;
use store::Permission::{LogsRead, LogsWrite};

use super::gate::{Cx, Input};
use super::reply::{Reply, ok};
use super::table::Access::Permission;
use super::table::{Endpoint, Paging, endpoint};
use crate::operations::saved_queries::{self, SavedQueryBody, SavedQueryView};
use crate::operations::signals::{self, SignalBody, SignalEventView, SignalView, TrialView};
use crate::paging::single;

const QUERIES: &str = "/accounts/{account_id}/portunus/logs/queries";
const QUERY: &str = "/accounts/{account_id}/portunus/logs/queries/{query_id}";
const SIGNALS: &str = "/accounts/{account_id}/portunus/signals";
const SIGNAL: &str = "/accounts/{account_id}/portunus/signals/{signal_id}";
const KEY: &str = "/accounts/{account_id}/portunus/signals/{signal_id}/webhook_secret";
const TRIAL: &str = "/accounts/{account_id}/portunus/signals/trial";
const EVENTS: &str = "/accounts/{account_id}/portunus/signal_events";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let (read, write) = (Permission(LogsRead), Permission(LogsWrite));
    vec![
        endpoint(Method::GET, QUERIES, read, "List saved queries", list_queries)
            .lists::<SavedQueryView>(Paging::Single),
        endpoint(Method::POST, QUERIES, write, "Save a query", create_query)
            .takes_json::<SavedQueryBody>()
            .returns::<SavedQueryView>(),
        endpoint(Method::GET, QUERY, read, "Get a saved query", get_query).returns::<SavedQueryView>(),
        endpoint(Method::PUT, QUERY, write, "Replace a saved query", replace_query)
            .takes_json::<SavedQueryBody>()
            .returns::<SavedQueryView>(),
        endpoint(Method::DELETE, QUERY, write, "Delete a saved query", delete_query),
        endpoint(Method::GET, SIGNALS, read, "List signals", list_signals).lists::<SignalView>(Paging::Single),
        endpoint(Method::POST, SIGNALS, write, "Make a signal", create_signal)
            .takes_json::<SignalBody>()
            .returns::<SignalView>(),
        endpoint(Method::GET, SIGNAL, read, "Get a signal", get_signal).returns::<SignalView>(),
        endpoint(Method::PUT, SIGNAL, write, "Replace a signal", replace_signal)
            .takes_json::<SignalBody>()
            .returns::<SignalView>(),
        endpoint(Method::DELETE, SIGNAL, write, "Delete a signal; its events stay", delete_signal),
        endpoint(Method::POST, KEY, write, "Make a new key for the posts of a signal", renew_key)
            .returns::<SignalView>(),
        endpoint(Method::POST, TRIAL, write, "Try what a signal would have found", try_signal)
            .takes_json::<SignalBody>()
            .returns::<TrialView>(),
        endpoint(Method::GET, EVENTS, read, "List security events of signals, newest first", events)
            .lists::<SignalEventView>(Paging::Single),
    ]
}

async fn list_queries(cx: Cx) -> Reply {
    ok(single(saved_queries::list(&cx.op).await?, cx.query("page"))?)
}

async fn create_query(cx: Cx, input: Input) -> Reply {
    ok(saved_queries::create(&cx.op, input.json()?).await?)
}

async fn get_query(cx: Cx) -> Reply {
    ok(saved_queries::get(&cx.op, cx.id("query_id", "saved query")?).await?)
}

async fn replace_query(cx: Cx, input: Input) -> Reply {
    ok(saved_queries::replace(&cx.op, cx.id("query_id", "saved query")?, input.json()?).await?)
}

async fn delete_query(cx: Cx) -> Reply {
    saved_queries::delete(&cx.op, cx.id("query_id", "saved query")?).await?;
    ok(json!({}))
}

async fn list_signals(cx: Cx) -> Reply {
    ok(single(signals::list(&cx.op).await?, cx.query("page"))?)
}

async fn create_signal(cx: Cx, input: Input) -> Reply {
    ok(signals::create(&cx.op, input.json()?).await?)
}

async fn get_signal(cx: Cx) -> Reply {
    ok(signals::get(&cx.op, cx.id("signal_id", "signal")?).await?)
}

async fn replace_signal(cx: Cx, input: Input) -> Reply {
    ok(signals::replace(&cx.op, cx.id("signal_id", "signal")?, input.json()?).await?)
}

async fn delete_signal(cx: Cx) -> Reply {
    signals::delete(&cx.op, cx.id("signal_id", "signal")?).await?;
    ok(json!({}))
}

async fn renew_key(cx: Cx) -> Reply {
    ok(signals::renew_key(&cx.op, cx.id("signal_id", "signal")?).await?)
}

async fn try_signal(cx: Cx, input: Input) -> Reply {
    ok(signals::trial(&cx.op, input.json()?).await?)
}

async fn events(cx: Cx) -> Reply {
    ok(single(signals::events(&cx.op).await?, cx.query("page"))?)
}
