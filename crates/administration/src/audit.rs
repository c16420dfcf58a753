//! The audit log: who changed what, from where, and what was there before and after.
//!
//! An operation records its change before it reports success, and a change that cannot be recorded is reported as such.
//! Invariant: no secret is in a summary; operations hand in what may be read, and values of secrets are never part of it.

use std::fmt::Display;
use std::net::IpAddr;

use serde_json::Value;
use store::Actor;
use types::Code;

use crate::app::App;
use crate::auth::{Interface, OpContext};
use crate::failure::Failure;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Create,
    Update,
    Delete,
    SignIn,
    SignOut,
    /// Read what people did.
    Query,
    /// Looked at recorded traffic under other rules; nothing is changed.
    Replay,
    /// Had what is recorded of a person erased.
    Erase,
}

impl Verb {
    const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::SignIn => "login",
            Self::SignOut => "logout",
            Self::Query => "query",
            Self::Replay => "replay",
            Self::Erase => "erase",
        }
    }
}

/// Longest text of one value in a summary, in bytes; a longer one is left out and its size named.
const LONGEST_SUMMARY: usize = 32 * 1024;

/// One change, without who made it.
#[derive(Debug, Clone)]
pub struct Change {
    verb: Verb,
    resource: &'static str,
    id: String,
    before: Option<Value>,
    after: Option<Value>,
    note: Option<&'static str>,
    failed: bool,
}

impl Change {
    /// Begins the record of a change to one `resource`.
    pub fn new(verb: Verb, resource: &'static str, id: impl Display) -> Self {
        let id = id.to_string().chars().take(600).collect();
        Self { verb, resource, id, before: None, after: None, note: None, failed: false }
    }

    /// What was there before, without secrets.
    #[must_use]
    pub fn before(mut self, value: Value) -> Self {
        self.before = Some(bounded(value));
        self
    }

    /// What is there after it, without secrets.
    #[must_use]
    pub fn after(mut self, value: Value) -> Self {
        self.after = Some(bounded(value));
        self
    }

    /// What a reader should know besides.
    #[must_use]
    pub const fn note(mut self, note: &'static str) -> Self {
        self.note = Some(note);
        self
    }

    /// It was tried and refused.
    #[must_use]
    pub const fn failed(mut self) -> Self {
        self.failed = true;
        self
    }

    fn record(self, app: &App) -> logs::Audit {
        logs::Audit {
            id: logs::record_id(),
            datetime: app.now(),
            account_id: app.deps.account.to_string(),
            action_result: !self.failed,
            action_type: self.verb.word().to_owned(),
            resource_type: self.resource.to_owned(),
            resource_id: self.id,
            new_value: self.after,
            old_value: self.before,
            metadata: self.note.map(|note| serde_json::json!({"note": note})),
            ..logs::Audit::default()
        }
    }
}

fn bounded(value: Value) -> Value {
    let size = value.to_string().len();
    if size <= LONGEST_SUMMARY { value } else { serde_json::json!({"omitted_bytes": size}) }
}

/// The name an actor goes by.
pub fn actor_name(actor: &Actor) -> String {
    match actor {
        Actor::Token { name, .. } => name.clone(),
        Actor::Administrator { email, .. } => email.clone(),
        Actor::System { reason } => (*reason).to_owned(),
    }
}

impl OpContext {
    /// Records a change of the caller.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the log does not take it; the change itself stands.
    pub async fn record(&self, change: Change) -> Result<(), Failure> {
        let mut record = change.record(&self.app);
        match self.actor() {
            Actor::Token { id, name } => {
                record.actor_type = "token".to_owned();
                record.actor_id = id.to_string();
                record.actor_email.clone_from(name);
            }
            Actor::Administrator { id, email } => {
                record.actor_type = "user".to_owned();
                record.actor_id = id.to_string();
                record.actor_email.clone_from(email);
            }
            Actor::System { reason } => {
                record.actor_type = "system".to_owned();
                record.actor_id = (*reason).to_owned();
            }
        }
        record.interface = match self.interface {
            Interface::Api => "API",
            Interface::Console => "UI",
            Interface::Worker => "WORKER",
        }
        .to_owned();
        record.actor_ip = self.address.map(|address| address.to_string()).unwrap_or_default();
        append(&self.app, record).await
    }
}

/// Records a change by someone who is only about to sign in.
pub async fn record_for(app: &App, email: &str, address: Option<IpAddr>, change: Change) -> Result<(), Failure> {
    let mut record = change.record(app);
    record.actor_type = "user".to_owned();
    record.actor_email = email.to_owned();
    record.interface = "UI".to_owned();
    record.actor_ip = address.map(|address| address.to_string()).unwrap_or_default();
    append(app, record).await
}

async fn append(app: &App, record: logs::Audit) -> Result<(), Failure> {
    app.deps.logs.append(record).await.map(|_| ()).map_err(|error| {
        tracing::error!(error = %crate::failure::Chain(&error), "audit record not written");
        let message =
            "the change was made, but the audit log does not take its record; look after the disk of the logs";
        Failure { retry_after: Some(5), ..Failure::new(Code::Unavailable, message) }
    })
}
