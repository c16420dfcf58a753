//! The HTTP servers of a listener: HTTP/1.1 with strict heads, HTTP/2 with bounded streams, both ended by a token.
//!
//! A request is handed to a function; what becomes of it is the plane's. Invariant: a connection without a request in
//! progress ends after the idle time, and after `stop` none begins another request.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::Body;
use super::framing::{Framed, HeadLimits};
use super::interim::Interim;
use super::resting::{self, Resting};
use crate::transport::{BoxStream, Prefixed};

/// How many header fields hyper takes without being told.
const HYPERS_FIELDS: usize = 100;

/// Bounds of one connection.
#[derive(Debug, Clone, Copy)]
pub struct ServeLimits {
    pub head: HeadLimits,
    /// A connection without a request in progress is closed after this.
    pub idle: Duration,
    /// Concurrent HTTP/2 streams.
    pub streams: u32,
    /// Takes WebSocket inside HTTP/2 (RFC 8441).
    pub extended_connect: bool,
}

/// Serves HTTP/1.1 on `stream` until the client leaves or `stop`. What `answer` hands to its [`Interim`] goes out before
/// the response.
///
/// # Errors
/// What ended the connection early.
pub async fn http1<A, F>(
    stream: BoxStream,
    limits: ServeLimits,
    stop: &CancellationToken,
    answer: A,
) -> Result<(), hyper::Error>
where
    A: Fn(Request<Incoming>, Interim) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let (interim, activity) = (Interim::default(), Arc::new(Activity::default()));
    let framed = Framed::new(stream, limits.head, interim.clone(), Arc::clone(&activity));
    let begun = Arc::clone(&activity);
    let service = service_fn(move |request| {
        let (interim, busy) = (interim.clone(), Activity::begin(&begun));
        // What was sent late for the request before has no place any more.
        drop(interim.take());
        let answer = answer(request, interim.clone());
        async move {
            let mut answer = pin!(answer);
            let answered = std::future::poll_fn(|context| {
                interim.written_by(context.waker());
                answer.as_mut().poll(context)
            });
            let response = answered.await;
            drop(busy);
            interim.close();
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        // The head has its time-out in `framing`, and the wait between requests one below that is not set for each.
        .header_read_timeout(None)
        .max_buf_size(limits.head.bytes.max(8 << 10) + (64 << 10))
        .half_close(false)
        .keep_alive(true);
    // `framing` counts them. Told how many there may be, hyper clears room for all of them for each request.
    if limits.head.fields > HYPERS_FIELDS {
        builder.max_headers(limits.head.fields);
    }
    let mut connection = pin!(builder.serve_connection(TokioIo::new(framed), service).with_upgrades());
    let over = Resting::new(async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = activity.quiet_for(limits.idle) => {}
        }
    });
    tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = over => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

/// Serves HTTP/2 on `stream` until the client leaves, is idle for too long, or `stop`. `tasks` runs the streams.
///
/// # Errors
/// What ended the connection early.
pub async fn http2<A, F>(
    stream: BoxStream,
    limits: ServeLimits,
    stop: &CancellationToken,
    tasks: Tasks,
    answer: A,
) -> Result<(), hyper::Error>
where
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let activity = Arc::new(Activity::default());
    let service = {
        let activity = Arc::clone(&activity);
        service_fn(move |request| {
            let busy = Activity::begin(&activity);
            let answered = answer(request);
            async move {
                let response = answered.await;
                drop(busy);
                Ok::<_, Infallible>(response)
            }
        })
    };
    let mut builder = hyper::server::conn::http2::Builder::new(tasks);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head.bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .max_send_buf_size(128 << 10)
        .keep_alive_interval(limits.idle / 4)
        .keep_alive_timeout(limits.idle / 4);
    if limits.extended_connect {
        builder.enable_connect_protocol();
    }
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut closing = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            () = stop.cancelled(), if !closing => {
                connection.as_mut().graceful_shutdown();
                closing = true;
            }
            () = activity.quiet_for(limits.idle), if !closing => {
                connection.as_mut().graceful_shutdown();
                closing = true;
            }
        }
    }
}

/// Runs what a connection starts; everything ends with `kill`.
#[derive(Clone, Default)]
pub struct Tasks {
    pub tracker: TaskTracker,
    pub kill: CancellationToken,
}

impl Tasks {
    /// Runs `work` as a task that ends with its owner.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let kill = self.kill.clone();
        self.tracker.spawn(async move {
            resting::until(&kill, work).await;
        });
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        let kill = self.kill.clone();
        self.tracker.spawn(async move {
            kill.run_until_cancelled(future).await;
        });
    }
}

/// Tells whether a connection has been without requests and, where its bytes are watched, silent for a while.
#[derive(Debug, Default)]
pub struct Activity {
    started: AtomicUsize,
    busy: AtomicUsize,
}

impl Activity {
    /// Notes that something is being sent.
    pub(super) fn goes_on(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    fn begin(activity: &Arc<Self>) -> Busy {
        activity.started.fetch_add(1, Ordering::Relaxed);
        activity.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(activity))
    }

    async fn quiet_for(&self, period: Duration) {
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
pub fn unwrap(upgraded: hyper::upgrade::Upgraded) -> BoxStream {
    match upgraded.downcast::<TokioIo<Framed<BoxStream>>>() {
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
