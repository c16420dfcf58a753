//! Origins, authorities and clients for the tests. Everything listens on loopback, port 0.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::{SignedDuration, Timestamp};
use net::guard::{Guard, GuardParams};
use net::resolve::{Nowhere, Overridden, Override, OverrideTable};
use net::upstream::{Connector, ConnectorParams, DialTimeouts, Pool, PoolLimits, Route, TrustParams, TrustStore};
use net::{BoxError, Clock, Host, Offer, Origin, Scheme};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SerialNumber};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// The name every test origin has.
pub(crate) const NAME: &str = "origin.test";

/// However slow the machine, what a test waits for happens within this or never.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) type ResponseBody = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

pub(crate) fn host(name: &str) -> Host {
    Host::parse(name).unwrap()
}

pub(crate) fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

/// An authority that issues certificates for origins, good and bad.
pub(crate) struct Issuing {
    pub(crate) pem: String,
    pub(crate) issuer: Issuer<'static, KeyPair>,
}

impl Issuing {
    pub(crate) fn new() -> Self {
        Self::named("Test Roots")
    }

    pub(crate) fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Issues for `names`, valid from and to so many days from today.
    pub(crate) fn issue(&self, names: &[&str], from: i64, to: i64) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = leaf(names, from, to);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity::new(certificate.der().clone(), &key)
    }

    pub(crate) fn good(&self) -> Identity {
        self.issue(&[NAME, "*.origin.test"], -1, 30)
    }
}

pub(crate) fn leaf(names: &[&str], from: i64, to: i64) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    let offset = |days: i64| {
        let moment = Timestamp::now() + self::days(days);
        time::OffsetDateTime::from_unix_timestamp(moment.as_second()).unwrap()
    };
    params.not_before = offset(from);
    params.not_after = offset(to);
    params.serial_number = Some(SerialNumber::from(4711_u64));
    params.distinguished_name.push(DnType::CommonName, "An Origin");
    params
}

/// A certificate with its key.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    pub(crate) fn new(certificate: CertificateDer<'static>, key: &KeyPair) -> Self {
        Self { certificate, key: PrivateKeyDer::Pkcs8(key.serialize_der().into()) }
    }

    pub(crate) fn self_signed(names: &[&str]) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = leaf(names, -1, 30).self_signed(&key).unwrap();
        Self::new(certificate.der().clone(), &key)
    }

    pub(crate) fn server_config(&self, offer: Offer) -> ServerConfig {
        let mut config = ServerConfig::builder_with_provider(net::tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .unwrap();
        config.alpn_protocols = offer.alpn();
        config
    }
}

/// How an origin behaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Behaviour {
    pub(crate) max_streams: Option<u32>,
    /// Answers every HTTP/2 stream with this reset code; HTTP/1.1 works.
    pub(crate) reset_streams: Option<u32>,
}

/// What an origin has seen so far.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) connections: AtomicUsize,
    pub(crate) requests: AtomicUsize,
    pub(crate) posts: AtomicUsize,
    /// Requests for `/hold` wait for a permit.
    pub(crate) hold: Semaphore,
    /// Gets a permit for each request for `/hold` that arrived.
    pub(crate) held: Semaphore,
}

impl Seen {
    pub(crate) fn new() -> Self {
        Self {
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            posts: AtomicUsize::new(0),
            hold: Semaphore::new(0),
            held: Semaphore::new(0),
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A running origin; stops when dropped.
pub(crate) struct TestOrigin {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    _tasks: JoinSet<()>,
}

impl TestOrigin {
    pub(crate) async fn start(tls: Option<ServerConfig>, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::new());
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&seen);
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (seen, acceptor, behaviour) = (Arc::clone(&shared), acceptor.clone(), behaviour.clone());
                connections.spawn(async move {
                    match acceptor {
                        None => serve(tcp, seen, behaviour).await,
                        Some(acceptor) => {
                            let Ok(stream) = acceptor.accept(tcp).await else { return };
                            let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                            match behaviour.reset_streams {
                                Some(code) if is_h2 => reset_every_stream(stream, code).await,
                                _ => serve(stream, seen, behaviour).await,
                            }
                        }
                    }
                });
            }
        });
        Self { address, seen, _tasks: tasks }
    }

    pub(crate) async fn https(identity: &Identity, offer: Offer) -> Self {
        Self::start(Some(identity.server_config(offer)), Behaviour::default()).await
    }
}

pub(crate) async fn serve<IO: net::Stream + 'static>(io: IO, seen: Arc<Seen>, behaviour: Behaviour) {
    let service = service_fn(move |request| respond(request, Arc::clone(&seen)));
    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(behaviour.max_streams.or(Some(100)));
    let _ = builder.serve_connection_with_upgrades(TokioIo::new(io), service).await;
}

