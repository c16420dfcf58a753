//! What Access keeps: people, sessions, revocations and the use of service tokens, in the store; and the live table kept in
//! step with it.
//!
//! Invariant: what is revoked here is in force on this node when the call returns, and on the others with their next
//! change; a session that could not be written down is not given out.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use access::{Ledger, LedgerError, Newcomer, SessionTable};
use futures_util::future::BoxFuture;
use identity::session::{Moment, Revoked, Session, SessionHash};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use store::{
    AccessProfile, AccessSession, Change, HashId, Kind, Operate, Principal, ServiceTokenUse, Store, StoreError, User,
    WriteServiceTokens, WriteUsers,
};
use types::{AccountId, Email, ServiceTokenId, UserId};
use uuid::Uuid;

use super::AccessError;

/// Longest text of a browser's name that is kept, in characters.
const USER_AGENT: usize = 300;
/// How often a change of a session is tried again when two meet.
const TRIES: usize = 8;

/// The store, as Access uses it.
pub(super) struct StoreLedger {
    pub store: Store,
    pub account: AccountId,
    pub principal: Principal,
    pub sessions: Arc<SessionTable>,
    pub own: OwnWrites,
}

/// How often this node wrote each session and has not yet been told so by the feed. What it wrote is in the table.
#[derive(Default)]
pub(super) struct OwnWrites(Mutex<HashMap<HashId, u32>>);

impl OwnWrites {
    /// Before the write, for the feed may be faster than its answer.
    fn expect(&self, id: HashId) {
        *self.0.lock().entry(id).or_default() += 1;
    }

    /// Takes one off; `false` when somebody else wrote. Every write is told once, so the last one of others is read.
    fn take(&self, id: HashId) -> bool {
        match self.0.lock().entry(id) {
            Entry::Occupied(mut entry) => {
                *entry.get_mut() -= 1;
                if *entry.get() == 0 {
                    entry.remove();
                }
                true
            }
            Entry::Vacant(_) => false,
        }
    }

    /// Nothing of the past will be told any more.
    fn forget(&self) {
        self.0.lock().clear();
    }
}

fn unavailable(error: impl std::fmt::Display) -> LedgerError {
    LedgerError::Unavailable(error.to_string())
}

impl StoreLedger {
    async fn find_or_make(&self, newcomer: Newcomer<'_>) -> Result<UserId, LedgerError> {
        let grant = self.principal.authorize::<WriteUsers>(self.account).map_err(unavailable)?;
        for _ in 0..2 {
            let found = self.store.users().find(&grant, newcomer.email.as_str()).await.map_err(unavailable)?;
            if let Some(user) = found {
                return if user.document.disabled { Err(LedgerError::Deactivated) } else { Ok(user.id) };
            }
            let user = User {
                email: newcomer.email.clone(),
                name: newcomer.name.to_owned(),
                groups: Vec::new(),
                disabled: false,
            };
            let id = UserId(Uuid::new_v4());
            match self.store.users().create(&grant, id, user).await {
                Ok(_) => return Ok(id),
                // Another node met the person at the same moment.
                Err(StoreError::Taken(_)) => {}
                Err(error) => return Err(unavailable(error)),
            }
        }
        Err(LedgerError::Unavailable("the person changed while they were looked up".to_owned()))
    }

    async fn look_up(&self, user: UserId) -> Result<Option<(Email, String)>, LedgerError> {
        let grant = self.principal.authorize::<WriteUsers>(self.account).map_err(unavailable)?;
        let found = self.store.users().get(&grant, &user).await.map_err(unavailable)?;
        Ok(found.filter(|user| !user.document.disabled).map(|user| (user.document.email, user.document.name)))
    }

