//! Killed under load: nothing that was acknowledged is lost, and what was logged before the loss window is there.

use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use serde_json::json;
use testkit::{Origin, Platform};

use crate::support::{binary, curl, text};

/// The journal's stated loss window for a killed process is 50 ms; a loaded test machine gets a wide margin.
const OLDER: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_under_load_loses_no_rule_and_no_old_record() {
    let origin = Origin::start(Router::new().fallback(get(|| async { "ok" })), None).await.unwrap();
    let data = tempfile::tempdir().unwrap();
    let mut created = Vec::new();
    let mut requests: Vec<(String, Instant)> = Vec::new();
    for round in 0..ROUNDS {
        let mut platform = Platform::start_in(binary(), data.path(), &[]).unwrap();
        let network = json!({ "allow": [format!("127.0.0.1/32:{}", origin.address.port())] });
        platform.api("PUT", "/portunus/network", Some(network)).await.unwrap();
        crate::support::settled(&platform).await;
        let start = Instant::now();
        let mut number = 0;
        while start.elapsed() < OLDER * 2 {
            let path = format!("/round-{round}/{number}");
            text(&curl(&platform, &[&format!("http://{}{path}", origin.address)]));
            requests.push((path, Instant::now()));
            let name = format!("rule {round}-{number}");
            let rule = json!({ "name": name, "action": "allow", "filters": ["http"], "traffic": "http.request.host == \"a.test\"" });
            platform.api("POST", "/gateway/rules", Some(rule)).await.unwrap();
            created.push(name);
            number += 1;
        }
        let killed = Instant::now();
        platform.kill().unwrap();
        // Within the loss window of the kill nothing is promised.
        requests.retain(|(_, at)| killed.duration_since(*at) > OLDER || killed < *at);
    }
    let platform = Platform::start_in(binary(), data.path(), &[]).unwrap();
    let rules = platform.api("GET", "/gateway/rules", None).await.unwrap();
    for name in &created {
        assert!(rules.as_array().unwrap().iter().any(|rule| rule["name"] == name.as_str()), "{name} is lost");
    }
    let recorded = recorded_urls(&platform).await;
    for (path, _) in &requests {
        assert!(recorded.iter().any(|url| url.ends_with(path.as_str())), "the record of {path} is lost");
    }
}

/// Every URL in the log, page by page.
async fn recorded_urls(platform: &Platform) -> Vec<String> {
    let (mut urls, mut before) = (Vec::new(), String::new());
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
