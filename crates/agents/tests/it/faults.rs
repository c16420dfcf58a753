//! Servers that die, stand still, lie about sizes or never stop.

use serde_json::json;

use crate::server::{Era, Server};
use crate::support::{Client, messages, person, plane};

#[tokio::test]
async fn whatever_a_server_does_its_call_ends_with_an_error_and_the_next_one_works() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one"]).begin(json!({})).await;
    let stateless = Client::new(&plane, person(2), &["one"]);
    for tool in ["broken", "short", "endless", "flood", "large", "stop"] {
        let name = format!("one_{tool}");
        let answer = client.call(&name, json!({})).await;
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(message.starts_with("the ") && message.contains("server one"), "{tool}: {answer}");
        let response = stateless.ask_stateless("tools/call", json!({"name": name, "arguments": {}})).await;
        let answer = messages(response).await.pop().unwrap();
        assert_eq!(answer["error"]["code"], -32_603, "{tool}: {answer}");
        let after = client.call("one_echo", json!({"after": tool})).await;
        assert_eq!(after["result"]["content"][0]["text"], format!("{{\"after\":\"{tool}\"}}"));
    }
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_of_a_call_ends_it() {
    let one = Server::start("one", Era::Sessions).await;
    let plane = plane(&[("one", &one)], json!({}), json!([])).await;
    let client = Client::new(&plane, person(1), &["one"]).begin(json!({})).await;
    let call =
        json!({"jsonrpc": "2.0", "id": "c-1", "method": "tools/call", "params": {"name": "one_hang", "arguments": {}}});
    let response = client.post(&call).await;
    one.kill();
    let answer = messages(response).await.pop().unwrap();
    assert!(answer["error"]["message"].as_str().unwrap().contains("server one"), "{answer}");
    let after = client.call("one_echo", json!({})).await;
    assert!(after["error"]["message"].as_str().unwrap().contains("server one"), "{after}");
}
