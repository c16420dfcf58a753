//! What the web is made of, through interception: WebSocket, trailers, event streams, ranges, codings, curl.

use axum::Router;
use axum::body::Body;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::http::{HeaderMap, header};
use axum::routing::{any, get as route, post as posting};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use testkit::{Origin, OriginTls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::support::{Got, PATIENCE, Setup, Stand};

const GZIP: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3];

fn router() -> Router {
    let echo = |upgrade: WebSocketUpgrade| async {
        upgrade.on_upgrade(|mut socket| async move {
            while let Some(Ok(message)) = socket.recv().await {
                if matches!(message, Message::Close(_)) || socket.send(message).await.is_err() {
                    break;
                }
            }
        })
    };
    let trailing = || async {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let frames =
            [Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"message"))), Ok(Frame::trailers(trailers))];
        let body = StreamBody::new(futures_util::stream::iter(frames));
        Response::builder()
            .header("content-type", "application/grpc")
            .header("trailer", "grpc-status")
            .body(Body::new(body))
            .unwrap()
    };
    let range = |headers: HeaderMap| async move {
        let range = headers.get(header::RANGE).map_or(String::new(), |value| value.to_str().unwrap().to_owned());
        Response::builder()
            .status(206)
            .header("content-range", "bytes 2-5/10")
            .header("x-asked", range)
            .body(Body::from("2345"))
            .unwrap()
    };
    let coded = || async {
        Response::builder().header("content-encoding", "gzip").body(Body::from(Bytes::from_static(GZIP))).unwrap()
    };
    let upload = |body: Bytes| async move { format!("got {}", body.len()) };
    Router::new()
        .route("/ws", any(echo))
        .route("/grpc", any(trailing))
        .route("/range", route(range))
        .route("/coded", route(coded))
        .route("/upload", posting(upload))
        .fallback(any(|| async { "plain" }))
}

async fn stand(router: Router, alpn: &[&str]) -> (Stand, Origin) {
    let tls = OriginTls::for_names(&["site.test"], alpn).unwrap();
    let origin = Origin::start(router, Some(&tls)).await.unwrap();
    let setup = Setup { names: vec![("site.test", origin.address)], roots: vec![tls.root], ..Setup::default() };
    (Stand::start(setup).await, origin)
}

fn inside(path: &str) -> http::request::Builder {
    Request::get(path).header("host", "site.test")
}

#[tokio::test]
async fn a_websocket_works_through_interception() {
    let (stand, _origin) = stand(router(), &["h2", "http/1.1"]).await;
    let stream = stand.tls("site.test:443", "site.test", &["http/1.1"], &stand.ca).await.unwrap();
    let (mut socket, response) = tokio_tungstenite::client_async("wss://site.test/ws", stream).await.unwrap();
    assert_eq!(response.status(), 101);
    for size in [5, 70_000] {
        let text = "x".repeat(size);
        socket.send(tokio_tungstenite::tungstenite::Message::text(text.clone())).await.unwrap();
        let answer = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(answer.into_text().unwrap().as_str(), text);
    }
    let record = stand.http_record("https://site.test/ws").await;
    assert_eq!((record["HTTPStatusCode"].as_u64(), record["Action"].as_str()), (Some(101), Some("allow")));
}

#[tokio::test]
async fn a_websocket_works_without_tls() {
    let origin = Origin::start(router(), None).await.unwrap();
    let stand = Stand::start(Setup { names: vec![("site.test", origin.address)], ..Setup::default() }).await;
    let stream = stand.connect("site.test:80").await;
    let (mut socket, _) = tokio_tungstenite::client_async("ws://site.test/ws", stream).await.unwrap();
    socket.send(tokio_tungstenite::tungstenite::Message::text("hi")).await.unwrap();
    let answer = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.into_text().unwrap().as_str(), "hi");
}

