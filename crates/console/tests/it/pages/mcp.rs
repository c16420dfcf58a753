//! The applications of MCP portals and servers on their pages.

use serde_json::{Value, json};

use super::Browser;
use crate::harness::Console;

#[tokio::test]
async fn the_application_of_a_portal_or_server_keeps_its_address_when_it_is_saved() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let server = json!({"id": "jira", "name": "Jira", "hostname": "https://jira.example.com/mcp", "auth_type": "unauthenticated"});
    console.post("access/ai-controls/mcp/servers", server).await.result();
    let portal = json!({"id": "staff", "name": "Staff", "hostname": "mcp.example.com"});
    console.post("access/ai-controls/mcp/portals", portal).await.result();
    for app in console.get("access/apps").await.result().as_array().unwrap() {
        let path = format!("/access/apps/{}", app["id"].as_str().unwrap());
        let page = browser.page(&path).await;
        assert!(!page.contains("name=\"domain\"") && !page.contains("name=\"origin\""), "{page}");
        let fields = [
            ("name", "Agents"),
            ("domain", "elsewhere.example.com"),
            ("session_duration", "8h"),
            ("oauth", "1"),
            ("redirect_uris", "https://agent.example/callback"),
        ];
        browser.submit(&path, &fields).await;
        let saved = console.get(&path[1..]).await.result();
        assert_eq!((&saved["name"], &saved["destinations"]), (&json!("Agents"), &app["destinations"]));
        let portal = app["type"] == "mcp_portal";
        let uris = &saved["oauth_configuration"]["dynamic_client_registration"]["allowed_uris"];
        let expected = if portal { json!(["https://agent.example/callback"]) } else { Value::Null };
        assert_eq!(*uris, expected);
    }
    let page = browser.page("/activity?dataset=mcp_portal_logs").await;
    assert!(page.contains("MCP calls"), "{page}");
    let list = browser.page("/access").await;
    assert!(list.contains("MCP portal") && list.contains("MCP server"), "{list}");
}
