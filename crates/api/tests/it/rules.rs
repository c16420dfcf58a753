//! Gateway rules through the API.

use axum::http::Method;
use serde_json::{Value, json};

use crate::harness::Console;

fn block(name: &str, traffic: &str) -> Value {
    json!({"name": name, "action": "block", "filters": ["http"], "traffic": traffic, "enabled": true})
}

#[tokio::test]
async fn a_rule_comes_back_as_it_was_sent_with_read_only_members_beside_it() {
    let console = Console::new().await;
    let sent = json!({
        "name": "allow with headers",
        "action": "allow",
        "filters": ["http"],
        "enabled": false,
        "precedence": 17,
        "description": "why",
        "traffic": "http.request.host   ==  \"a.example\" or(http.request.host==\"b.example\")",
        "identity": "",
        "rule_settings": {"add_headers": {"X-A": ["1"]}, "check_session": {"enforce": true, "duration": "300s"}},
    });
    let created = console.post("gateway/rules", sent.clone()).await.result();
    for (member, value) in sent.as_object().unwrap() {
        assert_eq!(&created[member], value, "{member}");
    }
    assert_eq!(created["version"], 1);
    assert!(created["deleted_at"].is_null());
    let id = created["id"].as_str().unwrap();
    assert_eq!(console.get(&format!("gateway/rules/{id}")).await.result(), created);
    assert_eq!(console.get("gateway/rules").await.result(), json!([created]));
    // What a client read back is accepted, read-only members and all.
    let again = console.put(&format!("gateway/rules/{id}"), created.clone()).await.result();
    assert_eq!(again["version"], 2);
    assert_eq!(again["rule_settings"], sent["rule_settings"]);
    assert_eq!(again["traffic"], sent["traffic"]);
}

#[tokio::test]
async fn absent_members_stay_absent_inside_rule_settings_and_have_defaults_outside() {
    let console = Console::new().await;
    let created = console.post("gateway/rules", json!({"name": "r", "action": "block"})).await.result();
    assert!(created.get("rule_settings").is_none());
    assert_eq!(created["filters"], json!(["http"]));
    assert_eq!(created["enabled"], true);
    assert_eq!(created["traffic"], "");
    assert_eq!(created["precedence"], 1000);
}

#[tokio::test]
async fn faults_are_reported_together_with_their_places() {
    let console = Console::new().await;
    let answer =
        console.post("gateway/rules", json!({"name": "r", "action": "blok", "trafic": "", "enabled": "yes"})).await;
    answer.error(400);
    let json = answer.json();
    let pointers: Vec<_> =
        json["errors"].as_array().unwrap().iter().map(|error| error["source"]["pointer"].as_str().unwrap()).collect();
    for pointer in ["/action", "/trafic", "/enabled"] {
        assert!(pointers.contains(&pointer), "{json:#}");
    }
    let (pointer, message) = console.post("gateway/rules", block("r", "http.request.hots == \"a\"")).await.error(400);
    assert_eq!(pointer, "/traffic");
    assert!(message.contains("http.request.host"), "{message}");
}

#[tokio::test]
async fn a_taken_precedence_is_a_conflict_and_a_missing_one_is_chosen() {
    let console = Console::new().await;
    let with = |precedence: i64| {
        let mut rule = block("r", "");
        rule["precedence"] = precedence.into();
        rule
    };
    let first = console.post("gateway/rules", with(5)).await.result();
    assert_eq!(console.post("gateway/rules", with(5)).await.error(409).0, "/precedence");
    let second = console.post("gateway/rules", block("s", "")).await.result();
    assert!(second["precedence"].as_i64().unwrap() > 1000);
    // A replaced rule keeps its place, and may name its own number.
    let path = format!("gateway/rules/{}", first["id"].as_str().unwrap());
    assert_eq!(console.put(&path, block("r2", "")).await.result()["precedence"], 5);
    assert_eq!(console.put(&path, with(5)).await.result()["precedence"], 5);
    let taken = second["precedence"].as_i64().unwrap();
    assert_eq!(console.put(&path, with(taken)).await.error(409).0, "/precedence");
}

#[tokio::test]
async fn rules_are_listed_and_reordered_by_precedence() {
    let console = Console::new().await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        ids.push(console.post("gateway/rules", block(name, "")).await.result()["id"].clone());
    }
    ids.reverse();
    let reordered = console.post("gateway/rules/reorder", json!({"order": ids})).await.result();
    let names: Vec<_> = reordered.as_array().unwrap().iter().map(|rule| rule["name"].clone()).collect();
    assert_eq!(names, ["c", "b", "a"]);
    ids.pop();
    console.post("gateway/rules/reorder", json!({"order": ids})).await.error(400);
    assert_eq!(console.get("gateway/rules?page=2").await.result(), json!([]));
    assert_eq!(console.get("gateway/rules/tenant").await.result(), json!([]));
}

