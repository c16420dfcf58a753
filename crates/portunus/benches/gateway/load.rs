//! A lean client: CONNECT, TLS, requests written by hand, so that the client is not what is measured.
//!
//! It trusts one authority and no other: an answer through a proxy whose authority is trusted was inspected, and one
//! through a tunnel to an origin whose root is trusted was not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use testkit::Platform;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::measure::process::{cpu_seconds, family, resident_kib};
use crate::measure::{Measured, client_config};
use crate::{LARGE, SMALL};

/// A proxy to put load on, and the one authority its clients trust.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) process: u32,
    pub(crate) tls: Arc<ClientConfig>,
}

impl Proxy {
    pub(crate) fn portunus(platform: &Platform) -> Result<Self> {
        let roots = std::fs::read_to_string(&platform.ready.ca_certificate)?;
        Self::of(platform, &roots)
    }

    /// The same process for a host it does not inspect: only the origin's own certificate is accepted.
    pub(crate) fn tunnel(platform: &Platform, origin_root: &str) -> Result<Self> {
        Self::of(platform, origin_root)
    }

    fn of(platform: &Platform, roots: &str) -> Result<Self> {
        let address = platform.ready.proxy.trim_start_matches("http://").parse()?;
        Ok(Self { address, process: platform.process_id(), tls: client_config(roots, false)? })
    }
}

/// Where requests go.
#[derive(Clone, Copy)]
pub(crate) struct Site {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
}

#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) site: Site,
    pub(crate) length: Duration,
}

/// What one worker repeats until the time is over.
#[derive(Clone, Copy)]
enum Job {
    NewConnection,
    KeepAlive(&'static str, usize),
}

impl Load {
    pub(crate) async fn new_connections(self, proxy: &Proxy, workers: usize) -> Result<Measured> {
        self.run(proxy, workers, Job::NewConnection).await
    }

    pub(crate) async fn keep_alive(self, proxy: &Proxy, workers: usize) -> Result<Measured> {
        self.run(proxy, workers, Job::KeepAlive("/small", SMALL)).await
    }

    pub(crate) async fn large(self, proxy: &Proxy, workers: usize) -> Result<Measured> {
        self.run(proxy, workers, Job::KeepAlive("/large", LARGE)).await
    }

    /// The most memory the proxy had while so many connections streamed 1 MB bodies, in KiB.
    pub(crate) async fn memory_while_streaming(self, proxy: &Proxy, workers: usize) -> Result<u64> {
        let sampling = async {
            let mut most = 0;
            for _ in 0..10 {
                tokio::time::sleep(self.length / 11).await;
                most = most.max(resident_kib(proxy.process)?);
            }
            Ok::<_, anyhow::Error>(most)
        };
        let (done, most) = tokio::join!(self.large(proxy, workers), sampling);
        done?;
        most
    }

    /// The proxy's memory while so many clients have asked for a huge body and read no more than its head, in KiB.
    pub(crate) async fn memory_while_stalled(self, proxy: &Proxy, workers: usize) -> Result<u64> {
        let mut stalled = Vec::new();
        for _ in 0..workers {
            let mut stream = connect(proxy.address, &proxy.tls, self.site).await?;
            request(&mut stream, "/huge", self.site).await?;
            let mut head = vec![0; 1024];
            if stream.read(&mut head).await? == 0 || !head.starts_with(b"HTTP/1.1 200") {
                bail!("unexpected answer: {}", String::from_utf8_lossy(&head));
            }
            stalled.push(stream);
        }
        // Whatever the proxy is willing to buffer, it has read by then.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let used = resident_kib(proxy.process)?;
        drop(stalled);
        Ok(used)
    }

    async fn run(self, proxy: &Proxy, workers: usize, job: Job) -> Result<Measured> {
        // A short round first, so that what is measured is warm and known to work.
        let warm = Instant::now() + self.length / 10;
        repeat(proxy.address, &proxy.tls, self.site, job, warm, &AtomicU64::new(0)).await?;
        let members = family(proxy.process)?;
        let done = Arc::new(AtomicU64::new(0));
        let (start, cpu) = (Instant::now(), cpu_seconds(&members));
        let mut tasks = JoinSet::new();
        for _ in 0..workers {
            let (address, tls, site) = (proxy.address, Arc::clone(&proxy.tls), self.site);
            let (until, done) = (start + self.length, Arc::clone(&done));
            tasks.spawn(async move { repeat(address, &tls, site, job, until, &done).await });
        }
        let mut latencies = Vec::new();
        while let Some(result) = tasks.join_next().await {
            latencies.extend(result??);
        }
        let (elapsed, cpu) = (start.elapsed(), cpu_seconds(&members) - cpu);
        let count = done.load(Ordering::Relaxed).max(1);
        latencies.sort_unstable();
        let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
        let rate = count as f64 / elapsed.as_secs_f64();
        Ok(Measured { rate, cpu: cpu / count as f64, count, p50: at(0.50), p99: at(0.99) })
    }
}

async fn repeat(
    proxy: SocketAddr,
    tls: &Arc<ClientConfig>,
    site: Site,
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
                let mut stream = connect(proxy, tls, site).await?;
                exchange(&mut stream, "/small", site, SMALL, &mut buffer).await?;
            }
            Job::KeepAlive(path, size) => {
                if kept.is_none() {
                    kept = Some(connect(proxy, tls, site).await?);
                }
                let stream = kept.as_mut().context("no connection")?;
                exchange(stream, path, site, size, &mut buffer).await?;
            }
        }
        latencies.push(start.elapsed());
        done.fetch_add(1, Ordering::Relaxed);
        if Instant::now() >= until {
            return Ok(latencies);
        }
    }
}

async fn connect(proxy: SocketAddr, tls: &Arc<ClientConfig>, site: Site) -> Result<TlsStream<TcpStream>> {
    let Site { name, port } = site;
    let mut stream = testkit::connect(proxy).await?;
    stream.write_all(format!("CONNECT {name}:{port} HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n").as_bytes()).await?;
    // Nothing can follow the answer: TLS starts with the client.
    let mut head = Vec::with_capacity(1024);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            bail!("the proxy closed the connection after {}", String::from_utf8_lossy(&head));
        }
    }
    if !head.starts_with(b"HTTP/1.1 200") && !head.starts_with(b"HTTP/1.0 200") {
        bail!("the proxy answered {}", String::from_utf8_lossy(&head));
    }
    Ok(TlsConnector::from(Arc::clone(tls)).connect(ServerName::try_from(name)?, stream).await?)
}

async fn request(stream: &mut TlsStream<TcpStream>, path: &str, site: Site) -> Result<()> {
    let Site { name, port } = site;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n").as_bytes()).await?;
    Ok(stream.flush().await?)
}

/// Sends a request and reads exactly its answer, whose size is known.
async fn exchange(
    stream: &mut TlsStream<TcpStream>,
    path: &str,
    site: Site,
    size: usize,
    buffer: &mut [u8],
) -> Result<()> {
    request(stream, path, site).await?;
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
