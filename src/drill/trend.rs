//! Trends of one job: what its past drills say of the next ones.
//!
//! Restore times count of drills whose backup was sound and that were measured in a way that counts; what
//! a failed one took says nothing of a restore.

use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::{
    Verdict,
    history::{Measure, Past},
    stage::Stage,
};

use self::robust::{deviation, median, theil_sen};
pub use self::{
    detection::Detection,
    forecast::{Forecast, NoForecast},
    growth::{Growth, WalGrowth},
    robust::{Line, Point},
};

mod detection;
mod forecast;
mod growth;
pub mod robust;

/// How far back trends and forecasts look: long enough for a slope, short enough for what is true today.
pub const LOOKS_BACK: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Earlier values that it takes to call one slow.
const LEAST_EARLIER: usize = 5;

/// What the drills of one job have in common, the oldest first. Of a review, verdicts, objectives and
/// detections are those of its span; all else rests on every drill that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trend {
    pub verdicts: Verdicts,
    /// Objectives held and missed.
    pub rto_objective: Held,
    pub rpo_objective: Held,
    pub rto: Option<Series>,
    /// Of each stage that a drill finished.
    pub stages: Vec<StageSeries>,
    /// Stages in which the newest drill was slower than it used to be.
    pub slow: Vec<Slow>,
    pub size: Option<Growth>,
    pub wal: Option<WalGrowth>,
    /// Damages that were found, and how long they had been there.
    pub detections: Vec<Detection>,
    /// In JSON the forecast, or `{"unknown": why}`.
    #[serde(serialize_with = "forecast_or_why")]
    pub forecast: Result<Forecast, NoForecast>,
}

/// How drills ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdicts {
    pub pass: u64,
    pub breach: u64,
    pub fail: u64,
    pub inconclusive: u64,
}

impl Verdicts {
    #[must_use]
    pub fn of<'a>(past: impl IntoIterator<Item = &'a Past>) -> Self {
        let mut verdicts = Self::default();
        for past in past {
            *match past.verdict {
                Verdict::Pass => &mut verdicts.pass,
                Verdict::Breach => &mut verdicts.breach,
                Verdict::Fail => &mut verdicts.fail,
                Verdict::Inconclusive => &mut verdicts.inconclusive,
            } += 1;
        }
        verdicts
    }

    #[must_use]
    pub const fn all(&self) -> u64 {
        self.pass + self.breach + self.fail + self.inconclusive
    }

    /// The number of one verdict.
    #[must_use]
    pub const fn count(&self, verdict: Verdict) -> u64 {
        match verdict {
            Verdict::Pass => self.pass,
            Verdict::Breach => self.breach,
            Verdict::Fail => self.fail,
            Verdict::Inconclusive => self.inconclusive,
        }
    }
}

/// How often an objective was held, and how often not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Held {
    pub held: u64,
    pub missed: u64,
    /// As the newest drill states it.
    pub objective_seconds: Option<f64>,
}

/// A value over time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Series {
    pub points: Vec<Point>,
    pub median: f64,
    pub last: f64,
    /// `None` where there is too little to tell.
    pub line: Option<Line>,
}

impl Series {
    /// `None` of no points. The oldest comes first.
    #[must_use]
    pub fn of(points: Vec<Point>) -> Option<Self> {
        let median = median(points.iter().map(|point| point.value))?;
        let last = points.last()?.value;
        Some(Self { median, last, line: theil_sen(&points), points })
    }
}

/// The time of one stage over time, in seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageSeries {
    pub stage: Stage,
    #[serde(flatten)]
    pub series: Series,
}

/// A stage that took longer than it used to: over its median by more than four times the (scaled) median
/// absolute deviation, by a quarter and by a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Slow {
    pub stage: Stage,
    pub seconds: f64,
    /// Of the sound drills before.
    pub median: f64,
}

impl Trend {
    /// Of the drills of one job, in any order. `now` is when the forecast is made.
    #[must_use]
    pub fn of(past: &[&Past], now: Timestamp) -> Self {
        Self::counted_from(Timestamp::MIN, past, now)
    }

    /// The same, but of drills that began before `since` verdicts, objectives and detections are not counted.
    #[must_use]
    pub fn counted_from(since: Timestamp, past: &[&Past], now: Timestamp) -> Self {
        let mut past = past.to_vec();
        past.sort_by(|a, b| (a.started_at, &a.drill_id).cmp(&(b.started_at, &b.drill_id)));
        let sound: Vec<&Past> = past.iter().copied().filter(|past| past.is_sound()).collect();
        let series = |value: &dyn Fn(&Past) -> Option<f64>| {
            let points = sound
                .iter()
                .filter_map(|past| Some(Point { at: past.started_at, value: value(past)? }));
            Series::of(points.collect())
        };
        let stages = Stage::ALL.into_iter().filter_map(|stage| {
            let series = series(&|past| past.stage_seconds(stage))?;
            Some(StageSeries { stage, series })
        });
        let stages: Vec<StageSeries> = stages.collect();
        let wal = growth::wal(&past);
        let counted = |past: &Past| past.started_at >= since;
        let held = |measure: &dyn Fn(&Past) -> Option<Measure>| {
            held(past.iter().filter_map(|past| Some((measure(past)?, counted(past)))))
        };
        Self {
            verdicts: Verdicts::of(past.iter().copied().filter(|past| counted(past))),
            rto_objective: held(&|past| past.rto.filter(|rto| rto.counts)),
            rpo_objective: held(&|past| past.rpo),
            rto: series(&Past::rto_seconds),
            slow: sound.last().map_or_else(Vec::new, |last| slow(&stages, last.started_at)),
            stages,
            size: growth::size(&past),
            detections: detection::detections(&past, since),
            forecast: forecast::forecast(&past, wal.as_ref(), now),
            wal,
        }
    }
}

fn forecast_or_why<S: Serializer>(
    forecast: &Result<Forecast, NoForecast>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match forecast {
        Ok(forecast) => forecast.serialize(serializer),
        Err(why) => {
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_entry("unknown", why)?;
            map.end()
        }
    }
}

/// Of measures, the oldest first, and whether each is counted.
fn held(measures: impl Iterator<Item = (Measure, bool)>) -> Held {
    let mut held = Held::default();
    for (measure, counted) in measures {
        held.objective_seconds = measure.objective_seconds;
        match (measure.objective_seconds, measure.exceeded) {
            (Some(_), true) if counted => held.missed += 1,
            (Some(_), false) if counted => held.held += 1,
            (None | Some(_), _) => {}
        }
    }
    held
}

/// The stages in which the newest sound drill, of `newest`, was slow.
fn slow(stages: &[StageSeries], newest: Timestamp) -> Vec<Slow> {
    let judge = |stage: &StageSeries| {
        let (last, earlier) = stage.series.points.split_last()?;
        if last.at != newest || earlier.len() < LEAST_EARLIER {
            return None;
        }
        let earlier: Vec<f64> = earlier.iter().map(|point| point.value).collect();
        let usual = median(earlier.iter().copied())?;
        let over = last.value - usual;
        let slow = over > 4.0 * deviation(&earlier, usual) && over > 0.25 * usual && over > 1.0;
        slow.then_some(Slow { stage: stage.stage, seconds: last.value, median: usual })
    };
    stages.iter().filter_map(judge).collect()
}

#[cfg(test)]
mod tests;
