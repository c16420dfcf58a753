//! What the benchmarks of the planes share: one measured figure, processes, clients that call in turn, a TLS client that trusts
//! one authority.

pub(crate) mod process;
pub(crate) mod turns;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// One figure and what it cost the proxy.
pub(crate) struct Measured {
    /// Per second.
    pub(crate) rate: f64,
    /// Seconds of proxy CPU each.
    pub(crate) cpu: f64,
    pub(crate) count: u64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl Measured {
    /// What one core of the proxy does in a second, whatever else held the run back.
    pub(crate) fn per_core(&self) -> f64 {
        1.0 / self.cpu
    }

    /// How many times `other` this does: by the clock, and for the same CPU.
    pub(crate) fn against(&self, other: &Self) -> String {
        format!("{:.2}x by the clock, {:.2}x for the same CPU", self.rate / other.rate, other.cpu / self.cpu)
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99) = (self.p50.as_secs_f64() * 1e3, self.p99.as_secs_f64() * 1e3);
        let (cpu, share) = (self.cpu * 1e6, self.cpu * self.rate * 100.0);
        write!(
            f,
            "{:.0}/s, {cpu:.0} us of proxy CPU each ({share:.0} % of a core), p50 {p50:.2} ms, p99 {p99:.2} ms",
            self.rate
        )
    }
}

/// A client that trusts `roots` (PEM), with or without session resumption.
pub(crate) fn client_config(roots: &str, resume: bool) -> Result<Arc<ClientConfig>> {
    let mut store = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots.as_bytes()) {
        store.add(root.map_err(|error| anyhow!("{error}"))?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store)
        .with_no_client_auth();
    if !resume {
        config.resumption = rustls::client::Resumption::disabled();
    }
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
