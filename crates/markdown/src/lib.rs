//! HTML to Markdown, as it streams, and whether a client wants it.
//!
//! It reads bytes and writes text; responses, compression and headers are the plane's. Pure: no clock, no I/O.
//! Invariants: memory is bounded however long or strange a page is; the text of an element that is hidden, of a script, a
//! style or a form's control never comes out; a link leads to http, https, mail or a telephone, or is none.

mod attributes;
mod charset;
mod convert;
mod elements;
mod escape;
mod negotiation;
mod page;
mod table;

pub use convert::{ConvertError, Converter};
pub use negotiation::is_preferred;
