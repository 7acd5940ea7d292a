//! Counts what a thread allocates. Decoders in C are not seen: their limits are their own.
#![expect(unsafe_code, reason = "an allocator is unsafe by nature; this one only counts")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator with a count of bytes for each thread.
pub struct Counting;

fn grow(bytes: usize) {
    LIVE.with(|live| {
        live.set(live.get().saturating_add(bytes));
        PEAK.with(|peak| peak.set(peak.get().max(live.get())));
    });
}

fn shrink(bytes: usize) {
    // What another thread allocated may be freed here.
    LIVE.with(|live| live.set(live.get().saturating_sub(bytes)));
}

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // While the bytes move, both are there.
        grow(size);
        shrink(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        shrink(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(old, layout) }
    }
}

/// Runs `work` and gives the most bytes that it held at a time, what was there before not counted.
pub fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.with(Cell::get);
    PEAK.with(|peak| peak.set(before));
    let result = work();
    (result, PEAK.with(Cell::get).saturating_sub(before))
}

#[test]
fn memory_is_counted() {
    let (kept, most) = peak(|| {
        drop(std::hint::black_box(vec![1_u8; 3 << 20]));
        std::hint::black_box(vec![1_u8; 1 << 20])
    });
    assert!((3 << 20..4 << 20).contains(&most), "{most}");
    assert_eq!(kept.len(), 1 << 20);
}
