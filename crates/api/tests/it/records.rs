//! How long records are kept: by default, as chosen, within bounds, and at once. Erasing those of a person.

use logs::GatewayHttp;
use serde_json::{Value, json};
use store::Permission;
use uuid::Uuid;

use crate::harness::Console;

const PATH: &str = "portunus/logs/retention";

fn of<'a>(kept: &'a Value, dataset: &str) -> &'a Value {
    kept.as_array().unwrap().iter().find(|view| view["dataset"] == dataset).unwrap()
}

#[tokio::test]
async fn an_account_chooses_how_long_each_dataset_is_kept() {
    let mut console = Console::new().await;
    for day in 0..20 {
        let record = GatewayHttp {
            id: Uuid::now_v7(),
            datetime: jiff::Timestamp::from_second(crate::harness::START - day * 24 * 3_600).unwrap(),
            account_id: console.account.to_string(),
            ..GatewayHttp::default()
        };
        console.logs.append(record).await.unwrap();
    }
    console.logs.settle().await.unwrap();
    let default = console.get(PATH).await.result();
    let web = of(&default, "gateway_http");
    assert_eq!((&web["days"], &web["rows"], &web["default"]), (&json!(90), &json!(20), &json!(true)));
    assert_eq!(of(&default, "audit")["days"], 400);

    let chosen = json!({"datasets": [{"dataset": "gateway_http", "days": 9, "max_bytes": 1 << 30}]});
    let kept = console.put(PATH, chosen.clone()).await.result();
    assert_eq!(of(&kept, "gateway_http")["max_bytes"], 1 << 30);
    assert_eq!(of(&kept, "gateway_http")["default"], false);
    assert_eq!(of(&kept, "worker")["days"], 90);
    while of(&console.get(PATH).await.result(), "gateway_http")["rows"] != 10 {
        tokio::task::yield_now().await;
    }
    console.put(PATH, chosen).await.result();
    let audit = console.audit().await;
    let changes: Vec<_> = audit.iter().filter(|record| record["ResourceType"] == "log_retention").collect();
    assert_eq!(changes.len(), 1, "what changes nothing is not a change");
    assert_eq!(changes[0]["NewValue"]["gateway_http"]["days"], 9);

    console.put(PATH, json!({"datasets": []})).await.result();
    assert_eq!(of(&console.get(PATH).await.result(), "gateway_http")["default"], true);

    console.token = console.issue(&[Permission::LogsRead]).await;
    console.get(PATH).await.result();
    assert!(console.put(PATH, json!({"datasets": []})).await.error(403).1.contains("logs:write"));
}

#[tokio::test]
async fn what_is_out_of_bounds_is_refused_where_it_stands() {
    let console = Console::new().await;
    let one = |dataset: &str, days: Value, bytes: Value| json!({"dataset": dataset, "days": days, "max_bytes": bytes});
    for (keep, pointer) in [
        (one("gateway_http", json!(0), Value::Null), "/datasets/0/days"),
        (one("gateway_http", json!(3_651), Value::Null), "/datasets/0/days"),
        // What somebody did must outlive the day of it.
        (one("audit", json!(29), Value::Null), "/datasets/0/days"),
        (one("access_requests", json!(1), Value::Null), "/datasets/0/days"),
        (one("worker", json!(9), json!(1_000)), "/datasets/0/max_bytes"),
        (one("gateway_smtp", json!(9), Value::Null), "/datasets/0/dataset"),
    ] {
        assert_eq!(console.put(PATH, json!({"datasets": [keep]})).await.error(400).0, pointer, "{keep}");
    }
    let twice = json!({"datasets": [one("worker", json!(9), Value::Null), one("worker", json!(8), Value::Null)]});
    assert_eq!(console.put(PATH, twice).await.error(400).0, "/datasets/1/dataset");
    console.put(PATH, json!({"datasets": [{"dataset": "worker", "days": 9, "hours": 1}]})).await.error(400);
    assert!(console.get(PATH).await.result().as_array().unwrap().iter().all(|view| view["default"] == true));
}

const ERASURES: &str = "portunus/logs/erasures";

#[tokio::test]
async fn a_person_is_erased_by_whoever_may_and_says_so_twice() {
    let mut console = Console::new().await;
    for email in ["ada@example.com", "bob@example.com"] {
        let record = GatewayHttp {
            id: Uuid::now_v7(),
            datetime: "2026-01-02T03:04:05Z".parse().unwrap(),
            account_id: console.account.to_string(),
            email: email.to_owned(),
            ..GatewayHttp::default()
        };
        console.logs.append(record).await.unwrap();
    }
    console.logs.flush().await.unwrap();
    for (body, pointer) in [
        (json!({"email": "ada", "confirm": "ada"}), "/email"),
        (json!({"email": "ada@example.com", "confirm": ""}), "/confirm"),
        (json!({"email": "ada@example.com", "confirm": "bob@example.com"}), "/confirm"),
        (json!({"email": "ada@example.com", "confirm": "ada@example.com", "user_ids": [""]}), "/user_ids"),
    ] {
        assert_eq!(console.post(ERASURES, body).await.error(400).0, pointer);
    }
    let asked = json!({"email": " Ada@Example.com", "confirm": "ada@example.com"});
    let erasure = console.post(ERASURES, asked.clone()).await.result();
    let path = format!("{ERASURES}/{}", erasure["id"].as_str().unwrap());
    let done = loop {
        let now = console.get(&path).await.result();
        if now["state"] == "erased" || now["state"] == "done" {
            break now;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(done["records"], json!({"gateway_http": 1}));
    let left = console.get("portunus/logs/gateway_http").await.result();
    assert_eq!(left.as_array().unwrap().len(), 1);
    assert_eq!(left[0]["Email"], "bob@example.com");
    assert_eq!(console.get(ERASURES).await.result()[0], done);

    // The trail tells that it was done, without the address; whoever knows it can tell that it was theirs.
    let audit = console.audit().await;
    let trail: Vec<_> = audit.iter().filter(|record| record["ActionType"] == "erase").collect();
    let hash = "b5fc85e55755f9e0d030a10ab4429b6b2944855f9a0d60077fe832becbc41d72";
    assert_eq!(trail.len(), 1);
    assert!(!serde_json::to_string(&trail).unwrap().contains("ada@"));
    assert_eq!(trail[0]["ResourceID"], hash);

    console.token = console.issue(&[Permission::LogsWrite, Permission::AuditRead]).await;
    for answer in [console.get(ERASURES).await, console.get(&path).await, console.post(ERASURES, asked).await] {
        assert!(answer.error(403).1.contains("logs:erase"));
    }
}
