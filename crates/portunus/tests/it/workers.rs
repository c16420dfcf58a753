//! Worker actions on real traffic: answer, change, decline, fail.

use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use testkit::Platform;

use crate::support::{Site, settled, text};

pub(crate) async fn upload(platform: &Platform, name: &str, source: &str, metadata: Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut full = json!({ "main_module": "index.ts" });
    for (key, value) in metadata.as_object().unwrap() {
        full[key] = value.clone();
    }
    let boundary = "portunus-test-boundary";
    let body = format!(
        "--{boundary}\r\ncontent-disposition: form-data; name=\"metadata\"\r\ncontent-type: application/json\r\n\r\n{full}\r\n\
         --{boundary}\r\ncontent-disposition: form-data; name=\"index.ts\"; filename=\"index.ts\"\r\ncontent-type: application/typescript\r\n\r\n{source}\r\n--{boundary}--\r\n"
    );
    let response = client
        .put(platform.account_url(&format!("/workers/scripts/{name}")))
        .bearer_auth(&platform.ready.api_token)
        .header("content-type", format!("multipart/form-data; boundary={boundary}"))
        .body(body)
        .send()
        .await
        .unwrap();
    let status = response.status();
    assert!(status.is_success(), "{status}: {}", response.text().await.unwrap());
}

async fn worker_rule(site: &Site, script: &str, settings: Value) {
    let mut worker = json!({ "script": script });
    for (key, value) in settings.as_object().unwrap() {
        worker[key] = value.clone();
    }
    site.rule(json!({ "name": format!("runs {script}"), "action": "worker", "traffic": "", "rule_settings": { "worker": worker } }))
        .await;
}

fn router() -> Router {
    Router::new()
        .route("/headers", get(|headers: HeaderMap| async move { format!("{headers:?}") }))
        .fallback(|| async { "origin" })
}

