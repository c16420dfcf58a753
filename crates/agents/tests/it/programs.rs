//! Programs of this machine behind a portal: shells that speak MCP on their standard streams.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agents::upstream::{Bounds, Channel, Stdio};
use http::header::HeaderMap;
use programs::{Limits, Program, Programs, Settings};
use serde_json::{Value, json};

use crate::support::{Client, PATIENCE, person, plane_of};

/// Speaks MCP, and is told by the names of tools how to behave.
const SERVER: &str = r#"
count=0
while IFS= read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  case "$line" in
    *'"method":"server/discover"'*) printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}\n' "$id" ;;
    *'"method":"initialize"'*) echo "a greeting that is no message"
      printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"sh","version":"1"}}}\n' "$id" ;;
    *'"method":"tools/list"'*) printf '{"jsonrpc":"2.0","id":%s,"result":{"tools":[' "$id"
      for tool in count token ask crash hang; do printf '{"name":"%s","inputSchema":{"type":"object"}},' "$tool"; done
      printf '{"name":"flood","inputSchema":{"type":"object"}}]}}\n' ;;
    *'"name":"count"'*) count=$((count + 1))
      printf '{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"%s"}]}}\n' "$id" "$count" ;;
    *'"name":"token"'*) printf '{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"%s"}]}}\n' "$id" "$TOKEN" ;;
    *'"name":"ask"'*) asked=$id
      printf '{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"sure?"}}\n' ;;
    *'"action":"accept"'*) printf '{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"sure"}]}}\n' "$asked" ;;
    *'"name":"crash"'*) echo "out of cheese: $TOKEN" >&2; exit 7 ;;
    *'"name":"hang"'*) sleep 1000 ;;
    *'"name":"flood"'*) exec head -c 3000000 /dev/zero ;;
  esac
done
"#;

struct Ground {
    programs: Programs,
    _directory: tempfile::TempDir,
}

fn ground() -> Ground {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings {
        launcher: env!("CARGO_BIN_EXE_portunus-agents-launcher").into(),
        homes: directory.path().join("programs"),
        read: Vec::new(),
        write: Vec::new(),
        limits: Limits::default(),
        idle: Duration::from_secs(600),
    };
    Ground { programs: Programs::new(settings).unwrap(), _directory: directory }
}

fn channel(ground: &Ground, script: &str, silence: Duration) -> Channel {
    let env = vec![("TOKEN".to_owned(), types::Secret::new("s3cret-value".to_owned()))];
    let program = Arc::new(Program { command: "sh".into(), args: vec!["-c".into(), script.into()], env });
    let bounds = Bounds { head: PATIENCE, silence, message: 1 << 20 };
    Channel::Program(Stdio {
        programs: ground.programs.clone(),
        server: "sh".into(),
        owner: "test".into(),
        program,
        bounds,
    })
}

async fn until(what: impl Fn() -> bool) {
    let last = Instant::now() + PATIENCE;
    while !what() {
        assert!(Instant::now() < last, "it did not come to pass");
        tokio::task::yield_now().await;
    }
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

#[tokio::test]
async fn each_session_has_a_process_of_its_own_that_ends_with_it() {
    let ground = ground();
    let channel = channel(&ground, SERVER, PATIENCE);
    let seen = agents::sync::look(channel.clone(), HeaderMap::new()).await.unwrap();
    assert_eq!(seen.version.as_str(), "2025-11-25");
    let plane = plane_of("sh", channel, seen, json!([])).await;
    let ana = Client::new(&plane, person(1), &["sh"]).begin(json!({"elicitation": {}})).await;
    let ben = Client::new(&plane, person(2), &["sh"]).begin(json!({})).await;
    for expected in ["1", "2", "3"] {
        assert_eq!(text(&ana.call("sh_count", json!({})).await), expected);
    }
    assert_eq!(text(&ben.call("sh_count", json!({})).await), "1", "what Ana counted is not Ben's");
    assert_eq!(text(&ana.call("sh_token", json!({})).await), "s3cret-value");
    until(|| ground.programs.running() == 2).await;

    // It asks while it works, and is told.
    let call =
        json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "sh_ask", "arguments": {}}});
    let mut stream = ana.post(&call).await.into_body();
    let question = crate::support::next_event(&mut stream).await;
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept"}});
    ana.post(&answer).await;
    assert_eq!(text(&crate::support::next_event(&mut stream).await), "sure");

    let ended = ana.send("DELETE", net::proxy::body::empty_body(), &[]).await;
    assert!(ended.status().is_success(), "{}", ended.status());
    until(|| ground.programs.running() == 1).await;
    ground.programs.close().await;
}

#[tokio::test]
async fn programs_that_crash_hang_or_flood_end_a_call_with_an_error_and_start_anew() {
    let ground = ground();
    let channel = channel(&ground, SERVER, Duration::from_secs(2));
    let seen = agents::sync::look(channel.clone(), HeaderMap::new()).await.unwrap();
    let plane = plane_of("sh", channel, seen, json!([])).await;
    let client = Client::new(&plane, person(1), &["sh"]).begin(json!({})).await;
    for (tool, told) in [
        ("sh_crash", "the server sh ended before its answer"),
        ("sh_flood", "larger than is accepted"),
        ("sh_hang", "did not answer in time"),
    ] {
        assert_eq!(text(&client.call("sh_count", json!({})).await), "1", "before {tool}");
        let answer = client.call(tool, json!({})).await;
        let message = answer["error"]["message"].as_str().unwrap_or_else(|| panic!("{answer}"));
        assert!(message.contains(told) && !message.contains("s3cret"), "{message}");
    }
    assert_eq!(text(&client.call("sh_count", json!({})).await), "1");
    ground.programs.close().await;
}

#[tokio::test]
async fn a_program_that_says_nothing_to_what_it_does_not_know_is_begun_in_the_older_way() {
    let ground = ground();
    // After `server/discover` it would take no `initialize` any more, as the Python SDK's servers do not.
    let answer = "printf '{\"jsonrpc\":\"2.0\",\"id\":%s,\"error\":{\"code\":-32601,\"message\":\"no\"}}\\n' \"$id\"";
    let silent = SERVER.replace(answer, "sleep 1000");
    assert_ne!(silent, SERVER);
    let Channel::Program(stdio) = channel(&ground, &silent, PATIENCE) else { panic!() };
    let bounds = Bounds { head: Duration::from_secs(2), ..stdio.bounds };
    let seen = agents::sync::look(Channel::Program(Stdio { bounds, ..stdio }), HeaderMap::new()).await.unwrap();
    assert_eq!(seen.version.as_str(), "2025-11-25");
    ground.programs.close().await;
}

#[tokio::test]
async fn a_program_that_does_not_start_says_why_to_its_administrator_without_its_secrets() {
    let ground = ground();
    let channel = channel(&ground, "echo \"no such account: $TOKEN\" >&2; exit 3", PATIENCE);
    let error = agents::sync::look(channel, HeaderMap::new()).await.unwrap_err();
    assert!(error.message.contains("ended with code 3"), "{error}");
    assert!(error.message.contains("no such account") && !error.message.contains("s3cret"), "{error}");
    ground.programs.close().await;
    assert_eq!(ground.programs.running(), 0);
}
