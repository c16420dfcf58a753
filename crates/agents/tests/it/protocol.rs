//! Both eras of the protocol, at both ends.

use std::sync::Arc;

use http::StatusCode;
use net::proxy::body::{empty_body, full_body};
use serde_json::{Value, json};

use crate::server::{Era, Server};
use crate::support::{Client, messages, next_event, person, plane};

#[tokio::test]
async fn lists_of_several_servers_come_as_one_and_every_page_of_a_server_is_in() {
    let (one, two) = (Server::start("one", Era::Sessions).await, Server::start("two", Era::Stateless).await);
    let plane = plane(&[("one", &one), ("two", &two)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one", "two"]).begin(json!({})).await;
    let tools = client.names("tools/list").await;
    for name in ["one_echo", "one_count", "one_ask", "two_echo", "two_stop", "portal_list_servers"] {
        assert!(tools.iter().any(|tool| tool == name), "{name} in {tools:?}");
    }
    assert_eq!(client.names("prompts/list").await, ["one_greet"]);
    assert_eq!(client.names("resources/list").await, ["mcp-server:one/demo://a", "mcp-server:two/demo://a"]);
    let templates = client.names("resources/templates/list").await;
    assert_eq!(templates, ["mcp-server:one/demo://t/{id}", "mcp-server:two/demo://t/{id}"]);
    let (_, wrong) = client.ask("tools/list", json!({"cursor": "zzz"})).await;
    assert_eq!(wrong["error"]["code"], -32_602);
}

#[tokio::test]
async fn clients_and_servers_of_either_era_understand_each_other() {
    let (one, two) = (Server::start("one", Era::Sessions).await, Server::start("two", Era::Stateless).await);
    let plane = plane(&[("one", &one), ("two", &two)], json!({}), json!([])).await;
    let sessions = Client::new(&plane, person(1), &["one", "two"]).begin(json!({})).await;
    let stateless = Client::new(&plane, person(1), &["one", "two"]);
    for server in ["one", "two"] {
        let tool = format!("{server}_echo");
        let answer = sessions.call(&tool, json!({"a": 1})).await;
        assert_eq!(answer["result"]["content"][0]["text"], "{\"a\":1}", "{answer}");
        let response = stateless.ask_stateless("tools/call", json!({"name": tool, "arguments": {"b": 2}})).await;
        assert_eq!(response.status(), 200);
        let answer = messages(response).await.remove(0);
        assert_eq!(answer["result"]["content"][0]["text"], "{\"b\":2}", "{answer}");
        assert_eq!(answer["result"]["resultType"], "complete");
    }
    // The server that has sessions was begun with once by each client, the other never.
    assert_eq!((one.seen("initialize").len(), two.seen("initialize").len()), (1 + 2, 0));
    let discovered = messages(stateless.ask_stateless("server/discover", json!({})).await).await.remove(0);
    assert_eq!(discovered["result"]["supportedVersions"].as_array().unwrap().len(), 5);
    let unknown = stateless.ask_stateless("tools/nothing", json!({})).await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_stateless_request_whose_head_says_something_else_than_its_body_is_refused() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one"]);
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let message =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "one_echo", "_meta": meta}});
    for (name, code) in [("one_count", -32_020), ("one_echo", 0)] {
        let more = [
            ("mcp-protocol-version", "2026-07-28".to_owned()),
            ("mcp-method", "tools/call".to_owned()),
            ("mcp-name", name.to_owned()),
        ];
        let response = client.send("POST", full_body(message.to_string()), &more).await;
        assert_eq!(response.status() == 200, code == 0, "{name}");
        let answer = messages(response).await.remove(0);
        assert_eq!(answer["error"]["code"].as_i64().unwrap_or_default(), code, "{answer}");
    }
    assert_eq!(one.seen("tools/call").len(), 1);
}

