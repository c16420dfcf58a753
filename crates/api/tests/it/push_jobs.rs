//! Push jobs through the API: the shapes of Logpush, what is refused, what is never shown.

use serde_json::{Value, json};
use store::{Operate, Permission, Principal, ReadLogs};

use crate::harness::Console;

const SECRET: &str = "hunter2hunter2";

fn job() -> Value {
    json!({"name": "SIEM", "dataset": "gateway_http", "enabled": true,
        "destination_conf": format!("https://siem.example.com/in?header_Authorization=Bearer%20{SECRET}&tags=a"),
        "output_options": {"field_names": ["Datetime", "HTTPHost"], "timestamp_format": "rfc3339", "CVE-2021-44228": true},
        "filter": "{\"where\":{\"key\":\"Action\",\"operator\":\"eq\",\"value\":\"block\"}}",
        "max_upload_interval_seconds": 30, "max_upload_records": 1000, "max_upload_bytes": 5_000_000,
        "kind": "", "ownership_challenge": "x"})
}

#[tokio::test]
async fn a_job_is_made_shown_changed_and_deleted_and_its_secret_never_seen() {
    let mut console = Console::new().await;
    let made = console.post("logpush/jobs", job()).await.result();
    let id = made["id"].as_u64().unwrap();
    let shown = "https://siem.example.com/in?header_Authorization=REDACTED&tags=REDACTED";
    assert_eq!(made["destination_conf"], shown);
    for (member, value) in [
        ("name", json!("SIEM")),
        ("dataset", json!("gateway_http")),
        ("enabled", json!(true)),
        ("kind", json!("")),
        ("frequency", json!("high")),
        ("last_complete", Value::Null),
        ("error_message", Value::Null),
        ("logpull_options", Value::Null),
        ("max_upload_records", json!(1000)),
    ] {
        assert_eq!(made[member], value, "{member}");
    }
    assert_eq!(made["portunus"]["state"], "starting");
    let path = format!("logpush/jobs/{id}");
    assert_eq!(console.get(&path).await.result(), made);
    assert_eq!(console.get("logpush/jobs").await.result(), json!([made]));
    assert_eq!(console.get("logpush/datasets/gateway_http/jobs").await.result(), json!([made]));
    assert_eq!(console.get("logpush/datasets/audit_logs/jobs").await.result(), json!([]));
    let exists =
        console.post("logpush/validate/destination/exists", json!({"destination_conf": job()["destination_conf"]}));
    assert_eq!(exists.await.result(), json!({"exists": true}));

    // What is absent stays; the destination as it is shown is no change.
    let changed = console.put(&path, json!({"enabled": false, "destination_conf": shown})).await.result();
    assert_eq!((&changed["enabled"], &changed["name"]), (&json!(false), &json!("SIEM")));
    assert_eq!(changed["portunus"]["state"], "paused");
    assert_eq!(opened(&console).await, job()["destination_conf"]);
    // A kept secret goes nowhere else.
    let elsewhere = shown.replace("siem.", "evil.");
    let (pointer, message) = console.put(&path, json!({"destination_conf": elsewhere})).await.error(400);
    assert_eq!(pointer, "/destination_conf");
    assert!(message.contains("give the secret"), "{message}");
    // Options are replaced whole.
    let changed = console.put(&path, json!({"output_options": {"sample_rate": 0.5}, "filter": ""})).await.result();
    assert_eq!((&changed["output_options"], &changed["filter"]), (&json!({"sample_rate": 0.5}), &Value::Null));
    let changed = console.put(&path, json!({"logpull_options": "fields=Datetime&timestamps=unix"})).await.result();
    assert_eq!(changed["output_options"], Value::Null);
    assert_eq!(console.put(&path, json!({"dataset": "audit_logs"})).await.error(400).0, "/dataset");

    let deliver = format!("portunus/logpush/jobs/{id}/deliver");
    for (body, status, pointer) in [
        (json!({"from": "yesterday"}), 400, "/from"),
        (json!({"from": "2026-11-28T00:00:00Z", "until": "2026-11-27T00:00:00Z"}), 400, "/until"),
        // No node has begun it.
        (json!({"from": "2020-01-01T00:00:00Z"}), 409, ""),
    ] {
        assert_eq!(console.post(&deliver, body.clone()).await.error(status).0, pointer, "{body}");
    }
    let reader = console.issue(&[Permission::LogsRead]).await;
    let token = std::mem::replace(&mut console.token, reader);
    console.post(&deliver, json!({"from": "2020-01-01T00:00:00Z"})).await.error(403);
    assert_eq!(console.get(&path).await.result()["id"], id);
    console.put(&path, json!({"enabled": true})).await.error(403);
    console.delete(&path).await.error(403);
    console.token = token;
    console.delete(&path).await.result();
    console.get(&path).await.error(404);
    console.get("logpush/jobs/no-number").await.error(404);

    let audit = console.audit().await;
    let mine: Vec<_> = audit.iter().filter(|record| record["ResourceType"] == "push job").collect();
    assert_eq!(mine.len(), 5);
    assert!(mine.iter().any(|record| record.to_string().contains("header_Authorization=REDACTED")));
    assert!(!json!(audit).to_string().contains(SECRET));
}

