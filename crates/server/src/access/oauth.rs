//! What managed OAuth keeps, in the store: clients, requests under way, grants with the identity they were given under.
//!
//! Invariants: codes and tokens are stored as the engine's hashes and seals alone; a grant is written over the revision it
//! was read at; one that came after its person or session was revoked does not stay; and what is remembered of clients and
//! people is what the store said since this node last heard of them.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use access::{GrantTable, KeptGrant, LedgerError, OauthLedger};
use futures_util::future::BoxFuture;
use identity::oauth::authorization::{PendingRequest, REQUEST_LIFE};
use identity::oauth::client::Client;
use identity::oauth::client_document::may_connect;
use identity::oauth::grant::{Grant, GrantId};
use identity::opaque::Digest;
use identity::session::{Moment, Session, SessionHash};
use jiff::Timestamp;
use moka::sync::Cache;
use net::resolve::{Resolve, ResolveError, Resolved};
use net::upstream::{Connector, ConnectorParams, DialTimeouts, Pool, PoolLimits, TrustStore};
use net::{Clock, Guard};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use store::{
    Change, HashId, Kind, OauthClient, OauthGrant, Operate, Principal, ReadUsers, Revision, Revoked, Store, Stored,
    WriteUsers,
};
use types::{AccountId, ApplicationId, Secret, UserId};
use uuid::Uuid;

use super::AccessError;
use crate::upstream::Upstream;

/// How long a client that never got a grant is kept, and one since its last.
const UNUSED: Duration = Duration::from_secs(24 * 3_600);
const FORGOTTEN: Duration = Duration::from_secs(90 * 24 * 3_600);

/// Clients remembered, and for how long: one that gave way to newer ones is known for so long.
const CLIENTS: u64 = 10_000;
const CLIENT_LIFE: Duration = Duration::from_secs(10 * 60);
/// People remembered.
const PEOPLE: usize = 100_000;

/// The store, as managed OAuth uses it.
pub(super) struct StoreOauth {
    pub store: Store,
    pub account: AccountId,
    pub principal: Principal,
    pub grants: Arc<GrantTable>,
    pub clock: Clock,
    pub clients: Clients,
    pub people: People,
}

/// Registered clients, each with when it ends. Of a client nothing changes but when it was last used.
pub(super) struct Clients(Cache<HashId, (Arc<Client>, Timestamp)>);

impl Default for Clients {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(CLIENTS).time_to_live(CLIENT_LIFE).build())
    }
}

/// People who were found active and of whom the node has heard nothing since.
#[derive(Default)]
pub(super) struct People(Mutex<Heard>);

#[derive(Default)]
struct Heard {
    active: HashSet<UserId>,
    /// How often the node heard of anybody.
    times: u64,
}

impl People {
    pub(super) fn forget(&self, user: UserId) {
        let mut heard = self.0.lock();
        heard.times += 1;
        heard.active.remove(&user);
    }

    fn forget_all(&self) {
        let mut heard = self.0.lock();
        heard.times += 1;
        heard.active.clear();
    }

    /// Says whether somebody is remembered as active; otherwise when they are looked up.
    pub(super) fn find(&self, user: UserId) -> Result<(), u64> {
        let heard = self.0.lock();
        if heard.active.contains(&user) { Ok(()) } else { Err(heard.times) }
    }

    /// Remembers somebody who was found active, unless the node heard of anybody since they were looked up.
    pub(super) fn keep(&self, user: UserId, times: u64) {
        let mut heard = self.0.lock();
        if heard.times != times {
            return;
        }
        if heard.active.len() >= PEOPLE {
            heard.active.clear();
        }
        heard.active.insert(user);
    }
}

/// `state` of a stored grant (document version 1).
#[derive(Deserialize)]
struct State {
    grant: Grant,
    session: Session,
}

/// The same, as it is written.
#[derive(Serialize)]
struct StateRef<'a> {
    grant: &'a Grant,
    session: &'a Session,
}

fn unavailable(error: impl std::fmt::Display) -> LedgerError {
    LedgerError::Unavailable(error.to_string())
}

const fn hash(digest: Digest) -> HashId {
    HashId::from_bytes(digest.0)
}

