//! Replaying recorded traffic: what is said is true whatever was not recorded, and what is recorded is used.

use std::collections::HashSet;
use std::sync::Arc;

use policy::action::ActionPlan;
use policy::facts::HostFacts;
use policy::hook::{Hook, Phase, http};
use policy::replay::{ConnectionRecord, Finding, Inspection, Meanings, Replay, ReplayOptions, Row, WebRecord};
use policy::{CompileOptions, CompileReport, Cursor, FactsDocument, Scratch, Step, StoredRule, Verdict, compile};
use proptest::prelude::*;
use serde_json::{Value, json};
use types::RuleId;

use crate::support::{NOW, document, id, now, stored};

fn options() -> ReplayOptions {
    let inspection = Inspection { decrypts: true, exempt: vec!["*.pinned.test".to_owned(), "exact.test".to_owned()] };
    ReplayOptions { compile: CompileOptions::default(), inspection, meanings: Some(Arc::new(Ai)), now: now() }
}

/// `a.example` is an application without approval, and nothing else is any.
struct Ai;

impl Meanings for Ai {
    fn meaning(&self, host: &str) -> HostFacts<'_> {
        let found = host == "a.example";
        HostFacts {
            app_ids: if found { &[1199] } else { &[] },
            app_type_ids: if found { &[25] } else { &[] },
            app_statuses: if found { &["unapproved"] } else { &[] },
            content_categories: if found { &[184] } else { &[] },
            ..HostFacts::default()
        }
    }
}

fn replay(current: &[StoredRule], draft: &[StoredRule]) -> Replay {
    Replay::new(current, draft, &(), options())
}

fn row(value: Value) -> Row {
    let Value::Object(row) = value else { panic!("a row is an object") };
    row
}

/// A request by Ann that was allowed and answered.
fn ann(more: Value) -> Row {
    let mut record = row(json!({
        "RequestID": "0193f000-0000-7000-8000-000000000001", "Datetime": NOW, "AccountID": "a", "Action": "allow",
        "HTTPHost": "a.example", "URL": "https://a.example/p?q=1", "HTTPMethod": "GET", "HTTPVersion": "HTTP/2",
        "SourceIP": "10.0.0.9", "SourcePort": 50_000, "DestinationIP": "192.0.2.7", "DestinationPort": 443,
        "Email": "ann@corp.example", "UserID": "ann", "GroupNames": ["staff"], "UserAgent": "curl/8", "JA4": "t13d",
        "HTTPStatusCode": 200, "ResponseBytes": 10, "ContentType": "text/html",
    }));
    for (name, value) in row(more) {
        if value.is_null() {
            record.remove(&name)
        } else {
            record.insert(name, value)
        };
    }
    record
}

fn shown(finding: Finding) -> String {
    match finding {
        Finding::Unchanged => "unchanged".to_owned(),
        Finding::Changed(from, to) => {
            let word = |ruling: Option<policy::replay::Ruling>| ruling.map_or("?".to_owned(), |ruling| ruling.action);
            format!("{} -> {}", word(from), word(to))
        }
        Finding::Undecided(lost) => {
            let names = lost.iter().map(|lost| match lost {
                policy::replay::Lost::Field(hook, field) => hook.scheme().field(*field).name.to_owned(),
                policy::replay::Lost::SignInAge | policy::replay::Lost::Worker | policy::replay::Lost::Resolution => {
                    format!("{lost:?}")
                }
            });
            format!("hangs on {}", names.collect::<Vec<_>>().join(", "))
        }
    }
}

fn web(current: &[StoredRule], draft: &[StoredRule], row: &Row) -> String {
    let record = WebRecord::read(row, Some(&Ai)).unwrap_or_else(|why| panic!("set aside: {why:?}"));
    shown(replay(current, draft).finding(&record))
}

/// Holds one draft rule against Ann's request with something else in its record.
fn holds(action: &str, traffic: &str, more: Value, finding: &str) {
    let draft = [stored(1, &document("draft", action, traffic))];
    assert_eq!(web(&[], &draft, &ann(more.clone())), finding, "{action} {traffic} {more}");
}

