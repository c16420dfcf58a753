//! Everything a portal needs to answer: one immutable value, built off the hot path and swapped whole.
//!
//! Plain data; `server` builds it from the store. Invariant: a request sees one snapshot from its first step to its last.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::HeaderMap;
use mcp::document::portal::Portal as Settings;
use mcp::document::server::Server;
use mcp::names::ServerId;
use mcp::version::Version;
use mcp::view::ServerView;
use types::ApplicationId;

use crate::signin::SignIn;
use crate::upstream::Channel;
use crate::upstream::link::Link;

/// The portals of an account.
#[derive(Default)]
pub struct Snapshot {
    pub revision: u64,
    /// By host, in lower case.
    pub portals: BTreeMap<String, Arc<Portal>>,
}

/// A portal, ready to answer.
pub struct Portal {
    pub settings: Settings,
    /// The audience of its application, of type `mcp_portal`; Access stands before it.
    pub audience: String,
    /// In the portal's order.
    pub servers: Vec<Arc<Served>>,
    /// That of the snapshot in which anything of it changed last.
    pub revision: u64,
}

/// A server behind a portal.
pub struct Served {
    pub id: ServerId,
    pub server: Arc<Server>,
    /// Of type `mcp`: whoever it does not let in does not see the server.
    pub application: ApplicationId,
    /// The audience of that application.
    pub audience: String,
    /// As it is shown.
    pub address: String,
    /// What it offers, as this portal shows it.
    pub view: Arc<ServerView>,
    pub way: Way,
    /// How one signs in there; `None`: nobody does.
    pub sign_in: Option<Arc<SignIn>>,
    /// Calls are made with the person's own sign-in at the server.
    pub on_behalf: bool,
}

/// How a server is reached.
pub enum Way {
    Remote(Box<Remote>),
    /// It cannot be; why.
    Broken(String),
}

impl Way {
    /// Whether a link leads to the server in this way, with what signs in there.
    pub(crate) fn leads(&self, link: &Link) -> bool {
        match self {
            Self::Remote(remote) => link.leads_to(&remote.endpoint, &remote.credential),
            Self::Broken(_) => false,
        }
    }
}

/// A server that can be reached, and with what.
pub struct Remote {
    pub endpoint: Channel,
    /// The administrator's credential.
    pub credential: HeaderMap,
    /// What it spoke when it was last looked at.
    pub version: Option<Version>,
}

impl Portal {
    /// Finds a server by its id.
    #[must_use]
    pub fn server(&self, id: &ServerId) -> Option<&Arc<Served>> {
        self.servers.iter().find(|served| served.id == *id)
    }
}
