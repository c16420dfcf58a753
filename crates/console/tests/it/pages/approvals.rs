//! Who must agree, as a policy's form has it.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Browser, text};
use crate::harness::Console;

/// A policy that asks two groups, and where it is read and written.
struct Policy<'a> {
    browser: Browser<'a>,
    api: String,
    form: String,
}

impl<'a> Policy<'a> {
    async fn with(console: &'a Console, groups: Value) -> Self {
        let browser = Browser::set_up(console).await;
        let app = [("name", "Wiki"), ("domain", "wiki.example.com"), ("origin", "http://127.0.0.1:8080")];
        let published = browser.submit("/access", &[&app[..], &[("include", "@example.com")]].concat()).await;
        let path = published.trim_end_matches("/published");
        let policies = format!("access/apps/{}/policies", path.trim_start_matches("/access/apps/"));
        let policy = console.get(&policies).await.result()[0].clone();
        let id = policy["id"].as_str().unwrap();
        let (api, form) = (format!("{policies}/{id}"), format!("{path}/policies/{id}"));
        let body = json!({"name": "Staff", "decision": "allow", "include": policy["include"],
            "approval_required": true, "approval_groups": groups});
        console.put(&api, body).await.result();
        Self { browser, api, form }
    }

    fn typed<'t>(groups: &[(&'t str, &'t str)], names: &'t [(String, String)]) -> Vec<(&'t str, &'t str)> {
        let mut fields = vec![("name", "Staff"), ("decision", "allow"), ("include", "@example.com")];
        for ((people, needed), (of_people, of_needed)) in groups.iter().zip(names) {
            fields.extend([(of_people.as_str(), *people), (of_needed.as_str(), *needed)]);
        }
        fields
    }
}

/// The names of the fields of the groups, first to last.
fn names() -> Vec<(String, String)> {
    let number = |name: &str, index: usize| if index == 0 { name.to_owned() } else { format!("{name}-{}", index + 1) };
    (0..8).map(|index| (number("approvers", index), number("approvals_needed", index))).collect()
}

fn group(needed: u64, people: &[&str]) -> Value {
    json!({"approvals_needed": needed, "email_addresses": people})
}

#[tokio::test]
async fn every_group_that_must_agree_is_shown_changed_added_and_taken_out() {
    let console = Console::new().await;
    let groups = json!([group(1, &["old@example.com"]), group(1, &["owner@example.com"])]);
    let policy = Policy::with(&console, groups).await;
    let names = names();
    let stored = async || {
        let stored = console.get(&policy.api).await.result();
        (stored["approval_required"].clone(), stored["approval_groups"].clone())
    };
    let page = policy.browser.page(&policy.form).await;
    for shown in ["old@example.com", "owner@example.com", "Group 1", "Group 2", "A further group"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    // Each control has a name and a label of its own; nothing needs a script.
    for name in ["approvers", "approvers-2", "approvers-3", "approvals_needed-3"] {
        assert!(page.contains(&format!("id=\"{name}\" name=\"{name}\"")), "{name}: {page}");
        assert!(page.contains(&format!("label for=\"{name}\"")), "{name}: {page}");
    }
    assert!(!page.contains("approvers-4"));
    let three = [("boss@example.com\nchief@example.com", "2"), ("owner@example.com", "1"), ("legal@example.com", "1")];
    policy.browser.submit(&policy.form, &Policy::typed(&three, &names)).await;
    let (boss, owner) = (group(2, &["boss@example.com", "chief@example.com"]), group(1, &["owner@example.com"]));
    assert_eq!(stored().await, (json!(true), json!([boss, owner, group(1, &["legal@example.com"])])));
    // The middle one is emptied, and the row at the end left empty.
    let two = [three[0], ("", "1"), three[2], ("", "1")];
    policy.browser.submit(&policy.form, &Policy::typed(&two, &names)).await;
    assert_eq!(stored().await, (json!(true), json!([boss, group(1, &["legal@example.com"])])));
    // What is wrong with the second is told beside it, and all that was typed is still there.
    let wrong = [three[0], ("legal@example.com", "2"), ("new@example.com", "1")];
    let refused = policy.browser.send(&policy.form, &Policy::typed(&wrong, &names)).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let page = text(&refused);
    assert!(page.contains("id=\"approvers-2-problem\"") && page.contains("at most the people named"), "{page}");
    assert!(page.contains("chief@example.com") && page.contains("new@example.com"), "{page}");
    policy.browser.submit(&policy.form, &Policy::typed(&[("", "1"), ("", ""), ("", "1")], &names)).await;
    assert_eq!(stored().await, (json!(false), Value::Null));
}
