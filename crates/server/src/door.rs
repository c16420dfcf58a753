//! The console's listener: in clear on loopback, over TLS wherever anybody else can reach it.
//!
//! It decides which certificate a connection is served with, which names that makes the console's own, and what a client
//! in clear is told. It serves no page itself. Invariant: beyond loopback nothing but the way to https is ever answered
//! in clear, and a pair of files that cannot be served never replaces one that can.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::ConnectInfo;
use console::HostNames;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use net::certificate_files::{CertificateFilesError, Stamp};
use net::server::Opening;
use net::{BoxStream, CertificateFiles, Host, LeafNames, Offer, Prefixed, Presented};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::config::Config;
use crate::run::DRAIN;
use crate::state::{State, chain};

/// Connections open at once: people's browsers and programs that use the API.
const CONNECTIONS: usize = 1_024;
/// A client that has not said within this what it speaks, or not finished its handshake, is dropped.
const OPENING: Duration = Duration::from_secs(10);
/// A request head that takes longer ends its connection.
const HEAD: Duration = Duration::from_secs(30);
/// How often the certificate's files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// How the console is reached.
pub(crate) struct Door {
    bound: SocketAddr,
    /// What the configuration says people use.
    names: Vec<Host>,
    machine: Option<Host>,
    certificate: Certificate,
}

/// What the console is served with.
enum Certificate {
    /// Loopback alone.
    None,
    /// Its own, from files.
    Files(Arc<Files>),
    /// One that the account's authority signs for the address and the names it is reached by.
    Authority,
}

/// A pair of files and what they held when they last could be served.
struct Files {
    files: CertificateFiles,
    presented: ArcSwap<Presented>,
    stamp: Stamp,
}

impl Files {
    fn load(files: CertificateFiles) -> Result<Self, CertificateFilesError> {
        // The stamp first: a change in between is then seen as one.
        let stamp = files.stamp();
        let presented = files.load()?;
        Ok(Self { files, presented: ArcSwap::from_pointee(presented), stamp })
    }

    /// Reads the files again if they are not the ones read at `stamp`, and returns the stamp of what was looked at.
    fn look(&self, stamp: Stamp) -> Stamp {
        let found = self.files.stamp();
        if found == stamp {
            return stamp;
        }
        let certificate = self.files.certificate.display();
        match self.files.load() {
            Ok(presented) => {
                tracing::info!(%certificate, not_after = %presented.not_after, "the console has a new certificate");
                self.presented.store(Arc::new(presented));
            }
            Err(error) => {
                let reason = chain(&error);
                tracing::warn!(%certificate, %reason, "the console's new certificate cannot be served; the old one stays");
            }
        }
        found
    }
}

impl Door {
    /// Decides how a console that is bound to `bound` is served.
    ///
    /// # Errors
    /// The configured certificate cannot be served.
    pub(crate) fn new(bound: SocketAddr, config: &Config) -> Result<Self, CertificateFilesError> {
        let certificate = match &config.console_tls {
            Some(files) => Certificate::Files(Arc::new(Files::load(files.clone())?)),
            None if bound.ip().to_canonical().is_loopback() => Certificate::None,
            None => Certificate::Authority,
        };
        if let Certificate::Files(files) = &certificate
            && files.presented.load().not_after < (crate::clock())()
        {
            let certificate = files.files.certificate.display();
            tracing::warn!(%certificate, "the console's certificate has expired; browsers will refuse it");
        }
        Ok(Self { bound, names: config.console_names.clone(), machine: machine_name(), certificate })
    }

    pub(crate) const fn is_https(&self) -> bool {
        !matches!(self.certificate, Certificate::None)
    }

    pub(crate) const fn has_own_certificate(&self) -> bool {
        matches!(self.certificate, Certificate::Files(_))
    }

    /// Names by which browsers may ask for the console, besides those of its certificate.
    pub(crate) fn host_names(&self) -> Vec<String> {
        self.hosts().filter_map(|host| host.name().map(str::to_owned)).collect()
    }

    fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.names.iter().chain(&self.machine)
    }

    /// Where people are sent: the first configured name, or one of the certificate's, or the address it is bound to
    /// (the machine's name if that is every address).
    pub(crate) fn url(&self) -> String {
        let scheme = if self.is_https() { "https" } else { "http" };
        format!("{scheme}://{}:{}", self.shown_host(), self.bound.port())
    }

    fn shown_host(&self) -> String {
        if let Some(configured) = self.names.first() {
            return configured.to_string();
        }
        let own = match &self.certificate {
            Certificate::Files(files) => {
                files.presented.load().names.iter().find(|name| !name.starts_with('*')).cloned()
            }
            // An address that stands for all of them leads nobody here from another machine.
            Certificate::Authority if self.bound.ip().is_unspecified() => self.machine.as_ref().map(Host::to_string),
            Certificate::None | Certificate::Authority => None,
        };
        own.unwrap_or_else(|| Host::Address(self.local().ip()).to_string())
    }

    /// Where a program on this machine reaches it.
    pub(crate) fn local(&self) -> SocketAddr {
        let address = match self.bound.ip() {
            IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            address @ (IpAddr::V4(_) | IpAddr::V6(_)) => address,
        };
        SocketAddr::new(address, self.bound.port())
    }

    /// The file with what its own certificate chains to.
    pub(crate) fn trust(&self) -> Option<PathBuf> {
        match &self.certificate {
            Certificate::Files(files) => std::path::absolute(&files.files.certificate).ok(),
            Certificate::None | Certificate::Authority => None,
        }
    }

    /// Serves `router` until `stop`, then lets requests in flight finish within [`DRAIN`].
    pub(crate) async fn serve(
        self,
        listener: TcpListener,
        router: Router,
        state: Arc<State>,
        clock: net::Clock,
        stop: CancellationToken,
    ) {
        let in_clear = console::in_clear(&self.host_names());
        let hall = Arc::new(Hall { door: self, router, in_clear, state, clock, stop: stop.clone() });
        let connections = TaskTracker::new();
        let hard = CancellationToken::new();
        tokio::select! {
            () = accept(&hall, &listener, &connections, &hard) => {}
            () = hall.follow_files() => {}
            () = stop.cancelled() => {}
        }
        drop(listener);
        connections.close();
        // A live view never ends by itself; the bound ends it.
        if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
            hard.cancel();
            connections.wait().await;
        }
    }
}

