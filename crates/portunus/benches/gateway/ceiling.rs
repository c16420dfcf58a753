//! How many TLS handshakes per second one core can do on each side, in memory, with the same rustls.
//!
//! CPU time is what is measured, of both sides and of the proxies: a busy machine does not change the ratios.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use rustix::time::{ClockId, clock_gettime};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};
use testkit::OriginTls;

const ROUNDS: u32 = 2_000;

pub(crate) struct Handshakes {
    /// Per second of CPU.
    pub(crate) server: f64,
    /// Per second of CPU.
    pub(crate) client: f64,
}

impl Handshakes {
    /// What one core could do if a connection cost a server and a client handshake and nothing else.
    pub(crate) fn ceiling(&self) -> f64 {
        1.0 / (1.0 / self.server + 1.0 / self.client)
    }
}

pub(crate) fn measure() -> Result<Handshakes> {
    let tls = OriginTls::for_names(&["localhost"], &[])?;
    let client = client_config(&tls.root, false)?;
    let (mut on_server, mut on_client) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..ROUNDS {
        let mut server = ServerConnection::new(Arc::clone(&tls.config))?;
        let start = thread_time();
        let mut client = ClientConnection::new(Arc::clone(&client), ServerName::try_from("localhost")?)?;
        on_client += thread_time() - start;
        let mut wire = Vec::with_capacity(8192);
        while client.is_handshaking() || server.is_handshaking() {
            let start = thread_time();
            wire.clear();
            while client.wants_write() {
                client.write_tls(&mut wire)?;
            }
            on_client += thread_time() - start;
            let start = thread_time();
            feed_server(&mut server, &wire)?;
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire)?;
            }
            on_server += thread_time() - start;
            let start = thread_time();
            let mut unread = wire.as_slice();
            while !unread.is_empty() {
                client.read_tls(&mut unread)?;
                client.process_new_packets()?;
            }
            on_client += thread_time() - start;
        }
    }
    let rate = |spent: Duration| f64::from(ROUNDS) / spent.as_secs_f64();
    Ok(Handshakes { server: rate(on_server), client: rate(on_client) })
}

/// The CPU time of this thread so far.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn feed_server(server: &mut ServerConnection, mut wire: &[u8]) -> Result<()> {
    while !wire.is_empty() {
        server.read_tls(&mut wire)?;
        server.process_new_packets()?;
    }
    Ok(())
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
