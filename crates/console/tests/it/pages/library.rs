//! The library's pages: filters in the address, a status from a row, findings with what is unknown, rules that touch it.

use axum::http::StatusCode;
use serde_json::json;

use super::{Browser, location, text};
use crate::harness::Console;

#[tokio::test]
async fn the_library_is_narrowed_by_its_address_and_sets_a_status_from_a_row() {
    let console = Console::new().await;
    let ada = Browser::set_up(&console).await;
    let page = ada.page("/library?ai=code&search=cursor").await;
    assert!(page.contains("/library/cursor\"") && !page.contains("/library/claude\""), "{page}");
    assert!(page.contains("value=\"cursor\"") && page.contains("<option value=\"code\" selected"));
    let next = "/library?search=cursor&ai=code";
    let answer = ada.send("/library/cursor/status", &[("status", "unapproved"), ("next", next)]).await;
    assert_eq!((answer.status, location(&answer)), (StatusCode::SEE_OTHER, &*format!("{next}&note=saved")));
    let page = ada.page("/library?status=unapproved").await;
    assert!(page.contains("/library/cursor\"") && page.contains("1 application fits"), "{page}");
    let answer = ada.send("/library/cursor/status", &[("status", "good"), ("next", next)]).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let elsewhere = ada.send("/library/cursor/status", &[("status", "approved"), ("next", "//evil.test")]).await;
    assert!(
        location(&elsewhere).starts_with('/') && !location(&elsewhere).starts_with("//"),
        "{}",
        location(&elsewhere)
    );
    assert!(ada.page("/library?search=zzzz-nobody").await.contains("No application fits"));
}

#[tokio::test]
async fn findings_are_kept_and_what_nobody_knows_is_unknown() {
    let console = Console::new().await;
    let ada = Browser::set_up(&console).await;
    let page = ada.page("/library/claude/findings").await;
    assert!(page.contains("unknown") && page.contains("Generative AI posture"), "{page}");
    let saved = ada
        .send(
            "/library/claude/findings",
            &[("soc2.value", "yes"), ("soc2.url", "https://trust.example.com/"), ("soc2.date", "2026-11-01")],
        )
        .await;
    assert_eq!(location(&saved), "/library/claude/findings?note=saved");
    let page = ada.page("/library/claude/findings").await;
    assert!(page.contains("https://trust.example.com/") && page.contains("0.6 to "), "{page}");
    let refused = ada.send("/library/claude/findings", &[("soc2.value", "yes"), ("soc2.url", "ftp://x<y")]).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(text(&refused).contains("ftp://x&lt;y"), "what was typed stays, escaped");
    let saved = ada
        .send(
            "/library/claude",
            &[("status", "approved"), ("owner", "<b>it</b>"), ("notes", "fine"), ("review_date", "2027-02-01")],
        )
        .await;
    assert_eq!(location(&saved), "/library/claude?note=saved");
    let page = ada.page("/library/claude").await;
    assert!(page.contains("&lt;b&gt;it&lt;/b&gt;") && page.contains("2027-02-01"), "{page}");
    let nobody = ada.get("/library/nobody").await;
    assert_eq!(nobody.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_application_names_the_rules_that_may_touch_it() {
    let console = Console::new().await;
    let ada = Browser::set_up(&console).await;
    let rule = |name: &str, traffic: &str| json!({"name": name, "action": "block", "enabled": true, "filters": ["http"], "traffic": traffic});
    for (name, traffic) in [
        ("all AI", "any(app.type.ids[*] in {25})"),
        ("another", "any(app.ids[*] in {1199})"),
        ("uploads there", "any(app.ids[*] in {2430}) and http.request.method == \"POST\""),
        ("by name", "any(http.request.domains[*] == \"claude.ai\")"),
        ("everywhere", "http.request.method == \"TRACE\""),
    ] {
        console.post("gateway/rules", rule(name, traffic)).await.result();
    }
    let page = ada.page("/library/claude/policies").await;
    for (name, shown) in
        [("all AI", true), ("another", false), ("uploads there", true), ("by name", true), ("everywhere", false)]
    {
        assert_eq!(page.contains(&format!(">{name}<")), shown, "{name}: {page}");
    }
    assert!(ada.page("/library/gemini/policies").await.contains(">all AI<"));
}

#[tokio::test]
async fn a_list_is_imported_on_its_page() {
    let console = Console::new().await;
    let ada = Browser::set_up(&console).await;
    let bad = ada.send("/library/lists", &[("name", "bets"), ("category", "8"), ("text", "a.test\nno name")]).await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
    assert!(text(&bad).contains("line 2: ") && text(&bad).contains("no name"), "{}", text(&bad));
    let good = ada.send("/library/lists", &[("name", "bets"), ("category", "8"), ("text", "a.test\nb.test")]).await;
    assert_eq!(location(&good), "/library/lists?note=saved");
    let page = ada.page("/library/lists").await;
    assert!(page.contains("bets") && page.contains("Gambling (8)"), "{page}");
}
