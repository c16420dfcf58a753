//! The mail server that the outbox is emptied into.
//!
//! As its administrator wrote it, the password sealed; whether it can be reached is the sender's to find out. Invariant:
//! only those who may do everything in the account change it, because whoever receives its mail receives PINs.

use serde::{Deserialize, Serialize};

use super::document;
use crate::document::Only;
use crate::seal::Sealed;

/// The body of `/portunus/mail_server`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailServer {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: MailTls,
    /// Who signs in there; absent means nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// With which password, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Sealed>,
    /// Who mail comes from: `name@example.com` or `Name <name@example.com>`.
    pub from: String,
}

/// How the connection to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailTls {
    /// TLS from the first byte.
    Implicit,
    /// STARTTLS, insisted upon.
    Starttls,
    /// None; for a server on this machine.
    None,
}

document!(MailServer, MailServer, id Only, Administer / Administer {});
