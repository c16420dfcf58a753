//! MCP: portals, the servers behind them, what those servers offer, and how people are signed in at them.
//!
//! A `body` is the v4 document as its author wrote it, without read-only members; the MCP engine reads it. Invariants: no
//! secret stands in a body; a sign-in at a server is of one person, or of the administrator for everybody, and no other
//! document holds it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use types::{McpPortalId, McpServerId, UserId, Verbatim};

use super::document;
use crate::seal::Sealed;

/// Several MCP servers under one address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct McpPortal {
    /// Its host, of which no two portals have the same.
    pub hostname: String,
    /// The author's document.
    pub body: Value,
    /// Who made it.
    #[serde(default)]
    pub created_by: String,
    /// Who saved it last.
    #[serde(default)]
    pub modified_by: String,
}

document!(McpPortal, McpPortal, id McpPortalId, ReadAccess / WriteAccess {
    const MAX_BYTES: usize = 2 * 1024 * 1024;
    const MAX_COUNT: usize = 200;

    fn unique_name(&self) -> Option<&str> {
        Some(&self.hostname)
    }
});

/// An MCP server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct McpServer {
    /// The author's document, without its secrets.
    pub body: Value,
    /// What signs in to it, by the engine's names: `headers`, `client_secret`, `env/NAME`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Sealed>,
    /// Counts the client secrets that were set.
    #[serde(default)]
    pub client_secret_version: u32,
    /// Who made it.
    #[serde(default)]
    pub created_by: String,
    /// Who saved it last.
    #[serde(default)]
    pub modified_by: String,
}

document!(McpServer, McpServer, id McpServerId, ReadAccess / WriteAccess {
    const MAX_BYTES: usize = 2 * 1024 * 1024;
    const MAX_COUNT: usize = 1_000;
});

/// What an MCP server offers, as it was last asked; apart from the server, so that asking is no change of configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct McpCatalog {
    /// When it was last asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synced_at: Option<Timestamp>,
    /// When it last answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeded_at: Option<Timestamp>,
    /// Why it did not answer the last time, as the engine tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// What it said of itself: protocol version, capabilities, name, instructions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Value>,
    /// Its definitions, each as it was sent, byte by byte.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Verbatim>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<Verbatim>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<Verbatim>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_templates: Vec<Verbatim>,
    /// Which definitions are approved and which wait, as the engine keeps it; saved with what it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pins: Option<Verbatim>,
}

document!(McpCatalog, McpCatalog, id McpServerId, ReadAccess / WriteAccess {
    const MAX_BYTES: usize = 16 * 1024 * 1024;
    const MAX_COUNT: usize = 1_000;
});

/// Whose sign-in at a server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum McpHolder {
    /// The administrator's, for everybody and for asking what the server offers.
    Everybody,
    /// One person's.
    Person(UserId),
}

/// The id of a sign-in: whose, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct McpCredentialId {
    /// Whose.
    pub holder: McpHolder,
    /// Where.
    pub server: McpServerId,
}

impl fmt::Display for McpCredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.holder {
            McpHolder::Everybody => write!(f, "everybody/{}", self.server),
            McpHolder::Person(user) => write!(f, "{user}/{}", self.server),
        }
    }
}

impl FromStr for McpCredentialId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "not the id of a sign-in at an MCP server";
        let (holder, server) = text.split_once('/').ok_or(WANTED)?;
        let holder = match holder {
            "everybody" => McpHolder::Everybody,
            user => McpHolder::Person(user.parse().map_err(|_| WANTED)?),
        };
        Ok(Self { holder, server: server.parse().map_err(|_| WANTED)? })
    }
}

/// A sign-in at an OAuth server. Whoever refreshes it names the revision they read, so that two nodes never both keep what
/// only one of them was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct McpCredential {
    /// Where; with the server it goes.
    pub server: McpServerId,
    /// When the access token ends; absent when the server did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// It does not work any more: its holder signs in again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lapsed: bool,
    /// What is no secret, as the engine keeps it: issuer, client, scope.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub state: Value,
    /// The tokens, as the engine keeps them, sealed.
    pub tokens: Sealed,
}

document!(McpCredential, McpCredential, id McpCredentialId, ReadUsers / WriteUsers {
    const MAX_BYTES: usize = 128 * 1024;
    const MAX_COUNT: usize = 500_000;

    fn parent(&self) -> Option<String> {
        Some(self.server.to_string())
    }
});