#[tokio::test]
async fn trailers_travel_over_http2_and_http1() {
    let (stand, _origin) = stand(router(), &["h2", "http/1.1"]).await;
    let (mut sender, _tasks) = stand.http2("site.test:443", "site.test").await;
    let request = Request::post("https://site.test/grpc")
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(Full::from("question"))
        .unwrap();
    let got = Got::read(sender.send_request(request).await.unwrap()).await;
    assert_eq!((got.text().as_str(), &got.trailers.unwrap()["grpc-status"]), ("message", &"0".parse().unwrap()));
    let request = inside("/grpc").header("te", "trailers").body(Full::default()).unwrap();
    let got = stand.secure("site.test:443", "site.test", request).await;
    assert_eq!(got.trailers.expect("trailers over HTTP/1.1")["grpc-status"], "0");
}

#[tokio::test]
async fn a_grpc_stream_carries_messages_both_ways_at_the_same_time() {
    let echo = |headers: HeaderMap, version: http::Version, body: Body| async move {
        assert_eq!((version, &headers["te"]), (http::Version::HTTP_2, &"trailers".parse().unwrap()));
        // Each message is answered when it has come, long before the request has ended.
        let frames = futures_util::stream::unfold(Some(body), |body| async move {
            let mut body = body?;
            match body.frame().await {
                Some(frame) => Some((Ok::<_, axum::Error>(frame.unwrap()), Some(body))),
                None => {
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", "0".parse().unwrap());
                    Some((Ok(Frame::trailers(trailers)), None))
                }
            }
        });
        Response::builder()
            .header("content-type", "application/grpc")
            .body(Body::new(StreamBody::new(Box::pin(frames))))
            .unwrap()
    };
    let (stand, _origin) = stand(Router::new().route("/svc/Chat", posting(echo)), &["h2"]).await;
    let stream = stand.tls("site.test:443", "site.test", &["h2"], &stand.ca).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let (say, said) = mpsc::channel::<Bytes>(1);
    let said = futures_util::stream::unfold(said, |mut said| async {
        let message = said.recv().await?;
        Some((Ok::<_, std::io::Error>(Frame::data(message)), said))
    });
    let request = Request::post("https://site.test/svc/Chat")
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(StreamBody::new(Box::pin(said)))
        .unwrap();
    let answer = tokio::time::timeout(PATIENCE, sender.send_request(request)).await.expect("a head at once").unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"application/grpc".parse().unwrap())
    );
    let mut body = answer.into_body();
    for (number, size) in [(1, 10), (2, 40_000), (3, 0)] {
        // A message of gRPC: not compressed, its length, itself. The next is only sent when this one has come back.
        let mut message = vec![0, 0];
        message.extend_from_slice(&u32::try_from(size).unwrap().to_be_bytes()[1..]);
        message.resize(5 + size, number);
        say.send(Bytes::from(message.clone())).await.unwrap();
        let mut heard = Vec::new();
        while heard.len() < message.len() {
            let frame = tokio::time::timeout(PATIENCE, body.frame()).await.expect("an echo").unwrap().unwrap();
            heard.extend_from_slice(frame.data_ref().unwrap());
        }
        assert_eq!(heard, message);
    }
    drop(say);
    let rest = tokio::time::timeout(PATIENCE, body.collect()).await.expect("an end").unwrap();
    assert_eq!(rest.trailers().unwrap()["grpc-status"], "0");
    let record = stand.http_record("https://site.test/svc/Chat").await;
    assert_eq!((record["HTTPStatusCode"].as_u64(), record["HTTPVersion"].as_str()), (Some(200), Some("HTTP/2")));
}

