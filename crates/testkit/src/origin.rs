//! Origins on loopback: an axum router behind TLS or plain TCP.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustix::net::sockopt;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

/// A certificate for an origin and the root it chains to.
pub struct OriginTls {
    /// PEM.
    pub root: String,
    pub config: Arc<rustls::ServerConfig>,
}

impl OriginTls {
    /// Makes a root and a leaf for `names`, offering `alpn` in order.
    ///
    /// # Errors
    /// A name that no certificate can carry.
    pub fn for_names(names: &[&str], alpn: &[&str]) -> Result<Self> {
        let root_key = KeyPair::generate()?;
        let mut root = CertificateParams::new(Vec::new())?;
        root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        root.distinguished_name.push(DnType::CommonName, "Test root");
        let pem = root.self_signed(&root_key)?.pem();
        let key = KeyPair::generate()?;
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let leaf = CertificateParams::new(names)?.signed_by(&key, &Issuer::new(root, root_key))?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|reason| anyhow!(reason))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(leaf.der().to_vec())], key)?;
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Ok(Self { root: pem, config: Arc::new(config) })
    }
}

/// A running origin; it stops when dropped.
pub struct Origin {
    pub address: SocketAddr,
    /// Owns the accept loop, which owns the connections.
    _tasks: JoinSet<()>,
}

impl Origin {
    /// Serves `router` on a free loopback port, over TLS if given, HTTP/1.1 and HTTP/2.
    ///
    /// # Errors
    /// No free port.
    pub async fn start(router: Router, tls: Option<&OriginTls>) -> Result<Self> {
        let listener = listen().await?;
        let address = listener.local_addr()?;
        let acceptor = tls.map(|tls| TlsAcceptor::from(Arc::clone(&tls.config)));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, acceptor, router));
        Ok(Self { address, _tasks: tasks })
    }
}

/// Connects to `address` as every connection of a measurement is made.
///
/// # Errors
/// The kernel refuses, or nobody listens.
pub async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    tune(&socket)?;
    socket.connect(address).await
}

/// Listens on a free port of loopback; the connections are as those of [`connect`].
///
/// # Errors
/// The kernel refuses.
pub async fn listen() -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    tune(&listener)?;
    Ok(listener)
}

/// Before there is a connection: one that began under BBR keeps its pacing.
fn tune(socket: &impl AsFd) -> std::io::Result<()> {
    // The last segment of a body would wait 40 ms for a delayed acknowledgement, and be measured.
    sockopt::set_tcp_nodelay(socket, true)?;
    // Where BBR is the default, its timers between pieces of a body would be: nothing is congested on loopback.
    Ok(sockopt::set_tcp_congestion(socket, "reno")?)
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, router: Router) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let (acceptor, router) = (acceptor.clone(), router.clone());
        connections.spawn(async move {
            match acceptor {
                None => serve(stream, router).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, router).await;
                    }
                }
            }
        });
    }
}

async fn serve<S>(stream: S, router: Router)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        router.clone().oneshot(request.map(axum::body::Body::new))
    });
    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    // The peer going away is how every connection of a test ends.
    let _ = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}
