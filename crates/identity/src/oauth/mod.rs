//! The OAuth 2.1 authorization server in front of each application, as steps over plain records (reference section 4).
//!
//! Decides what a request means, which record follows from it and what is answered. Deliberately does no HTTP, stores
//! nothing and fetches nothing: the caller keeps [`client::Client`], [`authorization::PendingRequest`] and
//! [`grant::Grant`] under their ids and writes each back only over the revision it read. Invariant: one code gives at most
//! one family of tokens, and an ended family gives nothing.

pub mod authorization;
pub mod client;
pub mod client_document;
pub mod consent;
pub mod error;
pub mod form;
pub mod grant;
pub mod metadata;
pub mod redirect;
pub mod registration;
pub mod token;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod probes;
