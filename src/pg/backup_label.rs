//! `backup_label`: where recovery of a base backup begins (`access/xlogbackup.c`,
//! `read_backup_label` in `access/xlogrecovery.c`).

use super::{Lsn, TimelineId, WalFileName};

/// What a backup's `backup_label` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupLabel {
    /// The redo point of the backup's checkpoint: where replay begins.
    pub start_wal_location: Lsn,
    /// The segment that holds it, such as `000000010000000000000002`.
    pub start_wal_file: WalFileName,
    /// The timeline of that file's name.
    pub timeline: TimelineId,
    pub checkpoint_location: Lsn,
    /// `streamed` for every backup of a running server.
    pub method: Option<BackupMethod>,
    pub from: Option<BackupFrom>,
    /// As the server wrote it, in its own time zone.
    pub start_time: Option<String>,
    pub label: Option<String>,
    pub start_timeline: Option<TimelineId>,
    /// Only in an incremental backup (17 and later), which cannot be recovered by itself.
    pub incremental_from: Option<Lsn>,
}

/// `BACKUP METHOD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupMethod {
    Streamed,
    /// Written by `pg_rewind`.
    PgRewind,
    Other,
}

/// `BACKUP FROM`: the server that was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupFrom {
    Primary,
    Standby,
}

/// Why a `backup_label` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackupLabelError {
    #[error("line {line} is not `{expected}`")]
    Syntax { line: usize, expected: &'static str },
    #[error("the label names timeline {label} but its first WAL file is on {file}")]
    TimelineContradiction { label: TimelineId, file: TimelineId },
}

impl BackupLabel {
    /// Parses the file's text. The first two lines must be the ones that PostgreSQL demands; of the
    /// others those that it does not know are skipped.
    ///
    /// # Errors
    /// A [`BackupLabelError`] names the line that PostgreSQL would refuse.
    pub fn parse(text: &str) -> Result<Self, BackupLabelError> {
        const START: &str = "START WAL LOCATION: X/X (file …)";
        const CHECKPOINT: &str = "CHECKPOINT LOCATION: X/X";
        let syntax = |line, expected| BackupLabelError::Syntax { line, expected };
        let mut lines = text.lines();
        let (start_wal_location, start_wal_file, timeline) =
            lines.next().and_then(start_line).ok_or(syntax(1, START))?;
        let checkpoint_location = lines
            .next()
            .and_then(|line| line.strip_prefix("CHECKPOINT LOCATION: ")?.trim().parse().ok())
            .ok_or(syntax(2, CHECKPOINT))?;
        let mut label = Self {
            start_wal_location,
            start_wal_file,
            timeline,
            checkpoint_location,
            method: None,
            from: None,
            start_time: None,
            label: None,
            start_timeline: None,
            incremental_from: None,
        };
        for (index, content) in lines.enumerate() {
            let line = index + 3;
            let Some((key, value)) = content.split_once(": ") else { continue };
            let value = value.trim_end();
            match key {
                "BACKUP METHOD" => {
                    label.method = Some(match value {
                        "streamed" => BackupMethod::Streamed,
                        "pg_rewind" => BackupMethod::PgRewind,
                        _ => BackupMethod::Other,
                    });
                }
                "BACKUP FROM" => {
                    label.from = match value {
                        "standby" => Some(BackupFrom::Standby),
                        "primary" | "master" => Some(BackupFrom::Primary),
                        _ => None,
                    };
                }
                "START TIME" => label.start_time = Some(value.to_owned()),
                "LABEL" => label.label = Some(value.to_owned()),
                "START TIMELINE" => {
                    let id = value.parse().map_err(|_| syntax(line, "START TIMELINE: number"))?;
                    label.start_timeline = Some(TimelineId(id));
                }
                "INCREMENTAL FROM LSN" => {
                    let lsn =
                        value.parse().map_err(|_| syntax(line, "INCREMENTAL FROM LSN: X/X"))?;
                    label.incremental_from = Some(lsn);
                }
                _ => {}
            }
        }
        match label.start_timeline {
            Some(named) if named != timeline => {
                Err(BackupLabelError::TimelineContradiction { label: named, file: timeline })
            }
            _ => Ok(label),
        }
    }
}

/// A backup history file, `….backup`: what `pg_backup_stop` leaves in the WAL archive of a primary
/// (`build_backup_content`, `access/transam/xlogbackup.c`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupHistory {
    /// The label as the backup has it.
    pub label: BackupLabel,
    /// Where the backup is consistent.
    pub stop_wal_location: Lsn,
}

