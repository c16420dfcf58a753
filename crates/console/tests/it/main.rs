//! The console through its real router, over a store in memory and a journal in a temporary directory.
#![expect(clippy::unwrap_used, reason = "tests")]

// The name every other crate knows it by.
extern crate portunus_console as console;

mod access;
mod access_tests;
mod corpus;
mod explorer;
mod gateway;
mod harness;
mod identity;
mod kv;
mod library;
mod mcp;
mod observe;
mod pages;
mod people;
mod records;
mod replay;
mod routes;
mod rules;
mod shadow_mcp;
mod tokens;
mod usage;
mod workers;
