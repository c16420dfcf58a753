//! The memory of one script engine, laid out for processes that are forked.
//!
//! A forked process shares every page with its siblings until it writes to it. The engine keeps its small blocks in
//! slabs of nearly a page, one per size, and writes wherever it counts a reference: so each slab gets a page of its own
//! and touches one page rather than two. Everything else goes to the system. Does not count or limit; `meter` does.
//!
//! Invariant: a block that starts a page is a page; any other block has its usable size in the word before it, and never
//! starts a page.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, realloc};
use std::ptr::{NonNull, null_mut};

/// Bytes before a block of the system that hold its usable size.
const HEADER: usize = 8;
/// What blocks of the system are aligned to, so that the bytes after the header never start a page.
const ALIGN: usize = 16;
pub(super) const PAGE: usize = 4096;
/// Requests from here to a page get a page.
const NEARLY_A_PAGE: usize = 3584;
/// Pages are asked of the system in chunks, which are untouched until used.
const CHUNK: usize = 64 * PAGE;

/// Where blocks of one engine come from.
pub(super) struct Arena {
    /// Freed pages, each holding the address of the next.
    free: *mut u8,
    /// Untouched pages of the last chunk: where they start, and their bytes.
    next: *mut u8,
    left: usize,
    chunks: Vec<NonNull<u8>>,
}

impl Default for Arena {
    fn default() -> Self {
        Self { free: null_mut(), next: null_mut(), left: 0, chunks: Vec::new() }
    }
}

impl Arena {
    /// Returns a block of at least `size` bytes aligned to eight, or null.
    pub(super) fn alloc(&mut self, size: usize) -> *mut u8 {
        if is_page(size) { self.page() } else { of_system(size, alloc) }
    }

