//! Push jobs through the front door: the real binary, receivers that fail, cut off and come back, and a platform that is
//! killed. Whatever happens, every record arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde_json::{Value, json};
use testkit::{Origin, OriginTls, Platform};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{binary, portunus, settled, text};

const HOST: &str = "siem.example.test";
const TOKEN: &str = "Bearer s3cr3t-of-the-siem";

/// What a receiver got, and how it misbehaves.
#[derive(Default)]
struct Receiver {
    /// Bodies by the id of their batch.
    batches: Mutex<BTreeMap<String, String>>,
    headers: Mutex<Vec<HeaderMap>>,
    /// Requests that are answered badly before the next good one.
    failures: AtomicUsize,
    /// The most records it takes at once; 0 for any number.
    most: AtomicUsize,
}

impl Receiver {
    fn ids(&self) -> BTreeSet<String> {
        let batches = self.batches.lock().unwrap();
        let records = batches.values().flat_map(|body| body.lines());
        records.map(|line| serde_json::from_str::<Value>(line).unwrap()["ID"].as_str().unwrap().to_owned()).collect()
    }
}

async fn receive(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> (StatusCode, &'static str) {
    if headers.get("authorization").is_none_or(|value| value != TOKEN) {
        return (StatusCode::UNAUTHORIZED, "who are you?");
    }
    let mut text = String::new();
    flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
    let most = receiver.most.load(Ordering::SeqCst);
    if most > 0 && text.lines().count() > most {
        return (StatusCode::PAYLOAD_TOO_LARGE, "less, please");
    }
    let left = receiver.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    match left {
        Ok(left) if left % 2 == 0 => return (StatusCode::SERVICE_UNAVAILABLE, "not now"),
        // The connection is cut.
        Ok(_) => panic!("this connection is cut on purpose"),
        Err(_) => {}
    }
    if headers.get("portunus-test").is_some() {
        return (StatusCode::OK, "");
    }
    let id = headers["portunus-batch-id"].to_str().unwrap().to_owned();
    receiver.headers.lock().unwrap().push(headers);
    let before = receiver.batches.lock().unwrap().insert(id.clone(), text.clone());
    // A batch that comes again is the same.
    assert!(before.is_none_or(|before| before == text), "batch {id} changed");
    (StatusCode::OK, "")
}

/// A platform in `data` that reaches what listens on `ports` under [`HOST`], and trusts `root`.
async fn start(data: &std::path::Path, to: &[(u16, std::net::SocketAddr)], root: &str) -> Platform {
    let platform = Platform::start_in(binary(), data, &[]).unwrap();
    let hosts: serde_json::Map<String, Value> =
        to.iter().map(|(port, address)| (format!("{HOST}:{port}"), json!(address.to_string()))).collect();
    let allow: Vec<_> = to.iter().map(|(_, address)| format!("127.0.0.1/32:{}", address.port())).collect();
    let network = json!({"hosts": hosts, "allow": allow, "roots": [root]});
    platform.api("PUT", "/portunus/network", Some(network)).await.unwrap();
    settled(&platform).await;
    platform
}

/// Changes something, which leaves a record in the audit log; returns what tells the records apart.
async fn change(platform: &Platform, name: &str) -> String {
    let query = json!({"name": name, "sql": "SELECT 1"});
    let made = platform.api("POST", "/portunus/logs/queries", Some(query)).await.unwrap();
    made["id"].as_str().unwrap().to_owned()
}

/// The ids of the audit records about these queries, once all of them are found.
async fn audited(platform: &Platform, queries: &[String]) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    until("the audit records", async || {
        let records = platform.api("GET", "/portunus/logs/audit?limit=500", None).await.unwrap();
        let ours = |record: &&Value| queries.iter().any(|query| record["ResourceID"] == query.as_str());
        let found = records.as_array().unwrap().iter().filter(ours);
        ids = found.map(|record| record["ID"].as_str().unwrap().to_owned()).collect();
        ids.len() == queries.len()
    })
    .await;
    ids
}

