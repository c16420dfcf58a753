//! Tasks, in the pairs of generations in which there are any.

use serde_json::{Value, json};

use crate::server::{Era, Server};
use crate::support::{Client, messages, next_event, person, plane, until};

const TASKS: fn() -> Value = || json!({"elicitation": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}});

fn redact() -> Value {
    json!([{"name": "no secrets", "expression": "mcp.tool.name == \"job\"", "action": "redact", "redact": {"patterns": ["secret"]}}])
}

#[tokio::test]
async fn with_sessions_a_client_asks_for_a_task_and_for_its_result() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), redact()).await;
    let client = Client::new(&plane, person(1), &["one"]).begin(json!({})).await;
    let (_, made) =
        client.ask("tools/call", json!({"name": "one_job", "arguments": {}, "task": {"ttl": 60_000}})).await;
    let id = made["result"]["task"]["taskId"].as_str().unwrap().to_owned();
    assert!(id.starts_with("one_") && !id.contains("t-0"), "{made}");
    let (_, got) = client.ask("tasks/get", json!({"taskId": id})).await;
    assert_eq!((&got["result"]["taskId"], &got["result"]["status"]), (&json!(id), &json!("working")));
    let (_, listed) = client.ask("tasks/list", json!({})).await;
    let ids: Vec<_> = listed["result"]["tasks"].as_array().unwrap().iter().map(|task| task["taskId"].clone()).collect();
    assert_eq!(ids, [json!(id)], "nobody sees what somebody else has made with the same credential");
    let (_, result) = client.ask("tasks/result", json!({"taskId": id})).await;
    assert_eq!(result["result"]["content"][0]["text"], "done a[redacted]", "{result}");
    assert_eq!(result["result"]["_meta"]["io.modelcontextprotocol/related-task"]["taskId"], json!(id));
    // Whoever has the id has nothing.
    let other = Client::new(&plane, person(2), &["one"]).begin(json!({})).await;
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        for unknown in [id.as_str(), "one_0123", "t-0"] {
            let (_, refused) = other.ask(method, json!({"taskId": unknown})).await;
            assert_eq!(refused["error"]["code"], -32_602, "{method} {unknown}");
        }
    }
    let (_, cancelled) = client.ask("tasks/cancel", json!({"taskId": id})).await;
    assert_eq!(cancelled["result"]["taskId"], json!(id));
    assert_eq!(one.inner.tasks.lock()["t-0"], "cancelled");
    let records: Vec<_> =
        plane.records.0.lock().iter().map(|record| (record.method.clone(), record.tool.clone())).collect();
    assert!(records.contains(&("tasks/result".to_owned(), Some("job".to_owned()))), "{records:?}");
}

#[tokio::test]
async fn a_tool_that_somebody_may_not_use_any_more_gives_no_results() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one"]).begin(json!({})).await;
    let (_, made) = client.ask("tools/call", json!({"name": "one_job", "arguments": {}, "task": {}})).await;
    client.call("portal_toggle_single_server", json!({"server_id": "one", "action": "untoggle"})).await;
    let (_, refused) = client.ask("tasks/result", json!({"taskId": made["result"]["task"]["taskId"]})).await;
    assert_eq!(refused["error"]["code"], -32_602);
}

