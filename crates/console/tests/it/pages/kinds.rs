//! What is published besides web applications: links, and the launcher they stand in.

use axum::http::StatusCode;
use serde_json::json;

use super::{Browser, text};
use crate::harness::Console;

#[tokio::test]
async fn a_link_is_made_and_changed_through_forms() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    assert!(browser.page("/access/new").await.contains("href=\"/access/new?type=bookmark\""));
    assert!(!browser.page("/access/new?type=bookmark").await.contains("Who may enter"));
    let fields = [("type", "bookmark"), ("name", "Calendar"), ("domain", "javascript:alert(1)")];
    let refused = browser.send("/access", &fields).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let page = text(&refused);
    assert!(
        page.contains("Add a link") && page.contains("value=\"Calendar\"") && page.contains("domain-problem"),
        "{page}"
    );

    let fields = [("type", "bookmark"), ("name", "Calendar"), ("domain", "https://calendar.example.com/team")];
    let path = browser.submit("/access", &fields).await;
    let page = browser.page(&path).await;
    assert!(page.contains("Leads to") && !page.contains("Who may enter") && !page.contains("Cf-Access-Jwt"), "{page}");
    let fields = [("name", "Holidays"), ("domain", "calendar.example.com"), ("logo_url", "https://example.com/a.svg")];
    browser.submit(&path, &fields).await;
    let stored = console.get("access/apps").await.result()[0].clone();
    assert_eq!((&stored["type"], &stored["name"]), (&json!("bookmark"), &json!("Holidays")));
    assert_eq!(
        (&stored["domain"], &stored["logo_url"]),
        (&json!("calendar.example.com"), &json!("https://example.com/a.svg"))
    );
    assert_eq!(stored["app_launcher_visible"], false);
}

#[tokio::test]
async fn the_launcher_is_opened_once_and_changed_through_forms() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let fields = [("type", "app_launcher"), ("name", "Launcher"), ("include", "@example.com")];
    let path = browser.submit("/access", &fields).await;
    let page = browser.page(&path).await;
    assert!(page.contains("Who may enter") && !page.contains("Requests go to"), "{page}");
    browser.submit(&path, &[("name", "Start"), ("session_duration", "8h")]).await;
    let stored = console.get("access/apps").await.result()[0].clone();
    assert_eq!((&stored["type"], &stored["name"]), (&json!("app_launcher"), &json!("Start")));
    assert_eq!(stored["session_duration"], "8h");
    assert_eq!(stored["policies"][0]["include"], json!([{"email_domain": {"domain": "example.com"}}]));
    let second = browser.send("/access", &fields).await;
    assert_eq!(second.status, StatusCode::CONFLICT);
    assert!(text(&second).contains("there is an app launcher already"));
}
