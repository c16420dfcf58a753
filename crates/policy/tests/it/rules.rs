//! Reading rule documents: what is accepted, what is refused and with which words.

use policy::action::{OnError, Permission, UntrustedCertificate};
use policy::{Action, ActionPlan, Hook, RuleSpec};
use serde_json::{Value, json};

use crate::support::document;

fn faults(document: &Value) -> Vec<String> {
    RuleSpec::parse(document).map_or_else(|errors| errors.iter().map(ToString::to_string).collect(), |_| Vec::new())
}

fn with_settings(action: &str, settings: &Value) -> Value {
    json!({"name": "r", "action": action, "filters": ["http"], "rule_settings": settings})
}

fn plan(action: &str, settings: &Value) -> ActionPlan {
    RuleSpec::parse(&with_settings(action, settings)).unwrap_or_else(|errors| panic!("{settings}: {errors:?}")).plan()
}

#[test]
fn a_rule_is_echoed_exactly_without_its_read_only_members() {
    let sent = json!({
        "id": "f174e90a-fafe-4643-bbbc-4a0ed4fc8415",
        "version": 3,
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": null,
        "deleted_at": null,
        "read_only": false,
        "sharable": true,
        "source_account": null,
        "warning_status": "text",
        "name": "r",
        "action": "block",
        "traffic": "  any( http.request.domains[*]  == \"example.com\" )\n",
        "identity": "",
        "rule_settings": {"block_reason": null, "block_page_enabled": false},
        "schedule": null,
    });
    let spec = RuleSpec::parse(&sent).unwrap();
    assert_eq!(
        serde_json::to_value(&spec).unwrap(),
        json!({
            "name": "r",
            "action": "block",
            "traffic": "  any( http.request.domains[*]  == \"example.com\" )\n",
            "identity": "",
            "rule_settings": {"block_reason": null, "block_page_enabled": false},
            "schedule": null,
        })
    );
    assert_eq!((spec.hook, spec.is_enabled(), spec.precedence), (Hook::Http, true, None));
    assert_eq!(spec.warnings, [""; 0]);
}

#[test]
fn faults_name_their_place_and_what_was_probably_meant() {
    for (document, expected) in [
        (json!("x"), vec!["rule: must be an object, not a string"]),
        (json!({}), vec!["/action: is required", "/name: is required"]),
        (json!({"name": " ", "action": "block"}), vec!["/name: must not be empty"]),
        (
            json!({"name": "r", "action": "blok"}),
            vec![
                "/action: `blok` is not one of on, off, allow, block, scan, noscan, safesearch, ytrestricted, isolate, noisolate, \
             override, l4_override, egress, resolve, quarantine, redirect, audit_ssh, worker, managed; did you mean `block`?",
            ],
        ),
        (
            json!({"name": "r", "action": "block", "trafic": ""}),
            vec!["/trafic: unknown member `trafic`; did you mean `traffic`?"],
        ),
        (
            json!({"name": "r", "action": "block", "enabled": "yes"}),
            vec!["/enabled: must be true or false, not a string"],
        ),
        (
            json!({"name": "r", "action": "block", "precedence": 1.5}),
            vec!["/precedence: must be a whole number, not a number"],
        ),
        (
            json!({"name": "r", "action": "block", "filters": []}),
            vec!["/filters: must hold exactly one of `http`, `l4`"],
        ),
        (
            json!({"name": "r", "action": "block", "filters": ["http", "l4"]}),
            vec!["/filters: must hold exactly one of `http`, `l4`"],
        ),
        (
            json!({"name": "r", "action": "block", "filters": ["htp"]}),
            vec!["/filters/0: `htp` is not one of http, l4; did you mean `http`?"],
        ),
        (
            json!({"name": "r", "action": "block", "filters": ["dns"]}),
            vec![
                "/filters/0: this installation does not enforce `dns` rules, so it does not store one: use `http` or `l4`",
            ],
        ),
        (
            json!({"name": "r", "action": "safesearch", "filters": ["http"]}),
            vec![
                "/action: `safesearch` is not an action of `http` rules: allow, block, redirect, isolate, noisolate, off, noscan, quarantine, worker, managed",
            ],
        ),
        (
            json!({"name": "r", "action": "redirect", "filters": ["l4"], "rule_settings": {"redirect": {"target_uri": "https://a.example"}}}),
            vec!["/action: `redirect` is not an action of `l4` rules: allow, block"],
        ),
        (
            json!({"name": "r", "action": "block", "schedule": {"mon": "9-5", "sunday": "", "time_zone": "UTC"}}),
            vec![
                "/schedule/sunday: unknown member `sunday`",
                "/schedule/mon: `9-5` is not a range such as `08:00-12:30`",
            ],
        ),
        (
            json!({"name": "r", "action": "block", "expiration": {"duration": 5}}),
            vec!["/expiration/expires_at: is required"],
        ),
        (
            json!({"name": "r", "action": "block", "expiration": {"expires_at": "2026-01-01T00:00:00+02:00"}}),
            vec!["/expiration/expires_at: must be an RFC 3339 time in UTC, for example `2026-12-31T18:00:00Z`"],
        ),
    ] {
        let found = faults(&document);
        assert_eq!(found, expected, "{document}");
    }
}

