//! The pages of MCP servers that were seen.

use super::Browser;
use crate::harness::Console;
use crate::shadow_mcp::agents;

#[tokio::test]
async fn one_goes_from_the_servers_to_one_of_them_to_a_rule() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    assert!(browser.page("/shadow/mcp").await.contains("No MCP server was reached"));
    agents(&console).await;
    let list = browser.page("/shadow/mcp").await;
    assert!(list.contains("/shadow/mcp/mcp.notion.com?days=30") && list.contains("tools.example.com"));
    let shadow = browser.page("/shadow/mcp?place=shadow").await;
    assert!(shadow.contains("mcp.notion.com") && !shadow.contains("tools.example.com"));
    let server = browser.page("/shadow/mcp/mcp.notion.com").await;
    for shown in
        ["ada@example.com", "notion-search", "&lt;b&gt;claude-code&lt;/b&gt;", "Requests by day", "/agents/portals/new"]
    {
        assert!(server.contains(shown), "{shown}");
    }
    assert!(!server.contains("<b>claude-code"));
    let draft = browser.page("/rules/new?mcp_server=mcp.notion.com&draft=block").await;
    assert!(
        draft.contains("http.request.host == &quot;mcp.notion.com&quot;")
            && draft.contains("Block MCP at mcp.notion.com")
    );
}
