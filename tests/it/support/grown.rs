//! A real archive, grown: one table of its base backup gets as many pages as are wanted, made as they
//! are sent. Nothing is stored, and nothing but the table differs from what PostgreSQL and barman-cloud
//! wrote.
//!
//! The pages are the table's own, again and again, each with the checksum of the block that it is. So they
//! are what a reader meets: rows, headers and free space as PostgreSQL laid them out. (The places that rows
//! give for themselves, `t_ctid`, name the blocks that they were written to; nothing but a server reads
//! those.) Files end after 1 GiB, as PostgreSQL's do.

mod gzip;
mod tar;
mod unit;

use std::{collections::BTreeMap, ops::Range, path::Path, sync::Arc};

use bytes::Bytes;
use pgassay::archive::Codec;

use self::{
    gzip::Deflated,
    tar::{Member, member_with},
    unit::{PAGE, Unit},
};
use super::{fixture, memory, object_server::Content};

/// Blocks of a relation's file (`RELSEG_SIZE`).
const FILE_BLOCKS: u32 = 131_072;
/// `md5('1501' || '1')`: a row of the table `items` that nothing has touched since the backup.
const ROW: &[u8] = b"21bf78373135b9673366fae7f6ddddeb";
/// The server of the fixture whose objects are as they were written.
const FROM: &str = "plain";
/// Where a damaged page is: somewhere among its rows.
const PLACE: usize = 8000;

/// What a base backup grows to.
#[derive(Clone, Copy, Debug)]
pub struct Growth {
    /// Bytes of the grown tar, without compression; less than a MiB more come of it.
    pub bytes: u64,
    /// [`Codec::Plain`] or [`Codec::Gzip`].
    pub codec: Codec,
    /// A block of the table with one bit flipped.
    pub damaged: Option<u32>,
}

/// A grown archive.
pub struct Grown {
    /// By key.
    pub objects: BTreeMap<String, Arc<dyn Content>>,
    /// The table's first file, such as `base/16385/16387`.
    pub relation: String,
    /// Pages that the table had.
    pub had: u64,
    /// Pages that it has.
    pub has: u64,
    /// Bytes of its tar without compression, and as it is sent.
    pub bytes: u64,
    pub stored: u64,
}

/// The name of the grown archive's server.
pub const SERVER: &str = "grown";

impl Grown {
    /// Grows the fixture of every codec.
    pub fn new(growth: Growth) -> Self {
        let archive = fixture::codecs();
        let from = format!("archive/{FROM}/");
        let real = memory::objects(&archive.root);
        let key = |key: &str| format!("archive/{SERVER}/{}", &key[from.len()..]);
        let mut objects: BTreeMap<String, Arc<dyn Content>> = BTreeMap::new();
        let mut tar = None;
        for real_key in memory::keys(&real, &from) {
            let bytes = real.bytes(&real_key).unwrap();
            if Path::new(&real_key).file_name().is_some_and(|name| name == "data.tar") {
                tar = Some((key(&real_key), bytes));
            } else {
                objects.insert(key(&real_key), Arc::new(bytes));
            }
        }
        let (tar_key, tar) = tar.unwrap();
        let member = member_with(&tar, ROW);
        let unit = Unit::of_pages(&tar[member.data.clone()]);
        let had = (member.data.len() / PAGE) as u64;

        let rest = (tar.len() - member.data.len()) as u64;
        let blocks = growth.bytes.saturating_sub(rest).div_ceil(unit.bytes()) * unit.bytes();
        let blocks = u32::try_from(blocks / PAGE as u64).unwrap();
        let parts = parts(&tar, &member, blocks);
        let bytes = parts.iter().map(Part::bytes).sum();
        let made = match growth.codec {
            Codec::Plain => plain(parts, unit, growth.damaged),
            Codec::Gzip => gzip(parts, &unit, growth.damaged),
            other => panic!("nothing grows in {other:?}"),
        };
        let (stored, key) = (made.size(), format!("{tar_key}{}", growth.codec.extension()));
        objects.insert(key, Arc::new(made));
        let (relation, has) = (member.name, u64::from(blocks));
        Self { objects, relation, had, has, bytes, stored }
    }
}

/// A stretch of the tar.
enum Part {
    Real(Bytes),
    /// These blocks of the table.
    Blocks(Range<u32>),
}

