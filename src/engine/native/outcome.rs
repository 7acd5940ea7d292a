//! What recovery reached, read from the cluster's own files and log.

use std::{fs, io::Read, os::unix::fs::OpenOptionsExt, path::Path};

use super::log::LogFacts;
use crate::{
    drill::{Code, Error, FailureClass, reached::Reached},
    pg::{TimelineHistory, TimelineId, WalFileName},
};

/// Reads the history file that the promotion wrote to `pg_wal` in `data`. `followed` is the timeline
/// that recovery was told to follow.
///
/// # Errors
/// `PostgresFailed` where there is none: the server opened without ending an archive recovery.
pub fn read(data: &Path, followed: TimelineId, facts: &LogFacts) -> Result<Reached, Error> {
    let pg_wal = data.join("pg_wal");
    let failed =
        |message: String| Error::new(Code::PostgresFailed, message).class(FailureClass::InfraError);
    let new_timeline = facts
        .new_timeline
        .or_else(|| newest(&pg_wal, followed))
        .ok_or_else(|| failed("PostgreSQL opened without making a new timeline".to_owned()))?;
    let path = pg_wal.join(new_timeline.history_file_name());
    let mut text = String::new();
    let mut options = fs::OpenOptions::new();
    options
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(&path)
        .and_then(|file| file.take(1 << 20).read_to_string(&mut text))
        .map_err(|error| failed(format!("read `{}`: {error}", path.display())))?;
    let history = TimelineHistory::parse(new_timeline, &text)
        .map_err(|error| failed(format!("read `{}`: {error}", path.display())))?;
    let parent = history
        .ancestors
        .last()
        .ok_or_else(|| failed(format!("`{}` names no parent timeline", path.display())))?;
    // The parent is the timeline that recovery was told to follow (`writeTimeLineHistory`), also where
    // the last record lies on one of its ancestors. A record on a timeline ends beyond its beginning.
    let holder = history.ancestors.iter().find(|ancestor| parent.switch <= ancestor.switch);
    let timeline = if parent.timeline == followed {
        holder.map_or(followed, |ancestor| ancestor.timeline)
    } else {
        parent.timeline
    };
    Ok(Reached {
        timeline,
        new_timeline,
        end: parent.switch,
        last_transaction_at: facts.last_transaction_at,
    })
}

fn newest(pg_wal: &Path, followed: TimelineId) -> Option<TimelineId> {
    let names = fs::read_dir(pg_wal).ok()?.flatten();
    let timelines = names.filter_map(|entry| match entry.file_name().to_str()?.parse() {
        Ok(WalFileName::History { timeline }) => Some(timeline),
        _ => None,
    });
    timelines.filter(|timeline| *timeline > followed).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::Lsn;

    #[test]
    fn the_promotions_history_tells_where_replay_ended() {
        let data = tempfile::tempdir().unwrap();
        let pg_wal = data.path().join("pg_wal");
        fs::create_dir(&pg_wal).unwrap();
        let mut facts = LogFacts::default();
        assert!(read(data.path(), TimelineId(1), &facts).is_err());
        fs::write(pg_wal.join("00000002.history"), "1\t0/5000000\tx\n").unwrap();
        fs::write(pg_wal.join("00000003.history"), "1\t0/5000000\tx\n2\t0/70001A8\tx\n").unwrap();
        let reached = read(data.path(), TimelineId(2), &facts).unwrap();
        assert_eq!((reached.timeline, reached.new_timeline), (TimelineId(2), TimelineId(3)));
        assert_eq!(reached.end, Lsn(0x700_01A8));
        fs::write(pg_wal.join("00000003.history"), "1\t0/5000000\tx\n2\t0/40001A8\tx\n").unwrap();
        let reached = read(data.path(), TimelineId(2), &facts).unwrap();
        assert_eq!((reached.timeline, reached.end), (TimelineId(1), Lsn(0x400_01A8)));
        facts.new_timeline = Some(TimelineId(2));
        assert_eq!(read(data.path(), TimelineId(1), &facts).unwrap().end, Lsn(0x500_0000));
    }
}
