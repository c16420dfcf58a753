//! One binary for the tests of detection.

mod corpus;
mod heads;
mod laws;
mod messages;
mod regexes;
mod wire;
