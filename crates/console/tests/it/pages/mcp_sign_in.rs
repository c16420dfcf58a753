//! An administrator's sign-in at an MCP server, by the console's pages.

use axum::http::StatusCode;
use serde_json::json;
use store::{McpCredential, McpCredentialId, McpHolder, Principal, WriteUsers};
use types::Secret;

use super::{Browser, location, text};
use crate::harness::Console;

const CALLBACK: &str = "/mcp/servers-callback?code=c&state=s";

async fn furnished() -> Console {
    let console = Console::new().await;
    let server =
        json!({"id": "jira", "name": "Jira", "hostname": "https://jira.example.com/mcp", "auth_type": "oauth"});
    console.post("access/ai-controls/mcp/servers", server).await.result();
    console
}

#[tokio::test]
async fn what_an_administrator_began_ends_in_their_own_browser() {
    let console = furnished().await;
    let browser = Browser::set_up(&console).await;
    let page = text(&browser.send("/mcp/servers/jira/sign-in", &[]).await);
    assert!(page.contains("href=\"https://as.example/authorize?redirect_uri="), "{page}");
    assert!(page.contains("servers-callback"), "{page}");

    let other = json!({"email": "bob@example.com", "permissions": ["admin"], "password": "correct horse battery"});
    console.post("portunus/administrators", other).await.result();
    let fields = [("email", "bob@example.com"), ("password", "correct horse battery")];
    let answer = console.send(super::post("/sign-in", &fields, &[("origin", super::ORIGIN)])).await;
    let bob = Browser::with(&console, &answer).await;
    assert_eq!(bob.get(CALLBACK).await.status, StatusCode::BAD_REQUEST);

    browser.send("/mcp/servers/jira/sign-in", &[]).await;
    let done = browser.get(CALLBACK).await;
    assert_eq!(done.status, StatusCode::OK);
    assert!(text(&done).contains("signed in at the MCP server"));
    assert_eq!(
        console.get("access/ai-controls/mcp/servers/jira").await.result()["status"],
        "ready",
        "it was asked at once"
    );
    assert_eq!(browser.get(CALLBACK).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(location(&browser.send("/mcp/servers/jira/sign-out", &[]).await), "/agents/servers/jira");
}

#[tokio::test]
async fn sign_ins_end_with_the_settings_they_were_made_under() {
    let console = furnished().await;
    let write = Principal::system("test").authorize::<WriteUsers>(console.account).unwrap();
    let server: types::McpServerId = "jira".parse().unwrap();
    let id = McpCredentialId { holder: McpHolder::Everybody, server: server.clone() };
    let credentials = console.store.mcp_credentials();
    let tokens = credentials.seal_member(&write, &id, "tokens", &Secret::new("{}".to_owned())).unwrap();
    let credential = McpCredential { server, expires_at: None, lapsed: false, state: json!({}), tokens };
    credentials.keep(&write, id, credential, None).await.unwrap();
    let path = "access/ai-controls/mcp/servers/jira";
    console.put(path, json!({"name": "Another name"})).await.result();
    assert_eq!(console.get(path).await.result()["authentication_status"], "connected");
    console.put(path, json!({"auth_credentials": {"auth_mode": "dcr"}})).await.result();
    assert_eq!(console.get(path).await.result()["authentication_status"], "required");
}

#[tokio::test]
async fn what_a_program_began_ends_in_a_session_of_somebody_who_may_change_the_server() {
    let console = furnished().await;
    let browser = Browser::set_up(&console).await;
    let begun = console.post("access/ai-controls/mcp/servers/jira/sign_in", json!({})).await.result();
    assert!(begun["authorization_url"].as_str().unwrap().starts_with("https://as.example/authorize"));
    let stranger = axum::http::Request::builder().uri(CALLBACK).body(axum::body::Body::empty()).unwrap();
    let stranger = console.send(stranger).await;
    assert!(location(&stranger).starts_with("/sign-in?next="), "nothing is taken from a stranger");
    assert_eq!(browser.get(CALLBACK).await.status, StatusCode::OK);
    // A form of another site begins nothing.
    let fields = [("csrf", "wrong")];
    let headers = [("origin", super::ORIGIN), ("cookie", browser.cookie.as_str())];
    let refused = console.send(super::post("/mcp/servers/jira/sign-in", &fields, &headers)).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
}
