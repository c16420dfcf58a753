//! What the documents of portals and servers promise, and what is read of clients and servers.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod corpus;
mod documents;
mod wire;
