//! First run, sign-in, sessions, CSRF.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, header};
use serde_json::{Value, json};

use crate::harness::{Answer, Console};

const PASSWORD: &str = "correct horse battery";

fn json_request(path: &str, body: &Value) -> Request<Body> {
    let request = Request::builder().method(Method::POST).uri(format!("/client/v4{path}"));
    request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string())).unwrap()
}

struct Browser {
    cookie: String,
    csrf: String,
}

fn browser(answer: &Answer) -> Browser {
    let set = answer.headers[header::SET_COOKIE].to_str().unwrap();
    let csrf = answer.json()["result"]["csrf"].as_str().unwrap().to_owned();
    Browser { cookie: set.split(';').next().unwrap().to_owned(), csrf }
}

async fn administrator(console: &Console) -> Browser {
    let token = console.setup_link().await;
    let body = json!({"token": token, "email": "ada@example.com", "password": PASSWORD});
    let answer = console.send(json_request("/portunus/setup", &body)).await;
    answer.result();
    browser(&answer)
}

async fn sign_in(console: &Console, email: &str, password: &str, address: [u8; 4]) -> Answer {
    let mut request = json_request("/portunus/session", &json!({"email": email, "password": password}));
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from((address, 1))));
    console.send(request).await
}

#[tokio::test]
async fn a_set_up_link_makes_one_administrator() {
    let console = Console::new().await;
    let token = console.setup_link().await;
    console.send(json_request("/portunus/setup/check", &json!({"token": token}))).await.result();
    let body = |password: &str| json!({"token": token, "email": "Ada@example.com", "password": password});
    let weak = console.send(json_request("/portunus/setup", &body("short"))).await;
    assert_eq!(weak.error(400).0, "/password");
    let made = console.send(json_request("/portunus/setup", &body(PASSWORD))).await;
    assert_eq!(made.result()["email"], "ada@example.com");
    let cookie = made.headers[header::SET_COOKIE].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"));
    console.send(json_request("/portunus/setup", &body(PASSWORD))).await.error(404);
    console.send(json_request("/portunus/setup/check", &json!({"token": token}))).await.error(404);
    let audit = console.audit().await;
    assert!(audit.iter().any(|record| record["ResourceType"] == "administrator" && record["ActionType"] == "create"));
    assert!(audit.iter().all(|record| !record.to_string().contains(PASSWORD) && !record.to_string().contains(&token)));
}

#[tokio::test]
async fn over_https_the_cookie_is_bound_to_the_host() {
    let console = Console::with(console::Limits::default(), true).await;
    let token = console.setup_link().await;
    let body = json!({"token": token, "email": "ada@example.com", "password": PASSWORD});
    let answer = console.send(json_request("/portunus/setup", &body)).await;
    let cookie = answer.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.starts_with("__Host-") && cookie.contains("; Secure"));
    assert!(!answer.headers.contains_key(header::STRICT_TRANSPORT_SECURITY), "every port of localhost would be bound");
    for (host, insists) in [("console.example.com", true), ("127.0.0.1:9080", false), ("attacker.example", false)] {
        let request = Request::builder().uri("/sign-in").header(header::HOST, host).body(Body::empty()).unwrap();
        let answer = console.send(request).await;
        assert_eq!(answer.headers.contains_key(header::STRICT_TRANSPORT_SECURITY), insists, "{host}");
    }
}

