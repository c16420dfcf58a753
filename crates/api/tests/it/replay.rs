//! Replaying recorded traffic through the API.

use axum::body::Body;
use axum::http::{Method, header};
use jiff::SignedDuration;
use logs::{GatewayHttp, GatewayNetwork};
use serde_json::{Value, json};
use store::Permission;
use uuid::Uuid;

use crate::harness::Console;

const REPLAY: &str = "gateway/rules/replay";

/// A request that was allowed some minutes ago.
fn request(console: &Console, host: &str, person: &str, minutes: i64) -> GatewayHttp {
    GatewayHttp {
        id: Uuid::now_v7(),
        datetime: console.store.now().checked_sub(SignedDuration::from_mins(minutes)).unwrap(),
        account_id: console.account.to_string(),
        action: "allow".to_owned(),
        http_host: host.to_owned(),
        url: format!("https://{host}/a?b=1"),
        http_method: "GET".to_owned(),
        http_version: "HTTP/2".to_owned(),
        source_ip: "192.0.2.1".to_owned(),
        source_port: 4711,
        destination_port: 443,
        email: person.to_owned(),
        user_id: person.to_owned(),
        ja4: "t13d".to_owned(),
        http_status_code: 200,
        ..GatewayHttp::default()
    }
}

/// Twelve requests of two people to two hosts over two hours, and a connection that was not read.
async fn traffic(console: &Console) {
    for minutes in (0..12).rev().map(|ten| ten * 10) {
        let (host, person) =
            if minutes % 20 == 0 { ("a.example", "ann@corp.example") } else { ("b.example", "bob@corp.example") };
        console.logs.append(request(console, host, person, minutes + 1)).await.unwrap();
    }
    let connection = GatewayNetwork {
        id: Uuid::now_v7(),
        datetime: console.store.now().checked_sub(SignedDuration::from_mins(5)).unwrap(),
        account_id: console.account.to_string(),
        action: "allow".to_owned(),
        destination_host: "ssh.example".to_owned(),
        destination_port: 22,
        source_ip: "192.0.2.1".to_owned(),
        ..GatewayNetwork::default()
    };
    console.logs.append(connection).await.unwrap();
    console.logs.flush().await.unwrap();
}

fn block(traffic: &str) -> Value {
    json!({"name": "draft", "action": "block", "filters": ["http"], "traffic": traffic})
}

#[tokio::test]
async fn a_draft_is_held_against_the_period_and_nothing_is_stored() {
    let console = Console::new().await;
    traffic(&console).await;
    let draft = block("http.request.host == \"a.example\"");
    let all = console.post(REPLAY, json!({"rule": draft, "since": "1d"})).await.result();
    assert_eq!(all["complete"], true);
    assert_eq!(all["records"]["scanned"], 13);
    assert_eq!(all["records"]["changed"], 6);
    assert_eq!(all["records"]["unchanged"], 7);
    assert_eq!(all["people"]["top"], json!([{"name": "ann@corp.example", "records": 6}]));
    assert_eq!(all["hosts"]["top"], json!([{"name": "a.example", "records": 6}]));
    assert_eq!(all["transitions"][0]["to"]["rule_name"], "draft");
    assert_eq!(all["in_force"]["differs"], 0);
    // The newest hour, and what came before it.
    let newest = console.post(REPLAY, json!({"rule": draft, "since": "60m"})).await.result();
    assert_eq!(newest["records"]["changed"], 3);
    let older = console.post(REPLAY, json!({"rule": draft, "since": "1d", "until": "60m"})).await.result();
    assert_eq!(older["records"]["changed"], 3);
    assert_eq!(console.get("gateway/rules").await.result(), json!([]));
    // An example is a record that can be opened.
    let example = &all["transitions"][0]["examples"][0];
    let path = format!("portunus/logs/gateway_http/records/{}", example["id"].as_str().unwrap());
    assert_eq!(console.get(&path).await.result()["HTTPHost"], "a.example");
    let audit = console.audit().await;
    let replayed: Vec<_> = audit.iter().filter(|record| record["ActionType"] == "replay").collect();
    assert_eq!(replayed.len(), 3);
    assert_eq!(replayed[2]["NewValue"]["draft"]["rule"], "draft");
}

#[tokio::test]
async fn a_bound_makes_a_part_that_says_so() {
    let console = Console::new().await;
    traffic(&console).await;
    let part = console.post(REPLAY, json!({"rule": block(""), "since": "1d", "limit": 4})).await.result();
    assert_eq!((&part["complete"], &part["stopped_by"]), (&json!(false), &json!("limit")));
    assert_eq!(part["records"]["scanned"], 4);
    // What was looked at is the newest, of both kinds.
    let reached: jiff::Timestamp = part["reached"].as_str().unwrap().parse().unwrap();
    assert!(console.store.now().duration_since(reached) < SignedDuration::from_mins(40), "{part:#}");
}

