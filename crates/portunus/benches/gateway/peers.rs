//! The peers, each in its fastest sane configuration, and what the kernel says of a process.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};

use crate::ceiling::client_config;
use crate::load::Proxy;

/// Puts every thread of a process on `cores`, such as `0` or `0-1`.
pub(crate) fn pin(process: u32, cores: &str) -> Result<()> {
    // A thread that ends between the listing and its turn fails the whole call.
    for _ in 0..10 {
        let status = Command::new("taskset")
            .args(["--all-tasks", "--cpu-list", "--pid", cores, &process.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if status.success() {
            return Ok(());
        }
    }
    bail!("cannot pin process {process} to core {cores}");
}

/// The same for a process and all its descendants.
pub(crate) fn pin_family(process: u32, cores: &str) -> Result<()> {
    family(process)?.into_iter().try_for_each(|member| pin(member, cores))
}

/// User and system time of processes, in seconds; one that has ended counts nothing.
pub(crate) fn cpu_seconds(members: &[u32]) -> f64 {
    let mut total = 0.0;
    for member in members {
        let Ok(text) = std::fs::read_to_string(format!("/proc/{member}/stat")) else { continue };
        let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or("").split(' ').collect();
        let ticks: f64 = fields.iter().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
        total += ticks / 100.0;
    }
    total
}

/// A process and its live descendants.
pub(crate) fn family(process: u32) -> Result<Vec<u32>> {
    let mut members = vec![process];
    let mut position = 0;
    while position < members.len() {
        let threads = std::fs::read_dir(format!("/proc/{}/task", members[position]));
        for thread in threads.into_iter().flatten() {
            let children = std::fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
            members.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        position += 1;
    }
    Ok(members)
}

pub(crate) fn resident_kib(process: u32) -> Result<u64> {
    kernel_figure(&format!("/proc/{process}/status"), "VmRSS:")
}

/// Resident memory in which a page that several processes share counts for each by its share.
pub(crate) fn proportional_kib(process: u32) -> Result<u64> {
    kernel_figure(&format!("/proc/{process}/smaps_rollup"), "Pss:")
}

fn kernel_figure(file: &str, name: &str) -> Result<u64> {
    let text = std::fs::read_to_string(file)?;
    let line = text.lines().find(|line| line.starts_with(name)).with_context(|| format!("no {name} in {file}"))?;
    Ok(line.split_whitespace().nth(1).context("no value")?.parse()?)
}

pub(crate) struct Squid {
    child: Child,
    proxy: Proxy,
}

impl Squid {
    pub(crate) fn start(work: &Path, origin_root: &Path) -> Result<Self> {
        let directory = work.join("squid");
        std::fs::create_dir_all(&directory)?;
        let roots = authority(&directory)?;
        let database = directory.join("certificates");
        let helper = "/usr/lib/squid/security_file_certgen";
        run(Command::new(helper).args(["-c", "-s"]).arg(&database).args(["-M", "16MB"]))?;
        run(Command::new("chown").args(["-R", "proxy:proxy"]).arg(&directory))?;
        run(Command::new("chmod").args(["0755"]).arg(work).arg(&directory))?;
        let address = free_port()?;
        let configuration = format!(
            "http_port {address} ssl-bump tls-cert={0}/ca.pem tls-key={0}/ca.key generate-host-certificates=on dynamic_cert_mem_cache_size=16MB\n\
             sslcrtd_program {helper} -s {1} -M 16MB\nsslcrtd_children 4 startup=4\n\
             ssl_bump bump all\ntls_outgoing_options cafile={2}\n\
             http_access allow localhost\nhttp_access deny all\ncache deny all\naccess_log none\ncache_log {0}/cache.log\n\
             pid_filename {0}/squid.pid\ncoredump_dir {0}\nworkers 1\nmax_filedescriptors 8192\nshutdown_lifetime 0 seconds\npinger_enable off\n",
            directory.display(),
            database.display(),
            origin_root.display(),
        );
        let file = directory.join("squid.conf");
        std::fs::write(&file, configuration)?;
        let child = Command::new("squid").arg("-N").arg("-f").arg(&file).stderr(Stdio::null()).spawn()?;
        let process = child.id();
        let squid = Self { child, proxy: Proxy { address, process, tls: client_config(&roots, false)? } };
        await_listener(address)?;
        pin_family(process, "0")?;
        Ok(squid)
    }

    pub(crate) fn proxy(&self) -> &Proxy {
        &self.proxy
    }
}

impl Drop for Squid {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

pub(crate) struct Mitmproxy {
    child: Child,
    proxy: Proxy,
}

impl Mitmproxy {
    pub(crate) fn start(work: &Path, origin_root: &Path) -> Result<Self> {
        let program = std::env::var("MITMDUMP").context("MITMDUMP names no mitmdump")?;
        let directory = work.join("mitmproxy");
        std::fs::create_dir_all(&directory)?;
        let roots = authority(&directory)?;
        let key = std::fs::read_to_string(directory.join("ca.key"))?;
        std::fs::write(directory.join("mitmproxy-ca.pem"), format!("{key}{roots}"))?;
        let address = free_port()?;
        let child = Command::new(program)
            .args(["--quiet", "--listen-host", "127.0.0.1", "--listen-port", &address.port().to_string()])
            .args(["--set", &format!("confdir={}", directory.display())])
            .args(["--set", &format!("ssl_verify_upstream_trusted_ca={}", origin_root.display())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let process = child.id();
        let mitmproxy = Self { child, proxy: Proxy { address, process, tls: client_config(&roots, false)? } };
        await_listener(address)?;
        pin(process, "0")?;
        Ok(mitmproxy)
    }

    pub(crate) fn proxy(&self) -> &Proxy {
        &self.proxy
    }
}

impl Drop for Mitmproxy {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Writes a certificate authority for a peer to sign with; returns its certificate.
fn authority(directory: &Path) -> Result<String> {
    let key = KeyPair::generate()?;
    let mut root = CertificateParams::new(Vec::new())?;
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    root.distinguished_name.push(DnType::CommonName, "Benchmark peer");
    let pem = root.self_signed(&key)?.pem();
    std::fs::write(directory.join("ca.pem"), &pem)?;
    std::fs::write(directory.join("ca.key"), key.serialize_pem())?;
    Ok(pem)
}

fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn await_listener(address: SocketAddr) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(address).is_err() {
        if Instant::now() > end {
            bail!("nothing listens on {address}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn end(child: &mut Child) {
    // SIGTERM first: Squid's helpers end with their parent only then.
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    let _ = child.wait();
}
