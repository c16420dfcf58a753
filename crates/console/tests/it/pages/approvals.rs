//! Who must agree, as a policy's form has it.

use axum::http::StatusCode;
use serde_json::json;

use super::{Browser, text};
use crate::harness::Console;

#[tokio::test]
async fn who_must_agree_is_written_in_the_form_of_a_policy_and_what_it_does_not_show_stays() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let app = [("name", "Wiki"), ("domain", "wiki.example.com"), ("origin", "http://127.0.0.1:8080")];
    let published = browser.submit("/access", &[&app[..], &[("include", "@example.com")]].concat()).await;
    let path = published.trim_end_matches("/published");
    let policies = format!("access/apps/{}/policies", path.trim_start_matches("/access/apps/"));
    let policy = console.get(&policies).await.result()[0].clone();
    let (id, form) = (policy["id"].as_str().unwrap(), format!("{path}/policies/{}", policy["id"].as_str().unwrap()));
    let further = json!({"approvals_needed": 1, "email_addresses": ["owner@example.com"]});
    let first = json!({"approvals_needed": 1, "email_addresses": ["old@example.com"]});
    let body = json!({"name": "Staff", "decision": "allow", "include": policy["include"],
        "approval_required": true, "approval_groups": [first, further]});
    console.put(&format!("{policies}/{id}"), body).await.result();
    assert!(browser.page(&form).await.contains("old@example.com"));
    let typed = |approvers, needed| {
        [
            ("name", "Staff"),
            ("decision", "allow"),
            ("include", "@example.com"),
            ("approvers", approvers),
            ("approvals_needed", needed),
        ]
    };
    browser.submit(&form, &typed("boss@example.com\nchief@example.com", "2")).await;
    let stored = console.get(&format!("{policies}/{id}")).await.result();
    let both = json!({"approvals_needed": 2, "email_addresses": ["boss@example.com", "chief@example.com"]});
    assert_eq!((&stored["approval_required"], &stored["approval_groups"]), (&json!(true), &json!([both, further])));
    let refused = browser.send(&form, &typed("boss@example.com", "2")).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(text(&refused).contains("at most the people named"), "{}", text(&refused));
    for _ in 0..2 {
        browser.submit(&form, &typed("", "1")).await;
    }
    assert_eq!(console.get(&format!("{policies}/{id}")).await.result()["approval_required"], false);
}
