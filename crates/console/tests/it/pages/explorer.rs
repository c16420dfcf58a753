//! The page of the log explorer.

use super::{Browser, text};
use crate::explorer::recorded;
use crate::harness::Console;

#[tokio::test]
async fn a_query_is_run_when_asked_and_its_answer_is_text() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    recorded(&console).await;
    let filled = browser.page("/explore?query=SELECT+url+FROM+gateway_http").await;
    assert!(filled.contains("SELECT url FROM gateway_http"));
    assert!(!filled.contains("4 rows"), "an address runs nothing");
    let question = browser.page("/explore?question=exfiltration").await;
    assert!(question.contains("bytes_sent"));

    let page = text(&browser.send("/explore", &[("query", "SELECT URL FROM gateway_http ORDER BY URL")]).await);
    assert!(page.contains("4 rows") && page.contains("https://a.example/&lt;script&gt;"), "{page}");
    let chart = "SELECT HTTPHost, COUNT(*) AS n FROM gateway_http GROUP BY HTTPHost";
    let page = text(&browser.send("/explore", &[("query", chart)]).await);
    assert!(page.contains("n by HTTPHost"), "{page}");
    let refused = browser.send("/explore", &[("query", "SELECT hots FROM gateway_http")]).await;
    assert_eq!(refused.status, 400);
    let page = text(&refused);
    assert!(page.contains("hots") && page.contains("SELECT hots FROM gateway_http"), "{page}");

    let file = browser.send("/explore", &[("query", chart), ("format", "csv")]).await;
    assert!(text(&file).starts_with("HTTPHost,n\r\n"));
}
