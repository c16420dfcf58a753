//! A request at a portal, and whose it is: as Access let it through.
//!
//! Plain data; Access decided. Invariant: nothing here was taken from what the client says of itself.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use http::Request;
use net::proxy::body::Body;
use types::{ApplicationId, Email, ServiceTokenId, UserId};
use url::Url;
use uuid::Uuid;

/// A request that was let through.
pub struct Visit {
    /// Without credentials.
    pub request: Request<Body>,
    pub id: Uuid,
    /// `https://host[:port]/` as the client dialled it.
    pub site: Url,
    pub source: IpAddr,
    pub visitor: Visitor,
    /// Applications of servers whose policies let the visitor in as well.
    pub open: BTreeSet<ApplicationId>,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visitor {
    /// The policies of the portal ask for nobody.
    Nobody,
    Person(Arc<Person>),
    Program {
        id: ServiceTokenId,
        name: String,
    },
}

/// A person, or their agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub user: UserId,
    pub email: Email,
    pub name: String,
    pub group_ids: Vec<String>,
    pub group_names: Vec<String>,
    pub group_emails: Vec<String>,
    /// Each as `name=value`.
    pub claims: Vec<String>,
    /// The ids of the providers the person passed.
    pub login_methods: Vec<String>,
    /// RFC 8176 words.
    pub amr: Vec<String>,
    /// The sign-in, as bytes: agents that were allowed in it, and the browser, share it.
    pub sign_in: [u8; 32],
    /// When a second factor was last proved, in seconds since the epoch.
    pub factor_at: Option<i64>,
    /// A client with a token that the person consented to, not their browser.
    pub agent: bool,
}

/// Whose sessions and server-side state are whose: two requests with the same holder are of the same caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Holder {
    Nobody,
    Person(UserId),
    Program(ServiceTokenId),
}

impl Visitor {
    pub fn holder(&self) -> Holder {
        match self {
            Self::Nobody => Holder::Nobody,
            Self::Person(person) => Holder::Person(person.user),
            Self::Program { id, .. } => Holder::Program(*id),
        }
    }

    pub fn person(&self) -> Option<&Person> {
        match self {
            Self::Person(person) => Some(person),
            Self::Nobody | Self::Program { .. } => None,
        }
    }
}
