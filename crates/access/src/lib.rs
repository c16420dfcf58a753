//! The inward plane: an identity-aware reverse proxy in front of private web applications.
//!
//! It owns the access listener, the order of the stages of a request, the steps of a sign-in as pages and redirects, the
//! table of live sessions, and what an application is told about its caller. It deliberately does not own the decisions
//! (`identity`), sockets and certificates (`net`), records on disk (`logs`) or configuration: all of that arrives in a
//! [`Snapshot`], and what must outlive the process goes through [`Ledger`]. Invariant: no request reaches an application
//! before a policy of it covered the caller under the snapshot in force, and none carries an identity that we did not
//! write.

mod access;
mod approval;
mod backend;
mod caller;
mod client_certificate;
mod config;
mod custom;
mod denial;
mod directory;
mod endpoints;
mod exchange;
mod forward;
mod gate;
mod inside;
mod issue;
mod language;
mod launcher;
mod ledger;
mod login;
mod mail;
mod markdown;
mod mfa;
mod oauth;
mod page;
mod passkey;
mod password;
mod pin;
mod probe;
mod provider;
mod question;
mod record;
mod scim;
mod seal;
mod session_table;
mod sign_out;
mod snapshot;
mod stages;
mod throttle;
mod ticket;
mod token_use;
mod webauthn;
mod words;
mod workers;

pub use access::{Access, AccessStats, Parts};
pub use approval::{ApprovalLedger, ApprovalTable, KeptApproval};
pub use backend::{Backend, BackendError, Backends, OriginParts};
pub use client_certificate::HostCertificates;
pub use config::AccessConfig;
pub use custom::CustomPage;
pub use directory::{Directory, DirectoryError, Kept, Standing, Which};
pub use inside::{Inside, Outcome, Visit, Visitor};
pub use ledger::{Ledger, LedgerError, Newcomer};
pub use mail::{Letter, Postbox};
pub use mfa::{FactorLedger, FactorPlace, KeptFactor, Shown};
pub use oauth::{Ahead, GrantTable, KeptGrant, OauthLedger};
pub use password::PasswordHash;
pub use pin::{KeptPin, KeptRate, PinLedger};
pub use probe::ProbeError;
pub use question::{Phase, Question};
pub use seal::SealKey;
pub use session_table::{Live, SessionTable};
pub use snapshot::{Person, Published, Snapshot};
pub use workers::{Workers, ask_once};