/// Waits until `done` says so.
async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what} did not come about within a minute");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_arrives_whatever_fails_and_is_killed() {
    let tls = OriginTls::for_names(&[HOST], &["h2", "http/1.1"]).unwrap();
    let receiver = Arc::new(Receiver::default());
    let router = Router::new().route("/in", axum::routing::post(receive)).with_state(Arc::clone(&receiver));
    let origin = Origin::start(router, Some(&tls)).await.unwrap();
    let data = tempfile::tempdir().unwrap();
    let mut platform = start(data.path(), &[(443, origin.address)], &tls.root).await;

    let conf = |token: &str| format!("https://{HOST}/in?header_Authorization={}", token.replace(' ', "%20"));
    for (conf, valid, said) in [
        (conf(TOKEN), true, ""),
        (conf("Bearer wr0ng"), false, "answered 401"),
        (conf(TOKEN).replace("/in", "/out"), false, "answered 404"),
        ("https://127.0.0.1:1/".to_owned(), false, "does not connect"),
    ] {
        let body = json!({"destination_conf": conf});
        let answer = platform.api("POST", "/logpush/validate/destination", Some(body)).await.unwrap();
        assert_eq!(answer["valid"], valid, "{answer}");
        assert!(answer["message"].as_str().unwrap().contains(said), "{answer}");
    }
    let job = json!({"name": "SIEM", "dataset": "audit_logs", "enabled": true, "destination_conf": conf("Bearer wr0ng"),
        "max_upload_interval_seconds": 1});
    let made = platform.api("POST", "/logpush/jobs", Some(job)).await.unwrap();
    let path = format!("/logpush/jobs/{}", made["id"]);
    let state = async |platform: &Platform| platform.api("GET", &path, None).await.unwrap();
    until("the job's start", async || state(&platform).await["portunus"]["state"] != "starting").await;
    let mut queries = vec![change(&platform, "first").await];
    until("the refusal", async || state(&platform).await["portunus"]["state"] == "failing").await;
    let failing = state(&platform).await;
    let message = failing["error_message"].as_str().unwrap();
    assert!(message.contains("answered 401") && message.contains("header_Authorization"), "{message}");
    assert!(!failing.to_string().contains("wr0ng"), "a secret is shown");

    // Mended, and everything since it began arrives.
    platform.api("PUT", &path, Some(json!({"destination_conf": conf(TOKEN)}))).await.unwrap();
    until("the first record", async || !receiver.ids().is_empty()).await;
    let headers = receiver.headers.lock().unwrap()[0].clone();
    for (name, value) in
        [("content-encoding", "gzip"), ("content-type", "application/x-ndjson"), ("portunus-dataset", "audit_logs")]
    {
        assert_eq!(headers[name], value, "{name}");
    }

    // Answers of 503 and cut connections in turn, batches that are too large, and kills between them.
    for round in 0..3 {
        receiver.failures.store(3, Ordering::SeqCst);
        receiver.most.store(if round == 1 { 2 } else { 0 }, Ordering::SeqCst);
        for number in 0..5 {
            queries.push(change(&platform, &format!("query {round} {number}")).await);
        }
        // A kill may take what was accepted within the last milliseconds.
        audited(&platform, &queries).await;
        if round < 2 {
            platform.kill().unwrap();
            platform = start(data.path(), &[(443, origin.address)], &tls.root).await;
        }
    }
    let wanted = audited(&platform, &queries).await;
    until("every record", async || wanted.is_subset(&receiver.ids())).await;
    until("health", async || state(&platform).await["portunus"]["state"] == "healthy").await;
    let healthy = state(&platform).await;
    assert_eq!((&healthy["error_message"], &healthy["portunus"]["missed"]), (&Value::Null, &json!([])));
    assert!(healthy["last_complete"].is_string() && healthy["last_error"].is_string());

    // Paused, it keeps its place.
    let (data, number) = (data.path().to_str().unwrap(), made["id"].to_string());
    let command = |arguments: &[&str]| {
        let arguments = [&["logs", "push"], arguments, &["--data", data]].concat();
        text(&portunus(&arguments))
    };
    assert!(command(&["test", &number]).contains("done"));
    command(&["pause", &number]);
    let listed = command(&[]);
    assert!(listed.contains(&number) && listed.contains("paused") && !listed.contains("s3cr3t"), "{listed}");
    queries.push(change(&platform, "while it is paused").await);
    let wanted = audited(&platform, &queries).await;
    command(&["resume", &number]);
    until("what was recorded meanwhile", async || wanted.is_subset(&receiver.ids())).await;
    // Everything once more, from the lake.
    receiver.batches.lock().unwrap().clear();
    platform
        .api("POST", &format!("/portunus{path}/deliver"), Some(json!({"from": "2020-01-01T00:00:00Z"})))
        .await
        .unwrap();
    until("the whole past", async || wanted.is_subset(&receiver.ids())).await;
    until("its end", async || state(&platform).await["portunus"]["delivering"].is_null()).await;
    platform.terminate().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_syslog_receiver_gets_each_record_as_a_message_over_tls() {
    let tls = OriginTls::for_names(&[HOST], &[]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let messages: Arc<Mutex<Vec<String>>> = Arc::default();
    let (acceptor, heard) = (TlsAcceptor::from(Arc::clone(&tls.config)), Arc::clone(&messages));
    let mut receiving = tokio::task::JoinSet::new();
    receiving.spawn(async move {
        for connection in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            if connection == 1 {
                // It goes away, with what was sent unread.
                continue;
            }
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.unwrap();
            heard.lock().unwrap().extend(framed(&bytes));
        }
    });
    let data = tempfile::tempdir().unwrap();
    let mut platform = start(data.path(), &[(6514, address)], &tls.root).await;
    let conf = format!("syslog+tls://{HOST}:6514?app-name=gate&hostname=node-1");
    let test =
        platform.api("POST", "/logpush/validate/destination", Some(json!({"destination_conf": conf}))).await.unwrap();
    assert_eq!(test, json!({"valid": true, "message": ""}));
    until("the test", async || messages.lock().unwrap().len() == 1).await;
    assert!(
        messages.lock().unwrap()[0].ends_with(" node-1 gate - test - {\"content\":\"test\",\"sender\":\"Portunus\"}")
    );
    let job =
        json!({"dataset": "audit_logs", "enabled": true, "destination_conf": conf, "max_upload_interval_seconds": 1});
    let made = platform.api("POST", "/logpush/jobs", Some(job)).await.unwrap();
    let path = format!("/logpush/jobs/{}", made["id"]);
    until("the job's start", async || {
        platform.api("GET", &path, None).await.unwrap()["portunus"]["state"] != "starting"
    })
    .await;
    let mut queries = Vec::new();
    for number in 0..4 {
        queries.push(change(&platform, &format!("query {number}")).await);
    }
    let wanted = audited(&platform, &queries).await;
    let received = || -> BTreeSet<String> {
        let messages = messages.lock().unwrap();
        let json = messages.iter().filter_map(|message| message.split_once(" - audit_logs - ")).map(|(_, json)| json);
        json.map(|json| serde_json::from_str::<Value>(json).unwrap()["ID"].as_str().unwrap().to_owned()).collect()
    };
    until("every message", async || wanted.is_subset(&received())).await;
    // Facility 13, severity 6.
    assert!(messages.lock().unwrap()[1].starts_with("<110>1 20"));
    platform.terminate().unwrap();
}

/// Reads messages with their lengths before them (RFC 6587 section 3.4.1).
fn framed(mut bytes: &[u8]) -> Vec<String> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').unwrap();
        let length: usize = std::str::from_utf8(&bytes[..space]).unwrap().parse().unwrap();
        let (message, rest) = bytes[space + 1..].split_at(length);
        messages.push(String::from_utf8(message.to_vec()).unwrap());
        bytes = rest;
    }
    messages
}
