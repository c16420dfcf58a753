//! Order of enforcement, marks, going on after a Worker, waiting for facts.

use policy::{ActionPlan, Cursor, Phase, Scratch};
use serde_json::json;

use crate::support::{compiled, decide, described, facts, needs, now, request, rules, stored, verdict};

#[test]
fn the_first_matching_rule_in_precedence_order_decides() {
    let mut all = rules(&[
        ("late block", "block", r#"http.request.host == "a.example""#),
        ("early allow", "allow", r#"any(http.request.domains[*] == "example")"#),
        ("never", "block", r#"http.request.host == "b.example""#),
    ]);
    all[1].precedence = 10;
    let report = compiled(&all);
    for (url, expected) in [
        ("https://a.example/", "allow by early allow"),
        ("https://a.other/", "allow"),
        ("https://b.example/", "allow by early allow"),
    ] {
        assert_eq!(described(&verdict(decide(&report.http, &request(url, &json!({}))))), expected, "{url}");
    }
    all[1].precedence = 9_999;
    let report = compiled(&all);
    assert_eq!(
        described(&verdict(decide(&report.http, &request("https://a.example/", &json!({}))))),
        "block by late block"
    );
}

#[test]
fn off_rules_are_decided_on_the_connection_whatever_their_precedence() {
    let report = compiled(&rules(&[
        ("block all", "block", ""),
        ("bank", "off", r#"any(http.request.domains[*] == "bank.example")"#),
        ("pinned", "off", r#"http.request.host == "pinned.example""#),
    ]));
    let mut scratch = Scratch::new();
    for (host, action) in [("www.bank.example", "off"), ("pinned.example", "off"), ("www.pinned.example", "allow")] {
        let facts = facts(&json!({"http.request.host": host, "http.conn.src_ip": "10.0.0.9"}));
        let found = verdict(report.http.decide_connection(&facts, now(), &mut scratch));
        assert_eq!(found.action.word(), action, "{host}");
    }
    // Off rules take no part in the decision on a request.
    let found = verdict(decide(&report.http, &request("https://pinned.example/", &json!({}))));
    assert_eq!(described(&found), "block by block all");
}

#[test]
fn isolation_is_decided_before_the_rest_and_only_for_pages() {
    let report = compiled(&rules(&[
        ("allow all", "allow", ""),
        ("isolate chat", "isolate", r#"http.request.host == "chat.example""#),
    ]));
    for (accept, expected) in [
        (json!({"accept": ["text/html,application/xhtml+xml"]}), "isolate by isolate chat"),
        (json!({"accept": ["Text/HTML"]}), "isolate by isolate chat"),
        (json!({"accept": ["application/json, text/html"]}), "allow by allow all"),
        (json!({"accept": ["*/*"]}), "allow by allow all"),
        (json!({}), "allow by allow all"),
    ] {
        let facts = request("https://chat.example/", &json!({"http.request.headers": accept}));
        assert_eq!(described(&verdict(decide(&report.http, &facts))), expected, "{accept}");
    }
}

#[test]
fn noisolate_exempts_from_the_isolate_rules_after_it_and_evaluation_goes_on() {
    let mut all = rules(&[
        ("isolate all", "isolate", ""),
        ("trusted", "noisolate", r#"http.request.host == "trusted.example""#),
        ("block", "block", r#"http.request.uri.path == "/bad""#),
    ]);
    let report = compiled(&all);
    let found = verdict(decide(&report.http, &request("https://trusted.example/bad", &json!({}))));
    assert_eq!(described(&found), "isolate by isolate all");
    all[1].precedence = 1;
    let report = compiled(&all);
    let found = verdict(decide(&report.http, &request("https://trusted.example/bad", &json!({}))));
    assert_eq!(described(&found), "block by block");
    assert!(found.marks.no_isolate && !found.marks.no_scan);
}

#[test]
fn noscan_leaves_a_mark_and_evaluation_goes_on() {
    let report = compiled(&rules(&[
        ("big mirror", "noscan", r#"http.request.host == "mirror.example""#),
        ("block iso", "block", r#"http.request.uri.path matches "\\.iso$""#),
    ]));
    let found = verdict(decide(&report.http, &request("https://mirror.example/a.txt", &json!({}))));
    assert_eq!((described(&found).as_str(), found.marks.no_scan), ("allow", true));
    let found = verdict(decide(&report.http, &request("https://mirror.example/a.iso", &json!({}))));
    assert_eq!((described(&found).as_str(), found.marks.no_scan), ("block by block iso", true));
}

#[test]
fn evaluation_goes_on_after_a_worker_without_an_opinion() {
    let report = compiled(&rules(&[
        ("ask", "worker", r#"http.request.host == "finance.example""#),
        ("template", "managed", r#"http.request.host == "finance.example""#),
        ("block", "block", r#"http.request.uri.path == "/secret""#),
    ]));
    let (facts, mut scratch) = (request("https://finance.example/secret", &json!({})), Scratch::new());
    let mut seen = Vec::new();
    let mut cursor = Cursor::start();
    for _ in 0..3 {
        let found = verdict(report.http.decide(&facts, now(), cursor, &mut scratch));
        seen.push(described(&found));
        cursor = found.cursor;
    }
    assert_eq!(seen, ["worker by ask", "managed by template", "block by block"]);
    let trace = report.http.trace(&scratch, &facts);
    assert_eq!(trace.considered, 3);
    assert_eq!(trace.decided_by.unwrap().name, "block");
    let last = verdict(report.http.decide(&facts, now(), cursor, &mut scratch));
    assert_eq!(described(&last), "allow");
    assert_eq!(report.http.trace(&scratch, &facts).decided_by, None);
}

#[test]
fn a_rule_that_mixes_request_and_response_is_decided_when_the_response_arrives() {
    let report = compiled(&rules(&[
        ("no pdf", "block", r#"http.request.host == "a.example" and http.download.mime == "application/pdf""#),
        ("headers", "allow", ""),
    ]));
    let waiting = request("https://a.example/x", &json!({}));
    let mut scratch = Scratch::new();
    let open = needs(report.http.decide(&waiting, now(), Cursor::start(), &mut scratch));
    assert_eq!(open.phase, Phase::ResponseHead);
    assert_eq!(open.rule.name, "no pdf");
    // The plan under which the request is sent meanwhile.
    assert_eq!(described(&report.http.finish(&waiting, now(), open.cursor, &mut scratch)), "allow by headers");
    for (mime, expected) in [("application/pdf", "block by no pdf"), ("text/html", "allow by headers")] {
        let arrived = request("https://a.example/x", &json!({"http.download.mime": mime}));
        let found = verdict(report.http.decide(&arrived, now(), open.cursor, &mut scratch));
        assert_eq!(described(&found), expected);
    }
    // Another host is decided at once: the rule is false whatever the response is.
    assert_eq!(
        described(&verdict(decide(&report.http, &request("https://b.example/", &json!({}))))),
        "allow by headers"
    );
}

#[test]
fn the_earliest_phase_that_can_help_is_asked_for() {
    for (traffic, phase) in [
        (r#"any(http.upload.file.types[*] in {"exe"})"#, Phase::RequestBodyHead),
        ("http.upload.file.size >= 10", Phase::RequestBodyComplete),
        (r#"http.response.status_code == "200" and http.upload.file.size >= 10"#, Phase::RequestBodyComplete),
        ("http.response.status_code >= 500", Phase::ResponseHead),
        (r#"any(http.download.file.types[*] in {"exe"})"#, Phase::ResponseBodyHead),
        ("http.download.file.size > 1", Phase::ResponseBodyComplete),
        (r#"any(http.conn.dst_ip[*] in {10.0.0.0/8})"#, Phase::Connection),
    ] {
        let report = compiled(&rules(&[("rule", "block", traffic)]));
        let open = needs(decide(&report.http, &request("https://a.example/", &json!({"http.request.has_body": true}))));
        assert_eq!(open.phase, phase, "{traffic}");
    }
}

#[test]
fn the_body_phase_asks_the_rule_once_for_each_body() {
    let size = r#"http.body_phase == "upload" and http.request.host == "a.example""#;
    let report = compiled(&rules(&[("upload", "block", size)]));
    for (body, expected) in [(true, "block by upload"), (false, "allow")] {
        let facts =
            request("https://a.example/", &json!({"http.request.has_body": body, "http.response.has_body": true}));
        assert_eq!(described(&verdict(decide(&report.http, &facts))), expected, "{body}");
    }
    let report = compiled(&rules(&[("download", "block", r#"http.body_phase == "download""#)]));
    let open = needs(decide(&report.http, &request("https://a.example/", &json!({"http.request.has_body": true}))));
    assert_eq!(open.phase, Phase::ResponseHead);
    for (body, expected) in [(true, "block by download"), (false, "allow")] {
        let facts = request("https://a.example/", &json!({"http.response.has_body": body}));
        assert_eq!(described(&verdict(decide(&report.http, &facts))), expected, "{body}");
    }
}

#[test]
fn a_field_without_a_source_never_matches_and_is_not_waited_for() {
    let report = compiled(&rules(&[
        ("geo", "block", r#"http.src_ip.geo.country == "RU""#),
        ("geo and status", "block", r#"http.dst_ip.geo.country == "RU" and http.response.status_code == "200""#),
        ("not geo", "block", r#"not(http.src_ip.geo.country == "RU")"#),
        ("host or geo", "block", r#"http.request.host == "a.example" or http.src_ip.geo.country == "RU""#),
    ]));
    assert_eq!(described(&verdict(decide(&report.http, &request("https://b.example/", &json!({}))))), "allow");
    assert_eq!(
        described(&verdict(decide(&report.http, &request("https://a.example/", &json!({}))))),
        "block by host or geo"
    );
    let warnings: Vec<usize> = report.http.rules().map(|rule| rule.warnings.len()).collect();
    assert_eq!(warnings, [2, 2, 2, 1]);
    let first = report.http.rules().next().unwrap();
    assert_eq!(
        first.warnings,
        [
            "`http.src_ip.geo.country` is not known until this installation has a geolocation database",
            "this rule cannot match yet: its outcome hangs on fields that nothing supplies",
        ]
    );
}

#[test]
fn schedules_expiry_and_disabling_take_a_rule_out_of_force() {
    let rule = |extra: serde_json::Value| {
        let mut document = crate::support::document("rule", "block", "");
        for (key, value) in extra.as_object().unwrap() {
            document[key] = value.clone();
        }
        stored(1, &document)
    };
    // The time of the tests is Monday 10:00 UTC.
    for (extra, expected) in [
        (json!({}), "block by rule"),
        (json!({"enabled": false}), "allow"),
        (json!({"schedule": null, "expiration": null}), "block by rule"),
        (json!({"schedule": {"mon": "09:00-11:00"}}), "block by rule"),
        (json!({"schedule": {"mon": "09:00-11:00", "time_zone": "Asia/Tokyo"}}), "allow"),
        (json!({"schedule": {"tue": "00:00-24:00"}}), "allow"),
        (json!({"expiration": {"expires_at": "2026-11-23T10:00:01Z"}}), "block by rule"),
        (json!({"expiration": {"expires_at": "2026-11-23T10:00:00Z"}}), "allow"),
        (json!({"expiration": {"expires_at": "2026-11-23T09:00:00Z"}, "schedule": {"mon": "09:00-11:00"}}), "allow"),
    ] {
        let report = compiled(&[rule(extra.clone())]);
        assert_eq!(
            described(&verdict(decide(&report.http, &request("https://a.example/", &json!({}))))),
            expected,
            "{extra}"
        );
    }
}

#[test]
fn a_rule_that_cannot_be_evaluated_blocks() {
    struct Broken;
    impl expr::Facts for Broken {
        fn fact(&self, _: expr::FieldId) -> expr::Fact<'_> {
            expr::Fact::Known(expr::ValueRef::Int(1))
        }
    }
    for action in ["allow", "noscan", "worker"] {
        let report = compiled(&rules(&[("rule", action, r#"http.request.host == "a.example""#)]));
        let found = verdict(report.http.decide(&Broken, now(), Cursor::start(), &mut Scratch::new()));
        assert!(matches!(found.action, ActionPlan::Unevaluable(_)), "{action}");
        assert_eq!(found.action.word(), "block");
    }
}

#[test]
fn an_enabled_rule_that_does_not_compile_is_reported_and_left_out() {
    let mut all = rules(&[
        ("good", "block", ""),
        ("list", "allow", "http.request.host in $01302951-49f9-47c9-a400-0297e60b6a10"),
    ]);
    let report = policy::compile(&all, &(), policy::CompileOptions::default());
    assert_eq!(report.http.len(), 1);
    assert_eq!(report.errors.len(), 1);
    assert_eq!(report.errors[0].name, "list");
    assert_eq!(report.errors[0].errors[0].pointer, "/traffic");
    all[1].spec.enabled = Some(false);
    assert!(policy::compile(&all, &(), policy::CompileOptions::default()).errors.is_empty());
}

#[test]
fn a_trace_tells_what_was_considered_used_and_waited_for() {
    let report = compiled(&rules(&[
        ("other host", "block", r#"http.request.host == "b.example""#),
        ("regex", "block", r#"http.request.uri.path matches "^/never""#),
        ("geo", "block", r#"http.src_ip.geo.country == "RU" or http.request.uri.path == "/x""#),
        ("types", "block", r#"any(http.upload.file.types[*] in {"exe"})"#),
    ]));
    let mut scratch = Scratch::new();
    let body = json!({"http.request.has_body": true});
    let open = needs(report.http.decide(&request("https://a.example/p", &body), now(), Cursor::start(), &mut scratch));
    let arrived = request("https://a.example/p", &json!({"http.upload.file.types": ["exe", "executable"]}));
    let found = verdict(report.http.decide(&arrived, now(), open.cursor, &mut scratch));
    assert_eq!(described(&found), "block by types");
    let trace = serde_json::to_value(report.http.trace(&scratch, &arrived)).unwrap();
    assert_eq!(
        trace,
        json!({
            "hook": "http",
            "decided_by": {"id": "00000000-0000-0000-0000-000000000004", "name": "types", "action": "block", "outcome": "match"},
            "considered": 3,
            "rules": [
                {"id": "00000000-0000-0000-0000-000000000002", "name": "regex", "action": "block", "outcome": "no_match"},
                {"id": "00000000-0000-0000-0000-000000000003", "name": "geo", "action": "block", "outcome": "unknowable"},
                {"id": "00000000-0000-0000-0000-000000000004", "name": "types", "action": "block", "outcome": "match"},
            ],
            "facts": {"http.upload.file.types": ["exe", "executable"]},
            "waited_for": ["http.upload.file.types"],
            "never_known": ["http.src_ip.geo.country"],
        })
    );
}

#[test]
fn a_trace_is_bounded_and_still_counts() {
    let list: Vec<(String, &str, &str)> =
        (0..200).map(|n| (format!("r{n}"), "block", r#"http.request.uri.path matches "^/never""#)).collect();
    let list: Vec<(&str, &str, &str)> =
        list.iter().map(|(name, action, traffic)| (name.as_str(), *action, *traffic)).collect();
    let report = compiled(&rules(&list));
    let mut scratch = Scratch::new();
    let facts = request("https://a.example/", &json!({}));
    let found = verdict(report.http.decide(&facts, now(), Cursor::start(), &mut scratch));
    assert_eq!(described(&found), "allow");
    let trace = report.http.trace(&scratch, &facts);
    assert_eq!((trace.considered, trace.rules.len()), (200, policy::trace::MAX_RULES));
}
