use std::time::Duration;

use super::*;
use crate::{
    drill::{
        FailureClass, Finding,
        expectation::{LastTransaction, Promise},
        measure::Rto,
        plan::Window,
        reached::Reached,
        report::{BackupSummary, ErrorReport},
        rescue::{
            Archiving, LeftBehind, RescuedCluster, RescuedTablespace, SCHEMA_VERSION, Step,
            next_steps,
        },
        stage::{Stage, StageEnd, StageLog, Volume},
    },
    pg::{Lsn, Major, TimelineId},
};

fn at(text: &str) -> jiff::Timestamp {
    text.parse().unwrap()
}

fn complete() -> RescueReport {
    let cluster = RescuedCluster {
        directory: "/srv/pg/main".to_owned(),
        postgres: "17.5".to_owned(),
        bin_dir: "/usr/lib/postgresql/17/bin".to_owned(),
        user: "postgres".to_owned(),
        switch: true,
        network_isolated: true,
        timeline: Some(TimelineId(3)),
        tablespaces: vec![RescuedTablespace {
            oid: 16_384,
            name: Some("fast".to_owned()),
            path: "/srv/pg/main.tablespaces/16384".to_owned(),
            was: Some("/mnt/fast".to_owned()),
            in_place: false,
        }],
        archiving: Some(Archiving {
            setting: "archive_command".to_owned(),
            file: "postgresql.auto.conf".to_owned(),
        }),
        ..RescuedCluster::default()
    };
    let volume = Volume {
        fetched_bytes: 700 << 20,
        restored_bytes: 4 << 30,
        files: 1_204,
        wal_segments: 34,
    };
    let mut stages = StageLog::default();
    for (stage, seconds, volume) in [
        (Stage::Plan, 1, Volume::default()),
        (Stage::Fetch, 30, volume),
        (Stage::Start, 1, Volume::default()),
        (Stage::Replay, 9, Volume::default()),
        (Stage::Promote, 1, Volume::default()),
        (Stage::HandOver, 2, Volume::default()),
    ] {
        stages.push(stage, Duration::from_secs(seconds), StageEnd::Done, volume);
    }
    RescueReport {
        schema_version: SCHEMA_VERSION,
        pgassay_version: "0.1.0".to_owned(),
        rescue_id: "01930f4e-6a00-7000-8000-000000000001".to_owned(),
        job: "orders-nightly".to_owned(),
        archive_url: "s3://home-backups/postgres".to_owned(),
        server: "orders".to_owned(),
        started_at: at("2026-11-22T04:30:00Z"),
        finished_at: at("2026-11-22T04:30:44Z"),
        outcome: RescueOutcome::Complete,
        reason: "recovered to 0/9000028 on timeline 2, as the archive promises".to_owned(),
        resumed: false,
        directory: "/srv/pg/main".to_owned(),
        state: None,
        backup: Some(BackupSummary {
            id: "20261122T020000".to_owned(),
            name: None,
            why: "it is the newest".to_owned(),
            begin_at: None,
            end_at: Some(at("2026-11-22T02:03:00Z")),
            begin_lsn: Lsn(0x200_0028),
            end_lsn: Lsn(0x200_0100),
            timeline: TimelineId(1),
            system_id: 7_434_000_000_000_000_001,
            major: Major::V17,
            compressed_bytes: 640 << 20,
            wal_segments: 34,
            wal_bytes: 60 << 20,
            interval_seconds: None,
        }),
        target: "latest".to_owned(),
        window: Some(Window { to_time: Some(at("2026-11-22T04:29:12Z")), ..Window::default() }),
        promise: Some(Promise {
            timeline: TimelineId(2),
            end: Lsn(0x900_0028),
            last_transaction: Some(LastTransaction {
                at: at("2026-11-22T04:29:10.25Z"),
                xid: 734,
                lsn: Lsn(0x900_0000),
                committed: true,
            }),
        }),
        reached: Some(Reached {
            timeline: TimelineId(2),
            new_timeline: TimelineId(3),
            end: Lsn(0x900_0028),
            last_transaction_at: Some(at("2026-11-22T04:29:10.25Z")),
        }),
        left_behind: None,
        rto: Some(Rto {
            seconds: 44.0,
            objective_seconds: Some(14_400.0),
            engine: "native".to_owned(),
            fsync: true,
            exceeded: false,
        }),
        stages,
        findings: Vec::new(),
        errors: Vec::new(),
        other_backups: Vec::new(),
        next: next_steps(&cluster, "orders"),
        cluster: Some(cluster),
        notes: vec!["checked 524288 pages of 1204 files in the base backup".to_owned()],
    }
}

