//! The beginning and the end of a sign-in.
//!
//! Invariant: what a browser brings back is believed once, for the sign-in that was begun in it, at a server whose
//! settings have not changed since.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcp::names::ServerId;
use mcp::oauth::client::About;
use mcp::oauth::flow::{self, Callback, CallbackError, Pending, Random};
use mcp::oauth::grant::{AnswerError, Grant, Tokens};
use serde::Deserialize;
use serde_json::json;
use types::{Secret, UserId};
use url::Url;
use uuid::Uuid;

use super::find::FindError;
use super::keeping::{SignIns, kept, words};
use super::{Owner, SignIn, VaultError};

const KEEP_TRIES: usize = 5;

/// Why a sign-in does not begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Server(String),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("there is no randomness")]
    Randomness,
}

impl From<Arc<FindError>> for StartError {
    fn from(error: Arc<FindError>) -> Self {
        Self::Server(match &*error {
            FindError::Wire(error) => words(error),
            error @ (FindError::Discovery(_) | FindError::Nothing | FindError::Client(_)) => error.to_string(),
        })
    }
}

/// Why a sign-in does not end well.
#[derive(Debug, thiserror::Error)]
pub enum CompleteError {
    #[error("the sign-in is not known here: it was used, took too long, or was never begun")]
    Unknown,
    #[error(transparent)]
    Callback(#[from] CallbackError),
    #[error("the server's settings were changed meanwhile; start again")]
    Settings,
    #[error(transparent)]
    Answer(#[from] AnswerError),
    #[error("{0}")]
    Wire(String),
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// What a sign-in is begun with.
pub struct Begin<'a> {
    pub owner: Owner,
    pub server: &'a ServerId,
    pub site: &'a SignIn,
    pub about: &'a About,
    /// Of the browser; secret, and the same when it comes back.
    pub bound: [u8; 32],
    /// Where the person goes afterwards, for the caller.
    pub back: &'a str,
}

/// A sign-in that a browser came back from.
#[derive(Debug)]
pub struct Completed {
    pub owner: Owner,
    pub server: ServerId,
    pub back: String,
    pending: Pending,
    settings: String,
}

#[derive(Deserialize)]
struct Record {
    person: Option<UserId>,
    server: String,
    settings: String,
    back: String,
    pending: Secret<String>,
}

fn random() -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(bytes)
}

impl SignIns {
    /// Begins a sign-in and returns where the browser is to go.
    ///
    /// # Errors
    /// The server's authorization server cannot be found or used.
    pub async fn begin(self: &Arc<Self>, begin: Begin<'_>) -> Result<Url, StartError> {
        let Begin { owner, server, site, about, bound, back } = begin;
        let standing = self.vault.load(owner, server).await?;
        let standing = standing.and_then(|(kept, _)| Grant::read(&kept.state, &kept.tokens, kept.expires, kept.lapsed));
        let standing = standing.filter(|grant| grant.state.settings == site.settings).map(|grant| grant.state);
        let granted = standing.as_ref().and_then(|state| state.scope.as_deref());
        let wanted = standing.as_ref().and_then(|state| state.wanted.as_deref());
        let plan = self.plan(site, about, granted, wanted).await?;
        let (Some(state), Some(verifier)) = (random(), random()) else { return Err(StartError::Randomness) };
        let (url, state, pending) = flow::begin(plan, bound, &Random { state, verifier }, self.now());
        let person = match owner {
            Owner::Everybody => None,
            Owner::Person(user) => Some(user),
        };
        let record = json!({
            "person": person, "server": server.as_str(), "settings": site.settings, "back": back,
            "pending": pending.write().expose(),
        });
        self.vault.begin(&state, owner, Secret::new(record.to_string())).await?;
        Ok(url)
    }

    /// Takes the sign-in that a browser comes back from; it is not known a second time.
    ///
    /// # Errors
    /// There is none of that name.
    pub async fn take(&self, state: &str) -> Result<Completed, CompleteError> {
        // As they are made; anything else costs no question to the vault.
        if URL_SAFE_NO_PAD.decode(state).map_or(0, |bytes| bytes.len()) != 32 {
            return Err(CompleteError::Unknown);
        }
        let text = self.vault.redeem(state).await?.ok_or(CompleteError::Unknown)?;
        let record: Record = serde_json::from_str(text.expose()).map_err(|_| CompleteError::Unknown)?;
        let server = ServerId::parse(&record.server).ok_or(CompleteError::Unknown)?;
        let pending = Pending::read(&record.pending).ok_or(CompleteError::Unknown)?;
        let owner = record.person.map_or(Owner::Everybody, Owner::Person);
        Ok(Completed { owner, server, back: record.back, pending, settings: record.settings })
    }

    /// Exchanges what the browser brought for tokens, and keeps them.
    ///
    /// # Errors
    /// The answer is not believed, or the authorization server does not give tokens.
    pub async fn complete(
        self: &Arc<Self>,
        completed: &Completed,
        site: &Arc<SignIn>,
        callback: &Callback<'_>,
        bound: [u8; 32],
    ) -> Result<(), CompleteError> {
        let request = completed.pending.redeem(callback, bound, self.now())?;
        if completed.settings != site.settings {
            return Err(CompleteError::Settings);
        }
        let answer = self.wire.post_form(site, &request).await.map_err(|error| CompleteError::Wire(words(&error)))?;
        let tokens = match Tokens::parse(answer.status, &answer.body) {
            Ok(tokens) => tokens,
            Err(error) => {
                if error == AnswerError::Refused("invalid_client".to_owned()) {
                    self.forget_client(site, &completed.pending.plan);
                }
                return Err(error.into());
            }
        };
        let sign_in = Uuid::new_v4().to_string();
        let grant = Grant::new(&completed.pending, tokens, sign_in, site.settings.clone(), self.now());
        self.put(completed.owner, &completed.server, grant).await
    }

    async fn put(&self, owner: Owner, server: &ServerId, grant: Grant) -> Result<(), CompleteError> {
        for _ in 0..KEEP_TRIES {
            let read = self.vault.load(owner, server).await?.map(|(_, revision)| revision);
            if let Some(revision) = self.vault.keep(owner, server, kept(&grant), read).await? {
                self.changed(owner, server, Some(revision));
                return Ok(());
            }
        }
        Err(VaultError("it changes too often".to_owned()).into())
    }

    /// Signs out: the vault forgets first, then the authorization server is told, which may be away.
    ///
    /// # Errors
    /// The vault does not answer.
    pub async fn sign_out(
        self: &Arc<Self>,
        owner: Owner,
        server: &ServerId,
        site: &Arc<SignIn>,
    ) -> Result<(), VaultError> {
        let standing = self.vault.load(owner, server).await?;
        self.vault.forget(owner, server).await?;
        self.changed(owner, server, None);
        let grant = standing.and_then(|(kept, _)| Grant::read(&kept.state, &kept.tokens, kept.expires, kept.lapsed));
        // What was given under other settings is told to nobody who was not there.
        let grant = grant.filter(|grant| grant.state.settings == site.settings);
        if let Some(request) = grant.and_then(|grant| grant.revocation()) {
            let (this, site) = (Arc::clone(self), Arc::clone(site));
            self.tasks.spawn(async move {
                if let Err(error) = this.wire.post_form(&site, &request).await {
                    tracing::info!(reason = words(&error), "an authorization server could not be told of a sign-out");
                }
            });
        }
        Ok(())
    }
}
