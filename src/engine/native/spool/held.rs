//! Segments of an earlier run that was broken off. A segment has its name once it is whole and durable,
//! so that whatever has one can be used; it is read and checked as if it had just come. What was
//! changed for the replay is given up before it is changed: the next run must see what the archive holds.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::Spool;
use crate::{
    drill::{
        Error,
        outlook::Damage,
        plan::{PlannedSegment, PlannedWal},
    },
    pg::{
        SegmentNumber,
        wal::{scan::WalScan, tablespace::WalPatch},
    },
};

/// Lists the segments that are not as the archive holds them.
const CHANGED: &str = "changed";

/// Where a segment is written before it is whole and durable.
pub(super) fn unfinished(path: &Path) -> io::Result<PathBuf> {
    let temporary = path.with_extension("part");
    // Of a run that was broken off.
    remove(&temporary)?;
    Ok(temporary)
}

/// Gives a segment that is whole its name.
pub(super) fn finish(file: &File, path: &Path) -> io::Result<()> {
    file.sync_data()?;
    fs::rename(path.with_extension("part"), path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

impl Spool {
    /// Removes what an earlier run has changed.
    ///
    /// # Errors
    /// `Io`
    pub(super) fn begin_again(&self) -> Result<(), Error> {
        let list = self.dir.join(CHANGED);
        let failed = |error: io::Error| Error::io(format!("read `{}`", list.display()), &error);
        let names = match fs::read_to_string(&list) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        // Only ever plain names: the list is ours.
        let plain = |name: &&str| !name.is_empty() && !name.contains(['/', '.']);
        for name in names.lines().filter(plain) {
            remove(&self.dir.join(name)).map_err(failed)?;
        }
        File::open(&self.dir)
            .and_then(|folder| folder.sync_all())
            .and_then(|()| remove(&list))
            .map_err(failed)
    }

    /// Whether a segment is there already.
    pub(super) fn holds(&self, segment: &PlannedSegment) -> bool {
        let is_whole = |file: fs::Metadata| file.len() == self.size.bytes();
        self.resumes && fs::metadata(self.path(segment)).is_ok_and(is_whole)
    }

    /// Where these segments lie.
    pub(super) fn paths(&self, segments: &[(PlannedSegment, WalScan)]) -> Vec<PathBuf> {
        segments.iter().map(|(segment, _)| self.path(segment)).collect()
    }

    /// The next run fetches these anew: a second reading was not the same as what lies there.
    pub(super) fn forget(&self, segments: &[PathBuf]) {
        if self.resumes {
            for path in segments {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Notes the segments that are about to be cut or patched.
    pub(super) fn give_up(
        &self,
        damage: Option<&Damage>,
        wal: &PlannedWal,
        patches: &[WalPatch],
    ) -> Result<(), Error> {
        if !self.resumes {
            return Ok(());
        }
        let cut = damage.map(|damage| damage.segment);
        let patched = patches.iter().map(|patch| self.size.segment_of(patch.lsn));
        let changed: BTreeSet<SegmentNumber> = cut.into_iter().chain(patched).collect();
        let planned = changed.into_iter().filter_map(|number| wal.segment(number));
        let changed: Vec<String> =
            planned.map(|segment| segment.number.file_name(segment.timeline, self.size)).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let list = self.dir.join(CHANGED);
        let write = || {
            let mut file = OpenOptions::new().create(true).append(true).open(&list)?;
            writeln!(file, "{}", changed.join("\n"))?;
            file.sync_all()?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|error| Error::io(format!("write `{}`", list.display()), &error))
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
