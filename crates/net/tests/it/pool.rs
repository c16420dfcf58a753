//! The pool: reuse, sharing, limits, repeating, falling back, giving back.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use net::upstream::{CertificatePolicy, ConnectError, InvalidReason, Pool, PoolLimits, PoolStatus, SendError, Stage};
use net::{Offer, Protocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::{Behaviour, Identity, Issuing, NAME, PATIENCE, Setup, TestOrigin, get, http, https, post, read};

async fn origin(offer: Offer, behaviour: Behaviour, limits: PoolLimits) -> (TestOrigin, Pool) {
    let issuing = Issuing::new();
    let origin = TestOrigin::start(Some(issuing.good().server_config(offer)), behaviour).await;
    let pool = Setup::new(origin.address, &issuing).pool(limits);
    (origin, pool)
}

async fn usual(offer: Offer) -> (TestOrigin, Pool) {
    origin(offer, Behaviour::default(), PoolLimits::default()).await
}

/// Gives other tasks turns until `done` or patience ends.
async fn eventually(what: &str, done: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "never happened: {what}");
        tokio::task::yield_now().await;
    }
}

async fn until_idle(pool: &Pool, count: usize) {
    eventually("idle connections", || pool.status().idle_http1 == count).await;
}

#[tokio::test]
async fn http1_requests_in_sequence_share_one_connection() {
    let (origin, pool) = usual(Offer::Http1).await;
    for turn in 0..10 {
        let exchange = pool.send(&https(Offer::Both), get("/page")).await.unwrap();
        assert_eq!(exchange.reused, turn > 0);
        assert_eq!(exchange.connection.protocol, Protocol::Http1);
        assert_eq!(read(exchange).await, "HTTP/1.1 origin.test /page");
    }
    assert_eq!(origin.seen.connections(), 1);
}

#[tokio::test]
async fn concurrent_http2_requests_share_one_connection_from_the_first_moment() {
    let (origin, pool) = usual(Offer::Both).await;
    let route = https(Offer::Both);
    let answers = join_all((0..50).map(|_| async {
        let exchange = pool.send(&route, get("/page")).await.unwrap();
        assert_eq!(exchange.connection.protocol, Protocol::Http2);
        read(exchange).await
    }));
    assert!(answers.await.iter().all(|said| said == "HTTP/2.0 origin.test /page"));
    assert_eq!(origin.seen.connections(), 1);
    assert_eq!(pool.status(), PoolStatus { routes: 1, idle_http1: 0, http2: 1 });
}

#[tokio::test]
async fn a_full_http2_connection_gets_a_second_one_beside_it() {
    let behaviour = Behaviour { max_streams: Some(2), ..Behaviour::default() };
    let limits = PoolLimits { http2_per_route: 2, ..PoolLimits::default() };
    let (origin, pool) = origin(Offer::Http2, behaviour, limits).await;
    let route = https(Offer::Http2);
    // The first answer makes sure the origin's limit has arrived.
    read(pool.send(&route, get("/page")).await.unwrap()).await;
    let requests =
        async { join_all((0..6).map(|_| async { read(pool.send(&route, get("/hold")).await.unwrap()).await })).await };
    let check = async {
        // Two on each connection; the last two wait for room.
        origin.seen.held.acquire_many(4).await.unwrap().forget();
        assert_eq!(origin.seen.connections(), 2);
        assert_eq!(origin.seen.held.available_permits(), 0);
        origin.seen.hold.add_permits(6);
    };
    let (answers, ()) = tokio::join!(requests, check);
    assert!(answers.iter().all(|said| said == "held"));
    assert_eq!(origin.seen.connections(), 2);
}

#[tokio::test]
async fn concurrent_http1_requests_leave_at_most_the_bound_behind() {
    for (per_route, total, expected) in [(2, 100, 2), (100, 3, 3)] {
        let limits = PoolLimits { idle_per_route: per_route, connections_total: total, ..PoolLimits::default() };
        let (origin, pool) = origin(Offer::Http1, Behaviour::default(), limits).await;
        let route = https(Offer::Http1);
        let requests = join_all((0..5).map(|_| async { read(pool.send(&route, get("/hold")).await.unwrap()).await }));
        let release = async {
            origin.seen.held.acquire_many(5).await.unwrap().forget();
            origin.seen.hold.add_permits(5);
        };
        tokio::join!(requests, release);
        assert_eq!(pool.status().idle_http1, expected);
    }
}

