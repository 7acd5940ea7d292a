//! How one job stands: its newest drills in short.

use jiff::Timestamp;

use super::MOST_BEATS;
use crate::{
    drill::{
        DrillReport, Job, Verdict,
        history::Past,
        job::{Depth, StoreLocation},
    },
    report::{json, kept::KeptId, past::Told},
    telemetry::{metrics, text::Family},
};

/// Which drills say how a job stands: those of its archive. One that looked less deep than the job does
/// proves less than the job asks for, so that its pass is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Counts {
    url: String,
    server: String,
    depth: Depth,
    /// Where its reports are kept.
    pub store: Option<StoreLocation>,
}

impl Counts {
    /// What a job says.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        Self {
            url: job.archive.store.url(),
            server: job.archive.server.clone(),
            depth: job.depth,
            store: job.report_store.clone(),
        }
    }

    /// Whether a drill was one of this archive.
    #[must_use]
    pub fn is_of_archive(&self, past: &Past) -> bool {
        past.archive_url == self.url && past.server == self.server
    }

    /// Whether a drill passed as deep as the job looks.
    #[must_use]
    pub fn is_pass(&self, past: &Past) -> bool {
        past.verdict == Verdict::Pass
            && self.is_of_archive(past)
            && Depth::named(&past.depth).is_some_and(|depth| depth >= self.depth)
    }
}

/// One job.
#[derive(Clone, Debug)]
pub struct Standing {
    pub job: String,
    /// `None`: no file names the job, and every drill counts.
    counts: Option<Counts>,
    /// The newest last.
    pub beats: Vec<Beat>,
    /// The newest drill that counts and that can be read.
    pub last: Option<Box<Past>>,
    pub last_pass: Option<Pass>,
    /// Seconds between base backups, by the newest drill that knew it.
    pub backups_apart: Option<f64>,
    /// What a drill exports, and which.
    exported: Option<(String, Vec<Family>)>,
    /// The worst case of the restore time, in seconds, as of a drill.
    forecast: Option<(String, Option<f64>)>,
    /// Passes have been looked for up to the first report.
    pub searched: bool,
}

/// One drill.
#[derive(Clone, Debug, PartialEq)]
pub struct Beat {
    pub id: KeptId,
    /// `None`: its report cannot be read.
    pub verdict: Option<Verdict>,
    /// Where it was measured in a way that counts.
    pub rto_seconds: Option<f64>,
    /// It ended while the service ran: whether or not a store has its report, it is known.
    seen: bool,
}

/// A drill that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    pub drill_id: String,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
}

/// What is new of a job.
#[derive(Debug)]
pub enum News {
    /// Reports that were not known.
    Told(Vec<Told>),
    /// What the drill of this id exports; nothing where its report cannot be read that far.
    Exported(String, Vec<Family>),
    /// The worst case of the restore time as of the drill of this id, in seconds, where it is known.
    Forecast(String, Option<f64>),
    /// A drill that has ended just now.
    Ended(Box<Ended>),
    /// The newest pass before all that is known, if there is one.
    Searched(Option<Box<Past>>),
}

/// A drill that has ended.
#[derive(Debug)]
pub struct Ended {
    told: Told,
    families: Vec<Family>,
}

impl News {
    /// A drill has ended.
    pub fn of(report: &DrillReport) -> Self {
        let id = KeptId::new(&report.job, report.started_at, &report.drill_id);
        // By the way of every other one, so that it looks the same when it is read back.
        let past = Past::read(json::render(report).as_bytes());
        Self::Ended(Box::new(Ended { told: Told { id, past }, families: exported(report) }))
    }
}

/// What a report exports, but for classes that nothing was found of: there is no gateway that would keep
/// what they were before.
pub fn exported(report: &DrillReport) -> Vec<Family> {
    let mut families = metrics::families(report);
    for family in families.iter_mut().filter(|family| family.name == metrics::FINDINGS) {
        family.samples.retain(|sample| sample.value > 0.0);
    }
    families
}

impl Standing {
    /// Nothing is known of it yet.
    pub fn new(job: &str, counts: Option<Counts>) -> Self {
        Self {
            job: job.to_owned(),
            counts,
            beats: Vec::new(),
            last: None,
            last_pass: None,
            backups_apart: None,
            exported: None,
            forecast: None,
            searched: false,
        }
    }

    /// Whether a report is among the newest ones that are known.
    pub fn knows(&self, id: &KeptId) -> bool {
        self.beats.iter().any(|beat| beat.id == *id)
    }

    /// Whether something of it has been removed, by the names of the newest reports.
    pub fn is_stale(&self, listed: &[KeptId]) -> bool {
        self.beats.iter().any(|beat| !beat.seen && !listed.contains(&beat.id))
    }

