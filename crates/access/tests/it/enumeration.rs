//! Whether an address is anybody's shows in nothing: neither in text, status and head, nor in the work that is done.

use std::sync::atomic::Ordering;

use http::StatusCode;
use serde_json::json;

use crate::support::{EMAIL, PASSWORD, PIN, Setup, Stand, WIKI, by_mail};
use testkit::{Browser, Seen};

/// As long as the address of somebody, so that pages and what is sealed in them are.
const NOBODY: &str = "bob@example.test";
const STRANGER: &str = "eve@another.test";

/// What a caller sees, without what is drawn anew for each page and without the address that they typed.
fn seen(answer: &Seen, address: &str) -> (StatusCode, Vec<(String, String)>, String) {
    let sealed = |part: &&str| part.len() > 60 && !part.contains(' ');
    let text = answer.text.replace(address, "").split('"').filter(|part| !sealed(part)).collect();
    let plain = |name: &str, value: &str| match name {
        // Its length tells as much as its text would.
        "set-cookie" => value.split(['=', ';']).map(|part| if part.len() > 30 { "" } else { part }).collect(),
        "date" => String::new(),
        _ => value.to_owned(),
    };
    let headers =
        answer.headers.iter().map(|(name, value)| (name.to_string(), plain(name.as_str(), value.to_str().unwrap())));
    (answer.status, headers.collect(), text)
}

/// What the platform did for an answer: passwords held against a hash, writes, and records.
async fn work(stand: &Stand) -> [usize; 4] {
    let checks = usize::try_from(stand.access.stats().password_checks).unwrap();
    let (writes, started) = (stand.mailbox.writes.load(Ordering::SeqCst), stand.ledger.started.lock().unwrap().len());
    [checks, writes, started, stand.records().await.len()]
}

async fn type_password(stand: &Stand, browser: &mut Browser, address: &str, password: &str) -> Seen {
    let page = browser.open(&stand.url(WIKI, "/")).await;
    browser.submit(&page, "password", &[("email", address), ("password", password)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_an_address_of_nobody_are_alike() {
    let config = access::AccessConfig { failures_per_minute: 100, ..access::AccessConfig::default() };
    let stand = Stand::start(Setup { config, ..Setup::default() }).await;
    let mut known = None;
    let long = "x".repeat(2_000);
    for password in ["wrong", "", long.as_str()] {
        let mut of_password = None;
        for address in [EMAIL, NOBODY, STRANGER] {
            let before = work(&stand).await;
            let answer = type_password(&stand, &mut stand.browser(), address, password).await;
            let after = work(&stand).await;
            let done: Vec<usize> = after.iter().zip(before).map(|(after, before)| after - before).collect();
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{address}");
            // One hash for each, but for what no password can be; no write; one record.
            assert_eq!(done, [usize::from(password.len() <= 1_024), 0, 0, 1], "{address}");
            let (expected, found) =
                (of_password.get_or_insert_with(|| seen(&answer, address)).clone(), seen(&answer, address));
            assert_eq!(found, expected, "{address}");
            known.get_or_insert(found);
        }
    }
    // What is no address at all is told the same.
    let answer = type_password(&stand, &mut stand.browser(), "bob", "wrong").await;
    assert_eq!(Some(seen(&answer, "\"bob\"").0), known.map(|known| known.0));
    assert_eq!(type_password(&stand, &mut stand.browser(), EMAIL, PASSWORD).await.status, StatusCode::FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_guesses_are_slowed_alike_for_everybody() {
    let config = access::AccessConfig { failures_per_minute: 3, ..access::AccessConfig::default() };
    for address in [EMAIL, NOBODY] {
        let stand = Stand::start(Setup { config: config.clone(), ..Setup::default() }).await;
        let mut browser = stand.browser();
        let mut statuses = Vec::new();
        for _ in 0..5 {
            statuses.push(type_password(&stand, &mut browser, address, "wrong").await.status.as_u16());
        }
        assert_eq!(statuses, [401, 401, 401, 429, 429], "{address}");
        assert_eq!(stand.access.stats().password_checks, 3, "{address}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_asked_for_and_guessed_at_with_the_same_writes_for_everybody() {
    let setup = Setup { wiki: json!({"allowed_idps": [PIN]}), providers: vec![by_mail()], ..Setup::default() };
    let stand = Stand::start(setup).await;
    let mut first = None;
    for address in [EMAIL, STRANGER, NOBODY] {
        let mut browser = stand.browser();
        let page = browser.open(&stand.url(WIKI, "/")).await;
        let mut steps = Vec::new();
        let before = work(&stand).await;
        let asked = browser.submit(&page, "pin", &[("email", address)]).await;
        let between = work(&stand).await;
        steps.push((
            seen(&asked, address),
            between.iter().zip(before).map(|(after, before)| after - before).collect::<Vec<_>>(),
        ));
        let guessed = browser.submit(&asked, "pin-code", &[("code", "12")]).await;
        let after = work(&stand).await;
        steps
            .push((seen(&guessed, address), after.iter().zip(between).map(|(after, before)| after - before).collect()));
        // Two rates and the code; then the guess, which is recorded.
        assert_eq!((&steps[0].1, &steps[1].1), (&vec![0, 3, 0, 0], &vec![0, 1, 0, 1]), "{address}");
        assert_eq!(*first.get_or_insert_with(|| steps.clone()), steps, "{address}");
    }
    // The one who may enter got mail, the stranger none.
    stand.mailbox.code(EMAIL).await;
    stand.mailbox.code(NOBODY).await;
    assert_eq!(stand.mailbox.waiting(), [""; 0]);
}
