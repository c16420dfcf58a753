//! The account, its administrators, their sessions, and the link that makes the first one.
//!
//! Passwords are hashed by the caller; this crate only keeps the text of the hash. Session and set-up secrets are kept
//! as hashes here. Invariant: nothing in these documents lets its reader sign in.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use types::{AccountId, Email, TokenId, UserId};

use super::document;
use crate::document::Only;
use crate::grant::Permissions;

/// One organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its name on pages.
    pub name: String,
}

document!(Account, Account, id AccountId, ReadSettings / WriteSettings {
    const MAX_COUNT: usize = 1;
});

/// A person who signs in to the console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Administrator {
    /// What they sign in with; unique over all accounts.
    pub email: Email,
    /// Their name on pages.
    #[serde(default)]
    pub name: String,
    /// What they may do.
    pub permissions: Permissions,
    /// The hash of their password in PHC form, or nothing until they set one.
    #[serde(default)]
    pub password_hash: Option<String>,
    /// A disabled administrator cannot sign in, and open sessions end.
    #[serde(default)]
    pub disabled: bool,
}

document!(Administrator, Administrator, id UserId, ReadSettings / Administer {
    fn unique_name(&self) -> Option<&str> {
        Some(self.email.as_str())
    }

    fn confers(&self) -> Permissions {
        self.permissions
    }

    fn lookup(&self) -> Option<String> {
        Some(self.email.to_string())
    }
});

/// A signed-in administrator's browser.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Whose session.
    pub administrator: UserId,
    /// The SHA-256 of the cookie's secret, in hexadecimal.
    pub secret_hash: String,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The browser that signed in, for the list of sessions.
    #[serde(default)]
    pub user_agent: String,
}

document!(Session, Session, id TokenId, ReadSettings / Administer {
    const MAX_COUNT: usize = 10_000;

    fn parent(&self) -> Option<String> {
        Some(self.administrator.to_string())
    }

    fn lookup(&self) -> Option<String> {
        Some(self.secret_hash.clone())
    }
});

/// The one-time link that makes the first administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupLink {
    /// The SHA-256 of the link's secret, in hexadecimal.
    pub secret_hash: String,
    /// When it stops working.
    pub expires_at: Timestamp,
}

document!(SetupLink, SetupLink, id Only, ReadSettings / Administer {
    fn lookup(&self) -> Option<String> {
        Some(self.secret_hash.clone())
    }
});
