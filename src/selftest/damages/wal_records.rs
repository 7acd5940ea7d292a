//! Well compressed segments of the right length whose pages or records are bad: some with every CRC
//! right, so that only the meaning can tell.

use crate::{
    drill::{
        FailureClass::{
            self, LibraryMissing, SystemIdMismatch, WalCorrupt, WalLevelMinimal,
            WalMissingForConsistency,
        },
        selftest::Tier::{self, Read, Restore},
    },
    pg::{
        Major,
        wal::record::{RM_XACT, RM_XLOG},
    },
    selftest::{
        damage::{Damage, Made, NotMade, made, nothing},
        dice::Dice,
        materials::Materials,
        overlay::View,
        segment::{PAGE, Place, RECORD_HEADER, overwrite, seal},
    },
};

/// `xl_info` of `XLOG_PARAMETER_CHANGE`.
const PARAMETER_CHANGE: u8 = 0x60;
/// An id in the range of extensions (`RM_MIN_CUSTOM_ID`).
const CUSTOM: u8 = 200;
/// An id that no release of 14 to 18 has.
const UNKNOWN: u8 = 100;

pub(super) fn all() -> Vec<Damage> {
    let mut all = pages();
    all.extend(records());
    all.extend(meanings());
    all
}

/// Changes the middle segment.
fn changed(
    m: &Materials,
    change: impl FnOnce(&mut [u8]) -> Result<(), NotMade>,
) -> Result<Made, NotMade> {
    let segment = m.middle()?;
    let mut bytes = segment.bytes.to_vec();
    change(&mut bytes)?;
    let mut view = View::default();
    segment.show(&mut view, &bytes)?;
    Ok(made(view, [segment.name()]))
}

/// Page headers (`XLogPageHeaderData`).
fn pages() -> Vec<Damage> {
    const CORRUPT: &[FailureClass] = &[WalCorrupt];
    const FOREIGN: &[FailureClass] = &[SystemIdMismatch];
    let page = |name: &'static str, what: &'static str, change: fn(&mut [u8])| {
        Damage::of_bytes(name, what, Read, &[WalCorrupt], move |m: &Materials, dice: &mut Dice| {
            let written = m.middle()?.written();
            if written < 2 {
                return nothing("the segment in the middle has records in one page only");
            }
            changed(m, |bytes| {
                let page = dice.between(1, written) * PAGE;
                change(&mut bytes[page..page + PAGE]);
                Ok(())
            })
        })
    };
    let first = |name: &'static str, what: &'static str, class, change: fn(&mut [u8])| {
        Damage::of_bytes(name, what, Read, class, move |m: &Materials, _: &mut Dice| {
            changed(m, |bytes| {
                change(&mut bytes[..PAGE]);
                Ok(())
            })
        })
    };
    vec![
        page("wal_page_magic", "a page's magic number has a flipped bit", |p| p[0] ^= 4),
        page("wal_page_info", "a page's info bits name something that does not exist", |p| {
            p[3] ^= 0x40;
        }),
        page("wal_page_timeline", "a page says that it belongs to another timeline", |p| p[4] ^= 8),
        page("wal_page_address", "a page says that it stands elsewhere", |p| p[9] ^= 0x20),
        page("wal_page_remaining", "a page is wrong about the record that goes on in it", |p| {
            p[16] ^= 2;
            p[2] |= 1;
        }),
        first(
            "wal_first_page_address",
            "a segment's first page says another place",
            CORRUPT,
            |p| {
                p[10] ^= 1;
            },
        ),
        first(
            "wal_first_page_timeline",
            "a segment's first page names another timeline",
            CORRUPT,
            |p| {
                p[4] ^= 4;
            },
        ),
        first(
            "wal_segment_size_field",
            "a segment's header says another segment size",
            CORRUPT,
            |p| {
                p[34] ^= 0x30;
            },
        ),
        first(
            "wal_system_id_bit",
            "one bit of a segment's system identifier is flipped",
            FOREIGN,
            |p| {
                p[24] ^= 1;
            },
        ),
    ]
}

/// One record of the middle segment.
fn record(
    name: &'static str,
    what: &'static str,
    fits: fn(&Place) -> bool,
    change: fn(&mut [u8], Place, &mut Dice),
) -> Damage {
    record_as(name, what, Read, &[WalCorrupt], fits, change)
}

fn record_as(
    name: &'static str,
    what: &'static str,
    tier: Tier,
    classes: &'static [FailureClass],
    fits: fn(&Place) -> bool,
    change: fn(&mut [u8], Place, &mut Dice),
) -> Damage {
    Damage::of_bytes(name, what, tier, classes, move |m: &Materials, dice: &mut Dice| {
        one_record(m, dice, fits, change)
    })
}

fn one_record(
    m: &Materials,
    dice: &mut Dice,
    fits: fn(&Place) -> bool,
    change: fn(&mut [u8], Place, &mut Dice),
) -> Result<Made, NotMade> {
    // The one in the middle, else any other that nothing but the newest rows needs.
    let middle = m.middle_index()?;
    let others = m.end_index() + 1..m.fork_index().unwrap_or(m.plan.wal.len());
    for index in std::iter::once(middle).chain(others) {
        let Ok(segment) = m.segment(index) else { continue };
        let Some(place) = segment.pick(dice, fits) else { continue };
        let mut bytes = segment.bytes.to_vec();
        change(&mut bytes, place, dice);
        let mut view = View::default();
        segment.show(&mut view, &bytes)?;
        return Ok(made(view, [segment.name()]));
    }
    nothing("no segment behind the backup has such a record")
}

