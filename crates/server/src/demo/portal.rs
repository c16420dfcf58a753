//! The demo's MCP portal: two Workers as servers, a rule, and the content that lets its people and its agent in.
//!
//! Ordinary content like the rest of the demo. Invariant: loading it twice changes nothing.

use serde_json::{Value, json};
use store::{
    AccessPolicy, Application, Binding, KvNamespace, McpPortal, McpServer, Principal, Store, WriteAccess, WriteKv,
};
use types::{AccessPolicyId, AccountId, ApplicationId, KvNamespaceId, McpPortalId, McpServerId};
use uuid::Uuid;

use super::wiki::{AgentToken, TOKEN};
use super::{Credential, DemoError, load_script};

/// Where agents reach it.
pub const PORTAL: &str = "mcp.localhost";
/// The servers behind it, by id: the Worker of each has the same name.
pub const SERVERS: [&str; 2] = ["staff", "help-desk"];

const AUTHOR: &str = "demo";
const TICKETS: KvNamespaceId = KvNamespaceId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0030));
/// The application of the portal and those of its servers, each with a policy for people and one for the agent.
const APPLICATIONS: [u128; 3] = [
    0x0190_0000_0000_7000_8000_0000_0000_0031,
    0x0190_0000_0000_7000_8000_0000_0000_0034,
    0x0190_0000_0000_7000_8000_0000_0000_0037,
];

/// Writes what is missing.
///
/// # Errors
/// The store does not answer.
pub async fn load(store: &Store, principal: &Principal, account: AccountId) -> Result<(), DemoError> {
    let kv = principal.authorize::<WriteKv>(account)?;
    let title = "Tickets of the demo";
    if store.kv().find(&kv, title).await?.is_none() {
        store.kv().create(&kv, TICKETS, KvNamespace { title: title.into() }).await?;
    }
    let tickets = Binding::KvNamespace { name: "TICKETS".into(), namespace_id: TICKETS };
    let [staff, desk] = SERVERS;
    for (name, source, bindings) in [
        (staff, include_str!("../../demo/staff.ts"), Vec::new()),
        (desk, include_str!("../../demo/help-desk.ts"), vec![tickets]),
    ] {
        load_script(store, principal, account, name, source, (bindings, Vec::new())).await?;
    }
    let grant = principal.authorize::<WriteAccess>(account)?;
    let [at_portal, at_staff, at_desk] = APPLICATIONS;
    for (id, body) in [
        (staff, json!({ "id": staff, "name": "Staff of Acme", "portunus": { "worker": staff } })),
        (
            desk,
            json!({
                "id": desk, "name": "Help desk of Acme", "portunus": { "worker": desk },
                "updated_tools": [{ "name": "update_ticket", "enabled": true }],
            }),
        ),
    ] {
        let id: McpServerId = id.parse()?;
        if store.mcp_servers().get(&grant, &id).await?.is_none() {
            let server = McpServer {
                body,
                secrets: std::collections::BTreeMap::new(),
                client_secret_version: 0,
                created_by: AUTHOR.into(),
                modified_by: AUTHOR.into(),
            };
            store.mcp_servers().create(&grant, id, server).await?;
        }
    }
    let portal: McpPortalId = "acme".parse()?;
    if store.mcp_portals().get(&grant, &portal).await?.is_none() {
        let portals = McpPortal {
            hostname: PORTAL.into(),
            body: portal_document(),
            created_by: AUTHOR.into(),
            modified_by: AUTHOR.into(),
        };
        store.mcp_portals().create(&grant, portal, portals).await?;
    }
    let via = |server: &str| json!({ "type": "mcp", "name": server, "destinations": [{ "type": "via_mcp_server_portal", "mcp_server_id": server }] });
    let front = json!({
        "type": "mcp_portal", "name": "Tools of Acme", "domain": PORTAL,
        "destinations": [{ "type": "public", "uri": PORTAL }],
        "oauth_configuration": {
            "enabled": true,
            "dynamic_client_registration": {
                "enabled": true, "allow_any_on_localhost": true, "allow_any_on_loopback": true,
            },
        },
    });
    for (id, body) in [(at_portal, front), (at_staff, via(staff)), (at_desk, via(desk))] {
        load_application(store, principal, account, id, body).await?;
    }
    Ok(())
}

