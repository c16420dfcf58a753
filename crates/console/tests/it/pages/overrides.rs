//! What is changed of single tools and prompts: on the page of a server behind a portal, and on the server's own.

use axum::http::{StatusCode, header};
use serde_json::{Value, json};
use store::{Operate, Principal};

use super::{Browser, ORIGIN, PASSWORD, SOURCE, location, post, text};
use crate::harness::Console;

const MCP: &str = "access/ai-controls/mcp";
const HERE: &str = "/agents/portals/staff/servers/jira";

async fn furnish(console: &Console, tools: &[&str]) {
    let tool = |name: &&str| json!({"name": name, "description": format!("Does {name} <b>"), "inputSchema": {"type": "object"}});
    *console.upstreams.tools.lock().unwrap() = tools.iter().map(tool).collect();
    let server = json!({"id": "jira", "name": "Jira", "hostname": "https://jira.example.com/mcp", "auth_type": "unauthenticated"});
    console.post(&format!("{MCP}/servers"), server).await.result();
    console.post(&format!("{MCP}/servers/jira/sync"), json!({})).await.result();
    let portal = json!({"id": "staff", "name": "Staff", "hostname": "mcp.example.com", "servers": [{"server_id": "jira", "portunus": {"prefix": false}}]});
    console.post(&format!("{MCP}/portals"), portal).await.result();
}

/// A value of the page as browsers read it.
fn field(page: &str, name: &str) -> String {
    super::field(page, name).replace("&quot;", "\"")
}

/// The portal's own list of changes, which its view mixes with the server's.
async fn stored(console: &Console, list: &str) -> Value {
    let operate = Principal::system("test").authorize::<Operate>(console.account).unwrap();
    let portal = console.store.mcp_portals().get(&operate, &"staff".parse().unwrap()).await.unwrap().unwrap();
    portal.document.body["servers"][0].get(list).cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_tool_is_hidden_renamed_and_described_for_one_portal() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    furnish(&console, &["get_issue", "delete_issue"]).await;
    let page = browser.page("/agents/portals/staff").await;
    assert!(page.contains(HERE), "{page}");
    let page = browser.page(HERE).await;
    // What a server says is text, and names stand as clients know them: this portal leaves the prefix out.
    assert!(page.contains("Does get_issue &lt;b&gt;") && page.contains("<code>delete_issue</code>"), "{page}");

    let (one, other) = (field(&page, "was.0"), field(&page, "was.1"));
    let form = |alias: &'static str| {
        vec![
            ("kind", "tool"),
            ("name.0", "get_issue"),
            ("was.0", one.as_str()),
            ("enabled.0", ""),
            ("alias.0", alias),
            ("description.0", "Reads an issue.\r\nOf any project."),
            ("name.1", "delete_issue"),
            ("was.1", other.as_str()),
            ("enabled.1", "false"),
            ("alias.1", ""),
            ("description.1", ""),
            ("name.new", ""),
        ]
    };
    let refused = browser.send(HERE, &form("_read")).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let refused = text(&refused);
    for shown in
        ["an alias has 1 to 40", "value=\"_read\"", "Of any project.</textarea>", "<option value=\"false\" selected>"]
    {
        assert!(refused.contains(shown), "{shown}: {refused}");
    }
    assert_eq!(stored(&console, "updated_tools").await, Value::Null);

    let answer = browser.send(HERE, &form("read")).await;
    assert_eq!(location(&answer), format!("{HERE}?kind=tool&note=saved"), "{}", text(&answer));
    let expected = json!([
        {"name": "get_issue", "alias": "read", "description": "Reads an issue.\nOf any project."},
        {"name": "delete_issue", "enabled": false},
    ]);
    assert_eq!(stored(&console, "updated_tools").await, expected);
    let page = browser.page(HERE).await;
    assert!(page.contains("<code>read</code>") && page.contains("hidden"), "{page}");
    let cost = browser.page("/agents/portals/staff").await;
    assert!(cost.contains("1 tool,") && cost.contains("2 tools and prompts"), "{cost}");

    // The same form again is about what stood there before it was saved.
    let again = browser.send(HERE, &form("look")).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    assert!(text(&again).contains("changed by somebody else meanwhile"), "{}", text(&again));
    assert_eq!(stored(&console, "updated_tools").await, expected);
    // Cleared, nothing is changed any more; the row that is not sent stays.
    let was = field(&page, "was.0");
    let clear = [("kind", "tool"), ("name.0", "get_issue"), ("was.0", &was), ("enabled.0", "")];
    browser.submit(HERE, &clear).await;
    assert_eq!(stored(&console, "updated_tools").await, json!([expected[1]]));

    // The form of the portal keeps all of it, and the prefix.
    let portal = [
        ("name", "Staff"),
        ("hostname", "mcp.example.com"),
        ("code_mode", "off"),
        ("server", "jira"),
        ("bare", "jira"),
    ];
    browser.submit("/agents/portals/staff", &portal).await;
    assert_eq!(stored(&console, "updated_tools").await, json!([expected[1]]));
    assert_eq!(stored(&console, "portunus").await, json!({"prefix": false}));
}