/// The id of a grant's document: the grant's own, twice.
fn id_of(grant: GrantId) -> HashId {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(grant.0.as_bytes());
    bytes[16..].copy_from_slice(grant.0.as_bytes());
    HashId::from_bytes(bytes)
}

fn grant_of(id: &HashId) -> GrantId {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&id.as_bytes()[..16]);
    GrantId(Uuid::from_bytes(bytes))
}

fn client_of(application: ApplicationId, id: &str) -> HashId {
    HashId::of(format!("{application} {id}").as_bytes())
}

fn kept(stored: Stored<OauthGrant>) -> Result<KeptGrant, AccessError> {
    let State { grant, session } = serde_json::from_value(stored.document.state)
        .map_err(|error| AccessError::Document(format!("grant {}: {error}", stored.id)))?;
    Ok(KeptGrant { revision: number(stored.revision), grant, session })
}

fn number(revision: Revision) -> u64 {
    u64::try_from(revision.0).unwrap_or_default()
}

fn document(kept: &KeptGrant) -> Result<OauthGrant<StateRef<'_>>, AccessError> {
    let KeptGrant { grant, session, .. } = kept;
    Ok(OauthGrant {
        user: grant.user,
        client: client_of(grant.application, &grant.client),
        application: grant.application,
        session: Some(hash(grant.session)),
        expires_at: Timestamp::from_second(grant.expires_at).map_err(AccessError::key)?,
        state: StateRef { grant, session },
    })
}

impl StoreOauth {
    fn write(&self) -> Result<store::Grant<WriteUsers>, AccessError> {
        Ok(self.principal.authorize::<WriteUsers>(self.account)?)
    }

    async fn find_client(&self, application: ApplicationId, id: &str) -> Result<Option<Arc<Client>>, AccessError> {
        let (id, now) = (client_of(application, id), (self.clock)());
        if let Some((client, _)) = self.clients.0.get(&id).filter(|(_, expires_at)| *expires_at > now) {
            return Ok(Some(client));
        }
        let found = self.store.oauth_clients().get(&self.write()?, &id).await?;
        let Some(OauthClient { state, expires_at, .. }) = found.map(|found| found.document) else { return Ok(None) };
        if expires_at <= now {
            return Ok(None);
        }
        let client: Arc<Client> = Arc::new(serde_json::from_value(state).map_err(AccessError::key)?);
        self.clients.0.insert(id, (Arc::clone(&client), expires_at));
        Ok(Some(client))
    }

    async fn save_client(&self, client: &Client) -> Result<(), AccessError> {
        let grant = self.write()?;
        let life = if client.last_used_at.is_some() { FORGOTTEN } else { UNUSED };
        let document = OauthClient {
            source: client.application.to_string(),
            expires_at: (self.clock)().checked_add(life).map_err(AccessError::key)?,
            state: serde_json::to_value(client).map_err(AccessError::key)?,
        };
        let id = client_of(client.application, &client.id);
        if client.last_used_at.is_some() {
            self.store.oauth_clients().put(&grant, id, document).await?;
        } else {
            self.store.oauth_clients().register(&grant, id, document).await?;
        }
        self.clients.0.invalidate(&id);
        Ok(())
    }

    async fn keep_request(&self, request: &PendingRequest, source: &str) -> Result<(), AccessError> {
        let state = Secret::new(serde_json::to_string(request).map_err(AccessError::key)?);
        let life = Duration::from_secs(u64::try_from(REQUEST_LIFE).unwrap_or_default());
        let grant = self.write()?;
        self.store.login_states().begin(&grant, hash(request.id), source.to_owned(), &state, life).await?;
        Ok(())
    }

    async fn find_request(&self, request: Digest) -> Result<Option<PendingRequest>, AccessError> {
        let operate = self.principal.authorize::<Operate>(self.account)?;
        let states = self.store.login_states();
        let Some(mut found) = states.get(&self.write()?, &hash(request)).await? else { return Ok(None) };
        let state = states.open_members(&operate, &mut found)?.remove("state");
        // Another kind of login may have the id; it is no request of ours.
        Ok(state.and_then(|state| serde_json::from_str(state.expose()).ok()))
    }

