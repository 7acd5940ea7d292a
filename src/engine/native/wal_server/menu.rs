//! What PostgreSQL may be given, and what an answer proves.

use std::collections::BTreeMap;

use super::super::spool::reach::{LogEnd, Needs, Reach};
use crate::pg::{SegmentNumber, SegmentSize, TimelineHistory, WalFileName};

/// Everything that may be served.
#[derive(Clone, Debug)]
pub struct Menu {
    /// The timeline that recovery follows.
    pub history: TimelineHistory,
    /// Every history file of the listing, by name.
    pub histories: BTreeMap<String, String>,
    pub size: SegmentSize,
    pub first: SegmentNumber,
    /// What the server that asks was made for.
    pub given: Needs,
}

/// What a question deserves.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    Segment(SegmentNumber),
    /// A segment that is not ready yet, or of which it is not known whether there is one.
    Later(SegmentNumber),
    History(&'a str),
    /// A proven end: status 1.
    End,
    /// Nothing that should be asked for.
    Refuse(&'static str),
}

impl Menu {
    /// What to say where the spool has got this far.
    pub(super) fn answer(&self, file: &str, reach: &Reach) -> Answer<'_> {
        let Ok(name) = file.parse::<WalFileName>() else {
            return Answer::Refuse("it is not the name of a WAL file");
        };
        let (timeline, log, seg) = match name {
            WalFileName::Segment { timeline, log, seg } => (timeline, log, seg),
            WalFileName::History { .. } => {
                return self.histories.get(file).map_or(Answer::End, |text| Answer::History(text));
            }
            WalFileName::Partial { .. } | WalFileName::BackupLabel { .. } => {
                return Answer::Refuse("PostgreSQL never asks for such a file");
            }
        };
        let Some(number) = WalFileName::number(log, seg, self.size) else {
            return Answer::Refuse("its number does not fit the segment size");
        };
        let is_behind_the_end = |end: LogEnd| end.last.is_none_or(|last| number > last);
        if reach.end.is_some_and(is_behind_the_end) {
            Answer::End
        } else if self.history.timeline_of_segment(number, self.size) != timeline {
            // Replay must take this number from another timeline, and gets it there.
            Answer::End
        } else if number < self.first {
            Answer::Refuse("it lies before the backup's start")
        } else if !reach.needs.are_met_by(&self.given) {
            // Another server must go on from there.
            Answer::Later(number)
        } else if reach.end.is_none() && number >= reach.settled {
            Answer::Later(number)
        } else {
            Answer::Segment(number)
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::pg::{TimelineId, wal::scan::ParameterFloor};

    pub(in super::super) fn menu() -> Menu {
        let text = "1\t0/5000100\tno reason\n";
        Menu {
            history: TimelineHistory::parse(TimelineId(2), text).unwrap(),
            histories: BTreeMap::from([("00000002.history".to_owned(), text.to_owned())]),
            size: SegmentSize::DEFAULT,
            first: SegmentNumber(3),
            given: Needs::default(),
        }
    }

    /// All is read, and segment 7 is the last.
    pub(in super::super) fn all() -> Reach {
        Reach { end: Some(LogEnd { last: Some(SegmentNumber(7)) }), ..Reach::nothing() }
    }

    fn word(menu: &Menu, file: &str, reach: &Reach) -> &'static str {
        match menu.answer(file, reach) {
            Answer::Segment(_) | Answer::History(_) => "serve",
            Answer::Later(_) => "later",
            Answer::End => "end",
            Answer::Refuse(_) => "refuse",
        }
    }

    #[test]
    fn one_is_said_only_of_a_proven_end() {
        let menu = menu();
        // Of all the WAL, and of what is settled when segment 5 is not yet.
        let some = Reach { settled: SegmentNumber(5), ..Reach::nothing() };
        for (file, of_all, of_some) in [
            ("000000010000000000000003", "serve", "serve"),
            ("000000010000000000000004", "serve", "serve"),
            // The first segment of a timeline begins with its parent's bytes.
            ("000000020000000000000005", "serve", "later"),
            ("000000010000000000000005", "end", "end"),
            ("000000020000000000000004", "end", "end"),
            ("000000020000000000000007", "serve", "later"),
            ("000000020000000000000008", "end", "later"),
            ("000000010000000000000008", "end", "end"),
            ("000000010000000000000002", "refuse", "refuse"),
            ("00000002.history", "serve", "serve"),
            ("00000003.history", "end", "end"),
            ("00000001.history", "end", "end"),
            ("000000010000000000000004.partial", "refuse", "refuse"),
            ("0000000100000000000001FF", "refuse", "refuse"),
            ("../../etc/passwd", "refuse", "refuse"),
            ("", "refuse", "refuse"),
        ] {
            assert_eq!(word(&menu, file, &all()), of_all, "{file}");
            assert_eq!(word(&menu, file, &some), of_some, "{file}");
        }
        let none = Reach { end: Some(LogEnd { last: None }), ..Reach::nothing() };
        assert_eq!(word(&menu, "000000010000000000000003", &none), "end");
    }

    #[test]
    fn a_server_that_lacks_something_gets_no_segment() {
        let floor = |max_prepared_transactions| ParameterFloor {
            max_prepared_transactions,
            ..Default::default()
        };
        let needs = |parameters, custom: &[u8], tablespaces| Needs {
            parameters,
            custom_resource_managers: custom.to_vec(),
            tablespaces,
        };
        let given = needs(floor(100), &[128, 130], true);
        let menu = Menu { given, ..menu() };
        for (needs, answer) in [
            (needs(floor(100), &[130], true), "serve"),
            (needs(floor(99), &[], false), "serve"),
            (needs(floor(101), &[], false), "later"),
            (needs(floor(99), &[129], false), "serve"),
        ] {
            let reach = Reach { needs: Arc::new(needs), ..all() };
            assert_eq!(word(&menu, "000000010000000000000003", &reach), answer, "{reach:?}");
        }
        let menu = Menu { given: Needs::default(), ..menu };
        for needs in [needs(floor(0), &[], true), needs(floor(0), &[128], false)] {
            let reach = Reach { needs: Arc::new(needs), ..all() };
            assert_eq!(word(&menu, "000000010000000000000003", &reach), "later");
        }
    }
}
