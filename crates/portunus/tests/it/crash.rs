//! Killed under load: nothing that was acknowledged is lost, and what was logged before the loss window is there.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use serde_json::json;
use testkit::{Origin, Platform};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::binary;

/// What is accepted within it before the process is killed may be lost; docs/logs.md states it.
const LOSS_WINDOW: Duration = Duration::from_millis(50);
const CONNECTIONS: usize = 16;
const ROUNDS: usize = 3;
const LOAD: Duration = Duration::from_millis(1_500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_under_load_loses_no_rule_and_no_record_older_than_the_window() {
    let origin = Origin::start(Router::new().fallback(get(|| async { "ok" })), None).await.unwrap();
    let data = tempfile::tempdir().unwrap();
    let (mut created, mut kept, mut last) = (Vec::new(), Vec::new(), 0);
    for round in 0..ROUNDS {
        let mut platform = Platform::start_in(binary(), data.path(), &[]).unwrap();
        let network = json!({ "allow": [format!("127.0.0.1/32:{}", origin.address.port())] });
        platform.api("PUT", "/portunus/network", Some(network)).await.unwrap();
        crate::support::settled(&platform).await;
        let mut load = JoinSet::new();
        for connection in 0..CONNECTIONS {
            let proxy = platform.ready.proxy.trim_start_matches("http://").to_owned();
            let base = format!("http://{}/round-{round}/{connection}", origin.address);
            load.spawn(requests(proxy, base));
        }
        let start = Instant::now();
        let mut number = 0;
        while start.elapsed() < LOAD {
            let name = format!("rule {round}-{number}");
            let rule = json!({ "name": name, "action": "allow", "filters": ["http"], "traffic": "http.request.host == \"a.test\"" });
            platform.api("POST", "/gateway/rules", Some(rule)).await.unwrap();
            created.push(name);
            number += 1;
        }
        let killed = Instant::now();
        platform.kill().unwrap();
        let made: Vec<(String, Instant)> = load.join_all().await.into_iter().flatten().collect();
        assert!(made.len() > CONNECTIONS * 4, "too little load to mean anything: {}", made.len());
        let old = made.into_iter().filter(|(_, at)| killed.saturating_duration_since(*at) > LOSS_WINDOW);
        kept.extend(old.map(|(url, _)| url));
        assert!(kept.len() > last + CONNECTIONS, "the window hides the load");
        last = kept.len();
    }
    let platform = Platform::start_in(binary(), data.path(), &[]).unwrap();
    let rules = platform.api("GET", "/gateway/rules", None).await.unwrap();
    for name in &created {
        assert!(rules.as_array().unwrap().iter().any(|rule| rule["name"] == name.as_str()), "{name} is lost");
    }
    let recorded = recorded_urls(&platform).await;
    let lost: Vec<_> = kept.iter().filter(|url| !recorded.contains(*url)).collect();
    assert!(lost.is_empty(), "{} of {} records are lost: {:?}", lost.len(), kept.len(), &lost[..lost.len().min(5)]);
}

/// Sends one request after the other over one connection, until it breaks. Returns each with a moment at which the
/// platform had accepted its record: when the answer to the next one came, which the same connection only gives then.
async fn requests(proxy: String, base: String) -> Vec<(String, Instant)> {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let host = base.trim_start_matches("http://").split('/').next().unwrap().to_owned();
    let mut accepted: Vec<(String, Instant)> = Vec::new();
    let mut before: Option<String> = None;
    for number in 0.. {
        let url = format!("{base}/{number}");
        let head = format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        if stream.write_all(head.as_bytes()).await.is_err() {
            break;
        }
        let mut answer = Vec::new();
        let whole = loop {
            match stream.read_buf(&mut answer).await {
                Ok(0) | Err(_) => break false,
                Ok(_) if answer.ends_with(b"\r\n\r\nok") => break true,
                Ok(_) => {}
            }
        };
        if !whole {
            break;
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        accepted.extend(before.replace(url).map(|url| (url, Instant::now())));
    }
    accepted
}

/// Every URL in the log, page by page.
async fn recorded_urls(platform: &Platform) -> HashSet<String> {
    let (mut urls, mut before) = (HashSet::new(), String::new());
    loop {
        let path = format!("/portunus/logs/gateway_http?limit=500{before}");
        let page = platform.envelope("GET", &path, None).await.unwrap();
        let records = page["result"].as_array().unwrap();
        urls.extend(records.iter().map(|record| record["URL"].as_str().unwrap_or("").to_owned()));
        match page["result_info"]["cursor"].as_str() {
            Some(cursor) if !records.is_empty() && !cursor.is_empty() => before = format!("&before={cursor}"),
            _ => return urls,
        }
    }
}