#[tokio::test]
async fn a_session_is_its_callers_and_ends_when_they_say_so() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one"]).begin(json!({})).await;
    client.call("one_echo", json!({})).await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let mut thief = client.clone();
    thief.visitor = agents::visit::Visitor::Person(Arc::new(person(2)));
    assert_eq!(thief.post(&ping).await.status(), StatusCode::NOT_FOUND);
    let mut lost = client.clone();
    lost.headers.remove(0);
    assert_eq!(lost.post(&ping).await.status(), StatusCode::BAD_REQUEST);
    let mut confused = client.clone();
    confused.headers[1].1 = "2025-06-18".to_owned();
    assert_eq!(confused.post(&ping).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(client.post(&ping).await.status(), StatusCode::OK);
    assert_eq!(client.send("DELETE", empty_body(), &[]).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(client.post(&ping).await.status(), StatusCode::NOT_FOUND);
    for _ in 0..500 {
        if one.inner.sessions.lock().is_empty() {
            return;
        }
        tokio::task::yield_now().await;
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the session at the server was not ended");
}

#[tokio::test]
async fn a_server_that_forgot_the_session_is_begun_with_again() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one"]).begin(json!({})).await;
    client.call("one_echo", json!({})).await;
    one.forget();
    let answer = client.call("one_echo", json!({"again": true})).await;
    assert_eq!(answer["result"]["content"][0]["text"], "{\"again\":true}");
}

#[tokio::test]
async fn what_a_server_says_unasked_reaches_the_client_that_listens() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one"]).begin(json!({})).await;
    let (_, subscribed) = client.ask("resources/subscribe", json!({"uri": "mcp-server:one/demo://a"})).await;
    assert_eq!(subscribed["result"], json!({}));
    assert_eq!(one.seen("resources/subscribe")[0]["params"]["uri"], "demo://a");
    let mut stream = client.listen().await.into_body();
    let event = next_event(&mut stream).await;
    assert_eq!(event["method"], "notifications/resources/updated");
    assert_eq!(event["params"]["uri"], "mcp-server:one/demo://a");
    // The portal itself has something to say when its configuration changes.
    plane.agents.follow();
    let changed: Vec<Value> = vec![next_event(&mut stream).await, next_event(&mut stream).await];
    assert_eq!(changed[0]["method"], "notifications/tools/list_changed");
    assert_eq!(changed[1]["method"], "notifications/prompts/list_changed");
}

#[tokio::test]
async fn batches_are_answered_in_the_one_version_that_has_them() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), json!([])).await;
    let mut client = Client::new(&plane, person(1), &["one"]);
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "ping"},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "one_count", "arguments": {}}},
    ]);
    for (version, answers) in [("2025-03-26", true), ("2025-06-18", false)] {
        let params =
            json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "old", "version": "1"}});
        client.headers.clear();
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let response = client.post(&hello).await;
        let session = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        client.headers = vec![("mcp-session-id", session)];
        let response = client.post(&batch).await;
        assert_eq!(response.status() == 200, answers, "{version}");
        if answers {
            let found = messages(response).await.remove(0);
            assert_eq!(found[0]["result"], json!({}));
            assert_eq!(found[1]["result"]["content"][0]["text"], "counted");
        }
    }
}

#[tokio::test]
async fn what_is_no_message_is_told_why() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one"]).begin(json!({})).await;
    for (body, status, code) in [
        ("{", StatusCode::BAD_REQUEST, -32_700),
        ("{\"jsonrpc\":\"1.0\"}", StatusCode::BAD_REQUEST, -32_600),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"method\":\"tools/list\"}",
            StatusCode::BAD_REQUEST,
            -32_600,
        ),
    ] {
        let response = client.send("POST", full_body(body), &[]).await;
        assert_eq!(response.status(), status, "{body}");
        assert_eq!(messages(response).await[0]["error"]["code"], code, "{body}");
    }
    let huge = "x".repeat((4 << 20) + 1);
    assert_eq!(client.send("POST", full_body(huge), &[]).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(client.send("PUT", empty_body(), &[]).await.status(), StatusCode::METHOD_NOT_ALLOWED);
}
