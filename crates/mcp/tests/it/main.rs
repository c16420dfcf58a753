//! What the documents of portals and servers promise.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod documents;
