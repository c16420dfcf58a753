//! What is in force and how it came to be: the loop that turns stored changes into snapshots, and what it tells others.
//!
//! One task owns the building; everybody else reads. Invariant: a build that fails changes nothing but the reason shown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use console::{SnapshotStatus, SnapshotView};
use gateway::Snapshot;
use jiff::Timestamp;
use parking_lot::Mutex;
use store::ChangeFeed;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::services::Services;
use crate::snapshot::{Broken, BuildError, Builder, Built};

/// Requests to settle that may wait at once.
const SETTLING: usize = 64;
/// How often the store is asked for a sign of life.
const HEALTH: Duration = Duration::from_secs(5);

/// The state of the running configuration, shared by everyone who shows it.
pub(crate) struct State {
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    status: Mutex<SnapshotStatus>,
    revision: AtomicU64,
    reachable: AtomicBool,
    settle: mpsc::Sender<oneshot::Sender<()>>,
    metrics: ArcSwapOption<Box<dyn Fn() -> String + Send + Sync>>,
}

/// The building half: owned by the one task that runs it.
pub(crate) struct Watcher {
    state: Arc<State>,
    builder: Arc<Builder>,
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
        builder: Arc<Builder>,
        services: Arc<Services>,
        runtime: Arc<worker::Runtime>,
        feed: ChangeFeed,
        clock: net::Clock,
    ) -> Result<(Arc<Self>, Watcher), BuildError> {
        let built = builder.build(1, Broken::Block).await?;
        let (settle, requests) = mpsc::channel(SETTLING);
        let status = SnapshotStatus {
            revision: 1,
            compiled_at: Some(clock()),
            last_error: None,
            store_reachable: true,
            rule_errors: built.rule_errors,
        };
        services.replace_scripts(built.scripts.clone());
        report_scripts(&built.script_errors);
        let state = Arc::new(Self {
            snapshot: Arc::new(ArcSwap::from_pointee(built.snapshot)),
            status: Mutex::new(status),
            revision: AtomicU64::new(1),
            reachable: AtomicBool::new(true),
            settle,
            metrics: ArcSwapOption::default(),
        });
        let watcher = Watcher { state: Arc::clone(&state), builder, services, runtime, feed, requests, clock };
        Ok((state, watcher))
    }

    /// Says where metrics come from, once the parts that are measured exist.
    pub(crate) fn set_metrics(&self, metrics: impl Fn() -> String + Send + Sync + 'static) {
        self.metrics.store(Some(Arc::new(Box::new(metrics))));
    }

    fn put(&self, built: Built, now: Timestamp) {
        let revision = built.snapshot.revision;
        report_scripts(&built.script_errors);
        self.snapshot.store(Arc::new(built.snapshot));
        self.revision.store(revision, Ordering::Release);
        let mut status = self.status.lock();
        status.revision = revision;
        status.compiled_at = Some(now);
        status.last_error = None;
        status.rule_errors = built.rule_errors;
    }

    fn keep(&self, error: &BuildError) {
        let reason = chain(error);
        tracing::error!(%reason, "the stored configuration is not in force; the last good one stays");
        let mut status = self.status.lock();
        status.last_error = Some(reason);
        if let BuildError::Rules(rules) = error {
            status.rule_errors.clone_from(rules);
        }
    }
}

fn report_scripts(errors: &[(String, String)]) {
    for (script, reason) in errors {
        tracing::error!(%script, %reason, "a Worker cannot run; rules that call it follow their on_error");
    }
}

impl SnapshotView for State {
    fn status(&self) -> SnapshotStatus {
        let mut status = self.status.lock().clone();
        status.store_reachable = self.reachable.load(Ordering::Relaxed);
        status
    }

    fn metrics(&self) -> String {
        self.metrics.load().as_ref().map(|metrics| metrics()).unwrap_or_default()
    }

    fn settle(&self) -> console::BoxFuture<'_, ()> {
        Box::pin(async {
            let (done, wait) = oneshot::channel();
            // Both fail only while the process ends; there is nothing to settle then.
            if self.settle.send(done).await.is_ok() {
                let _ = wait.await;
            }
        })
    }
}

impl Watcher {
    /// Rebuilds after every change until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut health = tokio::time::interval(HEALTH);
        health.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut waiting = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = health.tick() => {
                    let reachable = self.builder.store.health().await.answered.is_ok();
                    if self.state.reachable.swap(reachable, Ordering::Relaxed) != reachable {
                        tracing::warn!(reachable, "the store's state changed; traffic runs on the last good configuration");
                    }
                    continue;
                }
                changes = self.feed.next() => tracing::debug!(count = changes.len(), "the store changed"),
                Some(request) = self.requests.recv() => waiting.push(request),
            }
            while let Ok(request) = self.requests.try_recv() {
                waiting.push(request);
            }
            self.rebuild().await;
            for request in waiting.drain(..) {
                // Whoever asked may have gone.
                let _ = request.send(());
            }
        }
    }

    async fn rebuild(&self) {
        let next = self.state.revision.load(Ordering::Acquire) + 1;
        match self.builder.build(next, Broken::Refuse).await {
            Ok(built) => {
                let running = built.scripts.values().chain(built.snapshot.workers.values());
                let keep: std::collections::HashSet<_> = running.map(|script| script.key.clone()).collect();
                self.services.replace_scripts(built.scripts.clone());
                self.state.put(built, (self.clock)());
                self.runtime.retain(|key| keep.contains(key));
            }
            Err(error) => self.state.keep(&error),
        }
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
