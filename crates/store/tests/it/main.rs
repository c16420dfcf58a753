//! The store's promises, proven on every backend by one suite, and what concerns files, servers and kills apart.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

// The name every other crate knows it by.
extern crate portunus_store as store;

mod access;
mod catalog;
mod crash;
mod files;
mod fixture;
mod golden;
mod mcp;
mod postgres;
mod server;
mod signals;
mod suite;
