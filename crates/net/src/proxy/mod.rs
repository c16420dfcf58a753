//! What every HTTP proxy of the platform does alike: strict heads, fields of one hop, bodies that are counted, bounded
//! connections, byte tunnels, and the HTTP servers over them.
//!
//! Which request may pass, and where to, is the plane's. Invariant: no request reaches a plane whose head two
//! implementations could frame differently, and nothing a peer sends grows memory without a bound.

pub mod body;
pub mod framing;
pub mod head;
pub mod hop;
pub mod interim;
pub mod listen;
pub(crate) mod resting;
pub mod serve;
pub mod sources;
pub mod tunnel;
