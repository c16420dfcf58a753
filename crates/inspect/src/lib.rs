//! What a message is, told from a bounded part of it.
//!
//! Owns the detection of the Model Context Protocol on the wire. Deliberately decides nothing: it says what it saw and by
//! which evidence, and rules say what follows. Opens no socket, reads no clock, undoes no content coding. Invariant: work and memory
//! are linear in the bytes that are handed in, whatever they hold.

pub mod mcp;
