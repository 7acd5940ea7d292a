//! Damage that PostgreSQL itself opens with, without one ERROR: each is a `fail` that names its place.

use std::{fs, path::Path};

use crate::support::{
    damage::{MIDDLE, backup_folder, flip_a_bit, flip_row, object, rewrite_gz, segment, segments},
    drill::{Answer, Drill, damaged_copy},
    fixture::{self, Archive},
};

fn middle(root: &Path) -> std::path::PathBuf {
    segment(root, MIDDLE)
}

fn drill_damaged(archive: &Archive, damage: impl FnOnce(&Path)) -> Answer {
    let copy = damaged_copy(archive, damage);
    Drill::new(copy.path(), "rich", "").run(&[])
}

#[test]
fn a_missing_segment() {
    let answer = drill_damaged(&fixture::rich(), |root| fs::remove_file(middle(root)).unwrap());
    answer
        .expect("fail", 1)
        .expect_finding("wal_gap", MIDDLE)
        .expect_finding("wal_gap", "0/2000000");
}

#[test]
fn a_truncated_segment() {
    let answer = drill_damaged(&fixture::rich(), |root| {
        let bytes = fs::read(middle(root)).unwrap();
        fs::write(middle(root), &bytes[..bytes.len() / 2]).unwrap();
    });
    answer
        .expect("fail", 1)
        .expect_finding("wal_corrupt", MIDDLE)
        .expect_finding("wal_corrupt", "0/2000000");
}

#[test]
fn a_flipped_bit_in_a_valid_gzip_stream() {
    let answer = drill_damaged(&fixture::rich(), |root| {
        rewrite_gz(&middle(root), |bytes| flip_row(bytes, 500_000));
    });
    answer
        .expect("fail", 1)
        .expect_finding("wal_corrupt", MIDDLE)
        .expect_finding("wal_corrupt", "\"lsn\":\"0/20");
}

#[test]
fn a_segment_of_another_system() {
    let answer = drill_damaged(&fixture::rich(), |root| {
        // The long page header holds the system identifier at byte 24.
        rewrite_gz(&middle(root), |bytes| bytes[24] ^= 0xFF);
    });
    answer.expect("fail", 1).expect_finding("system_id_mismatch", MIDDLE);
}

#[test]
fn a_segment_that_is_a_copy_of_its_neighbour() {
    let answer = drill_damaged(&fixture::rich(), |root| {
        fs::copy(segment(root, "00000001000000000000001F"), middle(root)).unwrap();
    });
    answer.expect("fail", 1).expect_finding("wal_corrupt", MIDDLE);
}

#[test]
fn a_last_segment_whose_end_was_never_written() {
    let answer = drill_damaged(&fixture::rich(), |root| {
        let mut segments = segments(root, "0000000200000000");
        // The archive ends in a full segment, which has lost its second half.
        while segments.len() > 1 {
            fs::remove_file(segments.pop().unwrap()).unwrap();
        }
        rewrite_gz(&segments[0], |bytes| bytes[512 << 10..].fill(0));
    });
    answer.expect("fail", 1).expect_finding("wal_corrupt", "nothing was written");
}

#[test]
fn a_missing_history_file() {
    let answer = drill_damaged(&fixture::rich(), |root| {
        fs::remove_file(object(root, "wals/00000002.history.gz")).unwrap();
    });
    answer.expect("fail", 1).expect_finding("timeline_history_missing", "00000002.history");
}

#[test]
fn the_first_segment_of_the_new_timeline_missing() {
    // Where the promotion falls depends on what the cluster wrote by itself.
    let mut first = String::new();
    let answer = drill_damaged(&fixture::rich(), |root| {
        let path = segments(root, "0000000200000000").remove(0);
        first = path.file_stem().unwrap().to_string_lossy().into_owned();
        fs::remove_file(path).unwrap();
    });
    answer.expect("fail", 1).expect_finding("wal_gap", &first);
}

#[test]
fn the_backups_first_segment_missing() {
    let answer = drill_damaged(&fixture::rich(), |root| {
        fs::remove_file(segment(root, "00000001000000000000000F")).unwrap();
    });
    answer
        .expect("fail", 1)
        .expect_finding("wal_missing_for_consistency", "00000001000000000000000F");
}

#[test]
fn a_missing_middle_part() {
    let answer = drill_damaged(&fixture::rich(), |root| {
        fs::remove_file(backup_folder(root).join("data_0001.tar.gz")).unwrap();
    });
    answer.expect("fail", 1).expect_finding("backup_part_missing", "data_0001.tar.gz");
}

#[test]
fn a_missing_last_part() {
    let answer = drill_damaged(&fixture::rich(), |root| {
        fs::remove_file(backup_folder(root).join("data_0002.tar.gz")).unwrap();
    });
    answer.expect("fail", 1).expect_finding("backup_part_missing", "pg_control");
}

#[test]
fn a_missing_tablespace() {
    let answer = drill_damaged(&fixture::rich(), |root| {
        let mut entries = fs::read_dir(backup_folder(root)).unwrap().map(|e| e.unwrap().path());
        let tar = entries.find(|p| {
            !p.to_string_lossy().contains("data") && p.extension().is_some_and(|e| e == "gz")
        });
        fs::remove_file(tar.unwrap()).unwrap();
    });
    answer.expect("fail", 1).expect_finding("backup_part_missing", ".tar");
}

#[test]
fn a_flipped_bit_in_the_base_backup() {
    let answer = drill_damaged(&fixture::rich(), |root| {
        flip_a_bit(&backup_folder(root).join("data_0001.tar.gz"));
    });
    answer.expect("fail", 1).expect_finding("archive_corrupt", "data_0001.tar.gz");
}

#[test]
fn a_history_file_that_names_a_later_fork() {
    let answer = drill_damaged(&fixture::rich(), |root| {
        rewrite_gz(&object(root, "wals/00000002.history.gz"), |bytes| {
            *bytes = b"1\t0/7000000\tno recovery target specified\n".to_vec();
        });
    });
    answer.expect("fail", 1).expect_finding("timeline_divergence", "00000002.history");
}

/// Zeroes the page that holds `needle`, in whichever member of the tar.
fn zero_page_with(tar: &Path, needle: &[u8]) {
    let mut bytes = fs::read(tar).unwrap();
    let place = bytes.windows(needle.len()).position(|w| w == needle).expect("the needle");
    let mut member = 0;
    loop {
        let octal = std::str::from_utf8(&bytes[member + 124..member + 135]).unwrap();
        let size = usize::from_str_radix(octal.trim_matches(['\0', ' ']), 8).unwrap();
        let next = member + 512 + size.next_multiple_of(512);
        if next > place {
            break;
        }
        member = next;
    }
    let start = member + 512;
    let page = start + (place - start) / 8192 * 8192;
    bytes[page..page + 8192].fill(0);
    fs::write(tar, bytes).unwrap();
}

#[test]
fn a_zeroed_page_that_only_the_index_remembers() {
    let archive = fixture::codecs();
    let copy = damaged_copy(&archive, |root| {
        let base = root.join("bucket/archive/zstd/base");
        let folder = fs::read_dir(base).unwrap().next().unwrap().unwrap().path();
        // `md5('1501' || '1')`: a row that nothing has touched since the backup.
        zero_page_with(&folder.join("data.tar"), b"21bf78373135b9673366fae7f6ddddeb");
    });
    let answer = Drill::new(copy.path(), "zstd", "").run(&[]);
    answer.expect("fail", 1).expect_finding("index_dangling", "items");
}
