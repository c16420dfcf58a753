//! What is really used, through the API.

use jiff::SignedDuration;
use logs::GatewayHttp;
use serde_json::{Value, json};
use store::Permission;
use uuid::Uuid;

use crate::harness::Console;

const APPLICATIONS: &str = "portunus/usage/applications";

/// Numbers of applications of the library by their slugs, in the order of [`traffic`].
pub(crate) fn id(slug: &str) -> i64 {
    i64::from(catalog::Catalog::embedded().by_slug(slug).unwrap().id)
}

/// Three people use ChatGPT and GitHub today, one of them used GitHub 40 and 70 days ago, and something unknown is asked once.
pub(crate) async fn traffic(console: &Console) {
    let request = |days: i64, person: &str, application: Option<&str>| GatewayHttp {
        id: Uuid::now_v7(),
        datetime: console.store.now().checked_sub(SignedDuration::from_hours(days * 24)).unwrap(),
        account_id: console.account.to_string(),
        action: "allow".to_owned(),
        http_host: "somewhere.example".to_owned(),
        http_method: "POST".to_owned(),
        http_status_code: 200,
        email: format!("{person}@corp.example"),
        group_names: vec![if person == "ann" { "Finance" } else { "Sales" }.to_owned()],
        device_name: format!("laptop of {person}"),
        source_ip_country_code: "DE".to_owned(),
        application_ids: application.map(id).into_iter().collect(),
        request_content_type: "application/json".to_owned(),
        request_bytes: 100,
        response_bytes: 1_000,
        ..GatewayHttp::default()
    };
    for person in ["ann", "bob", "cec"] {
        for _ in 0..3 {
            console.logs.append(request(0, person, Some("chatgpt"))).await.unwrap();
        }
        console.logs.append(request(0, person, Some("github"))).await.unwrap();
    }
    for days in [40, 70] {
        console.logs.append(request(days, "ann", Some("github"))).await.unwrap();
    }
    let blocked = GatewayHttp {
        action: "block".to_owned(),
        http_method: "GET".to_owned(),
        request_content_type: String::new(),
        ..request(0, "bob", None)
    };
    console.logs.append(blocked).await.unwrap();
    console.logs.flush().await.unwrap();
}

