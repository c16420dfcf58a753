//! From a host name to the addresses it may be dialled at.
//!
//! It decides where names come from: fixed overrides first, then a bounded cache, then the system's name servers. It
//! does not judge the addresses; [`crate::guard`] does, on each one, at the moment it is dialled. Invariant: the cache
//! and every answer are bounded, and no answer is kept longer than its time to live.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use hickory_resolver::TokioResolver;

/// Addresses kept of one answer.
const MAX_ADDRESSES: usize = 16;

/// Names remembered at once.
const MAX_CACHED: u64 = 10_000;

/// However long a zone asks for, an address is looked up again after this.
const LONGEST: Duration = Duration::from_secs(300);

/// However short a zone asks for, an address is used this long: a page asks for its host dozens of times.
const SHORTEST: Duration = Duration::from_secs(1);

/// What a resolver found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// In the order of preference; never empty.
    pub addresses: Vec<SocketAddr>,
    /// How long the answer may be kept.
    pub valid_for: Duration,
}

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error("name does not exist or has no address")]
    NotFound,
    #[error("name server did not answer in time")]
    Timeout,
    #[error("name server failed: {0}")]
    Failed(String),
}

/// Looks names up.
pub trait Resolve: fmt::Debug + Send + Sync {
    /// Finds the addresses for `host`, a normalised name, as they are to be dialled for `port`.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, Result<Resolved, ResolveError>>;
}

/// Asks the name servers this machine is configured with.
pub struct SystemResolver {
    /// Absent when the machine's configuration cannot be read; the C library is asked then.
    hickory: Option<TokioResolver>,
}

impl fmt::Debug for SystemResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemResolver").field("hickory", &self.hickory.is_some()).finish()
    }
}

impl SystemResolver {
    /// Reads the system's configuration. Call it on the runtime that will use the resolver.
    pub fn new() -> Self {
        let built = TokioResolver::builder_tokio().and_then(|mut builder| {
            let options = builder.options_mut();
            options.timeout = Duration::from_secs(2);
            options.attempts = 2;
            options.cache_size = 1_024;
            options.negative_max_ttl = Some(Duration::from_secs(10));
            builder.build()
        });
        if let Err(error) = &built {
            tracing::warn!(%error, "system name servers cannot be read, asking the C library");
        }
        Self { hickory: built.ok() }
    }
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self::new()
    }
}

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, Result<Resolved, ResolveError>> {
        Box::pin(async move {
            match &self.hickory {
                Some(resolver) => ask_name_servers(resolver, host, port).await,
                None => ask_library(host, port).await,
            }
        })
    }
}

async fn ask_name_servers(resolver: &TokioResolver, host: &str, port: u16) -> Result<Resolved, ResolveError> {
    // A final dot keeps search domains out: `intranet.example` must never become `intranet.example.corp.example`.
    let name = if host.contains('.') { format!("{host}.") } else { host.to_owned() };
    let found = resolver.lookup_ip(name).await.map_err(|error| {
        if error.is_nx_domain() || error.is_no_records_found() {
            ResolveError::NotFound
        } else if matches!(error, hickory_resolver::net::NetError::Timeout) {
            ResolveError::Timeout
        } else {
            ResolveError::Failed(error.to_string())
        }
    })?;
    let valid_for = found.valid_until().saturating_duration_since(Instant::now());
    answer(found.iter(), port, valid_for)
}

async fn ask_library(host: &str, port: u16) -> Result<Resolved, ResolveError> {
    let found = tokio::net::lookup_host((host, port)).await.map_err(|error| ResolveError::Failed(error.to_string()))?;
    answer(found.map(|address| address.ip()), port, Duration::from_secs(30))
}

fn answer(addresses: impl Iterator<Item = IpAddr>, port: u16, valid_for: Duration) -> Result<Resolved, ResolveError> {
    let addresses: Vec<_> = addresses.take(MAX_ADDRESSES).map(|address| SocketAddr::new(address, port)).collect();
    if addresses.is_empty() { Err(ResolveError::NotFound) } else { Ok(Resolved { addresses, valid_for }) }
}

/// Remembers what another resolver found. Concurrent questions for one name are asked once.
pub struct Cached {
    next: Arc<dyn Resolve>,
    cache: moka::future::Cache<(Arc<str>, u16), Resolved>,
}

impl fmt::Debug for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached").field("next", &self.next).finish_non_exhaustive()
    }
}

impl Cached {
    pub fn new(next: Arc<dyn Resolve>) -> Self {
        let cache = moka::future::Cache::builder().max_capacity(MAX_CACHED).expire_after(ByAnswer).build();
        Self { next, cache }
    }
}

impl Resolve for Cached {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, Result<Resolved, ResolveError>> {
        Box::pin(async move {
            let key = (Arc::from(host), port);
            let found = self.cache.try_get_with(key, self.next.resolve(host, port)).await;
            found.map_err(|error| ResolveError::clone(&error))
        })
    }
}

struct ByAnswer;

impl moka::Expiry<(Arc<str>, u16), Resolved> for ByAnswer {
    fn expire_after_create(&self, _: &(Arc<str>, u16), found: &Resolved, _: Instant) -> Option<Duration> {
        Some(found.valid_for.clamp(SHORTEST, LONGEST))
    }
}

/// Where an overridden name leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Override {
    /// Another address, the same port.
    Address(IpAddr),
    /// Another address and port, for a service that could not bind the well-known one.
    Socket(SocketAddr),
}

/// The overrides in force: by name, and by name and port where only one port is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OverrideTable(HashMap<(String, Option<u16>), Override>);

