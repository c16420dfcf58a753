//! Agents: MCP portals, one address for every server a person's agent may use.
//!
//! It owns the portal's endpoint and pages, the sessions of clients, the links to servers and what is recorded of a call.
//! It deliberately does not own who gets in (Access lets a [`visit::Visit`] through and says which servers are open to it),
//! what names, lists and messages mean (`mcp`), what a rule is (`mcp::document::rule`, `policy`) or configuration, which
//! arrives in a [`snapshot::Snapshot`]. Invariant: a server is sent only what the view of its caller has and the rules let
//! through, with a credential that is never the client's; and what a caller may not see cannot be told from what does not
//! exist.

mod admit;
mod answer;
mod asks;
mod call;
mod codemode;
mod confirm;
mod elicit;
mod endpoint;
mod explain;
mod facts;
mod feed;
mod input;
mod page;
mod passage;
mod plane;
pub mod record;
mod redact;
mod rules;
mod session;
pub mod signin;
pub mod snapshot;
mod sse;
pub mod sync;
mod tasks;
mod turn;
pub mod upstream;
pub mod visit;

mod watch;
mod workers;

pub use codemode::Scripts;
pub use plane::{Agents, Answer, Changed, Parts};
pub use workers::Workers;
