//! A lean client of a reverse proxy: TLS, one request written by hand over and over on kept-alive connections.
//!
//! It trusts one authority and takes nothing but a whole 200: a redirect to a sign-in page fails the run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::measure::Measured;
use crate::measure::process::{cpu_seconds, family};
use crate::measure::turns::{Turn, Turns};
use crate::origin::SMALL;

/// A site behind a proxy.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) process: u32,
    /// Trusts the authority of the site's certificate alone.
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) name: &'static str,
    /// The value of `Cookie`; empty for none.
    pub(crate) cookie: String,
}

impl Target {
    /// Asks over and over on so many connections at once, each once in `pause` if there is one.
    pub(crate) async fn load(&self, connections: usize, pause: Option<Duration>, length: Duration) -> Result<Measured> {
        let request: Arc<[u8]> = self.request().into();
        let warm = Instant::now() + length / 10;
        self.repeat(&request, Turn::always(), warm).await?;
        let members = family(self.process)?;
        let (start, cpu) = (Instant::now(), cpu_seconds(&members));
        let mut tasks = JoinSet::new();
        let mut turns = pause.map(Turns::new);
        for _ in 0..connections {
            let (target, request) = (self.clone(), Arc::clone(&request));
            let turn = turns.as_mut().map_or_else(Turn::always, Turns::client);
            tasks.spawn(async move { target.repeat(&request, turn, start + length).await });
        }
        if let Some(turns) = turns {
            turns.begin(start + length);
        }
        let mut latencies = Vec::new();
        while let Some(times) = tasks.join_next().await {
            latencies.extend(times??);
        }
        let (elapsed, cpu) = (start.elapsed(), cpu_seconds(&members) - cpu);
        latencies.sort_unstable();
        let count = latencies.len();
        let at = |share: f64| latencies[((count - 1) as f64 * share) as usize];
        let rate = count as f64 / elapsed.as_secs_f64();
        Ok(Measured { rate, cpu: cpu / count as f64, count: count as u64, p50: at(0.50), p99: at(0.99) })
    }

    /// What a browser sends.
    fn request(&self) -> Vec<u8> {
        let cookie = if self.cookie.is_empty() { String::new() } else { format!("Cookie: {}\r\n", self.cookie) };
        format!(
            "GET /pages/welcome?from=menu HTTP/1.1\r\nHost: {}:{}\r\n\
             User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
             Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
             Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n{cookie}\
             Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\n\r\n",
            self.name,
            self.address.port(),
        )
        .into_bytes()
    }

    async fn repeat(&self, request: &[u8], mut turn: Turn, until: Instant) -> Result<Vec<Duration>> {
        let stream = testkit::connect(self.address).await?;
        let name = ServerName::try_from(self.name)?;
        let mut stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await?;
        let mut buffer = vec![0; 16 << 10];
        let mut latencies = Vec::new();
        while turn.next().await {
            let start = Instant::now();
            stream.write_all(request).await?;
            stream.flush().await?;
            let (mut filled, mut whole) = (0, usize::MAX);
            while filled < whole {
                let read = stream.read(&mut buffer[filled..]).await?;
                ensure!(read > 0, "the connection ended inside an answer");
                filled += read;
                if whole == usize::MAX
                    && let Some(end) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n")
                {
                    let head = &buffer[..end];
                    ensure!(head.starts_with(b"HTTP/1.1 200"), "unexpected answer: {}", String::from_utf8_lossy(head));
                    whole = end + 4 + SMALL;
                }
            }
            latencies.push(start.elapsed());
            if Instant::now() >= until {
                break;
            }
        }
        Ok(latencies)
    }
}
