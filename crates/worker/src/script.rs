//! A script as the host holds it: its code, what it may reach, and its limits.
//!
//! Prepared once per configuration snapshot and shared by every call. It holds no process and no state. Invariant: the
//! values in here are all a process is ever told; whatever a binding points at stays with the host.

use std::collections::BTreeMap;
use std::fmt;

use types::{AccountId, Secret};

use crate::egress::EgressList;
use crate::limiter::RateSpec;
use crate::protocol;

/// Names one deployed version of one Worker. Equal keys share processes, so `version` must change whenever the code, the
/// bindings or a secret change.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScriptKey {
    pub account: AccountId,
    pub name: String,
    pub version: String,
}

impl fmt::Display for ScriptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.account, self.name, self.version)
    }
}

/// One version of one Worker, ready to run.
#[derive(Debug, Clone)]
pub struct Script {
    pub key: ScriptKey,
    /// ES modules, already JavaScript (see [`crate::typescript`]). The first is the entry point.
    pub modules: Vec<protocol::Module>,
    /// `env`, by name.
    pub bindings: BTreeMap<String, Binding>,
    /// What global `fetch` may reach beyond the origin of the request being handled.
    pub egress: EgressList,
    pub limits: protocol::Limits,
    pub isolation: protocol::Isolation,
}

/// One entry of `env`, with what it stands for on the host's side.
#[derive(Debug, Clone)]
pub enum Binding {
    Text(String),
    Secret(Secret<String>),
    /// JSON text.
    Json(String),
    /// A KV namespace; the value is the host's name for it.
    Kv(String),
    RateLimit(RateSpec),
    /// Anything with `fetch`: another Worker, or the admin API under a scoped token; the value is the host's name for it.
    Service(String),
}

impl Binding {
    /// Returns what the process is told about this binding.
    #[must_use]
    pub fn to_protocol(&self) -> protocol::Binding {
        match self {
            Self::Text(value) => protocol::Binding::Text(value.clone()),
            Self::Secret(value) => protocol::Binding::Text(value.expose().clone()),
            Self::Json(value) => protocol::Binding::Json(value.clone()),
            Self::Kv(_) => protocol::Binding::Kv,
            Self::RateLimit(_) => protocol::Binding::RateLimit,
            Self::Service(_) => protocol::Binding::Service,
        }
    }
}

impl Default for protocol::Limits {
    fn default() -> Self {
        Self {
            cpu_ms: 50,
            memory_bytes: 64 << 20,
            stack_bytes: 512 << 10,
            subrequests: 50,
            output_bytes: 16 << 20,
            log_bytes: 64 << 10,
        }
    }
}
