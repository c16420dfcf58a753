//! Runs the script engine in this process, with the test as its host.

mod api;
mod harness;
mod limits;
mod wpt;