#[test]
fn one_draft_rule_changes_what_it_matches_and_says_what_it_hangs_on() {
    for (action, traffic, more, finding) in [
        ("block", "http.request.host == \"a.example\"", json!({}), "allow -> block"),
        ("block", "http.request.host == \"b.example\"", json!({}), "unchanged"),
        ("redirect", "http.request.uri.path == \"/p\"", json!({}), "allow -> redirect"),
        ("block", "http.request.uri.query == \"q=1\" and http.request.method == \"GET\"", json!({}), "allow -> block"),
        ("block", "identity.email == \"ann@corp.example\"", json!({}), "allow -> block"),
        ("block", "any(identity.groups.name[*] == \"staff\")", json!({}), "allow -> block"),
        ("block", "any(identity.groups.name[*] == \"staff\")", json!({"GroupNames": null}), "unchanged"),
        ("block", "any(identity.groups.id[*] == \"x\")", json!({}), "hangs on identity.groups.id"),
        ("block", "any(identity.groups.id[*] == \"x\")", json!({"GroupNames": null}), "unchanged"),
        ("block", "identity.name == \"Ann\"", json!({}), "hangs on identity.name"),
        ("block", "identity.name == \"Ann\"", json!({"Email": null, "UserID": null}), "unchanged"),
        ("block", "http.conn.src_ip in {10.0.0.0/8}", json!({}), "allow -> block"),
        ("block", "any(http.conn.dst_ip[*] in {192.0.2.0/24})", json!({}), "hangs on http.conn.dst_ip"),
        ("block", "any(http.conn.dst_ip[*] in {192.0.2.0/24})", json!({"HTTPHost": "192.0.2.7"}), "allow -> block"),
    ] {
        holds(action, traffic, more, finding);
    }
}

#[test]
fn of_messages_only_what_is_recorded_is_known() {
    for (action, traffic, more, finding) in [
        ("block", "any(http.request.headers[\"user-agent\"][*] contains \"curl\")", json!({}), "allow -> block"),
        ("block", "any(http.request.headers[\"referer\"][*] contains \"x\")", json!({}), "unchanged"),
        (
            "block",
            "any(http.request.headers[\"cookie\"][*] contains \"x\")",
            json!({}),
            "hangs on http.request.headers",
        ),
        ("block", "any(http.upload.file.types[*] == \"exe\")", json!({}), "hangs on http.upload.file.types"),
        ("block", "any(http.upload.file.types[*] == \"exe\")", json!({"RequestBody": "none"}), "unchanged"),
        ("block", "http.upload.mime == \"application/pdf\"", json!({}), "hangs on http.upload.mime"),
        (
            "block",
            "http.upload.mime == \"application/pdf\"",
            json!({"RequestBody": "some", "RequestContentType": "application/pdf"}),
            "allow -> block",
        ),
        ("block", "http.upload.mime == \"application/pdf\"", json!({"RequestBody": "some"}), "unchanged"),
        ("block", "http.response.status_code == \"200\"", json!({}), "allow -> block"),
        ("block", "http.response.status_code == \"404\"", json!({}), "unchanged"),
        ("block", "http.response.status_code == \"200\"", json!({"Error": "x"}), "hangs on http.response.status_code"),
        ("block", "http.download.mime == \"text/html\"", json!({}), "allow -> block"),
        ("block", "pkg.name == \"left-pad\"", json!({}), "unchanged"),
        (
            "block",
            "pkg.name == \"left-pad\"",
            json!({"HTTPHost": "registry.npmjs.org", "URL": "https://registry.npmjs.org/left-pad/-/left-pad-1.3.0.tgz"}),
            "allow -> block",
        ),
        // What no gateway knows yet matches nowhere, so there is nothing to hang on.
        ("block", "http.src_ip.geo.country == \"RU\"", json!({}), "unchanged"),
        ("block", "any(app.statuses[*] == \"unapproved\")", json!({}), "allow -> block"),
        ("block", "any(app.statuses[*] == \"unapproved\")", json!({"HTTPHost": "b.example"}), "unchanged"),
        // What the host means today counts, not what was recorded.
        ("block", "any(app.ids[*] in {1199})", json!({"ApplicationIDs": [7]}), "allow -> block"),
        ("off", "http.request.host == \"a.example\"", json!({}), "allow -> off"),
        ("off", "http.request.host == \"a.example\"", json!({"JA4": null, "URL": "http://a.example/"}), "unchanged"),
        ("isolate", "http.request.host == \"a.example\"", json!({}), "hangs on http.request.headers"),
        ("worker", "http.request.host == \"a.example\"", json!({}), "allow -> worker"),
        // Personal data was kept out: only what is personal is lost.
        (
            "block",
            "identity.email == \"ann@corp.example\"",
            json!({"SourceIP": null, "Email": null, "UserID": null}),
            "hangs on identity.email",
        ),
        (
            "block",
            "http.request.host == \"a.example\"",
            json!({"SourceIP": null, "URL": null, "Email": null, "UserID": null}),
            "allow -> block",
        ),
        (
            "block",
            "http.request.uri.path == \"/p\"",
            json!({"Warnings": ["record shortened"]}),
            "hangs on http.request.uri.path",
        ),
    ] {
        holds(action, traffic, more, finding);
    }
}