#[tokio::test]
async fn what_a_server_changes_for_every_portal_stays_its_own() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    furnish(&console, &["get_issue"]).await;
    let own = "/agents/servers/jira/overrides";
    let was = field(&browser.page(own).await, "was.0");
    let hide =
        [("kind", "tool"), ("name.0", "get_issue"), ("was.0", &was), ("enabled.0", "false"), ("alias.0", "read")];
    browser.submit(own, &hide).await;
    let page = browser.page(HERE).await;
    assert!(page.contains("As for every portal: hidden") && page.contains("placeholder=\"read\""), "{page}");
    // Saved as it stands, the portal has no word of its own; it may show the tool all the same.
    let row = |enabled: &'static str, was: &str| {
        [
            ("kind", "tool".to_owned()),
            ("name.0", "get_issue".to_owned()),
            ("was.0", was.to_owned()),
            ("enabled.0", enabled.to_owned()),
        ]
    };
    for (enabled, expected) in [("", Value::Null), ("true", json!([{"name": "get_issue", "enabled": true}]))] {
        let was = field(&browser.page(HERE).await, "was.0");
        let form = row(enabled, &was);
        let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        browser.submit(HERE, &form).await;
        assert_eq!(stored(&console, "updated_tools").await, expected);
    }
    let form = [("name", "Staff"), ("hostname", "mcp.example.com"), ("code_mode", "off"), ("server", "jira")];
    browser.submit("/agents/portals/staff", &form).await;
    assert_eq!(stored(&console, "updated_tools").await, json!([{"name": "get_issue", "enabled": true}]));
}

