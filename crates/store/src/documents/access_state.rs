//! What happens at Access: people's profiles and factors, sessions, revocations, logins under way, mail, OAuth.
//!
//! Engines own the shapes inside `state`; here stand the owner, the end, and what pages show. Invariants: a bearer secret
//! is an id by its SHA-256 and nothing else of it is kept; everything an outsider can make has an end and an owner whose
//! share is bounded; the position of what ends is its end in milliseconds, by which it is swept.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use types::{AccessPolicyId, ApplicationId, FactorId, MailId, ProviderId, UserId};

use super::document;
use crate::seal::Sealed;

/// A document that ends: it counts into the share of whoever it is `of`, and is swept by its `expires_at`.
macro_rules! ending {
    ($name:ident, id $id:ty, $read:ident / $write:ident, of $owner:ident { $($bound:item)* }) => {
        document!($name, $name, id $id, $read / $write {
            $($bound)*

            fn parent(&self) -> Option<String> {
                Some(self.$owner.to_string())
            }

            fn position(&self) -> i64 {
                self.expires_at.as_millisecond()
            }
        });
    };
}

/// The SHA-256 of a bearer secret, by which its document is found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HashId([u8; 32]);

impl HashId {
    /// Hashes a secret.
    #[must_use]
    pub fn of(secret: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, secret).as_ref());
        Self(hash)
    }

    /// Takes a hash that was made elsewhere.
    #[must_use]
    pub const fn from_bytes(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// Returns the hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for HashId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        f.write_str(&text)
    }
}

impl fmt::Debug for HashId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for HashId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "a SHA-256 has 64 lower-case hexadecimal digits";
        let mut hash = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != 64 || !digits.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b)) {
            return Err(WANTED);
        }
        for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| WANTED)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| WANTED)?;
        }
        Ok(Self(hash))
    }
}

impl TryFrom<String> for HashId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<HashId> for String {
    fn from(hash: HashId) -> Self {
        hash.to_string()
    }
}

/// What Access knows of a person beyond [`crate::User`], under the same id.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AccessProfile {
    /// The last login that was let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_login_at: Option<Timestamp>,
    /// The provider of that login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderId>,
    /// The identity of that login, in the form of get-identity (reference section 2.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_identity: Option<Value>,
    /// The same as the engine keeps it, with groups and claims: what policies are tried on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Value>,
    /// The newest logins that were refused, oldest first; see [`AccessProfile::MOST_FAILED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_logins: Vec<FailedLogin>,
    /// For the built-in provider: the hash of a password in PHC form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
    /// The person's seat was freed by their directory, and they have not signed in since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub seat_freed: bool,
}

impl AccessProfile {
    /// How many refused logins are kept.
    pub const MOST_FAILED: usize = 20;

    /// Notes a refused login and forgets the oldest beyond the bound.
    pub fn note_failure(&mut self, failure: FailedLogin) {
        self.failed_logins.push(failure);
        let surplus = self.failed_logins.len().saturating_sub(Self::MOST_FAILED);
        self.failed_logins.drain(..surplus);
    }
}

/// A login that was refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailedLogin {
    /// When.
    pub at: Timestamp,
    /// Where to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<ApplicationId>,
    /// Why, for a helpdesk.
    pub reason: String,
    /// From which address.
    #[serde(default)]
    pub ip: String,
}

document!(AccessProfile, AccessProfile, id UserId, ReadUsers / WriteUsers {
    const MAX_COUNT: usize = 100_000;
});

/// One second factor of a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Factor {
    /// Whose.
    pub user: UserId,
    /// Its kind, as the MFA engine calls it: `totp`, `biometrics`, `security_key`, `recovery_codes`.
    pub kind: String,
    /// What its owner calls it.
    #[serde(default)]
    pub name: String,
    /// When it was last proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// What is needed to check it, as the engine wrote it, sealed.
    pub secret: Sealed,
}

document!(Factor, Factor, id FactorId, ReadUsers / WriteUsers {
    const MAX_COUNT: usize = 500_000;

    fn parent(&self) -> Option<String> {
        Some(self.user.to_string())
    }
});

/// The organisation's session of a signed-in browser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessSession {
    /// Who is signed in.
    pub user: UserId,
    /// Its public name, for listings and tokens; no secret.
    pub nonce: String,
    /// When it began.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The browser that signed in.
    #[serde(default)]
    pub user_agent: String,
    /// The address it signed in from.
    #[serde(default)]
    pub ip: String,
    /// The engine's session: identity, frozen answers, proofs.
    pub state: Value,
}

ending!(AccessSession, id HashId, ReadUsers / WriteUsers, of user {
    const MAX_COUNT: usize = 1_000_000;
});

