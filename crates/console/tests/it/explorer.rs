//! The log explorer: who may ask about what, in which shape the answer comes, and the record of the question.

use axum::body::Body;
use axum::http::{Method, header};
use console::operations::questions::QUESTIONS;
use logs::GatewayHttp;
use serde_json::json;
use store::Permission;
use uuid::Uuid;

use crate::harness::Console;

const COUNTS: &str = "SELECT HTTPHost, COUNT(*) AS n FROM gateway_http GROUP BY HTTPHost ORDER BY n DESC";

pub(crate) async fn recorded(console: &Console) {
    for (host, number) in [("a.example", 3), ("b.example", 1)] {
        for _ in 0..number {
            let record = GatewayHttp {
                id: Uuid::now_v7(),
                datetime: "2026-01-02T03:04:05Z".parse().unwrap(),
                account_id: console.account.to_string(),
                action: "allow".to_owned(),
                http_host: host.to_owned(),
                url: format!("https://{host}/<script>"),
                ..GatewayHttp::default()
            };
            console.logs.append(record).await.unwrap();
        }
    }
    console.logs.flush().await.unwrap();
}

async fn text(console: &Console, method: Method, path: &str, body: &'static str) -> crate::harness::Answer {
    let request = console.request(method, &console.path(path)).header(header::CONTENT_TYPE, "text/plain");
    console.send(request.body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn a_query_is_answered_in_the_vendors_shape_and_in_ours() {
    let console = Console::new().await;
    recorded(&console).await;
    let expected = json!([{"httphost": "a.example", "n": 3}, {"httphost": "b.example", "n": 1}]);
    let posted = text(&console, Method::POST, "logs/explorer/query/sql", COUNTS).await;
    assert_eq!(posted.result(), expected);
    let encoded = COUNTS.replace(' ', "%20").replace('*', "%2A");
    let asked = console.get(&format!("logs/explorer/query/sql?query={encoded}")).await;
    assert_eq!(asked.result(), expected);

    let ours = console.post("logs/explorer/query", json!({ "query": COUNTS })).await.result();
    assert_eq!(ours["columns"][0], json!({"name": "HTTPHost", "type": "string"}));
    assert_eq!(ours["rows"][0], json!({"HTTPHost": "a.example", "n": 3}));
    assert_eq!((&ours["truncated"], &ours["rows_read"]), (&json!(false), &json!(4)));
    assert!(ours["plan"].as_str().unwrap().contains("Aggregate"));

    let csv = console.post("logs/explorer/query?format=csv", json!({ "query": COUNTS })).await;
    assert_eq!(csv.bytes, b"HTTPHost,n\r\na.example,3\r\nb.example,1\r\n");
    console.post("logs/explorer/query?format=xlsx", json!({ "query": COUNTS })).await.error(400);
    let unknown = console.post("logs/explorer/query", json!({"query": "SELECT hots FROM gateway_http"})).await;
    assert!(unknown.error(400).1.contains("hots"));
    console.post("logs/explorer/query", json!({"query": "DROP TABLE gateway_http"})).await.error(400);
    console.post("logs/explorer/query", json!({"sql": COUNTS})).await.error(400);

    let asked = console.audit().await.into_iter().filter(|record| record["ActionType"] == "query").count();
    assert_eq!(asked, 6, "each query that could be read is in the audit log");
}

#[tokio::test]
async fn a_dataset_that_one_may_not_read_is_no_table() {
    let mut console = Console::new().await;
    recorded(&console).await;
    for (permission, may, may_not) in
        [(Permission::LogsRead, "gateway_http", "audit"), (Permission::AuditRead, "audit", "gateway_http")]
    {
        console.token = console.issue(&[permission]).await;
        let query = |dataset: &str| json!({ "query": format!("SELECT COUNT(*) AS n FROM {dataset}") });
        console.post("logs/explorer/query", query(may)).await.result();
        assert!(console.post("logs/explorer/query", query(may_not)).await.error(400).1.contains(may_not));
        let listed = console.get("logs/explorer/datasets").await.result();
        let named: Vec<_> = listed.as_array().unwrap().iter().map(|one| one["dataset"].as_str().unwrap()).collect();
        assert!(named.contains(&may) && !named.contains(&may_not), "{named:?}");
    }
    console.token = console.issue(&[Permission::GatewayRead]).await;
    console.post("logs/explorer/query", json!({ "query": COUNTS })).await.error(403);
    console.post("portunus/logs/explorer/stream", json!({ "query": COUNTS })).await.error(403);
    console.get("logs/explorer/datasets").await.error(403);
}

#[tokio::test]
async fn a_stream_ends_with_the_answer_or_with_what_is_wrong() {
    let console = Console::new().await;
    recorded(&console).await;
    for (query, event, says) in
        [(COUNTS, "event: answer", "a.example"), ("SELECT", "event: error", "expected: an expression")]
    {
        let answer = console.post("portunus/logs/explorer/stream", json!({ "query": query })).await;
        let text = String::from_utf8(answer.bytes.to_vec()).unwrap();
        let last = text.trim_end().rsplit("\n\n").next().unwrap();
        assert!(last.contains(event) && last.to_lowercase().contains(says), "{text}");
    }
}

/// Every question that the console offers, over an empty log and over one with something in it.
#[tokio::test]
async fn questions_ready_to_ask_run_as_they_stand() {
    let console = Console::new().await;
    for round in 0..2 {
        for question in QUESTIONS {
            let answer = console.post("logs/explorer/query", json!({ "query": question.sql })).await;
            assert_eq!(answer.status, 200, "{round} {}: {:?}", question.name, answer.bytes);
        }
        recorded(&console).await;
    }
}
