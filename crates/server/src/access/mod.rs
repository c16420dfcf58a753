//! Access, put together: its snapshot from the store, its sessions in step with it, its keys.
//!
//! The plane decides; this fills what it decides with. Invariant: the feed is opened before anything is read, so no
//! revocation falls between, and a store that does not answer leaves the snapshot and the sessions as they are.

mod acme;
mod approvals;
mod build;
mod client_certificates;
mod directory;
mod factors;
mod keys;
mod ledger;
mod oauth;
mod pins;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ::access::{Access, AccessConfig, ApprovalTable, Backends, GrantTable, OriginParts, Parts, SessionTable, Snapshot};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use net::Minter;
use store::{Change, ChangeFeed, Kind, Principal, Store};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use types::{AccountId, UserId};

pub(crate) use self::acme::Orders;
use self::approvals::StoreApprovals;
use self::build::Builder;
use self::directory::StoreDirectory;
use self::factors::StoreFactors;
use self::ledger::{OwnWrites, StoreLedger};
use self::oauth::StoreOauth;
use self::pins::StorePins;
use crate::config::AcmeConfig;
use crate::lists::Lists;
use crate::state::{SETTLING, Settle};
use crate::upstream::Upstream;

/// How often the age of the signing key is looked at, and a failed build tried again.
const TEND: Duration = Duration::from_secs(60);
/// How long other nodes have to take a proof over before the authority is told to look.
const SPREAD: Duration = Duration::from_secs(2);

