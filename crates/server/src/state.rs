//! What is in force and how it came to be: the loop that turns stored changes into snapshots, and what it tells others.
//!
//! One task owns the building; everybody else reads. Invariant: whoever waits for what was stored is answered only after
//! every change made before was read, and is in force or has a reason shown why it is not.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use console::{McpServers, McpUnavailable, OriginAnswer, SnapshotStatus, SnapshotView};
use gateway::Snapshot;
use identity::identity::Identity;
use mcp::explanation::SeenServer;
use parking_lot::Mutex;
use policy::replay::Inspection;
use store::ChangeFeed;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use types::{ApplicationId, McpPortalId, McpServerId};
use url::Url;

use crate::agents::Syncing;
use crate::in_force::InForce;
use crate::services::Services;
use crate::snapshot::{BuildError, Builder};

/// Requests to settle that may wait at once, at each loop.
pub(crate) const SETTLING: usize = 64;
/// How a loop is asked to say when everything stored before is in force.
pub(crate) type Settle = mpsc::Sender<oneshot::Sender<()>>;
/// How often the store is asked for a sign of life.
const HEALTH: Duration = Duration::from_secs(5);

/// Access as it is served here.
pub(crate) struct Served {
    pub access: access::Access,
    pub settle: Settle,
}

/// MCP portals as they are served here.
pub(crate) struct Portals {
    pub settle: Settle,
    pub syncing: Arc<Syncing>,
}

/// The state of the running configuration, shared by everyone who shows it.
pub(crate) struct State {
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    status: Mutex<SnapshotStatus>,
    revision: AtomicU64,
    reachable: AtomicBool,
    settle: Settle,
    /// Access, where it is served.
    access: OnceLock<Served>,
    /// MCP portals, which are served with it.
    portals: OnceLock<Portals>,
    metrics: ArcSwapOption<Box<dyn Fn() -> String + Send + Sync>>,
}

/// The building half: owned by the one task that runs it.
pub(crate) struct Watcher {
    state: Arc<State>,
    in_force: InForce,
    services: Arc<Services>,
    runtime: Arc<worker::Runtime>,
    feed: ChangeFeed,
    requests: mpsc::Receiver<oneshot::Sender<()>>,
    clock: net::Clock,
}

impl State {
    /// Builds the first snapshot. `feed` must have been opened before, so that no change falls between.
    ///
    /// # Errors
    /// The store does not answer or what it holds cannot be assembled at all.
    pub(crate) async fn first(
        builder: Builder,
        services: Arc<Services>,
        runtime: Arc<worker::Runtime>,
        feed: ChangeFeed,
        clock: net::Clock,
    ) -> Result<(Arc<Self>, Watcher), BuildError> {
        let in_force = InForce::first(builder).await?;
        let (settle, requests) = mpsc::channel(SETTLING);
        let status = SnapshotStatus {
            revision: 1,
            compiled_at: Some(clock()),
            stale: Vec::new(),
            store_reachable: true,
            rule_errors: in_force.rule_errors(),
        };
        services.replace_scripts(Arc::clone(in_force.scripts()));
        report_scripts(&in_force);
        let state = Arc::new(Self {
            snapshot: Arc::new(ArcSwap::from_pointee(in_force.snapshot(1))),
            status: Mutex::new(status),
            revision: AtomicU64::new(1),
            reachable: AtomicBool::new(true),
            settle,
            access: OnceLock::new(),
            portals: OnceLock::new(),
            metrics: ArcSwapOption::default(),
        });
        let watcher = Watcher { state: Arc::clone(&state), in_force, services, runtime, feed, requests, clock };
        Ok((state, watcher))
    }

    /// Says that Access has a loop of its own.
    pub(crate) fn set_access(&self, served: Served) {
        // It is served once.
        let _ = self.access.set(served);
    }

    /// Says that MCP portals have a loop of their own.
    pub(crate) fn set_agents(&self, portals: Portals) {
        // They are served once.
        let _ = self.portals.set(portals);
    }

    /// Says where metrics come from, once the parts that are measured exist.
    pub(crate) fn set_metrics(&self, metrics: impl Fn() -> String + Send + Sync + 'static) {
        self.metrics.store(Some(Arc::new(Box::new(metrics))));
    }
}

fn report_scripts(in_force: &InForce) {
    for (script, reason) in &in_force.scripts().failed {
        let reason = chain(reason);
        tracing::error!(%script, %reason, "a Worker cannot run; rules that call it follow their on_error");
    }
}

impl SnapshotView for State {
    fn status(&self) -> SnapshotStatus {
        let mut status = self.status.lock().clone();
        status.store_reachable = self.reachable.load(Ordering::Relaxed);
        status
    }

    fn classifier(&self) -> Arc<catalog::Classifier> {
        Arc::clone(&self.snapshot.load().classifier)
    }

    fn inspection(&self) -> Inspection {
        let snapshot = self.snapshot.load();
        Inspection { decrypts: snapshot.settings.tls_decrypt, exempt: snapshot.bypass.patterns().collect() }
    }

    fn metrics(&self) -> String {
        self.metrics.load().as_ref().map(|metrics| metrics()).unwrap_or_default()
    }

