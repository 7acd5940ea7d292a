//! How many connections at the same time: more while it helps, fewer where the store asks for it.
//! Without a clock: it learns from one interval after the other.

/// Connections at the beginning: one whose bytes pass through and one ahead of it.
pub const START: usize = 2;

/// A step up must bring this part of what it would bring if every connection were as fast as those
/// before: a third.
const WORTH: f64 = 1.0 / 3.0;
/// Intervals from a step that did not help to the next one, at first and at most.
const PATIENCE: (u32, u32) = (8, 64);
/// Intervals in which a step must have shown something.
const LONGEST_STEP: u32 = 40;
/// Intervals of which one must show it: other work on this machine makes some of them slow.
const TRIES: u32 = 2;
/// Intervals without a wait for the store, after which one connection less will do.
const UNUSED: u32 = 8;

/// What an interval has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    pub bytes_per_second: u64,
    /// Pieces of which the first byte came.
    pub begun: usize,
    /// As many connections were in use as there may be.
    pub full: bool,
    /// Those who read have waited for the store: it is what limits them.
    pub starved: bool,
    /// The store has asked to slow down.
    pub throttled: bool,
}

/// The number of connections, and what is being tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Climb {
    most: usize,
    now: usize,
    phase: Phase,
    /// Until a step does not help, each doubles.
    doubling: bool,
    patience: u32,
    unused: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No step for so many intervals.
    Rest(u32),
    /// A step up was made.
    Step(Step),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    from: usize,
    bytes_per_second: u64,
    /// New connections of which nothing has come yet: until then it says nothing.
    missing: usize,
    left: u32,
    tries: u32,
}

