//! Endpoints of what was found in the traffic without anybody having asked for it: MCP servers.

use axum::http::Method;
use store::Permission::LogsRead;

use super::gate::Cx;
use super::reply::{Reply, ok};
use super::table::Access::Permission;
use super::table::{Endpoint, Paging, endpoint};
use crate::operations::rules::RuleView;
use crate::operations::shadow_mcp::{self, McpSeen, McpSeenDetail, Period};
use crate::paging::single;

const ALL: &str = "/accounts/{account_id}/portunus/shadow/mcp/servers";
const ONE: &str = "/accounts/{account_id}/portunus/shadow/mcp/servers/{host}";
const RULE: &str = "/accounts/{account_id}/portunus/shadow/mcp/servers/{host}/rule";
const DAYS: (&str, &str) = ("days", "1 to 400, 30 unless it says otherwise");

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(Method::GET, ALL, Permission(LogsRead), "List MCP servers that were seen in the traffic", list)
            .lists::<McpSeen>(Paging::Single)
            .query(&[DAYS]),
        endpoint(Method::GET, ONE, Permission(LogsRead), "Get an MCP server that was seen, with its use", get)
            .returns::<McpSeenDetail>()
            .query(&[DAYS]),
        endpoint(Method::GET, RULE, Permission(LogsRead), "Draft a rule about an MCP server; saves nothing", rule)
            .returns::<RuleView>()
            .query(&[("action", "block, redirect (to the portal) or log (the messages, masked)")]),
    ]
}

fn period(cx: &Cx) -> Result<Period, crate::failure::Failure> {
    Period::read(cx.query("days").unwrap_or_default())
}

async fn list(cx: Cx) -> Reply {
    ok(single(shadow_mcp::list(&cx.op, period(&cx)?).await?, cx.query("page"))?)
}

async fn get(cx: Cx) -> Reply {
    ok(shadow_mcp::get(&cx.op, period(&cx)?, cx.text("host")).await?)
}

async fn rule(cx: Cx) -> Reply {
    let act = cx.query("action").unwrap_or_default();
    ok(RuleView(shadow_mcp::draft(&cx.op, cx.text("host"), act).await?))
}
