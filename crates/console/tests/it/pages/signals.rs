//! The pages of saved queries and signals.

use super::{Browser, text};
use crate::harness::Console;

const SQL: &str = "SELECT COUNT(*) AS n FROM gateway_http WHERE Datetime >= $from AND Datetime < $until";

#[tokio::test]
async fn a_query_is_saved_and_becomes_a_signal() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let saved =
        browser.send("/explore/saved", &[("query", SQL), ("name", "Requests <b>"), ("description", "All")]).await;
    assert_eq!(saved.status, 303);
    let opened = saved.headers["location"].to_str().unwrap().to_owned();
    let page = browser.page(&opened).await;
    assert!(page.contains("Requests &lt;b&gt;") && page.contains("Datetime &lt; $until"), "{page}");
    // It runs where it stands, over the last day.
    let answer = text(&browser.send("/explore", &[("query", SQL)]).await);
    assert!(answer.contains("1 row"), "{answer}");

    let query = opened.split("saved=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let form = browser.page(&format!("/signals/new?query={query}")).await;
    assert!(form.contains(&format!("value=\"{query}\" selected")));
    let fields = [
        ("name", "Too many"),
        ("query_id", query.as_str()),
        ("every_minutes", "0"),
        ("column", "n"),
        ("at_least", "1000"),
        ("severity", "high"),
        ("enabled", "1"),
    ];
    let refused = browser.send("/signals", &fields).await;
    assert_eq!(refused.status, 400);
    assert!(text(&refused).contains("must be 1 to 1440") && text(&refused).contains("Too many"));
    let fields = fields.map(|(name, value)| if name == "every_minutes" { (name, "60") } else { (name, value) });
    assert_eq!(browser.send("/signals", &fields).await.status, 303);
    let page = browser.page("/signals").await;
    assert!(page.contains("Too many") && page.contains("every 1 h") && page.contains("n ≥ 1000"), "{page}");
    let id = page
        .split("href=\"/signals/")
        .skip(1)
        .map(|part| part.split('"').next().unwrap())
        .find(|id| *id != "new")
        .unwrap();
    assert!(browser.page(&format!("/signals/{id}")).await.contains("value=\"1000\""));
    // With a webhook, what its posts are signed with is shown once.
    let address = ("webhook", "https://hooks.example.com/T0/secret");
    let with_webhook: Vec<_> = fields.into_iter().chain([address]).collect();
    let kept = text(&browser.send(&format!("/signals/{id}"), &with_webhook).await);
    assert!(kept.contains("whsec_") && kept.contains("shown once"), "{kept}");
    let page = browser.page(&format!("/signals/{id}")).await;
    assert!(page.contains("https://hooks.example.com/REDACTED") && !page.contains("T0/secret"), "{page}");
    assert!(!page.contains("whsec_") && page.contains("New signing key"));
    assert!(browser.page(&format!("/signals/{id}/webhook_secret")).await.contains("Make a new signing key?"));
    let renewed = browser.send(&format!("/signals/{id}/webhook_secret"), &[]).await;
    assert!(text(&renewed).contains("whsec_"));
    assert_eq!(browser.send(&format!("/signals/{id}/delete"), &[]).await.status, 303);
    assert!(browser.page("/signals").await.contains("There is no signal yet"));
}
