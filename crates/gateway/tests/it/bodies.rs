//! Rules that read bodies: only what a verdict hangs on is read ahead, the rest streams with back-pressure.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::routing::{any, get as route};
use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use testkit::Origin;
use tokio::task::JoinSet;

use crate::support::{PATIENCE, Setup, Stand, get, post, rule, rule_with, with};

fn pdf(size: usize) -> Vec<u8> {
    let mut bytes = b"%PDF-1.7\n".to_vec();
    bytes.resize(size.max(bytes.len()), b'x');
    bytes
}

async fn origin(touched: Arc<AtomicUsize>) -> Origin {
    let upload = move |body: Bytes| {
        touched.fetch_add(1, Ordering::SeqCst);
        async move { format!("got {}", body.len()) }
    };
    let download =
        || async { Response::builder().header("content-type", "text/plain").body(Body::from(pdf(5000))).unwrap() };
    let page = || async { "just text, long enough for a signature to be told apart from nothing at all, more or less" };
    let chunked = || async {
        let pieces = (0..40).map(|_| Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![b'a'; 64 << 10]))));
        Response::new(Body::new(StreamBody::new(futures_util::stream::iter(pieces))))
    };
    let router = Router::new()
        .route("/report", route(download))
        .route("/page", route(page))
        .route("/chunked", route(chunked))
        .fallback(any(upload))
        .layer(axum::extract::DefaultBodyLimit::disable());
    Origin::start(router, None).await.unwrap()
}

async fn stand(rules: Vec<serde_json::Value>) -> (Stand, Origin, Arc<AtomicUsize>) {
    let touched = Arc::new(AtomicUsize::new(0));
    let origin = origin(Arc::clone(&touched)).await;
    let stand = Stand::start(Setup { names: vec![("site.test", origin.address)], rules, ..Setup::default() }).await;
    (stand, origin, touched)
}

#[tokio::test]
async fn an_upload_is_judged_by_its_signature_before_the_origin_sees_it() {
    let rules = vec![rule("no documents out", "block", "any(http.upload.file.types[*] in {\"pdf\"})")];
    let (stand, _origin, touched) = stand(rules).await;
    let named_as_text = with(post("http://site.test/", pdf(300_000)), "content-type", "text/plain");
    assert_eq!(stand.send(named_as_text).await.status, 403);
    assert_eq!(touched.load(Ordering::SeqCst), 0);
    let got = stand.send(post("http://site.test/", vec![b'x'; 300_000])).await;
    assert_eq!(got.text(), "got 300000");
    assert_eq!(stand.get("http://site.test/page").await.status, 200);
}

#[tokio::test]
async fn a_download_is_judged_by_its_signature_whatever_it_claims_to_be() {
    let rules = vec![rule("no documents in", "block", "any(http.download.file.types[*] in {\"pdf\"})")];
    let (stand, _origin, _) = stand(rules).await;
    assert_eq!(stand.get("http://site.test/report").await.status, 403);
    let got = stand.get("http://site.test/page").await;
    assert!(got.text().starts_with("just text"), "{}", got.text());
    let record = stand.http_record("http://site.test/report").await;
    assert_eq!((record["Action"].as_str(), record["HTTPStatusCode"].as_u64()), (Some("block"), Some(403)));
    assert!(!record["RuleTrace"]["waited_for"].as_array().unwrap().is_empty(), "{record}");
}

#[tokio::test]
async fn a_length_that_is_not_declared_is_no_way_around_a_size_rule() {
    let rules = vec![
        rule("no big uploads", "block", "http.upload.file.size >= 5"),
        rule("no big downloads", "block", "http.download.file.size >= 2"),
    ];
    let (stand, _origin, _) = stand(rules).await;
    assert_eq!(stand.send(post("http://site.test/", vec![0; 6 << 20])).await.status, 403);
    assert_eq!(stand.send(post("http://site.test/", vec![0; 3 << 20])).await.text(), format!("got {}", 3 << 20));
    assert_eq!(stand.get("http://site.test/chunked").await.status, 403);
    assert_eq!(stand.get("http://site.test/page").await.status, 200);
}

