//! Pages of relations that are bad inside sound tars.

use std::ops::Range;

use crate::{
    archive::Codec,
    drill::{
        FailureClass::{
            self, AmcheckIndex, IndexDangling, PageChecksum, PageZeroed, RelationMissing,
        },
        selftest::Tier::{self, Read, Restore},
    },
    pg::{page, wal::record::RelationFile},
    restore::codec::{decode_small, encode},
    selftest::{
        damage::{Damage, Made, NotMade, made, nothing},
        dice::Dice,
        materials::{Content, Materials, Part},
        overlay::View,
        tar::{self, Member},
    },
};

const PAGE: usize = page::PAGE_SIZE;
/// `FirstNormalObjectId`: user relations have file numbers from here on.
const FIRST_USER: u32 = 16_384;
/// `DEFAULTTABLESPACE_OID`.
const DEFAULT_TABLESPACE: u32 = 1663;
/// `BTREE_MAGIC`, in the first page of an index.
const BTREE: u32 = 0x0005_3162;

/// What kind of relation a file is, as its pages tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Heap,
    Btree,
}

/// How the WAL treats a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// No record touches it: what the backup holds is what is restored.
    Cold,
    /// WAL behind the backup's end brings it anew, which hides the damage from a restore to the end.
    Healed,
}

/// One page of a user's relation in a tar.
struct Found {
    page: Range<usize>,
    member: Member,
}

fn relation(path: &str) -> Option<RelationFile> {
    let mut words = path.strip_prefix("base/")?.split('/');
    let database = words.next()?.parse().ok()?;
    let number = words.next()?.parse().ok().filter(|number| *number >= FIRST_USER)?;
    Some(RelationFile { tablespace: DEFAULT_TABLESPACE, database, number })
}

fn kind(bytes: &[u8]) -> Option<Kind> {
    let first: &[u8; PAGE] = bytes.first_chunk()?;
    let header = page::PageHeader::read(first);
    match usize::from(header.special) {
        PAGE => Some(Kind::Heap),
        _ if first[24..28] == BTREE.to_le_bytes() => Some(Kind::Btree),
        _ => None,
    }
}

/// A full page of a relation of this kind and fate; the second page at the earliest, since an index
/// begins with its metadata.
fn find(m: &Materials, content: &Content, wanted: Kind, fate: Fate) -> Option<Found> {
    let mut best: Option<Found> = None;
    for member in content.members.iter().filter(|member| member.is_file) {
        let Some(relation) = relation(&member.path) else { continue };
        let bytes = &content.bytes[member.data.clone()];
        let larger = best.as_ref().is_none_or(|best| best.member.data.len() < bytes.len());
        if kind(bytes) != Some(wanted) || !larger {
            continue;
        }
        let fits = |block: &usize| {
            let place = (relation, *block as u32);
            let full = bytes[block * PAGE..][..PAGE].first_chunk().is_some_and(|p| {
                page::verify(p, *block as u32) == page::PageState::Valid
                    && p[PAGE - 512..].iter().any(|b| *b != 0)
            });
            full && match fate {
                Fate::Cold => !m.touched.any.contains(&place),
                Fate::Healed => m.touched.healed.contains(&place),
            }
        };
        if let Some(block) = (1..bytes.len() / PAGE).find(fits) {
            let start = member.data.start + block * PAGE;
            best = Some(Found { page: start..start + PAGE, member: member.clone() });
        }
    }
    best
}

fn with_page(
    name: &'static str,
    what: &'static str,
    tier: Tier,
    classes: &'static [FailureClass],
    (wanted, fate): (Kind, Fate),
    change: fn(&mut [u8], &mut Dice),
) -> Damage {
    Damage::of_bytes(name, what, tier, classes, move |m: &Materials, dice: &mut Dice| {
        checksums(m)?;
        let (part, content, found) =
            m.part_with("such a page", |_, content| find(m, content, wanted, fate))?;
        let mut tar = content.bytes.clone();
        change(&mut tar[found.page.clone()], dice);
        let mut view = View::default();
        part.show(&mut view, &tar)?;
        if *classes == [PageChecksum] {
            return Ok(file(view, &found.member));
        }
        Ok(subjects(view, &found.member))
    })
}

/// Whoever reads the tars names the very file.
fn file(view: View, member: &Member) -> Made {
    made(view, [member.path.clone()])
}

/// A restored cluster knows relations by name, a tar by path.
fn subjects(view: View, member: &Member) -> Made {
    let number = member.path.rsplit('/').next().unwrap_or_default().to_owned();
    let mut subjects = vec![member.path.clone(), number];
    // The demo's tables, and what an index check names.
    subjects.extend(["public.", "orders", "customers", "relation"].map(str::to_owned));
    made(view, subjects)
}

fn checksums(m: &Materials) -> Result<(), NotMade> {
    let info = m.plan.backup.info.as_ref().ok();
    match info.and_then(|info| info.data_checksums) {
        Some(true) => Ok(()),
        _ => nothing("the cluster has no data checksums"),
    }
}