impl Climb {
    /// At most `most` connections, at least one.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let most = most.max(1);
        let now = START.min(most);
        Self { most, now, phase: Phase::Rest(0), doubling: true, patience: PATIENCE.0, unused: 0 }
    }

    /// How many there may be now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.now
    }

    /// Learns from an interval.
    pub fn observe(&mut self, seen: Interval) {
        if seen.throttled {
            self.now = (self.now / 2).max(1);
            self.doubling = false;
            self.patience = PATIENCE.1;
            self.phase = Phase::Rest(self.patience);
            return;
        }
        self.phase = match self.phase {
            Phase::Rest(left) => Phase::Rest(left.saturating_sub(1)),
            Phase::Step(step) => self.judge(step, seen),
        };
        if let Phase::Rest(left) = self.phase {
            self.unused = if seen.starved { 0 } else { self.unused + 1 };
            if self.unused >= UNUSED && self.now > START {
                self.now -= 1;
                self.unused = 0;
            }
            if left == 0 && seen.starved && seen.full && self.now < self.most {
                self.step_up(seen.bytes_per_second);
            }
        }
    }

    fn step_up(&mut self, bytes_per_second: u64) {
        let from = self.now;
        let more = if self.doubling { from } else { 1 };
        self.now = (from + more).min(self.most);
        let missing = self.now - from;
        let (left, tries) = (LONGEST_STEP, TRIES);
        self.phase = Phase::Step(Step { from, bytes_per_second, missing, left, tries });
    }

    fn judge(&mut self, mut step: Step, seen: Interval) -> Phase {
        if step.left == 0 {
            return self.step_back(step);
        }
        step.left -= 1;
        if step.missing > 0 {
            // The interval in which they begin is not theirs.
            step.missing = step.missing.saturating_sub(seen.begun);
            return Phase::Step(step);
        }
        if !seen.starved {
            // Whoever reads has been slow.
            return Phase::Step(step);
        }
        let wished = (self.now - step.from) as f64 / step.from as f64;
        let enough = step.bytes_per_second as f64 * (1.0 + wished * WORTH);
        if seen.bytes_per_second as f64 >= enough {
            self.patience = PATIENCE.0;
            return Phase::Rest(0);
        }
        step.tries -= 1;
        if step.tries == 0 { self.step_back(step) } else { Phase::Step(step) }
    }

    fn step_back(&mut self, step: Step) -> Phase {
        self.now = step.from;
        self.doubling = false;
        let rest = self.patience;
        self.patience = (2 * rest).min(PATIENCE.1);
        Phase::Rest(rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An interval of readers that wait, on a link of which each connection gets at most `each` and all
    /// together `all`.
    fn on_link(climb: &Climb, each: u64, all: u64) -> Interval {
        let bytes_per_second = (climb.connections() as u64 * each).min(all);
        Interval {
            bytes_per_second,
            begun: climb.connections(),
            full: true,
            starved: true,
            throttled: false,
        }
    }

    fn run(climb: &mut Climb, intervals: usize, each: u64, all: u64) -> Vec<usize> {
        let observe = |_| {
            climb.observe(on_link(climb, each, all));
            climb.connections()
        };
        (0..intervals).map(observe).collect()
    }

    #[test]
    fn doubles_while_each_connection_brings_more() {
        let mut climb = Climb::new(8);
        assert_eq!(climb.connections(), 2);
        assert_eq!(run(&mut climb, 6, 40, 10_000), [4, 4, 8, 8, 8, 8]);
    }

    #[test]
    fn steps_back_where_one_connection_is_the_whole_link() {
        let mut climb = Climb::new(8);
        assert_eq!(run(&mut climb, 4, 100, 100), [4, 4, 4, 2]);
        // Tries again with one more, less and less often.
        let later = run(&mut climb, 1000, 100, 100);
        assert!(later.iter().all(|n| (2..=3).contains(n)), "{later:?}");
        let tried = later.iter().filter(|n| **n == 3).count();
        assert!((10..60).contains(&tried), "{tried}");
    }

    #[test]
    fn one_slow_interval_is_not_believed() {
        let mut climb = Climb::new(8);
        run(&mut climb, 2, 40, 10_000);
        run(&mut climb, 1, 1, 10_000);
        assert_eq!(run(&mut climb, 1, 40, 10_000), [8]);
    }

    #[test]
    fn finds_the_number_that_fills_the_link() {
        let mut climb = Climb::new(16);
        let last = run(&mut climb, 200, 40, 200);
        assert!(last[100..].iter().all(|n| (5..=6).contains(n)), "{last:?}");
    }

    #[test]
    fn halves_when_asked_to_slow_down_and_comes_back_slowly() {
        let mut climb = Climb::new(8);
        run(&mut climb, 6, 40, 10_000);
        for halved in [4, 2, 1, 1] {
            climb.observe(Interval { throttled: true, ..on_link(&climb, 40, 10_000) });
            assert_eq!(climb.connections(), halved);
        }
        let after = run(&mut climb, PATIENCE.1 as usize, 40, 10_000);
        let (last, before) = after.split_last().unwrap();
        assert!(before.iter().all(|n| *n == 1), "{after:?}");
        assert_eq!(*last, 2);
    }

    #[test]
    fn waits_for_what_new_connections_bring_but_not_for_ever() {
        let mut climb = Climb::new(8);
        run(&mut climb, 1, 40, 10_000);
        let nothing = Interval { begun: 0, ..on_link(&climb, 0, 0) };
        for _ in 0..LONGEST_STEP {
            climb.observe(nothing);
            assert_eq!(climb.connections(), 4);
        }
        climb.observe(nothing);
        assert_eq!(climb.connections(), 2);
    }

    #[test]
    fn readers_that_do_not_wait_need_no_more_and_soon_less() {
        let mut climb = Climb::new(8);
        let quick = |climb: &Climb| Interval { starved: false, ..on_link(climb, 40, 10_000) };
        for _ in 0..20 {
            climb.observe(quick(&climb));
            assert_eq!(climb.connections(), 2);
        }
        run(&mut climb, 6, 40, 10_000);
        for _ in 0..6 * UNUSED {
            climb.observe(quick(&climb));
        }
        assert_eq!(climb.connections(), 2);
    }

    #[test]
    fn what_is_not_used_is_not_raised() {
        let mut climb = Climb::new(8);
        for _ in 0..20 {
            climb.observe(Interval { full: false, ..on_link(&climb, 40, 10_000) });
            assert_eq!(climb.connections(), 2);
        }
    }

    proptest! {
        #[test]
        fn stays_within_its_bounds_and_never_rises_when_throttled(
            most in 0..20_usize,
            seen in prop::collection::vec(
                (any::<u64>(), 0..20_usize, any::<bool>(), any::<bool>(), prop::bool::weighted(0.1)),
                0..300,
            ),
        ) {
            let mut climb = Climb::new(most);
            for (bytes_per_second, begun, full, starved, throttled) in seen {
                let before = climb.connections();
                climb.observe(Interval { bytes_per_second, begun, full, starved, throttled });
                let now = climb.connections();
                prop_assert!((1..=most.max(1)).contains(&now));
                prop_assert!(!throttled || now <= before);
                prop_assert!(now <= 2 * before);
            }
        }
    }
}
