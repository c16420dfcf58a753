//! An MCP server with sessions (2025-11-25) or without (2026-07-28), and with the manners a test asks for.

use std::collections::{BTreeMap, HashMap};
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
    /// Streams that were closed, and what follows when a client comes back: by the event after which.
    later: Mutex<HashMap<String, mpsc::UnboundedReceiver<Value>>>,
    /// Tasks, and where they stand.
    pub(crate) tasks: Mutex<BTreeMap<String, &'static str>>,
    /// Everything that was watched with `subscriptions/listen`.
    pub(crate) watching: Mutex<Vec<mpsc::UnboundedSender<Value>>>,
    /// Headers `Mcp-Param-*`.
    pub(crate) parameters: Mutex<Vec<(String, String)>>,
}

/// A server on loopback.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) inner: Arc<Inner>,
    runtime: Arc<Mutex<Option<tokio::runtime::Runtime>>>,
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
            later: Mutex::default(),
            tasks: Mutex::default(),
            watching: Mutex::default(),
            parameters: Mutex::default(),
        });
        let listener = testkit::listen().await.unwrap();
        let address = listener.local_addr().unwrap();
        let std = listener.into_std().unwrap();
        // A runtime of its own: when it is shut down, its connections break as those of a process that was killed.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let app = Router::new().route("/mcp", post(take).get(listen).delete(end)).with_state(Arc::clone(&inner));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(std).unwrap();
            axum::serve(listener, app).await.unwrap();
        });
        Self { address, inner, runtime: Arc::new(Mutex::new(Some(runtime))) }
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) fn kill(&self) {
        self.runtime.lock().take().unwrap().shutdown_background();
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
    if let Some(last) = headers.get("last-event-id").map(|value| value.to_str().unwrap().to_owned()) {
        return match server.later.lock().remove(&last) {
            Some(receiver) => events(receiver, None),
            None => StatusCode::BAD_REQUEST.into_response(),
        };
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
    server.parameters.lock().extend(headers.iter().filter_map(|(name, value)| {
        Some((name.as_str().strip_prefix("mcp-param-")?.to_owned(), value.to_str().unwrap().to_owned()))
    }));
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
            "capabilities": {"tools": {"listChanged": true}, "prompts": {}, "resources": {"subscribe": true}, "logging": {}, "completions": {}, "tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}},
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
    let job = || json!({"name": "job", "description": "takes its time", "inputSchema": {"type": "object"}, "execution": {"taskSupport": "required"}});
    let region = || json!({"name": "region", "inputSchema": {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}});
    let unsound = || json!({"name": "unsound", "inputSchema": {"type": "object", "properties": {"n": {"type": "number", "x-mcp-header": "N"}}}});
    if method.starts_with("tasks/") {
        return tasks(server, message, method);
    }
    match method {
        "subscriptions/listen" if server.era == Era::Stateless => {
            let (sender, receiver) = mpsc::unbounded_channel();
            let meta = json!({"io.modelcontextprotocol/subscriptionId": message["id"]});
            let acknowledged = json!({"_meta": meta, "notifications": message["params"]["notifications"]});
            sender.send(json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": acknowledged})).unwrap();
            server.watching.lock().push(sender);
            events(receiver, None)
        }
        "server/discover" => answer(
            message,
            &json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}, "resources": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}}}),
        ),
        "tools/list" if message["params"]["cursor"] == "2" => answer(
            message,
            &json!({"tools": [
                tool("ask", false), tool("large", true), tool("stop", true), tool("hang", true), tool("poll", true),
                tool("slow", true), tool("wants", true), tool("link", true), tool("broken", true), tool("endless", true),
                tool("flood", true), tool("short", true), tool("page", true), job(), region(), unsound(),
            ]}),
        ),
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
        // Says something and then nothing, for ever.
        "hang" => {
            let (sender, receiver) = mpsc::unbounded_channel();
            let params = json!({"progressToken": message["params"]["_meta"]["progressToken"], "progress": 1});
            sender.send(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})).unwrap();
            events(receiver, Some(sender))
        }
        // Hangs up at once, to be asked again (2025-11-25).
        "poll" => {
            let (sender, receiver) = mpsc::unbounded_channel();
            sender.send(json!({"jsonrpc": "2.0", "id": message["id"], "result": text("polled")})).unwrap();
            let event = format!("e-{}", message["id"]);
            server.later.lock().insert(event.clone(), receiver);
            let body = format!("id: {event}\nretry: 20\ndata: \n\n");
            ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
        }
        // Answers in one piece, but only when somebody asks about it.
        "slow" => {
            let (sender, receiver) = mpsc::unbounded_channel::<Value>();
            server.watching.lock().push(sender);
            let body = json!({"jsonrpc": "2.0", "id": message["id"], "result": text("at last")}).to_string();
            let stream = futures_util::stream::once(async move {
                let mut receiver = receiver;
                receiver.recv().await;
                Ok::<_, Infallible>(Bytes::from(body))
            });
            ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(stream)).into_response()
        }
        // Wants to know two things, one after the other, and keeps what it knows in a state.
        "wants" => {
            let params = &message["params"];
            let ask = |key: &str, state: &str| {
                let request = json!({"method": "elicitation/create", "params": {"mode": "form", "message": key}});
                answer(
                    message,
                    &json!({"resultType": "input_required", "inputRequests": {key: request}, "requestState": state}),
                )
            };
            match params["requestState"].as_str() {
                None => ask("first", "s1"),
                Some("s1") if params["inputResponses"]["first"].is_object() => ask("second", "s2"),
                Some("s2") => {
                    let said = &params["inputResponses"]["second"];
                    answer(
                        message,
                        &json!({"resultType": "complete", "content": [{"type": "text", "text": said.to_string()}]}),
                    )
                }
                Some(_) => error(message, -32_602, "no such state", StatusCode::BAD_REQUEST),
            }
        }
        "page" => page(message),
        "link" => answer(message, &json!({"content": [{"type": "resource_link", "uri": "demo://a", "name": "a"}]})),
        "job" => job(server, message),
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
        other => misbehave(other).unwrap_or_else(|| {
            answer(message, &json!({"isError": true, "content": [{"type": "text", "text": format!("no {other}")}]}))
        }),
    }
}

