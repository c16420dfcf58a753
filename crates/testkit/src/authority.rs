//! A certificate authority that speaks ACME, on loopback: Let's Encrypt's own test server, `pebble`.
//!
//! Names resolve to loopback by `pebble-challtestsrv`, which comes in the same package. Invariant: an [`AcmeAuthority`]
//! that is dropped leaves no process behind.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::json;

/// Longest wait for a process to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the authority behaves.
#[derive(Debug, Default, Clone, Copy)]
pub struct AcmeRules<'a> {
    /// The port at which it looks for the proof of a name.
    pub tls_port: u16,
    /// A domain it issues nothing for.
    pub refused: &'a str,
    /// How long its certificates live, in seconds; zero is its own choice, five years.
    pub lifetime: u64,
}

/// A running authority.
pub struct AcmeAuthority {
    /// The address of its directory.
    pub directory: String,
    /// PEM file of what its own certificate is checked by.
    pub roots: PathBuf,
    management: String,
    processes: Vec<Child>,
    _files: tempfile::TempDir,
}

impl AcmeAuthority {
    /// Starts one.
    ///
    /// # Errors
    /// The package `pebble` is not on the machine, or a process does not answer.
    pub async fn start(rules: AcmeRules<'_>) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let [api, management, names, names_management] = free_ports()?;
        let roots = certificate(files.path())?;
        let config = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{api}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": files.path().join("cert.pem"),
            "privateKey": files.path().join("key.pem"),
            // Nothing answers there: HTTP-01 is not what is tested.
            "httpPort": names_management,
            "tlsPort": rules.tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "domainBlocklist": if rules.refused.is_empty() { vec![] } else { vec![rules.refused] },
            "certificateValidityPeriod": rules.lifetime,
        }});
        let file = files.path().join("pebble.json");
        std::fs::write(&file, config.to_string())?;
        let mut authority = Self {
            directory: format!("https://127.0.0.1:{api}/dir"),
            roots,
            management: format!("https://127.0.0.1:{management}"),
            processes: Vec::new(),
            _files: files,
        };
        let mut resolver = Command::new("pebble-challtestsrv");
        resolver.args(["-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""]).args([
            "-dns01",
            &format!("127.0.0.1:{names}"),
            "-management",
            &format!("127.0.0.1:{names_management}"),
        ]);
        authority.processes.push(spawn(&mut resolver)?);
        let mut pebble = Command::new("pebble");
        pebble
            .arg("-config")
            .arg(&file)
            .args(["-dnsserver", &format!("127.0.0.1:{names}")])
            .env("PEBBLE_VA_NOSLEEP", "1");
        authority.processes.push(spawn(&mut pebble)?);
        let started = Instant::now();
        while let Err(error) = authority.get(&authority.directory).await {
            if started.elapsed() > PATIENCE {
                return Err(error.context("pebble does not answer"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(authority)
    }

    /// The root that its certificates lead to, PEM.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn issuing_root(&self) -> Result<String> {
        self.get(&format!("{}/roots/0", self.management)).await
    }

    /// Ends it; its addresses stay known, and nothing answers there.
    pub fn stop(&mut self) {
        for mut process in self.processes.drain(..) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    async fn get(&self, address: &str) -> Result<String> {
        let roots = reqwest::Certificate::from_pem(&std::fs::read(&self.roots)?)?;
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([roots]).build()?;
        let response = client.get(address).timeout(Duration::from_secs(5)).send().await?;
        if !response.status().is_success() {
            bail!("{address}: {}", response.status());
        }
        Ok(response.text().await?)
    }
}

impl Drop for AcmeAuthority {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Ports that were free a moment ago: neither program can be told to pick one.
///
/// # Errors
/// There is none.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let held: Vec<TcpListener> =
        (0..N).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<std::io::Result<_>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

fn spawn(command: &mut Command) -> Result<Child> {
    let name = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {name}; it comes with Debian's package pebble"))
}

/// Writes the authority's own certificate, and returns the file of its root.
fn certificate(directory: &Path) -> Result<PathBuf> {
    let root_key = KeyPair::generate()?;
    let mut root = CertificateParams::new(Vec::new())?;
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    root.distinguished_name.push(DnType::CommonName, "Root of the test authority's own certificate");
    let roots = directory.join("roots.pem");
    std::fs::write(&roots, root.self_signed(&root_key)?.pem())?;
    let key = KeyPair::generate()?;
    let own = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &Issuer::new(root, root_key))?;
    std::fs::write(directory.join("cert.pem"), own.pem())?;
    std::fs::write(directory.join("key.pem"), key.serialize_pem())?;
    Ok(roots)
}
