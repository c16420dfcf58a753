//! The command line contract: what scripts rely on.

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use testkit::Platform;

use crate::support::{binary, portunus, recorded, text};

#[test]
fn check_prints_the_canonical_form_and_the_fields() {
    let output =
        portunus(&["check", "--json", "http.request.host  ==  \"a.test\"  &&  http.request.method in {\"GET\"}"]);
    let result: Value = serde_json::from_str(&text(&output)).unwrap();
    assert_eq!(result["valid"], true);
    assert_eq!(result["canonical"], "http.request.host == \"a.test\" and http.request.method in {\"GET\"}");
    assert_eq!(result["fields"], json!(["http.request.host", "http.request.method"]));
}

#[test]
fn check_points_at_the_mistake_and_fails() {
    let output = portunus(&["check", "http.request.hots == \"a.test\""]);
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(shown.contains("(1:1)") && shown.contains('^') && shown.contains("http.request.host"), "{shown}");
}

#[test]
fn check_takes_a_list_of_whatever_type_the_field_asks_for() {
    const LIST: &str = "5b3c1d2e-0000-4000-8000-000000000001";
    for field in ["http.conn.src_ip in", "any(http.request.uri.content_category[*] in", "http.request.host in"] {
        let close = if field.starts_with("any") { ")" } else { "" };
        let output = portunus(&["check", &format!("{field} ${LIST}{close}")]);
        assert!(output.status.success(), "{field}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(text(&output).contains(LIST), "{field}");
    }
    let output = portunus(&["check", &format!("pkg.version in ${LIST}")]);
    assert_eq!(output.status.code(), Some(1), "no list holds versions");
}

#[test]
fn wrong_usage_exits_with_2_and_every_command_has_an_example() {
    assert_eq!(portunus(&["up", "--nonsense"]).status.code(), Some(2));
    for command in [
        vec!["up"],
        vec!["check"],
        vec!["explain"],
        vec!["replay"],
        vec!["token", "create"],
        vec!["token", "list"],
        vec!["token", "revoke"],
        vec!["user", "add"],
        vec!["user", "list"],
        vec!["logs", "tail"],
        vec!["worker", "test"],
        vec!["ca", "export"],
        vec!["catalog", "stats"],
        vec!["catalog", "lookup"],
        vec!["catalog", "update"],
        vec!["catalog", "reset"],
        vec!["catalog", "import"],
        vec!["catalog", "lists"],
        vec!["key", "rotate"],
        vec!["key", "forget"],
    ] {
        let mut arguments = command.clone();
        arguments.push("--help");
        let help = text(&portunus(&arguments));
        assert!(help.contains("Example"), "{command:?} has no example:\n{help}");
    }
}

#[test]
fn explain_names_the_deciding_rule() {
    let directory = tempfile::tempdir().unwrap();
    let (rules, facts) = (directory.path().join("rules.json"), directory.path().join("facts.json"));
    std::fs::write(&rules, r#"[
        {"name": "Casinos", "action": "block", "enabled": true, "filters": ["http"], "precedence": 1, "traffic": "any(http.request.domains[*] == \"casino.test\")"},
        {"name": "Rest", "action": "allow", "enabled": true, "filters": ["http"], "precedence": 2, "traffic": ""}
    ]"#).unwrap();
    std::fs::write(&facts, r#"{"http.request.host": "www.casino.test", "http.request.domains": ["www.casino.test", "casino.test"], "http.request.method": "GET"}"#).unwrap();
    let arguments = ["explain", "--json", "--rules", rules.to_str().unwrap(), "--facts", facts.to_str().unwrap()];
    let explained = text(&portunus(&arguments));
    assert!(explained.contains("Casinos") && explained.contains("block"), "{explained}");
}

#[test]
fn explain_takes_lists_and_never_takes_a_missing_one_for_empty() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, contents: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let rules = file(
        "rules.json",
        r#"[{"name": "Known hosts only", "action": "block", "enabled": true, "filters": ["http"], "precedence": 1,
            "traffic": "not(http.request.host in $5b3c1d2e-0000-4000-8000-000000000001)"}]"#,
    );
    let facts = file("facts.json", r#"{"http.request.uri": "https://bad.test/", "http.conn.src_ip": "10.0.0.9"}"#);
    let lists = |items: &str| {
        format!(r#"[{{"id": "5B3C1D2E-0000-4000-8000-000000000001", "type": "DOMAIN", "items": [{items}]}}]"#)
    };
    let explain = |more: &[&str]| {
        let mut arguments = vec!["explain", "--rules", &rules, "--facts", &facts];
        arguments.extend(more);
        text(&portunus(&arguments))
    };
    let unknown = explain(&[]);
    assert!(unknown.starts_with("allow: no rule matched\nnot final"), "{unknown}");
    assert!(unknown.contains("not given") && unknown.contains("5b3c1d2e-0000"), "{unknown}");
    let document: Value = serde_json::from_str(&explain(&["--json"])).unwrap();
    assert_eq!(document["lists_not_given"], json!(["5b3c1d2e-0000-4000-8000-000000000001"]));

    let others = file("others.json", &lists(r#""good.test", {"value": "fine.test"}"#));
    let blocked = explain(&["--lists", &others]);
    assert!(blocked.starts_with("block by rule \"Known hosts only\"") && !blocked.contains("not given"), "{blocked}");
    assert!(blocked.contains("http.request.host = \"bad.test\"") && blocked.contains("µs"), "{blocked}");
    let this = file("this.json", &lists(r#"{"value": "bad.test"}"#));
    assert!(explain(&["--lists", &this]).starts_with("allow: no rule matched"));
}

#[test]
fn explain_asks_the_rules_of_connections_too() {
    let directory = tempfile::tempdir().unwrap();
    let (rules, facts) = (directory.path().join("rules.json"), directory.path().join("facts.json"));
    std::fs::write(
        &rules,
        r#"[{"name": "Lab", "action": "block", "enabled": true, "filters": ["l4"], "precedence": 1,
            "traffic": "net.src.ip in {10.9.0.0/16} and any(net.sni.domains[*] == \"lab.test\")"},
           {"name": "Rest", "action": "allow", "enabled": true, "filters": ["http"], "precedence": 2, "traffic": ""}]"#,
    )
    .unwrap();
    std::fs::write(&facts, r#"{"http.request.uri": "https://a.lab.test/", "http.conn.src_ip": "10.9.1.1"}"#).unwrap();
    let mut arguments = vec!["explain", "--rules", rules.to_str().unwrap(), "--facts", facts.to_str().unwrap()];
    let shown = text(&portunus(&arguments));
    assert!(shown.starts_with("connection\nblock by rule \"Lab\""), "{shown}");
    assert!(shown.contains("request\nallow by rule \"Rest\""), "{shown}");
    arguments.push("--json");
    let document: Value = serde_json::from_str(&text(&portunus(&arguments))).unwrap();
    assert_eq!(document["connection"]["verdict"]["action"], "block");
    assert_eq!(document["connection"]["trace"]["facts"]["net.src.ip"], "10.9.1.1");
    assert!(document["trace"]["microseconds"].is_u64(), "{document:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_and_people_are_managed_beside_a_running_platform() {
    let platform = Platform::start(binary(), &[]).unwrap();
    let data = platform.data().to_str().unwrap().to_owned();
    let created =
        text(&portunus(&["token", "create", "ci", "--permission", "gateway:read", "--json", "--data", &data]));
    let created: Value = serde_json::from_str(&created).unwrap();
    let (id, token) = (created["id"].as_str().unwrap(), created["value"].as_str().unwrap());
    let status = |method: &'static str| {
        let url = platform.account_url("/gateway/rules");
        let token = token.to_owned();
        async move {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let request = client.request(method.parse().unwrap(), url).bearer_auth(token);
            request.json(&serde_json::json!({"name": "x", "action": "block"})).send().await.unwrap().status().as_u16()
        }
    };
    assert_eq!(status("GET").await, 200);
    assert_eq!(status("POST").await, 403);
    assert!(text(&portunus(&["token", "list", "--data", &data])).contains("gateway:read"));
    text(&portunus(&["token", "revoke", id, "--data", &data]));
    assert_eq!(status("GET").await, 401);

    text(&portunus(&["user", "add", "eve@example.test", "--group", "Staff", "--data", &data]));
    assert!(text(&portunus(&["user", "list", "--data", &data])).contains("eve@example.test"));
    let exported = text(&portunus(&["ca", "export", "--data", &data]));
    assert_eq!(exported, std::fs::read_to_string(&platform.ready.ca_certificate).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_command_changes_stands_in_the_audit_log() {
    let platform = Platform::start(binary(), &[]).unwrap();
    let data = platform.data().to_str().unwrap().to_owned();
    let token = text(&portunus(&["token", "create", "ci", "--json", "--data", &data]));
    let token: Value = serde_json::from_str(&token).unwrap();
    let id = token["id"].as_str().unwrap();
    text(&portunus(&["token", "revoke", id, "--data", &data]));
    let person = text(&portunus(&["user", "add", "eve@example.test", "--json", "--data", &data]));
    let person: Value = serde_json::from_str(&person).unwrap();
    text(&portunus(&["user", "password", "eve@example.test", "--data", &data]));
    for (verb, resource, id) in [
        ("create", "token", id),
        ("delete", "token", id),
        ("create", "user", person["id"].as_str().unwrap()),
        ("update", "user", person["id"].as_str().unwrap()),
    ] {
        let record = recorded(&platform, "audit", |record| {
            (&record["ActionType"], &record["ResourceType"], &record["ResourceID"])
                == (&json!(verb), &json!(resource), &json!(id))
        })
        .await;
        let who = (&record["Interface"], &record["ActorType"], &record["ActorID"], &record["ActionResult"]);
        assert_eq!(who, (&json!("CLI"), &json!("system"), &json!("command line"), &json!(true)), "{record}");
        let secret = token["value"].as_str().unwrap();
        assert!(record["Metadata"]["uid"].is_u64() && !record.to_string().contains(secret), "{record}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn following_the_log_leaves_no_token_however_it_ends() {
    use std::io::{BufRead, BufReader};
    let platform = Platform::start(binary(), &[]).unwrap();
    let data = platform.data().to_str().unwrap().to_owned();
    let tail = ["logs", "tail", "--dataset", "audit", "--json", "--data", &data];
    // Something to show, so that the first line says that it is connected.
    text(&portunus(&["token", "create", "first", "--data", &data]));
    recorded(&platform, "audit", |record| record["NewValue"]["name"] == "first").await;
    for end in ["TERM", "HUP", "INT", "KILL", "PIPE"] {
        let mut follower = Command::new(binary()).args(tail).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
        lines.next().unwrap().unwrap();
        let listed = text(&portunus(&["token", "list", "--data", &data]));
        assert!(!listed.contains("logs tail"), "while it follows\n{listed}");
        if end == "PIPE" {
            // Nobody reads any more, and the next record finds that out.
            drop(lines);
            text(&portunus(&["token", "create", "last", "--data", &data]));
        } else {
            let sent = Command::new("kill").args(["-s", end, &follower.id().to_string()]).status().unwrap();
            assert!(sent.success());
        }
        let status = tokio::task::spawn_blocking(move || follower.wait().unwrap()).await.unwrap();
        assert_eq!(status.success(), end != "KILL", "{end}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saved_query_is_asked_by_its_name() {
    let platform = Platform::start(binary(), &[]).unwrap();
    let data = platform.data().to_str().unwrap().to_owned();
    let asked = |name: &str| portunus(&["logs", "sql", "--saved", name, "--json", "--data", &data]);
    let nothing = asked("Tokens");
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("no saved query yet"), "{nothing:?}");
    let sql = "SELECT COUNT(*) > 0 AS recorded FROM audit";
    platform.api("POST", "/portunus/logs/queries", Some(json!({"name": "Tokens", "sql": sql}))).await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text(&asked("Tokens"))).unwrap(), json!({"recorded": true}));
    let unknown = asked("Token");
    let told = String::from_utf8_lossy(&unknown.stderr);
    assert!(!unknown.status.success() && told.contains("there are\n  Tokens"), "{told}");
}

#[test]
fn worker_test_runs_a_script_in_the_sandbox() {
    let directory = tempfile::tempdir().unwrap();
    let (script, request) = (directory.path().join("hello.ts"), directory.path().join("request.json"));
    std::fs::write(&script, "export default { fetch(request: Request): Response { console.log('seen'); return new Response(`hello ${new URL(request.url).pathname}`, { status: 418 }); } };").unwrap();
    std::fs::write(&request, r#"{"method": "GET", "url": "https://a.test/there", "headers": {"accept": "*/*"}}"#)
        .unwrap();
    let arguments = ["worker", "test", script.to_str().unwrap(), "--request", request.to_str().unwrap(), "--json"];
    let result: Value = serde_json::from_str(&text(&portunus(&arguments))).unwrap();
    assert_eq!(result["outcome"], "response");
    assert_eq!(result["response"]["status"], 418);
    assert_eq!(result["response"]["body"], "hello /there");
    assert_eq!(result["logs"][0]["message"], "seen");
}
