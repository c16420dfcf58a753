//! Saved queries and signals through the API, and what comes of them when they are asked.

use std::sync::{Arc, Mutex};

use administration::watch::{Tell, Watch};
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use logs::GatewayHttp;
use push::webhook::Post;
use serde_json::{Value, json};
use store::{Operate, Permission, Principal};
use uuid::Uuid;

use crate::harness::{Console, START};

/// The example of docs/signals.md.
fn documented() -> String {
    let page = include_str!("../../../../docs/signals.md");
    let start = page.find("```sql\n").unwrap() + "```sql\n".len();
    page[start..].split("```").next().unwrap().to_owned()
}

async fn uploads(console: &Console, at: Timestamp, email: &str, bytes: u64) {
    let record = GatewayHttp {
        id: Uuid::now_v7(),
        datetime: at,
        account_id: console.account.to_string(),
        http_method: "POST".to_owned(),
        http_host: "files.example.com".to_owned(),
        email: email.to_owned(),
        request_bytes: bytes,
        ..GatewayHttp::default()
    };
    console.logs.append(record).await.unwrap();
    console.logs.flush().await.unwrap();
}

/// Remembers what it was told, and answers as it is told to.
#[derive(Default)]
struct Told {
    workers: Mutex<Vec<Value>>,
    posted: Mutex<Vec<Post>>,
    refuses: Mutex<bool>,
}

impl Tell for Told {
    fn workers(&self, _: String, body: String) -> BoxFuture<'_, ()> {
        self.workers.lock().unwrap().push(serde_json::from_str(&body).unwrap());
        Box::pin(async {})
    }

    fn webhook(&self, post: Post) -> BoxFuture<'_, Result<(), String>> {
        self.posted.lock().unwrap().push(post);
        let refuses = *self.refuses.lock().unwrap();
        Box::pin(async move { if refuses { Err("answered 503".to_owned()) } else { Ok(()) } })
    }
}

async fn saved(console: &Console, sql: &str) -> String {
    let query = json!({"name": "Uploads", "description": "By person", "sql": sql});
    console.post("portunus/logs/queries", query).await.result()["id"].as_str().unwrap().to_owned()
}

fn signal(query: &str) -> Value {
    json!({"name": "Much sent", "query_id": query, "every_minutes": 5, "column": "bytes", "at_least": 1_000_000,
        "severity": "high", "webhook": "https://hooks.example.com/portunus"})
}

fn watch(console: &Console) -> Watch {
    Watch { store: console.store.clone(), logs: console.logs.clone(), account: console.account }
}

/// Looks at what is due, then tells.
async fn round(console: &Console, now: Timestamp, told: &Told) {
    let watch = watch(console);
    watch.look(now).await.unwrap();
    watch.tell(&move || now, told).await.unwrap();
}

#[tokio::test]
async fn a_query_is_saved_opened_changed_and_deleted() {
    let mut console = Console::new().await;
    let id = saved(&console, "SELECT 1").await;
    let path = format!("portunus/logs/queries/{id}");
    assert_eq!(console.get(&path).await.result()["description"], "By person");
    console.post("portunus/logs/queries", json!({"name": "Uploads", "sql": "SELECT 2"})).await.error(409);
    for (body, pointer) in [
        (json!({"name": "", "sql": "SELECT 1"}), "/name"),
        (json!({"name": "x", "sql": " "}), "/sql"),
        (json!({"name": "x", "sql": "SELECT 1", "description": "d".repeat(2_001)}), "/description"),
    ] {
        assert_eq!(console.post("portunus/logs/queries", body).await.error(400).0, pointer);
    }
    let changed = console.put(&path, json!({"name": "Uploads", "sql": "SELECT 3"})).await.result();
    assert_eq!((&changed["sql"], &changed["description"]), (&json!("SELECT 3"), &json!("")));
    let audit = console.audit().await;
    assert_eq!(audit.iter().filter(|record| record["ResourceType"] == "saved query").count(), 2);
    let reader = console.issue(&[Permission::LogsRead]).await;
    let token = std::mem::replace(&mut console.token, reader);
    console.get(&path).await.result();
    console.delete(&path).await.error(403);
    console.token = token;
    console.delete(&path).await.result();
    console.get(&path).await.error(404);
}

