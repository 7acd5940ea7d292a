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
    /// Reports do not say it; a job that is changed begins anew.
    endpoint: Option<String>,
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
            endpoint: job.archive.store.s3.endpoint.clone(),
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
mod tests;
