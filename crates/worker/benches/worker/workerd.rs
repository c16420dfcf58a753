//! The same script in workerd, called over one keep-alive connection on loopback.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CONFIGURATION: &str = r#"
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .main)],
  sockets = [(name = "http", address = "127.0.0.1:PORT", http = (), service = "main")]
);
const main :Workerd.Worker = (modules = [(name = "policy.js", esModule = embed "policy.js")], compatibilityDate = "2026-01-01");
"#;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) async fn warm(program: &str, source: &str, calls: usize) -> Result<(Duration, Duration)> {
    let directory = tempfile::tempdir()?;
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    std::fs::write(directory.path().join("policy.js"), source)?;
    let configuration = directory.path().join("config.capnp");
    std::fs::write(&configuration, CONFIGURATION.replace("PORT", &port.to_string()))?;
    let child = Command::new(program).arg("serve").arg(&configuration).stdout(Stdio::null()).spawn()?;
    let _running = Running(child);
    let mut stream = connect(port).await?;
    stream.set_nodelay(true)?;
    let request = "GET /ledger/2026?quarter=3 HTTP/1.1\r\nHost: finance.acme.test\r\nx-person: ana@acme.test\r\nx-group: finance\r\n\
                   user-agent: bench/1\r\naccept: text/html,application/xhtml+xml\r\n\r\n";
    let mut samples = Vec::with_capacity(calls);
    let mut buffer = vec![0; 16 << 10];
    for round in 0..calls + 500 {
        let start = Instant::now();
        stream.write_all(request.as_bytes()).await?;
        read_answer(&mut stream, &mut buffer).await?;
        if round >= 500 {
            samples.push(start.elapsed());
        }
    }
    Ok(crate::quantiles(samples))
}

async fn connect(port: u16) -> Result<TcpStream> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
            Ok(stream) => return Ok(stream),
            Err(_) if Instant::now() < end => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => return Err(error.into()),
        }
    }
}

async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            bail!("workerd closed the connection");
        }
        filled += read;
        let text = String::from_utf8_lossy(&buffer[..filled]);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if !head.starts_with("HTTP/1.1 200") {
            bail!("workerd answered {head}");
        }
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse::<usize>().ok());
        match length {
            Some(length) if body.len() >= length => return Ok(()),
            None if body.ends_with("0\r\n\r\n") => return Ok(()),
            _ => {}
        }
    }
}
