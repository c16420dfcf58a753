//! What the gateway finds of MCP in the web requests of agents: method, tool, who speaks and how it was told.
//!
//! Invariant: a request to a server of the protocol says what a session of it would, and every other request nothing.

use fastrand::Rng;
use logs::GatewayHttp;

use crate::shapes::Shape;
use crate::write::{put, put_list};

/// What servers offer, by how their names begin: the first tools are called most, the last change something.
const TOOLS: [(&str, &[&str]); 6] = [
    ("GitHub", &["search_code", "get_file_contents", "list_issues", "create_pull_request", "merge_pull_request"]),
    ("Notion", &["notion-search", "notion-fetch", "notion-create-pages", "notion-update-page"]),
    ("Linear", &["list_issues", "get_issue", "create_comment", "update_issue"]),
    ("Sentry", &["search_issues", "get_issue_details", "analyze_issue_with_seer", "update_issue"]),
    ("Atlassian", &["searchJiraIssuesUsingJql", "getConfluencePage", "createJiraIssue", "transitionJiraIssue"]),
    ("Stripe", &["list_invoices", "list_customers", "create_payment_link", "create_refund"]),
];
const OTHERS: &[&str] = &["search", "fetch", "query", "update"];

/// Sets or clears what is recorded of the protocol.
pub(crate) fn speak(record: &mut GatewayHttp, application: &str, shape: &Shape, first: bool, random: &mut Rng) {
    let Some(said) = said(application, shape, first, random) else {
        record.is_mcp = false;
        for text in [
            &mut record.mcp_method,
            &mut record.mcp_tool,
            &mut record.mcp_server_name,
            &mut record.mcp_client_name,
            &mut record.mcp_protocol_version,
        ] {
            text.clear();
        }
        record.mcp_evidence.clear();
        return;
    };
    record.is_mcp = true;
    put(&mut record.mcp_method, said.method);
    put(&mut record.mcp_tool, said.tool);
    put(&mut record.mcp_server_name, application.strip_suffix(" MCP").unwrap_or(application));
    put(&mut record.mcp_client_name, said.client);
    put(&mut record.mcp_protocol_version, said.version);
    let evidence = said.evidence.iter().copied();
    put_list(&mut record.mcp_evidence, evidence);
}

struct Said {
    method: &'static str,
    tool: &'static str,
    client: &'static str,
    version: &'static str,
    evidence: &'static [&'static str],
}

fn said(application: &str, shape: &Shape, first: bool, random: &mut Rng) -> Option<Said> {
    let agent = shape.agent.filter(|_| !application.is_empty())?;
    if shape.method == "GET" {
        // A stream of the older transport; what is asked for before signing in is no message.
        let stream = shape.content_type == "text/event-stream";
        let evidence: &[_] = &["endpoint_event"];
        return stream.then_some(Said { method: "", tool: "", client: "", version: "", evidence });
    }
    let method = match (first, random.u8(..)) {
        (true, _) => "initialize",
        (false, 0..=11) => "notifications/initialized",
        (false, 12..=45) => "tools/list",
        (false, 46..=57) => "resources/read",
        (false, _) => "tools/call",
    };
    let server = application.strip_suffix(" MCP").unwrap_or(application);
    let tools = TOOLS.iter().find(|(name, _)| server.starts_with(name)).map_or(OTHERS, |(_, tools)| tools);
    // The smaller of two draws: the first tools more often.
    let draw = (random.u8(..)).min(random.u8(..)) as usize * tools.len() / 256;
    let client = match agent.split('/').next() {
        Some("claude-code") => "claude-code",
        Some("Cursor") => "cursor-vscode",
        _ => "mcp",
    };
    Some(Said {
        method,
        tool: if method == "tools/call" { tools.get(draw).copied().unwrap_or_default() } else { "" },
        client: if first { client } else { "" },
        version: if client == "mcp" { "2025-03-26" } else { "2025-06-18" },
        evidence: if first {
            &["known_endpoint", "accept", "request_body"]
        } else {
            &["version_header", "session_header", "known_endpoint", "accept", "request_body"]
        },
    })
}
