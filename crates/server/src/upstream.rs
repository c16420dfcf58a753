//! The way to origins: one connector and pool for the process, whose names, guard and roots follow the network settings.
//!
//! Settings are texts in the store; here they become the values `net` works with. Invariant: settings that do not parse
//! leave the ones in force untouched and say which entry is wrong.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use net::guard::{Allow, AllowError, GuardParams};
use net::resolve::{Cached, Overridden, OverrideError, OverrideTable, SystemResolver};
use net::upstream::{Connector, ConnectorParams, DialTimeouts, Pool, PoolLimits, TrustError, TrustParams, TrustStore};
use net::{Clock, Guard};

/// What the gateway adds to the stored settings: the platform's own addresses and, in a demo, its sites.
#[derive(Debug, Clone, Default)]
pub struct Fixed {
    /// Every address this process listens on.
    pub listeners: Vec<SocketAddr>,
    pub hosts: BTreeMap<String, String>,
    pub allow: Vec<String>,
    pub roots: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("hosts")]
    Host(#[from] OverrideError),
    #[error("allow: {entry:?} is not an address, network or host")]
    Allow { entry: String, source: AllowError },
    #[error("roots")]
    Roots(#[from] TrustError),
    #[error("cannot set up TLS towards origins")]
    Tls(#[from] rustls::Error),
}

/// The process's way to origins.
pub(crate) struct Upstream {
    pub pool: Pool,
    connector: Arc<Connector>,
    overrides: Arc<Overridden>,
    fixed: Fixed,
}

impl Upstream {
    /// Builds the pool with the settings in `stored`.
    ///
    /// # Errors
    /// An entry of the settings that does not parse.
    pub(crate) fn new(fixed: Fixed, stored: &store::Network, clock: Clock) -> Result<Self, NetworkError> {
        let parsed = Parsed::read(&fixed, stored)?;
        let system = Arc::new(Cached::new(Arc::new(SystemResolver::new())));
        let overrides = Arc::new(Overridden::new(parsed.hosts, system));
        let connector = Arc::new(Connector::new(ConnectorParams {
            resolver: Arc::clone(&overrides) as Arc<dyn net::resolve::Resolve>,
            guard: parsed.guard,
            trust: TrustStore::new(&parsed.trust)?,
            clock,
            timeouts: DialTimeouts::default(),
        })?);
        let pool = Pool::new(Arc::clone(&connector), PoolLimits::default());
        Ok(Self { pool, connector, overrides, fixed })
    }

    /// What dials, for protocols of the caller's.
    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// The names as the pool resolves them.
    pub(crate) fn resolver(&self) -> Arc<dyn net::resolve::Resolve> {
        Arc::clone(&self.overrides) as Arc<dyn net::resolve::Resolve>
    }

    /// The guard, for those who dial by themselves.
    pub(crate) fn guard(&self) -> GuardParams {
        GuardParams { own_listeners: self.fixed.listeners.clone(), ..GuardParams::default() }
    }

    /// Roots that are believed beside the usual ones.
    pub(crate) fn trust(&self) -> TrustParams {
        TrustParams { extra_pem: self.fixed.roots.clone(), ..TrustParams::default() }
    }

    /// Puts other settings in force. Connections made under the old ones are closed as they fall idle.
    ///
    /// # Errors
    /// An entry that does not parse; nothing changes then.
    pub(crate) fn apply(&self, stored: &store::Network) -> Result<(), NetworkError> {
        let parsed = Parsed::read(&self.fixed, stored)?;
        let trust = TrustStore::new(&parsed.trust)?;
        self.overrides.replace(parsed.hosts);
        self.connector.replace_guard(parsed.guard);
        self.connector.replace_trust(trust);
        self.pool.forget();
        Ok(())
    }
}

struct Parsed {
    hosts: OverrideTable,
    guard: Guard,
    trust: TrustParams,
}

impl Parsed {
    fn read(fixed: &Fixed, stored: &store::Network) -> Result<Self, NetworkError> {
        let mut hosts = OverrideTable::default();
        for (name, target) in fixed.hosts.iter().chain(&stored.hosts) {
            hosts.insert_text(name, target)?;
        }
        let allow = fixed
            .allow
            .iter()
            .chain(&stored.allow)
            .map(|entry| entry.parse::<Allow>().map_err(|source| NetworkError::Allow { entry: entry.clone(), source }))
            .collect::<Result<Vec<_>, _>>()?;
        let guard = Guard::new(GuardParams { own_listeners: fixed.listeners.clone(), allow, refuse_private: false });
        let extra_pem = fixed.roots.iter().chain(&stored.roots).cloned().collect();
        Ok(Self { hosts, guard, trust: TrustParams { extra_pem, ..TrustParams::default() } })
    }
}
