//! Asks MCP servers what they offer: on demand, every two hours (reference section 5.2), and when they say that it changed.
//!
//! Invariants: a server that does not answer keeps the catalogue it had, with the reason beside it; and one that says all
//! the time that it has changed is not asked all the time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ::agents::Agents;
use ::agents::signin::{Begin, CompleteError, Credential, NoCredential, Owner, SignIn, SignIns};
use ::agents::sync::{LookError, Seen, listen, look};
use ::agents::upstream::Channel;
use ::agents::visit::Visitor;
use console::{BoxFuture, McpServers, McpUnavailable};
use futures_util::StreamExt as _;
use http::header::HeaderMap;
use identity::identity::Identity;
use jiff::Timestamp;
use mcp::catalog::{Catalog, Kind};
use mcp::detector::{self, Surroundings};
use mcp::document::server::Pinning;
use mcp::document::view::SyncError;
use mcp::explanation::SeenServer;
use mcp::names::ServerId;
use mcp::oauth::client::About;
use mcp::oauth::flow::{Callback, CallbackError};
use mcp::pinning::{Ledger, Listing};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use store::{
    Change, ChangeFeed, McpCatalog, McpCredentialId, McpHolder, Operate, Principal, ReadAccess, Revision, Store,
    StoreError, Stored,
};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use types::{AccountId, ApplicationId, McpPortalId, McpServerId, Verbatim};
use url::Url;

use super::AgentsError;
use super::build::{self, Means};
use super::inside;

/// How often every server is asked.
const EVERY: Duration = Duration::from_secs(2 * 3_600);
/// How long a server that says it has changed is let be after it was asked.
const SETTLED: Duration = Duration::from_secs(1);
/// How long to wait before a server is listened to again: at first, and at most.
const SHORTEST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 60);
/// How long a server may take to say what it offers, however much it says meanwhile.
const LONGEST_LOOK: Duration = Duration::from_secs(5 * 60);
/// Servers that are asked at a time.
const AT_ONCE: usize = 8;

/// Asks servers.
pub(crate) struct Syncing {
    pub store: Store,
    pub account: AccountId,
    pub principal: Principal,
    pub means: Arc<Means>,
    pub sign_ins: Arc<SignIns>,
    pub clock: net::Clock,
    pub agents: Agents,
    pub said: Arc<Said>,
}

/// The servers that say they have changed, until they are due.
#[derive(Default)]
pub(crate) struct Said {
    servers: Mutex<HashSet<McpServerId>>,
    told: Notify,
}

impl Said {
    fn add(&self, server: McpServerId) {
        self.servers.lock().insert(server);
        self.told.notify_one();
    }

    fn take(&self) -> HashSet<McpServerId> {
        std::mem::take(&mut *self.servers.lock())
    }
}

impl ::agents::Changed for Said {
    fn changed(&self, server: &ServerId) {
        if let Ok(server) = server.as_str().parse() {
            self.add(server);
        }
    }
}

/// When servers that say they have changed are asked.
#[derive(Default)]
struct Due {
    at: HashMap<McpServerId, Instant>,
    asked: HashMap<McpServerId, Instant>,
}

impl Due {
    fn add(&mut self, server: McpServerId, now: Instant) {
        let earliest = self.asked.get(&server).map_or(now, |asked| (*asked + SETTLED).max(now));
        self.at.entry(server).or_insert(earliest);
    }

    fn next(&self) -> Option<Instant> {
        self.at.values().min().copied()
    }

    /// Takes the servers whose time has come.
    fn take(&mut self, now: Instant) -> Vec<McpServerId> {
        let due: Vec<McpServerId> =
            self.at.iter().filter(|(_, at)| **at <= now).map(|(server, _)| server.clone()).collect();
        self.asked.retain(|_, asked| *asked + SETTLED > now);
        for server in &due {
            self.at.remove(server);
            self.asked.insert(server.clone(), now);
        }
        due
    }
}

/// The servers that are listened to, each by a task of its own that ends with this value.
#[derive(Default)]
struct Ears {
    tasks: JoinSet<()>,
    by_server: HashMap<McpServerId, (Revision, AbortHandle)>,
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
        self.means.programs.is_some()
    }

    fn sees(&self, portal: &McpPortalId, person: &Identity, open: &[ApplicationId]) -> Option<Vec<SeenServer>> {
        let visitor = Visitor::Person(Arc::new(inside::person(person)));
        self.agents.explain(portal.as_str(), &visitor, person.ip, &open.iter().copied().collect())
    }
}

