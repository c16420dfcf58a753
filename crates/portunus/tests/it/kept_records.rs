//! What is recorded of people who went through the proxy is kept for as long as the account chose, and goes when somebody is
//! erased.

use axum::Router;
use serde_json::{Value, json};

use crate::support::{Site, portunus, settled, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_erased_by_the_command_and_others_stay() {
    let site = Site::start(Router::new().fallback(|| async { "origin" })).await;
    let data = site.platform.data().to_str().unwrap();
    for email in ["ana@example.test", "ben@example.test"] {
        let added = portunus(&["user", "add", email, "--json", "--data", data]);
        let token = serde_json::from_str::<Value>(&text(&added)).unwrap()["proxy_token"].as_str().unwrap().to_owned();
        settled(&site.platform).await;
        assert_eq!(text(&site.curl(&["--proxy-user", &format!("{email}:{token}"), &site.url("/")])), "origin");
    }
    let people = async || {
        let found = site.platform.api("GET", "/portunus/logs/gateway_http?limit=100", None).await.unwrap();
        let mut people: Vec<_> = found.as_array().unwrap().iter().map(|record| record["Email"].clone()).collect();
        people.sort_by_key(Value::to_string);
        people
    };
    crate::support::recorded(&site.platform, "gateway_http", |record| record["Email"] == "ben@example.test").await;
    assert_eq!(people().await, [json!("ana@example.test"), json!("ben@example.test")]);

    let refused = portunus(&["logs", "erase", "ana@example.test", "--confirm", "ben@example.test", "--data", data]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("must be the same address again"));
    // Not asked on a terminal, so it has to be said.
    assert!(!portunus(&["logs", "erase", "ana@example.test", "--data", data]).status.success());
    assert_eq!(people().await.len(), 2);

    let erased = portunus(&["logs", "erase", "Ana@Example.test", "--confirm", "ana@example.test", "--data", data]);
    let told = text(&erased);
    assert!(told.lines().any(|line| line.split_whitespace().eq(["gateway_http", "1"])), "{told}");
    assert_eq!(people().await, [json!("ben@example.test")]);
    let query = json!({"query": "SELECT COUNT(*) AS n FROM gateway_http WHERE Email LIKE 'ana@%'"});
    let counted = site.platform.api("POST", "/logs/explorer/query", Some(query)).await.unwrap();
    assert_eq!(counted["rows"][0]["n"], 0);
    let again = portunus(&["logs", "erase", "ana@example.test", "--confirm", "ana@example.test", "--data", data]);
    assert!(text(&again).contains("nothing was recorded"));
    let tokens = portunus(&["token", "list", "--json", "--data", data]);
    assert!(!text(&tokens).contains("logs erase"), "a credential is left");
}