/// Why Access cannot start, or follow the store.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error(transparent)]
    Store(#[from] store::StoreError),
    #[error(transparent)]
    Denied(#[from] store::Denied),
    #[error("cannot make or read a signing key: {0}")]
    Key(String),
    #[error("there is no signing key")]
    NoKey,
    #[error("a stored document cannot be read: {0}")]
    Document(String),
    #[error("the authority for certificates: {0}")]
    Authority(String),
}

impl AccessError {
    fn key(error: impl std::fmt::Display) -> Self {
        Self::Key(error.to_string())
    }
}

/// What Access stands on.
pub(crate) struct Ground {
    pub store: Store,
    pub account: AccountId,
    pub logs: logs::Logs,
    pub clock: net::Clock,
    pub upstream: Arc<Upstream>,
    /// The scripts that policies ask.
    pub workers: Arc<dyn ::access::Workers>,
    /// The certificates of the snapshot in force, whoever builds it.
    pub gateway: Arc<ArcSwap<gateway::Snapshot>>,
    pub portals: Portals,
}

/// Makes what answers for the MCP portal at a host.
pub(crate) type Portals = Arc<dyn Fn(String) -> Arc<dyn ::access::Inside> + Send + Sync>;

impl Ground {
    fn minter(&self) -> Arc<Minter> {
        Arc::clone(&self.gateway.load().minter)
    }
}

/// The plane, and the loop that keeps it in step with the store.
pub(crate) struct Assembled {
    pub access: Access,
    pub follower: Follower,
    /// Whoever sends here is answered when everything stored before is in force.
    pub settle: Settle,
    /// The loop that orders certificates, where the configuration names an authority.
    pub orders: Option<Orders>,
}

/// Owned by the one task that runs it.
pub(crate) struct Follower {
    ground: Ground,
    builder: Builder,
    ledger: Arc<StoreLedger>,
    oauth: Arc<StoreOauth>,
    approvals: Arc<StoreApprovals>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    feed: ChangeFeed,
    requests: mpsc::Receiver<oneshot::Sender<()>>,
    revision: u64,
}

/// Makes the keys, reads the first snapshot and the sessions.
///
/// # Errors
/// The store does not answer, or no key can be made.
pub(crate) async fn assemble(
    ground: Ground,
    config: AccessConfig,
    acme: Option<AcmeConfig>,
) -> Result<Assembled, AccessError> {
    let principal = Principal::system("access");
    let now = (ground.clock)();
    keys::ensure(&ground.store, &principal, ground.account, now).await?;
    let feed = ground.store.changes().await?;
    let mut builder = Builder {
        store: ground.store.clone(),
        account: ground.account,
        principal: principal.clone(),
        backends: Backends::new(OriginParts {
            resolver: ground.upstream.resolver(),
            guard: ground.upstream.guard(),
            trust: ground.upstream.trust(),
            clock: Arc::clone(&ground.clock),
        }),
        upstream: ground.upstream.pool.clone(),
        portals: Arc::clone(&ground.portals),
        lists: Lists::default(),
        passwords: HashMap::new(),
        requests: client_certificates::Requests::default(),
        challenges: Arc::new(net::acme::Challenges::default()),
    };
    let (first, faults) = builder.build(1, ground.minter()).await?;
    report(&faults);
    let sessions = Arc::new(SessionTable::new(config.sessions));
    let ledger = Arc::new(StoreLedger {
        store: ground.store.clone(),
        account: ground.account,
        principal: principal.clone(),
        sessions: Arc::clone(&sessions),
        own: OwnWrites::default(),
    });
    ledger.fill(now).await?;
    let snapshot = Arc::new(ArcSwap::from_pointee(first));
    let agents = Arc::new(GrantTable::new(config.agent_grants));
    let oauth = Arc::new(StoreOauth {
        store: ground.store.clone(),
        account: ground.account,
        principal: principal.clone(),
        grants: Arc::clone(&agents),
        clock: Arc::clone(&ground.clock),
        clients: oauth::Clients::default(),
        people: oauth::People::default(),
    });
    let pins = StorePins { store: ground.store.clone(), account: ground.account, principal: principal.clone() };
    let pins = Arc::new(pins);
    let approved = Arc::new(ApprovalTable::default());
    let approvals = Arc::new(StoreApprovals {
        store: ground.store.clone(),
        account: ground.account,
        principal: principal.clone(),
        table: Arc::clone(&approved),
    });
    approvals.fill().await?;
    let access = Access::new(Parts {
        config,
        snapshot: Arc::clone(&snapshot),
        sessions,
        ledger: Arc::clone(&ledger) as Arc<dyn ::access::Ledger>,
        factors: Arc::new(StoreFactors { store: ground.store.clone(), account: ground.account, principal }),
        pins: Arc::clone(&pins) as Arc<dyn ::access::PinLedger>,
        postbox: pins,
        approvals: Arc::clone(&approvals) as Arc<dyn ::access::ApprovalLedger>,
        approved,
        oauth: Arc::clone(&oauth) as Arc<dyn ::access::OauthLedger>,
        agents,
        documents: oauth::documents(&ground.upstream, &ground.clock)?,
        challenges: Arc::clone(&builder.challenges),
        directory: Arc::new(StoreDirectory { ledger: Arc::clone(&ledger) }),
        workers: Arc::clone(&ground.workers),
        logs: ground.logs.clone(),
        clock: Arc::clone(&ground.clock),
    });
    let (settle, requests) = mpsc::channel(SETTLING);
    let orders = match acme {
        Some(config) => Some(orders(&ground, config, &snapshot, settle.clone()).await?),
        None => None,
    };
    let follower = Follower { ground, builder, ledger, oauth, approvals, snapshot, feed, requests, revision: 1 };
    Ok(Assembled { access, follower, settle, orders })
}

async fn orders(
    ground: &Ground,
    config: AcmeConfig,
    snapshot: &Arc<ArcSwap<Snapshot>>,
    settle: Settle,
) -> Result<Orders, AccessError> {
    let roots = match &config.roots {
        None => None,
        Some(path) => Some(std::fs::read_to_string(path).map_err(|error| {
            AccessError::Authority(format!("the roots in {} cannot be read: {error}", path.display()))
        })?),
    };
    Ok(Orders {
        store: ground.store.clone(),
        account: ground.account,
        clock: Arc::clone(&ground.clock),
        pool: acme::way(&ground.upstream, &ground.clock, roots.as_deref())?,
        snapshot: Arc::clone(snapshot),
        settle,
        feed: ground.store.changes().await?,
        spread: if config.several_nodes { SPREAD } else { Duration::ZERO },
        config,
    })
}

impl Follower {
    /// Follows the store until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut due = false;
        let mut waiting = Vec::new();
        let mut minter = self.ground.minter();
        // A clock of its own: a store that never rests must not keep the key from its rotation.
        let mut tend = tokio::time::interval(TEND);
        loop {
            let mut changes = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = tend.tick() => {
                    self.tend((self.ground.clock)()).await;
                    Vec::new()
                }
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
                catch_up(&mut self.feed, &mut changes).await;
            }
            self.take_over(&changes, (self.ground.clock)(), &stop).await;
            // Which authority signs is the gateway's to say; it has its own loop.
            let signs = self.ground.minter();
            due = due || !Arc::ptr_eq(&signs, &minter) || self.concerns(&changes).await;
            minter = signs;
            if due {
                due = !self.rebuild().await;
            }
            for request in waiting.drain(..) {
                // Whoever asked may have gone.
                let _ = request.send(());
            }
        }
    }

    async fn tend(&self, now: Timestamp) {
        let Self { ground, builder, .. } = self;
        if let Err(error) = keys::ensure(&ground.store, &builder.principal, ground.account, now).await {
            tracing::error!(%error, "the age of the signing key cannot be looked at");
        }
    }

    /// Takes over sessions, revocations and grants; they wait for the store rather than being missed.
    async fn take_over(&self, changes: &[Change], now: Timestamp, stop: &CancellationToken) {
        let follow = async || {
            self.ledger.follow(changes, now).await?;
            self.oauth.follow(changes).await?;
            self.approvals.follow(changes).await
        };
        while let Err(error) = follow().await {
            tracing::error!(%error, "sessions, revocations, grants and approvals of other nodes cannot be read; trying again");
            if stop.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1))).await.is_none() {
                return;
            }
        }
    }

    /// Whether any change is one of the configuration.
    async fn concerns(&self, changes: &[Change]) -> bool {
        for change in changes {
            let concerned = match concern(change) {
                Concern::Nothing => false,
                Concern::Configuration => true,
                Concern::Person(user) => self.builder.passwords.contains_key(&user),
                // A store that does not answer leaves it open.
                Concern::Password(user) => self.builder.has_new_password(&user).await.unwrap_or(true),
            };
            if concerned {
                return true;
            }
        }
        false
    }

    async fn rebuild(&mut self) -> bool {
        self.revision += 1;
        match self.builder.build(self.revision, self.ground.minter()).await {
            Ok((snapshot, faults)) => {
                report(&faults);
                self.snapshot.store(Arc::new(snapshot));
                true
            }
            Err(error) => {
                tracing::error!(%error, "the configuration of Access stays as it was");
                false
            }
        }
    }
}

