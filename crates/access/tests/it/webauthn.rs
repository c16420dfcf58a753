//! Authenticators at the sign-in host: enrolment, step-up and passkeys with a software authenticator, and each way in which
//! they must not be passed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use access::FactorPlace;
use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::SoftwareAuthenticator;
use url::Url;

use crate::support::{EMAIL, MODELS, OTHER, PASSWORD, Setup, Stand, TEAM, WIKI, allow};
use testkit::{Browser, Seen};

const MINUTE: Duration = Duration::from_secs(60);

/// A key that is plugged in.
fn usb() -> SoftwareAuthenticator {
    SoftwareAuthenticator::new([7; 16], true)
}

/// One that is a part of the device.
fn built_in() -> SoftwareAuthenticator {
    SoftwareAuthenticator::new([7; 16], false)
}

/// What a form of a page asks of an authenticator.
struct Asked {
    url: Url,
    state: String,
    ceremony: String,
    options: Value,
}

impl Asked {
    /// Finds the form of an action whose button says `label`.
    fn on(page: &Seen, action: &str, label: &str) -> Self {
        Self::find(page, action, label).unwrap_or_else(|| panic!("no {action} {label}: {}", page.text))
    }

    fn find(page: &Seen, action: &str, label: &str) -> Option<Self> {
        let of = |form: &str, before: &str| {
            let text = form.split(before).nth(1)?.split('"').next()?;
            Some(text.replace("&quot;", "\"").replace("&amp;", "&"))
        };
        let mut forms = page.text.split("<form").skip(1).map(|form| form.split("</form>").next().unwrap());
        let action = format!("/cdn-cgi/access/{action}");
        let form = forms.find(|form| form.contains(&format!("\"{action}\"")) && form.contains(label))?;
        Some(Self {
            url: page.url.join(&action).unwrap(),
            state: of(form, "name=\"state\" value=\"")?,
            ceremony: of(form, "name=\"ceremony\" value=\"")?,
            options: serde_json::from_str(&of(form, "data-webauthn=\"")?).unwrap(),
        })
    }

    fn fields(&self, answer: &Value) -> Vec<(&'static str, String)> {
        vec![
            ("state", self.state.clone()),
            ("ceremony", self.ceremony.clone()),
            ("answer", answer.to_string()),
            ("name", "Office key".to_owned()),
        ]
    }

    async fn send(&self, browser: &mut Browser, answer: &Value) -> Seen {
        browser.send(browser.request(Method::POST, &self.url).form(&self.fields(answer))).await
    }

    async fn answered(&self, browser: &mut Browser, device: &mut SoftwareAuthenticator) -> Seen {
        let answer = device.answer(&origin(&self.url), &self.options).await.unwrap();
        self.send(browser, &answer).await
    }
}

fn origin(url: &Url) -> Url {
    Url::parse(&url.origin().ascii_serialization()).unwrap()
}

async fn stand(kinds: &[&str]) -> Stand {
    let wiki = json!({"mfa_config": {"allowed_authenticators": kinds, "session_duration": "1h"}});
    Stand::start(Setup { wiki, ..Setup::default() }).await
}

async fn onward(browser: &mut Browser, page: &Seen) -> Seen {
    let link = page.text.split("class=\"button\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    browser.open(&page.url.join(&link.replace("&amp;", "&")).unwrap()).await
}

/// Signs in at the wiki for the first time and enrols a security key.
async fn enrol(stand: &Stand, browser: &mut Browser, device: &mut SoftwareAuthenticator) -> Seen {
    let page = stand.sign_in(browser, "/page").await;
    let shown = Asked::on(&page, "mfa-register", "security key").answered(browser, device).await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.text);
    onward(browser, &shown).await
}

/// Signs in at the wiki in another browser, up to the prompt for the key.
async fn prompted(stand: &Stand) -> (Browser, Asked) {
    let mut browser = stand.browser();
    let page = stand.sign_in(&mut browser, "/there").await;
    (browser, Asked::on(&page, "mfa-assert", "security key"))
}

