//! Temporary access: asking, answering, waiting, and every way to get in without an answer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Method, StatusCode};
use identity::session::{Moment, Revoked};
use serde_json::{Value, json};
use url::Url;

use crate::oauth::Agent;
use crate::support::{BUILT_IN, EMAIL, OIDC, PASSWORD, PIN, Setup, Stand, WIKI, allow, by_mail};
use testkit::{Browser, Seen};

const BOSS: &str = "boss@example.test";
const CHIEF: &str = "chief@partner.test";
const BOB: &str = "bob@example.test";

/// A wiki whose policy asks so many of these people.
fn setup(needed: u32, people: &[&str]) -> Setup {
    let mut policy = allow(json!({"email_domain": {"domain": "example.test"}}));
    policy["approval_required"] = true.into();
    policy["approval_groups"] = json!([{"approvals_needed": needed, "email_addresses": people}]);
    policy["purpose_justification_required"] = true.into();
    policy["purpose_justification_prompt"] = "Which ticket?".into();
    Setup {
        wiki: json!({"allowed_idps": [BUILT_IN, PIN]}),
        providers: vec![by_mail()],
        policies: vec![policy],
        ..Setup::default()
    }
}

/// Signs Ada in with her password, at whatever page asks for it.
async fn ada(stand: &Stand) -> (Browser, Seen) {
    let mut browser = stand.browser();
    let page = browser.open(&stand.url(WIKI, "/pages")).await;
    let entered = browser.submit(&page, "password", &[("email", EMAIL), ("password", PASSWORD)]).await;
    let seen = browser.follow(entered).await;
    (browser, seen)
}

async fn ask(browser: &mut Browser, page: &Seen) -> Seen {
    let asked = browser.submit(page, "approval-ask", &[("reason", "INC-7")]).await;
    browser.follow(asked).await
}

/// The link in the letter to an approver.
async fn link(stand: &Stand, to: &str) -> Url {
    let letter = stand.mailbox.letter(to).await;
    let line = letter.text.expose().lines().find(|line| line.starts_with("https://")).unwrap().to_owned();
    line.parse().unwrap()
}

/// Opens a link as somebody who signs in by mail, and returns their browser and what they see.
async fn approver(stand: &Stand, email: &str, link: &Url) -> (Browser, Seen) {
    let mut browser = stand.browser();
    let mut page = browser.open(link).await;
    page = browser.submit(&page, "provider", &[]).await;
    page = browser.submit(&page, "pin", &[("email", email)]).await;
    let code = stand.mailbox.code(email).await;
    let entered = browser.submit(&page, "pin-code", &[("code", &code)]).await;
    let seen = browser.follow(entered).await;
    (browser, seen)
}

async fn answer(browser: &mut Browser, page: &Seen, answer: &str, minutes: &str) -> Seen {
    browser.submit(page, "approve-answer", &[("answer", answer), ("minutes", minutes)]).await
}

