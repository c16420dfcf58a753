//! Runs other people's programs, and sees to it that nothing of them is left.
//!
//! The host side ([`Programs`]) starts a launcher for each program, which is this same executable, entered by
//! [`run_if_launcher`] as the first thing `main` does. The launcher confines the program, watches what its family uses
//! and ends all of it when the program ends, when it is told to, or when the host is gone. This crate decides how a
//! program is contained and for how long it lives; it deliberately knows nothing of what is said to it.
//!
//! Invariants: a program sees nothing of the host's environment, descriptors and data; whatever it starts ends with it;
//! and how many there are, what they use and what is kept of their words is bounded.

mod confine;
mod family;
mod host;
mod keeper;
mod launcher;
mod order;
mod tail;

pub use host::{Process, Program, Programs, Settings, StartError};
pub use keeper::{Handle, Working};
pub use launcher::{ARGUMENT, run_if_launcher};
pub use order::{End, Limits};
