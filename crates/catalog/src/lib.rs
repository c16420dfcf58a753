//! What hosts mean: the applications and categories they belong to, how an account judges those applications, and how
//! much confidence they deserve.
//!
//! Owns the versioned catalogue of applications, the host index over it, the taxonomy of Gateway (types and categories),
//! the formats of category lists, approval status and the confidence rubrics. It deliberately counts no traffic, reads no
//! file and knows no rule: data, lists and reviews are arguments. Invariant: a host belongs to at most one application,
//! and to what it belongs is found without allocating.

pub mod catalog;
pub mod categories;
pub mod classify;
pub mod difference;
pub mod format;
pub mod import;
pub mod review;
pub mod score;
pub mod suffix;
pub mod taxonomy;

pub use catalog::{Application, Catalog, LoadError, Match, Role, Statistics};
pub use categories::{Assignment, CategoryIndex, OwnList};
pub use classify::{Classification, Classifier};
pub use format::{AiKind, Facts, Row};
pub use review::Status;
