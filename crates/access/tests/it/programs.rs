//! Programs with service tokens, and callers that need none.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Setup, Stand, WIKI, allow};

fn service_auth() -> Value {
    json!({"name": "Robots", "decision": "non_identity", "include": [{"any_valid_service_token": {}}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_token_opens_what_a_service_auth_policy_covers() {
    let staff = allow(json!({"everyone": {}}));
    for (policies, right) in
        [(vec![service_auth(), staff.clone()], StatusCode::OK), (vec![staff], StatusCode::FORBIDDEN)]
    {
        let stand = Stand::start(Setup { policies, ..Setup::default() }).await;
        let mut browser = stand.browser();
        let (id, secret) = (stand.token.0.to_string(), stand.token.1.clone());
        let other = format!("{}0", &secret[..secret.len() - 1]);
        for (headers, status) in [
            (vec![("cf-access-client-id", id.as_str()), ("cf-access-client-secret", &secret)], right),
            (vec![("cf-access-client-id", id.as_str()), ("cf-access-client-secret", &other)], StatusCode::UNAUTHORIZED),
            (vec![("cf-access-client-id", id.as_str())], StatusCode::UNAUTHORIZED),
        ] {
            let mut request = browser.request(Method::GET, &stand.url(WIKI, "/"));
            for (name, value) in &headers {
                request = request.header(*name, *value);
            }
            let seen = browser.send(request).await;
            assert_eq!(seen.status, status, "{headers:?} {}", seen.text);
            // Strict mode sets no cookie, and the secret stays here.
            assert!(browser.cookies.is_empty() && !seen.text.contains(&secret));
            if status == StatusCode::OK {
                let told: Value = serde_json::from_str(&seen.text).unwrap();
                assert!(told["headers"]["cf-access-jwt-assertion"].is_string());
                assert!(told["headers"]["cf-access-authenticated-user-email"].is_null());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_of_strict_mode_the_cookie_goes_on_opening() {
    let stand = Stand::start(Setup {
        policies: vec![service_auth()],
        organization: json!({"strict_service_token_auth": false}),
        wiki: json!({"read_service_tokens_from_header": "Authorization"}),
        ..Setup::default()
    })
    .await;
    let mut browser = stand.browser();
    let packed = json!({"cf-access-client-id": stand.token.0, "cf-access-client-secret": stand.token.1}).to_string();
    let request = browser.request(Method::GET, &stand.url(WIKI, "/")).header("authorization", packed);
    let seen = browser.send(request).await;
    assert_eq!(seen.status, StatusCode::OK, "{}", seen.text);
    assert!(!seen.text.contains(&stand.token.1));
    assert_eq!(browser.get(&stand.url(WIKI, "/")).await.status, StatusCode::OK);
    browser.cookies.clear();
    assert_eq!(browser.get(&stand.url(WIKI, "/")).await.status, StatusCode::FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_can_be_let_in_without_anybody() {
    let policy = json!({"name": "Here", "decision": "non_identity", "include": [{"ip": {"ip": "127.0.0.0/8"}}]});
    let stand = Stand::start(Setup { policies: vec![policy], ..Setup::default() }).await;
    let seen = stand.browser().get(&stand.url(WIKI, "/")).await;
    assert_eq!(seen.status, StatusCode::OK);
    assert!(!seen.text.contains("jwt-assertion"));
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_of_the_requests_that_pass_are_recorded_as_the_organisation_says() {
    for (organization, recorded) in [(json!({}), 0), (json!({"portunus": {"log_allowed_per_mille": 250}}), 5)] {
        let stand = Stand::start(Setup { policies: vec![service_auth()], organization, ..Setup::default() }).await;
        let mut browser = stand.browser();
        let (id, secret) = (stand.token.0.to_string(), stand.token.1.clone());
        for _ in 0..20 {
            let request = browser.request(Method::GET, &stand.url(WIKI, "/pages?secret=1"));
            let request = request.header("cf-access-client-id", &id).header("cf-access-client-secret", &secret);
            assert_eq!(browser.send(request).await.status, StatusCode::OK);
        }
        let records = stand.records().await;
        assert_eq!(records.len(), recorded);
        for record in records {
            assert_eq!(
                (&record["Action"], &record["Allowed"], &record["Path"]),
                (&json!("request"), &json!(true), &json!("/pages"))
            );
            assert_eq!((&record["PolicyName"], &record["UserUID"]), (&json!("Robots"), &json!(id)));
            assert!(!record.to_string().contains("secret=1"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_use_of_a_service_token_is_written_down_once_a_minute_and_only_where_it_let_somebody_in() {
    let stand = Stand::start(Setup { policies: vec![service_auth()], ..Setup::default() }).await;
    let (id, secret) = (stand.token.0.to_string(), stand.token.1.clone());
    let wrong = format!("{}0", &secret[..secret.len() - 1]);
    let mut browser = stand.browser();
    let minutes = [stand.seconds() / 60, stand.seconds() / 60 + 2];
    for (secret, times) in [(&wrong, 1), (&secret, 5)] {
        for _ in 0..times {
            let request = browser.request(Method::GET, &stand.url(WIKI, "/"));
            browser.send(request.header("cf-access-client-id", &id).header("cf-access-client-secret", secret)).await;
        }
    }
    stand.advance(std::time::Duration::from_secs(120));
    let request = browser.request(Method::GET, &stand.url(WIKI, "/"));
    browser.send(request.header("cf-access-client-id", &id).header("cf-access-client-secret", &secret)).await;
    let ledger = std::sync::Arc::clone(&stand.ledger);
    // Whatever waits is written before the plane has stopped.
    stand.shut_down().await;
    let used = ledger.used.lock().unwrap();
    // A test that runs over the end of a minute sees one more.
    assert!((2..=3).contains(&used.len()), "{used:?}");
    assert!(used.iter().all(|(token, at)| *token == used[0].0 && at.0 % 60_000 == 0));
    let seen = [used[0].1.0 / 60_000, used[used.len() - 1].1.0 / 60_000];
    assert!(seen[0] == minutes[0] || seen[0] == minutes[0] + 1, "{seen:?} {minutes:?}");
    assert!(seen[1] == minutes[1] || seen[1] == minutes[1] + 1, "{seen:?} {minutes:?}");
}