    async fn keep(&self, hash: SessionHash, session: &Session, newcomer: Newcomer<'_>) -> Result<(), LedgerError> {
        let grant = self.principal.authorize::<WriteUsers>(self.account).map_err(unavailable)?;
        let user = session.identity.user;
        let document = AccessSession {
            user,
            nonce: Uuid::new_v4().simple().to_string(),
            issued_at: time(session.issued).map_err(unavailable)?,
            expires_at: time(session.expires).map_err(unavailable)?,
            user_agent: newcomer.user_agent.chars().take(USER_AGENT).collect(),
            ip: newcomer.ip.to_string(),
            state: serde_json::to_value(session).map_err(unavailable)?,
        };
        let id = HashId::from_bytes(*hash.bytes());
        self.own.expect(id);
        if let Err(error) = self.store.access_sessions().start(&grant, id, document).await {
            self.own.take(id);
            return Err(unavailable(error));
        }
        let profiles = self.store.access_profiles();
        let known = profiles.get(&grant, &user).await.map_err(unavailable)?;
        let profile = AccessProfile {
            last_login_at: Timestamp::from_millisecond(session.issued.0).ok(),
            provider: Some(newcomer.provider),
            last_identity: Some(identity_view(session)),
            identity: serde_json::to_value(&session.identity).ok(),
            seat_freed: false,
            ..known.map(|known| known.document).unwrap_or_default()
        };
        profiles.put(&grant, user, profile).await.map_err(unavailable)?;
        Ok(())
    }

    async fn renew(&self, hash: SessionHash, session: &Session) -> Result<(), LedgerError> {
        let grant = self.principal.authorize::<WriteUsers>(self.account).map_err(unavailable)?;
        let id = HashId::from_bytes(*hash.bytes());
        let state = serde_json::to_value(session).map_err(unavailable)?;
        let sessions = self.store.access_sessions();
        for _ in 0..TRIES {
            let Some(found) = sessions.get(&grant, &id).await.map_err(unavailable)? else {
                return Err(LedgerError::Ended);
            };
            let document = AccessSession { state: state.clone(), ..found.document };
            match sessions.replace(&grant, id, document, Some(found.revision)).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Stale(_) | StoreError::NotFound(_)) => {}
                Err(error) => return Err(unavailable(error)),
            }
        }
        Err(LedgerError::Unavailable("the session is changed from several places at once".to_owned()))
    }

    async fn see(&self, token: ServiceTokenId, at: Moment) -> Result<(), LedgerError> {
        let grant = self.principal.authorize::<WriteServiceTokens>(self.account).map_err(unavailable)?;
        let last_seen_at = time(at).map_err(unavailable)?;
        if self.store.service_tokens().get(&grant, &token).await.map_err(unavailable)?.is_none() {
            return Ok(());
        }
        let uses = self.store.service_token_uses();
        let known = uses.get(&grant, &token).await.map_err(unavailable)?;
        if known.is_none_or(|known| known.document.last_seen_at < last_seen_at) {
            uses.put(&grant, token, ServiceTokenUse { last_seen_at }).await.map_err(unavailable)?;
        }
        Ok(())
    }

    async fn end(&self, what: Revoked) -> Result<Moment, LedgerError> {
        let grant = self.principal.authorize::<Operate>(self.account).map_err(unavailable)?;
        let stored = self.store.revocations().revoke(&grant, kept(what)).await.map_err(unavailable)?;
        let moment = Moment(stored.document.at.as_millisecond());
        self.sessions.revoke(what, moment);
        match what {
            Revoked::Session(hash) => {
                let id = HashId::from_bytes(*hash.bytes());
                self.store.access_sessions().end(&grant, id).await.map_err(unavailable)?;
            }
            Revoked::User(user) => self.store.access_sessions().end_all(&grant, user).await.map_err(unavailable)?,
            Revoked::Everything | Revoked::Application(_) => {}
        }
        Ok(moment)
    }

    /// Fills the table with what the store holds: every session that has not ended, and what was revoked.
    ///
    /// # Errors
    /// The store does not answer.
    pub(super) async fn fill(&self, now: Timestamp) -> Result<(), AccessError> {
        let grant = self.principal.authorize::<WriteUsers>(self.account)?;
        for session in self.store.access_sessions().list(&grant).await? {
            if session.document.expires_at > now {
                self.enter(session.id, &session.document.state);
            }
        }
        for revocation in self.store.revocations().list(&grant).await? {
            self.sessions.replay(engine(revocation.id), Moment(revocation.document.at.as_millisecond()));
        }
        Ok(())
    }

    /// Enters a stored session into the table.
    pub(super) fn enter(&self, id: HashId, state: &Value) {
        match serde_json::from_value::<Session>(state.clone()) {
            Ok(session) => {
                if !self.sessions.insert(SessionHash::of(*id.as_bytes()), session) {
                    tracing::warn!("there are more sessions than this node holds; the person must sign in again");
                }
            }
            Err(error) => tracing::warn!(%error, "a stored session cannot be read and does not count"),
        }
    }

    /// Takes over what other nodes and the console did.
    ///
    /// # Errors
    /// The store does not answer; the changes must be taken over again.
    pub(super) async fn follow(&self, changes: &[Change], now: Timestamp) -> Result<(), AccessError> {
        let grant = self.principal.authorize::<WriteUsers>(self.account)?;
        for change in changes {
            match change {
                Change::Resync { .. } => {
                    self.own.forget();
                    self.fill(now).await?;
                }
                Change::Put(document) if document.kind == Kind::Revocation => {
                    let Ok(what) = document.id.parse() else { continue };
                    if let Some(found) = self.store.revocations().get(&grant, &what).await? {
                        self.sessions.replay(engine(what), Moment(found.document.at.as_millisecond()));
                    }
                }
                Change::Put(document) if document.kind == Kind::AccessSession => {
                    let Ok(id) = document.id.parse() else { continue };
                    if self.own.take(id) {
                        continue;
                    }
                    if let Some(found) = self.store.access_sessions().get(&grant, &id).await? {
                        self.enter(id, &found.document.state);
                    }
                }
                Change::Deleted(document) if document.kind == Kind::AccessSession => {
                    if let Ok(id) = document.id.parse::<HashId>() {
                        self.sessions.remove(&SessionHash::of(*id.as_bytes()));
                    }
                }
                Change::Put(_) | Change::Deleted(_) | Change::ChildrenDeleted(_) => {}
            }
        }
        Ok(())
    }
}

