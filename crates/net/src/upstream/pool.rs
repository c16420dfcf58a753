//! Which connection carries a request: an idle HTTP/1.1 one, a shared HTTP/2 one, or a new one.
//!
//! It decides reuse, and repeats a request only when the origin cannot have acted on it. It does not follow redirects,
//! add headers beyond what a protocol demands, or time responses out. Invariant: connections are shared only between
//! requests with an equal [`Route`], idle ones are bounded per route, in total and in age, and every task ends with the
//! pool.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use types::Code;

use super::connect::{CertificatePolicy, ConnectError, Connector, DialTimings, Route, UpstreamConnection};
use super::http1::Http1;
use super::profile::{OriginProfile, OriginProfiles};
use super::shape;
use super::trust::OriginCertificate;
use crate::BoxError;
use crate::host::Scheme;
use crate::proxy::resting;
use crate::tls::{Offer, Protocol, TlsInfo};
use crate::transport::{BoxStream, Counters};

/// The one type request bodies are erased to.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// How long a request waits for another one's dial that may end in a connection they can share.
const WAIT_FOR_DIAL: Duration = Duration::from_secs(1);

/// Times one request is given another connection.
const MAX_ATTEMPTS: usize = 3;

/// Bounds of a pool.
#[derive(Debug, Clone, Copy)]
pub struct PoolLimits {
    pub idle_per_route: usize,
    /// Idle HTTP/1.1 connections and open HTTP/2 connections together.
    pub connections_total: usize,
    pub idle_for: Duration,
    /// HTTP/2 connections opened to one route once the earlier ones are full.
    pub http2_per_route: usize,
    /// How many response headers are accepted from an HTTP/1.1 origin.
    pub max_headers: usize,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            idle_per_route: 64,
            connections_total: 2_048,
            idle_for: Duration::from_secs(60),
            http2_per_route: 4,
            max_headers: 256,
        }
    }
}

/// What is known about the connection that carried an exchange.
#[derive(Debug)]
pub struct ConnectionInfo {
    pub peer: SocketAddr,
    pub protocol: Protocol,
    pub tls: Option<TlsInfo>,
    pub certificate: Option<Arc<OriginCertificate>>,
    /// What it took to make the connection; nothing of it was spent again if it was reused.
    pub timings: DialTimings,
    /// Bytes of the whole connection, shared by every exchange on it.
    pub counters: Arc<Counters>,
}

/// A response and the connection it came over.
#[derive(Debug)]
pub struct Exchange {
    pub response: Response<ResponseBody>,
    pub connection: Arc<ConnectionInfo>,
    /// The connection had carried another request, or was made ahead of this one.
    pub reused: bool,
}

/// Why a request got no response.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The origin wants HTTP/1.1, or its HTTP/2 does not work. The pool will use HTTP/1.1 for it from here on.
    #[error("origin's HTTP/2 cannot be used")]
    Http2Unusable(#[source] hyper::Error),
    #[error("request cannot be expressed in HTTP")]
    Request(#[source] http::Error),
    #[error("exchange with the origin failed")]
    Exchange(#[source] hyper::Error),
    #[error("pool is shut down")]
    ShutDown,
}

impl SendError {
    /// Reports whether sending the same request again, body included, will go over HTTP/1.1 and may succeed.
    pub const fn retry_over_http1(&self) -> bool {
        matches!(self, Self::Http2Unusable(_))
    }

    pub const fn code(&self) -> Code {
        match self {
            Self::Connect(error) => error.code(),
            Self::Request(_) => Code::InvalidInput,
            Self::Http2Unusable(_) | Self::Exchange(_) | Self::ShutDown => Code::Unavailable,
        }
    }
}

/// How full a pool is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolStatus {
    pub routes: usize,
    pub idle_http1: usize,
    pub http2: usize,
}

/// Connections to origins, shared by everyone who holds a clone. Dropping the last one closes them.
#[derive(Debug, Clone)]
pub struct Pool {
    inner: Arc<Inner>,
    _stop: Arc<DropGuard>,
}

struct Inner {
    connector: Arc<Connector>,
    limits: PoolLimits,
    state: Mutex<State>,
    profiles: OriginProfiles,
    tasks: Tasks,
    shut_down: AtomicBool,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("limits", &self.limits).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    slots: HashMap<Route, Slot>,
    /// Idle HTTP/1.1 and open HTTP/2 connections over all slots.
    total: usize,
}

#[derive(Default)]
struct Slot {
    /// Last in, first out: the freshest is the likeliest to be alive.
    idle: Vec<Idle>,
    shared: Vec<Arc<Shared>>,
    /// Held while a connection that others may share is being made.
    gate: Arc<tokio::sync::Mutex<()>>,
}

struct Idle {
    connection: Http1,
    since: Instant,
}

type Http2Driver = http2::Connection<TokioIo<BoxStream>, Body, Tasks>;

/// An HTTP/2 connection.
struct Shared {
    sender: http2::SendRequest<Body>,
    info: Arc<ConnectionInfo>,
    in_flight: AtomicUsize,
    /// Polled by the connection's task, and asked here what the origin allows at this moment.
    driver: Arc<Mutex<Http2Driver>>,
    /// What it last said, for when the task is just polling it.
    max_streams: AtomicUsize,
    last_used: Mutex<Instant>,
}

impl Shared {
    fn is_idle(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) == 0
    }

    fn has_room(&self) -> bool {
        if let Some(driver) = self.driver.try_lock() {
            self.max_streams.store(driver.current_max_send_streams(), Ordering::Relaxed);
        }
        !self.sender.is_closed() && self.in_flight.load(Ordering::Relaxed) < self.max_streams.load(Ordering::Relaxed)
    }
}

