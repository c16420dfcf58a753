//! Attacks on the authorization server, each by its name, and the answer each one gets.

use base64::Engine as _;
use serde_json::json;

use super::authorization::{Decision, DecisionError, REQUEST_LIFE, Refusal, consent_token};
use super::client::{Client, GrantType};
use super::client_document;
use super::consent::Consent;
use super::error::ErrorCode as E;
use super::fixture::{
    APPLICATION, NOW, REDIRECT, SESSION, approved, authorize, challenge, code_request, confidential, decision,
    exchange, public, redeemed, refresh_of, refresh_request, seed,
};
use super::grant::{EndReason, GrantId, IDEMPOTENCY_WINDOW, Standing};
use super::registration::{MAX_BYTES, RegistrationContext, register};
use super::token::introspection;
use crate::application::RegistrationDocument;
use crate::opaque::Digest;

type Changes<'a> = &'a [(&'a str, Option<&'a str>)];

fn error_in(refusal: &Refusal) -> Option<String> {
    match refusal {
        Refusal::Show(_) => None,
        Refusal::Redirect(url) => {
            assert!(url.as_str().starts_with(REDIRECT), "{url}");
            assert!(url.query_pairs().any(|(name, value)| name == "iss" && value == "https://team.example"), "{url}");
            url.query_pairs().find(|(name, _)| name == "error").map(|(_, value)| value.into_owned())
        }
    }
}

