//! Asks MCP servers what they offer: on demand, and every two hours (reference section 5.2).
//!
//! Invariant: a server that does not answer keeps the catalogue it had, with the reason beside it.

use std::sync::Arc;
use std::time::Duration;

use ::agents::signin::{Begin, CompleteError, NoCredential, Owner, SignIn, SignIns};
use ::agents::sync::{LookError, Seen, look};
use console::{BoxFuture, McpServers, McpUnavailable};
use http::header::HeaderMap;
use jiff::Timestamp;
use mcp::document::view::SyncError;
use mcp::names::ServerId;
use mcp::oauth::client::About;
use mcp::oauth::flow::{Callback, CallbackError};
use serde_json::{Value, json};
use store::{Change, ChangeFeed, Kind, McpCatalog, Operate, Principal, ReadAccess, Store, StoreError};
use tokio_util::sync::CancellationToken;
use types::{AccountId, McpServerId};
use url::Url;

use super::AgentsError;
use super::build::{self, Ways};

/// How often every server is asked.
const EVERY: Duration = Duration::from_secs(2 * 3_600);

/// Asks servers.
pub(crate) struct Syncing {
    pub store: Store,
    pub account: AccountId,
    pub principal: Principal,
    pub ways: Arc<Ways>,
    pub sign_ins: Arc<SignIns>,
    pub clock: net::Clock,
}

impl McpServers for Syncing {
    fn sync<'a>(&'a self, server: &'a McpServerId) -> BoxFuture<'a, Result<(), McpUnavailable>> {
        Box::pin(async move { self.one(server).await.map_err(|error| McpUnavailable(error.to_string())) })
    }

    fn begin_sign_in<'a>(
        &'a self,
        server: &'a McpServerId,
        back: &'a Url,
        bound: [u8; 32],
    ) -> BoxFuture<'a, Result<Url, McpUnavailable>> {
        Box::pin(async move { self.begin(server, back, bound).await.map_err(McpUnavailable) })
    }

    fn complete_sign_in<'a>(
        &'a self,
        query: &'a str,
        bounds: &'a [[u8; 32]],
    ) -> BoxFuture<'a, Result<McpServerId, McpUnavailable>> {
        Box::pin(async move { self.complete(query, bounds).await.map_err(McpUnavailable) })
    }

    fn end_sign_in<'a>(&'a self, server: &'a McpServerId) -> BoxFuture<'a, Result<(), McpUnavailable>> {
        Box::pin(async move { self.leave(server).await.map_err(McpUnavailable) })
    }

    fn may_run_programs(&self) -> bool {
        false
    }
}