fn portal_document() -> Value {
    let servers = SERVERS.map(|server| json!({ "server_id": server, "on_behalf": false }));
    json!({
        "id": "acme", "name": "Tools of Acme", "hostname": PORTAL, "servers": servers,
        "portunus": {
            "log_results": true,
            "rules": [{
                "name": "Agents close no tickets",
                "expression": "mcp.tool.name == \"update_ticket\" and any(mcp.arguments[\"status\"][*] == \"closed\")",
                "action": "block", "message": "A person closes tickets.",
            }],
        },
    })
}

async fn load_application(
    store: &Store,
    principal: &Principal,
    account: AccountId,
    id: u128,
    mut body: Value,
) -> Result<(), DemoError> {
    let grant = principal.authorize::<WriteAccess>(account)?;
    let application = ApplicationId(Uuid::from_u128(id));
    let [people, agent] = [id + 1, id + 2].map(|id| AccessPolicyId(Uuid::from_u128(id)));
    let include = json!([{ "email_domain": { "domain": "acme.test" } }]);
    let token = json!([{ "service_token": { "token_id": TOKEN } }]);
    for (policy, name, decision, include) in
        [(people, "People of Acme", "allow", include), (agent, "The demo's agent", "non_identity", token)]
    {
        let body = json!({ "name": name, "decision": decision, "include": include });
        let document = AccessPolicy { name: name.into(), application: Some(application), body };
        store.access_policies().put(&grant, policy, document).await?;
    }
    if store.applications().get(&grant, &application).await?.is_some() {
        return Ok(());
    }
    body["policies"] = json!([{ "id": agent, "precedence": 1 }, { "id": people, "precedence": 2 }]);
    let name = body["name"].as_str().unwrap_or_default().to_owned();
    let aud = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    store.applications().put(&grant, application, Application { name, aud, body }).await?;
    Ok(())
}

/// What an agent of the demo writes: it reads twice, changes what it found, and meets the rule.
const PROGRAM: &str = "async () => { \
    const { name } = await codemode.staff_on_call({ team: \"Help desk\" }); \
    const { tickets } = await codemode.help_desk_list_tickets({}); \
    const [first] = tickets; \
    const changed = await codemode.help_desk_update_ticket({ id: first.id, status: \"assigned\", assignee: name }); \
    const refused = await codemode.help_desk_update_ticket({ id: first.id, status: \"closed\" }).catch((e) => e.message); \
    return { changed, refused }; }";

/// The commands a newcomer pastes, each with what to expect.
#[must_use]
pub fn commands(port: u16, authority: &str, people: &[Credential], agent: &AgentToken) -> Vec<(String, String)> {
    let Some(ana) = people.first() else { return Vec::new() };
    let url = format!("https://{PORTAL}:{port}/mcp");
    let ask = |method: &str, name: Option<&str>, params: Value, query: &str| {
        let mut params = params;
        // The version without sessions: one request says everything.
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": { "name": "curl", "version": "1" },
        });
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let name = name.map(|name| format!(" -H 'Mcp-Name: {name}'")).unwrap_or_default();
        format!(
            "curl -s --cacert {authority} --resolve {PORTAL}:{port}:127.0.0.1 -H 'CF-Access-Client-Id: {}' \
             -H 'CF-Access-Client-Secret: {}' -H 'Content-Type: application/json' \
             -H 'Accept: application/json, text/event-stream' -H 'MCP-Protocol-Version: 2026-07-28' \
             -H 'Mcp-Method: {method}'{name} --data '{message}' '{url}{query}'",
            agent.client_id,
            agent.secret.expose()
        )
    };
    let codemode = "?codemode=search_and_execute";
    let call = |tool: &str, code: &str| {
        ask("tools/call", Some(tool), json!({ "name": tool, "arguments": { "code": code } }), codemode)
    };
    vec![
        (
            format!(
                "An MCP client that trusts the authority connects to {url} and has {} sign in with the password {}; an \
                 agent with a service token sees the same tools of two Workers",
                ana.person.email,
                ana.password.expose()
            ),
            ask("tools/list", None, json!({}), ""),
        ),
        (
            "Code Mode: two tools take the place of all, and one of them finds the others".into(),
            call(
                "portal_codemode_search",
                "async () => (await codemode.search(\"change a ticket\")).map((t) => t.name)",
            ),
        ),
        (
            "The other runs what an agent wrote: it reads, reads and updates, and meets the rule that agents close no \
             tickets"
                .into(),
            call("portal_codemode_execute", PROGRAM),
        ),
    ]
}
