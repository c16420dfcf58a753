//! What a decision costs: rules looked at and memory allocated, neither of which grows with the rules that exist.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::IpAddr;

use expr::{Map, ValueRef};
use policy::{
    BodyFacts, CompileOptions, ConnectionFacts, Cursor, Host, HttpFacts, HttpRuleset, McpTraffic, Person, RequestFacts,
    Scratch, Step, compile, lists,
};
use serde_json::json;

use crate::support::{now, stored};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// Counts the allocations of each thread.
struct Counting;

#[expect(unsafe_code, reason = "a global allocator cannot be written without it; every call goes to the system's own")]
// SAFETY: every method hands its arguments to `System` unchanged and returns what it returned.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller upholds the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct NoHeaders;

impl Map for NoHeaders {
    fn len(&self) -> usize {
        0
    }

    fn get(&self, _: &[u8]) -> Option<ValueRef<'_>> {
        None
    }

    fn entry(&self, _: usize) -> Option<(&[u8], ValueRef<'_>)> {
        None
    }
}

fn list_id(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// Hosts, domains, lists, groups, people: what organisations write, `count` times over.
fn ruleset(count: usize) -> HttpRuleset {
    let mut set = lists::ListSet::default();
    for number in 0..count.div_ceil(100) {
        let hosts: Vec<String> = (0..50).map(|host| format!("listed{host}.zone{number}.example")).collect();
        set.insert(list_id(number).parse().unwrap(), lists::compile(lists::ListType::Domain, &hosts).unwrap());
    }
    let rules: Vec<_> = (0..count)
        .map(|n| {
            let (traffic, identity) = match n % 5 {
                0 => (format!("http.request.host == \"host{n}.example\""), String::new()),
                1 => (format!("any(http.request.domains[*] in {{\"domain{n}.example\" \"other{n}.example\"}})"), String::new()),
                2 => (format!("http.request.host in ${} and http.request.method == \"POST\"", list_id(n / 100)), String::new()),
                3 => (
                    format!("http.request.host == \"app{n}.example\" and http.request.uri.path matches \"^/admin\""),
                    "any(identity.groups.name[*] in {\"staff\"})".to_owned(),
                ),
                _ => (String::new(), format!("identity.email == \"person{n}@corp.example\"")),
            };
            let document = json!({"name": format!("r{n}"), "action": if n % 2 == 0 { "block" } else { "allow" }, "filters": ["http"],
                                  "traffic": traffic, "identity": identity});
            stored(u128::try_from(n + 1).unwrap(), &document)
        })
        .collect();
    let report = compile(&rules, &set, CompileOptions::default());
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    report.http
}

/// Decides a request that no rule matches and returns the rules looked at and the allocations made.
fn cost(rules: &HttpRuleset, host: &str, decisions: usize) -> (u32, usize) {
    let groups = ["staff".to_owned(), "engineering".to_owned()];
    let addresses: [IpAddr; 1] = ["192.0.2.1".parse().unwrap()];
    let facts = HttpFacts {
        connection: ConnectionFacts {
            host: Some(Host(host)),
            meaning: None,
            src_ip: "10.0.0.9".parse().unwrap(),
            src_port: 5000,
            dst_ips: Some(&addresses),
            dst_port: Some(443),
            proxy_endpoint: None,
            detected_protocol: None,
            person: Some(Person {
                id: "p",
                email: "nobody@corp.example",
                name: "N",
                group_names: &groups,
                ..Person::default()
            }),
        },
        mcp: McpTraffic { is_mcp: Some(false), ..McpTraffic::default() },
        request: Some(RequestFacts {
            method: "GET",
            scheme: "https",
            port: 443,
            version: "HTTP/2",
            uri: "https://www.unmatched.example/a?b=c",
            path: "/a",
            query: Some("b=c"),
            path_and_query: "/a?b=c",
            headers: &NoHeaders,
            has_body: false,
            mime: None,
            package: None,
        }),
        request_body: BodyFacts::default(),
        response: None,
        response_body: BodyFacts::default(),
    };
    let mut scratch = Scratch::new();
    let (now, mut before) = (now(), 0);
    for round in 0..=decisions {
        if round == 1 {
            // The first decision may grow the scratch and the automata of regular expressions.
            before = ALLOCATIONS.get();
        }
        let Step::Verdict(verdict) = rules.decide(&facts, now, Cursor::start(), &mut scratch) else { panic!() };
        assert!(verdict.rule.is_none());
    }
    (scratch.considered(), ALLOCATIONS.get() - before)
}

#[test]
fn ten_thousand_rules_are_not_looked_at_one_by_one() {
    let (few, many) = (ruleset(10), ruleset(10_000));
    assert_eq!(many.len(), 10_000);
    for host in ["www.unmatched.example", "unmatched.test"] {
        assert!(cost(&few, host, 1).0 <= 2);
        assert!(cost(&many, host, 1).0 <= 2, "{}", cost(&many, host, 1).0);
    }
    // A listed host is a candidate for the rules with that list, and for no other.
    let (considered, _) = cost(&many, "listed7.zone3.example", 1);
    assert_eq!(considered, 20);
}

#[test]
fn a_decision_that_reads_no_body_allocates_nothing() {
    let rules = ruleset(10_000);
    for host in ["www.unmatched.example", "listed7.zone3.example", "app3.example"] {
        assert_eq!(cost(&rules, host, 50).1, 0, "{host}");
    }
}
