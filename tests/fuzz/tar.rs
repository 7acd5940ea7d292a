//! Tars: walked member by member, and taken in as a restore would without writing.

use std::fmt::Write as _;

use pgassay::{
    pg::{ControlFile, page},
    restore::{
        pages::WatchRules,
        tar::TarReader,
        unpack::{Place, TarSource, Unpacker},
    },
};
use tokio_util::sync::CancellationToken;

use crate::{
    engine::{Target, run},
    mutate::{self, Random},
};

const BLOCK: usize = 512;

fn member(tar: &mut Vec<u8>, name: &str, kind: u8, link: &str, data: &[u8]) {
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000600");
    block[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
    block[136..147].copy_from_slice(b"14700000000");
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    tar.extend_from_slice(&block);
    tar.extend_from_slice(data);
    tar.resize(tar.len().next_multiple_of(BLOCK), 0);
}

/// A data page with rows that are not, and a right checksum.
fn page(fill: u8, block: u32) -> [u8; page::PAGE_SIZE] {
    let mut page = [fill; page::PAGE_SIZE];
    page[10..12].fill(0);
    page[12..14].copy_from_slice(&28_u16.to_le_bytes());
    page[14..16].copy_from_slice(&8000_u16.to_le_bytes());
    page[16..18].copy_from_slice(&8192_u16.to_le_bytes());
    let sum = page::checksum(&page, block);
    page[8..10].copy_from_slice(&sum.to_le_bytes());
    page
}

/// What barman-cloud-backup writes, and what other tars hold.
fn seeds() -> Vec<Vec<u8>> {
    let control = include_bytes!("seeds/control-18");
    let mut small = Vec::new();
    member(&mut small, "backup_label", b'0', "", include_bytes!("seeds/backup_label"));
    member(&mut small, "PG_VERSION", b'0', "", b"18\n");
    member(&mut small, "base/", b'5', "", b"");
    member(&mut small, "././@PaxHeader", b'x', "", b"30 mtime=1700000000.123456789\n");
    member(&mut small, "base/5/", b'5', "", b"");
    member(&mut small, "././@PaxHeader", b'x', "", b"30 path=base/5/16384_fsm_name\n");
    member(&mut small, "base/5/1", b'0', "", &[7; 700]);
    member(&mut small, "././@LongLink", b'L', "", b"pg_tblspc/a-long-name\0");
    member(&mut small, "x", b'2', "/elsewhere", b"");
    member(&mut small, "pg_tblspc/16384", b'2', "/srv/space", b"");
    member(&mut small, "././@PaxHeader", b'g', "", b"16 linkpath=far\n");
    member(&mut small, "postgresql.conf", b'0', "", b"port = 5432\n");
    member(&mut small, "pg_wal/000000010000000000000001", b'0', "", &[1; 40]);
    member(&mut small, "global/pg_control", b'0', "", control);
    small.resize((small.len() + 2 * BLOCK).next_multiple_of(10_240), 0);

    let mut pages = Vec::new();
    let relation: Vec<u8> = (0..3).flat_map(|block| page(block as u8 + 3, block)).collect();
    member(&mut pages, "base/5/16384", b'0', "", &relation);
    member(&mut pages, "base/5/16384_vm", b'0', "", &page(0xFF, 0));
    member(&mut pages, "base/5/16385", b'0', "", &[0; page::PAGE_SIZE]);
    member(&mut pages, "base/5/16386_init", b'0', "", &page(1, 0));
    member(&mut pages, "base/5/pg_filenode.map", b'0', "", &[0; 524]);
    member(&mut pages, "global/pg_control", b'0', "", control);
    pages.resize((pages.len() + 2 * BLOCK).next_multiple_of(10_240), 0);
    let mut seeds = vec![small, pages];
    for seed in &mut seeds {
        seal(seed);
    }
    seeds
}

/// Right checksums for everything that looks like a header.
fn seal(tar: &mut [u8]) {
    for block in tar.chunks_exact_mut(BLOCK) {
        if block[257..262] == *b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
    }
}

fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let headers: Vec<usize> = (0..input.len() / BLOCK)
        .map(|index| index * BLOCK)
        .filter(|at| input[at + 257..at + 262] == *b"ustar")
        .collect();
    if headers.is_empty() || random.one_in(3) {
        return mutate::bytes(input, other, random);
    }
    let header = *random.pick(&headers);
    let mut field = |at: usize, text: &[u8]| {
        input[header + at..header + at + text.len()].copy_from_slice(text);
    };
    match random.below(6) {
        0 => field(156, &[*random.pick(b"\x00001234567xgLKSV")]),
        1 => {
            let size = *random.pick(&[0_u64, 1, 511, 512, 513, 1 << 20, 0o77_777_777_777]);
            field(124, format!("{size:011o}").as_bytes());
        }
        2 => {
            let mut size = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            size[4..].copy_from_slice(&(random.next() >> random.below(64)).to_be_bytes());
            field(124, &size);
        }
        3 => {
            let names = [
                "../../etc/passwd",
                "/etc/passwd",
                "global/pg_control",
                "base",
                "pg_wal",
                "backup_label",
                "./a//b/./c",
                "pg_tblspc/1/PG_18_202506291/5/16384.1",
                "a\0b",
                "",
            ];
            let mut name = [0; 100];
            let text = random.pick(&names).as_bytes();
            name[..text.len()].copy_from_slice(text);
            field(*random.pick(&[0, 157]), &name);
        }
        4 => {
            // A member twice, or elsewhere.
            let from = *random.pick(&headers);
            let end = headers.iter().find(|at| **at > from).copied().unwrap_or(from + BLOCK);
            let piece = input[from..end].to_vec();
            input.splice(header..header, piece);
        }
        _ => {
            // Within a header or right behind it, where extended headers have their text.
            let at = header + random.below(2 * BLOCK).min(input.len() - header - 1);
            input[at] = *random.pick(b"0123456789 =\n\0\xFFpathsizelink");
        }
    }
}

