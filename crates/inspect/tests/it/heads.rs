//! What the head of a request says: alone, and with its body.

use inspect::mcp::{Body, Evidence, Head, Message, Reading, accepts, body_of, known_servers};

const PLAIN: Head<'static> = Head {
    host: "app.example.com",
    path: "/api",
    method: "POST",
    body: Body::Json,
    accept: Some(b"*/*"),
    version: None,
    session: None,
    rpc_method: None,
};
const BOTH: Option<&[u8]> = Some(b"application/json, text/event-stream");
const EVENTS: Option<&[u8]> = Some(b"text/event-stream");

fn get(head: Head<'static>) -> Head<'static> {
    Head { method: "GET", body: Body::None, accept: EVENTS, ..head }
}

#[test]
fn a_head_settles_what_only_mcp_sends() {
    for (what, head, is_mcp) in [
        ("nothing", PLAIN, false),
        ("the version", Head { version: Some(b"2025-11-25"), ..PLAIN }, true),
        ("the version of a draft", Head { version: Some(b"DRAFT-2026-v1"), ..PLAIN }, true),
        ("another product's version", Head { version: Some(b"3"), ..PLAIN }, false),
        ("a session", Head { session: Some(b"1868a90c"), ..PLAIN }, true),
        ("an empty session", Head { session: Some(b""), ..PLAIN }, false),
        ("a session that ends", Head { method: "DELETE", body: Body::None, session: Some(b"1868a90c"), ..PLAIN }, true),
        ("a method", Head { rpc_method: Some(b"tools/call"), ..PLAIN }, true),
        ("a known endpoint", Head { host: "mcp.notion.com", path: "/mcp", ..PLAIN }, true),
        ("a known endpoint with a slash", Head { host: "mcp.notion.com", path: "/sse/", ..get(PLAIN) }, true),
        (
            "a known endpoint, read as a page",
            Head { accept: Some(b"text/html"), host: "mcp.notion.com", path: "/mcp", ..get(PLAIN) },
            false,
        ),
        ("a known host, signing in", Head { host: "mcp.notion.com", path: "/register", ..PLAIN }, false),
        ("a known host's endpoint at the root", Head { host: "mcp.stripe.com", path: "/", ..PLAIN }, true),
        ("a host that ends alike", Head { host: "evil-mcp.notion.com.example", path: "/mcp", ..PLAIN }, false),
        ("a stream by every name", Head { host: "mcp.acme.example", path: "/sse", ..get(PLAIN) }, true),
        ("a stream by its path", Head { path: "/sse", ..get(PLAIN) }, false),
        ("a stream of a host named for MCP", Head { host: "mcp.acme.example", path: "/live", ..get(PLAIN) }, false),
        ("a POST to a path named for MCP", Head { path: "/mcp", accept: BOTH, ..PLAIN }, false),
    ] {
        assert_eq!(head.hint().is_mcp, is_mcp, "{what}");
    }
}

#[test]
fn a_body_settles_the_rest_and_a_hint_stands_for_one_that_cannot_be_read() {
    let message = Reading::Mcp(Message::default());
    let named = Head { path: "/v1/mcp", accept: BOTH, ..PLAIN };
    for (what, head, body, is_mcp) in [
        ("a message", PLAIN, Some(&message), true),
        ("no message", named, Some(&Reading::Other), false),
        ("cut, nothing said", PLAIN, Some(&Reading::Cut), false),
        ("cut, path and accept", named, Some(&Reading::Cut), true),
        ("unreadable, path and accept", named, None, true),
        ("unreadable, path alone", Head { accept: None, ..named }, None, false),
        ("unreadable, accept alone", Head { path: "/api", ..named }, None, false),
        ("unreadable, host and accept", Head { path: "/x", host: "acme-mcp.example.app", ..named }, None, true),
        ("no message after a header", Head { session: Some(b"s"), ..PLAIN }, Some(&Reading::Other), true),
    ] {
        assert_eq!(head.hint().settle(body), is_mcp, "{what}");
    }
}

#[test]
fn only_bodies_that_may_be_json_are_read() {
    for (has, media, body) in [
        (true, Some("application/json"), Body::Json),
        (true, Some("application/vnd.api+json"), Body::Json),
        (true, None, Body::Json),
        (true, Some("text/html"), Body::Other),
        (true, Some("multipart/form-data"), Body::Other),
        (false, Some("application/json"), Body::None),
    ] {
        assert_eq!(body_of(has, media), body, "{media:?}");
    }
    assert!(PLAIN.hint().reads_body);
    assert!(!Head { body: Body::Other, ..PLAIN }.hint().reads_body);
    assert!(Head { body: Body::Other, version: Some(b"2025-06-18"), ..PLAIN }.hint().reads_body);
}

#[test]
fn accept_is_read_as_a_list_of_types() {
    for (accept, expected) in [
        ("text/event-stream", true),
        ("application/json;q=0.9, Text/Event-Stream ;q=1", true),
        ("text/event-stream-of-mine", false),
        ("*/*", false),
        ("", false),
    ] {
        assert_eq!(accepts(accept.as_bytes(), "text/event-stream"), expected, "{accept}");
    }
}

#[test]
fn every_known_server_is_sound_and_named_once() {
    let mut names = Vec::new();
    for server in known_servers() {
        let host = &server.host;
        assert!(host.contains('.') && *host == host.to_ascii_lowercase() && !host.contains(['/', ':', ' ']), "{host}");
        assert!(!server.name.is_empty() && !server.sources.is_empty(), "{host}");
        for endpoint in &server.endpoints {
            assert!(endpoint.starts_with('/') && !endpoint.contains('?'), "{host}");
            assert!(endpoint == "/" || !endpoint.ends_with('/'), "{host}");
        }
        names.push(host.as_str());
    }
    // What the file lists twice would be one here.
    let listed = include_str!("../../data/mcp-servers.json").matches("\"host\":").count();
    assert_eq!((names.len(), listed), (101, 101));
}

#[test]
fn the_words_of_evidence_are_told_apart() {
    let words: std::collections::BTreeSet<_> = Evidence::ALL.iter().map(|evidence| evidence.as_str()).collect();
    assert_eq!(words.len(), Evidence::ALL.len());
    let head = Head { host: "mcp.acme.example", path: "/mcp", accept: BOTH, version: Some(b"2025-11-25"), ..PLAIN };
    let listed: Vec<_> = head.hint().evidence.iter().map(Evidence::as_str).collect();
    assert_eq!(listed, ["version_header", "host_name", "path", "accept"]);
}
