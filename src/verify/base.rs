//! One base backup: its tars to their last blocks, and its own files against its description.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    archive::{Backup, BackupInfo},
    drill::{
        Error, Finding,
        own_files::{self, Claims, OwnFiles},
    },
    pg::{Lsn, Major, SegmentNumber, TimelineId},
    restore::{
        FetchFailure,
        base::{BaseExamined, examine_base},
        pages::{Prints, WatchRules, WatchedPages},
    },
};

use super::{Reading, interrupted, ledger::KnownBackup};

/// What says where a backup is consistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnEnd {
    pub standby: bool,
    /// Of a backup from a standby, where `pg_control` names it.
    pub min_recovery_point: Option<Lsn>,
}

impl OwnEnd {
    fn of(own: &OwnFiles) -> Self {
        Self { standby: own.is_from_standby(), min_recovery_point: own.min_recovery_point() }
    }
}

/// What the tars of a backup show.
#[derive(Debug, Default)]
pub(super) struct BaseRead {
    pub findings: Vec<Finding>,
    pub errors: Vec<Error>,
    pub notes: Vec<String>,
    pub files: u64,
    pub objects: u64,
    pub own_files: Option<OwnFiles>,
    /// Where its own files say that it ends; known also of a backup that was read earlier.
    pub own_end: Option<OwnEnd>,
    /// The checkpoint record that its label names, where the WAL has not yet been asked about it.
    pub checkpoint: Option<Lsn>,
    /// Folders of databases: tablespace and database.
    pub databases: BTreeSet<(u32, u32)>,
    /// Pages, not judged yet.
    pub watched: WatchedPages,
    /// Pages that were looked at, and those that the backup's own WAL makes anew.
    pub pages: u64,
    pub torn_pages: u64,
    /// The last segment of WAL that pages were judged by; `None` where that took none.
    pub judged_to: Option<SegmentNumber>,
    /// [`crate::restore::pages::Suspects::prints`].
    pub prints: Prints,
    /// Segments that seemed damaged while pages were judged by them: an earlier run's word on them no
    /// longer holds.
    pub doubted: Vec<(TimelineId, SegmentNumber)>,
    /// The run ended while its tars were read.
    pub cut_off: bool,
}

impl BaseRead {
    /// What an earlier reading has shown, which found nothing wrong.
    pub(super) fn of(known: KnownBackup) -> Self {
        let KnownBackup { files, pages, torn_pages, notes, own_end, databases, checkpoint, .. } =
            known;
        let (own_end, databases) = (Some(own_end), databases.into_iter().collect());
        Self { notes, files, own_end, checkpoint, databases, pages, torn_pages, ..Self::default() }
    }

    /// Whether there is anything that may be wrong with it. Of a backup that was not read to its end also
    /// pages that its WAL was to tell torn or damaged.
    pub(super) fn is_doubtful(&self) -> bool {
        let suspects = self.watched.has_suspects() || !self.prints.is_empty();
        !self.findings.is_empty() || !self.errors.is_empty() || suspects
    }

    /// Whether something is wrong with the backup, and not only with what is known of it.
    pub(super) fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| !finding.class.is_environment())
    }
}

/// Reads every tar of `backup`. Where the run ended when something had been seen already, that is all that
/// there is ([`BaseRead::cut_off`]).
///
/// # Errors
/// The caller cancelled, or this machine failed.
pub(super) async fn read(reading: &Reading<'_>, backup: &Backup) -> Result<BaseRead, Error> {
    let count = |bytes| reading.fetched(bytes);
    let examined =
        examine_base(reading.store, backup, WatchRules::default(), &count, reading.cancel).await;
    let BaseExamined { restored, whole, errors, cut_off } = match examined {
        Ok(examined) => examined,
        Err(FetchFailure::Store(error) | FetchFailure::Local(error)) => return Err(error),
        Err(FetchFailure::Damaged(findings)) => {
            return Ok(BaseRead { findings, ..BaseRead::default() });
        }
        Err(FetchFailure::Cancelled) => return Err(interrupted()),
    };
    let mut read = BaseRead {
        findings: restored.findings,
        errors,
        notes: restored.notes,
        files: restored.files,
        objects: backup.objects().count() as u64,
        own_files: None,
        own_end: None,
        checkpoint: None,
        databases: restored.pages.databases(),
        watched: restored.pages,
        pages: 0,
        torn_pages: 0,
        judged_to: None,
        prints: Prints::default(),
        doubted: Vec::new(),
        cut_off,
    };
    if cut_off {
        return Ok(read);
    }
    let claims = backup.info.as_ref().ok().and_then(|info| claims(&backup.id, info));
    // Of parts that could not be read nothing is known: then only what is there can be judged.
    let there = !restored.pg_control.is_empty() && restored.backup_label.is_some();
    if let Some(claims) = claims
        && (there || whole)
    {
        let label = restored.backup_label.as_deref();
        match own_files::judge(&claims, &restored.pg_control, label) {
            Ok(files) => {
                read.own_end = Some(OwnEnd::of(&files));
                read.checkpoint = Some(files.label.checkpoint_location);
                read.own_files = Some(files);
            }
            // That a file is not there has been found already.
            Err(_) if !there => {}
            Err(findings) => read.findings.extend(findings),
        }
    }
    Ok(read)
}

fn claims<'a>(id: &'a str, info: &'a BackupInfo) -> Option<Claims<'a>> {
    Some(Claims {
        backup: id,
        system_id: info.system_id?,
        major: Major::from_version_num(info.version?)?,
        segment_size: info.segment_size?,
        begin: info.replay_start()?,
        label: info.backup_label.as_deref(),
        data_checksums: info.data_checksums,
    })
}