/// The right to use a connection for one exchange.
enum Lease {
    Http1(Http1),
    Http2(StreamLease),
}

/// Counts one stream of a shared connection for as long as it lives.
struct StreamLease(Arc<Shared>);

impl StreamLease {
    /// The caller holds the pool's lock, so two leases never take the last stream.
    fn take(shared: &Arc<Shared>) -> Self {
        shared.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(shared))
    }
}

impl Drop for StreamLease {
    fn drop(&mut self) {
        *self.0.last_used.lock() = Instant::now();
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lease {
    fn info(&self) -> Arc<ConnectionInfo> {
        match self {
            Self::Http1(connection) => Arc::clone(&connection.info),
            Self::Http2(lease) => Arc::clone(&lease.0.info),
        }
    }

    const fn protocol(&self) -> Protocol {
        match self {
            Self::Http1(_) => Protocol::Http1,
            Self::Http2(_) => Protocol::Http2,
        }
    }

    async fn send(&mut self, request: Request<Body>, tasks: &Tasks) -> Result<Response<Incoming>, Failure> {
        match self {
            Self::Http1(connection) => connection.send(request, tasks).await,
            Self::Http2(lease) => lease.0.sender.clone().try_send_request(request).await.map_err(Failure::from),
        }
    }
}

/// A request that was not answered, with the request itself if none of it was sent.
pub(super) struct Failure {
    error: hyper::Error,
    unsent: Option<Request<Body>>,
}

impl From<hyper::client::conn::TrySendError<Request<Body>>> for Failure {
    fn from(mut error: hyper::client::conn::TrySendError<Request<Body>>) -> Self {
        let unsent = error.take_message();
        Self { error: error.into_error(), unsent }
    }
}

impl Pool {
    /// Makes an empty pool. Call it on the runtime that will drive the connections.
    pub fn new(connector: Arc<Connector>, limits: PoolLimits) -> Self {
        let stop = CancellationToken::new();
        let inner = Arc::new(Inner {
            connector,
            limits,
            state: Mutex::default(),
            profiles: OriginProfiles::new(),
            tasks: Tasks { tracker: TaskTracker::new(), stop: stop.clone() },
            shut_down: AtomicBool::new(false),
        });
        inner.tasks.tracker.spawn(sweep(Arc::downgrade(&inner), stop.clone(), limits.idle_for));
        Self { inner, _stop: Arc::new(stop.drop_guard()) }
    }

    pub fn connector(&self) -> &Arc<Connector> {
        &self.inner.connector
    }

    /// Sends `request` over a connection of `route`.
    ///
    /// The URI may be absolute or just a path; the `Host` header or the URI's authority is what the origin is told, and
    /// the route's own is used when both are missing. Headers that belong to one connection are removed for HTTP/2. A
    /// request with an `Upgrade` header goes over HTTP/1.1; after a 101, `hyper::upgrade::on(response)` yields the stream.
    ///
    /// A request is sent again only if nothing of it was sent, or if it is safe, has no body, and the connection it was
    /// sent on had been idle.
    ///
    /// # Errors
    ///
    /// When no connection can be made or the exchange fails.
    pub async fn send<B>(&self, route: &Route, request: Request<B>) -> Result<Exchange, SendError>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.send_erased(route.clone(), request.map(|body| body.map_err(Into::into).boxed_unsync())).await
    }

    /// As [`Pool::send`], for a body that is erased already.
    ///
    /// # Errors
    ///
    /// As [`Pool::send`].
    pub async fn send_erased(&self, route: Route, request: Request<Body>) -> Result<Exchange, SendError> {
        // Boxed: the state machine below is large and every caller would carry it.
        Box::pin(Arc::clone(&self.inner).send(route, request)).await
    }

    /// Returns what is known about the origin of `route`, dialling it if nothing is.
    ///
    /// The connection made for that is kept for the request that usually follows. The certificate's verdict is in the
    /// profile; an untrusted one is not an error here.
    ///
    /// # Errors
    ///
    /// When the origin cannot be connected to.
    pub async fn prepare(&self, route: &Route) -> Result<Arc<OriginProfile>, ConnectError> {
        if let Some(known) = self.profile(route) {
            return Ok(known);
        }
        Box::pin(self.inner.prepare(route.clone())).await
    }

    /// Returns what is known about the origin of `route` without dialling.
    pub fn profile(&self, route: &Route) -> Option<Arc<OriginProfile>> {
        self.inner.profile(route)
    }

    /// Forgets every profile and closes every idle connection, as after a change of roots or of the guard.
    pub fn forget(&self) {
        self.inner.profiles.clear();
        let mut state = self.inner.state.lock();
        state.slots.clear();
        state.total = 0;
    }

    pub fn status(&self) -> PoolStatus {
        let state = self.inner.state.lock();
        let mut status = PoolStatus { routes: state.slots.len(), ..PoolStatus::default() };
        for slot in state.slots.values() {
            status.idle_http1 += slot.idle.len();
            status.http2 += slot.shared.len();
        }
        status
    }

    /// Closes every connection that is idle or that a task drives, and waits until those tasks have ended. A request that
    /// drives its connection itself keeps it to its end.
    pub async fn shut_down(&self) {
        self.inner.shut_down.store(true, Ordering::Release);
        self.inner.tasks.stop.cancel();
        self.forget();
        self.inner.tasks.tracker.close();
        self.inner.tasks.tracker.wait().await;
    }
}

impl Inner {
    async fn send(self: Arc<Self>, mut route: Route, mut request: Request<Body>) -> Result<Exchange, SendError> {
        if request.headers().contains_key(http::header::UPGRADE) {
            route.offer = Offer::Http1;
        }
        let keep = route.partition.is_some() || !shape::authenticates_connection(request.headers());
        let (mut attempt, mut fresh_only) = (1, false);
        loop {
            if self.known_http1_only(&route) {
                route.offer = Offer::Http1;
            }
            let (mut lease, reused) = match self.waiting(&route, fresh_only) {
                Some(lease) => (lease, true),
                // Boxed: making a connection takes a large state machine, and most requests find one.
                None => Box::pin(self.acquire(&route, fresh_only)).await?,
            };
            let protocol = lease.protocol();
            let shaped = shape::request(request, &route.origin, protocol).map_err(SendError::Request)?;
            let copy = (reused || protocol == Protocol::Http2).then(|| shape::replayable(&shaped)).flatten();
            let failure = match lease.send(shaped, &self.tasks).await {
                Ok(response) => return Ok(self.answer(route, lease, response, reused, keep)),
                Err(failure) => failure,
            };
            let unusable = protocol == Protocol::Http2 && shape::http2_unusable(&failure.error);
            if unusable {
                self.profiles.http1_only(&route.origin, route.offer);
            }
            let refused = unusable || shape::refused_stream(&failure.error);
            let again = match failure.unsent {
                Some(unsent) => Some(unsent),
                None if refused || reused => copy,
                None => None,
            };
            match again {
                Some(again) if attempt < MAX_ATTEMPTS => request = again,
                _ if unusable => return Err(SendError::Http2Unusable(failure.error)),
                _ => return Err(SendError::Exchange(failure.error)),
            }
            attempt += 1;
            fresh_only = attempt == MAX_ATTEMPTS;
        }
    }