/// Sends a person to a page first.
fn page(message: &Value) -> Response {
    let page = json!({"mode": "url", "elicitationId": "e-1", "url": "https://example.com/", "message": "sign in"});
    let data = json!({"elicitations": [page]});
    let body =
        json!({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32_042, "message": "visit", "data": data}});
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// Answers as no server should.
fn misbehave(tool: &str) -> Option<Response> {
    Some(match tool {
        // Dies in the middle of its answer.
        "broken" => {
            let pieces = [Ok(Bytes::from("{\"jsonrpc\":\"2.0\",")), Err(std::io::Error::other("gone"))];
            let body = Body::from_stream(futures_util::stream::iter(pieces));
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        // Promises more than it sends.
        "short" => {
            let body = Body::from_stream(futures_util::stream::iter([Ok::<_, Infallible>(Bytes::from("{}"))]));
            ([(header::CONTENT_TYPE, "application/json".to_owned()), (header::CONTENT_LENGTH, "9000".to_owned())], body)
                .into_response()
        }
        // An answer that never ends, and events that never do.
        "endless" => {
            let piece = || Some((Ok::<_, Infallible>(Bytes::from(vec![b' '; 64 << 10])), ()));
            let body = Body::from_stream(futures_util::stream::unfold((), move |()| async move { piece() }));
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        "flood" => {
            let piece = || Some((Ok::<_, Infallible>(Bytes::from(format!("data: {}\n", "x".repeat(64 << 10)))), ()));
            let body = Body::from_stream(futures_util::stream::unfold((), move |()| async move { piece() }));
            ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
        }
        _ => return None,
    })
}

/// Begins a task, where its caller can have one.
fn job(server: &Arc<Inner>, message: &Value) -> Response {
    let id = format!("t-{}", server.tasks.lock().len());
    let times = json!({"createdAt": "2026-01-01T00:00:00Z", "lastUpdatedAt": "2026-01-01T00:00:00Z"});
    let mut task = json!({"taskId": id, "status": "working"});
    task.as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
    let capabilities = &message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    match server.era {
        Era::Sessions if message["params"]["task"].is_object() => {
            server.tasks.lock().insert(id, "working");
            task["ttl"] = json!(60_000);
            answer(message, &json!({"task": task}))
        }
        Era::Stateless if capabilities["extensions"]["io.modelcontextprotocol/tasks"].is_object() => {
            server.tasks.lock().insert(id, "input_required");
            task["resultType"] = json!("task");
            task["ttlMs"] = json!(60_000);
            task["pollIntervalMs"] = json!(10);
            answer(message, &task)
        }
        Era::Sessions => error(message, -32_601, "only as a task", StatusCode::OK),
        Era::Stateless => error(message, -32_021, "only as a task", StatusCode::BAD_REQUEST),
    }
}

/// Answers what is said of a task: a task asks for a name once, and is done with it.
fn tasks(server: &Arc<Inner>, message: &Value, method: &str) -> Response {
    let id = message["params"]["taskId"].as_str().unwrap_or_default().to_owned();
    let done = json!({"content": [{"type": "text", "text": "done a\u{200b}secret"}], "_meta": {"io.modelcontextprotocol/related-task": {"taskId": id}}});
    let mut all = server.tasks.lock();
    if method == "tasks/list" {
        let mut list: Vec<Value> = all.iter().map(|(id, status)| json!({"taskId": id, "status": status})).collect();
        list.push(json!({"taskId": "somebody-elses", "status": "working"}));
        return answer(message, &json!({"tasks": list}));
    }
    let Some(status) = all.get_mut(&id) else { return error(message, -32_602, "no such task", StatusCode::OK) };
    match method {
        "tasks/get" => {
            let mut task = json!({"resultType": "complete", "taskId": id, "status": *status, "pollIntervalMs": 10});
            if *status == "input_required" {
                let request = json!({"method": "elicitation/create", "params": {"message": "name?"}});
                task["inputRequests"] = json!({"name": request});
            }
            if *status == "completed" && server.era == Era::Stateless {
                task["result"] = done;
            }
            answer(message, &task)
        }
        "tasks/update" => {
            assert!(message["params"]["inputResponses"]["name"].is_object(), "{message}");
            *status = "completed";
            answer(message, &json!({"resultType": "complete"}))
        }
        "tasks/result" => {
            *status = "completed";
            answer(message, &done)
        }
        "tasks/cancel" => {
            *status = "cancelled";
            answer(message, &json!({"taskId": id, "status": "cancelled"}))
        }
        _ => error(message, -32_601, "no such method", StatusCode::OK),
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
        let event = Bytes::from(format!("event: message\ndata: {message}\n\n"));
        Some((Ok::<_, Infallible>(event), (receiver, kept)))
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(stream)).into_response()
}

impl Drop for Server {
    fn drop(&mut self) {
        if Arc::strong_count(&self.runtime) == 1
            && let Some(runtime) = self.runtime.lock().take()
        {
            runtime.shutdown_background();
        }
    }
}
