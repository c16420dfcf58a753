//! The journal's promises: what is accepted is found, in order, after kills, on a full disk, within its bounds.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

// The name every other crate knows it by.
extern crate portunus_logs as logs;

mod append;
mod bucket;
mod crash;
mod erase;
mod fixture;
mod golden;
mod lake;
mod push;
mod queries;
mod retention;
mod sql;
mod store;
mod usage;