#[tokio::test]
async fn a_signal_is_refused_with_what_is_wrong() {
    let console = Console::new().await;
    let good = saved(&console, &documented()).await;
    let endless = json!({"name": "Endless", "sql": "SELECT COUNT(*) AS bytes FROM gateway_http"});
    let endless = console.post("portunus/logs/queries", endless).await.result()["id"].clone();
    let commented =
        json!({"name": "Commented", "sql": "SELECT COUNT(*) AS bytes FROM gateway_http -- $from to $until"});
    let commented = console.post("portunus/logs/queries", commented).await.result()["id"].clone();
    let secret = json!({"name": "Audit", "sql": "SELECT COUNT(*) AS bytes FROM audit WHERE \"When\" >= $from AND \"When\" < $until"});
    let secret = console.post("portunus/logs/queries", secret).await.result()["id"].clone();
    for (member, value, pointer) in [
        ("every_minutes", json!(0), "/every_minutes"),
        ("every_minutes", json!(1_441), "/every_minutes"),
        ("severity", json!("awful"), "/severity"),
        ("webhook", json!("ftp://example.com"), "/webhook"),
        ("webhook", json!("https://me:secret@example.com"), "/webhook"),
        ("webhook", json!("https://hooks.example.com/REDACTED"), "/webhook"),
        ("webhook_secret", json!("whsec_c2hvcnQ="), "/webhook_secret"),
        ("column", json!("Email"), "/column"),
        ("column", json!("megabytes"), "/column"),
        ("query_id", json!("nothing"), "/query_id"),
        ("query_id", endless, "/query_id"),
        ("query_id", commented, "/query_id"),
        ("query_id", secret, "/query_id"),
    ] {
        let mut body = signal(&good);
        body[member] = value;
        assert_eq!(console.post("portunus/signals", body.clone()).await.error(400).0, pointer, "{body}");
    }
    let made = console.post("portunus/signals", signal(&good)).await.result();
    console.post("portunus/signals", signal(&good)).await.error(409);
    // A query that is asked stays, and keeps naming its window.
    console.delete(&format!("portunus/logs/queries/{good}")).await.error(409);
    let path = format!("portunus/logs/queries/{good}");
    assert_eq!(console.put(&path, json!({"name": "Uploads", "sql": "SELECT 1"})).await.error(400).0, "/sql");
    let path = format!("portunus/signals/{}", made["id"].as_str().unwrap());
    console.delete(&path).await.result();
    console.get(&path).await.error(404);
}

#[tokio::test]
async fn a_window_with_too_much_is_one_event_for_workers_webhook_and_console() {
    let console = Console::new().await;
    let query = saved(&console, &documented()).await;
    console.post("portunus/signals", signal(&query)).await.result();
    let every = 300;
    let start = Timestamp::from_second(START.div_euclid(every) * every).unwrap();
    let after = |seconds| start + SignedDuration::from_secs(seconds);
    uploads(&console, after(10), "ada@example.com", 900_000).await;
    uploads(&console, after(299), "ada@example.com", 200_000).await;
    uploads(&console, after(20), "bob@example.com", 10).await;
    // The end is not part of the window.
    uploads(&console, after(300), "bob@example.com", 5_000_000).await;
    let told = Arc::new(Told::default());
    round(&console, after(320), &told).await;
    assert!(told.workers.lock().unwrap().is_empty(), "a window is not looked at before its records had time to arrive");
    *told.refuses.lock().unwrap() = true;
    round(&console, after(331), &told).await;
    // Again, as after a restart: nothing is told twice, and the webhook is tried again when its pause is over.
    round(&console, after(332), &told).await;
    assert_eq!((told.workers.lock().unwrap().len(), told.posted.lock().unwrap().len()), (1, 1));
    let events = console.get("portunus/signal_events").await.result();
    assert_eq!((&events[0]["webhook"], &events[0]["webhook_answer"]), (&json!("waiting"), &json!("answered 503")));
    *told.refuses.lock().unwrap() = false;
    round(&console, after(340), &told).await;
    round(&console, after(341), &told).await;
    assert_eq!((told.workers.lock().unwrap().len(), told.posted.lock().unwrap().len()), (1, 2));

    let events = console.get("portunus/signal_events").await.result();
    assert_eq!(events.as_array().unwrap().len(), 1);
    let event = &events[0];
    assert_eq!((&event["value"], &event["rows"], &event["severity"]), (&json!(1_100_000.0), &json!(1), &json!("high")));
    assert_eq!((&event["webhook"], &event["from"]), (&json!("sent"), &json!(start.to_string())));
    assert_eq!(event["sample"][0]["Email"], "ada@example.com");
    let message = told.workers.lock().unwrap()[0].clone();
    assert_eq!((&message["type"], &message["id"]), (&json!("signal"), &event["id"]));
    let posted = std::mem::take(&mut *told.posted.lock().unwrap());
    assert_eq!(posted[1].url.expose(), "https://hooks.example.com/portunus");
    assert_eq!(serde_json::from_str::<Value>(&posted[1].body).unwrap(), message);
    let header =
        |attempt: usize, name| posted[attempt].headers.iter().find(|header| header.0 == name).unwrap().1.clone();
    assert_eq!(header(0, "webhook-id"), header(1, "webhook-id"));
    assert_ne!(header(0, "webhook-signature"), header(1, "webhook-signature"), "the time is signed, too");
    let signals = console.get("portunus/signals").await.result();
    assert_eq!(signals[0]["last_value"], 1_100_000.0);
    assert_eq!(signals[0]["checked_through"], after(300).to_string());
}

