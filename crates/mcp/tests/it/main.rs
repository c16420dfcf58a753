//! What the documents of portals and servers promise.
#![expect(clippy::unwrap_used, reason = "tests")]

mod documents;