    /// As [`Arena::alloc`], filled with zeros.
    pub(super) fn alloc_zeroed(&mut self, size: usize) -> *mut u8 {
        if !is_page(size) {
            return of_system(size, alloc_zeroed);
        }
        let page = self.page();
        if !page.is_null() {
            #[expect(unsafe_code, reason = "fills memory that the engine is given by address")]
            // SAFETY: the page was just made and belongs to nobody else.
            unsafe {
                page.write_bytes(0, PAGE);
            }
        }
        page
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// The block was made by this arena and is not used again.
    #[expect(unsafe_code, reason = "takes raw memory back")]
    pub(super) unsafe fn dealloc(&mut self, block: *mut u8) {
        if starts_page(block) {
            // SAFETY: the page is nobody's any more and has room for an address.
            unsafe { block.cast::<*mut u8>().write(self.free) };
            self.free = block;
        } else {
            // SAFETY: as the caller promises; the layout is the one it was made with.
            unsafe { dealloc(block.sub(HEADER), layout(Self::usable_size(block))) };
        }
    }

    /// Changes the size of a block, which may move; null leaves it as it was.
    ///
    /// # Safety
    /// As [`Arena::dealloc`].
    #[expect(unsafe_code, reason = "moves raw memory")]
    pub(super) unsafe fn realloc(&mut self, block: *mut u8, size: usize) -> *mut u8 {
        if starts_page(block) && is_page(size) {
            return block;
        }
        // SAFETY: as the caller promises.
        let before = unsafe { Self::usable_size(block) };
        if !starts_page(block) && !is_page(size) {
            let Some(rounded) = round(size) else { return null_mut() };
            // SAFETY: both are blocks of the system, the first made with this layout, and `rounded` is a possible size.
            return unsafe { headed(realloc(block.sub(HEADER), layout(before), rounded + HEADER), rounded) };
        }
        let moved = self.alloc(size);
        if !moved.is_null() {
            // SAFETY: both blocks are alive and have at least this many bytes.
            unsafe {
                moved.copy_from_nonoverlapping(block, size.min(before));
                self.dealloc(block);
            }
        }
        moved
    }

    /// Returns how many bytes a block has.
    ///
    /// # Safety
    /// The block was made by an arena.
    #[expect(unsafe_code, reason = "reads the word before a block")]
    pub(super) unsafe fn usable_size(block: *mut u8) -> usize {
        if starts_page(block) {
            return PAGE;
        }
        // SAFETY: as the caller promises; every block that does not start a page has its size before it.
        unsafe { block.sub(HEADER).cast::<usize>().read() }
    }

    #[expect(unsafe_code, reason = "hands out raw memory")]
    fn page(&mut self) -> *mut u8 {
        let freed = self.free;
        if !freed.is_null() {
            // SAFETY: a freed page holds the address of the next one; `dealloc` wrote it.
            self.free = unsafe { freed.cast::<*mut u8>().read() };
            return freed;
        }
        if self.left == 0 {
            // SAFETY: the layout has a size.
            let chunk = unsafe { alloc(chunk_layout()) };
            let Some(owned) = NonNull::new(chunk) else { return null_mut() };
            self.chunks.push(owned);
            (self.next, self.left) = (chunk, CHUNK);
        }
        let page = self.next;
        (self.next, self.left) = (page.wrapping_add(PAGE), self.left - PAGE);
        page
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for chunk in self.chunks.drain(..) {
            #[expect(unsafe_code, reason = "gives memory back to the system")]
            // SAFETY: made with this layout, and the engine that used it is gone.
            unsafe {
                dealloc(chunk.as_ptr(), chunk_layout());
            }
        }
    }
}

fn is_page(size: usize) -> bool {
    (NEARLY_A_PAGE..=PAGE).contains(&size)
}

fn starts_page(block: *mut u8) -> bool {
    block.addr().is_multiple_of(PAGE)
}

/// The usable size of a block of the system for a request; nothing if there can be no such block.
fn round(size: usize) -> Option<usize> {
    size.max(1).checked_next_multiple_of(HEADER).filter(|size| *size <= isize::MAX.unsigned_abs() / 2)
}

#[expect(unsafe_code, reason = "calls one of the system's allocation functions")]
fn of_system(size: usize, make: unsafe fn(Layout) -> *mut u8) -> *mut u8 {
    let Some(rounded) = round(size) else { return null_mut() };
    // SAFETY: the layout has a size, and the block has room for its header.
    unsafe { headed(make(layout(rounded)), rounded) }
}

/// Writes the header of a block of the system, and returns what comes after it.
///
/// # Safety
/// `start` is null or has `HEADER + size` bytes.
#[expect(unsafe_code, reason = "writes the word before a block")]
unsafe fn headed(start: *mut u8, size: usize) -> *mut u8 {
    if start.is_null() {
        return start;
    }
    // SAFETY: as the caller promises.
    unsafe {
        start.cast::<usize>().write(size);
        start.add(HEADER)
    }
}

#[expect(unsafe_code, reason = "the checks of the safe constructor were done when the size was rounded")]
fn layout(size: usize) -> Layout {
    // SAFETY: the alignment is a power of two, and `size` stays far below the largest possible.
    unsafe { Layout::from_size_align_unchecked(size + HEADER, ALIGN) }
}

#[expect(unsafe_code, reason = "both numbers are constants")]
fn chunk_layout() -> Layout {
    // SAFETY: a page is a power of two and a chunk is far below the largest size.
    unsafe { Layout::from_size_align_unchecked(CHUNK, PAGE) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Arena, PAGE};

    #[test]
    fn only_what_is_nearly_a_page_gets_one_and_a_freed_one_comes_back() {
        let mut arena = Arena::default();
        for (size, page) in [(1, false), (3583, false), (3584, true), (4096, true), (4097, false), (70_000, false)] {
            assert_eq!(arena.alloc(size).addr().is_multiple_of(PAGE), page, "{size}");
        }
        let page = arena.alloc(4000);
        #[expect(unsafe_code, reason = "frees what it made")]
        // SAFETY: made above and not used again.
        unsafe {
            arena.dealloc(page);
        }
        assert_eq!(arena.alloc(4090), page);
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let mut arena = Arena::default();
        for size in [usize::MAX, usize::MAX - 8, isize::MAX.unsigned_abs()] {
            assert!(arena.alloc(size).is_null() && arena.alloc_zeroed(size).is_null());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        #[expect(unsafe_code, reason = "reads and writes the blocks it made")]
        fn blocks_keep_their_contents(steps in prop::collection::vec((0_u8..4, 0_usize..6000, any::<u8>()), 1..200)) {
            let mut arena = Arena::default();
            let mut alive: Vec<(*mut u8, usize, u8)> = Vec::new();
            for (kind, size, fill) in steps {
                let chosen = if alive.is_empty() { 0 } else { usize::from(fill) % alive.len() };
                // SAFETY: every block is alive until it is freed here, and is used within its size.
                unsafe {
                    let whole = |block: *mut u8, size: usize, fill: u8| (0..size).all(|at| block.add(at).read() == fill);
                    match kind {
                        0 | 1 => {
                            let block = if kind == 0 { arena.alloc(size) } else { arena.alloc_zeroed(size) };
                            prop_assert!(Arena::usable_size(block) >= size && block.addr().is_multiple_of(8));
                            prop_assert!(kind == 0 || whole(block, size, 0));
                            block.write_bytes(fill, size);
                            alive.push((block, size, fill));
                        }
                        2 if !alive.is_empty() => {
                            let (block, before, fill) = alive[chosen];
                            let moved = arena.realloc(block, size);
                            prop_assert!(whole(moved, before.min(size), fill));
                            moved.write_bytes(fill, size);
                            alive[chosen] = (moved, size, fill);
                        }
                        3 if !alive.is_empty() => {
                            let (block, size, fill) = alive.swap_remove(chosen);
                            prop_assert!(whole(block, size, fill));
                            arena.dealloc(block);
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}
