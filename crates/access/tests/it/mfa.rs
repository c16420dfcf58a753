//! Second factors: step-up, enrolment, recovery, and each way in which they must not be passed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_lc_rs::hmac;
use http::{Method, StatusCode};
use serde_json::json;

use crate::support::{Setup, Stand, TEAM, WIKI};
use testkit::{Browser, Seen};

const MINUTE: Duration = Duration::from_secs(60);

async fn stand() -> Stand {
    let wiki = json!({"mfa_config": {"allowed_authenticators": ["totp"], "session_duration": "1h"}});
    Stand::start(Setup { wiki, ..Setup::default() }).await
}

/// An authenticator app, written from RFC 6238 and not from the engine: its key, and the code it was enrolled with.
struct App(Vec<u8>, String);

impl App {
    fn scan(page: &Seen) -> Self {
        let text = page.text.split("<code>").nth(1).unwrap().split('<').next().unwrap();
        let (mut bits, mut held, mut bytes) = (0_u64, 0, Vec::new());
        for letter in text.chars() {
            bits = bits << 5 | "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".find(letter).unwrap() as u64;
            held += 5;
            if held >= 8 {
                held -= 8;
                bytes.push((bits >> held & 0xff) as u8);
            }
        }
        assert_eq!(bytes.len(), 20);
        Self(bytes, String::new())
    }

