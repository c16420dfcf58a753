//! What administrators may do, without routes and pages: who is asking, every operation, the audit log.
//!
//! It authenticates and authorizes, validates what people and programs send, and keeps it through `store`; it reads what
//! was recorded through `logs`. It decides no traffic, has no route and draws no page: `console` offers these operations
//! over HTTP. Invariants: everything that changes something stands in the audit log; no result shows a secret; whatever is
//! kept per caller is bounded.

pub mod app;
pub mod audit;
pub mod auth;
pub mod failure;
pub mod form;
pub mod guard;
pub mod multipart;
pub mod operations;
pub mod password;
pub mod recent;
pub mod refusal;
pub mod session;
pub mod signing_keys;
pub mod strict;
pub mod throttle;
pub mod watch;
