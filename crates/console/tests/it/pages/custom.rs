//! Custom pages, given to an application and to the organisation through their forms.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Browser, text};
use crate::harness::Console;

#[tokio::test]
async fn custom_pages_are_given_to_an_application_and_to_the_organisation() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let app = [("name", "Wiki"), ("origin", "http://127.0.0.1:8080"), ("include", "ada@example.com")];
    let app = browser.submit("/access", &app).await.trim_end_matches("/published").to_owned();
    assert!(!browser.page(&app).await.contains("page_forbidden"), "there is nothing to choose yet");
    let login = [("name", "Hello"), ("type", "login"), ("custom_html", "<p>hello")];
    let refused = browser.send("/access/appearance/pages", &login).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(text(&refused).contains("are shown nowhere"), "{}", text(&refused));
    for (name, kind) in [("Refused", "identity_denied"), ("Out", "forbidden")] {
        let page = [("name", name), ("type", kind), ("custom_html", "<p>no")];
        browser.submit("/access/appearance/pages", &page).await;
    }
    let made = console.get("access/custom_pages").await.result();
    let of = |kind: &str| {
        let page = made.as_array().unwrap().iter().find(|page| page["type"] == kind).unwrap();
        page["uid"].as_str().unwrap().to_owned()
    };
    let (refused, out) = (of("identity_denied"), of("forbidden"));

    let settings = [
        ("name", "Wiki"),
        ("domain", "wiki.localhost"),
        ("origin", "http://127.0.0.1:8080"),
        ("session_duration", "8h"),
    ];
    let both = [("page_identity_denied", refused.as_str()), ("page_forbidden", out.as_str())];
    let stored = async || console.get("access/apps").await.result()[0]["custom_pages"].clone();
    browser.submit(&app, &[&settings[..], &both].concat()).await;
    assert_eq!(stored().await, json!([refused, out]));
    let page = browser.page(&app).await;
    for id in [&refused, &out] {
        assert!(page.contains(&format!("value=\"{id}\" selected")), "{page}");
    }
    // A form that was shown without the choice keeps it; an empty one takes it back.
    browser.submit(&app, &settings).await;
    assert_eq!(stored().await, json!([refused, out]));
    browser.submit(&app, &[&settings[..], &[("page_identity_denied", ""), ("page_forbidden", &out)]].concat()).await;
    assert_eq!(stored().await, json!([out]));

    let organization = [
        ("name", "Example"),
        ("auth_domain", "login.example.com"),
        ("page_identity_denied", &refused),
        ("page_forbidden", ""),
    ];
    browser.submit("/access/organization", &organization).await;
    let stored = async || console.get("access/organizations").await.result()["custom_pages"].clone();
    assert_eq!(stored().await, json!({"identity_denied": refused}));
    assert!(browser.page("/access/organization").await.contains(&format!("value=\"{refused}\" selected")));
    browser.submit("/access/organization", &organization[..2]).await;
    assert_eq!(stored().await["identity_denied"], json!(refused));
    browser
        .submit(
            "/access/organization",
            &[&organization[..2], &[("page_identity_denied", ""), ("page_forbidden", "")]].concat(),
        )
        .await;
    assert!(
        matches!(stored().await, Value::Null | Value::Object(_)) && stored().await.get("identity_denied").is_none()
    );
}
