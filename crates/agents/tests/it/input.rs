//! What servers ask of clients, between generations that ask in different ways.

use serde_json::{Value, json};

use crate::server::{Era, Server};
use crate::support::{Client, messages, next_event, person, plane, until};

const ABLE: fn() -> Value = || json!({"elicitation": {"form": {}, "url": {}}});

async fn say(client: &Client<'_>, capabilities: Value, params: Value) -> Value {
    messages(client.ask_able(capabilities, "tools/call", params).await).await.pop().unwrap()
}

#[tokio::test]
async fn a_client_with_a_session_is_asked_for_what_a_server_without_wants() {
    let two = Server::start("two", Era::Stateless).await;
    let plane = plane(&[("two", &two)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["two"]).begin(ABLE()).await;
    let call =
        json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "two_wants", "arguments": {}}});
    let mut stream = client.post(&call).await.into_body();
    for key in ["first", "second"] {
        let question = next_event(&mut stream).await;
        assert_eq!((&question["method"], &question["params"]["message"]), (&json!("elicitation/create"), &json!(key)));
        let content = json!({"action": "accept", "content": {"about": key}});
        client.post(&json!({"jsonrpc": "2.0", "id": question["id"], "result": content})).await;
    }
    let last = next_event(&mut stream).await;
    let text: Value = serde_json::from_str(last["result"]["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(text, json!({"action": "accept", "content": {"about": "second"}}));
    assert_eq!(last["result"].get("resultType"), None, "versions with sessions have no such member");
    // A client that cannot be asked is told so, and nothing is left waiting.
    let unable = Client::new(&plane, person(1), &["two"]).begin(json!({})).await;
    let refused = unable.call("two_wants", json!({})).await;
    assert!(refused["error"]["message"].as_str().unwrap().contains("this client cannot do"), "{refused}");
}

#[tokio::test]
async fn a_client_without_a_session_tries_again_with_what_a_server_with_sessions_asked() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one"]);
    let call = json!({"name": "one_ask", "arguments": {}});
    let first = say(&client, ABLE(), call.clone()).await;
    assert_eq!(first["result"]["resultType"], "input_required", "{first}");
    let requests = first["result"]["inputRequests"].as_object().unwrap();
    let (key, request) = requests.iter().next().unwrap();
    assert_eq!(request, &json!({"method": "elicitation/create", "params": {"message": "sure?"}}));
    let state = first["result"]["requestState"].as_str().unwrap().to_owned();
    let with = |state: &str, responses: Value| {
        let mut next = call.clone();
        next["requestState"] = json!(state);
        next["inputResponses"] = responses;
        next
    };
    let answers = json!({key: {"action": "accept"}, "unasked": {}});
    // A state that was made up, of somebody else, or of another request leads nowhere.
    let forged = say(&client, ABLE(), with("0123456789abcdef0123456789abcdef", answers.clone())).await;
    assert_eq!(forged["error"]["code"], -32_602);
    let thief = Client::new(&plane, person(2), &["one"]);
    assert_eq!(say(&thief, ABLE(), with(&state, answers.clone())).await["error"]["code"], -32_602);
    let mut other = with(&state, answers.clone());
    other["arguments"] = json!({"x": 1});
    assert_eq!(say(&client, ABLE(), other).await["error"]["code"], -32_602);
    for odd in [json!([]), json!({key: 7})] {
        assert_eq!(say(&client, ABLE(), with(&state, odd)).await["error"]["code"], -32_602);
    }
    // Without an answer it is asked again, under a new state; the old one is spent.
    let again = say(&client, ABLE(), with(&state, json!({"wrong": {}}))).await;
    assert_eq!(again["result"]["inputRequests"], first["result"]["inputRequests"]);
    let state_again = again["result"]["requestState"].as_str().unwrap().to_owned();
    assert_ne!(state_again, state);
    let last = say(&client, ABLE(), with(&state_again, answers.clone())).await;
    assert_eq!(last["result"]["content"][0]["text"], "{\"action\":\"accept\"}", "{last}");
    assert_eq!(say(&client, ABLE(), with(&state_again, answers)).await["error"]["code"], -32_602);
    assert_eq!(one.seen("tools/call").len(), 1, "the server was called once");
    assert_eq!(
        one.seen("initialize").last().unwrap()["params"]["capabilities"],
        ABLE().as_object().map(|able| json!({"elicitation": able["elicitation"]})).unwrap()
    );
}

