//! Dials an origin: resolve, guard, TCP, TLS, verdict.
//!
//! It decides the order and the bounds of those steps. It does not reuse connections ([`super::Pool`] does) and does not
//! decide what an untrusted certificate leads to. Invariant: the guard judges the address that is dialled, right before
//! it is dialled; and with [`CertificatePolicy::RequireValid`] no connection with an untrusted certificate comes out.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rustls::ClientConfig;
use rustls::client::Resumption;
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use types::Code;
use url::Url;

use super::trust::{OriginCertificate, PossessionOnly, TrustStore, server_name};
use crate::gathered::Gathered;
use crate::guard::{Guard, Refusal};
use crate::host::{Host, Origin, Scheme};
use crate::resolve::{Resolve, ResolveError};
use crate::tls::{Offer, Protocol, TlsInfo, provider};
use crate::transport::{BoxStream, Counted, Counters, tune};
use crate::{BoxError, Clock};

/// Sessions remembered for resumption.
const MAX_SESSIONS: usize = 2_048;

/// Addresses of one name tried at most.
const MAX_ATTEMPTS: usize = 6;

/// How long one address has before the next is tried beside it (RFC 8305 recommends 250 ms).
const STAGGER: Duration = Duration::from_millis(250);

/// What to do with an origin whose certificate is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CertificatePolicy {
    /// Fail with [`ConnectError::Certificate`].
    RequireValid,
    /// Connect anyway; some rule said so for this very request.
    AcceptUntrusted,
}

/// Everything two requests must share to share a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Route {
    pub origin: Origin,
    /// What is offered to the origin: what the client offered, as far as we speak it.
    pub offer: Offer,
    pub certificates: CertificatePolicy,
    /// Keeps connections of different owners apart; absent for the common pool.
    ///
    /// # Security
    ///
    /// NTLM and Negotiate authenticate the connection, not the request. A caller that sees them sets the client
    /// connection's own number here; the common pool never reuses a connection that carried them.
    pub partition: Option<u64>,
    /// The name the certificate must carry, where it is not the origin's host.
    pub server_name: Option<Host>,
    /// A Unix socket that is dialled in the place of the origin's address. No guard stands before it: whoever names a
    /// socket of this machine has decided that.
    pub socket: Option<Arc<Path>>,
}

/// Makes a request of ours for a document in JSON, to be sent along [`Route::to`] the same address.
///
/// # Errors
/// The address has a path that no request can carry.
pub fn request_for_json<B>(method: http::Method, address: &Url, body: B) -> Result<http::Request<B>, http::Error> {
    let path = &address[url::Position::BeforePath..url::Position::AfterQuery];
    http::Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::ACCEPT, "application/json")
        .header(http::header::USER_AGENT, "Portunus")
        .body(body)
}

impl Route {
    /// The usual route to an `http` or `https` address; `None` where it is neither, or names no host.
    #[must_use]
    pub fn to(address: &Url) -> Option<Self> {
        let (scheme, offer) = match address.scheme() {
            "https" => (Scheme::Https, Offer::Both),
            "http" => (Scheme::Http, Offer::Http1),
            _ => return None,
        };
        let host = Host::parse(address.host_str()?).ok()?;
        Some(Self::new(Origin::new(scheme, host, address.port_or_known_default()?), offer))
    }

    /// The usual route: verified, shared.
    pub const fn new(origin: Origin, offer: Offer) -> Self {
        Self {
            origin,
            offer,
            certificates: CertificatePolicy::RequireValid,
            partition: None,
            server_name: None,
            socket: None,
        }
    }

    #[must_use]
    pub const fn with_certificates(mut self, certificates: CertificatePolicy) -> Self {
        self.certificates = certificates;
        self
    }

    #[must_use]
    pub const fn with_offer(mut self, offer: Offer) -> Self {
        self.offer = offer;
        self
    }

    /// Asks for, and believes, a certificate of another name than the origin's host.
    #[must_use]
    pub fn with_server_name(mut self, name: Host) -> Self {
        self.server_name = Some(name);
        self
    }

    /// Dials a Unix socket.
    #[must_use]
    pub fn with_socket(mut self, socket: Arc<Path>) -> Self {
        self.socket = Some(socket);
        self
    }

    #[must_use]
    pub const fn with_partition(mut self, partition: u64) -> Self {
        self.partition = Some(partition);
        self
    }
}

/// The step a connection failed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    Resolve,
    Guard,
    Tcp,
    Tls,
    Certificate,
    Http,
}

