//! Managed OAuth from an agent's first request to the end of its grant, as the wire shows it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Method, StatusCode};
use identity::opaque::Digest;
use identity::session::{Moment, Revoked, SessionSecret};
use serde_json::{Value, json};
use url::Url;

use crate::support::{EMAIL, OTHER, Setup, Stand, TEAM, WIKI, allow};
use testkit::{Browser, Seen};

pub(crate) const REDIRECT: &str = "http://127.0.0.1:49152/callback";
pub(crate) const VERIFIER: &str = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopq";

/// A wiki that agents may use, with clients on the person's own machine.
pub(crate) fn setup() -> Setup {
    let rules = json!({"enabled": true, "allow_any_on_loopback": true, "allowed_uris": ["https://agent.example/cb"]});
    Setup { wiki: json!({"oauth_configuration": {"dynamic_client_registration": rules}}), ..Setup::default() }
}

/// A client of the authorization server and the program around it.
pub(crate) struct Agent<'s> {
    pub(crate) stand: &'s Stand,
    /// Sends requests without any cookie.
    pub(crate) http: Browser,
    pub(crate) client: String,
}

impl<'s> Agent<'s> {
    /// Registers a public client.
    pub(crate) async fn register(stand: &'s Stand) -> Self {
        let mut agent = Self { stand, http: stand.browser(), client: String::new() };
        let body = json!({
            "client_name": "Editor", "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
        });
        let made = agent.post_json("registration", &body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        agent.client = value(&made)["client_id"].as_str().unwrap().to_owned();
        agent
    }

    pub(crate) async fn send(&mut self, request: reqwest::RequestBuilder) -> Seen {
        let response = request.send().await.unwrap();
        self.http.keep(response).await
    }

    pub(crate) fn endpoint(&self, name: &str) -> Url {
        self.stand.url(WIKI, &format!("/cdn-cgi/access/oauth/{name}"))
    }

    pub(crate) async fn post_json(&mut self, name: &str, body: &Value) -> Seen {
        let request = self.http.request(Method::POST, &self.endpoint(name)).json(body);
        self.send(request).await
    }

    pub(crate) async fn post(&mut self, name: &str, fields: &[(&str, &str)]) -> Seen {
        let request = self.http.request(Method::POST, &self.endpoint(name)).form(fields);
        self.send(request).await
    }

    /// The address a person is sent to, with parameters replaced, added or (with `None`) left out.
    pub(crate) fn authorization(&self, changes: &[(&str, Option<&str>)]) -> Url {
        use base64::Engine as _;
        let challenge = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(Digest::of(VERIFIER).0);
        let resource = self.stand.url(WIKI, "/pages").to_string();
        let base = [
            ("response_type", "code"),
            ("client_id", &self.client),
            ("redirect_uri", REDIRECT),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("state", "st&te"),
            ("resource", &resource),
        ];
        let mut url = self.endpoint("authorization");
        {
            let mut query = url.query_pairs_mut();
            for (name, value) in base.iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name)) {
                query.append_pair(name, value);
            }
            for (name, value) in changes.iter().filter_map(|(name, value)| Some((name, (*value)?))) {
                query.append_pair(name, value);
            }
        }
        url
    }

    /// Sends a person through the sign-in to the consent page.
    pub(crate) async fn consent(&self, browser: &mut Browser, changes: &[(&str, Option<&str>)]) -> Seen {
        let page = browser.open(&self.authorization(changes)).await;
        if !page.text.contains("Continue with Test provider") {
            return page;
        }
        let away = browser.submit(&page, "provider", &[]).await;
        browser.follow(away).await
    }

    /// The person says yes; returns where they are sent.
    pub(crate) async fn allow(&self, browser: &mut Browser, page: &Seen) -> Url {
        let sent = browser.submit(page, "oauth/consent", &[("answer", "allow")]).await;
        assert_eq!(sent.status, StatusCode::FOUND, "{}", sent.text);
        sent.location()
    }

    pub(crate) async fn redeem(&mut self, code: &str) -> Seen {
        let client = self.client.clone();
        let fields = [
            ("grant_type", "authorization_code"),
            ("client_id", &client),
            ("code", code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
        ];
        self.post("token", &fields).await
    }

    pub(crate) async fn refresh(&mut self, token: &str) -> Seen {
        let client = self.client.clone();
        self.post("token", &[("grant_type", "refresh_token"), ("client_id", &client), ("refresh_token", token)]).await
    }

    /// Does everything up to the tokens.
    pub(crate) async fn tokens(&mut self, browser: &mut Browser) -> Tokens {
        let page = self.consent(browser, &[]).await;
        let sent = self.allow(browser, &page).await;
        let reply = self.redeem(&parameter(&sent, "code").unwrap()).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
        Tokens::of(&reply)
    }

    /// Calls the wiki with a token, as an agent does.
    pub(crate) async fn call(&mut self, token: &str) -> Seen {
        let request = self.http.request(Method::GET, &self.stand.url(WIKI, "/pages?x=1"));
        self.send(request.header("authorization", format!("Bearer {token}"))).await
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Tokens {
    pub(crate) fn of(reply: &Seen) -> Self {
        let reply = value(reply);
        let text = |name: &str| reply[name].as_str().unwrap().to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token") }
    }
}

pub(crate) fn value(seen: &Seen) -> Value {
    serde_json::from_str(&seen.text).unwrap_or_else(|_| panic!("no JSON: {} {}", seen.status, seen.text))
}

pub(crate) fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}

/// Whether an answer sends an agent to get a token, and how it could.
pub(crate) fn is_challenge(seen: &Seen) -> bool {
    let header = seen.headers.get("www-authenticate").and_then(|value| value.to_str().ok()).unwrap_or_default();
    header.starts_with("Bearer ") && header.contains("resource_metadata=\"https://")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_finds_its_way_from_a_challenge_to_a_call_as_the_person() {
    let stand = Stand::start(setup()).await;
    let mut agent = Agent::register(&stand).await;
    let origin = stand.url(WIKI, "/").origin().ascii_serialization();
    // 1: a request without a token is told where to look.
    let request = agent.http.request(Method::GET, &stand.url(WIKI, "/pages?x=1"));
    let first = agent.send(request).await;
    assert_eq!(first.status, StatusCode::UNAUTHORIZED);
    let header = first.headers["www-authenticate"].to_str().unwrap().to_owned();
    let metadata = format!("{origin}/.well-known/oauth-protected-resource/pages");
    assert_eq!(header, format!("Bearer realm=\"OAuth\", resource_metadata=\"{metadata}\""));
    // 2: metadata, for scripts of any site too.
    let request = agent.http.request(Method::GET, &Url::parse(&metadata).unwrap());
    let document = agent.send(request).await;
    assert_eq!(document.headers["access-control-allow-origin"], "*");
    let document = value(&document);
    assert_eq!(document["resource"], format!("{origin}/pages"));
    assert_eq!(document["authorization_servers"], json!([origin]));
    assert_eq!(document["team_domain"], TEAM);
    for path in ["", "/pages"] {
        let address = stand.url(WIKI, &format!("/.well-known/oauth-authorization-server{path}"));
        let request = agent.http.request(Method::GET, &address);
        let server = value(&agent.send(request).await);
        assert_eq!(server["issuer"], origin);
        assert_eq!(server["token_endpoint"], agent.endpoint("token").as_str());
        assert_eq!(server["registration_endpoint"], agent.endpoint("registration").as_str());
    }
    // 3: the person signs in as ever and is asked.
    let mut browser = stand.browser();
    let page = agent.consent(&mut browser, &[]).await;
    assert_eq!(page.status, StatusCode::OK);
    for text in ["Editor", "127.0.0.1", "Wiki", EMAIL, "14 days", "own machine"] {
        assert!(page.text.contains(text), "{text}: {}", page.text);
    }
    assert!(!page.text.contains("<script"));
    assert_eq!(page.headers["x-frame-options"], "DENY");
    let sent = agent.allow(&mut browser, &page).await;
    assert!(sent.as_str().starts_with(REDIRECT));
    assert_eq!((parameter(&sent, "iss"), parameter(&sent, "state")), (Some(origin), Some("st&te".to_owned())));
    // 4: the code becomes tokens.
    let reply = agent.redeem(&parameter(&sent, "code").unwrap()).await;
    assert_eq!((reply.status, &reply.headers["cache-control"]), (StatusCode::OK, &"no-store".parse().unwrap()));
    let body = value(&reply);
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("bearer"), &json!(900)));
    assert_eq!(body["resource"], stand.url(WIKI, "/pages").as_str());
    // 5: the call; the application sees the person and never the token.
    let tokens = Tokens::of(&reply);
    let told = agent.call(&tokens.access).await;
    assert_eq!(told.status, StatusCode::OK, "{}", told.text);
    let headers = value(&told)["headers"].clone();
    assert_eq!(headers["cf-access-authenticated-user-email"], EMAIL);
    assert_eq!((headers.get("authorization"), headers.get("cookie")), (None, None));
    let assertion = headers["cf-access-jwt-assertion"].as_str().unwrap();
    assert!(!told.text.contains(&tokens.access));
    // What the application was shown is no session here.
    let request = agent.http.request(Method::GET, &stand.url(WIKI, "/")).header("cf-access-token", assertion);
    assert_eq!(agent.send(request).await.status, StatusCode::UNAUTHORIZED);
    // Another call asks no store.
    let before = stand.oauth.read.load(Ordering::SeqCst);
    stand.oauth.gone.store(true, Ordering::SeqCst);
    assert_eq!(agent.call(&tokens.access).await.status, StatusCode::OK);
    assert_eq!(stand.oauth.read.load(Ordering::SeqCst), before);
    let records = stand.records().await;
    let steps: Vec<_> = records.iter().map(|record| (record["Action"].clone(), record["Allowed"].clone())).collect();
    assert_eq!(steps, [("oauth", true), ("login", true), ("oauth", true)].map(|(a, b)| (json!(a), json!(b))));
    assert_eq!(records[2]["Email"], EMAIL);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_asks_for_a_page_by_name_is_sent_to_one() {
    let stand = Stand::start(setup()).await;
    let mut agent = Agent::register(&stand).await;
    for (accept, status) in [
        (Some("text/html,*/*"), StatusCode::FOUND),
        (Some("*/*"), StatusCode::UNAUTHORIZED),
        (Some("application/json, text/event-stream"), StatusCode::UNAUTHORIZED),
        (None, StatusCode::UNAUTHORIZED),
    ] {
        let mut request = agent.http.request(Method::GET, &stand.url(WIKI, "/"));
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let seen = agent.send(request).await;
        assert_eq!((seen.status, is_challenge(&seen)), (status, status == StatusCode::UNAUTHORIZED), "{accept:?}");
    }
    // A script in a page learns of the way too.
    let request = agent.http.request(Method::GET, &stand.url(WIKI, "/")).header("accept", "text/html");
    let script = agent.send(request.header("x-requested-with", "XMLHttpRequest")).await;
    assert!(script.status == StatusCode::UNAUTHORIZED && is_challenge(&script));
    // A bearer that is nobody's is told so, and not sent anywhere, even beside a good session.
    let mut browser = stand.browser();
    stand.sign_in(&mut browser, "/").await;
    let url = stand.url(WIKI, "/");
    for token in ["oauth:", "oauth:x", &format!("oauth:{}", "A".repeat(43)), &format!("oauth:{}", "A".repeat(64))] {
        let request = browser.request(Method::GET, &url).header("authorization", format!("bearer {token}"));
        let seen = browser.send(request).await;
        assert_eq!(seen.status, StatusCode::UNAUTHORIZED, "{token}");
        assert!(seen.headers["www-authenticate"].to_str().unwrap().contains("error=\"invalid_token\""));
    }
    let own = browser.request(Method::GET, &url).header("authorization", "Bearer of-the-application");
    assert_eq!(browser.send(own).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_processes_that_refresh_at_once_get_one_answer_and_a_copy_ends_the_grant() {
    let stand = Stand::start(setup()).await;
    let mut agent = Agent::register(&stand).await;
    let first = agent.tokens(&mut stand.browser()).await;
    stand.advance(Duration::from_secs(600));
    let mut processes = Vec::new();
    for _ in 0..8 {
        processes.push(Agent { stand: &stand, http: stand.browser(), client: agent.client.clone() });
    }
    let replies =
        futures_util::future::join_all(processes.iter_mut().map(|process| process.refresh(&first.refresh))).await;
    let tokens: Vec<Tokens> = replies
        .iter()
        .map(|reply| {
            assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
            Tokens::of(reply)
        })
        .collect();
    assert!(tokens.iter().all(|other| *other == tokens[0] && *other != first));
    // Who comes within the window gets it too; the old access token goes on until its time.
    stand.advance(Duration::from_secs(9));
    assert_eq!(Tokens::of(&agent.refresh(&first.refresh).await), tokens[0]);
    assert_eq!(agent.call(&first.access).await.status, StatusCode::OK);
    assert_eq!(agent.call(&tokens[0].access).await.status, StatusCode::OK);
    // Afterwards somebody has a copy: nothing works any more, and the log says why.
    stand.advance(Duration::from_secs(2));
    let stolen = agent.refresh(&first.refresh).await;
    assert_eq!((stolen.status, &value(&stolen)["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_grant")));
    assert_eq!(agent.refresh(&tokens[0].refresh).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(agent.call(&tokens[0].access).await.status, StatusCode::UNAUTHORIZED);
    let records = stand.records().await;
    assert!(records.last().unwrap()["Reason"].as_str().unwrap().contains("somebody has a copy"), "{records:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_ends_a_session_ends_the_agents_that_hang_on_it() {
    for case in ["sign-out", "person", "application", "session", "everything"] {
        let stand = Stand::start(setup()).await;
        let mut agent = Agent::register(&stand).await;
        let mut browser = stand.browser();
        let tokens = agent.tokens(&mut browser).await;
        assert_eq!(agent.call(&tokens.access).await.status, StatusCode::OK);
        let kept = stand.oauth.grants.lock().unwrap().values().next().unwrap().clone();
        stand.advance(Duration::from_millis(10));
        let now = Moment(stand.seconds() * 1_000 + 999);
        match case {
            "sign-out" => drop(browser.get(&stand.url(WIKI, "/cdn-cgi/access/logout")).await),
            "person" => stand.sessions.replay(Revoked::User(kept.grant.user), now),
            "application" => stand.sessions.replay(Revoked::Application(kept.grant.application), now),
            "everything" => stand.sessions.replay(Revoked::Everything, now),
            _ => {
                let text = &browser.cookies[&(TEAM.to_owned(), "CF_Authorization".to_owned())];
                stand.sessions.replay(Revoked::Session(SessionSecret::parse(text).unwrap().hash()), now);
            }
        }
        let refused = agent.call(&tokens.access).await;
        assert!(refused.status == StatusCode::UNAUTHORIZED && is_challenge(&refused), "{case}");
        let reply = agent.refresh(&tokens.refresh).await;
        assert_eq!(
            (reply.status, &value(&reply)["error"]),
            (StatusCode::BAD_REQUEST, &json!("invalid_grant")),
            "{case}"
        );
        // Ended for good, not only while the revocation is remembered.
        assert!(stand.oauth.grants.lock().unwrap()[&kept.grant.id].grant.ended.is_some(), "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_by_its_time_leaves_its_agents_alone() {
    let setup = Setup { organization: json!({"session_duration": "1h"}), ..setup() };
    let stand = Stand::start(setup).await;
    let mut agent = Agent::register(&stand).await;
    let tokens = agent.tokens(&mut stand.browser()).await;
    stand.advance(Duration::from_secs(26 * 3_600));
    // The token is over; the answer is 401 and neither 403 nor a redirect.
    let over = agent.call(&tokens.access).await;
    assert!(over.status == StatusCode::UNAUTHORIZED && is_challenge(&over));
    let next = Tokens::of(&agent.refresh(&tokens.refresh).await);
    assert_eq!(agent.call(&next.access).await.status, StatusCode::OK);
    stand.advance(Duration::from_secs(14 * 24 * 3_600));
    assert_eq!(agent.refresh(&next.refresh).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_person_is_looked_at_again_at_every_refresh() {
    let stand = Stand::start(setup()).await;
    let mut agent = Agent::register(&stand).await;
    let tokens = agent.tokens(&mut stand.browser()).await;
    let user = stand.oauth.grants.lock().unwrap().values().next().unwrap().grant.user;
    // What cannot be found out costs nothing: the same token works afterwards.
    stand.oauth.gone.store(true, Ordering::SeqCst);
    let unknown = agent.refresh(&tokens.refresh).await;
    assert_eq!(unknown.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(value(&unknown)["error"], "temporarily_unavailable");
    stand.oauth.gone.store(false, Ordering::SeqCst);
    let next = Tokens::of(&agent.refresh(&tokens.refresh).await);
    stand.oauth.fallen.lock().unwrap().push(user);
    let refused = agent.refresh(&next.refresh).await;
    assert_eq!((refused.status, &value(&refused)["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_grant")));
    assert_eq!(agent.call(&next.access).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_decide_every_call_of_an_agent() {
    let only_pages = json!({
        "name": "Pages", "decision": "allow", "include": [{"email_domain": {"domain": "example.test"}}],
        "exclude": [{"ip": {"ip": "10.0.0.0/8"}}], "portunus": {"expression": "http.request.uri.path == \"/pages\""},
    });
    let stand = Stand::start(Setup { policies: vec![only_pages], ..setup() }).await;
    let mut agent = Agent::register(&stand).await;
    let tokens = agent.tokens(&mut stand.browser()).await;
    assert_eq!(agent.call(&tokens.access).await.status, StatusCode::OK);
    let request = agent.http.request(Method::GET, &stand.url(WIKI, "/secret"));
    let refused = agent.send(request.header("authorization", format!("Bearer {}", tokens.access))).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    assert!(is_challenge(&refused));
    assert_eq!(value(&refused)["error"], "access_denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_revokes_what_it_holds_and_an_origin_asks_about_a_token() {
    let policies = vec![
        allow(json!({"email_domain": {"domain": "example.test"}})),
        json!({"name": "Origin", "decision": "non_identity", "include": [{"any_valid_service_token": {}}]}),
    ];
    let stand = Stand::start(Setup { policies, ..setup() }).await;
    let mut agent = Agent::register(&stand).await;
    let tokens = agent.tokens(&mut stand.browser()).await;
    let (id, secret) = (stand.token.0.as_str().to_owned(), stand.token.1.clone());
    let url = agent.endpoint("introspect");
    let ask =
        |token: &str| agent.http.request(Method::POST, &url).basic_auth(&id, Some(&secret)).form(&[("token", token)]);
    let (live, refresh, strange) = (ask(&tokens.access), ask(&tokens.refresh), ask("oauth:x"));
    let by_header = agent.http.request(Method::POST, &url).form(&[("token", tokens.access.as_str())]);
    let by_header = by_header.header("cf-access-client-id", &id).header("cf-access-client-secret", &secret);
    let nobody = agent.http.request(Method::POST, &url).form(&[("token", tokens.access.as_str())]);
    let after = ask(&tokens.access);
    let found = value(&agent.send(live).await);
    assert_eq!((&found["active"], &found["username"]), (&json!(true), &json!(EMAIL)));
    assert_eq!(found["client_id"], agent.client);
    assert_eq!(value(&agent.send(by_header).await)["active"], true);
    assert_eq!(value(&agent.send(refresh).await), json!({"active": false}));
    assert_eq!(value(&agent.send(strange).await), json!({"active": false}));
    assert_eq!(agent.send(nobody).await.status, StatusCode::UNAUTHORIZED);
    // An access token ends alone; a refresh token ends all.
    let client = agent.client.clone();
    let gone = agent.post("revoke", &[("token", &tokens.access), ("client_id", &client)]).await;
    assert_eq!((gone.status, gone.text.as_str()), (StatusCode::OK, ""));
    assert_eq!(agent.call(&tokens.access).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(value(&agent.send(after).await), json!({"active": false}));
    let next = Tokens::of(&agent.refresh(&tokens.refresh).await);
    assert_eq!(agent.post("revoke", &[("token", &next.refresh), ("client_id", &client)]).await.status, StatusCode::OK);
    assert_eq!(agent.call(&next.access).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(agent.refresh(&next.refresh).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_known_at_nodes_that_did_not_give_it_and_unknown_ones_are_slowed() {
    let stand = Stand::start(setup()).await;
    let mut agent = Agent::register(&stand).await;
    let tokens = agent.tokens(&mut stand.browser()).await;
    // As after a restart, or at another node.
    stand.agents.clear();
    let before = stand.oauth.read.load(Ordering::SeqCst);
    for _ in 0..2 {
        assert_eq!(agent.call(&tokens.access).await.status, StatusCode::OK);
        assert_eq!(stand.oauth.read.load(Ordering::SeqCst), before + 1);
    }
    // While the store is gone a token that must be looked up is not called invalid.
    stand.agents.clear();
    stand.oauth.gone.store(true, Ordering::SeqCst);
    assert_eq!(agent.call(&tokens.access).await.status, StatusCode::SERVICE_UNAVAILABLE);
    stand.oauth.gone.store(false, Ordering::SeqCst);
    assert_eq!(agent.call(&tokens.access).await.status, StatusCode::OK);
    let strange = |number: usize| format!("oauth:{number:0>64}");
    for number in 0..60 {
        assert_eq!(agent.call(&strange(number)).await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(agent.call(&strange(61)).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(agent.call(&tokens.access).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_host_has_one_authorization_server_and_a_token_opens_its_application_alone() {
    let other =
        (json!({"name": "Other", "domain": OTHER, "oauth_configuration": {}}), vec![allow(json!({"everyone": {}}))]);
    let plain = (json!({"name": "Plain", "domain": format!("{WIKI}/plain")}), vec![allow(json!({"everyone": {}}))]);
    let stand = Stand::start(Setup { more: vec![other, plain], ..setup() }).await;
    let mut agent = Agent::register(&stand).await;
    let tokens = agent.tokens(&mut stand.browser()).await;
    for (host, path) in [(OTHER, "/"), (WIKI, "/plain/x")] {
        let request = agent.http.request(Method::GET, &stand.url(host, path));
        let seen = agent.send(request.header("authorization", format!("Bearer {}", tokens.access))).await;
        assert_eq!(seen.status, StatusCode::UNAUTHORIZED, "{host}{path}");
    }
    // Documents of an application without managed OAuth are its own, behind its policies.
    let request = agent.http.request(Method::GET, &stand.url(WIKI, "/.well-known/oauth-protected-resource/plain"));
    assert!(is_challenge(&agent.send(request).await));
    let elsewhere = stand.url(OTHER, "/").to_string();
    let refused = stand.browser().get(&agent.authorization(&[("resource", Some(&elsewhere))])).await;
    assert_eq!(parameter(&refused.location(), "error").as_deref(), Some("invalid_target"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_be_a_document_at_its_own_address() {
    const ID: &str = "https://ide.example/client.json";
    let document = json!({"client_id": ID, "client_name": "IDE", "redirect_uris": [REDIRECT],
        "grant_types": ["authorization_code", "refresh_token"]});
    let documents = axum::Router::new()
        .route("/client.json", axum::routing::get(move || async move { axum::Json(document) }))
        .route("/moved.json", axum::routing::get(|| async { axum::response::Redirect::to("/client.json") }));
    let stand = Stand::start(Setup { documents, ..setup() }).await;
    let mut agent = Agent { stand: &stand, http: stand.browser(), client: ID.to_owned() };
    let mut browser = stand.browser();
    let page = agent.consent(&mut browser, &[]).await;
    assert!(page.text.contains("Described by") && page.text.contains("ide.example"), "{}", page.text);
    let sent = agent.allow(&mut browser, &page).await;
    let reply = agent.redeem(&parameter(&sent, "code").unwrap()).await;
    assert_eq!(agent.call(&Tokens::of(&reply).access).await.status, StatusCode::OK);
    for id in ["https://ide.example/moved.json", "https://ide.example/none.json", "https://nowhere.example/client.json"]
    {
        let page = browser.open(&agent.authorization(&[("client_id", Some(id))])).await;
        assert!(page.status == StatusCode::BAD_REQUEST && page.text.contains("invalid_client"), "{id}: {}", page.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_must_sign_in_again_or_says_no_gives_nothing() {
    let stand = Stand::start(setup()).await;
    let agent = Agent::register(&stand).await;
    let mut browser = stand.browser();
    let page = agent.consent(&mut browser, &[("prompt", Some("login"))]).await;
    assert!(page.text.contains("Editor"), "a fresh sign-in is enough: {}", page.text);
    let no = browser.submit(&page, "oauth/consent", &[("answer", "deny")]).await;
    assert_eq!(parameter(&no.location(), "error").as_deref(), Some("access_denied"));
    // Decided once.
    let again = browser.submit(&page, "oauth/consent", &[("answer", "allow")]).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
    stand.advance(Duration::from_secs(5));
    let early = browser.get(&agent.authorization(&[("prompt", Some("login"))])).await;
    let refused = browser.get(&early.location()).await;
    assert_eq!(parameter(&refused.location(), "error").as_deref(), Some("login_required"));
    assert!(stand.oauth.grants.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_of_an_application_is_a_link_set() {
    let catalog = json!([{"anchor": "/api", "service-desc": [{"href": "/openapi.json", "type": "application/json"}]}]);
    let other = (
        json!({"name": "Other", "domain": OTHER, "portunus": {"api_catalog": catalog, "origin": {"url": "http://127.0.0.1:1"}}}),
        vec![allow(json!({"everyone": {}}))],
    );
    let stand = Stand::start(Setup { more: vec![other], ..Setup::default() }).await;
    let mut browser = stand.browser();
    let seen = browser.get(&stand.url(OTHER, "/.well-known/api-catalog")).await;
    assert_eq!(
        seen.headers["content-type"],
        "application/linkset+json; profile=\"https://www.rfc-editor.org/info/rfc9727\""
    );
    let anchor = stand.url(OTHER, "/api").to_string();
    let href = stand.url(OTHER, "/openapi.json").to_string();
    let expected =
        json!({"linkset": [{"anchor": anchor, "service-desc": [{"href": href, "type": "application/json"}]}]});
    assert_eq!(value(&seen), expected);
    // An application without one is asked itself, behind its policies.
    assert_eq!(browser.get(&stand.url(WIKI, "/.well-known/api-catalog")).await.status, StatusCode::FOUND);
}
