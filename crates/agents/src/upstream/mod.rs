//! The way to MCP servers.
//!
//! [`channel`] says what kinds there are; [`http`], [`duplex`] and [`inner`] carry one message each in their way, [`wire`]
//! sorts what comes over a connection in both directions, [`link`] is a conversation, [`alert`] waits. None decides what may
//! be said.

mod alert;
pub(crate) mod channel;
pub(crate) mod duplex;
pub(crate) mod http;
pub(crate) mod inner;
pub(crate) mod link;
mod wire;

pub use alert::Pace;
pub use channel::{Candidate, Channel, Place, Remote as Address, Transport, places};
pub use duplex::Stdio;
pub use http::{Bounds, Endpoint};
pub use inner::Inner;
