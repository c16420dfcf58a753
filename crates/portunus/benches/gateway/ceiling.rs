//! How many TLS handshakes per second one core can do on each side, in memory, with the same rustls.
//!
//! CPU time is what is measured, of both sides and of the proxies: a busy machine does not change the ratios.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection};
use testkit::OriginTls;

use crate::measure::client_config;

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