#[tokio::test]
async fn a_list_is_compiled_into_rules_and_cannot_be_deleted_while_one_uses_it() {
    let console = Console::new().await;
    let list = json!({"name": "sites", "type": "DOMAIN", "items": [{"value": "bank.example"}]});
    let list = console.post("gateway/lists", list).await.result();
    let id = list["id"].as_str().unwrap();
    let rule = block("r", &format!("any(http.request.domains[*] in ${id})"));
    let rule = console.post("gateway/rules", rule).await.result();
    assert!(rule["warning_status"].is_null(), "{rule:#}");
    console.delete(&format!("gateway/lists/{id}")).await.error(409);
    let unknown = block("s", "any(http.request.domains[*] in $01302951-49f9-47c9-a400-0297e60b6a10)");
    assert_eq!(console.post("gateway/rules", unknown).await.error(400).0, "/traffic");
    console.delete(&format!("gateway/rules/{}", rule["id"].as_str().unwrap())).await.result();
    console.delete(&format!("gateway/lists/{id}")).await.result();
}

#[tokio::test]
async fn a_rule_may_only_call_what_exists() {
    let console = Console::new().await;
    let worker = json!({"name": "w", "action": "worker", "rule_settings": {"worker": {"script": "training"}}});
    let (pointer, message) = console.post("gateway/rules", worker.clone()).await.error(400);
    assert_eq!(pointer, "/rule_settings/worker/script");
    assert!(message.contains("upload it first"));
    console
        .upload(
            "training",
            json!({"main_module": "m.js"}),
            &[("m.js", "application/javascript+module", "export default {}")],
        )
        .await
        .result();
    console.post("gateway/rules", worker).await.result();
    console.delete("workers/scripts/training").await.error(409);
    console.call(Method::DELETE, "workers/scripts/training?force=true", None).await.result();
}

#[tokio::test]
async fn selectors_without_a_source_are_accepted_with_a_warning() {
    let console = Console::new().await;
    let rule = block("r", "app_control.controls[0] == 1653");
    let rule = console.post("gateway/rules", rule).await.result();
    assert!(rule["warning_status"].as_str().is_some_and(|text| text.contains("app_control.controls")), "{rule:#}");
}

#[tokio::test]
async fn an_expiration_can_be_reset_where_it_has_a_duration() {
    let console = Console::new().await;
    let mut rule = block("r", "");
    let plain = console.post("gateway/rules", rule.clone()).await.result();
    let path = format!("gateway/rules/{}/reset_expiration", plain["id"].as_str().unwrap());
    console.post(&path, json!({})).await.error(400);
    rule["expiration"] = json!({"expires_at": "2026-01-02T04:00:00Z", "duration": 60});
    let timed = console.post("gateway/rules", rule).await.result();
    console.advance(600);
    let path = format!("gateway/rules/{}/reset_expiration", timed["id"].as_str().unwrap());
    let reset = console.post(&path, json!({})).await.result();
    assert_eq!(reset["expiration"]["expires_at"], "2026-01-02T04:14:05Z");
}

#[tokio::test]
async fn evaluating_decides_with_stored_rules_and_drafts_and_says_why() {
    let console = Console::new().await;
    let rule = console.post("gateway/rules", block("no bank", "http.request.host == \"bank.example\"")).await.result();
    let evaluate = |body: Value| {
        let console = &console;
        async move { console.post("gateway/rules/evaluate", body).await.result() }
    };
    let facts = json!({"http.request.host": "bank.example", "http.request.method": "GET"});
    let blocked = evaluate(json!({"facts": facts})).await;
    assert_eq!(blocked["action"], "block");
    assert_eq!(blocked["rule_id"], rule["id"]);
    assert_eq!(blocked["trace"]["decided_by"]["name"], "no bank");
    assert_eq!(blocked["trace"]["facts"]["http.request.host"], "bank.example");
    assert_eq!(evaluate(json!({"facts": {"http.request.host": "other.example"}})).await["action"], "allow");
    // Nothing is known of the host yet.
    let waiting = evaluate(json!({"facts": {}})).await;
    assert!(waiting["needs"].as_array().unwrap().contains(&json!("http.request.host")), "{waiting:#}");
    // A draft takes the place of its rule.
    let draft = json!({"id": rule["id"], "name": "draft", "action": "allow", "traffic": "http.request.host == \"bank.example\""});
    let drafted = evaluate(json!({"facts": facts, "rule": draft})).await;
    assert_eq!((drafted["action"].clone(), drafted["rule_name"].clone()), (json!("allow"), json!("draft")));
    let alone = evaluate(json!({"facts": facts, "rules": []})).await;
    assert_eq!(alone["action"], "allow");
    let wrong = console.post("gateway/rules/evaluate", json!({"facts": {"http.request.hots": "x"}})).await.error(400);
    assert_eq!(wrong.0, "/facts/http.request.hots");
    let wrong = console.post("gateway/rules/evaluate", json!({"facts": {}, "rule": {"name": "x"}})).await.error(400);
    assert_eq!(wrong.0, "/rule/action");
}