#[test]
fn of_mcp_only_what_a_rule_would_have_been_told_is_known() {
    for (action, traffic, more, finding) in [
        ("block", "experimental.is_mcp", json!({}), "hangs on experimental.is_mcp"),
        ("block", "experimental.is_mcp", json!({"RequestBody": "none"}), "unchanged"),
        (
            "block",
            "experimental.is_mcp",
            json!({"RequestBody": "some", "RequestContentType": "text/plain"}),
            "unchanged",
        ),
        (
            "block",
            "experimental.is_mcp",
            json!({"RequestBody": "some", "RequestContentType": "application/json"}),
            "hangs on experimental.is_mcp",
        ),
        (
            "block",
            "experimental.is_mcp and not mcp.server.is_portal and any(mcp.tools[*] == \"delete\")",
            json!({
                "IsMCP": true, "MCPEvidence": ["request_body"], "MCPMethod": "tools/call", "MCPTool": "delete",
                "RequestBody": "some", "RequestBytes": 90,
            }),
            "allow -> block",
        ),
        // Seen in the answer alone, which came after the rules.
        (
            "block",
            "experimental.is_mcp",
            json!({"IsMCP": true, "MCPEvidence": ["endpoint_event"], "RequestBody": "none"}),
            "hangs on experimental.is_mcp",
        ),
        (
            "block",
            "any(mcp.tools[*] == \"read\")",
            json!({
                "IsMCP": true, "MCPEvidence": ["version_header"], "MCPMethod": "tools/call, tools/list",
                "RequestBody": "some", "RequestBytes": 90,
            }),
            "hangs on mcp.tools",
        ),
    ] {
        holds(action, traffic, more, finding);
    }
}

#[test]
fn a_lost_fact_that_both_sets_hang_on_is_no_reason_for_doubt() {
    let shared = stored(1, &document("zip", "block", "any(http.upload.file.types[*] == \"zip\")"));
    let other = stored(2, &document("other", "block", "http.request.host == \"b.example\""));
    let same = stored(3, &document("same", "block", "http.request.host == \"a.example\""));
    let row = ann(json!({}));
    assert_eq!(web(std::slice::from_ref(&shared), &[shared.clone(), other], &row), "unchanged");
    // Blocked in any case if the file is one; otherwise only now.
    assert_eq!(
        web(std::slice::from_ref(&shared), &[shared.clone(), same.clone()], &row),
        "hangs on http.upload.file.types"
    );
    // In front of it the new rule decides, and what it changes is not certain.
    let first = StoredRule { precedence: 0, ..same };
    assert_eq!(web(std::slice::from_ref(&shared), &[first, shared.clone()], &row), "hangs on http.upload.file.types");
}

#[test]
fn many_rules_in_doubt_cast_none_on_a_request_that_the_draft_does_not_match() {
    let doubtful: Vec<StoredRule> = (1..400)
        .map(|number| stored(number, &document("zip", "block", "any(http.upload.file.types[*] == \"zip\")")))
        .collect();
    let with = |traffic: &str| [&doubtful[..], &[stored(1_000, &document("draft", "block", traffic))]].concat();
    let row = ann(json!({}));
    assert_eq!(web(&doubtful, &with("http.request.host == \"b.example\""), &row), "unchanged");
    assert_eq!(web(&doubtful, &with("http.request.host == \"a.example\""), &row), "hangs on http.upload.file.types");
}

#[test]
fn rules_in_another_order_decide_otherwise() {
    let first = stored(1, &document("first", "allow", "http.request.host == \"a.example\""));
    let second = stored(2, &document("second", "block", "http.request.host == \"a.example\""));
    let moved = StoredRule { precedence: 0, ..second.clone() };
    assert_eq!(web(&[first.clone(), second], &[first, moved], &ann(json!({}))), "allow -> block");
}

