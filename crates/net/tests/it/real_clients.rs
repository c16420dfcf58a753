//! Minted leaves before clients nobody here wrote: curl, OpenSSL, Python and Node.js, as far as this machine has them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use jiff::Timestamp;
use net::ca::CaParams;
use net::mint::LeafNames;
use net::server::accept;
use net::{CertificateAuthority, Host, Minter, Offer};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::support::{Behaviour, PATIENCE, Seen, host, serve};

/// Intercepts connections for one host on a port of its own.
struct Intercepting {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Intercepting {
    async fn start(minter: Arc<Minter>, host: Host) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let names = LeafNames::for_host(&host);
                let config = minter.server_config(&names, Offer::Both, Timestamp::now()).unwrap();
                connections.spawn(async move {
                    if let Ok(accepted) = accept(tcp, config, PATIENCE).await {
                        serve(accepted.stream, Arc::new(Seen::new()), Behaviour::default()).await;
                    }
                });
            }
        });
        Self { address, _tasks: tasks }
    }
}

/// Runs a program to its end; `None` if this machine does not have it.
async fn run(program: &str, arguments: &[String]) -> Option<(bool, String)> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(PATIENCE, command.output()).await.unwrap() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        output => output.unwrap(),
    };
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

fn arguments(name: &str, address: SocketAddr, authority: &Path) -> Vec<(&'static str, Vec<String>, &'static str)> {
    let (port, file) = (address.port(), authority.display());
    let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let url = format!("https://{name}:{port}/page");
    let resolve = format!("{name}:{port}:127.0.0.1");
    let file_text = file.to_string();
    let curl = |extra: &[&str]| {
        let base = ["-sS", "--noproxy", "*", "--cacert", &file_text, "--resolve", &resolve, &url];
        own(&[extra, &base].concat())
    };
    let openssl = format!("127.0.0.1:{port}");
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    let verify = if is_address { "-verify_ip" } else { "-verify_hostname" };
    let python = format!(
        "import socket, ssl
context = ssl.create_default_context(cafile={file_text:?})
context.verify_flags |= ssl.VERIFY_X509_STRICT
stream = context.wrap_socket(socket.create_connection(('127.0.0.1', {port})), server_hostname={name:?})
print('agreed', stream.version())"
    );
    let server_name = if is_address { String::new() } else { format!("servername: {name:?}, ") };
    let node = format!(
        "const tls = require('tls');
const stream = tls.connect({{port: {port}, host: '127.0.0.1', {server_name}ca: require('fs').readFileSync({file_text:?}),
  checkServerIdentity: (_, certificate) => tls.checkServerIdentity({name:?}, certificate)}},
  () => {{ console.log('agreed', stream.getProtocol()); process.exit(0); }});
stream.on('error', (error) => {{ console.log(String(error)); process.exit(1); }});"
    );
    vec![
        ("curl", curl(&["--http2"]), "HTTP/2.0"),
        ("curl", curl(&["--http1.1"]), "HTTP/1.1"),
        ("curl", curl(&["--tls-max", "1.2"]), "/page"),
        (
            "openssl",
            own(&["s_client", "-connect", &openssl, "-CAfile", &file_text, "-verify_return_error", verify, name]),
            "Verify return code: 0 (ok)",
        ),
        ("python3", own(&["-c", &python]), "agreed TLSv1.3"),
        ("node", own(&["-e", &node]), "agreed TLSv1.3"),
    ]
}

#[tokio::test]
async fn clients_nobody_here_wrote_accept_minted_leaves() {
    let organisation = "Acme Räder".to_owned();
    let params = CaParams { organisation, validity_days: 100, now: Timestamp::now() };
    let authority = Arc::new(CertificateAuthority::generate(&params).unwrap());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, authority.certificate_pem()).unwrap();
    let minter = Arc::new(Minter::new(authority, 100).unwrap());
    let long = format!("{}.example", ["a23456789012345678901234567890"; 3].join("."));
    for name in ["www.example.com", "xn--bcher-kva.example", &long, "127.0.0.1"] {
        let server = Intercepting::start(Arc::clone(&minter), host(name)).await;
        for (program, arguments, expected) in arguments(name, server.address, &file) {
            let Some((succeeded, said)) = run(program, &arguments).await else { continue };
            assert!(succeeded && said.contains(expected), "{program} {name}: {said}");
        }
    }
}
