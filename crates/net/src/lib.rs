//! The wire: TLS on both legs, minted leaf certificates, name resolution with a guard, connections to origins.
//!
//! This crate is the only one that opens a socket towards the Internet or holds a TLS key. It deliberately knows no
//! policy: an untrusted certificate, a refused address or a broken HTTP/2 origin comes back as a value, and the plane
//! that asked decides what it means. Invariant: no address is dialled that the [`guard::Guard`] has not passed after
//! name resolution, and no connection whose certificate is untrusted is handed out unless the caller asked for that.

pub mod acme;
pub mod ca;
pub mod certificate_files;
pub mod certificate_request;
pub mod client_hello;
pub mod gathered;
pub mod guard;
pub mod host;
mod ja4;
pub mod mint;
pub mod proxy;
pub mod resolve;
pub mod server;
pub mod signing;
pub mod smtp;
pub mod tls;
pub mod transport;
pub mod upstream;

pub use ca::CertificateAuthority;

pub use certificate_files::{CertificateFiles, Presented};
pub use certificate_request::CertificateRequest;
pub use client_hello::ClientHello;
pub use gathered::Gathered;
pub use guard::Guard;
pub use host::{Host, Origin, Scheme};
pub use mint::{LeafNames, Minter};
pub use tls::{Offer, Protocol, TlsInfo};
pub use transport::{BoxStream, Counted, Counters, Prefixed, Stream};

/// The error a request body may carry.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Where the current time comes from; handed in by the edge so that tests can move it.
pub type Clock = std::sync::Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>;
