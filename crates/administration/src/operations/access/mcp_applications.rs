//! Applications that stand for MCP portals and servers: made with them, and found by what they stand for.
//!
//! Whoever publishes one by hand, as declarative tools do, takes over the one that was made with the portal or server, as
//! long as nobody gave that a policy. Invariant: an application of these types stands for a portal or server that exists,
//! and each of those has at most one.

use identity::application::{Application as Sound, ApplicationDocument, ApplicationKind, ApplicationType};
use serde_json::Value;
use store::{Application, ReadAccess, Stored};
use types::{ApplicationId, McpServerId};

use super::applications::covered;
use super::system;
use crate::auth::OpContext;
use crate::failure::Failure;

/// Finds the application of a server.
pub async fn of_server(cx: &OpContext, server: &McpServerId) -> Result<Option<Stored<Application>>, Failure> {
    find(cx, ApplicationType::Mcp, |document| stands_for(document).as_ref() == Some(server)).await
}

/// Finds the application of the portal at a host.
pub async fn of_portal(cx: &OpContext, hostname: &str) -> Result<Option<Stored<Application>>, Failure> {
    let there = |document: &ApplicationDocument| covered(document).iter().any(|pattern| pattern.host() == hostname);
    find(cx, ApplicationType::McpPortal, there).await
}

async fn find(
    cx: &OpContext,
    kind: ApplicationType,
    wanted: impl Fn(&ApplicationDocument) -> bool,
) -> Result<Option<Stored<Application>>, Failure> {
    let grant = cx.authorize::<ReadAccess>()?;
    let all = cx.store().applications().list(&grant).await?;
    Ok(all.into_iter().find(|found| {
        let document = identity::document::read_stored::<ApplicationDocument>(&found.document.body);
        document.is_ok_and(|document| document.kind == kind && wanted(&document))
    }))
}

/// The server an application of one stands for.
pub(super) fn stands_for(document: &ApplicationDocument) -> Option<McpServerId> {
    document.destinations.first()?.mcp_server().ok()
}

/// Finds the application that one to be made takes over: of the same portal or server, without a policy.
pub(super) async fn taken_over(cx: &OpContext, sent: &Value) -> Result<Option<ApplicationId>, Failure> {
    let Ok(document) = ApplicationDocument::read(sent) else { return Ok(None) };
    let standing = match document.kind {
        ApplicationType::Mcp => match stands_for(&document) {
            Some(server) => of_server(cx, &server).await?,
            None => None,
        },
        ApplicationType::McpPortal => match covered(&document).first() {
            Some(pattern) => of_portal(cx, pattern.host()).await?,
            None => None,
        },
        ApplicationType::SelfHosted | ApplicationType::Bookmark | ApplicationType::AppLauncher => None,
    };
    let untouched = |found: &Stored<Application>| found.document.body["policies"].as_array().is_none_or(Vec::is_empty);
    Ok(standing.filter(untouched).map(|found| found.id))
}

/// What an application stands for must exist.
pub(super) async fn check(cx: &OpContext, sound: &Sound) -> Result<(), Failure> {
    let grant = system(cx, "check what an application stands for")?;
    match &sound.kind {
        ApplicationKind::McpServer(server) => {
            if cx.store().mcp_servers().get(&grant, &server.server).await?.is_none() {
                let message = "there is no such MCP server; make it at /access/ai-controls/mcp/servers";
                return Err(Failure::invalid("/destinations/0/mcp_server_id", message));
            }
        }
        ApplicationKind::McpPortal(app) => {
            let [pattern] = app.destinations.as_slice() else {
                return Err(Failure::invalid("/destinations", "a portal has one host"));
            };
            let portal = cx.store().mcp_portals().find(&grant, pattern.host()).await?;
            if portal.is_none() || !pattern.path().is_empty() {
                let message = "is not the host of an MCP portal; make it at /access/ai-controls/mcp/portals";
                return Err(Failure::invalid("/domain", message));
            }
        }
        ApplicationKind::SelfHosted(_) | ApplicationKind::Bookmark(_) | ApplicationKind::Launcher(_) => {}
    }
    Ok(())
}
