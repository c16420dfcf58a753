//! What tests need to drive Portunus from outside: the real binary as a process, and real origins on loopback.
//!
//! It decides nothing about the product and imports none of its crates: it sees what a user sees, the command line, the
//! ready file, sockets. Invariant: a [`Platform`] that is dropped leaves no process behind.

mod authenticator;
mod authority;
mod browser;
mod github;
mod origin;
mod platform;
mod protected;
mod provider;

pub use authenticator::{HeldCredential, SoftwareAuthenticator};
pub use authority::{AcmeAuthority, AcmeRules, free_ports};
pub use browser::{Browser, Seen};
pub use github::GithubServer;
pub use origin::{Origin, OriginTls, connect, listen};
pub use platform::{Platform, Ready};
pub use protected::{Counts, Manners, ProtectedServer};
pub use provider::{CLIENT_ID, CLIENT_SECRET, Identity, IdentityProvider, Mischief, rsa_key};
