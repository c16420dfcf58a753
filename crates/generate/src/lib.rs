//! Traffic that nobody made: records of the gateway, of Access and of MCP portals as an organisation would leave them.
//!
//! It decides what the records say; keeping them is `logs`. People, offices, applications, habits and rules are
//! invented from a seed, and records come in the order of their time, a few million a second. It reads no clock and no
//! chance: the same [`Plan`] makes the same records. Invariant: every record says that it was generated.

mod applications;
mod calendar;
mod catalogued;
mod generator;
mod load;
mod people;
mod protocol;
mod random;
mod session;
mod shapes;
mod world;
mod write;

pub use applications::{Application, Kind, Status, built_in, weigh_by_rank};
pub use catalogued::catalogued;
pub use generator::{Generator, Lent, Plan, PlanError, Share};
pub use load::{LoadError, Loaded, append, resume};