    fn profile(&self, route: &Route) -> Option<Arc<OriginProfile>> {
        let known = self.profiles.find(&route.origin, route.offer)?;
        // Knowing only that HTTP/2 does not work is not knowing the certificate.
        (route.origin.scheme == Scheme::Http || known.certificate.is_some()).then_some(known)
    }

    fn known_http1_only(&self, route: &Route) -> bool {
        route.offer.includes(Protocol::Http2)
            && route.origin.scheme == Scheme::Https
            && self.profiles.find(&route.origin, route.offer).is_some_and(|profile| profile.http1_only)
    }

    fn answer(
        self: &Arc<Self>,
        route: Route,
        lease: Lease,
        response: Response<Incoming>,
        reused: bool,
        keep: bool,
    ) -> Exchange {
        let connection = lease.info();
        let keep = keep
            && response.status() != StatusCode::SWITCHING_PROTOCOLS
            && (route.partition.is_some() || !shape::challenges_connection(response.headers()));
        let held = Held { lease: Some(lease), route: Some(route), pool: Arc::downgrade(self), keep };
        let response = response.map(|incoming| ResponseBody::new(incoming, held));
        Exchange { response, connection, reused }
    }

    /// Returns a connection that can be used at once.
    fn waiting(&self, route: &Route, fresh_only: bool) -> Option<Lease> {
        if fresh_only || self.shut_down.load(Ordering::Acquire) { None } else { self.take(route) }
    }

