//! The plane as a whole: what it is made of, its listener, its drain.
//!
//! It accepts connections and runs their TLS; `stages` answers requests. Invariant: every task it starts is owned by
//! `serve`, which returns only when all of them have ended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Request;
use hyper::body::Incoming;
use identity::session::Moment;
use net::proxy::framing::HeadLimits;
use net::proxy::listen::listen;
use net::proxy::serve::{self, ServeLimits, Tasks};
use net::proxy::sources::{Place, Sources};
use net::server::{Opening, accept, read_opening};
use net::{Gathered, Host, LeafNames, Offer, Prefixed, Protocol};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::approval::{ApprovalLedger, ApprovalTable};
use crate::caller::Tokens;
use crate::client_certificate::Shown;
use crate::config::AccessConfig;
use crate::directory::Directory;
use crate::ledger::Ledger;
use crate::login::Logins;
use crate::mail::{MailQueue, Postbox};
use crate::markdown::Turning;
use crate::mfa::FactorLedger;
use crate::oauth::{GrantTable, Oauth, OauthLedger};
use crate::pin::PinLedger;
use crate::session_table::SessionTable;
use crate::snapshot::Snapshot;
use crate::stages;
use crate::token_use::TokenUses;
use crate::workers::{Opinions, Workers};

/// How often ended sessions are forgotten.
const SWEEP: Duration = Duration::from_secs(60);

/// What the plane works with, handed in by `server`.
pub struct Parts {
    pub config: AccessConfig,
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    pub sessions: Arc<SessionTable>,
    pub ledger: Arc<dyn Ledger>,
    pub factors: Arc<dyn FactorLedger>,
    pub pins: Arc<dyn PinLedger>,
    pub postbox: Arc<dyn Postbox>,
    pub approvals: Arc<dyn ApprovalLedger>,
    /// What was asked and granted, kept in step with it.
    pub approved: Arc<ApprovalTable>,
    pub oauth: Arc<dyn OauthLedger>,
    /// The grants of managed OAuth that this node knows.
    pub agents: Arc<GrantTable>,
    /// The way to documents of OAuth clients: the public Internet alone.
    pub documents: net::upstream::Pool,
    pub directory: Arc<dyn Directory>,
    /// The scripts that policies ask.
    pub workers: Arc<dyn Workers>,
    /// What proves our hosts to the authority that issues certificates.
    pub challenges: Arc<net::acme::Challenges>,
    pub logs: logs::Logs,
    pub clock: net::Clock,
}

/// The access plane. Cheap to clone.
#[derive(Clone)]
pub struct Access {
    inner: Arc<Inner>,
}

/// What every connection shares.
pub(crate) struct Inner {
    pub(crate) config: AccessConfig,
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) sessions: Arc<SessionTable>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) factors: Arc<dyn FactorLedger>,
    pub(crate) pin_ledger: Arc<dyn PinLedger>,
    /// Letters on their way to the outbox.
    pub(crate) mail: MailQueue,
    pub(crate) token_uses: TokenUses,
    pub(crate) postbox: Arc<dyn Postbox>,
    pub(crate) approval_ledger: Arc<dyn ApprovalLedger>,
    pub(crate) approvals: Arc<ApprovalTable>,
    pub(crate) oauth_ledger: Arc<dyn OauthLedger>,
    pub(crate) agents: Arc<GrantTable>,
    pub(crate) oauth: Oauth,
    pub(crate) opinions: Opinions,
    pub(crate) turning: Turning,
    pub(crate) directory: Arc<dyn Directory>,
    challenges: Arc<net::acme::Challenges>,
    pub(crate) logs: logs::Logs,
    pub(crate) clock: net::Clock,
    pub(crate) logins: Logins,
    pub(crate) tokens: Tokens,
    pub(crate) counters: Counters,
    sources: Arc<Sources>,
}

/// Monotonic counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    accepted: AtomicU64,
    refused: AtomicU64,
    requests: AtomicU64,
    pub(crate) denied: AtomicU64,
    /// Requests let through while some of them are recorded.
    pub(crate) sampled: AtomicU64,
    pub(crate) sign_ins: AtomicU64,
    pub(crate) records_lost: AtomicU64,
}

