//! The Access engine from outside: documents on the wire, stored documents, laws.

mod documents;
