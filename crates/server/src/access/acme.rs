//! Certificates for the hosts of the access listener, ordered over ACME.
//!
//! Which hosts, when, and what is kept stand here; how one order goes is `net::acme`'s. A host is claimed in the store
//! before it is ordered for, so that of many nodes one does, and what proves the name is stored too, for the authority may
//! ask any node. Invariant: what is in force is replaced only by something that an authority issued and that can be
//! served; without it the listener goes on with a certificate of the account's own authority, and the store says why.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ::access::Snapshot;
use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use net::acme::{Acme, AcmeError, AcmeSettings, Issued, schedule};
use net::guard::Allow;
use net::upstream::{Connector, ConnectorParams, DialTimeouts, Pool, PoolLimits, TrustParams, TrustStore};
use net::{Clock, Guard};
use parking_lot::Mutex;
use store::{
    AcmeAccount, Change, ChangeFeed, Grant, HashId, IssuedCertificate, Kind, ListenerCertificate, Only, Operate,
    Principal, Store, StoreError, Stored,
};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use types::{AccountId, Secret};

use super::AccessError;
use super::build::{Builder, Fault};
use crate::config::AcmeConfig;
use crate::state::Settle;
use crate::upstream::Upstream;

/// How often what is due is looked at when nothing says that something changed, at least and at most.
const LOOK: Duration = Duration::from_secs(15);
const SOON: Duration = Duration::from_secs(1);
/// For how long a host is claimed: an order, with the patience of every step.
const CLAIM: Duration = Duration::from_secs(8 * 60);
/// Hosts that are ordered for at most; authorities count certificates by the week.
const MOST_HOSTS: usize = 100;
/// The sealed member of an account, and of a certificate.
const CREDENTIALS: &str = "credentials";
const PRIVATE_KEY: &str = "private_key";

/// Why orders cannot be looked after at the moment.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrdersError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Denied(#[from] store::Denied),
}

/// Owned by the one task that runs it.
pub(crate) struct Orders {
    pub(super) store: Store,
    pub(super) account: AccountId,
    pub(super) clock: Clock,
    pub(super) config: AcmeConfig,
    pub(super) pool: Pool,
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    /// Answered once the proofs and certificates that are stored are in force at this node.
    pub(super) settle: Settle,
    pub(super) feed: ChangeFeed,
    /// How long other nodes are given to take a proof over.
    pub(super) spread: Duration,
}

/// Makes the way to the authority: roots of its own where the configuration names some. It was named by whoever runs the
/// machine, so it may be on it.
///
/// # Errors
/// The roots cannot be used.
pub(super) fn way(upstream: &Upstream, clock: &Clock, roots: Option<&str>) -> Result<Pool, AccessError> {
    let trust = match roots {
        None => upstream.trust(),
        Some(pem) => TrustParams {
            bundled_roots: false,
            native_roots: false,
            extra_pem: vec![pem.to_owned()],
            ..TrustParams::default()
        },
    };
    let mut guard = upstream.guard();
    guard.allow.extend(["127.0.0.0/8", "::1/128"].into_iter().flat_map(str::parse::<Allow>));
    let connector = Connector::new(ConnectorParams {
        resolver: upstream.resolver(),
        guard: Guard::new(guard),
        trust: TrustStore::new(&trust).map_err(AccessError::key)?,
        clock: Arc::clone(clock),
        timeouts: DialTimeouts::default(),
    });
    Ok(Pool::new(Arc::new(connector.map_err(AccessError::key)?), PoolLimits::default()))
}

