//! Laws that hold for every rule set: the index never misses, and facts may arrive in any order.

use policy::hook::{Hook, PHASES};
use policy::{CompileOptions, CompileReport, Cursor, FactsDocument, Scratch, Step, StoredRule, compile, lists};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{described, now, stored, verdict};

const HOSTS: [&str; 5] = ["a.example", "b.example", "www.a.example", "x.test", "deep.www.a.example"];
const DOMAINS: [&str; 4] = ["a.example", "example", "test", "www.a.example"];
const EMAILS: [&str; 4] = ["ann@corp.example", "a.nn+tag@corp.example", "bob@corp.example", "annex@corp.example"];
const GROUPS: [&str; 3] = ["finance", "staff", "admins"];
const DOMAIN_LIST: &str = "11111111-1111-4111-8111-111111111111";
const EMAIL_LIST: &str = "22222222-2222-4222-8222-222222222222";
const URL_LIST: &str = "33333333-3333-4333-8333-333333333333";

fn all_lists() -> lists::ListSet {
    let mut set = lists::ListSet::default();
    for (id, kind, items) in [
        (DOMAIN_LIST, lists::ListType::Domain, ["a.example", "*.test"]),
        (EMAIL_LIST, lists::ListType::Email, ["a.nn@corp.example", "carol@corp.example"]),
        (URL_LIST, lists::ListType::Url, ["a.example/p", "https://b.example/q/"]),
    ] {
        set.insert(id.parse().unwrap(), lists::compile(kind, &items).unwrap());
    }
    set
}

fn atom() -> impl Strategy<Value = String> {
    let pick = |list: &'static [&'static str]| prop::sample::select(list);
    prop_oneof![
        pick(&HOSTS).prop_map(|host| format!("http.request.host == \"{host}\"")),
        pick(&HOSTS).prop_map(|host| format!("http.request.host in {{\"{host}\" \"z.example\"}}")),
        pick(&HOSTS).prop_map(|host| format!("http.request.host != \"{host}\"")),
        pick(&DOMAINS).prop_map(|domain| format!("any(http.request.domains[*] == \"{domain}\")")),
        Just(format!("http.request.host in ${DOMAIN_LIST}")),
        Just(format!("any(http.request.domains[*] in ${DOMAIN_LIST})")),
        Just(format!("http.request.uri in ${URL_LIST}")),
        pick(&["https://a.example/p", "https://a.example/p/"]).prop_map(|uri| format!("http.request.uri == \"{uri}\"")),
        pick(&EMAILS).prop_map(|email| format!("identity.email == \"{email}\"")),
        Just(format!("identity.email in ${EMAIL_LIST}")),
        pick(&GROUPS).prop_map(|group| format!("any(identity.groups.name[*] in {{\"{group}\"}})")),
        pick(&["GET", "POST"]).prop_map(|method| format!("http.request.method == \"{method}\"")),
        Just("http.request.uri.path matches \"^/p\"".to_owned()),
        Just("http.conn.src_ip in {10.0.0.0/8}".to_owned()),
        pick(&["200", "404"]).prop_map(|status| format!("http.response.status_code == \"{status}\"")),
        Just("any(http.upload.file.types[*] in {\"exe\"})".to_owned()),
        Just("http.body_phase == \"upload\"".to_owned()),
        Just("http.src_ip.geo.country == \"RU\"".to_owned()),
    ]
}

fn condition() -> impl Strategy<Value = String> {
    atom().prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} and {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} or {b})")),
            inner.prop_map(|a| format!("not({a})")),
        ]
    })
}

/// An action and a condition; the position gives the precedence.
fn drafts() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let action = prop::sample::select(vec!["allow", "block", "block", "allow"]);
    prop::collection::vec((action, condition()), 1..24)
}