    async fn keep_grant(&self, request: Digest, given: &KeptGrant) -> Result<bool, AccessError> {
        let (grant, id) = (self.write()?, id_of(given.grant.id));
        let grants = self.store.oauth_grants();
        let OauthGrant { user, client, application, session, expires_at, state } = document(given)?;
        let state = serde_json::to_value(state).map_err(AccessError::key)?;
        let document = OauthGrant { user, client, application, session, expires_at, state };
        if !grants.approve(&grant, hash(request), id, document).await? {
            return Ok(false);
        }
        // Whoever is revoked from here on takes the grant along; who was before is seen here.
        let session = SessionHash::of(given.grant.session.0);
        if self.is_standing(given.grant.user, session, given.session.issued).await? {
            return Ok(true);
        }
        grants.revoke(&grant, id).await?;
        Ok(false)
    }

    async fn find_grant(&self, id: GrantId) -> Result<Option<KeptGrant>, AccessError> {
        self.store.oauth_grants().get(&self.write()?, &id_of(id)).await?.map(kept).transpose()
    }

    async fn save_grant(&self, given: &KeptGrant) -> Result<Option<u64>, AccessError> {
        let id = id_of(given.grant.id);
        let read = Revision(i64::try_from(given.revision).unwrap_or(i64::MAX));
        let written = self.store.oauth_grants().settle(&self.write()?, id, &document(given)?, read).await?;
        Ok(written.map(number))
    }

    async fn find_active(&self, user: UserId) -> Result<bool, AccessError> {
        let Err(times) = self.people.find(user) else { return Ok(true) };
        let grant = self.principal.authorize::<ReadUsers>(self.account)?;
        let person = self.store.users().get(&grant, &user).await?;
        let is_active = person.is_some_and(|person| !person.document.disabled);
        if is_active {
            self.people.keep(user, times);
        }
        Ok(is_active)
    }

    async fn is_standing(&self, user: UserId, session: SessionHash, issued: Moment) -> Result<bool, AccessError> {
        let grant = self.principal.authorize::<ReadUsers>(self.account)?;
        let person = self.store.users().get(&grant, &user).await?;
        if person.is_none_or(|person| person.document.disabled) {
            return Ok(false);
        }
        let session = HashId::from_bytes(*session.bytes());
        for what in [Revoked::User(user), Revoked::Session(session), Revoked::Everything] {
            let revoked = self.store.revocations().get(&grant, &what).await?;
            if revoked.is_some_and(|revoked| issued.0 <= revoked.document.at.as_millisecond()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes over what other nodes and the console did to grants and people. What this node wrote itself it has.
    ///
    /// # Errors
    /// The store does not answer; the changes must be taken over again.
    pub(super) async fn follow(&self, changes: &[Change]) -> Result<(), AccessError> {
        for change in changes {
            match change {
                Change::Resync { .. } => {
                    self.grants.clear();
                    self.people.forget_all();
                }
                Change::Put(document) if document.kind == Kind::OauthGrant => {
                    let Ok(id) = document.id.parse::<HashId>() else { continue };
                    if self.grants.is_behind(grant_of(&id), document.revision.map(number)) {
                        self.read_again(grant_of(&id)).await?;
                    }
                }
                Change::Deleted(document) if document.kind == Kind::OauthGrant => {
                    if let Ok(id) = document.id.parse::<HashId>() {
                        self.grants.forget(grant_of(&id));
                    }
                }
                Change::ChildrenDeleted(document) if document.kind == Kind::OauthGrant => {
                    if let Ok(user) = document.id.parse() {
                        self.grants.forget_person(user);
                    }
                }
                Change::Put(document) | Change::Deleted(document) if document.kind == Kind::User => {
                    if let Ok(user) = document.id.parse() {
                        self.people.forget(user);
                    }
                }
                Change::Put(_) | Change::Deleted(_) | Change::ChildrenDeleted(_) => {}
            }
        }
        Ok(())
    }

    async fn read_again(&self, id: GrantId) -> Result<(), AccessError> {
        let ahead = self.grants.ahead(id);
        match self.find_grant(id).await {
            Ok(Some(found)) => ahead.enter(found, (self.clock)().as_second()),
            Ok(None) | Err(AccessError::Document(_)) => self.grants.forget(id),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl OauthLedger for StoreOauth {
    fn client<'a>(
        &'a self,
        application: ApplicationId,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<Client>>, LedgerError>> {
        Box::pin(async move { self.find_client(application, id).await.map_err(unavailable) })
    }

    fn count_clients(&self, application: ApplicationId) -> BoxFuture<'_, Result<usize, LedgerError>> {
        Box::pin(async move {
            let grant = self.write().map_err(unavailable)?;
            let clients = self.store.oauth_clients().list_of(&grant, application).await;
            Ok(clients.map_err(unavailable)?.len())
        })
    }

    fn keep_client<'a>(&'a self, client: &'a Client) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move { self.save_client(client).await.map_err(unavailable) })
    }

    fn begin<'a>(&'a self, request: &'a PendingRequest, source: &'a str) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move { self.keep_request(request, source).await.map_err(unavailable) })
    }

    fn pending(&self, request: Digest) -> BoxFuture<'_, Result<Option<PendingRequest>, LedgerError>> {
        Box::pin(async move { self.find_request(request).await.map_err(unavailable) })
    }

