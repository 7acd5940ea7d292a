//! Reports as drills end: one for each verdict. Shared with the unit tests of the crate.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use pgassay::{
    drill::{
        DrillReport, FailureClass, Finding, Verdict,
        expectation::{LastTransaction, Promise},
        job::{Depth, EngineKind},
        measure::{Rpo, RpoEvidence, Rto},
        plan::Window,
        reached::Reached,
        report::{
            BackupSummary, CheckReport, CheckStatus, DrillCause, ErrorReport, SCHEMA_VERSION,
            SandboxReport,
        },
        selftest::{self, DamageReport, Outcome, SelftestReport, Tier},
        stage::{Stage, StageEnd, StageLog, Volume},
    },
    pg::{Lsn, Major, TimelineId},
};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn check(name: &str, status: CheckStatus, detail: &str, seconds: f64) -> CheckReport {
    CheckReport {
        name: name.to_owned(),
        status,
        detail: detail.to_owned(),
        findings: Vec::new(),
        seconds,
    }
}

fn stages(ended_in: Stage) -> StageLog {
    let mut log = StageLog::default();
    let fetch = Volume {
        fetched_bytes: 13_207_024_435,
        restored_bytes: 48_318_382_080,
        files: 12_048,
        wal_segments: 0,
    };
    let replay = Volume {
        fetched_bytes: 1_288_490_188,
        restored_bytes: 3_590_324_224,
        files: 0,
        wal_segments: 214,
    };
    for (stage, millis, volume) in [
        (Stage::Plan, 812, Volume::default()),
        (Stage::Fetch, 111_730, fetch),
        (Stage::Start, 1_204, Volume::default()),
        (Stage::Replay, 96_400, replay),
        (Stage::Promote, 2_310, Volume::default()),
        (Stage::Mend, 95, Volume::default()),
        (Stage::Verify, 340_550, Volume::default()),
    ] {
        let end = if stage == ended_in { StageEnd::Aborted } else { StageEnd::Done };
        log.push(stage, Duration::from_millis(millis), end, volume);
        if stage == ended_in {
            break;
        }
    }
    log.push(Stage::Teardown, Duration::from_millis(1_730), StageEnd::Done, Volume::default());
    log
}

/// A sound backup within its objectives.
pub fn pass() -> DrillReport {
    DrillReport {
        schema_version: SCHEMA_VERSION,
        pgassay_version: "0.1.0".to_owned(),
        drill_id: "01933d2e-6f00-7abc-8def-0123456789ab".to_owned(),
        job: "orders-nightly".to_owned(),
        labels: BTreeMap::from([("team".to_owned(), "shop".to_owned())]),
        archive_url: "s3://home-backups/postgres".to_owned(),
        server: "orders".to_owned(),
        seed: u64::MAX,
        started_at: at("2026-11-22T04:00:00Z"),
        finished_at: at("2026-11-22T04:09:14.831Z"),
        cause: None,
        verdict: Verdict::Pass,
        reason: "the backup restores, reaches everything that the archive promises and every \
                 check passed"
            .to_owned(),
        depth: Depth::Deep,
        engine: EngineKind::Native,
        backup: Some(BackupSummary {
            id: "20261122T020000".to_owned(),
            name: Some("nightly".to_owned()),
            why: "the newest restorable backup".to_owned(),
            begin_at: Some(at("2026-11-22T02:00:00Z")),
            end_at: Some(at("2026-11-22T02:04:11Z")),
            begin_lsn: Lsn(0x16_B100_0028),
            end_lsn: Lsn(0x16_B374_D848),
            timeline: TimelineId(3),
            system_id: 7_301_962_714_238_205_977,
            major: Major::V17,
            compressed_bytes: 13_207_024_435,
            wal_segments: 214,
            wal_bytes: 1_288_490_188,
            interval_seconds: None,
        }),
        target: "latest".to_owned(),
        window: Some(Window {
            from_lsn: Some(Lsn(0x10_0000_0148)),
            from_time: Some(at("2026-11-15T02:04:02Z")),
            to_lsn: Some(Lsn(0x17_8A00_0000)),
            to_time: Some(at("2026-11-22T03:58:30Z")),
        }),
        promise: Some(Promise {
            timeline: TimelineId(3),
            end: Lsn(0x17_89FF_E1C0),
            last_transaction: Some(LastTransaction {
                at: at("2026-11-22T03:58:12.401877Z"),
                xid: 918_204,
                lsn: Lsn(0x17_89FF_E188),
                committed: true,
            }),
        }),
        reached: Some(Reached {
            timeline: TimelineId(3),
            new_timeline: TimelineId(4),
            end: Lsn(0x17_89FF_E1C0),
            last_transaction_at: Some(at("2026-11-22T03:58:12.401877Z")),
        }),
        rto: Some(Rto {
            seconds: 212.456,
            objective_seconds: Some(14_400.0),
            engine: "native".to_owned(),
            fsync: true,
            exceeded: false,
        }),
        rpo: Some(Rpo {
            archived_wal_seconds: Some(90.0),
            last_commit_seconds: Some(107.598),
            heartbeat_seconds: None,
            judged: Some(RpoEvidence::ArchivedWal),
            why: "without a heartbeat an idle database cannot be told from a lost one by its \
                  commits, so the newest archived WAL is judged"
                .to_owned(),
            objective_seconds: Some(3_600.0),
            exceeded: false,
        }),
        stages: stages(Stage::Teardown),
        checks: vec![
            check("expectation", CheckStatus::Passed, "timeline 3 up to 17/89FFE1C0", 0.002),
            check("page_checksums", CheckStatus::Passed, "5,898,240 pages in 1,204 files", 88.1),
            check("amcheck", CheckStatus::Passed, "212 heaps, 640 indexes", 251.9),
            check("sql:orders-not-empty", CheckStatus::Passed, "the value is >= 1000", 0.4),
        ],
        row_counts: None,
        damaged_object_at: None,
        errors: Vec::new(),
        sandbox: Some(SandboxReport {
            path: "/var/lib/pgassay/01933d2e-6f00-7abc-8def-0123456789ab".to_owned(),
            postgres: "17.10".to_owned(),
            network_isolated: true,
            removed: true,
            kept_until: None,
            settings: [
                "max_connections=200",
                "shared_buffers=256MB",
                "fsync=on",
                "max_wal_size=65536MB",
                "recovery_prefetch=off",
            ]
            .map(str::to_owned)
            .to_vec(),
        }),
        notes: vec!["database `legacy` does not allow connections: allowed in the sandbox".into()],
    }
}

