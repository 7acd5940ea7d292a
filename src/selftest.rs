//! Proves the tiers on an archive's own bytes: shows it damaged in every way that we know, over a
//! store that only ever reads, and says which damage each tier catches.

pub mod control;
pub mod damage;
pub mod damages;
pub mod dice;
pub mod materials;
pub mod overlay;
pub mod segment;
pub mod tar;
pub mod tiers;

use std::sync::Arc;

use futures_util::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use self::{
    control::Control,
    damage::{Damage, NotMade},
    materials::Materials,
    overlay::{Overlay, View},
};
use crate::{
    drill::{
        Code, DrillPlan, Error, Job, Verdict, plan,
        report::ErrorReport,
        selftest::{
            ControlReport, DamageReport, Expected, Outcome, SCHEMA_VERSION, Seen, SelftestReport,
            Tier, judge, judge_control,
        },
    },
    store::SharedStore,
    survey::{self, server_root},
    telemetry::Progress,
};

/// Archives that are looked at in the same moment.
const AT_ONCE: usize = 2;

/// A self-test to run.
#[derive(Clone, Debug)]
pub struct SelftestRequest {
    pub job: Job,
    pub store: SharedStore,
    /// The tiers to ask; `None`: for each damage those up to the cheapest that can tell.
    pub tiers: Option<Vec<Tier>>,
    /// Only these damages, and the sound archive as it is; empty for all, and all compressions.
    pub only: Vec<String>,
    /// The same seed damages the same bytes.
    pub seed: u64,
    pub cancel: CancellationToken,
}

/// Runs a self-test. `say` gets one line for each archive that was looked at.
///
/// # Errors
/// Where there is nothing to damage: the store, the archive or a name of a damage that does not exist.
pub async fn run(
    request: &SelftestRequest,
    say: &(dyn Fn(String) + Sync),
) -> Result<SelftestReport, Error> {
    let started_at = Timestamp::now();
    let damages = chosen(&request.only)?;
    let tiers = request.tiers.clone().unwrap_or_else(|| Tier::ALL.to_vec());
    let mut report = SelftestReport {
        schema_version: SCHEMA_VERSION,
        pgassay_version: env!("CARGO_PKG_VERSION").to_owned(),
        job: request.job.name.clone(),
        server: request.job.archive.server.clone(),
        seed: request.seed,
        started_at,
        finished_at: started_at,
        archive: String::new(),
        tiers,
        controls: Vec::new(),
        damages: Vec::new(),
    };
    match prepare(request).await? {
        Err(control) => report.controls.push(control),
        Ok(materials) => {
            report.archive = describe(&materials.plan);
            say(format!("the archive: {}", report.archive));
            let bench = Bench { request, materials: &materials, say };
            report.controls = bench.controls(&report.tiers).await?;
            // What is said of a damage counts only where nothing is said without it.
            if !matches!(report.controls.first().map(|c| &c.outcome), Some(Outcome::Missed(_))) {
                report.damages = bench.damages(&damages).await?;
            }
        }
    }
    report.finished_at = Timestamp::now();
    Ok(report)
}

/// The damages of these names, all of them for none.
///
/// # Errors
/// `Usage` for a name that does not exist.
pub fn chosen(only: &[String]) -> Result<Vec<Damage>, Error> {
    let mut all = damages::all();
    for name in only {
        if !all.iter().any(|damage| damage.name == *name) {
            return Err(Error::new(Code::Usage, format!("there is no damage `{name}`"))
                .hint("See their names with `pgassay selftest --list`."));
        }
    }
    if !only.is_empty() {
        all.retain(|damage| only.contains(&damage.name));
    }
    Ok(all)
}

/// Plans the recovery point that is going to be damaged, and loads what that takes. The inner error is
/// an archive that is not sound as it is.
///
/// # Errors
/// What keeps the archive from being read.
pub async fn prepare(request: &SelftestRequest) -> Result<Result<Materials, ControlReport>, Error> {
    let (store, cancel) = (&request.store, &request.cancel);
    let location = &request.job.archive;
    let catalog = survey::survey(store, location, &Progress::silent(), cancel).await?;
    let mut job = request.job.clone();
    job.recovery_point = crate::drill::job::RecoveryPoint {
        backup: job.recovery_point.backup,
        within: job.recovery_point.within,
        ..crate::drill::job::RecoveryPoint::default()
    };
    let plan = match plan::plan(&job, &catalog, Timestamp::now(), request.seed) {
        Ok(plan) => plan,
        Err(refusal) => {
            let seen = Seen {
                tier: Tier::Catalog,
                verdict: Verdict::Fail,
                findings: refusal.findings,
                errors: Vec::<ErrorReport>::new(),
                seconds: 0.0,
            };
            return Ok(Err(ControlReport {
                name: "sound".to_owned(),
                what: "the archive as it is".to_owned(),
                outcome: judge_control(std::slice::from_ref(&seen)),
                seen: vec![seen],
            }));
        }
    };
    let mut histories = catalog.wal.histories().to_vec();
    histories.retain(|(timeline, _)| catalog.histories.contains_key(timeline));
    let root = server_root(location);
    let others = catalog.backups.iter().filter(|backup| backup.id != plan.backup.id);
    let others = others.map(|backup| format!("{root}base/{}/", backup.id)).collect();
    Materials::load(store, root, plan, histories, others, cancel).await.map(Ok)
}

