//! What an archive holds, judged by its listing and its small files alone: which backups restore, how
//! far, and what is in the way. A plan rests on the same rules, so what is a finding here fails a drill
//! of the latest recovery point.

use jiff::Timestamp;
use serde::Serialize;

use super::{
    Finding, Job, Verdict,
    finding::CheckOutcome,
    job::{RecoveryPoint, Target},
    measure::{self, Rpo, RpoTimes},
    plan::{self, Decided, Known, Memo, Window},
    report::CheckReport,
    verdict::{self, Evidence},
};
use crate::{
    archive::Catalog,
    pg::{Lsn, Major, TimelineId},
};

mod backups;
mod gaps;
mod seen;
mod timelines;

use seen::Seen;

/// Version of the report's JSON. Adding a field does not raise it; changing or removing one does.
pub const SCHEMA_VERSION: u32 = 1;

/// So many of a kind are listed; their true number is beside each list.
const BACKUPS_LISTED: usize = 1000;
const GAPS_LISTED: usize = 100;
const FINDINGS_LISTED: usize = 100;
const NOTES_LISTED: usize = 100;
const TIMELINES_LISTED: usize = 100;

/// Everything that the catalog tier says of one archive. Every list is bounded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CatalogReport {
    pub schema_version: u32,
    pub pgassay_version: String,
    pub job: String,
    pub archive_url: String,
    pub server: String,
    pub examined_at: Timestamp,
    pub verdict: Verdict,
    /// One sentence: why that verdict.
    pub reason: String,
    pub totals: Totals,
    /// What can be reached without a break: from the end of the oldest backup that gets to the newest
    /// WAL which the latest one reaches.
    pub window: Window,
    /// The backup that a restore to the latest point takes.
    pub latest_backup: Option<String>,
    /// The segment that was stored last, whether or not a recovery reaches it.
    pub newest_wal: Option<NewestWal>,
    /// Judged by the newest WAL that a recovery reaches.
    pub rpo: Rpo,
    /// The newest ones, oldest first.
    pub backups: Vec<BackupLine>,
    pub backup_count: u64,
    /// The newest ones, oldest first.
    pub timelines: Vec<TimelineLine>,
    pub timeline_count: u64,
    /// The newest ones, oldest first.
    pub gaps: Vec<Gap>,
    pub gap_count: u64,
    /// What a restore of the latest backup to the newest WAL fails on, or an objective that is not met.
    pub findings: Vec<Finding>,
    pub finding_count: u64,
    /// What is wrong with the archive and does not keep the latest backup from being restored.
    pub attentions: Vec<Finding>,
    pub attention_count: u64,
    pub notes: Vec<String>,
    pub note_count: u64,
}

/// How much lies there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub objects: u64,
    /// As stored, as all sizes here.
    pub bytes: u64,
    pub base_bytes: u64,
    pub wal_segments: u64,
    pub wal_bytes: u64,
}

/// A segment and when it was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewestWal {
    pub segment: String,
    pub archived_at: Timestamp,
}

/// How far one backup restores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupState {
    /// To the newest WAL.
    Restorable,
    /// It restores, but something keeps it from the newest WAL or leads it astray.
    Short,
    /// Kept for itself (`barman-cloud-backup-keep --target standalone`): only to its own end.
    Standalone,
    /// Not at all.
    Blocked,
    /// It is being taken, or may be.
    UnderWay,
    /// The listing cannot tell.
    Unknown,
}

impl BackupState {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Restorable => "restorable",
            Self::Short => "short",
            Self::Standalone => "standalone",
            Self::Blocked => "blocked",
            Self::UnderWay => "under_way",
            Self::Unknown => "unknown",
        }
    }
}

/// One base backup: restorable to where, and blocked by what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackupLine {
    pub id: String,
    pub name: Option<String>,
    pub state: BackupState,
    /// `status` of its `backup.info`.
    pub status: Option<String>,
    pub begin_at: Option<Timestamp>,
    pub end_at: Option<Timestamp>,
    /// Where it is consistent.
    pub end_lsn: Option<Lsn>,
    pub timeline: Option<TimelineId>,
    /// A text in JSON: many readers keep numbers as doubles.
    pub system_id: Option<String>,
    pub major: Option<Major>,
    pub parts: u64,
    pub bytes: u64,
    /// `full`, `standalone` or `unknown` where the backup is kept from retention.
    pub keep: Option<&'static str>,
    /// How far recovery gets; `None` where it does not become consistent, or nobody can tell.
    pub reach: Option<Reach>,
    /// What is in the way, in the order in which a restore meets it.
    pub blocked_by: Vec<Blocker>,
}

