//! Measures and bounds what a script uses: CPU time through the interrupt handler, heap through the allocator.
//!
//! Invariant: once a limit is broken the flag stays up until the engine takes it, whatever the script catches.

use std::cell::Cell;
use std::rc::Rc;

use rquickjs::allocator::Allocator;

use super::arena::{Arena, PAGE};
use crate::protocol::ScriptErrorKind;

/// Shared by the engine, the interrupt handler and the allocator of one runtime.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Thread CPU time at which the current run must end, in nanoseconds.
    deadline: Cell<Option<u64>>,
    breach: Cell<Option<ScriptErrorKind>>,
    used: Cell<usize>,
    limit: Cell<Option<usize>>,
    /// Pages handed out since the start.
    pages: Cell<u64>,
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

    /// How many pages the engine has been given so far, freed ones included.
    pub(super) fn pages(&self) -> u64 {
        self.pages.get()
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

/// The engine's allocator: an arena, counted.
pub(super) struct Metered {
    meter: Rc<Meter>,
    arena: Arena,
}

impl Metered {
    pub(super) fn new(meter: Rc<Meter>) -> Self {
        Self { meter, arena: Arena::default() }
    }

    #[expect(unsafe_code, reason = "reads the size that the arena stored before the block")]
    fn count(&self, block: *mut u8) -> *mut u8 {
        if !block.is_null() {
            // SAFETY: the block was just made by the arena.
            let size = unsafe { Arena::usable_size(block) };
            self.meter.used.set(self.meter.used.get().saturating_add(size));
            self.meter.pages.set(self.meter.pages.get() + u64::from(size == PAGE));
        }
        block
    }
}

#[expect(unsafe_code, reason = "the engine's allocator interface is a set of raw pointers")]
// SAFETY: every pointer comes from and goes to the arena, which keeps the contract; this type only counts.
unsafe impl Allocator for Metered {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        if !self.meter.admit(size) {
            return std::ptr::null_mut();
        }
        let block = self.arena.alloc(size);
        self.count(block)
    }

    fn calloc(&mut self, count: usize, size: usize) -> *mut u8 {
        let Some(total) = count.checked_mul(size).filter(|total| self.meter.admit(*total)) else {
            return std::ptr::null_mut();
        };
        let block = self.arena.alloc_zeroed(total);
        self.count(block)
    }

    unsafe fn dealloc(&mut self, ptr: *mut u8) {
        // SAFETY: the pointer was made by this allocator.
        unsafe {
            self.meter.used.set(self.meter.used.get().saturating_sub(Arena::usable_size(ptr)));
            self.arena.dealloc(ptr);
        }
    }

    unsafe fn realloc(&mut self, ptr: *mut u8, new_size: usize) -> *mut u8 {
        // SAFETY: the pointer was made by this allocator.
        let before = unsafe { Arena::usable_size(ptr) };
        if new_size > before && !self.meter.admit(new_size - before) {
            return std::ptr::null_mut();
        }
        // SAFETY: as above.
        let moved = unsafe { self.arena.realloc(ptr, new_size) };
        if !moved.is_null() {
            self.meter.used.set(self.meter.used.get().saturating_sub(before));
        }
        self.count(moved)
    }

    unsafe fn usable_size(ptr: *mut u8) -> usize {
        // SAFETY: the pointer was made by this allocator.
        unsafe { Arena::usable_size(ptr) }
    }
}
