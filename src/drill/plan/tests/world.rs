//! A tiny builder of archives: 1 MiB segments, so that `0/500000` is where segment 5 begins.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::super::{DrillPlan, PlanRefusal, Verified, plan_knowing};
use crate::{
    archive::{
        Catalog, CatalogBuilder,
        catalog::builder::{Unread, WantedFile},
    },
    drill::{
        CatalogReport, FailureClass, holdings,
        job::{
            ArchiveLocation, BackupChoice, Depth, EngineKind, Job, Limits, MetricsSpec, Objectives,
            RecoveryPoint, S3Spec, SandboxSpec, StoreLocation, StoreScheme, Target, TargetChoice,
            TargetTimeline,
        },
        timing::Timing,
    },
    pg::{Lsn, SegmentNumber, SegmentSize, TimelineId},
};

pub(in crate::drill) const MIB: u64 = 1 << 20;

/// Noon plus so many minutes; drills are at one hour past noon.
pub(in crate::drill) fn at(minutes: i64) -> Timestamp {
    let noon: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
    noon.checked_add(SignedDuration::from_mins(minutes)).unwrap()
}

pub(in crate::drill) fn segment(timeline: u32, number: u64) -> String {
    SegmentNumber(number).file_name(TimelineId(timeline), SegmentSize::new(1 << 20).unwrap())
}

/// Objects and small files of an archive; the drill's point and time.
pub(in crate::drill) struct World {
    objects: BTreeMap<String, (u64, Option<Timestamp>)>,
    files: BTreeMap<String, Result<Vec<u8>, Unread>>,
    pub(in crate::drill) point: RecoveryPoint,
    pub(in crate::drill) now: Timestamp,
    pub(in crate::drill) seed: u64,
    pub(in crate::drill) verified: Option<Verified>,
}

impl World {
    pub(in crate::drill) fn new() -> Self {
        Self {
            objects: BTreeMap::new(),
            files: BTreeMap::new(),
            point: RecoveryPoint::default(),
            now: at(60),
            seed: 0,
            verified: None,
        }
    }

    pub(in crate::drill) fn object(&mut self, key: &str, size: u64, minutes: i64) -> &mut Self {
        self.objects.insert(key.to_owned(), (size, Some(at(minutes))));
        self
    }

    pub(in crate::drill) fn file(&mut self, key: &str, text: &str, minutes: i64) -> &mut Self {
        self.files.insert(key.to_owned(), Ok(text.as_bytes().to_vec()));
        self.object(key, text.len() as u64, minutes)
    }

    pub(in crate::drill) fn unread(&mut self, key: &str, changed: bool) -> &mut Self {
        let why = if changed { "it was replaced" } else { "it does not decode" };
        self.files.insert(key.to_owned(), Err(Unread { why: why.to_owned(), changed }));
        self
    }

    pub(in crate::drill) fn remove(&mut self, key: &str) -> &mut Self {
        assert!(self.objects.remove(key).is_some(), "no `{key}` to remove");
        self.files.remove(key);
        self
    }

    /// Segments of a timeline, segment `n` stored at minute `n`.
    pub(in crate::drill) fn wal(
        &mut self,
        timeline: u32,
        range: std::ops::RangeInclusive<u64>,
    ) -> &mut Self {
        for number in range {
            let minutes = i64::try_from(number).unwrap();
            self.wal_at(timeline, number, minutes);
        }
        self
    }

    pub(in crate::drill) fn wal_at(
        &mut self,
        timeline: u32,
        number: u64,
        minutes: i64,
    ) -> &mut Self {
        self.object(&wal_key(timeline, number), 1000, minutes)
    }

    pub(in crate::drill) fn without_wal(&mut self, timeline: u32, number: u64) -> &mut Self {
        self.remove(&wal_key(timeline, number))
    }