    /// The newest report cannot be read: how the job stands is not known.
    pub fn is_unreadable(&self) -> bool {
        self.beats.last().is_some_and(|beat| beat.verdict.is_none())
    }

    /// What its newest drill exports, where that is known.
    pub fn exported(&self) -> &[Family] {
        let last = self.last.as_ref().filter(|_| !self.is_unreadable());
        let exported = self.exported.as_ref().filter(|(id, _)| is_of(last, id));
        exported.map_or(&[], |(_, families)| families)
    }

    /// The worst case of the restore time as of its newest drill, in seconds.
    pub fn forecast(&self) -> Option<f64> {
        let last = self.last.as_ref().filter(|_| !self.is_unreadable());
        let (_, seconds) = self.forecast.as_ref().filter(|(id, _)| is_of(last, id))?;
        *seconds
    }

    /// Its newest drill, where what it exports is not known.
    pub fn to_export(&self) -> Option<&Past> {
        let known = self.exported.as_ref().map(|(drill_id, _)| drill_id);
        self.last.as_deref().filter(|last| known != Some(&last.drill_id))
    }

    /// Its newest drill, where what that forecasts is not known.
    pub fn to_forecast(&self) -> Option<&Past> {
        let known = self.forecast.as_ref().map(|(drill_id, _)| drill_id);
        self.last.as_deref().filter(|last| known != Some(&last.drill_id))
    }

    /// Whether a drill is a pass of this job.
    pub fn is_pass(&self, past: &Past) -> bool {
        let any = past.verdict == Verdict::Pass;
        self.counts.as_ref().map_or(any, |counts| counts.is_pass(past))
    }

    /// Knows more.
    #[must_use]
    pub fn with(mut self, news: News) -> Self {
        match news {
            News::Told(told) => told.into_iter().for_each(|told| self.take(told, false)),
            News::Exported(drill_id, families) => self.exported = Some((drill_id, families)),
            News::Forecast(drill_id, seconds) => self.forecast = Some((drill_id, seconds)),
            News::Ended(ended) => {
                let Ended { told, families } = *ended;
                let drill_id = told.id.drill_id().to_owned();
                self.take(told, true);
                if is_of(self.last.as_ref(), &drill_id) {
                    self.exported = Some((drill_id, families));
                }
            }
            News::Searched(found) => {
                self.searched = true;
                if let Some(past) = found {
                    self.passed(&past);
                }
            }
        }
        self
    }

    fn take(&mut self, Told { id, past }: Told, seen: bool) {
        if self.knows(&id) {
            return;
        }
        let verdict = past.as_ref().ok().map(|past| past.verdict);
        let rto_seconds = past.as_ref().ok().and_then(Past::rto_seconds);
        let at = self.beats.partition_point(|beat| beat.id < id);
        self.beats.insert(at, Beat { id, verdict, rto_seconds, seen });
        let superfluous = self.beats.len().saturating_sub(MOST_BEATS);
        self.beats.drain(..superfluous);
        let Ok(past) = past else { return };
        if self.counts.as_ref().is_some_and(|counts| !counts.is_of_archive(&past)) {
            return;
        }
        self.passed(&past);
        if self.last.as_ref().is_none_or(|last| last.started_at <= past.started_at) {
            let apart = past.backup.as_ref().and_then(|backup| backup.interval_seconds);
            self.backups_apart = apart.or(self.backups_apart);
            self.last = Some(Box::new(past));
        }
    }

    fn passed(&mut self, past: &Past) {
        let newer = self.last_pass.as_ref().is_none_or(|pass| pass.started_at <= past.started_at);
        if newer && self.is_pass(past) {
            self.last_pass = Some(Pass {
                drill_id: past.drill_id.clone(),
                started_at: past.started_at,
                finished_at: past.finished_at,
            });
        }
    }
}

