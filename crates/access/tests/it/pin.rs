//! Signing in with a code that is mailed, and every way to get in without it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use access::AccessConfig;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{BUILT_IN, EMAIL, OIDC, PASSWORD, PIN, Setup, Stand, TEAM, WIKI, allow, by_mail};
use testkit::{Browser, Seen};

const STRANGER: &str = "eve@elsewhere.test";
const REFUSED: &str = "does not have access, or the code is wrong";

fn setup() -> Setup {
    Setup { wiki: json!({"allowed_idps": [PIN]}), providers: vec![by_mail()], ..Setup::default() }
}

/// Asks for a code at the wiki and returns the page that asks for it.
async fn ask(stand: &Stand, browser: &mut Browser, address: &str) -> Seen {
    let page = browser.open(&stand.url(WIKI, "/")).await;
    browser.submit(&page, "pin", &[("email", address)]).await
}

async fn enter(browser: &mut Browser, page: &Seen, code: &str) -> Seen {
    let entered = browser.submit(page, "pin-code", &[("code", code)]).await;
    browser.follow(entered).await
}

/// A code that is not this one.
fn other_than(code: &str) -> String {
    format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000)
}

/// A page without what is sealed for this browser and without the address that was typed.
fn shape(seen: &Seen, address: &str) -> (StatusCode, String) {
    let sealed = |part: &&str| part.len() > 60 && !part.contains(' ');
    (seen.status, seen.text.replace(address, "").split('"').filter(|part| !sealed(part)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_with_the_code_that_is_mailed_to_them() {
    let wiki = json!({"allowed_idps": [BUILT_IN, PIN]});
    let stand = Stand::start(Setup { wiki, ..setup() }).await;
    let mut browser = stand.browser();
    let choice = browser.open(&stand.url(WIKI, "/pages?x=1")).await;
    assert!(choice.text.contains("Get a code by mail"));
    let page = browser.submit(&choice, "provider", &[]).await;
    assert!(page.text.contains("type your address"), "{}", page.text);
    let page = browser.submit(&page, "pin", &[("email", " ADA@Example.test ")]).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("If <strong>ada@example.test</strong> may sign in here, a code has been sent to it."));
    assert_eq!(stand.records().await.len(), 0, "an attempt is recorded when a code is typed");
    let letter = stand.mailbox.letter(EMAIL).await;
    assert_eq!((letter.subject.as_str(), letter.expires_at), ("Your code for Example", stand.seconds() + 600));
    let code = letter.text.expose().lines().nth(2).unwrap().to_owned();
    assert!(letter.html.expose().contains(&format!(">{code}<")) && letter.html.expose().contains("Wiki (Example)"));
    assert!(!page.text.contains(&code), "the code is in the mail alone");
    let spaced = format!("{} {}", &code[..3], &code[3..]);
    let seen = enter(&mut browser, &page, &spaced).await;
    assert_eq!((seen.status, &seen.url), (StatusCode::OK, &stand.url(WIKI, "/pages?x=1")), "{}", seen.text);
    let told: Value = serde_json::from_str(&seen.text).unwrap();
    assert_eq!(told["headers"]["cf-access-authenticated-user-email"], EMAIL);
    let who = browser.get(&stand.url(WIKI, "/cdn-cgi/access/get-identity")).await;
    let who: Value = serde_json::from_str(&who.text).unwrap();
    assert_eq!((&who["email"], &who["idp"]["type"]), (&json!(EMAIL), &json!("onetimepin")));
    let records = stand.records().await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!((&records[0]["Allowed"], &records[0]["Connection"]), (&json!(true), &json!("onetimepin")));
}

#[tokio::test(flavor = "multi_thread")]
async fn page_and_mail_speak_the_persons_language() {
    let stand = Stand::start(setup()).await;
    let mut browser = stand.browser();
    browser.language = "de";
    let page = ask(&stand, &mut browser, EMAIL).await;
    assert!(page.text.contains("wurde ein Code dorthin gesendet"), "{}", page.text);
    let letter = stand.mailbox.letter(EMAIL).await;
    assert_eq!(letter.subject, "Ihr Code für Example");
    assert!(letter.text.expose().starts_with("Ihr Code zur Anmeldung bei Wiki (Example):\n\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_proves_a_mailbox_and_no_second_factor() {
    // `otp` of a provider would stand for an authenticator app here; what was mailed must not.
    let organization = json!({"mfa_config": {
        "allowed_authenticators": ["totp"], "session_duration": "1h", "amr_matching_session_duration": "1h"}});
    let wiki =
        json!({"allowed_idps": [PIN], "mfa_config": {"allowed_authenticators": ["totp"], "session_duration": "1h"}});
    let stand = Stand::start(Setup { organization, wiki, ..setup() }).await;
    let mut browser = stand.browser();
    let page = ask(&stand, &mut browser, EMAIL).await;
    let code = stand.mailbox.code(EMAIL).await;
    let seen = enter(&mut browser, &page, &code).await;
    assert_eq!(seen.url.path(), "/cdn-cgi/access/mfa", "{}", seen.text);
    // A policy can ask for this way of signing in, by its name in RFC 8176.
    let policies = vec![allow(json!({"auth_method": {"auth_method": "mca"}}))];
    let stand = Stand::start(Setup { policies, ..setup() }).await;
    let mut browser = stand.browser();
    let page = ask(&stand, &mut browser, STRANGER).await;
    let code = stand.mailbox.code(STRANGER).await;
    assert_eq!(enter(&mut browser, &page, &code).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_tells_who_may_sign_in_and_only_they_get_mail() {
    let stand = Stand::start(setup()).await;
    let (mut ada, mut eve) = (stand.browser(), stand.browser());
    let (for_ada, for_eve) = (ask(&stand, &mut ada, EMAIL).await, ask(&stand, &mut eve, STRANGER).await);
    assert_eq!(for_ada.status, StatusCode::OK);
    assert_eq!(shape(&for_ada, EMAIL), shape(&for_eve, STRANGER));
    let code = stand.mailbox.code(EMAIL).await;
    let (wrong, never) =
        (enter(&mut ada, &for_ada, &other_than(&code)).await, enter(&mut eve, &for_eve, "123456").await);
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(wrong.text.contains(REFUSED), "{}", wrong.text);
    assert_eq!(shape(&wrong, EMAIL), shape(&never, STRANGER));
    // Letters keep their order, so none was written for the stranger before this one.
    let page = ada.submit(&wrong, "pin", &[("email", EMAIL)]).await;
    let code = stand.mailbox.code(EMAIL).await;
    assert_eq!(stand.mailbox.waiting(), [""; 0]);
    assert_eq!(enter(&mut ada, &page, &code).await.status, StatusCode::OK);
    let records = stand.records().await;
    let told = records.iter().map(|record| (record["Email"].as_str().unwrap(), record["Allowed"] == true));
    assert_eq!(told.collect::<Vec<_>>(), [(EMAIL, false), (STRANGER, false), (EMAIL, true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_works_once_however_many_use_it() {
    let stand = Stand::start(setup()).await;
    let mut browser = stand.browser();
    let page = ask(&stand, &mut browser, EMAIL).await;
    let code = stand.mailbox.code(EMAIL).await;
    let (url, state) = page.form("pin-code");
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let request = browser.request(Method::POST, &url).form(&[("state", &state), ("code", &code)]);
        sending.spawn(request.header("accept", "text/html").send());
    }
    let answers = sending.join_all().await;
    let entered = answers.into_iter().filter(|answer| answer.as_ref().unwrap().status() == StatusCode::FOUND).count();
    assert_eq!((entered, stand.sessions.len()), (1, 1));
    let replayed = enter(&mut browser, &page, &code).await;
    assert_eq!(replayed.status, StatusCode::UNAUTHORIZED);
    assert_eq!(stand.sessions.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_end_a_code_and_slow_down_their_source() {
    let config = AccessConfig { failures_per_minute: 6, ..AccessConfig::default() };
    let stand = Stand::start(Setup { config, ..setup() }).await;
    let mut browser = stand.browser();
    let mut page = ask(&stand, &mut browser, EMAIL).await;
    let code = stand.mailbox.code(EMAIL).await;
    for _ in 0..5 {
        page = enter(&mut browser, &page, &other_than(&code)).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    }
    let right_too_late = enter(&mut browser, &page, &code).await;
    assert_eq!(right_too_late.status, StatusCode::UNAUTHORIZED);
    assert!(right_too_late.text.contains(REFUSED));
    let slowed = enter(&mut browser, &page, &code).await;
    assert_eq!(slowed.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(stand.sessions.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_opens_nothing_in_another_browser_nor_from_another_site() {
    let stand = Stand::start(setup()).await;
    let (mut ada, mut thief) = (stand.browser(), stand.browser());
    let page = ask(&stand, &mut ada, EMAIL).await;
    let code = stand.mailbox.code(EMAIL).await;
    // The form of one browser in another.
    thief.open(&stand.url(WIKI, "/")).await;
    assert_eq!(enter(&mut thief, &page, &code).await.status, StatusCode::BAD_REQUEST);
    // The code in a sign-in that the thief began for the same address.
    let own = ask(&stand, &mut thief, EMAIL).await;
    assert_eq!(enter(&mut thief, &own, &code).await.status, StatusCode::UNAUTHORIZED);
    // A form that another site sends in the right browser.
    let (url, state) = page.form("pin-code");
    let forged = ada.request(Method::POST, &url).header("origin", "https://evil.test");
    let forged = ada.send(forged.form(&[("state", &state), ("code", &code)])).await;
    assert_eq!(forged.status, StatusCode::BAD_REQUEST);
    assert!(stand.sessions.is_empty());
    assert_eq!(enter(&mut ada, &page, &code).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_worth_nothing_after_ten_minutes_or_when_another_was_asked_for() {
    let stand = Stand::start(setup()).await;
    let mut browser = stand.browser();
    let page = ask(&stand, &mut browser, EMAIL).await;
    let first = stand.mailbox.code(EMAIL).await;
    let again = browser.submit(&page, "pin", &[("email", EMAIL)]).await;
    let second = stand.mailbox.code(EMAIL).await;
    assert_ne!(first, second);
    assert_eq!(enter(&mut browser, &page, &first).await.status, StatusCode::UNAUTHORIZED);
    stand.advance(Duration::from_secs(601));
    let late = enter(&mut browser, &again, &second).await;
    assert_eq!(late.status, StatusCode::UNAUTHORIZED);
    assert!(late.text.contains(REFUSED) && stand.sessions.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_to_one_address_is_bounded_in_silence_and_that_of_one_source_aloud() {
    let stand = Stand::start(setup()).await;
    let mut browser = stand.browser();
    let choice = browser.open(&stand.url(WIKI, "/")).await;
    let mut pages = Vec::new();
    for _ in 0..4 {
        pages.push(browser.submit(&choice, "pin", &[("email", EMAIL)]).await);
    }
    for _ in 0..3 {
        stand.mailbox.code(EMAIL).await;
    }
    assert_eq!(shape(&pages[3], EMAIL), shape(&pages[0], EMAIL));
    // A slow machine gives some back meanwhile, one in 30 seconds.
    let mut number = 4;
    let refused = loop {
        let page = browser.submit(&choice, "pin", &[("email", &format!("p{number}@example.test"))]).await;
        if page.status != StatusCode::OK {
            break page;
        }
        number += 1;
        assert!(number < 60, "there is no bound");
    };
    assert!(number >= 20, "{number}");
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    let wait: i64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    stand.mailbox.letter("p19@example.test").await;
    let to_ada = stand.mailbox.waiting().iter().filter(|to| *to == EMAIL).count();
    assert_eq!(to_ada, 0, "the fourth was not mailed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_address_of_one_mailbox_gets_no_mail() {
    let stand = Stand::start(Setup { policies: vec![allow(json!({"everyone": {}}))], ..setup() }).await;
    let mut browser = stand.browser();
    let page = browser.open(&stand.url(WIKI, "/")).await;
    for typed in ["", "ada", "a@b.test,c@d.test", "a@b.test\r\nBcc: c@d.test", "<script>@x.test", "\u{212a}@x.test"] {
        let seen = browser.submit(&page, "pin", &[("email", typed)]).await;
        assert_eq!(seen.status, StatusCode::BAD_REQUEST, "{typed}");
        assert!(!seen.text.contains("<script>"));
    }
    assert!(stand.mailbox.pins.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_nobody_gets_a_code_or_in() {
    let stand = Stand::start(setup()).await;
    let mut browser = stand.browser();
    let page = browser.open(&stand.url(WIKI, "/")).await;
    stand.mailbox.gone.store(true, Ordering::SeqCst);
    for address in [EMAIL, STRANGER] {
        let seen = browser.submit(&page, "pin", &[("email", address)]).await;
        assert_eq!(seen.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(seen.text.contains("Signing in does not work at the moment"));
    }
    stand.mailbox.gone.store(false, Ordering::SeqCst);
    let page = ask(&stand, &mut browser, EMAIL).await;
    let code = stand.mailbox.code(EMAIL).await;
    stand.mailbox.gone.store(true, Ordering::SeqCst);
    let refused = enter(&mut browser, &page, &code).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(stand.sessions.is_empty());
    stand.mailbox.gone.store(false, Ordering::SeqCst);
    assert_eq!(enter(&mut browser, &page, &code).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_the_first_or_a_later_step_of_a_chain_for_one_person() {
    for first in [true, false] {
        let chain = if first { [PIN, BUILT_IN] } else { [BUILT_IN, PIN] };
        let wiki = json!({"portunus": {"login_chain": chain}});
        let stand = Stand::start(Setup { wiki, ..setup() }).await;
        let mut browser = stand.browser();
        let mut page = browser.open(&stand.url(WIKI, "/")).await;
        if !first {
            page = browser.submit(&page, "password", &[("email", EMAIL), ("password", PASSWORD)]).await;
            assert!(page.text.contains(&format!("value=\"{EMAIL}\"")), "{}", page.text);
            // Somebody else's mailbox adds nothing to who the first step named.
            browser.submit(&page, "pin", &[("email", "bob@example.test")]).await;
        }
        page = browser.submit(&page, "pin", &[("email", EMAIL)]).await;
        let code = stand.mailbox.code(EMAIL).await;
        assert_eq!(stand.mailbox.waiting(), [""; 0]);
        let mut seen = enter(&mut browser, &page, &code).await;
        if first {
            assert!(stand.sessions.is_empty());
            seen = browser.submit(&seen, "password", &[("email", EMAIL), ("password", PASSWORD)]).await;
            seen = browser.follow(seen).await;
        }
        // The chain leads to the wiki, which has no origin in this set-up.
        assert_eq!((seen.url.host_str(), stand.sessions.len()), (Some(WIKI), 1), "{}", seen.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_asked_for_at_one_application_gets_nobody_past_anothers_providers() {
    let stand = Stand::start(Setup { wiki: json!({"allowed_idps": [OIDC]}), ..setup() }).await;
    let mut browser = stand.browser();
    let page = browser.open(&stand.url(WIKI, "/")).await;
    assert!(!page.text.contains("code by mail"));
    let (_, state) = page.form("provider");
    let ask = browser.request(Method::POST, &stand.url(TEAM, "/cdn-cgi/access/pin"));
    let seen = browser.send(ask.form(&[("state", state.as_str()), ("email", EMAIL)])).await;
    assert_eq!(seen.status, StatusCode::BAD_REQUEST);
    assert!(stand.mailbox.pins.lock().unwrap().is_empty());
}
