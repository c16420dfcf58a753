//! Streams that break off, and what is watched at servers.

use http::StatusCode;
use net::proxy::body::empty_body;
use serde_json::{Value, json};

use crate::server::{Era, Server};
use crate::support::{Client, next_event, next_raw, person, plane, until};

fn call(tool: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": tool, "arguments": {}, "_meta": {"progressToken": 1}}})
}

fn id_of(event: &str) -> String {
    event.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned()
}

#[tokio::test]
async fn a_request_outlives_its_connection_and_its_answer_is_on_its_own_stream() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one"]).begin(json!({"elicitation": {}})).await;
    let mut stream = client.post(&call("one_ask")).await.into_body();
    let primed = next_raw(&mut stream).await.unwrap();
    assert!(primed.ends_with("data: \n\n"), "the first event has an id and says nothing: {primed:?}");
    let question = next_event(&mut stream).await;
    drop(stream);
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept"}});
    assert_eq!(client.post(&answer).await.status(), StatusCode::ACCEPTED);
    let again = [("accept", "text/event-stream".to_owned()), ("last-event-id", id_of(&primed))];
    let mut resumed = client.send("GET", empty_body(), &again).await.into_body();
    assert_eq!(next_event(&mut resumed).await, question, "what was lost is sent again");
    let last = next_event(&mut resumed).await;
    assert_eq!(last["result"]["content"][0]["text"], "{\"action\":\"accept\"}");
    assert_eq!(next_raw(&mut resumed).await, None, "nothing of other streams follows");
    // Nobody else can go on with it, and nobody with what there never was.
    let other = Client::new(&plane, person(2), &["one"]).begin(json!({})).await;
    assert_eq!(other.send("GET", empty_body(), &again).await.status(), StatusCode::BAD_REQUEST);
    for wrong in ["77-1", "0-5", "x"] {
        let again = [("accept", "text/event-stream".to_owned()), ("last-event-id", wrong.to_owned())];
        assert_eq!(client.send("GET", empty_body(), &again).await.status(), StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test]
async fn a_server_that_lets_itself_be_polled_is_polled_and_so_does_the_client() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one"]).begin(json!({})).await;
    let mut stream = client.post(&call("one_poll")).await.into_body();
    let mut last = String::new();
    while let Some(event) = next_raw(&mut stream).await {
        last = event;
    }
    assert!(last.contains("retry: 20\n"), "{last:?}");
    let again = [("accept", "text/event-stream".to_owned()), ("last-event-id", id_of(&last))];
    let mut resumed = client.send("GET", empty_body(), &again).await.into_body();
    assert_eq!(next_event(&mut resumed).await["result"]["content"][0]["text"], "polled");
    // Versions before know of no polling: their stream stays open.
    let older = Client::new(&plane, person(1), &["one"]).begin_with("2025-06-18", json!({})).await;
    assert_eq!(older.call("one_poll", json!({})).await["result"]["content"][0]["text"], "polled");
}

#[tokio::test]
async fn a_slow_answer_in_one_piece_can_be_come_back_for_too() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one"]).begin(json!({})).await;
    let mut stream = client.post(&call("one_slow")).await.into_body();
    let primed = next_raw(&mut stream).await.unwrap();
    drop(stream);
    one.inner.watching.lock().pop().unwrap().send(json!({})).unwrap();
    let again = [("accept", "text/event-stream".to_owned()), ("last-event-id", id_of(&primed))];
    let mut resumed = client.send("GET", empty_body(), &again).await.into_body();
    assert_eq!(next_event(&mut resumed).await["result"]["content"][0]["text"], "at last");
}

