//! People's own sign-ins at servers, through the portal's pages, as their browsers go.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use agents::record::Recorder;
use agents::signin::{Owner, SignIn, SignIns, SignInsParts, Vault};
use agents::snapshot::{Portal, Remote, Served, Snapshot, Way};
use agents::upstream::{Bounds, Endpoint, Pace};
use agents::visit::{Visit, Visitor};
use agents::{Agents, Parts};
use arc_swap::ArcSwap;
use http::header::HeaderValue;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use mcp::catalog::{Catalog, Kind};
use mcp::document::portal::{self, PortalDocument};
use mcp::document::server::{Server, ServerDocument};
use mcp::names::ServerId;
use mcp::raw::raw;
use mcp::version::Version;
use mcp::view::ServerView;
use net::proxy::body::{empty_body, full_body};
use net::upstream::Route;
use net::{Host, Offer, Origin, Scheme};
use serde_json::{Value, json};
use testkit::ProtectedServer;
use types::ServiceTokenId;
use url::Url;
use uuid::Uuid;

use crate::support::{self, Client, HOST, Plane, Records, door, messages, person, pool, respond, strict_pool};
use crate::vault::Memory;

const PATIENCE: Duration = Duration::from_secs(20);

fn sign_in(server: &ProtectedServer, settings: &str) -> SignIn {
    let address: Url = server.address.parse().unwrap();
    let port = address.port().unwrap();
    let host = Host::parse(address.host_str().unwrap()).unwrap();
    let endpoint = Endpoint {
        pool: pool(),
        route: Route::new(Origin::new(Scheme::Http, host, port), Offer::Http1),
        target: PathAndQuery::from_static("/mcp"),
        authority: HeaderValue::try_from(address.authority()).unwrap(),
        bounds: Bounds { head: PATIENCE, silence: PATIENCE, message: 1 << 20 },
        pace: Pace::default(),
    };
    SignIn { address, endpoint, manual: None, registers: false, settings: settings.to_owned() }
}

/// A node with a portal of servers that people sign in at.
struct Node {
    plane: Plane,
    vault: Arc<Memory>,
    clock: Arc<AtomicI64>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    sign_ins: Arc<SignIns>,
}

struct Wish<'a> {
    servers: &'a [(&'a str, &'a ProtectedServer)],
    on_behalf: bool,
    settings: &'a str,
    guarded: bool,
}

impl<'a> Wish<'a> {
    fn new(servers: &'a [(&'a str, &'a ProtectedServer)]) -> Self {
        Self { servers, on_behalf: true, settings: "s1", guarded: false }
    }
}

fn snapshot(wish: &Wish<'_>, revision: u64) -> Snapshot {
    let served = wish.servers.iter().map(|(id, server)| {
        let site = sign_in(server, &format!("{}-{id}", wish.settings));
        let document = json!({"id": id, "name": id, "hostname": server.address, "auth_type": "oauth"});
        let document = ServerDocument::read(&document, None).unwrap();
        let parsed = Server::parse(id.parse().unwrap(), &document, &|_| false, &()).unwrap();
        let name = ServerId::parse(id).unwrap();
        let mut catalog = Catalog::default();
        let tools = ["whoami", "write"].map(|name| raw(&json!({"name": name, "inputSchema": {"type": "object"}})));
        catalog.extend(Kind::Tool, tools.iter().map(|tool| &**tool));
        Arc::new(Served {
            id: name.clone(),
            server: Arc::new(parsed),
            application: door(id),
            audience: format!("aud-{id}"),
            address: document.address(),
            view: Arc::new(ServerView::new(name, *id, Arc::new(catalog))),
            way: Way::Remote(Box::new(Remote {
                endpoint: site.endpoint.clone().into(),
                credential: HeaderMap::new(),
                version: Some(Version::LATEST_WITH_SESSIONS),
            })),
            sign_in: Some(Arc::new(site)),
            on_behalf: wish.on_behalf,
        })
    });
    let servers = served.collect();
    let listed: Vec<_> = wish.servers.iter().map(|(id, _)| json!({"server_id": id})).collect();
    let document =
        json!({"id": "work", "name": "Work", "hostname": HOST, "servers": listed, "portunus": {"log_results": true}});
    let document = PortalDocument::read(&document, None).unwrap();
    let settings = portal::Portal::parse("work".parse().unwrap(), &document, &()).unwrap();
    let portal = Arc::new(Portal { settings, audience: "aud-portal".to_owned(), servers, revision });
    Snapshot { revision, portals: BTreeMap::from([(HOST.to_owned(), portal)]) }
}

