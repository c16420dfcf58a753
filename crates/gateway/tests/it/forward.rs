//! Plain HTTP through the proxy port: framing, hop-by-hop fields, refusals.

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::routing::{any, get as route};
use net::guard::GuardParams;
use testkit::Origin;

use crate::support::{Setup, Stand, get, with};

async fn origin() -> Origin {
    let echo = |headers: HeaderMap, request: Request| async move {
        let mut lines: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort_unstable();
        format!("{} {}\n{}", request.method(), request.uri(), lines.join("\n"))
    };
    let empty = || async { http::StatusCode::NO_CONTENT };
    let unchanged = || async { (http::StatusCode::NOT_MODIFIED, [("etag", "\"x\"")]) };
    let router = Router::new().route("/empty", route(empty)).route("/unchanged", route(unchanged)).fallback(any(echo));
    Origin::start(router, None).await.unwrap()
}

#[tokio::test]
async fn a_request_travels_without_the_fields_of_its_hop() {
    let origin = origin().await;
    let stand = Stand::start(Setup { names: vec![("site.test", origin.address)], ..Setup::default() }).await;
    let request = with(get("http://site.test/a?b=c"), "connection", "x-drop, keep-alive");
    let request = with(with(request, "x-drop", "1"), "x-keep", "2");
    let request = with(request, "proxy-connection", "keep-alive");
    let got = stand.send(request).await;
    assert_eq!(got.text(), "GET /a?b=c\nhost: site.test\nx-keep: 2");
    let record = stand.http_record("http://site.test/a?b=c").await;
    assert_eq!(record["Action"], "allow");
    assert_eq!(record["HTTPStatusCode"], 200);
    assert_eq!(record["HTTPHost"], "site.test");
    assert_eq!(record["DestinationIP"], "127.0.0.1");
    assert_eq!(record["ResponseBytes"], got.body.len());
    assert_eq!(record["Explanation"], "no rule matched");
}

#[tokio::test]
async fn messages_without_content_stay_without() {
    let origin = origin().await;
    let stand = Stand::start(Setup { names: vec![("site.test", origin.address)], ..Setup::default() }).await;
    for (method, path, status) in [("GET", "/empty", 204), ("GET", "/unchanged", 304), ("HEAD", "/x", 200)] {
        let (mut parts, body) = get(&format!("http://site.test{path}")).into_parts();
        parts.method = method.parse().unwrap();
        let got = stand.send(http::Request::from_parts(parts, body)).await;
        assert_eq!((got.status.as_u16(), got.body.len()), (status, 0), "{method} {path}");
        if method == "HEAD" {
            assert!(got.header("content-length").parse::<usize>().unwrap() > 0);
        }
    }
}

