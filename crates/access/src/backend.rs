//! The way to an application: which pool, which route, which `Host`.
//!
//! It turns an origin as it was written into what `net` dials. It opens nothing itself. Invariant: two origins with
//! different trust never share a connection, and an origin that asks for verification is never reached without it.

use std::collections::HashMap;
use std::sync::Arc;

use identity::origin::{Origin, OriginTarget};
use net::guard::{Allow, GuardParams};
use net::resolve::Resolve;
use net::upstream::{
    CertificatePolicy, Connector, ConnectorParams, DialTimeouts, Pool, PoolLimits, Route, TrustError, TrustParams,
    TrustStore,
};
use net::{Clock, Guard, Host, Offer, Scheme};
use parking_lot::Mutex;

/// How requests reach an application.
#[derive(Debug, Clone)]
pub struct Backend {
    pub pool: Pool,
    pub route: Route,
    /// The `Host` the application sees; `None` keeps the one the person asked for.
    pub host_header: Option<String>,
}

/// Why an origin cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    #[error("the origin's host is not one")]
    Host(#[source] net::host::HostError),
    #[error("the origin's certificate authorities cannot be used")]
    Trust(#[from] TrustError),
    #[error("cannot set up TLS towards the origin")]
    Tls(#[from] rustls::Error),
}

/// What pools towards origins are made from.
pub struct OriginParts {
    pub resolver: Arc<dyn Resolve>,
    /// The platform's own addresses, and what the network settings allow beyond the guard.
    pub guard: GuardParams,
    /// Believed where an origin names no authority of its own.
    pub trust: TrustParams,
    pub clock: Clock,
}

/// Makes backends and remembers their pools, so that connections survive a change of configuration.
pub struct Backends {
    parts: OriginParts,
    /// By the authorities an origin trusts; `None` is the common trust.
    pools: Mutex<HashMap<Option<String>, Pool>>,
}

impl Backends {
    #[must_use]
    pub fn new(parts: OriginParts) -> Self {
        Self { parts, pools: Mutex::default() }
    }

    /// Makes the way to an origin. Call it on the runtime that drives the connections.
    ///
    /// # Errors
    /// If the origin's host or authorities cannot be used.
    pub fn backend(&self, origin: &Origin) -> Result<Backend, BackendError> {
        let (host, port, scheme) = match &origin.target {
            OriginTarget::Http { host, port } => (host.as_str(), *port, Scheme::Http),
            OriginTarget::Https { host, port, .. } => (host.as_str(), *port, Scheme::Https),
            OriginTarget::Unix(_) => ("localhost", 80, Scheme::Http),
        };
        let host = Host::parse(host).map_err(BackendError::Host)?;
        let origin_address = net::Origin::new(scheme, host, port);
        // Without TLS nothing is negotiated, and HTTP/1.1 is what every server speaks.
        let offer = if scheme == Scheme::Https { Offer::Both } else { Offer::Http1 };
        let mut route = Route::new(origin_address, offer);
        let mut authorities = None;
        match &origin.target {
            OriginTarget::Http { .. } => {}
            OriginTarget::Unix(path) => route = route.with_socket(Arc::from(path.as_path())),
            OriginTarget::Https { tls, .. } => {
                authorities.clone_from(&tls.ca);
                if let Some(name) = &tls.server_name {
                    route = route.with_server_name(Host::parse(name).map_err(BackendError::Host)?);
                }
                if tls.insecure {
                    route = route.with_certificates(CertificatePolicy::AcceptUntrusted);
                }
            }
        }
        Ok(Backend { pool: self.pool(authorities)?, route, host_header: origin.host_header.clone() })
    }

    fn pool(&self, authorities: Option<String>) -> Result<Pool, BackendError> {
        let mut pools = self.pools.lock();
        if let Some(pool) = pools.get(&authorities) {
            return Ok(pool.clone());
        }
        let trust = match &authorities {
            None => self.parts.trust.clone(),
            Some(pem) => TrustParams {
                bundled_roots: false,
                native_roots: false,
                extra_pem: vec![pem.clone()],
                ..TrustParams::default()
            },
        };
        let mut guard = self.parts.guard.clone();
        // An application on this machine is the plainest case of all. It was named by whoever may publish applications,
        // so loopback is no way around anything; the platform's own listeners stay refused.
        for loopback in ["127.0.0.0/8", "::1/128"] {
            guard.allow.extend(loopback.parse::<Allow>());
        }
        let connector = Connector::new(ConnectorParams {
            resolver: Arc::clone(&self.parts.resolver),
            guard: Guard::new(guard),
            trust: TrustStore::new(&trust)?,
            clock: Arc::clone(&self.parts.clock),
            timeouts: DialTimeouts::default(),
        })?;
        let pool = Pool::new(Arc::new(connector), PoolLimits::default());
        pools.insert(authorities, pool.clone());
        Ok(pool)
    }

    /// Forgets pools that no origin of `used` needs any more.
    pub fn keep_only<'a>(&self, used: impl Iterator<Item = &'a Origin>) {
        let used: Vec<Option<&String>> = used
            .map(|origin| match &origin.target {
                OriginTarget::Https { tls, .. } => tls.ca.as_ref(),
                OriginTarget::Http { .. } | OriginTarget::Unix(_) => None,
            })
            .collect();
        self.pools.lock().retain(|authorities, _| used.contains(&authorities.as_ref()));
    }
}