impl Orders {
    /// Orders what is due until `stop`. An order that is broken off is taken up again when its claim ends.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        // A moment, not a pause: a store that never rests must not keep a certificate from its renewal.
        let mut look = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(look) => {}
                changes = self.feed.next() => if !changes.iter().any(concerns) { continue },
            }
            // What is published is read from the snapshot, which follows the same feed.
            self.in_force().await;
            let pause = match stop.run_until_cancelled(Box::pin(self.round())).await {
                None => return,
                Some(Ok(next)) => {
                    let left = next.duration_since((self.clock)()).try_into().unwrap_or(Duration::ZERO);
                    left.clamp(SOON, LOOK)
                }
                Some(Err(error)) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "certificates cannot be looked after");
                    LOOK
                }
            };
            look = Instant::now() + pause;
        }
    }

    /// Waits until everything stored so far is in force at this node; `false` once the platform stops.
    async fn in_force(&self) -> bool {
        let (sender, settled) = oneshot::channel();
        self.settle.send(sender).await.is_ok() && settled.await.is_ok()
    }

    /// Orders what is due, and returns when the next is.
    async fn round(&self) -> Result<Timestamp, OrdersError> {
        let grant = Principal::system("acme").authorize::<Operate>(self.account)?;
        let certificates = self.store.listener_certificates();
        let wanted = {
            let snapshot = self.snapshot.load();
            wanted(published(&snapshot), &self.config.names)
        };
        let mut known: HashMap<String, Stored<ListenerCertificate>> = HashMap::new();
        for stored in certificates.list(&grant).await? {
            known.insert(stored.document.name.clone(), stored);
        }
        let now = (self.clock)();
        let mut next = Timestamp::MAX;
        for name in &wanted {
            if !known.contains_key(name) {
                let created = certificates.create(&grant, id(name), self.blank(name, now)).await;
                if let Some(stored) = unless_raced(created)? {
                    known.insert(name.clone(), stored);
                }
            }
        }
        for (name, mut stored) in known {
            let now = (self.clock)();
            if !wanted.contains(&name) {
                // One in use stays until its end: the host may be published again.
                if stored.document.issued.as_ref().is_none_or(|issued| issued.not_after <= now) {
                    unless_raced(certificates.delete(&grant, &stored.id, Some(stored.revision)).await)?;
                }
                continue;
            }
            if stored.document.directory != self.config.directory {
                let fresh = ListenerCertificate { issued: stored.document.issued.take(), ..self.blank(&name, now) };
                let replaced = certificates.replace(&grant, stored.id, fresh, Some(stored.revision)).await;
                let Some(replaced) = unless_raced(replaced)? else { continue };
                stored = replaced;
            }
            let due = stored.document.next_attempt_at;
            next = next.min(if due <= now { self.attempt(&grant, stored, now).await?.unwrap_or(due) } else { due });
        }
        Ok(next)
    }

    fn blank(&self, name: &str, now: Timestamp) -> ListenerCertificate {
        ListenerCertificate {
            name: name.to_owned(),
            directory: self.config.directory.clone(),
            issued: None,
            next_attempt_at: now,
            failures: 0,
            failure: None,
            challenge: None,
        }
    }

    /// Claims a host and orders for it; returns when the next attempt is, `None` if another node has it.
    async fn attempt(
        &self,
        grant: &Grant<Operate>,
        stored: Stored<ListenerCertificate>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, OrdersError> {
        let certificates = self.store.listener_certificates();
        let claim = ListenerCertificate { next_attempt_at: later(now, CLAIM), ..stored.document };
        let claimed = certificates.replace(grant, stored.id, claim, Some(stored.revision)).await;
        let Some(claimed) = unless_raced(claimed)? else { return Ok(None) };
        let claimed = Mutex::new(claimed);
        let name = claimed.lock().document.name.clone();
        let outcome = self.order(grant, &name, &claimed).await;
        let now = (self.clock)();
        let claimed = claimed.into_inner();
        let before = claimed.document;
        let document = match outcome {
            Ok(issued) => {
                let key = Secret::new(STANDARD.encode(issued.private_key.expose()));
                let (not_before, not_after) = (issued.certificate.not_before, issued.certificate.not_after);
                tracing::info!(name, until = %not_after, "a certificate was issued");
                let private_key = certificates.seal_member(grant, &claimed.id, PRIVATE_KEY, &key)?;
                ListenerCertificate {
                    issued: Some(IssuedCertificate { chain: issued.chain, private_key, not_before, not_after }),
                    next_attempt_at: schedule::renewal(not_before, not_after, chance()),
                    failures: 0,
                    failure: None,
                    challenge: None,
                    ..before
                }
            }
            Err(error) => {
                let failures = before.failures.saturating_add(1);
                let again = schedule::pause(failures, error.retry_after(), chance());
                let (failure, next_attempt_at) = (error.to_string(), later(now, again));
                let shown =
                    if before.issued.is_some() { "the one before" } else { "one of the account's own authority" };
                tracing::warn!(name, reason = failure, next = %next_attempt_at, shown, "no certificate was issued");
                ListenerCertificate { next_attempt_at, failures, failure: Some(failure), challenge: None, ..before }
            }
        };
        let next = document.next_attempt_at;
        unless_raced(certificates.replace(grant, claimed.id, document, Some(claimed.revision)).await)?;
        Ok(Some(next))
    }

    /// Orders for one name; its proof is stored over `claimed` and taken back by whoever writes the outcome.
    async fn order(
        &self,
        grant: &Grant<Operate>,
        name: &str,
        claimed: &Mutex<Stored<ListenerCertificate>>,
    ) -> Result<Issued, AcmeError> {
        let acme = self.open(grant).await?;
        let show = |digest: String| async move {
            let held = claimed.lock().clone();
            let document = ListenerCertificate { challenge: Some(digest), ..held.document };
            let saved = self.store.listener_certificates().replace(grant, held.id, document, Some(held.revision)).await;
            *claimed.lock() = saved.map_err(|error| error.to_string())?;
            if !self.in_force().await {
                return Err("the listener is being stopped".to_owned());
            }
            tokio::time::sleep(self.spread).await;
            Ok(())
        };
        let issued = acme.issue(name, show).await;
        if matches!(&issued, Err(AcmeError::Refused { text, .. }) if text.contains("accountDoesNotExist")) {
            // The authority forgot the account, as test authorities do; the next attempt opens another.
            let forgotten = self.store.acme_account().delete(grant, &Only, None).await;
            if let Err(error) = forgotten {
                tracing::error!(%error, "the account at the authority cannot be forgotten");
            }
        }
        issued
    }

    /// Goes on with the account at the authority, or opens one.
    async fn open(&self, grant: &Grant<Operate>) -> Result<Acme, AcmeError> {
        let stored = |error: StoreError| AcmeError::Proof(format!("the store does not answer: {error}"));
        let accounts = self.store.acme_account();
        if let Some(mut known) = accounts.get(grant, &Only).await.map_err(stored)?
            && known.document.directory == self.config.directory
            && known.document.contact == self.config.contact
        {
            let opened = accounts.open_members(grant, &mut known).map_err(stored)?.remove(CREDENTIALS);
            return Acme::resume(self.pool.clone(), &opened.ok_or(AcmeError::Credentials)?).await;
        }
        let settings = AcmeSettings { directory: self.config.directory.clone(), contact: self.config.contact.clone() };
        let (acme, credentials) = Acme::register(self.pool.clone(), &settings).await?;
        let credentials = accounts.seal_member(grant, &Only, CREDENTIALS, &credentials).map_err(stored)?;
        let AcmeSettings { directory, contact } = settings;
        // Of two nodes that open one at once, the last keeps its own; the other's is used for this order alone.
        accounts.put(grant, Only, AcmeAccount { directory, contact, credentials }).await.map_err(stored)?;
        Ok(acme)
    }
}

