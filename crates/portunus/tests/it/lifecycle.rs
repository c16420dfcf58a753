//! Starting, the first run, and an orderly end.

use std::os::unix::fs::PermissionsExt;

use testkit::Platform;

use crate::support::binary;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_platform_starts_and_says_what_to_do_next() {
    let platform = Platform::start(binary(), &[]).unwrap();
    let ready = &platform.ready;
    assert_eq!(ready.account_id.len(), 32);
    assert!(ready.api_url.ends_with("/client/v4"), "{}", ready.api_url);
    assert!(ready.proxy.starts_with("http://127.0.0.1:"));
    let mode = std::fs::metadata(platform.data().join("ready.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(std::fs::read_to_string(&ready.ca_certificate).unwrap().contains("BEGIN CERTIFICATE"));
    let printed = platform.printed.join("\n");
    for needed in [ready.setup_url.as_str(), ready.console_url.as_str(), ready.proxy.as_str()] {
        assert!(printed.contains(needed), "{needed} is not in:\n{printed}");
    }
    let rules = platform.api("GET", "/gateway/rules", None).await.unwrap();
    assert_eq!(rules.as_array().map(Vec::len), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_start_keeps_account_authority_and_rules() {
    let data = tempfile::tempdir().unwrap();
    let mut first = Platform::start_in(binary(), data.path(), &[]).unwrap();
    let rule = serde_json::json!({ "name": "kept", "action": "block", "filters": ["http"], "traffic": "http.request.host == \"a.test\"" });
    first.api("POST", "/gateway/rules", Some(rule)).await.unwrap();
    let authority = std::fs::read(&first.ready.ca_certificate).unwrap();
    assert!(first.terminate().unwrap().success());
    let second = Platform::start_in(binary(), data.path(), &[]).unwrap();
    assert_eq!(second.ready.account_id, first.ready.account_id);
    assert_eq!(std::fs::read(&second.ready.ca_certificate).unwrap(), authority);
    let rules = second.api("GET", "/gateway/rules", None).await.unwrap();
    assert_eq!(rules[0]["name"], "kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_a_request_in_flight_finish_and_exits_with_success() {
    use axum::routing::get;
    let (started, mut seen) = tokio::sync::mpsc::channel::<()>(1);
    let release = std::sync::Arc::new(tokio::sync::Notify::new());
    let held = std::sync::Arc::clone(&release);
    let router = axum::Router::new().route(
        "/slow",
        get(move || {
            let (started, held) = (started.clone(), std::sync::Arc::clone(&held));
            async move {
                started.send(()).await.unwrap();
                held.notified().await;
                "finished"
            }
        }),
    );
    let mut site = crate::support::Site::start(router).await;
    let (proxy, authority) = (site.platform.ready.proxy.clone(), site.platform.ready.ca_certificate.clone());
    let url = site.url("/slow");
    let request = tokio::task::spawn_blocking(move || {
        std::process::Command::new("curl")
            .args(["--silent", "--max-time", "60", "--proxy", &proxy, "--cacert"])
            .arg(authority)
            .arg(url)
            .output()
            .unwrap()
    });
    seen.recv().await.unwrap();
    let address = site.platform.ready.proxy.trim_start_matches("http://").to_owned();
    let url = site.url("/slow");
    let ending = tokio::task::spawn_blocking(move || {
        let status = site.platform.terminate().unwrap();
        (status, site)
    });
    // The signal takes a moment to arrive; from then on, while the request is still held, nobody new is let in.
    let refused = async {
        while tokio::net::TcpStream::connect(&address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), refused).await.expect("new connections while draining");
    assert!(!ending.is_finished(), "it waits for the request in flight");
    release.notify_one();
    assert_eq!(crate::support::text(&request.await.unwrap()), "finished");
    let (status, site) = ending.await.unwrap();
    assert!(status.success(), "{status}");

    let again = Platform::start_in(binary(), site.platform.data(), &[]).unwrap();
    let record = crate::support::recorded(&again, "gateway_http", |record| record["URL"] == url.as_str()).await;
    assert_eq!((record["HTTPStatusCode"].as_u64(), record["Action"].as_str()), (Some(200), Some("allow")), "{record}");
}
