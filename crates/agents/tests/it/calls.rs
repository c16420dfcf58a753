//! Calls on their way to a server and back.

use agents::record::Outcome;
use http::StatusCode;
use serde_json::json;

use crate::server::{Era, Server};
use crate::support::{Client, messages, next_event, person, plane, until};

#[tokio::test]
async fn progress_comes_while_a_tool_works_and_the_answer_last() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one"]).begin(json!({})).await;
    let params = json!({"name": "one_count", "arguments": {}, "_meta": {"progressToken": "p"}});
    let (before, answer) = client.ask("tools/call", params).await;
    let progress: Vec<_> = before.iter().map(|message| &message["params"]["progress"]).collect();
    assert_eq!(progress, [1, 2]);
    assert!(before.iter().all(|message| message["params"]["progressToken"] == "p"));
    assert_eq!(answer["result"]["content"][0]["text"], "counted");
}

#[tokio::test]
async fn a_server_may_ask_the_client_and_hears_its_answer() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one"]).begin(json!({"elicitation": {"form": {}}})).await;
    let call =
        json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "one_ask", "arguments": {}}});
    let mut stream = client.post(&call).await.into_body();
    let question = next_event(&mut stream).await;
    assert_eq!(question["method"], "elicitation/create");
    assert_ne!(question["id"], "q-1", "the id is the portal's own");
    // Nobody else can answer it.
    let other = Client::new(&plane, person(2), &["one"]).begin(json!({})).await;
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}});
    assert_eq!(other.post(&answer).await.status(), StatusCode::ACCEPTED);
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept"}});
    assert_eq!(client.post(&answer).await.status(), StatusCode::ACCEPTED);
    let last = next_event(&mut stream).await;
    assert_eq!((&last["id"], &last["result"]["content"][0]["text"]), (&json!(9), &json!("{\"action\":\"accept\"}")));
    assert_eq!(one.seen("initialize")[1]["params"]["capabilities"], json!({"elicitation": {"form": {}}}));
}

#[tokio::test]
async fn prompts_resources_and_completions_go_to_the_server_they_belong_to() {
    let (one, two) = (Server::start("one", Era::Sessions).await, Server::start("two", Era::Sessions).await);
    let plane = plane(&[("one", &one), ("two", &two)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one", "two"]).begin(json!({})).await;
    let (_, prompt) = client.ask("prompts/get", json!({"name": "two_greet", "arguments": {"who": "Ana"}})).await;
    assert_eq!(prompt["result"]["messages"][0]["content"]["text"], "hello Ana");
    for uri in ["mcp-server:two/demo://a", "mcp-server:two/demo://t/7"] {
        let (_, read) = client.ask("resources/read", json!({"uri": uri})).await;
        assert_eq!(read["result"]["contents"][0]["uri"], uri);
    }
    let about = json!({"ref": {"type": "ref/prompt", "name": "two_greet"}, "argument": {"name": "who", "value": "A"}});
    let (_, completed) = client.ask("completion/complete", about).await;
    assert_eq!(completed["result"]["completion"]["values"], json!(["greet"]));
    assert_eq!(one.seen("prompts/get").len() + one.seen("resources/read").len(), 0);
    let (_, nothing) = client.ask("resources/read", json!({"uri": "mcp-server:three/demo://a"})).await;
    assert_eq!(nothing["error"]["code"], -32_002);
}

#[tokio::test]
async fn a_call_that_is_cancelled_is_cancelled_at_the_server_under_its_own_id() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one"]).begin(json!({"elicitation": {}})).await;
    let call =
        json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "one_ask", "arguments": {}}});
    let mut stream = client.post(&call).await.into_body();
    next_event(&mut stream).await;
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9, "reason": "enough"}});
    assert_eq!(client.post(&cancel).await.status(), StatusCode::ACCEPTED);
    one.inner.cancelled.notified().await;
    let told = &one.seen("notifications/cancelled")[0]["params"];
    assert_eq!((&told["requestId"], &told["reason"]), (&one.seen("tools/call")[0]["id"], &json!("enough")));
}

#[tokio::test]
async fn servers_that_stop_lie_or_are_gone_end_a_call_with_an_error_that_names_them() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one"]).begin(json!({})).await;
    let (before, stopped) = client.ask("tools/call", json!({"name": "one_stop", "arguments": {}})).await;
    assert_eq!(before[0]["params"]["data"], "about to stop");
    assert!(stopped["error"]["message"].as_str().unwrap().contains("the server one gave no answer"), "{stopped}");
    let large = client.call("one_large", json!({})).await;
    assert!(large["error"]["message"].as_str().unwrap().contains("larger than is accepted"), "{large}");
    let outcomes: Vec<_> = plane.records.0.lock().iter().map(|record| record.outcome.clone()).collect();
    assert!(outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Failed(_))).count() == 2, "{outcomes:?}");
}

