//! The console's listener as browsers and API clients meet it: never in clear where others can reach it.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use testkit::Platform;

use crate::support::{binary, portunus, text};

const NAME: &str = "console.example.test";

/// Runs curl against the console on loopback, under `host`.
fn curl(platform: &Platform, trusted: Option<&Path>, host: &str, arguments: &[&str], path: &str) -> Output {
    let port = port(platform);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "60", "--noproxy", "*"]);
    curl.args(["--resolve", &format!("{host}:{port}:127.0.0.1")]);
    if let Some(trusted) = trusted {
        curl.arg("--cacert").arg(trusted);
    }
    curl.args(arguments).arg(format!("https://{host}:{port}{path}")).output().unwrap()
}

fn port(platform: &Platform) -> u16 {
    platform.ready.console_url.rsplit_once(':').unwrap().1.parse().unwrap()
}

fn in_clear(platform: &Platform, arguments: &[&str]) -> String {
    let url = format!("http://127.0.0.1:{}/sign-in", port(platform));
    text(
        &Command::new("curl")
            .args(["--silent", "--include", "--noproxy", "*"])
            .args(arguments)
            .arg(url)
            .output()
            .unwrap(),
    )
}

/// What curl says when it does not believe a certificate.
const UNTRUSTED: Option<i32> = Some(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_loopback_the_authority_vouches_for_the_console_and_nothing_is_served_in_clear() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("portunus.toml");
    std::fs::write(&config, format!("[console]\nnames = [\"{NAME}\"]\n")).unwrap();
    let arguments = ["--console", "0.0.0.0:0", "--config", config.to_str().unwrap()];
    let platform = Platform::start(binary(), &arguments).unwrap();
    let ready = platform.ready.clone();
    for url in [&ready.console_url, &ready.api_url, &ready.setup_url] {
        assert!(url.starts_with(&format!("https://{NAME}:")), "{url}");
    }
    // reqwest, as a program that uses the API.
    assert_eq!(platform.api("GET", "/gateway/rules", None).await.unwrap(), json!([]));
    let authority = Some(ready.ca_certificate.as_path());
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_ascii_lowercase();
    for host in ["127.0.0.1", "localhost", NAME, machine.as_str()] {
        let version = ["--write-out", " over HTTP/%{http_version}"];
        assert_eq!(text(&curl(&platform, authority, host, &version, "/healthz")), "ok\n over HTTP/2", "{host}");
    }
    assert_eq!(curl(&platform, None, NAME, &[], "/healthz").status.code(), UNTRUSTED);
    // The authority's word is not lent to a name that is not the console's, and past that the name is refused.
    assert_eq!(curl(&platform, authority, "bank.example.test", &[], "/healthz").status.code(), UNTRUSTED);
    let refused = text(&curl(&platform, None, "bank.example.test", &["--insecure"], "/healthz"));
    assert!(refused.contains("does not serve this host name"), "{refused}");

    let setup = json!({
        "token": ready.setup_url.rsplit_once("token=").unwrap().1,
        "email": "ada@example.com",
        "password": "a long enough pass phrase",
    });
    let send = ["--include", "--header", "Content-Type: application/json", "--data", &setup.to_string()];
    let created = text(&curl(&platform, authority, NAME, &send, "/client/v4/portunus/setup")).to_lowercase();
    let cookie = created.lines().find(|line| line.starts_with("set-cookie:")).unwrap_or_else(|| panic!("{created}"));
    assert!(cookie.contains("__host-portunus=") && cookie.contains("; secure"), "{cookie}");
    assert!(!created.contains("strict-transport-security"), "{created}");

    let sent_on = in_clear(&platform, &[]);
    assert!(sent_on.starts_with("HTTP/1.1 307"), "{sent_on}");
    let place = format!("location: https://127.0.0.1:{}/sign-in", port(&platform));
    assert!(sent_on.to_lowercase().contains(&place), "{sent_on}");
    for arguments in [["--header", "Authorization: Bearer x"], ["--data", "email=ada"], ["--header", "Host: bank.test"]]
    {
        let refused = in_clear(&platform, &arguments);
        assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("https only"), "{arguments:?}: {refused}");
    }
}

struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a pair for [`NAME`], the key first, under a root of its own whose file is returned.
    fn issue(&self, root: &str) -> std::path::PathBuf {
        let root_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name.push(rcgen::DnType::CommonName, root);
        let pem = params.self_signed(&root_key).unwrap().pem();
        let issuer = Issuer::new(params, root_key);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![NAME.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        std::fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
        std::fs::write(self.path("certificate.pem"), leaf.pem() + &pem).unwrap();
        let trusted = self.path(root);
        std::fs::write(&trusted, pem).unwrap();
        trusted
    }

    fn config(&self) -> String {
        let (certificate, key) = (self.path("certificate.pem"), self.path("key.pem"));
        let tls = format!("[console]\ntls = {{ certificate = {certificate:?}, key = {key:?} }}\n");
        std::fs::write(self.path("portunus.toml"), tls).unwrap();
        self.path("portunus.toml").to_str().unwrap().to_owned()
    }
}

/// Asks until the console is served with a certificate that `trusted` vouches for.
async fn served_under(platform: &Platform, trusted: &Path) {
    for _ in 0..200 {
        if curl(platform, Some(trusted), NAME, &[], "/healthz").status.success() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the console never had the certificate that {} vouches for", trusted.display());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_its_own_is_served_on_loopback_too_and_replaced_while_it_runs() {
    let files = Files::new();
    let first = files.issue("first.pem");
    let platform = Platform::start(binary(), &["--config", &files.config()]).unwrap();
    assert_eq!(platform.ready.console_url, format!("https://{NAME}:{}", port(&platform)));
    let signed_out = text(&curl(&platform, Some(&first), NAME, &["--include"], "/sign-in")).to_lowercase();
    assert!(signed_out.contains("strict-transport-security: max-age="), "{signed_out}");
    assert!(in_clear(&platform, &[]).starts_with("HTTP/1.1 307"));

    let second = files.issue("second.pem");
    served_under(&platform, &second).await;
    assert_eq!(curl(&platform, Some(&first), NAME, &[], "/healthz").status.code(), UNTRUSTED);

    // A pair that does not belong together is looked at and passed over; the next good one is taken.
    std::fs::write(files.path("key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(curl(&platform, Some(&second), NAME, &[], "/healthz").status.success());
    let third = files.issue("third.pem");
    served_under(&platform, &third).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_followed_over_tls() {
    use std::io::{BufRead, BufReader};
    let files = Files::new();
    files.issue("root.pem");
    let config = files.config();
    let platform = Platform::start(binary(), &["--config", &config]).unwrap();
    let data = platform.data().to_str().unwrap().to_owned();
    let tail = ["logs", "tail", "--dataset", "audit", "--json", "--config", &config, "--data", &data];
    let mut follower = Command::new(binary()).args(tail).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(follower.stdout.take().unwrap());
    let first = tokio::task::spawn_blocking(move || lines.lines().next());
    // A record is made again and again until the follower, whose start nobody tells, has seen one.
    let root = files.path("root.pem");
    let authorized = format!("Authorization: Bearer {}", platform.ready.api_token);
    let path = format!("/client/v4/accounts/{}/gateway/lists", platform.ready.account_id);
    for number in 0..200 {
        let list = json!({ "name": format!("list {number}"), "type": "DOMAIN", "items": [] }).to_string();
        let send = ["--header", "Content-Type: application/json", "--header", &authorized, "--data", &list];
        text(&curl(&platform, Some(&root), NAME, &send, &path));
        if first.is_finished() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let seen = first.is_finished();
    follower.kill().unwrap();
    follower.wait().unwrap();
    assert!(seen, "no record came over TLS");
    let line = first.await.unwrap().unwrap().unwrap();
    assert!(line.contains("\"ResourceType\""), "{line}");
}

#[test]
fn a_pair_that_cannot_be_served_stops_the_start_with_its_reason() {
    let files = Files::new();
    files.issue("root.pem");
    let config = files.config();
    let data = files.path("data");
    let start = || {
        let output = portunus(&[
            "up",
            "--console",
            "127.0.0.1:0",
            "--proxy",
            "127.0.0.1:0",
            "--access",
            "127.0.0.1:0",
            "--config",
            &config,
            "--data",
            data.to_str().unwrap(),
        ]);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    std::fs::write(files.path("key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let said = start();
    assert!(said.contains("cannot serve the console over TLS") && said.contains("do not belong together"), "{said}");
    std::fs::remove_file(files.path("certificate.pem")).unwrap();
    let said = start();
    assert!(said.contains("cannot read") && said.contains("certificate.pem"), "{said}");
}
