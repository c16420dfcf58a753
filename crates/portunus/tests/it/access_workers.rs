//! A policy of Access that asks a Worker, which asks a service: through the front door of the real binary.

use axum::Router;
use axum::extract::Query;
use axum::routing::get;
use serde_json::{Value, json};

use crate::access::{curl, person, sign_in};
use crate::support::{HOST, Site, recorded, settled};
use crate::workers::upload;

const SOURCE: &str = r#"export default {
    async access(question: AccessQuestion, env: { API: string }): Promise<AccessAnswer> {
        const status = await fetch(`${env.API}/training?who=${encodeURIComponent(question.identity?.email ?? "")}`);
        const { passed } = await status.json();
        const occasion = question.test ? ` (a test of ${question.phase} at ${question.request?.url ?? "no application"})` : "";
        return { allow: passed, reason: (passed ? "trained" : "the training is overdue") + occasion };
    },
};"#;

/// Tells who passed their training.
async fn training(Query(asked): Query<std::collections::HashMap<String, String>>) -> axum::Json<Value> {
    axum::Json(json!({ "passed": asked["who"] == "ana@example.test" }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_asks_a_worker_which_asks_a_service_and_nobody_gets_in_without_its_word() {
    let site = Site::start(Router::new().route("/training", get(training))).await;
    let platform = &site.platform;
    let wiki = testkit::Origin::start(Router::new().fallback(|| async { "the wiki" }), None).await.unwrap();
    let provider = json!({ "name": "Staff", "type": "portunus", "config": {} });
    platform.api("POST", "/access/identity_providers", Some(provider)).await.unwrap();
    let policy = json!({ "name": "Trained", "decision": "allow",
        "include": [{ "email_domain": { "domain": "example.test" } }],
        "require": [{ "portunus_worker": { "script": "training", "timeout_ms": 5000, "ttl_s": 0 } }] });
    // A name that nobody wrote a script for is a typing error.
    let refused = platform.api("POST", "/access/policies", Some(policy.clone())).await.unwrap_err().to_string();
    assert!(refused.contains("there is no such Worker"), "{refused}");
    let metadata = json!({
        "bindings": [{ "type": "plain_text", "name": "API", "text": format!("https://{HOST}") }],
        "egress": [HOST],
    });
    upload(platform, "training", SOURCE, metadata).await;
    let policy = platform.api("POST", "/access/policies", Some(policy)).await.unwrap();
    let application = json!({
        "type": "self_hosted", "name": "Wiki", "domain": "docs.localhost",
        "portunus": { "origin": { "url": format!("http://{}", wiki.address) } },
        "policies": [{ "id": policy["id"], "precedence": 1 }],
    });
    let made = platform.api("POST", "/access/apps", Some(application)).await.unwrap();
    settled(platform).await;

    let enter = |name: &'static str| {
        let email = format!("{name}@example.test");
        let password = person(platform.data().to_str().unwrap(), &email);
        let jar = platform.data().join(format!("{name}.cookies")).display().to_string();
        (email, password, jar)
    };
    let (email, password, jar) = enter("ana");
    settled(platform).await;
    let browser = ["--location", "--cookie-jar", &jar, "--cookie", &jar];
    let entered = sign_in(platform, &browser, &email, &password);
    assert!(entered.ends_with("the wiki"), "{entered}");
    let (email, password, bobs) = enter("bob");
    settled(platform).await;
    let kept_out = sign_in(platform, &["--location", "--cookie-jar", &bobs, "--cookie", &bobs], &email, &password);
    assert!(kept_out.contains("403") && !kept_out.ends_with("the wiki"), "{kept_out}");
    let told = |record: &Value| record["Email"] == "bob@example.test" && record["Allowed"] != json!(true);
    let record = recorded(platform, "access_requests", told).await;
    let reasons = record["Trace"][0]["reasons"].to_string();
    assert!(reasons.contains("Worker training did not allow it in "), "{reasons}");
    assert!(reasons.contains(" ms: the training is overdue"), "{reasons}");

    // The policy tester asks the script too: about everybody, and about one person at the application.
    let test = json!({ "policies": [policy["id"]] });
    let test = platform.api("POST", "/access/policy-tests", Some(test)).await.unwrap();
    let path = format!("/access/policy-tests/{}/users", test["id"].as_str().unwrap());
    let people = platform.api("GET", &path, None).await.unwrap();
    for (email, status, said) in [("ana@", "approved", "allowed it"), ("bob@", "blocked", "did not allow it")] {
        let all = people.as_array().unwrap();
        let person = all.iter().find(|person| person["email"].as_str().unwrap().starts_with(email));
        let person = person.unwrap_or_else(|| panic!("no {email} in {people}"));
        assert_eq!(person["status"], status, "{person}");
        let told = person["portunus"]["workers"].to_string();
        assert!(told.contains(&format!("Worker training {said} in ")), "{told}");
        assert!(told.contains("(a test of sign_in at no application)"), "{told}");
    }
    let path = format!("/access/apps/{}/user_policy_checks?email=bob@example.test", made["id"].as_str().unwrap());
    let check = platform.api("GET", &path, None).await.unwrap();
    assert_eq!(check["app_state"]["status"], "blocked");
    let reasons = check["app_state"]["policies"][0]["reasons"].to_string();
    assert!(reasons.contains("a test of sign_in at https://docs.localhost:"), "{reasons}");

    // The script is the policy's; taken away by force it lets nobody in, session or not.
    let kept = platform.api("DELETE", "/workers/scripts/training", None).await.unwrap_err().to_string();
    assert!(kept.contains("the policy \\\"Trained\\\" still calls this Worker"), "{kept}");
    platform.api("DELETE", "/workers/scripts/training?force=true", None).await.unwrap();
    settled(platform).await;
    let after = curl(platform, "docs.localhost", "/", &browser);
    assert!(after.contains("403") && !after.ends_with("the wiki"), "{after}");
}
