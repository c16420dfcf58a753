//! Portunus through its front door: the real binary, real clients, real origins.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod access;
mod access_markdown;
mod access_workers;
mod acme;
mod agents;
mod agents_escape;
mod agents_servers;
mod agents_sign_in;
mod catalog;
mod clients;
mod command_line;
mod console_tls;
mod crash;
mod demo;
mod docs;
mod kept_records;
mod key;
mod lifecycle;
mod mail;
// The store's tests have the server of their own that this one needs.
#[path = "../../../store/tests/it/server.rs"]
#[expect(dead_code, reason = "the store's tests use more of it")]
mod postgres;
mod push;
mod replay;
mod rules;
mod scim;
mod store_gone;
mod support;
mod two_nodes;
mod workers;
