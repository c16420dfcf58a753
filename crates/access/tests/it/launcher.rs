//! The launcher, the looks of pages, languages, and the organisation's own pages.

use std::time::Duration;

use access::CustomPage;
use http::StatusCode;
use identity::tag::PageType;
use serde_json::{Value, json};
use types::CustomPageId;
use uuid::Uuid;

use crate::support::{EMAIL, OTHER, PASSWORD, Setup, Stand, TEAM, WIKI, allow};
use testkit::{Browser, Seen};

const DENIED_PAGE: CustomPageId = CustomPageId(Uuid::from_u128(0x41));
const FORBIDDEN_PAGE: CustomPageId = CustomPageId(Uuid::from_u128(0x42));

fn nobody() -> Value {
    allow(json!({"email": {"email": "somebody.else@example.test"}}))
}

/// A wiki, an application that is closed to Ada, a bookmark and a launcher.
fn company(launcher: &Value, policies: Vec<Value>) -> Setup {
    let mut document = json!({"type": "app_launcher", "name": "Launcher"});
    document.as_object_mut().unwrap().extend(launcher.as_object().unwrap().clone());
    let status = json!({"type": "bookmark", "name": "Status & uptime", "domain": "https://status.example.org/now",
        "tags": ["operations"], "logo_url": "https://pictures.example.org/status.png"});
    Setup {
        wiki: json!({"tags": ["documents", "everyday"]}),
        more: vec![
            (json!({"name": "Payroll", "domain": OTHER}), vec![nobody()]),
            (status, Vec::new()),
            (document, policies),
        ],
        ..Setup::default()
    }
}

fn everyone() -> Vec<Value> {
    vec![allow(json!({"everyone": {}}))]
}

/// Signs in at the launcher from its first page.
async fn enter(stand: &Stand, browser: &mut Browser) -> Seen {
    let choice = browser.open(&stand.url(TEAM, &format!("/cdn-cgi/access/login/{TEAM}"))).await;
    assert!(choice.text.contains("To see your applications"), "{}", choice.text);
    let away = browser.submit(&choice, "password", &[("email", EMAIL), ("password", PASSWORD)]).await;
    browser.follow(away).await
}

