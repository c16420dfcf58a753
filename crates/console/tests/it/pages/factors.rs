//! The second factor of an application and of a policy, through their forms.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Browser, text};
use crate::harness::Console;

#[tokio::test]
async fn an_application_and_a_policy_ask_for_a_factor_of_their_own_or_for_none() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let app = [("name", "Wiki"), ("origin", "http://127.0.0.1:8080"), ("include", "ada@example.com")];
    let path = browser.submit("/access", &app).await.trim_end_matches("/published").to_owned();
    let app = console.get("access/apps").await.result()[0].clone();
    let policy = format!("{path}/policies/{}", app["policies"][0]["id"].as_str().unwrap());
    let settings = [
        ("name", "Wiki"),
        ("domain", "wiki.localhost"),
        ("origin", "http://127.0.0.1:8080"),
        ("session_duration", "8h"),
    ];
    let rule = [("name", "Staff"), ("decision", "allow"), ("include", "ada@example.com")];
    let stored = async |of_policy: bool| {
        let app = console.get("access/apps").await.result()[0].clone();
        if of_policy { app["policies"][0]["mfa_config"].clone() } else { app["mfa_config"].clone() }
    };
    for (form, fields, of_policy) in [(&path, &settings[..], false), (&policy, &rule[..], true)] {
        let wider = if of_policy { "As the application says" } else { "As the organisation says" };
        assert!(browser.page(form).await.contains(wider));
        let keys = [("mfa", "required"), ("factor", "security_key"), ("mfa_session_duration", "30m")];
        browser.submit(form, &[fields, &keys].concat()).await;
        assert_eq!(
            stored(of_policy).await,
            json!({"allowed_authenticators": ["security_key"], "session_duration": "30m"})
        );
        let page = browser.page(form).await;
        assert!(page.contains("value=\"required\" selected") && page.contains("value=\"30m\""), "{page}");
        assert!(page.contains("value=\"security_key\" checked") && !page.contains("value=\"totp\" checked"), "{page}");
        // What is wrong stands beside the field, and what was typed is kept.
        for (wrong, why) in [
            (&[("mfa", "required"), ("mfa_session_duration", "1h")][..], "tick at least one kind"),
            (
                &[("mfa", "required"), ("factor", "totp"), ("mfa_session_duration", "soon")][..],
                "mfa_session_duration-problem",
            ),
        ] {
            let refused = browser.send(form, &[fields, wrong].concat()).await;
            assert_eq!(refused.status, StatusCode::BAD_REQUEST);
            let page = text(&refused);
            assert!(page.contains(why) && page.contains("value=\"required\" selected"), "{page}");
        }
        browser.submit(form, &[fields, &[("mfa", "off"), ("factor", "security_key")]].concat()).await;
        assert_eq!(stored(of_policy).await["mfa_disabled"], true);
        assert!(browser.page(form).await.contains("value=\"off\" selected"));
        browser.submit(form, &[fields, &[("mfa", ""), ("factor", "security_key")]].concat()).await;
        assert_eq!(stored(of_policy).await, Value::Null);
    }
}