#[tokio::test]
async fn many_tools_are_looked_for_and_switched_together() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let names: Vec<String> = (0..120).map(|number| format!("tool_{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    furnish(&console, &names).await;
    let page = browser.page(&format!("{HERE}?page=3")).await;
    assert!(page.contains("tool_119") && !page.contains("tool_099") && page.contains("Page 3 of 3"), "{page}");
    let page = browser.page(&format!("{HERE}?q=TOOL_11")).await;
    assert!(page.contains("Hide the 10 found") && !page.contains("tool_100"), "{page}");
    // What was typed into a row is saved with it.
    let was = field(&page, "was.0");
    let form = [
        ("kind", "tool"),
        ("q", "tool_11"),
        ("name.0", "tool_110"),
        ("was.0", &was),
        ("alias.0", "first"),
        ("all", "hide"),
    ];
    let answer = browser.send(HERE, &form).await;
    assert_eq!(location(&answer), format!("{HERE}?kind=tool&q=tool_11&note=saved"), "{}", text(&answer));
    let list = stored(&console, "updated_tools").await;
    assert_eq!(list.as_array().unwrap().len(), 10);
    assert_eq!(list[0], json!({"name": "tool_110", "alias": "first", "enabled": false}));
    browser.submit(HERE, &[("kind", "tool"), ("all", "usual")]).await;
    assert_eq!(stored(&console, "updated_tools").await, json!([{"name": "tool_110", "alias": "first"}]));
}

#[tokio::test]
async fn prompts_have_a_list_of_their_own_and_what_is_to_come_is_named() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    furnish(&console, &["get_issue"]).await;
    let page = browser.page(&format!("{HERE}?kind=prompt")).await;
    assert!(page.contains("triage") && !page.contains("value=\"get_issue\""), "{page}");
    let new = |name: &'static str| [("kind", "prompt"), ("name.new", name), ("enabled.new", "false")];
    for (name, why) in [("", "is required"), ("triage", "stands in the list already")] {
        let refused = browser.send(HERE, &new(name)).await;
        assert_eq!(refused.status, StatusCode::CONFLICT, "{name}");
        assert!(text(&refused).contains(why), "{name}: {}", text(&refused));
    }
    browser.submit(HERE, &new("summary")).await;
    assert_eq!(stored(&console, "updated_prompts").await, json!([{"name": "summary", "enabled": false}]));
    let page = browser.page(&format!("{HERE}?kind=prompt")).await;
    assert!(page.contains("not offered"), "{page}");
    // Resources are no list of the API; the page says what hides them.
    let page = browser.page(&format!("{HERE}?kind=resource")).await;
    assert!(page.contains("/agents/portals/staff/rules/new") && page.contains("mcp.resource.uri"), "{page}");
    let refused = browser.send(HERE, &[("kind", "resource"), ("all", "hide")]).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    for gone in
        ["/agents/portals/staff/servers/wiki", "/agents/portals/none/servers/jira", "/agents/servers/wiki/overrides"]
    {
        assert_eq!(browser.get(gone).await.status, StatusCode::NOT_FOUND, "{gone}");
    }
}

#[tokio::test]
async fn what_a_worker_may_write_is_said_to_be_off_until_it_is_named() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    browser.submit("/workers", &[("name", "notes"), ("source", SOURCE)]).await;
    let reads = json!({"name": "read", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": true}});
    *console.upstreams.tools.lock().unwrap() = vec![reads, json!({"name": "write", "inputSchema": {"type": "object"}})];
    let form = [("kind", "worker"), ("name", "Notes"), ("id", "notes"), ("worker", "notes")];
    browser.submit("/agents/servers", &form).await;
    let own = "/agents/servers/notes/overrides";
    let page = browser.page(own).await;
    assert_eq!(page.matches("As usual: hidden, for it may write").count(), 1, "{page}");
    let was = field(&page, "was.1");
    browser.submit(own, &[("kind", "tool"), ("name.1", "write"), ("was.1", &was), ("enabled.1", "true")]).await;
    let saved = console.get(&format!("{MCP}/servers/notes")).await.result();
    assert_eq!(saved["updated_tools"], json!([{"name": "write", "enabled": true}]));
}

#[tokio::test]
async fn who_may_only_look_gets_no_form_and_no_form_works_without_our_token() {
    let console = Console::new().await;
    let chief = Browser::set_up(&console).await;
    furnish(&console, &["get_issue"]).await;
    let rita = [("email", "rita@example.com"), ("new_administrator_password", PASSWORD), ("permission", "access:read")];
    chief.submit("/settings/account", &rita).await;
    let entry = [("email", "rita@example.com"), ("password", PASSWORD)];
    let signed = console.send(post("/sign-in", &entry, &[("origin", ORIGIN)])).await;
    let set = signed.headers[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let reader = Browser { console: &console, cookie: set, csrf: String::new() };
    let page = reader.page(HERE).await;
    assert!(page.contains("get_issue") && !page.contains("name=\"enabled.0\"") && !page.contains(">Save<"), "{page}");
    let reader = Browser { csrf: field(&page, "csrf"), ..reader };
    let hide = [("kind", "tool"), ("all", "hide")];
    let own = "/agents/servers/jira/overrides";
    for path in [HERE, own] {
        assert_eq!(reader.send(path, &hide).await.status, StatusCode::FORBIDDEN, "{path}");
        let strange = console.send(post(path, &hide, &[("origin", ORIGIN), ("cookie", &chief.cookie)])).await;
        assert_eq!(strange.status, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(stored(&console, "updated_tools").await, Value::Null);
}