/// Sound, but it took longer than the objective allows.
pub fn breach() -> DrillReport {
    let mut report = pass();
    report.verdict = Verdict::Breach;
    report.cause = Some(DrillCause::Slot { at: at("2026-11-22T04:00:00Z") });
    report.reason = "the restore took 3 min 32 s, the objective is 3 min".into();
    if let Some(rto) = &mut report.rto {
        rto.objective_seconds = Some(180.0);
        rto.exceeded = true;
    }
    if let Some(rpo) = &mut report.rpo {
        rpo.objective_seconds = None;
    }
    report.notes.clear();
    report
}

/// WAL is missing in the middle and the recovered cluster is damaged besides.
pub fn fail() -> DrillReport {
    let mut report = pass();
    report.verdict = Verdict::Fail;
    report.reason = "2 checks failed: recovery ended before what the archive promises".into();
    report.reached = Some(Reached {
        timeline: TimelineId(3),
        new_timeline: TimelineId(4),
        end: Lsn(0x17_0500_0000),
        last_transaction_at: Some(at("2026-11-22T02:31:40Z")),
    });
    let wal = Finding::new(
        FailureClass::WalGap,
        "000000030000001700000005",
        "the segment is not in the archive, but newer ones are: 1,204 commits after it are lost",
        "Find out why it was never archived, and take a new base backup now.",
    )
    .at(Lsn(0x17_0500_0000));
    let page = Finding::new(
        FailureClass::PageChecksum,
        "base/16384/2662",
        "block 2: checksum 51f3, expected 9c07",
        "Compare with the production cluster: if it is sound, take a new base backup.",
    );
    let index = Finding::new(
        FailureClass::AmcheckIndex,
        "shop.public.orders_pkey",
        "heap tuple (12,4) lacks a matching index tuple",
        "Run `REINDEX INDEX CONCURRENTLY` in production if the same index fails there.",
    );
    report.checks[0] = CheckReport {
        status: CheckStatus::Failed,
        detail: wal.detail.clone(),
        findings: vec![wal],
        ..report.checks[0].clone()
    };
    report.checks[1] = CheckReport {
        status: CheckStatus::Failed,
        detail: page.detail.clone(),
        findings: vec![page, index],
        ..report.checks[1].clone()
    };
    report.checks[3].status = CheckStatus::Skipped;
    report.checks[3].detail = "database `shop` does not exist".into();
    report.sandbox = report.sandbox.map(|sandbox| SandboxReport {
        network_isolated: false,
        removed: false,
        kept_until: Some(at("2026-11-23T04:09:14Z")),
        ..sandbox
    });
    report
}

/// The store went away while the base backup was being fetched.
pub fn inconclusive() -> DrillReport {
    let mut report = pass();
    report.verdict = Verdict::Inconclusive;
    report.cause = Some(DrillCause::Backup { ended_at: at("2026-11-22T03:00:00Z") });
    report.reason = "the object store stopped answering, nothing is known of the backup".into();
    report.promise = None;
    report.reached = None;
    report.rto = None;
    report.rpo = None;
    report.stages = stages(Stage::Fetch);
    report.checks.clear();
    report.errors = vec![ErrorReport {
        code: "S010".to_owned(),
        message: "read `postgres/orders/base/20261122T020000/data.tar.gz` at byte 8,388,608: the \
                  store answered 503 five times"
            .to_owned(),
        hint: Some("Try again later; `pgassay doctor JOB` shows whether it answers.".to_owned()),
        class: Some(FailureClass::ObjectStoreError),
    }];
    report.sandbox = report.sandbox.map(|sandbox| SandboxReport { removed: false, ..sandbox });
    report.notes.clear();
    report
}

/// One of each.
pub fn all() -> [DrillReport; 4] {
    [pass(), breach(), fail(), inconclusive()]
}

/// A self-test with a damage of each outcome.
pub fn selftest() -> SelftestReport {
    let damage = |name: &str, outcome| DamageReport {
        name: name.to_owned(),
        what: "something is bad".to_owned(),
        expected: None,
        outcome,
        seen: Vec::new(),
    };
    SelftestReport {
        schema_version: selftest::SCHEMA_VERSION,
        pgassay_version: "0.1.0".to_owned(),
        job: "orders-nightly".to_owned(),
        server: "orders".to_owned(),
        seed: 1,
        started_at: at("2026-11-22T04:00:00Z"),
        finished_at: at("2026-11-22T04:05:00Z"),
        archive: "backup 20261122T030000".to_owned(),
        tiers: Tier::ALL.to_vec(),
        controls: Vec::new(),
        damages: vec![
            damage("wal_noise", Outcome::Caught),
            damage("wal_twice", Outcome::Missed("it is not seen".to_owned())),
            damage("history_missing", Outcome::NotApplicable("one timeline".to_owned())),
        ],
    }
}
