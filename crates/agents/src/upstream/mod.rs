//! The way to MCP servers.
//!
//! [`http`] carries one message, [`link`] a conversation. Neither decides what may be said.

pub(crate) mod http;
pub(crate) mod link;

pub use http::{Bounds, Endpoint};