/// A file of a user's relation of this kind that no WAL touches in its last pages.
fn with_file(
    name: &'static str,
    what: &'static str,
    classes: &'static [FailureClass],
    wanted: Kind,
    change: fn(&Content, &Member) -> Vec<u8>,
) -> Damage {
    Damage::of_bytes(name, what, Restore, classes, move |m: &Materials, _: &mut Dice| {
        let (part, content, found) =
            m.part_with("such a file", |_, content| find(m, content, wanted, Fate::Cold))?;
        let tar = change(content, &found.member);
        let mut view = View::default();
        part.show(&mut view, &tar)?;
        Ok(subjects(view, &found.member))
    })
}

pub(super) fn all() -> Vec<Damage> {
    const CHECKSUM: &[FailureClass] = &[PageChecksum];
    const LOST: &[FailureClass] =
        &[IndexDangling, PageZeroed, RelationMissing, AmcheckIndex, PageChecksum];
    vec![
        with_page(
            "page_heap_cold",
            "a bit of a table's page is flipped, and no WAL heals it",
            Read,
            CHECKSUM,
            (Kind::Heap, Fate::Cold),
            |page, dice| page[dice.between(PAGE / 2, PAGE)] ^= dice.bit(),
        ),
        with_page(
            "page_heap_healed",
            "a bit of a table's page is flipped, and later WAL hides it from a restore to the end",
            Read,
            CHECKSUM,
            (Kind::Heap, Fate::Healed),
            |page, dice| page[dice.between(PAGE / 2, PAGE)] ^= dice.bit(),
        ),
        with_page(
            "page_index_cold",
            "a bit of an index's page is flipped",
            Read,
            CHECKSUM,
            (Kind::Btree, Fate::Cold),
            |page, dice| page[dice.between(PAGE / 2, PAGE - 64)] ^= dice.bit(),
        ),
        with_page(
            "page_header",
            "the header of a table's page is all zeros, its rows are not",
            Read,
            CHECKSUM,
            (Kind::Heap, Fate::Cold),
            |page, _| page[..24].fill(0),
        ),
        with_page(
            "page_half",
            "the second half of a table's page is zeros, as a torn write leaves it",
            Read,
            CHECKSUM,
            (Kind::Heap, Fate::Cold),
            |page, _| page[PAGE / 2..].fill(0),
        ),
        with_page(
            "page_zeros",
            "a table's page is all zeros, which every checksum tool lets pass",
            Restore,
            LOST,
            (Kind::Heap, Fate::Cold),
            |page, _| page.fill(0),
        ),
        with_file(
            "relation_missing",
            "a table's file is not in the backup",
            LOST,
            Kind::Heap,
            |content, member| {
                tar::without(&content.bytes, &content.members, |m| m.path == member.path)
            },
        ),
        with_file(
            "relation_empty",
            "a table's file holds no page",
            LOST,
            Kind::Heap,
            |content, member| tar::with_data(&content.bytes, member, &[]),
        ),
        with_file(
            "relation_short",
            "a table's file lacks its second half",
            LOST,
            Kind::Heap,
            |content, member| {
                let data = &content.bytes[member.data.clone()];
                let pages = data.len() / PAGE / 2;
                tar::with_data(&content.bytes, member, &data[..pages * PAGE])
            },
        ),
        with_file(
            "index_missing",
            "an index's file is not in the backup",
            LOST,
            Kind::Btree,
            |content, member| {
                tar::without(&content.bytes, &content.members, |m| m.path == member.path)
            },
        ),
        Damage::of_bytes(
            "page_lz4_silent",
            "a flipped bit in an LZ4 part, which has no checksum, decodes to another page",
            Read,
            CHECKSUM,
            |m, dice| {
                checksums(m)?;
                let (part, content, ()) = m.part_with("a page", |_, content| {
                    find(m, content, Kind::Heap, Fate::Cold).map(|_| ())
                })?;
                lz4_silent(part, content, dice)
            },
        ),
    ]
}

/// A flipped bit after which the stream decodes, and only pages with a checksum differ.
fn lz4_silent(part: &Part, content: &Content, dice: &mut Dice) -> Result<Made, NotMade> {
    let mut bytes = encode(Codec::Lz4, &content.bytes).map_err(|error| error.to_string())?;
    for _ in 0..300 {
        let (at, mask) = (dice.between(100, bytes.len() - 100), dice.bit());
        bytes[at] ^= mask;
        let decoded = decode_small(Codec::Lz4, &bytes, content.bytes.len() as u64);
        let harmed = decoded.ok().filter(|d| d.len() == content.bytes.len()).and_then(|decoded| {
            let differ = |at: &usize| decoded[*at] != content.bytes[*at];
            let first = (0..decoded.len()).find(differ)?;
            let last = (0..decoded.len()).rfind(differ)?;
            let holder = content.members.iter().find(|m| m.data.contains(&first))?;
            let one = relation(&holder.path).is_some() && holder.data.contains(&last);
            let valid = |start: usize| {
                let page = content.bytes[start..].first_chunk()?;
                let block = (start - holder.data.start) / PAGE;
                Some(page::verify(page, block as u32) == page::PageState::Valid)
            };
            let start = holder.data.start + (first - holder.data.start) / PAGE * PAGE;
            (one && valid(start) == Some(true)).then(|| holder.clone())
        });
        if let Some(member) = harmed {
            let mut view = View::default();
            part.store_as(&mut view, Codec::Lz4, bytes);
            return Ok(file(view, &member));
        }
        bytes[at] ^= mask;
    }
    nothing("no flipped bit decoded to another page")
}
