//! People's sign-ins at MCP servers through the real binary: at a server behind managed OAuth of another platform, and an
//! administrator's at a server with an authorization server of its own.

use axum::response::IntoResponse as _;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use testkit::{Browser, Origin, Platform, ProtectedServer, Seen};

use crate::access::person;
use crate::support::{binary, settled};

const PORTAL: &str = "mcp.localhost";
const EMAIL: &str = "ana@example.test";

fn port(platform: &Platform) -> u16 {
    platform.ready.access_url.rsplit(':').next().unwrap().parse().unwrap()
}

fn root(platform: &Platform) -> String {
    std::fs::read_to_string(&platform.ready.ca_certificate).unwrap()
}

/// Lets everybody of example.test in at every MCP application of a platform.
async fn admit(platform: &Platform) {
    let provider = json!({"name": "Staff", "type": "portunus", "config": {}});
    platform.api("POST", "/access/identity_providers", Some(provider)).await.unwrap();
    let apps = platform.api("GET", "/access/apps", None).await.unwrap();
    for app in apps.as_array().unwrap() {
        if matches!(app["type"].as_str().unwrap(), "mcp" | "mcp_portal") {
            let policy = json!({"name": "staff", "decision": "allow", "include": [{"email_domain": {"domain": "example.test"}}]});
            platform
                .api("POST", &format!("/access/apps/{}/policies", app["id"].as_str().unwrap()), Some(policy))
                .await
                .unwrap();
        }
    }
}

async fn portal(platform: &Platform, server: Value) {
    let id = server["id"].clone();
    platform.api("POST", "/access/ai-controls/mcp/servers", Some(server)).await.unwrap();
    let portal = json!({"id": "work", "name": "Work", "hostname": PORTAL, "servers": [{"server_id": id}]});
    platform.api("POST", "/access/ai-controls/mcp/portals", Some(portal)).await.unwrap();
    admit(platform).await;
    settled(platform).await;
}

/// Passes the sign-in page of Access, if there is one, and follows to what comes after.
async fn pass(browser: &mut Browser, seen: Seen, password: &str) -> Seen {
    if !seen.text.contains("cdn-cgi/access/password\"") {
        return seen;
    }
    let sent = browser.submit(&seen, "password", &[("email", EMAIL), ("password", password)]).await;
    browser.follow(sent).await
}

/// Presses a button of the portal's page.
async fn press(browser: &mut Browser, page: &Seen, action: &str) -> Seen {
    let form = page.text.split("<form").find(|form| form.contains(&format!("action=\"{action}\"")));
    let form = form.unwrap_or_else(|| panic!("no {action} in {}", page.text));
    let token = form.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let url = page.url.join(action).unwrap();
    let origin = page.url.origin().ascii_serialization();
    let request = browser.request(Method::POST, &url).header("origin", origin).form(&[("token", token), ("back", "/")]);
    browser.send(request).await
}

/// Where the page between leads.
fn onward(page: &Seen) -> Url {
    let target = page.text.split("0; url=").nth(1).unwrap_or_else(|| panic!("{}", page.text));
    target.split('"').next().unwrap().replace("&amp;", "&").parse().unwrap()
}

async fn ask(browser: &mut Browser, at: &Url, session: Option<&str>, message: Value) -> (Option<String>, Value) {
    let mut request =
        browser.request(Method::POST, at).header("content-type", "application/json").body(message.to_string());
    if let Some(session) = session {
        request = request.header("mcp-session-id", session);
    }
    let seen = browser.send(request).await;
    let session = seen.headers.get("mcp-session-id").map(|value| value.to_str().unwrap().to_owned());
    (session, serde_json::from_str(&seen.text).unwrap_or_else(|_| panic!("{} {}", seen.status, seen.text)))
}

async fn call(browser: &mut Browser, home: &Url, tool: &str) -> Value {
    let at = home.join("/mcp").unwrap();
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {"url": {}}}, "clientInfo": {"name": "t", "version": "1"}});
    let begin = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    let (session, _) = ask(browser, &at, None, begin).await;
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}}});
    ask(browser, &at, session.as_deref(), message).await.1
}

