//! The gateway with real sockets, certificates and journal, against real origins on loopback.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

extern crate portunus_gateway as gateway;

mod applications;
mod bodies;
mod forward;
mod identity;
mod intercept;
mod mcp;
mod pages;
mod protocols;
mod records;
mod review;
mod support;
mod workers;