/// The end of a recovery, as the listing knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reach {
    pub timeline: TimelineId,
    /// Recovery cannot go beyond this; which record is the last one shows when the WAL is read.
    pub lsn: Lsn,
    pub segment: String,
    /// When that segment was stored: no commit in it is later, clocks aside.
    pub archived_at: Option<Timestamp>,
    /// Number of segments to replay.
    pub segments: u64,
}

/// A finding in short; its sentences are among the report's findings or attentions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Blocker {
    pub class: super::FailureClass,
    pub subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lsn: Option<Lsn>,
}

impl From<&Finding> for Blocker {
    fn from(finding: &Finding) -> Self {
        Self { class: finding.class, subject: finding.subject.clone(), lsn: finding.lsn }
    }
}

/// Segments that a recovery needs and the archive lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    pub first_segment: String,
    pub last_segment: String,
    pub from_lsn: Lsn,
    pub segments: u64,
    /// The first few backups that do not get beyond it.
    pub cut_off: Vec<String>,
    pub cut_off_count: u64,
}

/// One timeline: where it came from and what of it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TimelineLine {
    pub id: TimelineId,
    pub parent: Option<TimelineId>,
    pub forked_at: Option<Lsn>,
    /// Whether its `.history` file is there and can be read.
    pub has_history: bool,
    pub first_segment: Option<String>,
    pub last_segment: Option<String>,
    pub segments: u64,
    /// When the last segment was stored.
    pub archived_at: Option<Timestamp>,
}

/// Looks at everything that the listing shows. Of the job only its name, archive and objectives count:
/// what is judged is a restore of the latest backup to the newest WAL, which is what one does on a bad
/// day.
#[must_use]
pub fn examine(job: &Job, catalog: &Catalog, now: Timestamp) -> CatalogReport {
    let (point, memo) = (RecoveryPoint::default(), Memo::default());
    let target = &Target::Latest;
    let known = Known { catalog, now, point: &point, target, verified: None, memo: &memo };
    let mut seen = Seen::default();
    let decided = plan::decide(&known, 0);
    let latest = decided.as_ref().ok();

    let odd = backups::OddSegments::of(&known, latest);
    let (window, latest_backup) = match &decided {
        Ok(Decided { choice, route }) => {
            seen.findings.extend(choice.findings.iter().chain(&route.findings).cloned());
            seen.findings.extend(odd.on(&route.range));
            seen.attentions.extend(choice.attentions.iter().chain(&route.attentions).cloned());
            seen.notes.extend(route.notes.iter().cloned());
            (route.window.clone(), Some(choice.source.backup.id.clone()))
        }
        Err(refusal) => {
            seen.findings.extend(refusal.findings.iter().cloned());
            (refusal.window.clone(), None)
        }
    };
    let looked = backups::look(&known, latest, &odd, &mut seen);
    let gaps = gaps::find(&known, &looked);
    let timelines = timelines::list(&known);
    seen.attentions.extend(odd.all());
    seen.notes.extend(catalog.notes.iter().cloned());
    seen.notes.extend(backups::unneeded(&known));

    let times = RpoTimes { newest_wal_archived: window.to_time, ..RpoTimes::default() };
    let rpo = measure::rpo(times, false, job.objectives.rpo, now);
    seen.findings.extend(rpo.finding());
    let lines: Vec<BackupLine> = looked.into_iter().map(|looked| looked.line).collect();
    let window = unbroken(window, &lines);
    let Seen { findings, attentions, notes } = seen.sorted_out();
    let outcome = if findings.is_empty() {
        CheckOutcome::Passed(String::new())
    } else {
        CheckOutcome::Failed(findings.clone())
    };
    let verdict = verdict::fold(Evidence {
        checks: &[CheckReport::new("catalog", outcome, 0.0)],
        // An objective that nothing can be held against was not met for all that is known.
        errored: rpo.objective_seconds.is_some() && rpo.judged.is_none(),
        rto_exceeded: false,
        rpo_exceeded: false,
    });
    let reason = reason(verdict, &lines, latest_backup.as_deref(), &findings, &rpo);
    let (newest, all) = (newest_of(lines, BACKUPS_LISTED), gaps);
    CatalogReport {
        schema_version: SCHEMA_VERSION,
        pgassay_version: env!("CARGO_PKG_VERSION").to_owned(),
        job: job.name.clone(),
        archive_url: job.archive.store.url(),
        server: job.archive.server.clone(),
        examined_at: now,
        verdict,
        reason,
        totals: Totals {
            objects: catalog.object_count,
            bytes: catalog.total_bytes,
            base_bytes: catalog.backups.iter().map(crate::archive::Backup::total_bytes).sum(),
            wal_segments: catalog.wal.segment_count(),
            wal_bytes: catalog.wal.segment_bytes(),
        },
        window,
        latest_backup,
        newest_wal: catalog
            .wal
            .newest_stored()
            .map(|(segment, archived_at)| NewestWal { segment, archived_at }),
        rpo,
        backup_count: newest.1,
        backups: newest.0,
        gap_count: all.count,
        gaps: all.listed,
        timeline_count: timelines.1,
        timelines: timelines.0,
        finding_count: findings.len() as u64,
        findings: first_of(findings, FINDINGS_LISTED),
        attention_count: attentions.len() as u64,
        attentions: first_of(attentions, FINDINGS_LISTED),
        note_count: notes.len() as u64,
        notes: first_of(notes, NOTES_LISTED),
    }
}