impl Part {
    fn bytes(&self) -> u64 {
        match self {
            Self::Real(bytes) => bytes.len() as u64,
            Self::Blocks(blocks) => blocks.len() as u64 * PAGE as u64,
        }
    }
}

/// The tar with `blocks` blocks in place of the member's own.
fn parts(tar: &Bytes, member: &Member, blocks: u32) -> Vec<Part> {
    let mut parts = vec![Part::Real(tar.slice(..member.begin))];
    for (number, first) in (0..blocks).step_by(FILE_BLOCKS as usize).enumerate() {
        let file = first..blocks.min(first + FILE_BLOCKS);
        parts.push(Part::Real(member.headers_of_file(tar, number, file.len() * PAGE)));
        parts.push(Part::Blocks(file));
    }
    parts.push(Part::Real(tar.slice(member.data.end..)));
    parts
}

/// An object in pieces, of which some are made when they are asked for.
struct Made {
    unit: Unit,
    /// Where each ends, and what it is.
    pieces: Vec<(u64, Piece)>,
}

enum Piece {
    Kept(Bytes),
    /// Units, from this block on.
    Units(u32),
}

impl Made {
    const fn new(unit: Unit) -> Self {
        Self { unit, pieces: Vec::new() }
    }

    fn end(&self) -> u64 {
        self.pieces.last().map_or(0, |(end, _)| *end)
    }

    fn keep(&mut self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        self.pieces.push((self.end() + bytes.len() as u64, Piece::Kept(bytes)));
    }

    fn units(&mut self, blocks: &Range<u32>) {
        let units = blocks.len() as u64 / u64::from(self.unit.blocks());
        if units > 0 {
            let end = self.end() + units * self.unit.stored();
            self.pieces.push((end, Piece::Units(blocks.start)));
        }
    }
}

impl Content for Made {
    fn size(&self) -> u64 {
        self.end()
    }

    fn read(&self, from: u64) -> Bytes {
        let index = self.pieces.partition_point(|(end, _)| *end <= from);
        let begin = index.checked_sub(1).map_or(0, |before| self.pieces[before].0);
        let within = from - begin;
        match &self.pieces[index].1 {
            Piece::Kept(bytes) => bytes.slice(within as usize..),
            Piece::Units(first) => {
                let (unit, within) = (within / self.unit.stored(), within % self.unit.stored());
                let first = first + u32::try_from(unit).unwrap() * self.unit.blocks();
                self.unit.at(first).slice(within as usize..)
            }
        }
    }
}

/// The blocks before the unit with the damage, that unit with the damage in it, and those behind it.
fn around(
    blocks: &Range<u32>,
    unit: &Unit,
    damaged: Option<u32>,
) -> (Range<u32>, Option<Vec<u8>>, Range<u32>) {
    let Some(damaged) = damaged.filter(|block| blocks.contains(block)) else {
        return (blocks.clone(), None, blocks.end..blocks.end);
    };
    let first = damaged - damaged % unit.blocks();
    let mut bytes = unit.at(first).to_vec();
    bytes[(damaged - first) as usize * PAGE + PLACE] ^= 1;
    (blocks.start..first, Some(bytes), first + unit.blocks()..blocks.end)
}

fn plain(parts: Vec<Part>, unit: Unit, damaged: Option<u32>) -> Made {
    let mut made = Made::new(unit);
    for part in parts {
        match part {
            Part::Real(bytes) => made.keep(bytes),
            Part::Blocks(blocks) => {
                let (before, bad, behind) = around(&blocks, &made.unit, damaged);
                made.units(&before);
                if let Some(bad) = bad {
                    made.keep(bad);
                }
                made.units(&behind);
            }
        }
    }
    made
}

/// One member, as barman-cloud writes it.
fn gzip(parts: Vec<Part>, unit: &Unit, damaged: Option<u32>) -> Made {
    let mut deflated = Deflated::new(unit);
    let mut made = Made::new(deflated.unit());
    made.keep(gzip::HEADER.to_vec());
    for part in parts {
        match part {
            Part::Real(bytes) => made.keep(deflated.bytes(&bytes)),
            Part::Blocks(blocks) => {
                let (before, bad, behind) = around(&blocks, unit, damaged);
                deflated.blocks(before.clone());
                made.units(&before);
                if let Some(bad) = bad {
                    made.keep(deflated.bytes(&bad));
                }
                deflated.blocks(behind.clone());
                made.units(&behind);
            }
        }
    }
    made.keep(deflated.end());
    made
}