/// Takes over what is stored: the certificates in use, and the proofs of orders under way on any node.
///
/// # Errors
/// The store does not answer.
pub(super) async fn read(
    builder: &Builder,
    faults: &mut Vec<Fault>,
) -> Result<HashMap<String, Arc<net::acme::ListenerCertificate>>, AccessError> {
    let grant = builder.principal.authorize::<Operate>(builder.account)?;
    let certificates = builder.store.listener_certificates();
    let (mut in_use, mut proving) = (HashMap::new(), BTreeSet::new());
    for mut stored in certificates.list(&grant).await? {
        let name = stored.document.name.clone();
        if let Some(digest) = &stored.document.challenge {
            match builder.challenges.put(&name, digest) {
                Ok(()) => drop(proving.insert(name.clone())),
                Err(error) => faults.push((format!("the proof for {name}"), error.to_string())),
            }
        }
        let opened = certificates.open_members(&grant, &mut stored)?.remove(PRIVATE_KEY);
        let Some((issued, key)) = stored.document.issued.zip(opened) else { continue };
        let key = Secret::new(STANDARD.decode(key.expose()).map_err(AccessError::key)?);
        match net::acme::ListenerCertificate::load(&name, &issued.chain, key.expose()) {
            Ok(certificate) => drop(in_use.insert(name, Arc::new(certificate))),
            Err(error) => faults.push((format!("the certificate for {name}"), error.to_string())),
        }
    }
    builder.challenges.keep_only(|name| proving.contains(name));
    Ok(in_use)
}