#[tokio::test]
async fn idle_connections_are_closed_after_their_time() {
    for offer in [Offer::Http1, Offer::Http2] {
        let (_origin, pool) = usual(offer).await;
        read(pool.send(&https(offer), get("/page")).await.unwrap()).await;
        let status = pool.status();
        assert_eq!(status.idle_http1 + status.http2, 1);
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(200)).await;
        eventually("the sweep", || pool.status() == PoolStatus::default()).await;
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_connection_is_kept_only_when_its_exchange_ended_well() {
    let (origin, pool) = usual(Offer::Http1).await;
    let route = https(Offer::Http1);
    for (path, kept) in [("/page", 1), ("/empty", 1), ("/close", 0), ("/ntlm", 0)] {
        pool.forget();
        let exchange = pool.send(&route, get(path)).await.unwrap();
        exchange.response.into_body().collect().await.unwrap();
        // What is closing may be seen closed only now.
        if kept == 0 {
            read(pool.send(&route, get("/page")).await.unwrap()).await;
            let connections = origin.seen.connections();
            pool.forget();
            read(pool.send(&route, get("/page")).await.unwrap()).await;
            assert_eq!(origin.seen.connections(), connections + 1, "{path}");
        } else {
            assert_eq!(pool.status().idle_http1, kept, "{path}");
        }
    }
    pool.forget();
    // A body that is dropped half way leaves bytes of the answer in the connection.
    let exchange = pool.send(&route, post("/echo", "unread")).await.unwrap();
    drop(exchange);
    assert_eq!(pool.status().idle_http1, 0);
}

#[tokio::test]
async fn a_connection_that_authenticates_is_shared_only_within_its_partition() {
    let (origin, pool) = usual(Offer::Http1).await;
    let shared = https(Offer::Http1);
    let own = https(Offer::Http1).with_partition(7);
    let negotiate = |path: &str| {
        Request::get(path).header("host", NAME).header("authorization", "Negotiate abc").body(Empty::<Bytes>::new())
    };
    for (route, path, header, reused_next) in [
        (&shared, "/page", true, false),
        (&shared, "/ntlm", false, false),
        (&own, "/page", true, true),
        (&own, "/ntlm", false, true),
    ] {
        pool.forget();
        let request = if header { negotiate(path).unwrap() } else { get(path).map(|_| Empty::new()) };
        read(pool.send(route, request).await.unwrap()).await;
        let next = pool.send(route, get("/page")).await.unwrap();
        assert_eq!(next.reused, reused_next, "{path} {route:?}");
        read(next).await;
    }
    assert!(origin.seen.connections() >= 4);
    let other = https(Offer::Http1).with_partition(8);
    assert!(!pool.send(&other, get("/page")).await.unwrap().reused, "partitions do not mix");
}

/// An HTTP/1.1 origin that answers the first request on each connection and hangs up on reading the second.
struct HangsUp {
    address: std::net::SocketAddr,
    _tasks: JoinSet<()>,
    requests: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl HangsUp {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = std::sync::Arc::clone(&requests);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 4096];
                for turn in 0..2 {
                    if stream.read(&mut buffer).await.unwrap_or(0) == 0 {
                        break;
                    }
                    counter.fetch_add(1, Ordering::SeqCst);
                    if turn == 0 {
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
                    }
                }
            }
        });
        Self { address, _tasks: tasks, requests }
    }
}