/// A pair of texts that is no override.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} must be a host name, optionally with :port, and {target:?} an address, optionally with :port")]
pub struct OverrideError {
    name: String,
    target: String,
}

impl OverrideTable {
    /// Reads `host` or `host:port`, and the `address` or `address:port` it leads to.
    ///
    /// # Errors
    /// With both texts, when either is neither.
    pub fn insert_text(&mut self, name: &str, target: &str) -> Result<(), OverrideError> {
        let fault = || OverrideError { name: name.to_owned(), target: target.to_owned() };
        let (host, port) = match name.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| fault())?)),
            None => (name, None),
        };
        // The parsed form is what lookups ask for: lower case, in ASCII, without a final dot.
        let host = crate::host::Host::parse(host).map_err(|_| fault())?.to_string();
        let target = match target.parse::<SocketAddr>() {
            Ok(socket) => Override::Socket(socket),
            Err(_) => Override::Address(target.parse().map_err(|_| fault())?),
        };
        self.insert(&host, port, target);
        Ok(())
    }

    /// Sends `host`, on `port` or on every port without a more exact entry, to `target`.
    pub fn insert(&mut self, host: &str, port: Option<u16>, target: Override) {
        self.0.insert((host.to_ascii_lowercase(), port), target);
    }

    fn find(&self, host: &str, port: u16) -> Option<SocketAddr> {
        if self.0.is_empty() {
            return None;
        }
        let exact = self.0.get(&(host.to_owned(), Some(port)));
        exact.or_else(|| self.0.get(&(host.to_owned(), None))).map(|target| match target {
            Override::Address(address) => SocketAddr::new(*address, port),
            Override::Socket(address) => *address,
        })
    }
}

/// Answers some names from a table and asks another resolver for the rest.
#[derive(Debug)]
pub struct Overridden {
    table: ArcSwap<OverrideTable>,
    next: Arc<dyn Resolve>,
}

impl Overridden {
    pub fn new(table: OverrideTable, next: Arc<dyn Resolve>) -> Self {
        Self { table: ArcSwap::from_pointee(table), next }
    }

    /// Puts another table in force; lookups under way keep the old one.
    pub fn replace(&self, table: OverrideTable) {
        self.table.store(Arc::new(table));
    }
}

impl Resolve for Overridden {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, Result<Resolved, ResolveError>> {
        if let Some(address) = self.table.load().find(host, port) {
            let found = Resolved { addresses: vec![address], valid_for: LONGEST };
            return Box::pin(std::future::ready(Ok(found)));
        }
        self.next.resolve(host, port)
    }
}

/// Knows no name. For tests and for gateways that may reach only overridden names.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nowhere;

impl Resolve for Nowhere {
    fn resolve<'a>(&'a self, _host: &'a str, _port: u16) -> BoxFuture<'a, Result<Resolved, ResolveError>> {
        Box::pin(std::future::ready(Err(ResolveError::NotFound)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures_util::future::BoxFuture;

    use super::{
        Cached, Nowhere, Overridden, Override, OverrideTable, Resolve, ResolveError, Resolved, SystemResolver,
    };

    #[derive(Debug, Default)]
    struct Counting(AtomicUsize);

    impl Resolve for Counting {
        fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, Result<Resolved, ResolveError>> {
            Box::pin(async move {
                self.0.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                if host == "missing.example" {
                    return Err(ResolveError::NotFound);
                }
                Ok(Resolved { addresses: vec![([192, 0, 2, 1], port).into()], valid_for: Duration::from_secs(60) })
            })
        }
    }

    #[tokio::test]
    async fn concurrent_and_later_questions_are_asked_once() {
        let counting = Arc::new(Counting::default());
        let cached = Cached::new(Arc::<Counting>::clone(&counting));
        let answers = futures_util::future::join_all((0..8).map(|_| cached.resolve("a.example", 443))).await;
        assert!(answers.iter().all(Result::is_ok));
        cached.resolve("a.example", 443).await.unwrap();
        assert_eq!(counting.0.load(Ordering::Relaxed), 1);
        cached.resolve("a.example", 80).await.unwrap();
        assert_eq!(counting.0.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_failure_is_not_remembered() {
        let counting = Arc::new(Counting::default());
        let cached = Cached::new(Arc::<Counting>::clone(&counting));
        for _ in 0..2 {
            assert_eq!(cached.resolve("missing.example", 443).await, Err(ResolveError::NotFound));
        }
        assert_eq!(counting.0.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn overrides_answer_before_anyone_is_asked() {
        let mut table = OverrideTable::default();
        table.insert("finance.demo", Some(443), Override::Socket("127.0.0.1:40443".parse().unwrap()));
        table.insert("finance.demo", None, Override::Address("192.0.2.9".parse().unwrap()));
        let resolver = Overridden::new(table, Arc::new(Nowhere));
        for (host, port, expected) in [
            ("finance.demo", 443, Some("127.0.0.1:40443")),
            ("finance.demo", 80, Some("192.0.2.9:80")),
            ("other.demo", 443, None),
        ] {
            let found = resolver.resolve(host, port).await.ok().map(|found| found.addresses[0].to_string());
            assert_eq!(found.as_deref(), expected, "{host}:{port}");
        }
        resolver.replace(OverrideTable::default());
        assert_eq!(resolver.resolve("finance.demo", 443).await, Err(ResolveError::NotFound));
    }

    #[tokio::test]
    async fn the_system_resolver_knows_this_machine() {
        let found = SystemResolver::new().resolve("localhost", 80).await.unwrap();
        assert!(found.addresses.iter().all(|address| address.ip().is_loopback()), "{found:?}");
    }
}
