//! Runs the owner's TypeScript in locked-down processes.

pub mod protocol;
