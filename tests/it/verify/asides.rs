//! What no recovery reads, and what may lie beside what it does: labels of backups among the WAL, second
//! copies of segments, backups without a description.

use std::{fs, path::Path, path::PathBuf};

use pgassay::pg::{
    Major, SegmentNumber, SegmentSize, TimelineHistory, TimelineId,
    wal::walk::{WalRules, WalWalk},
};

use super::verify_damaged;
use crate::support::{
    damage::{MIDDLE, backup_folder, flip_row, object, rewrite_gz, segment},
    drill::{Answer, Drill},
    fixture, tools,
};

fn attentions(answer: &Answer) -> String {
    answer.report["attentions"].to_string()
}

/// The only `.backup` file of the archive.
fn label(root: &Path) -> PathBuf {
    let folder = object(root, "wals/0000000100000000");
    let mut paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.find(|path| path.to_string_lossy().contains(".backup")).unwrap()
}

/// A label that says where the backup ended.
fn ends_at(root: &Path, stop: &str) {
    rewrite_gz(&label(root), |bytes| {
        let text = String::from_utf8(std::mem::take(bytes)).unwrap();
        let line = text.lines().nth(1).unwrap();
        assert!(line.starts_with("STOP WAL LOCATION: "), "{text}");
        *bytes = text.replace(line, &format!("STOP WAL LOCATION: {stop}")).into_bytes();
    });
}

#[test]
fn a_backups_end_that_its_label_contradicts() {
    let answer = verify_damaged(&fixture::rich(), |root| {
        ends_at(root, "1/1000010 (file 000000010000000100000010)");
    });
    answer.expect("fail", 1).expect_finding("backup_info_mismatch", "1/1000010");
    // As a Barman server has it that asks for the place when pg_basebackup is done.
    let answer = verify_damaged(&fixture::rich(), |root| {
        ends_at(root, "0/F00080 (file 00000001000000000000000F)");
    });
    answer.expect("pass", 0);
}

#[test]
fn a_label_that_cannot_be_read_is_for_attention_only() {
    let cut = |path: &Path| rewrite_gz(path, |bytes| bytes.truncate(40));
    // The same label under the name of another start.
    let renamed = |path: &Path| {
        let name = path.file_name().unwrap().to_string_lossy().replace(".000000", ".000001");
        fs::rename(path, path.with_file_name(name)).unwrap();
    };
    for damage in [&cut as &dyn Fn(&Path), &renamed] {
        let answer = verify_damaged(&fixture::rich(), |root| damage(&label(root)));
        answer.expect("pass", 0);
        assert!(attentions(&answer).contains(".backup.gz"), "{}", attentions(&answer));
    }
}

/// The decoded segment.
fn decoded(root: &Path) -> Vec<u8> {
    let mut copy = Vec::new();
    rewrite_gz(&segment(root, MIDDLE), |bytes| copy.clone_from(bytes));
    copy
}

fn plain(root: &Path) -> PathBuf {
    segment(root, MIDDLE).with_extension("")
}

#[test]
fn the_same_segment_in_two_compressions() {
    let answer = verify_damaged(&fixture::rich(), |root| {
        let bytes = decoded(root);
        fs::write(plain(root), bytes).unwrap();
    });
    answer.expect("pass", 0);
    assert!(!attentions(&answer).contains(MIDDLE), "{}", attentions(&answer));

    // The one without an extension is what a restore takes.
    let answer = verify_damaged(&fixture::rich(), |root| {
        let mut bytes = decoded(root);
        flip_row(&mut bytes, 300_000);
        fs::write(plain(root), bytes).unwrap();
    });
    answer.expect("fail", 1).expect_finding("wal_corrupt", MIDDLE);
    let answer = verify_damaged(&fixture::rich(), |root| {
        fs::write(plain(root), decoded(root)).unwrap();
        rewrite_gz(&segment(root, MIDDLE), |bytes| flip_row(bytes, 300_000));
    });
    answer.expect("pass", 0);
    assert!(attentions(&answer).contains(&format!("{MIDDLE}.gz")), "{}", attentions(&answer));
}

/// Changes the last byte of a long record that lies within one page, and its CRC with it.
fn rewrite_a_record(bytes: &mut [u8]) {
    let size = SegmentSize::new(1 << 20).unwrap();
    let number = SegmentNumber(0x20);
    let rules = WalRules {
        major: Major::from_number(tools::packaged_major()).unwrap(),
        system_id: u64::from_le_bytes(bytes[24..32].try_into().unwrap()),
        segment_size: size,
        history: TimelineHistory::root(TimelineId(1)),
        ancestors_known: true,
    };
    let mut found = None;
    let broken = WalWalk::new(rules, number).segment(TimelineId(1), number, bytes, |record| {
        let at = (record.start.0 - number.start(size).0) as usize;
        if at < bytes.len() && at % 8192 < 4096 {
            let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
            // A row of the heap (resource manager 10).
            if record.rmid == 10 && (200..2000).contains(&length) {
                found = Some((at, length));
            }
        }
    });
    assert_eq!(broken, []);
    let (at, length) = found.unwrap();
    bytes[at + length - 1] ^= 1;
    let crc = crc32c::crc32c(&bytes[at + 24..at + length]);
    let crc = crc32c::crc32c_append(crc, &bytes[at..at + 20]);
    bytes[at + 20..at + 24].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn two_sound_versions_of_one_segment() {
    let answer = verify_damaged(&fixture::rich(), |root| {
        fs::write(plain(root), decoded(root)).unwrap();
        rewrite_gz(&segment(root, MIDDLE), |bytes| rewrite_a_record(bytes));
    });
    answer.expect("fail", 1).expect_finding("wal_corrupt", &format!("{MIDDLE}.gz"));
}

#[test]
fn a_complete_backup_without_its_description() {
    let lost = |cut: bool| {
        verify_damaged(&fixture::rich(), |root| {
            let (from, to) = (backup_folder(root), object(root, "base/20200101T000000"));
            fs::create_dir(&to).unwrap();
            for entry in fs::read_dir(from).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if name != "backup.info" && !(cut && name.contains("data_0002")) {
                    fs::copy(&path, to.join(name)).unwrap();
                    let day = std::time::SystemTime::now() - std::time::Duration::from_hours(48);
                    let copy = to.join(path.file_name().unwrap());
                    let file = fs::File::options().write(true).open(copy).unwrap();
                    file.set_modified(day).unwrap();
                }
            }
        })
    };
    let whole = lost(false);
    whole.expect("pass", 0);
    let said = attentions(&whole);
    assert!(said.contains("complete but for its description"), "{said}");
    let cut = lost(true);
    cut.expect("pass", 0);
    assert!(!attentions(&cut).contains("complete but"), "{}", attentions(&cut));
    // It takes nothing from the others.
    let sound = Drill::new(&fixture::rich().root, "rich", "").verify(&[]);
    assert_eq!(whole.report["backups"][1]["reach"], sound.report["backups"][0]["reach"]);
}