/// Makes the first administrator, and returns their browser at the console.
async fn administrator(platform: &Platform, roots: &str) -> Browser {
    let mut browser = Browser::new(&[], std::net::SocketAddr::from(([127, 0, 0, 1], 0)), roots);
    let link: Url = platform.ready.setup_url.parse().unwrap();
    let token = link.query_pairs().find(|(name, _)| name == "token").unwrap().1.into_owned();
    let origin = link.origin().ascii_serialization();
    let fields = [
        ("token", token.as_str()),
        ("email", "root@example.test"),
        ("name", ""),
        ("password", "a long enough passphrase"),
    ];
    let url = link.join("/setup").unwrap();
    let request = browser.request(Method::POST, &url).header("origin", origin).form(&fields);
    let seen = browser.send(request).await;
    assert!(seen.status.is_redirection(), "{} {}", seen.status, seen.text);
    browser
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_signs_in_at_a_server_behind_managed_oauth_of_another_platform() {
    // The other platform: an MCP server without any sign-in of its own, behind an application with managed OAuth.
    let answers = axum::Router::new().fallback(|headers: axum::http::HeaderMap, body: String| async move {
        let asked: Value = serde_json::from_str(&body).unwrap_or_default();
        let result = match asked["method"].as_str().unwrap_or_default() {
            "initialize" => json!({"protocolVersion": asked["params"]["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": {"name": "wiki", "version": "1"}}),
            "tools/list" => json!({"tools": [{"name": "read", "inputSchema": {"type": "object"}}]}),
            "tools/call" => {
                let told = headers.contains_key("cf-access-jwt-assertion") && !headers.contains_key("authorization");
                json!({"content": [{"type": "text", "text": format!("told who asks: {told}")}]})
            }
            _ => return axum::http::StatusCode::ACCEPTED.into_response(),
        };
        axum::Json(json!({"jsonrpc": "2.0", "id": asked["id"], "result": result})).into_response()
    });
    let origin = Origin::start(answers, None).await.unwrap();
    let (data, other_data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let platform = Platform::start_in(binary(), data.path(), &[]).unwrap();
    let other = Platform::start_in(binary(), other_data.path(), &[]).unwrap();
    let password = person(data.path().to_str().unwrap(), EMAIL);
    let other_password = person(other_data.path().to_str().unwrap(), EMAIL);
    let provider = json!({"name": "Staff", "type": "portunus", "config": {}});
    other.api("POST", "/access/identity_providers", Some(provider)).await.unwrap();
    other
        .api("PUT", "/access/organizations", Some(json!({"name": "Other", "auth_domain": "login.localhost"})))
        .await
        .unwrap();
    let callback = format!("https://{PORTAL}:{}/servers-callback", port(&platform));
    let console = format!("{}/mcp/servers-callback", platform.ready.console_url.trim_end_matches('/'));
    let application = json!({
        "type": "self_hosted", "name": "Wiki", "domain": "docs.localhost",
        "portunus": {"origin": {"url": format!("http://{}", origin.address)}},
        "oauth_configuration": {"enabled": true, "dynamic_client_registration": {"enabled": true, "allowed_uris": [callback, console]}},
        "policies": [{"name": "Staff", "decision": "allow", "include": [{"email_domain": {"domain": "example.test"}}]}],
    });
    other.api("POST", "/access/apps", Some(application)).await.unwrap();
    settled(&other).await;

    let network = json!({"roots": [root(&other)], "allow": [format!("127.0.0.1/32:{}", port(&other))]});
    platform.api("PUT", "/portunus/network", Some(network)).await.unwrap();
    let address = format!("https://docs.localhost:{}/mcp", port(&other));
    portal(&platform, json!({"id": "wiki", "name": "Wiki", "hostname": address, "auth_type": "oauth"})).await;

    let roots = format!("{}{}", root(&platform), root(&other));
    let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let hosts = [PORTAL, "access.localhost", "docs.localhost", "login.localhost"];
    let mut browser = Browser::new(&hosts, loopback, &roots);
    let home: Url = format!("https://{PORTAL}:{}/", port(&platform)).parse().unwrap();
    let seen = browser.open(&home).await;
    let page = pass(&mut browser, seen, &password).await;
    assert!(page.text.contains("Not signed in"), "{} {}", page.url, page.text);
    let between = press(&mut browser, &page, "/servers/wiki/sign-in").await;
    assert_eq!(between.status, 200, "{}", between.text);
    let there = onward(&between);
    assert_eq!(there.host_str(), Some("docs.localhost"));
    let seen = browser.open(&there).await;
    let consent = pass(&mut browser, seen, &other_password).await;
    assert!(consent.text.contains("oauth/consent\""), "{} {}", consent.url, consent.text);
    let allowed = browser.submit(&consent, "oauth/consent", &[("answer", "allow")]).await;
    let back = browser.follow(allowed).await;
    assert!(back.text.contains("/servers/wiki/sign-out"), "{} {}", back.url, back.text);
    // The administrator signs in the same way, in the console, so that what the server offers is known.
    let begun = platform.api("POST", "/access/ai-controls/mcp/servers/wiki/sign_in", Some(json!({}))).await.unwrap();
    let there: Url = begun["authorization_url"].as_str().unwrap().parse().unwrap();
    let consent = browser.open(&there).await;
    let allowed = browser.submit(&consent, "oauth/consent", &[("answer", "allow")]).await;
    let finish = allowed.location();
    let mut console = administrator(&platform, &roots).await;
    let finished = console.get(&finish).await;
    assert!(finished.text.contains("signed in at the MCP server"), "{} {}", finished.status, finished.text);
    settled(&platform).await;
    let answered = call(&mut browser, &home, "wiki_read").await;
    assert_eq!(answered["result"]["content"][0]["text"], "told who asks: true", "{answered}");
    press(&mut browser, &back, "/servers/wiki/sign-out").await;
    let page = browser.open(&home).await;
    assert!(page.text.contains("Not signed in"), "{}", page.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_signs_in_for_the_list_and_people_for_their_calls() {
    let server = ProtectedServer::start().await.unwrap();
    let data = tempfile::tempdir().unwrap();
    let start = || Platform::start_in(binary(), data.path(), &[]).unwrap();
    let mut platform = start();
    let password = person(data.path().to_str().unwrap(), EMAIL);
    portal(&platform, json!({"id": "jira", "name": "Jira", "hostname": server.address, "auth_type": "oauth"})).await;
    let at = "/access/ai-controls/mcp/servers/jira";
    let shown = platform.api("POST", &format!("{at}/sync"), Some(json!({}))).await.unwrap();
    assert_eq!(shown["status"], "error", "{shown}");
    assert_eq!(platform.api("GET", at, None).await.unwrap()["authentication_status"], "required");

    let begun = platform.api("POST", &format!("{at}/sign_in"), Some(json!({}))).await.unwrap();
    let there: Url = begun["authorization_url"].as_str().unwrap().parse().unwrap();
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
    let answer = client.get(there).send().await.unwrap();
    let back = answer.headers()["location"].to_str().unwrap().to_owned();
    assert!(
        back.starts_with(&format!("{}/mcp/servers-callback?", platform.ready.console_url.trim_end_matches('/'))),
        "{back}"
    );
    // Somebody who is not signed in at the console finishes nothing.
    let stranger = client.get(&back).send().await.unwrap();
    assert!(stranger.headers()["location"].to_str().unwrap().starts_with("/sign-in"));
    let roots = root(&platform);
    let mut console = administrator(&platform, &roots).await;
    let finished = console.get(&back.parse().unwrap()).await;
    assert!(finished.text.contains("signed in at the MCP server"), "{} {}", finished.status, finished.text);
    let again = console.get(&back.parse().unwrap()).await;
    assert_eq!(again.status, 400, "used once: {}", again.text);
    let shown = platform.api("GET", at, None).await.unwrap();
    assert_eq!((&shown["authentication_status"], &shown["status"]), (&json!("connected"), &json!("ready")), "{shown}");
    settled(&platform).await;
    // A token that the server takes no more is renewed when it is asked again.
    server.forget(false);
    let shown = platform.api("POST", &format!("{at}/sync"), Some(json!({}))).await.unwrap();
    assert_eq!((&shown["status"], server.counts().renewals), (&json!("ready"), 1), "{shown}");

    let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let mut browser = Browser::new(&[PORTAL, "access.localhost"], loopback, &roots);
    let home: Url = format!("https://{PORTAL}:{}/", port(&platform)).parse().unwrap();
    let seen = browser.open(&home).await;
    let page = pass(&mut browser, seen, &password).await;
    let refused = call(&mut browser, &home, "jira_whoami").await;
    assert_eq!(refused["error"]["code"], -32_042, "the administrator's sign-in is not everybody's: {refused}");
    let between = press(&mut browser, &page, "/servers/jira/sign-in").await;
    let answer = client.get(onward(&between)).send().await.unwrap();
    let back: Url = answer.headers()["location"].to_str().unwrap().parse().unwrap();
    let page = browser.open(&back).await;
    assert!(page.text.contains("/servers/jira/sign-out"), "{}", page.text);

    let answered = call(&mut browser, &home, "jira_whoami").await;
    assert_eq!(answered["result"]["content"][0]["text"], "account 2", "{answered}");

    // Kept through a restart.
    platform.terminate().unwrap();
    platform = start();
    let home: Url = format!("https://{PORTAL}:{}/", port(&platform)).parse().unwrap();
    let seen = browser.open(&home).await;
    let page = pass(&mut browser, seen, &password).await;
    assert!(page.text.contains("/servers/jira/sign-out"), "{}", page.text);
    // Whoever is signed out everywhere is signed out there.
    platform.api("POST", "/access/organizations/revoke_user", Some(json!({"email": EMAIL}))).await.unwrap();
    let seen = browser.open(&home).await;
    let mut page = pass(&mut browser, seen, &password).await;
    // It is known everywhere within a second.
    for _ in 0..20 {
        if page.text.contains("Not signed in") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let seen = browser.open(&home).await;
        page = pass(&mut browser, seen, &password).await;
    }
    assert!(page.text.contains("Not signed in"), "{}", page.text);
}
