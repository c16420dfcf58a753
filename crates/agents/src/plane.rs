//! The plane: who is served, what is shared by all requests, and the life of its sessions.
//!
//! Invariant: everything it starts ends when it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use http::Response;
use mcp::message::Message;
use mcp::version::Era;
use net::proxy::body::Body;
use net::proxy::serve::Tasks;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use types::{AccountId, ApplicationId, McpServerId};

use crate::codemode::Scripts;
use crate::endpoint;
use crate::record::Recorder;
use crate::session::{Session, Sessions};
use crate::snapshot::{Portal, Snapshot};
use crate::sse;
use crate::visit::Visit;

/// How often sessions that are over are looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// What the plane stands on.
pub struct Parts {
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    pub recorder: Arc<dyn Recorder>,
    /// Runs the programs of Code Mode.
    pub scripts: Arc<dyn Scripts>,
    /// Is told of servers that say they offer something else by now; what is shown of them is decided anew.
    pub changed: mpsc::Sender<McpServerId>,
    pub account: AccountId,
    pub clock: net::Clock,
}

/// The MCP portals of a node.
#[derive(Clone)]
pub struct Agents {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) sessions: Sessions,
    pub(crate) recorder: Arc<dyn Recorder>,
    pub(crate) scripts: Arc<dyn Scripts>,
    changed: mpsc::Sender<McpServerId>,
    pub(crate) account: AccountId,
    pub(crate) clock: net::Clock,
    pub(crate) tasks: Tasks,
}

impl Agents {
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { snapshot, recorder, scripts, changed, account, clock } = parts;
        let (sessions, tasks) = (Sessions::default(), Tasks::default());
        let inner = Inner { snapshot, sessions, recorder, scripts, changed, account, clock, tasks };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.snapshot.load_full()
    }

    /// Returns the applications of a portal's servers: whoever answers for a visitor says which of them are open.
    #[must_use]
    pub fn doors(&self, host: &str) -> Vec<ApplicationId> {
        let snapshot = self.inner.snapshot.load();
        let servers = snapshot.portals.get(host).into_iter().flat_map(|portal| portal.servers.iter());
        servers.map(|served| served.application).collect()
    }

    /// Answers a request at a portal.
    #[must_use]
    pub fn answer(&self, host: &str, visit: Visit) -> BoxFuture<'static, Response<Body>> {
        let found = self.inner.snapshot.load().portals.get(host).cloned();
        let plane = Arc::clone(&self.inner);
        Box::pin(async move {
            match found {
                Some(portal) => endpoint::answer(plane, portal, visit).await,
                None => endpoint::gone(),
            }
        })
    }

    /// Brings sessions in step with a snapshot that was swapped in: ends those of portals that are gone, links to servers
    /// that are gone, and tells clients to look again.
    pub fn follow(&self) {
        let snapshot = self.inner.snapshot.load();
        let there =
            |session: &Session| snapshot.portals.values().any(|portal| portal.settings.id.as_str() == session.portal);
        self.inner.end_all(self.inner.sessions.remove(|session| !there(session)));
        for portal in snapshot.portals.values() {
            for session in self.inner.sessions.at(portal.settings.id.as_str()) {
                self.inner.end_links(&session, portal);
                self.inner.tell_changed(&session);
            }
        }
    }

    /// Ends sessions that are idle, until `stop`; then everything.
    pub async fn run(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(SWEEP);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let over = self.inner.sessions.sweep(self.inner.now());
            self.inner.end_all(over);
        }
        let all = self.inner.sessions.remove(|_| true);
        self.inner.end_all(all);
        self.inner.tasks.tracker.close();
        let patience = tokio::time::timeout(Duration::from_secs(2), self.inner.tasks.tracker.wait());
        if patience.await.is_err() {
            self.inner.tasks.kill.cancel();
        }
    }

    /// Returns how many sessions there are.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.inner.sessions.len()
    }
}

impl Inner {
    /// Returns the time, in seconds since the epoch.
    pub(crate) fn now(&self) -> i64 {
        (self.clock)().as_second()
    }

    /// Notes that a server offers something else by now. Clients see what is approved until it was looked at.
    pub(crate) fn note_change(&self, server: &McpServerId, method: &str) {
        if method.ends_with("/list_changed") {
            // Where too many wait, the look that every server is due finds it.
            let _ = self.changed.try_send(server.clone());
        }
    }

    /// Ends sessions, and tells their servers.
    pub(crate) fn end_all(&self, sessions: Vec<Arc<Session>>) {
        for session in sessions {
            session.stop.cancel();
            self.end(session.drop_links(|_| false));
        }
    }

    fn end(&self, links: Vec<Arc<crate::upstream::link::Link>>) {
        for link in links {
            self.tasks.spawn(async move { link.end().await });
        }
    }

    fn end_links(&self, session: &Session, portal: &Portal) {
        let links = session.drop_links(|server| portal.servers.iter().any(|served| served.id.as_str() == server));
        self.end(links);
    }

    /// Tells a client that what it may see has changed.
    pub(crate) fn tell_changed(&self, session: &Session) {
        if session.version.era() == Era::Stateless && !session.listens() {
            return;
        }
        for kind in ["tools", "prompts", "resources"] {
            let message = Message::notification(&format!("notifications/{kind}/list_changed"), &json!({}));
            session.push(sse::write(None, message.to_json().as_bytes()));
        }
    }
}
