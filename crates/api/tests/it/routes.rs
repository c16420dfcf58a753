//! What holds for every route: the table is walked, so a new endpoint cannot forget it.

use axum::body::Body;
use axum::http::{Method, Request, header};
use console::api::table::{Access, Endpoint};
use console::api::{MOUNT, endpoints};
use serde_json::Value;
use store::Permission;
use uuid::Uuid;

use crate::harness::Console;

/// The endpoint's path with its parameters filled in.
fn path(endpoint: &Endpoint, account: &str) -> String {
    let mut path = endpoint.path.to_owned();
    for name in endpoint.parameters() {
        let value = match name {
            "account_id" => account.to_owned(),
            "dataset" => "gateway_http".to_owned(),
            "application" => "no-such-application".to_owned(),
            "script_name" | "secret_name" | "key_name" => "name".to_owned(),
            "namespace_id" | "token_id" => "0123456789abcdef0123456789abcdef".to_owned(),
            _ => "01302951-49f9-47c9-a400-0297e60b6a10".to_owned(),
        };
        path = path.replace(&format!("{{{name}}}"), &value);
    }
    format!("{MOUNT}{path}")
}

fn request(endpoint: &Endpoint, path: &str, token: Option<&str>) -> Request<Body> {
    let mut request = Request::builder().method(endpoint.method.clone()).uri(path);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn no_route_answers_without_a_credential() {
    let limits = console::Limits { failures_per_five_minutes: 100_000, ..console::Limits::default() };
    let console = Console::with(limits, false).await;
    for endpoint in endpoints().iter().filter(|endpoint| endpoint.access != Access::Public) {
        let path = path(endpoint, &console.account.to_string());
        for token in [None, Some("ptn_0000000000000000000000000000000000000000deadbeef"), Some("")] {
            let answer = console.send(request(endpoint, &path, token)).await;
            assert_eq!(answer.status, 401, "{} {path} {token:?}", endpoint.method);
            assert!(answer.headers.contains_key(header::WWW_AUTHENTICATE));
            assert_eq!(answer.json()["success"], false);
        }
    }
}

#[tokio::test]
async fn every_route_names_the_permission_that_is_missing() {
    let console = Console::new().await;
    for endpoint in endpoints() {
        let Access::Permission(wanted) = endpoint.access else { continue };
        // Everything except the one that is wanted and those that imply it.
        let others: Vec<Permission> = Permission::ALL
            .iter()
            .copied()
            .filter(|held| {
                let set: store::Permissions = std::iter::once(*held).collect();
                !set.allow(wanted)
            })
            .collect();
        let token = console.issue(&others).await;
        let path = path(&endpoint, &console.account.to_string());
        let answer = console.send(request(&endpoint, &path, Some(&token))).await;
        let (_, message) = answer.error(403);
        assert!(message.contains(&wanted.to_string()), "{} {path}: {message}", endpoint.method);
    }
}

#[tokio::test]
async fn another_account_is_not_found_on_every_route() {
    let console = Console::new().await;
    let other = Uuid::new_v4().simple().to_string();
    for endpoint in endpoints().into_iter().filter(|endpoint| endpoint.path.contains("{account_id}")) {
        for account in [other.as_str(), "nonsense"] {
            let path = path(&endpoint, account);
            let answer = console.send(request(&endpoint, &path, Some(&console.token))).await;
            assert_eq!(answer.status, 404, "{} {path}", endpoint.method);
            assert_eq!(answer.json()["errors"][0]["code"], 7003);
        }
    }
}

#[tokio::test]
async fn ids_that_do_not_exist_are_not_found() {
    let console = Console::new().await;
    for endpoint in endpoints() {
        let named = endpoint.parameters().any(|name| !matches!(name, "account_id" | "dataset"));
        let made_here = endpoint.path.ends_with("/scripts/{script_name}") && endpoint.method == Method::PUT;
        let takes_body = !matches!(endpoint.request, console::api::table::Shape::Nothing);
        if !named || made_here || takes_body {
            continue;
        }
        let path = path(&endpoint, &console.account.to_string());
        let answer = console.send(request(&endpoint, &path, Some(&console.token))).await;
        assert_eq!(answer.status, 404, "{} {path}: {}", endpoint.method, String::from_utf8_lossy(&answer.bytes));
    }
}

#[tokio::test]
async fn the_openapi_document_covers_every_route_and_nothing_else() {
    let console = Console::new().await;
    let answer = console.send(Request::builder().uri("/openapi.json").body(Body::empty()).unwrap()).await;
    let document = answer.json();
    let mut documented = 0;
    for endpoint in endpoints() {
        let operation = &document["paths"][endpoint.path][endpoint.method.as_str().to_ascii_lowercase()];
        assert_eq!(operation["summary"], endpoint.summary, "{} {}", endpoint.method, endpoint.path);
        assert_eq!(operation["security"].is_array(), endpoint.access != Access::Public);
        documented += 1;
    }
    let paths = document["paths"].as_object().unwrap();
    let operations: usize = paths.values().map(|item| item.as_object().unwrap().len()).sum();
    assert_eq!(operations, documented);
    let mut ids: Vec<String> = endpoints().iter().map(Endpoint::id).collect();
    ids.sort();
    let count = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), count, "operation ids are unique");
}

