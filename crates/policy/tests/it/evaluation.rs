//! Evaluating documents: what the console, the API and the command line show.

use policy::Cursor;
use serde_json::json;

use crate::support::{compiled, document, facts, now, request, rules, stored};

#[test]
fn an_evaluation_decides_and_explains_every_rule() {
    let report = compiled(&rules(&[
        (
            "ask",
            "worker",
            r#"http.request.host == "finance.example" and http.request.headers["authorization"][0] == "s3cret""#,
        ),
        ("block", "block", r#"http.request.uri.path == "/secret""#),
        ("pinned", "off", r#"http.request.host == "pinned.example""#),
    ]));
    let facts = request(
        "https://finance.example/secret?token=t0p",
        &json!({"http.request.headers": {"authorization": ["s3cret"]}}),
    );
    let answer = serde_json::to_value(report.http.evaluate(&facts, now())).unwrap();
    assert_eq!(answer["inspected"], true);
    assert_eq!(answer["verdict"]["action"], "worker");
    assert_eq!(answer["verdict"]["rule"]["name"], "ask");
    assert_eq!(answer["if_declined"][0]["rule"]["name"], "block");
    let names: Vec<&str> =
        answer["rules"].as_array().unwrap().iter().map(|rule| rule["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["pinned", "ask", "block"]);
    assert_eq!(answer["rules"][1]["outcome"], "match");
    assert_eq!(answer["rules"][1]["expressions"][0]["member"], "traffic");
    assert_eq!(answer["rules"][1]["expressions"][0]["explanation"]["outcome"], "true");
    let text = answer.to_string();
    assert!(!text.contains("\"\\\"s3cret\\\"\""), "a secret header value is masked: {text}");
    assert!(!text.contains("t0p"), "{text}");
}

#[test]
fn missing_facts_are_named_and_the_decision_without_them_is_given() {
    let report = compiled(&rules(&[
        ("status", "block", r#"http.response.status_code == "500""#),
        ("rest", "allow", r#"http.request.host == "a.example""#),
    ]));
    let answer = serde_json::to_value(report.http.evaluate(&request("https://a.example/", &json!({})), now())).unwrap();
    assert_eq!(answer["verdict"]["action"], "allow");
    assert_eq!(answer["verdict"]["rule"]["name"], "rest");
    assert_eq!(
        answer["verdict"]["waits_for"],
        json!({"rule": "00000000-0000-0000-0000-000000000001", "fields": ["http.response.status_code"], "phase": "response head"})
    );
    assert_eq!(answer["rules"][0]["outcome"], "waits");
}

#[test]
fn a_connection_that_passes_through_is_not_decided_further() {
    let report =
        compiled(&rules(&[("block", "block", ""), ("pinned", "off", r#"http.request.host == "pinned.example""#)]));
    let evaluate = |url: &str| {
        serde_json::to_value(report.http.evaluate(&facts(&json!({"http.request.uri": url})), now())).unwrap()
    };
    let answer = evaluate("https://pinned.example/");
    assert_eq!((&answer["inspected"], &answer["verdict"]["action"]), (&json!(false), &json!("off")));
    // Plaintext has nothing to decrypt, so `off` says nothing about it.
    let answer = evaluate("http://pinned.example/");
    assert_eq!((answer.get("inspected"), &answer["verdict"]["action"]), (None, &json!("block")));
}

#[test]
fn an_address_is_explained_in_the_spelling_it_was_compared_in() {
    let rule =
        json!({"name": "r", "action": "block", "filters": ["http"], "identity": "identity.email == \"ann@b.example\""});
    let report = compiled(&[stored(1, &rule)]);
    let facts = request("https://a.example/", &json!({"identity.email": "a.nn+x@b.example"}));
    let answer = serde_json::to_value(report.http.evaluate(&facts, now())).unwrap();
    assert_eq!(answer["rules"][0]["outcome"], "match");
    assert_eq!(answer["rules"][0]["expressions"][0]["explanation"]["outcome"], "true");
    assert_eq!(answer["trace"]["facts"]["identity.email"], "a.nn+x@b.example");
}

#[test]
fn header_changes_resolve_against_the_same_facts() {
    let mut rule = document("r", "allow", "");
    rule["rule_settings"] = json!({
        "delete_headers": ["X-Old"],
        "set_headers": {"X-User": ["@{identity.email}"]},
        "add_headers": {"X-Note": ["a", "@{device.id}"]},
    });
    let report = compiled(&[stored(1, &rule)]);
    let facts = request("https://a.example/", &json!({"identity.email": "a@b.example"}));
    let found =
        crate::support::verdict(report.http.decide(&facts, now(), Cursor::start(), &mut policy::Scratch::new()));
    let policy::ActionPlan::Allow(plan) = found.action else { panic!() };
    let (changes, warnings) = plan.headers.resolve(&policy::ruleset::FactVariables(&facts));
    assert_eq!(
        format!("{changes:?}"),
        r#"[Delete { name: "x-old" }, Set { name: "x-user", values: ["a@b.example"] }, Add { name: "x-note", values: ["a", ""] }]"#
    );
    assert_eq!(warnings, ["header x-note: @{device.id} has no value here"]);
}
