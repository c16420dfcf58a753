//! The language as a whole, from text to outcome, over a scheme with the fields that published expressions use.
#![expect(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "tests")]

mod allocation;
mod anchors;
mod canonical;
mod corpus;
mod documentation;
mod evaluation;
mod explanation;
mod fixture;
mod generated;
mod messages;
mod naive;
mod properties;
mod published;