#[test]
fn what_a_worker_said_at_the_time_counts_and_what_it_would_say_is_not_guessed() {
    let worker = stored(1, &document("ask", "worker", "http.request.host == \"a.example\""));
    let after = stored(2, &document("after", "block", "http.request.host == \"a.example\""));
    let said = |outcome: &str| ann(json!({"WorkerScript": "training", "WorkerOutcome": outcome}));
    for (row, finding) in [
        (said("none"), "allow -> block"),
        (said("response"), "unchanged"),
        // What it changed the request into is not recorded.
        (said("request"), "hangs on Worker"),
        // It failed: its rule stopped the request, or the script had asked to let it go on.
        (
            ann(json!({
                "WorkerScript": "training", "WorkerOutcome": "exception", "Action": "block",
                "PolicyID": worker.id.to_string(),
            })),
            "unchanged",
        ),
        (said("exception"), "allow -> block"),
        (ann(json!({})), "hangs on Worker"),
    ] {
        assert_eq!(web(std::slice::from_ref(&worker), &[worker.clone(), after.clone()], &row), finding, "{row:?}");
    }
}

#[test]
fn connections_are_compared_by_what_is_known_before_decryption() {
    let connection = |more: Value| {
        let mut record = row(json!({
            "SessionID": "0193f000-0000-7000-8000-000000000002", "Datetime": NOW, "AccountID": "a", "Action": "off",
            "DestinationHost": "app.test", "DestinationPort": 443, "SNI": "app.test", "DetectedProtocol": "tls",
            "SourceIP": "10.0.0.9", "SourcePort": 50_000, "Email": "ann@corp.example", "UserID": "ann",
        }));
        record.extend(row(more));
        record
    };
    let off = stored(1, &document("off", "off", "http.request.host == \"app.test\""));
    let l4 =
        |traffic: &str| stored(9, &json!({"name": "l4", "action": "block", "filters": ["l4"], "traffic": traffic}));
    let none: &[StoredRule] = &[];
    for (current, draft, more, finding) in [
        (std::slice::from_ref(&off), none, json!({}), "off -> inspect"),
        (none, &[l4("net.sni.host == \"app.test\"")], json!({}), "inspect -> block"),
        (none, &[l4("net.dst.port == 443 and net.protocol.detection == \"tls\"")], json!({}), "inspect -> block"),
        (none, &[l4("any(app.ids[*] in {1199})")], json!({"SNI": "a.example"}), "unchanged"),
        (
            none,
            &[l4("any(app.ids[*] in {1199})")],
            json!({"DestinationHost": "a.example", "SNI": "a.example"}),
            "inspect -> block",
        ),
        (none, &[l4("any(identity.groups.name[*] == \"x\")")], json!({}), "hangs on identity.groups.name"),
        (none, &[l4("any(identity.groups.name[*] == \"x\")")], json!({"GroupNames": ["x"]}), "inspect -> block"),
        // On the list: not read, but a web rule about the host holds all the same.
        (
            none,
            &[stored(2, &document("web", "block", "http.request.host == \"exact.test\""))],
            json!({"DestinationHost": "exact.test", "SNI": "exact.test"}),
            "off -> block",
        ),
        // One that needs more than the host does not match what is not read.
        (
            none,
            &[stored(2, &document("web", "block", "http.request.method == \"GET\""))],
            json!({"DestinationHost": "a.pinned.test", "SNI": "a.pinned.test"}),
            "unchanged",
        ),
        (
            none,
            &[l4("net.dst.port == 22")],
            json!({"DetectedProtocol": "", "SNI": "", "DestinationPort": 22, "Action": "allow"}),
            "allow -> block",
        ),
    ] {
        let record = connection(more.clone());
        let read = ConnectionRecord::read(&record, Some(&Ai)).unwrap();
        assert_eq!(shown(replay(current, draft).finding_of_connection(&read)), finding, "{more}");
    }
}