    /// Returns a connection and whether it had been used or waiting, once one had to be waited for.
    async fn acquire(&self, route: &Route, fresh_only: bool) -> Result<(Lease, bool), SendError> {
        if self.shut_down.load(Ordering::Acquire) {
            return Err(SendError::ShutDown);
        }
        if !self.may_become_shared(route) {
            return self.open(route).await.map(|lease| (lease, false));
        }
        let _turn = self.turn(route).await;
        if let Some(lease) = self.waiting(route, fresh_only) {
            return Ok((lease, true));
        }
        self.open(route).await.map(|lease| (lease, false))
    }

    /// Waits until no one else is making a connection that this route could share.
    async fn turn(&self, route: &Route) -> Turn<'_> {
        let gate = Arc::clone(&self.state.lock().slots.entry(route.clone()).or_default().gate);
        let mut turn = Turn { pool: self, route: route.clone(), held: None };
        // Whoever waits too long dials for itself: one silent origin must not make a queue.
        turn.held = timeout(WAIT_FOR_DIAL, gate.lock_owned()).await.ok();
        turn
    }

    fn may_become_shared(&self, route: &Route) -> bool {
        route.offer.includes(Protocol::Http2)
            && self
                .profiles
                .find(&route.origin, route.offer)
                .is_none_or(|profile| profile.alpn == Some(Protocol::Http2))
    }

    fn take(&self, route: &Route) -> Option<Lease> {
        let mut state = self.state.lock();
        let State { slots, total } = &mut *state;
        let slot = slots.get_mut(route)?;
        let before = slot.idle.len() + slot.shared.len();
        slot.shared.retain(|shared| !shared.sender.is_closed());
        let found = slot.take(self.limits.http2_per_route);
        *total -= before - slot.idle.len() - slot.shared.len();
        found
    }

    async fn open(&self, route: &Route) -> Result<Lease, SendError> {
        let connection = self.connector.connect(route).await?;
        let profile = OriginProfile::new(connection.tls.clone(), connection.certificate.clone());
        self.profiles.learn(&route.origin, route.offer, profile);
        self.speak(route, connection).await
    }

    async fn prepare(&self, route: Route) -> Result<Arc<OriginProfile>, ConnectError> {
        let _turn = self.turn(&route).await;
        if let Some(known) = self.profile(&route) {
            return Ok(known);
        }
        let untrusted = route.clone().with_certificates(CertificatePolicy::AcceptUntrusted);
        let connection = self.connector.connect(&untrusted).await?;
        let profile = OriginProfile::new(connection.tls.clone(), connection.certificate.clone());
        let valid = profile.certificate.as_ref().is_none_or(|certificate| certificate.is_valid());
        let profile = self.profiles.learn(&route.origin, route.offer, profile);
        // An untrusted connection waits where only a request that accepts it will look.
        let route = if valid { route } else { untrusted };
        match self.speak(&route, connection).await {
            Ok(Lease::Http1(connection)) => self.park(route, connection),
            Ok(Lease::Http2(_)) => {}
            Err(error) => tracing::debug!(%error, %route.origin, "origin's connection was not kept"),
        }
        Ok(profile)
    }

