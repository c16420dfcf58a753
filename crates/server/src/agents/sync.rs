//! Asks MCP servers what they offer: on demand, and every two hours (reference section 5.2).
//!
//! Invariant: a server that does not answer keeps the catalogue it had, with the reason beside it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ::access::Backends;
use ::agents::Agents;
use ::agents::sync::{LookError, Seen, look};
use ::agents::visit::Visitor;
use console::{BoxFuture, McpServers, McpUnavailable};
use identity::identity::Identity;
use jiff::Timestamp;
use mcp::catalog::{Catalog, Kind};
use mcp::detector::{self, Surroundings};
use mcp::document::server::Pinning;
use mcp::document::view::SyncError;
use mcp::explanation::SeenServer;
use mcp::pinning::{Ledger, Listing};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use store::{Change, ChangeFeed, McpCatalog, Operate, Principal, ReadAccess, Store, StoreError, Stored};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use types::{AccountId, ApplicationId, McpPortalId, McpServerId, Verbatim};

use super::{AgentsError, build, inside};

/// How often every server is asked.
const EVERY: Duration = Duration::from_secs(2 * 3_600);
/// How often servers are asked that say they changed.
const AGAIN: Duration = Duration::from_secs(10);

/// Asks servers.
pub(crate) struct Syncing {
    pub store: Store,
    pub account: AccountId,
    pub principal: Principal,
    pub backends: Arc<Backends>,
    pub clock: net::Clock,
    pub agents: Agents,
    /// Servers that say they offer something else; taken by the loop.
    pub changes: Mutex<Option<mpsc::Receiver<McpServerId>>>,
}

impl McpServers for Syncing {
    fn sync<'a>(&'a self, server: &'a McpServerId) -> BoxFuture<'a, Result<(), McpUnavailable>> {
        Box::pin(async move { self.one(server).await.map_err(|error| McpUnavailable(error.to_string())) })
    }

    fn may_run_programs(&self) -> bool {
        false
    }

    fn sees(&self, portal: &McpPortalId, person: &Identity, open: &[ApplicationId]) -> Option<Vec<SeenServer>> {
        let visitor = Visitor::Person(Box::new(inside::person(person)));
        self.agents.explain(portal.as_str(), &visitor, person.ip, &open.iter().copied().collect())
    }
}