impl Syncing {
    /// Asks every server again and again until `stop`, new ones when they are stored, and those that say they have changed.
    pub(crate) async fn run(self: Arc<Self>, mut feed: ChangeFeed, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        let (mut due, mut ears) = (Due::default(), Ears::default());
        loop {
            let next = due.next();
            let settled = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let all = tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => true,
                changes = feed.next() => {
                    if !changes.iter().any(opens_a_server) {
                        continue;
                    }
                    true
                }
                () = self.said.told.notified() => {
                    let now = Instant::now();
                    self.said.take().into_iter().for_each(|server| due.add(server, now));
                    continue;
                }
                () = settled => false,
            };
            let work = async {
                if all {
                    self.listen_to_all(&mut ears).await;
                    self.all_due().await;
                } else {
                    self.each(due.take(Instant::now())).await;
                }
            };
            if stop.run_until_cancelled(work).await.is_none() {
                return;
            }
        }
    }

    async fn each(&self, servers: Vec<McpServerId>) {
        // One that does not answer keeps the others waiting only for as long as all places are taken by such.
        let ask = |server: McpServerId| async move {
            if let Err(error) = self.one(&server).await {
                tracing::warn!(%error, %server, "an MCP server could not be asked what it offers");
            }
        };
        futures_util::stream::iter(servers).for_each_concurrent(AT_ONCE, ask).await;
    }

    /// Listens to the servers that there are, and no longer to those that are gone or others by now.
    async fn listen_to_all(self: &Arc<Self>, ears: &mut Ears) {
        while ears.tasks.try_join_next().is_some() {}
        let servers = match self.principal.authorize::<ReadAccess>(self.account) {
            Ok(grant) => self.store.mcp_servers().list(&grant).await.map_err(AgentsError::from),
            Err(error) => Err(error.into()),
        };
        let servers: HashMap<McpServerId, Revision> = match servers {
            Ok(servers) => servers.into_iter().map(|server| (server.id, server.revision)).collect(),
            Err(error) => return tracing::warn!(%error, "MCP servers cannot be listed"),
        };
        ears.by_server.retain(|id, (revision, task)| {
            // One that ended may have more to say by now: somebody may have signed in.
            let stays = servers.get(id) == Some(revision) && !task.is_finished();
            if !stays {
                task.abort();
            }
            stays
        });
        for (id, revision) in servers {
            if !ears.by_server.contains_key(&id) {
                let (syncing, server) = (Arc::clone(self), id.clone());
                let task = ears.tasks.spawn(async move { syncing.listen_to(&server).await });
                ears.by_server.insert(id, (revision, task));
            }
        }
    }

    /// Listens to a server for as long as it lets itself be listened to with the administrator's credential.
    async fn listen_to(&self, id: &McpServerId) {
        let mut wait = SHORTEST_WAIT;
        loop {
            let Ok(Some((endpoint, credential))) = self.reach(id).await else { return };
            let changed = || self.said.add(id.clone());
            let began = Instant::now();
            match listen(endpoint, credential, &changed).await {
                // It tells nobody, or wants a person to sign in.
                Ok(()) if began.elapsed() < SHORTEST_WAIT => return,
                Err(error) if error.sign_in => return,
                Ok(()) => wait = SHORTEST_WAIT,
                Err(_) if began.elapsed() > LONGEST_WAIT => wait = SHORTEST_WAIT,
                Err(_) => wait = (wait * 2).min(LONGEST_WAIT),
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// How a server is reached with the administrator's credential; `None` where it is not.
    async fn reach(&self, id: &McpServerId) -> Result<Option<(Channel, HeaderMap)>, AgentsError> {
        let read = self.principal.authorize::<ReadAccess>(self.account)?;
        let operate = self.principal.authorize::<Operate>(self.account)?;
        let Some(mut stored) = self.store.mcp_servers().get(&read, id).await? else { return Ok(None) };
        let secrets = self.store.mcp_servers().open_members(&operate, &mut stored)?;
        let read = build::read(&self.means, &stored, &secrets, &());
        let Ok(build::Read { endpoint: Ok(endpoint), credential, sign_in, .. }) = read else { return Ok(None) };
        // A program would run for as long as it is listened to, and a Worker has nothing to say unasked.
        if !matches!(endpoint, Channel::Remote(_)) {
            return Ok(None);
        }
        Ok(match sign_in {
            None => Some((endpoint, credential)),
            Some(site) => self.signed_in(id, &site).await.ok().map(|credential| (endpoint, credential.headers.clone())),
        })
    }

    async fn all_due(&self) {
        match self.due().await {
            Ok(servers) => self.each(servers).await,
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
        let (endpoint, pinning) = match build::read(&self.means, &stored, &secrets, &()) {
            Ok(read) => {
                let endpoint = match (read.endpoint, read.sign_in) {
                    (Ok(endpoint), Some(site)) => {
                        self.signed_in(id, &site).await.map(|credential| (endpoint, Held::SignedIn(site, credential)))
                    }
                    (Ok(endpoint), None) => Ok((endpoint, Held::Fixed(read.credential))),
                    (Err(reason), _) => Err(reason),
                };
                (endpoint, read.server.pinning)
            }
            Err(reason) => (Err(reason), Pinning::All),
        };
        let outcome = match endpoint {
            Ok((endpoint, held)) => match tokio::time::timeout(LONGEST_LOOK, self.ask(id, endpoint, held)).await {
                Ok(seen) => seen.map_err(|error| explained(&error)),
                Err(_) => {
                    let message = format!("it had not said what it offers after {} seconds", LONGEST_LOOK.as_secs());
                    Err(SyncError { message, ..SyncError::default() })
                }
            },
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
        let site = build::read(&self.means, &stored, &secrets, &())?.sign_in;
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

    /// Asks a server, and once more with a renewed credential when the administrator's was refused.
    async fn ask(&self, id: &McpServerId, endpoint: Channel, held: Held) -> Result<Seen, LookError> {
        let (site, used) = match held {
            Held::Fixed(credential) => return look(endpoint, credential).await,
            Held::SignedIn(site, used) => (site, used),
        };
        let first = match look(endpoint.clone(), used.headers.clone()).await {
            Err(error) => error,
            Ok(seen) => return Ok(seen),
        };
        let (Some(challenge), Some(server)) = (&first.refusal, ServerId::parse(id.as_str())) else { return Err(first) };
        let of = (Owner::Everybody, &server);
        let Ok(renewed) = self.sign_ins.refused(of, &site, &used, challenge, false).await else { return Err(first) };
        let second = match look(endpoint, renewed.headers.clone()).await {
            Err(error) => error,
            Ok(seen) => return Ok(seen),
        };
        if let Some(challenge) = &second.refusal
            && let Err(reason) = self.sign_ins.refused(of, &site, &renewed, challenge, true).await
        {
            tracing::info!(%reason, server = %id, "an MCP server takes the administrator's sign-in no more");
        }
        Err(second)
    }

    /// The administrator's sign-in at a server.
    async fn signed_in(&self, id: &McpServerId, site: &Arc<SignIn>) -> Result<Arc<Credential>, String> {
        let server = ServerId::parse(id.as_str()).ok_or("its id is not one")?;
        match self.sign_ins.credential(Owner::Everybody, &server, site).await {
            Ok(credential) => Ok(credential),
            Err(NoCredential::Missing) => Err("an administrator has to sign in at it first".to_owned()),
            Err(NoCredential::Lapsed | NoCredential::More) => {
                Err("an administrator has to sign in at it again".to_owned())
            }
            Err(NoCredential::Unavailable(reason)) => Err(reason),
        }
    }
}

/// What the portal shows a server that is asked what it offers.
enum Held {
    Fixed(HeaderMap),
    /// Of the administrator's sign-in.
    SignedIn(Arc<SignIn>, Arc<Credential>),
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
            "transport": seen.place.as_ref().map(|place| json!({
                "type": place.transport.as_str(),
                "target": place.target,
            })),
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

fn opens_a_server(change: &Change) -> bool {
    match change {
        Change::Put(document) if document.kind == store::Kind::McpCredential => {
            // An administrator has signed in: now it can be asked, and listened to.
            document.id.parse().is_ok_and(|id: McpCredentialId| id.holder == McpHolder::Everybody)
        }
        Change::Put(document) => document.kind == store::Kind::McpServer,
        Change::Deleted(_) | Change::ChildrenDeleted(_) => false,
        Change::Resync { .. } => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_changes_all_the_time_is_asked_now_and_then() {
        let (mut due, start) = (Due::default(), Instant::now());
        let server: McpServerId = "jira".parse().unwrap();
        due.add(server.clone(), start);
        due.add(server.clone(), start);
        assert_eq!(due.take(start), std::slice::from_ref(&server));
        due.add(server.clone(), start);
        assert!(due.take(start).is_empty());
        assert_eq!(due.next(), Some(start + SETTLED));
        assert_eq!(due.take(start + SETTLED), [server]);
    }
}