    fn ask_origin(&self, application: types::ApplicationId) -> console::BoxFuture<'_, OriginAnswer> {
        Box::pin(async move {
            match self.access.get() {
                None => OriginAnswer::NotServed,
                Some(served) => match served.access.probe(application).await {
                    Ok(Some(status)) => OriginAnswer::Status(status.as_u16()),
                    Ok(None) => OriginAnswer::NotServed,
                    Err(error) => OriginAnswer::Failed(chain(&error)),
                },
            }
        })
    }

    fn settle(&self) -> console::BoxFuture<'_, ()> {
        Box::pin(async {
            // In this order, for Access signs with the authority of the gateway's snapshot.
            let portals = self.portals.get().map(|portals| &portals.settle);
            let access = self.access.get().map(|served| &served.settle);
            for settle in std::iter::once(&self.settle).chain(portals).chain(access) {
                let (done, wait) = oneshot::channel();
                // Both fail only while the process ends; there is nothing to settle then.
                if settle.send(done).await.is_ok() {
                    let _ = wait.await;
                }
            }
        })
    }
}

fn not_served() -> McpUnavailable {
    McpUnavailable("this node does not serve Access, which MCP portals stand behind".to_owned())
}

impl McpServers for State {
    fn sync<'a>(&'a self, server: &'a McpServerId) -> console::BoxFuture<'a, Result<(), McpUnavailable>> {
        Box::pin(async move {
            match self.portals.get() {
                Some(portals) => portals.syncing.sync(server).await,
                None => Err(not_served()),
            }
        })
    }

    fn begin_sign_in<'a>(
        &'a self,
        server: &'a McpServerId,
        back: &'a Url,
        bound: [u8; 32],
    ) -> console::BoxFuture<'a, Result<Url, McpUnavailable>> {
        match self.portals.get() {
            Some(portals) => portals.syncing.begin_sign_in(server, back, bound),
            None => Box::pin(async { Err(not_served()) }),
        }
    }

    fn complete_sign_in<'a>(
        &'a self,
        query: &'a str,
        bounds: &'a [[u8; 32]],
    ) -> console::BoxFuture<'a, Result<McpServerId, McpUnavailable>> {
        match self.portals.get() {
            Some(portals) => portals.syncing.complete_sign_in(query, bounds),
            None => Box::pin(async { Err(not_served()) }),
        }
    }

    fn end_sign_in<'a>(&'a self, server: &'a McpServerId) -> console::BoxFuture<'a, Result<(), McpUnavailable>> {
        match self.portals.get() {
            Some(portals) => portals.syncing.end_sign_in(server),
            None => Box::pin(async { Err(not_served()) }),
        }
    }

    fn may_run_programs(&self) -> bool {
        self.portals.get().is_some_and(|portals| portals.syncing.may_run_programs())
    }

    fn sees(&self, portal: &McpPortalId, person: &Identity, open: &[ApplicationId]) -> Option<Vec<SeenServer>> {
        self.portals.get()?.syncing.sees(portal, person, open)
    }
}

impl Watcher {
    /// Builds what changed, after every change, until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut health = tokio::time::interval(HEALTH);
        health.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut waiting = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = health.tick() => self.look_after_the_store().await,
                changes = self.feed.next() => self.in_force.mark(&changes),
                Some(request) = self.requests.recv() => waiting.push(request),
            }
            while let Ok(request) = self.requests.try_recv() {
                waiting.push(request);
            }
            if !waiting.is_empty() {
                self.catch_up().await;
            }
            self.refresh().await;
            for request in waiting.drain(..) {
                // Whoever asked may have gone.
                let _ = request.send(());
            }
        }
    }

    /// Notices whether the store answers, and what could not be read while it did not.
    async fn look_after_the_store(&mut self) {
        let reachable = self.in_force.store_answers().await;
        if self.state.reachable.swap(reachable, Ordering::Relaxed) != reachable {
            tracing::warn!(reachable, "the store's state changed; traffic runs on the last good configuration");
        }
        if reachable {
            self.in_force.mark_failed();
        }
    }

    /// Reads every change made so far. While the store does not answer there is nothing to wait for.
    async fn catch_up(&mut self) {
        while let Ok(changes) = self.feed.ready().await {
            if changes.is_empty() {
                break;
            }
            self.in_force.mark(&changes);
        }
    }

    async fn refresh(&mut self) {
        if !self.in_force.is_due() {
            return;
        }
        let scripts = Arc::clone(self.in_force.scripts());
        self.in_force.refresh().await;
        if !Arc::ptr_eq(&scripts, self.in_force.scripts()) {
            report_scripts(&self.in_force);
            self.services.replace_scripts(Arc::clone(self.in_force.scripts()));
        }
        let revision = self.state.revision.load(Ordering::Acquire) + 1;
        self.state.snapshot.store(Arc::new(self.in_force.snapshot(revision)));
        self.state.revision.store(revision, Ordering::Release);
        *self.state.status.lock() = SnapshotStatus {
            revision,
            compiled_at: Some((self.clock)()),
            stale: self.in_force.stale(),
            store_reachable: true,
            rule_errors: self.in_force.rule_errors(),
        };
        let keep: std::collections::HashSet<_> = self.in_force.running().map(|script| &script.key).collect();
        self.runtime.retain(|key| keep.contains(key));
    }
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