const fn ordinary(place: &Place) -> bool {
    place.rmid != RM_XLOG && place.length >= 64
}

/// Bits that a record's CRC covers, or is.
fn records() -> Vec<Damage> {
    vec![
        record("wal_record_data", "a bit of a record's data is flipped", ordinary, |b, p, dice| {
            b[dice.between(p.offset + RECORD_HEADER, p.offset + p.length)] ^= dice.bit();
        }),
        record(
            "wal_record_previous",
            "a record points to another one before it",
            ordinary,
            |b, p, _| {
                b[p.offset + 8] ^= 0x10;
            },
        ),
        record("wal_record_length", "a record's length has a flipped bit", ordinary, |b, p, _| {
            b[p.offset] ^= 0x10;
        }),
        record(
            "wal_record_length_huge",
            "a record's length is more than can be",
            ordinary,
            |b, p, _| {
                b[p.offset + 3] = 0x7F;
            },
        ),
        record("wal_record_crc", "a record's CRC has a flipped bit", ordinary, |b, p, dice| {
            b[p.offset + dice.between(20, 24)] ^= dice.bit();
        }),
        record("wal_record_xid", "a record names another transaction", ordinary, |b, p, _| {
            b[p.offset + 4] ^= 1;
        }),
        record("wal_record_zeros", "a record is all zeros", ordinary, |b, p, _| {
            b[p.range()].fill(0);
        }),
        record(
            "wal_commit_record",
            "a bit of a commit is flipped",
            |place| place.rmid == RM_XACT && place.length > RECORD_HEADER + 2,
            |b, p, dice| {
                b[dice.between(p.offset + RECORD_HEADER + 2, p.offset + p.length)] ^= dice.bit();
            },
        ),
        record(
            "wal_page_image",
            "a bit of a full-page image is flipped",
            |place| place.image && place.length >= 256,
            |b, p, dice| b[p.offset + dice.between(p.length / 2, p.length)] ^= dice.bit(),
        ),
        Damage::of_bytes(
            "wal_begin_record",
            "a record that the backup needs to become consistent has a flipped bit",
            Read,
            &[WalCorrupt, WalMissingForConsistency],
            |m, dice| {
                let index = m.end_index();
                let segment = m.segment(index)?;
                let end = (m.end.0 - segment.planned.number.start(m.plan.segment_size).0) as usize;
                let fits = |place: &Place| place.offset + place.length <= end;
                let Some(place) = segment.pick(dice, fits) else {
                    return nothing("no record before the backup's end lies in one page");
                };
                let mut bytes = segment.bytes.to_vec();
                bytes[place.offset + RECORD_HEADER] ^= 1;
                let mut view = View::default();
                segment.show(&mut view, &bytes)?;
                Ok(made(view, [segment.name()]))
            },
        ),
    ]
}

/// Records whose CRC is right and that cannot be.
fn meanings() -> Vec<Damage> {
    vec![
        record(
            "wal_previous_sealed",
            "a record points to another one before it, and its CRC is right",
            ordinary,
            |b, p, _| {
                b[p.offset + 8] ^= 0x10;
                seal(b, p);
            },
        ),
        record(
            "wal_manager_unknown",
            "a record is of a resource manager that does not exist, and its CRC is right",
            ordinary,
            |b, p, _| {
                b[p.offset + 17] = UNKNOWN;
                seal(b, p);
            },
        ),
        record(
            "wal_blocks_sealed",
            "a record's parts do not fill it, and its CRC is right",
            ordinary,
            |b, p, _| {
                // XLR_BLOCK_ID_DATA_SHORT with less than the rest.
                b[p.offset + RECORD_HEADER] = 255;
                b[p.offset + RECORD_HEADER + 1] = 3;
                seal(b, p);
            },
        ),
        record_as(
            "wal_level_minimal",
            "the source ran with wal_level=minimal for a while",
            Read,
            &[WalLevelMinimal],
            |place| ordinary(place) && place.length <= RECORD_HEADER + 2 + 255,
            |b, p, _| {
                let mut main = Vec::new();
                for number in [100_u32, 8, 10, 0, 64, 0] {
                    main.extend(number.to_le_bytes());
                }
                overwrite(b, p, RM_XLOG, PARAMETER_CHANGE, &main);
            },
        )
        .named_by(&["wal_level"]),
        Damage::of_access(
            "wal_manager_of_an_extension",
            "a record is of an extension's resource manager, whose library is not here",
            Restore,
            &[LibraryMissing],
            |m, dice| {
                if m.plan.major == Major::V14 {
                    return nothing("PostgreSQL 14 has no resource managers of extensions");
                }
                let mut made = one_record(m, dice, ordinary, |b, p, _| {
                    b[p.offset + 17] = CUSTOM;
                    seal(b, p);
                })?;
                made.subjects = vec![CUSTOM.to_string(), "resource manager".to_owned()];
                Ok(made)
            },
        ),
    ]
}