#[test]
fn a_report_counts_by_change_person_and_host_and_keeps_then_and_now_apart() {
    let now_blocks = stored(1, &document("new", "block", "http.request.host == \"c.example\""));
    let draft = stored(2, &document("draft", "block", "any(http.request.domains[*] == \"example\")"));
    let mut replay = replay(std::slice::from_ref(&now_blocks), &[now_blocks.clone(), draft]);
    let bob = json!({"Email": "bob@corp.example", "UserID": "bob"});
    replay.web(&ann(json!({})));
    replay.web(&ann(json!({"HTTPHost": "b.example"})));
    replay.web(&ann(bob));
    replay.web(&ann(json!({"HTTPHost": "other.test"})));
    // Allowed at the time, by rules that were others.
    replay.web(&ann(json!({"HTTPHost": "c.example"})));
    replay.web(&ann(json!({"Action": "block", "Error": "wrong token", "Email": null, "UserID": null})));
    replay.web(&row(json!({"Action": "allow"})));
    let report = replay.report();
    let records = report.records;
    assert_eq!((records.scanned, records.changed, records.unchanged, records.undecided), (7, 3, 2, 0));
    assert_eq!(records.set_aside, 2);
    assert_eq!(report.set_aside, [("refused_by_platform", 1), ("unreadable", 1)].into());
    let [change] = report.transitions.as_slice() else { panic!("{:?}", report.transitions) };
    assert_eq!((change.records, change.people, change.people_exact), (3, 2, true));
    assert_eq!(change.to.as_ref().unwrap().rule_name.as_deref(), Some("draft"));
    assert_eq!(change.examples[0].target, "https://a.example/p?q=1");
    let names = |ranking: &policy::replay::Ranking| -> Vec<(String, u64)> {
        ranking.top.iter().map(|one| (one.name.clone(), one.records)).collect()
    };
    let ranked = [("ann@corp.example".to_owned(), 2), ("bob@corp.example".to_owned(), 1)];
    assert_eq!(names(&report.people), ranked);
    assert_eq!(names(&report.hosts), [("a.example".to_owned(), 2), ("b.example".to_owned(), 1)]);
    assert_eq!((report.in_force.reproduced, report.in_force.differs), (4, 1));
    assert_eq!(report.in_force.examples[0].current.as_ref().unwrap().action, "block");
}

#[test]
fn an_expired_rule_is_in_neither_set_and_a_schedule_is_held_against_the_record() {
    let mut expired = document("expired", "block", "");
    expired["expiration"] = json!({"expires_at": "2026-11-20T00:00:00Z"});
    assert_eq!(web(&[], &[stored(1, &expired)], &ann(json!({}))), "unchanged");
    let mut scheduled = document("mondays", "block", "");
    scheduled["schedule"] = json!({"mon": "08:00-12:00", "time_zone": "UTC"});
    let draft = [stored(1, &scheduled)];
    // The 23rd of November 2026 is a Monday.
    assert_eq!(web(&[], &draft, &ann(json!({}))), "allow -> block");
    assert_eq!(web(&[], &draft, &ann(json!({"Datetime": "2026-11-24T10:00:00Z"}))), "unchanged");
}

// A gateway in small: what really happens, every fact known.

/// One request with everything about it.
#[derive(Debug, Clone)]
struct Truth {
    facts: Value,
    secure: bool,
    /// What the Worker says, if it is asked.
    opinion: &'static str,
}

/// What happened, and whether the Worker was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Happened {
    action: &'static str,
    rule: Option<RuleId>,
    asked: bool,
}

struct Gateway<'a> {
    report: &'a CompileReport,
    truth: &'a Truth,
    /// Of a Worker that was not asked at the time only a rule that both sets have tells what it says.
    follows: &'a dyn Fn(RuleId) -> bool,
}

impl Gateway<'_> {
    fn decide(&self) -> Happened {
        let all = FactsDocument::parse(Hook::Http, &self.truth.facts).unwrap();
        let without = |phases: &[Phase]| {
            let mut partial = all.clone();
            for phase in phases {
                Hook::Http.fields().arriving(*phase).iter().for_each(|field| partial.withhold(field));
            }
            partial
        };
        let response = [Phase::ResponseHead, Phase::ResponseBodyHead, Phase::ResponseBodyComplete];
        let mut scratch = Scratch::new();
        let mut asked = false;
        if self.truth.secure {
            let connection = self.report.http.finish_connection(&all, now(), &mut scratch);
            if matches!(connection.action, ActionPlan::Off) {
                return Happened { action: "off", rule: connection.rule.map(|rule| rule.id), asked };
            }
        }
        let before = without(&response);
        let mut cursor = Cursor::start();
        let needs = loop {
            match self.report.http.decide(&before, now(), cursor, &mut scratch) {
                Step::Needs(needs) => break needs,
                Step::Verdict(verdict) => {
                    cursor = verdict.cursor;
                    if let Some(end) = self.carry_out(&verdict, &mut asked) {
                        return end;
                    }
                }
            }
        };
        assert!(needs.phase.is_response(), "everything about the request is known");
        let may_allow = matches!(needs.rule.action, ActionPlan::Allow(_) | ActionPlan::Quarantine(_));
        let mut ahead = needs.cursor;
        if !may_allow {
            loop {
                let verdict = self.report.http.finish(&before, now(), ahead, &mut scratch);
                ahead = verdict.cursor;
                match self.carry_out(&verdict, &mut asked) {
                    Some(end) if matches!(end.action, "allow" | "quarantine") => break,
                    Some(end) => return end,
                    None => {}
                }
            }
        }
        let mut cursor = needs.cursor;
        loop {
            let verdict = self.report.http.finish(&all, now(), cursor, &mut scratch);
            cursor = verdict.cursor;
            if matches!(verdict.action, ActionPlan::Worker(_)) {
                if may_allow {
                    return Happened { action: "block", rule: verdict.rule.map(|rule| rule.id), asked };
                }
                continue;
            }
            if let Some(end) = self.carry_out(&verdict, &mut asked) {
                return end;
            }
        }
    }

    fn carry_out(&self, verdict: &Verdict, asked: &mut bool) -> Option<Happened> {
        let rule = verdict.rule.as_ref().map(|rule| rule.id);
        let mut action = verdict.action.word();
        if action == "worker" {
            let follows = rule.is_none_or(self.follows);
            *asked |= follows;
            if follows && self.truth.opinion == "none" {
                return None;
            }
        }
        if action == "quarantine" && verdict.marks.no_scan {
            action = "allow";
        }
        Some(Happened { action, rule, asked: *asked })
    }
}