impl BackupHistory {
    /// Parses the file's text: a label with one more line behind its first, and more at its end.
    ///
    /// # Errors
    /// A [`BackupLabelError`]; behind the first line it counts lines as a label has them.
    pub fn parse(text: &str) -> Result<Self, BackupLabelError> {
        const STOP: &str = "STOP WAL LOCATION: X/X (file …)";
        let stop = |line: &str| {
            let (lsn, _) = line.strip_prefix("STOP WAL LOCATION: ")?.split_once(" (file ")?;
            lsn.parse().ok()
        };
        let stop_wal_location = text.lines().nth(1).and_then(stop);
        let stop_wal_location =
            stop_wal_location.ok_or(BackupLabelError::Syntax { line: 2, expected: STOP })?;
        let rest: Vec<&str> = text.lines().take(1).chain(text.lines().skip(2)).collect();
        Ok(Self { label: BackupLabel::parse(&rest.join("\n"))?, stop_wal_location })
    }
}

/// `START WAL LOCATION: 0/2000028 (file 000000010000000000000002)`.
fn start_line(line: &str) -> Option<(Lsn, WalFileName, TimelineId)> {
    let rest = line.strip_prefix("START WAL LOCATION: ")?;
    let (lsn, file) = rest.split_once(" (file ")?;
    let file: WalFileName = file.trim_end().strip_suffix(')')?.parse().ok()?;
    let WalFileName::Segment { timeline, .. } = file else { return None };
    Some((lsn.parse().ok()?, file, timeline))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "START WAL LOCATION: 0/2000028 (file 000000030000000000000002)\n\
        CHECKPOINT LOCATION: 0/2000060\nBACKUP METHOD: streamed\nBACKUP FROM: primary\n\
        START TIME: 2026-11-22 19:19:00 UTC\nLABEL: Barman backup cloud: a\nSTART TIMELINE: 3\n";

    #[test]
    fn reads_what_postgresql_writes() {
        let label = BackupLabel::parse(TEXT).unwrap();
        assert_eq!(label.start_wal_location, Lsn(0x200_0028));
        assert_eq!(label.checkpoint_location, Lsn(0x200_0060));
        assert_eq!(label.start_wal_file.to_string(), "000000030000000000000002");
        assert_eq!(label.timeline, TimelineId(3));
        assert_eq!(label.start_timeline, Some(TimelineId(3)));
        assert_eq!(label.method, Some(BackupMethod::Streamed));
        assert_eq!(label.from, Some(BackupFrom::Primary));
        assert_eq!(label.start_time.as_deref(), Some("2026-11-22 19:19:00 UTC"));
        assert_eq!(label.label.as_deref(), Some("Barman backup cloud: a"));
        assert_eq!(label.incremental_from, None);

        let incremental = format!("{TEXT}INCREMENTAL FROM LSN: 0/1000000\n");
        let label = BackupLabel::parse(&incremental).unwrap();
        assert_eq!(label.incremental_from, Some(Lsn(0x100_0000)));
        let standby = TEXT.replace("primary", "standby");
        assert_eq!(BackupLabel::parse(&standby).unwrap().from, Some(BackupFrom::Standby));
    }

    #[test]
    fn reads_a_backup_history_file() {
        let (first, rest) = TEXT.split_once('\n').unwrap();
        let stop = "STOP WAL LOCATION: 0/2000138 (file 000000030000000000000002)";
        let text = format!("{first}\n{stop}\n{rest}STOP TIME: later\nSTOP TIMELINE: 3\n");
        let history = BackupHistory::parse(&text).unwrap();
        assert_eq!(history.stop_wal_location, Lsn(0x200_0138));
        assert_eq!(history.label, BackupLabel::parse(TEXT).unwrap());
        let stopless = BackupHistory::parse(TEXT);
        assert!(matches!(stopless, Err(BackupLabelError::Syntax { line: 2, .. })), "{stopless:?}");
    }

    #[test]
    fn refuses_what_postgresql_refuses() {
        let line = |text: String| match BackupLabel::parse(&text) {
            Err(BackupLabelError::Syntax { line, .. }) => line,
            other => panic!("{other:?}"),
        };
        assert_eq!(line(String::new()), 1);
        assert_eq!(line(TEXT.replace("(file ", "(")), 1);
        assert_eq!(line(TEXT.replace("0002)", "0002.partial)")), 1);
        assert_eq!(line(TEXT.replace("CHECKPOINT", "Checkpoint")), 2);
        assert_eq!(line(TEXT.replace("TIMELINE: 3", "TIMELINE: x")), 7);
        assert_eq!(
            BackupLabel::parse(&TEXT.replace("TIMELINE: 3", "TIMELINE: 2")),
            Err(BackupLabelError::TimelineContradiction {
                label: TimelineId(2),
                file: TimelineId(3)
            })
        );
    }

    proptest! {
        #[test]
        fn never_panics(text in "(START WAL LOCATION: |CHECKPOINT LOCATION: |[0-9A-F/() \n:é]|file ){0,30}") {
            let _ = BackupLabel::parse(&text);
        }
    }
}
