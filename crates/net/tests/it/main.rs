//! The crate over real sockets: rustls peers in this process, certificates made on the spot, recorded client hellos.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

extern crate portunus_net as net;

mod connect;
mod head_corpus;
mod hello;
mod intercept;
mod pool;
mod real_clients;
mod smtp;
mod support;
