//! Endpoints for how the gateway reaches origins, and for waiting until what was stored is in force.

use axum::http::Method;
use serde::Serialize;
use store::Permission::{GatewayRead, GatewayWrite};
use utoipa::ToSchema;

use super::gate::{Cx, Input};
use super::reply::{Reply, ok};
use super::table::Access::Permission;
use super::table::{Endpoint, endpoint};
use crate::app::SnapshotStatus;
use crate::operations::network::{self, NetworkPatch, NetworkSettings};

const NETWORK: &str = "/accounts/{account_id}/portunus/network";
const SETTLE: &str = "/accounts/{account_id}/portunus/snapshot/settle";

/// The configuration that is in force after waiting.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Settled {
    pub(crate) snapshot: SnapshotStatus,
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(Method::GET, NETWORK, Permission(GatewayRead), "Get how the gateway reaches origins", get)
            .returns::<NetworkSettings>(),
        endpoint(Method::PUT, NETWORK, Permission(GatewayWrite), "Replace how the gateway reaches origins", put)
            .takes_json::<NetworkSettings>()
            .returns::<NetworkSettings>(),
        endpoint(Method::PATCH, NETWORK, Permission(GatewayWrite), "Replace some of the network settings", patch)
            .takes_json::<NetworkPatch>()
            .returns::<NetworkSettings>(),
        endpoint(Method::POST, SETTLE, Permission(GatewayRead), "Wait until everything stored is in force", settle)
            .returns::<Settled>(),
    ]
}

async fn get(cx: Cx) -> Reply {
    ok(network::get(&cx.op).await?)
}

async fn put(cx: Cx, input: Input) -> Reply {
    ok(network::replace(&cx.op, input.json()?).await?)
}

async fn patch(cx: Cx, input: Input) -> Reply {
    ok(network::merge(&cx.op, input.json::<NetworkPatch>()?).await?)
}

async fn settle(cx: Cx) -> Reply {
    let view = &cx.op.app.deps.snapshot;
    view.settle().await;
    ok(Settled { snapshot: view.status() })
}
