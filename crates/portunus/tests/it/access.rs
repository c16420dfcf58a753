//! Access through the front door of the real binary: configured by the API, reached with curl.

use std::process::Command;

use serde_json::{Value, json};
use testkit::Platform;

use crate::support::{binary, portunus, settled, text};

/// Runs curl against a host that the access listener serves.
pub(crate) fn curl(platform: &Platform, host: &str, path: &str, arguments: &[&str]) -> String {
    let output = asking(platform, host, path, arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    text(&output)
}

/// The command that asks.
pub(crate) fn asking(platform: &Platform, host: &str, path: &str, arguments: &[&str]) -> Command {
    let port = platform.ready.access_url.rsplit(':').next().unwrap();
    let mut command = Command::new("curl");
    command
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "60",
            "--noproxy",
            "*",
            "--path-as-is",
            "--include",
            "--cacert",
        ])
        .arg(&platform.ready.ca_certificate)
        .args([
            "--resolve",
            &format!("{host}:{port}:127.0.0.1"),
            "--resolve",
            &format!("access.localhost:{port}:127.0.0.1"),
        ])
        .args(arguments)
        .arg(format!("https://{host}:{port}{path}"));
    command
}

/// Waits until a host answers as `wanted` says; what was stored comes into force with the next change that is read.
pub(crate) async fn until(platform: &Platform, host: &str, arguments: &[&str], wanted: &str) -> String {
    for _ in 0..200 {
        // A host that is not published yet has no certificate either.
        let shown =
            String::from_utf8_lossy(&asking(platform, host, "/", arguments).output().unwrap().stdout).into_owned();
        if shown.contains(wanted) {
            return shown;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    curl(platform, host, "/", arguments)
}

/// The value of a form's hidden field.
pub(crate) fn hidden(page: &str, name: &str) -> String {
    let at = page.find(&format!("name=\"{name}\"")).unwrap_or_else(|| panic!("no {name} in {page}"));
    let rest = &page[at..];
    let value = &rest[rest.find("value=\"").unwrap() + 7..];
    value[..value.find('"').unwrap()].to_owned()
}

/// Adds somebody and returns their password.
pub(crate) fn person(data: &str, email: &str) -> String {
    portunus(&["user", "add", email, "--data", data]);
    let set = portunus(&["user", "password", email, "--json", "--data", data]);
    serde_json::from_str::<Value>(&text(&set)).unwrap()["password"].as_str().unwrap().to_owned()
}

/// Signs in with a password at the wiki and returns what the browser then shows.
pub(crate) fn sign_in(platform: &Platform, browser: &[&str], email: &str, password: &str) -> String {
    let page = curl(platform, "docs.localhost", "/", browser);
    assert!(page.contains("name=\"password\""), "{page}");
    let action = page[page.find("action=\"").unwrap() + 8..].split('"').next().unwrap().replace("&amp;", "&");
    let (state, email) = (format!("state={}", hidden(&page, "state")), format!("email={email}"));
    let secret = format!("password={password}");
    let form = ["--data-urlencode", &state, "--data-urlencode", &email, "--data-urlencode", &secret];
    curl(platform, "access.localhost", &action, &[browser, &form[..]].concat())
}

pub(crate) async fn publish(platform: &Platform, origin: std::net::SocketAddr) -> Value {
    let provider = json!({ "name": "Staff", "type": "portunus", "config": {} });
    platform.api("POST", "/access/identity_providers", Some(provider)).await.unwrap();
    let token = platform.api("POST", "/access/service_tokens", Some(json!({ "name": "agent" }))).await.unwrap();
    let application = json!({
        "type": "self_hosted", "name": "Wiki", "domain": "docs.localhost",
        "portunus": { "origin": { "url": format!("http://{origin}") } },
        "policies": [
            { "name": "Agents", "decision": "non_identity", "precedence": 1,
              "include": [{ "service_token": { "token_id": token["id"] } }] },
            { "name": "Staff", "decision": "allow", "precedence": 2,
              "include": [{ "email_domain": { "domain": "example.test" } }] },
        ],
    });
    platform.api("POST", "/access/apps", Some(application)).await.unwrap();
    settled(platform).await;
    token
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_published_by_the_api_admits_its_agent_and_sends_strangers_to_sign_in() {
    let router = axum::Router::new().fallback(|headers: axum::http::HeaderMap| async move {
        format!("told: {}", headers.contains_key("cf-access-jwt-assertion"))
    });
    let origin = testkit::Origin::start(router, None).await.unwrap();
    let platform = Platform::start(binary(), &[]).unwrap();
    let token = publish(&platform, origin.address).await;

    let stranger = curl(&platform, "docs.localhost", "/", &[]);
    assert!(stranger.contains("302"), "{stranger}");
    assert!(stranger.contains("location: https://access.localhost:"), "{stranger}");
    let id = format!("cf-access-client-id: {}", token["client_id"].as_str().unwrap());
    let secret = format!("cf-access-client-secret: {}", token["client_secret"].as_str().unwrap());
    let agent = curl(&platform, "docs.localhost", "/", &["--header", &id, "--header", &secret]);
    assert!(agent.ends_with("told: true"), "{agent}");
    let wrong = curl(&platform, "docs.localhost", "/", &["--header", &id, "--header", "cf-access-client-secret: no"]);
    assert!(!wrong.contains("told"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_signs_in_with_a_password_stays_signed_in_through_a_restart_and_is_out_once_revoked() {
    let router = axum::Router::new().fallback(|| async { "the wiki" });
    let origin = testkit::Origin::start(router, None).await.unwrap();
    let data = tempfile::tempdir().unwrap();
    let start = || Platform::start_in(binary(), data.path(), &[]).unwrap();
    let mut platform = start();
    let at = data.path().to_str().unwrap();
    let password = person(at, "ana@example.test");
    publish(&platform, origin.address).await;
    let jar = data.path().join("cookies");
    let jar = jar.to_str().unwrap();
    let browser = ["--location", "--cookie-jar", jar, "--cookie", jar];
    let entered = sign_in(&platform, &browser, "ana@example.test", &password);
    assert!(entered.ends_with("the wiki"), "{entered}");

    platform.terminate().unwrap();
    platform = start();
    let again = curl(&platform, "docs.localhost", "/", &browser);
    assert!(again.ends_with("the wiki"), "the session outlived the restart: {again}");
    let revoked = json!({ "email": "ana@example.test" });
    platform.api("POST", "/access/organizations/revoke_user", Some(revoked)).await.unwrap();
    settled(&platform).await;
    let out = curl(&platform, "docs.localhost", "/", &browser);
    assert!(out.contains("name=\"password\"") && !out.ends_with("the wiki"), "{out}");
}