fn node(wish: &Wish<'_>, vault: &Arc<Memory>) -> Node {
    let snapshot = Arc::new(ArcSwap::from_pointee(snapshot(wish, 1)));
    let records = Arc::new(Records::default());
    let clock = Arc::new(AtomicI64::new(0));
    let ahead = Arc::clone(&clock);
    let clock_of_node: net::Clock =
        Arc::new(move || jiff::Timestamp::now() + jiff::SignedDuration::from_secs(ahead.load(Ordering::SeqCst)));
    let sign_ins = SignIns::new(SignInsParts {
        vault: Arc::clone(vault) as Arc<dyn Vault>,
        pool: if wish.guarded { strict_pool() } else { pool() },
        within: Duration::from_secs(10),
        clock: Arc::clone(&clock_of_node),
    });
    let changes = Arc::new(support::Changes::default());
    let agents = Agents::new(Parts {
        snapshot: Arc::clone(&snapshot),
        recorder: Arc::clone(&records) as Arc<dyn Recorder>,
        scripts: Arc::new(support::NoScripts),
        workers: Arc::new(support::NoScripts),
        sign_ins: Arc::clone(&sign_ins),
        account: types::AccountId(Uuid::nil()),
        clock: clock_of_node,
        changed: Arc::clone(&changes) as Arc<dyn agents::Changed>,
    });
    Node { plane: Plane { agents, records, changes }, vault: Arc::clone(vault), clock, snapshot, sign_ins }
}

impl Node {
    fn later(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }
}

/// A person's browser at the portal.
struct Browser<'a> {
    node: &'a Node,
    number: u128,
    /// The sign-in at Access, where it is another than the person's first.
    session: Option<u8>,
    open: Vec<&'a str>,
}

impl<'a> Browser<'a> {
    fn new(node: &'a Node, number: u128, open: &[&'a str]) -> Self {
        Self { node, number, session: None, open: open.to_vec() }
    }

    async fn ask(&self, method: &str, target: &str, form: &str, headers: &[(&str, &str)]) -> (u16, String, String) {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if form.is_empty() { empty_body() } else { full_body(form.to_owned()) };
        let mut person = person(self.number);
        person.agent = false;
        if let Some(session) = self.session {
            person.sign_in = [session; 32];
        }
        let visit = Visit {
            request: request.body(body).unwrap(),
            id: Uuid::now_v7(),
            site: format!("https://{HOST}/").parse().unwrap(),
            source: IpAddr::V4(Ipv4Addr::LOCALHOST),
            visitor: Visitor::Person(Arc::new(person)),
            open: self.open.iter().map(|id| door(id)).collect(),
        };
        let response = respond(&self.node.plane.agents, visit).await;
        let status = response.status().as_u16();
        let location = response.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, location.unwrap_or_default(), String::from_utf8(body.to_vec()).unwrap())
    }

    async fn get(&self, target: &str) -> (u16, String, String) {
        self.ask("GET", target, "", &[]).await
    }

    async fn token(&self) -> String {
        let (_, _, page) = self.get("/").await;
        page.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    }

    async fn press(&self, target: &str, more: &str) -> (u16, String, String) {
        let form = format!("token={}&{more}", self.token().await);
        self.ask("POST", target, &form, &[("origin", &format!("https://{HOST}"))]).await
    }

    /// Goes to the authorization server and returns where it sends the browser back to.
    async fn authorize(&self, server: &str, back: &str) -> Result<String, String> {
        let (status, _, page) = self.press(&format!("/servers/{server}/sign-in"), &format!("back={back}")).await;
        if status != 200 {
            return Err(page);
        }
        let url = page.split("0; url=").nth(1).unwrap().split('"').next().unwrap().replace("&amp;", "&");
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let answer = client.get(url).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 303, "{}", answer.text().await.unwrap());
        let back: Url = answer.headers()["location"].to_str().unwrap().parse().unwrap();
        assert_eq!(back.path(), "/servers-callback");
        Ok(format!("{}?{}", back.path(), back.query().unwrap()))
    }

    async fn sign_in(&self, server: &str) {
        let back = self.authorize(server, "/").await.unwrap();
        let (status, location, page) = self.get(&back).await;
        assert_eq!((status, location.as_str()), (303, "/"), "{page}");
    }
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

fn opens_pages() -> Value {
    json!({"elicitation": {"url": {}}})
}