/// The record that the gateway would have written.
fn recorded(truth: &Truth, happened: &Happened) -> Row {
    let text = |name: &str| truth.facts[name].clone();
    let allowed = matches!(happened.action, "allow" | "quarantine");
    let mut row = row(json!({
        "RequestID": "0193f000-0000-7000-8000-000000000001", "Datetime": NOW, "AccountID": "a",
        "Action": if happened.action == "quarantine" { "allow" } else { happened.action },
        "HTTPHost": text("http.request.host"), "URL": text("http.request.uri"), "HTTPMethod": text("http.request.method"),
        "HTTPVersion": text("http.request.version"), "SourceIP": text("http.conn.src_ip"), "SourcePort": 50_000,
        "RequestBody": if truth.facts["http.request.has_body"] == true { "some" } else { "none" },
        "DestinationPort": text("http.request.port"), "UserAgent": text("http.request.headers")["user-agent"][0],
    }));
    if let Some(rule) = happened.rule {
        row.insert("PolicyID".to_owned(), json!(rule.to_string()));
    }
    if !truth.facts["identity.email"].is_null() {
        row.insert("Email".to_owned(), text("identity.email"));
        row.insert("UserID".to_owned(), text("identity.id"));
        row.insert("GroupNames".to_owned(), text("identity.groups.name"));
    }
    if truth.secure {
        row.insert("JA4".to_owned(), json!("t13d1516h2_8daaf6152771_e5627efa2ab1"));
    }
    if happened.asked {
        row.insert("WorkerScript".to_owned(), json!("training"));
        row.insert("WorkerOutcome".to_owned(), json!(truth.opinion));
    }
    if allowed {
        row.insert("HTTPStatusCode".to_owned(), text("http.response.status_code"));
        row.insert("ResponseBytes".to_owned(), json!(7));
        row.insert("ContentType".to_owned(), text("http.download.mime"));
        if truth.facts["http.request.has_body"] == true {
            row.insert("RequestBytes".to_owned(), json!(9));
        }
    }
    row
}

const HOSTS: [&str; 3] = ["a.example", "www.a.example", "b.test"];

fn atom() -> impl Strategy<Value = String> {
    let pick = |list: &'static [&'static str]| prop::sample::select(list);
    prop_oneof![
        pick(&HOSTS).prop_map(|host| format!("http.request.host == \"{host}\"")),
        pick(&HOSTS).prop_map(|host| format!("http.request.host in {{\"{host}\" \"z.test\"}}")),
        pick(&["example", "a.example", "test"]).prop_map(|one| format!("any(http.request.domains[*] == \"{one}\")")),
        pick(&["ann@corp.example", "bob@corp.example"]).prop_map(|email| format!("identity.email == \"{email}\"")),
        pick(&["finance", "staff"]).prop_map(|group| format!("any(identity.groups.name[*] in {{\"{group}\"}})")),
        pick(&["finance", "staff"]).prop_map(|group| format!("any(identity.groups.id[*] == \"id-{group}\")")),
        Just("identity.name == \"Ann\"".to_owned()),
        pick(&["GET", "POST"]).prop_map(|method| format!("http.request.method == \"{method}\"")),
        Just("http.request.uri.path == \"/p\"".to_owned()),
        Just("http.request.has_body".to_owned()),
        Just("any(http.upload.file.types[*] in {\"exe\"})".to_owned()),
        Just("any(http.request.headers[\"user-agent\"][*] contains \"curl\")".to_owned()),
        Just("any(http.request.headers[\"accept\"][*] contains \"html\")".to_owned()),
        pick(&["200", "404"]).prop_map(|status| format!("http.response.status_code == \"{status}\"")),
        Just("http.download.mime == \"text/html\"".to_owned()),
        Just("any(http.download.file.types[*] in {\"pdf\"})".to_owned()),
        Just("http.body_phase == \"download\"".to_owned()),
        Just("http.src_ip.geo.country == \"RU\"".to_owned()),
    ]
}

