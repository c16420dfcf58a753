//! The pages about what is really used, and the way from there to a rule.

use super::{Browser, text};
use crate::harness::Console;
use crate::usage::traffic;

#[tokio::test]
async fn from_the_overview_to_an_application_to_a_person() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    assert!(browser.page("/usage").await.contains("Nothing of the kind was used"));
    console.advance(11);
    traffic(&console).await;
    let page = browser.page("/usage").await;
    for told in
        ["/usage/applications/chatgpt", "Requests by status", "Growing most", "Not in the library", "compared with"]
    {
        assert!(page.contains(told), "{told}: {page}");
    }
    assert!(page.len() < 60_000, "{}", page.len());
    let narrowed = browser.page("/usage?ai=any&days=7").await;
    assert!(
        narrowed.contains("/usage/applications/chatgpt?days=7") && !narrowed.contains("/usage/applications/github")
    );
    let application = browser.page("/usage/applications/chatgpt?days=7").await;
    for told in ["/usage/people/ann%40corp.example?days=7", "/usage/groups/Sales", "finding=coach", "hours of a week"] {
        assert!(application.contains(told), "{told}: {application}");
    }
    assert!(application.len() < 60_000, "{}", application.len());
    assert!(browser.page("/usage/applications/0").await.contains("does not know"));
    assert!(browser.page("/usage/people").await.contains("/usage/people/bob%40corp.example"));
    assert!(browser.page("/usage/people/bob%40corp.example").await.contains("/usage/applications/github"));
    assert!(browser.page("/usage/groups").await.contains("/usage/groups/Finance"));
    assert!(browser.page("/usage/groups/Finance").await.contains("ChatGPT"));

    // What waits is decided where it stands.
    let waiting = browser.page("/usage/review").await;
    assert!(waiting.contains("ChatGPT") && waiting.contains("GitHub"));
    let set = [("status", "approved"), ("next", "/usage/review")];
    assert_eq!(browser.submit("/library/chatgpt/status", &set).await, "/usage/review");
    let waiting = browser.page("/usage/review").await;
    assert!(!waiting.contains("/usage/applications/chatgpt") && waiting.contains("/usage/applications/github"));
}

#[tokio::test]
async fn a_finding_opens_a_drafted_rule_that_can_be_replayed() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    browser.submit("/library/claude/status", &[("status", "approved"), ("next", "/usage")]).await;
    for (finding, action, part) in [
        ("block", "block", "Block ChatGPT"),
        ("redirect", "redirect", "https://claude.ai/"),
        ("coach", "managed", "has not been reviewed yet"),
        ("uploads", "block", "starts_with(http.upload.mime, "),
        ("log", "allow", "Allow and log ChatGPT"),
        ("block-unapproved", "block", "app.statuses"),
    ] {
        let page = browser.page(&format!("/rules/new?finding={finding}&application=chatgpt")).await;
        let ticked = format!("value=\"{action}\" checked");
        assert!(page.contains(part) && page.contains(&ticked) && page.contains("/rules/replay"), "{finding}: {page}");
    }
    let refused = browser.get("/rules/new?finding=praise&application=chatgpt").await;
    assert!(refused.status == 400 && text(&refused).contains("coach"), "{}", text(&refused));
}