#[tokio::test]
async fn a_person_signs_in_where_their_client_sends_them_and_calls_as_themselves() {
    let server = ProtectedServer::start().await.unwrap();
    let node = node(&Wish::new(&[("jira", &server)]), &Arc::default());
    let mut client = Client::new(&node.plane, person(1), &["jira"]).begin(opens_pages()).await;
    client.headers.push(("authorization", "Bearer clients-own".to_owned()));
    assert!(client.names("tools/list").await.contains(&"jira_whoami".to_owned()));

    let answer = client.call("jira_whoami", json!({})).await;
    assert_eq!(answer["error"]["code"], -32_042, "{answer}");
    let page = &answer["error"]["data"]["elicitations"][0];
    let url = page["url"].as_str().unwrap().strip_prefix(&format!("https://{HOST}")).unwrap().to_owned();
    let browser = Browser::new(&node, 1, &["jira"]);
    let (status, _, shown) = browser.get(&url).await;
    assert_eq!(status, 200);
    assert!(
        shown.contains("One server waits for you to sign in") && shown.contains("/servers/jira/sign-in"),
        "{shown}"
    );
    let back = browser.authorize("jira", &url.replace('?', "%3F").replace('=', "%3D")).await.unwrap();
    let (status, location, _) = browser.get(&back).await;
    assert_eq!((status, &location), (303, &url));
    assert!(browser.get(&url).await.2.contains("You are signed in wherever you need to be"));
    let told = support::next_event(client.listen().await.body_mut()).await;
    assert_eq!(told["method"], "notifications/tools/list_changed");

    assert_eq!(text(&client.call("jira_whoami", json!({})).await), "account 1");
    let shown: Vec<_> = server.shown().into_iter().flatten().collect();
    assert!(shown.iter().all(|value| value.starts_with("Bearer access-")), "{shown:?}");
    assert_eq!(server.counts().registrations, 1);
    let sent = &server.visits()[0];
    assert_eq!((sent["resource"].as_str(), sent["scope"].as_str()), (server.address.as_str(), "read"));
    assert_eq!(sent["redirect_uri"], format!("https://{HOST}/servers-callback"));

    // Another person is another account, and a third is nobody there.
    let other = Browser::new(&node, 2, &["jira"]);
    other.sign_in("jira").await;
    let second = Client::new(&node.plane, person(2), &["jira"]).begin(json!({})).await;
    assert_eq!(text(&second.call("jira_whoami", json!({})).await), "account 2");
    assert_eq!(text(&client.call("jira_whoami", json!({})).await), "account 1");
    let third = Client::new(&node.plane, person(3), &["jira"]).begin(json!({})).await;
    let refused = third.call("jira_whoami", json!({})).await;
    assert_eq!(refused["result"]["isError"], true);
    assert!(text(&refused).contains(&format!("https://{HOST}/authorize?elicitationId=")), "{refused}");
}

#[tokio::test]
async fn nothing_that_signs_in_reaches_clients_pages_records_or_what_is_kept_in_clear() {
    let server = ProtectedServer::start().await.unwrap();
    let node = node(&Wish::new(&[("jira", &server)]), &Arc::default());
    let browser = Browser::new(&node, 1, &["jira"]);
    browser.sign_in("jira").await;
    let client = Client::new(&node.plane, person(1), &["jira"]).begin(opens_pages()).await;
    let mut seen = String::new();
    for tool in ["jira_whoami", "jira_write", "portal_list_servers"] {
        seen += &client.call(tool, json!({})).await.to_string();
    }
    seen += &browser.get("/").await.2;
    server.forget(true);
    seen += &client.call("jira_whoami", json!({})).await.to_string();
    seen += &format!("{:?} {}", node.plane.records.0.lock(), node.vault.in_clear());
    let secrets: Vec<_> = server.given().into_iter().filter(|text| !text.starts_with("code-")).collect();
    assert!(secrets.len() >= 3);
    for secret in secrets {
        assert!(!seen.contains(&secret), "{secret} in {seen}");
    }
}

