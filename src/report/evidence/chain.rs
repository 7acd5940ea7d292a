//! The chain of evidence of one job: each envelope names the one before it, so that none can be
//! changed, left out or put in between unseen.
//!
//! What a chain cannot show is that its newest links were cut off: whoever must know that keeps the
//! name of the newest one elsewhere.

use std::collections::VecDeque;

use super::{
    Digest, Link, Statement,
    dsse::{self, Flaw},
    key::VerifyingKey,
};

/// So many earlier links are remembered to tell a fork from a gap.
const REMEMBERED: usize = 1_000;

/// What is kept of one drill, with the name that its report is kept under.
#[derive(Debug)]
pub struct Kept<'a> {
    pub name: &'a str,
    pub report: &'a [u8],
    pub envelope: Option<&'a [u8]>,
}

/// What one link of the chain is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Signed, the report is the one that was signed, and it follows the link before.
    Good,
    /// Good, and the first that is looked at: the link that it names is not among them, as where older
    /// reports were pruned.
    Begins(Link),
    /// Good, but it follows an earlier link than the one before: two drills of the job ended at a time.
    Forks(Link),
    /// The report was kept without evidence, before there was any.
    Unsigned,
    /// The report has no evidence, though earlier ones have.
    Stripped,
    /// The envelope proves nothing.
    Flawed(Flaw),
    /// The signed report is another one than the one that is kept.
    Changed,
    /// The signed statement is about the report of another name.
    Misplaced(String),
    /// The link that it names is not there: one was removed, changed or put in between.
    Broken(Option<Link>),
}

impl State {
    /// Whether nothing speaks against it. What was kept before there was evidence is not proved either.
    #[must_use]
    pub const fn holds(&self) -> bool {
        matches!(self, Self::Good | Self::Begins(_) | Self::Forks(_) | Self::Unsigned)
    }
}

/// Verifies the chain of one job, oldest first, with memory that does not grow with its length.
#[derive(Debug)]
pub struct Chain<'a> {
    keys: &'a [VerifyingKey],
    /// Digests of the envelopes so far, the newest last.
    seen: VecDeque<Digest>,
}

impl<'a> Chain<'a> {
    /// With the keys that are trusted.
    #[must_use]
    pub const fn new(keys: &'a [VerifyingKey]) -> Self {
        Self { keys, seen: VecDeque::new() }
    }

    /// The next one.
    pub fn next(&mut self, kept: &Kept<'_>) -> State {
        let Some(envelope) = kept.envelope else {
            return if self.seen.is_empty() { State::Unsigned } else { State::Stripped };
        };
        let state = match dsse::open(envelope, self.keys) {
            Ok(statement) => self.judge(kept, statement),
            Err(flaw) => State::Flawed(flaw),
        };
        // Also where it is flawed: the next one may rightly name it.
        if self.seen.len() == REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(Digest::of(envelope));
        state
    }

