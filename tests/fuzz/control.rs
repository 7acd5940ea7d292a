//! Small binary files with a CRC: `pg_control` and `pg_filenode.map`.

use pgassay::pg::{ControlFile, filenode_map::FilenodeMap};

use crate::engine::{Target, any_bytes, run};

#[test]
fn control() {
    run(&Target {
        name: "control",
        seeds: vec![
            include_bytes!("seeds/control-14").to_vec(),
            include_bytes!("seeds/control-15").to_vec(),
            include_bytes!("seeds/control-18").to_vec(),
        ],
        mutate: any_bytes,
        repair: |input| {
            let version = input.get(8..12).map_or(0, |b| u32::from_le_bytes(b.try_into().unwrap()));
            seal(input, if version == 1800 { 292 } else { 288 });
        },
        check: |input| match ControlFile::parse(input) {
            Ok(control) => {
                assert!(input.len() >= 296);
                // What its numbers are used for.
                let size = control.wal_segment_size;
                let number = size.segment_of(control.checkpoint_copy.redo);
                let _ = number.file_name(control.checkpoint_copy.timeline, size);
                format!("{} {} {:?}", control.state, control.wal_level, control.major())
            }
            Err(error) => error.to_string(),
        },
        most_memory: 64 << 10,
        most_bytes: 16 << 10,
    });
}

#[test]
fn filenode_map() {
    let map = |size: usize, crc_at: usize| {
        let mut bytes = vec![0; size];
        bytes[..4].copy_from_slice(&0x0059_2717_u32.to_le_bytes());
        bytes[4..8].copy_from_slice(&3_u32.to_le_bytes());
        for (index, number) in [1262_u32, 16_384, 1259, 1259, 1249, 70_000].iter().enumerate() {
            bytes[8 + index * 4..12 + index * 4].copy_from_slice(&number.to_le_bytes());
        }
        seal(&mut bytes, crc_at);
        bytes
    };
    run(&Target {
        name: "filenode_map",
        seeds: vec![map(512, 504), map(524, 520)],
        mutate: any_bytes,
        repair: |input| {
            input.resize(if input.len() <= 512 { 512 } else { 524 }, 0);
            let at = if input.len() == 512 { 504 } else { 520 };
            seal(input, at);
        },
        check: |input| match FilenodeMap::parse(input) {
            Some(map) => {
                format!("a map {:?} {}", map.filenode(1259).is_some(), map.has_file(16_384))
            }
            None => "none".into(),
        },
        most_memory: 64 << 10,
        most_bytes: 4 << 10,
    });
}

fn seal(bytes: &mut [u8], at: usize) {
    if bytes.len() >= at + 4 {
        let crc = crc32c::crc32c(&bytes[..at]);
        bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    }
}
