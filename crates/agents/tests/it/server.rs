//! An MCP server with sessions (2025-11-25) or without (2026-07-28), and with the manners a test asks for.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

/// How a server behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    Sessions,
    Stateless,
}

/// What a server saw and knows.
pub(crate) struct Inner {
    era: Era,
    name: &'static str,
    pub(crate) sessions: Mutex<Vec<String>>,
    /// Every message, in order.
    pub(crate) seen: Mutex<Vec<Value>>,
    /// Every value of `Authorization`.
    pub(crate) credentials: Mutex<Vec<Option<String>>>,
    pub(crate) opened: AtomicUsize,
    answered: Mutex<Vec<(Value, mpsc::UnboundedSender<Value>)>>,
    pub(crate) cancelled: Notify,
}

/// A server on loopback.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) inner: Arc<Inner>,
}

impl Server {
    pub(crate) async fn start(name: &'static str, era: Era) -> Self {
        let inner = Arc::new(Inner {
            era,
            name,
            sessions: Mutex::default(),
            seen: Mutex::default(),
            credentials: Mutex::default(),
            opened: AtomicUsize::new(0),
            answered: Mutex::default(),
            cancelled: Notify::new(),
        });
        let listener = testkit::listen().await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().route("/mcp", post(take).get(listen).delete(end)).with_state(Arc::clone(&inner));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, inner }
    }

    /// The messages of a method.
    pub(crate) fn seen(&self, method: &str) -> Vec<Value> {
        self.inner.seen.lock().iter().filter(|message| message["method"] == method).cloned().collect()
    }

    /// Forgets every session, as after a restart.
    pub(crate) fn forget(&self) {
        self.inner.sessions.lock().clear();
    }
}

async fn listen(State(server): State<Arc<Inner>>, headers: HeaderMap) -> Response {
    if !knows(&server, &headers) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let updated = json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "demo://a"}});
    let (sender, receiver) = mpsc::unbounded_channel();
    sender.send(updated).unwrap();
    sender.send(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})).unwrap();
    events(receiver, Some(sender))
}

async fn end(State(server): State<Arc<Inner>>, headers: HeaderMap) -> StatusCode {
    let session = session(&headers);
    server.sessions.lock().retain(|known| Some(known) != session.as_ref());
    StatusCode::NO_CONTENT
}

fn session(headers: &HeaderMap) -> Option<String> {
    headers.get("mcp-session-id").map(|value| value.to_str().unwrap().to_owned())
}

fn knows(server: &Inner, headers: &HeaderMap) -> bool {
    session(headers).is_some_and(|session| server.sessions.lock().contains(&session))
}

async fn take(State(server): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    let message: Value = serde_json::from_slice(&body).unwrap();
    server.seen.lock().push(message.clone());
    let credential = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    server.credentials.lock().push(credential);
    let method = message["method"].as_str().unwrap_or_default().to_owned();
    if server.era == Era::Stateless {
        let version = headers.get("mcp-protocol-version").and_then(|value| value.to_str().ok());
        let named = headers.get("mcp-method").and_then(|value| value.to_str().ok());
        if version != Some("2026-07-28") || named != Some(method.as_str()) {
            return error(&message, -32_022, "unsupported version", StatusCode::BAD_REQUEST);
        }
    } else if method == "initialize" {
        let id = format!("session-{}", server.opened.fetch_add(1, Ordering::SeqCst));
        server.sessions.lock().push(id.clone());
        let result = json!({
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {"listChanged": true}, "prompts": {}, "resources": {"subscribe": true}, "logging": {}, "completions": {}},
            "serverInfo": {"name": server.name, "version": "1"},
        });
        let mut response = answer(&message, &result);
        response.headers_mut().insert("mcp-session-id", id.parse().unwrap());
        return response;
    } else if session(&headers).is_none() {
        return error(&message, -32_600, "no session", StatusCode::BAD_REQUEST);
    } else if !knows(&server, &headers) {
        return error(&message, -32_600, "unknown session", StatusCode::NOT_FOUND);
    }
    if method.is_empty() {
        let waiting = server.answered.lock();
        for (id, sender) in waiting.iter().filter(|(id, _)| *id == message["id"]) {
            let _ = (id, sender.send(message.clone()));
        }
        return StatusCode::ACCEPTED.into_response();
    }
    if method == "notifications/cancelled" {
        server.cancelled.notify_one();
    }
    if message.get("id").is_none() {
        return StatusCode::ACCEPTED.into_response();
    }
    request(&server, &message, &method)
}