#[tokio::test]
async fn a_sign_in_lapses_when_it_cannot_be_renewed_and_its_tools_stay_listed() {
    let server = ProtectedServer::start().await.unwrap();
    let node = node(&Wish::new(&[("jira", &server)]), &Arc::default());
    let browser = Browser::new(&node, 1, &["jira"]);
    browser.sign_in("jira").await;
    let client = Client::new(&node.plane, person(1), &["jira"]).begin(opens_pages()).await;
    assert_eq!(text(&client.call("jira_whoami", json!({})).await), "account 1");

    // An authorization server that is away is no reason to sign in again.
    server.behave(|manners| manners.refuses_renewal = Some((503, "temporarily_unavailable")));
    node.later(3_700);
    let away = client.call("jira_whoami", json!({})).await;
    assert!(away["error"]["message"].as_str().unwrap().contains("try again shortly"), "{away}");
    assert!(!node.vault.is_lapsed(Owner::Person(person(1).user)));
    // Those who ask in the same moment do not each ask it again.
    let asked = server.counts().renewals;
    client.call("jira_whoami", json!({})).await;
    assert_eq!(server.counts().renewals, asked);

    server.behave(|manners| manners.refuses_renewal = Some((400, "invalid_grant")));
    let fresh = self::node(&Wish::new(&[("jira", &server)]), &node.vault);
    fresh.later(3_700);
    let client = Client::new(&fresh.plane, person(1), &["jira"]).begin(opens_pages()).await;
    let lapsed = client.call("jira_whoami", json!({})).await;
    assert_eq!(lapsed["error"]["code"], -32_042, "{lapsed}");
    assert!(lapsed["error"]["message"].as_str().unwrap().contains("Sign in again"), "{lapsed}");
    assert!(node.vault.is_lapsed(Owner::Person(person(1).user)));
    assert!(client.names("tools/list").await.contains(&"jira_whoami".to_owned()));
    let listed: Value = serde_json::from_str(text(&client.call("portal_list_servers", json!({})).await)).unwrap();
    assert_eq!(listed[0]["status"], "sign_in_again");
    assert_eq!(listed[0]["sign_in_at"], format!("https://{HOST}/"));
    let browser = Browser::new(&fresh, 1, &["jira"]);
    assert!(browser.get("/").await.2.contains("Sign in again"));

    server.behave(|manners| manners.refuses_renewal = None);
    browser.sign_in("jira").await;
    assert_eq!(text(&client.call("jira_whoami", json!({})).await), "account 2");
}

#[tokio::test]
async fn two_nodes_and_many_calls_renew_a_sign_in_once() {
    let server = ProtectedServer::start().await.unwrap();
    let servers = [("jira", &server)];
    let wish = Wish::new(&servers);
    let vault = Arc::default();
    let nodes = [node(&wish, &vault), node(&wish, &vault)];
    Browser::new(&nodes[0], 1, &["jira"]).sign_in("jira").await;
    let mut clients = Vec::new();
    for node in &nodes {
        let client = Client::new(&node.plane, person(1), &["jira"]).begin(json!({})).await;
        assert_eq!(text(&client.call("jira_whoami", json!({})).await), "account 1");
        node.later(3_601);
        clients.push(client);
    }
    let calls = clients.iter().cycle().take(20).map(|client| client.call("jira_whoami", json!({})));
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(text(&answer), "account 1");
    }
    assert_eq!(server.counts().renewals, 1, "a token that is shown twice ends its line");
    for node in &nodes {
        node.later(3_601);
    }
    for client in &clients {
        assert_eq!(text(&client.call("jira_whoami", json!({})).await), "account 1");
    }
    assert_eq!(server.counts().renewals, 2, "rotated tokens are the ones that are shown");
}

