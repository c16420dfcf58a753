//! The gateway as a whole: what it is made of, its listener, its drain.
//!
//! It accepts and ends connections; `connection` serves them. Invariant: every task it starts is owned by `serve`, which
//! returns only when all of them have ended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::GatewayConfig;
use crate::connection::{self, Client};
use crate::events::{EventSender, SecurityEvent};
use crate::identity::Failures;
use crate::services::{Runner, Services};
use crate::snapshot::Snapshot;
use crate::verdict_cache::VerdictCache;
use net::proxy::listen::listen;
use net::proxy::serve::Tasks;
use net::proxy::sources::Sources;

/// What the gateway works with, handed in by `server`.
pub struct Parts {
    pub config: GatewayConfig,
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    pub runtime: Arc<dyn Runner>,
    pub logs: logs::Logs,
    pub services: Services,
    pub clock: net::Clock,
}

/// The web data plane. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

/// What every connection shares.
pub(crate) struct Inner {
    pub(crate) config: GatewayConfig,
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) runtime: Arc<dyn Runner>,
    pub(crate) logs: logs::Logs,
    pub(crate) services: Services,
    pub(crate) clock: net::Clock,
    pub(crate) events: EventSender,
    pub(crate) failures: Failures,
    pub(crate) verdicts: VerdictCache,
    pub(crate) counters: Counters,
    sources: Arc<Sources>,
}

/// Monotonic counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) blocked: AtomicU64,
    pub(crate) intercepted: AtomicU64,
    pub(crate) passed_through: AtomicU64,
    pub(crate) tunnels: AtomicU64,
    pub(crate) worker_calls: AtomicU64,
    pub(crate) worker_failures: AtomicU64,
    pub(crate) worker_cache_hits: AtomicU64,
    pub(crate) records_lost: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A reading of the gateway's counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct GatewayStats {
    pub revision: u64,
    pub connections_open: usize,
    pub connections_accepted: u64,
    /// Over the bound on connections.
    pub connections_refused: u64,
    pub requests: u64,
    pub blocked: u64,
    /// TLS connections decrypted.
    pub intercepted: u64,
    /// TLS connections passed through.
    pub passed_through: u64,
    /// Tunnels of other protocols.
    pub tunnels: u64,
    pub worker_calls: u64,
    pub worker_failures: u64,
    pub worker_cache_hits: u64,
    /// Records the log did not take.
    pub records_lost: u64,
    /// Security events nobody took in time.
    pub events_dropped: u64,
}

impl Gateway {
    /// Puts a gateway together. The receiver yields its security events.
    #[must_use]
    pub fn new(parts: Parts) -> (Self, mpsc::Receiver<SecurityEvent>) {
        let Parts { config, snapshot, runtime, logs, services, clock } = parts;
        let (events, receiver) = EventSender::new(config.event_queue);
        let inner = Inner {
            failures: Failures::new(config.failures_per_minute),
            verdicts: VerdictCache::new(config.verdict_cache_entries),
            sources: Sources::new(config.connections, config.connections_per_source),
            counters: Counters::default(),
            config,
            snapshot,
            runtime,
            logs,
            services,
            clock,
            events,
        };
        (Self { inner: Arc::new(inner) }, receiver)
    }

    /// Serves proxy clients on `listener` until `stop`, then lets what is in flight finish within the drain bound.
    pub async fn serve(&self, listener: TcpListener, stop: CancellationToken) {
        let tasks = Tasks::default();
        let admit = |stream, source| self.admit(stream, source, &stop, &tasks);
        listen(listener, &stop, &tasks, self.inner.config.drain_timeout, admit).await;
    }

    fn admit(&self, stream: TcpStream, source: SocketAddr, stop: &CancellationToken, tasks: &Tasks) {
        let counters = &self.inner.counters;
        let Some(place) = self.inner.sources.admit(source.ip()) else {
            Counters::add(&counters.refused);
            return;
        };
        Counters::add(&counters.accepted);
        let session = logs::record_id();
        let client = Client {
            gateway: Arc::clone(&self.inner),
            source,
            stop: stop.clone(),
            tasks: tasks.clone(),
            number: counters.accepted.load(Ordering::Relaxed),
            session,
            source_text: source.ip().to_canonical().to_string(),
            session_text: session.to_string(),
            first_host: crate::meaning::FirstHost::default(),
            _place: place,
        };
        tasks.spawn(connection::serve(client, stream));
    }

    /// Returns a reading of the counters.
    #[must_use]
    pub fn stats(&self) -> GatewayStats {
        let inner = &self.inner;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        GatewayStats {
            revision: inner.snapshot.load().revision,
            connections_open: inner.sources.open(),
            connections_accepted: read(&inner.counters.accepted),
            connections_refused: read(&inner.counters.refused),
            requests: read(&inner.counters.requests),
            blocked: read(&inner.counters.blocked),
            intercepted: read(&inner.counters.intercepted),
            passed_through: read(&inner.counters.passed_through),
            tunnels: read(&inner.counters.tunnels),
            worker_calls: read(&inner.counters.worker_calls),
            worker_failures: read(&inner.counters.worker_failures),
            worker_cache_hits: read(&inner.counters.worker_cache_hits),
            records_lost: read(&inner.counters.records_lost),
            events_dropped: inner.events.dropped(),
        }
    }
}
