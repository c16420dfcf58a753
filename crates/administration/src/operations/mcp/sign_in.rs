//! The administrator's own sign-in at an MCP server: for asking what it offers, and for calls where a portal says so.
//!
//! Invariant: what an administrator began in the console ends in their own session there; what a program began ends in the
//! session of somebody who may change the server.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::json;
use store::{Actor, ReadAccess, WriteAccess};
use types::{Code, McpServerId};
use url::Url;

use super::super::access::AccessView;
use super::{SERVER, servers};
use crate::app::McpServers;
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::Failure;

/// Where authorization servers send an administrator's browser back to, below the console's address.
pub const CALLBACK: &str = "/mcp/servers-callback";

fn speaks(cx: &OpContext) -> Result<&dyn McpServers, Failure> {
    let away = || Failure::new(Code::Unavailable, "MCP servers are not spoken to here; the role `agents` does that");
    cx.app.deps.mcp.as_deref().ok_or_else(away)
}

/// What a sign-in is bound to: the administrator, or that a program began it.
fn bound(actor: Option<&Actor>) -> [u8; 32] {
    let text = match actor {
        Some(Actor::Administrator { id, .. }) => format!("mcp sign-in of administrator {id}"),
        Some(Actor::Token { .. } | Actor::System { .. }) | None => "mcp sign-in of a program".to_owned(),
    };
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    bytes
}

/// Begins a sign-in; the answer names where the administrator's browser is to go.
///
/// # Errors
///
/// `NotFound`, `Unavailable` where the server's authorization server cannot be used, and why.
pub async fn begin(cx: &OpContext, id: &McpServerId) -> Result<Url, Failure> {
    cx.authorize::<WriteAccess>()?;
    known(cx, id).await?;
    let back = format!("{}{CALLBACK}", cx.app.deps.addresses.console_url.trim_end_matches('/'));
    let back = Url::parse(&back).map_err(|_| Failure::new(Code::Internal, "the console's address is not one"))?;
    let begun = speaks(cx)?.begin_sign_in(id, &back, bound(Some(cx.actor()))).await;
    let url = begun.map_err(|reason| Failure::new(Code::Unavailable, reason.to_string()))?;
    cx.record(Change::new(Verb::Update, "mcp_credential", id).after(json!({"signed_in": "begun"}))).await?;
    Ok(url)
}

/// Ends a sign-in that a browser comes back from, and asks the server what it offers.
///
/// # Errors
///
/// `InvalidInput` when the answer is not believed.
pub async fn complete(cx: &OpContext, query: &str) -> Result<McpServerId, Failure> {
    cx.authorize::<WriteAccess>()?;
    let mcp = speaks(cx)?;
    let bounds = [bound(Some(cx.actor())), bound(None)];
    let server = mcp.complete_sign_in(query, &bounds).await;
    let server = server.map_err(|reason| Failure::new(Code::InvalidInput, reason.to_string()))?;
    cx.record(Change::new(Verb::Update, "mcp_credential", &server).after(json!({"signed_in": true}))).await?;
    // The sign-in stands whatever the server says of itself; what it says is in its catalogue.
    if let Err(failure) = servers::sync(cx, &server).await {
        tracing::info!(?failure, %server, "a server that was signed in to could not be asked");
    }
    Ok(server)
}

/// Signs the administrator out, here and at the server.
///
/// # Errors
///
/// `NotFound`, `Unavailable`.
pub async fn end(cx: &OpContext, id: &McpServerId) -> Result<AccessView, Failure> {
    cx.authorize::<WriteAccess>()?;
    known(cx, id).await?;
    let ended = speaks(cx)?.end_sign_in(id).await;
    ended.map_err(|reason| Failure::new(Code::Unavailable, reason.to_string()))?;
    cx.record(Change::new(Verb::Delete, "mcp_credential", id)).await?;
    servers::get(cx, id).await
}

async fn known(cx: &OpContext, id: &McpServerId) -> Result<(), Failure> {
    let grant = cx.authorize::<ReadAccess>()?;
    let found = cx.store().mcp_servers().get(&grant, id).await?;
    found.map(drop).ok_or_else(|| Failure::not_found(SERVER))
}
