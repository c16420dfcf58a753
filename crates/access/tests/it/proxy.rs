//! The reverse proxy: streams both ways, other kinds of origins, what an application is told.

use futures_util::{SinkExt, StreamExt};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::{Origin, OriginTls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{OTHER, Setup, Stand, WIKI, allow};

fn bypass() -> Vec<Value> {
    vec![json!({"name": "Open", "decision": "bypass", "include": [{"everyone": {}}]})]
}

#[tokio::test(flavor = "multi_thread")]
async fn large_uploads_and_event_streams_pass() {
    let stand = Stand::start(Setup { policies: bypass(), ..Setup::default() }).await;
    let mut browser = stand.browser();
    let upload = browser.request(Method::POST, &stand.url(WIKI, "/upload")).body(vec![7; 20 << 20]);
    let told: Value = serde_json::from_str(&browser.send(upload).await.text).unwrap();
    assert_eq!(told["length"], 20 << 20);
    let events = browser.get(&stand.url(WIKI, "/events")).await;
    assert_eq!(events.headers["content-type"], "text/event-stream");
    assert_eq!(events.text, "data: one\n\ndata: two\n\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_passes_for_who_is_signed_in_alone() {
    let stand = Stand::start(Setup::default()).await;
    let mut browser = stand.browser();
    stand.sign_in(&mut browser, "/").await;
    let cookie = browser.cookies[&(WIKI.to_owned(), "CF_Authorization".to_owned())].clone();
    for (cookie, expected) in [(Some(cookie), true), (None, false)] {
        let mut request = http::Request::builder()
            .uri(format!("wss://{WIKI}:{}/socket", stand.address.port()))
            .header("host", format!("{WIKI}:{}", stand.address.port()))
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        if let Some(cookie) = cookie {
            request = request.header("cookie", format!("CF_Authorization={cookie}"));
        }
        let stream = stand.tls(WIKI, &["http/1.1"]).await;
        let opened = tokio_tungstenite::client_async(request.body(()).unwrap(), stream).await;
        assert_eq!(opened.is_ok(), expected);
        let Ok((mut socket, _)) = opened else { continue };
        socket.send(Message::text("hello")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_by_https_is_believed_as_its_settings_say() {
    let tls = OriginTls::for_names(&["wiki.internal.test"], &["h2", "http/1.1"]).unwrap();
    let router = axum::Router::new().fallback(|| async { "secure" });
    let origin = Origin::start(router, Some(&tls)).await.unwrap();
    let url = format!("https://{}", origin.address);
    for (settings, status) in [
        (json!({"ca": tls.root, "server_name": "wiki.internal.test"}), StatusCode::OK),
        (json!({"verify": false}), StatusCode::OK),
        (json!({"ca": tls.root}), StatusCode::BAD_GATEWAY),
        (json!({"server_name": "wiki.internal.test"}), StatusCode::BAD_GATEWAY),
    ] {
        let origin = json!({"url": url, "tls": settings});
        let stand = Stand::start(Setup { policies: bypass(), origin: Some(origin), ..Setup::default() }).await;
        let seen = stand.browser().get(&stand.url(WIKI, "/")).await;
        assert_eq!(seen.status, status, "{settings}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_on_a_unix_socket_is_reached() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wiki.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(async move {
        axum::serve(listener, axum::Router::new().fallback(|| async { "by socket" })).await.unwrap();
    });
    let origin = json!({"url": format!("unix:{}", path.display())});
    let stand = Stand::start(Setup { policies: bypass(), origin: Some(origin), ..Setup::default() }).await;
    assert_eq!(stand.browser().get(&stand.url(WIKI, "/")).await.text, "by socket");
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_pass_over_http_2() {
    let router = axum::Router::new().fallback(|| async {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let frames =
            [http_body::Frame::data(bytes::Bytes::from_static(b"message")), http_body::Frame::trailers(trailers)];
        let frames = futures_util::stream::iter(frames.map(Ok::<_, std::io::Error>));
        axum::body::Body::new(http_body_util::StreamBody::new(frames))
    });
    let tls = OriginTls::for_names(&["localhost"], &["h2"]).unwrap();
    let origin = Origin::start(router, Some(&tls)).await.unwrap();
    let origin = json!({"url": format!("https://{}", origin.address), "tls": {"verify": false}});
    let stand = Stand::start(Setup { policies: bypass(), origin: Some(origin), ..Setup::default() }).await;
    let stream = hyper_util::rt::TokioIo::new(stand.tls(WIKI, &["h2"]).await);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, stream).await.unwrap();
    let mut driving = tokio::task::JoinSet::new();
    driving.spawn(connection);
    let request = http::Request::builder()
        .method("POST")
        .uri(stand.url(WIKI, "/service/Method").as_str())
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(http_body_util::Full::new(bytes::Bytes::from_static(b"question")))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(body.to_bytes(), "message");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_most_specific_path_decides_which_policies_hold() {
    let open = (json!({"name": "Docs", "domain": format!("{WIKI}/docs")}), bypass());
    let stand = Stand::start(Setup { more: vec![open], ..Setup::default() }).await;
    let mut browser = stand.browser();
    for (path, status) in [
        ("/docs/a", StatusCode::OK),
        ("/docs", StatusCode::OK),
        ("/documents", StatusCode::FOUND),
        ("/", StatusCode::FOUND),
        ("/docs/..%2fprivate", StatusCode::BAD_REQUEST),
        ("/docs;x/a", StatusCode::BAD_REQUEST),
        ("/DOCS/a", StatusCode::BAD_REQUEST),
        ("/docs%252f", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(browser.get(&stand.url(WIKI, path)).await.status, status, "{path}");
    }
    // Clients of good manners resolve these themselves.
    for path in ["/docs/%2e%2e/private", "/docs/../private", "/docs/.%2E/private", "/docs\\..\\private"] {
        let mut stream = stand.tls(WIKI, &["http/1.1"]).await;
        let head = format!("GET {path} HTTP/1.1\r\nHost: {WIKI}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer[9..], b"400", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn preflights_are_answered_by_the_applications_rules() {
    let wiki = json!({"cors_headers": {"allowed_origins": ["https://a.example"], "allowed_methods": ["PUT"], "allow_credentials": true}});
    let bypassed = (
        json!({"name": "Other", "domain": OTHER, "options_preflight_bypass": true}),
        vec![allow(json!({"everyone": {}}))],
    );
    let stand = Stand::start(Setup { wiki, more: vec![bypassed], ..Setup::default() }).await;
    let mut browser = stand.browser();
    for (host, origin, status) in [
        (WIKI, "https://a.example", StatusCode::OK),
        (WIKI, "https://evil.example", StatusCode::FORBIDDEN),
        (OTHER, "https://evil.example", StatusCode::OK),
    ] {
        let request = browser
            .request(Method::OPTIONS, &stand.url(host, "/api"))
            .header("origin", origin)
            .header("access-control-request-method", "PUT");
        let seen = browser.send(request).await;
        assert_eq!(seen.status, status, "{host} {origin}");
        if host == OTHER {
            // It was the application that answered, and it was told of nobody.
            assert!(seen.text.contains("\"method\":\"OPTIONS\"") && !seen.text.contains("jwt"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_the_application_may_be_read_by_the_sites_that_the_rules_name() {
    let wiki = json!({"cors_headers": {"allowed_origins": ["https://a.example"], "allow_credentials": true}});
    let stand = Stand::start(Setup { wiki, policies: bypass(), ..Setup::default() }).await;
    let mut browser = stand.browser();
    for (origin, allowed) in [("https://a.example", Some("https://a.example")), ("https://evil.example", None)] {
        let request = browser.request(Method::GET, &stand.url(WIKI, "/api")).header("origin", origin);
        let seen = browser.send(request).await;
        let found = seen.headers.get("access-control-allow-origin").map(|value| value.to_str().unwrap());
        assert_eq!((seen.status, found), (StatusCode::OK, allowed));
        // The application is told where the request comes from all the same.
        assert!(seen.text.contains(origin), "{}", seen.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_head_is_a_head_alone() {
    let stand = Stand::start(Setup::default()).await;
    let mut browser = stand.browser();
    for (path, status) in
        [("/cdn-cgi/access/certs", StatusCode::OK), ("/cdn-cgi/access/nothing", StatusCode::NOT_FOUND)]
    {
        let whole = browser.get(&stand.url(WIKI, path)).await;
        let request = browser.request(Method::HEAD, &stand.url(WIKI, path));
        let head = browser.send(request).await;
        assert_eq!((head.status, whole.status), (status, status), "{path}");
        assert!(head.text.is_empty() && !whole.text.is_empty());
        assert_eq!(head.headers["content-length"], whole.text.len().to_string().as_str());
    }
}
