//! What this room's tests share.

use crate::pg::{
    ControlFile, Major,
    page::{PAGE_SIZE, checksum},
};

/// `pg_control` of 15, with or without data checksums.
pub(super) fn control(checksums: bool) -> ControlFile {
    let bytes = crate::pg::control::sample(1300, 202_209_061);
    let control = ControlFile::parse(&bytes).unwrap();
    ControlFile { data_checksum_version: u32::from(checksums), ..control }
}

/// A plausible page with a right checksum.
pub(super) fn page(fill: u8, block: u32) -> [u8; PAGE_SIZE] {
    let mut page = [fill; PAGE_SIZE];
    page[10..12].fill(0);
    page[12..14].copy_from_slice(&28u16.to_le_bytes());
    page[14..16].copy_from_slice(&8000u16.to_le_bytes());
    page[16..18].copy_from_slice(&8192u16.to_le_bytes());
    seal(&mut page, block);
    page
}

/// Makes the checksum right.
pub(super) fn seal(page: &mut [u8; PAGE_SIZE], block: u32) {
    let sum = checksum(page, block);
    page[8..10].copy_from_slice(&sum.to_le_bytes());
}

/// What a record of a test says of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touch {
    Change,
    Init,
    Image,
    /// For `wal_consistency_checking`.
    CheckImage,
}

/// `(relation's number, fork, block, touch)` of database 5 in the default tablespace.
pub(super) type Block = (u32, u8, u32, Touch);

/// The body of a record that changes blocks.
pub(super) fn body(major: Major, blocks: &[Block], main: &[u8]) -> Vec<u8> {
    let apply = if major == Major::V14 { 0x04 } else { 0x02 };
    let (mut headers, mut images) = (Vec::new(), Vec::new());
    for (id, (number, fork, block, touch)) in blocks.iter().enumerate() {
        let flags = match touch {
            Touch::Change => 0,
            Touch::Init => 0x40,
            Touch::Image | Touch::CheckImage => 0x10,
        };
        headers.extend([id as u8, fork | flags, 0, 0]);
        if flags == 0x10 {
            // 100 bytes around a hole.
            let apply = if *touch == Touch::Image { apply } else { 0 };
            headers.extend([100, 0, 50, 0, 0x01 | apply]);
            images.extend([7; 100]);
        }
        for word in [1663, 5, *number, *block] {
            headers.extend(word.to_le_bytes());
        }
    }
    headers.extend([255, main.len() as u8]);
    headers.extend(images);
    headers.extend(main);
    headers
}

/// Words as they lie in a record.
pub(super) fn words(all: &[u32]) -> Vec<u8> {
    all.iter().flat_map(|word| word.to_le_bytes()).collect()
}
