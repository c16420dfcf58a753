//! Signing in and what follows: provider, built-in people, tokens, sign-out, revocation, questions.

use std::time::Duration;

use http::{Method, StatusCode};
use identity::session::{Moment, Revoked};
use serde_json::{Value, json};

use crate::support::{BUILT_IN, EMAIL, LIST, OIDC, OTHER, PASSWORD, Setup, Stand, TEAM, WIKI, allow};

fn claims(token: &str) -> Value {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_by_their_provider_and_the_application_knows_who_they_are() {
    let stand = Stand::start(Setup::default()).await;
    let mut browser = stand.browser();
    let seen = stand.sign_in(&mut browser, "/pages?x=1#part").await;
    assert_eq!(seen.status, StatusCode::OK, "{}", seen.text);
    assert_eq!(seen.url, stand.url(WIKI, "/pages?x=1"));
    let told: Value = serde_json::from_str(&seen.text).unwrap();
    let headers = &told["headers"];
    assert_eq!(headers["cf-access-authenticated-user-email"], EMAIL);
    assert_eq!(headers["x-forwarded-proto"], "https");
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    let token = headers["cf-access-jwt-assertion"].as_str().unwrap();
    assert!(headers["cookie"].as_str().unwrap().contains(token));
    let claims = claims(token);
    assert_eq!(claims["email"], EMAIL);
    assert_eq!(claims["type"], "app");
    assert_eq!(claims["iss"], format!("https://{TEAM}"));
    assert_eq!(claims["aud"], json!([format!("{:064x}", 1)]));
    // The application cannot set a cookie of ours.
    assert!(!seen.headers.contains_key("set-cookie"));
    let records = stand.records().await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(
        (&records[0]["Action"], &records[0]["Allowed"], &records[0]["Email"]),
        (&json!("login"), &json!(true), &json!(EMAIL))
    );
    assert_eq!((&records[0]["AppDomain"], &records[0]["Connection"]), (&json!(WIKI), &json!("oidc")));
    // The token is verified by the keys at both published places.
    for host in [TEAM, WIKI] {
        let keys: Value =
            serde_json::from_str(&browser.get(&stand.url(host, "/cdn-cgi/access/certs")).await.text).unwrap();
        assert_eq!(keys["keys"][0]["alg"], "RS256");
        assert!(keys["public_cert"]["kid"].as_str().unwrap().len() == 64);
    }
    let who = browser.get(&stand.url(WIKI, "/cdn-cgi/access/get-identity")).await;
    let who: Value = serde_json::from_str(&who.text).unwrap();
    assert_eq!((&who["email"], &who["idp"]["type"]), (&json!(EMAIL), &json!("oidc")));
    stand.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_application_opens_without_another_sign_in() {
    let other = (json!({"name": "Other", "domain": OTHER}), vec![allow(json!({"everyone": {}}))]);
    let stand = Stand::start(Setup { more: vec![other], ..Setup::default() }).await;
    let mut browser = stand.browser();
    stand.sign_in(&mut browser, "/").await;
    let seen = browser.open(&stand.url(OTHER, "/x")).await;
    assert_eq!((seen.status, seen.url.path()), (StatusCode::OK, "/x"));
    assert_eq!(stand.sessions.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_of_ours_signs_in_with_a_password() {
    let wiki = json!({"allowed_idps": [BUILT_IN]});
    let stand = Stand::start(Setup { wiki, ..Setup::default() }).await;
    let mut browser = stand.browser();
    let page = browser.open(&stand.url(WIKI, "/")).await;
    let wrong = browser.submit(&page, "password", &[("email", EMAIL), ("password", "wrong wrong wrong")]).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    let nobody =
        browser.submit(&wrong, "password", &[("email", "bob@example.test"), ("password", "wrong wrong")]).await;
    // Nothing tells whether the address is anybody's.
    let text = |text: &str, email: &str| text.replace(email, "").split("value=").next().unwrap().to_owned();
    assert_eq!((nobody.status, text(&nobody.text, "bob@example.test")), (wrong.status, text(&wrong.text, EMAIL)));
    let right = browser.submit(&nobody, "password", &[("email", "ADA@example.test "), ("password", PASSWORD)]).await;
    let seen = browser.follow(right).await;
    assert_eq!(seen.status, StatusCode::OK, "{}", seen.text);
    assert!(seen.text.contains(EMAIL));
    let outcomes: Vec<bool> =
        stand.records().await.iter().map(|record| record["Allowed"].as_bool().unwrap_or(false)).collect();
    assert_eq!(outcomes, [false, false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_that_is_not_ascii_locks_nobody_out_and_reaches_the_application() {
    let stand = Stand::start(Setup::default()).await;
    let mut browser = stand.browser();
    for host in [WIKI, TEAM] {
        browser.cookies.insert((host.to_owned(), "name".to_owned()), "Zoë".to_owned());
    }
    let seen = stand.sign_in(&mut browser, "/").await;
    assert_eq!(seen.status, StatusCode::OK, "{}", seen.text);
    let again = browser.get(&stand.url(WIKI, "/")).await;
    assert_eq!(again.status, StatusCode::OK);
    let told: Value = serde_json::from_str(&again.text).unwrap();
    let cookie = told["headers"]["cookie"].as_str().unwrap();
    assert!(cookie.contains("name=Zoë") && !cookie.contains("CF_AppSession"), "{cookie}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_are_slowed_down_for_everybody_alike() {
    let wiki = json!({"allowed_idps": [BUILT_IN]});
    let config = access::AccessConfig { failures_per_minute: 2, ..access::AccessConfig::default() };
    let stand = Stand::start(Setup { wiki, config, ..Setup::default() }).await;
    let mut browser = stand.browser();
    let mut page = browser.open(&stand.url(WIKI, "/")).await;
    for expected in [StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS] {
        page = browser.submit(&page, "password", &[("email", "nobody@x.test"), ("password", "wrong wrong")]).await;
        assert_eq!(page.status, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_in_as_oneself_gives_no_new_guesses_at_others() {
    let wiki = json!({"allowed_idps": [BUILT_IN]});
    let config = access::AccessConfig { failures_per_minute: 2, ..access::AccessConfig::default() };
    let stand = Stand::start(Setup { wiki, config, ..Setup::default() }).await;
    let mut statuses = Vec::new();
    for (email, password) in [("a@x.test", "wrong"), (EMAIL, PASSWORD), ("b@x.test", "wrong"), (EMAIL, PASSWORD)] {
        let mut browser = stand.browser();
        let page = browser.open(&stand.url(WIKI, "/")).await;
        let answer = browser.submit(&page, "password", &[("email", email), ("password", password)]).await;
        statuses.push(answer.status.as_u16());
    }
    // The success took nothing from its source and gave nothing back.
    assert_eq!(statuses, [401, 302, 401, 429]);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_no_policy_covers_is_denied_and_told_so() {
    let stand = Stand::start(Setup {
        policies: vec![allow(json!({"email": {"email": "boss@example.test"}}))],
        wiki: json!({"custom_deny_message": "Ask <the> wiki team."}),
        ..Setup::default()
    })
    .await;
    let mut browser = stand.browser();
    browser.language = "de-DE,de;q=0.9";
    let page = browser.open(&stand.url(WIKI, "/")).await;
    let away = browser.submit(&page, "provider", &[]).await;
    let seen = browser.follow(away).await;
    assert_eq!(seen.status, StatusCode::FORBIDDEN);
    assert!(seen.text.contains("Sie haben keinen Zugang") && seen.text.contains("Ask &lt;the&gt; wiki team."));
    assert_eq!(seen.headers["cf-access-error"], "forbidden");
    let record = stand.records().await.pop().unwrap();
    assert_eq!(record["Reason"], "no policy of the application covers the caller");
    assert_eq!(record["Trace"][0]["name"], "Staff");
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_ends_every_application_at_once() {
    let other = (json!({"name": "Other", "domain": OTHER}), vec![allow(json!({"everyone": {}}))]);
    let stand = Stand::start(Setup { more: vec![other], ..Setup::default() }).await;
    let mut browser = stand.browser();
    stand.sign_in(&mut browser, "/").await;
    browser.open(&stand.url(OTHER, "/")).await;
    let kept = browser.cookies.clone();
    let out = browser.get(&stand.url(WIKI, "/cdn-cgi/access/logout")).await;
    assert!(out.status == StatusCode::OK && out.text.contains("You are signed out"));
    // Not even a browser that kept its cookies gets in again.
    browser.cookies = kept;
    for host in [WIKI, OTHER] {
        assert_eq!(browser.get(&stand.url(host, "/")).await.status, StatusCode::FOUND, "{host}");
    }
    let page = browser.open(&stand.url(WIKI, "/")).await;
    assert!(page.text.contains("Continue with"));
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_everywhere_ends_the_person_s_other_browsers_and_nobody_else_s() {
    let stand = Stand::start(Setup::default()).await;
    let mut browsers = [stand.browser(), stand.browser(), stand.browser()];
    let [desk, phone, other] = &mut browsers;
    for browser in [&mut *desk, &mut *phone] {
        assert_eq!(stand.sign_in(browser, "/").await.status, StatusCode::OK);
    }
    let bob = testkit::Identity { email: "bob@example.test".to_owned(), claims: json!({}) };
    stand.provider.identify(bob);
    assert_eq!(stand.sign_in(other, "/").await.status, StatusCode::OK);
    // Without the word it is this browser alone; here it is for all of them.
    let everywhere = stand.url(TEAM, "/cdn-cgi/access/logout?everywhere=1");
    let request = desk.request(Method::GET, &everywhere).header("sec-fetch-site", "same-origin");
    let out = desk.send(request).await;
    assert!(out.status == StatusCode::OK && out.text.contains("You are signed out"), "{}", out.text);
    for browser in [&mut *desk, &mut *phone] {
        assert_eq!(browser.get(&stand.url(WIKI, "/")).await.status, StatusCode::FOUND);
        assert!(browser.open(&stand.url(WIKI, "/")).await.text.contains("Continue with"), "the session is over too");
    }
    assert_eq!(other.get(&stand.url(WIKI, "/")).await.status, StatusCode::OK);
    // Nobody is signed out by somebody who is not signed in.
    let mut stranger = stand.browser();
    let request = stranger.request(Method::GET, &everywhere).header("sec-fetch-site", "same-origin");
    stranger.send(request).await;
    assert_eq!(other.get(&stand.url(WIKI, "/")).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_of_one_application_keeps_the_others() {
    let stand = Stand::start(Setup::default()).await;
    let mut browser = stand.browser();
    stand.sign_in(&mut browser, "/").await;
    let out = browser.get(&stand.url(WIKI, "/cdn-cgi/access/logout?scope=app")).await;
    assert!(out.text.contains("still signed in"));
    assert_eq!(browser.get(&stand.url(WIKI, "/")).await.status, StatusCode::FOUND);
    assert_eq!(browser.open(&stand.url(WIKI, "/")).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_hold_from_the_next_request_on() {
    let stand = Stand::start(Setup::default()).await;
    let mut browser = stand.browser();
    let seen = stand.sign_in(&mut browser, "/").await;
    let told: Value = serde_json::from_str(&seen.text).unwrap();
    let subject = claims(told["headers"]["cf-access-jwt-assertion"].as_str().unwrap())["sub"].clone();
    let user: types::UserId = serde_json::from_value(subject).unwrap();
    // As the store's change feed brings them.
    let now = || Moment(jiff::Timestamp::now().as_millisecond() + 1);
    let application = types::ApplicationId(uuid::Uuid::from_u128(1));
    stand.sessions.revoke(Revoked::Application(application), now());
    assert_eq!(browser.get(&stand.url(WIKI, "/")).await.status, StatusCode::FOUND);
    stand.advance(Duration::from_secs(2));
    // The organisation's session goes on, so the way back needs nobody.
    assert_eq!(browser.open(&stand.url(WIKI, "/")).await.status, StatusCode::OK);
    stand.sessions.revoke(Revoked::User(user), Moment(now().0 + 2_000));
    assert_eq!(browser.get(&stand.url(WIKI, "/")).await.status, StatusCode::FOUND);
    assert!(browser.open(&stand.url(WIKI, "/")).await.text.contains("Continue with"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_when_their_time_is_over() {
    let stand = Stand::start(Setup {
        wiki: json!({"session_duration": "30m"}),
        organization: json!({"session_duration": "1h"}),
        ..Setup::default()
    })
    .await;
    let mut browser = stand.browser();
    stand.sign_in(&mut browser, "/").await;
    stand.advance(Duration::from_secs(31 * 60));
    assert_eq!(browser.get(&stand.url(WIKI, "/")).await.status, StatusCode::FOUND);
    assert_eq!(browser.open(&stand.url(WIKI, "/")).await.status, StatusCode::OK);
    stand.advance(Duration::from_secs(31 * 60));
    assert!(browser.open(&stand.url(WIKI, "/")).await.text.contains("Continue with"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_asks_why_gets_an_answer_into_the_log() {
    let mut policy = allow(json!({"everyone": {}}));
    policy["purpose_justification_required"] = json!(true);
    policy["purpose_justification_prompt"] = json!("Which ticket?");
    let stand = Stand::start(Setup { policies: vec![policy], ..Setup::default() }).await;
    let mut browser = stand.browser();
    let page = stand.sign_in(&mut browser, "/").await;
    assert!(page.text.contains("Which ticket?"), "{}", page.text);
    let empty = browser.submit(&page, "justify", &[("reason", "  ")]).await;
    assert!(empty.text.contains("Which ticket?"));
    let answered = browser.submit(&empty, "justify", &[("reason", "ticket 7")]).await;
    assert_eq!(browser.follow(answered).await.status, StatusCode::OK);
    let record = stand.records().await.pop().unwrap();
    assert_eq!(record["PurposeJustificationPrompt"], "Which ticket?");
    assert_eq!(record["PurposeJustificationResponse"], "ticket 7");
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_asked_again_on_every_request() {
    let stand = Stand::start(Setup {
        policies: vec![json!({
            "name": "By path", "decision": "allow", "include": [{"email_list": {"id": LIST}}],
            "portunus": {"expression": "http.request.uri.path != \"/secret\""},
        })],
        ..Setup::default()
    })
    .await;
    let mut browser = stand.browser();
    assert_eq!(stand.sign_in(&mut browser, "/open").await.status, StatusCode::OK);
    let secret = browser.get(&stand.url(WIKI, "/secret")).await;
    assert_eq!(secret.status, StatusCode::FORBIDDEN, "{}", secret.text);
    let record = stand.records().await.pop().unwrap();
    assert_eq!((&record["Action"], &record["Path"]), (&json!("request"), &json!("/secret")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_providers_is_passed_in_order() {
    let stand =
        Stand::start(Setup { wiki: json!({"portunus": {"login_chain": [BUILT_IN, OIDC]}}), ..Setup::default() }).await;
    let mut browser = stand.browser();
    let page = browser.open(&stand.url(WIKI, "/")).await;
    assert!(page.text.contains("password") && !page.text.contains("Continue with"));
    let next = browser.submit(&page, "password", &[("email", EMAIL), ("password", PASSWORD)]).await;
    assert!(next.text.contains("Continue with Test provider"), "{}", next.text);
    assert_eq!(stand.sessions.len(), 0);
    let away = browser.submit(&next, "provider", &[]).await;
    let seen = browser.follow(away).await;
    // The application names no origin; the person was let in all the same.
    assert_eq!(seen.status, StatusCode::BAD_GATEWAY, "{}", seen.text);
    assert_eq!(stand.sessions.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_in_a_page_learns_that_it_must_sign_in() {
    let stand = Stand::start(Setup::default()).await;
    let browser = stand.browser();
    let url = stand.url(WIKI, "/");
    for (name, value) in
        [("x-requested-with", "XMLHttpRequest"), ("sec-fetch-mode", "cors"), ("accept", "application/json")]
    {
        let response = browser.request(Method::GET, &url).header(name, value).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{name}");
        assert_eq!(response.json::<Value>().await.unwrap()["error"], "unauthenticated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_leads_on_to_the_provider_that_named_the_person() {
    let stand = Stand::start(Setup::default()).await;
    let mut browser = stand.browser();
    let back = format!("{}", stand.url(TEAM, "/cdn-cgi/access/logout"));
    let expected =
        [("client_id".to_owned(), testkit::CLIENT_ID.to_owned()), ("post_logout_redirect_uri".to_owned(), back)];
    stand.sign_in(&mut browser, "/").await;
    let page = browser.get(&stand.url(TEAM, "/cdn-cgi/access/logout")).await;
    let address = format!("{}/logout?client_id=", stand.provider.issuer);
    assert!(page.status == StatusCode::OK && page.text.contains(&address), "{}", page.text);
    assert_eq!(browser.get(&stand.url(WIKI, "/")).await.status, StatusCode::FOUND, "the session here has ended first");
    stand.sign_in(&mut browser, "/").await;
    let away = browser.get(&stand.url(TEAM, "/cdn-cgi/access/logout?provider=1")).await.location();
    assert_eq!(away.as_str().split('?').next().unwrap(), format!("{}/logout", stand.provider.issuer));
    assert_eq!(away.query_pairs().into_owned().collect::<Vec<_>>(), expected);
    // On the way back nobody is signed in any more, and a second time leads nowhere.
    let again = browser.get(&stand.url(TEAM, "/cdn-cgi/access/logout?provider=1")).await;
    assert!(again.status == StatusCode::OK && !again.text.contains(&address));
    assert_eq!(browser.get(&stand.url(WIKI, "/")).await.status, StatusCode::FOUND);
}