fn walk(input: &[u8]) -> String {
    let mut tar = TarReader::new(input);
    let (mut members, mut bytes, mut buffer) = (0, 0, [0; 4096]);
    let outcome = loop {
        match tar.next_entry() {
            Ok(Some(entry)) => {
                members += 1;
                assert!(entry.offset < input.len() as u64);
                let mut size = 0;
                let failed = loop {
                    match tar.read_data(&mut buffer) {
                        Ok(0) => break None,
                        Ok(count) => size += count as u64,
                        Err(error) => break Some(error),
                    }
                };
                bytes += size;
                match failed {
                    Some(error) => break error.to_string(),
                    None => assert_eq!(size, entry.size),
                }
            }
            Ok(None) => {
                assert_eq!(tar.offset(), input.len() as u64);
                break "whole".into();
            }
            Err(error) => break error.to_string(),
        }
    };
    assert!(tar.offset() <= input.len() as u64);
    assert!(bytes + members * BLOCK as u64 <= input.len() as u64);
    outcome
}

fn take_in(input: &[u8]) -> String {
    let cancel = CancellationToken::new();
    let unpacker = Unpacker::examine().watching(WatchRules::within(1 << 20, Some(true)));
    let mut outcome = String::new();
    for place in [Place::Data, Place::Tablespace(16_384)] {
        let source = TarSource { key: "base/x/data.tar", place, part: 0 };
        let unpacked = unpacker.unpack(source, input, &cancel);
        outcome.push_str(if unpacked.is_ok() { "whole " } else { "damaged " });
    }
    let done = unpacker.finish(false).unwrap();
    let findings = done.findings.iter().map(|finding| finding.class.to_string());
    outcome.push_str(&findings.collect::<Vec<_>>().join(" "));
    outcome.push_str(&done.notes.join(" "));
    if let Ok(control) = ControlFile::parse(&done.pg_control)
        && let Ok(suspects) = done.pages.judged_by(&control)
    {
        let _ = write!(outcome, " {} suspects", suspects.count());
    }
    outcome
}

#[test]
fn tar() {
    run(&Target {
        name: "tar",
        seeds: seeds(),
        mutate,
        repair: |input| seal(input),
        check: |input| format!("{} | {}", walk(input), take_in(input)),
        most_memory: 16 << 20,
        most_bytes: 256 << 10,
    });
}