    /// `forks`: parent and switch point.
    pub(in crate::drill) fn history(&mut self, timeline: u32, forks: &[(u32, &str)]) -> &mut Self {
        let lines = forks.iter().map(|(tli, lsn)| format!("{tli}\t{lsn}\tno reason\n"));
        self.file(&format!("wals/{timeline:08X}.history"), &lines.collect::<String>(), 1)
    }

    /// A backup that begins in segment `first` and ends in `last`, at the minute of its last one.
    pub(in crate::drill) fn backup(
        &mut self,
        id: &str,
        timeline: u32,
        first: u64,
        last: u64,
    ) -> &mut Self {
        let info = info(timeline, first, last);
        let minutes = i64::try_from(last).unwrap();
        self.file(&format!("base/{id}/backup.info"), &info, minutes).object(
            &format!("base/{id}/data.tar.gz"),
            5000,
            minutes,
        )
    }

    /// Changes lines of a backup's description; `key=` without a value removes the line.
    pub(in crate::drill) fn edit(&mut self, id: &str, lines: &[&str]) -> &mut Self {
        let key = format!("base/{id}/backup.info");
        let text = String::from_utf8(self.files[&key].clone().unwrap()).unwrap();
        let mut kept: Vec<String> = text.lines().map(str::to_owned).collect();
        for line in lines {
            let name = format!("{}=", line.split('=').next().unwrap());
            kept.retain(|old| !old.starts_with(&name));
            if *line != name {
                kept.push((*line).to_owned());
            }
        }
        self.files.insert(key, Ok(kept.join("\n").into_bytes()));
        self
    }

    pub(in crate::drill) fn target(&mut self, target: Target) -> &mut Self {
        self.point.target = TargetChoice::Given(target);
        self
    }

    pub(in crate::drill) fn lsn(&mut self, lsn: &str) -> &mut Self {
        self.target(Target::Lsn(lsn.parse().unwrap()))
    }

    pub(in crate::drill) fn time(&mut self, minutes: i64) -> &mut Self {
        self.target(Target::Time(at(minutes)))
    }

    pub(in crate::drill) fn timeline(&mut self, timeline: TargetTimeline) -> &mut Self {
        self.point.timeline = timeline;
        self
    }

    pub(in crate::drill) fn id(&mut self, id: &str) -> &mut Self {
        self.point.backup = BackupChoice::Id(id.to_owned());
        self
    }

    pub(in crate::drill) fn within(&mut self, minutes: u64) -> &mut Self {
        self.point.within = Some(Duration::from_mins(minutes));
        self
    }

    pub(in crate::drill) fn catalog(&self) -> Catalog {
        let mut builder = CatalogBuilder::new("p/s/");
        for (key, (size, modified)) in &self.objects {
            builder.add(&format!("p/s/{key}"), *size, Some("\"e\""), *modified);
        }
        for wanted in builder.wanted() {
            let below = wanted.object.key.strip_prefix("p/s/").unwrap();
            let content = self.files.get(below).unwrap_or_else(|| panic!("no text of {below}"));
            let what: WantedFile = wanted.what;
            builder.content(what, content.as_deref().map_err(Clone::clone));
        }
        builder.finish()
    }

    pub(in crate::drill) fn plan(&self) -> Result<DrillPlan, PlanRefusal> {
        let (job, catalog) = (job(self.point.clone()), self.catalog());
        plan_knowing(&job, &catalog, self.now, self.seed, self.verified.as_ref())
    }

    /// The catalog tier.
    pub(in crate::drill) fn examined(&self) -> CatalogReport {
        holdings::examine(&job(self.point.clone()), &self.catalog(), self.now)
    }

    /// The same for a job with an RPO objective.
    pub(in crate::drill) fn examined_for(&self, rpo: Duration) -> CatalogReport {
        let mut job = job(self.point.clone());
        job.objectives.rpo = Some(rpo);
        holdings::examine(&job, &self.catalog(), self.now)
    }