fn request(server: &Arc<Inner>, message: &Value, method: &str) -> Response {
    let tool = |name: &str, read_only: bool| json!({"name": name, "description": format!("does {name}"), "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": read_only}});
    match method {
        "server/discover" => answer(
            message,
            &json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}, "resources": {}}}),
        ),
        "tools/list" if message["params"]["cursor"] == "2" => {
            answer(message, &json!({"tools": [tool("ask", false), tool("large", true), tool("stop", true)]}))
        }
        "tools/list" => {
            answer(message, &json!({"tools": [tool("echo", true), tool("count", true)], "nextCursor": "2"}))
        }
        "prompts/list" => answer(message, &json!({"prompts": [{"name": "greet", "arguments": [{"name": "who"}]}]})),
        "resources/list" => answer(message, &json!({"resources": [{"uri": "demo://a", "name": "a"}]})),
        "resources/templates/list" => {
            answer(message, &json!({"resourceTemplates": [{"uriTemplate": "demo://t/{id}", "name": "t"}]}))
        }
        "prompts/get" => {
            let text = format!("hello {}", message["params"]["arguments"]["who"].as_str().unwrap());
            answer(message, &json!({"messages": [{"role": "user", "content": {"type": "text", "text": text}}]}))
        }
        "resources/read" => {
            let uri = &message["params"]["uri"];
            answer(message, &json!({"contents": [{"uri": uri, "text": format!("contents of {uri}")}]}))
        }
        "completion/complete" => {
            answer(message, &json!({"completion": {"values": [message["params"]["ref"]["name"]]}}))
        }
        "tools/call" => call(server, message),
        "resources/subscribe" | "resources/unsubscribe" | "logging/setLevel" => answer(message, &json!({})),
        _ => error(message, -32_601, "no such method", StatusCode::OK),
    }
}

fn call(server: &Arc<Inner>, message: &Value) -> Response {
    let text = |text: &str| json!({"content": [{"type": "text", "text": text}]});
    match message["params"]["name"].as_str().unwrap() {
        "echo" => answer(message, &text(&message["params"]["arguments"].to_string())),
        "large" => answer(message, &text(&"x".repeat(2 << 20))),
        "count" => {
            let (sender, receiver) = mpsc::unbounded_channel();
            for step in 1..=2 {
                let params = json!({"progressToken": message["params"]["_meta"]["progressToken"], "progress": step});
                sender.send(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})).unwrap();
            }
            sender.send(json!({"jsonrpc": "2.0", "id": message["id"], "result": text("counted")})).unwrap();
            events(receiver, None)
        }
        // Says something and then nothing any more.
        "stop" => {
            let (sender, receiver) = mpsc::unbounded_channel();
            let params = json!({"level": "info", "data": "about to stop"});
            sender.send(json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params})).unwrap();
            events(receiver, None)
        }
        "ask" => {
            let (sender, receiver) = mpsc::unbounded_channel();
            let question =
                json!({"jsonrpc": "2.0", "id": "q-1", "method": "elicitation/create", "params": {"message": "sure?"}});
            sender.send(question).unwrap();
            let (told, mut answers) = mpsc::unbounded_channel();
            server.answered.lock().push((json!("q-1"), told));
            let id = message["id"].clone();
            tokio::spawn(async move {
                let Some(said) = answers.recv().await else { return };
                let said = text(&said.get("result").unwrap_or(&said["error"]).to_string());
                let _ = sender.send(json!({"jsonrpc": "2.0", "id": id, "result": said}));
            });
            events(receiver, None)
        }
        other => {
            answer(message, &json!({"isError": true, "content": [{"type": "text", "text": format!("no {other}")}]}))
        }
    }
}

fn answer(message: &Value, result: &Value) -> Response {
    let body = json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn error(message: &Value, code: i64, text: &str, status: StatusCode) -> Response {
    let body = json!({"jsonrpc": "2.0", "id": message["id"], "error": {"code": code, "message": text}}).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Answers with what is sent, as events; `kept` keeps the stream open.
fn events(receiver: mpsc::UnboundedReceiver<Value>, kept: Option<mpsc::UnboundedSender<Value>>) -> Response {
    let stream = futures_util::stream::unfold((receiver, kept), |(mut receiver, kept)| async move {
        let message = receiver.recv().await?;
        let event = Bytes::from(format!("event: message\nid: 1\ndata: {message}\n\n"));
        Some((Ok::<_, Infallible>(event), (receiver, kept)))
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(stream)).into_response()
}