#[tokio::test]
async fn calls_go_on_while_a_slow_server_renews_ahead_of_the_end() {
    let server = ProtectedServer::start().await.unwrap();
    let node = node(&Wish::new(&[("jira", &server)]), &Arc::default());
    Browser::new(&node, 1, &["jira"]).sign_in("jira").await;
    let client = Client::new(&node.plane, person(1), &["jira"]).begin(json!({})).await;
    client.call("jira_whoami", json!({})).await;
    let reads = *node.vault.reads.lock();
    for _ in 0..10 {
        client.call("jira_whoami", json!({})).await;
    }
    assert_eq!(*node.vault.reads.lock(), reads, "a call asks no vault");
    server.hold();
    node.later(3_400);
    for _ in 0..5 {
        assert_eq!(text(&client.call("jira_whoami", json!({})).await), "account 1");
    }
    server.go_on();
    // Past the old token's end the new one is there, or waited for; either way it was asked for once.
    node.later(250);
    assert_eq!(text(&client.call("jira_whoami", json!({})).await), "account 1");
    assert_eq!(server.counts().renewals, 1);
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_and_a_second_refusal_ends_the_sign_in() {
    let server = ProtectedServer::start().await.unwrap();
    let node = node(&Wish::new(&[("jira", &server)]), &Arc::default());
    Browser::new(&node, 1, &["jira"]).sign_in("jira").await;
    let client = Client::new(&node.plane, person(1), &["jira"]).begin(opens_pages()).await;
    client.call("jira_whoami", json!({})).await;
    server.forget(false);
    assert_eq!(text(&client.call("jira_whoami", json!({})).await), "account 1");
    assert_eq!(server.counts().renewals, 1);
    server.forget(true);
    assert_eq!(client.call("jira_whoami", json!({})).await["error"]["code"], -32_042);
    let asked = server.counts();
    assert_eq!(client.call("jira_whoami", json!({})).await["error"]["code"], -32_042);
    assert_eq!(server.counts(), asked, "what has lapsed is not tried again");
}

#[tokio::test]
async fn a_server_that_went_over_to_another_authorization_server_is_signed_in_at_there() {
    let (server, other) = (ProtectedServer::start().await.unwrap(), ProtectedServer::start().await.unwrap());
    let node = node(&Wish::new(&[("jira", &server)]), &Arc::default());
    let browser = Browser::new(&node, 1, &["jira"]);
    browser.sign_in("jira").await;
    let client = Client::new(&node.plane, person(1), &["jira"]).begin(opens_pages()).await;
    client.call("jira_whoami", json!({})).await;
    let base = other.address.trim_end_matches("/mcp").to_owned();
    server.behave(|manners| manners.elsewhere = Some(base));
    server.forget(true);
    assert_eq!(client.call("jira_whoami", json!({})).await["error"]["code"], -32_042);
    browser.authorize("jira", "/").await.unwrap();
    assert_eq!((server.visits().len(), other.visits().len()), (1, 1));
    assert_eq!(other.counts().registrations, 1, "a client of the one is none of the other");
}

#[tokio::test]
async fn a_server_without_sessions_is_asked_what_it_wants_as_one() {
    let server = ProtectedServer::start().await.unwrap();
    server.behave(|manners| manners.without_sessions = Some("basic"));
    let node = node(&Wish::new(&[("jira", &server)]), &Arc::default());
    Browser::new(&node, 1, &["jira"]).authorize("jira", "/").await.unwrap();
    assert_eq!(server.visits().last().unwrap()["scope"], "basic", "and not all that it describes");
}

#[tokio::test]
async fn a_call_that_needs_more_leads_to_a_sign_in_with_both_scopes() {
    let server = ProtectedServer::start().await.unwrap();
    let node = node(&Wish::new(&[("jira", &server)]), &Arc::default());
    let browser = Browser::new(&node, 1, &["jira"]);
    browser.sign_in("jira").await;
    let client = Client::new(&node.plane, person(1), &["jira"]).begin(opens_pages()).await;
    let more = client.call("jira_write", json!({})).await;
    assert_eq!(more["error"]["code"], -32_042, "{more}");
    assert_eq!(text(&client.call("jira_whoami", json!({})).await), "account 1", "the rest goes on");
    assert!(browser.get("/").await.2.contains("Wants to be allowed more"));
    browser.sign_in("jira").await;
    assert_eq!(server.visits().last().unwrap()["scope"], "read write");
    assert_eq!(text(&client.call("jira_write", json!({})).await), "account 2");
}

#[tokio::test]
async fn an_answer_counts_once_in_the_browser_it_was_asked_for_and_from_its_issuer() {
    let server = ProtectedServer::start().await.unwrap();
    let node = node(&Wish::new(&[("jira", &server)]), &Arc::default());
    let browser = Browser::new(&node, 1, &["jira"]);

    // Somebody lures the person to the end of a sign-in that they began themselves.
    let back = browser.authorize("jira", "/").await.unwrap();
    let victim = Browser::new(&node, 2, &["jira"]);
    let (status, _, page) = victim.get(&back).await;
    assert_eq!(status, 400);
    assert!(page.contains("not started in this browser"), "{page}");
    // The same person, in another browser.
    let back = browser.authorize("jira", "/").await.unwrap();
    let elsewhere = Browser { session: Some(77), ..Browser::new(&node, 1, &["jira"]) };
    assert_eq!(elsewhere.get(&back).await.0, 400);
    // Used once, whatever became of it.
    assert_eq!(browser.get(&back).await.0, 400);
    for bad in ["", "state=", "state=AAAA", "code=x", "state=%00&code=x"] {
        assert_eq!(browser.get(&format!("/servers-callback?{bad}")).await.0, 400, "{bad}");
    }
    // Too late.
    let back = browser.authorize("jira", "/").await.unwrap();
    node.later(16 * 60);
    assert_eq!(browser.get(&back).await.0, 400);
    // From another issuer than the one asked: mix-up.
    server.behave(|manners| manners.names_itself = Some("https://evil.example".to_owned()));
    let back = browser.authorize("jira", "/").await.unwrap();
    let (status, _, page) = browser.get(&back).await;
    assert_eq!(status, 400);
    assert!(page.contains("another authorization server"), "{page}");
    // The person said no.
    let back = browser.authorize("jira", "/").await.unwrap();
    let state = back.split("state=").nth(1).unwrap().split('&').next().unwrap();
    let (status, _, page) = browser.get(&format!("/servers-callback?error=access_denied&state={state}")).await;
    assert_eq!(status, 400);
    assert!(page.contains("another authorization server") || page.contains("did not allow"), "{page}");
    assert_eq!((node.vault.len(), server.counts().codes), (0, 0), "no code was ever shown");

    server.behave(|manners| manners.names_itself = Some(server.address.trim_end_matches("/mcp").to_owned()));
    browser.sign_in("jira").await;
    // An answer without a name where one was promised.
    server.behave(|manners| {
        manners.names_itself = None;
        manners.promises_name = true;
    });
    let other = self::node(&Wish::new(&[("jira", &server)]), &Arc::default());
    let browser = Browser::new(&other, 1, &["jira"]);
    let back = browser.authorize("jira", "/").await.unwrap();
    assert_eq!(browser.get(&back).await.0, 400);
    assert_eq!(other.vault.len(), 0);
}

#[tokio::test]
async fn a_sign_in_does_not_begin_at_a_server_that_cannot_be_trusted() {
    for (change, expected) in [
        ((|m| m.without_pkce = true) as fn(&mut testkit::Manners), "PKCE"),
        (|m| m.huge = true, "too large"),
        (|m| m.no_registration = true, "administrator has to register"),
        (|m| m.resource = Some("https://other.example/mcp".to_owned()), "another resource"),
        (|m| m.elsewhere = Some("http://169.254.169.254".to_owned()), "no authorization server that can be used"),
        (|m| m.elsewhere = Some("https://10.0.0.1:1/".to_owned()), "cannot be reached"),
    ] {
        let server = ProtectedServer::start().await.unwrap();
        server.behave(change);
        let node = node(&Wish { guarded: true, ..Wish::new(&[("jira", &server)]) }, &Arc::default());
        let refused = Browser::new(&node, 1, &["jira"]).authorize("jira", "/").await.unwrap_err();
        assert!(refused.contains(expected), "{expected}: {refused}");
    }
}

#[tokio::test]
async fn a_server_cannot_send_the_portal_to_addresses_of_its_machine() {
    let (server, inside) = (ProtectedServer::start().await.unwrap(), ProtectedServer::start().await.unwrap());
    let base = inside.address.trim_end_matches("/mcp").to_owned();
    server.behave(|manners| manners.elsewhere = Some(base));
    let node = node(&Wish { guarded: true, ..Wish::new(&[("jira", &server)]) }, &Arc::default());
    let refused = Browser::new(&node, 1, &["jira"]).authorize("jira", "/").await.unwrap_err();
    assert!(refused.contains("loopback"), "{refused}");
    assert_eq!(inside.counts(), testkit::Counts::default());
}

#[tokio::test]
async fn forms_of_other_sites_and_of_other_browsers_do_nothing() {
    let server = ProtectedServer::start().await.unwrap();
    let node = node(&Wish::new(&[("jira", &server)]), &Arc::default());
    let (browser, other) = (Browser::new(&node, 1, &["jira"]), Browser::new(&node, 2, &["jira"]));
    let (own, of_another) = (browser.token().await, other.token().await);
    let site = format!("https://{HOST}");
    for (token, headers) in [
        ("", vec![("origin", site.as_str())]),
        (&*of_another, vec![("origin", site.as_str())]),
        (&*own, vec![("origin", "https://evil.example")]),
        (&*own, vec![("sec-fetch-site", "cross-site")]),
        (&*own, vec![("sec-fetch-site", "same-site")]),
    ] {
        for target in ["/servers/jira/sign-in", "/servers/jira/sign-out", "/sign-out", "/authorize"] {
            let (status, ..) = browser.ask("POST", target, &format!("token={token}"), &headers).await;
            assert_eq!(status, 403, "{target} {headers:?}");
        }
    }
    assert_eq!(browser.get("/servers/jira/sign-in").await.0, 405);
    assert!(server.visits().is_empty());
    // A server that the person does not pass cannot be told from one that does not exist.
    let stranger = Browser::new(&node, 3, &[]);
    assert_eq!(stranger.press("/servers/jira/sign-in", "").await.0, 404);
    assert_eq!(stranger.press("/servers/none/sign-in", "").await.0, 404);
    let long = format!("token={own}&x={}", "x".repeat(20_000));
    assert_eq!(browser.ask("POST", "/servers/jira/sign-in", &long, &[]).await.0, 403);
}

#[tokio::test]
async fn signing_out_ends_it_here_and_at_the_server() {
    let server = ProtectedServer::start().await.unwrap();
    let node = node(&Wish::new(&[("jira", &server)]), &Arc::default());
    let browser = Browser::new(&node, 1, &["jira"]);
    browser.sign_in("jira").await;
    let client = Client::new(&node.plane, person(1), &["jira"]).begin(opens_pages()).await;
    client.call("jira_whoami", json!({})).await;
    let (status, location, _) = browser.press("/servers/jira/sign-out", "").await;
    assert_eq!((status, location.as_str()), (303, "/"));
    assert_eq!(node.vault.len(), 0);
    assert_eq!(client.call("jira_whoami", json!({})).await["error"]["code"], -32_042);
    node.sign_ins.end().await;
    assert_eq!(server.counts().revocations, 1);
    assert_eq!(server.sessions(), (1, 1));

    let again = self::node(&Wish::new(&[("jira", &server)]), &node.vault);
    let browser = Browser::new(&again, 1, &["jira"]);
    browser.sign_in("jira").await;
    let client = Client::new(&again.plane, person(1), &["jira"]).begin(opens_pages()).await;
    assert_eq!(text(&client.call("jira_whoami", json!({})).await), "account 2");
    let (status, location, _) = browser.press("/sign-out", "").await;
    assert_eq!((status, location.as_str()), (303, "/cdn-cgi/access/logout"));
    assert_eq!(again.vault.len(), 0);
    let gone = client.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})).await;
    assert_eq!(gone.status(), 404, "the client's session ended with it");
}

