//! Client connections: the proxy port, what travels inside CONNECT, and the HTTP servers on both.
//!
//! It decides how bytes are served, never whether a request may pass: requests go to `stages`, connections that are not
//! decrypted to `tunnel`. Invariant: every byte inside a tunnel is either read as HTTP, request by request, or belongs
//! to a connection that was recorded as passed through.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http::Request;
use hyper::body::Incoming;
use net::proxy::framing::HeadLimits;
use net::proxy::serve::{self, ServeLimits, Tasks};
use net::proxy::sources::Place;
use net::{ClientHello, Host, Protocol, Scheme, Stream, TlsInfo};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::gateway::Inner;
use crate::identity::Caller;
use crate::meaning::FirstHost;
use crate::stages;

/// One client connection and what its tasks need.
pub(crate) struct Client {
    pub(crate) gateway: Arc<Inner>,
    pub(crate) source: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: Tasks,
    /// Distinguishes connections, for authentication that binds to one.
    pub(crate) number: u64,
    /// The id of the connection in records.
    pub(crate) session: uuid::Uuid,
    /// The source's address and the id, as every record spells them.
    pub(crate) source_text: String,
    pub(crate) session_text: String,
    /// What the host asked for first means.
    pub(crate) first_host: FirstHost,
    /// Kept until the last task of the connection ends.
    pub(crate) _place: Place,
}

impl Client {
    /// Runs `work` as a task that ends with the gateway.
    pub(crate) fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let client = Arc::clone(self);
        self.tasks.spawn(async move {
            work.await;
            drop(client);
        });
    }
}

/// What a CONNECT opened, once its inside turned out to be HTTP.
pub(crate) struct Tunnel {
    pub(crate) scheme: Scheme,
    /// What CONNECT named.
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) caller: Caller,
    /// Absent for HTTP without TLS.
    pub(crate) hello: Option<Box<ClientHello>>,
    pub(crate) tls: Option<TlsInfo>,
    /// The revision whose network rules let it stand; later ones are held against its next request.
    pub(crate) judged: AtomicU64,
}

/// Where requests on a connection come from.
#[derive(Clone)]
pub(crate) enum Way {
    /// The proxy port itself: absolute targets and CONNECT.
    Proxy,
    /// Inside a tunnel: the target is a path.
    Inside(Arc<Tunnel>),
}

/// Serves one connection of the proxy port.
pub(crate) async fn serve(client: Client, stream: TcpStream) {
    let client = Arc::new(client);
    Box::pin(http1(&client, net::Gathered::new(stream), Way::Proxy)).await;
}

/// Serves HTTP inside a tunnel in the protocol that was agreed on.
pub(crate) async fn serve_inside(
    client: &Arc<Client>,
    stream: impl Stream + 'static,
    tunnel: Tunnel,
    protocol: Protocol,
) {
    let way = Way::Inside(Arc::new(tunnel));
    match protocol {
        Protocol::Http1 => Box::pin(http1(client, stream, way)).await,
        Protocol::Http2 => Box::pin(http2(client, stream, way)).await,
    }
}

async fn http1(client: &Arc<Client>, stream: impl Stream + 'static, way: Way) {
    let limits = limits(client);
    let answer = {
        let client = Arc::clone(client);
        move |request: Request<Incoming>, interim| {
            stages::answer(Arc::clone(&client), way.clone(), request, Some(interim))
        }
    };
    if let Err(error) = serve::http1(Box::new(stream), limits, &client.stop, answer).await {
        tracing::debug!(%error, source = %client.source, "a client connection ended");
    }
}

async fn http2(client: &Arc<Client>, stream: impl Stream + 'static, way: Way) {
    let limits = limits(client);
    let answer = {
        let client = Arc::clone(client);
        move |request: Request<Incoming>| stages::answer(Arc::clone(&client), way.clone(), request, None)
    };
    if let Err(error) = serve::http2(Box::new(stream), limits, &client.stop, client.tasks.clone(), answer).await {
        tracing::debug!(%error, source = %client.source, "an HTTP/2 client connection ended");
    }
}

fn limits(client: &Client) -> ServeLimits {
    let config = &client.gateway.config;
    ServeLimits {
        head: HeadLimits { bytes: config.head_bytes, fields: config.header_fields, timeout: config.head_timeout },
        idle: config.idle_timeout,
        streams: config.http2_streams,
        extended_connect: true,
    }
}
