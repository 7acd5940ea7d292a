//! Reads the pages of forks.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use tokio_util::sync::CancellationToken;

use super::{files::ForkFiles, visibility_map::VisibilityMap};
use crate::{
    check::failure::interrupted,
    drill::Error,
    pg::page::{self, PAGE_SIZE, PageState},
};

/// Pages read at once.
const BATCH: usize = 32;
/// Blocks that one thread reads at most, 128 MiB: the largest relation must not end alone.
const STRETCH: u32 = 16 << 10;
/// Most places that a finding names.
const MOST_PLACES: usize = 5;

/// What `pg_control` says of pages.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub checksums: bool,
    /// Blocks of a full file.
    pub segment_blocks: u32,
}

/// Bad pages: how many, and the first of them in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BadPages {
    pub count: u64,
    places: Vec<String>,
}

impl BadPages {
    fn add(&mut self, place: impl FnOnce() -> String) {
        self.count += 1;
        if self.places.len() < MOST_PLACES {
            self.places.push(place());
        }
    }

    fn extend(&mut self, behind: Self) {
        self.count += behind.count;
        let room = MOST_PLACES - self.places.len();
        self.places.extend(behind.places.into_iter().take(room));
    }

    /// Such as `the first are block 7 (…), block 9 (…)`.
    #[must_use]
    pub fn words(&self) -> String {
        let places = self.places.join(", ");
        if self.places.len() as u64 == self.count { places } else { format!("the first: {places}") }
    }
}

/// What pages of one fork said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    pub pages: u64,
    pub damaged: BadPages,
    /// Zero pages that the visibility map says hold rows.
    pub zeroed: BadPages,
}

/// Blocks of one file that one thread reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    segment: u32,
    /// Within the file.
    first: u32,
    blocks: u32,
}

/// The stretches of a fork, in order: one for each file at least.
pub fn stretches(files: &ForkFiles) -> impl Iterator<Item = Stretch> {
    files.segments.iter().flat_map(|(&segment, &length)| {
        let blocks = u32::try_from(length / PAGE_SIZE as u64).unwrap_or(u32::MAX);
        (0..blocks.max(1)).step_by(STRETCH as usize).map(move |first| Stretch {
            segment,
            first,
            blocks: (blocks - first.min(blocks)).min(STRETCH),
        })
    })
}

/// Reads one stretch of a fork. `count` is told every batch's bytes.
///
/// # Errors
/// Where a file cannot be read.
pub fn stretch(
    data_dir: &Path,
    files: &ForkFiles,
    stretch: Stretch,
    settings: Settings,
    count: &impl Fn(u64),
    cancel: &CancellationToken,
) -> Result<Scan, Error> {
    let mut scan = Scan::default();
    let name = files.first.with_segment(stretch.segment);
    let path = data_dir.join(name.to_string());
    let failed = |error: io::Error| Error::io(format!("reading `{}`", path.display()), &error);
    let Some(start) = name.first_block(settings.segment_blocks) else { return Ok(scan) };
    if stretch.blocks == 0 {
        return Ok(scan);
    }
    let mut map = VisibilityMap::of(data_dir, files, settings);
    let file = open(&path).map_err(failed)?;
    let mut block = start.wrapping_add(stretch.first);
    let mut offset = u64::from(stretch.first) * PAGE_SIZE as u64;
    let mut left = stretch.blocks as usize;
    let mut buffer = vec![0; BATCH * PAGE_SIZE];
    while left > 0 {
        if cancel.is_cancelled() {
            return Err(interrupted());
        }
        let batch = &mut buffer[..left.min(BATCH) * PAGE_SIZE];
        file.read_exact_at(batch, offset).map_err(failed)?;
        for page in batch.as_chunks::<PAGE_SIZE>().0 {
            scan.page(page, block, settings.checksums, map.as_mut());
            block = block.wrapping_add(1);
        }
        count(batch.len() as u64);
        offset += batch.len() as u64;
        left -= batch.len() / PAGE_SIZE;
    }
    Ok(scan)
}

/// Hands every whole page of a fork's files that exist to `each`, with its block, until it says no.
/// Whether it came to the end.
///
/// # Errors
/// Where a file cannot be read.
pub fn pages(
    data_dir: &Path,
    files: &ForkFiles,
    segment_blocks: u32,
    each: &mut impl FnMut(&[u8; PAGE_SIZE], u32) -> bool,
) -> Result<bool, Error> {
    let mut buffer = vec![0; BATCH * PAGE_SIZE];
    for &segment in files.segments.keys() {
        let name = files.first.with_segment(segment);
        let path = data_dir.join(name.to_string());
        let failed = |error: io::Error| Error::io(format!("reading `{}`", path.display()), &error);
        let Some(mut block) = name.first_block(segment_blocks) else { continue };
        let mut file = open(&path).map_err(failed)?;
        loop {
            let length = fill(&mut file, &mut buffer).map_err(failed)?;
            for page in buffer[..length].as_chunks::<PAGE_SIZE>().0 {
                if !each(page, block) {
                    return Ok(false);
                }
                block = block.wrapping_add(1);
            }
            if length < buffer.len() {
                break;
            }
        }
    }
    Ok(true)
}

impl Scan {
    /// Nothing is wrong with them.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.damaged.count == 0 && self.zeroed.count == 0
    }

    /// Takes what the pages behind these said.
    pub fn extend(&mut self, behind: Self) {
        self.pages += behind.pages;
        self.damaged.extend(behind.damaged);
        self.zeroed.extend(behind.zeroed);
    }

    fn page(
        &mut self,
        page: &[u8; PAGE_SIZE],
        block: u32,
        checksums: bool,
        map: Option<&mut VisibilityMap>,
    ) {
        self.pages += 1;
        let state = if checksums { page::verify(page, block) } else { page::verify_header(page) };
        match state {
            PageState::Valid => {}
            PageState::New => {
                if map.is_some_and(|map| map.is_visible(block)) {
                    self.zeroed.add(|| format!("block {block}"));
                }
            }
            PageState::BadChecksum { stored, computed } => self
                .damaged
                .add(|| format!("block {block} (checksum {stored:04X}, content {computed:04X})")),
            PageState::BadHeader => {
                self.damaged.add(|| format!("block {block} (impossible header)"));
            }
        }
    }
}

/// Never through a link, never waiting for the other end of a pipe.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