    fn approve<'a>(&'a self, request: Digest, grant: &'a KeptGrant) -> BoxFuture<'a, Result<bool, LedgerError>> {
        Box::pin(async move { self.keep_grant(request, grant).await.map_err(unavailable) })
    }

    fn abandon(&self, request: Digest) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(async move {
            let grant = self.write().map_err(unavailable)?;
            let taken = self.store.login_states().take(&grant, hash(request)).await;
            Ok(taken.map_err(unavailable)?.is_some())
        })
    }

    fn grant(&self, id: GrantId) -> BoxFuture<'_, Result<Option<KeptGrant>, LedgerError>> {
        Box::pin(async move { self.find_grant(id).await.map_err(unavailable) })
    }

    fn replace<'a>(&'a self, grant: &'a KeptGrant) -> BoxFuture<'a, Result<Option<u64>, LedgerError>> {
        Box::pin(async move { self.save_grant(grant).await.map_err(unavailable) })
    }

    fn is_active(&self, user: UserId) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(async move { self.find_active(user).await.map_err(unavailable) })
    }
}

/// Names of the public Internet alone. What is resolved is what is dialled, so no second resolution can change it.
#[derive(Debug)]
struct PublicOnly(Arc<dyn Resolve>);

impl Resolve for PublicOnly {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, Result<Resolved, ResolveError>> {
        Box::pin(async move {
            let mut found = self.0.resolve(host, port).await?;
            found.addresses.retain(|address| may_connect(IpAddr::to_canonical(&address.ip())));
            if found.addresses.is_empty() { Err(ResolveError::NotFound) } else { Ok(found) }
        })
    }
}

/// Makes the way to documents of clients, which strangers name.
///
/// # Errors
/// The roots cannot be used.
pub(super) fn documents(upstream: &Upstream, clock: &Clock) -> Result<Pool, AccessError> {
    let connector = Connector::new(ConnectorParams {
        resolver: Arc::new(PublicOnly(upstream.resolver())),
        guard: Guard::new(upstream.guard()),
        trust: TrustStore::new(&upstream.trust()).map_err(AccessError::key)?,
        clock: Arc::clone(clock),
        timeouts: DialTimeouts::default(),
    });
    Ok(Pool::new(Arc::new(connector.map_err(AccessError::key)?), PoolLimits::default()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use net::resolve::{Nowhere, Overridden, OverrideTable, Resolve as _};

    use super::PublicOnly;

    #[tokio::test]
    async fn a_name_of_a_client_that_leads_inside_leads_nowhere() {
        let mut names = OverrideTable::default();
        for (name, target) in
            [("inside.example", "10.0.0.1"), ("here.example", "127.0.0.1"), ("out.example", "93.184.215.14")]
        {
            names.insert_text(name, target).unwrap();
        }
        let resolver = PublicOnly(Arc::new(Overridden::new(names, Arc::new(Nowhere))));
        for (name, found) in
            [("inside.example", false), ("here.example", false), ("out.example", true), ("none.example", false)]
        {
            assert_eq!(resolver.resolve(name, 443).await.is_ok(), found, "{name}");
        }
    }
}
