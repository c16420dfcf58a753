//! What is sent elsewhere, as pure values. Of push jobs: where records go, which of them, in what form, and when a failed
//! delivery is tried again. Of events: how a post to a webhook is signed.
//!
//! It reads the documents of the Logpush API into final types and turns records into bytes. It opens no socket, reads no
//! journal and asks no clock. Invariants: a job that was read names only fields that exist; what is shown of a destination
//! holds no secret; bytes of a record depend on the record and the options alone, so that a repeat is the same.

pub mod destination;
pub mod filter;
pub mod output;
pub mod retry;
pub mod webhook;

pub use destination::{Destination, DestinationError, Http, S3, Syslog};
pub use filter::Filter;
pub use output::{Format, Output, OutputOptions, TimestampFormat};

/// The shape of a field's value, as far as filters and formats tell shapes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Text; empty when absent.
    Text,
    /// A number; zero when absent.
    Number,
    /// True or false; false when absent.
    Flag,
    /// A moment, as RFC 3339 has it.
    Time,
    /// A list; empty when absent.
    List,
    /// Any JSON; null when absent.
    Json,
}

/// A field of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// The shape of its value.
    pub shape: Shape,
}

/// Finds a field by its name.
fn find<'a>(fields: &'a [Field], name: &str) -> Option<&'a Field> {
    fields.iter().find(|field| field.name == name)
}
