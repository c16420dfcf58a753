//! Who sees and may do what.

use agents::record::Outcome;
use serde_json::json;

use crate::server::{Era, Server};
use crate::support::{Client, person, plane};

#[tokio::test]
async fn two_people_side_by_side_see_their_own_servers_and_what_is_hidden_does_not_exist() {
    let (one, two) = (Server::start("one", Era::Sessions).await, Server::start("two", Era::Sessions).await);
    let plane = plane(&[("one", &one), ("two", &two)], json!({}), json!([])).await;
    let ana = Client::new(&plane, person(1), &["one", "two"]).begin(json!({})).await;
    let bob = Client::new(&plane, person(2), &["one"]).begin(json!({})).await;
    assert!(ana.names("tools/list").await.iter().any(|tool| tool == "two_echo"));
    assert!(!bob.names("tools/list").await.iter().any(|tool| tool.starts_with("two_")));
    let hidden = bob.call("two_echo", json!({})).await["error"].to_string();
    let missing = bob.call("six_echo", json!({})).await["error"].to_string();
    assert_eq!(hidden.replace("two_echo", "X"), missing.replace("six_echo", "X"));
    let (_, hidden) = bob.ask("resources/read", json!({"uri": "mcp-server:two/demo://a"})).await;
    assert_eq!(hidden["error"]["code"], -32_002);
    assert!(ana.call("two_echo", json!({})).await["error"].is_null());
    assert_eq!(two.seen("tools/call").len(), 1);
    let nobody = Client::new(&plane, person(3), &[]).begin(json!({})).await;
    let (_, servers) = nobody.ask("tools/list", json!({})).await;
    assert!(
        servers["result"]["tools"]
            .as_array()
            .unwrap()
            .iter()
            .all(|tool| tool["name"].as_str().unwrap().starts_with("portal_"))
    );
}

#[tokio::test]
async fn rules_hide_block_and_redact_on_the_list_and_on_the_call() {
    let one = Server::start("one", Era::Sessions).await;
    let rules = json!([
        {"name": "no counting", "expression": "mcp.tool.name == \"count\"", "action": "block"},
        {"name": "not HR", "expression": "any(mcp.arguments[\"project\"][*] == \"HR\")", "action": "block", "message": "ask the HR team"},
        {"name": "no cards", "expression": "mcp.tool.name == \"echo\"", "action": "redact", "redact": {"paths": ["/card"], "patterns": ["[0-9]{16}"]}},
    ]);
    let plane = plane(&[("one", &one)], json!({}), rules).await;
    let client = Client::new(&plane, person(1), &["one"]).begin(json!({})).await;
    let tools = client.names("tools/list").await;
    assert!(tools.iter().any(|tool| tool == "one_echo") && !tools.iter().any(|tool| tool == "one_count"), "{tools:?}");
    assert_eq!(client.call("one_count", json!({})).await["error"]["code"], -32_602);
    let blocked = client.call("one_echo", json!({"project": "HR"})).await;
    assert_eq!((&blocked["error"]["code"], &blocked["error"]["data"]["rule"]), (&json!(-32_010), &json!("not HR")));
    assert!(blocked["error"]["message"].as_str().unwrap().contains("ask the HR team"));
    let redacted = client.call("one_echo", json!({"card": {"n": 1}, "note": "4111111111111111"})).await;
    let text = redacted["result"]["content"][0]["text"].as_str().unwrap();
    assert_eq!(text, "{\"card\":\"[redacted]\",\"note\":\"[redacted]\"}");
    assert_eq!(one.seen("tools/call").len(), 1, "what is blocked does not reach the server");
    let records = plane.records.0.lock();
    let blocked = records.iter().find(|record| matches!(record.outcome, Outcome::Blocked(_))).unwrap();
    assert_eq!(blocked.rules, ["not HR"]);
    let redacted = records.last().unwrap();
    assert!(!redacted.arguments.as_deref().unwrap().contains("4111"), "records hold what was sent on");
}

#[tokio::test]
async fn a_second_factor_counts_while_it_is_fresh() {
    let one = Server::start("one", Era::Sessions).await;
    let rules = json!([{"name": "fresh", "expression": "mcp.tool.name == \"echo\"", "action": "require_mfa", "mfa": {"max_age": "10m"}}]);
    let plane = plane(&[("one", &one)], json!({}), rules).await;
    let now = jiff::Timestamp::now().as_second();
    for (proved, passes) in [(None, false), (Some(now - 3_600), false), (Some(now - 60), true)] {
        let mut who = person(1);
        who.factor_at = proved;
        let client = Client::new(&plane, who, &["one"]).begin(json!({})).await;
        let answer = client.call("one_echo", json!({})).await;
        assert_eq!(answer["result"]["isError"] != true, passes, "{answer}");
    }
}