/// What is being looked at, in a few words.
fn describe(plan: &DrillPlan) -> String {
    let mut timelines: Vec<String> = plan.wal.stored().map(|s| s.timeline.to_string()).collect();
    timelines.dedup();
    format!(
        "backup {} of PostgreSQL {}, {} WAL segments of {} on timeline {}",
        plan.backup.id,
        plan.major,
        plan.wal.len(),
        crate::drill::format::bytes(plan.segment_size.bytes()),
        timelines.join(" and ")
    )
}

struct Bench<'a> {
    request: &'a SelftestRequest,
    materials: &'a Materials,
    say: &'a (dyn Fn(String) + Sync),
}

impl Bench<'_> {
    /// Asks these tiers about one archive. `name` names the drills.
    async fn ask(
        &self,
        mut view: View,
        tiers: Vec<Tier>,
        name: String,
    ) -> Result<Vec<Seen>, Error> {
        view.hidden_folders.clone_from(&self.materials.others);
        let store: SharedStore = Arc::new(Overlay::new(Arc::clone(&self.request.store), view));
        let mut all = Vec::new();
        for tier in tiers {
            let name = format!("{}-{name}", self.request.job.name);
            let job = tiers::job(&self.request.job, &self.materials.plan.backup.id, name);
            all.push(tiers::ask(tier, Arc::clone(&store), job, &self.request.cancel).await?);
        }
        Ok(all)
    }

    async fn controls(&self, tiers: &[Tier]) -> Result<Vec<ControlReport>, Error> {
        let mut all = control::all();
        if !self.request.only.is_empty() {
            all.truncate(1);
        }
        let mut each: Vec<BoxFuture<'_, Result<ControlReport, Error>>> = Vec::new();
        for (index, control) in all.iter().enumerate() {
            each.push(self.control(index, control, tiers.to_vec()).boxed());
        }
        stream::iter(each).buffered(AT_ONCE).try_collect().await
    }

    async fn control(
        &self,
        index: usize,
        control: &Control,
        tiers: Vec<Tier>,
    ) -> Result<ControlReport, Error> {
        let (outcome, seen) = match control.make(self.materials) {
            Ok(view) => {
                let seen = self.ask(view, tiers, format!("control-{index}")).await?;
                (judge_control(&seen), seen)
            }
            Err(why) => (skipped(why), Vec::new()),
        };
        (self.say)(line(control.name, &outcome));
        let name = control.name.to_owned();
        Ok(ControlReport { name, what: control.what.clone(), outcome, seen })
    }

    async fn damages(&self, damages: &[Damage]) -> Result<Vec<DamageReport>, Error> {
        let mut each: Vec<BoxFuture<'_, Result<DamageReport, Error>>> = Vec::new();
        for (index, damage) in damages.iter().enumerate() {
            each.push(
                async move {
                    let report = self.damage(index, damage).await?;
                    (self.say)(line(&report.name, &report.outcome));
                    Ok(report)
                }
                .boxed(),
            );
        }
        stream::iter(each).buffered(AT_ONCE).try_collect().await
    }

    async fn damage(&self, index: usize, damage: &Damage) -> Result<DamageReport, Error> {
        let mut report = DamageReport {
            name: damage.name.clone(),
            what: damage.what.clone(),
            expected: None,
            outcome: Outcome::Caught,
            seen: Vec::new(),
        };
        let made = match damage.make(self.materials, self.request.seed) {
            Ok(made) => made,
            Err(why) => {
                report.outcome = skipped(why);
                return Ok(report);
            }
        };
        let expected = Expected {
            classes: damage.classes.to_vec(),
            verdict: damage.verdict,
            tier: damage.tier,
            subjects: made.subjects,
        };
        let tiers = tiers_for(self.request.tiers.as_deref(), damage.tier);
        report.seen = self.ask(made.view, tiers, format!("selftest-{index}")).await?;
        report.outcome = judge(&expected, &report.seen);
        report.expected = Some(expected);
        Ok(report)
    }
}

/// The tiers to ask of a damage: those that were asked for, else up to the cheapest that can tell.
fn tiers_for(asked: Option<&[Tier]>, cheapest: Tier) -> Vec<Tier> {
    if let Some(asked) = asked {
        return asked.to_vec();
    }
    Tier::ALL.into_iter().filter(|tier| *tier <= cheapest).collect()
}

fn skipped(why: NotMade) -> Outcome {
    match why {
        NotMade::NotApplicable(why) => Outcome::NotApplicable(why),
        NotMade::TooLarge(why) => Outcome::Skipped(why),
    }
}

fn line(name: &str, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Caught => format!("{name}: as it should be"),
        Outcome::Missed(why) => format!("{name}: NOT AS IT SHOULD BE: {why}"),
        Outcome::NotApplicable(why) => format!("{name}: not applicable: {why}"),
        Outcome::Skipped(why) => format!("{name}: skipped: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_damage_is_taken_to_the_cheapest_tier_that_can_tell() {
        assert_eq!(tiers_for(None, Tier::Catalog), [Tier::Catalog]);
        assert_eq!(tiers_for(None, Tier::Read), [Tier::Catalog, Tier::Read]);
        assert_eq!(tiers_for(None, Tier::Restore), Tier::ALL);
        assert_eq!(tiers_for(Some(&[Tier::Restore]), Tier::Catalog), [Tier::Restore]);
        assert_eq!(chosen(&["nothing_such".into()]).unwrap_err().code, Code::Usage);
        assert_eq!(chosen(&["wal_middle_missing".into()]).unwrap().len(), 1);
    }
}
