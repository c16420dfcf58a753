//! Records, live views, status, health and the public files.

use axum::body::Body;
use axum::http::{Request, header};
use http_body_util::BodyExt as _;
use logs::GatewayHttp;
use serde_json::json;
use store::Permission;
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::harness::Console;

fn record(console: &Console, host: &str, action: &str, status: u16) -> GatewayHttp {
    GatewayHttp {
        id: Uuid::now_v7(),
        datetime: "2026-01-02T03:04:05Z".parse().unwrap(),
        account_id: console.account.to_string(),
        action: action.to_owned(),
        http_host: host.to_owned(),
        http_status_code: status,
        ..GatewayHttp::default()
    }
}

#[tokio::test]
async fn records_are_paged_filtered_and_opened() {
    let console = Console::new().await;
    for (host, action, status) in
        [("a.example", "allow", 200), ("b.example", "block", 403), ("a.example", "block", 403)]
    {
        console.logs.append(record(&console, host, action, status)).await.unwrap();
    }
    console.logs.flush().await.unwrap();
    let first = console.get("portunus/logs/gateway_http?limit=2").await.json();
    assert_eq!(first["result"].as_array().unwrap().len(), 2);
    let cursor = first["result_info"]["cursor"].as_str().unwrap();
    let second = console.get(&format!("portunus/logs/gateway_http?limit=2&before={cursor}")).await.json();
    assert_eq!(second["result"][0]["Action"], "allow");
    for (query, count) in [
        ("Action=block", 2),
        ("Action=block&HTTPHost=a.example", 1),
        ("HTTPStatusCode%3E=399", 2),
        ("HTTPHost~=B.EXAMPLE", 1),
        ("Action!=block", 1),
        ("since=2026-01-02T03:04:06Z", 0),
    ] {
        let found = console.get(&format!("portunus/logs/gateway_http?{query}")).await.result();
        assert_eq!(found.as_array().unwrap().len(), count, "{query}");
    }
    let id = first["result"][0]["RequestID"].as_str().unwrap();
    let opened = console.get(&format!("portunus/logs/gateway_http/records/{id}")).await.result();
    assert_eq!(opened["HTTPHost"], "a.example");
    console.get("portunus/logs/gateway_http?Akshun=block").await.error(400);
    console.get("portunus/logs/gateway_http?limit=0").await.error(400);
    console.get("portunus/logs/gateway_smtp").await.error(404);
    let minutes = console.get("portunus/logs/gateway_http/minutes").await.result();
    assert_eq!(minutes[0]["by_word"], json!({"allow": 1, "block": 2}));
    let fields = console.get("portunus/logs/audit/fields").await.result();
    assert!(fields.as_array().unwrap().iter().any(|field| field["name"] == "ActorEmail"));
}

#[tokio::test]
async fn traffic_and_audit_need_permissions_of_their_own() {
    let mut console = Console::new().await;
    console.token = console.issue(&[Permission::LogsRead]).await;
    console.get("portunus/logs/gateway_http").await.result();
    for path in
        ["portunus/logs/audit", "portunus/logs/audit/tail", "portunus/logs/audit/minutes", "portunus/logs/audit/fields"]
    {
        assert!(console.get(path).await.error(403).1.contains("audit:read"), "{path}");
    }
    console.token = console.issue(&[Permission::AuditRead]).await;
    console.get("portunus/logs/audit").await.result();
    for path in ["portunus/logs/gateway_http", "portunus/logs/worker/tail", "portunus/logs/gateway_network/minutes"] {
        assert!(console.get(path).await.error(403).1.contains("logs:read"), "{path}");
    }
}

#[tokio::test]
async fn a_live_view_sends_what_is_recorded_and_their_number_is_bounded() {
    let limits = console::Limits { live_views: 1, ..console::Limits::default() };
    let console = Console::with(limits, false).await;
    let request = || {
        let request = console.request(axum::http::Method::GET, &console.path("portunus/logs/gateway_http/tail"));
        request.header(header::HOST, "localhost").body(Body::empty()).unwrap()
    };
    let response = console.router.clone().oneshot(request()).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    console.send(request()).await.error(429);
    console.logs.append(record(&console, "live.example", "allow", 200)).await.unwrap();
    let mut body = response.into_body();
    let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let text = String::from_utf8(frame.to_vec()).unwrap();
    assert!(text.contains("event: record") && text.contains("live.example"), "{text}");
    drop(body);
    let again = console.router.clone().oneshot(request()).await.unwrap();
    assert_eq!(again.status(), 200);
}

#[tokio::test]
async fn health_readiness_types_and_metrics_are_where_they_are_expected() {
    let console = Console::new().await;
    let get = |path: &str| console.send(Request::builder().uri(path).body(Body::empty()).unwrap());
    assert_eq!(get("/healthz").await.bytes, b"ok\n");
    assert_eq!(get("/readyz").await.bytes, b"ready\n");
    assert_eq!(get("/portunus.d.ts").await.status, 200);
    // From 192.0.2.1 a credential is needed, from loopback none.
    get("/metrics").await.error(401);
    let mut local = Request::builder().uri("/metrics").body(Body::empty()).unwrap();
    local.extensions_mut().insert(axum::extract::ConnectInfo(std::net::SocketAddr::from(([127, 0, 0, 1], 1))));
    assert_eq!(console.send(local).await.bytes, b"# EOF\n");
    let status = console.get("portunus/status").await.result();
    assert_eq!((status["snapshot"]["revision"].clone(), status["store"].clone()), (json!(7), json!("sqlite")));
    assert!(status["store_error"].is_null());
}

#[tokio::test]
async fn without_the_store_the_api_says_so_and_asks_to_come_back() {
    let console = Console::new().await;
    console.store.close().await;
    let answer = console.get("gateway/rules").await;
    answer.error(503);
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
}
