//! What a decision costs with 10 rules and with 10,000, and whether it allocates.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark prints, and stops at what it does not expect"
)]
#![expect(unsafe_code, reason = "counting allocations needs a global allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use expr::{Map, ValueRef};
use policy::lists::{ListSet, ListType};
use policy::{
    CompileOptions, ConnectionFacts, Cursor, Host, HttpFacts, HttpRuleset, Person, RequestFacts, RuleSpec, Scratch,
    Step, StoredRule,
};
use serde_json::json;
use types::{ListId, RuleId};
use uuid::Uuid;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed to the system's allocator unchanged; the counter has no effect on it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's obligations are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const DECISIONS: u32 = 200_000;
const ROUNDS: usize = 7;

struct NoHeaders;

impl Map for NoHeaders {
    fn len(&self) -> usize {
        0
    }

    fn get(&self, _key: &[u8]) -> Option<ValueRef<'_>> {
        None
    }

    fn entry(&self, _index: usize) -> Option<(&[u8], ValueRef<'_>)> {
        None
    }
}

/// The list that the rule at `index` refers to; a team keeps its own.
fn list_id(index: usize) -> ListId {
    ListId(Uuid::from_u128(7_000_000 + index as u128))
}

/// Rules as an organisation grows them: hosts, domains, a list for every hundredth, groups, people, paths.
fn rules(count: usize) -> Vec<StoredRule> {
    let rule = |index: usize| {
        let traffic = match index % 10 {
            0..=3 => format!("http.request.host == \"app-{index}.example.com\""),
            4..=6 => format!("any(http.request.domains[*] in {{\"site-{index}.test\" \"other-{index}.test\"}})"),
            7 => format!(
                "http.request.host == \"wiki-{index}.example.com\" and http.request.uri.path matches \"^/private/\""
            ),
            8 if index % 100 == 8 => {
                format!("any(http.request.domains[*] in ${}) and http.request.method == \"POST\"", list_id(index))
            }
            _ => format!(
                "http.request.host in {{\"a-{index}.test\" \"b-{index}.test\"}} and http.request.method in {{\"PUT\" \"POST\"}}"
            ),
        };
        let identity = if index.is_multiple_of(5) {
            format!("any(identity.groups.name[*] in {{\"Team {index}\"}})")
        } else {
            String::new()
        };
        let action = if index.is_multiple_of(3) { "allow" } else { "block" };
        let body = json!({ "name": format!("rule {index}"), "action": action, "enabled": true, "filters": ["http"], "traffic": traffic, "identity": identity });
        let spec = RuleSpec::parse(&body).unwrap();
        let precedence = i64::try_from(index).unwrap();
        StoredRule { id: RuleId(Uuid::from_u128(index as u128 + 1)), precedence, spec }
    };
    (0..count).map(rule).collect()
}

fn ruleset(count: usize) -> HttpRuleset {
    let mut lists = ListSet::default();
    for index in (8..count.max(9)).step_by(100) {
        let items: Vec<String> = (0..1_000).map(|item| format!("listed-{}.test", item + index - 8)).collect();
        lists.insert(list_id(index), policy::lists::compile(ListType::Domain, &items).unwrap());
    }
    let report = policy::compile(&rules(count), &lists, CompileOptions::default());
    assert!(report.errors.is_empty(), "{:?}", report.errors.first());
    report.http
}

fn main() {
    let small = measure(&ruleset(10), "10 rules");
    let large = measure(&ruleset(10_000), "10,000 rules");
    println!("10,000 rules against 10: {:.2} times the cost (at most 2)", large / small);
}

/// Returns nanoseconds a decision, the fastest of several rounds.
fn measure(rules: &HttpRuleset, name: &str) -> f64 {
    let groups = ["Team 15".to_owned(), "Everyone".to_owned()];
    let person = Person { email: "ana@example.com", name: "Ana", group_names: &groups, ..Person::default() };
    let hosts: Vec<String> = (0..64)
        .map(|index| match index % 4 {
            0 => format!("app-{}.example.com", index * 10),
            1 => format!("www.listed-{}.test", index * 100),
            2 => format!("deep.down.site-{}.test", index * 10 + 4),
            _ => format!("unknown-{index}.example.org"),
        })
        .collect();
    let mut scratch = Scratch::new();
    let now = "2026-11-21T12:00:00Z".parse().unwrap();
    let mut best = f64::MAX;
    let mut allocations = 0;
    for _ in 0..ROUNDS {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let start = Instant::now();
        for index in 0..DECISIONS {
            let host = hosts[index as usize % hosts.len()].as_str();
            let facts = facts(host, person);
            match rules.decide(&facts, now, Cursor::start(), &mut scratch) {
                Step::Verdict(verdict) => drop(black_box(verdict)),
                Step::Needs(needs) => panic!("waits for {:?}", needs.phase),
            }
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(DECISIONS));
        allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    }
    println!("{name}: {best:.0} ns a decision, {} allocations in {DECISIONS} decisions", allocations);
    best
}

fn facts<'a>(host: &'a str, person: Person<'a>) -> HttpFacts<'a> {
    let connection = ConnectionFacts {
        host: Some(Host(host)),
        meaning: None,
        src_ip: IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)),
        src_port: 50_123,
        dst_ips: None,
        dst_port: Some(443),
        proxy_endpoint: None,
        detected_protocol: Some(None),
        person: Some(person),
    };
    let request = RequestFacts {
        method: "GET",
        scheme: "https",
        port: 443,
        version: "HTTP/2",
        uri: "https://example.com/private/page?x=1",
        path: "/private/page",
        query: Some("x=1"),
        path_and_query: "/private/page?x=1",
        headers: &NoHeaders,
        has_body: false,
        mime: None,
        package: None,
    };
    HttpFacts { request: Some(request), ..HttpFacts::of_connection(connection) }
}
