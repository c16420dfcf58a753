//! The Access engine: who a caller is, what they may reach, and the tokens that say so.
//!
//! Owns the v4 documents of Access as final types, matching of requests to applications, policies over identities,
//! sessions, tokens, and the steps of every protocol by which somebody signs in. Deliberately opens no socket and reads
//! no clock and no randomness: facts, time and random bytes are arguments, what to do next is the answer. Invariant: what
//! cannot be decided is refused.

pub mod access_policy;
pub mod app_token;
pub mod application;
pub mod approval;
pub mod audience;
pub mod certificate;
pub mod claims;
pub mod client_certificate;
pub mod colour;
pub mod cookie;
pub mod cors;
pub mod destination;
pub mod document;
pub mod evaluation;
pub mod expression;
pub mod external_evaluation;
pub mod github;
pub mod group;
pub mod identity;
pub mod jose;
pub mod keys;
pub mod launcher;
pub mod mfa;
pub mod mfa_requirement;
pub mod oauth;
pub mod opaque;
pub mod organization;
pub mod origin;
pub mod pin;
pub mod policy_test;
pub mod provider;
pub mod relying_party;
pub mod routes;
pub mod selector;
pub mod service_token;
pub mod session;
pub mod tag;
pub mod theme;
pub mod token_response;
