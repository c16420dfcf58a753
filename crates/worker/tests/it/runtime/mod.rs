//! Runs the script engine in this process, with the test as its host.

mod api;
mod contract;
mod harness;
mod limits;
mod templates;
mod wpt;
