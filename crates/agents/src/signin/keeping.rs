//! What is remembered of sign-ins, and their renewal.
//!
//! A call finds its credential in memory; the vault is asked when it is not there, and authorization servers when a token
//! is about to end. Invariants: one node renews a sign-in at a time, for it says so in the vault first, under the revision
//! it read; a renewal once begun is finished and kept whoever stops waiting for it; what an authorization server refuses
//! for good has lapsed, and what it merely does not answer has not.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue};
use mcp::names::ServerId;
use mcp::oauth::challenge::Challenge;
use mcp::oauth::client::Client;
use mcp::oauth::flow;
use mcp::oauth::grant::{AnswerError, Grant, LEASE, Tokens};
use moka::future::Cache as FutureCache;
use moka::sync::Cache;
use net::proxy::serve::Tasks;
use net::upstream::Pool;

use super::find::Found;
use super::wire::{Wire, WireError};
use super::{Kept, Owner, SignIn, Vault, VaultError};

/// Sign-ins that are remembered.
const MOST: u64 = 50_000;
const IDLE: Duration = Duration::from_secs(3_600);
/// That somebody is not signed in is looked up again after this, should nobody say that it changed.
const KEEP_ABSENT: Duration = Duration::from_secs(30);
/// What was found of a server's authorization server.
const KEEP_FOUND: Duration = Duration::from_secs(300);
const KEEP_CLIENT: Duration = Duration::from_secs(24 * 3_600);
/// Between two tries of a renewal ahead of its time.
const AGAIN: i64 = 15;
/// How often somebody looks whether another node is done.
const LOOK: Duration = Duration::from_millis(150);
const KEEP_FAILED: Duration = Duration::from_secs(5);
const KEEP_TRIES: usize = 5;

/// What sign-ins stand on.
pub struct SignInsParts {
    pub vault: Arc<dyn Vault>,
    /// The guarded way to authorization servers.
    pub pool: Pool,
    /// How long one may take to answer; below [`LEASE`].
    pub within: Duration,
    pub clock: net::Clock,
}

type Key = (Owner, ServerId);

/// The sign-ins of a node.
pub struct SignIns {
    pub(super) vault: Arc<dyn Vault>,
    pub(super) wire: Wire,
    clock: net::Clock,
    known: Cache<Key, Arc<Known>>,
    absent: Cache<Key, ()>,
    flights: Cache<Key, Arc<tokio::sync::Mutex<()>>>,
    /// Renewals that brought nothing a moment ago, and why: those who waited for one do not each try it again.
    failed: Cache<Key, String>,
    pub(super) found: FutureCache<String, Arc<Found>>,
    pub(super) clients: Cache<String, Arc<Client>>,
    pub(super) tasks: Tasks,
}

/// A sign-in in memory.
struct Known {
    grant: Grant,
    revision: i64,
    credential: Arc<Credential>,
    /// When a renewal ahead of time may be tried, in seconds since the epoch.
    next_try: AtomicI64,
}