#[tokio::test]
async fn a_stored_rule_is_replayed_without_it_and_a_set_in_place_of_all() {
    let console = Console::new().await;
    traffic(&console).await;
    let rule = console.post("gateway/rules", block("http.request.host == \"b.example\"")).await.result();
    let id = rule["id"].as_str().unwrap();
    for action in ["disable", "delete"] {
        let change = json!({"change": {"rule_id": id, "action": action}, "since": "1d"});
        let found = console.post(REPLAY, change).await.result();
        assert_eq!(found["records"]["changed"], 6, "{action}");
        assert_eq!(found["transitions"][0]["from"]["rule_id"], id);
        assert_eq!(found["transitions"][0]["to"]["action"], "allow");
        // It was not there at the time.
        assert_eq!(found["in_force"]["differs"], 6);
    }
    let enabled = json!({"change": {"rule_id": id, "action": "enable"}, "since": "1d"});
    assert_eq!(console.post(REPLAY, enabled).await.result()["records"]["changed"], 0);
    let set = json!({"rules": [
        {"name": "ann may", "action": "allow", "filters": ["http"], "identity": "identity.email == \"ann@corp.example\""},
        {"name": "nobody else", "action": "block", "filters": ["http"]},
        {"name": "no ssh", "action": "block", "filters": ["l4"], "traffic": "net.dst.port == 22"},
    ], "since": "1d"});
    let found = console.post(REPLAY, set).await.result();
    // Bob is blocked either way.
    assert_eq!(found["records"]["changed"], 1);
    assert_eq!(found["transitions"][0]["examples"][0]["dataset"], "gateway_network");
    // A draft in place of a stored rule, by its id; as disabled as it is, the question is what it would do.
    let mut other = block("http.request.host == \"a.example\"");
    other["id"] = json!(id);
    other["enabled"] = json!(false);
    let found = console.post(REPLAY, json!({"rule": other, "since": "1d"})).await.result();
    assert_eq!(found["records"]["changed"], 12);
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_with_its_place() {
    let console = Console::new().await;
    let unknown = "01302951-49f9-47c9-a400-0297e60b6a10";
    for (body, status, pointer) in [
        (json!({}), 400, ""),
        (json!({"rule": block(""), "rules": []}), 400, ""),
        (json!({"rule": {"name": "x"}}), 400, "/rule/action"),
        (json!({"rule": block("http.request.hots == \"a\"")}), 400, "/rule/traffic"),
        (json!({"rules": [block(""), block("nonsense")]}), 400, "/rules/1/traffic"),
        (json!({"rule": block(""), "since": "yesterday"}), 400, "/since"),
        (json!({"rule": block(""), "since": "1h", "until": "2h"}), 400, "/since"),
        (json!({"rule": block(""), "limit": 0}), 400, "/limit"),
        (json!({"rule": block(""), "seconds": 100_000}), 400, "/seconds"),
        (json!({"rule": block(""), "sinse": "1d"}), 400, "/sinse"),
        (json!({"change": {"rule_id": unknown, "action": "disable"}}), 404, ""),
        (json!({"change": {"rule_id": unknown, "action": "explode"}}), 400, "/change/action"),
    ] {
        assert_eq!(console.post(REPLAY, body.clone()).await.error(status).0, pointer, "{body}");
    }
}

#[tokio::test]
async fn it_needs_to_read_rules_and_logs() {
    let mut console = Console::new().await;
    for (permission, missing) in [(Permission::GatewayRead, "logs:read"), (Permission::LogsRead, "gateway:read")] {
        console.token = console.issue(&[permission]).await;
        assert!(console.post(REPLAY, json!({"rule": block("")})).await.error(403).1.contains(missing));
    }
    console.token = console.issue(&[Permission::GatewayRead, Permission::LogsRead]).await;
    console.post(REPLAY, json!({"rule": block("")})).await.result();
}

#[tokio::test]
async fn a_caller_who_follows_is_told_of_the_progress() {
    let console = Console::new().await;
    traffic(&console).await;
    let request = console
        .request(Method::POST, &console.path(REPLAY))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "text/event-stream")
        .body(Body::from(json!({"rule": block(""), "since": "1d"}).to_string()));
    let answer = console.send(request.unwrap()).await;
    assert_eq!(answer.headers[header::CONTENT_TYPE], "text/event-stream");
    let text = String::from_utf8(answer.bytes).unwrap();
    let events: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!((events.first(), events.last()), (Some(&"progress"), Some(&"result")));
    let result = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap();
    let result: Value = serde_json::from_str(result).unwrap();
    assert_eq!(result["records"]["changed"], 13);
}
