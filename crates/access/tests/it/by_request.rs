//! Policies that look at the request, at the moments when there is none: sign-in, consent, refresh.

use http::StatusCode;
use serde_json::{Value, json};

use crate::oauth::{Agent, Tokens, setup as managed};
use crate::support::{EMAIL, Setup, Stand, WIKI, allow};

fn by(decision: &str, expression: &str) -> Value {
    json!({"name": "By request", "decision": decision, "include": [{"everyone": {}}],
        "portunus": {"expression": expression}})
}

fn at(decision: &str, path: &str) -> Value {
    by(decision, &format!("starts_with(http.request.uri.path, \"{path}\")"))
}

fn staff() -> Value {
    allow(json!({"email_domain": {"domain": "example.test"}}))
}

async fn stand(policies: Vec<Value>) -> Stand {
    Stand::start(Setup { policies, ..Setup::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_about_one_path_keeps_nobody_out_of_the_others() {
    for first in [at("bypass", "/healthz"), at("deny", "/closed")] {
        let stand = stand(vec![first.clone(), staff()]).await;
        let mut browser = stand.browser();
        let seen = stand.sign_in(&mut browser, "/pages?x=1").await;
        assert_eq!((seen.status, seen.url.path()), (StatusCode::OK, "/pages"), "{first}: {}", seen.text);
        assert_eq!(stand.records().await.len(), 1, "{first}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_is_refused_for_its_path_is_recorded_once_and_opens_the_others() {
    let stand = stand(vec![at("deny", "/closed"), staff()]).await;
    let mut browser = stand.browser();
    let seen = stand.sign_in(&mut browser, "/closed/a").await;
    assert_eq!(seen.status, StatusCode::FORBIDDEN, "{}", seen.text);
    let records = stand.records().await;
    let told: Vec<_> = records
        .iter()
        .map(|record| (&record["Action"], &record["Allowed"], &record["Email"], &record["Reason"]))
        .collect();
    let reason = json!("the policy \"By request\" denies it");
    assert_eq!(told, [(&json!("login"), &Value::Null, &json!(EMAIL), &reason)]);
    // The session is the organisation's; no second sign-in is needed for what is open.
    assert_eq!(browser.open(&stand.url(WIKI, "/open")).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_whom_only_other_paths_are_open_to_is_told_and_recorded() {
    let stand = stand(vec![at("allow", "/open")]).await;
    let mut browser = stand.browser();
    assert_eq!(stand.sign_in(&mut browser, "/else").await.status, StatusCode::FORBIDDEN);
    let record = stand.records().await.pop().unwrap();
    assert_eq!((&record["Action"], &record["Allowed"]), (&json!("login"), &Value::Null));
    assert_eq!(browser.open(&stand.url(WIKI, "/open")).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_with_an_expression_asks_its_question_and_lets_in() {
    let mut policy = at("allow", "/pages");
    policy["purpose_justification_required"] = json!(true);
    let stand = stand(vec![policy]).await;
    let mut browser = stand.browser();
    let page = stand.sign_in(&mut browser, "/pages").await;
    let answered = browser.submit(&page, "justify", &[("reason", "ticket 7")]).await;
    assert_eq!(browser.follow(answered).await.status, StatusCode::OK);
    assert_eq!(stand.records().await.pop().unwrap()["PurposeJustificationResponse"], "ticket 7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_with_an_expression_asks_for_approval() {
    let mut policy = at("allow", "/pages");
    policy["approval_required"] = json!(true);
    policy["approval_groups"] = json!([{"approvals_needed": 1, "email_addresses": ["boss@example.test"]}]);
    let stand = stand(vec![policy]).await;
    let page = stand.sign_in(&mut stand.browser(), "/pages").await;
    assert!(page.text.contains("approval-ask"), "{} {}", page.url, page.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_that_covers_the_request_is_the_one_whose_factor_or_answer_is_asked_for() {
    let mut asks = at("allow", "/b");
    asks["purpose_justification_required"] = json!(true);
    let mut proves = at("allow", "/c");
    proves["mfa_config"] = json!({"allowed_authenticators": ["totp"], "session_duration": "1h"});
    let stand = stand(vec![at("allow", "/a"), asks, proves]).await;
    let mut browser = stand.browser();
    assert_eq!(stand.sign_in(&mut browser, "/a").await.status, StatusCode::OK);
    let page = browser.open(&stand.url(WIKI, "/c")).await;
    assert_eq!(page.url.path(), "/cdn-cgi/access/mfa", "{}", page.text);
    let page = browser.open(&stand.url(WIKI, "/b/1")).await;
    let answered = browser.submit(&page, "justify", &[("reason", "ticket 7")]).await;
    let seen = browser.follow(answered).await;
    assert_eq!((seen.status, seen.url.path()), (StatusCode::OK, "/b/1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_fields_of_a_request_tell_is_found_by_the_gate() {
    // The sign-in cannot know which of the two covers the request, and would go in circles if it kept to its guess.
    let german = "any(http.request.headers[\"accept-language\"][*] == \"de\")";
    let mut asks = by("allow", german);
    asks["purpose_justification_required"] = json!(true);
    asks["purpose_justification_prompt"] = json!("Welches Ticket?");
    let stand = stand(vec![by("allow", &format!("not {german}")), asks]).await;
    let mut browser = stand.browser();
    assert_eq!(stand.sign_in(&mut browser, "/").await.status, StatusCode::OK);
    browser.language = "de";
    let page = browser.open(&stand.url(WIKI, "/")).await;
    assert!(page.text.contains("Welches Ticket?"), "{}", page.text);
    let answered = browser.submit(&page, "justify", &[("reason", "Ticket 7")]).await;
    assert_eq!(browser.follow(answered).await.status, StatusCode::OK);
}

/// The wiki with managed OAuth and these policies.
async fn for_agents(policies: Vec<Value>) -> Stand {
    Stand::start(Setup { policies, ..managed() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_consents_calls_and_refreshes_under_policies_about_paths() {
    for policies in [
        vec![at("bypass", "/healthz"), staff()],
        vec![at("deny", "/closed"), staff()],
        vec![at("allow", "/closed"), at("allow", "/pages")],
        vec![by("allow", "http.request.method == \"GET\" and http.request.uri.path == \"/pages\"")],
    ] {
        let stand = for_agents(policies.clone()).await;
        let (mut browser, mut agent) = (stand.browser(), Agent::register(&stand).await);
        let tokens = agent.tokens(&mut browser).await;
        assert_eq!(agent.call(&tokens.access).await.status, StatusCode::OK, "{policies:?}");
        let again = agent.refresh(&tokens.refresh).await;
        assert_eq!(again.status, StatusCode::OK, "{policies:?}: {}", again.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_ends_a_grant_only_where_no_request_could_pass() {
    let stand = for_agents(vec![staff()]).await;
    let (mut browser, mut agent) = (stand.browser(), Agent::register(&stand).await);
    let mut tokens = agent.tokens(&mut browser).await;
    let boss = allow(json!({"email": {"email": "boss@example.test"}}));
    for (policies, status, call) in [
        (vec![at("deny", "/pages"), staff()], StatusCode::OK, StatusCode::FORBIDDEN),
        (vec![at("allow", "/other"), boss.clone()], StatusCode::OK, StatusCode::FORBIDDEN),
        (vec![at("allow", "/pages"), boss.clone()], StatusCode::OK, StatusCode::OK),
        (vec![at("deny", "/pages"), boss], StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED),
    ] {
        stand.govern(&policies);
        assert_eq!(
            agent.call(&tokens.access).await.status,
            if status == StatusCode::OK { call } else { StatusCode::FORBIDDEN }
        );
        let reply = agent.refresh(&tokens.refresh).await;
        assert_eq!(reply.status, status, "{policies:?}: {}", reply.text);
        if status == StatusCode::OK {
            tokens = Tokens::of(&reply);
        }
        assert_eq!(agent.call(&tokens.access).await.status, call, "{policies:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_under_a_policy_with_a_question_needs_the_consent_that_answered_it() {
    let mut asks = at("allow", "/pages");
    asks["purpose_justification_required"] = json!(true);
    let stand = for_agents(vec![asks, staff()]).await;
    let (mut browser, mut agent) = (stand.browser(), Agent::register(&stand).await);
    let tokens = agent.tokens(&mut browser).await;
    assert_eq!(agent.call(&tokens.access).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_consents_for_an_agent_where_nobody_has_to_be_anybody() {
    let stand = for_agents(vec![json!({"name": "Open", "decision": "bypass", "include": [{"everyone": {}}]})]).await;
    let (mut browser, mut agent) = (stand.browser(), Agent::register(&stand).await);
    let tokens = agent.tokens(&mut browser).await;
    assert_eq!(agent.call(&tokens.access).await.status, StatusCode::OK);
}
