//! `pgassay verify`: every byte of real archives read, without PostgreSQL.

mod asides;
mod beginning;
mod endings;
mod lying;
mod systems;

use std::{fs, path::Path};

use serde_json::Value;

use crate::support::{
    damage::{MIDDLE, backup_folder, flip_a_bit, flip_row, object, rewrite_gz, segment, segments},
    drill::{Answer, Drill, damaged_copy},
    fixture::{self, Archive, CODECS},
};

fn verify_damaged(archive: &Archive, damage: impl FnOnce(&Path)) -> Answer {
    let copy = damaged_copy(archive, damage);
    Drill::new(copy.path(), "rich", "").verify(&[])
}

/// `0/20AB12C8` as a number.
fn lsn(text: &str) -> u64 {
    let (high, low) = text.split_once('/').unwrap();
    u64::from_str_radix(high, 16).unwrap() << 32 | u64::from_str_radix(low, 16).unwrap()
}

#[track_caller]
fn reach(answer: &Answer, backup: usize) -> (u64, u64, String) {
    let reach = &answer.report["backups"][backup]["reach"];
    let at = reach["last_commit"]["at"].as_str().unwrap_or_default().to_owned();
    (reach["timeline"].as_u64().unwrap(), lsn(reach["lsn"].as_str().unwrap()), at)
}

/// What a drill of the same archive is promised.
fn promised(archive: &Archive, server: &str, spec: &str) -> Value {
    let answer = Drill::new(&archive.root, server, spec).run(&[]);
    answer.expect("pass", 0);
    answer.report["promise"].clone()
}

#[test]
fn a_sound_archive_recovers_to_where_a_drill_does() {
    let archive = fixture::rich();
    let answer = Drill::new(&archive.root, "rich", "").verify(&[]);
    answer.expect("pass", 0);
    let report = &answer.report;
    assert_eq!(report["backups"][0]["state"], "good");
    let (timeline, end, last) = reach(&answer, 0);
    let promise = promised(&archive, "rich", "");
    assert_eq!(promise["timeline"], timeline);
    assert_eq!(lsn(promise["end"].as_str().unwrap()), end);
    assert_eq!(promise["last_transaction"]["at"].as_str().unwrap(), last);
    assert!(end >= lsn(&archive.marks["end"].lsn));
    // Segments before the backup, and both timelines.
    let timelines = report["timelines"].as_array().unwrap();
    assert_eq!(
        timelines.iter().map(|t| t["timeline"].as_u64()).collect::<Vec<_>>(),
        [Some(1), Some(2)]
    );
    let read: u64 = timelines.iter().map(|t| t["segments"].as_u64().unwrap()).sum();
    assert_eq!(report["volume"]["wal_segments"], read);
    assert!(report["volume"]["wal_records"].as_u64().unwrap() > 10_000);

    // What one recovery point needs is less.
    let drill = Drill::new(&archive.root, "rich", "");
    let point = drill.verify(&["--recovery-point", "--target-time", &archive.marks["middle"].time]);
    point.expect("pass", 0);
    assert!(point.report["volume"]["wal_segments"].as_u64().unwrap() < read);
    let (_, middle, _) = reach(&point, 0);
    assert!(middle < lsn(&archive.marks["before_switch"].lsn), "{middle:X}");
    let latest = drill.verify(&["--recovery-point"]);
    latest.expect("pass", 0);
    assert_eq!(reach(&latest, 0), (timeline, end, last));
}

#[test]
fn every_codec_is_read() {
    let archive = fixture::codecs();
    for (server, _, _) in CODECS {
        let answer = Drill::new(&archive.root, server, "").verify(&[]);
        answer.expect("pass", 0);
        assert!(reach(&answer, 0).1 >= lsn(&archive.marks[server].lsn), "{server}");
    }
}

#[test]
fn the_oldest_and_the_newest_major() {
    for major in [14, 18] {
        let archive = fixture::of_major(major);
        let answer = Drill::new(&archive.root, &format!("major{major}"), "").verify(&[]);
        answer.expect("pass", 0);
        assert!(reach(&answer, 0).1 >= lsn(&archive.marks["end"].lsn), "{major}");
    }
}

