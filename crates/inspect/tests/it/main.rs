//! One binary for the tests of detection.
#![expect(clippy::panic, reason = "tests")]

mod corpus;
mod heads;
mod laws;
mod messages;
mod regexes;
mod wire;
