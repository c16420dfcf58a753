//! Certificates that an authority issued for the access listener over ACME, and the account they were ordered with.
//!
//! As the orders left them, keys sealed; when to order is their owner's to say. Invariant: no administrator's scope writes
//! here, so a certificate is in force only because an authority issued it to us.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::access_state::HashId;
use super::document;
use crate::document::Only;
use crate::seal::Sealed;

/// The certificate of one host, or the way to it. Its id is the hash of the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerCertificate {
    /// The host, in lower case.
    pub name: String,
    /// The directory of the authority that is asked.
    pub directory: String,
    /// What was issued last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued: Option<IssuedCertificate>,
    /// When it is ordered next. Moved ahead by the node that orders, so that of many one does.
    pub next_attempt_at: Timestamp,
    /// Failures since the last success.
    #[serde(default)]
    pub failures: u32,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// What proves the name while an order is under way: SHA-256 in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
}

/// A certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedCertificate {
    /// PEM, the host's own certificate first.
    pub chain: String,
    /// PKCS #8 DER in base64, sealed.
    pub private_key: Sealed,
    /// When it begins to be valid.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}

/// The account at the authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeAccount {
    /// The directory of the authority.
    pub directory: String,
    /// Whom the authority may write to.
    pub contact: Vec<String>,
    /// What the account is known by, sealed.
    pub credentials: Sealed,
}

document!(ListenerCertificate, ListenerCertificate, id HashId, ReadAccess / Operate {});
document!(AcmeAccount, AcmeAccount, id Only, Operate / Operate {});
