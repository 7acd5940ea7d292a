//! What this room's tests share.

use crate::pg::{
    ControlFile,
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