fn names(seen: &Seen) -> Vec<&str> {
    let tiles = seen.text.split("<span class=\"name\">").skip(1);
    tiles.map(|tile| tile.split("</span>").next().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_finds_the_applications_that_policies_open_to_them() {
    let stand = Stand::start(company(&json!({}), everyone())).await;
    let mut browser = stand.browser();
    let landing = browser.open(&stand.url(TEAM, "/")).await;
    assert_eq!(landing.status, StatusCode::OK);
    assert!(landing.text.contains("All your applications in one place."), "{}", landing.text);
    assert!(names(&landing).is_empty());
    let home = enter(&stand, &mut browser).await;
    assert_eq!((home.status, home.url.path()), (StatusCode::OK, "/"), "{}", home.text);
    assert_eq!(names(&home), ["Status &amp; uptime", "Wiki"]);
    assert!(home.text.contains(&format!("href=\"{}\"", stand.url(WIKI, "/"))), "{}", home.text);
    let policy = home.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("img-src https://pictures.example.org;"), "{policy}");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    // What the tile promises: the wiki opens without another sign-in.
    assert_eq!(browser.open(&stand.url(WIKI, "/")).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn tiles_are_searched_and_filtered_by_plain_links_and_forms() {
    let stand = Stand::start(company(&json!({}), everyone())).await;
    let mut browser = stand.browser();
    enter(&stand, &mut browser).await;
    for (query, expected) in [
        ("?q=WIK", vec!["Wiki"]),
        ("?q=example+status", vec!["Status &amp; uptime"]),
        ("?tag=documents", vec!["Wiki"]),
        ("?tag=documents&q=status", vec![]),
        ("?tag=nothing-like-it", vec![]),
        ("?q=%22%3E%3Cscript%3E", vec![]),
        ("?q=&tag=", vec!["Status &amp; uptime", "Wiki"]),
    ] {
        let seen = browser.open(&stand.url(TEAM, &format!("/{query}"))).await;
        assert_eq!(seen.status, StatusCode::OK);
        assert_eq!(names(&seen), expected, "{query}");
        assert!(!seen.text.contains("<script"), "{query}");
        assert_eq!(seen.text.contains("Nothing found"), expected.is_empty(), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_tiles_whom_the_launchers_policies_do_not_cover() {
    let stand = Stand::start(company(&json!({}), vec![nobody()])).await;
    let mut browser = stand.browser();
    let denied = enter(&stand, &mut browser).await;
    assert_eq!(denied.status, StatusCode::FORBIDDEN);
    assert!(names(&denied).is_empty());
    let denied = browser.open(&stand.url(TEAM, "/")).await;
    assert_eq!(denied.status, StatusCode::FORBIDDEN);
    assert!(names(&denied).is_empty() && denied.text.contains("You have no access"), "{}", denied.text);
    // The launcher's policy is not the applications'.
    assert_eq!(browser.open(&stand.url(WIKI, "/")).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_asks_for_an_answer_does_not_open_the_launcher() {
    let asks = json!({"name": "Asks", "decision": "allow", "include": [{"everyone": {}}],
        "purpose_justification_required": true, "purpose_justification_prompt": "Why?"});
    let stand = Stand::start(company(&json!({}), vec![asks])).await;
    let mut browser = stand.browser();
    stand.sign_in(&mut browser, "/").await;
    let seen = browser.open(&stand.url(TEAM, "/")).await;
    assert_eq!(seen.status, StatusCode::FORBIDDEN);
    assert!(names(&seen).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_launcher_until_somebody_makes_one() {
    let stand = Stand::start(Setup::default()).await;
    let mut browser = stand.browser();
    assert_eq!(browser.open(&stand.url(TEAM, "/")).await.status, StatusCode::NOT_FOUND);
    let login = stand.url(TEAM, &format!("/cdn-cgi/access/login/{TEAM}"));
    assert_eq!(browser.open(&login).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_launcher_asks_again_when_its_session_has_lasted() {
    let launcher = json!({"session_duration": "30m", "skip_app_launcher_login_page": true});
    let stand = Stand::start(company(&launcher, everyone())).await;
    let mut browser = stand.browser();
    assert_eq!(enter(&stand, &mut browser).await.url.path(), "/");
    stand.advance(Duration::from_secs(31 * 60));
    let again = browser.open(&stand.url(TEAM, "/")).await;
    assert_eq!(again.status, StatusCode::OK);
    assert!(again.text.contains("To see your applications"), "{}", again.text);
    assert_eq!(enter(&stand, &mut browser).await.url.path(), "/");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_choose_the_language_of_pages_and_keep_it() {
    let stand = Stand::start(company(&json!({}), everyone())).await;
    let mut browser = stand.browser();
    let page = browser.open(&stand.url(WIKI, "/deep?x=1")).await;
    assert!(page.text.contains("<html lang=\"en\">"));
    let link = page.text.split("cdn-cgi/access/language?").nth(1).unwrap().split('"').next().unwrap();
    let link = format!("/cdn-cgi/access/language?{}", link.replace("&amp;", "&"));
    let german = browser.open(&stand.url(TEAM, &link)).await;
    assert_eq!(german.headers["content-language"], "de");
    assert!(german.text.contains("<html lang=\"de\">") && german.text.contains("Passwort"), "{}", german.text);
    // The sign-in that was under way goes on in it, past a wrong password and to what was asked for.
    let wrong = browser.submit(&german, "password", &[("email", EMAIL), ("password", "no")]).await;
    assert!(wrong.text.contains("gehören nicht zusammen") && wrong.text.contains("aria-describedby=\"problem\""));
    let away = browser.submit(&wrong, "password", &[("email", EMAIL), ("password", PASSWORD)]).await;
    let seen = browser.follow(away).await;
    assert_eq!(seen.url, stand.url(WIKI, "/deep?x=1"));
    // An application is not told.
    assert!(!seen.text.contains("CF_Language"), "{}", seen.text);
    assert!(browser.open(&stand.url(TEAM, "/")).await.text.contains("Ihre Anwendungen"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_switch_of_languages_leads_nowhere_else() {
    let stand = Stand::start(Setup::default()).await;
    let mut browser = stand.browser();
    for back in ["https://evil.example/", "//evil.example/", "/%5Cevil.example", "javascript:alert(1)", ""] {
        let seen = browser.get(&stand.url(WIKI, &format!("/cdn-cgi/access/language?to=de&back={back}"))).await;
        assert_eq!(seen.status, StatusCode::FOUND, "{back}");
        assert_eq!(seen.location().host_str(), Some(WIKI), "{back}");
    }
    let seen = browser.get(&stand.url(WIKI, "/cdn-cgi/access/language?to=xx&back=/")).await;
    assert_eq!(seen.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_wear_the_organisations_colours_and_logo() {
    let design = json!({"background_color": "#663399", "text_color": "#663398", "header_text": "<Acme>",
        "footer_text": "Ask & you shall receive", "logo_path": "data:image/png;base64,iVBORw0KGgo="});
    let stand = Stand::start(Setup { organization: json!({"login_design": design}), ..Setup::default() }).await;
    let page = stand.browser().open(&stand.url(WIKI, "/")).await;
    // The wanted text cannot be read on this background, so another stands there.
    assert!(page.text.contains("--back:#663399;--on-back:#ffffff;"), "{}", page.text);
    for part in ["&lt;Acme&gt;", "Ask &amp; you shall receive", "src=\"data:image/png;base64,iVBORw0KGgo=\""] {
        assert!(page.text.contains(part), "{part}");
    }
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("img-src data:;") && policy.matches("'sha256-").count() == 2, "{policy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_denied_page_says_what_the_help_desk_needs_and_no_more() {
    let wiki = json!({"custom_deny_message": "Ask <Ines> for the training."});
    let setup = Setup { wiki, policies: vec![nobody()], ..company(&json!({}), everyone()) };
    let stand = Stand::start(setup).await;
    let mut browser = stand.browser();
    let denied = stand.sign_in(&mut browser, "/").await;
    assert_eq!(denied.status, StatusCode::FORBIDDEN);
    let records = stand.records().await;
    let ray = records.last().unwrap()["RayID"].as_str().unwrap();
    for part in ["Ask &lt;Ines&gt; for the training.", EMAIL, ray, "Your applications"] {
        assert!(denied.text.contains(part), "{part}: {}", denied.text);
    }
    assert!(!denied.text.contains("somebody.else") && !denied.text.contains("Staff"), "{}", denied.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_applications_own_page_stands_in_the_place_of_ours_and_can_do_nothing() {
    let html = "<h1>Not you, {{ email }}</h1><p>{{ app_name }} {{ ray_id }}</p><script>alert(1)</script>";
    let page = |kind, html: &str| CustomPage { kind, html: html.to_owned() };
    let setup = Setup {
        wiki: json!({"custom_pages": [DENIED_PAGE], "name": "<Wiki>"}),
        policies: vec![nobody()],
        organization: json!({"custom_pages": {"forbidden": FORBIDDEN_PAGE}, "deny_unmatched_requests": true}),
        pages: [
            (DENIED_PAGE, page(PageType::IdentityDenied, html)),
            (FORBIDDEN_PAGE, page(PageType::Forbidden, "<p>Nobody comes in here</p>")),
        ]
        .into(),
        ..Setup::default()
    };
    let stand = Stand::start(setup).await;
    let mut browser = stand.browser();
    let denied = stand.sign_in(&mut browser, "/").await;
    assert_eq!(denied.status, StatusCode::FORBIDDEN);
    assert!(denied.text.contains(&format!("<h1>Not you, {EMAIL}</h1><p>&lt;Wiki&gt; 0")), "{}", denied.text);
    let policy = denied.headers["content-security-policy"].to_str().unwrap();
    for part in ["sandbox ", "default-src 'none'", "form-action 'none'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("allow-scripts") && !policy.contains("script-src"), "{policy}");
    let forbidden = browser.open(&stand.url(TEAM, "/")).await;
    assert_eq!(forbidden.status, StatusCode::FORBIDDEN);
    assert_eq!(forbidden.text, "<p>Nobody comes in here</p>");
}
