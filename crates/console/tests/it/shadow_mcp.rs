//! MCP servers that were seen, through the API: what is counted, for whom, and the rules that are drafted.

use logs::GatewayHttp;
use serde_json::{Value, json};
use store::Permission;
use uuid::Uuid;

use crate::harness::Console;

/// Requests of two people to a server in the shadow, one to a portal, one that is not MCP.
pub(crate) async fn agents(console: &Console) {
    for record in requests(console) {
        console.logs.append(record).await.unwrap();
    }
    console.logs.flush().await.unwrap();
}

fn requests(console: &Console) -> Vec<GatewayHttp> {
    let request = |host: &str, email: &str, method: &str, tool: &str| GatewayHttp {
        id: Uuid::now_v7(),
        datetime: jiff::Timestamp::now(),
        account_id: console.account.to_string(),
        action: if tool == "notion-update-page" { "block" } else { "allow" }.to_owned(),
        http_host: host.to_owned(),
        email: email.to_owned(),
        is_mcp: !method.is_empty(),
        mcp_method: method.to_owned(),
        mcp_tool: tool.to_owned(),
        mcp_client_name: if method == "initialize" { "<b>claude-code</b>" } else { "" }.to_owned(),
        mcp_server_name: if method.is_empty() { "" } else { "Notion" }.to_owned(),
        user_agent: "agent/1".to_owned(),
        ..GatewayHttp::default()
    };
    let shadow = "mcp.notion.com";
    vec![
        request(shadow, "ada@example.com", "initialize", ""),
        request(shadow, "ada@example.com", "tools/call", "notion-search"),
        request(shadow, "ada@example.com", "tools/call", "notion-update-page"),
        request(shadow, "bob@example.com", "tools/call", "notion-search"),
        request(shadow, "cyd@example.com", "", ""),
        GatewayHttp { mcp_portal: "portal".to_owned(), ..request("tools.example.com", "ada@example.com", "ping", "") },
        // Another account's is nobody's business here.
        GatewayHttp {
            account_id: Uuid::now_v7().simple().to_string(),
            ..request("mcp.linear.app", "eve@example.com", "ping", "")
        },
    ]
}

#[tokio::test]
async fn servers_are_counted_by_people_tools_and_clients() {
    let console = Console::new().await;
    assert_eq!(console.get("portunus/shadow/mcp/servers").await.result(), json!([]));
    agents(&console).await;
    let servers = console.get("portunus/shadow/mcp/servers?days=7").await.result();
    let counts = |server: &Value| {
        ["host", "people", "requests", "calls", "tools", "clients", "blocked", "portal", "known"]
            .map(|name| server[name].clone())
            .to_vec()
    };
    let servers: Vec<_> = servers.as_array().unwrap().iter().map(counts).collect();
    assert_eq!(
        servers,
        [
            json!(["mcp.notion.com", 2, 4, 3, 2, 1, 1, "", "Notion"]).as_array().unwrap().clone(),
            json!(["tools.example.com", 1, 1, 0, 0, 0, 0, "portal", null]).as_array().unwrap().clone(),
        ]
    );
    let one = console.get("portunus/shadow/mcp/servers/mcp.notion.com").await.result();
    assert_eq!(one["server"]["server"], "Notion");
    assert_eq!((&one["people"][0]["email"], &one["people"][0]["calls"]), (&json!("ada@example.com"), &json!(2)));
    assert_eq!(one["people"].as_array().unwrap().len(), 2);
    assert_eq!((&one["tools"][0]["tool"], &one["tools"][0]["people"]), (&json!("notion-search"), &json!(2)));
    assert_eq!(one["days"][0]["blocked"], 1);
    let clients: Vec<_> = one["clients"].as_array().unwrap().iter().map(|client| client["client"].clone()).collect();
    assert_eq!(clients, ["agent/1", "<b>claude-code</b>"]);
    console.get("portunus/shadow/mcp/servers/nobody.example.com").await.error(404);
    // A host is a value, never a part of the query.
    console.get("portunus/shadow/mcp/servers/x'%20OR%20''='").await.error(404);
    for days in ["0", "401", "many"] {
        console.get(&format!("portunus/shadow/mcp/servers?days={days}")).await.error(400);
    }
}

#[tokio::test]
async fn a_rule_about_a_server_is_drafted_and_can_be_saved() {
    let mut console = Console::new().await;
    let path = "portunus/shadow/mcp/servers/mcp.notion.com/rule";
    console.get(&format!("{path}?action=block")).await.error(404);
    agents(&console).await;
    for (action, expected) in [("block", "block"), ("log", "allow")] {
        let draft = console.get(&format!("{path}?action={action}")).await.result();
        assert_eq!((&draft["action"], &draft["enabled"]), (&json!(expected), &json!(true)));
        assert_eq!(draft["traffic"], "experimental.is_mcp and http.request.host == \"mcp.notion.com\"");
        let saved = console.post("gateway/rules", draft).await.result();
        assert_eq!(saved["action"], expected);
    }
    assert!(console.get(&format!("{path}?action=redirect")).await.error(400).1.contains("no portal"));
    console.get(&format!("{path}?action=explode")).await.error(400);
    console.get("portunus/shadow/mcp/servers/a%22%20or%20true/rule?action=block").await.error(404);
    console
        .post(
            "access/ai-controls/mcp/portals",
            json!({"id": "tools", "name": "Tools", "hostname": "tools.example.com"}),
        )
        .await
        .result();
    let draft = console.get(&format!("{path}?action=redirect")).await.result();
    assert_eq!(draft["rule_settings"]["redirect"]["target_uri"], "https://tools.example.com:9443/mcp");
    console.post("gateway/rules", draft).await.result();
    console.token = console.issue(&[Permission::GatewayRead]).await;
    console.get(&format!("{path}?action=block")).await.error(403);
}
