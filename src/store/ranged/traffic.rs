//! What is under way over all bodies of a store: how many pieces, how fast they come, and what follows
//! for how many there may be.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::climb::{Climb, Interval};

/// Long enough for every connection to bring something on a link with latency.
pub(super) const INTERVAL: Duration = Duration::from_millis(250);
/// Part of an interval that those who read must have waited for the store to be limited by it.
const STARVED: f64 = 0.25;

/// Counts for one store.
#[derive(Debug)]
pub(super) struct Traffic {
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    climb: Climb,
    /// Bodies that are being read.
    bodies: usize,
    /// Pieces that are on their way or wait to be taken.
    pieces: usize,
    /// When the interval began; `None` while nothing is under way.
    since: Option<Instant>,
    bytes: u64,
    begun: usize,
    full: bool,
    waited: Duration,
    /// How often the store had asked to slow down when the interval began.
    slowdowns: u64,
}

impl Traffic {
    pub(super) fn new(connections: usize, interval: Duration) -> Arc<Self> {
        let state = State {
            climb: Climb::new(connections),
            bodies: 0,
            pieces: 0,
            since: None,
            bytes: 0,
            begun: 0,
            full: false,
            waited: Duration::ZERO,
            slowdowns: 0,
        };
        Arc::new(Self { interval, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A body is being read until this is dropped.
    pub(super) fn seat(self: &Arc<Self>) -> Seat {
        self.state().bodies += 1;
        Seat(Arc::clone(self))
    }

    /// A piece that must be there, whatever else is under way.
    pub(super) fn slot(self: &Arc<Self>, now: Instant) -> Slot {
        self.state().add(now);
        Slot(Arc::clone(self))
    }

    /// A piece ahead of what is read, for a body that has `own` already; `None` where there are enough.
    pub(super) fn slot_ahead(self: &Arc<Self>, own: usize, now: Instant) -> Option<Slot> {
        let mut state = self.state();
        let all = state.climb.connections();
        let is_free = state.pieces < all && own < all.div_ceil(state.bodies.max(1));
        is_free.then(|| {
            state.add(now);
            Slot(Arc::clone(self))
        })
    }

    /// Somebody has waited so long for the next bytes.
    pub(super) fn waited(&self, time: Duration) {
        self.state().waited += time;
    }

    /// Bytes came, the `first` of a piece or others; the store has asked to slow down so often.
    pub(super) fn arrived(&self, now: Instant, bytes: usize, first: bool, slowdowns: u64) {
        let mut state = self.state();
        state.bytes += bytes as u64;
        state.begun += usize::from(first);
        let since = *state.since.get_or_insert(now);
        let length = now.saturating_duration_since(since);
        if length >= self.interval {
            state.end_interval(now, length, slowdowns);
        }
    }
}

impl State {
    fn add(&mut self, now: Instant) {
        self.pieces += 1;
        self.full |= self.pieces >= self.climb.connections();
        self.since.get_or_insert(now);
    }

    fn end_interval(&mut self, now: Instant, length: Duration, slowdowns: u64) {
        let seconds = length.as_secs_f64();
        let before = self.climb.connections();
        self.climb.observe(Interval {
            bytes_per_second: self.bytes.saturating_mul(1000) / length.as_millis().max(1) as u64,
            begun: self.begun,
            full: self.full,
            starved: self.waited.as_secs_f64() >= STARVED * seconds,
            throttled: slowdowns > self.slowdowns,
        });
        let connections = self.climb.connections();
        if connections != before {
            let rate = self.bytes as f64 / seconds / 1e6;
            tracing::debug!(connections, before, "fetching {rate:.0} MB/s");
        }
        self.slowdowns = slowdowns;
        self.begin(Some(now));
    }

    fn begin(&mut self, since: Option<Instant>) {
        (self.since, self.bytes, self.begun) = (since, 0, 0);
        (self.full, self.waited) = (self.pieces >= self.climb.connections(), Duration::ZERO);
    }
}

/// A body's place among those that are read.
#[derive(Debug)]
pub(super) struct Seat(Arc<Traffic>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.state().bodies -= 1;
    }
}

/// A piece's place among those that are under way.
#[derive(Debug)]
pub(super) struct Slot(Arc<Traffic>);

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.pieces -= 1;
        if state.pieces == 0 {
            // What is not asked for does not come.
            state.begin(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store's traffic with a clock of its own.
    struct Run {
        traffic: Arc<Traffic>,
        now: Instant,
        slots: Vec<Slot>,
    }

    impl Run {
        fn new() -> Self {
            let (traffic, now) = (Traffic::new(8, INTERVAL), Instant::now());
            let slots = vec![traffic.slot(now)];
            Self { traffic, now, slots }
        }

        fn fill(&mut self) -> usize {
            while let Some(slot) = self.traffic.slot_ahead(self.slots.len(), self.now) {
                self.slots.push(slot);
            }
            self.slots.len()
        }

        /// An interval in which readers wait and so much comes of each piece.
        fn interval(&mut self, bytes: usize, slowdowns: u64) {
            self.traffic.waited(INTERVAL);
            for _ in 1..self.slots.len() {
                self.traffic.arrived(self.now, bytes, true, slowdowns);
            }
            self.now += INTERVAL;
            self.traffic.arrived(self.now, bytes, true, slowdowns);
        }
    }

    #[test]
    fn more_pieces_while_they_bring_more_and_fewer_when_asked_for() {
        let mut run = Run::new();
        let _seat = run.traffic.seat();
        let mut seen = Vec::new();
        for _ in 0..6 {
            seen.push(run.fill());
            run.interval(1000, 0);
        }
        assert_eq!(seen, [2, 4, 4, 8, 8, 8]);
        run.interval(1000, 3);
        for left in [8, 4] {
            run.slots.truncate(left);
            assert!(run.traffic.slot_ahead(0, run.now).is_none());
        }
        run.slots.truncate(3);
        assert_eq!(run.fill(), 4);
        // The same number again is not news.
        run.interval(1000, 3);
        assert_eq!(run.fill(), 4);
    }

    #[test]
    fn time_in_which_nothing_was_asked_for_says_nothing() {
        let mut run = Run::new();
        run.slots.clear();
        run.now += 100 * INTERVAL;
        run.fill();
        run.traffic.arrived(run.now, 1, true, 0);
        assert_eq!(run.traffic.state().bytes, 1, "the interval has only begun");
    }

    #[test]
    fn bodies_share_and_each_has_one() {
        let mut run = Run::new();
        for _ in 0..5 {
            run.fill();
            run.interval(1000, 0);
        }
        let seats: Vec<_> = (0..3).map(|_| run.traffic.seat()).collect();
        run.slots.truncate(1);
        assert_eq!(run.fill(), 3, "a third of eight, rounded up");
        let others: Vec<_> = (0..20).map(|_| run.traffic.slot(run.now)).collect();
        assert!(run.traffic.slot_ahead(0, run.now).is_none());
        drop((seats, others));
        assert_eq!(run.fill(), 8);
    }
}
