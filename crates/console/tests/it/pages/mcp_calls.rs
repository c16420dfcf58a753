//! The page of MCP calls: what its filters leave, and where other pages lead to it.

use jiff::Timestamp;
use logs::McpCall;
use serde_json::json;
use uuid::Uuid;

use super::Browser;
use crate::harness::Console;

#[tokio::test]
async fn calls_are_filtered_by_portal_server_person_and_outcome() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    for (tool, portal, server, email, action, success) in [
        ("one", "staff", "jira", "ann@example.com", "allow", true),
        ("two", "staff", "wiki", "ben@example.com", "allow", false),
        ("three", "staffing", "jira", "ann@example.com", "block", false),
        ("four", "staffing", "", "", "allow", true),
    ] {
        let call = McpCall {
            id: Uuid::now_v7(),
            datetime: Timestamp::from_second(1_767_323_045).unwrap(),
            account_id: console.account.to_string(),
            method: "tools/call".to_owned(),
            portal_id: portal.to_owned(),
            server_id: server.to_owned(),
            user_email: email.to_owned(),
            tool_call_name: tool.to_owned(),
            action: action.to_owned(),
            success,
            ..McpCall::default()
        };
        console.logs.append(call).await.unwrap();
    }
    console.logs.flush().await.unwrap();
    for (query, expected) in [
        ("", vec!["one", "two", "three", "four"]),
        ("portal=staff", vec!["one", "two"]),
        ("server=jira", vec!["one", "three"]),
        ("portal=staff&server=jira&person=ANN", vec!["one"]),
        ("outcome=succeeded", vec!["one", "four"]),
        ("outcome=failed", vec!["two"]),
        ("outcome=blocked", vec!["three"]),
        ("outcome=blocked&portal=staff", vec![]),
        ("outcome=unheard-of", vec![]),
        // As the form sends what was left alone.
        ("portal=&server=wiki&outcome=&person=&host=&rule=&action=&since=&until=", vec!["two"]),
    ] {
        let page = browser.page(&format!("/activity?dataset=mcp_portal_logs&{query}")).await;
        let shown = |tool: &&str| page.contains(&format!("</b> {tool}</span>"));
        let found: Vec<_> = ["one", "two", "three", "four"].into_iter().filter(shown).collect();
        assert_eq!(found, expected, "{query}: {page}");
    }
    // The filter stands in the form and in the address that live rows come from.
    let page = browser.page("/activity?dataset=mcp_portal_logs&portal=staff&outcome=failed").await;
    for shown in [
        "name=\"portal\" value=\"staff\"",
        "<option value=\"failed\" selected>",
        "data-live=\"/activity/live?dataset=mcp_portal_logs&amp;portal=staff&amp;outcome=failed\"",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
}

#[tokio::test]
async fn a_portal_and_a_server_lead_to_their_calls() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let server = json!({"id": "jira", "name": "Jira", "hostname": "https://jira.example.com/mcp", "auth_type": "unauthenticated"});
    console.post("access/ai-controls/mcp/servers", server).await.result();
    let portal =
        json!({"id": "staff", "name": "Staff", "hostname": "mcp.example.com", "servers": [{"server_id": "jira"}]});
    console.post("access/ai-controls/mcp/portals", portal).await.result();
    for (path, query) in [("/agents/portals/staff", "portal=staff"), ("/agents/servers/jira", "server=jira")] {
        let page = browser.page(path).await;
        assert!(page.contains(&format!("/activity?dataset=mcp_portal_logs&amp;{query}\"")), "{page}");
    }
    let page = browser.page("/activity?dataset=mcp_portal_logs").await;
    assert!(
        page.contains("<option value=\"staff\">Staff</option>")
            && page.contains("<option value=\"jira\">Jira</option>"),
        "{page}"
    );
}
