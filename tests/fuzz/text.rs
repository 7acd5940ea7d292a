//! Texts: `backup.info`, Python literals, history files, `backup_label`, names, job files.

use std::{fs, path::Path};

use pgassay::{
    archive::{BackupInfo, Codec, key::Key, literal::Literal},
    config,
    pg::{
        BackupLabel, Lsn, SegmentNumber, SegmentSize, TimelineHistory, TimelineId, WalFileName,
        relation_file::RelationFile,
    },
};

use crate::{
    engine::{Target, nothing, run},
    mutate::{self, Random},
};

const MIB: usize = 1 << 20;

fn folder(path: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| fs::read(file).unwrap()).collect()
}

fn seeds(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// As a text that was read from an object.
fn lossy(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}

#[test]
fn backup_info() {
    run(&Target {
        name: "backup_info",
        seeds: folder("tests/fuzz/seeds/backup_info"),
        mutate: |input, other, random| {
            const WORDS: [&str; 28] = [
                "backup_label=",
                "begin_time=",
                "begin_wal=",
                "begin_xlog=",
                "data_checksums=",
                "end_time=",
                "end_xlog=",
                "parent_backup_id=",
                "snapshots_info=",
                "status=DONE",
                "systemid=",
                "tablespaces=[",
                "timeline=",
                "version=",
                "xlog_segment_size=",
                "None",
                "('a', 16384, '/b')",
                "datetime.datetime(",
                "[[[[",
                "\\x4",
                "\\U0001F600",
                "u'",
                "b'",
                "r\"",
                "-inf",
                "0x",
                "+99:99",
                "INCREMENTAL FROM LSN: 0/1\\n",
            ];
            mutate::text(input, other, &WORDS, random);
        },
        repair: nothing,
        check: |input| match BackupInfo::parse(&lossy(input)) {
            Ok(info) => {
                let read = (
                    info.is_incremental(),
                    info.is_from_standby(),
                    info.label_start().is_some(),
                    info.label_timeline().is_some(),
                    info.end_timeline().is_some(),
                );
                format!(
                    "{read:?} {} {} {:?}",
                    info.status,
                    "x".repeat(info.tablespaces.len().min(5)),
                    info.warnings
                )
            }
            Err(what) => what,
        },
        most_memory: 4 * MIB,
        most_bytes: 64 << 10,
    });
}

#[test]
fn literal() {
    run(&Target {
        name: "literal",
        seeds: seeds(&[
            "[('ts1', 16384, '/srv/ts'), (\"it's\", 16385, u'/srv/\\u00e9')]",
            "{'a': {1: -2.5e-3, b'\\xff': None}, 'b': (True, False, (1,), ())}",
            "datetime.timedelta(days=-1, seconds=3, tzinfo=x.y(0x1F))",
            "r'a\\n' ",
            "1_000_000L",
        ]),
        mutate: |input, other, random| {
            const WORDS: [&str; 20] = [
                "(", ")", "[", "]", "{", "}", ",", ":", "'", "\"", "\\", "\\x", "\\u", "\\U", "0x",
                "1e", "-", "nan", "br'", "=",
            ];
            mutate::text(input, other, &WORDS, random);
        },
        repair: nothing,
        check: |input| match Literal::parse(&lossy(input)) {
            Ok(value) => {
                let written = value.to_string();
                match Literal::parse(&written) {
                    Ok(again) => assert_eq!(again.to_string(), written),
                    // Calls are written for people.
                    Err(_) => assert!(format!("{value:?}").contains("Call("), "{written}"),
                }
                format!("{value:?}").chars().filter(|c| !c.is_lowercase()).take(80).collect()
            }
            Err(error) => error.to_string(),
        },
        most_memory: 16 * MIB,
        most_bytes: 64 << 10,
    });
}

#[test]
fn history() {
    run(&Target {
        name: "history",
        seeds: seeds(&[
            "1\t0/5000000\tno recovery target specified\n\n# note\n2\t0/60000A0\tbefore 2026-01-01 00:00:00+00\n",
            "1\tFFFFFFFF/FFFFFFFF\tx\n3\t0/0\ty\n4\tA/B000028\tat restore point \"x\"\n",
        ]),
        mutate: |input, other, random| {
            const WORDS: [&str; 8] =
                ["1\t0/1\tx\n", "#", "\t", "/", "FFFFFFFF", "4294967295", "+1", "\r\n"];
            mutate::text(input, other, &WORDS, random);
        },
        repair: nothing,
        check: |input| {
            let timeline = TimelineId(input.first().map_or(5, |byte| u32::from(*byte) + 1));
            match TimelineHistory::parse(timeline, &lossy(input)) {
                Ok(history) => {
                    for ancestor in &history.ancestors {
                        assert!(history.contains(ancestor.timeline));
                        assert_eq!(history.switch_point(ancestor.timeline), Some(ancestor.switch));
                        for lsn in [ancestor.switch.0.saturating_sub(1), ancestor.switch.0] {
                            assert!(history.contains(history.timeline_at(Lsn(lsn))));
                            let size = SegmentSize::DEFAULT;
                            let number = size.segment_of(Lsn(lsn));
                            assert!(history.contains(history.timeline_of_segment(number, size)));
                            let _ = size.segment_before(Lsn(lsn));
                        }
                    }
                    "x".repeat(history.ancestors.len().min(9))
                }
                Err(error) => error.to_string(),
            }
        },
        most_memory: 4 * MIB,
        most_bytes: 64 << 10,
    });
}

#[test]
fn backup_label() {
    run(&Target {
        name: "backup_label",
        seeds: seeds(&[include_str!("seeds/backup_label")]),
        mutate: |input, other, random| {
            const WORDS: [&str; 9] = [
                "START WAL LOCATION: ",
                "(file ",
                "CHECKPOINT LOCATION: ",
                "BACKUP METHOD: pg_rewind\n",
                "BACKUP FROM: standby\n",
                "START TIMELINE: ",
                "INCREMENTAL FROM LSN: 0/1\n",
                ".partial)",
                ": ",
            ];
            mutate::text(input, other, &WORDS, random);
        },
        repair: nothing,
        check: |input| match BackupLabel::parse(&lossy(input)) {
            Ok(label) => {
                assert!(matches!(label.start_wal_file, WalFileName::Segment { .. }));
                assert!(label.start_timeline.is_none_or(|named| named == label.timeline));
                format!(
                    "{:?} {:?} {:?}",
                    label.method,
                    label.from,
                    label.incremental_from.is_some()
                )
            }
            Err(error) => error.to_string(),
        },
        most_memory: MIB,
        most_bytes: 16 << 10,
    });
}

/// What a name is must be written as it was read.
#[test]
fn names() {
    run(&Target {
        name: "names",
        seeds: seeds(&[
            "base/5/16384_vm.1",
            "pg_tblspc/16385/PG_15_202209061/5/16400.1",
            "global/1262_init",
            "000000010000000A000000FE.00000028.backup",
            "wals/000000010000000A/000000010000000A000000FE.partial.gz",
            "wals/0000000B.history.bz2",
            "base/20261122T190000/data_0001.tar.zst",
            "base/20261122T190000/16384.tar.gpg",
            "base/20261122T190000/backup.info",
            "FFFFFFFF/FFFFFFFF",
        ]),
        mutate: |input, other, random| {
            const WORDS: [&str; 18] = [
                "/", ".", "_", "_fsm", "_vm", ".tar", ".gz", ".lz4", ".partial", ".backup",
                ".history", "00000001", "data", "base/", "wals/", "FFFFFFFF", "é", "+",
            ];
            mutate::text(input, other, &WORDS, random);
        },
        repair: nothing,
        check: |input| {
            let text = lossy(input);
            let mut is = Vec::new();
            if let Some(file) = RelationFile::parse(&text) {
                assert_eq!(file.to_string(), text);
                let _ = (file.first_block(131_072), file.location.tablespace());
                is.push(format!("relation {:?}", file.fork));
            }
            if let Ok(name) = text.parse::<WalFileName>() {
                assert_eq!(
                    name.to_string(),
                    text.to_ascii_uppercase()
                        .replace("PARTIAL", "partial")
                        .replace("BACKUP", "backup")
                        .replace("HISTORY", "history")
                );
                if let WalFileName::Segment { log, seg, timeline } = name {
                    let number = WalFileName::number(log, seg, SegmentSize::DEFAULT);
                    let again =
                        number.map(|n: SegmentNumber| n.file_name(timeline, SegmentSize::DEFAULT));
                    assert!(again.is_none_or(|again| again.eq_ignore_ascii_case(&text)));
                }
                is.push("wal".into());
            }
            if let Ok(lsn) = text.parse::<Lsn>() {
                assert_eq!(lsn.to_string().parse(), Ok(lsn));
                is.push("lsn".into());
            }
            let (stem, codec) = Codec::split(&text);
            assert_eq!(format!("{stem}{}", codec.extension()), text);
            match Key::parse(&text) {
                Key::Unknown => {}
                Key::Base { file, .. } => is.push(format!("{file:?}")),
                Key::Wal { name, codec } => {
                    assert!(text.ends_with(&format!("{name}{}", codec.extension())));
                    is.push(format!("key {codec:?}"));
                }
                Key::UnreadableWal { .. } => is.push("unreadable".into()),
            }
            is.join(" ")
        },
        most_memory: MIB,
        most_bytes: 4 << 10,
    });
}

#[test]
fn job() {
    let mut seeds = folder("fixtures/jobs");
    seeds.extend(folder("jobs"));
    run(&Target {
        name: "job",
        seeds,
        mutate: |input: &mut Vec<u8>, other: &[u8], random: &mut Random| {
            const WORDS: [&str; 26] = [
                "archive:",
                "url: ",
                "server: ",
                "target:",
                "time: ",
                "checks:",
                "  - ",
                "sandbox:",
                "memory: 1GiB",
                "objectives:",
                "&a ",
                "*a",
                "<<: ",
                "!!binary ",
                "|\n",
                ">-\n",
                "{",
                "}",
                "[",
                "]",
                "? ",
                "---\n",
                "...\n",
                "\"\\u0000\"",
                "%YAML 1.2\n",
                "\t",
            ];
            mutate::text(input, other, &WORDS, random);
        },
        repair: nothing,
        check: |input| match config::parse(&lossy(input), "job.yaml") {
            Ok(job) => {
                format!("{job:?}").chars().filter(|c| !c.is_ascii_digit()).take(300).collect()
            }
            Err(problems) => problems.to_string(),
        },
        most_memory: 64 * MIB,
        most_bytes: 32 << 10,
    });
}