    fn code(&self, seconds: i64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let tag = hmac::sign(&key, &(seconds / 30).to_be_bytes());
        let tag = tag.as_ref();
        let at = usize::from(tag[19] & 15);
        let number = u32::from_be_bytes(tag[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
        format!("{:06}", number % 1_000_000)
    }

    /// A code that is right in none of the steps around now.
    fn wrong(&self, seconds: i64) -> String {
        let right: Vec<String> = (-3..=3).map(|step| self.code(seconds + 30 * step)).collect();
        (0..).map(|number| format!("{number:06}")).find(|code| !right.contains(code)).unwrap()
    }
}

/// Signs in at the wiki for the first time and enrols an app. Returns the app and the page of recovery codes.
async fn enrol(stand: &Stand, browser: &mut Browser) -> (App, Seen) {
    let page = stand.sign_in(browser, "/page").await;
    assert_eq!(
        (page.status, page.url.host_str(), page.url.path()),
        (StatusCode::OK, Some(TEAM), "/cdn-cgi/access/mfa")
    );
    let mut app = App::scan(&page);
    app.1 = app.code(stand.seconds());
    let shown = browser.submit(&page, "mfa-enrol", &[("code", &app.1)]).await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.text);
    (app, shown)
}

fn codes(page: &Seen) -> Vec<String> {
    let items = page.text.split("<li><code>").skip(1);
    items.map(|item| item.split('<').next().unwrap().to_owned()).collect()
}

async fn onward(browser: &mut Browser, page: &Seen) -> Seen {
    let link = page.text.split("class=\"button\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let address = page.url.join(&link.replace("&amp;", "&")).unwrap();
    browser.open(&address).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_factor_is_enrolled_at_first_need_and_then_remembered_with_the_device() {
    let stand = stand().await;
    let mut browser = stand.browser();
    let (app, shown) = enrol(&stand, &mut browser).await;
    assert_eq!(codes(&shown).len(), 10);
    let seen = onward(&mut browser, &shown).await;
    assert_eq!((seen.status, seen.url), (StatusCode::OK, stand.url(WIKI, "/page")), "{}", seen.text);
    // Another login on this device within the freshness asks for nothing.
    browser.open(&stand.url(TEAM, "/cdn-cgi/access/logout")).await;
    let seen = stand.sign_in(&mut browser, "/again").await;
    assert_eq!(seen.url, stand.url(WIKI, "/again"), "{}", seen.text);
    // Another device is asked.
    stand.advance(MINUTE);
    let mut other = stand.browser();
    let prompt = stand.sign_in(&mut other, "/there").await;
    assert_eq!(prompt.url.path(), "/cdn-cgi/access/mfa");
    assert!(!prompt.text.contains("<svg"), "an enrolled person is offered no new secret");
    let proved = other.submit(&prompt, "mfa-prove", &[("code", &app.code(stand.seconds()))]).await;
    let seen = other.follow(proved).await;
    assert_eq!(seen.url, stand.url(WIKI, "/there"), "{}", seen.text);
    // When the freshness is over, the open application asks again.
    stand.advance(60 * MINUTE);
    let seen = browser.open(&stand.url(WIKI, "/later")).await;
    assert_eq!((seen.url.host_str(), seen.url.path()), (Some(TEAM), "/cdn-cgi/access/mfa"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_an_old_and_a_wrong_code_prove_nothing() {
    let stand = stand().await;
    let (app, _) = enrol(&stand, &mut stand.browser()).await;
    let mut browser = stand.browser();
    let prompt = stand.sign_in(&mut browser, "/").await;
    let mut said = Vec::new();
    let (now, wrong) = (stand.seconds(), app.wrong(stand.seconds()));
    for code in [&app.1, &app.code(now - 90), &app.code(now + 90), &wrong] {
        let refused = browser.submit(&prompt, "mfa-prove", &[("code", code)]).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        said.push(refused.text.split("name=\"state\"").next().unwrap().to_owned());
    }
    assert!(said.windows(2).all(|pair| pair[0] == pair[1]), "one text for every wrong code");
    let outside = browser.open(&stand.url(WIKI, "/")).await;
    assert_eq!(outside.url.host_str(), Some(TEAM));
    // A clock that is one step behind is accepted.
    stand.advance(2 * MINUTE);
    let late = app.code(stand.seconds() - 30);
    let proved = browser.submit(&prompt, "mfa-prove", &[("code", &late)]).await;
    let seen = browser.follow(proved).await;
    assert_eq!(seen.url.host_str(), Some(WIKI), "{}", seen.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_are_bounded_and_a_right_one_during_the_pause_is_answered_like_a_wrong_one() {
    let stand = stand().await;
    let (app, _) = enrol(&stand, &mut stand.browser()).await;
    stand.advance(MINUTE);
    let mut browser = stand.browser();
    let prompt = stand.sign_in(&mut browser, "/").await;
    let wrong = app.wrong(stand.seconds());
    for _ in 0..5 {
        let refused = browser.submit(&prompt, "mfa-prove", &[("code", &wrong)]).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    }
    // Another browser of the same person is held by the same bound.
    let mut other = stand.browser();
    let elsewhere = stand.sign_in(&mut other, "/").await;
    let right = app.code(stand.seconds());
    for code in [&wrong, &right] {
        let refused = other.submit(&elsewhere, "mfa-prove", &[("code", code)]).await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(refused.text.contains("Too many wrong codes.") && refused.headers.contains_key("retry-after"));
    }
    stand.advance(2 * MINUTE);
    let proved = browser.submit(&prompt, "mfa-prove", &[("code", &app.code(stand.seconds()))]).await;
    assert_eq!(browser.follow(proved).await.url.host_str(), Some(WIKI));
}

#[tokio::test(flavor = "multi_thread")]
async fn factors_change_only_after_a_proof_and_a_recovery_code_works_once() {
    let stand = stand().await;
    let (_, shown) = enrol(&stand, &mut stand.browser()).await;
    let mut browser = stand.browser();
    let prompt = stand.sign_in(&mut browser, "/").await;
    let account = browser.open(&stand.url(TEAM, "/cdn-cgi/access/account")).await;
    assert!(!account.text.contains("mfa-remove"), "no change without a proof");
    // The form of the page is used for what the page does not offer.
    let (_, state) = account.form("mfa-prove");
    for action in ["mfa-remove", "mfa-codes"] {
        let url = stand.url(TEAM, &format!("/cdn-cgi/access/{action}"));
        let refused = browser.send(browser.request(Method::POST, &url).form(&[("state", &state)])).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
    }
    let code = codes(&shown)[3].to_lowercase().replace('-', " ");
    let proved = browser.submit(&account, "mfa-recover", &[("code", &code)]).await;
    let account = browser.follow(proved).await;
    assert!(account.text.contains("Recovery codes left: 9"), "{}", account.text);
    // It lets nobody into the application.
    let outside = browser.open(&stand.url(WIKI, "/")).await;
    assert_eq!(outside.url.path(), "/cdn-cgi/access/mfa");
    let (_, state) = prompt.form("mfa-prove");
    let url = stand.url(TEAM, "/cdn-cgi/access/mfa-recover");
    let again = browser.request(Method::POST, &url).form(&[("state", &state), ("code", &code)]);
    assert_eq!(browser.send(again).await.status, StatusCode::UNAUTHORIZED);
    let removed = browser.submit(&account, "mfa-remove", &[]).await;
    assert!(browser.follow(removed).await.text.contains("You have no second factor yet."));
    let again = browser.open(&stand.url(WIKI, "/")).await;
    let app = App::scan(&again);
    let shown = browser.submit(&again, "mfa-enrol", &[("code", &app.code(stand.seconds()))]).await;
    assert_eq!(codes(&shown).len(), 10);
    assert_eq!(onward(&mut browser, &shown).await.url.host_str(), Some(WIKI));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_another_browser_or_site_and_a_lost_store_prove_nothing() {
    let stand = stand().await;
    let (app, _) = enrol(&stand, &mut stand.browser()).await;
    stand.advance(MINUTE);
    let (mut browser, mut other) = (stand.browser(), stand.browser());
    let prompt = stand.sign_in(&mut browser, "/").await;
    stand.sign_in(&mut other, "/").await;
    let code = app.code(stand.seconds());
    let stolen = other.submit(&prompt, "mfa-prove", &[("code", &code)]).await;
    assert_eq!(stolen.status, StatusCode::BAD_REQUEST);
    let (url, state) = prompt.form("mfa-prove");
    let form = [("state", state.as_str()), ("code", code.as_str())];
    let foreign = browser.request(Method::POST, &url).header("origin", "https://evil.example").form(&form);
    assert_eq!(browser.send(foreign).await.status, StatusCode::BAD_REQUEST);
    stand.ledger.gone.store(true, Ordering::SeqCst);
    let refused = browser.submit(&prompt, "mfa-prove", &[("code", &code)]).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    stand.ledger.gone.store(false, Ordering::SeqCst);
    let proved = browser.submit(&prompt, "mfa-prove", &[("code", &code)]).await;
    assert_eq!(browser.follow(proved).await.url.host_str(), Some(WIKI));
}