#[tokio::test]
async fn only_a_harmless_request_is_repeated_after_an_idle_connection_broke() {
    let server = HangsUp::start().await;
    let pool = Setup::new(server.address, &Issuing::new()).pool(PoolLimits::default());
    assert_eq!(read(pool.send(&http(), get("/1")).await.unwrap()).await, "ok");
    // The reused connection breaks under this one; a new connection answers it.
    let second = pool.send(&http(), get("/2")).await.unwrap();
    assert!(!second.reused);
    assert_eq!(read(second).await, "ok");
    assert_eq!(server.requests.load(Ordering::SeqCst), 3);
    // A request with a body may have been acted on; it is sent once and the failure is the caller's.
    let error = pool.send(&http(), post("/3", "pay 100")).await.unwrap_err();
    assert!(matches!(error, SendError::Exchange(_)), "{error:?}");
    assert_eq!(server.requests.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn an_origin_that_wants_http1_gets_it_and_is_remembered() {
    const HTTP_1_1_REQUIRED: u32 = 0xd;
    const PROTOCOL_ERROR: u32 = 0x1;
    for code in [HTTP_1_1_REQUIRED, PROTOCOL_ERROR] {
        let behaviour = Behaviour { reset_streams: Some(code), ..Behaviour::default() };
        let (_origin, pool) = origin(Offer::Both, behaviour.clone(), PoolLimits::default()).await;
        let route = https(Offer::Both);
        let exchange = pool.send(&route, get("/page")).await.unwrap();
        assert_eq!(exchange.connection.protocol, Protocol::Http1);
        assert_eq!(read(exchange).await, "HTTP/1.1 origin.test /page");
        let profile = pool.profile(&route).unwrap();
        assert!(profile.http1_only);
        assert_eq!(profile.mirrored(Offer::Both), Offer::Http1);
        // The next one does not try HTTP/2 at all.
        assert_eq!(read(pool.send(&route, post("/echo", "body")).await.unwrap()).await, "body");

        // A body cannot be repeated by the pool; the caller, who may have it, is told that it would help.
        let (_origin, pool) = origin(Offer::Both, behaviour, PoolLimits::default()).await;
        let error = pool.send(&route, post("/echo", "body")).await.unwrap_err();
        assert!(error.retry_over_http1(), "{error:?}");
        assert_eq!(read(pool.send(&route, post("/echo", "body")).await.unwrap()).await, "body");
    }
}

#[tokio::test]
async fn a_refused_stream_is_repeated_only_without_a_body() {
    const REFUSED_STREAM: u32 = 0x7;
    let behaviour = Behaviour { reset_streams: Some(REFUSED_STREAM), ..Behaviour::default() };
    let (origin, pool) = origin(Offer::Http2, behaviour, PoolLimits::default()).await;
    let error = pool.send(&https(Offer::Http2), get("/page")).await.unwrap_err();
    assert!(matches!(error, SendError::Exchange(_)), "{error:?}");
    assert!(origin.seen.connections() <= 3, "attempts are bounded");
}

#[tokio::test]
async fn an_upgrade_yields_the_stream_and_never_returns_to_the_pool() {
    let (origin, pool) = usual(Offer::Both).await;
    let request =
        Request::get("/upgrade").header("host", NAME).header("connection", "upgrade").header("upgrade", "echo");
    let exchange = pool.send(&https(Offer::Both), request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    assert_eq!(exchange.response.status(), 101);
    assert_eq!(exchange.connection.protocol, Protocol::Http1);
    let mut stream = TokioIo::new(hyper::upgrade::on(exchange.response).await.unwrap());
    stream.write_all(b"over the wall").await.unwrap();
    let mut echoed = [0; 13];
    stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"over the wall");
    assert_eq!(pool.status().idle_http1, 0);
    assert_eq!(origin.seen.connections(), 1);
}

#[tokio::test]
async fn trailers_pass_in_both_versions() {
    for (offer, asks) in [(Offer::Http2, false), (Offer::Http1, true)] {
        let (_origin, pool) = usual(offer).await;
        let mut request = get("/trailers");
        if asks {
            request.headers_mut().insert("te", "trailers".parse().unwrap());
        }
        let body = pool.send(&https(offer), request).await.unwrap().response.into_body();
        let collected = body.collect().await.unwrap();
        if offer == Offer::Http2 {
            assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
        }
        assert_eq!(collected.to_bytes(), "data");
        assert!(pool.status().idle_http1 + pool.status().http2 == 1);
    }
}

#[tokio::test]
async fn preparing_learns_the_origin_once_and_keeps_the_connection_for_the_request() {
    for offer in [Offer::Http1, Offer::Http2] {
        let (origin, pool) = usual(offer).await;
        let route = https(Offer::Both);
        assert!(pool.profile(&route).is_none());
        let profiles = join_all((0..5).map(|_| pool.prepare(&route))).await;
        for profile in profiles {
            let profile = profile.unwrap();
            assert_eq!(Offer::exactly(profile.alpn), offer);
            assert_eq!(profile.mirrored(Offer::Both), offer);
            assert!(profile.certificate.as_ref().unwrap().is_valid());
        }
        let exchange = pool.send(&route, get("/page")).await.unwrap();
        assert!(exchange.reused);
        read(exchange).await;
        assert_eq!(origin.seen.connections(), 1);
    }
}

#[tokio::test]
async fn an_untrusted_origin_is_described_refused_and_reached_only_on_demand() {
    let issuing = Issuing::new();
    let origin = TestOrigin::https(&Identity::self_signed(&[NAME]), Offer::Both).await;
    let pool = Setup::new(origin.address, &issuing).pool(PoolLimits::default());
    let route = https(Offer::Both);
    let profile = pool.prepare(&route).await.unwrap();
    assert_eq!(profile.certificate.as_ref().unwrap().reason(), Some(&InvalidReason::SelfSigned));
    let error = pool.send(&route, get("/page")).await.unwrap_err();
    let SendError::Connect(ConnectError::Certificate(verdict)) = error else { panic!("{error:?}") };
    assert_eq!(Some(verdict), profile.certificate);
    assert_eq!(origin.seen.requests.load(Ordering::SeqCst), 0, "nothing was sent");
    let anyway = route.clone().with_certificates(CertificatePolicy::AcceptUntrusted);
    let exchange = pool.send(&anyway, get("/page")).await.unwrap();
    assert!(exchange.reused, "the connection made while preparing");
    read(exchange).await;
    assert!(pool.send(&route, get("/page")).await.is_err(), "the pass for one request opens nothing for others");
}

#[tokio::test]
async fn a_failed_connection_leaves_nothing_behind() {
    let issuing = Issuing::new();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let pool = Setup::new(closed, &issuing).pool(PoolLimits::default());
    let route = https(Offer::Both);
    let errors = join_all((0..4).map(|_| pool.send(&route, get("/")))).await;
    for error in errors {
        let SendError::Connect(error) = error.unwrap_err() else { panic!("not a connect error") };
        assert_eq!(error.stage(), Stage::Tcp);
    }
    assert_eq!(pool.status(), PoolStatus::default());
}

#[tokio::test]
async fn cleartext_origins_speak_http1_and_http2_with_prior_knowledge() {
    let issuing = Issuing::new();
    let origin = TestOrigin::start(None, Behaviour::default()).await;
    let pool = Setup::new(origin.address, &issuing).pool(PoolLimits::default());
    for (offer, expected) in [
        (Offer::Nothing, "HTTP/1.1 origin.test /page"),
        (Offer::Both, "HTTP/1.1 origin.test /page"),
        (Offer::Http2, "HTTP/2.0 origin.test /page"),
    ] {
        let request = Request::get("/page").body(Empty::<Bytes>::new()).unwrap();
        let exchange = pool.send(&http().with_offer(offer), request).await.unwrap();
        assert!(exchange.connection.tls.is_none());
        assert_eq!(read(exchange).await, expected);
    }
}

#[tokio::test]
async fn shutting_down_ends_every_task_and_refuses_new_requests() {
    for offer in [Offer::Http1, Offer::Http2] {
        let (_origin, pool) = usual(offer).await;
        read(pool.send(&https(offer), get("/page")).await.unwrap()).await;
        tokio::time::timeout(PATIENCE, pool.shut_down()).await.unwrap();
        let error = pool.send(&https(offer), get("/page")).await.unwrap_err();
        assert!(matches!(error, SendError::ShutDown), "{error:?}");
        until_idle(&pool, 0).await;
    }
}

#[tokio::test]
async fn bodies_stream_both_ways_without_being_collected() {
    for offer in [Offer::Http1, Offer::Http2] {
        let (_origin, pool) = usual(offer).await;
        let chunk = Bytes::from(vec![7; 64 * 1024]);
        let frames = (0..64).map(move |_| Ok::<_, std::convert::Infallible>(hyper::body::Frame::data(chunk.clone())));
        let body = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
        let request = Request::post("/echo").header("host", NAME).body(body).unwrap();
        let exchange = pool.send(&https(offer), request).await.unwrap();
        let mut body = exchange.response.into_body();
        let mut total = 0;
        while let Some(frame) = body.frame().await {
            total += frame.unwrap().into_data().map_or(0, |data| data.len());
        }
        assert_eq!(total, 64 * 64 * 1024);
        assert!(exchange.connection.counters.written() > 4 * 1024 * 1024);
    }
}
