//! Servers that Portunus runs itself: programs of this machine, and Workers, configured by the API of the real binary.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::Platform;

use crate::agents::{Agent, open, shows};
use crate::support::{binary, settled, text};

/// Speaks MCP; its tool says what it was told and which process it is.
const SERVER: &str = r#"
while IFS= read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  case "$line" in
    *'"method":"initialize"'*) printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"1"}}}\n' "$id" ;;
    *'"method":"tools/list"'*) printf '{"jsonrpc":"2.0","id":%s,"result":{"tools":[{"name":"who","inputSchema":{"type":"object"}}]}}\n' "$id" ;;
    *'"method":"tools/call"'*) printf '{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"%s %s %s"}]}}\n' "$id" "$$" "$1" "$TOKEN" ;;
    *'"id":'*) printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}\n' "$id" ;;
  esac
done
"#;

const SERVERS: &str = "/access/ai-controls/mcp/servers";

fn program(told: &str) -> Value {
    json!({
        "id": "sh", "name": "Shell",
        "portunus": {"stdio": {"command": "sh", "args": ["-c", SERVER, "sh", told], "env": [{"name": "TOKEN", "value": "sealed-value"}]}},
    })
}

fn said(answer: &Value) -> String {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

async fn gone(pid: &str) {
    let last = Instant::now() + Duration::from_secs(20);
    while Path::new("/proc").join(pid).exists() {
        assert!(Instant::now() < last, "process {pid} is left");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_are_run_where_the_operator_allows_them_and_end_with_their_document_and_with_portunus() {
    let platform = Platform::start(binary(), &[]).unwrap();
    let refused = platform.api("POST", SERVERS, Some(program("first"))).await.unwrap_err().to_string();
    assert!(refused.contains("programs are not run as MCP servers here"), "{refused}");
    drop(platform);

    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("portunus.toml");
    std::fs::write(&config, "version = 1\n[programs]\nallow = true\n").unwrap();
    let platform = Platform::start(binary(), &["--config", config.to_str().unwrap()]).unwrap();
    let created = platform.api("POST", SERVERS, Some(program("first"))).await.unwrap();
    assert!(!created.to_string().contains("sealed-value"), "{created}");
    let token = platform.api("POST", "/access/service_tokens", Some(json!({"name": "agent"}))).await.unwrap();
    open(&platform, &["sh"], &token).await;
    let synced = platform.api("POST", &format!("{SERVERS}/sh/sync"), Some(json!({}))).await.unwrap();
    assert_eq!(synced["status"], "ready", "{synced}");
    settled(&platform).await;
    let mut agent = Agent { platform: &platform, headers: shows(&token) };
    agent.begin();
    let first = said(&agent.call("", "sh_who", json!({})));
    let (first, told) = first.split_once(' ').unwrap();
    assert_eq!(told, "first sealed-value");
    assert_eq!(said(&agent.call("", "sh_who", json!({}))), format!("{first} {told}"), "the session keeps its process");

    // A changed document is another program, in the same session.
    let stdio = json!({"portunus": {"stdio": {"command": "sh", "args": ["-c", SERVER, "sh", "second"], "env": [{"name": "TOKEN"}]}}});
    platform.api("PUT", &format!("{SERVERS}/sh"), Some(stdio)).await.unwrap();
    settled(&platform).await;
    gone(first).await;
    let second = said(&agent.call("", "sh_who", json!({})));
    let (second, told) = second.split_once(' ').unwrap();
    assert_eq!(told, "second sealed-value");

    // Killed, it has no time to end anything itself.
    drop(platform);
    gone(second).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_mcp_server_is_a_worker_behind_a_portal_after_the_commands_written_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let new = |name: &str| {
        Command::new(binary()).args(["mcp", "new", name, "--directory"]).arg(directory.path()).output().unwrap()
    };
    assert!(new("notes").status.success());
    let twice = new("notes");
    assert!(!twice.status.success() && String::from_utf8_lossy(&twice.stderr).contains("cannot write"));
    assert!(!new("my_notes").status.success(), "an underscore ends a server's id in the names of tools");
    let readme = std::fs::read_to_string(directory.path().join("notes.md")).unwrap();
    let commands = readme.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();

    let platform = Platform::start(binary(), &[]).unwrap();
    let ready = &platform.ready;
    let ran = Command::new("sh")
        .args(["-e", "-c", commands])
        .current_dir(directory.path())
        .envs([("API_URL", &ready.api_url), ("ACCOUNT_ID", &ready.account_id), ("API_TOKEN", &ready.api_token)])
        .output();
    let printed = text(&ran.unwrap());
    assert!(printed.contains("\"status\":\"ready\""), "{printed}");
    let token = platform.api("POST", "/access/service_tokens", Some(json!({"name": "agent"}))).await.unwrap();
    open(&platform, &["notes"], &token).await;
    settled(&platform).await;
    let mut agent = Agent { platform: &platform, headers: shows(&token) };
    agent.begin();
    let call = |tool: &str, arguments: Value| agent.call("", tool, arguments);
    assert_eq!(said(&call("notes_write_note", json!({"title": "a", "text": "hello"}))), "written");
    assert_eq!(said(&call("notes_read_note", json!({"title": "a"}))), "hello\n\n(a program)");
    let missing = call("notes_read_note", json!({"title": "b"}));
    assert_eq!(
        (missing["result"]["isError"].as_bool(), said(&missing).as_str()),
        (Some(true), "there is no note \"b\"")
    );
    let misfit = call("notes_read_note", json!({"title": 7}));
    assert_eq!(said(&misfit), "arguments.title must be string");

    // What changes something is not there unless it is named.
    platform.api("PUT", &format!("{SERVERS}/notes"), Some(json!({"updated_tools": []}))).await.unwrap();
    settled(&platform).await;
    let (_, listed) = agent.send("", &json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}));
    assert!(listed.to_string().contains("notes_read_note") && !listed.to_string().contains("write_note"), "{listed}");
    let denied = call("notes_write_note", json!({"title": "a", "text": "x"}));
    assert_eq!(denied["error"]["code"], -32_602, "{denied}");
    let record =
        crate::support::recorded(&platform, "mcp_portal_logs", |record| record["ToolCallName"] == "write_note");
    assert_eq!(record.await["ServerURL"], "worker:notes");
}
