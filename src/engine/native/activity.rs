//! What moves: bytes, segments, lines of the log. The watchdog ends a drill in which nothing does.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// When something last moved, and how many bytes were fetched.
#[derive(Debug)]
pub struct Activity {
    origin: Instant,
    last: AtomicU64,
    fetched: AtomicU64,
}

impl Activity {
    /// Begins now.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now(), last: AtomicU64::new(0), fetched: AtomicU64::new(0) }
    }

    /// Something moved.
    pub fn touch(&self) {
        self.last.store(self.origin.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// How long nothing has moved.
    #[must_use]
    pub fn idle(&self) -> Duration {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        self.origin.elapsed().saturating_sub(last)
    }

    /// Adds bytes taken from the store; gives the sum.
    pub fn fetch(&self, bytes: u64) -> u64 {
        self.touch();
        self.fetched.fetch_add(bytes, Ordering::Relaxed) + bytes
    }
}
