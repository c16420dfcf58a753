//! Certificates by ACME, through the front door: the real binary orders from pebble and shows what it gets to curl.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use testkit::{AcmeAuthority, AcmeRules, Origin, Platform, free_ports};

use crate::support::{binary, settled, text};

/// A name that the Internet could know; pebble finds every name on this machine.
const HOST: &str = "docs.example.net";
const REFUSED: &str = "refused.example.net";

/// A platform whose configuration names an authority.
struct Served {
    platform: Platform,
    port: u16,
}

fn configuration(directory: &Path, acme: &str) -> String {
    let file = directory.join("portunus.toml");
    std::fs::write(&file, format!("version = 1\n[acme]\nagree_to_terms = true\n{acme}\n")).unwrap();
    file.display().to_string()
}

impl Served {
    fn start(data: &Path, port: u16, authority: &AcmeAuthority) -> Self {
        let acme = format!(
            "directory = \"{}\"\nca = \"{}\"\ncontact = [\"ops@example.net\"]",
            authority.directory,
            authority.roots.display()
        );
        let config = configuration(data, &acme);
        let address = format!("127.0.0.1:{port}");
        let arguments = ["--config", &config, "--access", &address];
        Self { platform: Platform::start_in(binary(), &data.join("data"), &arguments).unwrap(), port }
    }

    async fn publish(&self, host: &str, origin: &Origin) {
        let application = json!({
            "type": "self_hosted", "name": host, "domain": host,
            "portunus": { "origin": { "url": format!("http://{}", origin.address) } },
            "policies": [{ "name": "All", "decision": "bypass", "precedence": 1, "include": [{ "everyone": {} }] }],
        });
        self.platform.api("POST", "/access/apps", Some(application)).await.unwrap();
        settled(&self.platform).await;
    }

    /// How a host stands, once it does as `wanted` says.
    async fn until(&self, host: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut seen = Value::Null;
        for _ in 0..600 {
            seen = self.platform.api("GET", "/portunus/listener_certificates", None).await.unwrap();
            let found = seen.as_array().unwrap().iter().find(|one| one["hostname"] == host && wanted(one));
            if let Some(found) = found {
                settled(&self.platform).await;
                return found.clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("{host} does not come to it: {seen:#}");
    }

    /// Asks for the first page of a host, believing `roots` alone.
    fn curl(&self, host: &str, roots: &Path) -> std::process::Output {
        let place = format!("{host}:{}", self.port);
        Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "60", "--noproxy", "*", "--cacert"])
            .arg(roots)
            .args(["--resolve", &format!("{place}:127.0.0.1"), &format!("https://{place}/")])
            .output()
            .unwrap()
    }

    /// The certificate a host shows, by its serial number.
    fn serial(&self, host: &str) -> String {
        let address = format!("127.0.0.1:{}", self.port);
        let script =
            "openssl s_client -connect \"$1\" -servername \"$2\" </dev/null 2>/dev/null | openssl x509 -noout -serial";
        text(&Command::new("sh").args(["-c", script, "sh", &address, host]).output().unwrap())
    }
}

async fn origin() -> Origin {
    Origin::start(axum::Router::new().fallback(|| async { "the documents" }), None).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_host_gets_a_certificate_and_keeps_it_through_a_restart_without_the_authority() {
    let files = tempfile::tempdir().unwrap();
    let [port] = free_ports().unwrap();
    let rules = AcmeRules { tls_port: port, refused: REFUSED, lifetime: 0 };
    let mut authority = AcmeAuthority::start(rules).await.unwrap();
    let roots = files.path().join("issuing.pem");
    std::fs::write(&roots, authority.issuing_root().await.unwrap()).unwrap();
    let origin = origin().await;
    let mut served = Served::start(files.path(), port, &authority);
    served.publish(HOST, &origin).await;
    served.publish("docs.localhost", &origin).await;
    let standing = served.until(HOST, |one| one["status"] == "active").await;
    assert_eq!((&standing["failures"], standing.get("failure")), (&json!(0), None));
    assert_eq!(text(&served.curl(HOST, &roots)), "the documents");
    // The names of this machine keep the certificates of the account's own authority, and nobody was asked about them.
    let own = served.platform.ready.ca_certificate.clone();
    assert_eq!(text(&served.curl("docs.localhost", Path::new(&own))), "the documents");
    assert!(!served.curl(HOST, Path::new(&own)).status.success());
    let all = served.platform.api("GET", "/portunus/listener_certificates", None).await.unwrap();
    assert_eq!(all.as_array().unwrap().len(), 1, "{all}");

    // What the authority will not issue says so, and the host is served all the same.
    served.publish(REFUSED, &origin).await;
    let standing = served.until(REFUSED, |one| one["failures"] == 1).await;
    assert_eq!(standing["status"], "pending");
    let failure = standing["failure"].as_str().unwrap();
    assert!(failure.contains("the authority refuses") && failure.contains("rejectedIdentifier"), "{failure}");
    assert_eq!(text(&served.curl(REFUSED, Path::new(&own))), "the documents");

    let before = served.serial(HOST);
    served.platform.terminate().unwrap();
    authority.stop();
    served = Served::start(files.path(), port, &authority);
    assert_eq!(served.serial(HOST), before);
    assert_eq!(text(&served.curl(HOST, &roots)), "the documents");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_before_it_ends_and_changes_without_a_restart() {
    let files = tempfile::tempdir().unwrap();
    let [port] = free_ports().unwrap();
    let authority = AcmeAuthority::start(AcmeRules { tls_port: port, refused: "", lifetime: 9 }).await.unwrap();
    let origin = origin().await;
    let served = Served::start(files.path(), port, &authority);
    served.publish(HOST, &origin).await;
    let first = served.until(HOST, |one| one["status"] == "active").await;
    let end = first["not_after"].clone();
    let second = served.until(HOST, |one| one["status"] == "active" && one["not_after"] != end).await;
    assert_eq!(second["failures"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_directory_and_a_name_that_leads_elsewhere_are_said_in_plain_words() {
    let files = tempfile::tempdir().unwrap();
    let [port, elsewhere] = free_ports().unwrap();
    // The authority looks where nothing listens.
    let rules = AcmeRules { tls_port: elsewhere, ..AcmeRules::default() };
    let mut authority = AcmeAuthority::start(rules).await.unwrap();
    let origin = origin().await;
    let mut served = Served::start(files.path(), port, &authority);
    served.publish(HOST, &origin).await;
    let standing = served.until(HOST, |one| one["failures"] == 1).await;
    let failure = standing["failure"].as_str().unwrap();
    assert!(failure.contains("connect to"), "{failure}");
    served.platform.terminate().unwrap();

    authority.directory = authority.directory.replace("/dir", "/elsewhere");
    served = Served::start(files.path(), port, &authority);
    let wrong = authority.directory.clone();
    let standing = served.until(HOST, |one| one["directory"] == *wrong && one["failures"] == 1).await;
    let failure = standing["failure"].as_str().unwrap();
    assert!(failure.contains("does not speak ACME") || failure.contains("the authority refuses"), "{failure}");
    let own = served.platform.ready.ca_certificate.clone();
    assert_eq!(text(&served.curl(HOST, Path::new(&own))), "the documents");
}
