//! The policy engine from outside: rule documents in, verdicts and traces out.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod cost;
mod documentation;
mod email;
mod evaluation;
mod fields;
mod golden;
mod http;
mod l4;
mod laws;
mod order;
mod replay;
mod rules;
mod support;