#[tokio::test]
async fn an_event_stream_arrives_as_it_happens() {
    let (sender, receiver) = mpsc::channel::<&'static str>(1);
    let receiver = std::sync::Arc::new(tokio::sync::Mutex::new(Some(receiver)));
    let events = move || {
        let receiver = std::sync::Arc::clone(&receiver);
        async move {
            let receiver = receiver.lock().await.take().unwrap();
            let stream = futures_util::stream::unfold(receiver, |mut receiver| async {
                let text = receiver.recv().await?;
                Some((Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(text.as_bytes()))), receiver))
            });
            Response::builder()
                .header("content-type", "text/event-stream")
                .body(Body::new(StreamBody::new(Box::pin(stream))))
                .unwrap()
        }
    };
    let (stand, _origin) = stand(Router::new().route("/events", route(events)), &["http/1.1"]).await;
    let stream = stand.tls("site.test:443", "site.test", &["http/1.1"], &stand.ca).await.unwrap();
    let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let request = inside("/events").body(Full::<Bytes>::default()).unwrap();
    let mut body = client.send_request(request).await.unwrap().into_body();
    for text in ["data: 1\n\n", "data: 2\n\n"] {
        sender.send(text).await.unwrap();
        // The next event is only sent after this one has arrived.
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), text);
    }
}

#[tokio::test]
async fn ranges_and_coded_bodies_pass_untouched() {
    let (stand, _origin) = stand(router(), &["http/1.1"]).await;
    let request = inside("/range").header("range", "bytes=2-5").body(Full::default()).unwrap();
    let got = stand.secure("site.test:443", "site.test", request).await;
    assert_eq!((got.status.as_u16(), got.text().as_str()), (206, "2345"));
    assert_eq!((got.header("content-range"), got.header("x-asked")), ("bytes 2-5/10", "bytes=2-5"));
    let request = inside("/coded").header("accept-encoding", "gzip, zstd").body(Full::default()).unwrap();
    let got = stand.secure("site.test:443", "site.test", request).await;
    assert_eq!((got.body.as_ref(), got.header("content-encoding")), (GZIP, "gzip"));
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_continue() {
    let origin = Origin::start(router(), None).await.unwrap();
    let stand = Stand::start(Setup { names: vec![("site.test", origin.address)], ..Setup::default() }).await;
    let mut stream = stand.dial().await;
    let head = "POST http://site.test/upload HTTP/1.1\r\nHost: site.test\r\nContent-Length: 4\r\n\
                Expect: 100-continue\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = vec![0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut interim)).await.unwrap().unwrap();
    assert_eq!(interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("got 4"), "{answer}");
}

#[tokio::test]
async fn many_streams_share_one_connection() {
    let (stand, _origin) = stand(router(), &["h2"]).await;
    let (sender, _tasks) = stand.http2("site.test:443", "site.test").await;
    let requests = (0..100).map(|number| {
        let mut sender = sender.clone();
        async move {
            let request = Request::post("https://site.test/upload").body(Full::from(vec![b'x'; number * 100])).unwrap();
            Got::read(sender.send_request(request).await.unwrap()).await.text()
        }
    });
    let answers = futures_util::future::join_all(requests).await;
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(*answer, format!("got {}", number * 100));
    }
}

