//! Two nodes on one database, as the binary runs them: what is revoked at one counts at neither.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::Platform;

use crate::access::{curl, publish, sign_in};
use crate::postgres::Server;
use crate::support::{binary, portunus, settled, text};

/// How long a request may still pass at any node after a revocation was answered. The database tells the other node, which
/// takes milliseconds.
const SOON: Duration = Duration::from_secs(1);

/// Asks a node until it refuses somebody whose session was just ended. A request counts by the moment it was begun, so that a
/// slow machine makes it no longer.
fn refused(node: &Platform, browser: &[&str]) {
    let ended = Instant::now();
    loop {
        let asked = ended.elapsed();
        let seen = curl(node, "docs.localhost", "/", browser);
        if !seen.ends_with("the wiki") {
            assert!(seen.contains(" 302"), "{seen}");
            return;
        }
        assert!(asked < SOON, "a request {asked:?} after the revocation was let through");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_revoked_at_one_node_is_refused_by_the_other_at_once() {
    let server = Server::start();
    let [first, second] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let config = first.path().join("portunus.toml");
    let socket = server.directory().display().to_string().replace('/', "%2F");
    let url = format!("postgres://portunus@{socket}/postgres");
    std::fs::write(&config, format!("version = 1\n[store]\nurl = \"{url}\"\n")).unwrap();
    let config = config.to_str().unwrap();
    let start = |data: &Path| Platform::start_in(binary(), data, &["--config", config]).unwrap();
    let one = start(first.path());
    // Nodes share the key that opens the store's secrets.
    std::fs::copy(first.path().join("sealing.key"), second.path().join("sealing.key")).unwrap();
    let two = start(second.path());

    let email = "ana@example.test";
    let at = ["--data", first.path().to_str().unwrap(), "--config", config];
    portunus(&[&["user", "add", email][..], &at].concat());
    let set = portunus(&[&["user", "password", email, "--json"][..], &at].concat());
    let password = serde_json::from_str::<Value>(&text(&set)).unwrap()["password"].as_str().unwrap().to_owned();
    let wiki = axum::Router::new().fallback(|| async { "the wiki" });
    let origin = testkit::Origin::start(wiki, None).await.unwrap();
    publish(&one, origin.address).await;

    let jar = first.path().join("cookies");
    let jar = jar.to_str().unwrap();
    let entered = sign_in(&one, &["--location", "--cookie-jar", jar, "--cookie", jar], email, &password);
    assert!(entered.ends_with("the wiki"), "{entered}");
    settled(&two).await;
    let browser = ["--cookie", jar];
    let seen = curl(&two, "docs.localhost", "/", &browser);
    assert!(seen.ends_with("the wiki"), "a session of one node is one of the other: {seen}");

    one.api("POST", "/access/organizations/revoke_user", Some(json!({ "email": email }))).await.unwrap();
    refused(&two, &browser);
    // Nor does anything come back with the next change.
    settled(&two).await;
    for node in [&one, &two] {
        assert!(!curl(node, "docs.localhost", "/", &browser).ends_with("the wiki"));
    }

    // Whoever signs out everywhere at one node is signed out in their other browser, at both.
    let jars = ["desk", "phone"].map(|name| first.path().join(name));
    let jars = jars.each_ref().map(|jar| jar.to_str().unwrap());
    for jar in jars {
        let entered = sign_in(&one, &["--location", "--cookie-jar", jar, "--cookie", jar], email, &password);
        assert!(entered.ends_with("the wiki"), "{entered}");
    }
    settled(&two).await;
    // As the link on the launcher sends it.
    let asked = ["--cookie", jars[0], "--header", "sec-fetch-site: same-origin"];
    let out = curl(&two, "access.localhost", "/cdn-cgi/access/logout?everywhere=1", &asked);
    assert!(out.contains("You are signed out"), "{out}");
    for node in [&one, &two] {
        refused(node, &["--cookie", jars[1]]);
    }
}
