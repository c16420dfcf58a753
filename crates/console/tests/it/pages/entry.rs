//! What one meets at the door: signing in, the files of a page, the theme.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};

use super::{Browser, ORIGIN, PASSWORD, location, post, text};
use crate::harness::Console;

#[tokio::test]
async fn sign_in_tells_nothing_and_leads_back_to_the_page_that_was_wanted() {
    let console = Console::new().await;
    Browser::set_up(&console).await;
    let wanted = console.send(Request::builder().uri("/rules/test?url=x").body(Body::empty()).unwrap()).await;
    assert_eq!(location(&wanted), "/sign-in?next=%2Frules%2Ftest%3Furl%3Dx");
    let attempt = |email: &'static str, password: &'static str, next: &'static str| {
        console.send(post(
            "/sign-in",
            &[("email", email), ("password", password), ("next", next)],
            &[("origin", ORIGIN)],
        ))
    };
    let wrong = attempt("ada@example.com", "not the password", "/rules").await;
    let unknown = attempt("bob@example.com", "not the password", "/rules").await;
    assert_eq!((wrong.status, unknown.status), (StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED));
    assert!(
        text(&wrong).contains("the address or the password is wrong")
            && text(&unknown).contains("the address or the password is wrong")
    );
    assert!(!wrong.headers.contains_key(header::SET_COOKIE));
    for (next, leads) in
        [("/rules/test?url=x", "/rules/test?url=x"), ("//evil.example", "/"), ("https://evil.example/", "/")]
    {
        let right = attempt("ada@example.com", PASSWORD, next).await;
        assert_eq!((right.status, location(&right)), (StatusCode::SEE_OTHER, leads));
    }
    let foreign = console
        .send(post(
            "/sign-in",
            &[("email", "ada@example.com"), ("password", PASSWORD)],
            &[("origin", "https://evil.example")],
        ))
        .await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN);
    let right = attempt("ada@example.com", PASSWORD, "").await;
    let browser = Browser::with(&console, &right).await;
    assert_eq!(location(&browser.get("/sign-in").await), "/");
    assert_eq!(browser.submit("/sign-out", &[]).await, "/sign-in");
    assert_eq!(location(&browser.get("/").await), "/sign-in");
}

#[tokio::test]
async fn assets_are_kept_for_ever_under_the_name_of_their_content() {
    let console = Console::new().await;
    let page = text(&console.send(Request::builder().uri("/sign-in").body(Body::empty()).unwrap()).await);
    for (before, media_type) in
        [("href=\"/assets/", "text/css; charset=utf-8"), ("src=\"/assets/", "text/javascript; charset=utf-8")]
    {
        let name = page.split(before).nth(1).unwrap().split('"').next().unwrap();
        let asset = console.send(Request::builder().uri(format!("/assets/{name}")).body(Body::empty()).unwrap()).await;
        assert_eq!(asset.status, StatusCode::OK);
        assert_eq!(asset.headers[header::CONTENT_TYPE], media_type);
        assert!(asset.headers[header::CACHE_CONTROL].to_str().unwrap().contains("immutable"));
    }
    let gone =
        console.send(Request::builder().uri("/assets/console.0000000000000000.css").body(Body::empty()).unwrap()).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_theme_is_kept_in_a_cookie() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let answer = browser.send("/theme", &[("theme", "dark"), ("next", "/rules")]).await;
    assert_eq!(location(&answer), "/rules");
    let set = answer.headers[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let request = Request::builder().uri("/rules").header(header::COOKIE, format!("{}; {set}", browser.cookie));
    let page = text(&console.send(request.body(Body::empty()).unwrap()).await);
    assert!(page.contains("data-theme=\"dark\""));
    assert!(!browser.page("/rules").await.contains("data-theme"));
}
