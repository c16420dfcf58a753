//! A lean client: CONNECT, TLS, requests written by hand, so that the client is not what is measured.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use testkit::{OriginTls, Platform};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::ceiling::client_config;
use crate::peers::cpu_seconds;

/// A proxy to put load on.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) process: u32,
    pub(crate) tls: Arc<ClientConfig>,
}

impl Proxy {
    pub(crate) fn portunus(platform: &Platform) -> Result<Self> {
        let roots = std::fs::read_to_string(&platform.ready.ca_certificate)?;
        Self::at(platform, &roots)
    }

    /// The same process, for a host it does not inspect: the origin's own certificate is what arrives.
    pub(crate) fn tunnel(platform: &Platform, origin: &OriginTls) -> Result<Self> {
        Self::at(platform, &origin.root)
    }

    fn at(platform: &Platform, roots: &str) -> Result<Self> {
        let address = platform.ready.proxy.trim_start_matches("http://").parse()?;
        Ok(Self { address, process: platform.process_id(), tls: client_config(roots, false)? })
    }
}

/// One figure and what it cost the proxy.
pub(crate) struct Measured {
    /// Per second.
    pub(crate) rate: f64,
    /// Microseconds of proxy CPU each.
    cpu_us: f64,
    p50: Duration,
    p99: Duration,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99) = (self.p50.as_secs_f64() * 1e3, self.p99.as_secs_f64() * 1e3);
        write!(f, "{:.0}/s, {:.0} us of proxy CPU each, p50 {p50:.2} ms, p99 {p99:.2} ms", self.rate, self.cpu_us)
    }
}

pub(crate) struct Load<'a> {
    pub(crate) target: &'a str,
    pub(crate) length: Duration,
}

/// What one worker repeats until the time is over.
#[derive(Clone, Copy)]
enum Job {
    NewConnection,
    KeepAlive(&'static str, usize),
}

impl Load<'_> {
    pub(crate) async fn new_connections(&self, proxy: &Proxy, workers: usize) -> Result<Measured> {
        self.run(proxy, workers, Job::NewConnection).await
    }

    pub(crate) async fn keep_alive(&self, proxy: &Proxy, workers: usize) -> Result<Measured> {
        self.run(proxy, workers, Job::KeepAlive("/small", crate::SMALL)).await
    }

    pub(crate) async fn large(&self, proxy: &Proxy, workers: usize) -> Result<Measured> {
        self.run(proxy, workers, Job::KeepAlive("/large", crate::LARGE)).await
    }

    /// Switches inspection off by asking for a host on the bypass list: the caller set that up.
    pub(crate) async fn large_through_tunnel(&self, proxy: &Proxy, workers: usize) -> Result<Measured> {
        self.run(proxy, workers, Job::KeepAlive("/large", crate::LARGE)).await
    }

    async fn run(&self, proxy: &Proxy, workers: usize, job: Job) -> Result<Measured> {
        // One round first, so that what is measured is warm and known to work.
        repeat(proxy.address, &proxy.tls, self.target, job, Instant::now(), &AtomicU64::new(0)).await?;
        let done = Arc::new(AtomicU64::new(0));
        let (start, cpu) = (Instant::now(), cpu_seconds(proxy.process)?);
        let mut tasks = JoinSet::new();
        for _ in 0..workers {
            let (address, tls, target) = (proxy.address, Arc::clone(&proxy.tls), self.target.to_owned());
            let (until, done) = (start + self.length, Arc::clone(&done));
            tasks.spawn(async move { repeat(address, &tls, &target, job, until, &done).await });
        }
        let mut latencies = Vec::new();
        while let Some(result) = tasks.join_next().await {
            latencies.extend(result??);
        }
        let (elapsed, cpu) = (start.elapsed(), cpu_seconds(proxy.process)? - cpu);
        let count = done.load(Ordering::Relaxed).max(1) as f64;
        latencies.sort_unstable();
        let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
        Ok(Measured { rate: count / elapsed.as_secs_f64(), cpu_us: cpu * 1e6 / count, p50: at(0.50), p99: at(0.99) })
    }
}

async fn repeat(
    proxy: SocketAddr,
    tls: &Arc<ClientConfig>,
    target: &str,
    job: Job,
    until: Instant,
    done: &AtomicU64,
) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    let mut kept = None;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let start = Instant::now();
        match job {
            Job::NewConnection => {
                let mut stream = connect(proxy, tls, target).await?;
                exchange(&mut stream, "/small", crate::SMALL, &mut buffer).await?;
            }
            Job::KeepAlive(path, size) => {
                if kept.is_none() {
                    kept = Some(connect(proxy, tls, target).await?);
                }
                let stream = kept.as_mut().context("no connection")?;
                exchange(stream, path, size, &mut buffer).await?;
            }
        }
        latencies.push(start.elapsed());
        done.fetch_add(1, Ordering::Relaxed);
        if Instant::now() >= until {
            return Ok(latencies);
        }
    }
}

async fn connect(proxy: SocketAddr, tls: &Arc<ClientConfig>, target: &str) -> Result<TlsStream<TcpStream>> {
    let mut stream = TcpStream::connect(proxy).await?;
    stream.set_nodelay(true)?;
    stream.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    if !head.starts_with(b"HTTP/1.1 200") && !head.starts_with(b"HTTP/1.0 200") {
        bail!("the proxy answered {}", String::from_utf8_lossy(&head));
    }
    Ok(TlsConnector::from(Arc::clone(tls)).connect(ServerName::try_from(crate::HOST)?, stream).await?)
}

/// Sends a request and reads exactly its answer, whose size is known.
async fn exchange(stream: &mut TlsStream<TcpStream>, path: &str, size: usize, buffer: &mut [u8]) -> Result<()> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", crate::HOST).as_bytes()).await?;
    let mut filled = 0;
    let body_start = loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            bail!("the connection ended inside a response head");
        }
        filled += read;
        if let Some(end) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    if !buffer.starts_with(b"HTTP/1.1 200") {
        bail!("unexpected answer: {}", String::from_utf8_lossy(&buffer[..filled.min(600)]));
    }
    let mut missing = size - (filled - body_start);
    while missing > 0 {
        let read = stream.read(buffer).await?;
        if read == 0 {
            bail!("the connection ended inside a body");
        }
        missing -= read.min(missing);
    }
    Ok(())
}
