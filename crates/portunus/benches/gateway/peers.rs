//! The peers, each in its fastest sane configuration.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};

use crate::load::Proxy;
use crate::measure::client_config;
use crate::measure::process::{await_listener, end, free_port, pin, pin_family, run};

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