fn incomplete() -> RescueReport {
    let finding = Finding::new(
        FailureClass::WalCorrupt,
        "postgres/orders/wals/0000000200000000/000000020000000000000007.gz",
        "a record's CRC does not match its content. At 0/7000100, byte 256 of the segment; the last good \
         commit before it is of 2026-11-22T04:10:00Z.",
        "Nothing after this position can be recovered from this archive.",
    );
    let end = Lsn(0x700_0100);
    let mut report = complete();
    report.outcome = RescueOutcome::Incomplete;
    report.reason = format!("recovered to {end} on timeline 2, but {}", finding.summary());
    report.resumed = true;
    report.rto = None;
    report.findings = vec![finding.at(end)];
    report.promise.as_mut().unwrap().end = end;
    report.reached.as_mut().unwrap().end = end;
    report.left_behind = Some(LeftBehind {
        up_to: "00000002000000000000001F".to_owned(),
        stored_at: Some(at("2026-11-22T04:29:12Z")),
        wanted: false,
    });
    report
}

fn broken_off() -> RescueReport {
    let mut report = complete();
    report.outcome = RescueOutcome::BrokenOff;
    report.reason = "the store keeps answering with 503".to_owned();
    report.state = Some("/srv/pg/main.pgassay-rescue".to_owned());
    (report.reached, report.cluster, report.rto, report.promise) = (None, None, None, None);
    report.errors = vec![ErrorReport {
        code: "S010".to_owned(),
        message: report.reason.clone(),
        hint: Some("Run it again later.".to_owned()),
        class: Some(FailureClass::ObjectStoreError),
    }];
    report.next = vec![Step {
        what: "Run the same command again: it goes on from what is there.".to_owned(),
        command: None,
    }];
    report.stages.0.truncate(2);
    report
}

#[test]
fn a_complete_one() {
    insta::assert_snapshot!(render(&complete(), Style::PLAIN));
}

#[test]
fn an_incomplete_one() {
    insta::assert_snapshot!(render(&incomplete(), Style::PLAIN));
}

#[test]
fn one_that_was_broken_off() {
    insta::assert_snapshot!(render(&broken_off(), Style::PLAIN));
}

#[test]
fn commands_are_never_broken() {
    let report = complete();
    let text = render(&report, Style { color: false, width: 60 });
    for command in report.next.iter().filter_map(|step| step.command.as_ref()) {
        assert!(text.lines().any(|line| line.trim() == command), "{command}\n{text}");
    }
}

#[test]
fn as_json() {
    let text = json(&complete());
    assert!(text.starts_with("{\n  \"schema_version\": 1,"), "{text}");
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["outcome"], "complete");
    assert_eq!(value["backup"]["system_id"], "7434000000000000001");
    assert_eq!(value["cluster"]["archiving"]["setting"], "archive_command");
    assert_eq!(value["next"][1]["command"], complete().next[1].command.clone().unwrap());
}

#[test]
fn names_from_the_archive_cannot_write_lines_of_their_own() {
    let mut report = incomplete();
    let evil = "a\u{1b}[2K\rCOMPLETE\nCOMPLETE";
    report.findings = vec![Finding::new(FailureClass::WalGap, evil, evil, evil)];
    report.notes = vec![evil.to_owned()];
    report.next = vec![Step { what: evil.to_owned(), command: Some(evil.to_owned()) }];
    let text = render(&report, Style::PLAIN);
    assert!(!text.contains(['\u{1b}', '\r']), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("COMPLETE")), "{text}");
}
