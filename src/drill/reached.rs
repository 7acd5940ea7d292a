//! What recovery really reached, as the recovered cluster's own files and log tell it.

use serde::{Deserialize, Serialize};

use super::{FailureClass, Finding, expectation::Promise};
use crate::pg::{Lsn, TimelineId};

/// The outcome of a recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// The timeline that replay ended on: the parent in the new timeline's history file.
    pub timeline: TimelineId,
    /// The timeline that the promotion made.
    pub new_timeline: TimelineId,
    /// The switch point in the new timeline's history file: the end of the last replayed record.
    pub end: Lsn,
    /// The server log's `last completed transaction was at log time`.
    pub last_transaction_at: Option<jiff::Timestamp>,
}

impl Reached {
    /// The time of the last transaction as the server's log prints it: whole microseconds.
    fn last_transaction_micros(&self) -> Option<i64> {
        self.last_transaction_at.map(jiff::Timestamp::as_microsecond)
    }
}

/// Where recovery ended, in words.
#[must_use]
pub fn describe(reached: &Reached) -> String {
    let place = format!("timeline {} at {}", reached.timeline, reached.end);
    match reached.last_transaction_at {
        Some(at) => format!("{place}, last transaction at {at}, all as promised"),
        None => format!("{place}, no transaction replayed, all as promised"),
    }
}

/// Every way in which `reached` is not what was promised. The end is compared to the byte, the last
/// transaction to the microsecond.
#[must_use]
pub fn compare(promise: &Promise, reached: &Reached) -> Vec<Finding> {
    const SHORT: &str = "A real restore from here loses the same data without a word: look in the \
        server's log for the segment at which replay ended, and for that segment in the archive.";
    const BEYOND: &str = "The recovered cluster holds what the archive's own records do not promise \
        for this target: keep the sandbox (`keepOnFailure`) and report it.";
    let mut findings = Vec::new();
    let mut add = |short: bool, subject: &str, detail: String| {
        let (class, hint) = if short {
            (FailureClass::RecoveredShort, SHORT)
        } else {
            (FailureClass::RecoveredBeyond, BEYOND)
        };
        findings.push(Finding::new(class, subject, detail, hint).at(reached.end));
    };
    if reached.timeline != promise.timeline {
        add(
            reached.timeline < promise.timeline,
            "timeline",
            format!(
                "recovery ended on timeline {}, the archive promises timeline {}",
                reached.timeline, promise.timeline
            ),
        );
    }
    let (end, promised) = (reached.end.max_align(), promise.end.max_align());
    if end < promised {
        let bytes = promised.0 - end.0;
        add(
            true,
            "end of recovery",
            format!("recovery ended at {end}, {bytes} bytes of WAL short of {promised}"),
        );
    } else if end > promised {
        let bytes = end.0 - promised.0;
        add(
            false,
            "end of recovery",
            format!("recovery ended at {end}, {bytes} bytes of WAL beyond {promised}"),
        );
    }
    let promised_at = promise.last_transaction.map(|last| last.at);
    match (reached.last_transaction_micros(), promised_at.map(jiff::Timestamp::as_microsecond)) {
        (Some(is), Some(should)) if is == should => {}
        (None, None) => {}
        (is, should) => {
            let words = |at: Option<jiff::Timestamp>| {
                at.map_or_else(|| "none".to_owned(), |at| format!("one at {at}"))
            };
            add(
                is < should,
                "last transaction",
                format!(
                    "the last transaction replayed is {}, the archive promises {}",
                    words(reached.last_transaction_at),
                    words(promised_at)
                ),
            );
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::expectation::LastTransaction;

    fn promise(timeline: u32, end: u64, micros: Option<i64>) -> Promise {
        let last_transaction = micros.map(|micros| LastTransaction {
            at: jiff::Timestamp::from_microsecond(micros).unwrap(),
            xid: 734,
            lsn: Lsn(end - 64),
            committed: true,
        });
        Promise { timeline: TimelineId(timeline), end: Lsn(end), last_transaction }
    }

    fn reached(timeline: u32, end: u64, micros: Option<i64>) -> Reached {
        Reached {
            timeline: TimelineId(timeline),
            new_timeline: TimelineId(timeline + 1),
            end: Lsn(end),
            last_transaction_at: micros.map(|m| jiff::Timestamp::from_microsecond(m).unwrap()),
        }
    }

    #[test]
    fn every_difference_is_named() {
        use FailureClass::{RecoveredBeyond as Beyond, RecoveredShort as Short};
        let at = Some(1_700_000_000_123_456);
        let is = reached(2, 0x500_0100, at);
        for (promise, expected) in [
            (promise(2, 0x500_0100, at), vec![]),
            (promise(2, 0x500_00FA, at), vec![]),
            (promise(2, 0x500_0108, at), vec![Short]),
            (promise(2, 0x500_00F8, at), vec![Beyond]),
            (promise(3, 0x500_0100, at), vec![Short]),
            (promise(1, 0x500_0100, at), vec![Beyond]),
            (promise(2, 0x500_0100, at.map(|t| t + 1)), vec![Short]),
            (promise(2, 0x500_0100, at.map(|t| t - 1)), vec![Beyond]),
            (promise(2, 0x500_0100, None), vec![Beyond]),
            (promise(3, 0x600_0100, at.map(|t| t + 9)), vec![Short, Short, Short]),
        ] {
            let classes: Vec<_> = compare(&promise, &is).iter().map(|f| f.class).collect();
            assert_eq!(classes, expected, "{promise:?}");
        }
        assert_eq!(compare(&promise(2, 0x500_0100, None), &reached(2, 0x500_0100, None)), vec![]);
        let none = reached(2, 0x500_0100, None);
        assert_eq!(compare(&promise(2, 0x500_0100, at), &none)[0].class, Short);
    }

    #[test]
    fn the_sentence_names_both_positions() {
        let short = compare(&promise(1, 0x800_0028, None), &reached(1, 0x500_0000, None));
        assert_eq!(
            short[0].detail,
            "recovery ended at 0/5000000, 50331688 bytes of WAL short of 0/8000028"
        );
        assert_eq!(short[0].lsn, Some(Lsn(0x500_0000)));
    }
}
