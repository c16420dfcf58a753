//! Client connections: the proxy port, what travels inside CONNECT, and the HTTP servers on both.
//!
//! It decides how bytes are served, never whether a request may pass: requests go to `stages`, connections that are not
//! decrypted to `tunnel`. Invariant: every byte inside a tunnel is either read as HTTP, request by request, or belongs
//! to a connection that was recorded as passed through.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use net::{ClientHello, Host, Prefixed, Protocol, Scheme, Stream, TlsInfo};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::framing::{Framed, HeadLimits};
use crate::gateway::Inner;
use crate::identity::Caller;
use crate::interim::Interim;
use crate::sources::Place;
use crate::stages;

/// One client connection and what its tasks need.
pub(crate) struct Client {
    pub(crate) gateway: Arc<Inner>,
    pub(crate) source: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) kill: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// Distinguishes connections, for authentication that binds to one.
    pub(crate) number: u64,
    /// The id of the connection in records.
    pub(crate) session: uuid::Uuid,
    /// Kept until the last task of the connection ends.
    pub(crate) _place: Place,
}

impl Client {
    /// Runs `work` as a task that ends with the gateway.
    pub(crate) fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let client = Arc::clone(self);
        self.tasks.spawn(async move {
            client.kill.run_until_cancelled(work).await;
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
    Box::pin(http1(&client, stream, Way::Proxy)).await;
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
    let config = &client.gateway.config;
    let limits = HeadLimits { bytes: config.head_bytes, fields: config.header_fields, timeout: config.head_timeout };
    let interim = Interim::default();
    let framed = Framed::new(Box::new(stream) as net::BoxStream, limits, interim.clone());
    let service = {
        let client = Arc::clone(client);
        service_fn(move |request: Request<Incoming>| {
            let (client, way, interim) = (Arc::clone(&client), way.clone(), interim.clone());
            async move {
                // What was sent late for the request before has no place any more.
                drop(interim.take());
                let mut answer = pin!(stages::answer(client, way, request, Some(interim.clone())));
                let answered = std::future::poll_fn(|context| {
                    interim.written_by(context.waker());
                    answer.as_mut().poll(context)
                });
                let response = answered.await;
                interim.close();
                Ok::<_, Infallible>(response)
            }
        })
    };
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // The head itself has its own, shorter time-out in `framing`; this one is the wait between requests.
        .header_read_timeout(config.idle_timeout)
        .max_headers(config.header_fields + 1)
        .max_buf_size(config.head_bytes.max(8 << 10) + (64 << 10))
        .half_close(false)
        .keep_alive(true);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(framed), service).with_upgrades());
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = client.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, source = %client.source, "a client connection ended");
    }
}

async fn http2(client: &Arc<Client>, stream: impl Stream + 'static, way: Way) {
    let config = &client.gateway.config;
    let activity = Arc::new(Activity::default());
    let service = {
        let (client, activity) = (Arc::clone(client), Arc::clone(&activity));
        service_fn(move |request: Request<Incoming>| {
            let (client, way, busy) = (Arc::clone(&client), way.clone(), Activity::begin(&activity));
            async move {
                let response = stages::answer(client, way, request, None).await;
                drop(busy);
                Ok::<_, Infallible>(response)
            }
        })
    };
    let mut builder = hyper::server::conn::http2::Builder::new(Tasks(Arc::clone(client)));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.http2_streams)
        .max_header_list_size(u32::try_from(config.head_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .max_send_buf_size(128 << 10)
        .keep_alive_interval(config.idle_timeout / 4)
        .keep_alive_timeout(config.idle_timeout / 4)
        // WebSocket inside HTTP/2 (RFC 8441).
        .enable_connect_protocol();
    let stream = TokioIo::new(Box::new(stream) as net::BoxStream);
    let mut connection = pin!(builder.serve_connection(stream, service));
    let mut closing = false;
    let ended = loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => break ended,
            () = client.stop.cancelled(), if !closing => {
                connection.as_mut().graceful_shutdown();
                closing = true;
            }
            () = activity.quiet_for(config.idle_timeout), if !closing => {
                connection.as_mut().graceful_shutdown();
                closing = true;
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, source = %client.source, "an HTTP/2 client connection ended");
    }
}

/// Runs the tasks of an HTTP/2 connection under the gateway's roof.
#[derive(Clone)]
struct Tasks(Arc<Client>);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        self.0.spawn(async move {
            future.await;
        });
    }
}

/// Tells whether an HTTP/2 connection has been without requests for a while.
#[derive(Default)]
struct Activity {
    started: AtomicUsize,
    busy: AtomicUsize,
}

impl Activity {
    fn begin(activity: &Arc<Self>) -> Busy {
        activity.started.fetch_add(1, Ordering::Relaxed);
        activity.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(activity))
    }

    async fn quiet_for(&self, period: std::time::Duration) {
        loop {
            let before = self.started.load(Ordering::Relaxed);
            tokio::time::sleep(period).await;
            if self.busy.load(Ordering::Relaxed) == 0 && self.started.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Gives back the stream inside an upgraded connection with the bytes that were read too far.
pub(crate) fn unwrap(upgraded: hyper::upgrade::Upgraded) -> net::BoxStream {
    match upgraded.downcast::<TokioIo<Framed<net::BoxStream>>>() {
        Ok(parts) => {
            let (held, stream) = parts.io.into_inner().into_parts();
            if parts.read_buf.is_empty() && held.is_empty() {
                return stream;
            }
            let mut prefix = Vec::with_capacity(parts.read_buf.len() + held.len());
            prefix.extend_from_slice(&parts.read_buf);
            prefix.extend_from_slice(&held);
            Box::new(Prefixed::new(prefix.into(), stream))
        }
        Err(upgraded) => Box::new(TokioIo::new(upgraded)),
    }
}