fn show(site: &Site, path: &str) -> String {
    text(&site.curl(&["--include", &site.url(path)]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_answers_changes_or_declines() {
    let site = Site::start(router()).await;
    let source = r#"export default {
        async fetch(request: Request): Promise<Response | Request | undefined> {
            const url = new URL(request.url);
            if (url.pathname === "/answer") return new Response("from the worker", { status: 418, headers: { "x-by": "worker" } });
            if (url.pathname === "/headers") {
                const changed = new Request(request);
                changed.headers.set("x-person", request.cf.identity?.email ?? "nobody");
                return changed;
            }
            if (url.pathname === "/through") {
                const response = await fetch(request);
                const copy = new Response(response.body, response);
                copy.headers.set("x-seen", "1");
                return copy;
            }
            return undefined;
        },
    };"#;
    upload(&site.platform, "decider", source, json!({})).await;
    worker_rule(&site, "decider", json!({})).await;
    let answer = show(&site, "/answer");
    assert!(
        answer.contains("418") && answer.contains("x-by: worker") && answer.ends_with("from the worker"),
        "{answer}"
    );
    assert!(show(&site, "/headers").contains("\"x-person\": \"nobody\""));
    let through = show(&site, "/through");
    assert!(through.contains("x-seen: 1") && through.ends_with("origin"), "{through}");
    assert!(show(&site, "/declined").ends_with("origin"));
    let of_script = |record: &Value| record["ScriptName"] == "decider" && record["Outcome"] == "ok";
    crate::support::recorded(&site.platform, "worker", of_script).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_is_told_is_what_the_type_definitions_name() {
    let site = Site::start(router()).await;
    let source =
        "export default { fetch(request: Request) { return new Response(`facts: ${JSON.stringify(request.cf)}`); } };";
    upload(&site.platform, "telling", source, json!({})).await;
    worker_rule(&site, "telling", json!({})).await;
    let shown = show(&site, "/");
    let told: Value = serde_json::from_str(shown.split_once("facts: ").unwrap().1).unwrap();
    let definitions = include_str!("../../../worker/types/portunus.d.ts");
    let (_, facts) = definitions.split_once("interface RequestFacts {").unwrap();
    let (facts, _) = facts.split_once("readonly [fact: string]: unknown;").unwrap();
    let is_named = |name: &str| facts.contains(&format!("readonly {name}?:"));
    let unnamed: Vec<_> = told.as_object().unwrap().keys().filter(|name| !is_named(name)).collect();
    assert!(unnamed.is_empty(), "{unnamed:?}");
    assert_eq!(told["source"]["ip"], "127.0.0.1", "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_worker_blocks_unless_the_rule_says_otherwise() {
    let site = Site::start(router()).await;
    upload(&site.platform, "broken", "export default { fetch() { throw new Error('no luck'); } };", json!({})).await;
    for (on_error, status) in [("block", "403"), ("continue", "200"), ("allow", "200")] {
        for rule in site.platform.api("GET", "/gateway/rules", None).await.unwrap().as_array().unwrap() {
            let path = format!("/gateway/rules/{}", rule["id"].as_str().unwrap());
            site.platform.api("DELETE", &path, None).await.unwrap();
        }
        worker_rule(&site, "broken", json!({ "on_error": on_error })).await;
        let shown = show(&site, "/");
        assert!(shown.contains(&format!(" {status}")), "{on_error}: {shown}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_loop_costs_its_own_request_and_nothing_else() {
    let site = Site::start(router()).await;
    let source = "export default { fetch(request: Request) { if (request.url.endsWith('/spin')) while (true) {} return undefined; } };";
    upload(&site.platform, "spinner", source, json!({})).await;
    worker_rule(&site, "spinner", json!({ "cpu_ms": 20 })).await;
    assert!(show(&site, "/spin").contains(" 403"));
    assert!(show(&site, "/fine").ends_with("origin"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_reaches_only_what_its_egress_list_names() {
    let site = Site::start(router()).await;
    let source = "export default { async fetch() { try { await fetch('https://elsewhere.test/'); return new Response('reached'); } catch (error) { return new Response(String(error)); } } };";
    upload(&site.platform, "reaching", source, json!({})).await;
    worker_rule(&site, "reaching", json!({})).await;
    let shown = show(&site, "/");
    assert!(shown.contains("TypeError") && !shown.contains("reached"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vars_secrets_and_kv_reach_the_script_and_secrets_never_come_back() {
    let site = Site::start(router()).await;
    let namespace =
        site.platform.api("POST", "/storage/kv/namespaces", Some(json!({ "title": "counts" }))).await.unwrap();
    let metadata = json!({ "bindings": [
        { "type": "plain_text", "name": "GREETING", "text": "hello" },
        { "type": "secret_text", "name": "KEY", "text": "s3cret" },
        { "type": "kv_namespace", "name": "COUNTS", "namespace_id": namespace["id"] },
    ] });
    let source = "export default { async fetch(request, env) { const seen = Number(await env.COUNTS.get('seen') ?? 0) + 1; await env.COUNTS.put('seen', String(seen)); return new Response(`${env.GREETING} ${env.KEY.length} ${seen}`); } };";
    upload(&site.platform, "stateful", source, metadata).await;
    worker_rule(&site, "stateful", json!({})).await;
    assert!(show(&site, "/").ends_with("hello 6 1"), "{}", show(&site, "/"));
    let settings = site.platform.api("GET", "/workers/scripts/stateful/settings", None).await.unwrap();
    assert!(!settings.to_string().contains("s3cret"), "{settings}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_persons_globals_are_not_anothers() {
    let site = Site::start(router()).await;
    let source = "let count = 0; export default { fetch() { count += 1; let kept; try { globalThis.kept = 1; kept = 'open'; } catch { kept = 'frozen'; } return new Response(`${count} ${kept}`); } };";
    upload(&site.platform, "counting", source, json!({})).await;
    worker_rule(&site, "counting", json!({})).await;
    for _ in 0..3 {
        assert!(show(&site, "/").ends_with("1 frozen"), "{}", show(&site, "/"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_managed_action_is_a_template_with_parameters() {
    let site = Site::start(router()).await;
    let templates = site.platform.api("GET", "/portunus/templates", None).await.unwrap();
    let names: Vec<&str> =
        templates.as_array().unwrap().iter().filter_map(|template| template["name"].as_str()).collect();
    assert!(names.len() >= 4 && names.contains(&"coaching"), "{names:?}");
    let managed = json!({ "template": "coaching", "parameters": { "title": "Think first", "message": "Share nothing secret here." } });
    site.rule(json!({ "name": "coach", "action": "managed", "traffic": "", "rule_settings": { "managed": managed } }))
        .await;
    settled(&site.platform).await;
    let data = site.platform.data().to_str().unwrap();
    let added = crate::support::portunus(&["user", "add", "ana@example.test", "--json", "--data", data]);
    let token = serde_json::from_str::<Value>(&text(&added)).unwrap()["proxy_token"].as_str().unwrap().to_owned();
    settled(&site.platform).await;
    let user = format!("ana@example.test:{token}");
    let page = text(&site.curl(&["--proxy-user", &user, "--header", "accept: text/html", &site.url("/")]));
    assert!(page.contains("Think first") && page.contains("Share nothing secret here."), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_managed_action_gets_the_secret_that_the_api_hides() {
    let judge = post(|headers: HeaderMap| async move {
        let known = headers.get("authorization").is_some_and(|value| value == "Bearer hush");
        Json(json!({ "decision": if known { "allow" } else { "deny" } }))
    });
    let site = Site::start(router().route("/judge", judge)).await;
    let parameters = json!({ "url": site.url("/judge"), "token": "hush" });
    let managed = json!({ "template": "risk-api", "parameters": parameters });
    site.rule(json!({ "name": "risk", "action": "managed", "traffic": "", "rule_settings": { "managed": managed } }))
        .await;
    settled(&site.platform).await;
    assert!(show(&site, "/").ends_with("origin"), "{}", show(&site, "/"));
    let rules = site.platform.api("GET", "/gateway/rules", None).await.unwrap();
    assert!(rules.to_string().contains(r#""token":{"secret":true}"#) && !rules.to_string().contains("hush"), "{rules}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_api_binding_does_what_it_was_granted_and_no_more() {
    let site = Site::start(router()).await;
    let account = site.platform.ready.account_id.clone();
    let source = r#"export default { async fetch(request, env) {
        const url = 'https://api/client/v4/accounts/ACCOUNT/gateway/lists';
        const read = await env.API.fetch(url);
        const body = JSON.stringify({ name: 'x', type: 'DOMAIN' });
        const written = await env.API.fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
        return new Response(`${read.status} ${written.status}`);
    } };"#;
    let metadata = json!({ "bindings": [{ "type": "admin_api", "name": "API", "permissions": ["lists:read"] }] });
    upload(&site.platform, "administering", &source.replace("ACCOUNT", &account), metadata).await;
    worker_rule(&site, "administering", json!({})).await;
    let shown = show(&site, "/");
    assert!(shown.ends_with("200 403"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn security_events_reach_the_queue_handler() {
    let site = Site::start(router()).await;
    let namespace =
        site.platform.api("POST", "/storage/kv/namespaces", Some(json!({ "title": "seen" }))).await.unwrap();
    let metadata = json!({
        "queues": ["security-events"],
        "bindings": [{ "type": "kv_namespace", "name": "SEEN", "namespace_id": namespace["id"] }],
    });
    let source = "export default { async queue(batch, env) { for (const message of batch.messages) await env.SEEN.put(message.body.type, message.body.rule_name ?? ''); } };";
    upload(&site.platform, "listening", source, metadata).await;
    site.rule(json!({ "name": "no entry", "action": "block", "traffic": "" })).await;
    assert!(show(&site, "/").contains(" 403"));
    let finished = |record: &Value| record["EventType"] == "queue" && record["Outcome"] == "ok";
    crate::support::recorded(&site.platform, "worker", finished).await;
    let path = format!("/storage/kv/namespaces/{}/keys", namespace["id"].as_str().unwrap());
    let keys = site.platform.api("GET", &path, None).await.unwrap();
    assert_eq!(keys[0]["name"], "blocked", "{keys}");
}
