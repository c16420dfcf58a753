//! The Access engine from outside: documents on the wire, stored documents, laws.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a fixture that is wrong should end its test")]

mod corpus;
mod documents;
mod evaluation;
mod outlook;
mod people;
mod relying_party;
mod tokens;
mod verify_example;
mod wire;
