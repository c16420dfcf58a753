//! Reusable policies, from the first to the last of their pages.

use axum::http::StatusCode;
use serde_json::json;

use super::{Browser, text};
use crate::harness::Console;

#[tokio::test]
async fn a_reusable_policy_is_written_named_by_applications_changed_for_all_and_deleted() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let mut apps = Vec::new();
    for name in ["Wiki", "Board"] {
        let app = [("name", name), ("origin", "http://127.0.0.1:8080"), ("include", "ada@example.com")];
        apps.push(browser.submit("/access", &app).await.trim_end_matches("/published").to_owned());
    }
    let [wiki, board] = [0, 1].map(|at: usize| apps[at].trim_start_matches("/access/apps/"));
    // The form has the help of an application's own, and keeps what was typed when it is refused.
    assert!(browser.page("/access/policies/new").await.contains("One a line: everyone, an address"));
    let refused =
        browser.send("/access/policies", &[("name", "Staff"), ("decision", "allow"), ("include", "who")]).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let page = text(&refused);
    assert!(page.contains("is not a selector") && page.contains("value=\"Staff\""), "{page}");

    let staff = [("name", "Staff"), ("decision", "allow"), ("include", "@example.com")];
    let policy = browser.submit("/access/policies", &staff).await;
    let id = policy.trim_start_matches("/access/policies/");
    assert!(browser.page(&policy).await.contains("No application names it"));
    // Once from its own page, once from the application's; adding it twice changes nothing.
    browser.submit(&format!("{policy}/attach"), &[("app", wiki)]).await;
    assert!(browser.page(&apps[1]).await.contains("Add the reusable policy"));
    for _ in 0..2 {
        browser.submit(&format!("{}/policies/attach", apps[1]), &[("policy", id)]).await;
    }
    let named = async |app: &str| {
        let listed = console.get(&format!("access/apps/{app}/policies")).await.result();
        listed.as_array().unwrap().iter().map(|policy| policy["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        (named(wiki).await, named(board).await),
        (vec![json!("Who may enter"), json!("Staff")], vec![json!("Who may enter"), json!("Staff")])
    );
    let page = browser.page(&policy).await;
    assert!(page.contains("Wiki") && page.contains("Board") && !page.contains("Add it there"), "{page}");

    let people = [("name", "People"), ("decision", "allow"), ("include", "@example.com\n@other.example")];
    browser.submit(&policy, &people).await;
    assert_eq!((named(wiki).await[1].clone(), named(board).await[1].clone()), (json!("People"), json!("People")));
    let refused = browser.send(&format!("{policy}/delete"), &[]).await;
    assert!(refused.status == StatusCode::CONFLICT && text(&refused).contains("take it out there first"));
    for app in [wiki, board] {
        browser.submit(&format!("{policy}/detach"), &[("app", app)]).await;
    }
    assert_eq!(named(wiki).await, ["Who may enter"]);
    browser.submit(&format!("{policy}/delete"), &[]).await;
    assert!(browser.page("/access/policies").await.contains("There are no reusable policies."));
}
