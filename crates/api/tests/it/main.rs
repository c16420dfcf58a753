//! The API through the console's real router, over a store in memory and a journal in a temporary directory.
#![expect(clippy::unwrap_used, reason = "tests")]

// One harness drives the API and the pages.
#[expect(dead_code, reason = "some of it is for the pages alone")]
#[path = "../../../console/tests/it/harness.rs"]
mod harness;

mod corpus;
mod gateway;
mod identity;
mod kv;
mod library;
mod mcp;
mod observe;
mod people;
mod push_jobs;
mod records;
mod replay;
mod routes;
mod rules;
mod tokens;
mod workers;