#[tokio::test]
async fn without_sessions_a_server_decides_and_a_client_polls() {
    let two = Server::start("two", Era::Stateless).await;
    let plane = plane(&[("two", &two)], json!({}), redact()).await;
    let client = Client::new(&plane, person(1), &["two"]);
    let say = |method: &'static str, params: Value| {
        let client = client.clone();
        async move { messages(client.ask_able(TASKS(), method, params).await).await.pop().unwrap() }
    };
    let made = say("tools/call", json!({"name": "two_job", "arguments": {}})).await;
    let id = made["result"]["taskId"].as_str().unwrap().to_owned();
    assert_eq!((&made["result"]["resultType"], id.starts_with("two_")), (&json!("task"), true), "{made}");
    let asks = say("tasks/get", json!({"taskId": id})).await;
    assert_eq!(asks["result"]["inputRequests"]["name"]["method"], "elicitation/create");
    let update = json!({"taskId": id, "inputResponses": {"name": {"action": "accept"}}});
    assert_eq!(say("tasks/update", update).await["result"]["resultType"], "complete");
    let done = say("tasks/get", json!({"taskId": id})).await;
    assert_eq!(done["result"]["result"]["content"][0]["text"], "done a[redacted]", "{done}");
    // The client's word for it opens no other client's tasks, and without the extension there are none.
    let other = Client::new(&plane, person(2), &["two"]);
    let refused = messages(other.ask_able(TASKS(), "tasks/get", json!({"taskId": id})).await).await.remove(0);
    assert_eq!(refused["error"]["code"], -32_602);
    let response = client.ask_able(json!({}), "tasks/get", json!({"taskId": id})).await;
    assert_eq!(response.status(), 400);
    assert_eq!(messages(response).await[0]["error"]["code"], -32_021);
    let response = client.ask_able(json!({}), "tools/call", json!({"name": "two_job", "arguments": {}})).await;
    assert_eq!(messages(response).await[0]["error"]["code"], -32_021);
}

#[tokio::test]
async fn a_client_hears_of_its_task_on_the_stream_it_asked_for() {
    let two = Server::start("two", Era::Stateless).await;
    let plane = plane(&[("two", &two)], json!({}), redact()).await;
    let client = Client::new(&plane, person(1), &["two"]);
    let made = client.ask_able(TASKS(), "tools/call", json!({"name": "two_job", "arguments": {}})).await;
    let id = messages(made).await[0]["result"]["taskId"].clone();
    let filter = json!({"notifications": {"taskIds": [id, "two_unknown"]}});
    let mut stream = client.ask_able(TASKS(), "subscriptions/listen", filter).await.into_body();
    assert_eq!(next_event(&mut stream).await["params"]["notifications"], json!({"taskIds": [id]}));
    until("the watch", || !two.inner.watching.lock().is_empty()).await;
    for task in ["t-9", "t-0"] {
        let params = json!({"taskId": task, "status": "completed", "result": {"content": [{"type": "text", "text": "a secret"}]}});
        let told = json!({"jsonrpc": "2.0", "method": "notifications/tasks", "params": params});
        two.inner.watching.lock()[0].send(told).unwrap();
    }
    let told = next_event(&mut stream).await;
    assert_eq!(told["params"]["taskId"], id, "not the task of somebody else");
    assert_eq!(told["params"]["result"]["content"][0]["text"], "a [redacted]");
}

#[tokio::test]
async fn the_portal_waits_for_tasks_that_a_client_has_no_way_to_ask_for() {
    let (one, two) = (Server::start("one", Era::Sessions).await, Server::start("two", Era::Stateless).await);
    let plane = plane(&[("one", &one), ("two", &two)], json!({}), json!([])).await;
    let stateless = Client::new(&plane, person(1), &["one", "two"]);
    let response = stateless.ask_able(json!({}), "tools/call", json!({"name": "one_job", "arguments": {}})).await;
    let answer = messages(response).await.pop().unwrap();
    assert_eq!(answer["result"]["content"][0]["text"], "done asecret", "{answer}");
    // A server without sessions makes one of its own accord, and asks in the middle of it.
    let client = Client::new(&plane, person(1), &["one", "two"]).begin(json!({"elicitation": {}})).await;
    let call =
        json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "two_job", "arguments": {}}});
    let mut stream = client.post(&call).await.into_body();
    let question = next_event(&mut stream).await;
    assert_eq!(question["params"]["message"], "name?");
    client.post(&json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept"}})).await;
    let last = next_event(&mut stream).await;
    assert_eq!(last["result"]["content"][0]["text"], "done asecret", "{last}");
    // Whoever has sessions and does not ask for a task is told what the server says.
    assert_eq!(client.call("one_job", json!({})).await["error"]["code"], -32_601);
}
