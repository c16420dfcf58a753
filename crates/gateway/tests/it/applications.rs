//! What the host means: rules on applications, their status and categories hold, and every record names them.

use axum::Router;
use axum::routing::any;
use catalog::{Catalog, CategoryIndex, Classifier, Status};
use gateway::{BypassEntry, BypassList};
use http::Request;
use http_body_util::Full;
use logs::Dataset;
use serde_json::{Value, json};
use testkit::{Origin, OriginTls};

use crate::support::{Setup, Stand, get, rule, rule_with};

fn hello() -> Router {
    Router::new().fallback(any(|| async { "hello" }))
}

fn classifier() -> Classifier {
    let mut categories = CategoryIndex::with_own();
    categories.add(117, "evil.test").unwrap();
    categories.add(8, "evil.test").unwrap();
    let statuses = [(1199, Status::Unapproved), (2430, Status::Approved)];
    Classifier::new(Catalog::embedded(), categories.finish().into(), statuses)
}

fn seen(record: &Value) -> Value {
    json!([
        record["ApplicationIDs"],
        record["ApplicationNames"],
        record["ApplicationStatuses"],
        record["CategoryIDs"],
        record["CategoryNames"],
    ])
}

#[tokio::test]
async fn a_request_is_decided_and_recorded_by_what_its_host_means() {
    let names = ["chatgpt.com", "claude.ai", "www.gemini.google.com", "a.evil.test", "site.test"];
    let origin = Origin::start(hello(), None).await.unwrap();
    let rules = vec![
        rule("no unapproved AI", "block", r#"any(app.type.ids[*] in {25}) and any(app.statuses[*] == "unapproved")"#),
        rule("no malware", "block", "any(http.request.uri.security_category[*] in {117})"),
        rule("ours", "allow", "any(app.ids[*] in {2430})"),
        rule("no other AI", "block", "any(http.request.uri.content_category[*] in {184})"),
    ];
    let setup = Setup {
        names: names.map(|name| (name, origin.address)).into(),
        classifier: classifier(),
        rules,
        ..Setup::default()
    };
    let stand = Stand::start(setup).await;
    for (host, status, policy, meaning) in [
        (
            "chatgpt.com",
            403,
            json!("no unapproved AI"),
            json!([[1199], ["ChatGPT"], ["unapproved"], [184], ["Artificial Intelligence"]]),
        ),
        (
            "claude.ai",
            200,
            json!("ours"),
            json!([[2430], ["Claude"], ["approved"], [184], ["Artificial Intelligence"]]),
        ),
        (
            "www.gemini.google.com",
            403,
            json!("no other AI"),
            json!([[1340], ["Google Gemini"], ["unreviewed"], [184], ["Artificial Intelligence"]]),
        ),
        ("a.evil.test", 403, json!("no malware"), json!([null, null, null, [8, 117], ["Gambling", "Malware"]])),
        ("site.test", 200, Value::Null, json!([null, null, null, null, null])),
    ] {
        let url = format!("http://{host}/");
        assert_eq!(stand.send(get(&url)).await.status, status, "{host}");
        let record = stand.http_record(&url).await;
        assert_eq!(record["PolicyName"], policy, "{host}");
        assert_eq!(seen(&record), meaning, "{host}");
    }
}

#[tokio::test]
async fn what_is_not_decrypted_is_judged_and_recorded_by_its_name() {
    let names = ["chatgpt.com", "claude.ai"];
    let tls = OriginTls::for_names(&names, &["http/1.1"]).unwrap();
    let origin = Origin::start(hello(), Some(&tls)).await.unwrap();
    let mut network = rule("no such connection", "block", "any(app.ids[*] in {1199})");
    network["filters"] = json!(["l4"]);
    let entry = |pattern: &str| BypassEntry { pattern: pattern.to_owned(), reason: "it pins".to_owned() };
    let setup = Setup {
        names: names.map(|name| (name, origin.address)).into(),
        roots: vec![tls.root.clone()],
        rules: vec![network, rule("leave it", "off", r#"any(app.statuses[*] == "approved")"#)],
        bypass: BypassList::compile(&[entry("chatgpt.com")]).unwrap(),
        classifier: classifier(),
        ..Setup::default()
    };
    let stand = Stand::start(setup).await;
    drop(stand.tls("claude.ai:443", "claude.ai", &["http/1.1"], &tls.root).await.unwrap());
    assert!(stand.tls("chatgpt.com:443", "chatgpt.com", &["http/1.1"], &tls.root).await.is_err());
    for (sni, action, policy, ids, name) in [
        ("claude.ai", "off", "leave it", 2430, "Claude"),
        ("chatgpt.com", "block", "no such connection", 1199, "ChatGPT"),
    ] {
        let record = stand.record(Dataset::GatewayNetwork, |record| record["SNI"] == sni).await;
        assert_eq!(
            (record["Action"].as_str(), record["PolicyName"].as_str()),
            (Some(action), Some(policy)),
            "{record}"
        );
        assert_eq!((&record["ApplicationIDs"], &record["ApplicationNames"]), (&json!([ids]), &json!([name])));
        assert_eq!(record["CategoryNames"], json!(["Artificial Intelligence"]));
    }
}

#[tokio::test]
async fn a_kept_alive_connection_follows_the_host_of_each_request() {
    let tls = OriginTls::for_names(&["claude.ai"], &["http/1.1"]).unwrap();
    let origin = Origin::start(hello(), Some(&tls)).await.unwrap();
    let setup = Setup {
        names: vec![("claude.ai", origin.address)],
        roots: vec![tls.root],
        classifier: classifier(),
        ..Setup::default()
    };
    let stand = Stand::start(setup).await;
    for path in ["/1", "/2"] {
        let request = Request::get(path).header("host", "claude.ai").body(Full::default()).unwrap();
        assert_eq!(stand.secure("claude.ai:443", "claude.ai", request).await.text(), "hello");
        let record = stand.http_record(&format!("https://claude.ai{path}")).await;
        assert_eq!(record["ApplicationNames"], json!(["Claude"]));
    }
}

#[tokio::test]
async fn people_are_sent_to_the_sanctioned_application_with_what_they_asked_for() {
    let origin = Origin::start(hello(), None).await.unwrap();
    let settings = json!({"redirect": {"target_uri": "https://claude.ai/", "include_context": true}});
    let unapproved = r#"any(app.statuses[*] == "unapproved")"#;
    let setup = Setup {
        names: vec![("chatgpt.com", origin.address)],
        classifier: classifier(),
        rules: vec![rule_with("use ours", "redirect", unapproved, settings)],
        ..Setup::default()
    };
    let stand = Stand::start(setup).await;
    let got = stand.send(get("http://chatgpt.com/c/1")).await;
    let location = got.headers["location"].to_str().unwrap();
    assert!(location.starts_with("https://claude.ai/?"), "{location}");
    assert!(
        location.contains("cf_application_name=ChatGPT") && location.contains("cf_request_categories=184"),
        "{location}"
    );
}
