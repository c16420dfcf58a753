//! People's own sign-ins at servers: begun and ended on the portal's pages, kept in a vault, renewed ahead of their end.
//!
//! What is sent and believed is `mcp::oauth`'s; this is the way there and back ([`wire`], [`find`]), what is remembered
//! ([`keeping`]), and what people and clients are shown ([`pages`], [`calls`]). Invariants: a credential is used for the
//! person it was given to, at the server and under the settings it was given for, and leaves in the head of a request to
//! that server alone; a renewal is asked for by one node at a time; whatever people and servers do, what is remembered,
//! fetched and waited for is bounded.

pub(crate) mod calls;
mod find;
mod keeping;
pub(crate) mod pages;
mod start;
mod wire;

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use mcp::document::credentials::ManualClient;
use mcp::names::ServerId;
use serde_json::Value;
use types::{Secret, UserId};
use url::Url;

pub use self::keeping::{Credential, NoCredential, SignIns, SignInsParts};
pub use self::start::{Begin, CompleteError, Completed, StartError};
use crate::upstream::Endpoint;

/// How one signs in at a server.
#[derive(Debug, Clone)]
pub struct SignIn {
    /// Of the server, as the administrator wrote it.
    pub address: Url,
    /// The way to it; the same way leads to whatever else is at its origin.
    pub endpoint: Endpoint,
    /// The client that an administrator registered.
    pub manual: Option<Arc<Manual>>,
    /// The portal registers itself, even where the address of a document would do.
    pub registers: bool,
    /// A name of these settings: what was given under other ones is not used.
    pub settings: String,
}

/// A client that an administrator registered. Its addresses are the administrator's word.
#[derive(Debug)]
pub struct Manual {
    pub client: ManualClient,
    pub secret: Option<Secret<String>>,
}

/// Whose sign-in it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// The administrator's: for asking what a server offers, and for calls of everybody where a portal says so.
    Everybody,
    Person(UserId),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => f.write_str("everybody"),
            Self::Person(user) => write!(f, "{user}"),
        }
    }
}

/// A sign-in as a vault keeps it.
#[derive(Debug, Clone)]
pub struct Kept {
    /// When its token ends, in seconds since the epoch.
    pub expires: Option<i64>,
    pub lapsed: bool,
    /// What is no secret.
    pub state: Value,
    /// To be sealed.
    pub tokens: Secret<String>,
}

/// The vault does not answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("sign-ins cannot be read or kept: {0}")]
pub struct VaultError(pub String);

type Answer<'a, T> = BoxFuture<'a, Result<T, VaultError>>;

/// Keeps sign-ins, sealed, for every node. Each save names the revision it was made from.
pub trait Vault: Send + Sync + 'static {
    /// Returns a sign-in and its revision.
    fn load<'a>(&'a self, owner: Owner, server: &'a ServerId) -> Answer<'a, Option<(Kept, i64)>>;

    /// Keeps a sign-in over revision `read`, or where there is none; `None`: somebody else kept another one meanwhile.
    fn keep<'a>(&'a self, owner: Owner, server: &'a ServerId, kept: Kept, read: Option<i64>)
    -> Answer<'a, Option<i64>>;

    /// Forgets a sign-in; there being none is fine.
    fn forget<'a>(&'a self, owner: Owner, server: &'a ServerId) -> Answer<'a, ()>;

    /// Keeps a sign-in under way for [`mcp::oauth::flow::LIFETIME`]; of too many of one owner the oldest gives way.
    fn begin<'a>(&'a self, state: &'a str, owner: Owner, text: Secret<String>) -> Answer<'a, ()>;

    /// Takes one: of many callers, one gets it.
    fn redeem<'a>(&'a self, state: &'a str) -> Answer<'a, Option<Secret<String>>>;
}