    /// Class and subject of every finding, after `refused` where there is no plan.
    pub(in crate::drill) fn classes(&self) -> Vec<String> {
        let (start, findings) = match self.plan() {
            Ok(plan) => (None, plan.findings),
            Err(refusal) => (Some("refused".to_owned()), refusal.findings),
        };
        start.into_iter().chain(findings.iter().map(|f| f.class.name().to_owned())).collect()
    }

    pub(in crate::drill) fn planned(&self) -> DrillPlan {
        match self.plan() {
            Ok(plan) => plan,
            Err(refusal) => panic!("refused: {:#?}", refusal.findings),
        }
    }

    /// The one finding of a refusal.
    pub(in crate::drill) fn refused(&self, class: FailureClass) -> crate::drill::Finding {
        let refusal = self.plan().expect_err("a plan was made");
        assert_eq!(refusal.findings.len(), 1, "{:#?}", refusal.findings);
        let finding = refusal.findings.into_iter().next().unwrap();
        assert_eq!(finding.class, class, "{finding:#?}");
        finding
    }
}

pub(in crate::drill) fn wal_key(timeline: u32, number: u64) -> String {
    let name = segment(timeline, number);
    format!("wals/{}/{name}.gz", &name[..16])
}

/// What the plan reads, as `timeline:first-last`.
pub(in crate::drill) fn wal_of(plan: &DrillPlan) -> String {
    let mut pieces: Vec<(u32, u64, u64)> = Vec::new();
    for planned in plan.wal.stored() {
        let (timeline, number) = (planned.timeline.0, planned.number.0);
        match pieces.last_mut() {
            Some((tli, _, last)) if *tli == timeline && *last + 1 == number => *last = number,
            _ => pieces.push((timeline, number, number)),
        }
    }
    let text = pieces.iter().map(|(tli, first, last)| format!("{tli}:{first}-{last}"));
    text.collect::<Vec<_>>().join(" ")
}

fn info(timeline: u32, first: u64, last: u64) -> String {
    let (begin, end) = (Lsn(first * MIB + 0x28), Lsn(last * MIB + 0x100));
    format!(
        "backup_label='START WAL LOCATION: {begin} (file {})\\nBACKUP FROM: primary\\nSTART \
         TIMELINE: {timeline}\\n'\nbegin_time={}\nbegin_wal={}\nbegin_xlog={begin}\n\
         cluster_size=20000\nend_time={}\nend_wal={}\nend_xlog={end}\nstatus=DONE\n\
         systemid=7412345678901234567\ntimeline={timeline}\nversion=150018\n\
         xlog_segment_size=1048576",
        segment(timeline, first),
        at(i64::try_from(first).unwrap()),
        segment(timeline, first),
        at(i64::try_from(last).unwrap()),
        segment(timeline, last),
    )
}

pub(in crate::drill) fn job(recovery_point: RecoveryPoint) -> Job {
    Job {
        name: "orders".to_owned(),
        labels: BTreeMap::new(),
        timing: Timing::default(),
        archive: ArchiveLocation {
            store: StoreLocation {
                scheme: StoreScheme::S3,
                bucket: "b".to_owned(),
                prefix: "p".to_owned(),
                s3: S3Spec::default(),
            },
            server: "s".to_owned(),
        },
        recovery_point,
        engine: EngineKind::Native,
        depth: Depth::Deep,
        sandbox: SandboxSpec {
            work_dir: None,
            disk_budget: None,
            memory: 1 << 30,
            keep_on_failure: None,
            user: None,
            postgres_bin: None,
            fsync: true,
        },
        objectives: Objectives::default(),
        checks: Vec::new(),
        limits: Limits {
            total: None,
            no_progress: Duration::from_mins(10),
            bandwidth: None,
            connections: std::num::NonZeroUsize::MIN,
        },
        report_store: None,
        sign: None,
        metrics: MetricsSpec::default(),
        notify: Vec::new(),
    }
}
