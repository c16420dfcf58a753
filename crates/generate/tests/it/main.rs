//! What generated traffic promises: the same from the same seed, in order, plausible, and once in a journal.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod journal;
mod laws;
