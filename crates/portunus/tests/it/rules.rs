//! Rules made through the API, decided on real traffic.

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::get;
use serde_json::{Value, json};

use crate::support::{Site, text};

fn router() -> Router {
    Router::new()
        .route("/headers", get(|headers: HeaderMap| async move { format!("{headers:?}") }))
        .route("/teapot", get(|| async { (axum::http::StatusCode::IM_A_TEAPOT, "short and stout") }))
        .route("/pdf", get(|| async { ([("content-type", "application/octet-stream")], b"%PDF-1.7\n%fake".to_vec()) }))
        .fallback(|| async { "origin" })
}

async fn status(site: &Site, arguments: &[&str]) -> String {
    let mut all = vec!["--output", "/dev/null", "--write-out", "%{http_code}"];
    all.extend(arguments);
    text(&site.curl(&all))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_answers_in_the_form_the_client_accepts() {
    let site = Site::start(router()).await;
    let rule = json!({ "name": "no", "action": "block", "traffic": "http.request.uri.path == \"/no\"", "rule_settings": { "block_reason": "because of testing" } });
    site.rule(rule).await;
    let url = site.url("/no");
    for (accept, shape) in [("text/html", "<html"), ("application/json", "{"), ("text/plain", "")] {
        let header = format!("accept: {accept}");
        let page = text(&site.curl(&["--include", "--header", &header, &url]));
        assert!(
            page.contains("403") && page.contains("because of testing") && page.contains(shape),
            "{accept}: {page}"
        );
        assert!(page.contains(&format!("content-type: {accept}")), "{accept}: {page}");
    }
    assert_eq!(text(&site.curl(&[&site.url("/yes")])), "origin");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_rule_in_precedence_decides_and_the_record_says_so() {
    let site = Site::start(router()).await;
    let path = "http.request.uri.path == \"/both\"";
    site.rule(json!({ "name": "later", "action": "block", "precedence": 200, "traffic": path })).await;
    site.rule(json!({ "name": "sooner", "action": "allow", "precedence": 100, "traffic": path })).await;
    assert_eq!(status(&site, &[&site.url("/both")]).await, "200");
    let record =
        crate::support::recorded(&site.platform, "gateway_http", |record| record["PolicyName"] == "sooner").await;
    assert_eq!(record["Action"], "allow");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_are_deleted_set_and_added_on_the_way_to_the_origin() {
    let site = Site::start(router()).await;
    let settings = json!({ "set_headers": { "x-set": ["@{source.ip}"] }, "add_headers": { "x-add": ["a", "b"] }, "delete_headers": ["x-secret"] });
    site.rule(json!({ "name": "headers", "action": "allow", "traffic": "", "rule_settings": settings })).await;
    let seen = text(&site.curl(&["--header", "x-secret: 1", "--header", "x-set: mine", &site.url("/headers")]));
    assert!(seen.contains("\"x-set\": \"127.0.0.1\""), "{seen}");
    assert!(seen.contains("\"x-add\": \"a\"") && seen.contains("\"b\""), "{seen}");
    assert!(!seen.contains("x-secret"), "{seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn response_facts_decide_when_the_response_is_there() {
    let site = Site::start(router()).await;
    site.rule(json!({ "name": "no teapots", "action": "block", "traffic": "http.response.status_code == \"418\"" }))
        .await;
    assert_eq!(status(&site, &[&site.url("/teapot")]).await, "403");
    assert_eq!(status(&site, &[&site.url("/other")]).await, "200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_is_known_by_its_bytes_whatever_its_label() {
    let site = Site::start(router()).await;
    let traffic = "any(http.download.file.types[*] in {\"pdf\"})";
    site.rule(json!({ "name": "no pdf", "action": "block", "traffic": traffic })).await;
    assert_eq!(status(&site, &[&site.url("/pdf")]).await, "403");
    assert_eq!(status(&site, &[&site.url("/headers")]).await, "200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_grows_and_the_next_request_is_decided_by_it() {
    let site = Site::start(router()).await;
    let list = json!({ "name": "sites", "type": "DOMAIN", "items": [{ "value": "unrelated.test" }] });
    let list = site.platform.api("POST", "/gateway/lists", Some(list)).await.unwrap();
    let id = list["id"].as_str().unwrap();
    site.rule(
        json!({ "name": "listed", "action": "block", "traffic": format!("any(http.request.domains[*] in ${id})") }),
    )
    .await;
    assert_eq!(status(&site, &[&site.url("/")]).await, "200");
    let patch = json!({ "append": [{ "value": "example.test" }], "remove": [] });
    site.platform.api("PATCH", &format!("/gateway/lists/{id}"), Some(patch)).await.unwrap();
    crate::support::settled(&site.platform).await;
    assert_eq!(status(&site, &[&site.url("/")]).await, "403");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_known_by_their_proxy_token() {
    let site = Site::start(router()).await;
    let data = site.platform.data().to_str().unwrap();
    let added =
        crate::support::portunus(&["user", "add", "ana@example.test", "--group", "Finance", "--json", "--data", data]);
    let token = serde_json::from_str::<Value>(&text(&added)).unwrap()["proxy_token"].as_str().unwrap().to_owned();
    let traffic = json!({ "name": "finance only", "action": "block", "traffic": "", "identity": "not(any(identity.groups[*].name in {\"Finance\"}))" });
    site.rule(traffic).await;
    let user = format!("ana@example.test:{token}");
    assert_eq!(status(&site, &["--proxy-user", &user, &site.url("/")]).await, "200");
    assert_eq!(status(&site, &[&site.url("/")]).await, "403");
    let wrong = site.curl(&[
        "--proxy-user",
        "ana@example.test:wrong",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_connect}",
        &site.url("/"),
    ]);
    assert_eq!(String::from_utf8_lossy(&wrong.stdout), "407");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_inspected_keeps_its_own_certificate_and_is_recorded() {
    let site = Site::start(router()).await;
    site.rule(json!({ "name": "pinned", "action": "off", "traffic": format!("http.request.host == \"{}\"", crate::support::HOST) })).await;
    let refused = site.curl(&[&site.url("/")]);
    assert!(!refused.status.success(), "the platform's authority must not have signed this");
    assert_eq!(text(&site.curl(&["--insecure", &site.url("/")])), "origin");
    let of_host = |record: &Value| record["SNI"] == crate::support::HOST;
    let record = crate::support::recorded(&site.platform, "gateway_network", of_host).await;
    assert_eq!(record["PolicyName"], "pinned", "{record}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_untrusted_origin_is_an_error_page_unless_a_rule_lets_it_pass() {
    let site = Site::start(router()).await;
    site.platform.api("PATCH", "/portunus/network", Some(json!({ "roots": [] }))).await.unwrap();
    crate::support::settled(&site.platform).await;
    let page = text(&site.curl(&["--include", "--header", "accept: text/plain", &site.url("/")]));
    assert!(page.contains("526") && page.to_lowercase().contains("certificate"), "{page}");
    let settings = json!({ "untrusted_cert": { "action": "pass_through" } });
    site.rule(json!({ "name": "trusted by hand", "action": "allow", "traffic": "", "rule_settings": settings })).await;
    assert_eq!(text(&site.curl(&[&site.url("/")])), "origin");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_platforms_own_addresses_and_loopback_are_out_of_reach() {
    let site = Site::start(router()).await;
    let console = site.platform.ready.console_url.clone();
    for url in [
        console.as_str(),
        "http://127.0.0.1:1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]:1/",
        "http://localhost:1/",
    ] {
        assert_eq!(status(&site, &[url]).await, "403", "{url}");
    }
}