#[tokio::test]
async fn a_signal_is_tried_on_what_was_before_it_is_made() {
    let console = Console::new().await;
    let query = saved(&console, &documented()).await;
    // A window is over for half a minute before it is looked at.
    let newest = (START - 30).div_euclid(300) * 300;
    let ago = |seconds| Timestamp::from_second(newest - seconds).unwrap();
    uploads(&console, ago(10), "ada@example.com", 900_000).await;
    uploads(&console, ago(20), "ada@example.com", 100_000).await;
    uploads(&console, ago(310), "bob@example.com", 999_999).await;
    uploads(&console, ago(300 * 23 + 1), "eve@example.com", 5_000_000).await;
    uploads(&console, ago(300 * 24 + 1), "eve@example.com", 5_000_000).await;
    let trial = console.post("portunus/signals/trial", signal(&query)).await.result();
    let windows = trial["windows"].as_array().unwrap();
    let found = |place: usize| (&windows[place]["value"], &windows[place]["event"]);
    assert_eq!((windows.len(), &trial["events"]), (24, &json!(2)));
    assert_eq!(found(0), (&json!(1_000_000.0), &json!(true)));
    assert_eq!(found(1), (&json!(0.0), &json!(false)), "the query itself wants a million");
    assert_eq!(found(23), (&json!(5_000_000.0), &json!(true)));
    assert_eq!(trial["sample"][0]["Email"], "ada@example.com");
    assert_eq!(console.get("portunus/signals").await.result(), json!([]), "nothing is saved");
    let mut wrong = signal(&query);
    wrong["column"] = json!("megabytes");
    assert_eq!(console.post("portunus/signals/trial", wrong).await.error(400).0, "/column");
    assert!(console.audit().await.iter().any(|record| record["ResourceID"] == "trial of a signal"));
}

#[tokio::test]
async fn the_address_of_a_webhook_is_kept_to_itself_and_its_key_shown_once() {
    let console = Console::new().await;
    let query = saved(&console, &documented()).await;
    let made = console.post("portunus/signals", signal(&query)).await.result();
    let key = made["webhook_secret"].as_str().unwrap().to_owned();
    assert!(key.starts_with("whsec_"), "{made}");
    let path = format!("portunus/signals/{}", made["id"].as_str().unwrap());
    let shown = console.get(&path).await.result();
    assert_eq!(
        (&shown["webhook"], &shown["webhook_secret"]),
        (&json!("https://hooks.example.com/REDACTED"), &Value::Null)
    );

    // Sent back as it is shown, both stay; another address is taken, and the key stays.
    let mut body = signal(&query);
    body["webhook"] = shown["webhook"].clone();
    assert_eq!(console.put(&path, body.clone()).await.result()["webhook_secret"], Value::Null);
    let urls = async || {
        let grant = Principal::system("test").authorize::<Operate>(console.account).unwrap();
        let mut stored = console.store.signals().list(&grant).await.unwrap().remove(0);
        let members = console.store.signals().open_members(&grant, &mut stored).unwrap();
        ["webhook", "signing_key"].map(|name| members[name].expose().clone())
    };
    assert_eq!(urls().await, ["https://hooks.example.com/portunus".to_owned(), key.clone()]);
    body["webhook"] = json!("https://other.example.com/in");
    console.put(&path, body.clone()).await.result();
    assert_eq!(urls().await, ["https://other.example.com/in".to_owned(), key.clone()]);
    // What is left out of one host is not known for another.
    body["webhook"] = json!("https://third.example.com/REDACTED");
    assert_eq!(console.put(&path, body.clone()).await.error(400).0, "/webhook");

    let renewed = console.post(&format!("{path}/webhook_secret"), json!({})).await.result();
    assert_ne!(renewed["webhook_secret"], key.as_str());
    assert_eq!(urls().await[1], renewed["webhook_secret"]);
    body["webhook"] = json!("https://other.example.com/REDACTED");
    body["webhook_secret"] = json!(key);
    assert_eq!(
        console.put(&path, body.clone()).await.result()["webhook_secret"],
        Value::Null,
        "it is known to who sent it"
    );
    assert_eq!(urls().await[1], key);
    body["webhook"] = Value::Null;
    console.put(&path, body).await.result();
    console.post(&format!("{path}/webhook_secret"), json!({})).await.error(409);
    let audit = serde_json::to_string(&console.audit().await).unwrap();
    assert!(audit.contains("https://hooks.example.com/REDACTED") && !audit.contains("/portunus\""), "{audit}");
    assert!(!audit.contains("whsec_"));
}

