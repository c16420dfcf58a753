//! The forms of MCP servers of every kind: an address, a program, a Worker.

use std::sync::atomic::Ordering;

use axum::http::StatusCode;
use serde_json::{Value, json};
use store::{Operate, Principal};

use super::{Browser, SOURCE, location, text};
use crate::harness::Console;

const SERVERS: &str = "access/ai-controls/mcp/servers";

async fn secrets(console: &Console, id: &str) -> Vec<(String, String)> {
    let operate = Principal::system("test").authorize::<Operate>(console.account).unwrap();
    let servers = console.store.mcp_servers();
    let mut stored = servers.get(&operate, &id.parse().unwrap()).await.unwrap().unwrap();
    let opened = servers.open_members(&operate, &mut stored).unwrap();
    opened.into_iter().map(|(name, secret)| (name, secret.into_inner())).collect()
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const PROGRAM: [(&str, &str); 11] = [
    ("kind", "stdio"),
    ("name", "Files"),
    ("id", "files"),
    ("command", "mcp-server-files"),
    ("args", "--root\n/srv/files"),
    ("env_name.0", "TOKEN"),
    ("env_value.0", "hush\nhush"),
    ("env_name.1", "PROXY"),
    ("env_empty.1", "1"),
    // Typed for another kind, and not sent with this one.
    ("hostname", "https://left.example/over"),
    ("pinning", "new"),
];

#[tokio::test]
async fn a_program_is_made_and_changed_and_its_values_are_never_shown() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    console.upstreams.runs_programs.store(true, Ordering::SeqCst);
    let page = browser.page("/agents/servers/new").await;
    assert!(!page.contains("Programs are not run here"), "{page}");
    let answer = browser.send("/agents/servers", &PROGRAM).await;
    assert_eq!(location(&answer), "/agents/servers/files?note=created", "{}", text(&answer));
    let made = console.get(&format!("{SERVERS}/files")).await.result();
    assert_eq!(
        made["portunus"],
        json!({"pinning": "new", "stdio": {"command": "mcp-server-files", "args": ["--root", "/srv/files"], "env": [{"name": "TOKEN"}, {"name": "PROXY"}]}})
    );
    assert_eq!(secrets(&console, "files").await, pairs(&[("env/PROXY", ""), ("env/TOKEN", "hush\nhush")]));
    let page = browser.page("/agents/servers/files").await;
    assert!(
        page.contains("mcp-server-files") && page.contains("stored, not shown") && !page.contains("hush"),
        "{page}"
    );

    // A box that is left alone keeps its value, a row without a name goes, and arguments may hold anything.
    let changed = [
        ("name", "Files"),
        ("description", "All of them"),
        ("pinning", "all"),
        ("args", "[\"one\\ntwo\", \"\"]"),
        ("env_name.0", "TOKEN"),
        ("env_value.0", ""),
        ("env_name.1", ""),
        ("env_value.1", ""),
        ("env_name.2", "NEW"),
        ("env_value.2", "fresh"),
    ];
    let answer = browser.send("/agents/servers/files", &changed).await;
    assert_eq!(location(&answer), "/agents/servers/files?note=saved", "{}", text(&answer));
    let saved = console.get(&format!("{SERVERS}/files")).await.result();
    assert_eq!(saved["portunus"]["stdio"]["args"], json!(["one\ntwo", ""]));
    assert_eq!(secrets(&console, "files").await, pairs(&[("env/NEW", "fresh"), ("env/TOKEN", "hush\nhush")]));
    let page = browser.page("/agents/servers/files").await;
    assert!(page.contains("&quot;one\\ntwo&quot;"), "{page}");

    // A fault stands at its row; names stay, values do not come back.
    let mut wrong = changed;
    wrong[4] = ("env_name.0", "LD_PRELOAD");
    wrong[5] = ("env_value.0", "never-shown");
    let refused = browser.send("/agents/servers/files", &wrong).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let refused = text(&refused);
    for shown in ["value=\"LD_PRELOAD\"", "value=\"NEW\"", "read by the system", "have to be typed again"] {
        assert!(refused.contains(shown), "{shown}: {refused}");
    }
    assert!(!refused.contains("never-shown") && !refused.contains("fresh"), "{refused}");
}

#[tokio::test]
async fn where_programs_are_not_run_the_form_says_so_and_loses_nothing() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let page = browser.page("/agents/servers/new").await;
    assert!(page.contains("Programs are not run here"), "{page}");
    let refused = browser.send("/agents/servers", &PROGRAM).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let refused = text(&refused);
    for shown in [
        "whoever operates this service has to allow it",
        "value=\"stdio\" checked",
        "value=\"mcp-server-files\"",
        "--root\n/srv/files</textarea>",
        "value=\"TOKEN\"",
        "<option value=\"new\" selected>",
    ] {
        assert!(refused.contains(shown), "{shown}: {refused}");
    }
    assert!(!refused.contains("hush"), "{refused}");
    console.get(&format!("{SERVERS}/files")).await.error(404);
}