#[test]
fn settings_faults_name_their_place() {
    let headers = |count: usize| -> Value {
        (0..count).map(|n| (format!("x-{n}"), json!(["v"]))).collect::<serde_json::Map<_, _>>().into()
    };
    for (action, settings, expected) in [
        ("allow", json!([]), "/rule_settings: must be an object, not an array"),
        (
            "allow",
            json!({"add_header": {}}),
            "/rule_settings/add_header: unknown member `add_header`; did you mean `add_headers`?",
        ),
        (
            "allow",
            json!({"add_headers": {"Bad Name": ["v"]}}),
            "/rule_settings/add_headers/Bad Name: `Bad Name` is not a header name",
        ),
        (
            "allow",
            json!({"add_headers": {"x": "v"}}),
            "/rule_settings/add_headers/x: must be an array of strings, not a string",
        ),
        (
            "allow",
            json!({"set_headers": {"x": ["a\r\nb"]}}),
            "/rule_settings/set_headers/x: a header value must not contain control characters",
        ),
        (
            "allow",
            json!({"set_headers": {"x": ["v".repeat(4097)]}}),
            "/rule_settings/set_headers/x: a header value is at most 4096 bytes long, this one has 4097",
        ),
        (
            "allow",
            json!({"set_headers": {"x".repeat(257): ["v"]}}),
            &format!("/rule_settings/set_headers/{}…: a header name is 1 to 256 bytes long", "x".repeat(79)),
        ),
        (
            "allow",
            json!({"delete_headers": ["host"]}),
            "/rule_settings/delete_headers: `host` frames the message and cannot be changed by a rule",
        ),
        (
            "allow",
            json!({"add_headers": headers(21)}),
            "/rule_settings: a rule changes at most 20 headers, this one 21",
        ),
        (
            "allow",
            json!({"untrusted_cert": {"action": "passthrough"}}),
            "/rule_settings/untrusted_cert/action: `passthrough` is not one of pass_through, block, error; did you mean `pass_through`?",
        ),
        (
            "allow",
            json!({"check_session": {"enforce": true, "duration": "300"}}),
            "/rule_settings/check_session/duration: not a duration: write a number and a unit, for example `300s` or `1h30m`",
        ),
        (
            "block",
            json!({"add_headers": {"x": ["v"]}}),
            "/rule_settings/add_headers: has no effect with the action `block`, only with allow",
        ),
        (
            "allow",
            json!({"block_reason": "no"}),
            "/rule_settings/block_reason: has no effect with the action `allow`, only with block",
        ),
    ] {
        assert_eq!(faults(&with_settings(action, &settings)), [expected], "{settings}");
    }
}

