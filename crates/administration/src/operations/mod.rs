//! Everything a person or program can do, one file per thing, without HTTP: authorize, validate, one store call, a typed
//! result. The API and the pages call the same functions.
//!
//! Invariant: every function that changes something records it in the audit log before it reports success.

pub mod access;
pub mod account;
pub mod administrators;
pub mod applications;
pub mod catalog;
pub mod category_lists;
pub mod certificates;
pub mod configuration;
pub mod digest;
pub mod editions;
pub mod erasures;
pub mod evaluate;
pub mod explorer;
pub mod findings;
pub mod identity;
pub mod kv;
pub mod lists;
pub mod logging;
pub mod logs;
pub mod managed;
pub mod mcp;
pub mod module_names;
pub mod modules;
pub mod network;
pub mod people;
pub mod preview;
pub mod proxy_endpoints;
pub mod push_jobs;
pub mod questions;
pub mod replay;
pub mod retention;
pub mod rules;
pub mod saved_queries;
pub mod scripts;
pub mod secrets;
pub mod shadow_mcp;
pub mod signals;
pub mod tokens;
pub mod upload;
pub mod usage;

use jiff::Timestamp;

/// A time as the API writes it.
pub fn time(at: Timestamp) -> String {
    at.to_string()
}

/// A time from the request.
pub fn parse_time(pointer: &str, text: &str) -> Result<Timestamp, crate::failure::Failure> {
    text.parse().map_err(|_| crate::failure::Failure::invalid(pointer, "must be a time as in 2026-01-31T12:00:00Z"))
}

/// Checks a name people choose.
pub fn check_name(pointer: &str, name: &str, longest: usize) -> Result<(), crate::failure::Failure> {
    if name.trim().is_empty() || name.chars().count() > longest || name.chars().any(char::is_control) {
        let message = format!("must have 1 to {longest} characters and no control characters");
        return Err(crate::failure::Failure::invalid(pointer, message));
    }
    Ok(())
}