    fn judge(&self, kept: &Kept<'_>, statement: Statement) -> State {
        let [subject] = statement.subject.as_slice() else {
            return State::Flawed(Flaw::Form("its statement is not about one report".to_owned()));
        };
        if subject.name != kept.name {
            return State::Misplaced(subject.name.clone());
        }
        if subject.digest != Digest::of(kept.report) {
            return State::Changed;
        }
        match (statement.predicate.previous, self.seen.back()) {
            (None, None) => State::Good,
            (Some(link), None) => State::Begins(link),
            (Some(link), Some(newest)) if link.digest == *newest => State::Good,
            (Some(link), Some(_)) if self.seen.contains(&link.digest) => State::Forks(link),
            (link, Some(_)) => State::Broken(link),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        drill::report::sample,
        report::evidence::{key::testing, statement},
    };

    struct Owned {
        name: String,
        report: Vec<u8>,
        envelope: Option<Vec<u8>>,
    }

    fn signed(number: usize, before: Option<&Owned>) -> Owned {
        let (name, report) = (format!("r{number}"), format!("report {number}").into_bytes());
        let link = before.map(|before| Link {
            name: before.name.clone(),
            digest: Digest::of(before.envelope.as_ref().unwrap()),
        });
        let said = statement(&name, &report, &sample::pass(), link);
        let envelope = Some(dsse::seal(&said, &testing::signing(1)));
        Owned { name, report, envelope }
    }

    fn chain(length: usize) -> Vec<Owned> {
        let mut all = Vec::<Owned>::new();
        for number in 0..length {
            let next = signed(number, all.last());
            all.push(next);
        }
        all
    }

    fn states(all: &[Owned]) -> Vec<State> {
        let keys = [testing::verifying(1)];
        let mut chain = Chain::new(&keys);
        let next = |kept: &Owned| {
            let envelope = kept.envelope.as_deref();
            chain.next(&Kept { name: &kept.name, report: &kept.report, envelope })
        };
        all.iter().map(next).collect()
    }

    #[test]
    fn a_whole_chain_holds() {
        assert_eq!(states(&chain(5)), vec![State::Good; 5]);
        assert_eq!(states(&[]), []);
    }

    #[test]
    fn a_report_that_was_changed_is_seen() {
        let mut all = chain(3);
        all[1].report[0] ^= 1;
        assert_eq!(states(&all), [State::Good, State::Changed, State::Good]);
    }

    #[test]
    fn evidence_that_was_changed_is_seen_twice() {
        let mut all = chain(3);
        // Another key signs something else: it is not trusted, and what follows named the true one.
        let said = statement("r1", &all[1].report, &sample::fail(), None);
        all[1].envelope = Some(dsse::seal(&said, &testing::signing(2)));
        let states = states(&all);
        assert!(matches!(&states[1], State::Flawed(Flaw::ForeignKey(_))), "{states:?}");
        assert!(matches!(&states[2], State::Broken(Some(link)) if link.name == "r1"), "{states:?}");
        assert!(!states[1].holds() && !states[2].holds());
    }

    #[test]
    fn one_that_was_removed_is_missed() {
        let mut all = chain(4);
        all.remove(1);
        let states = states(&all);
        assert!(matches!(&states[1], State::Broken(Some(link)) if link.name == "r1"), "{states:?}");
        assert_eq!((&states[0], &states[2]), (&State::Good, &State::Good));
    }

    #[test]
    fn one_whose_evidence_was_removed_is_missed() {
        let mut all = chain(3);
        all[1].envelope = None;
        let states = states(&all);
        assert_eq!(states[1], State::Stripped);
        assert!(!states[1].holds());
        assert!(matches!(&states[2], State::Broken(Some(_))), "{states:?}");
    }

    #[test]
    fn one_that_was_put_in_between_breaks_the_chain() {
        let mut all = chain(3);
        // The key was stolen: what is signed with it still has no place.
        all.insert(2, signed(9, None));
        let states = states(&all);
        assert_eq!(states[2], State::Broken(None));
        assert!(matches!(&states[3], State::Forks(link) if link.name == "r1"), "{states:?}");
    }

    #[test]
    fn one_in_another_ones_place_is_seen() {
        let mut all = chain(3);
        let moved = all[0].envelope.clone();
        all[2].envelope = moved;
        assert_eq!(states(&all)[2], State::Misplaced("r0".into()));
    }

    #[test]
    fn what_was_kept_before_there_was_evidence_is_no_gap() {
        let mut all = chain(2);
        let old = |name: &str| Owned { name: name.into(), report: Vec::new(), envelope: None };
        all.splice(0..0, [old("a"), old("b")]);
        let expected = [State::Unsigned, State::Unsigned, State::Good, State::Good];
        assert_eq!(states(&all), expected);
    }

    #[test]
    fn what_was_pruned_begins_later() {
        let mut all = chain(4);
        all.drain(..2);
        let states = states(&all);
        assert!(matches!(&states[0], State::Begins(link) if link.name == "r1"), "{states:?}");
        assert_eq!(states[1], State::Good);
    }

    #[test]
    fn two_writers_at_a_time_fork_and_go_on() {
        let mut all = chain(2);
        let other = signed(2, Some(&all[0]));
        all.push(other);
        let next = signed(3, Some(&all[2]));
        all.push(next);
        let states = states(&all);
        assert!(matches!(&states[2], State::Forks(link) if link.name == "r0"), "{states:?}");
        assert_eq!(states[3], State::Good);
        assert!(states.iter().all(State::holds));
    }
}