#[tokio::test]
async fn service_tokens_use_the_administrators_sign_in_where_the_portal_says_so() {
    let server = ProtectedServer::start().await.unwrap();
    let servers = [("jira", &server)];
    let wish = Wish::new(&servers);
    let node = node(&wish, &Arc::default());
    let program = Visitor::Program { id: ServiceTokenId(Uuid::from_u128(9)), name: "ci".to_owned() };
    let mut client = Client::new(&node.plane, person(1), &["jira"]);
    client.visitor = program.clone();
    let client = client.begin(json!({})).await;
    let refused = client.call("jira_whoami", json!({})).await;
    assert!(refused["error"]["message"].as_str().unwrap().contains("on_behalf"), "{refused}");
    // A person's sign-in is not everybody's.
    Browser::new(&node, 1, &["jira"]).sign_in("jira").await;
    node.snapshot.store(Arc::new(snapshot(&Wish { on_behalf: false, ..wish }, 2)));
    let refused = client.call("jira_whoami", json!({})).await;
    assert!(refused["error"]["message"].as_str().unwrap().contains("administrator"), "{refused}");
    let persons = Client::new(&node.plane, person(1), &["jira"]).begin(opens_pages()).await;
    assert!(
        persons.call("jira_whoami", json!({})).await["error"]["message"].as_str().unwrap().contains("administrator")
    );
    assert!(!Browser::new(&node, 1, &["jira"]).get("/").await.2.contains("/servers/jira/sign-in"));
}