#[tokio::test]
async fn ambiguous_requests_are_refused_with_a_page() {
    let origin = origin().await;
    let stand = Stand::start(Setup { names: vec![("site.test", origin.address)], ..Setup::default() }).await;
    let site = "POST http://site.test/ HTTP/1.1\r\nHost: site.test\r\n";
    for (request, status) in [
        (format!("{site}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "400"),
        (format!("{site}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"), "400"),
        (format!("{site}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"), "400"),
        (format!("{site}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), "400"),
        (format!("{site}Content-Length: +1\r\n\r\nx"), "400"),
        (format!("{site}X: a\r\n b\r\n\r\n"), "400"),
        (format!("{site}X : a\r\n\r\n"), "400"),
        ("GET http://site.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n".to_owned(), "400"),
        ("GET http://site.test/ HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("GET /relative HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n".to_owned(), "400"),
        ("GET ftp://site.test/ HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n".to_owned(), "400"),
        ("CONNECT site.test HTTP/1.1\r\nHost: site.test\r\n\r\n".to_owned(), "400"),
        (format!("{site}{}\r\n", "X: y\r\n".repeat(100)), "431"),
        (format!("{site}X: {}\r\n\r\n", "y".repeat(70_000)), "431"),
    ] {
        let answer = stand.raw(&request).await;
        let shown: String = request.chars().take(200).collect();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{shown:?}: {answer}");
        assert!(answer.contains("What to do: "), "{shown:?}: {answer}");
    }
    let record = stand.record(logs::Dataset::GatewayHttp, |record| record["HTTPStatusCode"] == 431).await;
    assert_eq!(record["Action"], "block");
}

#[tokio::test]
async fn a_smuggled_second_request_never_reaches_the_origin() {
    let origin = origin().await;
    let stand = Stand::start(Setup { names: vec![("site.test", origin.address)], ..Setup::default() }).await;
    let smuggled = "GET http://site.test/smuggled HTTP/1.1\r\nHost: site.test\r\n\r\n";
    let request = format!(
        "POST http://site.test/ok HTTP/1.1\r\nHost: site.test\r\nContent-Length: 2\r\n\r\nhi\
         POST http://site.test/bad HTTP/1.1\r\nHost: site.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\n{smuggled}"
    );
    let answer = stand.raw(&request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("HTTP/1.1 400 "), "{answer}");
    assert!(!answer.contains("/smuggled"), "{answer}");
}

#[tokio::test]
async fn local_and_own_addresses_are_refused_after_resolution() {
    let origin = origin().await;
    let setup =
        Setup { names: vec![("inside.test", origin.address)], guard: GuardParams::default(), ..Setup::default() };
    let mut stand = Stand::start(setup).await;
    for url in [
        "http://inside.test/".to_owned(),
        format!("http://{}/", origin.address),
        format!("http://[::ffff:127.0.0.1]:{}/", origin.address.port()),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://0.0.0.0/".to_owned(),
    ] {
        let got = stand.get(&url).await;
        assert_eq!(got.status, 403, "{url}: {}", got.text());
        assert!(got.text().contains("Destination not allowed"), "{url}: {}", got.text());
    }
    let event = stand.events.recv().await.unwrap();
    assert_eq!(event.kind, gateway::SecurityEventKind::GuardRefused);
}

#[tokio::test]
async fn failures_of_the_origin_are_told_apart() {
    let nothing = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let stand = Stand::start(Setup { names: vec![("down.test", nothing)], ..Setup::default() }).await;
    for (url, status, words) in
        [("http://unknown.test/", 502, "could not be resolved"), ("http://down.test/", 502, "connection refused")]
    {
        let got = stand.send(with(get(url), "accept", "application/json")).await;
        assert_eq!(got.status, status, "{url}");
        let page: serde_json::Value = serde_json::from_slice(&got.body).unwrap();
        assert!(page["error"]["what"].as_str().unwrap().contains(words), "{page}");
        assert_eq!(page["error"]["request_id"], got.header("x-portunus-request-id"));
        let record = stand.http_record(url).await;
        assert_eq!(record["HTTPStatusCode"], status);
        assert!(record["Error"].as_str().unwrap().contains(words));
    }
}

#[tokio::test]
async fn a_request_that_comes_round_again_is_refused() {
    let origin = origin().await;
    let config = gateway::GatewayConfig { via: Some("gw".to_owned()), ..gateway::GatewayConfig::default() };
    let stand = Stand::start(Setup { names: vec![("site.test", origin.address)], config, ..Setup::default() }).await;
    let got = stand.get("http://site.test/").await;
    assert!(got.text().contains("via: 1.1 gw"), "{}", got.text());
    let got = stand.send(with(get("http://site.test/"), "via", "1.1 gw")).await;
    assert_eq!(got.status.as_u16(), 508);
}

#[tokio::test]
async fn more_connections_than_the_bound_are_not_served() {
    let config = gateway::GatewayConfig { connections_per_source: 1, ..gateway::GatewayConfig::default() };
    let stand = Stand::start(Setup { config, ..Setup::default() }).await;
    let _first = stand.connect("site.test:443").await;
    assert_eq!(stand.raw("GET http://site.test/ HTTP/1.1\r\nHost: site.test\r\n\r\n").await, "");
    assert_eq!(stand.gateway.stats().connections_refused, 1);
}

#[tokio::test]
async fn a_drain_lets_requests_in_flight_finish() {
    let (release, waiting) = tokio::sync::oneshot::channel::<()>();
    let waiting = std::sync::Arc::new(tokio::sync::Mutex::new(Some(waiting)));
    let arrived = std::sync::Arc::new(tokio::sync::Notify::new());
    let (arriving, gate) = (std::sync::Arc::clone(&arrived), waiting);
    let slow = move || {
        let (arriving, gate) = (std::sync::Arc::clone(&arriving), std::sync::Arc::clone(&gate));
        async move {
            arriving.notify_one();
            if let Some(waiting) = gate.lock().await.take() {
                let _ = waiting.await;
            }
            "done"
        }
    };
    let origin = Origin::start(Router::new().route("/", route(slow)), None).await.unwrap();
    let mut stand = Stand::start(Setup { names: vec![("site.test", origin.address)], ..Setup::default() }).await;
    let proxy = stand.proxy;
    let request = stand.raw("GET http://site.test/ HTTP/1.1\r\nHost: site.test\r\n\r\n");
    let stop = stand.stop.clone();
    let steer = async {
        arrived.notified().await;
        stop.cancel();
        // The listener closes first.
        while tokio::net::TcpStream::connect(proxy).await.is_ok() {
            tokio::task::yield_now().await;
        }
        release.send(()).unwrap();
    };
    let (answer, ()) = tokio::join!(request, steer);
    assert!(answer.ends_with("done"), "{answer}");
    stand.drain().await;
}
