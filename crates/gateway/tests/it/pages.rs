//! What rules put in place of an answer: block pages, redirects, pages for what is not offered.

use axum::Router;
use axum::routing::any;
use gateway::{BlockPage, BlockRedirect, Look, Settings};
use serde_json::json;
use testkit::Origin;

use crate::support::{EMAIL, Got, Setup, Stand, TOKEN, credential, get, post, rule, rule_with, with};

async fn blocked(rules: Vec<serde_json::Value>, settings: Settings, accept: &str) -> (Stand, Got) {
    let origin = Origin::start(Router::new().fallback(any(|| async { "hello" })), None).await.unwrap();
    let stand =
        Stand::start(Setup { names: vec![("site.test", origin.address)], rules, settings, ..Setup::default() }).await;
    let request = with(get("http://site.test/a?b=1"), "accept", accept);
    let request = with(request, "proxy-authorization", &credential(EMAIL, TOKEN));
    let got = stand.send(request).await;
    (stand, got)
}

fn block() -> serde_json::Value {
    rule_with("no <sites>", "block", "http.request.host == \"site.test\"", json!({ "block_reason": "Not <b>here</b>" }))
}

#[tokio::test]
async fn the_block_page_comes_in_the_form_the_client_accepts() {
    for (accept, content_type) in [
        ("text/html,*/*;q=0.8", "text/html; charset=utf-8"),
        ("application/json", "application/json"),
        ("*/*", "text/plain; charset=utf-8"),
    ] {
        let (mut stand, got) = blocked(vec![block()], Settings::default(), accept).await;
        assert_eq!((got.status.as_u16(), got.header("content-type")), (403, content_type));
        assert!(got.text().contains("Not") && !got.header("cache-control").is_empty(), "{}", got.text());
        if accept.starts_with("text/html") {
            assert!(got.text().contains("Not &lt;b&gt;here") && !got.text().contains("src=\"http"), "{}", got.text());
        }
        let record = stand.http_record("http://site.test/a?b=1").await;
        assert_eq!((record["Action"].as_str(), record["PolicyName"].as_str()), (Some("block"), Some("no <sites>")));
        assert_eq!(record["RuleTrace"]["decided_by"]["name"], "no <sites>");
        let event = stand.events.recv().await.unwrap();
        assert_eq!((event.kind, event.user_email.as_deref()), (gateway::SecurityEventKind::Blocked, Some(EMAIL)));
    }
}

#[tokio::test]
async fn the_account_may_keep_its_block_page_elsewhere_or_give_it_a_look() {
    let redirect = BlockRedirect {
        target: policy::redirect::Target::parse("https://blocked.example/why").unwrap(),
        include_context: true,
    };
    let settings =
        Settings { block_page: BlockPage { redirect: Some(redirect), look: Look::default() }, ..Settings::default() };
    let (_stand, got) = blocked(vec![block()], settings, "text/html").await;
    assert_eq!(got.status, 307);
    let location = got.header("location");
    assert!(
        location.starts_with("https://blocked.example/why?cf_user_email=ada@example.test&cf_site_uri="),
        "{location}"
    );
    let look = Look { name: "Example Inc".to_owned(), suppress_footer: true, ..Look::default() };
    let settings = Settings { block_page: BlockPage { redirect: None, look }, ..Settings::default() };
    let (_stand, got) = blocked(vec![block()], settings, "text/html").await;
    assert!(got.text().contains("Example Inc") && !got.text().contains("<dl>"), "{}", got.text());
}

#[tokio::test]
async fn a_redirect_keeps_what_its_rule_says_and_never_a_body() {
    let settings = json!({ "redirect": {
        "target_uri": "https://training.example/start?x=1", "include_context": true, "preserve_path_and_query": true } });
    let rules = vec![rule_with("train first", "redirect", "http.request.host == \"site.test\"", settings)];
    let (stand, got) = blocked(rules, Settings::default(), "text/html").await;
    assert_eq!(got.status, 302);
    let location = got.header("location").to_owned();
    assert!(
        location.starts_with("https://training.example/start/a?x=1&b=1&cf_user_email=ada@example.test"),
        "{location}"
    );
    let record = stand.http_record("http://site.test/a?b=1").await;
    assert_eq!(
        (record["Action"].as_str(), record["RedirectTargetURI"].as_str()),
        (Some("redirect"), Some(location.as_str()))
    );
    let got = stand.send(post("http://site.test/form", "secret=1")).await;
    assert_eq!(got.status, 303);
}

#[tokio::test]
async fn actions_that_cannot_be_carried_out_are_refused() {
    let rules = vec![rule("isolate", "isolate", "http.request.host == \"site.test\"")];
    let (stand, got) = blocked(rules, Settings::default(), "text/html").await;
    assert_eq!(got.status, 403);
    assert!(got.text().contains("isolated browser"), "{}", got.text());
    assert_eq!(stand.http_record("http://site.test/a?b=1").await["Action"], "isolate");
}

#[tokio::test]
async fn header_changes_reach_the_origin_in_order() {
    let echo = |headers: axum::http::HeaderMap| async move {
        let all = |name: &str| -> Vec<String> {
            headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
        };
        format!("{:?} {:?} {:?}", all("x-gone"), all("x-user"), all("x-more"))
    };
    let origin = Origin::start(Router::new().fallback(any(echo)), None).await.unwrap();
    let settings = json!({
        "delete_headers": ["X-Gone"], "set_headers": { "X-User": ["@{identity.email}"] }, "add_headers": { "X-More": ["b"] } });
    let rules = vec![rule_with("tag", "allow", "http.request.host == \"site.test\"", settings)];
    let stand = Stand::start(Setup { names: vec![("site.test", origin.address)], rules, ..Setup::default() }).await;
    let request = with(with(get("http://site.test/"), "x-gone", "1"), "x-user", "me");
    let request = with(with(request, "x-more", "a"), "proxy-authorization", &credential(EMAIL, TOKEN));
    let got = stand.send(request).await;
    assert_eq!(got.text(), "[] [\"ada@example.test\"] [\"a\", \"b\"]");
    let record = stand.http_record("http://site.test/").await;
    assert_eq!(record["DeletedHeaders"][0], "x-gone");
    assert_eq!(record["SetHeaders"][0], "x-user");
    assert_eq!(record["AddedHeaders"][0], "x-more");
    let got = stand.get("http://site.test/anonymous").await;
    assert_eq!(got.status, 200);
    let record = stand.http_record("http://site.test/anonymous").await;
    assert!(!record["Warnings"].as_array().unwrap().is_empty(), "{record}");
}