    /// Starts HTTP on a connection; a shared one is entered for others at once.
    async fn speak(&self, route: &Route, connection: UpstreamConnection) -> Result<Lease, SendError> {
        let prior_knowledge = route.origin.scheme == Scheme::Http && route.offer == Offer::Http2;
        let protocol = if prior_knowledge { Protocol::Http2 } else { connection.protocol() };
        let info = Arc::new(ConnectionInfo {
            peer: connection.peer,
            protocol,
            tls: connection.tls,
            certificate: connection.certificate,
            timings: connection.timings,
            counters: connection.counters,
        });
        let failed = |error: hyper::Error| ConnectError::Http(error.into());
        match protocol {
            Protocol::Http1 => {
                let started = Http1::start(connection.stream, self.limits.max_headers, info).await;
                Ok(Lease::Http1(started.map_err(failed)?))
            }
            Protocol::Http2 => {
                let (sender, driver) = http2::Builder::new(self.tasks.clone())
                    .timer(TokioTimer::new())
                    .adaptive_window(true)
                    .max_header_list_size(256 * 1024)
                    .handshake::<_, Body>(TokioIo::new(connection.stream))
                    .await
                    .map_err(failed)?;
                let driver = Arc::new(Mutex::new(driver));
                let driven = Arc::clone(&driver);
                self.tasks.drive(std::future::poll_fn(move |cx| Pin::new(&mut *driven.lock()).poll(cx)));
                Ok(Lease::Http2(self.enter(route, sender, info, driver)))
            }
        }
    }

    fn enter(
        &self,
        route: &Route,
        sender: http2::SendRequest<Body>,
        info: Arc<ConnectionInfo>,
        driver: Arc<Mutex<Http2Driver>>,
    ) -> StreamLease {
        let last_used = Mutex::new(Instant::now());
        let max_streams = AtomicUsize::new(driver.lock().current_max_send_streams());
        let in_flight = AtomicUsize::new(0);
        let shared = Arc::new(Shared { sender, info, in_flight, driver, max_streams, last_used });
        let mut state = self.state.lock();
        let lease = StreamLease::take(&shared);
        if state.make_room(self.limits.connections_total) {
            state.slots.entry(route.clone()).or_default().shared.push(shared);
            state.total += 1;
        }
        lease
    }

    /// Keeps a connection whose exchange is over for the next one.
    fn park(&self, route: Route, mut connection: Http1) {
        if !connection.is_ready() {
            // It still has to see its last exchange out.
            connection.drive_elsewhere(&self.tasks);
        }
        if connection.is_closed() || self.shut_down.load(Ordering::Acquire) {
            return;
        }
        let mut state = self.state.lock();
        if !state.make_room(self.limits.connections_total) {
            return;
        }
        let State { slots, total } = &mut *state;
        let idle = &mut slots.entry(route).or_default().idle;
        if idle.len() < self.limits.idle_per_route {
            idle.push(Idle { connection, since: Instant::now() });
            *total += 1;
        }
    }
}

impl Slot {
    fn take(&mut self, http2_per_route: usize) -> Option<Lease> {
        if let Some(shared) = self.shared.iter().find(|shared| shared.has_room()) {
            return Some(Lease::Http2(StreamLease::take(shared)));
        }
        // All are full and there may be no more: the least loaded one queues the request.
        if self.shared.len() >= http2_per_route.max(1)
            && let Some(shared) = self.shared.iter().min_by_key(|shared| shared.in_flight.load(Ordering::Relaxed))
        {
            return Some(Lease::Http2(StreamLease::take(shared)));
        }
        // The freshest that will do; those it passes over are looked at, and the others left alone.
        for position in (0..self.idle.len()).rev() {
            let connection = &mut self.idle.get_mut(position)?.connection;
            if connection.is_ready() {
                return Some(Lease::Http1(self.idle.remove(position).connection));
            }
            // One that is not ready is still finishing its last exchange and stays for the next request, or the origin has
            // closed it.
            if connection.is_closed() {
                self.idle.remove(position);
            }
        }
        None
    }

    /// Lets go of what is closed or has been idle since before `oldest`; returns how many went.
    fn sweep(&mut self, oldest: Instant) -> usize {
        let before = self.idle.len() + self.shared.len();
        self.idle
            .retain_mut(|idle| (idle.connection.is_ready() || !idle.connection.is_closed()) && idle.since > oldest);
        self.shared
            .retain(|shared| !shared.sender.is_closed() && (!shared.is_idle() || *shared.last_used.lock() > oldest));
        before - self.idle.len() - self.shared.len()
    }

    /// Returns since when the connection that has been idle longest is, if one is idle.
    fn idle_longest(&self) -> Option<Instant> {
        let shared = self.shared.iter().filter(|shared| shared.is_idle()).map(|shared| *shared.last_used.lock());
        self.idle.first().map(|idle| idle.since).into_iter().chain(shared).min()
    }