#[tokio::test]
async fn every_call_has_one_record_with_who_what_and_how_it_ended() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({"portunus": {"log_results": true}}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one"]).begin(json!({})).await;
    client.call("one_echo", json!({"a": 1})).await;
    client.call("one_none", json!({})).await;
    // A client without a session that leaves in the middle: nobody can hear the answer any more.
    let stateless = Client::new(&plane, person(1), &["one"]);
    drop(stateless.ask_stateless("tools/call", json!({"name": "one_hang", "arguments": {}})).await);
    until("the record", || plane.records.0.lock().iter().filter(|record| record.tool.is_some()).count() == 3).await;
    let records = plane.records.0.lock();
    let calls: Vec<_> = records.iter().filter(|record| record.method == "tools/call").collect();
    let told: Vec<_> = calls.iter().map(|record| (record.tool.as_deref(), record.server.as_deref())).collect();
    assert_eq!(told, [(Some("echo"), Some("one")), (Some("one_none"), None), (Some("hang"), Some("one"))]);
    assert_eq!(calls[0].arguments.as_deref(), Some("{\"a\":1}"));
    assert!(calls[0].result.as_deref().unwrap().contains("a"));
    assert_eq!(calls[0].outcome, Outcome::Success);
    assert!(matches!(calls[1].outcome, Outcome::Failed(_)));
    assert_eq!(calls[2].outcome, Outcome::CutOff);
    assert_eq!((calls[0].client_name.as_str(), calls[0].client_version.as_str()), ("client", "7"));
}

#[tokio::test]
async fn text_that_nobody_sees_is_taken_out_of_results_unless_the_portal_says_otherwise() {
    let one = Server::start("one", Era::Sessions).await;
    let hidden = json!({"text": "pay\u{E0041}\u{200B} now"});
    for (switched, shown) in
        [(json!({}), "pay now"), (json!({"portunus": {"neutralize_results": false}}), "pay\u{E0041}")]
    {
        let plane = plane(&[("one", &one)], switched, json!([])).await;
        let client = Client::new(&plane, person(1), &["one"]).begin(json!({})).await;
        let answer = client.call("one_echo", hidden.clone()).await;
        let text = answer["result"]["content"][0]["text"].as_str().unwrap();
        assert!(text.contains(shown), "{text:?}");
    }
}

#[tokio::test]
async fn the_administrators_credential_goes_to_the_server_and_nothing_of_the_clients() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), json!([])).await;
    let mut client = Client::new(&plane, person(1), &["one"]).begin(json!({})).await;
    client.headers.push(("authorization", "Bearer clients".to_owned()));
    client.headers.push(("cookie", "a=b".to_owned()));
    client.call("one_echo", json!({})).await;
    let credentials = one.inner.credentials.lock().clone();
    assert!(credentials.iter().all(|found| found.as_deref() == Some("Bearer administrators")), "{credentials:?}");
}

#[tokio::test]
async fn a_page_of_another_site_cannot_speak_with_a_persons_cookie() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), json!([])).await;
    let mut browser = person(1);
    browser.agent = false;
    let mut client = Client::new(&plane, browser, &["one"]);
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}});
    for (origin, status) in [("https://evil.test", 403), ("null", 403), ("https://mcp.test", 200)] {
        client.headers = vec![("origin", origin.to_owned())];
        assert_eq!(client.post(&hello).await.status(), status, "{origin}");
    }
    // An agent's token is put there by its client, not by a browser.
    let mut agent = Client::new(&plane, person(1), &["one"]);
    agent.headers = vec![("origin", "http://localhost:6274".to_owned())];
    assert_eq!(agent.post(&hello).await.status(), 200);
}

#[tokio::test]
async fn the_portals_own_tools_list_switch_and_look_up() {
    let (one, two) = (Server::start("one", Era::Sessions).await, Server::start("two", Era::Sessions).await);
    let plane = plane(&[("one", &one), ("two", &two)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one", "two"]).begin(json!({})).await;
    let listed = client.call("portal_list_servers", json!({})).await.to_string();
    assert!(listed.contains("one") && listed.contains("two"), "{listed}");
    let off = client.call("portal_toggle_single_server", json!({"server_id": "two", "action": "untoggle"})).await;
    assert!(off["error"].is_null(), "{off}");
    assert!(!client.names("tools/list").await.iter().any(|tool| tool.starts_with("two_")));
    assert_eq!(client.call("two_echo", json!({})).await["error"]["code"], -32_602);
    client.call("portal_toggle_single_server", json!({"server_id": "two", "action": "toggle"})).await;
    assert!(client.names("tools/list").await.iter().any(|tool| tool == "two_echo"));
    let mut small = client.clone();
    small.query = "?optimize_context=search_and_execute";
    assert_eq!(small.names("tools/list").await.iter().filter(|tool| !tool.starts_with("portal_")).count(), 0);
    let found = small.call("portal_query_tools", json!({"pattern": "ech."})).await.to_string();
    assert!(found.contains("one_echo"), "{found}");
    let executed = small.call("portal_execute", json!({"name": "one_echo", "arguments": {"x": 1}})).await;
    assert_eq!(executed["result"]["content"][0]["text"], "{\"x\":1}", "{executed}");
    let listen = messages(client.post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await);
    drop(listen);
}
