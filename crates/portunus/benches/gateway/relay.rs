//! The floor under every inspecting proxy: a process that ends TLS on both sides and copies the bytes between, nothing
//! else, on the same rustls and tokio. It reads no HTTP, decides nothing and logs nothing; no proxy that inspects can
//! cost less, so what it costs is what the kernel, TLS and the load itself leave to be gained.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use rustls::pki_types::ServerName;
use testkit::OriginTls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::HOST;
use crate::load::Proxy;
use crate::measure::{client_config, process};

/// The first argument of the process that is the relay.
pub(crate) const ARGUMENT: &str = "relay";

/// A relay in a process of its own, on the proxies' core.
pub(crate) struct Relay {
    child: Child,
    proxy: Proxy,
}

impl Relay {
    pub(crate) fn start(work: &Path, origin_root: &Path) -> Result<Self> {
        let root = work.join("relay-root.pem");
        let mut child = Command::new(std::env::current_exe()?)
            .arg(ARGUMENT)
            .arg(origin_root)
            .arg(&root)
            .stdout(Stdio::piped())
            .spawn()
            .context("the relay")?;
        let mut address = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut address)?;
        process::pin(child.id(), "0")?;
        let tls = client_config(&std::fs::read_to_string(root)?, false)?;
        let proxy = Proxy { address: address.trim().parse()?, process: child.id(), tls };
        Ok(Self { child, proxy })
    }

    pub(crate) fn proxy(&self) -> &Proxy {
        &self.proxy
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is the relay, until it is killed: prints its address, writes the root its clients trust.
pub(crate) fn run(origin_root: &str, own_root: &str) -> Result<()> {
    let tls = OriginTls::for_names(&[HOST], &["http/1.1"])?;
    std::fs::write(own_root, &tls.root)?;
    let upstream = client_config(&std::fs::read_to_string(origin_root)?, true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = testkit::listen().await?;
        println!("{}", listener.local_addr()?);
        let (acceptor, connector) = (TlsAcceptor::from(tls.config), TlsConnector::from(upstream));
        let mut tasks = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await?;
            while tasks.try_join_next().is_some() {}
            tasks.spawn(relay(stream, acceptor.clone(), connector.clone()));
        }
    })
}

async fn relay(mut client: TcpStream, acceptor: TlsAcceptor, connector: TlsConnector) -> Result<()> {
    let mut head = Vec::with_capacity(512);
    while !head.ends_with(b"\r\n\r\n") {
        if client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8(head)?;
    let port = head.split([':', ' ']).nth(2).context("no port")?.parse()?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    let origin = testkit::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let mut client = acceptor.accept(client).await?;
    let mut origin = connector.connect(ServerName::try_from(HOST)?, origin).await?;
    tokio::io::copy_bidirectional(&mut client, &mut origin).await?;
    Ok(())
}