/// What signs a request in.
#[derive(Debug)]
pub struct Credential {
    pub headers: HeaderMap,
    /// Of the sign-in: a session at the server was begun in it, and is of nobody else.
    pub sign_in: String,
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCredential {
    #[error("nobody has signed in")]
    Missing,
    #[error("the sign-in does not work any more")]
    Lapsed,
    /// The server wants more than was allowed.
    #[error("the server wants to be allowed more")]
    More,
    #[error("the sign-in cannot be used at the moment: {0}")]
    Unavailable(String),
}

impl From<VaultError> for NoCredential {
    fn from(error: VaultError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl Known {
    fn new(grant: Grant, revision: i64) -> Arc<Self> {
        let mut headers = HeaderMap::new();
        // Tokens are visible ASCII: the engine took no other.
        if let Ok(mut value) = HeaderValue::try_from(format!("Bearer {}", grant.access_token.expose())) {
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let credential = Arc::new(Credential { headers, sign_in: grant.state.sign_in.clone() });
        Arc::new(Self { grant, revision, credential, next_try: AtomicI64::new(0) })
    }
}

pub(super) fn kept(grant: &Grant) -> Kept {
    Kept {
        expires: grant.expires,
        lapsed: grant.lapsed,
        state: serde_json::to_value(&grant.state).unwrap_or_default(),
        tokens: grant.write(),
    }
}

impl SignIns {
    #[must_use]
    pub fn new(parts: SignInsParts) -> Arc<Self> {
        let SignInsParts { vault, pool, within, clock } = parts;
        Arc::new(Self {
            vault,
            wire: Wire { guarded: pool, within },
            clock,
            known: Cache::builder().max_capacity(MOST).time_to_idle(IDLE).build(),
            absent: Cache::builder().max_capacity(MOST).time_to_live(KEEP_ABSENT).build(),
            flights: Cache::builder().max_capacity(MOST).time_to_idle(Duration::from_secs(120)).build(),
            failed: Cache::builder().max_capacity(MOST).time_to_live(KEEP_FAILED).build(),
            found: FutureCache::builder().max_capacity(2_000).time_to_live(KEEP_FOUND).build(),
            clients: Cache::builder().max_capacity(2_000).time_to_live(KEEP_CLIENT).build(),
            tasks: Tasks::default(),
        })
    }

    pub(super) fn now(&self) -> i64 {
        (self.clock)().as_second()
    }

    /// Returns what signs `owner` in at a server. A token about to end is renewed on the side; one that has ended, first.
    ///
    /// # Errors
    /// Nobody is signed in, or not any more, or it cannot be known.
    pub async fn credential(
        self: &Arc<Self>,
        owner: Owner,
        server: &ServerId,
        site: &Arc<SignIn>,
    ) -> Result<Arc<Credential>, NoCredential> {
        let key = (owner, server.clone());
        let known = match self.known.get(&key) {
            Some(known) => known,
            None => self.look_up(&key).await?,
        };
        if !known.grant.stands(&site.settings) {
            return Err(NoCredential::Lapsed);
        }
        let now = self.now();
        let good = known.grant.is_good(&site.settings, now);
        if good && !known.grant.is_due(now) {
            return Ok(Arc::clone(&known.credential));
        }
        if good {
            let due = known.next_try.load(Ordering::Relaxed);
            let mine = now >= due
                && known.grant.can_renew()
                && known.next_try.compare_exchange(due, now + AGAIN, Ordering::Relaxed, Ordering::Relaxed).is_ok();
            if mine {
                drop(self.renew(key, site, &known));
            }
            return Ok(Arc::clone(&known.credential));
        }
        self.renewed(key, site, &known).await
    }

    /// Says how a sign-in stands.
    pub(crate) async fn standing(
        self: &Arc<Self>,
        owner: Owner,
        server: &ServerId,
        site: &SignIn,
    ) -> Result<(), NoCredential> {
        let key = (owner, server.clone());
        let known = match self.known.get(&key) {
            Some(known) => known,
            None => self.look_up(&key).await?,
        };
        let grant = &known.grant;
        let renewable =
            grant.stands(&site.settings) && (grant.can_renew() || grant.is_good(&site.settings, self.now()));
        match (renewable, &grant.state.wanted) {
            (false, _) => Err(NoCredential::Lapsed),
            (true, Some(_)) => Err(NoCredential::More),
            (true, None) => Ok(()),
        }
    }

    async fn look_up(&self, key: &Key) -> Result<Arc<Known>, NoCredential> {
        if self.absent.contains_key(key) {
            return Err(NoCredential::Missing);
        }
        match self.load(key).await? {
            Some(known) => {
                self.known.insert(key.clone(), Arc::clone(&known));
                Ok(known)
            }
            None => {
                self.absent.insert(key.clone(), ());
                Err(NoCredential::Missing)
            }
        }
    }

    async fn load(&self, key: &Key) -> Result<Option<Arc<Known>>, VaultError> {
        let Some((kept, revision)) = self.vault.load(key.0, &key.1).await? else { return Ok(None) };
        let grant = Grant::read(&kept.state, &kept.tokens, kept.expires, kept.lapsed)
            .ok_or_else(|| VaultError("a sign-in is of a form that is not known here".to_owned()))?;
        Ok(Some(Known::new(grant, revision)))
    }

    /// Hears that a sign-in was changed by another node: `revision` it has since, none where it is gone.
    pub fn changed(&self, owner: Owner, server: &ServerId, revision: Option<i64>) {
        let key = (owner, server.clone());
        self.absent.invalidate(&key);
        let newer = |known: &Arc<Known>| revision.is_none_or(|revision| known.revision < revision);
        if self.known.get(&key).is_some_and(|known| newer(&known)) {
            self.known.invalidate(&key);
        }
    }

    /// Hears that any of them may have changed.
    pub fn all_changed(&self) {
        self.known.invalidate_all();
        self.absent.invalidate_all();
    }

    fn remember(&self, key: &Key, grant: Grant, revision: i64) -> Arc<Known> {
        let known = Known::new(grant, revision);
        self.absent.invalidate(key);
        self.known.insert(key.clone(), Arc::clone(&known));
        known
    }

    /// A server took no credential: renews it, once for each that is refused. `again`: the renewed one was refused too.
    ///
    /// # Errors
    /// Nothing was there to renew it with, or it cannot be known; somebody has to sign in again.
    pub async fn refused(
        self: &Arc<Self>,
        (owner, server): (Owner, &ServerId),
        site: &Arc<SignIn>,
        used: &Credential,
        challenge: &Challenge,
        again: bool,
    ) -> Result<Arc<Credential>, NoCredential> {
        let key = (owner, server.clone());
        let known = match self.known.get(&key) {
            Some(known) => known,
            None => self.look_up(&key).await?,
        };
        if known.credential.headers != used.headers && known.grant.stands(&site.settings) && !again {
            return Ok(Arc::clone(&known.credential));
        }
        if challenge.is_step_up() {
            let wanted = flow::scope(challenge.scope.as_deref(), None, None);
            self.change(&key, |grant| {
                let mut grant = grant.clone();
                grant.state.wanted = wanted.clone().or_else(|| grant.state.scope.clone());
                grant
            })
            .await?;
            return Err(NoCredential::More);
        }
        // It may have gone over to another authorization server: the next sign-in asks it anew.
        self.found.invalidate(&site.settings).await;
        if known.grant.can_renew() && known.grant.stands(&site.settings) && !again {
            return self.renewed(key, site, &known).await;
        }
        let token = known.grant.access_token.clone();
        // Somebody may have signed in anew meanwhile.
        self.change(&key, |grant| if grant.access_token == token { grant.without_use() } else { grant.clone() })
            .await?;
        Err(NoCredential::Lapsed)
    }

    /// Changes what is kept, over whatever stands there.
    async fn change(&self, key: &Key, change: impl Fn(&Grant) -> Grant + Send) -> Result<(), NoCredential> {
        for _ in 0..KEEP_TRIES {
            let known = self.load(key).await?.ok_or(NoCredential::Missing)?;
            let grant = change(&known.grant);
            if let Some(revision) = self.vault.keep(key.0, &key.1, kept(&grant), Some(known.revision)).await? {
                self.remember(key, grant, revision);
                return Ok(());
            }
        }
        Err(NoCredential::Unavailable("it changes too often".to_owned()))
    }

    async fn renewed(
        self: &Arc<Self>,
        key: Key,
        site: &Arc<SignIn>,
        known: &Arc<Known>,
    ) -> Result<Arc<Credential>, NoCredential> {
        let ended = || NoCredential::Unavailable("the portal is stopping".to_owned());
        self.renew(key, site, known).await.unwrap_or_else(|_| Err(ended()))
    }

    /// Renews a sign-in in a task of its own: what it brings is kept even if nobody waits any more.
    fn renew(
        self: &Arc<Self>,
        key: Key,
        site: &Arc<SignIn>,
        seen: &Arc<Known>,
    ) -> tokio::sync::oneshot::Receiver<Result<Arc<Credential>, NoCredential>> {
        let (done, wait) = tokio::sync::oneshot::channel();
        let (this, site, seen) = (Arc::clone(self), Arc::clone(site), Arc::clone(seen));
        self.tasks.spawn(async move {
            let outcome = this.renew_alone(&key, &site, &seen).await;
            if let Err(reason) = &outcome {
                tracing::info!(owner = %key.0, server = %key.1, %reason, "a sign-in at an MCP server was not renewed");
            }
            // Nobody may be waiting.
            let _ = done.send(outcome.map(|known| Arc::clone(&known.credential)));
        });
        wait
    }

    async fn renew_alone(&self, key: &Key, site: &SignIn, seen: &Known) -> Result<Arc<Known>, NoCredential> {
        let flight = self.flights.get_with(key.clone(), Arc::default);
        let _alone = flight.lock().await;
        if let Some(reason) = self.failed.get(key) {
            return Err(NoCredential::Unavailable(reason));
        }
        let patience = self.now() + LEASE + 5;
        loop {
            let known = self.load(key).await?.ok_or(NoCredential::Missing)?;
            let (grant, now) = (&known.grant, self.now());
            if !grant.stands(&site.settings) {
                self.known.insert(key.clone(), known);
                return Err(NoCredential::Lapsed);
            }
            // Another task or node was first.
            if grant.access_token != seen.grant.access_token && grant.is_good(&site.settings, now) {
                self.known.insert(key.clone(), Arc::clone(&known));
                return Ok(known);
            }
            if grant.state.renewing.is_some_and(|until| until > now) {
                if now > patience {
                    return Err(NoCredential::Unavailable("another node has been renewing it for too long".to_owned()));
                }
                tokio::time::sleep(LOOK).await;
                continue;
            }
            let Some(request) = grant.renewal() else {
                self.change(key, Grant::without_use).await?;
                return Err(NoCredential::Lapsed);
            };
            let mut claimed = grant.clone();
            claimed.state.renewing = Some(now + LEASE);
            let Some(revision) = self.vault.keep(key.0, &key.1, kept(&claimed), Some(known.revision)).await? else {
                continue;
            };
            let answer = self.wire.post_form(site, &request).await.map_err(|error| words(&error));
            let tokens = answer.map(|answer| Tokens::parse(answer.status, &answer.body));
            return self.settle(key, grant, revision, tokens).await;
        }
    }

    /// Keeps what came of a renewal.
    async fn settle(
        &self,
        key: &Key,
        before: &Grant,
        revision: i64,
        tokens: Result<Result<Tokens, AnswerError>, String>,
    ) -> Result<Arc<Known>, NoCredential> {
        let now = self.now();
        let (grant, outcome) = match tokens {
            Ok(Ok(tokens)) => (before.renewed(tokens, now), Ok(())),
            Ok(Err(error)) if error.is_final() => (before.without_use(), Err(NoCredential::Lapsed)),
            Ok(Err(error)) => (released(before), Err(NoCredential::Unavailable(error.to_string()))),
            Err(reason) => (released(before), Err(NoCredential::Unavailable(reason))),
        };
        let mut kept_at = None;
        for attempt in 0..KEEP_TRIES {
            match self.vault.keep(key.0, &key.1, kept(&grant), Some(revision)).await {
                Ok(Some(revision)) => {
                    kept_at = Some(revision);
                    break;
                }
                // The person signed out, or in anew: theirs counts.
                Ok(None) => {
                    self.known.invalidate(key);
                    return self.load(key).await?.ok_or(NoCredential::Missing);
                }
                Err(error) if attempt + 1 == KEEP_TRIES => {
                    tracing::error!(%error, server = %key.1, "a renewed sign-in could not be kept; it lives in memory alone");
                }
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
        let known = self.remember(key, grant, kept_at.unwrap_or(revision));
        match outcome {
            Ok(()) => Ok(known),
            Err(NoCredential::Unavailable(reason)) => {
                known.next_try.store(now + AGAIN, Ordering::Relaxed);
                self.failed.insert(key.clone(), reason.clone());
                Err(NoCredential::Unavailable(reason))
            }
            Err(error) => Err(error),
        }
    }

    /// Waits for what is under way, a little; then it ends.
    pub async fn end(&self) {
        self.tasks.tracker.close();
        let patience = tokio::time::timeout(Duration::from_secs(2), self.tasks.tracker.wait());
        if patience.await.is_err() {
            self.tasks.kill.cancel();
        }
    }
}

fn released(grant: &Grant) -> Grant {
    let mut grant = grant.clone();
    grant.state.renewing = None;
    grant
}

/// An error with its causes.
pub(super) fn words(error: &WireError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
