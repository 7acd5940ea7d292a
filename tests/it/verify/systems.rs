//! Archives in which the WAL of one cluster goes on as that of another one, and a cluster that ran with
//! `wal_level=minimal` for a while.

use std::{fs, path::PathBuf, process::Command, sync::Arc};

use pgassay::{
    config::flags::default_job,
    demo::source::run,
    drill::{Finding, Verdict, VerifyReport},
    store::{SharedStore, memory::MemoryStore},
    telemetry::Progress,
    verify::{
        self, Sparing, VerifyOptions,
        ledger::{Budget, Ledger},
    },
};
use tokio_util::sync::CancellationToken;

use super::{lsn, reach};
use crate::support::{
    damage::{flip_row, rewrite_gz},
    drill::{Answer, Drill, damaged_copy},
    fixture::{self, Archive, Recipe, Workshop},
    memory,
    tools::{self, RUNTIME},
};

/// What `pg_upgrade` leaves in an archive: a cluster of a newer major, another system, whose WAL begins
/// with the segment after the last of the old one, on the same timeline. Marks: `old`, `new`.
fn upgraded() -> Archive {
    fixture::archive("upgraded", |root| {
        let initdb = &["--wal-segsize=1"][..];
        let mut shop =
            Workshop::new(root, "upgraded", Recipe { major: 14, initdb, ..Recipe::default() });
        shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
        shop.add("old", 2000);
        shop.mark("old");
        shop.switch_wal();
        let mut marks = shop.finish();
        let wals = root.join("bucket/archive/upgraded/wals/0000000100000000");
        let names = fs::read_dir(&wals).unwrap().map(|entry| entry.unwrap().file_name());
        let names = names.map(|name| name.to_string_lossy()[..24].to_owned());
        let last = u64::from_str_radix(&names.max().unwrap()[16..], 16).unwrap();

        let mut shop = Workshop::new(root, "scratch", Recipe { initdb, ..Recipe::default() });
        shop.source.stop(true).unwrap();
        let mut command = Command::new("setpriv");
        if let Some((user, group)) = tools::postgres_owner() {
            command.args([format!("--reuid={user}"), format!("--regid={group}")]);
            command.arg("--clear-groups");
        }
        let next = format!("0000000100000000{:08X}", last + 1);
        let tool = tools::postgres_bin(tools::packaged_major()).join("pg_resetwal");
        run(command.arg(tool).args(["-l", &next, "-D"]).arg(shop.source.data_dir())).unwrap();
        shop.barman.server = "upgraded".into();
        let command = shop.barman.archive_command(&["--gzip"]);
        shop.source.append_config(&format!("archive_command = '{command}'\n")).unwrap();
        shop.source.start().unwrap();
        shop.add("between", 1500);
        shop.switch_wal();
        // Barman names backups by the second.
        shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
        shop.add("new", 1500);
        shop.mark("new");
        shop.switch_wal();
        marks.extend(shop.finish());
        marks
    })
}

fn verify(archive: &Archive, server: &str, damage: impl FnOnce(&std::path::Path)) -> Answer {
    let copy = damaged_copy(archive, |root| damage(&root.join("bucket/archive").join(server)));
    Drill::new(copy.path(), server, "").verify(&[])
}

fn segments(server: &std::path::Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(server.join("wals/0000000100000000")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| !path.to_string_lossy().contains(".backup"));
    paths.sort();
    paths
}

/// The segments of the old cluster and of the new one, `xlp_sysid` by `xlp_sysid`.
fn by_system(server: &std::path::Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let mut first = None;
    segments(server).into_iter().partition(|path| {
        let mut system = Vec::new();
        rewrite_gz(path, |bytes| system = bytes[24..32].to_vec());
        *first.get_or_insert(system.clone()) == system
    })
}

