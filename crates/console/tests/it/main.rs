//! The console through its real router, over a store in memory and a journal in a temporary directory.
#![expect(clippy::unwrap_used, reason = "tests")]

// The name every other crate knows it by.
extern crate portunus_console as console;

mod access;
mod access_tests;
mod explorer;
mod harness;
mod pages;
mod shadow_mcp;
mod signals;
mod usage;