fn rules(drafts: &[(&'static str, String)], suffix: &str) -> Vec<StoredRule> {
    (1..)
        .zip(drafts)
        .map(|(number, (action, traffic))| {
            stored(
                number,
                &json!({"name": format!("r{number}"), "action": action, "filters": ["http"], "traffic": format!("{traffic}{suffix}")}),
            )
        })
        .collect()
}

fn compiled(rules: &[StoredRule]) -> CompileReport {
    let report = compile(rules, &all_lists(), CompileOptions::default());
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    report
}

fn request() -> impl Strategy<Value = Value> {
    let pick = |list: &'static [&'static str]| prop::sample::select(list);
    (
        pick(&HOSTS),
        pick(&["/p", "/p/", "/q", "/"]),
        prop::option::of(pick(&EMAILS)),
        prop::sample::subsequence(GROUPS.to_vec(), 0..3),
        pick(&["GET", "POST"]),
        pick(&["10.0.0.1", "192.0.2.1"]),
        pick(&["200", "404"]),
        any::<bool>(),
    )
        .prop_map(|(host, path, email, groups, method, source, status, body)| {
            json!({
                "http.request.uri": format!("https://{host}{path}"),
                "identity.email": email,
                "identity.groups.name": email.map(|_| groups),
                "http.request.method": method,
                "http.conn.src_ip": source,
                "http.request.has_body": body,
                "http.upload.file.types": if body { json!(["exe"]) } else { Value::Null },
                "http.response.status_code": status,
                "http.response.has_body": true,
            })
        })
}

fn decide(report: &CompileReport, facts: &FactsDocument) -> String {
    described(&verdict(report.http.decide(facts, now(), Cursor::start(), &mut Scratch::new())))
}

/// Values under the names that rules have, mostly of the wrong shape.
fn rule_document() -> impl Strategy<Value = Value> {
    const NAMES: [&str; 30] = [
        "name",
        "action",
        "filters",
        "enabled",
        "precedence",
        "traffic",
        "identity",
        "description",
        "rule_settings",
        "schedule",
        "expiration",
        "worker",
        "managed",
        "redirect",
        "target_uri",
        "script",
        "template",
        "parameters",
        "timeout_ms",
        "cache",
        "key",
        "ttl_s",
        "add_headers",
        "block_page",
        "biso_admin_controls",
        "version",
        "mon",
        "time_zone",
        "expires_at",
        "quarantine",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-5i64..5_000).prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "r",
            "block",
            "worker",
            "redirect",
            "http",
            "l4",
            "v2",
            "08:00-12:00",
            "UTC",
            "https://a.example/x?y#z",
            "2026-01-01T00:00:00Z",
            "http.request.host == \"a\"",
            "identity.email",
            "training",
            "@{identity.email}",
        ])
        .prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(NAMES.to_vec()), inner, 0..6)
                .prop_map(|members| members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    });
    (prop::collection::btree_map(prop::sample::select(NAMES.to_vec()), value, 0..10), any::<bool>()).prop_map(
        |(members, valid)| {
            let mut document: serde_json::Map<String, Value> =
                members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
            if valid {
                document.insert("name".to_owned(), json!("r"));
                document.insert("action".to_owned(), json!("allow"));
            }
            Value::Object(document)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_never_changes_a_verdict(drafts in drafts(), request in request()) {
        let facts = FactsDocument::parse(Hook::Http, &request).unwrap();
        // A disjunction that is never true takes a rule's requirements away, so every rule is looked at.
        let plain = compiled(&rules(&drafts, " or http.request.port == 70000"));
        prop_assert_eq!(decide(&compiled(&rules(&drafts, "")), &facts), decide(&plain, &facts));
    }

    #[test]
    fn the_first_rule_that_matches_alone_is_the_one_that_decides(drafts in drafts(), request in request()) {
        let facts = FactsDocument::parse(Hook::Http, &request).unwrap();
        let all = rules(&drafts, "");
        let first = all.iter().map(|rule| decide(&compiled(std::slice::from_ref(rule)), &facts)).find(|one| one.contains(" by "));
        prop_assert_eq!(decide(&compiled(&all), &facts), first.unwrap_or_else(|| "allow".to_owned()));
    }

    #[test]
    fn facts_that_arrive_phase_by_phase_give_the_verdict_of_all_at_once(drafts in drafts(), request in request()) {
        let all = FactsDocument::parse(Hook::Http, &request).unwrap();
        let report = compiled(&rules(&drafts, ""));
        let mut scratch = Scratch::new();
        let mut cursor = Cursor::start();
        // Connection and request head first, then only what is asked for.
        let mut arrived = 2;
        let found = loop {
            let mut partial = all.clone();
            for phase in &PHASES[arrived..] {
                Hook::Http.fields().arriving(*phase).iter().for_each(|field| partial.withhold(field));
            }
            match report.http.decide(&partial, now(), cursor, &mut scratch) {
                Step::Verdict(found) => break described(&found),
                Step::Needs(needs) => {
                    let wanted = PHASES.iter().position(|phase| *phase == needs.phase).unwrap();
                    prop_assert!(wanted >= arrived, "asked for what had arrived: {:?}", needs.phase);
                    arrived = wanted + 1;
                    cursor = needs.cursor;
                }
            }
        };
        prop_assert_eq!(found, decide(&report, &all));
    }

    #[test]
    fn any_document_is_read_or_refused_and_an_accepted_one_is_echoed(document in rule_document()) {
        match policy::RuleSpec::parse(&document) {
            Ok(spec) => {
                let mut echoed = document.clone();
                // Read-only at the top of a rule.
                echoed.as_object_mut().unwrap().remove("version");
                prop_assert_eq!(serde_json::to_value(&spec).unwrap(), echoed);
                let _ = policy::check(&spec, &());
                let _ = spec.plan();
            }
            Err(errors) => prop_assert!(!errors.is_empty() && errors.len() <= 50),
        }
        let _ = FactsDocument::parse(Hook::Http, &document);
    }

    #[test]
    fn parsing_any_text_never_panics(text in ".{0,200}") {
        let _ = policy::RuleSpec::parse_text(&text);
        let _ = policy::redirect::Target::parse(&text);
        let _ = policy::headers::Template::parse(&text);
        let _ = policy::duration::GoDuration::parse(&text);
        let _ = policy::package::recognise("registry.npmjs.org", &text);
        let _ = policy::files::sniff(text.as_bytes());
    }
}