fn backups(server: &std::path::Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(server.join("base")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn an_upgraded_cluster() {
    let archive = upgraded();
    let answer = Drill::new(&archive.root, "upgraded", "").verify(&[]);
    answer.expect("pass", 0);
    for (backup, mark) in [(0, "old"), (1, "new")] {
        assert_eq!(answer.report["backups"][backup]["state"], "good", "{}", answer.stdout);
        assert!(reach(&answer, backup).1 >= lsn(&archive.marks[mark].lsn), "{mark}");
    }
    let (_, new, _) = reach(&answer, 1);
    assert!(reach(&answer, 0).1 < new);
    let attentions = answer.report["attentions"].to_string();
    assert!(attentions.contains("system_id_mismatch"), "{attentions}");
    assert_eq!(answer.report["backups"][0]["blocked_by"][0]["class"], "system_id_mismatch");
}

#[test]
fn damage_in_the_wal_of_either_system() {
    let archive = upgraded();
    for old in [true, false] {
        let mut name = String::new();
        let answer = verify(&archive, "upgraded", |server| {
            let (before, behind) = by_system(server);
            let which = if old { before } else { behind };
            let path = &which[which.len() - 2];
            rewrite_gz(path, |bytes| flip_row(bytes, 100_000));
            name = path.file_stem().unwrap().to_string_lossy().into_owned();
        });
        answer.expect("fail", 1).expect_finding("wal_corrupt", &name);
    }
}

#[test]
fn a_foreign_cluster_behind_the_newest_backup() {
    // The new system has no backup, or only one of a time before.
    for rename in [false, true] {
        let mut name = String::new();
        let answer = verify(&upgraded(), "upgraded", |server| {
            let (_, behind) = by_system(server);
            name = behind[0].file_stem().unwrap().to_string_lossy().into_owned();
            let newest = backups(server).pop().unwrap();
            if rename {
                fs::rename(newest, server.join("base/20010101T000000")).unwrap();
            } else {
                fs::remove_dir_all(newest).unwrap();
            }
        });
        // What no backup tells of is another major's WAL at first sight.
        let class = if rename { "system_id_mismatch" } else { "wal_corrupt" };
        answer.expect("fail", 1).expect_finding(class, &name);
    }
}

#[test]
fn two_clusters_that_write_in_turns() {
    let mut name = String::new();
    let answer = verify(&upgraded(), "upgraded", |server| {
        let (before, behind) = by_system(server);
        // As if the new one had written over a segment of the old one.
        let place = &before[before.len() - 2];
        fs::copy(&behind[0], place).unwrap();
        name = before.last().unwrap().file_stem().unwrap().to_string_lossy().into_owned();
    });
    answer.expect("fail", 1).expect_finding("system_id_mismatch", &name);
}

/// What a run says, with a ledger where one is given.
fn said(objects: &MemoryStore, ledger: Option<&mut Ledger>) -> VerifyReport {
    let job = default_job("upgraded".into(), memory::location("upgraded"));
    let (progress, cancel) = (Progress::silent(), CancellationToken::new());
    let store: SharedStore = Arc::new(objects.clone());
    RUNTIME.block_on(async {
        match ledger {
            None => {
                verify::verify(&store, &job, VerifyOptions::default(), &progress, &cancel).await
            }
            Some(ledger) => {
                let mut sparing = Sparing { ledger, budget: Budget::default() };
                verify::verify_sparing(&store, &job, &mut sparing, &progress, &cancel).await
            }
        }
        .unwrap()
    })
}

/// A run with this ledger says what one says that reads all; gives the backups that it trusted.
#[track_caller]
fn says_as_much(objects: &MemoryStore, ledger: &mut Ledger, verdict: Verdict) -> u64 {
    let (full, spared) = (said(objects, None), said(objects, Some(ledger)));
    assert_eq!(spared.verdict, verdict, "{spared:#?}");
    assert_eq!((&spared.verdict, &spared.reason), (&full.verdict, &full.reason));
    assert_eq!(spared.backups, full.backups);
    assert_eq!(spared.timelines, full.timelines);
    let of = |report: &VerifyReport| -> Vec<Finding> { report.findings().cloned().collect() };
    assert_eq!(of(&spared), of(&full));
    assert_eq!((&spared.attentions, &spared.errors), (&full.attentions, &full.errors));
    // Whose a segment is only its bytes tell: each is read each time.
    let used = spared.ledger.unwrap();
    assert_eq!((used.trusted_wal_segments, used.left_objects), (0, 0));
    assert_eq!(spared.volume.wal_segments, full.volume.wal_segments);
    used.trusted_backups
}

/// Whatever happens to an upgraded cluster's archive: a ledger keeps nothing of it from being seen.
#[test]
fn an_upgraded_cluster_with_a_ledger() {
    let archive = upgraded();
    let objects = memory::objects(&archive.root);
    let mut ledger = Ledger::new("a");
    assert_eq!(says_as_much(&objects, &mut ledger, Verdict::Pass), 0);
    assert_eq!(says_as_much(&objects, &mut ledger, Verdict::Pass), 2);
    let (before, behind) = by_system(&archive.root.join("bucket/archive/upgraded"));
    let key = |path: &std::path::Path| {
        let key = path.strip_prefix(archive.root.join("bucket")).unwrap();
        key.to_str().unwrap().to_owned()
    };
    // A segment of either system that has turned into its neighbour's, and comes back.
    for which in [&before, &behind] {
        let (own, neighbour) = (key(&which[which.len() - 2]), key(&which[which.len() - 3]));
        let sound = objects.bytes(&own).unwrap();
        objects.put(own.clone(), objects.bytes(&neighbour).unwrap());
        says_as_much(&objects, &mut ledger, Verdict::Fail);
        objects.put(own, sound);
        says_as_much(&objects, &mut ledger, Verdict::Pass);
    }
    // The new system writes over the old one's WAL; a part of a backup is another one.
    let place = key(&before[before.len() - 2]);
    let sound = objects.bytes(&place).unwrap();
    objects.put(place.clone(), objects.bytes(&key(&behind[0])).unwrap());
    says_as_much(&objects, &mut ledger, Verdict::Fail);
    objects.put(place, sound);
    let newest = backups(&archive.root.join("bucket/archive/upgraded")).pop().unwrap();
    let part = key(&newest.join("data.tar.gz"));
    let mut bytes = objects.bytes(&part).unwrap().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    objects.put(part.clone(), bytes);
    says_as_much(&objects, &mut ledger, Verdict::Fail);
    assert_eq!(says_as_much(&objects, &mut ledger, Verdict::Fail), 1);
    // Without the new system's backup its WAL is a stranger's, of another major.
    objects.remove(&part);
    objects.remove(&key(&newest.join("backup.info")));
    says_as_much(&objects, &mut ledger, Verdict::Fail);
}

/// A backup, a restart with `wal_level=minimal`, one back, and another backup. Marks: `before`, `end`.
fn minimal() -> Archive {
    fixture::archive("minimal", |root| {
        let mut shop = Workshop::new(root, "minimal", Recipe::default());
        shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
        shop.add("before", 500);
        shop.mark("before");
        shop.switch_wal();
        shop.source.stop(true).unwrap();
        let settings = "wal_level = minimal\narchive_mode = off\nmax_wal_senders = 0\n";
        shop.source.append_config(settings).unwrap();
        shop.source.start().unwrap();
        shop.add("minimal", 10);
        shop.source.stop(true).unwrap();
        let settings = "wal_level = replica\narchive_mode = on\nmax_wal_senders = 10\n";
        shop.source.append_config(settings).unwrap();
        shop.source.start().unwrap();
        shop.add("behind", 500);
        shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
        shop.add("end", 500);
        shop.mark("end");
        shop.switch_wal();
        shop.finish()
    })
}

#[test]
fn minimal_wal_ends_the_reach_of_older_backups() {
    let archive = minimal();
    let answer = Drill::new(&archive.root, "minimal", "").verify(&[]);
    answer.expect("pass", 0);
    let old = &answer.report["backups"][0];
    assert_eq!(
        (old["state"].as_str(), old["blocked_by"][0]["class"].as_str()),
        (Some("good"), Some("wal_level_minimal"))
    );
    let (_, end, _) = reach(&answer, 0);
    assert!(end >= lsn(&archive.marks["before"].lsn));
    let stopped = lsn(old["blocked_by"][0]["lsn"].as_str().unwrap());
    assert!(end <= stopped && stopped < lsn(&archive.marks["end"].lsn), "{end:X} {stopped:X}");
    assert!(reach(&answer, 1).1 >= lsn(&archive.marks["end"].lsn));
    assert!(answer.report["attentions"].to_string().contains("wal_level_minimal"));

    // Without the newer backup it is the end of what can be recovered at all.
    let answer = verify(&archive, "minimal", |server| {
        fs::remove_dir_all(backups(server).pop().unwrap()).unwrap();
    });
    answer.expect("fail", 1).expect_finding("wal_level_minimal", "wal_level");
    assert_eq!(reach(&answer, 0).1, end);
}