#[test]
fn settings_that_an_action_needs_are_checked_as_closely() {
    for (action, settings, expected) in [
        (
            "redirect",
            json!({}),
            r#"/rule_settings/redirect: the action `redirect` needs `rule_settings.redirect`: {"target_uri": "https://…"}"#,
        ),
        ("redirect", json!({"redirect": {}}), "/rule_settings/redirect/target_uri: is required"),
        (
            "redirect",
            json!({"redirect": {"target_uri": "javascript:x"}}),
            "/rule_settings/redirect/target_uri: must be an http or https URL, for example `https://example.com/notice`",
        ),
        (
            "block",
            json!({"notification_settings": {"enabled": true, "msg": "x".repeat(101)}}),
            "/rule_settings/notification_settings/msg: must be at most 100 characters",
        ),
        (
            "quarantine",
            json!({"quarantine": {"file_types": []}}),
            "/rule_settings/quarantine/file_types: must name at least one file type",
        ),
        (
            "quarantine",
            json!({"quarantine": {"file_types": ["pdff"]}}),
            "/rule_settings/quarantine/file_types/0: `pdff` is not a file type that can be quarantined; did you mean `pdf`?",
        ),
        (
            "isolate",
            json!({"biso_admin_controls": {"version": "v2", "copy": "off"}}),
            "/rule_settings/biso_admin_controls/copy: `off` is not one of enabled, disabled, remote_only",
        ),
        (
            "isolate",
            json!({"biso_admin_controls": {"version": "v2", "upload": "remote_only"}}),
            "/rule_settings/biso_admin_controls/upload: `remote_only` is not one of enabled, disabled",
        ),
        ("worker", json!({"worker": {}}), "/rule_settings/worker/script: is required"),
        (
            "worker",
            json!({"worker": {"script": "Bad Name"}}),
            "/rule_settings/worker/script: \"Bad Name\" is not a script name (1 to 63 of a-z, 0-9, _ and -)",
        ),
        (
            "worker",
            json!({"worker": {"script": "s", "timeout_ms": 0}}),
            "/rule_settings/worker/timeout_ms: must be between 1 and 30000, not 0",
        ),
        (
            "worker",
            json!({"worker": {"script": "s", "on_error": "open"}}),
            "/rule_settings/worker/on_error: `open` is not one of block, continue, allow",
        ),
        (
            "worker",
            json!({"worker": {"script": "s", "cache": {"key": ["identity.mail"], "ttl_s": 60}}}),
            "/rule_settings/worker/cache/key/0: there is no field `identity.mail`; did you mean `identity.email`?",
        ),
        (
            "worker",
            json!({"worker": {"script": "s", "cache": {"key": ["http.response.status_code"], "ttl_s": 60}}}),
            "/rule_settings/worker/cache/key/0: `http.response.status_code` is not known yet when the Worker is asked",
        ),
        (
            "worker",
            json!({"worker": {"script": "s", "cache": {"key": [], "ttl_s": 60}}}),
            "/rule_settings/worker/cache/key: must name at least one field, or every request would share one answer",
        ),
        (
            "managed",
            json!({"managed": {"template": "t", "parameters": []}}),
            "/rule_settings/managed/parameters: must be an object",
        ),
        (
            "managed",
            json!({}),
            r#"/rule_settings/managed: the action `managed` needs `rule_settings.managed`: {"template": "name", "parameters": {}}"#,
        ),
    ] {
        assert_eq!(faults(&with_settings(action, &settings)), [expected], "{settings}");
    }
}

#[test]
fn a_connection_rule_takes_only_what_has_an_effect_on_connections() {
    let rule = |settings: Value| json!({"name": "r", "action": "allow", "filters": ["l4"], "rule_settings": settings});
    assert_eq!(
        faults(&rule(json!({"check_session": {"enforce": true, "duration": "1h"}, "add_headers": {}}))),
        [""; 0]
    );
    assert_eq!(
        faults(&rule(json!({"add_headers": {"x": ["v"]}}))),
        ["/rule_settings/add_headers: has no effect on `l4` rules"]
    );
}

#[test]
fn members_of_other_engines_are_kept_and_remarked_on() {
    let settings = json!({"ip_categories": true, "override_ips": ["192.0.2.1"], "add_headers": {}, "payload_log": {"enabled": false}});
    let spec = RuleSpec::parse(&with_settings("isolate", &settings)).unwrap();
    assert_eq!(
        spec.warnings,
        [
            "rule_settings.ip_categories has no effect on this rule",
            "rule_settings.override_ips has no effect on this rule"
        ]
    );
    assert_eq!(spec.document()["rule_settings"], settings);
}

#[test]
fn members_that_wait_for_something_are_kept_and_say_for_what() {
    for (action, name, value, waits_for) in [
        ("allow", "payload_log", json!({"enabled": true}), "data loss prevention, except on what speaks MCP"),
        ("block", "payload_log", json!({"enabled": true}), "data loss prevention, except on what speaks MCP"),
        ("block", "forensic_copy", json!({"enabled": true}), "data loss prevention"),
        ("allow", "gen_ai_prompt_log", json!({"enabled": true}), "conversations with AI services"),
        ("block", "notification_settings", json!({"enabled": true, "msg": "No."}), "the device client"),
    ] {
        let spec = RuleSpec::parse(&with_settings(action, &json!({name: value.clone()}))).unwrap();
        let [warning] = spec.warnings.as_slice() else { panic!("{name}: {:?}", spec.warnings) };
        assert!(warning.starts_with(&format!("rule_settings.{name} has no effect until")), "{warning}");
        assert!(warning.ends_with(waits_for), "{warning}");
        assert_eq!(spec.document()["rule_settings"][name], value);
        let off = RuleSpec::parse(&with_settings(action, &json!({name: {"enabled": false}}))).unwrap();
        assert!(off.warnings.is_empty(), "{:?}", off.warnings);
    }
}

