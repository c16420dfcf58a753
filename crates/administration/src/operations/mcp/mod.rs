//! MCP portals and servers (reference sections 5.1 to 5.3).
//!
//! The MCP engine says whether a document is sound and how it is shown; here stand the store, the applications by which
//! Access guards both, and the audit log. Invariants: a portal names only servers that exist; a secret is sealed before it
//! is stored and in no view; a program is run only where the operator allows it.

mod application;
pub mod cost;
pub mod definitions;
pub mod overrides;
pub mod portals;
pub mod seen;
pub mod servers;
pub mod sign_in;

use store::{McpPortal, McpServer};
use types::Code;

use super::access::system;
use super::time;
use crate::audit::actor_name;
use crate::auth::OpContext;
use crate::failure::{Failure, Problem};

/// Who acts, as `created_by` and `modified_by` say it.
fn author(cx: &OpContext) -> String {
    actor_name(cx.actor())
}

/// Reads the id an author chose.
fn chosen<T: std::str::FromStr<Err = types::IdError>>(id: Option<&str>) -> Result<T, Failure> {
    let id = id.ok_or_else(|| Failure::invalid("/id", "is required: the author chooses it"))?;
    id.parse().map_err(|error: types::IdError| Failure::invalid("/id", error.to_string()))
}

/// An id in a body that is sent to a path with an id of its own.
fn same(id: Option<&str>, path: &str) -> Result<(), Failure> {
    match id {
        Some(id) if id != path => Err(Failure::invalid("/id", "cannot change")),
        _ => Ok(()),
    }
}

/// When a document was made and changed, as texts.
struct Times {
    created: String,
    modified: String,
}

impl Times {
    fn of<D: store::Document>(stored: &store::Stored<D>) -> Self {
        Self { created: time(stored.created_at), modified: time(stored.updated_at) }
    }
}

/// Every Worker that rules ask must exist.
async fn check_workers(cx: &OpContext, rules: &[mcp::document::rule::RuleDocument]) -> Result<(), Failure> {
    let grant = system(cx, "check that the Workers of a rule exist")?;
    let mut problems = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let Some(script) = rule.worker.as_ref().and_then(|worker| worker.script.as_ref()) else { continue };
        if cx.store().scripts().get(&grant, script).await?.is_none() {
            let pointer = Some(format!("/portunus/rules/{index}/worker/script"));
            problems.push(Problem { message: "there is no such Worker".to_owned(), pointer });
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::invalid_many(problems)) }
}

/// Says whether a search finds a text, without regard to case.
fn finds(search: Option<&str>, texts: &[&str]) -> bool {
    let Some(search) = search.map(str::to_lowercase) else { return true };
    texts.iter().any(|text| text.to_lowercase().contains(&search))
}

/// Names a document that could not be read; it was sound when it was stored.
fn unreadable(problem: identity::document::Problem) -> Failure {
    tracing::error!(%problem, "a stored MCP document is not readable");
    Failure::new(Code::Internal, "a stored document is not readable; the log of this server says which")
}

const PORTAL: &str = "MCP portal";
const SERVER: &str = "MCP server";

/// What the audit log calls them.
const PORTAL_RESOURCE: &str = "mcp_portal";
const SERVER_RESOURCE: &str = "mcp_server";

/// The servers a portal names, in its document.
fn names_server(portal: &McpPortal, server: &str) -> bool {
    let links = portal.body["servers"].as_array();
    links.is_some_and(|links| links.iter().any(|link| link["server_id"] == server))
}

/// The name of a server or portal in its document.
fn name_of(body: &serde_json::Value) -> &str {
    body["name"].as_str().unwrap_or_default()
}

/// Says whether a secret of a server is stored.
fn holds(server: &McpServer, secret: &str) -> bool {
    server.secrets.contains_key(secret)
}