fn is_inside(seen: &Seen) -> bool {
    seen.status == StatusCode::OK && seen.url.host_str() == Some(WIKI)
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_asks_an_approver_grants_and_the_application_opens_until_the_time_is_over() {
    let stand = Stand::start(setup(1, &[BOSS, EMAIL])).await;
    let (mut ada, page) = ada(&stand).await;
    assert!(page.text.contains("Which ticket?") && page.text.contains("Ask for access"), "{}", page.text);
    let waiting = ask(&mut ada, &page).await;
    assert_eq!((waiting.status, waiting.url.path()), (StatusCode::OK, "/cdn-cgi/access/approval"));
    assert_eq!(waiting.headers["refresh"], "10");
    assert!(waiting.text.contains("Answers still missing: 1"), "{}", waiting.text);
    let letter_link = link(&stand, BOSS).await;
    assert_eq!(stand.mailbox.waiting(), [""; 0], "nobody is asked about themselves");
    let (mut boss, page) = approver(&stand, BOSS, &letter_link).await;
    for told in [EMAIL, "Wiki", "INC-7"] {
        assert!(page.text.contains(told), "{told} in {}", page.text);
    }
    assert!(!is_inside(&ada.open(&stand.url(WIKI, "/pages")).await));
    let granted = answer(&mut boss, &page, "grant", "60").await;
    assert!(granted.text.contains("Granted until"), "{}", granted.text);
    // The page that waits goes on by itself, with what was asked for.
    let inside = ada.open(&waiting.url).await;
    assert!(is_inside(&inside), "{} {}", inside.url, inside.text);
    assert_eq!(inside.url.path(), "/pages");
    let records = stand.records().await;
    let told = |record: &Value| {
        let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        (text("Action"), text("Email"), record["Allowed"] == true)
    };
    let expected =
        [("approval", EMAIL, false), ("login", BOSS, true), ("approval", EMAIL, true), ("login", EMAIL, true)];
    let expected = expected.map(|(action, email, allowed)| (action.to_owned(), email.to_owned(), allowed));
    assert_eq!(records.iter().map(told).collect::<Vec<_>>(), expected, "{records:#?}");
    for record in [&records[2], &records[3]] {
        assert_eq!(record["TemporaryAccessApprovers"], json!([BOSS]));
        assert_eq!(record["TemporaryAccessDuration"], 3_600);
        assert_eq!(record["PurposeJustificationResponse"], "INC-7");
    }
    stand.advance(Duration::from_secs(3_599));
    assert_eq!(ada.get(&stand.url(WIKI, "/")).await.status, StatusCode::OK);
    stand.advance(Duration::from_secs(2));
    let over = ada.open(&stand.url(WIKI, "/")).await;
    assert!(over.text.contains("Ask for access"), "{}", over.text);
    // Programs of the page are not let through either.
    let script = ada.request(Method::GET, &stand.url(WIKI, "/")).header("sec-fetch-mode", "cors");
    assert_eq!(script.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let again = ask(&mut ada, &over).await;
    assert!(again.text.contains("Answers still missing: 1"));
    assert_ne!(link(&stand, BOSS).await, letter_link, "what was mailed for the first request opens nothing more");
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_twice_is_one_request_and_another_sign_in_asks_anew() {
    let stand = Stand::start(setup(1, &[BOSS])).await;
    let (mut browser, page) = ada(&stand).await;
    ask(&mut browser, &page).await;
    let twice = ask(&mut browser, &page).await;
    assert!(twice.text.contains("Answers still missing: 1"));
    let link = link(&stand, BOSS).await;
    assert_eq!(stand.mailbox.waiting(), [""; 0]);
    let (mut boss, page) = approver(&stand, BOSS, &link).await;
    answer(&mut boss, &page, "grant", "60").await;
    let (_, elsewhere) = ada(&stand).await;
    assert!(elsewhere.text.contains("Ask for access"), "{}", elsewhere.text);
    // What one person can have others bothered with is bounded.
    for number in 0..4 {
        let (mut browser, page) = ada(&stand).await;
        let seen = ask(&mut browser, &page).await;
        let expected = if number < 3 { StatusCode::OK } else { StatusCode::TOO_MANY_REQUESTS };
        assert_eq!(seen.status, expected, "{number}: {}", seen.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_worth_something_only_to_whom_it_was_sent() {
    let stand = Stand::start(setup(1, &[BOSS])).await;
    let (mut asker, page) = ada(&stand).await;
    ask(&mut asker, &page).await;
    let link = link(&stand, BOSS).await;
    // The one who asks, and somebody who is nobody's approver.
    let own = asker.get(&link).await;
    assert_eq!(own.status, StatusCode::FORBIDDEN);
    let (_, bob) = approver_elsewhere(&stand, BOB, &link).await;
    assert_eq!(bob.status, StatusCode::FORBIDDEN);
    assert!(bob.text.contains("approves nothing for you") && !bob.text.contains("INC-7"), "{}", bob.text);
    // The right person with a link that is changed, and one that names nothing.
    let (mut boss, page) = approver(&stand, BOSS, &link).await;
    let text = link.to_string();
    for changed in [
        text.replace("key=", "key=A"),
        format!("{}AAAA", &text[..text.len() - 4]),
        text.replace("request=", "request=x"),
    ] {
        let seen = boss.get(&changed.parse().unwrap()).await;
        assert!(seen.status.is_client_error() && !seen.text.contains("INC-7"), "{changed}: {}", seen.status);
    }
    // The approver's form in the asker's browser, and from another site.
    let (url, state) = page.form("approve-answer");
    let fields = [("state", state.as_str()), ("answer", "grant"), ("minutes", "60")];
    let stolen = asker.send(asker.request(Method::POST, &url).form(&fields)).await;
    assert_eq!(stolen.status, StatusCode::BAD_REQUEST);
    let forged = boss.request(Method::POST, &url).header("origin", "https://evil.test").form(&fields);
    assert_eq!(boss.send(forged).await.status, StatusCode::BAD_REQUEST);
    assert!(!is_inside(&asker.open(&stand.url(WIKI, "/")).await));
    // A length beyond the bound counts for nothing.
    for minutes in ["0", "1441", "x", "-5", "99999999999999999999"] {
        assert_eq!(answer(&mut boss, &page, "grant", minutes).await.status, StatusCode::BAD_REQUEST, "{minutes}");
    }
    assert!(answer(&mut boss, &page, "grant", "1440").await.text.contains("Granted until"));
    assert!(is_inside(&asker.open(&stand.url(WIKI, "/")).await));
}

/// Signs somebody in at the wiki by mail and opens a link with that session.
async fn approver_elsewhere(stand: &Stand, email: &str, link: &Url) -> (Browser, Seen) {
    let mut browser = stand.browser();
    let mut page = browser.open(&stand.url(WIKI, "/")).await;
    page = browser.submit(&page, "provider", &[]).await;
    page = browser.submit(&page, "pin", &[("email", email)]).await;
    let code = stand.mailbox.code(email).await;
    browser.submit(&page, "pin-code", &[("code", &code)]).await;
    let seen = browser.get(link).await;
    (browser, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_was_answered_changes_nothing_more() {
    let stand = Stand::start(setup(1, &[BOSS, CHIEF])).await;
    let (mut asker, page) = ada(&stand).await;
    let waiting = ask(&mut asker, &page).await;
    let (to_boss, to_chief) = (link(&stand, BOSS).await, link(&stand, CHIEF).await);
    let (mut boss, form) = approver(&stand, BOSS, &to_boss).await;
    // Whoever approves need not be let in themselves.
    let (mut chief, other_form) = approver(&stand, CHIEF, &to_chief).await;
    assert!(answer(&mut boss, &form, "grant", "15").await.text.contains("Granted until"));
    for (browser, page, link) in [(&mut boss, &form, &to_boss), (&mut chief, &other_form, &to_chief)] {
        for (word, minutes) in [("grant", "1440"), ("refuse", "15")] {
            let seen = answer(browser, page, word, minutes).await;
            assert!(seen.text.contains("Granted until"), "{}", seen.text);
        }
        let opened = browser.get(link).await;
        assert!(opened.text.contains("Granted until") && !opened.text.contains("<form"), "{}", opened.text);
    }
    assert!(is_inside(&asker.open(&waiting.url).await));
    stand.advance(Duration::from_secs(901));
    assert!(!is_inside(&asker.open(&stand.url(WIKI, "/")).await), "the first answer's length holds");
    assert_eq!(boss.get(&to_boss).await.status, StatusCode::GONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_nobody_answers_ends_after_a_day() {
    let stand = Stand::start(setup(1, &[BOSS])).await;
    let (mut asker, page) = ada(&stand).await;
    ask(&mut asker, &page).await;
    let link = link(&stand, BOSS).await;
    stand.advance(Duration::from_secs(24 * 3_600 - 60));
    let (mut boss, form) = approver(&stand, BOSS, &link).await;
    stand.advance(Duration::from_secs(61));
    assert_eq!(answer(&mut boss, &form, "grant", "60").await.status, StatusCode::GONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_must_agree_as_the_policy_says_and_the_shortest_time_holds() {
    let stand = Stand::start(setup(2, &[BOSS, CHIEF, EMAIL])).await;
    let (mut asker, page) = ada(&stand).await;
    let waiting = ask(&mut asker, &page).await;
    assert!(waiting.text.contains("Answers still missing: 2"));
    let (to_boss, to_chief) = (link(&stand, BOSS).await, link(&stand, CHIEF).await);
    let (mut boss, form) = approver(&stand, BOSS, &to_boss).await;
    for _ in 0..2 {
        let once = answer(&mut boss, &form, "grant", "240").await;
        assert!(once.text.contains("Answers still missing: 1"), "one person is one answer: {}", once.text);
    }
    assert!(asker.open(&waiting.url).await.text.contains("Answers still missing: 1"));
    let (mut chief, form) = approver(&stand, CHIEF, &to_chief).await;
    assert!(answer(&mut chief, &form, "grant", "30").await.text.contains("Granted until"));
    assert!(is_inside(&asker.open(&waiting.url).await));
    stand.advance(Duration::from_secs(30 * 60 + 1));
    assert!(!is_inside(&asker.open(&stand.url(WIKI, "/")).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refusal_holds_for_the_sign_in() {
    let stand = Stand::start(setup(1, &[BOSS, CHIEF])).await;
    let (mut asker, page) = ada(&stand).await;
    let waiting = ask(&mut asker, &page).await;
    let link = link(&stand, BOSS).await;
    let (mut boss, form) = approver(&stand, BOSS, &link).await;
    let refused = answer(&mut boss, &form, "refuse", "15").await;
    assert!(refused.text.contains("was refused"), "{}", refused.text);
    for seen in [asker.open(&waiting.url).await, asker.open(&stand.url(WIKI, "/")).await, ask(&mut asker, &page).await]
    {
        assert_eq!(seen.status, StatusCode::FORBIDDEN, "{}", seen.text);
        assert!(seen.text.contains("Your request was refused"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_approves_themselves_even_where_nobody_else_could() {
    let stand = Stand::start(setup(1, &[EMAIL])).await;
    let (mut asker, page) = ada(&stand).await;
    let seen = ask(&mut asker, &page).await;
    assert_eq!(seen.status, StatusCode::FORBIDDEN);
    assert!(seen.text.contains("Nobody can approve this"), "{}", seen.text);
    assert_eq!(stand.mailbox.waiting(), [""; 0]);
    // An answer to the policy's question is asked for.
    let empty = asker.submit(&page, "approval-ask", &[("reason", "  ")]).await;
    assert_eq!(empty.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_nothing_is_asked_or_granted_and_what_was_granted_goes_on_and_ends() {
    let stand = Stand::start(setup(1, &[BOSS])).await;
    let (mut asker, page) = ada(&stand).await;
    stand.approvals.gone.store(true, Ordering::SeqCst);
    assert_eq!(ask(&mut asker, &page).await.status, StatusCode::SERVICE_UNAVAILABLE);
    stand.approvals.gone.store(false, Ordering::SeqCst);
    let waiting = ask(&mut asker, &page).await;
    let link = link(&stand, BOSS).await;
    let (mut boss, form) = approver(&stand, BOSS, &link).await;
    stand.approvals.gone.store(true, Ordering::SeqCst);
    assert_eq!(answer(&mut boss, &form, "grant", "60").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(boss.get(&link).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!is_inside(&asker.open(&waiting.url).await));
    stand.approvals.gone.store(false, Ordering::SeqCst);
    assert!(answer(&mut boss, &form, "grant", "60").await.text.contains("Granted until"));
    assert!(is_inside(&asker.open(&waiting.url).await));
    stand.approvals.gone.store(true, Ordering::SeqCst);
    stand.ledger.gone.store(true, Ordering::SeqCst);
    assert_eq!(asker.get(&stand.url(WIKI, "/")).await.status, StatusCode::OK);
    stand.advance(Duration::from_secs(3_601));
    assert_eq!(asker.get(&stand.url(WIKI, "/")).await.status, StatusCode::FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_granted_ends_with_the_request_that_is_deleted_and_with_the_session() {
    for by_session in [false, true] {
        let stand = Stand::start(setup(1, &[BOSS])).await;
        let (mut asker, page) = ada(&stand).await;
        let waiting = ask(&mut asker, &page).await;
        let link = link(&stand, BOSS).await;
        let (mut boss, form) = approver(&stand, BOSS, &link).await;
        answer(&mut boss, &form, "grant", "60").await;
        assert!(is_inside(&asker.open(&waiting.url).await));
        if by_session {
            let who = asker.get(&stand.url(WIKI, "/cdn-cgi/access/get-identity")).await;
            let who: Value = serde_json::from_str(&who.text).unwrap();
            let user = who["user_uuid"].as_str().unwrap().parse().unwrap();
            stand.sessions.revoke(Revoked::User(user), Moment(stand.seconds() * 1_000 + 999));
        } else {
            stand.approvals.delete_all();
        }
        assert_eq!(asker.get(&stand.url(WIKI, "/")).await.status, StatusCode::FOUND, "{by_session}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_goes_as_far_as_the_approval_of_its_person() {
    let mut setup = setup(1, &[BOSS]);
    let rules = json!({"enabled": true, "allow_any_on_loopback": true});
    setup.wiki = json!({"allowed_idps": [OIDC], "oauth_configuration": {"dynamic_client_registration": rules,
        "grant": {"access_token_lifetime": "24h"}}});
    let launcher = json!({"name": "Launcher", "type": "app_launcher", "allowed_idps": [PIN]});
    setup.more = vec![(launcher, vec![allow(json!({"email": {"email": "nobody@example.test"}}))])];
    let stand = Stand::start(setup).await;
    let mut agent = Agent::register(&stand).await;
    let mut person = stand.browser();
    let page = agent.consent(&mut person, &[]).await;
    assert!(page.text.contains("Ask for access"), "{}", page.text);
    let waiting = ask(&mut person, &page).await;
    let link = link(&stand, BOSS).await;
    // Where there is a launcher, approvers sign in at its door; its policies say who sees it, not who approves.
    let mut boss = stand.browser();
    let page = boss.open(&link).await;
    let page = boss.submit(&page, "pin", &[("email", BOSS)]).await;
    let code = stand.mailbox.code(BOSS).await;
    let entered = boss.submit(&page, "pin-code", &[("code", &code)]).await;
    let form = boss.follow(entered).await;
    assert!(answer(&mut boss, &form, "grant", "60").await.text.contains("Granted until"));
    let consent = person.open(&waiting.url).await;
    let sent = agent.allow(&mut person, &consent).await;
    let code = sent.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    let tokens = crate::oauth::Tokens::of(&agent.redeem(&code).await);
    assert_eq!(agent.call(&tokens.access).await.status, StatusCode::OK);
    let refreshed = agent.refresh(&tokens.refresh).await;
    assert_eq!(refreshed.status, StatusCode::OK);
    let tokens = crate::oauth::Tokens::of(&refreshed);
    stand.advance(Duration::from_secs(3_601));
    assert_eq!(agent.call(&tokens.access).await.status, StatusCode::FORBIDDEN);
    let refused = agent.refresh(&tokens.refresh).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
    assert!(refused.text.contains("invalid_grant"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approver_proves_the_factor_that_the_organisation_asks_for() {
    let organization = json!({"mfa_required_for_all_apps": true,
        "mfa_config": {"allowed_authenticators": ["totp"], "session_duration": "1h"}});
    let mut setup = Setup { organization, ..setup(1, &[BOSS]) };
    setup.policies[0]["mfa_config"] = json!({"mfa_disabled": true});
    let stand = Stand::start(setup).await;
    let (mut asker, page) = ada(&stand).await;
    ask(&mut asker, &page).await;
    let link = link(&stand, BOSS).await;
    let (mut boss, seen) = approver(&stand, BOSS, &link).await;
    assert_eq!(seen.url.path(), "/cdn-cgi/access/mfa", "{}", seen.text);
    assert_eq!(boss.get(&link).await.status, StatusCode::FOUND, "the link alone leads no further");
}
