//! MCP in people's traffic: told by head and body, decided before its server sees it, recorded with what was called.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::Request as Asked;
use axum::routing::any;
use bytes::Bytes;
use gateway::McpPlaces;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use logs::Dataset;
use serde_json::{Value, json};
use testkit::Origin;
use tokio::task::JoinSet;

use crate::support::{Setup, Stand, get, post, rule, rule_with, with};

const GREETING: &str = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"acme tools","version":"1"}}}"#;

/// A server that greets, answers, opens a stream of the older transport, and counts what reaches it.
async fn origin(touched: Arc<AtomicUsize>) -> Origin {
    let answer = move |request: Asked| {
        touched.fetch_add(1, Ordering::SeqCst);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let (media, text) = match parts.uri.path() {
                "/sse" => (
                    "text/event-stream",
                    format!("event: endpoint\ndata: /messages?session_id=1\n\nevent: message\ndata: {GREETING}\n\n"),
                ),
                "/ticker" => ("text/event-stream", "data: {\"price\":1}\n\ndata: {\"price\":2}\n\n".to_owned()),
                "/streams" => ("text/event-stream", format!("id: 0\ndata: \n\nevent: message\ndata: {GREETING}\n\n")),
                _ if body.windows(10).any(|part| part == b"initialize") => ("application/json", GREETING.to_owned()),
                _ => ("application/json", "{}".to_owned()),
            };
            Response::builder().header("content-type", media).body(Body::from(text)).unwrap()
        }
    };
    let router = Router::new().fallback(any(answer)).layer(axum::extract::DefaultBodyLimit::disable());
    Origin::start(router, None).await.unwrap()
}

async fn stand(rules: Vec<Value>) -> (Stand, Origin, Arc<AtomicUsize>) {
    let touched = Arc::new(AtomicUsize::new(0));
    let origin = origin(Arc::clone(&touched)).await;
    let names = ["site.test", "tools.example.com", "jira.test", "tools.example.com.evil.test", "mcp.notion.com"];
    let names = names.map(|name| (name, origin.address)).to_vec();
    let mcp = McpPlaces { portals: ["tools.example.com".to_owned()].into(), servers: ["jira.test".to_owned()].into() };
    (Stand::start(Setup { names, rules, mcp, ..Setup::default() }).await, origin, touched)
}

fn json_post(url: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    with(post(url, body), "content-type", "application/json")
}

fn call(tool: &str) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {"to": "ana@acme.test"}}})
        .to_string()
}

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
const ETHEREUM: &str = r#"{"jsonrpc":"2.0","method":"eth_call","params":[{"to":"0x0"},"latest"],"id":1}"#;

fn gzip(text: &str) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

