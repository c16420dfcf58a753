//! Documents: what is taken, what is refused and where, what is shown.

use identity::document::Problem;
use mcp::document::credentials::{Credentials, TokenAuthMethod};
use mcp::document::portal::{CodeMode, Portal, PortalDocument};
use mcp::document::rule::{Effect, OnError, RuleDocument, ToolRule};
use mcp::document::server::{Auth, CLIENT_SECRET, HEADERS, Pinning, Server, ServerDocument, Upstream};
use mcp::document::view::{self, ServerFacts, SignedIn, Stamps, Status, SyncError, Synced};
use proptest::prelude::*;
use serde_json::{Value, json};

fn first(problems: Vec<Problem>) -> String {
    problems[0].to_string()
}

fn server(value: &Value, held: &[&str]) -> Result<Server, Vec<Problem>> {
    let mut document = ServerDocument::read(value, None)?;
    let secrets = document.take_secrets()?;
    let held = |name: &str| held.contains(&name) || secrets.contains_key(name);
    Server::parse("jira".parse().unwrap(), &document, &held, &())
}

fn portal(value: &Value) -> Result<Portal, Vec<Problem>> {
    Portal::parse("staff".parse().unwrap(), &PortalDocument::read(value, None)?, &())
}

fn jira(member: &str, value: Value) -> Value {
    let mut document = json!({"name": "Jira", "hostname": "https://jira.example.com/mcp", "auth_type": "bearer"});
    document[member] = value;
    document
}

