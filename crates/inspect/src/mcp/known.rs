//! Public remote MCP servers, by host: a data file with its sources.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde::Deserialize;

/// A public server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub host: String,
    pub name: String,
    /// Paths that clients are configured with, without a slash at the end.
    pub endpoints: Vec<String>,
    /// Where it is named.
    pub sources: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "version")]
    _version: u32,
    #[serde(rename = "note")]
    _note: String,
    servers: Vec<Server>,
}

impl Server {
    /// Tells whether a path is one of its endpoints.
    #[must_use]
    pub fn has_endpoint(&self, path: &str) -> bool {
        let path = match path.trim_end_matches('/') {
            "" => "/",
            path => path,
        };
        self.endpoints.iter().any(|endpoint| endpoint == path)
    }
}

fn table() -> &'static HashMap<String, Server> {
    static TABLE: OnceLock<HashMap<String, Server>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let document: Document = serde_json::from_str(include_str!("../../data/mcp-servers.json"))
            // The file is a constant of this crate and a test reads it.
            .unwrap_or_else(|error| unreachable!("{error}"));
        document.servers.into_iter().map(|server| (server.host.clone(), server)).collect()
    })
}

/// Finds the server at a host, which is in lower case and compared whole.
#[must_use]
pub fn known_server(host: &str) -> Option<&'static Server> {
    table().get(host)
}

/// Returns every known server, in no order.
pub fn known_servers() -> impl Iterator<Item = &'static Server> {
    table().values()
}