#[test]
fn several_damages_are_all_found() {
    let parent = "000000010000000000000018";
    let child = "00000002000000000000002D";
    let answer = verify_damaged(&fixture::rich(), |root| {
        rewrite_gz(&segment(root, parent), |bytes| flip_row(bytes, 300_000));
        rewrite_gz(&segment(root, MIDDLE), |bytes| bytes[24] ^= 0xFF);
        let cut = fs::read(segment(root, child)).unwrap();
        fs::write(segment(root, child), &cut[..cut.len() / 2]).unwrap();
        flip_a_bit(&backup_folder(root).join("data_0001.tar.gz"));
    });
    answer
        .expect("fail", 1)
        .expect_finding("wal_corrupt", parent)
        .expect_finding("system_id_mismatch", MIDDLE)
        .expect_finding("wal_corrupt", child)
        .expect_finding("archive_corrupt", "data_0001.tar.gz");
    // Where exactly: the segment, the record, its byte, and the last commit before it.
    let found = answer.findings();
    let (_, _, first) = found.iter().find(|(_, s, _)| s.contains(parent)).unwrap();
    let at = lsn(first["lsn"].as_str().unwrap());
    assert_eq!(at >> 20, 0x18);
    let detail = first["detail"].as_str().unwrap();
    assert!(detail.contains(&format!("byte {} of the segment", at & 0xF_FFFF)), "{detail}");
    assert!(detail.contains("the last good commit before it is of 20"), "{detail}");
    // Recovery gets to the first of them.
    let (timeline, end, _) = reach(&answer, 0);
    assert_eq!(timeline, 1);
    assert!(end <= at && end >> 20 >= 0x17, "{end:X} {at:X}");
    assert_eq!(answer.report["backups"][0]["state"], "damaged");
    assert_eq!(answer.report["timelines"][0]["damaged"], 2);
}

#[test]
fn a_neighbours_copy() {
    let answer = verify_damaged(&fixture::rich(), |root| {
        fs::copy(segment(root, "00000001000000000000001F"), segment(root, MIDDLE)).unwrap();
    });
    answer.expect("fail", 1).expect_finding("wal_corrupt", MIDDLE);
}

#[test]
fn a_missing_segment() {
    let answer = verify_damaged(&fixture::rich(), |root| {
        fs::remove_file(segment(root, MIDDLE)).unwrap();
    });
    answer.expect("fail", 1).expect_finding("wal_gap", MIDDLE);
    assert!(reach(&answer, 0).1 <= 0x200_0000);
    // What follows is read all the same.
    assert_eq!(answer.report["timelines"].as_array().unwrap().len(), 2);
    assert_eq!(answer.report["timelines"][0]["gaps"], 1);
}

#[test]
fn a_missing_history_file() {
    let answer = verify_damaged(&fixture::rich(), |root| {
        fs::remove_file(object(root, "wals/00000002.history.gz")).unwrap();
    });
    answer.expect("fail", 1).expect_finding("timeline_history_missing", "00000002.history");
    // Its segments are good.
    assert_eq!(answer.report["timelines"][1]["damaged"], 0);
}

#[test]
fn a_last_segment_whose_end_was_never_written() {
    let answer = verify_damaged(&fixture::rich(), |root| {
        let mut segments = segments(root, "0000000200000000");
        while segments.len() > 1 {
            fs::remove_file(segments.pop().unwrap()).unwrap();
        }
        rewrite_gz(&segments[0], |bytes| bytes[512 << 10..].fill(0));
    });
    answer.expect("fail", 1).expect_finding("wal_corrupt", "nothing was written");
}

#[test]
fn damage_before_every_backup_is_for_attention_only() {
    let answer = verify_damaged(&fixture::rich(), |root| {
        rewrite_gz(&segments(root, "0000000100000000")[2], |bytes| bytes[9000] ^= 0xFF);
    });
    answer.expect("pass", 0);
    let attentions = answer.report["attentions"].to_string();
    assert!(attentions.contains("wal_corrupt"), "{attentions}");
}

#[test]
fn a_missing_last_part() {
    let answer = verify_damaged(&fixture::rich(), |root| {
        fs::remove_file(backup_folder(root).join("data_0002.tar.gz")).unwrap();
    });
    answer.expect("fail", 1).expect_finding("backup_part_missing", "pg_control");
}

#[test]
fn a_description_that_its_backup_contradicts() {
    let answer = verify_damaged(&fixture::rich(), |root| {
        let path = backup_folder(root).join("backup.info");
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(|line| {
            if line.starts_with("data_checksums=") { "data_checksums=off" } else { line }
        });
        fs::write(&path, lines.collect::<Vec<_>>().join("\n")).unwrap();
    });
    answer.expect("fail", 1).expect_finding("backup_info_mismatch", "data checksums");
}

