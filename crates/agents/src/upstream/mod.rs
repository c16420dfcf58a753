//! The way to MCP servers.
//!
//! [`http`] carries one message, [`link`] a conversation. Neither decides what may be said.

pub mod http;
pub mod link;