#[tokio::test]
async fn mcp_is_blocked_before_its_server_sees_it_and_nothing_else_is() {
    let (stand, _origin, touched) = stand(vec![rule("no MCP", "block", "experimental.is_mcp == true")]).await;
    let url = "http://site.test/api";
    let both = "application/json, text/event-stream";
    let batch = format!("[{ETHEREUM},{LIST}]");
    for (what, request) in [
        ("a body", json_post(url, LIST)),
        ("a batch", json_post(url, batch)),
        ("a body of no type", post(url, LIST)),
        ("a coded body", with(json_post(url, gzip(LIST)), "content-encoding", "gzip")),
        (
            "an unreadable body with hints",
            with(with(json_post("http://site.test/mcp", LIST), "content-encoding", "zstd"), "accept", both),
        ),
        ("the version", with(get(url), "mcp-protocol-version", "2025-11-25")),
        ("a session", with(get(url), "mcp-session-id", "1868a90c")),
        ("a method", with(json_post(url, "?"), "mcp-method", "tools/call")),
        ("a known endpoint", json_post("http://mcp.notion.com/mcp", "{}")),
        ("an answer", json_post(url, r#"{"jsonrpc":"2.0","id":1,"result":{"action":"decline"}}"#)),
    ] {
        assert_eq!(stand.send(request).await.status, 403, "{what}");
    }
    assert_eq!(touched.load(Ordering::SeqCst), 0);
    for (what, request) in [
        ("a page", get(url)),
        ("Ethereum", json_post(url, ETHEREUM)),
        ("JSON", json_post(url, r#"{"method":"tools/list"}"#)),
        ("no JSON", with(post(url, LIST), "content-type", "text/html")),
        ("a stream", with(get("http://site.test/ticker"), "accept", "text/event-stream")),
        ("a path", json_post("http://site.test/mcp", "{}")),
        ("large JSON", json_post(url, json!({"rows": vec!["x"; 300_000]}).to_string())),
    ] {
        assert_eq!(stand.send(request).await.status, 200, "{what}");
    }
    assert_eq!(touched.load(Ordering::SeqCst), 7);
}

/// The rules that the documentation shows.
fn documented() -> [Value; 2] {
    let page = include_str!("../../../../docs/shadow-mcp.md");
    let blocks = page.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let rules: Vec<Value> = blocks.map(|text| serde_json::from_str(text).unwrap()).collect();
    rules.try_into().unwrap()
}

#[tokio::test]
async fn the_documented_rules_stop_and_send_on_what_goes_around_the_portal() {
    let [block, redirect] = documented();
    let elsewhere = json!({ "redirect": { "target_uri": "https://tools.example.com.evil.test/mcp" } });
    let rules = vec![
        redirect,
        rule_with(
            "elsewhere",
            "redirect",
            "experimental.is_mcp and http.request.uri.path == \"/elsewhere\"",
            elsewhere,
        ),
        block,
    ];
    let (stand, _origin, touched) = stand(rules).await;
    let sent = stand.send(json_post("http://jira.test/mcp", LIST)).await;
    assert_eq!((sent.status.as_u16(), sent.header("location")), (307, "https://tools.example.com/mcp"));
    let sent = stand.send(json_post("http://site.test/elsewhere", LIST)).await;
    assert_eq!(sent.status, 303, "a message is sent on to nobody but a portal");
    let stopped =
        stand.send(with(json_post("http://tools.example.com.evil.test/mcp", LIST), "accept", "application/json")).await;
    assert_eq!(stopped.status, 403);
    assert!(stopped.text().contains("Use the company's portal"), "{}", stopped.text());
    assert_eq!(touched.load(Ordering::SeqCst), 0);
    assert_eq!(stand.send(json_post("http://tools.example.com/mcp", LIST)).await.status, 200);
    for (url, place) in [("http://jira.test/mcp", "behind_portal"), ("http://tools.example.com/mcp", "portal")] {
        assert_eq!(stand.http_record(url).await["MCPPortal"], place);
    }
    let evil = stand.http_record("http://tools.example.com.evil.test/mcp").await;
    assert_eq!((&evil["IsMCP"], evil.get("MCPPortal")), (&json!(true), None));
    assert_eq!(evil["MCPPayload"], json!([{"method": "tools/list"}]));
}

#[tokio::test]
async fn a_tool_is_stopped_wherever_its_name_stands() {
    let rules = vec![rule("nothing is deleted", "block", "any(starts_with(mcp.tools[*], \"delete_\"))")];
    let (stand, _origin, touched) = stand(rules).await;
    let url = "http://site.test/mcp";
    let late = |size: usize| {
        let text = "x".repeat(size);
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"arguments":{{"t":"{text}"}},"name":"delete_all"}}}}"#
        )
    };
    let batch = format!("[{},{}]", call("get"), call("delete_one"));
    for body in [call("delete_all"), batch, late(10), late(200_000)] {
        assert_eq!(stand.send(json_post(url, body)).await.status, 403);
    }
    // What a header says is not what a server acts on.
    let header = with(with(json_post(url, call("delete_all")), "mcp-method", "tools/call"), "mcp-name", "get");
    assert_eq!(stand.send(header).await.status, 403);
    let unread = with(json_post(url, late(2 << 20)), "accept", "application/json");
    let unread = stand.send(unread).await;
    assert_eq!(unread.status, 403);
    assert!(unread.text().contains("body_not_readable"), "{}", unread.text());
    let coded = with(with(json_post(url, call("get")), "content-encoding", "zstd"), "mcp-session-id", "1");
    assert_eq!(stand.send(coded).await.status, 403);
    assert_eq!(touched.load(Ordering::SeqCst), 0);
    for body in [call("get"), LIST.to_owned(), ETHEREUM.to_owned(), json!({"rows": vec!["x"; 600_000]}).to_string()] {
        assert_eq!(stand.send(json_post(url, body)).await.status, 200);
    }
}