#[tokio::test]
async fn cookie_crumbs_are_one_cookie_for_the_origin() {
    let echo = |headers: HeaderMap| async move {
        let all: Vec<_> = headers.get_all("cookie").iter().map(|value| value.to_str().unwrap().to_owned()).collect();
        all.join("|")
    };
    let (stand, _origin) = stand(Router::new().fallback(any(echo)), &["h2", "http/1.1"]).await;
    let (mut sender, _tasks) = stand.http2("site.test:443", "site.test").await;
    let request = Request::get("https://site.test/")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(Full::default())
        .unwrap();
    let got = Got::read(sender.send_request(request).await.unwrap()).await;
    assert_eq!(got.text(), "a=1; b=2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_gets_what_it_asks_for_over_http1_and_http2() {
    let (stand, _origin) = stand(router(), &["h2", "http/1.1"]).await;
    let ca = stand.directory.path().join("ca.pem");
    std::fs::write(&ca, &stand.ca).unwrap();
    for version in ["--http1.1", "--http2"] {
        let mut command = std::process::Command::new("curl");
        command
            .args([
                "--silent",
                "--show-error",
                "--max-time",
                "30",
                version,
                "--write-out",
                " %{http_version} %{http_code}",
            ])
            .args(["--data", "abc", "--proxy", &format!("http://{}", stand.proxy), "https://site.test/upload"])
            .arg("--cacert")
            .arg(&ca);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().expect("curl is installed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let expected = if version == "--http2" { "got 3 2 200" } else { "got 3 1.1 200" };
        assert_eq!(text, expected, "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(stand.gateway.stats().intercepted, 2);
}

#[tokio::test]
async fn a_tunnel_inside_a_tunnel_is_refused_and_ends_the_connection() {
    let origin = Origin::start(Router::new().fallback(any(|| async { "hello" })), None).await.unwrap();
    let stand = Stand::start(Setup { names: vec![("site.test", origin.address)], ..Setup::default() }).await;
    let mut stream = stand.connect("site.test:80").await;
    let nested = "CONNECT site.test:80 HTTP/1.1\r\nHost: site.test:80\r\n\r\n";
    let unchecked = "GET / HTTP/1.1\r\nHost: site.test\r\nX-A: 1\r\n folded\r\n\r\n";
    stream.write_all(format!("{nested}{unchecked}").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
}

/// An origin that speaks HTTP/1.1 by hand: it answers each head that ends with what `answers` yields for its path.
async fn by_hand(tls: &OriginTls, answers: fn(&str) -> Vec<&'static str>) -> (std::net::SocketAddr, JoinSet<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::clone(&tls.config));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut head = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    head.push(byte);
                    if head.ends_with(b"\r\n\r\n") {
                        let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
                        for part in answers(text.split(' ').nth(1).unwrap()) {
                            stream.write_all(part.as_bytes()).await.unwrap();
                            stream.flush().await.unwrap();
                        }
                    }
                }
            });
        }
    });
    (address, tasks)
}

fn with_hints(path: &str) -> Vec<&'static str> {
    match path {
        "/hints" => vec![
            "HTTP/1.1 102 Processing\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfinal",
        ],
        // Never answered: what comes before must reach the client all the same.
        "/hints-only" => vec!["HTTP/1.1 103 Early Hints\r\nlink: </b.css>\r\n\r\n"],
        "/image" => vec![
            "HTTP/1.1 103 Early Hints\r\nlink: </c.css>\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 1\r\n\r\nx",
        ],
        _ => vec!["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain"],
    }
}