#[tokio::test]
async fn a_session_reads_freely_and_changes_only_from_our_own_pages() {
    let console = Console::new().await;
    let Browser { cookie, csrf } = administrator(&console).await;
    let request = |method: Method, headers: &[(&str, &str)]| {
        let mut request =
            Request::builder().method(method).uri(console.path("gateway/lists")).header(header::COOKIE, &cookie);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header(header::CONTENT_TYPE, "application/json");
        request.body(Body::from(r#"{"name": "l", "type": "IP"}"#)).unwrap()
    };
    console.send(request(Method::GET, &[])).await.result();
    let ours = ("origin", "http://localhost:9080");
    for headers in [
        &[][..],
        &[ours],
        &[("x-csrf-token", &csrf)],
        &[("x-csrf-token", &csrf), ("origin", "http://attacker.example")],
        &[("x-csrf-token", &csrf), ("origin", "null")],
        &[("x-csrf-token", "wrong"), ours],
        &[("x-csrf-token", &csrf), ("sec-fetch-site", "cross-site")],
    ] {
        console.send(request(Method::POST, headers)).await.error(403);
    }
    console.send(request(Method::POST, &[("x-csrf-token", &csrf), ours])).await.result();
    assert_eq!(console.audit().await[0]["ActorEmail"], "ada@example.com");
}

#[tokio::test]
async fn signing_out_and_time_end_a_session() {
    let console = Console::new().await;
    administrator(&console).await;
    let first = browser(&sign_in(&console, "ada@example.com", PASSWORD, [192, 0, 2, 2]).await);
    let second = browser(&sign_in(&console, "ADA@example.com", PASSWORD, [192, 0, 2, 2]).await);
    let who = |browser: &Browser| {
        let request = Request::builder().uri("/client/v4/portunus/session").header(header::COOKIE, &browser.cookie);
        console.send(request.body(Body::empty()).unwrap())
    };
    assert_eq!(who(&first).await.result()["csrf"], first.csrf);
    let out = Request::builder()
        .method(Method::DELETE)
        .uri("/client/v4/portunus/session")
        .header(header::COOKIE, &first.cookie)
        .header("x-csrf-token", &first.csrf)
        .header(header::ORIGIN, "http://localhost:9080");
    let out = console.send(out.body(Body::empty()).unwrap()).await;
    assert!(out.headers[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    who(&first).await.error(401);
    who(&second).await.result();
    console.advance(12 * 3600 + 1);
    who(&second).await.error(401);
}

#[tokio::test]
async fn wrong_credentials_are_answered_alike_and_slowed_down() {
    let console = Console::new().await;
    administrator(&console).await;
    let wrong = sign_in(&console, "ada@example.com", "not the password", [192, 0, 2, 3]).await.error(401);
    let unknown = sign_in(&console, "eve@example.com", "not the password", [192, 0, 2, 3]).await.error(401);
    assert_eq!(wrong, unknown);
    for _ in 0..4 {
        sign_in(&console, "eve@example.com", "not the password", [192, 0, 2, 3]).await;
    }
    let slowed = sign_in(&console, "ada@example.com", PASSWORD, [192, 0, 2, 3]).await;
    slowed.error(429);
    assert!(slowed.headers.contains_key(header::RETRY_AFTER));
    // Another address is not slowed, and time forgives.
    sign_in(&console, "ada@example.com", PASSWORD, [192, 0, 2, 4]).await.result();
    console.advance(3);
    sign_in(&console, "ada@example.com", PASSWORD, [192, 0, 2, 3]).await.result();
    let failed = console
        .audit()
        .await
        .into_iter()
        .filter(|record| record["ActionType"] == "login" && record.get("ActionResult").is_none());
    assert!(failed.count() >= 2);
}

#[tokio::test]
async fn one_account_is_slowed_down_whatever_addresses_are_used() {
    let console = Console::new().await;
    administrator(&console).await;
    for address in 1..=11 {
        sign_in(&console, "ada@example.com", "not the password", [198, 51, 100, address]).await.error(401);
    }
    sign_in(&console, "ada@example.com", PASSWORD, [203, 0, 113, 1]).await.error(429);
    console.advance(61);
    sign_in(&console, "ada@example.com", PASSWORD, [203, 0, 113, 1]).await.result();
}

#[tokio::test]
async fn a_changed_password_ends_every_session() {
    let console = Console::new().await;
    let first = administrator(&console).await;
    let change = |current: &str, browser: &Browser| {
        let body = json!({"current_password": current, "password": "another good password"});
        let mut request = json_request("/portunus/password", &body);
        *request.method_mut() = Method::PUT;
        for (name, value) in [("cookie", &browser.cookie), ("x-csrf-token", &browser.csrf)] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        request.headers_mut().insert(header::ORIGIN, "http://localhost:9080".parse().unwrap());
        console.send(request)
    };
    assert_eq!(change("wrong", &first).await.error(403).0, "/current_password");
    change(PASSWORD, &first).await.result();
    change(PASSWORD, &first).await.error(401);
    sign_in(&console, "ada@example.com", PASSWORD, [192, 0, 2, 9]).await.error(401);
    sign_in(&console, "ada@example.com", "another good password", [192, 0, 2, 9]).await.result();
}
