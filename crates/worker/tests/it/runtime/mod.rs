//! Runs the script engine in this process, with the test as its host.
#![expect(clippy::wildcard_enum_match_arm, reason = "a test names the messages it expects; any other fails it")]

mod api;
mod contract;
mod harness;
mod limits;
mod templates;
mod wpt;