/// Reads until what was read ends with `end`.
async fn until(stream: &mut (impl tokio::io::AsyncRead + Unpin), end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let byte = tokio::time::timeout(PATIENCE, stream.read_u8()).await;
        read.push(byte.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&read))).unwrap());
    }
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn interim_responses_reach_an_http1_client_before_the_response_they_belong_to() {
    let tls = OriginTls::for_names(&["site.test"], &["http/1.1"]).unwrap();
    let (address, _tasks) = by_hand(&tls, with_hints).await;
    let rules = vec![crate::support::rule(
        "no pictures",
        "block",
        "http.request.uri.path == \"/image\" and http.download.mime == \"image/png\"",
    )];
    let setup = Setup { names: vec![("site.test", address)], roots: vec![tls.root.clone()], rules, ..Setup::default() };
    let stand = Stand::start(setup).await;
    let mut stream = stand.tls("site.test:443", "site.test", &["http/1.1"], &stand.ca).await.unwrap();
    for _ in 0..3 {
        stream.write_all(b"GET /hints HTTP/1.1\r\nHost: site.test\r\n\r\n").await.unwrap();
        let seen = until(&mut stream, "\r\n\r\nfinal").await;
        let heads: Vec<&str> = seen.split("\r\n\r\n").collect();
        assert_eq!(heads[0], "HTTP/1.1 102 Processing");
        assert_eq!(heads[1], "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload");
        assert!(heads[2].starts_with("HTTP/1.1 200 OK\r\n"), "{seen}");
        assert_eq!(heads.len(), 4);
    }
    // Requests sent together: each interim response stands before its own final one.
    let plain = "GET /plain HTTP/1.1\r\nHost: site.test\r\n\r\n";
    let hints = plain.replace("/plain", "/hints");
    stream.write_all([plain, &hints, plain, &hints].concat().as_bytes()).await.unwrap();
    let mut seen = String::new();
    for end in ["plain", "final", "plain", "final"] {
        seen += &until(&mut stream, end).await;
    }
    let parts: Vec<&str> = seen.split("HTTP/1.1 ").skip(1).collect();
    assert_eq!(parts.iter().filter(|part| part.starts_with("200")).count(), 4, "{seen}");
    for pair in parts.windows(2).filter(|pair| pair[0].starts_with('1')) {
        assert!(pair[1].starts_with('1') || pair[1].ends_with("final"), "{seen}");
    }
    stream.write_all(hints.replace("/hints", "/image").as_bytes()).await.unwrap();
    let seen = until(&mut stream, "\r\n\r\n").await;
    assert!(seen.starts_with("HTTP/1.1 403"), "nothing of a response is shown before its verdict: {seen}");
    let mut stream = stand.tls("site.test:443", "site.test", &["http/1.1"], &stand.ca).await.unwrap();
    stream.write_all(b"GET /hints-only HTTP/1.1\r\nHost: site.test\r\n\r\n").await.unwrap();
    assert_eq!(until(&mut stream, "\r\n\r\n").await, "HTTP/1.1 103 Early Hints\r\nlink: </b.css>\r\n\r\n");
}

#[tokio::test]
async fn an_http10_client_is_sent_no_interim_responses() {
    let tls = OriginTls::for_names(&["site.test"], &["http/1.1"]).unwrap();
    let (address, _tasks) = by_hand(&tls, with_hints).await;
    let setup = Setup { names: vec![("site.test", address)], roots: vec![tls.root.clone()], ..Setup::default() };
    let stand = Stand::start(setup).await;
    let mut stream = stand.tls("site.test:443", "site.test", &["http/1.1"], &stand.ca).await.unwrap();
    stream.write_all(b"GET /hints HTTP/1.0\r\nHost: site.test\r\n\r\n").await.unwrap();
    let seen = until(&mut stream, "final").await;
    assert!(!seen.contains("103") && seen.contains(" 200 OK"), "{seen}");
}

/// Asks for a WebSocket by extended CONNECT and returns the status and, where granted, the stream.
async fn extended(
    stand: &Stand,
    path: &str,
) -> (
    http::StatusCode,
    http::HeaderMap,
    h2::client::SendRequest<Bytes>,
    h2::SendStream<Bytes>,
    h2::RecvStream,
    JoinSet<()>,
) {
    let stream = stand.tls("site.test:443", "site.test", &["h2"], &stand.ca).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let _ = connection.await;
    });
    let mut sender = sender.ready().await.unwrap();
    while !sender.is_extended_connect_protocol_enabled() {
        tokio::task::yield_now().await;
    }
    let mut request = Request::builder()
        .method("CONNECT")
        .uri(format!("https://site.test{path}"))
        .header("sec-websocket-version", "13")
        .header("origin", "https://site.test")
        .body(())
        .unwrap();
    request.extensions_mut().insert(h2::ext::Protocol::from("websocket"));
    let (response, send) = sender.send_request(request, false).unwrap();
    let (head, body) = response.await.unwrap().into_parts();
    (head.status, head.headers, sender, send, body, tasks)
}

