//! How one job stands: its newest drills in short.

use jiff::Timestamp;

use super::MOST_BEATS;
use crate::{
    drill::{DrillReport, Verdict, history::Past},
    report::{json, kept::KeptId, past::Told},
    telemetry::{metrics, text::Family},
};

/// One job.
#[derive(Clone, Debug)]
pub struct Standing {
    pub job: String,
    /// The newest last.
    pub beats: Vec<Beat>,
    /// The newest drill that can be read.
    pub last: Option<Box<Past>>,
    pub last_pass: Option<Pass>,
    /// What a drill exports, and which.
    pub exported: Option<(String, Vec<Family>)>,
    /// The worst case of the restore time, in seconds, as of a drill.
    pub forecast: Option<(String, Option<f64>)>,
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
    /// The names of the newest reports that there are: others have been removed.
    Listed(Vec<KeptId>),
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
    pub fn new(job: &str) -> Self {
        Self {
            job: job.to_owned(),
            beats: Vec::new(),
            last: None,
            last_pass: None,
            exported: None,
            forecast: None,
            searched: false,
        }
    }

    /// Whether a report is among the newest ones that are known.
    pub fn knows(&self, id: &KeptId) -> bool {
        self.beats.iter().any(|beat| beat.id == *id)
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

    /// Knows more.
    pub fn with(mut self, news: News) -> Self {
        match news {
            News::Told(told) => told.into_iter().for_each(|told| self.take(told)),
            News::Exported(drill_id, families) => self.exported = Some((drill_id, families)),
            News::Forecast(drill_id, seconds) => self.forecast = Some((drill_id, seconds)),
            News::Ended(ended) => {
                let Ended { told, families } = *ended;
                let drill_id = told.id.drill_id().to_owned();
                self.take(told);
                if self.last.as_ref().is_some_and(|last| last.drill_id == drill_id) {
                    self.exported = Some((drill_id, families));
                }
            }
            News::Searched(found) => {
                self.searched = true;
                if let Some(past) = found {
                    self.passed(&past);
                }
            }
            News::Listed(ids) => self.beats.retain(|beat| is_there(beat, &ids)),
        }
        self
    }

    /// Whether something of it has been removed, by the names of the newest reports.
    pub fn is_stale(&self, listed: &[KeptId]) -> bool {
        self.beats.iter().any(|beat| !is_there(beat, listed))
    }

    fn take(&mut self, Told { id, past }: Told) {
        if self.knows(&id) {
            return;
        }
        let verdict = past.as_ref().ok().map(|past| past.verdict);
        let rto_seconds = past.as_ref().ok().and_then(Past::rto_seconds);
        let at = self.beats.partition_point(|beat| beat.id < id);
        self.beats.insert(at, Beat { id, verdict, rto_seconds });
        let superfluous = self.beats.len().saturating_sub(MOST_BEATS);
        self.beats.drain(..superfluous);
        let Ok(past) = past else { return };
        if past.verdict == Verdict::Pass {
            self.passed(&past);
        }
        if self.last.as_ref().is_none_or(|last| last.started_at <= past.started_at) {
            self.last = Some(Box::new(past));
        }
    }

    fn passed(&mut self, past: &Past) {
        if self.last_pass.as_ref().is_none_or(|pass| pass.started_at <= past.started_at) {
            self.last_pass = Some(Pass {
                drill_id: past.drill_id.clone(),
                started_at: past.started_at,
                finished_at: past.finished_at,
            });
        }
    }
}

/// What is newer than everything listed has come since.
fn is_there(beat: &Beat, listed: &[KeptId]) -> bool {
    listed.contains(&beat.id) || listed.iter().all(|id| *id < beat.id)
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

    fn ended(standing: Standing, verdict: Verdict, hour: i64) -> Standing {
        standing.with(News::of(&report(verdict, hour)))
    }

    #[test]
    fn the_newest_drills_count_in_whatever_order_they_come() {
        let mut standing = Standing::new("orders");
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
        let (exported, families) = standing.exported.unwrap();
        assert_eq!(exported, standing.last.unwrap().drill_id);
        let verdict = families.iter().find(|f| f.name == "pgassay_drill_verdict").unwrap();
        let failed = verdict.samples.iter().find(|s| s.value > 0.5).unwrap();
        assert_eq!(failed.label.as_ref().unwrap().1, "fail");
        assert_eq!(standing.last_pass.unwrap().started_at, report(Verdict::Pass, 2).started_at);
    }

    #[test]
    fn what_cannot_be_read_has_no_verdict_and_hides_no_pass() {
        let standing = ended(Standing::new("orders"), Verdict::Pass, 0);
        let id = KeptId::new("orders", Timestamp::MAX, "x");
        let torn = Told { id, past: Err(Unreadable::NoReport("torn".to_owned())) };
        let standing = standing.with(News::Told(vec![torn]));
        assert_eq!(standing.beats.last().unwrap().verdict, None);
        assert_eq!(standing.last.as_ref().unwrap().verdict, Verdict::Pass);
        assert!(standing.exported.is_some());
    }

    #[test]
    fn memory_is_bounded_and_what_was_pruned_is_gone() {
        let standing = (0..100).fold(Standing::new("orders"), |s, n| ended(s, Verdict::Fail, n));
        assert_eq!(standing.beats.len(), MOST_BEATS);
        let newest = standing.beats[MOST_BEATS - 3..].to_vec();
        // The newest one has ended since.
        let ids: Vec<_> = newest[..2].iter().map(|beat| beat.id.clone()).collect();
        assert!(standing.is_stale(&ids));
        let standing = standing.with(News::Listed(ids.clone()));
        assert!(!standing.is_stale(&ids));
        assert_eq!(standing.beats, newest);
    }

    #[test]
    fn a_pass_that_was_found_by_searching_does_not_hide_a_newer_one() {
        let old = Past::read(json::render(&report(Verdict::Pass, -9)).as_bytes()).unwrap();
        let standing = ended(Standing::new("orders"), Verdict::Pass, 5);
        let standing = standing.with(News::Searched(Some(Box::new(old))));
        assert!(standing.searched);
        assert_eq!(standing.last_pass.unwrap().started_at, report(Verdict::Pass, 5).started_at);
    }
}