/// A reading of the plane's counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct AccessStats {
    pub revision: u64,
    pub connections_open: usize,
    pub connections_accepted: u64,
    /// Over the bound on connections.
    pub connections_refused: u64,
    pub requests: u64,
    /// Requests that no policy let through.
    pub denied: u64,
    pub sign_ins: u64,
    /// Passwords that were held against a hash: one for each that was sent, whether or not the address is anybody's.
    pub password_checks: u64,
    pub sessions: usize,
    /// Records the log did not take.
    pub records_lost: u64,
}

/// One client connection and what its tasks need.
pub(crate) struct Client {
    pub(crate) plane: Arc<Inner>,
    pub(crate) source: SocketAddr,
    /// The name in the TLS handshake.
    pub(crate) server_name: Option<String>,
    pub(crate) shown: Option<Shown>,
    pub(crate) tasks: Tasks,
    /// Distinguishes connections, for authentication that binds to one.
    pub(crate) number: u64,
    /// Kept until the last task of the connection ends.
    _place: Place,
}

impl Inner {
    pub(crate) fn now(&self) -> Moment {
        Moment((self.clock)().as_millisecond())
    }
}

impl Access {
    /// Puts the plane together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { config, snapshot, sessions, ledger, factors, pins, postbox, oauth, agents, .. } = parts;
        let Parts { approvals, approved, directory, challenges, documents, workers, logs, clock, .. } = parts;
        let inner = Inner {
            sources: Sources::new(config.connections, config.connections_per_source),
            logins: Logins::new(&config),
            tokens: Tokens::new(),
            oauth: Oauth::new(&config, documents),
            opinions: Opinions::new(workers),
            pin_ledger: pins,
            mail: MailQueue::new(),
            token_uses: TokenUses::new(),
            postbox,
            approval_ledger: approvals,
            approvals: approved,
            turning: Turning::new(),
            oauth_ledger: oauth,
            agents,
            counters: Counters::default(),
            config,
            snapshot,
            sessions,
            ledger,
            factors,
            directory,
            challenges,
            logs,
            clock,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Serves people and programs on `listener` until `stop`, then lets what is in flight finish within the drain bound.
    pub async fn serve(&self, listener: TcpListener, stop: CancellationToken) {
        let tasks = Tasks::default();
        tasks.spawn(self.sweep(stop.clone()));
        tasks.spawn(self.inner.mail.run(Arc::clone(&self.inner.postbox), stop.clone()));
        tasks.spawn(self.inner.token_uses.run(Arc::clone(&self.inner.ledger), stop.clone()));
        let admit = |stream, source| self.admit(stream, source, &stop, &tasks);
        listen(listener, &stop, &tasks, self.inner.config.drain_timeout, admit).await;
    }

    /// Forgets ended sessions, again and again until `stop`.
    fn sweep(&self, stop: CancellationToken) -> impl Future<Output = ()> + Send + 'static {
        let inner = Arc::clone(&self.inner);
        async move {
            while stop.run_until_cancelled(tokio::time::sleep(SWEEP)).await.is_some() {
                let idle = inner.snapshot.load().organization.idle;
                let now = inner.now();
                inner.sessions.sweep(idle, now);
                inner.agents.sweep(now.seconds());
                inner.approvals.sweep(now.seconds());
            }
        }
    }