/// The window from the oldest backup that gets to its end: what lies before a gap is not part of it.
fn unbroken(window: Window, lines: &[BackupLine]) -> Window {
    let reaches = |line: &&BackupLine| {
        let lsn = line.reach.as_ref().map(|reach| reach.lsn);
        lsn.is_some() && lsn == window.to_lsn && line.end_at.is_some()
    };
    match lines.iter().filter(reaches).min_by_key(|line| line.end_at) {
        Some(oldest) => Window { from_lsn: oldest.end_lsn, from_time: oldest.end_at, ..window },
        None => window,
    }
}

/// The last ones, and how many there are.
fn newest_of<T>(mut all: Vec<T>, listed: usize) -> (Vec<T>, u64) {
    let count = all.len();
    (all.split_off(count.saturating_sub(listed)), count as u64)
}

fn first_of<T>(mut all: Vec<T>, listed: usize) -> Vec<T> {
    all.truncate(listed);
    all
}

fn reason(
    verdict: Verdict,
    lines: &[BackupLine],
    latest: Option<&str>,
    findings: &[Finding],
    rpo: &Rpo,
) -> String {
    let first = |wanted: fn(&Finding) -> bool| {
        findings.iter().find(|finding| wanted(finding)).map(Finding::summary)
    };
    let said = match verdict {
        Verdict::Fail => first(|f| !f.class.is_breach() && !f.class.is_environment()),
        Verdict::Inconclusive => {
            first(|f| f.class.is_environment()).or_else(|| Some(rpo.why.clone()))
        }
        Verdict::Breach => first(|f| f.class.is_breach()),
        Verdict::Pass => None,
    };
    said.unwrap_or_else(|| {
        let good = lines.iter().filter(|line| line.state == BackupState::Restorable).count();
        let line = lines.iter().find(|line| Some(line.id.as_str()) == latest);
        let reach = line.and_then(|line| line.reach.as_ref());
        let end = reach.map_or_else(String::new, |reach| {
            format!(", {} on timeline {}", reach.lsn, reach.timeline)
        });
        format!(
            "by its listing the archive restores to the newest WAL{end}, from {good} of {} backup(s)",
            lines.len()
        )
    })
}

#[cfg(test)]
mod tests;

/// Reports for the tests of who renders them.
#[cfg(test)]
pub(crate) mod sample {
    pub(crate) use super::tests::sample::*;
}