#[test]
fn credentials_come_in_three_forms() {
    let headers = |value: Value| {
        let Ok(Credentials::Headers(headers)) = Credentials::read(&value) else { panic!("{value}") };
        headers.into_inner()
    };
    assert_eq!(headers(json!(" t0ken ")), r#"{"authorization":"Bearer t0ken"}"#);
    assert_eq!(headers(json!({"headers": {"X-Key": "a b"}})), r#"{"x-key":"a b"}"#);
    assert_eq!(headers(json!(r#" {"headers": {"X-Key": "k"}}"#)), r#"{"x-key":"k"}"#);
    assert!(matches!(Credentials::read(&json!({"auth_mode": "dcr"})), Ok(Credentials::Oauth(_))));
    for (value, expected) in [
        (json!(""), "document: a token is"),
        (json!("a\r\nX: y"), "document: a token is"),
        (json!("{not json"), "document: begins like JSON"),
        (json!(7), "document: must be a token"),
        (json!({}), "document: must hold `headers` alone"),
        (json!({"headers": {}}), "/headers: must hold 1 to"),
        (json!({"headers": {"X-Key": "a"}, "auth_mode": "dcr"}), "document: must hold `headers` alone"),
        (json!({"headers": {"X-Key": 1}}), "/headers/X-Key: must be a text"),
        (json!({"headers": {"X-Key": "a\nHost: b"}}), "/headers/X-Key: must be a text"),
        (json!({"headers": {"X-Key": "a", "x-key": "b"}}), "/headers/x-key: stands twice"),
        (json!({"headers": {"Host": "a"}}), "/headers/Host: `host` has a meaning"),
        (json!({"headers": {"MCP-Session-Id": "a"}}), "/headers/MCP-Session-Id: `mcp-session-id`"),
        (json!({"headers": {"a b": "s3cret"}}), "/headers: is not the name"),
        (json!({"auth_mode": "none"}), "/auth_mode: unknown variant"),
        (json!({"auth_mode": "manual", "secret": "x"}), "/secret: unknown member"),
    ] {
        let found = first(Credentials::read(&value).unwrap_err());
        assert!(found.starts_with(expected), "{value}: {found}");
    }
}

#[test]
fn a_server_is_an_address_a_program_or_a_worker() {
    let remote = server(&jira("updated_tools", json!([{"name": "a", "alias": "b"}])), &[]).unwrap();
    assert!(matches!(&remote.upstream, Upstream::Remote(url) if url.as_str() == "https://jira.example.com/mcp"));
    assert_eq!((&remote.auth, remote.pinning), (&Auth::Headers, Pinning::All));
    let program = json!({"name": "Files", "portunus": {
        "stdio": {"command": "files", "args": ["-v"], "env": [{"name": "TOKEN", "value": "x"}]}, "pinning": "none",
    }});
    let program = server(&program, &[]).unwrap();
    let expected =
        Upstream::Stdio { command: "files".to_owned(), args: vec!["-v".to_owned()], env: vec!["TOKEN".to_owned()] };
    assert_eq!((program.upstream, program.auth, program.pinning), (expected, Auth::None, Pinning::None));
    let worker = server(&json!({"name": "W", "portunus": {"worker": "tools"}}), &[]).unwrap();
    assert!(matches!(worker.upstream, Upstream::Worker(script) if script.as_str() == "tools"));
}

#[test]
fn what_a_server_gets_wrong_is_named() {
    for (member, value, expected) in [
        ("name", json!(" "), "/name: must not be empty"),
        ("hostname", json!(""), "/hostname: is required"),
        ("hostname", json!("ftp://x.example"), "/hostname: must be an http"),
        ("hostname", json!("https://x.example/#a"), "/hostname: must not have a fragment"),
        ("description", json!("a\u{0}"), "/description: must not hold"),
        ("auth_type", json!("unauthenticated"), "/auth_credentials: a token or headers"),
        ("auth_credentials", json!({"auth_mode": "dcr"}), "/auth_credentials: settings with `auth_mode`"),
        ("client_secret", json!("x"), "/client_secret: belongs to"),
        ("updated_prompts", json!([{"name": ""}]), "/updated_prompts/0/name: must be the name"),
        (
            "updated_prompts",
            json!([{"name": "a", "alias": "x"}, {"name": "b", "alias": "x"}]),
            "/updated_prompts/1/alias: is",
        ),
        ("portunus", json!({"pinning": "some"}), "/portunus/pinning: unknown variant"),
        ("portunus", json!({"worker": "w", "stdio": {"command": "c"}}), "/portunus: a server is"),
        ("portunus", json!({"worker": "w"}), "/hostname: does not belong"),
    ] {
        let held: &[&str] = if member == "auth_type" { &[HEADERS] } else { &[] };
        let found = first(server(&jira(member, value.clone()), held).unwrap_err());
        assert!(found.starts_with(expected), "{member} {value}: {found}");
    }
    for (stdio, expected) in [
        (json!({}), "/portunus/stdio/command: is required"),
        (json!({"command": "a\u{0}"}), "/portunus/stdio/command: is required"),
        (json!({"command": "a", "args": ["\u{0}"]}), "/portunus/stdio/args: must be"),
        (json!({"command": "a", "env": [{"name": "1"}]}), "/portunus/stdio/env/0/name: must be the name"),
        (
            json!({"command": "a", "env": [{"name": "LD_PRELOAD", "value": "x"}]}),
            "/portunus/stdio/env/0/name: is read by",
        ),
        (json!({"command": "a", "env": [{"name": "A"}]}), "/portunus/stdio/env/0/value: is required"),
        (
            json!({"command": "a", "env": [{"name": "A", "value": "\u{0}"}]}),
            "/portunus/stdio/env/0/value: must be a text",
        ),
    ] {
        let found = first(server(&json!({"name": "x", "portunus": {"stdio": stdio}}), &[]).unwrap_err());
        assert!(found.starts_with(expected), "{stdio}: {found}");
    }
}

/// What is wrong with settings that are sound otherwise.
type Change = fn(&mut Value);

#[test]
fn a_client_that_an_administrator_registered_is_checked() {
    let settings = |change: Change| {
        let mut settings = json!({
            "auth_mode": "manual",
            "config": {"authorization_endpoint": "https://a.example/authorize", "token_endpoint": "http://127.0.0.1:9/token"},
            "registration_info": {"client_id": "c", "redirect_uris": ["https://mcp.example.com/servers-callback"]},
        });
        change(&mut settings);
        json!({"name": "x", "hostname": "https://x.example/mcp", "auth_type": "oauth", "auth_credentials": settings})
    };
    let method = |held: &[&str]| {
        let Auth::Manual(client) = server(&settings(|_| {}), held).unwrap().auth else { panic!("{held:?}") };
        client.auth_method
    };
    assert_eq!((method(&[]), method(&[CLIENT_SECRET])), (TokenAuthMethod::None, TokenAuthMethod::Basic));
    let changes: [(Change, &str); 5] = [
        (
            |s| s["config"]["token_endpoint"] = json!("http://a.example/token"),
            "/auth_credentials/config/token_endpoint: must be an https",
        ),
        (|s| s["config"]["issuer"] = json!("a.example"), "/auth_credentials/config/issuer: not a URL"),
        (
            |s| s["registration_info"]["client_id"] = json!(""),
            "/auth_credentials/registration_info/client_id: must not be empty",
        ),
        (
            |s| s["registration_info"]["redirect_uris"] = json!(["x"]),
            "/auth_credentials/registration_info/redirect_uris/0: not a URL",
        ),
        (
            |s| s["registration_info"]["token_endpoint_auth_method"] = json!("client_secret_post"),
            "/auth_credentials/registration_info/token_endpoint_auth_method: `client_secret_post` needs",
        ),
    ];
    for (change, expected) in changes {
        let found = first(server(&settings(change), &[]).unwrap_err());
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn no_secret_is_written_with_its_document() {
    let sent = json!({
        "name": "x", "hostname": "https://x.example/mcp", "auth_type": "bearer", "auth_credentials": "s3cret",
        "client_secret": "s3cret",
        "portunus": {"stdio": {"command": "c", "env": [{"name": "A", "value": "s3cret"}]}},
    });
    let mut document = ServerDocument::read(&sent, None).unwrap();
    assert!(!serde_json::to_string(&document).unwrap().contains("s3cret"));
    assert!(!format!("{document:?}").contains("s3cret"));
    let secrets = document.take_secrets().unwrap();
    assert_eq!(secrets.keys().collect::<Vec<_>>(), [CLIENT_SECRET, "env/A", HEADERS]);
    assert!(document.auth_credentials.is_none() && document.client_secret.is_none());
}

#[test]
fn a_rule_has_the_settings_of_its_action() {
    let rule = |value: Value| {
        let document: RuleDocument = identity::document::read(&value, &[])?;
        ToolRule::parse(&document, &())
    };
    let base =
        |action: &str| json!({"name": "r", "expression": "mcp.tool.annotations.destructiveHint", "action": action});
    let with = |action: &str, member: &str, value: Value| {
        let mut rule = base(action);
        rule[member] = value;
        rule
    };
    assert!(matches!(rule(base("allow")).unwrap().effect, Effect::Allow));
    let blocked = rule(with("block", "message", json!("Ask first"))).unwrap();
    assert!(blocked.enabled && matches!(blocked.effect, Effect::Block { message: Some(text) } if text == "Ask first"));
    let approval = rule(with("require_approval", "approval", json!({"lifetime": "10m"}))).unwrap().effect;
    assert!(matches!(approval, Effect::RequireApproval { lifetime } if lifetime.as_secs() == 600));
    assert!(
        matches!(rule(base("require_approval")).unwrap().effect, Effect::RequireApproval { lifetime } if lifetime.is_zero())
    );
    assert!(
        matches!(rule(base("require_mfa")).unwrap().effect, Effect::RequireMfa { max_age } if max_age.as_secs() == 3_600)
    );
    let redacted =
        rule(with("redact", "redact", json!({"paths": ["/iban"], "patterns": ["DE[0-9]{20}"]}))).unwrap().effect;
    assert!(matches!(redacted, Effect::Redact { patterns, .. } if patterns[0].is_match("DE12345678901234567890")));
    let worker = rule(with("worker", "worker", json!({"script": "check", "on_error": "continue"}))).unwrap().effect;
    assert!(matches!(worker, Effect::Worker { on_error: OnError::Continue, .. }));
    for (value, expected) in [
        (with("allow", "action", json!(null)), "/action: is required: allow, block"),
        (with("allow", "expression", json!("http.request.uri == \"x\"")), "/expression: "),
        (with("allow", "message", json!("x")), "/message: belongs to rules whose action is `block`"),
        (with("block", "redact", json!({})), "/redact: belongs to"),
        (with("redact", "redact", json!({})), "/redact: names at least one"),
        (with("redact", "redact", json!({"paths": ["iban"]})), "/redact/paths/0: must be a JSON pointer"),
        (
            with("redact", "redact", json!({"patterns": ["("]})),
            "/redact/patterns/0: not a regular expression: unclosed group",
        ),
        (with("redact", "redact", json!({"patterns": ["(a{1000}){1000}"]})), "/redact/patterns/0: is too large"),
        (with("worker", "worker", json!({})), "/worker/script: names the Worker"),
        (with("require_approval", "approval", json!({"lifetime": "48h"})), "/approval/lifetime: `48h` is not"),
        (with("require_mfa", "mfa", json!({"max_age": "1s"})), "/mfa/max_age: `1s` is not"),
        (with("allow", "name", json!("")), "/name: must not be empty"),
    ] {
        let found = first(rule(value.clone()).unwrap_err());
        assert!(found.starts_with(expected), "{value}: {found}");
    }
}

#[test]
fn a_portal_is_read_with_its_servers() {
    let found = portal(&json!({
        "name": "Staff", "hostname": "MCP.example.com.", "code_mode": "enforced",
        "servers": [{"server_id": "jira"}, {"server_id": "wiki", "on_behalf": false, "default_disabled": true}],
        "portunus": {"log_results": true},
    }))
    .unwrap();
    assert_eq!((found.hostname.as_str(), found.code_mode), ("mcp.example.com", CodeMode::Enforced));
    assert!(found.servers[0].on_behalf && !found.servers[0].default_disabled);
    assert!(!found.servers[1].on_behalf && found.servers[1].default_disabled);
    assert!(found.neutralize_results && found.log_arguments && found.log_results);
    let names = |count: usize| (0..count).map(|n| json!({"server_id": format!("s{n}")})).collect::<Vec<_>>();
    let with = |servers: Vec<Value>| json!({"name": "x", "hostname": "x.example", "servers": servers});
    assert!(portal(&with(names(40))).is_ok());
    for (value, expected) in [
        (with(names(41)), "/servers: must hold at most 40"),
        (with(vec![json!({"server_id": "a"}), json!({"server_id": "a"})]), "/servers/1/server_id: is named twice"),
        (with(vec![json!({"server_id": "a_b"})]), "/servers/0/server_id: "),
        (
            with(vec![json!({"server_id": "a", "portunus": {"prefix": false}}), json!({"server_id": "b"})]),
            "/servers/0/portunus/prefix: must be true where a portal has several servers",
        ),
        (with(vec![json!({})]), "/servers/0/server_id: "),
        (json!({"name": "x"}), "/hostname: is required"),
        (json!({"name": "x", "hostname": "x.example/mcp"}), "/hostname: must be one host name"),
        (json!({"name": "x", "hostname": "x.example:8443"}), "/hostname: name only host"),
        (json!({"name": "x", "hostname": "x.example", "portunus": {"stdio": {}}}), "/portunus/stdio: unknown member"),
        (json!([]), "document: must be an object"),
    ] {
        let found = first(portal(&value).unwrap_err());
        assert!(found.starts_with(expected), "{value}: {found}");
    }
}

fn facts<'a>(synced: Synced<'a>) -> ServerFacts<'a> {
    let stamps = Stamps { created_at: "t", created_by: "a", modified_at: "u", modified_by: "b" };
    ServerFacts { stamps, synced, has_headers: false, client_secret_version: 0, signed_in: SignedIn::No }
}

#[test]
fn a_server_stands_as_it_last_answered() {
    let error = SyncError { message: "m".to_owned(), mcp_code: Some(-32601), ..SyncError::default() };
    for (last, successful, failed, expected) in [
        (None, None, false, Status::Waiting),
        (Some("t"), Some("t"), false, Status::Ready),
        (Some("t"), Some("s"), true, Status::Stale),
        (Some("t"), None, true, Status::Error),
    ] {
        let synced = Synced { last, last_successful: successful, error: failed.then_some(&error), ..Synced::default() };
        assert_eq!(view::status(&synced), expected);
        let shown = view::sync(&synced);
        assert_eq!(shown.get("error_details").is_some(), failed);
    }
}

#[test]
fn the_read_form_of_a_portal_can_be_written_again() {
    let standing: ServerDocument =
        ServerDocument::read(&jira("updated_tools", json!([{"name": "a", "alias": "x", "enabled": false}])), None)
            .unwrap();
    let sent = json!({"name": "S", "hostname": "s.example", "servers": [
        {"server_id": "jira", "updated_tools": [{"name": "b", "description": "d"}, {"name": "a", "alias": "y"}]},
    ]});
    let document = PortalDocument::read(&sent, None).unwrap();
    let show = |document: &PortalDocument| {
        let stamps = facts(Synced::default()).stamps;
        view::portal(&"staff".parse().unwrap(), document, stamps, |link| {
            let id = link.server_id.parse().unwrap();
            Some((view::server(&id, &standing, &facts(Synced::default())), standing.clone()))
        })
    };
    let shown = show(&document);
    assert_eq!(
        shown["servers"][0]["updated_tools"],
        json!([
            {"name": "b", "portal_description": "d"},
            {"name": "a", "enabled": false, "portal_alias": "y", "server_alias": "x"},
        ])
    );
    let again = PortalDocument::read(&Value::Object(shown.clone()), Some(&document)).unwrap();
    assert_eq!(show(&again), shown);
    assert_eq!(again.code_mode, Some(CodeMode::OptIn));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z/:{}.\"]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let key = prop_oneof![
            Just("servers"),
            Just("server_id"),
            Just("updated_tools"),
            Just("name"),
            Just("alias"),
            Just("portunus"),
            Just("rules"),
            Just("stdio"),
            Just("env"),
            Just("headers"),
            Just("auth_mode"),
            Just("code_mode"),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.prop_map(str::to_owned), inner, 0..4)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_document_is_too_strange_to_be_refused(value in any_json(), member in "[a-z_]{4,8}") {
        let _ = portal(&value);
        let _ = server(&value, &[]);
        let _ = server(&jira("auth_credentials", value.clone()), &[]);
        let mut sent = json!({"name": "x", "hostname": "x.example"});
        sent["servers"] = value.clone();
        let _ = portal(&sent);
        sent[member] = value;
        let _ = portal(&sent);
    }
}
