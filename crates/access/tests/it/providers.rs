//! Other ways to say who somebody is: GitHub, a service that is asked, an identity check as the second step.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use identity::jose::{Algorithm, Jwks, Unverified};
use identity::keys::{KeyRing, SigningKey};
use identity::provider::Protocol;
use serde_json::{Value, json};
use testkit::{CLIENT_ID, CLIENT_SECRET, GithubServer, IdentityProvider, Origin};
use types::ProviderId;
use uuid::Uuid;

use crate::support::{EMAIL, OIDC, OTHER, Setup, Stand, TEAM, WIKI, allow, signing_key};

const GITHUB: ProviderId = ProviderId(Uuid::from_u128(0x13));
const NAMETAG: ProviderId = ProviderId(Uuid::from_u128(0x14));

async fn with_github(github: &GithubServer, include: Value) -> Stand {
    let provider = json!({"name": "GitHub", "type": "github",
        "config": {"issuer": github.base, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}});
    let wiki = json!({"allowed_idps": [GITHUB]});
    let setup = Setup { wiki, policies: vec![allow(include)], providers: vec![(GITHUB, provider)], ..Setup::default() };
    Stand::start(setup).await
}

fn member(organization: &str, team: &str) -> Value {
    json!({"github-organization": {"name": organization, "team": team, "identity_provider_id": GITHUB}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_a_team_at_github_signs_in_and_the_member_of_another_does_not() {
    let github = GithubServer::start(EMAIL).await.unwrap();
    for (include, status) in [
        (member("acme", "core"), StatusCode::OK),
        (member("acme", "board"), StatusCode::FORBIDDEN),
        (member("evil", "core"), StatusCode::FORBIDDEN),
    ] {
        let stand = with_github(&github, include.clone()).await;
        let mut browser = stand.browser();
        let page = browser.open(&stand.url(WIKI, "/a")).await;
        assert!(page.text.contains("Continue with GitHub"), "{}", page.text);
        let away = browser.submit(&page, "provider", &[]).await;
        let seen = browser.follow(away).await;
        assert_eq!(seen.status, status, "{include}: {}", seen.text);
        if status == StatusCode::OK {
            let told: Value = serde_json::from_str(&seen.text).unwrap();
            assert_eq!(told["headers"]["cf-access-authenticated-user-email"], EMAIL);
        }
        stand.shut_down().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn github_signs_nobody_in_by_an_address_it_did_not_verify_or_with_half_a_list() {
    let github = GithubServer::start(EMAIL).await.unwrap();
    github.verify(false);
    let stand = with_github(&github, json!({"everyone": {}})).await;
    let mut browser = stand.browser();
    let page = browser.open(&stand.url(WIKI, "/")).await;
    let away = browser.submit(&page, "provider", &[]).await;
    assert_eq!(browser.follow(away).await.status, StatusCode::FORBIDDEN);
    github.verify(true);
    github.break_lists();
    let page = browser.open(&stand.url(WIKI, "/")).await;
    let away = browser.submit(&page, "provider", &[]).await;
    assert_eq!(browser.follow(away).await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(stand.sessions.len(), 0);
}

fn says(name: &str, value: &str) -> Value {
    json!({"oidc": {"claim_name": name, "claim_value": value, "identity_provider_id": OIDC}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_tells_the_person_at_its_user_info_endpoint_is_asked_there() {
    let policy = json!({"name": "Staff", "decision": "allow", "include": [says("department", "r&d")],
        "require": [{"okta": {"name": "builders", "identity_provider_id": OIDC}}]});
    let stand = Stand::start(Setup { policies: vec![policy], ..Setup::default() }).await;
    let told = json!({"sub": EMAIL, "email": EMAIL, "email_verified": true, "name": "Ada Example",
        "department": "r&d", "groups": ["builders"]});
    stand.provider.tell_by_user_info(told.clone());
    let seen = stand.sign_in(&mut stand.browser(), "/").await;
    assert_eq!(seen.status, StatusCode::OK, "{}", seen.text);
    assert_eq!(stand.provider.user_info_requests(), 1);
    // Nobody is asked about what the signed token says itself.
    stand.provider.identify(testkit::Identity { email: EMAIL.to_owned(), claims: told });
    assert_eq!(stand.sign_in(&mut stand.browser(), "/").await.status, StatusCode::OK);
    assert_eq!(stand.provider.user_info_requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn user_info_about_somebody_else_or_none_at_all_signs_nobody_in() {
    for answer in [
        json!({"sub": "eve@example.test", "email": EMAIL, "email_verified": true}),
        json!({"email": EMAIL, "email_verified": true}),
        json!([EMAIL]),
        Value::Null,
    ] {
        let stand = Stand::start(Setup::default()).await;
        stand.provider.tell_by_user_info(answer.clone());
        let seen = stand.sign_in(&mut stand.browser(), "/").await;
        assert_eq!(seen.status, StatusCode::BAD_GATEWAY, "{answer}: {}", seen.text);
        assert!(stand.sessions.is_empty(), "{answer}");
    }
}

/// Makes the provider one whose authentication contexts are asked for, as Entra's are.
fn with_contexts(stand: &Stand) {
    stand.change(|snapshot| {
        for provider in &mut snapshot.providers {
            if let Protocol::Oidc(settings) = &mut Arc::make_mut(provider).protocol {
                settings.contexts = true;
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_asks_for_an_authentication_context_has_the_provider_asked_for_it() {
    let context = |name: &str| json!({"auth_context": {"id": "x", "ac_id": name, "identity_provider_id": OIDC}});
    let wiki = json!({"name": "Staff", "decision": "allow", "include": [{"everyone": {}}], "require": [context("c1")]});
    let both = vec![allow(context("c2")), allow(context("c3"))];
    let other = (json!({"name": "Other", "domain": OTHER}), both);
    let stand = Stand::start(Setup { policies: vec![wiki], more: vec![other], ..Setup::default() }).await;
    let says = |contexts: Value| {
        stand.provider.identify(testkit::Identity { email: EMAIL.to_owned(), claims: json!({"acrs": contexts}) });
    };
    let mut browser = stand.browser();
    // Where conditional access is not switched on nothing is asked for.
    assert_eq!(stand.sign_in(&mut browser, "/").await.status, StatusCode::FORBIDDEN);
    assert_eq!(stand.provider.claims_request(), None);
    with_contexts(&stand);
    // The person has a session; it is told at the provider what is still missing, and not again if that did not help.
    assert_eq!(browser.open(&stand.url(WIKI, "/")).await.status, StatusCode::FORBIDDEN);
    assert_eq!(
        stand.provider.claims_request(),
        Some(json!({"id_token": {"acrs": {"essential": true, "value": "c1"}}}))
    );
    says(json!(["c1"]));
    assert_eq!(browser.open(&stand.url(WIKI, "/")).await.status, StatusCode::OK);
    says(json!(["c1", "c3"]));
    assert_eq!(browser.open(&stand.url(OTHER, "/")).await.status, StatusCode::OK);
    let wanted = json!({"id_token": {"acrs": {"essential": true, "values": ["c2", "c3"]}}});
    assert_eq!(stand.provider.claims_request(), Some(wanted));
}

/// How a service that is asked answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Yes,
    No,
    /// Says yes as a text.
    Loose,
    OtherNonce,
    OtherKey,
    Expired,
    Down,
}

struct Service {
    manner: Mutex<Manner>,
    keys: KeyRing,
    other: SigningKey,
    /// The platform's keys, to check questions with.
    asker: Mutex<Option<Jwks>>,
    asked: Mutex<Vec<Value>>,
}

fn key() -> SigningKey {
    SigningKey::parse(&testkit::rsa_key().unwrap(), "certificate".to_owned()).unwrap()
}

async fn decide(State(service): State<Arc<Service>>, Json(body): Json<Value>) -> axum::response::Response {
    let manner = *service.manner.lock().unwrap();
    if manner == Manner::Down {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let asker = service.asker.lock().unwrap();
    let token = Unverified::parse(body["token"].as_str().unwrap(), &[Algorithm::Rs256]).unwrap();
    let claims = token.verify(asker.as_ref().unwrap()).unwrap();
    service.asked.lock().unwrap().push(Value::Object(claims.clone()));
    let now = jiff::Timestamp::now().as_second();
    let reply = json!({
        "success": if manner == Manner::Loose { json!("true") } else { json!(manner != Manner::No) },
        "iat": now,
        "exp": if manner == Manner::Expired { now - 100 } else { now + 60 },
        "nonce": if manner == Manner::OtherNonce { json!("another") } else { claims["nonce"].clone() },
    });
    let key = if manner == Manner::OtherKey { &service.other } else { service.keys.current() };
    Json(json!({"token": key.sign(&reply).unwrap()})).into_response()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_service_is_asked_at_sign_in_and_only_its_own_live_answer_counts() {
    let service = Arc::new(Service {
        manner: Mutex::new(Manner::Yes),
        keys: KeyRing::new(key(), None),
        other: key(),
        asker: Mutex::new(None),
        asked: Mutex::default(),
    });
    let keys = |State(service): State<Arc<Service>>| async move { Json(service.keys.document(0)) };
    let router =
        Router::new().route("/decide", post(decide)).route("/keys", get(keys)).with_state(Arc::clone(&service));
    let origin = Origin::start(router, None).await.unwrap();
    let base = format!("http://{}", origin.address);
    let other = json!({"external_evaluation": {
        "evaluate_url": format!("{base}/decide"), "keys_url": format!("{base}/keys")}});
    let mut all_but_refused = allow(json!({"everyone": {}}));
    all_but_refused["exclude"] = json!([other.clone()]);
    // What opens a policy that includes whom the service takes, and one that excludes them. No answer opens neither.
    for (policy, opens) in [(allow(other), Manner::Yes), (all_but_refused, Manner::No)] {
        let stand = Stand::start(Setup { policies: vec![policy], ..Setup::default() }).await;
        *service.asker.lock().unwrap() =
            Some(KeyRing::new(SigningKey::parse(signing_key(), String::new()).unwrap(), None).jwks(0));
        for manner in [
            Manner::Yes,
            Manner::No,
            Manner::Loose,
            Manner::OtherNonce,
            Manner::OtherKey,
            Manner::Expired,
            Manner::Down,
        ] {
            *service.manner.lock().unwrap() = manner;
            service.asked.lock().unwrap().clear();
            let mut browser = stand.browser();
            let seen = stand.sign_in(&mut browser, "/x").await;
            let wanted = if manner == opens { StatusCode::OK } else { StatusCode::FORBIDDEN };
            assert_eq!(seen.status, wanted, "{manner:?}: {}", seen.text);
            if manner == opens {
                // Asked once, at sign-in; requests that follow do not ask again.
                assert_eq!(browser.open(&stand.url(WIKI, "/again")).await.status, StatusCode::OK);
                let asked = service.asked.lock().unwrap();
                assert_eq!(asked.len(), 1);
                assert_eq!(asked[0]["identity"]["email"], EMAIL);
                assert_eq!(asked[0]["identity"]["idp"]["id"], json!(OIDC));
            }
        }
        stand.shut_down().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_check_after_the_login_counts_only_for_the_same_person() {
    let check = IdentityProvider::start(EMAIL).await.unwrap();
    let nametag = json!({"name": "Nametag", "type": "nametag",
        "config": {"issuer": check.issuer, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}});
    let setup = || Setup {
        wiki: json!({"portunus": {"login_chain": [OIDC, NAMETAG]}}),
        policies: vec![allow(json!({"login_method": {"id": NAMETAG}}))],
        providers: vec![(NAMETAG, nametag.clone())],
        ..Setup::default()
    };
    let stand = Stand::start(setup()).await;
    // The application names no origin; whoever is let in learns that.
    for (email, status) in [(EMAIL, StatusCode::BAD_GATEWAY), ("mallory@example.test", StatusCode::FORBIDDEN)] {
        check.identify(testkit::Identity { email: email.to_owned(), claims: json!({"amr": ["face"]}) });
        let mut browser = stand.browser();
        let second = stand.sign_in(&mut browser, "/").await;
        assert!(second.text.contains("Continue with Nametag"), "{}", second.text);
        let away = browser.submit(&second, "provider", &[]).await;
        let seen = browser.follow(away).await;
        assert_eq!(seen.status, status, "{email}: {}", seen.text);
        let sessions = usize::from(email == EMAIL);
        let who = browser.get(&stand.url(TEAM, "/cdn-cgi/access/get-identity")).await;
        assert_eq!(who.text.contains("face"), sessions == 1, "{}", who.text);
    }
    assert_eq!(stand.sessions.len(), 1);
}