impl Ledger for StoreLedger {
    fn person<'a>(&'a self, newcomer: Newcomer<'a>) -> BoxFuture<'a, Result<UserId, LedgerError>> {
        Box::pin(self.find_or_make(newcomer))
    }

    fn known(&self, user: UserId) -> BoxFuture<'_, Result<Option<(Email, String)>, LedgerError>> {
        Box::pin(self.look_up(user))
    }

    fn start<'a>(
        &'a self,
        hash: SessionHash,
        session: &'a Session,
        newcomer: Newcomer<'a>,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(self.keep(hash, session, newcomer))
    }

    fn change<'a>(&'a self, hash: SessionHash, session: &'a Session) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(self.renew(hash, session))
    }

    fn used(&self, token: ServiceTokenId, at: Moment) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(self.see(token, at))
    }

    fn revoke(&self, what: Revoked) -> BoxFuture<'_, Result<Moment, LedgerError>> {
        Box::pin(self.end(what))
    }
}

fn time(moment: Moment) -> Result<Timestamp, jiff::Error> {
    Timestamp::from_millisecond(moment.0)
}

fn identity_view(session: &Session) -> Value {
    let identity = &session.identity;
    let groups: Vec<_> = identity.steps.iter().flat_map(|step| step.groups.iter().map(|group| &**group)).collect();
    json!({
        "email": identity.email.as_str(),
        "name": &*identity.name,
        "user_uuid": identity.user,
        "idp": { "id": identity.provider, "type": identity.provider_type },
        "iat": identity.signed_in,
        "ip": identity.ip.to_string(),
        "geo": { "country": identity.country() },
        "groups": groups,
    })
}

const fn kept(what: Revoked) -> store::Revoked {
    match what {
        Revoked::Everything => store::Revoked::Everything,
        Revoked::User(user) => store::Revoked::User(user),
        Revoked::Application(application) => store::Revoked::Application(application),
        Revoked::Session(hash) => store::Revoked::Session(HashId::from_bytes(*hash.bytes())),
    }
}

const fn engine(what: store::Revoked) -> Revoked {
    match what {
        store::Revoked::Everything => Revoked::Everything,
        store::Revoked::User(user) => Revoked::User(user),
        store::Revoked::Application(application) => Revoked::Application(application),
        store::Revoked::Session(id) => Revoked::Session(SessionHash::of(*id.as_bytes())),
    }
}
