//! WAL segments: sizes, numbers and file names (`access/xlog_internal.h`).

use std::{fmt, str::FromStr};

use super::{Lsn, TimelineId};

/// Bytes in a WAL segment: a power of two from 1 MiB to 1 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct SegmentSize(u32);

impl SegmentSize {
    /// PostgreSQL's default, 16 MiB.
    pub const DEFAULT: Self = Self(16 << 20);

    /// `None` where PostgreSQL would refuse the size (`IsValidWalSegSize`).
    #[must_use]
    pub const fn new(bytes: u32) -> Option<Self> {
        if bytes.is_power_of_two() && bytes >= 1 << 20 && bytes <= 1 << 30 {
            Some(Self(bytes))
        } else {
            None
        }
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0 as u64
    }

    /// Segments in one "log file" of 4 GiB (`XLogSegmentsPerXLogId`).
    #[must_use]
    pub const fn per_log(self) -> u64 {
        0x1_0000_0000 / self.bytes()
    }

    /// The segment that holds the byte at `lsn`.
    #[must_use]
    pub const fn segment_of(self, lsn: Lsn) -> SegmentNumber {
        SegmentNumber(lsn.0 / self.bytes())
    }

    /// The segment that holds the last byte before `lsn` (`XLByteToPrevSeg`): an end position that
    /// lies on a boundary belongs to the segment that it ends.
    #[must_use]
    pub const fn segment_before(self, lsn: Lsn) -> SegmentNumber {
        SegmentNumber(lsn.0.saturating_sub(1) / self.bytes())
    }
}

/// A segment's number: its first byte's position divided by the segment size.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct SegmentNumber(pub u64);

impl SegmentNumber {
    /// Position of the segment's first byte.
    #[must_use]
    pub const fn start(self, size: SegmentSize) -> Lsn {
        Lsn(self.0 * size.bytes())
    }

    /// Position after the segment's last byte.
    #[must_use]
    pub const fn end(self, size: SegmentSize) -> Lsn {
        Lsn((self.0 + 1) * size.bytes())
    }

    /// The segment that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The file's name on `timeline`, such as `000000010000000A000000FE` (`XLogFileName`).
    #[must_use]
    pub fn file_name(self, timeline: TimelineId, size: SegmentSize) -> String {
        let (log, seg) = (self.0 / size.per_log(), self.0 % size.per_log());
        format!("{:08X}{log:08X}{seg:08X}", timeline.0)
    }
}

/// What a file name of the WAL archive says, before a segment size is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WalFileName {
    /// `TTTTTTTTXXXXXXXXYYYYYYYY`: a complete segment.
    Segment { timeline: TimelineId, log: u32, seg: u32 },
    /// `….partial`: the unfinished last segment of a timeline that was left at a promotion.
    Partial { timeline: TimelineId, log: u32, seg: u32 },
    /// `….OOOOOOOO.backup`: the label of a base backup that starts in this segment at this offset.
    BackupLabel { timeline: TimelineId, log: u32, seg: u32, offset: u32 },
    /// `TTTTTTTT.history`.
    History { timeline: TimelineId },
}

impl WalFileName {
    /// The number of a segment named by `log` and `seg`, or `None` where `seg` is too large for the size.
    #[must_use]
    pub fn number(log: u32, seg: u32, size: SegmentSize) -> Option<SegmentNumber> {
        (u64::from(seg) < size.per_log())
            .then(|| SegmentNumber(u64::from(log) * size.per_log() + u64::from(seg)))
    }
}

/// The text is not the name of a file in a WAL archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of a WAL file")]
pub struct ParseWalFileNameError(String);

fn hex8(text: &str) -> Option<u32> {
    let fits = text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if fits { u32::from_str_radix(text, 16).ok() } else { None }
}

impl FromStr for WalFileName {
    type Err = ParseWalFileNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let timeline = TimelineId(hex8(text.get(..8)?)?);
            let rest = &text[8..];
            if rest == ".history" {
                return Some(Self::History { timeline });
            }
            let (log, seg) = (hex8(rest.get(..8)?)?, hex8(rest.get(8..16)?)?);
            match &rest[16..] {
                "" => Some(Self::Segment { timeline, log, seg }),
                ".partial" => Some(Self::Partial { timeline, log, seg }),
                label => {
                    let offset = hex8(label.strip_prefix('.')?.strip_suffix(".backup")?)?;
                    Some(Self::BackupLabel { timeline, log, seg, offset })
                }
            }
        };
        parse().ok_or_else(|| ParseWalFileNameError(text.to_owned()))
    }
}

impl fmt::Display for WalFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment { timeline, log, seg } => {
                write!(f, "{:08X}{log:08X}{seg:08X}", timeline.0)
            }
            Self::Partial { timeline, log, seg } => {
                write!(f, "{:08X}{log:08X}{seg:08X}.partial", timeline.0)
            }
            Self::BackupLabel { timeline, log, seg, offset } => {
                write!(f, "{:08X}{log:08X}{seg:08X}.{offset:08X}.backup", timeline.0)
            }
            Self::History { timeline } => write!(f, "{:08X}.history", timeline.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let size = SegmentSize::DEFAULT;
        let lsn: Lsn = "A/FE000028".parse().unwrap();
        let number = size.segment_of(lsn);
        assert_eq!(number.file_name(TimelineId(1), size), "000000010000000A000000FE");
        assert_eq!(number.start(size), Lsn(0xA_FE00_0000));
        assert_eq!(size.segment_before(number.end(size)), number);
        assert_eq!(size.segment_of(number.end(size)), number.next());
        assert_eq!(WalFileName::number(0xA, 0xFE, size), Some(number));
        assert_eq!(WalFileName::number(0, 0x100, size), None);
    }

    #[test]
    fn every_kind_parses_and_prints() {
        for text in [
            "000000010000000A000000FE",
            "000000010000000A000000FE.partial",
            "000000010000000A000000FE.00000028.backup",
            "0000000B.history",
        ] {
            assert_eq!(text.parse::<WalFileName>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "0000000B.histor",
            "000000010000000A000000FG",
            "000000010000000A000000FE.gz",
            "é00000010000000A000000FE",
        ] {
            assert!(text.parse::<WalFileName>().is_err(), "{text}");
        }
    }
}
