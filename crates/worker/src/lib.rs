//! Runs the owner's TypeScript in locked-down processes.

pub mod protocol;
pub mod runtime;
pub mod templates;
pub mod typescript;