#[tokio::test]
async fn a_worker_is_chosen_among_those_there_are() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    browser.submit("/workers", &[("name", "notes"), ("source", SOURCE)]).await;
    let page = browser.page("/agents/servers/new").await;
    assert!(page.contains("<option value=\"notes\">"), "{page}");
    let form = |worker: &'static str| [("kind", "worker"), ("name", "Notes"), ("id", "notes"), ("worker", worker)];
    for (worker, why) in [("", "worker-problem"), ("gone", "there is no such Worker")] {
        let refused = browser.send("/agents/servers", &form(worker)).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{worker}");
        assert!(text(&refused).contains(why), "{worker}: {}", text(&refused));
    }
    let answer = browser.send("/agents/servers", &form("notes")).await;
    assert_eq!(location(&answer), "/agents/servers/notes?note=created", "{}", text(&answer));
    let made = console.get(&format!("{SERVERS}/notes")).await.result();
    assert_eq!((&made["hostname"], &made["portunus"]["worker"]), (&json!("worker:notes"), &json!("notes")));
    let page = browser.page("/agents/servers/notes").await;
    assert!(page.contains("href=\"/workers/notes\""), "{page}");
    // Saving the settings keeps it.
    let answer = browser.send("/agents/servers/notes", &[("name", "Note book"), ("pinning", "all")]).await;
    assert_eq!(location(&answer), "/agents/servers/notes?note=saved", "{}", text(&answer));
}

#[tokio::test]
async fn an_oauth_client_is_registered_by_hand_and_taken_back() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    let mut form = vec![
        ("kind", "remote"),
        ("name", "Jira"),
        ("id", "jira"),
        ("hostname", "https://jira.example.com/mcp"),
        ("auth_type", "oauth"),
        ("auth_mode", "manual"),
        ("authorization_endpoint", "https://as.example/authorize"),
        ("token_endpoint", "http://as.example/token"),
        ("issuer", "https://as.example"),
        ("client_id", "portunus"),
        ("client_secret", "hush"),
        ("token_endpoint_auth_method", "client_secret_post"),
        ("scope", "read write"),
        ("redirect_uris", "https://mcp.example.com/servers-callback"),
    ];
    let refused = browser.send("/agents/servers", &form).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let refused = text(&refused);
    for shown in [
        "id=\"token_endpoint-problem\"",
        "must be an https URL",
        "value=\"http://as.example/token\"",
        "value=\"manual\" checked",
        "<option value=\"client_secret_post\" selected>",
    ] {
        assert!(refused.contains(shown), "{shown}: {refused}");
    }
    assert!(!refused.contains("hush"), "{refused}");
    form[7].1 = "https://as.example/token";
    let answer = browser.send("/agents/servers", &form).await;
    assert_eq!(location(&answer), "/agents/servers/jira?note=created", "{}", text(&answer));
    let path = format!("{SERVERS}/jira");
    let summary = console.get(&path).await.result()["auth_config_summary"].clone();
    assert_eq!((&summary["auth_mode"], &summary["client_secret_version"]), (&json!("manual"), &json!(1)));
    assert_eq!(summary["registration_info"]["scope"], "read write");

    // The page holds all of it but the secret, and saving it as it is keeps both.
    let page = browser.page("/agents/servers/jira").await;
    assert!(page.contains("value=\"https://as.example/token\"") && !page.contains("hush"), "{page}");
    let mut same: Vec<_> =
        form.iter().copied().filter(|(name, _)| !matches!(*name, "client_secret" | "kind")).collect();
    same.push(("pinning", "all"));
    let answer = browser.send("/agents/servers/jira", &same).await;
    assert_eq!(location(&answer), "/agents/servers/jira?note=saved", "{}", text(&answer));
    assert_eq!(console.get(&path).await.result()["auth_config_summary"], summary);
    assert_eq!(secrets(&console, "jira").await, pairs(&[("client_secret", "hush")]));

    for (mode, expected) in [("dcr", Some("dcr")), ("", None)] {
        let form = [("name", "Jira"), ("pinning", "all"), ("auth_mode", mode)];
        let answer = browser.send("/agents/servers/jira", &form).await;
        assert_eq!(location(&answer), "/agents/servers/jira?note=saved", "{}", text(&answer));
        let operate = Principal::system("test").authorize::<Operate>(console.account).unwrap();
        let stored = console.store.mcp_servers().get(&operate, &"jira".parse().unwrap()).await.unwrap().unwrap();
        let config: &Value = &stored.document.body["auth_config"];
        assert_eq!(config["auth_mode"].as_str(), expected, "{config}");
        let page = browser.page("/agents/servers/jira").await;
        assert!(page.contains(&format!("name=\"auth_mode\" value=\"{mode}\" checked")), "{page}");
    }
    assert_eq!(secrets(&console, "jira").await, []);
}
