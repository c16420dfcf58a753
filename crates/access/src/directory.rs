//! What a provider's directory tells about its people and groups, kept outside of the plane.
//!
//! The store implements it; the plane asks it at the SCIM endpoints and when somebody signs in. Invariant: what
//! [`Directory::carry_out`] took is written down, and the sessions it ends count nowhere on this node once it returns.

use std::sync::Arc;

use ::scim::ResourceId;
use ::scim::change::Change;
use ::scim::group::Group;
use ::scim::user::User;
use futures_util::future::BoxFuture;
use identity::identity::GroupClaim;
use identity::provider::Provider;
use types::{Email, ProviderId};

/// Which records are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which<'a> {
    All,
    Id(ResourceId),
    /// People whose `userName` is this, whatever its case.
    Named(&'a str),
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept<R> {
    pub record: R,
    /// Counts its changes.
    pub revision: i64,
}

/// What a directory says of somebody who signs in.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// A record of the person is there, and none is active.
    pub inactive: bool,
    /// The groups of the sign-in, brought up to date; `None`: the directory knows nothing of the person.
    pub groups: Option<Box<[Arc<GroupClaim>]>>,
}

/// Why a record could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// Somebody else changed the record first; read it again.
    #[error("the record changed meanwhile")]
    Stale,
    #[error("another record has this name")]
    Taken,
    #[error("there are too many records: {0}")]
    Full(String),
    #[error("the directory cannot be reached: {0}")]
    Unavailable(String),
}

/// Keeps the records of directories.
pub trait Directory: Send + Sync {
    /// Reads people, oldest first.
    fn users<'a>(
        &'a self,
        provider: ProviderId,
        which: Which<'a>,
    ) -> BoxFuture<'a, Result<Vec<Kept<User>>, DirectoryError>>;

    /// Reads groups, oldest first. None is found by [`Which::Named`].
    fn groups<'a>(
        &'a self,
        provider: ProviderId,
        which: Which<'a>,
    ) -> BoxFuture<'a, Result<Vec<Kept<Group>>, DirectoryError>>;

    /// Does what a changed record asks for: ends sessions, writes the record over `revision` (`None`: it is new), carries
    /// it into the sessions that go on.
    fn carry_out<'a>(
        &'a self,
        provider: &'a Provider,
        changes: Vec<Change>,
        revision: Option<i64>,
    ) -> BoxFuture<'a, Result<(), DirectoryError>>;

    /// Says what the provider's directory knows of somebody it vouches for. `groups` are those of the sign-in.
    fn standing<'a>(
        &'a self,
        provider: &'a Provider,
        email: &'a Email,
        groups: &'a [Arc<GroupClaim>],
    ) -> BoxFuture<'a, Result<Standing, DirectoryError>>;
}
