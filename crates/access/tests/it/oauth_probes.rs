//! Attacks and mistakes at the OAuth endpoints over HTTP, each by its name, with the answer it gets.

use http::{Method, StatusCode};
use serde_json::json;

use crate::oauth::{Agent, REDIRECT, Tokens, VERIFIER, is_challenge, parameter, setup, value};
use crate::support::{Stand, WIKI};

type Changes<'a> = &'a [(&'a str, Option<&'a str>)];

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_authorization_that_are_not_in_order() {
    let stand = Stand::start(setup()).await;
    let agent = Agent::register(&stand).await;
    let mut browser = stand.browser();
    let long = "x".repeat(1_025);
    // `None`: shown to the person and never sent to the address.
    let probes: &[(&str, Changes<'_>, Option<&str>)] = &[
        ("another redirect host", &[("redirect_uri", Some("https://evil.example/cb"))], None),
        ("a longer redirect path", &[("redirect_uri", Some("http://127.0.0.1:49152/callback/x"))], None),
        ("credentials in the redirect", &[("redirect_uri", Some("http://127.0.0.1@evil.example/callback"))], None),
        ("a script as redirect", &[("redirect_uri", Some("javascript:alert(1)"))], None),
        ("no redirect", &[("redirect_uri", None)], None),
        ("another client", &[("client_id", Some("nobody"))], None),
        ("no client", &[("client_id", None)], None),
        ("a document on the machine itself", &[("client_id", Some("https://127.0.0.1/client.json"))], None),
        ("implicit flow", &[("response_type", Some("token"))], Some("unsupported_response_type")),
        ("no response type", &[("response_type", None)], Some("invalid_request")),
        ("answer in the fragment", &[("response_mode", Some("fragment"))], Some("invalid_request")),
        ("no PKCE", &[("code_challenge", None)], Some("invalid_request")),
        ("plain PKCE", &[("code_challenge_method", Some("plain"))], Some("invalid_request")),
        ("no PKCE method", &[("code_challenge_method", None)], Some("invalid_request")),
        ("a challenge that is no hash", &[("code_challenge", Some("abc"))], Some("invalid_request")),
        ("a resource elsewhere", &[("resource", Some("https://evil.example/"))], Some("invalid_target")),
        ("a resource at another port", &[("resource", Some("https://wiki.example.test:1/"))], Some("invalid_target")),
        ("a resource that is no address", &[("resource", Some("wiki"))], Some("invalid_target")),
        ("without a person", &[("prompt", Some("none"))], Some("interaction_required")),
        ("a request object", &[("request_uri", Some("https://evil.example/r"))], Some("request_uri_not_supported")),
        ("an endless state", &[("state", Some(&long))], Some("invalid_request")),
    ];
    for (name, changes, expected) in probes {
        let seen = browser.get(&agent.authorization(changes)).await;
        match expected {
            None => {
                assert_eq!(seen.status, StatusCode::BAD_REQUEST, "{name}: {}", seen.text);
                assert!(!seen.headers.contains_key("location"), "{name}");
            }
            Some(error) => {
                let location = seen.location();
                assert!(location.as_str().starts_with(REDIRECT), "{name}: {location}");
                assert_eq!(parameter(&location, "error").as_deref(), Some(*error), "{name}");
                assert!(parameter(&location, "iss").is_some(), "{name}");
            }
        }
    }
    // A program that asks is answered in JSON.
    let url = agent.authorization(&[("client_id", Some("nobody"))]);
    let response = browser.request(Method::GET, &url).send().await.unwrap();
    let seen = browser.keep(response).await;
    assert_eq!((seen.status, &value(&seen)["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_client")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_that_was_not_given_on_its_page_in_its_browser_is_none() {
    let stand = Stand::start(setup()).await;
    let agent = Agent::register(&stand).await;
    let mut browser = stand.browser();
    let page = agent.consent(&mut browser, &[]).await;
    let (url, state) = page.form("oauth/consent");
    let (id, token) = state.split_once('.').unwrap();
    let forged = format!("{id}.{}", "A".repeat(43));
    let unknown = format!("{}.{token}", "A".repeat(43));
    for (name, state, origin) in [
        ("another site's form", state.as_str(), Some("https://evil.example")),
        ("a token that is forged", forged.as_str(), None),
        ("a request that is unknown", unknown.as_str(), None),
        ("no state", "", None),
    ] {
        let mut request = browser.request(Method::POST, &url).form(&[("state", state), ("answer", "allow")]);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let seen = browser.send(request).await;
        assert_eq!(seen.status, StatusCode::BAD_REQUEST, "{name}: {}", seen.text);
    }
    // A link that somebody else began is worth nothing in another person's browser, signed in or not.
    let mut other = stand.browser();
    stand.sign_in(&mut other, "/").await;
    assert_eq!(other.open(&page.url).await.status, StatusCode::BAD_REQUEST);
    let request = other.request(Method::POST, &url).form(&[("state", state.as_str()), ("answer", "allow")]);
    assert_eq!(other.send(request).await.status, StatusCode::BAD_REQUEST);
    assert!(stand.oauth.grants.lock().unwrap().is_empty());
    // And a request that waited too long is over.
    stand.advance(std::time::Duration::from_secs(601));
    let late = browser.submit(&page, "oauth/consent", &[("answer", "allow")]).await;
    assert_eq!(late.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_tokens_that_are_not_in_order() {
    let stand = Stand::start(setup()).await;
    let mut agent = Agent::register(&stand).await;
    let mut thief = Agent::register(&stand).await;
    let mut browser = stand.browser();
    let probes: &[(&str, Changes<'_>, StatusCode, &str)] = &[
        ("another verifier", &[("code_verifier", Some(&"x".repeat(43)))], StatusCode::BAD_REQUEST, "invalid_grant"),
        ("no verifier", &[("code_verifier", None)], StatusCode::BAD_REQUEST, "invalid_request"),
        (
            "another redirect",
            &[("redirect_uri", Some("https://agent.example/cb"))],
            StatusCode::BAD_REQUEST,
            "invalid_grant",
        ),
        ("no redirect", &[("redirect_uri", None)], StatusCode::BAD_REQUEST, "invalid_grant"),
        ("another client", &[("client_id", Some(&thief.client))], StatusCode::BAD_REQUEST, "invalid_grant"),
        ("an unknown client", &[("client_id", Some("nobody"))], StatusCode::UNAUTHORIZED, "invalid_client"),
        ("no client", &[("client_id", None)], StatusCode::UNAUTHORIZED, "invalid_client"),
        ("a secret of a public client", &[("client_secret", Some("x"))], StatusCode::UNAUTHORIZED, "invalid_client"),
        ("another resource", &[("resource", Some("https://evil.example/"))], StatusCode::BAD_REQUEST, "invalid_target"),
        ("password grant", &[("grant_type", Some("password"))], StatusCode::BAD_REQUEST, "unsupported_grant_type"),
        ("no grant type", &[("grant_type", None)], StatusCode::BAD_REQUEST, "invalid_request"),
        ("a code that is none", &[("code", Some("x"))], StatusCode::BAD_REQUEST, "invalid_grant"),
    ];
    for (name, changes, status, error) in probes {
        let page = agent.consent(&mut browser, &[]).await;
        let code = parameter(&agent.allow(&mut browser, &page).await, "code").unwrap();
        let client = agent.client.clone();
        let base = [
            ("grant_type", "authorization_code"),
            ("client_id", client.as_str()),
            ("code", code.as_str()),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
        ];
        let kept = base.iter().filter(|(field, _)| !changes.iter().any(|(changed, _)| changed == field)).copied();
        let added = changes.iter().filter_map(|(field, value)| Some((*field, (*value)?)));
        let fields: Vec<(&str, &str)> = kept.chain(added).collect();
        let seen = agent.post("token", &fields).await;
        assert_eq!((seen.status, &value(&seen)["error"]), (*status, &json!(error)), "{name}");
        assert_eq!(seen.headers["cache-control"], "no-store", "{name}");
    }
    // A code that is presented twice ends what it gave.
    let page = agent.consent(&mut browser, &[]).await;
    let code = parameter(&agent.allow(&mut browser, &page).await, "code").unwrap();
    let tokens = Tokens::of(&agent.redeem(&code).await);
    assert_eq!(agent.redeem(&code).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(agent.call(&tokens.access).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(agent.refresh(&tokens.refresh).await.status, StatusCode::BAD_REQUEST);
    // A refresh token in another client's hands is refused and goes on in its own.
    let page = agent.consent(&mut browser, &[]).await;
    let code = parameter(&agent.allow(&mut browser, &page).await, "code").unwrap();
    let tokens = Tokens::of(&agent.redeem(&code).await);
    assert_eq!(thief.refresh(&tokens.refresh).await.status, StatusCode::BAD_REQUEST);
    let stolen = thief.client.clone();
    assert_eq!(
        thief.post("revoke", &[("token", &tokens.refresh), ("client_id", &stolen)]).await.status,
        StatusCode::OK
    );
    assert_eq!(agent.refresh(&tokens.refresh).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_methods_that_are_not_in_order() {
    let stand = Stand::start(setup()).await;
    let mut agent = Agent::register(&stand).await;
    let url = agent.endpoint("token");
    let raw = |kind: &'static str, body: String| {
        agent.http.request(Method::POST, &url).header("content-type", kind).body(body)
    };
    let form = "application/x-www-form-urlencoded";
    let requests = [
        ("JSON", raw("application/json", "{}".to_owned())),
        ("a doubled parameter", raw(form, "grant_type=refresh_token&grant_type=password".to_owned())),
        ("bad escapes", raw(form, "grant_type=%zz".to_owned())),
        ("an endless body", raw(form, format!("a={}", "x".repeat(20_000)))),
        ("an empty body", raw(form, String::new())),
    ];
    for (name, request) in requests {
        let seen = agent.send(request).await;
        assert!(matches!(seen.status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED), "{name}: {}", seen.status);
        assert!(value(&seen)["error"].is_string(), "{name}");
    }
    for (method, name, status) in [
        (Method::GET, "token", StatusCode::METHOD_NOT_ALLOWED),
        (Method::GET, "registration", StatusCode::METHOD_NOT_ALLOWED),
        (Method::PUT, "authorization", StatusCode::METHOD_NOT_ALLOWED),
        (Method::GET, "nothing", StatusCode::NOT_FOUND),
        (Method::OPTIONS, "token", StatusCode::NO_CONTENT),
    ] {
        let request = agent.http.request(method.clone(), &agent.endpoint(name));
        let seen = agent.send(request).await;
        assert_eq!(seen.status, status, "{method} {name}");
        assert!(!seen.text.contains('<'), "{method} {name}");
    }
    let mut twice = agent.http.request(Method::GET, &stand.url(WIKI, "/")).header("authorization", "Bearer oauth:x");
    twice = twice.header("authorization", "Basic eDp5");
    let seen = agent.send(twice).await;
    assert!(seen.status == StatusCode::UNAUTHORIZED && is_challenge(&seen));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_may_not_register() {
    let stand = Stand::start(setup()).await;
    let mut agent = Agent::register(&stand).await;
    for (name, body, error) in [
        ("elsewhere", json!({"redirect_uris": ["https://evil.example/cb"]}), "invalid_client_metadata"),
        ("by name of the machine", json!({"redirect_uris": ["http://localhost/cb"]}), "invalid_client_metadata"),
        ("a script", json!({"redirect_uris": ["javascript:alert(1)"]}), "invalid_redirect_uri"),
        ("a fragment", json!({"redirect_uris": ["https://agent.example/cb#x"]}), "invalid_redirect_uri"),
        ("none", json!({}), "invalid_redirect_uri"),
        ("implicit", json!({"redirect_uris": [REDIRECT], "grant_types": ["implicit"]}), "invalid_client_metadata"),
        ("no list", json!({"redirect_uris": REDIRECT}), "invalid_client_metadata"),
    ] {
        let seen = agent.post_json("registration", &body).await;
        assert_eq!((seen.status, &value(&seen)["error"]), (StatusCode::BAD_REQUEST, &json!(error)), "{name}");
    }
    // What was asked for is in the log, so that it can be allowed.
    let records = stand.records().await;
    assert!(records.iter().any(|record| record["Reason"].as_str().unwrap().contains("https://evil.example/cb")));
}
