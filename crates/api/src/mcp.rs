//! Endpoints of MCP portals and servers.

use axum::http::Method;
use store::Permission::{AccessRead, AccessWrite};
use types::{McpPortalId, McpServerId};

use super::gate::{Cx, Input};
use super::reply::{Reply, ok, page};
use super::table::Access::Permission;
use super::table::{Endpoint, Paging, endpoint};
use crate::failure::Failure;
use crate::operations::access::{AccessBody, AccessView};
use crate::operations::mcp::definitions::{self, Decision, DecisionBody, DefinitionView};
use crate::operations::mcp::seen::{self, SeenView};
use crate::operations::mcp::{portals, servers, sign_in};
use crate::paging::PageRequest;

/// Most bytes of a portal or server.
const DOCUMENT_BYTES: usize = 2 << 20;
/// How long a page is where the caller does not say: each entry may hold hundreds of definitions.
const PER_PAGE: u64 = 50;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let mut all = portal_endpoints();
    all.extend(server_endpoints());
    all
}

fn asked(cx: &Cx) -> Result<PageRequest, Failure> {
    PageRequest::parse(cx.query("page"), cx.query("per_page"), PER_PAGE)
}

fn portal_endpoints() -> Vec<Endpoint> {
    const PORTALS: &str = "/accounts/{account_id}/access/ai-controls/mcp/portals";
    const PORTAL: &str = "/accounts/{account_id}/access/ai-controls/mcp/portals/{portal_id}";
    const SEEN: &str = "/accounts/{account_id}/access/ai-controls/mcp/portals/{portal_id}/seen";
    vec![
        endpoint(Method::GET, PORTALS, Permission(AccessRead), "List MCP portals", list_portals)
            .lists::<AccessView>(Paging::Numbered)
            .query(&[("search", "only portals whose id, name or host holds this")]),
        endpoint(
            Method::POST,
            PORTALS,
            Permission(AccessWrite),
            "Make an MCP portal and its application",
            create_portal,
        )
        .takes_json::<AccessBody>()
        .returns::<AccessView>()
        .body_limit(DOCUMENT_BYTES),
        endpoint(Method::GET, PORTAL, Permission(AccessRead), "Get an MCP portal with its servers", get_portal)
            .returns::<AccessView>(),
        endpoint(Method::PUT, PORTAL, Permission(AccessWrite), "Change an MCP portal", put_portal)
            .takes_json::<AccessBody>()
            .returns::<AccessView>()
            .body_limit(DOCUMENT_BYTES),
        endpoint(
            Method::DELETE,
            PORTAL,
            Permission(AccessWrite),
            "Delete an MCP portal and its application",
            delete_portal,
        )
        .returns::<AccessView>(),
        endpoint(
            Method::GET,
            SEEN,
            Permission(AccessRead),
            "Say what a person sees of an MCP portal, and why",
            seen_of,
        )
        .returns::<SeenView>()
        .query(&[("email", "whose view; needs the permission to read people")]),
    ]
}

fn portal_id(cx: &Cx) -> Result<McpPortalId, Failure> {
    cx.id("portal_id", "MCP portal")
}

async fn list_portals(cx: Cx) -> Reply {
    let all = portals::search(&cx.op, cx.query("search")).await?;
    let (found, info) = asked(&cx)?.cut(all);
    page(portals::show_all(&cx.op, &found).await?, info)
}

async fn create_portal(cx: Cx, input: Input) -> Reply {
    ok(portals::create(&cx.op, &input.value()?).await?)
}

async fn get_portal(cx: Cx) -> Reply {
    ok(portals::get(&cx.op, &portal_id(&cx)?).await?)
}

async fn put_portal(cx: Cx, input: Input) -> Reply {
    ok(portals::replace(&cx.op, &portal_id(&cx)?, &input.value()?).await?)
}

async fn delete_portal(cx: Cx) -> Reply {
    ok(portals::delete(&cx.op, &portal_id(&cx)?).await?)
}

async fn seen_of(cx: Cx) -> Reply {
    let portal = portal_id(&cx)?;
    let email = cx.query("email").unwrap_or_default();
    ok(seen::of(&cx.op, &portal, email).await?)
}

