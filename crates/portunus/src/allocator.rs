//! Where memory comes from: mimalloc for the platform, the system's allocator for the processes Workers run in.
//!
//! A request through the gateway makes some sixty short-lived allocations, which mimalloc serves a tenth of the whole
//! request faster. A Worker's process makes few and is one of a thousand: what counts there is how few pages it touches,
//! and that free memory can be given back. Invariant: which one it is, is decided before the first block is handed out
//! and never changes, so that no block is returned to the allocator it did not come from.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU8, Ordering};

use mimalloc::MiMalloc;

const UNDECIDED: u8 = 0;
const PLATFORM: u8 = 1;
const WORKER: u8 = 2;

/// Enough for the program's name and its first argument.
const LOOK: usize = 4096 + 64;

/// The allocator of the process.
pub(crate) struct ByRole {
    role: AtomicU8,
}

impl ByRole {
    pub(crate) const fn new() -> Self {
        Self { role: AtomicU8::new(UNDECIDED) }
    }

    #[inline]
    fn is_worker(&self) -> bool {
        match self.role.load(Ordering::Relaxed) {
            UNDECIDED => self.decide(),
            role => role == WORKER,
        }
    }

    /// The first block is asked for before there is a second thread.
    #[cold]
    fn decide(&self) -> bool {
        let worker = is_zygote();
        if !worker {
            commit_on_demand();
        }
        self.role.store(if worker { WORKER } else { PLATFORM }, Ordering::Relaxed);
        worker
    }
}

/// `mi_option_arena_eager_commit` of mimalloc 2, for which the bindings have no name.
const ARENA_EAGER_COMMIT: libmimalloc_sys::mi_option_t = 4;

/// Lets memory that is freed leave the process: an arena that is committed as a whole keeps what start-up used, 25 MB.
#[expect(unsafe_code, reason = "the option has no safe interface")]
fn commit_on_demand() {
    // SAFETY: sets a number, before the first arena is made.
    unsafe { libmimalloc_sys::mi_option_set(ARENA_EAGER_COMMIT, 0) };
}

/// Reads the command line without an allocation. A system that does not show it gets mimalloc everywhere.
fn is_zygote() -> bool {
    let path = c"/proc/self/cmdline";
    let Ok(file) = rustix::fs::open(path, rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()) else { return false };
    let mut text = [0_u8; LOOK];
    let length = rustix::io::read(&file, &mut text).unwrap_or(0);
    let mut arguments = text.get(..length).unwrap_or_default().split(|byte| *byte == 0);
    arguments.nth(1) == Some(worker::zygote::ARGUMENT.as_bytes())
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its interface")]
// SAFETY: every call goes unchanged to one of two allocators that keep the contract, always to the same one.
unsafe impl GlobalAlloc for ByRole {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { if self.is_worker() { System.alloc(layout) } else { MiMalloc.alloc(layout) } }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from the allocator of this process's role, with this layout.
        unsafe { if self.is_worker() { System.dealloc(block, layout) } else { MiMalloc.dealloc(block, layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { if self.is_worker() { System.alloc_zeroed(layout) } else { MiMalloc.alloc_zeroed(layout) } }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the block came from the allocator of this process's role, with this layout.
        unsafe {
            if self.is_worker() { System.realloc(block, layout, size) } else { MiMalloc.realloc(block, layout, size) }
        }
    }
}