#[tokio::test]
async fn what_was_given_under_other_settings_is_not_used() {
    let server = ProtectedServer::start().await.unwrap();
    let servers = [("jira", &server)];
    let wish = Wish::new(&servers);
    let node = node(&wish, &Arc::default());
    let browser = Browser::new(&node, 1, &["jira"]);
    browser.sign_in("jira").await;
    let under_way = browser.authorize("jira", "/").await.unwrap();
    node.snapshot.store(Arc::new(snapshot(&Wish { settings: "s2", ..wish }, 2)));
    let client = Client::new(&node.plane, person(1), &["jira"]).begin(opens_pages()).await;
    assert_eq!(client.call("jira_whoami", json!({})).await["error"]["code"], -32_042);
    let (status, _, page) = browser.get(&under_way).await;
    assert_eq!(status, 400);
    assert!(page.contains("settings were changed"), "{page}");
    assert!(server.shown().iter().flatten().next().is_none(), "the server was shown nothing");
}

#[tokio::test]
async fn a_person_chooses_the_servers_of_a_client_on_the_page_it_sends_them_to() {
    let server = ProtectedServer::start().await.unwrap();
    let node = node(&Wish::new(&[("jira", &server), ("wiki", &server)]), &Arc::default());
    let client = Client::new(&node.plane, person(1), &["jira", "wiki"]).begin(opens_pages()).await;
    let asked = client.call("portal_toggle_servers", json!({})).await;
    let url = asked["error"]["data"]["elicitations"][0]["url"].as_str().unwrap().to_owned();
    let target = url.strip_prefix(&format!("https://{HOST}")).unwrap();
    let id = target.split('=').nth(1).unwrap();
    let browser = Browser::new(&node, 1, &["jira", "wiki"]);
    let (_, _, page) = browser.get(target).await;
    assert!(page.contains("2 servers wait for you to sign in") && page.contains("type=\"checkbox\""), "{page}");
    // Nobody else's: there is nothing to choose on it.
    let other = Browser::new(&node, 2, &["jira", "wiki"]);
    assert!(!other.get(target).await.2.contains("type=\"checkbox\""));
    assert_eq!(other.press("/authorize", &format!("elicitationId={id}&on=jira")).await.0, 404);
    let (status, _, page) = browser.press("/authorize", &format!("elicitationId={id}&on=wiki")).await;
    assert_eq!(status, 200, "{page}");
    let names = client.names("tools/list").await;
    assert!(names.contains(&"wiki_whoami".to_owned()) && !names.contains(&"jira_whoami".to_owned()), "{names:?}");
    let mut listening = client.listen().await;
    let mut told = Vec::new();
    while !told.contains(&json!("notifications/elicitation/complete")) {
        let event = support::next_event(listening.body_mut()).await;
        told.push(event["method"].clone());
    }
    // A client that opens no pages is given the address in words.
    let plain = Client::new(&node.plane, person(1), &["jira", "wiki"]).begin(json!({})).await;
    assert!(text(&plain.call("portal_toggle_servers", json!({})).await).contains("/authorize?elicitationId="));
}

