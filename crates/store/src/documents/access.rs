//! What an administrator writes about Access: applications, policies, groups, providers, the organisation, service
//! tokens, certificates of clients, tags, pages, signing keys.
//!
//! A `body` is the v4 document as its author wrote it, without read-only members; the Access engine reads it. Beside it
//! stands what the store or a listing needs. Invariants: a policy that an application names by value is stored as a
//! document of its own, so a body's `policies` holds only links; no secret stands in a body.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use types::{AccessGroupId, AccessPolicyId, ApplicationId, CertificateId, CustomPageId, ProviderId, ServiceTokenId};

use super::document;
use crate::document::Only;
use crate::seal::Sealed;

/// Something Access publishes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Application {
    /// Its name on pages.
    pub name: String,
    /// The audience tag: 64 hexadecimal digits, stable for the application's life.
    pub aud: String,
    /// The author's document; `policies` holds only `{id, precedence}`.
    pub body: Value,
}

document!(Application, Application, id ApplicationId, ReadAccess / WriteAccess {
    const MAX_COUNT: usize = 5_000;

    fn lookup(&self) -> Option<String> {
        Some(self.aud.clone())
    }
});

/// An access policy: reusable, or of one application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessPolicy {
    /// Its name on pages.
    pub name: String,
    /// The application it belongs to; reusable when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<ApplicationId>,
    /// The author's document, without a precedence: that stands in the application's link.
    pub body: Value,
}

document!(AccessPolicy, AccessPolicy, id AccessPolicyId, ReadAccess / WriteAccess {
    const MAX_COUNT: usize = 10_000;

    fn parent(&self) -> Option<String> {
        self.application.map(|application| application.to_string())
    }
});

/// A rule group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessGroup {
    /// Its name on pages.
    pub name: String,
    /// The author's document.
    pub body: Value,
}

document!(AccessGroup, AccessGroup, id AccessGroupId, ReadIdentity / WriteIdentity {});

/// An identity provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provider {
    /// Its name on pages.
    pub name: String,
    /// The author's document, without its secrets.
    pub body: Value,
    /// Its secrets by the member of `config` they are for: `client_secret`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Sealed>,
    /// The SHA-256 of the secret its directory shows at the SCIM endpoints, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scim_secret_hash: Option<String>,
}

document!(Provider, Provider, id ProviderId, ReadIdentity / WriteIdentity {
    const MAX_COUNT: usize = 200;

    fn lookup(&self) -> Option<String> {
        self.scim_secret_hash.clone()
    }
});

/// The organisation's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Organization {
    /// The author's document.
    pub body: Value,
}

document!(Organization, Organization, id Only, ReadIdentity / WriteIdentity {});

/// What a program signs in with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceToken {
    /// Its name on pages.
    pub name: String,
    /// The public half: 32 hexadecimal digits and `.access`.
    pub client_id: String,
    /// The SHA-256 of the secret half, in hexadecimal.
    pub secret_hash: String,
    /// Counts rotations, from one.
    pub version: u32,
    /// The secret before the last rotation, while it works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousSecret>,
    /// As its author wrote it: a Go duration, or `forever`.
    pub duration: String,
    /// When it stops working; absent means never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// A disabled token opens nothing.
    pub enabled: bool,
}

/// A secret that was rotated out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousSecret {
    /// The SHA-256 of it, in hexadecimal.
    pub secret_hash: String,
    /// When it stops working.
    pub expires_at: Timestamp,
}

document!(ServiceToken, ServiceToken, id ServiceTokenId, ReadServiceTokens / WriteServiceTokens {
    const MAX_COUNT: usize = 5_000;

    fn lookup(&self) -> Option<String> {
        Some(self.client_id.clone())
    }
});

/// When a service token was last used; apart from the token, so that use is no change of configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceTokenUse {
    /// The last request that was let in with it, to the minute.
    pub last_seen_at: Timestamp,
}

document!(ServiceTokenUse, ServiceTokenUse, id ServiceTokenId, ReadServiceTokens / WriteServiceTokens {
    const MAX_COUNT: usize = 5_000;
});

/// Certificate authorities whose clients are trusted at some hosts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientAuthority {
    /// Its name on pages.
    pub name: String,
    /// The author's document.
    pub body: Value,
}

document!(ClientAuthority, ClientAuthority, id CertificateId, ReadClientCertificates / WriteClientCertificates {
    const MAX_COUNT: usize = 200;
});

/// The entries of `/access/certificates/settings`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientCertificateSettings {
    /// One for each host, as the API takes and returns them.
    pub entries: Vec<Value>,
}

document!(
    ClientCertificateSettings, ClientCertificateSettings, id Only,
    ReadClientCertificates / WriteClientCertificates {}
);

/// The name of a tag: 1 to 64 characters that can stand as one segment of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TagName(String);

impl TagName {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TagName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TagName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let length = text.chars().count();
        let plain = !text.chars().any(|c| c.is_control() || matches!(c, '/' | '\\')) && text != "." && text != "..";
        if plain && (1..=64).contains(&length) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a tag has 1 to 64 characters and no slash")
        }
    }
}

impl TryFrom<String> for TagName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TagName> for String {
    fn from(name: TagName) -> Self {
        name.0
    }
}

/// A word the launcher filters by; all there is of it is its name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {}

document!(Tag, Tag, id TagName, ReadAccess / WriteAccess {});

/// A page of the organisation's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CustomPage {
    /// Its name on pages.
    pub name: String,
    /// The author's document, markup included.
    pub body: Value,
}

document!(CustomPage, CustomPage, id CustomPageId, ReadAccess / WriteAccess {
    const MAX_BYTES: usize = 512 * 1024;
    const MAX_COUNT: usize = 200;
});

/// The keys tokens are signed with, and when they change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKeys {
    /// Days from one rotation to the next.
    pub rotation_interval_days: u32,
    /// When the current key began to sign.
    pub last_rotation_at: Timestamp,
    /// The key that signs, then those still accepted.
    pub keys: Vec<AccessKey>,
}

/// One signing key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    /// The RFC 7638 thumbprint of its public half, in hexadecimal.
    pub kid: String,
    /// A certificate over the public half, PEM.
    pub certificate: String,
    /// PKCS #8 DER in base64, sealed.
    pub private_key: Sealed,
    /// When what it signed is refused; absent for the key that signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_until: Option<Timestamp>,
}

document!(AccessKeys, AccessKeys, id Only, ReadIdentity / WriteIdentity {});