#[test]
fn every_http_action_has_its_plan() {
    for action in Hook::Http.actions() {
        let spec = RuleSpec::parse(&document("r", action.as_str(), "")).unwrap();
        assert_eq!(spec.plan().word(), action.as_str());
    }
    for action in Hook::L4.actions() {
        let spec = RuleSpec::parse(&json!({"name": "r", "action": action.as_str(), "filters": ["l4"]})).unwrap();
        assert_eq!(spec.plan().word(), action.as_str());
    }
}

#[test]
fn plans_carry_their_settings_and_documented_defaults() {
    let ActionPlan::Allow(allow) = plan("allow", &json!({})) else { panic!() };
    assert_eq!(
        (allow.untrusted_cert, allow.check_session, allow.headers.is_empty()),
        (UntrustedCertificate::Error, None, true)
    );
    let ActionPlan::Allow(allow) = plan(
        "allow",
        &json!({
            "untrusted_cert": {"action": "pass_through"},
            "check_session": {"enforce": true, "duration": "24h"},
            "delete_headers": ["X-Old"],
            "set_headers": {"X-User": ["@{identity.email}"]},
            "payload_log": {"enabled": true},
        }),
    ) else {
        panic!()
    };
    assert_eq!(allow.untrusted_cert, UntrustedCertificate::PassThrough);
    assert_eq!(allow.check_session.unwrap().duration.as_secs(), 86_400);
    assert_eq!(allow.headers.delete, ["x-old"]);
    assert_eq!(allow.headers.variables().collect::<Vec<_>>(), ["identity.email"]);
    assert!(allow.payload_log && !allow.forensic_copy);

    let ActionPlan::Block(block) =
        plan("block", &json!({"block_reason": "no", "block_page": {"target_uri": "https://b.example/"}}))
    else {
        panic!()
    };
    assert_eq!(
        (block.reason.as_deref(), block.page.as_ref().unwrap().target.text()),
        (Some("no"), "https://b.example/")
    );

    let ActionPlan::Worker(worker) = plan("worker", &json!({"worker": {"script": "training"}})) else { panic!() };
    assert_eq!((worker.timeout.as_millis(), worker.cpu.as_millis(), worker.memory_bytes), (1_000, 50, 32 << 20));
    assert_eq!((worker.on_error, &worker.cache), (OnError::Block, &None));
    let ActionPlan::Worker(worker) = plan(
        "worker",
        &json!({"worker": {"script": "training", "timeout_ms": 250, "cpu_ms": 10, "memory_mb": 16, "on_error": "continue",
                "cache": {"key": ["identity.email", "http.conn.hostname"], "ttl_s": 60}}}),
    ) else {
        panic!()
    };
    let names: Vec<&str> =
        worker.cache.as_ref().unwrap().key.iter().map(|field| Hook::Http.scheme().field(*field).name).collect();
    assert_eq!(names, ["identity.email", "http.request.host"]);
    assert_eq!((worker.timeout.as_millis(), worker.on_error), (250, OnError::Continue));

    let ActionPlan::Managed(managed) =
        plan("managed", &json!({"managed": {"template": "coach", "parameters": {"days": 3}}}))
    else {
        panic!()
    };
    assert_eq!((managed.template.as_str(), &managed.parameters["days"]), ("coach", &json!(3)));
}

#[test]
fn both_forms_of_isolation_controls_are_read() {
    let ActionPlan::Isolate(old) =
        plan("isolate", &json!({"biso_admin_controls": {"dcp": true, "du": true, "dk": false}}))
    else {
        panic!()
    };
    assert_eq!(
        (old.copy, old.paste, old.upload, old.keyboard),
        (Permission::Disabled, Permission::Disabled, Permission::Disabled, Permission::Enabled)
    );
    let ActionPlan::Isolate(new) = plan(
        "isolate",
        &json!({"biso_admin_controls": {"version": "v2", "copy": "remote_only", "printing": "disabled", "wm_id": "w"}}),
    ) else {
        panic!()
    };
    assert_eq!(
        (new.copy, new.paste, new.printing, new.watermark.as_deref()),
        (Permission::RemoteOnly, Permission::Enabled, Permission::Disabled, Some("w"))
    );
}

