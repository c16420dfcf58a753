//! The MCP engine: what the portal shows whom, and what the messages between clients and servers mean.
//!
//! Owns both generations of the protocol, the names a portal exposes, each person's view of the tools, prompts and
//! resources of many servers, the surface of Code Mode, ranked search, the pinning of definitions and what is suspicious of one, and the
//! neutralising of hidden text in results. Deliberately opens no socket, reads no clock and no randomness,
//! runs no script and asks no policy: the plane does, with what this crate returns. JSON of servers and clients is carried
//! as it came, never rebuilt from types. Invariant: what a view does not show cannot be called, and its absence looks like
//! that of something that never existed.

pub mod builtin;
pub mod catalog;
pub mod codemode;
pub mod detector;
pub mod document;
pub mod explanation;
#[cfg(test)]
mod fixture;
pub mod message;
pub mod names;
pub mod neutralise;
pub mod oauth;
pub mod pinning;
pub mod raw;
pub mod search;
pub mod surface;
pub mod tokens;
pub mod uris;
pub mod version;
pub mod view;