/// The hosts that the listener serves by one name.
fn published(snapshot: &Snapshot) -> impl Iterator<Item = &str> {
    let applications = snapshot.applications.iter().filter_map(|published| published.self_hosted());
    let hosts = applications.flat_map(|app| &app.destinations).filter(|pattern| pattern.has_exact_host());
    hosts.map(|pattern| pattern.host()).chain([snapshot.organization.auth_domain.as_str()])
}

/// Which of them an authority is asked about: those the configuration names, else those that can be known in the Internet.
fn wanted<'a>(published: impl Iterator<Item = &'a str>, named: &[String]) -> BTreeSet<String> {
    let asked = |host: &&str| match named {
        [] => schedule::is_public_name(host),
        named => named.iter().any(|name| name == host),
    };
    let hosts: BTreeSet<&str> = published.filter(asked).collect();
    if hosts.len() > MOST_HOSTS {
        tracing::warn!(hosts = hosts.len(), most = MOST_HOSTS, "more hosts than certificates are ordered for");
    }
    hosts.into_iter().take(MOST_HOSTS).map(str::to_owned).collect()
}

fn id(name: &str) -> HashId {
    HashId::of(name.as_bytes())
}

/// Another node was faster: what it wrote is looked at in the next round.
fn unless_raced<T>(outcome: Result<T, StoreError>) -> Result<Option<T>, OrdersError> {
    match outcome {
        Ok(done) => Ok(Some(done)),
        Err(StoreError::Taken(_) | StoreError::Stale(_) | StoreError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn later(now: Timestamp, pause: Duration) -> Timestamp {
    now.saturating_add(pause).unwrap_or(Timestamp::MAX)
}

/// A number from 0 to 1, so that nodes and hosts do not act at the same moment.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness nothing is spread, which is no fault.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX)
}

fn concerns(change: &Change) -> bool {
    match change {
        Change::Resync { .. } => true,
        Change::Put(document) | Change::Deleted(document) | Change::ChildrenDeleted(document) => {
            matches!(document.kind, Kind::Application | Kind::Organization | Kind::ListenerCertificate)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_HOSTS, wanted};

    #[test]
    fn hosts_are_those_the_configuration_names_or_those_the_internet_can_know() {
        let published = ["wiki.localhost", "docs.example.net", "printer.lan", "a.acme.com", "docs.example.net"];
        let all = |named: &[&str]| {
            let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
            wanted(published.into_iter(), &named).into_iter().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(all(&[]), "a.acme.com docs.example.net");
        assert_eq!(all(&["printer.lan", "not-published.example.net"]), "printer.lan");
        let many: Vec<String> = (0..200).map(|number| format!("{number}.example.net")).collect();
        assert_eq!(wanted(many.iter().map(String::as_str), &[]).len(), MOST_HOSTS);
    }
}
