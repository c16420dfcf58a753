//! Certificates of a certificate authority that speaks ACME (RFC 8555): one order, its proof, the times between orders.
//!
//! It orders for one name when it is told to and keeps nothing: who orders, for which names, and where the result stays are
//! its caller's. Proof is TLS-ALPN-01 alone (RFC 8737), on the listener that serves the name. Invariant: what comes back
//! can be served for the name that was asked for, or an error says why not.

mod certificate;
mod challenge;
mod client;
pub mod schedule;

pub use certificate::{ListenerCertificate, ListenerCertificateError};
pub use challenge::{ALPN, ChallengeError, Challenges, is_validation};
pub use client::{Acme, AcmeError, AcmeSettings, Issued};