/// A session at one application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppSession {
    /// The organisation's session it hangs on.
    pub session: HashId,
    /// Where.
    pub application: ApplicationId,
    /// The policy that let the person in.
    pub policy: AccessPolicyId,
    /// When it began.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The hash of the binding cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<HashId>,
}

ending!(AppSession, id HashId, ReadUsers / WriteUsers, of session {
    const MAX_COUNT: usize = 1_000_000;
});

/// What is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Revoked {
    /// Every session of the account.
    Everything,
    /// Every session of a person.
    User(UserId),
    /// Every session at an application.
    Application(ApplicationId),
    /// One session.
    Session(HashId),
}

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("everything"),
            Self::User(user) => write!(f, "user/{user}"),
            Self::Application(application) => write!(f, "application/{application}"),
            Self::Session(session) => write!(f, "session/{session}"),
        }
    }
}

impl FromStr for Revoked {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "not the id of a revocation";
        match text.split_once('/') {
            None if text == "everything" => Ok(Self::Everything),
            Some(("user", id)) => id.parse().map(Self::User).map_err(|_| WANTED),
            Some(("application", id)) => id.parse().map(Self::Application).map_err(|_| WANTED),
            Some(("session", id)) => id.parse().map(Self::Session).map_err(|_| WANTED),
            _ => Err(WANTED),
        }
    }
}

/// The moment something was revoked: what was made at or before it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// When, to the millisecond.
    pub at: Timestamp,
    /// When everything it ended has expired anyway.
    pub expires_at: Timestamp,
}

document!(Revocation, Revocation, id Revoked, ReadUsers / WriteUsers {
    const MAX_COUNT: usize = 200_000;

    fn position(&self) -> i64 {
        self.expires_at.as_millisecond()
    }
});

/// A login under way: used once, for minutes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoginState {
    /// Whose share it counts into, such as the network the browser comes from.
    pub source: String,
    /// When it is worth nothing.
    pub expires_at: Timestamp,
    /// The engine's state, sealed: it holds nonces and verifiers.
    pub state: Sealed,
}

ending!(LoginState, id HashId, ReadUsers / WriteUsers, of source {
    const MAX_BYTES: usize = 16 * 1024;
    const MAX_COUNT: usize = 50_000;
});

/// A mail in the outbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mail {
    /// The recipient's address.
    pub to: String,
    /// Its subject.
    pub subject: String,
    /// Its text, sealed: it may hold a PIN. Gone once a server took the mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Sealed>,
    /// The same as an HTML page, sealed, where there is one. Gone with the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<Sealed>,
    /// Where it stands.
    pub status: MailStatus,
    /// How often it was tried.
    #[serde(default)]
    pub attempts: u32,
    /// When it is tried next, while it waits.
    pub next_attempt_at: Timestamp,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// When a server took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
    /// When it is neither sent nor kept any more.
    pub expires_at: Timestamp,
}

/// Where a mail stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailStatus {
    /// Waits for its next attempt.
    Pending,
    /// A server took it.
    Sent,
    /// Given up.
    Failed,
}

ending!(Mail, id MailId, Administer / Administer, of to {
    const MAX_BYTES: usize = 64 * 1024;
    const MAX_COUNT: usize = 10_000;
});

/// A temporary approval: asked for, then granted or refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// Who asks.
    pub user: UserId,
    /// Where to.
    pub application: ApplicationId,
    /// By which policy.
    pub policy: AccessPolicyId,
    /// When the request, or what was granted, ends.
    pub expires_at: Timestamp,
    /// The engine's state: who decided, for how long.
    pub state: Value,
}

ending!(Approval, id HashId, ReadUsers / WriteUsers, of user {
    const MAX_BYTES: usize = 128 * 1024;
    const MAX_COUNT: usize = 50_000;
});

/// A client that registered itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OauthClient {
    /// Whose share it counts into: the application it registered with.
    pub source: String,
    /// When it is forgotten; moved ahead by use.
    pub expires_at: Timestamp,
    /// The engine's client.
    pub state: Value,
}

ending!(OauthClient, id HashId, ReadUsers / WriteUsers, of source {
    const MAX_BYTES: usize = 64 * 1024;
    const MAX_COUNT: usize = 20_000;
});

/// What a person granted a client. `S` is the engine's state: JSON as it is read, or what is written as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OauthGrant<S = Value> {
    /// Who granted it.
    pub user: UserId,
    /// To whom.
    pub client: HashId,
    /// At which application.
    pub application: ApplicationId,
    /// The session they granted it in, with which it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<HashId>,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The engine's grant with its tokens, and the identity it was given under.
    pub state: S,
}

ending!(OauthGrant, id HashId, ReadUsers / WriteUsers, of user {
    const MAX_COUNT: usize = 1_000_000;
});