fn condition() -> impl Strategy<Value = String> {
    atom().prop_recursive(2, 5, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} and {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} or {b})")),
            inner.prop_map(|a| format!("not({a})")),
        ]
    })
}

fn one_rule() -> impl Strategy<Value = (&'static str, String)> {
    let actions = vec![
        "allow",
        "block",
        "block",
        "allow",
        "redirect",
        "off",
        "isolate",
        "noisolate",
        "noscan",
        "quarantine",
        "worker",
    ];
    (prop::sample::select(actions), prop_oneof![atom(), condition()])
}

/// Rules in force, and what the draft does with them: leaves out, replaces, puts in front.
fn two_sets() -> impl Strategy<Value = (Vec<StoredRule>, Vec<StoredRule>)> {
    let current = prop::collection::vec(one_rule(), 0..7);
    (current, prop::collection::vec((0usize..4, prop::option::of(one_rule())), 1..4)).prop_map(|(current, edits)| {
        let make = |number: u128, (action, traffic): &(&'static str, String)| {
            let rule = stored(number, &document(&format!("r{number}"), action, traffic));
            // Not every action goes with every field.
            policy::check(&rule.spec, &()).is_ok().then_some(rule)
        };
        let current: Vec<StoredRule> =
            (1u128..).zip(&current).filter_map(|(number, rule)| make(number, rule)).collect();
        let mut draft = current.clone();
        for (number, (place, edit)) in (100u128..).zip(&edits) {
            match edit {
                // Taken away, or moved to the front.
                None if *place < draft.len() && number % 2 == 0 => {
                    draft[*place].precedence = -i64::try_from(number).unwrap()
                }
                None if *place < draft.len() => drop(draft.remove(*place)),
                None => {}
                Some(rule) => {
                    let Some(mut made) = make(number, rule) else { continue };
                    made.precedence = i64::try_from(*place).unwrap() * 1_000 + 500;
                    // Every other one takes the place of a rule there is.
                    if number % 2 == 0 && *place < draft.len() {
                        made.id = draft[*place].id;
                        draft[*place] = made;
                    } else {
                        draft.push(made);
                    }
                }
            }
        }
        (current, draft)
    })
}

fn truth() -> impl Strategy<Value = Truth> {
    let pick = |list: &'static [&'static str]| prop::sample::select(list);
    let person = prop::option::of(pick(&["ann@corp.example", "bob@corp.example"]));
    let groups = prop::sample::subsequence(vec!["finance", "staff"], 0..3);
    (
        (pick(&HOSTS), pick(&["/p", "/"]), pick(&["GET", "POST"]), any::<bool>(), any::<bool>()),
        (person, groups, pick(&["curl/8", "Mozilla"]), pick(&["text/html,*/*", "*/*"])),
        (pick(&["200", "404"]), pick(&["text/html", "application/pdf"]), pick(&["response", "none"])),
    )
        .prop_map(|((host, path, method, body, secure), (email, groups, agent, accept), (status, mime, opinion))| {
            let scheme = if secure { "https" } else { "http" };
            let somebody = |value: Value| if email.is_some() { value } else { Value::Null };
            let facts = json!({
                "http.request.uri": format!("{scheme}://{host}{path}"), "http.request.host": host,
                "http.request.method": method, "http.request.version": "HTTP/1.1",
                "http.request.port": if secure { 443 } else { 80 }, "http.conn.dst_port": if secure { 443 } else { 80 },
                "http.request.headers": {"user-agent": [agent], "accept": [accept]}, "http.request.has_body": body,
                "experimental.is_mcp": false, "mcp.methods": null, "mcp.tools": null, "mcp.client.name": null,
                "mcp.protocol.version": null, "mcp.server.name": null, "mcp.server.is_portal": false,
                "mcp.server.behind_portal": false, "proxy.endpoint": null,
                "http.conn.src_ip": "10.0.0.9", "http.conn.src_port": 50_000, "http.conn.dst_ip": ["192.0.2.7"],
                "identity.email": email, "identity.id": somebody(json!("someone")), "identity.name": somebody(json!("Ann")),
                "identity.groups.name": somebody(json!(groups)),
                "identity.groups.id": somebody(groups.iter().map(|group| format!("id-{group}")).collect()),
                "identity.groups.email": somebody(json!([])),
                "http.upload.mime": null, "http.upload.file.types": if body { json!(["exe"]) } else { Value::Null },
                "http.upload.file.size": if body { json!(0) } else { Value::Null },
                "pkg.ecosystem": null, "pkg.namespace": null, "pkg.name": null, "pkg.version": null, "pkg.purl": null,
                "http.response.status_code": status, "http.response.headers": {}, "http.response.has_body": true,
                "http.download.mime": mime, "http.download.file.types": ["pdf"], "http.download.file.size": 0,
            });
            Truth { facts, secure, opinion }
        })
}

