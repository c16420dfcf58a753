//! MCP portals, put together: their snapshot from the store, their servers looked at, their calls recorded.
//!
//! The plane decides; this fills what it decides with, and hands it the requests that Access let through. Invariant: the
//! feed is opened before anything is read, and a store that does not answer leaves the portals as they are.

mod build;
mod inner;
mod inside;
mod record;
mod sync;
pub(crate) mod vault;

use std::sync::Arc;
use std::time::Duration;

use ::access::{Backends, OriginParts};
use ::agents::signin::{SignIns, SignInsParts};
use ::agents::{Agents, Parts};
use arc_swap::ArcSwap;
use store::{Change, ChangeFeed, Kind, Principal, Store};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use types::AccountId;

use self::build::{Builder, Means};
pub(crate) use self::inside::Portal;
pub(crate) use self::sync::Syncing;
use self::vault::StoreVault;
use crate::lists::Lists;
use crate::services::Services;
use crate::state::{SETTLING, Settle};
use crate::upstream::Upstream;

/// How long an authorization server has for one answer.
const AUTHORIZATION: Duration = Duration::from_secs(15);
/// How often a build that failed is tried again.
const TEND: Duration = Duration::from_secs(60);

/// What the portals stand on.
pub(crate) struct Ground {
    pub store: Store,
    pub account: AccountId,
    pub logs: logs::Logs,
    pub clock: net::Clock,
    /// Runs the programs of Code Mode.
    pub runtime: Arc<worker::Runtime>,
    pub upstream: Arc<Upstream>,
    /// Absent: programs are not run as MCP servers.
    pub programs: Option<programs::Programs>,
    pub services: Arc<Services>,
}

/// The plane, and the loops that keep it in step.
pub(crate) struct Assembled {
    pub agents: Agents,
    pub follower: Follower,
    pub settle: Settle,
    pub syncing: Arc<Syncing>,
    pub sign_ins: Arc<SignIns>,
}

/// Owned by the one task that runs it.
pub(crate) struct Follower {
    builder: Builder,
    agents: Agents,
    snapshot: Arc<ArcSwap<::agents::snapshot::Snapshot>>,
    feed: ChangeFeed,
    requests: mpsc::Receiver<oneshot::Sender<()>>,
    revision: u64,
}

/// Why portals cannot start, or follow the store.
#[derive(Debug, thiserror::Error)]
pub enum AgentsError {
    #[error(transparent)]
    Store(#[from] store::StoreError),
    #[error(transparent)]
    Denied(#[from] store::Denied),
    #[error("a list: {0}")]
    List(String),
    #[error("what was approved of a server cannot be read: {0}")]
    Pins(String),
}

/// Reads the first snapshot.
///
/// # Errors
/// The store does not answer.
pub(crate) async fn assemble(ground: Ground) -> Result<Assembled, AgentsError> {
    let feed = ground.store.changes().await?;
    let principal = Principal::system("agents");
    let backends = Backends::new(OriginParts {
        resolver: ground.upstream.resolver(),
        guard: ground.upstream.guard(),
        trust: ground.upstream.trust(),
        clock: Arc::clone(&ground.clock),
    });
    let workers: Arc<dyn ::agents::Workers> = Arc::new(inner::PortalWorkers { services: ground.services });
    let internet = ground.upstream.pool.clone();
    let means = Arc::new(Means { backends, internet, programs: ground.programs, workers });
    let mut builder = Builder {
        store: ground.store.clone(),
        account: ground.account,
        principal: principal.clone(),
        means: Arc::clone(&means),
        lists: Lists::default(),
        built: build::Built::default(),
    };
    let first = builder.build(1).await?;
    let snapshot = Arc::new(ArcSwap::from_pointee(first));
    let said = Arc::new(sync::Said::default());
    let sign_ins = SignIns::new(SignInsParts {
        vault: Arc::new(StoreVault {
            store: ground.store.clone(),
            account: ground.account,
            principal: principal.clone(),
        }),
        pool: ground.upstream.pool.clone(),
        within: AUTHORIZATION,
        clock: Arc::clone(&ground.clock),
    });
    let agents = Agents::new(Parts {
        snapshot: Arc::clone(&snapshot),
        recorder: Arc::new(record::Recorder { logs: ground.logs, account: ground.account }),
        scripts: ground.runtime,
        workers: Arc::clone(&means.workers),
        sign_ins: Arc::clone(&sign_ins),
        account: ground.account,
        clock: Arc::clone(&ground.clock),
        changed: Arc::clone(&said) as Arc<dyn ::agents::Changed>,
    });
    let syncing = Arc::new(Syncing {
        store: ground.store,
        account: ground.account,
        principal,
        means,
        sign_ins: Arc::clone(&sign_ins),
        clock: ground.clock,
        agents: agents.clone(),
        said,
    });
    let (settle, requests) = mpsc::channel(SETTLING);
    let follower = Follower { builder, agents: agents.clone(), snapshot, feed, requests, revision: 1 };
    Ok(Assembled { agents, follower, settle, syncing, sign_ins })
}

impl Follower {
    /// Follows the store until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let (mut due, mut waiting) = (false, Vec::new());
        let mut tend = tokio::time::interval(TEND);
        loop {
            let mut changes = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = tend.tick() => Vec::new(),
                Some(request) = self.requests.recv() => {
                    waiting.push(request);
                    Vec::new()
                }
                changes = self.feed.next() => changes,
            };
            while let Ok(request) = self.requests.try_recv() {
                waiting.push(request);
            }
            if !waiting.is_empty() {
                while let Ok(more) = self.feed.ready().await {
                    if more.is_empty() {
                        break;
                    }
                    changes.extend(more);
                }
            }
            due = due || changes.iter().any(concerns);
            if due {
                due = !self.rebuild().await;
            }
            for request in waiting.drain(..) {
                // Whoever asked may have gone.
                let _ = request.send(());
            }
        }
    }

    async fn rebuild(&mut self) -> bool {
        self.revision += 1;
        match self.builder.build(self.revision).await {
            Ok(snapshot) => {
                self.snapshot.store(Arc::new(snapshot));
                self.agents.follow();
                true
            }
            Err(error) => {
                tracing::error!(%error, "the configuration of MCP portals stays as it was");
                false
            }
        }
    }
}

fn concerns(change: &Change) -> bool {
    match change {
        Change::Put(document) | Change::Deleted(document) | Change::ChildrenDeleted(document) => matches!(
            document.kind,
            Kind::McpPortal | Kind::McpServer | Kind::McpCatalog | Kind::Application | Kind::List
        ),
        Change::Resync { .. } => true,
    }
}