/// Makes the record that ends the backup one that ends another: what a clone of the database, which has
/// the same system identifier, may have written at that place.
fn foreign_backup_end(root: &Path) {
    let info = fs::read_to_string(backup_folder(root).join("backup.info")).unwrap();
    let said = |key: &str| {
        let mut lines = info.lines().filter_map(|line| line.split_once('='));
        lines.find(|(k, _)| *k == key).unwrap().1.to_owned()
    };
    let begin = lsn(&said("begin_xlog")).to_le_bytes();
    rewrite_gz(&segment(root, &said("end_wal")), |bytes| {
        // Without the page headers a record lies in one piece.
        let header = |at: usize| if at < 8192 { 40 } else { 24 };
        let places: Vec<usize> = (0..bytes.len()).filter(|at| at % 8192 >= header(*at)).collect();
        let log: Vec<u8> = places.iter().map(|at| bytes[*at]).collect();
        // XLOG_BACKUP_END: 24 bytes of header, two that say how long the data are, and the start.
        let start = |w: &[u8]| w[..2] == [255, 8] && w[2..] == begin;
        let at = log.windows(10).position(start).unwrap() - 24;
        let mut record = log[at..at + 34].to_vec();
        assert_eq!((record[0], record[16], record[17]), (34, 0x50, 0));
        record[26] ^= 0x28;
        let crc = pgassay::pg::wal::record::crc(&record);
        record[20..24].copy_from_slice(&crc.to_le_bytes());
        for (place, byte) in places[at..].iter().zip(record) {
            bytes[*place] = byte;
        }
    });
}

#[test]
fn a_window_whose_end_a_clone_wrote() {
    let copy = damaged_copy(&fixture::rich(), foreign_backup_end);
    let drill = Drill::new(copy.path(), "rich", "");
    for arguments in [&[][..], &["--recovery-point"]] {
        let answer = drill.verify(arguments);
        answer.expect("fail", 1).expect_finding("wal_missing_for_consistency", "base/");
        assert_eq!(answer.report["backups"][0]["state"], "damaged");
    }
    let answer = drill.run(&[]);
    answer.expect("fail", 1).expect_finding("wal_missing_for_consistency", "base/");
}

#[test]
fn a_backup_that_is_still_running() {
    let answer = verify_damaged(&fixture::rich(), |root| {
        let tar = backup_folder(root).join("data.tar.gz");
        let running = object(root, "base/20990101T000000");
        fs::create_dir(&running).unwrap();
        fs::copy(tar, running.join("data.tar.gz")).unwrap();
    });
    answer.expect("pass", 0);
    assert_eq!(answer.report["backups"][1]["state"], "not_restorable");
}

#[test]
fn a_drill_that_only_reads() {
    let archive = fixture::rich();
    let drill = Drill::new(&archive.root, "rich", "");
    let answer = drill.run(&["--depth", "read"]);
    answer.expect("pass", 0);
    assert!(answer.report["sandbox"].is_null() && answer.report["reached"].is_null());
    let end = answer.report["promise"]["end"].as_str().unwrap();
    assert!(lsn(end) >= lsn(&archive.marks["end"].lsn));
    let names: Vec<_> =
        answer.report["checks"].as_array().unwrap().iter().map(|c| c["name"].clone()).collect();
    assert_eq!(names, ["plan", "base", "wal"]);

    let copy = damaged_copy(&archive, |root| {
        rewrite_gz(&segment(root, MIDDLE), |bytes| flip_row(bytes, 500_000));
    });
    let answer = Drill::new(copy.path(), "rich", "").run(&["--depth", "read"]);
    answer.expect("fail", 1).expect_finding("wal_corrupt", MIDDLE);
}

#[test]
fn a_flipped_byte_in_a_page_that_no_wal_heals() {
    let archive = fixture::codecs();
    let copy = damaged_copy(&archive, |root| {
        let base = root.join("bucket/archive/zstd/base");
        let folder = fs::read_dir(base).unwrap().next().unwrap().unwrap().path();
        let tar = folder.join("data.tar");
        let mut bytes = fs::read(&tar).unwrap();
        // `md5('1501' || '1')`: a row that nothing has touched since the backup.
        let needle = b"21bf78373135b9673366fae7f6ddddeb";
        let place = bytes.windows(needle.len()).position(|w| w == needle).unwrap();
        bytes[place] ^= 1;
        fs::write(tar, bytes).unwrap();
    });
    let drill = Drill::new(copy.path(), "zstd", "");
    for arguments in [&[][..], &["--recovery-point"]] {
        let answer = drill.verify(arguments);
        answer.expect("fail", 1).expect_finding("page_checksum", "base/");
        assert_eq!(answer.report["backups"][0]["state"], "damaged");
    }
}
