//! What happens when something is down, slow or gone.

use std::sync::atomic::Ordering;
use std::time::Duration;

use access::AccessConfig;
use http::StatusCode;
use identity::session::{Moment, Revoked};
use serde_json::{Value, json};
use testkit::Mischief;

use crate::support::{EMAIL, PASSWORD, Setup, Stand, WIKI};
use testkit::{Browser, Seen};

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

/// Signs in without the provider, whose clock is the machine's.
async fn by_password(stand: &Stand, browser: &mut Browser) -> Seen {
    let page = browser.open(&stand.url(WIKI, "/")).await;
    let entered = browser.submit(&page, "password", &[("email", EMAIL), ("password", PASSWORD)]).await;
    browser.follow(entered).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_goes_back_ends_nothing_and_brings_nothing_back() {
    let stand = Stand::start(Setup::default()).await;
    let (mut revoked, mut kept) = (stand.browser(), stand.browser());
    stand.sign_in(&mut revoked, "/").await;
    let identity = revoked.get(&stand.url(WIKI, "/cdn-cgi/access/get-identity")).await;
    let identity: Value = serde_json::from_str(&identity.text).unwrap();
    let user = identity["user_uuid"].as_str().unwrap().parse().unwrap();
    stand.sessions.revoke(Revoked::User(user), Moment(stand.seconds() * 1_000));
    assert_eq!(revoked.get(&stand.url(WIKI, "/")).await.status, StatusCode::FOUND);
    stand.sign_in(&mut kept, "/").await;

    stand.ahead.fetch_sub(3 * 3_600_000, Ordering::SeqCst);
    // What was revoked stays so; who signed in afterwards stays in, though that lies in the future.
    assert_eq!(revoked.get(&stand.url(WIKI, "/")).await.status, StatusCode::FOUND);
    assert_eq!(kept.get(&stand.url(WIKI, "/")).await.status, StatusCode::OK);
    // A sign-in under the clock that went back is later than the revocation.
    let mut newcomer = stand.browser();
    assert_eq!(by_password(&stand, &mut newcomer).await.status, StatusCode::OK);
    assert_eq!(newcomer.get(&stand.url(WIKI, "/")).await.status, StatusCode::OK);
    // And a revocation under it ends what the clock before it issued.
    stand.sessions.revoke(Revoked::User(user), Moment(stand.seconds() * 1_000));
    for browser in [&mut kept, &mut newcomer] {
        assert_eq!(browser.get(&stand.url(WIKI, "/")).await.status, StatusCode::FOUND);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_the_clock_leaves_behind_is_begun_again() {
    let stand = Stand::start(Setup::default()).await;
    let mut browser = stand.browser();
    let page = browser.open(&stand.url(WIKI, "/")).await;
    let away = browser.submit(&page, "provider", &[]).await.location();
    let back = browser.get(&away).await.location();
    stand.advance(Duration::from_secs(24 * 3_600));
    let late = browser.get(&back).await;
    assert_eq!(late.status, StatusCode::BAD_REQUEST, "{}", late.text);
    assert!(stand.sessions.is_empty());
    assert_eq!(by_password(&stand, &mut browser).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_goes_between_two_steps_of_a_sign_in_costs_a_second_try_alone() {
    let stand = Stand::start(Setup::default()).await;
    let mut browser = stand.browser();
    let page = browser.open(&stand.url(WIKI, "/")).await;
    let away = browser.submit(&page, "provider", &[]).await.location();
    let back = browser.get(&away).await.location();
    stand.ledger.gone.store(true, Ordering::SeqCst);
    assert_eq!(browser.get(&back).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(stand.sessions.is_empty() && stand.ledger.started.lock().unwrap().is_empty());
    assert!(!browser.cookies.keys().any(|(_, name)| name == "CF_Authorization"));
    stand.ledger.gone.store(false, Ordering::SeqCst);
    // The code is spent, so the answer again is worth nothing; a new sign-in in the same browser is.
    let again = browser.get(&back).await;
    assert!(!again.status.is_success() && !again.status.is_redirection(), "{}", again.status);
    assert_eq!(stand.sign_in(&mut browser, "/").await.status, StatusCode::OK);
    assert_eq!(stand.sessions.len(), 1);
}
