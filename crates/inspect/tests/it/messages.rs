//! Tables: real messages of MCP and of everything else that looks like it.

use inspect::mcp::{Message, Reading, Stream, events, masked, read};
use serde::Deserialize;
use serde_json::json;

/// One row of `tests/data`.
#[derive(Deserialize)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) body: String,
    #[serde(default)]
    methods: Vec<String>,
    #[serde(default)]
    tools: Vec<String>,
    client: Option<String>,
    server: Option<String>,
    version: Option<String>,
}

fn rows(text: &str) -> Vec<Row> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

/// Messages of MCP.
pub(crate) fn mcp() -> Vec<Row> {
    rows(include_str!("../data/mcp.jsonl"))
}

/// Bodies of everything else.
pub(crate) fn other() -> Vec<Row> {
    rows(include_str!("../data/other.jsonl"))
}

#[test]
fn messages_of_every_version_are_read_with_what_they_name() {
    for Row { what, body, methods, tools, client, server, version } in mcp() {
        let expected = Message { methods, tools, client, server, version, complete: true };
        assert_eq!(read(body.as_bytes(), true), Reading::Mcp(expected), "{what}");
    }
}

#[test]
fn what_is_not_mcp_stays_silent() {
    for Row { what, body, .. } in other() {
        assert_eq!(read(body.as_bytes(), true), Reading::Other, "{what}");
        for end in 0..body.len() {
            let cut = read(&body.as_bytes()[..end], false);
            let is_named =
                ["an array of params", "a call without", "version 1"].iter().any(|start| what.starts_with(start));
            // MCP's own methods, whose message is only unsound further on.
            assert!(is_named || !matches!(cut, Reading::Mcp(_)), "{what}: {}", &body[..end]);
        }
    }
}

#[test]
fn a_message_that_is_not_all_there_says_so() {
    let long = "x".repeat(100_000);
    for (body, methods, tools) in [
        (
            format!(r#"{{"method":"tools/call","params":{{"name":"write","arguments":{{"text":"{long}"#),
            vec!["tools/call"],
            vec!["write"],
        ),
        (format!(r#"{{"method":"tools/call","params":{{"arguments":{{"text":"{long}"#), vec!["tools/call"], vec![]),
        (
            format!(r#"[{{"jsonrpc":"2.0","id":1,"method":"tools/list"}},{{"jsonrpc":"2.0","method":"{long}"#),
            vec!["tools/list"],
            vec![],
        ),
    ] {
        let Reading::Mcp(message) = read(body.as_bytes(), false) else { panic!("{}", &body[..80]) };
        assert_eq!(
            (message.methods, message.tools, message.complete),
            (methods.into_iter().map(str::to_owned).collect(), tools.into_iter().map(str::to_owned).collect(), false,)
        );
    }
    for body in
        ["", "  ", "{", r#"{"jsonrpc":"2.0","id":1,"meth"#, r#"{"jsonrpc":"2.0","method":"initialize","params":{"#]
    {
        assert_eq!(read(body.as_bytes(), false), Reading::Cut, "{body}");
    }
    assert_eq!(read(b"<html>", false), Reading::Other);
    // Nothing that nests can exhaust the stack.
    for open in ["[", "{\"a\":", "{\"params\":", "{\"result\":{\"tools\":["] {
        let _ = read(open.repeat(100_000).as_bytes(), false);
    }
}

#[test]
fn streams_are_read_event_by_event() {
    let message = |methods: &[&str], server: Option<&str>| {
        Some(Message {
            methods: methods.iter().map(|&method| method.to_owned()).collect(),
            server: server.map(str::to_owned),
            version: server.map(|_| "2025-06-18".to_owned()),
            ..Message::default()
        })
    };
    let greeting = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"s","version":"1"}}}"#;
    for (text, expected) in [
        (
            "event: endpoint\ndata: /messages/?session_id=3b1f\n\n".to_owned(),
            Stream { endpoint: true, count: 1, ..Stream::default() },
        ),
        (
            format!("event: message\r\nid: 1\r\ndata: {greeting}\r\n\r\n"),
            Stream { message: message(&[], Some("s")), count: 1, ..Stream::default() },
        ),
        (
            "id: 0\ndata: \n\ndata: {\"jsonrpc\":\"2.0\",\ndata: \"method\":\"notifications/initialized\"}\n\n"
                .to_owned(),
            Stream { message: message(&["notifications/initialized"], None), count: 1, ..Stream::default() },
        ),
        (format!("data: {greeting}"), Stream::default()),
        (
            "data: {\"choices\":[{\"delta\":{\"content\":\"tools/call\"}}]}\n\ndata: [DONE]\n\n".to_owned(),
            Stream { other: true, count: 2, ..Stream::default() },
        ),
        (
            ": ping\n\ndata: first\n\nevent: endpoint\ndata: /late\n\n".to_owned(),
            Stream { other: true, count: 2, ..Stream::default() },
        ),
    ] {
        assert_eq!(events(text.as_bytes(), false), expected, "{text}");
    }
    assert!(events(format!("data: {greeting}").as_bytes(), true).is_mcp());
}

#[test]
fn a_masked_call_shows_kinds_and_no_values() {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "send", "arguments": {
        "to": "ana@acme.test", "body": "the salaries", "at": "2026-07-28T10:00:00Z", "file": "/home/ana/plan.txt",
        "link": "https://acme.test/x?token=1", "key": "sk-live-1", "count": 3, "loud": true, "none": null,
        "ids": ["786512e2-9e0d-44bd-8f29-789f320fe840"], "map": {"ben@acme.test": "10.0.0.1", "n": "12 34"}, "empty": ""
    }}});
    let shown = masked(body.to_string().as_bytes()).unwrap();
    assert_eq!(
        shown,
        json!([{"method": "tools/call", "name": "send", "arguments": {
            "to": "(e-mail, 13)", "body": "(text, 12)", "at": "(date, 20)", "file": "(path, 18)", "link": "(url, 27)",
            "key": "(secret, 9)", "count": "(number)", "loud": "(boolean)", "none": null, "ids": ["(uuid, 36)"],
            "map": {"(e-mail, 13)": "(address, 8)", "n": "(digits, 5)"}, "empty": "(empty, 0)"
        }}])
    );
    let deep = format!("{}1{}", "{\"a\":".repeat(50), "}".repeat(50));
    let wide: Vec<u32> = (0..1_000).collect();
    let body = format!(r#"{{"method":"x","params":{{"deep":{deep},"wide":{}}}}}"#, json!(wide));
    let shown = masked(body.as_bytes()).unwrap().to_string();
    assert!(shown.len() < 600 && !shown.contains("\"x\"") && shown.contains("(992 more)"), "{shown}");
    assert_eq!(masked(b"{"), None);
}