#[tokio::test]
async fn a_client_of_the_stateless_era_is_asked_for_input_and_repeats_its_call() {
    let server = ProtectedServer::start().await.unwrap();
    let node = node(&Wish::new(&[("jira", &server)]), &Arc::default());
    let client = Client::new(&node.plane, person(1), &["jira"]);
    let plain = client.ask_stateless("tools/call", json!({"name": "jira_whoami"})).await;
    assert_eq!(messages(plain).await[0]["result"]["isError"], true);
    let ask = |responses: Option<Value>| {
        let mut params = json!({"name": "jira_whoami"});
        if let Some(responses) = responses {
            params["inputResponses"] = responses;
        }
        client.ask_stateless_with("tools/call", params, opens_pages())
    };
    let asked = messages(ask(None).await).await.remove(0);
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let (key, question) = asked["result"]["inputRequests"].as_object().unwrap().iter().next().unwrap();
    assert_eq!(
        (question["method"].as_str(), question["params"]["mode"].as_str()),
        (Some("elicitation/create"), Some("url"))
    );
    Browser::new(&node, 1, &["jira"]).sign_in("jira").await;
    let answered = messages(ask(Some(json!({(key): {"action": "accept"}}))).await).await.remove(0);
    assert_eq!(answered["result"]["content"][0]["text"], "account 1", "{answered}");
}

#[tokio::test]
async fn the_portal_is_a_client_by_its_document_where_that_is_taken() {
    let server = ProtectedServer::start().await.unwrap();
    server.behave(|manners| manners.documents = true);
    let node = node(&Wish::new(&[("jira", &server)]), &Arc::default());
    Browser::new(&node, 1, &["jira"]).sign_in("jira").await;
    assert_eq!(server.counts().registrations, 0);
    let address: Url = server.visits()[0]["client_id"].parse().unwrap();
    let site = format!("https://{HOST}/").parse().unwrap();
    let document = node.plane.agents.open(HOST, address.path(), &site).unwrap();
    let body = document.into_body().collect().await.unwrap().to_bytes();
    let document: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(document["client_id"], address.as_str());
    assert_eq!(document["redirect_uris"], json!([format!("https://{HOST}/servers-callback")]));
    assert!(node.plane.agents.open(HOST, "/", &site).is_none());
    assert!(node.plane.agents.open("other.test", address.path(), &site).is_none());
}