#[tokio::test]
async fn rules_read_the_response_head_and_send_the_request_under_the_plan_that_would_hold() {
    let rules = vec![
        rule("no text", "block", "http.download.mime == \"text/plain\" and http.request.uri.path == \"/report\""),
        rule_with("tag", "allow", "http.request.host == \"site.test\"", json!({ "set_headers": { "X-Tag": ["1"] } })),
    ];
    let (stand, _origin, _) = stand(rules).await;
    assert_eq!(stand.get("http://site.test/report").await.status, 403);
    let record = stand.http_record("http://site.test/report").await;
    assert_eq!(record["SetHeaders"][0], "x-tag", "the request went out under the later rule's plan");
    assert_eq!(stand.get("http://site.test/page").await.status, 200);
}

#[tokio::test]
async fn a_rule_that_waits_for_the_response_does_not_let_a_blocked_request_out() {
    let rules = vec![
        rule("no programs", "block", "any(http.download.file.types[*] in {\"exe\"})"),
        rule("no documents out", "block", "any(http.upload.file.types[*] in {\"pdf\"})"),
        rule("not there", "block", "http.request.uri.path == \"/forbidden\""),
    ];
    let (stand, _origin, touched) = stand(rules).await;
    assert_eq!(stand.send(post("http://site.test/", pdf(2000))).await.status, 403);
    assert_eq!(stand.get("http://site.test/forbidden").await.status, 403);
    assert_eq!(touched.load(Ordering::SeqCst), 0, "neither reached the origin");
    assert_eq!(stand.send(post("http://site.test/", "text")).await.text(), "got 4");
    assert_eq!(stand.http_record("http://site.test/forbidden").await["PolicyName"], "not there");
}

#[tokio::test]
async fn files_under_quarantine_are_held_back_for_want_of_a_sandbox() {
    let settings = json!({ "quarantine": { "file_types": ["pdf"] } });
    let rules = vec![rule_with("examine", "quarantine", "http.request.host == \"site.test\"", settings)];
    let (stand, _origin, _) = stand(rules).await;
    let got = stand.get("http://site.test/report").await;
    assert_eq!(got.status, 403);
    assert!(got.text().contains("sandbox"), "{}", got.text());
    assert_eq!(stand.get("http://site.test/page").await.status, 200);
    assert_eq!(stand.http_record("http://site.test/report").await["Quarantined"], true);
}

#[tokio::test]
async fn a_slow_reader_holds_the_origin_back() {
    let produced = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&produced);
    let endless = move || {
        let counting = Arc::clone(&counting);
        async move {
            let stream = futures_util::stream::unfold((), move |()| {
                counting.fetch_add(64 << 10, Ordering::SeqCst);
                async { Some((Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![0; 64 << 10]))), ())) }
            });
            Response::new(Body::new(StreamBody::new(Box::pin(stream))))
        }
    };
    let origin = Origin::start(Router::new().route("/endless", route(endless)), None).await.unwrap();
    let stand = Stand::start(Setup { names: vec![("site.test", origin.address)], ..Setup::default() }).await;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stand.dial().await)).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let mut body = sender.send_request(get("http://site.test/endless")).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    // Nobody reads: what was produced stops growing once the sockets' buffers are full.
    let mut last = 0;
    let mut calm = 0;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(100));
    while calm < 5 && tokio::time::Instant::now() < deadline {
        tick.tick().await;
        let now = produced.load(Ordering::SeqCst);
        calm = if now == last { calm + 1 } else { 0 };
        last = now;
    }
    assert!(calm >= 5 && last < 64 << 20, "{last} bytes were produced for a reader that reads nothing");
    drop(body);
    let record = stand.http_record("http://site.test/endless").await;
    assert_eq!((record["Action"].as_str(), record["HTTPStatusCode"].as_u64()), (Some("allow"), Some(200)));
}

#[tokio::test]
async fn large_bodies_stream_both_ways() {
    let (stand, _origin, _) = stand(Vec::new()).await;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stand.dial().await)).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let (mut parts, _) = get("http://site.test/up").into_parts();
    parts.method = http::Method::POST;
    let request = http::Request::from_parts(parts, Full::new(Bytes::from(vec![7; 8 << 20])));
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), format!("got {}", 8 << 20));
    let record = stand.http_record("http://site.test/up").await;
    assert_eq!(record["RequestBytes"], 8 << 20);
}