fn compiled(rules: &[StoredRule]) -> CompileReport {
    let report = compile(rules, &(), CompileOptions::default());
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    report
}

fn fields() -> impl Strategy<Value = expr::FieldSet> {
    let all: Vec<u16> = (0..u16::try_from(http::fields().table().len()).unwrap()).collect();
    prop::sample::subsequence(all, 0..12).prop_map(|some| {
        some.into_iter().fold(expr::FieldSet::EMPTY, |set, field| set.union(expr::FieldSet::of(expr::FieldId(field))))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_in_force_change_nothing_and_come_to_what_was_recorded((current, _) in two_sets(), truth in truth()) {
        let report = compiled(&current);
        let happened = Gateway { report: &report, truth: &truth, follows: &|_| true }.decide();
        prop_assume!(happened.action != "off");
        let record = recorded(&truth, &happened);
        let mut replay = replay(&current, &current);
        replay.web(&record);
        let found = replay.report();
        prop_assert_eq!(found.records.unchanged, 1, "{:?}", found);
        prop_assert_eq!(found.in_force.differs, 0, "{:?} {:?}", happened, found.in_force.examples);
    }

    #[test]
    fn what_is_said_is_what_would_have_happened(
        (current, draft) in two_sets(), truth in truth(), withheld in fields(),
    ) {
        let (before, after) = (compiled(&current), compiled(&draft));
        let happened = Gateway { report: &before, truth: &truth, follows: &|_| true }.decide();
        prop_assume!(happened.action != "off");
        let record = recorded(&truth, &happened);
        let shared: HashSet<RuleId> = draft
            .iter()
            .filter(|rule| current.iter().any(|one| one.id == rule.id && one.spec == rule.spec))
            .map(|rule| rule.id)
            .collect();
        let follows = |rule: RuleId| happened.asked || shared.contains(&rule);
        let then = Gateway { report: &after, truth: &truth, follows: &follows }.decide();
        let now = Gateway { report: &before, truth: &truth, follows: &follows }.decide();
        let replay = replay(&current, &draft);
        for withheld in [expr::FieldSet::EMPTY, withheld] {
            let mut read = WebRecord::read(&record, Some(&Ai)).unwrap();
            read.withhold(withheld);
            match replay.finding(&read) {
                Finding::Unchanged => prop_assert_eq!(now.action, then.action),
                Finding::Changed(from, to) => {
                    prop_assert_ne!(now.action, then.action);
                    for (ruling, truly) in [(from, &now), (to, &then)] {
                        if let Some(ruling) = ruling {
                            prop_assert_eq!(&ruling.action, truly.action);
                            prop_assert_eq!(ruling.rule_id, truly.rule.map(|id| id.to_string()));
                        }
                    }
                }
                Finding::Undecided(lost) => prop_assert!(!lost.is_empty()),
            }
        }
    }
}

#[test]
fn most_random_comparisons_are_decided() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut decided, mut changed, mut all) = (0, 0, 0);
    for _ in 0..400 {
        let ((current, draft), truth) = (two_sets(), truth()).new_tree(&mut runner).unwrap().current();
        let report = compiled(&current);
        let happened = Gateway { report: &report, truth: &truth, follows: &|_| true }.decide();
        let record = recorded(&truth, &happened);
        let finding = replay(&current, &draft).finding(&WebRecord::read(&record, Some(&Ai)).unwrap());
        all += 1;
        decided += usize::from(!matches!(finding, Finding::Undecided(_)));
        changed += usize::from(matches!(finding, Finding::Changed(..)));
    }
    // The law above would hold of an engine that never commits itself.
    assert!(decided * 10 > all * 7 && changed * 20 > all, "{decided} decided and {changed} changed of {all}");
    let _ = id(1);
}
