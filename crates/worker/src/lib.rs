//! Runs the owner's TypeScript in locked-down processes.
//!
//! The host side ([`Runtime`]) keeps one warm zygote and forks from it one process per (account, Worker, version). The
//! child side is entered by [`run_if_zygote`], which must be the first thing `main` calls. This crate decides how a
//! script is contained and how a call is carried to it; it deliberately does not decide which rule runs which script, and
//! it performs no I/O on a script's behalf: that is the [`Host`] of the caller.
//!
//! Invariant: nothing that a child says is trusted, and nothing that happens to a child costs more than its own calls.

mod cache;
mod call;
mod child;
mod clock;
mod codec;
mod control;
mod convert;
mod drive;
mod egress;
mod host;
pub mod imports;
mod launcher;
mod limiter;
pub mod modules;
mod operations;
mod pool;
mod process;
pub mod protocol;
mod provided;
pub mod runtime;
mod sandbox;
mod script;
mod shared;
mod slots;
mod streams;
pub mod templates;
pub mod typescript;
mod watch;
pub mod zygote;

pub use cache::ResponseCache;
pub use call::{Answer, Call, CallError, CallErrorKind, CallReport, Finished, LogLine, Reply, Said};
pub use egress::{EgressError, EgressList};
pub use host::{
    Body, BoxError, BoxFuture, CallContext, EventKind, FetchTarget, Host, HostError, KvPage, KvWrite, empty_body,
    full_body,
};
pub use limiter::{RateLimiter, RateSpec};
pub use pool::{Runtime, RuntimeConfig, RuntimeStats, StartError};
pub use sandbox::Landlock;
pub use script::{Binding, Script, ScriptKey};
pub use zygote::run_if_zygote;

/// The types of the Worker contract, for authors: `portunus.d.ts`.
pub const TYPES: &str = include_str!("../types/portunus.d.ts");