#[expect(clippy::borrowed_box, reason = "as it is kept")]
fn is_of(last: Option<&Box<Past>>, drill_id: &str) -> bool {
    last.is_some_and(|last| last.drill_id == drill_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::{history::Unreadable, report::sample};

    fn report(verdict: Verdict, hour: i64) -> DrillReport {
        let mut report = sample::pass();
        report.verdict = verdict;
        let hour = jiff::SignedDuration::from_hours(hour);
        report.started_at += hour;
        report.finished_at += hour;
        report.drill_id = format!("drill-{}", report.started_at);
        report
    }

    fn standing() -> Standing {
        Standing::new("orders", None)
    }

    fn ended(standing: Standing, verdict: Verdict, hour: i64) -> Standing {
        standing.with(News::of(&report(verdict, hour)))
    }

    fn told(report: &DrillReport) -> Told {
        let id = KeptId::new(&report.job, report.started_at, &report.drill_id);
        Told { id, past: Past::read(json::render(report).as_bytes()) }
    }

    fn torn(hour: i64) -> Told {
        let Told { id, .. } = told(&report(Verdict::Pass, hour));
        Told { id, past: Err(Unreadable::NoReport("torn".to_owned())) }
    }

    #[test]
    fn the_newest_drills_count_in_whatever_order_they_come() {
        let mut standing = standing();
        for (verdict, hour) in [
            (Verdict::Pass, 1),
            (Verdict::Fail, 3),
            (Verdict::Pass, 2),
            (Verdict::Fail, 3),
            (Verdict::Breach, 0),
        ] {
            standing = ended(standing, verdict, hour);
        }
        let verdicts: Vec<_> = standing.beats.iter().map(|beat| beat.verdict.unwrap()).collect();
        assert_eq!(verdicts, [Verdict::Breach, Verdict::Pass, Verdict::Pass, Verdict::Fail]);
        assert_eq!(standing.last.as_ref().unwrap().verdict, Verdict::Fail);
        assert_eq!(standing.to_export(), None);
        let verdict = standing.exported().iter().find(|f| f.name == "pgassay_drill_verdict");
        let failed = verdict.unwrap().samples.iter().find(|s| s.value > 0.5).unwrap();
        assert_eq!(failed.label.as_ref().unwrap().1, "fail");
        assert_eq!(standing.last_pass.unwrap().started_at, report(Verdict::Pass, 2).started_at);
    }

    #[test]
    fn behind_a_report_that_cannot_be_read_nothing_is_known() {
        let standing = ended(standing(), Verdict::Pass, 0)
            .with(News::Forecast(report(Verdict::Pass, 0).drill_id, Some(60.0)));
        assert!(!standing.is_unreadable() && !standing.exported().is_empty());
        assert_eq!(standing.forecast(), Some(60.0));
        let standing = standing.with(News::Told(vec![torn(1)]));
        assert!(standing.is_unreadable() && standing.exported().is_empty());
        assert_eq!(standing.forecast(), None);
        // The pass before it was one all the same.
        assert!(standing.last_pass.is_some());
        assert!(!ended(standing, Verdict::Fail, 2).is_unreadable());
    }

    #[test]
    fn what_is_exported_is_of_the_newest_drill_alone() {
        let standing = ended(standing(), Verdict::Pass, 0);
        let standing = standing.with(News::Told(vec![told(&report(Verdict::Fail, 1))]));
        // Until its report has been read.
        assert!(standing.exported().is_empty());
        let failed = report(Verdict::Fail, 1);
        let standing = standing.with(News::Exported(failed.drill_id.clone(), exported(&failed)));
        assert!(!standing.exported().is_empty());
    }

    #[test]
    fn memory_is_bounded_and_what_was_pruned_is_noticed() {
        let reports: Vec<Told> = (0..100).map(|n| told(&report(Verdict::Fail, n))).collect();
        let ids: Vec<KeptId> = reports[70..].iter().map(|told| told.id.clone()).collect();
        let standing = ended(standing().with(News::Told(reports)), Verdict::Pass, 100);
        assert_eq!(standing.beats.len(), MOST_BEATS);
        // The newest one has just ended, and no listing has it yet.
        assert!(!standing.is_stale(&ids));
        assert!(standing.is_stale(&ids[..29]));
    }

    #[test]
    fn a_pass_that_was_found_by_searching_does_not_hide_a_newer_one() {
        let old = Past::read(json::render(&report(Verdict::Pass, -9)).as_bytes()).unwrap();
        let standing = ended(standing(), Verdict::Pass, 5);
        let standing = standing.with(News::Searched(Some(Box::new(old))));
        assert!(standing.searched);
        assert_eq!(standing.last_pass.unwrap().started_at, report(Verdict::Pass, 5).started_at);
    }

    #[test]
    fn drills_of_another_archive_and_shallow_ones_prove_nothing() {
        let like = report(Verdict::Pass, 0);
        let counts = Counts {
            url: like.archive_url.clone(),
            server: like.server.clone(),
            depth: Depth::Restore,
            store: None,
        };
        let mut standing = Standing::new("orders", Some(counts));
        let mut elsewhere = report(Verdict::Pass, 0);
        elsewhere.archive_url = "s3://another/place".to_owned();
        standing = standing.with(News::of(&elsewhere));
        assert!(standing.last.is_none() && standing.last_pass.is_none());
        let mut shallow = report(Verdict::Pass, 1);
        shallow.depth = Depth::Catalog;
        standing = standing.with(News::of(&shallow));
        assert!(standing.last.is_some() && standing.last_pass.is_none());
        assert!(ended(standing, Verdict::Pass, 2).last_pass.is_some());
    }
}