    fn admit(&self, stream: TcpStream, source: SocketAddr, stop: &CancellationToken, tasks: &Tasks) {
        let counters = &self.inner.counters;
        let Some(place) = self.inner.sources.admit(source.ip()) else {
            counters.refused.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let number = counters.accepted.fetch_add(1, Ordering::Relaxed);
        let client = Client {
            plane: Arc::clone(&self.inner),
            source,
            server_name: None,
            shown: None,
            tasks: tasks.clone(),
            number,
            _place: place,
        };
        let stop = stop.clone();
        tasks.spawn(async move {
            if let Err(error) = Box::pin(connection(client, stream, stop)).await {
                tracing::debug!(%error, %source, "an access connection ended");
            }
        });
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.snapshot.load_full()
    }

    /// Returns a reading of the counters.
    #[must_use]
    pub fn stats(&self) -> AccessStats {
        let inner = &self.inner;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AccessStats {
            revision: inner.snapshot.load().revision,
            connections_open: inner.sources.open(),
            connections_accepted: read(&inner.counters.accepted),
            connections_refused: read(&inner.counters.refused),
            requests: read(&inner.counters.requests),
            denied: read(&inner.counters.denied),
            sign_ins: read(&inner.counters.sign_ins),
            password_checks: inner.logins.password_checks(),
            sessions: inner.sessions.len(),
            records_lost: read(&inner.counters.records_lost),
        }
    }
}

/// Why a connection never came to a request.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error(transparent)]
    Opening(#[from] net::server::OpeningError),
    #[error("it does not speak TLS")]
    NotTls,
    #[error("no certificate is being ordered for the host")]
    NoOrder,
    #[error(transparent)]
    Mint(#[from] net::mint::MintError),
    #[error(transparent)]
    Handshake(#[from] net::server::AcceptError),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

async fn connection(mut client: Client, stream: TcpStream, stop: CancellationToken) -> Result<(), ConnectionError> {
    let config = &client.plane.config;
    let limits = ServeLimits {
        head: HeadLimits { bytes: config.head_bytes, fields: config.header_fields, timeout: config.head_timeout },
        idle: config.idle_timeout,
        streams: config.http2_streams,
        extended_connect: false,
    };
    let within = config.handshake_timeout;
    let local = stream.local_addr().map(|address| address.ip()).unwrap_or(std::net::Ipv4Addr::LOCALHOST.into());
    let mut stream = Gathered::new(stream);
    let (opening, bytes) = read_opening(&mut stream, bytes::Bytes::new(), within).await?;
    let hello = match opening {
        Opening::Tls(hello) => hello,
        Opening::Closed => return Ok(()),
        Opening::BrokenTls(_) | Opening::Other => return Err(ConnectionError::NotTls),
    };
    if net::acme::is_validation(&hello) {
        let proof = client.plane.challenges.answer(&hello).ok_or(ConnectionError::NoOrder)?;
        // The certificate in the handshake is all that is asked for.
        accept(Prefixed::new(bytes, stream), proof, within).await?;
        return Ok(());
    }
    let snapshot = client.plane.snapshot.load_full();
    let names = leaf_names(&snapshot, hello.sni.as_deref(), local);
    let now = (client.plane.clock)();
    // Only a host that believes some authority asks: a browser that is asked may put the question to its person.
    let asks = hello.sni.as_deref().and_then(|name| snapshot.client_certificates.get(name));
    let issued = hello.sni.as_deref().and_then(|name| snapshot.certificates.get(name));
    let tls = match (issued.filter(|issued| issued.is_valid(now)), asks) {
        (Some(issued), asks) => {
            let request = asks.map(|host| &*host.request);
            snapshot.minter.issued_config_for(&hello, issued, Offer::Both, request)
        }
        (None, Some(host)) => snapshot.minter.asking_config_for(&hello, &names, Offer::Both, now, &host.request)?,
        (None, None) => snapshot.minter.server_config_for(&hello, &names, Offer::Both, now)?,
    };
    drop(snapshot);
    let accepted = accept(Prefixed::new(bytes, stream), tls, within).await?;
    client.shown = Shown::of(accepted.client_chain);
    client.server_name = accepted.sni.map(|name| name.to_ascii_lowercase());
    let client = Arc::new(client);
    let answer = {
        let client = Arc::clone(&client);
        move |request: Request<Incoming>| {
            client.plane.counters.requests.fetch_add(1, Ordering::Relaxed);
            stages::answer(Arc::clone(&client), request)
        }
    };
    let stream: net::BoxStream = Box::new(accepted.stream);
    match accepted.tls.alpn.unwrap_or(Protocol::Http1) {
        Protocol::Http1 => Box::pin(serve::http1(stream, limits, &stop, move |request, _| answer(request))).await?,
        Protocol::Http2 => Box::pin(serve::http2(stream, limits, &stop, client.tasks.clone(), answer)).await?,
    }
    Ok(())
}

/// Chooses the names of the certificate: the host asked for if it is ours, else the address that was dialled, so that
/// strangers cannot make us sign without end.
fn leaf_names(snapshot: &Snapshot, asked: Option<&str>, local: std::net::IpAddr) -> LeafNames {
    let ours = |name: &str| snapshot.is_sign_in_host(name) || name == "localhost" || snapshot.routes.has_host(name);
    let host = asked.map(str::to_ascii_lowercase).filter(|name| ours(name)).and_then(|name| Host::parse(&name).ok());
    LeafNames::for_host(&host.unwrap_or(Host::Address(local)))
}
