//! The plane: who is served, what is shared by all requests, and the life of its sessions.
//!
//! Invariant: everything it starts ends when it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use http::Response;
use mcp::message::Message;
use mcp::names::ServerId;
use mcp::version::Era;
use net::proxy::body::Body;
use net::proxy::serve::Tasks;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use types::{AccountId, ApplicationId};
use url::Url;

use crate::asks::Asks;
use crate::codemode::Scripts;
use crate::elicit::Elicitations;
use crate::endpoint;
use crate::input::MOST_OF_ALL;
use crate::record::Recorder;
use crate::session::{Session, Sessions};
use crate::signin::{SignIns, pages};
use crate::snapshot::{Portal, Snapshot};
use crate::tasks::Tasks as Handles;
use crate::visit::{Holder, Visit};
use crate::workers::Workers;

/// Programs of Code Mode that run at a time: they share processes with the owner's Workers, which rules wait for.
const MOST_PROGRAMS: usize = 64;
/// How often sessions that are over are looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// What the plane stands on.
pub struct Parts {
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    pub recorder: Arc<dyn Recorder>,
    /// Runs the programs of Code Mode.
    pub scripts: Arc<dyn Scripts>,
    /// Runs the owner's scripts for rules.
    pub workers: Arc<dyn Workers>,
    pub sign_ins: Arc<SignIns>,
    pub account: AccountId,
    pub clock: net::Clock,
    pub changed: Arc<dyn Changed>,
}

/// Hears that a server says its definitions have changed. Must not wait.
pub trait Changed: Send + Sync + 'static {
    fn changed(&self, server: &ServerId);
}

/// What a request comes to.
pub enum Answer {
    Response(Response<Body>),
    /// The browser is to prove a second factor that is no older than this, and to come back with the same request.
    Prove(Duration),
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
    pub(crate) workers: Arc<dyn Workers>,
    pub(crate) asks: Asks,
    pub(crate) sign_ins: Arc<SignIns>,
    pub(crate) elicitations: Elicitations,
    pub(crate) account: AccountId,
    pub(crate) clock: net::Clock,
    pub(crate) tasks: Tasks,
    /// Tasks at servers, by the ids that clients know.
    pub(crate) handles: Handles,
    /// Places for programs of Code Mode.
    pub(crate) programs: Arc<Semaphore>,
    /// Places for calls that wait for their client.
    pub(crate) parked: Arc<Semaphore>,
    pub(crate) changed: Arc<dyn Changed>,
}

impl Agents {
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { snapshot, recorder, scripts, workers, sign_ins, account, clock, changed } = parts;
        let inner = Inner {
            snapshot,
            sessions: Sessions::default(),
            recorder,
            scripts,
            workers,
            asks: Asks::default(),
            sign_ins,
            elicitations: Elicitations::default(),
            account,
            clock,
            tasks: Tasks::default(),
            handles: Handles::default(),
            programs: Arc::new(Semaphore::new(MOST_PROGRAMS)),
            parked: Arc::new(Semaphore::new(MOST_OF_ALL)),
            changed,
        };
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
    pub fn answer(&self, host: &str, visit: Visit) -> BoxFuture<'static, Answer> {
        let found = self.inner.snapshot.load().portals.get(host).cloned();
        let plane = Arc::clone(&self.inner);
        Box::pin(async move {
            match found {
                Some(portal) => endpoint::answer(plane, portal, visit).await,
                None => Answer::Response(endpoint::gone()),
            }
        })
    }

    /// Answers what is open to everybody at a portal: the document by which authorization servers know it as a client.
    #[must_use]
    pub fn open(&self, host: &str, path: &str, site: &Url) -> Option<Response<Body>> {
        self.inner.snapshot.load().portals.contains_key(host).then(|| pages::client_document(path, site)).flatten()
    }

    /// Brings sessions in step with a snapshot that was swapped in: ends those of portals that are gone, links to servers
    /// that are gone, and tells clients of portals that changed with it to look again.
    pub fn follow(&self) {
        let snapshot = self.inner.snapshot.load();
        let there =
            |session: &Session| snapshot.portals.values().any(|portal| portal.settings.id.as_str() == session.portal);
        self.inner.end_all(self.inner.sessions.remove(|session| !there(session)));
        for portal in snapshot.portals.values().filter(|portal| portal.revision == snapshot.revision) {
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
            self.inner.asks.sweep(self.inner.now());
            self.inner.handles.sweep(self.inner.now());
        }
        let all = self.inner.sessions.remove(|_| true);
        self.inner.end_all(all);
        self.inner.tasks.tracker.close();
        let patience = tokio::time::timeout(Duration::from_secs(2), self.inner.tasks.tracker.wait());
        if patience.await.is_err() {
            self.inner.tasks.kill.cancel();
        }
        self.inner.sign_ins.end().await;
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

    /// Ends sessions, and tells their servers.
    pub(crate) fn end_all(&self, sessions: Vec<Arc<Session>>) {
        for session in sessions {
            session.stop.cancel();
            session.parking.clear();
            self.end(session.drop_links(|_, _| false));
        }
    }

    /// Ends what a holder's sessions have at a server: whoever was signed in there is not any more.
    pub(crate) fn end_links_of(&self, holder: Holder, server: &str) {
        for session in self.sessions.of(holder) {
            self.end(session.drop_links(|other, _| other != server));
        }
    }

    pub(crate) fn end(&self, links: Vec<Arc<crate::upstream::link::Link>>) {
        for link in links {
            self.tasks.spawn(async move { link.end().await });
        }
    }

    fn end_links(&self, session: &Session, portal: &Portal) {
        // A program or an address that was changed is another server: what it keeps for the session is not carried over.
        let links = session.drop_links(|server, link| {
            let served = portal.servers.iter().find(|served| served.id.as_str() == server);
            served.is_some_and(|served| served.way.leads(link))
        });
        self.end(links);
    }

    /// Tells a client that what it may see has changed.
    pub(crate) fn tell_changed(&self, session: &Session) {
        if session.version.era() == Era::Stateless && !session.listens() {
            return;
        }
        for kind in ["tools", "prompts", "resources"] {
            let message = Message::notification(&format!("notifications/{kind}/list_changed"), &json!({}));
            session.tell(&message);
        }
    }
}
