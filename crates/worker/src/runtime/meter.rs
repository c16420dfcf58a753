//! Measures and bounds what a script uses: CPU time through the interrupt handler, heap through the allocator.
//!
//! Invariant: once a limit is broken the flag stays up until the engine takes it, whatever the script catches.

use std::cell::Cell;
use std::rc::Rc;

use rquickjs::allocator::{Allocator, RustAllocator};

use crate::protocol::ScriptErrorKind;

/// Shared by the engine, the interrupt handler and the allocator of one runtime.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Thread CPU time at which the current run must end, in nanoseconds.
    deadline: Cell<Option<u64>>,
    breach: Cell<Option<ScriptErrorKind>>,
    used: Cell<usize>,
    limit: Cell<Option<usize>>,
}

impl Meter {
    /// Starts a run that may use `budget` nanoseconds; returns the CPU time it starts at.
    pub(super) fn arm(&self, budget: u64) -> u64 {
        let now = thread_cpu();
        self.deadline.set(Some(now.saturating_add(budget)));
        now
    }

    pub(super) fn disarm(&self) {
        self.deadline.set(None);
    }

    /// Whether the run must stop.
    pub(super) fn poll(&self) -> bool {
        if self.breach.get().is_some_and(stops_at_once) {
            return true;
        }
        let over = self.deadline.get().is_some_and(|deadline| thread_cpu() >= deadline);
        if over {
            self.breach(ScriptErrorKind::Cpu);
        }
        over
    }

    /// Records a broken limit; the first one counts.
    pub(super) fn breach(&self, kind: ScriptErrorKind) {
        if self.breach.get().is_none() {
            self.breach.set(Some(kind));
        }
    }

    pub(super) fn breached(&self) -> Option<ScriptErrorKind> {
        self.breach.get()
    }

    pub(super) fn take_breach(&self) -> Option<ScriptErrorKind> {
        self.breach.take()
    }

    pub(super) fn heap(&self) -> usize {
        self.used.get()
    }

    /// Lets the heap grow by `bytes` from where it is.
    pub(super) fn limit_heap(&self, bytes: usize) {
        self.limit.set(Some(self.used.get().saturating_add(bytes)));
    }

    fn admit(&self, more: usize) -> bool {
        let total = self.used.get().saturating_add(more);
        if self.limit.get().is_some_and(|limit| total > limit) {
            self.breach(ScriptErrorKind::Memory);
            return false;
        }
        true
    }
}

fn stops_at_once(kind: ScriptErrorKind) -> bool {
    matches!(
        kind,
        ScriptErrorKind::Cpu | ScriptErrorKind::Memory | ScriptErrorKind::Subrequests | ScriptErrorKind::Output
    )
}

/// CPU time of this thread in nanoseconds.
pub(super) fn thread_cpu() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// The engine's allocator: the system's, counted.
pub(super) struct Metered(pub(super) Rc<Meter>);

#[expect(unsafe_code, reason = "the engine's allocator interface is a set of raw pointers")]
// SAFETY: every pointer comes from and goes to `RustAllocator`, which keeps the contract; this type only counts.
unsafe impl Allocator for Metered {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        if !self.0.admit(size) {
            return std::ptr::null_mut();
        }
        self.count(RustAllocator.alloc(size))
    }

    fn calloc(&mut self, count: usize, size: usize) -> *mut u8 {
        if !count.checked_mul(size).is_some_and(|total| self.0.admit(total)) {
            return std::ptr::null_mut();
        }
        self.count(RustAllocator.calloc(count, size))
    }

    unsafe fn dealloc(&mut self, ptr: *mut u8) {
        // SAFETY: the pointer was made by this allocator.
        unsafe {
            self.0.used.set(self.0.used.get().saturating_sub(RustAllocator::usable_size(ptr)));
            RustAllocator.dealloc(ptr);
        }
    }

    unsafe fn realloc(&mut self, ptr: *mut u8, new_size: usize) -> *mut u8 {
        // SAFETY: the pointer was made by this allocator.
        let before = unsafe { RustAllocator::usable_size(ptr) };
        if new_size > before && !self.0.admit(new_size - before) {
            return std::ptr::null_mut();
        }
        // SAFETY: as above.
        let moved = unsafe { RustAllocator.realloc(ptr, new_size) };
        if !moved.is_null() {
            self.0.used.set(self.0.used.get().saturating_sub(before));
        }
        self.count(moved)
    }

    unsafe fn usable_size(ptr: *mut u8) -> usize {
        // SAFETY: the pointer was made by this allocator.
        unsafe { RustAllocator::usable_size(ptr) }
    }
}

impl Metered {
    #[expect(unsafe_code, reason = "reads the size that the allocator stored before the block")]
    fn count(&self, ptr: *mut u8) -> *mut u8 {
        if !ptr.is_null() {
            // SAFETY: the pointer was just made by `RustAllocator`.
            let size = unsafe { RustAllocator::usable_size(ptr) };
            self.0.used.set(self.0.used.get().saturating_add(size));
        }
        ptr
    }
}