#[tokio::test]
async fn a_record_names_method_tool_client_and_server_although_no_rule_asks() {
    let (stand, _origin, _) = stand(Vec::new()).await;
    let hello = json!({"method": "initialize", "jsonrpc": "2.0", "id": 0, "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "desktop", "version": "1"}}});
    for path in ["/greets", "/streams"] {
        let url = format!("http://site.test{path}");
        assert_eq!(stand.send(json_post(&url, hello.to_string())).await.status, 200);
        let record = stand.http_record(&url).await;
        let expected = json!({
            "IsMCP": true, "MCPMethod": "initialize", "MCPServerName": "acme tools", "MCPClientName": "desktop",
            "MCPProtocolVersion": "2025-06-18", "MCPEvidence": ["request_body", "response_body"],
        });
        assert_eq!(mcp_fields(&record), expected, "{path}");
    }
    let url = "http://site.test/mcp";
    let call = with(json_post(url, call("refund")), "mcp-protocol-version", "2025-06-18");
    stand.send(call).await;
    assert_eq!(
        mcp_fields(&stand.http_record(url).await),
        json!({"IsMCP": true, "MCPMethod": "tools/call", "MCPTool": "refund", "MCPProtocolVersion": "2025-06-18",
            "MCPEvidence": ["version_header", "path", "request_body"]})
    );
    let url = "http://site.test/sse";
    stand.send(with(get(url), "accept", "text/event-stream")).await;
    assert_eq!(
        mcp_fields(&stand.http_record(url).await),
        json!({"IsMCP": true, "MCPServerName": "acme tools", "MCPProtocolVersion": "2025-06-18",
            "MCPEvidence": ["path", "response_body", "endpoint_event"]})
    );
    for (path, request) in [
        ("/ticker", with(get("http://site.test/ticker"), "accept", "text/event-stream")),
        ("/rpc", json_post("http://site.test/rpc", ETHEREUM)),
        ("/page", get("http://site.test/page")),
    ] {
        stand.send(request).await;
        let record = stand.http_record(&format!("http://site.test{path}")).await;
        assert_eq!(mcp_fields(&record), json!({}), "{path}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_is_recorded_as_what_it_was() {
    use tokio::io::AsyncWriteExt;

    let arrived = Arc::new(tokio::sync::Notify::new());
    let arriving = Arc::clone(&arrived);
    let never = move || {
        let arriving = Arc::clone(&arriving);
        async move {
            arriving.notify_one();
            std::future::pending::<()>().await;
        }
    };
    let origin = Origin::start(Router::new().fallback(any(never)), None).await.unwrap();
    let stand = Stand::start(Setup { names: vec![("site.test", origin.address)], ..Setup::default() }).await;
    let mut stream = stand.dial().await;
    let head = "GET http://site.test/mcp HTTP/1.1\r\nHost: site.test\r\nMcp-Session-Id: 1\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    arrived.notified().await;
    drop(stream);
    let record = stand.http_record("http://site.test/mcp").await;
    assert_eq!(record["MCPEvidence"], json!(["session_header", "path"]));
}

fn mcp_fields(record: &Value) -> Value {
    let fields = record.as_object().unwrap().iter().filter(|(name, _)| name.contains("MCP"));
    Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
}

#[tokio::test]
async fn a_payload_is_recorded_masked_where_the_rule_says_so() {
    let masked = json!([{"method": "tools/call", "name": "send", "arguments": {"to": "(e-mail, 13)"}}]);
    for (action, traffic) in [
        ("allow", "experimental.is_mcp"),
        ("block", "experimental.is_mcp"),
        // Nobody waits for this body; it is looked at as it passes.
        ("allow", "http.request.host == \"site.test\""),
    ] {
        let rules = vec![rule_with("note it", action, traffic, json!({ "payload_log": { "enabled": true } }))];
        let (stand, _origin, _) = stand(rules).await;
        stand.send(json_post("http://site.test/mcp", call("send"))).await;
        let record = stand.http_record("http://site.test/mcp").await;
        assert_eq!(record["MCPPayload"], masked, "{action} {traffic}");
        assert!(!record.to_string().contains("ana@acme.test"));
    }
    let (stand, _origin, _) = stand(vec![rule("allowed", "allow", "experimental.is_mcp")]).await;
    stand.send(json_post("http://site.test/mcp", call("send"))).await;
    assert_eq!(stand.http_record("http://site.test/mcp").await.get("MCPPayload"), None);
}

#[tokio::test]
async fn a_body_streams_on_unless_a_rule_hangs_on_it() {
    let arrived = Arc::new(tokio::sync::Notify::new());
    let arriving = Arc::clone(&arrived);
    let reads = move |request: Asked| {
        let arriving = Arc::clone(&arriving);
        async move {
            let mut body = request.into_body();
            let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
            arriving.notify_one();
            let rest = body.collect().await.unwrap().to_bytes();
            format!("{} and {}", first.len(), rest.len())
        }
    };
    let origin = Origin::start(Router::new().fallback(any(reads)), None).await.unwrap();
    let rules = vec![rule("elsewhere", "block", "http.request.host == \"other.test\" and experimental.is_mcp")];
    let stand = Stand::start(Setup { names: vec![("site.test", origin.address)], rules, ..Setup::default() }).await;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stand.dial().await)).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let (frames, receiver) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(1);
    let body =
        futures_util::stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
    let request = Request::builder()
        .method(Method::POST)
        .uri("http://site.test/")
        .header("host", "site.test")
        .header("content-type", "application/json")
        .body(StreamBody::new(Box::pin(body)))
        .unwrap();
    let mut answers = JoinSet::new();
    answers.spawn(async move {
        sender.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes()
    });
    frames.send(Ok(Frame::data(Bytes::from_static(b"{\"jsonrpc\":\"2.0\",\"id\":1,")))).await.unwrap();
    // The origin has the first bytes while the rest is not even written.
    arrived.notified().await;
    frames.send(Ok(Frame::data(Bytes::from_static(b"\"method\":\"tools/list\"}")))).await.unwrap();
    drop(frames);
    assert_eq!(answers.join_next().await.unwrap().unwrap(), "24 and 22");
    let record = stand.record(Dataset::GatewayHttp, |record| record["IsMCP"] == true).await;
    assert_eq!(record["MCPMethod"], "tools/list");
}