    /// Drops that connection; returns how many went.
    fn drop_idle_longest(&mut self) -> usize {
        let Some(since) = self.idle_longest() else { return 0 };
        if self.idle.first().is_some_and(|idle| idle.since == since) {
            self.idle.remove(0);
            return 1;
        }
        let before = self.shared.len();
        self.shared.retain(|shared| !shared.is_idle() || *shared.last_used.lock() != since);
        before - self.shared.len()
    }

    fn is_unused(&self) -> bool {
        self.idle.is_empty() && self.shared.is_empty() && Arc::strong_count(&self.gate) == 1
    }
}

impl State {
    fn sweep(&mut self, oldest: Instant) {
        let mut gone = 0;
        self.slots.retain(|_, slot| {
            gone += slot.sweep(oldest);
            !slot.is_unused()
        });
        self.total -= gone;
    }

    /// Makes sure one more connection fits, giving up the one that has been idle longest; reports whether it does.
    fn make_room(&mut self, bound: usize) -> bool {
        if self.total < bound {
            return true;
        }
        let oldest = self.slots.iter().filter_map(|(route, slot)| slot.idle_longest().map(|since| (since, route)));
        let Some(route) = oldest.min_by_key(|(since, _)| *since).map(|(_, route)| route.clone()) else { return false };
        let Some(slot) = self.slots.get_mut(&route) else { return false };
        self.total -= slot.drop_idle_longest();
        if slot.is_unused() {
            self.slots.remove(&route);
        }
        true
    }
}

/// The turn to make a connection for a route; giving it up also removes what was only entered for it.
struct Turn<'a> {
    pool: &'a Inner,
    route: Route,
    held: Option<tokio::sync::OwnedMutexGuard<()>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.held = None;
        let mut state = self.pool.state.lock();
        if state.slots.get(&self.route).is_some_and(Slot::is_unused) {
            state.slots.remove(&self.route);
        }
    }
}

/// Closes what has been idle too long, until the pool goes away.
async fn sweep(pool: Weak<Inner>, stop: CancellationToken, idle_for: Duration) {
    let every = (idle_for / 4).max(Duration::from_millis(100));
    while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
        let Some(pool) = pool.upgrade() else { return };
        if let Some(oldest) = Instant::now().checked_sub(idle_for) {
            pool.state.lock().sweep(oldest);
        }
    }
}

/// Runs what connections need besides the requests themselves, under the pool's roof.
#[derive(Clone)]
pub(super) struct Tasks {
    tracker: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl Tasks {
    /// Moves a connection on until it is over or the pool is.
    pub(super) fn drive(&self, connection: impl Future<Output = hyper::Result<()>> + Send + 'static) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            if let Some(Err(error)) = resting::until(&stop, connection).await {
                tracing::debug!(%error, "connection to an origin ended");
            }
        });
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            stop.run_until_cancelled(future).await;
        });
    }
}

/// A connection in use, on its way back to the pool.
struct Held {
    /// Taken when the exchange is over.
    lease: Option<Lease>,
    route: Option<Route>,
    pool: Weak<Inner>,
    keep: bool,
}

impl Held {
    /// The exchange is over in good order: the connection may serve another.
    fn finish(&mut self) {
        let (Some(Lease::Http1(mut connection)), Some(pool)) = (self.lease.take(), self.pool.upgrade()) else { return };
        match self.route.take().filter(|_| self.keep) {
            Some(route) => pool.park(route, connection),
            None => connection.drive_elsewhere(&pool.tasks),
        }
    }
}

/// The body of a response; its end gives the connection back to the pool.
pub struct ResponseBody {
    incoming: Incoming,
    held: Held,
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseBody").field("size", &self.incoming.size_hint()).finish_non_exhaustive()
    }
}

impl ResponseBody {
    fn new(incoming: Incoming, mut held: Held) -> Self {
        if incoming.is_end_stream() {
            held.finish();
        }
        Self { incoming, held }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { incoming, held } = &mut *self;
        let frame = ready!(match &mut held.lease {
            Some(Lease::Http1(connection)) => connection.poll_frame(incoming, cx),
            Some(Lease::Http2(_)) | None => Pin::new(incoming).poll_frame(cx),
        });
        match &frame {
            None => self.held.finish(),
            Some(Ok(_)) if self.incoming.is_end_stream() => self.held.finish(),
            Some(Ok(_)) => {}
            Some(Err(_)) => self.held.lease = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