#[tokio::test]
async fn a_server_is_not_told_of_what_a_client_cannot_do_and_is_refused_if_it_asks() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one"]);
    let answer = say(&client, json!({}), json!({"name": "one_ask", "arguments": {}})).await;
    let said = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(said.contains("the client cannot be asked"), "{answer}");
}

#[tokio::test]
async fn calls_that_wait_are_bounded_and_cancelled_with_their_session() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one"]);
    for number in 0..17 {
        let first = say(&client, ABLE(), json!({"name": "one_ask", "arguments": {"n": number}})).await;
        assert_eq!(first["result"]["resultType"], "input_required");
    }
    // The first made room for the last.
    until("the cancelling", || one.seen("notifications/cancelled").len() == 1).await;
    assert_eq!(one.seen("notifications/cancelled")[0]["params"]["requestId"], one.seen("tools/call")[0]["id"]);
}

#[tokio::test]
async fn a_page_to_visit_becomes_a_question_where_there_is_no_error_for_it() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one"]);
    let first = say(&client, ABLE(), json!({"name": "one_page", "arguments": {}})).await;
    let request = first["result"]["inputRequests"].as_object().unwrap().values().next().unwrap().clone();
    assert_eq!(request["params"], json!({"mode": "url", "url": "https://example.com/", "message": "sign in"}));
    let no = json!({"name": "one_page", "arguments": {}, "inputResponses": {"0": {"action": "decline"}}});
    assert_eq!(say(&client, ABLE(), no).await["error"]["code"], -32_042);
    assert_eq!(say(&client, json!({}), json!({"name": "one_page", "arguments": {}})).await["error"]["code"], -32_042);
}

#[tokio::test]
async fn between_two_of_the_stateless_era_input_passes_as_it_is() {
    let two = Server::start("two", Era::Stateless).await;
    let plane = plane(&[("two", &two)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["two"]);
    let mut call = json!({"name": "two_wants", "arguments": {}});
    for key in ["first", "second"] {
        let asked = say(&client, ABLE(), call.clone()).await;
        assert!(asked["result"]["inputRequests"][key].is_object(), "{asked}");
        call["requestState"] = asked["result"]["requestState"].clone();
        call["inputResponses"] = json!({key: {"action": "accept"}});
    }
    assert_eq!(say(&client, ABLE(), call.clone()).await["result"]["resultType"], "complete");
    call["requestState"] = json!("forged");
    let response = client.ask_able(ABLE(), "tools/call", call).await;
    assert_eq!(
        messages(response).await[0]["error"]["message"],
        "no such state",
        "the server's own refusal is passed on"
    );
}

#[tokio::test]
async fn logs_come_where_they_were_asked_for() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one"]);
    for (level, heard) in [(None, 0), (Some("warning"), 0), (Some("info"), 1)] {
        let meta = level.map_or_else(|| json!({}), |level| json!({"io.modelcontextprotocol/logLevel": level}));
        let response =
            client.ask_able(json!({}), "tools/call", json!({"name": "one_stop", "arguments": {}, "_meta": meta})).await;
        let logs =
            messages(response).await.iter().filter(|message| message["method"] == "notifications/message").count();
        assert_eq!(logs, heard, "{level:?}");
    }
    let levels: Vec<_> = one.seen("logging/setLevel").iter().map(|set| set["params"]["level"].clone()).collect();
    assert_eq!(levels, ["warning", "info"]);
}

#[tokio::test]
async fn arguments_that_stand_in_headers_are_checked_and_said_again() {
    let two = Server::start("two", Era::Stateless).await;
    let plane = plane(&[("two", &two)], json!({}), json!([])).await;
    let mut client = Client::new(&plane, person(1), &["two"]);
    let call = json!({"name": "two_region", "arguments": {"region": "größe"}});
    assert_eq!(say(&client, json!({}), call.clone()).await["error"]["code"], -32_020);
    client.headers =
        vec![("mcp-param-region", "=?base64?Z3LDtsOfZQ==?=".to_owned()), ("mcp-param-other", "x".to_owned())];
    say(&client, json!({}), call).await;
    let session = Client::new(&plane, person(1), &["two"]).begin(json!({})).await;
    session.call("two_region", json!({"region": "eu"})).await;
    let said = two.inner.parameters.lock().clone();
    assert_eq!(
        said,
        [("region".to_owned(), "=?base64?Z3LDtsOfZQ==?=".to_owned()), ("region".to_owned(), "eu".to_owned())]
    );
    let names = session.names("tools/list").await;
    assert!(names.contains(&"two_region".to_owned()) && !names.contains(&"two_unsound".to_owned()));
}
