//! Evaluating comparisons allocates nothing, since every rule is evaluated on every request it might match.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use expr::Outcome;

use crate::fixture::{compile, facts};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counting what the current thread asks for.
struct Counting;

#[expect(unsafe_code, reason = "an allocator is an unsafe trait, and counting allocations takes one")]
// SAFETY: every call is passed on unchanged to the system's allocator, and counting touches no allocated memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn comparisons_allocate_nothing() {
    let facts = facts(
        "str=abc;tcp.port=80;ip.src=10.0.0.1;t=true;app.ids=1 2 3;dns.domains=a b;http.request.host=a.B.example.com;\
         http.request.headers=a:x b:y;labels=k:v;pkg.version=pypi 1.0rc1;http.request.uri=https://example.com/a/",
    );
    let starts_with = "starts_with(str, \"ab\")";
    for source in [
        "str == \"abc\" and str != \"x\" and str in {\"a\" \"abc\"} and str contains \"b\"",
        "tcp.port in {80 90..99} and tcp.port & 16 and tcp.port >= 80",
        "ip.src in {10.0.0.0/8} and ip.src == 10.0.0.1 and ip.src in $office.networks",
        "http.request.host in $01302951-49f9-47c9-a400-0297e60b6a10 and http.request.uri in $urls",
        "any(app.ids[*] == 3) and all(app.ids[*] < 9) and app.ids[0] == 1 and any(dns.domains[*] in {\"b\"})",
        "any(http.request.headers[*][*] == \"y\") and labels[\"k\"] == \"v\" and len(app.ids) == 3",
        "pkg.version < \"1.0\" and t and (bool or t)",
        "str matches \"^a[bx]c$\" and str wildcard \"A*\"",
        starts_with,
    ] {
        let compiled = compile(source).unwrap();
        // The first match of a pattern sets its automaton up.
        assert_eq!(compiled.evaluate(&facts), Outcome::True, "{source}");
        let before = ALLOCATIONS.with(Cell::get);
        let outcome = compiled.evaluate(&facts);
        let allocated = ALLOCATIONS.with(Cell::get) - before;
        assert_eq!((outcome, allocated), (Outcome::True, 0), "{source}");
    }
    let before = ALLOCATIONS.with(Cell::get);
    let grown = "x".repeat(100);
    assert!(ALLOCATIONS.with(Cell::get) > before && grown.len() == 100);
}
