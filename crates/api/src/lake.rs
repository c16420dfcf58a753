//! Endpoints of the lake: how long records are kept.

use axum::http::Method;
use store::Permission::{LogsRead, LogsWrite};

use super::gate::{Cx, Input};
use super::reply::{Reply, ok};
use super::table::Access::Permission;
use super::table::{Endpoint, Paging, endpoint};
use crate::operations::retention::{self, KeptView, RetentionBody};
use crate::paging::single;

const RETENTION: &str = "/accounts/{account_id}/portunus/logs/retention";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(Method::GET, RETENTION, Permission(LogsRead), "List how long datasets are kept", get_retention)
            .lists::<KeptView>(Paging::Single),
        endpoint(Method::PUT, RETENTION, Permission(LogsWrite), "Choose how long datasets are kept", put_retention)
            .takes_json::<RetentionBody>()
            .lists::<KeptView>(Paging::No),
    ]
}

async fn get_retention(cx: Cx) -> Reply {
    ok(single(retention::get(&cx.op).await?, cx.query("page"))?)
}

async fn put_retention(cx: Cx, input: Input) -> Reply {
    ok(retention::replace(&cx.op, input.json()?).await?)
}
