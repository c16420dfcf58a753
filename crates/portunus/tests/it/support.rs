//! Starting the binary and talking through its proxy.

use std::path::Path;
use std::process::{Command, Output};

use axum::Router;
use serde_json::{Value, json};
use testkit::{Origin, OriginTls, Platform};

pub(crate) const HOST: &str = "app.example.test";

pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_portunus"))
}

/// A platform that reaches one origin, under [`HOST`], through interception.
pub(crate) struct Site {
    pub(crate) platform: Platform,
    /// Keeps the origin running.
    _origin: Origin,
}

impl Site {
    pub(crate) async fn start(router: Router) -> Self {
        Self::start_with(router, &["h2", "http/1.1"]).await
    }

    pub(crate) async fn start_with(router: Router, alpn: &[&str]) -> Self {
        let tls = OriginTls::for_names(&[HOST], alpn).unwrap();
        let origin = Origin::start(router, Some(&tls)).await.unwrap();
        let platform = Platform::start(binary(), &[]).unwrap();
        let network = json!({
            "hosts": { format!("{HOST}:443"): origin.address.to_string() },
            "allow": [format!("127.0.0.1/32:{}", origin.address.port())],
            "roots": [tls.root],
        });
        platform.api("PUT", "/portunus/network", Some(network)).await.unwrap();
        settled(&platform).await;
        Self { platform, _origin: origin }
    }

    /// Creates a rule on this site's traffic and returns it.
    pub(crate) async fn rule(&self, rule: Value) -> Value {
        create_rule(&self.platform, rule).await
    }

    /// Runs curl through the proxy, trusting the platform's authority.
    pub(crate) fn curl(&self, arguments: &[&str]) -> Output {
        curl(&self.platform, arguments)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{HOST}{path}")
    }
}

pub(crate) async fn create_rule(platform: &Platform, mut rule: Value) -> Value {
    for (name, value) in [("enabled", json!(true)), ("filters", json!(["http"]))] {
        if rule.get(name).is_none() {
            rule[name] = value;
        }
    }
    let created = platform.api("POST", "/gateway/rules", Some(rule)).await.unwrap();
    settled(platform).await;
    created
}

/// Waits until the proxy decides by what the API was last told.
pub(crate) async fn settled(platform: &Platform) {
    platform.api("POST", "/portunus/snapshot/settle", Some(json!({}))).await.unwrap();
}

/// Waits for the record that `wanted` describes: a record is written when its exchange has ended, which is a moment
/// after the client has its answer.
pub(crate) async fn recorded(platform: &Platform, dataset: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/portunus/logs/{dataset}?limit=100");
    let mut seen = Value::Null;
    for _ in 0..200 {
        seen = platform.api("GET", &path, None).await.unwrap();
        if let Some(found) = seen.as_array().unwrap().iter().find(|record| wanted(record)) {
            return found.clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("no such record: {seen:#}");
}

pub(crate) fn curl(platform: &Platform, arguments: &[&str]) -> Output {
    Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "60",
            "--noproxy",
            "",
            "--proxy",
            &platform.ready.proxy,
            "--cacert",
        ])
        .arg(&platform.ready.ca_certificate)
        .args(arguments)
        .output()
        .unwrap()
}

pub(crate) fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn portunus(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).output().unwrap()
}

/// A TLS connection to [`HOST`] through CONNECT, trusting the platform's authority, HTTP/1.1 only.
pub(crate) async fn tls_through_proxy(platform: &Platform) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = platform.ready.proxy.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let connect = format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n");
    stream.write_all(connect.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    let mut roots = rustls::RootCertStore::empty();
    let pem = std::fs::read(&platform.ready.ca_certificate).unwrap();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    connector.connect(ServerName::try_from(HOST).unwrap(), stream).await.unwrap()
}