#[test]
fn each_action_accepts_the_selectors_of_its_row() {
    let can = |action: Action, field: &str| {
        let fields = Hook::Http.fields();
        let (id, _) = fields.find(field).unwrap();
        policy::hook::permits(Hook::Http, action, fields.info(id)).is_ok()
    };
    use Action::{Allow, Block, Isolate, Managed, NoIsolate, NoScan, Off, Quarantine, Redirect, Worker};
    let all = [Allow, Block, Redirect, NoScan, Quarantine, Isolate, NoIsolate, Off, Worker, Managed];
    for (field, actions) in [
        ("http.request.host", &all[..]),
        ("app.ids", &all),
        ("app.statuses", &all),
        ("identity.groups.name", &all),
        ("device_posture.checks.passed", &all),
        ("http.src_ip.geo.country", &all),
        ("net.onramp.type", &all),
        ("http.request.method", &[Allow, Block, Redirect, NoScan, Quarantine, Isolate, NoIsolate, Worker, Managed]),
        ("http.request.uri.path", &[Allow, Block, Redirect, NoScan, Quarantine, Isolate, NoIsolate, Worker, Managed]),
        ("http.conn.src_ip", &[Allow, Block, Redirect, NoScan, Quarantine, Off, Worker, Managed]),
        ("http.conn.dst_ip", &[Allow, Block, Redirect, NoScan, Quarantine, Off, Worker, Managed]),
        ("proxy.endpoint", &[Allow, Block, Redirect, NoScan, Quarantine, Off, Worker, Managed]),
        ("access.target", &[Allow, Block, Redirect, Worker, Managed]),
        ("app.hosts_ids", &[Allow, Block, Off, Worker, Managed]),
        ("http.upload.file.types", &[Allow, Block, Worker, Managed]),
        ("pkg.name", &[Allow, Block, Worker, Managed]),
        ("dlp.profiles", &[Allow, Block, Worker, Managed]),
        ("experimental.is_mcp", &[Allow, Block, Redirect, NoScan, Quarantine, Isolate, NoIsolate, Worker, Managed]),
        ("mcp.tools", &[Allow, Block, Redirect, NoScan, Quarantine, Isolate, NoIsolate, Worker, Managed]),
        ("http.body_phase", &[Allow, Block]),
        ("http.response.status_code", &[Allow, Block]),
        ("http.download.mime", &[Allow, Block]),
    ] {
        for action in all {
            assert_eq!(can(action, field), actions.contains(&action), "{action} {field}");
        }
    }
}

#[test]
fn a_selector_the_action_cannot_use_is_refused_with_the_reason() {
    let check = |action: &str, traffic: &str| {
        let spec = RuleSpec::parse(&document("r", action, traffic)).unwrap();
        policy::check(&spec, &()).map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(
        check("off", r#"http.request.uri.path == "/x""#).unwrap_err(),
        [
            "/traffic: `http.request.uri.path` cannot be used with the action `off`: the connection is judged before it is \
          decrypted, on host, addresses and identity alone"
        ]
    );
    assert_eq!(
        check("worker", r#"http.download.mime == "x""#).unwrap_err(),
        [
            "/traffic: `http.download.mime` cannot be used with the action `worker`: a Worker runs before the request is sent, so \
          the response cannot select it"
        ]
    );
    assert!(check("off", r#"http.request.host == "x" and identity.email == "a@b""#).is_ok());
    let faults = check("block", r#"http.request.hos == "x""#).unwrap_err();
    assert!(faults[0].starts_with("/traffic: Filter parsing error (1:1):"), "{faults:?}");
}

#[test]
fn the_author_is_warned_about_what_cannot_work() {
    let warnings = |document: &Value| policy::check(&RuleSpec::parse(document).unwrap(), &()).unwrap();
    assert_eq!(
        warnings(&document("r", "block", r#"http.request.host == "Example.com""#)),
        ["`Example.com` has capitals, and hosts and e-mail addresses are compared in lower case"]
    );
    let mut rule = document("r", "allow", "");
    rule["rule_settings"] = json!({"set_headers": {"x": ["@{identity.shoe_size} @{identity.email}"]}});
    assert_eq!(warnings(&rule), ["the header variable @{identity.shoe_size} is not known and will be empty"]);
    assert_eq!(warnings(&document("r", "block", r#"http.request.host == "example.com""#)), [""; 0]);
}