fn report(faults: &[build::Fault]) {
    for (what, why) in faults {
        tracing::warn!(what, why, "a part of Access is not in force");
    }
}

/// Adds every change made so far. While the store does not answer there is nothing to wait for.
async fn catch_up(feed: &mut ChangeFeed, changes: &mut Vec<Change>) {
    while let Ok(more) = feed.ready().await {
        if more.is_empty() {
            break;
        }
        changes.extend(more);
    }
}

/// What a change means for the configuration.
enum Concern {
    Nothing,
    Configuration,
    /// Only if they sign in with a password.
    Person(UserId),
    /// Only if that is what changed: every sign-in writes here.
    Password(UserId),
}

fn concern(change: &Change) -> Concern {
    let (Change::Put(document) | Change::Deleted(document) | Change::ChildrenDeleted(document)) = change else {
        return Concern::Configuration;
    };
    let person = || document.id.parse().ok();
    if document.kind == Kind::AccessProfile {
        return person().map_or(Concern::Configuration, Concern::Password);
    }
    if document.kind == Kind::User {
        return person().map_or(Concern::Configuration, Concern::Person);
    }
    let configures = matches!(
        document.kind,
        Kind::Application
            | Kind::AccessPolicy
            | Kind::AccessGroup
            | Kind::Provider
            | Kind::Organization
            | Kind::ServiceToken
            | Kind::ClientAuthority
            | Kind::ClientCertificateSettings
            | Kind::ListenerCertificate
            | Kind::CustomPage
            | Kind::AccessKeys
            | Kind::List
            | Kind::Configuration
            | Kind::Certificate
    );
    if configures { Concern::Configuration } else { Concern::Nothing }
}

#[cfg(test)]
mod tests;