#[tokio::test]
async fn a_websocket_over_http2_is_bridged_to_an_http1_upgrade() {
    let (stand, _origin) = stand(router(), &["h2", "http/1.1"]).await;
    let (status, headers, sender, mut send, mut body, _tasks) = extended(&stand, "/ws").await;
    assert_eq!(status, 200);
    assert!(!headers.contains_key("sec-websocket-accept") && !headers.contains_key("upgrade"), "{headers:?}");
    // A masked text frame of RFC 6455: "Hello".
    send.send_data(Bytes::from_static(&[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]), false)
        .unwrap();
    let mut seen = Vec::new();
    while seen.len() < 7 {
        let data = tokio::time::timeout(PATIENCE, body.data()).await.unwrap().unwrap().unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        seen.extend_from_slice(&data);
    }
    assert_eq!(seen, b"\x81\x05Hello");
    // Other requests share the connection meanwhile.
    let request = Request::get("https://site.test/plain").body(()).unwrap();
    let (response, _) = sender.ready().await.unwrap().send_request(request, true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    let record = stand.http_record("https://site.test/ws").await;
    assert_eq!(
        (record["HTTPMethod"].as_str(), record["HTTPVersion"].as_str(), record["HTTPStatusCode"].as_u64()),
        (Some("GET"), Some("HTTP/2"), Some(200))
    );
}

#[tokio::test]
async fn a_websocket_over_http2_is_decided_like_any_request_and_never_granted_for_less_than_one() {
    let tls = OriginTls::for_names(&["site.test"], &["h2", "http/1.1"]).unwrap();
    let origin = Origin::start(router(), Some(&tls)).await.unwrap();
    let rules = vec![crate::support::rule(
        "no sockets",
        "block",
        "http.request.uri.path == \"/ws\" and http.request.method == \"GET\"",
    )];
    let setup =
        Setup { names: vec![("site.test", origin.address)], roots: vec![tls.root.clone()], rules, ..Setup::default() };
    let stand = Stand::start(setup).await;
    assert_eq!(extended(&stand, "/ws").await.0, 403);
    // An ordinary page where a WebSocket was asked for: 200 would tell the client that it has one.
    assert_eq!(extended(&stand, "/plain").await.0, 502);
}

#[tokio::test]
async fn an_origin_that_does_not_answer_the_websocket_key_is_refused_for_the_http2_client() {
    let tls = OriginTls::for_names(&["site.test"], &["http/1.1"]).unwrap();
    let answers = |_: &str| {
        vec![
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: bm90IGl0\r\n\r\n",
        ]
    };
    let (address, _tasks) = by_hand(&tls, answers).await;
    let setup = Setup { names: vec![("site.test", address)], roots: vec![tls.root.clone()], ..Setup::default() };
    let stand = Stand::start(setup).await;
    assert_eq!(extended(&stand, "/ws").await.0, 502);
    let record = stand.http_record("https://site.test/ws").await;
    assert!(record["Error"].as_str().unwrap().contains("that nobody asked for"), "{record}");
}

#[tokio::test]
async fn a_length_given_twice_over_http2_does_not_reach_an_http1_origin() {
    let tls = OriginTls::for_names(&["site.test"], &["http/1.1"]).unwrap();
    let origin = Origin::start(router(), Some(&tls)).await.unwrap();
    let setup = Setup { names: vec![("site.test", origin.address)], roots: vec![tls.root.clone()], ..Setup::default() };
    let stand = Stand::start(setup).await;
    let stream = stand.tls("site.test:443", "site.test", &["h2"], &stand.ca).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let _ = connection.await;
    });
    let request = Request::post("https://site.test/upload")
        .header("content-length", "3")
        .header("content-length", "3")
        .body(())
        .unwrap();
    let (response, mut send) = sender.ready().await.unwrap().send_request(request, false).unwrap();
    let _ = send.send_data(Bytes::from_static(b"abc"), true);
    assert_eq!(response.await.unwrap().status(), 400);
}
