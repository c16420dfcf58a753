//! What a look-up costs, what the index takes, and how long the catalogue needs to load.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]
#![expect(unsafe_code, reason = "counting allocations needs a global allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use catalog::{Catalog, CategoryIndex, Classifier};

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

const ROUNDS: usize = 9;
const LOOKUPS: usize = 200_000;

fn main() {
    let started = Instant::now();
    let catalog = Catalog::embedded();
    let loaded = started.elapsed();
    let classifier = Classifier::new(catalog.clone(), CategoryIndex::own(), []);
    let statistics = catalog.statistics();
    println!(
        "{} applications, {} domains, index {} kB, loaded in {:.1} ms",
        statistics.applications,
        statistics.domains,
        statistics.index_bytes / 1024,
        loaded.as_secs_f64() * 1e3
    );
    // Hosts as they come: each application's own with a label before it, and as many that belong to nobody.
    let mut hosts: Vec<String> = catalog
        .applications()
        .iter()
        .flat_map(|application| catalog.row(application).hosts)
        .filter(|host| !host.contains('*'))
        .flat_map(|host| [format!("www.{host}"), format!("nobody.{host}.invalid")])
        .collect();
    // An order of its own, so that neighbours in the index are not neighbours in the run.
    hosts.sort_by_key(|host| host.bytes().rev().fold(7_u32, |sum, byte| sum.wrapping_mul(31) ^ u32::from(byte)));
    for (name, host) in [
        ("chatgpt.com", "chatgpt.com"),
        ("deep", "a.b.c.d.e.f.chatgpt.com"),
        ("pattern", "bedrock-runtime.eu-central-1.amazonaws.com"),
        ("nobody", "www.some-company-nobody-knows.example"),
    ] {
        report(name, &mut || {
            black_box(catalog.by_host(black_box(host)));
        });
    }
    let mut next = 0;
    report("by_host, all in turn", &mut || {
        next = (next + 1) % hosts.len();
        black_box(catalog.by_host(black_box(&hosts[next])));
    });
    report("classify and read, all in turn", &mut || {
        next = (next + 1) % hosts.len();
        let found = classifier.classify(black_box(&hosts[next]));
        black_box(classifier.meaning(found));
    });
}

/// Prints the median time of one call and how often it allocates.
fn report(name: &str, call: &mut dyn FnMut()) {
    let allocations = ALLOCATIONS.load(Ordering::Relaxed);
    call();
    let allocated = ALLOCATIONS.load(Ordering::Relaxed) - allocations;
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            for _ in 0..LOOKUPS {
                call();
            }
            started.elapsed().as_secs_f64() * 1e9 / f64::from(u32::try_from(LOOKUPS).unwrap_or(u32::MAX))
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!("{name:32} {:6.1} ns, {allocated} allocations", rounds[ROUNDS / 2]);
}