#[tokio::test]
async fn a_client_without_a_session_cancels_by_leaving_and_one_with_does_not() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one"]).begin(json!({})).await;
    drop(client.post(&call("one_hang")).await);
    let stateless = Client::new(&plane, person(1), &["one"]);
    drop(stateless.ask_stateless("tools/call", json!({"name": "one_hang", "arguments": {}})).await);
    one.inner.cancelled.notified().await;
    let told = one.seen("notifications/cancelled");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["params"]["requestId"], one.seen("tools/call")[1]["id"]);
    // A session that ends takes everything with it.
    client.send("DELETE", empty_body(), &[]).await;
    until("the end of the session", || one.inner.sessions.lock().len() == 1).await;
    until("the record", || plane.records.0.lock().iter().filter(|record| record.tool.is_some()).count() == 2).await;
}

#[tokio::test]
async fn resources_are_watched_in_all_four_pairs_of_generations() {
    let (one, two) = (Server::start("one", Era::Sessions).await, Server::start("two", Era::Stateless).await);
    let plane = plane(&[("one", &one), ("two", &two)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one", "two"]).begin(json!({})).await;
    let uris = ["mcp-server:one/demo://a", "mcp-server:two/demo://a"];
    for uri in uris {
        let (_, answer) = client.ask("resources/subscribe", json!({"uri": uri})).await;
        assert_eq!(answer["result"], json!({}), "{answer}");
    }
    let updated = json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "demo://a", "_meta": {"io.modelcontextprotocol/subscriptionId": 1}}});
    until("the watch", || !two.inner.watching.lock().is_empty()).await;
    two.inner.watching.lock().last().unwrap().send(updated.clone()).unwrap();
    let mut stream = client.listen().await.into_body();
    let mut heard: Vec<Value> = vec![next_event(&mut stream).await, next_event(&mut stream).await];
    heard.sort_by_key(ToString::to_string);
    let found: Vec<_> = heard.iter().map(|event| &event["params"]).collect();
    assert_eq!(found, [&json!({"uri": uris[0]}), &json!({"uri": uris[1]})]);

    let stateless = Client::new(&plane, person(2), &["one", "two"]);
    let filter = json!({"notifications": {"resourceSubscriptions": [uris[0], uris[1], "mcp-server:none/x"], "toolsListChanged": true}});
    let mut stream = stateless.ask_stateless("subscriptions/listen", filter).await.into_body();
    let acknowledged = next_event(&mut stream).await;
    assert_eq!(
        acknowledged["params"]["notifications"],
        json!({"resourceSubscriptions": uris, "toolsListChanged": true}),
        "what cannot be watched is not promised"
    );
    until("the second watch", || two.inner.watching.lock().len() == 2).await;
    two.inner.watching.lock().last().unwrap().send(updated).unwrap();
    let mut heard: Vec<Value> = vec![next_event(&mut stream).await, next_event(&mut stream).await];
    heard.sort_by_key(ToString::to_string);
    for (event, uri) in heard.iter().zip(uris) {
        assert_eq!(event["params"]["uri"], uri);
        assert_eq!(
            event["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
            acknowledged["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"]
        );
    }
    drop(stream);
    until("letting go", || !one.seen("resources/unsubscribe").is_empty()).await;
}

#[tokio::test]
async fn a_server_that_says_its_tools_changed_is_asked_again_and_clients_hear_of_it_then() {
    let two = Server::start("two", Era::Stateless).await;
    let plane = plane(&[("two", &two)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["two"]).begin(json!({})).await;
    client.ask("resources/subscribe", json!({"uri": "mcp-server:two/demo://a"})).await;
    until("the watch", || !two.inner.watching.lock().is_empty()).await;
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    two.inner.watching.lock()[0].send(changed).unwrap();
    until("the word of it", || *plane.changes.0.lock() == ["two"]).await;
    // What is shown did not change yet, so nobody was told.
    plane.agents.follow();
    let mut stream = client.listen().await.into_body();
    assert_eq!(next_event(&mut stream).await["method"], "notifications/tools/list_changed");
    assert_eq!(next_event(&mut stream).await["method"], "notifications/prompts/list_changed");
}
