//! The web data plane: an explicit proxy that decides every request with policy and Workers, and records why.
//!
//! It owns the proxy listener, interception, the order of the stages, bodies on their way through, and the pages a person
//! sees in place of an answer. It deliberately does not own policy (`policy`), certificates and sockets towards origins
//! (`net`), script processes (`worker`), records on disk (`logs`) or configuration: all of that arrives in a
//! [`Snapshot`]. Invariant: every request ends in one record, and nothing reaches an origin that no verdict let through.

mod answer;
mod body;
mod bypass;
mod config;
mod connect;
mod connection;
mod events;
mod exchange;
mod fault;
mod gateway;
mod identity;
mod mcp;
mod meaning;
mod page;
mod peek;
mod record;
mod relay;
mod review;
mod ruling;
mod services;
mod snapshot;
mod sniff;
mod stages;
mod upstream;
mod verdict_cache;
mod websocket;
mod worker_action;
mod worker_host;

pub use bypass::{BypassEntry, BypassList, PatternError, default_entries};
pub use config::GatewayConfig;
pub use events::{SecurityEvent, SecurityEventKind};
pub use gateway::{Gateway, GatewayStats, Parts};
pub use identity::{Directory, Endpoint, EndpointKind, Network, NetworkError, Person, Token, TokenHash};
pub use mcp::McpPlaces;
pub use page::Look;
pub use services::{Runner, Services};
pub use snapshot::{BlockPage, BlockRedirect, LogSwitches, Logging, Settings, Snapshot};
pub use worker_host::fetch;
