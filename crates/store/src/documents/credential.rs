//! API tokens, people, and the tokens people prove themselves to the proxy with.
//!
//! A token's text is shown once, when it is made; here stands only its hash. Invariant: reading every document of this
//! file gives no credential.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use types::{Email, TokenId, UserId};

use super::document;
use crate::grant::Permissions;

/// An API token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// What its owner calls it.
    pub name: String,
    /// The SHA-256 of its text, in hexadecimal.
    pub secret_hash: String,
    /// What it may do.
    pub permissions: Permissions,
    /// The first moment it works.
    #[serde(default)]
    pub not_before: Option<Timestamp>,
    /// When it stops working.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// A disabled token works for nothing.
    #[serde(default)]
    pub disabled: bool,
}

document!(Token, Token, id TokenId, ReadTokens / WriteTokens {
    fn confers(&self) -> Permissions {
        self.permissions
    }

    fn lookup(&self) -> Option<String> {
        Some(self.secret_hash.clone())
    }
});

/// A person whose traffic the gateway decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Their identity in rules; unique in the account.
    pub email: Email,
    /// Their name on pages and in rules.
    #[serde(default)]
    pub name: String,
    /// The groups they belong to.
    #[serde(default)]
    pub groups: Vec<Group>,
    /// A disabled person is nobody to the gateway.
    #[serde(default)]
    pub disabled: bool,
}

/// A group of an identity provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The provider's id.
    pub id: String,
    /// The provider's name for it.
    pub name: String,
    /// The group's own address, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

document!(User, User, id UserId, ReadUsers / WriteUsers {
    const MAX_COUNT: usize = 100_000;

    fn unique_name(&self) -> Option<&str> {
        Some(self.email.as_str())
    }
});

/// What a person's browser or program shows the proxy (HTTP Basic, user name is the address).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyToken {
    /// Whom it stands for.
    pub user: UserId,
    /// What its owner calls it.
    #[serde(default)]
    pub name: String,
    /// The SHA-256 of its text, in hexadecimal.
    pub secret_hash: String,
    /// When it stops working.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

document!(ProxyToken, ProxyToken, id TokenId, ReadUsers / WriteUsers {
    const MAX_COUNT: usize = 300_000;

    fn parent(&self) -> Option<String> {
        Some(self.user.to_string())
    }

    fn lookup(&self) -> Option<String> {
        Some(self.secret_hash.clone())
    }
});