#[tokio::test]
async fn a_query_that_fails_is_an_event_once_until_it_works_again() {
    let console = Console::new().await;
    let query = saved(&console, &documented()).await;
    console.post("portunus/signals", signal(&query)).await.result();
    let broken = "SELECT Email, nothing AS bytes FROM gateway_http WHERE Datetime >= $from AND Datetime < $until";
    console.put(&format!("portunus/logs/queries/{query}"), json!({"name": "Uploads", "sql": broken})).await.result();
    let told = Told::default();
    let now = Timestamp::from_second(START).unwrap();
    for minutes in [6, 11, 16] {
        round(&console, now + SignedDuration::from_mins(minutes), &told).await;
    }
    let events = console.get("portunus/signal_events").await.result();
    assert_eq!(events.as_array().unwrap().len(), 1, "{events}");
    assert!(events[0]["error"].as_str().unwrap().contains("nothing"));
    assert_eq!(told.workers.lock().unwrap()[0]["type"], "signal_failed");
    assert!(console.get("portunus/signals").await.result()[0]["last_error"].as_str().unwrap().contains("nothing"));
}

/// A webhook that never answers.
struct Hangs<'a>(&'a Told);

impl Tell for Hangs<'_> {
    fn workers(&self, id: String, body: String) -> BoxFuture<'_, ()> {
        self.0.workers(id, body)
    }

    fn webhook(&self, post: Post) -> BoxFuture<'_, Result<(), String>> {
        if post.url.expose().contains("hangs") { Box::pin(std::future::pending()) } else { self.0.webhook(post) }
    }
}

#[tokio::test]
async fn a_webhook_that_hangs_holds_up_nobody_else() {
    let console = Console::new().await;
    let query = saved(&console, &documented()).await;
    let hanging = json!({"name": "First", "webhook": "https://hangs.example.com/"});
    for change in [hanging, json!({})] {
        let mut body = signal(&query);
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        console.post("portunus/signals", body).await.result();
    }
    let start = Timestamp::from_second(START.div_euclid(300) * 300).unwrap();
    uploads(&console, start + SignedDuration::from_secs(10), "ada@example.com", 2_000_000).await;
    let now = start + SignedDuration::from_secs(331);
    let (watch, told) = (watch(&console), Told::default());
    assert_eq!(watch.look(now).await.unwrap(), 2);
    let clock = move || now;
    let hangs = Hangs(&told);
    let mut telling = Box::pin(watch.tell(&clock, &hangs));
    while told.posted.lock().unwrap().is_empty() {
        assert!(futures_util::poll!(telling.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(told.workers.lock().unwrap().len(), 2);
    // Windows are looked at meanwhile.
    assert_eq!(watch.look(now + SignedDuration::from_secs(300)).await.unwrap(), 0);
    assert_eq!(console.get("portunus/signals").await.result()[0]["checked_through"], "2026-01-02T03:10:00Z");
}

#[tokio::test]
async fn a_signal_that_is_enabled_again_begins_then() {
    let console = Console::new().await;
    let query = saved(&console, &documented()).await;
    let id = console.post("portunus/signals", signal(&query)).await.result()["id"].as_str().unwrap().to_owned();
    let path = format!("portunus/signals/{id}");
    let enabled = |enabled: bool| {
        let mut body = signal(&query);
        body["enabled"] = json!(enabled);
        body
    };
    console.put(&path, enabled(false)).await.result();
    uploads(&console, console.store.now(), "ada@example.com", 2_000_000).await;
    console.advance(86_400);
    let again = console.put(&path, enabled(true)).await.result();
    assert_eq!(again["checked_through"], "2026-01-03T03:04:05Z");
    let later = console.store.now() + SignedDuration::from_mins(10);
    assert_eq!(watch(&console).look(later).await.unwrap(), 0, "the day between is not made up for");
    let rows = json!({"name": "Rows", "query_id": query, "every_minutes": 5, "at_least": 20_000});
    assert_eq!(console.post("portunus/signals", rows).await.error(400).0, "/at_least");
}