#[tokio::test]
async fn every_reference_of_the_openapi_document_resolves() {
    let document: Value = serde_json::from_str(&console::api::openapi_json()).unwrap();
    let mut pending = vec![&document];
    let mut seen = 0;
    while let Some(value) = pending.pop() {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                    seen += 1;
                }
                pending.extend(members.values());
            }
            Value::Array(items) => pending.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    assert!(seen > 50);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_in_the_envelope() {
    let console = Console::new().await;
    let path = console.path("gateway/rulez");
    let answer = console.send(console.request(Method::GET, &path).body(Body::empty()).unwrap()).await;
    assert!(answer.error(404).1.contains("/openapi.json"));
    let path = console.path("gateway/rules");
    let answer = console.send(console.request(Method::PATCH, &path).body(Body::empty()).unwrap()).await;
    assert!(answer.error(405).1.contains("PATCH"));
    assert!(answer.headers.contains_key(header::ALLOW));
}

#[tokio::test]
async fn bodies_of_another_type_or_too_large_are_refused_in_the_envelope() {
    let console = Console::new().await;
    let path = console.path("gateway/lists");
    let text = console.request(Method::POST, &path).header(header::CONTENT_TYPE, "text/plain");
    console.send(text.body(Body::from("{}")).unwrap()).await.error(415);
    let path = console.path("gateway/proxy_endpoints");
    let large = console.request(Method::POST, &path).header(header::CONTENT_TYPE, "application/json");
    let body = Body::from(format!("{{\"name\": \"{}\"}}", "x".repeat(2 << 20)));
    console.send(large.body(body).unwrap()).await.error(413);
    // Without a declared length the bound holds all the same.
    let chunks = futures_util::stream::iter((0..64).map(|_| Ok::<_, std::io::Error>(vec![b' '; 64 << 10])));
    let large = console.request(Method::POST, &path).header(header::CONTENT_TYPE, "application/json");
    console.send(large.body(Body::from_stream(chunks)).unwrap()).await.error(413);
}

#[tokio::test]
async fn a_credential_that_calls_too_often_is_told_when_to_come_back() {
    let limits =
        console::Limits { calls_per_five_minutes: 5, failures_per_five_minutes: 3, ..console::Limits::default() };
    let console = Console::with(limits, false).await;
    for _ in 0..5 {
        console.get("gateway/rules").await.result();
    }
    let answer = console.get("gateway/rules").await;
    answer.error(429);
    let wait: u64 = answer.headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=61).contains(&wait));
    console.advance(61);
    console.get("gateway/rules").await.result();
    let anonymous = || Request::builder().uri(console.path("gateway/rules")).body(Body::empty()).unwrap();
    for _ in 0..3 {
        console.send(anonymous()).await.error(401);
    }
    console.send(anonymous()).await.error(429);
}

#[tokio::test]
async fn foreign_host_names_are_turned_away_and_every_answer_is_hardened() {
    let console = Console::new().await;
    for (host, status) in [
        ("localhost:9080", 200),
        ("127.0.0.1:9080", 200),
        ("[::1]:9080", 200),
        ("console.example.com", 200),
        ("rebound.attacker.example:9080", 421),
        ("console.example.com.attacker.example", 421),
    ] {
        let request = console.request(Method::GET, &console.path("gateway/rules")).header(header::HOST, host);
        let answer = console.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status.as_u16(), status, "{host}");
        let policy = answer.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        assert!(!policy.contains("unsafe"));
        assert_eq!(answer.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(answer.headers[header::REFERRER_POLICY], "no-referrer");
    }
}

#[tokio::test]
async fn the_older_pair_of_headers_authenticates_too() {
    let console = Console::new().await;
    let request = Request::builder()
        .uri(console.path("gateway/rules"))
        .header("x-auth-email", "ada@example.com")
        .header("x-auth-key", &console.token);
    console.send(request.body(Body::empty()).unwrap()).await.result();
}