fn names(answer: &Value) -> Vec<&str> {
    answer["applications"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_overview_tells_what_is_used_by_whom_and_what_is_new() {
    let console = Console::new().await;
    traffic(&console).await;
    let all = console.get(APPLICATIONS).await.result();
    assert_eq!(names(&all), ["ChatGPT", "GitHub", "Not in the library"]);
    assert_eq!(all["total"]["requests"], 13);
    assert_eq!((&all["total"]["people"], &all["total"]["devices"]), (&json!(3), &json!(3)));
    assert_eq!(all["total_before"]["requests"], 1);
    assert_eq!((&all["period"]["days"], &all["comparable"]), (&json!(30), &json!(true)));
    // Before the first record nothing can be said to be new.
    let long = console.get(&format!("{APPLICATIONS}?days=90")).await.result();
    assert_eq!((&long["comparable"], &long["new_applications"]), (&json!(false), &json!(0)));
    assert_eq!(long["total"]["requests"], 15);
    let chat = &all["applications"][0];
    assert_eq!(chat["usage"]["requests"], 9);
    assert_eq!(chat["usage"]["messages"], 9);
    assert_eq!(chat["usage"]["bytes_sent"], 900);
    assert_eq!((&chat["new"], &chat["status"]), (&json!(true), &json!("unreviewed")));
    let code = &all["applications"][1];
    assert_eq!((&code["new"], &code["before"]["requests"]), (&json!(false), &json!(1)));
    assert_eq!(all["new_applications"], 1);
    let days = all["days"].as_array().unwrap();
    assert_eq!(days.len(), 30);
    assert_eq!(days[29]["by_status"], json!({"unreviewed": 12, "unknown": 1}));
    assert_eq!(all["days_before"].as_array().unwrap().iter().filter(|day| day["usage"]["requests"] == 1).count(), 1);

    // Statuses are those of now; filters narrow the sums as well.
    console.patch("resource-library/applications/github", json!({"status": "approved"})).await.result();
    let approved = console.get(&format!("{APPLICATIONS}?status=approved")).await.result();
    assert_eq!(names(&approved), ["GitHub"]);
    assert_eq!((&approved["total"]["requests"], &approved["total"]["people"]), (&json!(3), &json!(3)));
    assert_eq!(names(&console.get(&format!("{APPLICATIONS}?ai=any")).await.result()), ["ChatGPT"]);
    assert_eq!(names(&console.get(&format!("{APPLICATIONS}?new=true")).await.result()), ["ChatGPT"]);
    assert_eq!(
        names(&console.get(&format!("{APPLICATIONS}?order_by=name&limit=2&offset=1")).await.result()),
        ["GitHub", "Not in the library"]
    );
    assert_eq!(
        all["statuses"][0],
        json!({"status": "unreviewed", "applications": 2, "usage": {
            "requests": 12, "blocked": 0, "uploads": 0, "messages": 12, "bytes_sent": 1200, "bytes_received": 12000, "errors": 0
        }})
    );
    for wrong in ["days=2", "order_by=colour", "new=1", "status=good", "limit=9999"] {
        console.get(&format!("{APPLICATIONS}?{wrong}")).await.error(400);
    }
}

#[tokio::test]
async fn applications_people_and_groups_are_told_alone() {
    let console = Console::new().await;
    traffic(&console).await;
    let chat = console.get(&format!("{APPLICATIONS}/chatgpt?days=7")).await.result();
    let keys = |name: &str| -> Vec<(String, u64)> {
        let all = chat[name].as_array().unwrap().iter();
        all.map(|one| (one["key"].as_str().unwrap().to_owned(), one["usage"]["requests"].as_u64().unwrap())).collect()
    };
    let person = |name: &str| (format!("{name}@corp.example"), 3);
    assert_eq!(keys("people"), ["ann", "bob", "cec"].map(person));
    assert_eq!(keys("groups"), [("Sales".to_owned(), 6), ("Finance".to_owned(), 3)]);
    assert_eq!(keys("countries"), [("DE".to_owned(), 9)]);
    assert_eq!(keys("methods"), [("POST".to_owned(), 9)]);
    assert_eq!(keys("answers"), [("200".to_owned(), 9)]);
    assert_eq!(chat["hours"].as_array().unwrap().len(), 1);
    let unknown = console.get(&format!("{APPLICATIONS}/0")).await.result();
    assert_eq!(
        (&unknown["application"]["usage"]["blocked"], &unknown["actions"][0]["key"]),
        (&json!(1), &json!("block"))
    );
    console.get(&format!("{APPLICATIONS}/no-such-thing")).await.error(404);

    let people = console.get("portunus/usage/people?days=90").await.result();
    assert_eq!(people["total"], 3);
    assert_eq!(people["subjects"][0]["subject"], "ann@corp.example", "bob has as many: names decide");
    let some = console.get("portunus/usage/people?search=BOB&limit=1").await.result();
    assert_eq!(some["subjects"][0]["usage"]["blocked"], 1);
    let ann = console.get("portunus/usage/people/ann%40corp.example").await.result();
    assert_eq!(names(&ann), ["ChatGPT", "GitHub"]);
    assert_eq!((&ann["total"]["requests"], &ann["total_before"]["requests"]), (&json!(4), &json!(1)));
    let sales = console.get("portunus/usage/groups/Sales").await.result();
    assert_eq!(names(&sales), ["ChatGPT", "GitHub", "Not in the library"]);
    assert_eq!(console.get("portunus/usage/groups").await.result()["total"], 2);
}

/// Each can be created as it stands, but for a redirect that nothing approved can take.
#[tokio::test]
async fn a_finding_becomes_a_rule() {
    let console = Console::new().await;
    let draft =
        async |finding: &str| console.get(&format!("{APPLICATIONS}/chatgpt/rule?finding={finding}")).await.result();
    let nowhere = draft("redirect").await;
    assert_eq!(nowhere["rule_settings"]["redirect"]["target_uri"], "");
    console.patch("resource-library/applications/claude", json!({"status": "approved"})).await.result();
    for finding in ["block", "redirect", "coach", "uploads", "log", "block-unapproved"] {
        let rule = draft(finding).await;
        let created = console.post("gateway/rules", rule.clone()).await.result();
        assert_eq!(created["name"], rule["name"]);
    }
    assert_eq!(draft("redirect").await["rule_settings"]["redirect"]["target_uri"], "https://claude.ai/");
    console.get(&format!("{APPLICATIONS}/chatgpt/rule?finding=praise")).await.error(400);
    console.get(&format!("{APPLICATIONS}/nothing/rule?finding=block")).await.error(404);
}

#[tokio::test]
async fn the_weekly_letter_tells_the_last_week_to_who_is_named() {
    const DIGEST: &str = "portunus/usage/digest";
    let mut console = Console::new().await;
    traffic(&console).await;
    assert_eq!(console.get(DIGEST).await.result(), json!({"recipients": [], "written_up_to": null}));
    let wrong = json!({"recipients": ["ada@example.com", "nobody"]});
    assert_eq!(console.put(DIGEST, wrong).await.error(400).0, "/recipients/1");
    let twice = json!({"recipients": ["Ada@Example.com ", "ada@example.com"]});
    let set = console.put(DIGEST, twice).await.result();
    assert_eq!(set["recipients"], json!(["ada@example.com"]));
    // The week with the traffic is over seven days later.
    console.advance(7 * 24 * 3_600);
    let letter = console.get(&format!("{DIGEST}/letter")).await.result();
    assert_eq!(letter["subject"], "What was used from 2025-12-29 to 2026-01-04: 2 new applications");
    let text = letter["text"].as_str().unwrap();
    for told in [
        "People: 3",
        "Requests: 13, blocked: 1",
        "New\n  ChatGPT: 3 people, 9 requests",
        "nobody has reviewed",
        "/usage?days=7",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert!(!text.contains("@corp.example"), "{text}");
    console.token = console.issue(&[Permission::LogsRead]).await;
    console.put(DIGEST, json!({"recipients": []})).await.error(403);
}

#[tokio::test]
async fn only_who_may_read_logs_learns_what_is_used() {
    let mut console = Console::new().await;
    let paths = ["applications", "applications/chatgpt", "people", "people/ann", "groups", "groups/Sales"];
    for token in [console.issue(&[Permission::GatewayRead]).await, String::new()] {
        let status = if token.is_empty() { 401 } else { 403 };
        console.token = token;
        for path in paths {
            console.get(&format!("portunus/usage/{path}")).await.error(status);
        }
    }
    console.token = console.issue(&[Permission::LogsRead]).await;
    traffic(&console).await;
    for path in ["applications", "applications/chatgpt", "people", "people/ann@corp.example", "groups/Sales"] {
        console.get(&format!("portunus/usage/{path}")).await.result();
    }
}
