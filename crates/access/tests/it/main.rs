//! The access plane with real sockets, certificates, journal and identity provider, against real applications on loopback.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod approval;
mod approval_memory;
mod attacks;
mod by_request;
mod certificates;
mod client_certificates;
mod enumeration;
mod failures;
mod launcher;
mod mailbox;
mod markdown;
mod mfa;
mod oauth;
mod oauth_hosts;
mod oauth_memory;
mod oauth_nodes;
mod oauth_probes;
mod pin;
mod programs;
mod providers;
mod proxy;
mod sign_in;
mod support;
mod webauthn;
mod workers;