/// What the machine calls itself, if that can stand in a certificate.
fn machine_name() -> Option<Host> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Host::parse(name.trim()).ok().filter(|host| host.name().is_some())
}

/// What every connection is served from.
struct Hall {
    door: Door,
    router: Router,
    in_clear: Router,
    state: Arc<State>,
    clock: net::Clock,
    stop: CancellationToken,
}

/// A connection that is ready for HTTP.
struct Opened {
    stream: BoxStream,
    router: Router,
    names: Arc<[String]>,
}

async fn accept(hall: &Arc<Hall>, listener: &TcpListener, connections: &TaskTracker, hard: &CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or a connection that was gone before it was taken: the next may succeed.
                tracing::warn!(%error, "the console cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            tracing::warn!(%peer, "the console refuses a connection: {CONNECTIONS} are open");
            continue;
        };
        let hall = Arc::clone(hall);
        connections.spawn(hard.clone().run_until_cancelled_owned(async move {
            if let Some(opened) = hall.open(stream, peer).await {
                hall.converse(opened, peer).await;
            }
            drop(place);
        }));
    }
}

impl Hall {
    /// Looks at the certificate's files every now and then. Never ends.
    async fn follow_files(&self) {
        let Certificate::Files(files) = &self.door.certificate else { return std::future::pending().await };
        let (files, mut stamp) = (Arc::clone(files), files.stamp);
        let mut interval = tokio::time::interval(LOOK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let files = Arc::clone(&files);
            match tokio::task::spawn_blocking(move || files.look(stamp)).await {
                Ok(found) => stamp = found,
                Err(_) => return std::future::pending().await,
            }
        }
    }

    /// Brings a connection to where HTTP begins, or drops it.
    async fn open(&self, mut stream: TcpStream, peer: SocketAddr) -> Option<Opened> {
        // Small answers must not wait for the acknowledgement of the ones before.
        let _ = stream.set_nodelay(true);
        if !self.door.is_https() {
            return Some(Opened { stream: Box::new(stream), router: self.router.clone(), names: Arc::new([]) });
        }
        let local = stream.local_addr().ok()?.ip().to_canonical();
        let (opening, read) = net::server::read_opening(&mut stream, bytes::Bytes::new(), OPENING).await.ok()?;
        let stream = Prefixed::new(read, stream);
        match opening {
            Opening::Tls(_) => {}
            Opening::Other => {
                let names = self.certificate_names();
                return Some(Opened { stream: Box::new(stream), router: self.in_clear.clone(), names });
            }
            Opening::BrokenTls(_) | Opening::Closed => return None,
        }
        let (config, names) = self.presented(local)?;
        match net::server::accept(stream, config, OPENING).await {
            Ok(accepted) => Some(Opened { stream: Box::new(accepted.stream), router: self.router.clone(), names }),
            Err(error) => {
                tracing::debug!(%peer, reason = chain(&error), "a handshake with the console failed");
                None
            }
        }
    }

    fn certificate_names(&self) -> Arc<[String]> {
        match &self.door.certificate {
            Certificate::Files(files) => Arc::clone(&files.presented.load().names),
            Certificate::None | Certificate::Authority => Arc::new([]),
        }
    }

    /// The certificate for a connection that came in at `local`.
    fn presented(&self, local: IpAddr) -> Option<(Arc<rustls::ServerConfig>, Arc<[String]>)> {
        if let Certificate::Files(files) = &self.door.certificate {
            let presented = files.presented.load();
            return Some((Arc::clone(&presented.config), Arc::clone(&presented.names)));
        }
        // A name that the console does not answer to is not vouched for either, whatever a client asks for.
        let here = [Host::Address(local), Host::Name("localhost".into())];
        let names = LeafNames::of(here.into_iter().chain(self.door.hosts().cloned()));
        let minter = Arc::clone(&self.state.snapshot.load().minter);
        match minter.server_config(&names, Offer::Both, (self.clock)()) {
            Ok(config) => Some((config, Arc::new([]))),
            Err(error) => {
                tracing::warn!(reason = chain(&error), "the authority cannot sign a certificate for the console");
                None
            }
        }
    }

    async fn converse(&self, opened: Opened, peer: SocketAddr) {
        let Opened { stream, router, names } = opened;
        let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let (router, names) = (router.clone(), Arc::clone(&names));
            async move {
                let mut request = request.map(axum::body::Body::new);
                request.extensions_mut().insert(ConnectInfo(peer));
                request.extensions_mut().insert(HostNames(names));
                let answered: Result<_, Infallible> = router.oneshot(request).await;
                answered
            }
        });
        let mut server = auto::Builder::new(TokioExecutor::new());
        server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
        server.http2().timer(TokioTimer::new());
        let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        // An error is the client's end of the connection; there is nobody to tell.
        tokio::select! {
            _ = connection.as_mut() => return,
            () = self.stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }
}
