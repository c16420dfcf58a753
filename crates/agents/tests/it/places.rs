//! Servers that are not where they are said to be, and those that speak HTTP+SSE of 2024-11-05.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agents::upstream::{Address, Candidate, Channel, Transport, places};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::HeaderMap;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::{Client, endpoint_at, person, plane_of};

/// A server of 2024-11-05: a stream at `/sse`, messages at the address it names.
struct Old {
    streams: Mutex<Vec<(usize, mpsc::UnboundedSender<String>)>>,
    opened: AtomicUsize,
    /// What the stream names as the address for messages; `{}` is the session.
    names: &'static str,
    seen: Mutex<Vec<Value>>,
}

async fn old(names: &'static str) -> (SocketAddr, Arc<Old>) {
    let old = Arc::new(Old { streams: Mutex::default(), opened: AtomicUsize::new(0), names, seen: Mutex::default() });
    let app = Router::new().route("/sse", get(stream)).route("/messages", post(take)).with_state(Arc::clone(&old));
    let listener = testkit::listen().await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, old)
}

async fn stream(State(old): State<Arc<Old>>) -> Response {
    let session = old.opened.fetch_add(1, Ordering::Relaxed);
    let (sender, receiver) = mpsc::unbounded_channel();
    sender.send(format!("event: endpoint\ndata: {}\n\n", old.names.replace("{}", &session.to_string()))).unwrap();
    old.streams.lock().push((session, sender));
    let events = futures_util::stream::unfold(receiver, |mut receiver| async move {
        Some((Ok::<_, Infallible>(Bytes::from(receiver.recv().await?)), receiver))
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

#[derive(serde::Deserialize)]
struct Session {
    session: usize,
}

async fn take(State(old): State<Arc<Old>>, Query(of): Query<Session>, body: Bytes) -> Response {
    let message: Value = serde_json::from_slice(&body).unwrap();
    old.seen.lock().push(message.clone());
    let streams = old.streams.lock();
    let Some((_, stream)) = streams.iter().find(|(session, _)| *session == of.session) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let say = |message: Value| stream.send(format!("event: message\ndata: {message}\n\n")).unwrap();
    let result = match message["method"].as_str().unwrap_or_default() {
        "initialize" => {
            json!({"protocolVersion": "2024-11-05", "capabilities": {"tools": {}}, "serverInfo": {"name": "old", "version": "1"}})
        }
        "tools/list" => json!({"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}),
        "tools/call" => {
            let token = &message["params"]["_meta"]["progressToken"];
            if !token.is_null() {
                say(
                    json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}}),
                );
            }
            json!({"content": [{"type": "text", "text": format!("session {}", of.session)}]})
        }
        _ => return (StatusCode::ACCEPTED, "Accepted").into_response(),
    };
    say(json!({"jsonrpc": "2.0", "id": message["id"], "result": result}));
    (StatusCode::ACCEPTED, "Accepted").into_response()
}

fn channel(address: SocketAddr, path: &str) -> Channel {
    let endpoint = endpoint_at(address, path);
    let candidates = places(path, None).iter().filter_map(|place| Candidate::at(&endpoint, place)).collect();
    Channel::Remote(Address::new(candidates))
}

#[tokio::test]
async fn a_server_below_its_address_is_found_and_spoken_to_as_it_speaks() {
    let (address, old) = old("/messages?session={}").await;
    let seen = agents::sync::look(channel(address, "/"), HeaderMap::new()).await.unwrap();
    let place = seen.place.clone().unwrap();
    assert_eq!((place.transport, place.target.as_str()), (Transport::Events, "/sse"));
    assert_eq!(seen.version.as_str(), "2024-11-05");
    let plane = plane_of("old", channel(address, "/"), seen, json!([])).await;
    let client = Client::new(&plane, person(1), &["old"]).begin(json!({})).await;
    let params = json!({"name": "old_echo", "arguments": {}, "_meta": {"progressToken": 5}});
    let (before, answer) = client.ask("tools/call", params).await;
    assert_eq!(before[0]["params"]["progress"], 1, "{before:?}");
    assert_eq!(answer["result"]["content"][0]["text"], "session 1", "{answer}");
    let opened = old.opened.load(Ordering::Relaxed);
    // The connection is lost; the next call begins anew, and nobody notices.
    old.streams.lock().clear();
    let answer = client.call("old_echo", json!({})).await;
    let answer = match answer["error"].is_null() {
        true => answer,
        // The call may have been on its way when the stream ended.
        false => client.call("old_echo", json!({})).await,
    };
    assert_eq!(answer["result"]["content"][0]["text"], format!("session {opened}"), "{answer}");
}

#[tokio::test]
async fn an_address_for_messages_elsewhere_is_not_followed() {
    let (address, old) = old("http://127.0.0.1:1/messages?session={}").await;
    let error = agents::sync::look(channel(address, "/sse"), HeaderMap::new()).await.unwrap_err();
    assert!(error.message.contains("not its own"), "{error}");
    assert!(old.seen.lock().is_empty());
}

#[tokio::test]
async fn a_server_that_refuses_somebody_is_not_looked_for_elsewhere() {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&asked);
    let app = Router::new().fallback(move |request: axum::extract::Request| {
        seen.lock().push(format!("{} {}", request.method(), request.uri()));
        async { StatusCode::FORBIDDEN }
    });
    let listener = testkit::listen().await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let error = agents::sync::look(channel(address, "/"), HeaderMap::new()).await.unwrap_err();
    assert_eq!(error.status, Some(403));
    assert!(asked.lock().iter().all(|asked| asked == "POST /"), "{asked:?}");
}