impl Syncing {
    /// Asks every server again and again until `stop`, and new ones when they are stored.
    pub(crate) async fn run(self: Arc<Self>, mut feed: ChangeFeed, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        let Some(mut changes) = self.changes.lock().take() else { return };
        let mut changed = BTreeSet::new();
        let mut again = tokio::time::interval(AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
                // One that says so again and again is asked no more often than this.
                Some(server) = changes.recv() => {
                    changed.insert(server);
                    continue;
                }
                _ = again.tick(), if !changed.is_empty() => {
                    let these = std::mem::take(&mut changed);
                    if stop.run_until_cancelled(self.all(these)).await.is_none() {
                        return;
                    }
                    continue;
                }
                changes = feed.next() => {
                    if !changes.iter().any(stores_a_server) {
                        continue;
                    }
                }
            }
            if stop.run_until_cancelled(self.all_due()).await.is_none() {
                return;
            }
        }
    }

    async fn all_due(&self) {
        match self.due().await {
            Ok(servers) => self.all(servers).await,
            Err(error) => tracing::warn!(%error, "MCP servers cannot be listed"),
        }
    }

    async fn all(&self, servers: impl IntoIterator<Item = McpServerId> + Send) {
        let servers: Vec<McpServerId> = servers.into_iter().collect();
        for server in servers {
            if let Err(error) = self.one(&server).await {
                tracing::warn!(%error, %server, "an MCP server could not be asked what it offers");
            }
        }
    }

    /// The servers that nobody asked of late: several nodes share the work.
    async fn due(&self) -> Result<Vec<McpServerId>, AgentsError> {
        let grant = self.principal.authorize::<ReadAccess>(self.account)?;
        let asked = self.store.mcp_catalogs().list(&grant).await?;
        let recently = (self.clock)() - EVERY + Duration::from_secs(60);
        let fresh = |id: &McpServerId| {
            asked.iter().any(|catalog| catalog.id == *id && catalog.document.synced_at.is_some_and(|at| at > recently))
        };
        let servers = self.store.mcp_servers().list(&grant).await?;
        Ok(servers.into_iter().map(|server| server.id).filter(|id| !fresh(id)).collect())
    }

    async fn one(&self, id: &McpServerId) -> Result<(), AgentsError> {
        let read = self.principal.authorize::<ReadAccess>(self.account)?;
        let operate = self.principal.authorize::<Operate>(self.account)?;
        let Some(mut stored) = self.store.mcp_servers().get(&read, id).await? else { return Ok(()) };
        let secrets = self.store.mcp_servers().open_members(&operate, &mut stored)?;
        let (endpoint, pinning) = match build::read(&self.backends, &stored, &secrets, &()) {
            Ok((server, _, endpoint, credential)) => (endpoint.map(|endpoint| (endpoint, credential)), server.pinning),
            Err(reason) => (Err(reason), Pinning::All),
        };
        let outcome = match endpoint {
            Ok((endpoint, credential)) => look(endpoint, credential).await.map_err(|error| explained(&error)),
            Err(reason) => Err(SyncError { message: reason, ..SyncError::default() }),
        };
        let now = (self.clock)();
        let catalogs = self.store.mcp_catalogs();
        let all = catalogs.list(&read).await?;
        let (standing, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|catalog| catalog.id == *id);
        let standing = standing.into_iter().next();
        let revision = standing.as_ref().map(|standing| standing.revision);
        let standing = standing.map(|standing| standing.document).unwrap_or_default();
        let catalog = match outcome {
            Ok(seen) => answered(&standing, &seen, pinning, &others, now)?,
            Err(error) => silent(standing, &error, now),
        };
        match catalogs.keep(&operate, id.clone(), catalog, revision).await {
            // Somebody asked the server at the same time, and kept what it said.
            Ok(_) | Err(StoreError::Stale(_) | StoreError::Taken(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// What is kept of a server that gave no answer: what it said before, with the reason.
fn silent(standing: McpCatalog, error: &SyncError, now: Timestamp) -> McpCatalog {
    let error = serde_json::to_value(error).unwrap_or(Value::Null);
    McpCatalog { synced_at: Some(now), error: Some(error), ..standing }
}

/// What is kept of a server's answer, with what of it waits for an administrator.
fn answered(
    standing: &McpCatalog,
    seen: &Seen,
    pinning: Pinning,
    others: &[Stored<McpCatalog>],
    now: Timestamp,
) -> Result<McpCatalog, AgentsError> {
    let [tools, prompts, resources, templates] = &seen.lists;
    let verbatim = |list: &Vec<Box<RawValue>>| list.iter().map(|item| Verbatim::new(item)).collect::<Vec<_>>();
    let mut catalog = McpCatalog {
        synced_at: Some(now),
        succeeded_at: Some(now),
        error: None,
        server: Some(json!({
            "protocolVersion": seen.version.as_str(),
            "serverInfo": seen.info,
            "instructions": seen.instructions,
        })),
        tools: verbatim(tools),
        prompts: verbatim(prompts),
        resources: verbatim(resources),
        resource_templates: verbatim(templates),
        pins: None,
    };
    let (before, listed) = (build::listed(standing), build::listed(&catalog));
    let surroundings = surroundings(&listed, others);
    let at = now.to_string();
    let ledger = Ledger::read(standing.pins.as_ref()).map_err(|error| AgentsError::Pins(error.to_string()))?;
    let listing = Listing { pinning, before: &before, now: &listed, at: &at };
    let ledger = ledger.settled(listing, |definition| detector::inspect(definition, &surroundings));
    catalog.pins = Some(ledger.write());
    Ok(catalog)
}

/// What stands around the definitions of a server: tools of its own, and those of the other servers.
fn surroundings(listed: &Catalog, others: &[Stored<McpCatalog>]) -> Surroundings {
    let others: Vec<(&str, Catalog)> =
        others.iter().map(|other| (other.id.as_str(), build::listed(&other.document))).collect();
    let keys =
        |catalog: &Catalog, kind| catalog.list(kind).iter().map(|found| found.key.to_string()).collect::<Vec<_>>();
    let own: Vec<String> = [keys(listed, Kind::Tool), keys(listed, Kind::Prompt)].concat();
    let theirs: Vec<(&str, Vec<String>)> =
        others.iter().map(|(id, catalog)| (*id, keys(catalog, Kind::Tool))).collect();
    Surroundings::new(
        own.iter().map(String::as_str),
        theirs.iter().map(|(id, tools)| (*id, tools.iter().map(String::as_str).collect())),
    )
}

fn explained(error: &LookError) -> SyncError {
    SyncError {
        message: error.message.clone(),
        cause: error.sign_in.then(|| "the server wants somebody to sign in".to_owned()),
        is_upstream: error.is_upstream,
        mcp_code: error.mcp_code,
        retryable: !error.is_upstream,
        status_code: error.status,
    }
}

fn stores_a_server(change: &Change) -> bool {
    match change {
        Change::Put(document) => document.kind == store::Kind::McpServer,
        Change::Deleted(_) | Change::ChildrenDeleted(_) => false,
        Change::Resync { .. } => true,
    }
}