#[tokio::test]
async fn checking_stores_nothing() {
    let console = Console::new().await;
    let valid = console.post("gateway/rules/check", block("r", "http.request.host == \"a\"")).await.result();
    assert_eq!(valid["valid"], true);
    let invalid = console.post("gateway/rules/check", block("r", "http.request.host ==")).await.result();
    assert_eq!(invalid["valid"], false);
    assert_eq!(invalid["errors"][0]["pointer"], "/traffic");
    assert_eq!(console.get("gateway/rules").await.result(), json!([]));
}

#[tokio::test]
async fn every_change_stands_in_the_audit_log_with_before_and_after() {
    let console = Console::new().await;
    let rule = console.post("gateway/rules", block("r", "")).await.result();
    let path = format!("gateway/rules/{}", rule["id"].as_str().unwrap());
    console.put(&path, block("renamed", "")).await.result();
    console.delete(&path).await.result();
    let audit = console.audit().await;
    let actions: Vec<_> = audit.iter().map(|record| record["ActionType"].as_str().unwrap()).collect();
    assert_eq!(actions, ["delete", "update", "create"]);
    assert_eq!(audit[1]["OldValue"]["name"], "r");
    assert_eq!(audit[1]["NewValue"]["name"], "renamed");
    assert_eq!(audit[1]["ResourceID"], rule["id"]);
    assert_eq!(audit[1]["ActorType"], "token");
    assert_eq!(audit[1]["ActorIP"], "192.0.2.1");
    assert_eq!(audit[1]["ActionResult"], true);
}

/// A managed rule that asks the risk service at `url`.
fn risk(url: &str, token: Value) -> Value {
    let parameters = json!({"url": url, "token": token});
    let managed = json!({"template": "risk-api", "parameters": parameters});
    json!({"name": "risk", "action": "managed", "rule_settings": {"managed": managed}})
}

#[tokio::test]
async fn the_secret_of_a_managed_action_is_never_shown_again() {
    let console = Console::new().await;
    let mark = json!({"secret": true});
    let token = |rule: &Value| rule["rule_settings"]["managed"]["parameters"]["token"].clone();
    let created = console.post("gateway/rules", risk("https://risk.example/v1", json!("hush"))).await.result();
    assert_eq!(token(&created), mark);
    let path = format!("gateway/rules/{}", created["id"].as_str().unwrap());
    // What was read is accepted, and keeps the secret; a new one takes its place.
    let kept = console.put(&path, created.clone()).await.result();
    assert_eq!(token(&kept), mark);
    let moved = risk("https://risk.example/v2", mark.clone());
    console.put(&path, moved).await.result();
    assert_eq!(token(&console.put(&path, risk("https://other.example/", json!("hush 2"))).await.result()), mark);
    assert_eq!(token(&console.get(&path).await.result()), mark);
    console.delete(&path).await.result();
    assert!(console.audit().await.iter().all(|record| !record.to_string().contains("hush")));
}

#[tokio::test]
async fn a_kept_secret_stays_with_its_rule_and_its_hosts() {
    let console = Console::new().await;
    let mark = json!({"secret": true});
    let created = console.post("gateway/rules", risk("https://risk.example/", json!("hush"))).await.result();
    let path = format!("gateway/rules/{}", created["id"].as_str().unwrap());
    let pointer = "/rule_settings/managed/parameters/token";
    let elsewhere = console.put(&path, risk("https://evil.example/", mark.clone())).await.error(400);
    assert_eq!(elsewhere.0, pointer);
    assert!(elsewhere.1.contains("https://evil.example"), "{}", elsewhere.1);
    let copied = console.post("gateway/rules", risk("https://risk.example/", mark)).await.error(400);
    assert_eq!(copied.0, pointer);
}

#[tokio::test]
async fn managed_parameters_fit_their_template_or_are_refused() {
    let console = Console::new().await;
    for (managed, at) in [
        (json!({"template": "risk-apy", "parameters": {}}), "/rule_settings/managed/template"),
        (json!({"template": "risk-api"}), "/rule_settings/managed/parameters/url"),
        (json!({"template": "risk-api", "parameters": {"url": "here"}}), "/rule_settings/managed/parameters/url"),
        (
            json!({"template": "risk-api", "parameters": {"url": "https://a.example", "x": 1}}),
            "/rule_settings/managed/parameters/x",
        ),
        (
            json!({"template": "risk-api", "parameters": {"url": "https://a.example", "token": 1}}),
            "/rule_settings/managed/parameters/token",
        ),
    ] {
        let rule = json!({"name": "r", "action": "managed", "rule_settings": {"managed": managed}});
        assert_eq!(console.post("gateway/rules", rule).await.error(400).0, at);
    }
}