impl Syncing {
    /// Asks every server again and again until `stop`, and new ones when they are stored.
    pub(crate) async fn run(self: Arc<Self>, mut feed: ChangeFeed, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
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
            Ok(servers) => {
                for server in servers {
                    if let Err(error) = self.one(&server).await {
                        tracing::warn!(%error, %server, "an MCP server could not be asked what it offers");
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "MCP servers cannot be listed"),
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
        let endpoint = match build::read(&self.ways, &stored, &secrets, &()) {
            Ok(read) => match (read.endpoint, read.sign_in) {
                (Ok(endpoint), Some(site)) => self.signed_in(id, &site).await.map(|credential| (endpoint, credential)),
                (Ok(endpoint), None) => Ok((endpoint, read.credential)),
                (Err(reason), _) => Err(reason),
            },
            Err(reason) => Err(reason),
        };
        let outcome = match endpoint {
            Ok((endpoint, credential)) => look(endpoint, credential).await.map_err(|error| explained(&error)),
            Err(reason) => Err(SyncError { message: reason, ..SyncError::default() }),
        };
        let now = (self.clock)();
        let catalogs = self.store.mcp_catalogs();
        let standing = catalogs.get(&read, id).await?;
        let revision = standing.as_ref().map(|standing| standing.revision);
        let catalog = keep(standing.map(|standing| standing.document).unwrap_or_default(), outcome, now);
        match catalogs.keep(&operate, id.clone(), catalog, revision).await {
            // Somebody asked the server at the same time, and kept what it said.
            Ok(_) | Err(StoreError::Stale(_) | StoreError::Taken(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Syncing {
    /// Finds how one signs in at a server.
    async fn site(&self, id: &McpServerId) -> Result<(ServerId, Arc<SignIn>), String> {
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let read = self.principal.authorize::<ReadAccess>(self.account).map_err(|error| words(&error))?;
        let operate = self.principal.authorize::<Operate>(self.account).map_err(|error| words(&error))?;
        let servers = self.store.mcp_servers();
        let stored = servers.get(&read, id).await.map_err(|error| words(&error))?;
        let mut stored = stored.ok_or("there is no such server any more")?;
        let secrets = servers.open_members(&operate, &mut stored).map_err(|error| words(&error))?;
        let site = build::read(&self.ways, &stored, &secrets, &())?.sign_in;
        let server = ServerId::parse(id.as_str()).ok_or("its id is not one")?;
        Ok((server, site.ok_or("nobody signs in at this server")?))
    }

    async fn begin(&self, id: &McpServerId, back: &Url, bound: [u8; 32]) -> Result<Url, String> {
        let (server, site) = self.site(id).await?;
        let page = back.join("/").map_err(|error| error.to_string())?;
        let about = About { document: None, site: page, redirect: back.clone() };
        let begin = Begin { owner: Owner::Everybody, server: &server, site: &site, about: &about, bound, back: "" };
        self.sign_ins.begin(begin).await.map_err(|error| error.to_string())
    }

    async fn complete(&self, query: &str, bounds: &[[u8; 32]]) -> Result<McpServerId, String> {
        let query: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let text = |name: &str| query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        let callback = Callback { code: text("code"), iss: text("iss"), error: text("error") };
        let words = |error: CompleteError| error.to_string();
        let completed = self.sign_ins.take(text("state").unwrap_or_default()).await.map_err(words)?;
        if completed.owner != Owner::Everybody {
            return Err(CompleteError::Unknown.to_string());
        }
        let id: McpServerId = completed.server.as_str().parse().map_err(|_| "its id is not one".to_owned())?;
        let (_, site) = self.site(&id).await?;
        let mut outcome = Err(CompleteError::Unknown);
        for bound in bounds {
            outcome = self.sign_ins.complete(&completed, &site, &callback, *bound).await;
            if !matches!(outcome, Err(CompleteError::Callback(CallbackError::Browser))) {
                break;
            }
        }
        outcome.map(|()| id).map_err(words)
    }

    async fn leave(&self, id: &McpServerId) -> Result<(), String> {
        let (server, site) = self.site(id).await?;
        self.sign_ins.sign_out(Owner::Everybody, &server, &site).await.map_err(|error| error.to_string())
    }

    /// The administrator's sign-in at a server.
    async fn signed_in(&self, id: &McpServerId, site: &Arc<SignIn>) -> Result<HeaderMap, String> {
        let server = ServerId::parse(id.as_str()).ok_or("its id is not one")?;
        match self.sign_ins.credential(Owner::Everybody, &server, site).await {
            Ok(credential) => Ok(credential.headers.clone()),
            Err(NoCredential::Missing) => Err("an administrator has to sign in at it first".to_owned()),
            Err(NoCredential::Lapsed | NoCredential::More) => {
                Err("an administrator has to sign in at it again".to_owned())
            }
            Err(NoCredential::Unavailable(reason)) => Err(reason),
        }
    }
}

fn keep(standing: McpCatalog, outcome: Result<Seen, SyncError>, now: Timestamp) -> McpCatalog {
    let seen = match outcome {
        Ok(seen) => seen,
        Err(error) => {
            let error = serde_json::to_value(error).unwrap_or(Value::Null);
            return McpCatalog { synced_at: Some(now), error: Some(error), ..standing };
        }
    };
    let [tools, prompts, resources, templates] = &seen.lists;
    let values = |list: &Vec<Box<serde_json::value::RawValue>>| {
        list.iter().filter_map(|item| serde_json::from_str::<Value>(item.get()).ok()).collect::<Vec<_>>()
    };
    McpCatalog {
        synced_at: Some(now),
        succeeded_at: Some(now),
        error: None,
        server: Some(json!({
            "protocolVersion": seen.version.as_str(),
            "serverInfo": seen.info,
            "instructions": seen.instructions,
        })),
        tools: values(tools),
        prompts: values(prompts),
        resources: values(resources),
        resource_templates: values(templates),
        pins: standing.pins,
    }
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
        Change::Put(document) => document.kind == Kind::McpServer,
        Change::Deleted(_) | Change::ChildrenDeleted(_) => false,
        Change::Resync { .. } => true,
    }
}