async fn is_outside(stand: &Stand, browser: &mut Browser) -> bool {
    let seen = browser.open(&stand.url(WIKI, "/")).await;
    seen.url.host_str() == Some(TEAM)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_security_key_is_enrolled_at_first_need_and_asked_for_when_its_freshness_is_over() {
    let stand = stand(&["security_key"]).await;
    let (mut browser, mut device) = (stand.browser(), usb());
    let page = stand.sign_in(&mut browser, "/page").await;
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.ends_with("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    assert!(Asked::find(&page, "mfa-register", "this device").is_none(), "only what the policy takes is offered");
    assert!(!page.text.contains("add=app"));
    let script = page.text.split("<script src=\"").nth(1).unwrap().split('"').next().unwrap();
    let script = browser.get(&page.url.join(script).unwrap()).await;
    assert!(script.headers["content-type"].to_str().unwrap().starts_with("text/javascript"));
    let asked = Asked::on(&page, "mfa-register", "security key");
    assert_eq!(asked.options["publicKey"]["authenticatorSelection"]["authenticatorAttachment"], "cross-platform");
    let shown = asked.answered(&mut browser, &mut device).await;
    assert_eq!(shown.text.matches("<li><code>").count(), 10, "{}", shown.text);
    assert_eq!(onward(&mut browser, &shown).await.url, stand.url(WIKI, "/page"));
    // Another login on this device within the freshness asks for nothing.
    browser.open(&stand.url(TEAM, "/cdn-cgi/access/logout")).await;
    assert_eq!(stand.sign_in(&mut browser, "/again").await.url, stand.url(WIKI, "/again"));
    // Another device is asked, and so is this one later.
    let (mut other, asked) = prompted(&stand).await;
    let proved = asked.answered(&mut other, &mut device).await;
    assert_eq!(other.follow(proved).await.url, stand.url(WIKI, "/there"));
    stand.advance(60 * MINUTE);
    assert!(is_outside(&stand, &mut browser).await);
    let kept = stand.ledger.factors.lock().unwrap();
    let key = kept.values().find(|factor| matches!(factor.place, FactorPlace::Key(_))).unwrap();
    assert_eq!((key.shown.kind.as_str(), key.shown.name.as_str()), ("security_key", "Office key"));
    assert!(key.shown.last_used_at.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_old_replayed_stolen_or_of_another_site_proves_nothing() {
    let stand = stand(&["security_key"]).await;
    let mut device = usb();
    enrol(&stand, &mut stand.browser(), &mut device).await;
    let (mut browser, asked) = prompted(&stand).await;
    // Of another origin, and for another site.
    let (here, evil) = (origin(&asked.url), format!("https://evil.{TEAM}").parse().unwrap());
    let phished = device.answer(&evil, &asked.options).await.unwrap();
    assert_eq!(asked.send(&mut browser, &phished).await.status, StatusCode::UNAUTHORIZED);
    let mut answer = device.answer(&here, &asked.options).await.unwrap();
    let foreign = browser.request(Method::POST, &asked.url).header("origin", "https://evil.example");
    let foreign = browser.send(foreign.form(&asked.fields(&answer))).await;
    assert_eq!(foreign.status, StatusCode::BAD_REQUEST);
    // In another browser of the same person.
    let (mut other, theirs) = prompted(&stand).await;
    assert_eq!(asked.send(&mut other, &answer).await.status, StatusCode::BAD_REQUEST);
    let mixed = Asked { ceremony: asked.ceremony.clone(), ..theirs };
    assert_eq!(mixed.send(&mut other, &answer).await.status, StatusCode::BAD_REQUEST);
    assert!(is_outside(&stand, &mut browser).await && is_outside(&stand, &mut other).await);
    // Too late.
    stand.advance(5 * MINUTE);
    let late = asked.send(&mut browser, &answer).await;
    assert_eq!(late.status, StatusCode::UNAUTHORIZED);
    assert!(late.text.contains("That took too long"));
    // Once, and not twice.
    let asked = Asked::on(&late, "mfa-assert", "security key");
    answer = device.answer(&here, &asked.options).await.unwrap();
    let proved = asked.send(&mut browser, &answer).await;
    assert_eq!(browser.follow(proved).await.url.host_str(), Some(WIKI));
    assert_eq!(asked.send(&mut browser, &answer).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_key_is_refused_and_recorded() {
    let stand = stand(&["security_key"]).await;
    let mut device = usb();
    enrol(&stand, &mut stand.browser(), &mut device).await;
    let copy = device.held();
    for _ in 0..2 {
        let (mut browser, asked) = prompted(&stand).await;
        let proved = asked.answered(&mut browser, &mut device).await;
        assert_eq!(browser.follow(proved).await.url.host_str(), Some(WIKI));
    }
    device.hold(copy);
    let (mut browser, asked) = prompted(&stand).await;
    let refused = asked.answered(&mut browser, &mut device).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert!(refused.text.contains("There may be a copy of this key"), "{}", refused.text);
    assert!(is_outside(&stand, &mut browser).await);
    let records = stand.records().await;
    let copied = records.iter().find(|record| record["Reason"].as_str().unwrap_or_default().contains("copied"));
    let copied = copied.unwrap_or_else(|| panic!("{records:?}"));
    // A record leaves out what is false.
    assert_eq!((&copied["Action"], copied["Allowed"].as_bool().unwrap_or(false)), (&json!("mfa"), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_allowed_models_and_the_kind_that_was_asked_for_are_enrolled() {
    for (list, model, allowed) in
        [(MODELS, [7; 16], true), (MODELS, [8; 16], false), (crate::support::LIST, [7; 16], false)]
    {
        let config = json!({"allowed_authenticators": ["security_key", "biometrics"], "required_aaguids": list});
        let organization = json!({"mfa_config": config, "mfa_required_for_all_apps": true});
        let stand = Stand::start(Setup { organization, ..Setup::default() }).await;
        let mut browser = stand.browser();
        let page = stand.sign_in(&mut browser, "/page").await;
        let asked = Asked::on(&page, "mfa-register", "security key");
        assert_eq!(asked.options["publicKey"]["attestation"], "direct");
        let seen = asked.answered(&mut browser, &mut SoftwareAuthenticator::new(model, true)).await;
        assert_eq!(seen.status, if allowed { StatusCode::OK } else { StatusCode::FORBIDDEN }, "{}", seen.text);
        if !allowed {
            assert!(seen.text.contains("Keys of this model are not allowed here."), "{}", seen.text);
            // A key does not pass as a part of the device.
            let asked = Asked::on(&seen, "mfa-register", "this device");
            let refused = asked.answered(&mut browser, &mut usb()).await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN);
            assert!(refused.text.contains("another kind of authenticator"), "{}", refused.text);
            assert!(is_outside(&stand, &mut browser).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_answer_sent_eight_times_at_once_one_counts() {
    let stand = stand(&["security_key"]).await;
    let mut device = usb();
    enrol(&stand, &mut stand.browser(), &mut device).await;
    let (browser, asked) = prompted(&stand).await;
    let answer = device.answer(&origin(&asked.url), &asked.options).await.unwrap();
    let requests = (0..8).map(|_| browser.request(Method::POST, &asked.url).form(&asked.fields(&answer)).send());
    let answers = join_all(requests).await;
    let passed = answers.iter().filter(|answer| answer.as_ref().unwrap().status() == StatusCode::FOUND).count();
    assert_eq!(passed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_a_key_are_bounded_whatever_browser_they_come_from() {
    let stand = stand(&["security_key"]).await;
    let mut device = usb();
    enrol(&stand, &mut stand.browser(), &mut device).await;
    let (mut browser, asked) = prompted(&stand).await;
    let mut forged = device.answer(&origin(&asked.url), &asked.options).await.unwrap();
    forged["response"]["signature"] = "MAYCAQECAQE".into();
    for _ in 0..5 {
        assert_eq!(asked.send(&mut browser, &forged).await.status, StatusCode::UNAUTHORIZED);
    }
    let (mut other, asked) = prompted(&stand).await;
    let refused = asked.answered(&mut other, &mut device).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers.contains_key("retry-after"));
    stand.advance(2 * MINUTE);
    let (mut other, asked) = prompted(&stand).await;
    let proved = asked.answered(&mut other, &mut device).await;
    assert_eq!(other.follow(proved).await.url.host_str(), Some(WIKI));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_has_guards_what_they_add_and_each_key_can_be_removed() {
    let config = json!({"allowed_authenticators": ["biometrics"], "session_duration": "1h"});
    let other = json!({"name": "Other", "domain": OTHER, "mfa_config": config});
    let staff = allow(json!({"email_domain": {"domain": "example.test"}}));
    let wiki = json!({"mfa_config": {"allowed_authenticators": ["security_key"], "session_duration": "1h"}});
    let stand = Stand::start(Setup { wiki, more: vec![(other, vec![staff])], ..Setup::default() }).await;
    let (mut key, mut laptop) = (usb(), built_in());
    enrol(&stand, &mut stand.browser(), &mut key).await;
    stand.advance(MINUTE);
    // Another policy takes another kind: the key guards its enrolment.
    let mut browser = stand.browser();
    stand.sign_in(&mut browser, "/").await;
    let guarded = browser.open(&stand.url(OTHER, "/door")).await;
    assert!(Asked::find(&guarded, "mfa-register", "this device").is_none(), "{}", guarded.text);
    let proved = Asked::on(&guarded, "mfa-assert", "security key").answered(&mut browser, &mut key).await;
    let chooser = browser.follow(proved).await;
    let asked = Asked::on(&chooser, "mfa-register", "this device");
    assert_eq!(asked.options["publicKey"]["authenticatorSelection"]["userVerification"], "required");
    let answer = laptop.answer(&origin(&asked.url), &asked.options).await.unwrap();
    let added = asked.send(&mut browser, &answer).await;
    assert_eq!(browser.follow(added).await.url, stand.url(OTHER, "/door"));
    // A registration counts once.
    assert_eq!(asked.send(&mut browser, &answer).await.status, StatusCode::CONFLICT);
    // They are removed one by one, after a proof.
    let mut elsewhere = stand.browser();
    stand.sign_in(&mut elsewhere, "/").await;
    let account = elsewhere.open(&stand.url(TEAM, "/cdn-cgi/access/account")).await;
    assert!(account.text.contains("Office key") && !account.text.contains("mfa-remove"), "{}", account.text);
    let proved = Asked::on(&account, "mfa-assert", "this device").answered(&mut elsewhere, &mut laptop).await;
    let mut account = elsewhere.follow(proved).await;
    for _ in ["key", "laptop"] {
        let first = account.text.split("name=\"factor\" value=\"").nth(1).unwrap();
        let first = first.split('"').next().unwrap().to_owned();
        let removed = elsewhere.submit(&account, "mfa-remove", &[("factor", &first)]).await;
        account = elsewhere.follow(removed).await;
    }
    assert!(account.text.contains("You have no second factor yet."), "{}", account.text);
    assert!(is_outside(&stand, &mut elsewhere).await);
}

async fn with_password(stand: &Stand, browser: &mut Browser) -> Seen {
    let page = browser.open(&stand.url(WIKI, "/page")).await;
    let seen = browser.submit(&page, "password", &[("email", EMAIL), ("password", PASSWORD)]).await;
    browser.follow(seen).await
}

async fn add_passkey(stand: &Stand, browser: &mut Browser, device: &mut SoftwareAuthenticator) {
    let page = browser.open(&stand.url(TEAM, "/cdn-cgi/access/mfa")).await;
    let asked = Asked::on(&page, "mfa-register", "passkey");
    assert_eq!(asked.options["publicKey"]["authenticatorSelection"]["residentKey"], "required");
    let added = asked.answered(browser, device).await;
    assert!(browser.follow(added).await.text.contains("Office key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_signs_in_without_an_address_and_never_twice() {
    let stand = Stand::start(Setup::default()).await;
    let (mut browser, mut device) = (stand.browser(), built_in());
    assert_eq!(with_password(&stand, &mut browser).await.url.host_str(), Some(WIKI));
    add_passkey(&stand, &mut browser, &mut device).await;
    let mut fresh = stand.browser();
    let page = fresh.open(&stand.url(WIKI, "/page")).await;
    let asked = Asked::on(&page, "passkey", "Sign in with a passkey");
    assert_eq!(asked.options["publicKey"]["allowCredentials"].as_array().map_or(0, Vec::len), 0);
    assert_eq!(asked.options["publicKey"]["userVerification"], "required");
    let answer = device.answer(&origin(&asked.url), &asked.options).await.unwrap();
    // Not in the browser of somebody else, who would be signed in as this person.
    let mut other = stand.browser();
    other.open(&stand.url(WIKI, "/page")).await;
    assert_eq!(asked.send(&mut other, &answer).await.status, StatusCode::BAD_REQUEST);
    let mut copied = stand.browser();
    copied.cookies.clone_from(&fresh.cookies);
    let signed_in = asked.send(&mut fresh, &answer).await;
    assert_eq!(fresh.follow(signed_in).await.url, stand.url(WIKI, "/page"));
    // Everything the browser had at that moment signs nobody in again, though this authenticator counts nothing.
    assert_eq!(asked.send(&mut copied, &answer).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_of_nobody_is_answered_like_one_that_is_wrong() {
    let stand = Stand::start(Setup::default()).await;
    let (mut browser, mut device, mut forgotten) = (stand.browser(), built_in(), built_in());
    with_password(&stand, &mut browser).await;
    add_passkey(&stand, &mut browser, &mut device).await;
    let page = browser.open(&stand.url(TEAM, "/cdn-cgi/access/mfa")).await;
    forgotten.answer(&origin(&page.url), &Asked::on(&page, "mfa-register", "passkey").options).await.unwrap();
    let mut said = Vec::new();
    for case in ["not enrolled", "forged", "nobody", "not verified", "no passkey", "deactivated"] {
        let mut fresh = stand.browser();
        let page = fresh.open(&stand.url(WIKI, "/page")).await;
        let asked = Asked::on(&page, "passkey", "Sign in with a passkey");
        let asker = if case == "not enrolled" { &mut forgotten } else { &mut device };
        let mut answer = asker.answer(&origin(&asked.url), &asked.options).await.unwrap();
        match case {
            "forged" => answer["response"]["signature"] = "MAYCAQECAQE".into(),
            "nobody" => answer["response"]["userHandle"] = "AAAAAAAAAAAAAAAAAAAAAA".into(),
            "not verified" => {
                let mut options = asked.options.clone();
                options["publicKey"]["userVerification"] = "discouraged".into();
                answer = device.answer(&origin(&asked.url), &options).await.unwrap();
            }
            "no passkey" => answer = json!({}),
            "deactivated" => stand.ledger.deactivated.store(true, Ordering::SeqCst),
            _ => {}
        }
        let refused = asked.send(&mut fresh, &answer).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{case}");
        assert!(refused.text.contains("This passkey does not sign you in here."), "{case}: {}", refused.text);
        said.push(refused.text.split("name=\"state\"").next().unwrap().to_owned());
        assert!(is_outside(&stand, &mut fresh).await, "{case}");
    }
    assert!(said.windows(2).all(|pair| pair[0] == pair[1]), "one text for all");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_is_no_second_factor_and_a_second_factor_is_no_passkey() {
    let stand = stand(&["biometrics"]).await;
    let (mut browser, mut laptop, mut phone) = (stand.browser(), built_in(), built_in());
    let page = with_password(&stand, &mut browser).await;
    let shown = Asked::on(&page, "mfa-register", "this device").answered(&mut browser, &mut laptop).await;
    assert_eq!(onward(&mut browser, &shown).await.url.host_str(), Some(WIKI));
    add_passkey(&stand, &mut browser, &mut phone).await;
    let mut fresh = stand.browser();
    let page = fresh.open(&stand.url(WIKI, "/page")).await;
    let asked = Asked::on(&page, "passkey", "Sign in with a passkey");
    // The factor's own credential is asked for by name, as a device that always makes discoverable ones would offer it.
    let mut options = asked.options.clone();
    let id = laptop.held().id().unwrap();
    options["publicKey"]["allowCredentials"] = json!([{"type": "public-key", "id": id}]);
    let answer = laptop.answer(&origin(&asked.url), &options).await.unwrap();
    assert_eq!(asked.send(&mut fresh, &answer).await.status, StatusCode::UNAUTHORIZED);
    let asked = Asked::on(&fresh.open(&stand.url(WIKI, "/page")).await, "passkey", "Sign in with a passkey");
    let signed_in = asked.answered(&mut fresh, &mut phone).await;
    let prompt = fresh.follow(signed_in).await;
    let proved = Asked::on(&prompt, "mfa-assert", "this device").answered(&mut fresh, &mut laptop).await;
    assert_eq!(fresh.follow(proved).await.url, stand.url(WIKI, "/page"));
}
