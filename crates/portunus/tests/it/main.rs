//! Portunus through its front door: the real binary, real clients, real origins.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod access;
mod access_markdown;
mod access_workers;
mod clients;
mod command_line;
mod console_tls;
mod crash;
mod demo;
mod docs;
mod key;
mod lifecycle;
mod mail;
mod rules;
mod scim;
mod support;
mod workers;
