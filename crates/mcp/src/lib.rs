//! The MCP engine: portals and the servers behind them.
//!
//! Pure: it opens no socket, reads no clock and no randomness.

pub mod document;