fn server_endpoints() -> Vec<Endpoint> {
    const SERVERS: &str = "/accounts/{account_id}/access/ai-controls/mcp/servers";
    const SERVER: &str = "/accounts/{account_id}/access/ai-controls/mcp/servers/{server_id}";
    const SIGN_IN: &str = "/accounts/{account_id}/access/ai-controls/mcp/servers/{server_id}/sign_in";
    const SYNC: &str = "/accounts/{account_id}/access/ai-controls/mcp/servers/{server_id}/sync";
    const DEFINITIONS: &str = "/accounts/{account_id}/access/ai-controls/mcp/servers/{server_id}/definitions";
    const APPROVE: &str = "/accounts/{account_id}/access/ai-controls/mcp/servers/{server_id}/definitions/approve";
    const REFUSE: &str = "/accounts/{account_id}/access/ai-controls/mcp/servers/{server_id}/definitions/refuse";
    vec![
        endpoint(Method::GET, SERVERS, Permission(AccessRead), "List MCP servers", list_servers)
            .lists::<AccessView>(Paging::Numbered)
            .query(&[("search", "only servers whose id or name holds this")]),
        endpoint(
            Method::POST,
            SERVERS,
            Permission(AccessWrite),
            "Make an MCP server and its application",
            create_server,
        )
        .takes_json::<AccessBody>()
        .returns::<AccessView>()
        .body_limit(DOCUMENT_BYTES),
        endpoint(Method::GET, SERVER, Permission(AccessRead), "Get an MCP server with what it offers", get_server)
            .returns::<AccessView>(),
        endpoint(Method::PUT, SERVER, Permission(AccessWrite), "Change an MCP server", put_server)
            .takes_json::<AccessBody>()
            .returns::<AccessView>()
            .body_limit(DOCUMENT_BYTES),
        endpoint(
            Method::DELETE,
            SERVER,
            Permission(AccessWrite),
            "Delete an MCP server that no portal names",
            delete_server,
        )
        .returns::<AccessView>(),
        endpoint(Method::POST, SIGN_IN, Permission(AccessWrite), "Begin to sign in at an MCP server", begin_sign_in)
            .returns::<AccessView>(),
        endpoint(Method::DELETE, SIGN_IN, Permission(AccessWrite), "Sign out at an MCP server", end_sign_in)
            .returns::<AccessView>(),
        endpoint(Method::POST, SYNC, Permission(AccessWrite), "Ask an MCP server what it offers", sync_server)
            .returns::<AccessView>(),
        endpoint(
            Method::GET,
            DEFINITIONS,
            Permission(AccessRead),
            "List the definitions of an MCP server and how they stand",
            list_definitions,
        )
        .lists::<DefinitionView>(Paging::Numbered)
        .query(&[("state", "waiting, refused or approved")]),
        endpoint(Method::POST, APPROVE, Permission(AccessWrite), "Approve definitions of an MCP server", approve)
            .takes_json::<DecisionBody>()
            .lists::<DefinitionView>(Paging::No),
        endpoint(Method::POST, REFUSE, Permission(AccessWrite), "Refuse definitions of an MCP server", refuse)
            .takes_json::<DecisionBody>()
            .lists::<DefinitionView>(Paging::No),
    ]
}

fn server_id(cx: &Cx) -> Result<McpServerId, Failure> {
    cx.id("server_id", "MCP server")
}

async fn list_servers(cx: Cx) -> Reply {
    let all = servers::search(&cx.op, cx.query("search")).await?;
    let (found, info) = asked(&cx)?.cut(all);
    page(servers::show_all(&cx.op, &found).await?, info)
}

async fn create_server(cx: Cx, input: Input) -> Reply {
    ok(servers::create(&cx.op, &input.value()?).await?)
}

async fn get_server(cx: Cx) -> Reply {
    ok(servers::get(&cx.op, &server_id(&cx)?).await?)
}

async fn put_server(cx: Cx, input: Input) -> Reply {
    ok(servers::replace(&cx.op, &server_id(&cx)?, &input.value()?).await?)
}

async fn delete_server(cx: Cx) -> Reply {
    ok(servers::delete(&cx.op, &server_id(&cx)?).await?)
}

async fn sync_server(cx: Cx) -> Reply {
    ok(servers::sync(&cx.op, &server_id(&cx)?).await?)
}

async fn begin_sign_in(cx: Cx) -> Reply {
    let url = sign_in::begin(&cx.op, &server_id(&cx)?).await?;
    let mut shown = serde_json::Map::new();
    shown.insert("authorization_url".to_owned(), url.as_str().into());
    ok(AccessView(shown))
}

async fn end_sign_in(cx: Cx) -> Reply {
    ok(sign_in::end(&cx.op, &server_id(&cx)?).await?)
}

async fn list_definitions(cx: Cx) -> Reply {
    let found = definitions::list(&cx.op, &server_id(&cx)?, cx.query("state")).await?;
    let (found, info) = asked(&cx)?.cut(found.all);
    page(found, info)
}

async fn approve(cx: Cx, input: Input) -> Reply {
    decide(cx, input, Decision::Approve).await
}

async fn refuse(cx: Cx, input: Input) -> Reply {
    decide(cx, input, Decision::Refuse).await
}

async fn decide(cx: Cx, input: Input, decision: Decision) -> Reply {
    let sent: DecisionBody = input.json()?;
    ok(definitions::decide(&cx.op, &server_id(&cx)?, decision, &sent).await?)
}
