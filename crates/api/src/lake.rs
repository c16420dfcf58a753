//! Endpoints of the lake: how long records are kept, and erasing those of a person.

use axum::http::Method;
use store::Permission::{LogsErase, LogsRead, LogsWrite};

use super::gate::{Cx, Input};
use super::reply::{Reply, ok};
use super::table::Access::Permission;
use super::table::{Endpoint, Paging, endpoint};
use crate::operations::erasures::{self, ErasureBody, ErasureView};
use crate::operations::retention::{self, KeptView, RetentionBody};
use crate::paging::single;

const RETENTION: &str = "/accounts/{account_id}/portunus/logs/retention";
const ERASURES: &str = "/accounts/{account_id}/portunus/logs/erasures";
const ERASURE: &str = "/accounts/{account_id}/portunus/logs/erasures/{erasure_id}";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(Method::GET, RETENTION, Permission(LogsRead), "List how long datasets are kept", get_retention)
            .lists::<KeptView>(Paging::Single),
        endpoint(Method::PUT, RETENTION, Permission(LogsWrite), "Choose how long datasets are kept", put_retention)
            .takes_json::<RetentionBody>()
            .lists::<KeptView>(Paging::No),
        endpoint(Method::GET, ERASURES, Permission(LogsErase), "List erasures of people's records", list_erasures)
            .lists::<ErasureView>(Paging::Single),
        endpoint(Method::POST, ERASURES, Permission(LogsErase), "Erase what is recorded of a person", create_erasure)
            .takes_json::<ErasureBody>()
            .returns::<ErasureView>(),
        endpoint(Method::GET, ERASURE, Permission(LogsErase), "Get how far an erasure is", get_erasure)
            .returns::<ErasureView>(),
    ]
}

async fn get_retention(cx: Cx) -> Reply {
    ok(single(retention::get(&cx.op).await?, cx.query("page"))?)
}

async fn put_retention(cx: Cx, input: Input) -> Reply {
    ok(retention::replace(&cx.op, input.json()?).await?)
}

async fn list_erasures(cx: Cx) -> Reply {
    ok(single(erasures::list(&cx.op)?, cx.query("page"))?)
}

async fn create_erasure(cx: Cx, input: Input) -> Reply {
    ok(erasures::create(&cx.op, input.json()?).await?)
}

async fn get_erasure(cx: Cx) -> Reply {
    ok(erasures::get(&cx.op, cx.id("erasure_id", "erasure")?)?)
}