async fn opened(console: &Console) -> Value {
    let principal = Principal::system("test");
    let jobs =
        console.store.push_jobs().list(&principal.authorize::<ReadLogs>(console.account).unwrap()).await.unwrap();
    let operate = principal.authorize::<Operate>(console.account).unwrap();
    let mut job = jobs.into_iter().next().unwrap();
    // Sealed at rest.
    assert!(!serde_json::to_string(&job.document).unwrap().contains(SECRET));
    let members = console.store.push_jobs().open_members(&operate, &mut job).unwrap();
    json!(members["destination_conf"].expose())
}

#[tokio::test]
async fn what_is_wrong_is_said_of_each_member() {
    let console = Console::new().await;
    for (member, value, pointer) in [
        ("dataset", json!("http_requests"), "/dataset"),
        ("dataset", Value::Null, "/dataset"),
        ("destination_conf", Value::Null, "/destination_conf"),
        ("destination_conf", json!("ftp://x"), "/destination_conf"),
        ("destination_conf", json!("http://siem.example.com/"), "/destination_conf"),
        ("output_options", json!({"field_names": ["Nope"]}), "/output_options/field_names"),
        ("output_options", json!({"colour": 1}), "/output_options"),
        ("filter", json!("{\"where\":{\"key\":\"Nope\",\"operator\":\"eq\",\"value\":1}}"), "/filter"),
        ("filter", json!("{"), "/filter"),
        ("kind", json!("edge"), "/kind"),
        ("frequency", json!("often"), "/frequency"),
        ("max_upload_bytes", json!(10), "/max_upload_bytes"),
        ("max_upload_interval_seconds", json!(301), "/max_upload_interval_seconds"),
        ("max_upload_records", json!(1_000_001), "/max_upload_records"),
        ("name", json!("x".repeat(513)), "/name"),
    ] {
        let mut body = job();
        body[member] = value.clone();
        assert_eq!(console.post("logpush/jobs", body).await.error(400).0, pointer, "{member} {value}");
    }
    let mut old = job();
    old["output_options"] = Value::Null;
    old["logpull_options"] = json!("colour=1");
    assert_eq!(console.post("logpush/jobs", old).await.error(400).0, "/logpull_options");
    let mut unknown = job();
    unknown["colour"] = json!(1);
    console.post("logpush/jobs", unknown).await.error(400);
    assert_eq!(console.get("logpush/jobs").await.result(), json!([]));
}

#[tokio::test]
async fn the_audit_log_is_pushed_by_those_alone_who_may_read_it() {
    let mut console = Console::new().await;
    let mut body = job();
    body["dataset"] = json!("audit_logs");
    body["output_options"] = Value::Null;
    body["filter"] = Value::Null;
    let writer = console.issue(&[Permission::LogsWrite]).await;
    let token = std::mem::replace(&mut console.token, writer);
    let (_, message) = console.post("logpush/jobs", body.clone()).await.error(403);
    assert!(message.contains("audit:read"), "{message}");
    console.token = token;
    let id = console.post("logpush/jobs", body).await.result()["id"].clone();
    let both = console.issue(&[Permission::LogsWrite, Permission::AuditRead]).await;
    console.token = both;
    console.put(&format!("logpush/jobs/{id}"), json!({"enabled": false})).await.result();
}

#[tokio::test]
async fn destinations_are_checked_without_a_challenge_and_fields_are_told() {
    let console = Console::new().await;
    let good = json!({"destination_conf": "https://siem.example.com/in?header_A=b"});
    let answer = console.post("logpush/ownership", good.clone()).await.result();
    assert_eq!((&answer["valid"], &answer["filename"]), (&json!(true), &json!("")));
    let challenge = json!({"destination_conf": good["destination_conf"], "ownership_challenge": "x"});
    assert_eq!(console.post("logpush/ownership/validate", challenge).await.result()["valid"], true);
    let bad = json!({"destination_conf": "syslog+udp://x"});
    let answer = console.post("logpush/validate/destination", bad.clone()).await.result();
    assert_eq!(answer["valid"], false);
    assert!(answer["message"].as_str().unwrap().contains("UDP"));
    console.post("logpush/ownership", bad).await.error(400);
    let fields = console.get("logpush/datasets/workers_trace_events/fields").await.result();
    assert!(fields["Outcome"].as_str().unwrap().starts_with("type: string"));
    console.get("logpush/datasets/http_requests/fields").await.error(404);
}
