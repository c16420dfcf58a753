//! The catalogue through the front door: what the command line changes decides real traffic within moments.

use axum::Router;
use serde_json::{Value, json};

use crate::support::{HOST, Site, portunus, settled, text};

fn line(id: u32, slug: &str, host: &str) -> String {
    format!(
        "{{\"id\":{id},\"slug\":\"{slug}\",\"name\":\"{slug}\",\"type\":25,\"category\":184,\"ai\":[\"chat\"],\"hosts\":[\"{host}\"],\"sources\":[\"own\"]}}\n"
    )
}

fn edition(version: &str, lines: &[String]) -> String {
    format!("{{\"format\":1,\"version\":\"{version}\",\"next_id\":99999}}\n{}", lines.concat())
}

fn complaint(arguments: &[&str]) -> String {
    let output = portunus(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn questions_are_answered_without_a_platform() {
    let nowhere = tempfile::tempdir().unwrap();
    let ask = |arguments: &[&str]| {
        std::process::Command::new(crate::support::binary())
            .args(arguments)
            .current_dir(nowhere.path())
            .output()
            .unwrap()
    };
    let stats: Value = serde_json::from_slice(&ask(&["catalog", "stats", "--json"]).stdout).unwrap();
    assert!(stats["applications"].as_u64().unwrap() >= 1_500 && stats["ai"].as_u64().unwrap() >= 250, "{stats}");
    assert_eq!(stats["conflicts"], 0);
    let found: Value =
        serde_json::from_slice(&ask(&["catalog", "lookup", "https://claude.ai/new", "--json"]).stdout).unwrap();
    assert_eq!((&found["application"]["id"], &found["application"]["status"]), (&json!(2430), &json!("unreviewed")));
    assert_eq!(ask(&["catalog", "lookup", "nobody.invalid"]).status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edition_and_a_list_from_the_command_line_decide_traffic() {
    let site = Site::start(Router::new().fallback(|| async { "origin" })).await;
    let data = site.platform.data().to_str().unwrap().to_owned();
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = files.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let status = || text(&site.curl(&["--output", "/dev/null", "--write-out", "%{http_code}", &site.url("/")]));
    site.rule(json!({"name": "ours", "action": "block", "traffic": "any(app.ids[*] in {99998}) and any(app.statuses[*] == \"unapproved\")"})).await;
    site.rule(
        json!({"name": "bets", "action": "block", "traffic": "any(http.request.uri.content_category[*] in {8})"}),
    )
    .await;
    assert_eq!(status(), "200");

    let bad = file("bad.jsonl", &edition("2027-01-01", &[line(99_997, "one", HOST), line(99_998, "two", HOST)]));
    assert!(complaint(&["catalog", "update", &bad, "--data", &data]).contains(&format!("{HOST} (one and two)")));
    let old = file("old.jsonl", &edition("2001-01-01", &[line(99_998, "ours", HOST)]));
    assert!(complaint(&["catalog", "update", &old, "--data", &data]).contains("older"));
    let good = file("good.jsonl", &edition("2027-01-01", &[line(99_998, "ours", HOST)]));
    let shown = text(&portunus(&["catalog", "update", &good, "--data", &data, "--dry-run"]));
    assert!(shown.contains("-> 2027-01-01: 1 added,") && shown.contains("+ ours (99998)"), "{shown}");
    let unchanged: Value =
        serde_json::from_str(&text(&portunus(&["catalog", "stats", "--data", &data, "--json"]))).unwrap();
    assert!(unchanged["applications"].as_u64().unwrap() > 1_000, "a dry run changed something");
    text(&portunus(&["catalog", "update", &good, "--data", &data]));
    settled(&site.platform).await;
    assert_eq!(status(), "200", "unreviewed");
    site.platform
        .api("PATCH", "/resource-library/applications/ours", Some(json!({"status": "unapproved"})))
        .await
        .unwrap();
    settled(&site.platform).await;
    assert_eq!(status(), "403");
    let record =
        crate::support::recorded(&site.platform, "gateway_http", |record| record["PolicyName"] == "ours").await;
    assert_eq!(
        (&record["ApplicationNames"], &record["ApplicationStatuses"]),
        (&json!(["ours"]), &json!(["unapproved"]))
    );
    text(&portunus(&["catalog", "reset", "--data", &data]));
    settled(&site.platform).await;
    assert_eq!(status(), "200", "the edition that ships does not know it");

    let wrong = file("wrong.txt", "fine.test\nnot a name\n");
    let said = complaint(&["catalog", "import", &wrong, "--category", "Gambling", "--data", &data]);
    assert!(said.contains("line 2: \"not a name\""), "{said}");
    file("ut1/gambling/domains", &format!("10.0.0.1\n{HOST}\n"));
    file("ut1/unheard_of/domains", "x.test\n");
    let directory = files.path().join("ut1");
    let output = portunus(&["catalog", "import", directory.to_str().unwrap(), "--data", &data, "--json"]);
    let list: Value = serde_json::from_str(&text(&output)).unwrap();
    assert_eq!(
        (&list["name"], &list["category"], &list["skipped"]),
        (&json!("ut1-gambling"), &json!(8), &json!({"addresses": 1}))
    );
    assert!(String::from_utf8_lossy(&output.stderr).contains("unheard_of"));
    settled(&site.platform).await;
    assert_eq!(status(), "403");
    let record =
        crate::support::recorded(&site.platform, "gateway_http", |record| record["PolicyName"] == "bets").await;
    assert_eq!(record["CategoryNames"], json!(["Gambling"]));
    let changes =
        crate::support::recorded(&site.platform, "audit", |record| record["ResourceType"] == "category list").await;
    assert_eq!(changes["ActionType"], "create");
}
