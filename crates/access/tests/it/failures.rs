//! What happens when something is down, slow or gone.

use std::sync::atomic::Ordering;
use std::time::Duration;

use access::AccessConfig;
use http::StatusCode;
use serde_json::json;
use testkit::Mischief;

use crate::support::{Setup, Stand, WIKI};

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_fails_or_lies_signs_nobody_in() {
    let config = AccessConfig { provider_timeout: Duration::from_secs(2), ..AccessConfig::default() };
    let stand = Stand::start(Setup { config, ..Setup::default() }).await;
    for (mischief, status) in [
        (Mischief::Slow, StatusCode::BAD_GATEWAY),
        (Mischief::Down, StatusCode::BAD_GATEWAY),
        (Mischief::Refuses, StatusCode::FORBIDDEN),
        (Mischief::WrongIssuer, StatusCode::BAD_GATEWAY),
        (Mischief::WrongAudience, StatusCode::BAD_GATEWAY),
        (Mischief::WrongNonce, StatusCode::BAD_GATEWAY),
        (Mischief::OtherKey, StatusCode::BAD_GATEWAY),
        (Mischief::Unsigned, StatusCode::BAD_GATEWAY),
        (Mischief::NamesAnother, StatusCode::BAD_GATEWAY),
    ] {
        stand.provider.misbehave(mischief);
        let mut browser = stand.browser();
        let seen = stand.sign_in(&mut browser, "/").await;
        assert_eq!(seen.status, status, "{mischief:?}: {}", seen.text);
        assert!(stand.sessions.is_empty(), "{mischief:?}");
    }
    assert_eq!(stand.records().await.len(), 9);
    let stats = stand.access.stats();
    assert_eq!((stats.sign_ins, stats.sessions, stats.records_lost), (0, 0, 0));
    stand.provider.misbehave(Mischief::None);
    let mut browser = stand.browser();
    assert_eq!(stand.sign_in(&mut browser, "/").await.status, StatusCode::OK);
    // Keys that changed are fetched once more.
    stand.provider.rotate().unwrap();
    assert_eq!(stand.sign_in(&mut stand.browser(), "/").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_nobody_new_gets_in_and_nobody_is_thrown_out() {
    let stand = Stand::start(Setup::default()).await;
    let mut inside = stand.browser();
    stand.sign_in(&mut inside, "/").await;
    let mut browser = stand.browser();
    let page = browser.open(&stand.url(WIKI, "/")).await;
    stand.ledger.gone.store(true, Ordering::SeqCst);
    let away = browser.submit(&page, "provider", &[]).await;
    let seen = browser.follow(away).await;
    assert_eq!(seen.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!browser.cookies.keys().any(|(_, name)| name == "CF_Authorization"));
    assert_eq!(stand.sessions.len(), 1);
    assert_eq!(inside.get(&stand.url(WIKI, "/")).await.status, StatusCode::OK);
    // A sign-out that could not be written down says so.
    let out = inside.get(&stand.url(WIKI, "/cdn-cgi/access/logout")).await;
    assert_eq!(out.status, StatusCode::SERVICE_UNAVAILABLE);
    stand.ledger.gone.store(false, Ordering::SeqCst);
    assert_eq!(stand.sign_in(&mut stand.browser(), "/").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_deactivated_does_not_sign_in() {
    let stand = Stand::start(Setup::default()).await;
    stand.ledger.deactivated.store(true, Ordering::SeqCst);
    let seen = stand.sign_in(&mut stand.browser(), "/").await;
    assert_eq!(seen.status, StatusCode::FORBIDDEN);
    assert!(seen.text.contains("Your access has been ended"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_is_down_is_told_apart_from_a_refusal() {
    let open = vec![json!({"name": "Open", "decision": "bypass", "include": [{"everyone": {}}]})];
    let origin = Some(json!({"url": "http://127.0.0.1:1"}));
    let stand = Stand::start(Setup { policies: open, origin, ..Setup::default() }).await;
    let seen = stand.browser().get(&stand.url(WIKI, "/")).await;
    assert_eq!(seen.status, StatusCode::BAD_GATEWAY);
    assert!(seen.text.contains("does not answer"));
}