async fn reset_every_stream<IO: net::Stream + 'static>(io: IO, code: u32) {
    let Ok(mut connection) = h2::server::handshake(io).await else { return };
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        respond.send_reset(code.into());
    }
}

async fn respond(mut request: Request<Incoming>, seen: Arc<Seen>) -> Result<Response<ResponseBody>, Infallible> {
    seen.requests.fetch_add(1, Ordering::SeqCst);
    if request.method() == http::Method::POST {
        seen.posts.fetch_add(1, Ordering::SeqCst);
    }
    let path = request.uri().path().to_owned();
    let response = Response::builder();
    let response = match path.as_str() {
        "/hold" => {
            seen.held.add_permits(1);
            seen.hold.acquire().await.unwrap().forget();
            response.body(text("held"))
        }
        "/echo" => response.body(request.into_body().map_err(BoxError::from).boxed_unsync()),
        "/empty" => response.status(StatusCode::NO_CONTENT).body(text("")),
        "/ntlm" => response.status(401).header("www-authenticate", "NTLM").body(text("who")),
        "/close" => response.header("connection", "close").body(text("bye")),
        "/upgrade" => {
            let upgrade = hyper::upgrade::on(&mut request);
            // The test's runtime ends this; it copies until the client closes.
            #[expect(clippy::disallowed_methods, reason = "ends with the connection")]
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgrade.await.unwrap());
                let (mut read, mut write) = tokio::io::split(&mut stream);
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
            response.status(101).header("connection", "upgrade").header("upgrade", "echo").body(text(""))
        }
        "/trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            let frames = [Ok(Frame::data(Bytes::from_static(b"data"))), Ok(Frame::trailers(trailers))];
            response.body(StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync())
        }
        _ => {
            let named = request
                .uri()
                .authority()
                .map(ToString::to_string)
                .or_else(|| request.headers().get("host").and_then(|host| host.to_str().ok()).map(str::to_owned));
            let said = format!("{:?} {} {path}", request.version(), named.unwrap_or_default());
            response.body(text(&said))
        }
    };
    Ok(response.unwrap())
}

fn text(text: &str) -> ResponseBody {
    Full::new(Bytes::copy_from_slice(text.as_bytes())).map_err(|never| match never {}).boxed_unsync()
}

/// Where names lead: to loopback, on whatever port the origin got.
pub(crate) struct Setup {
    pub(crate) roots: Vec<String>,
    pub(crate) revocations: Vec<String>,
    pub(crate) names: HashMap<String, SocketAddr>,
    pub(crate) allow_loopback: bool,
    pub(crate) clock: Clock,
    pub(crate) timeouts: DialTimeouts,
}

impl Setup {
    pub(crate) fn new(origin: SocketAddr, issuing: &Issuing) -> Self {
        Self {
            roots: vec![issuing.pem.clone()],
            revocations: Vec::new(),
            names: HashMap::from([(NAME.to_owned(), origin), ("sub.origin.test".to_owned(), origin)]),
            allow_loopback: true,
            clock: Arc::new(Timestamp::now),
            timeouts: DialTimeouts { resolve: PATIENCE, tcp: PATIENCE, tls: PATIENCE },
        }
    }

    pub(crate) fn connector(self) -> Arc<Connector> {
        let mut table = OverrideTable::default();
        for (name, address) in &self.names {
            table.insert(name, None, Override::Socket(*address));
        }
        let trust = TrustParams {
            bundled_roots: false,
            native_roots: false,
            extra_pem: self.roots,
            revocation_pem: self.revocations,
        };
        let allow = if self.allow_loopback { vec!["127.0.0.0/8".parse().unwrap()] } else { Vec::new() };
        let connector = Connector::new(ConnectorParams {
            resolver: Arc::new(Overridden::new(table, Arc::new(Nowhere))),
            guard: Guard::new(GuardParams { allow, ..GuardParams::default() }),
            trust: TrustStore::new(&trust).unwrap(),
            clock: self.clock,
            timeouts: self.timeouts,
        });
        Arc::new(connector.unwrap())
    }

    pub(crate) fn pool(self, limits: PoolLimits) -> Pool {
        Pool::new(self.connector(), limits)
    }
}

pub(crate) fn https(offer: Offer) -> Route {
    Route::new(Origin::new(Scheme::Https, host(NAME), 443), offer)
}

pub(crate) fn http() -> Route {
    Route::new(Origin::new(Scheme::Http, host(NAME), 80), Offer::Nothing)
}

pub(crate) fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("https://{NAME}{path}")).body(Empty::new()).unwrap()
}

pub(crate) fn post(path: &str, body: &'static str) -> Request<Full<Bytes>> {
    Request::post(path).header("host", NAME).body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap()
}

/// Reads a whole response as text.
pub(crate) async fn read(exchange: net::upstream::Exchange) -> String {
    let body = exchange.response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}