#[test]
fn attacks_on_the_authorization_endpoint_are_refused() {
    let long = "x".repeat(1_025);
    let scopes = vec!["s"; 33].join(" ");
    let padded = format!("{}=", challenge());
    // `None`: shown to the person, never sent to the redirect URI.
    let probes: &[(&str, Changes<'_>, Option<E>)] = &[
        ("another redirect host", &[("redirect_uri", Some("https://evil.example/cb"))], None),
        ("longer redirect path", &[("redirect_uri", Some("https://agent.example/cb/x"))], None),
        ("redirect with a query", &[("redirect_uri", Some("https://agent.example/cb?next=evil"))], None),
        ("redirect with credentials", &[("redirect_uri", Some("https://agent.example@evil.example/cb"))], None),
        ("redirect to a script", &[("redirect_uri", Some("javascript:alert(1)"))], None),
        ("redirect without TLS", &[("redirect_uri", Some("http://agent.example/cb"))], None),
        ("no redirect", &[("redirect_uri", None)], None),
        ("another client id", &[("client_id", Some("other"))], None),
        ("no client id", &[("client_id", None)], None),
        ("implicit flow", &[("response_type", Some("token"))], Some(E::UnsupportedResponseType)),
        ("hybrid flow", &[("response_type", Some("code id_token"))], Some(E::UnsupportedResponseType)),
        ("no response type", &[("response_type", None)], Some(E::InvalidRequest)),
        ("answer in the fragment", &[("response_mode", Some("fragment"))], Some(E::InvalidRequest)),
        ("no PKCE", &[("code_challenge", None)], Some(E::InvalidRequest)),
        ("plain PKCE", &[("code_challenge_method", Some("plain"))], Some(E::InvalidRequest)),
        ("PKCE method left out", &[("code_challenge_method", None)], Some(E::InvalidRequest)),
        ("short challenge", &[("code_challenge", Some("abc"))], Some(E::InvalidRequest)),
        ("padded challenge", &[("code_challenge", Some(&padded))], Some(E::InvalidRequest)),
        ("another site's resource", &[("resource", Some("https://evil.example/"))], Some(E::InvalidTarget)),
        ("resource with a fragment", &[("resource", Some("https://app.example/#x"))], Some(E::InvalidTarget)),
        ("resource with credentials", &[("resource", Some("https://u@app.example/"))], Some(E::InvalidTarget)),
        ("relative resource", &[("resource", Some("/mcp"))], Some(E::InvalidTarget)),
        (
            "two resources",
            &[("resource", Some("https://app.example/")), ("resource", Some("https://app.example/b"))],
            Some(E::InvalidTarget),
        ),
        ("request object", &[("request", Some("e30.e30."))], Some(E::RequestNotSupported)),
        ("request by reference", &[("request_uri", Some("https://evil.example/r"))], Some(E::RequestUriNotSupported)),
        ("consent without a person", &[("prompt", Some("none"))], Some(E::InteractionRequired)),
        ("contradicting prompt", &[("prompt", Some("none login"))], Some(E::InvalidRequest)),
        ("endless state", &[("state", Some(&long))], Some(E::InvalidRequest)),
        ("endless scope", &[("scope", Some(&scopes))], Some(E::InvalidScope)),
    ];
    for (name, changes, expected) in probes {
        let refusal = authorize(Some(&public()), changes).expect_err(name);
        assert_eq!(error_in(&refusal).as_deref(), expected.map(E::as_str), "{name}");
    }
    let foreign = Client { application: types::ApplicationId(uuid::Uuid::from_u128(9)), ..public() };
    for (name, client) in [("unknown client", None), ("another application's client", Some(&foreign))] {
        assert!(matches!(authorize(client, &[]), Err(Refusal::Show(_))), "{name}");
    }
    let no_code = Client { grant_types: vec![GrantType::RefreshToken], ..public() };
    let refusal = authorize(Some(&no_code), &[]).unwrap_err();
    assert_eq!(error_in(&refusal).as_deref(), Some("unauthorized_client"));
}

#[test]
fn a_request_that_is_in_order_waits_and_its_answer_carries_state_and_issuer() {
    let pending = authorize(Some(&public()), &[("resource", None)]).unwrap();
    assert_eq!(
        (pending.resource.as_str(), pending.scopes.as_slice()),
        ("https://app.example", &["read".to_owned()][..])
    );
    let consent = Consent::new(&pending, &public());
    assert_eq!((consent.sent_to.as_str(), consent.to_own_machine), ("agent.example", false));
    let token = consent_token("browser", "request", &SESSION);
    let (_, url) = pending.approve(decision(&token), &seed(1)).unwrap();
    assert!(url.as_str().starts_with("https://agent.example/cb?code="));
    assert!(url.as_str().ends_with("&state=st%26te&iss=https%3A%2F%2Fteam.example"), "{url}");
    let denied = pending.deny(decision(&token)).unwrap();
    assert!(denied.as_str().contains("error=access_denied"), "{denied}");
    let loopback = authorize(Some(&public()), &[("redirect_uri", Some("http://127.0.0.1:5001/cb"))]).unwrap();
    assert!(Consent::new(&loopback, &public()).to_own_machine);
}

#[test]
fn a_consent_that_does_not_come_from_its_page_is_refused() {
    let pending = authorize(Some(&public()), &[]).unwrap();
    let token = consent_token("browser", "request", &SESSION);
    let other_request = consent_token("browser", "other", &SESSION);
    let good = decision(&token);
    let probes: &[(&str, Decision<'_>, DecisionError)] = &[
        ("no consent token", Decision { consent_token: "", ..good }, DecisionError::Forged),
        ("consent token of another request", Decision { consent_token: &other_request, ..good }, DecisionError::Forged),
        ("another browser", Decision { browser_secret: "thief", ..good }, DecisionError::Forged),
        ("another request id", Decision { request_id: "other", ..good }, DecisionError::Forged),
        ("session changed since the page", Decision { session: Digest([4; 32]), ..good }, DecisionError::Forged),
        ("old page", Decision { now: NOW + REQUEST_LIFE, ..good }, DecisionError::Expired),
    ];
    for (name, decision, expected) in probes {
        assert_eq!(pending.approve(*decision, &seed(1)).unwrap_err(), *expected, "{name}");
        assert_eq!(pending.deny(*decision).unwrap_err(), *expected, "{name}");
    }
}

#[test]
fn attacks_on_a_code_yield_nothing_and_burn_it() {
    let short = "a".repeat(42);
    let long = "a".repeat(129);
    let probes: &[(&str, Changes<'_>, i64, E)] = &[
        (
            "wrong verifier",
            &[("code_verifier", Some("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQ"))],
            1,
            E::InvalidGrant,
        ),
        ("challenge as verifier", &[("code_verifier", Some(&challenge()))], 1, E::InvalidGrant),
        ("short verifier", &[("code_verifier", Some(&short))], 1, E::InvalidGrant),
        ("long verifier", &[("code_verifier", Some(&long))], 1, E::InvalidGrant),
        ("another redirect", &[("redirect_uri", Some("http://127.0.0.1/cb"))], 1, E::InvalidGrant),
        ("no redirect", &[("redirect_uri", None)], 1, E::InvalidGrant),
        ("old code", &[], 60, E::InvalidGrant),
        ("another resource", &[("resource", Some("https://app.example/other"))], 1, E::InvalidTarget),
    ];
    for (name, changes, after, expected) in probes {
        let (mut grant, code) = approved(&public(), 10);
        let request = code_request(&code, changes, None).unwrap();
        let refused = exchange(&mut grant, &public(), &request, Standing::Allowed, NOW + after, 11).expect_err(name);
        assert_eq!(refused.code, *expected, "{name}");
        assert_eq!(grant.ended.map(|(_, reason)| reason), Some(EndReason::CodeMisuse), "{name}");
        let good = code_request(&code, &[], None).unwrap();
        assert!(exchange(&mut grant, &public(), &good, Standing::Allowed, NOW + 2, 12).is_err(), "{name}, then right");
    }
    let malformed: &[(&str, Changes<'_>, E)] = &[
        ("no verifier", &[("code_verifier", None)], E::InvalidRequest),
        ("no code", &[("code", None)], E::InvalidRequest),
        ("password grant", &[("grant_type", Some("password"))], E::UnsupportedGrantType),
        ("client credentials grant", &[("grant_type", Some("client_credentials"))], E::UnsupportedGrantType),
        ("no grant type", &[("grant_type", None)], E::InvalidRequest),
        ("no client", &[("client_id", None)], E::InvalidClient),
        ("two resources", &[("resource", Some("a:")), ("resource", Some("b:"))], E::InvalidTarget),
    ];
    for (name, changes, expected) in malformed {
        assert_eq!(code_request("x", changes, None).expect_err(name).code, *expected, "{name}");
    }
}

#[test]
fn a_code_in_another_clients_hands_is_burnt() {
    let other = Client { id: "other".to_owned(), ..public() };
    let (mut grant, code) = approved(&public(), 10);
    let request = code_request(&code, &[("client_id", Some("other"))], None).unwrap();
    assert!(exchange(&mut grant, &other, &request, Standing::Allowed, NOW + 1, 11).is_err());
    assert_eq!(grant.ended.unwrap().1, EndReason::CodeMisuse);
}

#[test]
fn a_replayed_code_ends_the_tokens_it_gave() {
    let (mut grant, code) = approved(&public(), 10);
    let request = code_request(&code, &[], None).unwrap();
    let reply = exchange(&mut grant, &public(), &request, Standing::Allowed, NOW + 1, 11).unwrap();
    assert!(grant.access(reply.access_token.expose(), APPLICATION, NOW + 1).is_some());
    assert!(exchange(&mut grant, &public(), &request, Standing::Allowed, NOW + 2, 12).is_err());
    assert_eq!(grant.ended.unwrap().1, EndReason::CodeReplay);
    assert!(grant.access(reply.access_token.expose(), APPLICATION, NOW + 2).is_none());
    assert_eq!(grant.last_access(), None);
    let refresh = refresh_request(&refresh_of(&reply), &[], None).unwrap();
    assert!(exchange(&mut grant, &public(), &refresh, Standing::Allowed, NOW + 3, 13).is_err());
}

#[test]
fn client_authentication_cannot_be_left_out_mixed_or_guessed() {
    let basic = |pair: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
    let probes: &[(&str, Changes<'_>, Option<String>, bool)] = &[
        ("right, in the header", &[("client_id", None)], Some(basic("server:hush")), true),
        ("right, in the form", &[("client_id", Some("server")), ("client_secret", Some("hush"))], None, true),
        ("secret left out", &[("client_id", Some("server"))], None, false),
        ("empty secret", &[("client_id", Some("server")), ("client_secret", Some(""))], None, false),
        ("wrong secret", &[("client_id", None)], Some(basic("server:hush2")), false),
        (
            "stored hash as secret",
            &[("client_id", Some("server")), ("client_secret", Some("X0nq3mPvg1lGSJsYKmGkDVYTnJv4PDwnGJQDu4jU7CM"))],
            None,
            false,
        ),
        ("another client's id in the form", &[("client_id", Some("agent"))], Some(basic("server:hush")), false),
        ("both ways", &[("client_id", None), ("client_secret", Some("hush"))], Some(basic("server:hush")), false),
        ("bearer instead of basic", &[], Some("Bearer hush".to_owned()), false),
        ("basic without a colon", &[], Some(basic("server")), false),
        ("basic with bad escapes", &[("client_id", None)], Some(basic("server:%zz")), false),
    ];
    for (name, changes, authorization, works) in probes {
        let (mut grant, code) = approved(&confidential(), 10);
        let outcome = code_request(&code, changes, authorization.as_deref())
            .and_then(|request| exchange(&mut grant, &confidential(), &request, Standing::Allowed, NOW + 1, 11));
        assert_eq!(outcome.is_ok(), *works, "{name}: {outcome:?}");
        assert_eq!(grant.ended, None, "{name} does not burn the code");
    }
    let request = code_request("x", &[("client_secret", Some("x"))], None).unwrap();
    assert!(public().authenticate(&request.credential).is_err(), "a public client must not send a secret");
}

#[test]
fn attacks_on_refresh_are_refused() {
    let other = Client { id: "other".to_owned(), ..public() };
    let no_refresh = Client { grant_types: vec![GrantType::AuthorizationCode], ..public() };
    let good = |reply: &_| refresh_of(reply);
    let probes: &[(&str, &Client, Changes<'_>, i64, E)] = &[
        ("another client", &other, &[("client_id", Some("other"))], 5, E::InvalidGrant),
        ("client without the grant type", &no_refresh, &[], 5, E::UnauthorizedClient),
        ("more scope than granted", &public(), &[("scope", Some("read write"))], 5, E::InvalidScope),
        ("another resource", &public(), &[("resource", Some("https://app.example/other"))], 5, E::InvalidTarget),
        ("after the end of the grant", &public(), &[], 14 * 86_400, E::InvalidGrant),
    ];
    for (name, client, changes, after, expected) in probes {
        let (mut grant, reply) = redeemed(&public(), 20);
        let request = refresh_request(&good(&reply), changes, None).unwrap();
        let refused = exchange(&mut grant, client, &request, Standing::Allowed, NOW + after, 22).expect_err(name);
        assert_eq!((refused.code, grant.ended), (*expected, None), "{name}");
    }
    let (mut grant, reply) = redeemed(&public(), 20);
    let token = good(&reply);
    let mut forged = token.clone().into_bytes();
    forged[40] = if forged[40] == b'A' { b'B' } else { b'A' };
    for (name, token) in [
        ("forged secret with a known grant id", String::from_utf8(forged).unwrap()),
        ("access token as refresh token", reply.access_token.expose().clone()),
        ("shortened token", token[1..].to_owned()),
    ] {
        let request = refresh_request(&token, &[], None).unwrap();
        assert!(exchange(&mut grant, &public(), &request, Standing::Allowed, NOW + 5, 23).is_err(), "{name}");
        assert_eq!(grant.ended, None, "{name} must not end the family");
    }
}

#[test]
fn eight_processes_that_refresh_at_once_get_one_answer_and_a_thief_ends_the_family() {
    let (mut grant, first) = redeemed(&public(), 30);
    let request = refresh_request(&refresh_of(&first), &[], None).unwrap();
    let replies: Vec<_> = (0..8)
        .map(|n| {
            exchange(&mut grant, &public(), &request, Standing::Allowed, NOW + 100 + n / 4, 40 + n as u64).unwrap()
        })
        .collect();
    assert!(
        replies
            .iter()
            .all(|reply| reply.access_token == replies[0].access_token
                && reply.refresh_token == replies[0].refresh_token)
    );
    // A slow process that missed two rotations gets the newest tokens, not a dead chain.
    let second = refresh_request(&refresh_of(&replies[0]), &[], None).unwrap();
    let third = exchange(&mut grant, &public(), &second, Standing::Allowed, NOW + 103, 50).unwrap();
    let late = exchange(&mut grant, &public(), &request, Standing::Allowed, NOW + 105, 51).unwrap();
    assert_eq!(late.refresh_token, third.refresh_token);
    let stored = serde_json::to_string(&grant).unwrap();
    for reply in replies.iter().chain([&first, &third]) {
        assert!(!stored.contains(&refresh_of(reply)) && !stored.contains(reply.access_token.expose().as_str()));
    }
    let after_window = NOW + 103 + IDEMPOTENCY_WINDOW;
    assert!(exchange(&mut grant, &public(), &second, Standing::Allowed, after_window, 52).is_err());
    assert_eq!(grant.ended.unwrap().1, EndReason::RefreshReuse);
    let newest = refresh_request(&refresh_of(&third), &[], None).unwrap();
    assert!(exchange(&mut grant, &public(), &newest, Standing::Allowed, after_window, 53).is_err());
    assert!(grant.access(third.access_token.expose(), APPLICATION, after_window).is_none());
}

#[test]
fn policy_is_asked_at_each_refresh() {
    let (mut grant, reply) = redeemed(&public(), 60);
    let request = refresh_request(&refresh_of(&reply), &[], None).unwrap();
    let unknown = exchange(&mut grant, &public(), &request, Standing::Unknown, NOW + 5, 61).unwrap_err();
    assert_eq!((unknown.code, unknown.status(), grant.ended), (E::TemporarilyUnavailable, 503, None));
    let denied = exchange(&mut grant, &public(), &request, Standing::Denied, NOW + 5, 62).unwrap_err();
    assert_eq!((denied.code, grant.ended.unwrap().1), (E::InvalidGrant, EndReason::Policy));
    assert!(exchange(&mut grant, &public(), &request, Standing::Allowed, NOW + 6, 63).is_err());
}

#[test]
fn a_token_works_for_its_application_and_client_alone() {
    let (mut grant, reply) = redeemed(&public(), 70);
    let token = reply.access_token.expose().as_str();
    let elsewhere = types::ApplicationId(uuid::Uuid::from_u128(9));
    assert!(grant.access(token, elsewhere, NOW + 1).is_none());
    assert!(grant.access(token, APPLICATION, NOW + 901).is_none());
    assert!(grant.access(&token[6..], APPLICATION, NOW + 1).is_none());
    assert_eq!(GrantId::of_access(token), Some(grant.id));
    for other in [&token[6..], &token[..token.len() - 1], &refresh_of(&reply)] {
        assert_eq!(GrantId::of_access(other), None, "{other}");
    }
    let active = |application| introspection(grant.access(token, application, NOW + 1), "https://team.example", None);
    assert_eq!(active(APPLICATION)["active"], true);
    assert_eq!(active(elsewhere), json!({"active": false}));
    let (other_grant, _) = redeemed(&public(), 80);
    assert!(other_grant.access(token, APPLICATION, NOW + 1).is_none(), "of another grant");
    let other = Client { id: "other".to_owned(), ..public() };
    let of = |id: &str| code_request("x", &[("client_id", Some(id))], None).unwrap().credential;
    assert!(!grant.revoke(token, other.authenticate(&of("other")).unwrap(), NOW + 1));
    let agent = public();
    let agent = agent.authenticate(&of("agent")).unwrap();
    assert!(grant.revoke(token, agent, NOW + 1) && grant.ended.is_none());
    assert!(grant.revoke(&refresh_of(&reply), agent, NOW + 2));
    assert_eq!(grant.ended.unwrap().1, EndReason::Client);
}

#[test]
fn registrations_outside_of_the_rules_are_refused() {
    let rules = RegistrationDocument {
        enabled: true,
        allow_any_on_localhost: true,
        allow_any_on_loopback: false,
        allowed_uris: vec!["https://agent.example/cb".to_owned(), "cursor://mcp/cb".to_owned()],
    };
    let context = |rules, registered| RegistrationContext {
        application: APPLICATION,
        rules,
        registered,
        now: NOW,
        seed: &[1; 32],
    };
    let uris = |list: &[&str]| json!({"redirect_uris": list, "token_endpoint_auth_method": "none"});
    let good = uris(&["https://agent.example/cb", "cursor://mcp/cb", "http://localhost:1/x"]);
    let many: Vec<String> = (0..11).map(|n| format!("http://localhost:{}/", n + 1)).collect();
    let with = |name: &str, value: serde_json::Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    for (name, body, expected) in [
        ("redirect outside of the list", uris(&["https://evil.example/cb"]), E::InvalidClientMetadata),
        (
            "one good and one bad redirect",
            uris(&["https://agent.example/cb", "https://evil.example/"]),
            E::InvalidClientMetadata,
        ),
        ("loopback while only localhost is open", uris(&["http://127.0.0.1/cb"]), E::InvalidClientMetadata),
        ("script as redirect", uris(&["javascript:alert(1)"]), E::InvalidRedirectUri),
        ("fragment in redirect", uris(&["https://agent.example/cb#x"]), E::InvalidRedirectUri),
        ("no redirect", uris(&[]), E::InvalidRedirectUri),
        ("too many redirects", json!({"redirect_uris": many}), E::InvalidRedirectUri),
        ("endless name", with("client_name", json!("x".repeat(201))), E::InvalidClientMetadata),
        ("control characters in the name", with("client_name", json!("a\u{7}b")), E::InvalidClientMetadata),
        ("script as logo", with("logo_uri", json!("javascript:alert(1)")), E::InvalidClientMetadata),
        ("key authentication", with("token_endpoint_auth_method", json!("private_key_jwt")), E::InvalidClientMetadata),
        ("implicit grant", with("grant_types", json!(["implicit"])), E::InvalidClientMetadata),
        ("implicit response", with("response_types", json!(["token"])), E::InvalidClientMetadata),
        ("too many contacts", with("contacts", json!(vec!["a"; 11])), E::InvalidClientMetadata),
        ("wrong type", with("client_name", json!({})), E::InvalidClientMetadata),
        ("endless body", with("x", json!("x".repeat(MAX_BYTES))), E::InvalidClientMetadata),
    ] {
        let refused = register(body.to_string().as_bytes(), context(&rules, 0)).map(|_| ()).expect_err(name);
        assert_eq!(refused.code, expected, "{name}");
    }
    let off = RegistrationDocument { enabled: false, ..rules.clone() };
    let body = good.to_string();
    assert!(register(body.as_bytes(), context(&off, 0)).is_err(), "registration is off");
    assert!(register(body.as_bytes(), context(&rules, 10_000)).is_err(), "too many clients");
    let public = register(body.as_bytes(), context(&rules, 0)).unwrap();
    assert!(public.client.secret.is_none() && public.reply.expose().get("client_secret").is_none());
    let mut confidential = with("client_name", json!("Server"));
    confidential["token_endpoint_auth_method"] = json!("client_secret_post");
    let registered = register(confidential.to_string().as_bytes(), context(&rules, 0)).unwrap();
    let secret = registered.reply.expose()["client_secret"].as_str().unwrap().to_owned();
    assert!(registered.client.secret.unwrap().matches(&secret));
    assert!(!serde_json::to_string(&registered.client).unwrap().contains(&secret));
    assert_eq!(registered.reply.expose()["client_name"], "Server");
}

#[test]
fn a_clients_document_speaks_for_its_own_url_only() {
    let rules = RegistrationDocument {
        enabled: false,
        allow_any_on_localhost: true,
        allow_any_on_loopback: true,
        allowed_uris: Vec::new(),
    };
    let id = "https://ide.example/client.json";
    let url = client_document::document_url(id).unwrap();
    let read = |kind, body: &serde_json::Value| {
        client_document::client(&url, Some(kind), body.to_string().as_bytes(), APPLICATION, &rules, NOW)
    };
    let good = json!({"client_id": id, "client_name": "IDE", "redirect_uris": ["http://127.0.0.1/cb"]});
    let with = |name: &str, value: serde_json::Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let client = read("application/json; charset=utf-8", &good).unwrap();
    assert_eq!((client.id.as_str(), client.secret), (id, None));
    for (name, kind, body) in [
        ("another client's id", "application/json", with("client_id", json!("https://evil.example/client.json"))),
        ("id in another spelling", "application/json", with("client_id", json!("https://IDE.example/client.json"))),
        ("no id", "application/json", with("client_id", json!(null))),
        ("a secret in public", "application/json", with("client_secret", json!("x"))),
        ("secret authentication", "application/json", with("token_endpoint_auth_method", json!("client_secret_post"))),
        ("an uploaded page", "text/html", good.clone()),
        ("redirect outside of the list", "application/json", with("redirect_uris", json!(["https://ide.example/cb"]))),
        ("endless document", "application/json", with("x", json!("x".repeat(5 * 1_024)))),
    ] {
        assert!(read(kind, &body).is_err(), "{name}");
    }
}