/// Why an origin could not be connected to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("host name could not be resolved")]
    Resolve(#[source] ResolveError),
    #[error("destination is refused by the gateway")]
    Refused(#[source] Refusal),
    #[error("origin could not be reached")]
    Tcp(#[source] io::Error),
    #[error("TLS handshake with the origin failed")]
    Tls(#[source] io::Error),
    /// The handshake went well and the certificate is not believed; the verdict says why.
    #[error("certificate of the origin is not trusted")]
    Certificate(Arc<OriginCertificate>),
    #[error("origin does not speak the protocol it agreed to")]
    Http(#[source] BoxError),
    #[error("origin did not answer in time")]
    Timeout(Stage),
}

impl ConnectError {
    pub const fn stage(&self) -> Stage {
        match self {
            Self::Resolve(_) => Stage::Resolve,
            Self::Refused(_) => Stage::Guard,
            Self::Tcp(_) => Stage::Tcp,
            Self::Tls(_) => Stage::Tls,
            Self::Certificate(_) => Stage::Certificate,
            Self::Http(_) => Stage::Http,
            Self::Timeout(stage) => *stage,
        }
    }

    /// Returns the verdict, when an untrusted certificate is the reason.
    pub const fn certificate(&self) -> Option<&Arc<OriginCertificate>> {
        if let Self::Certificate(certificate) = self { Some(certificate) } else { None }
    }

    pub const fn code(&self) -> Code {
        if matches!(self, Self::Refused(_)) { Code::PermissionDenied } else { Code::Unavailable }
    }
}

/// How long each step may take.
#[derive(Debug, Clone, Copy)]
pub struct DialTimeouts {
    pub resolve: Duration,
    pub tcp: Duration,
    pub tls: Duration,
}

impl Default for DialTimeouts {
    fn default() -> Self {
        Self { resolve: Duration::from_secs(5), tcp: Duration::from_secs(10), tls: Duration::from_secs(10) }
    }
}

/// How long each step took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DialTimings {
    pub resolve: Duration,
    pub tcp: Duration,
    pub tls: Duration,
}

/// A TCP connection to a destination that passed the guard.
#[derive(Debug)]
pub struct Dialled {
    pub stream: TcpStream,
    pub peer: SocketAddr,
    pub timings: DialTimings,
}

/// A connection to an origin, ready for HTTP or anything else.
pub struct UpstreamConnection {
    pub stream: BoxStream,
    pub peer: SocketAddr,
    /// Absent without TLS.
    pub tls: Option<TlsInfo>,
    /// Absent without TLS.
    pub certificate: Option<Arc<OriginCertificate>>,
    pub timings: DialTimings,
    /// Bytes on the wire, TLS included.
    pub counters: Arc<Counters>,
}

impl UpstreamConnection {
    /// Returns the protocol to speak: what was negotiated, or HTTP/1.1.
    pub fn protocol(&self) -> Protocol {
        self.tls.as_ref().and_then(|tls| tls.alpn).unwrap_or(Protocol::Http1)
    }
}

impl std::fmt::Debug for UpstreamConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamConnection").field("peer", &self.peer).field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// What a connector is made from.
pub struct ConnectorParams {
    pub resolver: Arc<dyn Resolve>,
    pub guard: Guard,
    pub trust: TrustStore,
    pub clock: Clock,
    pub timeouts: DialTimeouts,
}

/// Connects to origins.
pub struct Connector {
    resolver: Arc<dyn Resolve>,
    guard: ArcSwap<Guard>,
    trust: ArcSwap<TrustStore>,
    clock: Clock,
    timeouts: DialTimeouts,
    /// One per offer. They share the session cache and the verifier: rustls resumes only under the same verifier.
    configs: [Arc<ClientConfig>; Offer::ALL.len()],
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector")
            .field("resolver", &self.resolver)
            .field("guard", &self.guard)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

impl Connector {
    /// # Errors
    ///
    /// When the crypto provider offers no usable protocol version; never in a released build.
    pub fn new(params: ConnectorParams) -> Result<Self, rustls::Error> {
        let mut base = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(PossessionOnly::new()))
            .with_no_client_auth();
        base.resumption = Resumption::in_memory_sessions(MAX_SESSIONS);
        let configs = Offer::ALL.map(|offer| {
            let mut config = base.clone();
            config.alpn_protocols = offer.alpn();
            Arc::new(config)
        });
        Ok(Self {
            resolver: params.resolver,
            guard: ArcSwap::from_pointee(params.guard),
            trust: ArcSwap::from_pointee(params.trust),
            clock: params.clock,
            timeouts: params.timeouts,
            configs,
        })
    }

    /// Puts another guard in force for every address dialled from here on.
    pub fn replace_guard(&self, guard: Guard) {
        self.guard.store(Arc::new(guard));
    }

    /// Puts other roots in force for every connection made from here on.
    pub fn replace_trust(&self, trust: TrustStore) {
        self.trust.store(Arc::new(trust));
    }

    /// Opens a TCP connection, for traffic that is passed through untouched or for a protocol of the caller's.
    ///
    /// # Errors
    ///
    /// When the name does not resolve, every address is refused, or none answers.
    pub async fn dial(&self, host: &Host, port: u16) -> Result<Dialled, ConnectError> {
        let started = Instant::now();
        let candidates = self.resolve(host, port).await?;
        let resolve = started.elapsed();
        let guard = self.guard.load_full();
        let allowed = passed_by(&guard, host, port, &candidates)?;
        let race = race(allowed);
        let (stream, peer) = timeout(self.timeouts.tcp, race)
            .await
            .map_err(|_| ConnectError::Timeout(Stage::Tcp))?
            .map_err(ConnectError::Tcp)?;
        let tcp = started.elapsed().saturating_sub(resolve);
        Ok(Dialled { stream, peer, timings: DialTimings { resolve, tcp, tls: Duration::ZERO } })
    }

    /// Connects to the origin of `route`, with TLS if its scheme says so.
    ///
    /// # Errors
    ///
    /// As [`Connector::dial`], and when the handshake fails or the certificate is not believed and must be.
    pub async fn connect(&self, route: &Route) -> Result<UpstreamConnection, ConnectError> {
        let origin = &route.origin;
        if let Some(socket) = &route.socket {
            return self.dial_socket(socket).await;
        }
        let dialled = self.dial(&origin.host, origin.port).await?;
        self.over(route, dialled).await
    }

    /// Goes on from a TCP connection that was dialled to the origin of `route`, with TLS if its scheme says so.
    ///
    /// # Errors
    ///
    /// When the handshake fails or the certificate is not believed and must be.
    pub async fn over(&self, route: &Route, dialled: Dialled) -> Result<UpstreamConnection, ConnectError> {
        let Dialled { stream, peer, timings } = dialled;
        let stream = Counted::new(Gathered::new(stream));
        let counters = stream.counters();
        match route.origin.scheme {
            Scheme::Http => Ok(UpstreamConnection {
                stream: Box::new(stream),
                peer,
                tls: None,
                certificate: None,
                timings,
                counters,
            }),
            Scheme::Https => self.secure(route, stream, peer, timings).await,
        }
    }

    async fn dial_socket(&self, socket: &Path) -> Result<UpstreamConnection, ConnectError> {
        let started = Instant::now();
        let stream = timeout(self.timeouts.tcp, UnixStream::connect(socket))
            .await
            .map_err(|_| ConnectError::Timeout(Stage::Tcp))?
            .map_err(ConnectError::Tcp)?;
        let stream = Counted::new(stream);
        Ok(UpstreamConnection {
            counters: stream.counters(),
            stream: Box::new(stream),
            peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            tls: None,
            certificate: None,
            timings: DialTimings { tcp: started.elapsed(), ..DialTimings::default() },
        })
    }

    async fn secure(
        &self,
        route: &Route,
        stream: Counted<Gathered>,
        peer: SocketAddr,
        mut timings: DialTimings,
    ) -> Result<UpstreamConnection, ConnectError> {
        let started = Instant::now();
        let counters = stream.counters();
        let host = route.server_name.as_ref().unwrap_or(&route.origin.host);
        let name = server_name(host).map_err(|error| ConnectError::Tls(io::Error::other(error)))?;
        let connector = TlsConnector::from(Arc::clone(&self.configs[route.offer.index()]));
        let stream = timeout(self.timeouts.tls, connector.connect(name, stream))
            .await
            .map_err(|_| ConnectError::Timeout(Stage::Tls))?
            .map_err(ConnectError::Tls)?;
        timings.tls = started.elapsed();
        let (_, state) = stream.get_ref();
        let tls = TlsInfo::of(state, timings.tls);
        let chain = state.peer_certificates().unwrap_or_default();
        let certificate = self.trust.load().judge(chain, host, (self.clock)());
        if !certificate.is_valid() && route.certificates == CertificatePolicy::RequireValid {
            return Err(ConnectError::Certificate(certificate));
        }
        Ok(UpstreamConnection {
            stream: Box::new(stream),
            peer,
            tls: Some(tls),
            certificate: Some(certificate),
            timings,
            counters,
        })
    }

    async fn resolve(&self, host: &Host, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        match host {
            Host::Address(address) => Ok(vec![SocketAddr::new(*address, port)]),
            Host::Name(name) => {
                let found = timeout(self.timeouts.resolve, self.resolver.resolve(name, port))
                    .await
                    .map_err(|_| ConnectError::Timeout(Stage::Resolve))?
                    .map_err(ConnectError::Resolve)?;
                Ok(interleaved(&found.addresses))
            }
        }
    }
}

/// Returns the addresses that may be dialled, or the first refusal when there is none.
fn passed_by(
    guard: &Guard,
    host: &Host,
    port: u16,
    candidates: &[SocketAddr],
) -> Result<Vec<SocketAddr>, ConnectError> {
    let mut refusal = None;
    let mut allowed = Vec::with_capacity(candidates.len());
    for address in candidates {
        match guard.check(host, port, *address) {
            Ok(()) => allowed.push(*address),
            Err(reason) => refusal = refusal.or(Some(reason)),
        }
    }
    match refusal {
        Some(reason) if allowed.is_empty() => Err(ConnectError::Refused(reason)),
        None if allowed.is_empty() => Err(ConnectError::Resolve(ResolveError::NotFound)),
        _ => Ok(allowed),
    }
}

/// Alternates address families, keeping each one's order, so that one broken family costs one attempt.
fn interleaved(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let mut leading = addresses.iter().filter(|address| address.is_ipv6() == first_is_v6);
    let mut other = addresses.iter().filter(|address| address.is_ipv6() != first_is_v6);
    let mut ordered = Vec::with_capacity(addresses.len());
    loop {
        let before = ordered.len();
        ordered.extend(leading.next());
        ordered.extend(other.next());
        if ordered.len() == before {
            ordered.truncate(MAX_ATTEMPTS);
            return ordered;
        }
    }
}

/// Connects to the first address that answers, starting the next attempt when one fails or is slow.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<(TcpStream, SocketAddr)> {
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    if let Some(address) = waiting.next() {
        attempts.push(attempt(address));
    }
    loop {
        let next_start = async { if waiting.len() == 0 { std::future::pending().await } else { sleep(STAGGER).await } };
        tokio::select! {
            biased;
            finished = attempts.next() => match finished {
                Some(Ok(connected)) => return Ok(connected),
                Some(Err(error)) => {
                    failure = error;
                    match waiting.next() {
                        Some(address) => attempts.push(attempt(address)),
                        None if attempts.is_empty() => return Err(failure),
                        None => {}
                    }
                }
                None => return Err(failure),
            },
            () = next_start => attempts.extend(waiting.next().map(attempt)),
        }
    }
}

async fn attempt(address: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    tune(&socket, address)?;
    // Finds out about peers that vanished while a connection was idle.
    socket.set_keepalive(true)?;
    Ok((socket.connect(address).await?, address))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::{ConnectError, interleaved, passed_by};
    use crate::guard::{Guard, Refusal};
    use crate::host::Host;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn address_families_alternate_and_attempts_are_bounded() {
        let many: Vec<_> = (1..20).map(|last| format!("192.0.2.{last}:1")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        for (input, expected) in [
            (&[][..], &[][..]),
            (&["192.0.2.1:1"], &["192.0.2.1:1"]),
            (&["192.0.2.1:1", "192.0.2.2:1", "[2001:db8::1]:1"], &["192.0.2.1:1", "[2001:db8::1]:1", "192.0.2.2:1"]),
            (&["[2001:db8::1]:1", "192.0.2.1:1"], &["[2001:db8::1]:1", "192.0.2.1:1"]),
            (&many, &many[..6]),
        ] {
            assert_eq!(interleaved(&addresses(input)), addresses(expected));
        }
    }

    #[test]
    fn refused_addresses_are_left_out_and_refuse_the_host_only_together() {
        let (guard, host) = (Guard::default(), Host::parse("site.example").unwrap());
        let mixed = addresses(&["127.0.0.1:443", "192.0.2.1:443"]);
        assert_eq!(passed_by(&guard, &host, 443, &mixed).unwrap(), addresses(&["192.0.2.1:443"]));
        let refused = passed_by(&guard, &host, 443, &addresses(&["169.254.169.254:443", "[::1]:443"])).unwrap_err();
        assert!(matches!(refused, ConnectError::Refused(Refusal::Metadata)), "{refused:?}");
    }
}
