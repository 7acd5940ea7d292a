//! WAL objects whose stored bytes are bad: in every compression, and in ways that no compression sees.

use crate::{
    archive::Codec,
    drill::{
        FailureClass::{WalCorrupt, WalMissingForConsistency},
        selftest::Tier::Read,
    },
    restore::codec::{decode_exact, encode},
    selftest::{
        damage::{Damage, NotMade, made, nothing},
        dice::Dice,
        materials::Materials,
        overlay::View,
        segment::{PAGE, Segment},
    },
};

/// Offsets that are tried until a flipped bit does harm.
const TRIES: usize = 200;

pub(super) fn all() -> Vec<Damage> {
    let mut all = Vec::new();
    for codec in Codec::ALL {
        let word = word(codec);
        all.push(Damage::of_bytes(
            format!("wal_bit_flip_{word}"),
            format!("one bit of a stored segment is inverted ({word})"),
            Read,
            &[WalCorrupt],
            move |m, dice| {
                let segment = m.middle()?;
                stored(segment, codec, |bytes| flip(segment, codec, bytes, dice))
            },
        ));
        all.push(Damage::of_bytes(
            format!("wal_half_{word}"),
            format!("a stored segment ends in its middle ({word})"),
            Read,
            &[WalCorrupt],
            move |m, _| {
                stored(m.middle()?, codec, |bytes| {
                    bytes.truncate(bytes.len() / 2);
                    Ok(())
                })
            },
        ));
        all.push(Damage::of_bytes(
            format!("wal_last_bytes_{word}"),
            format!("the last bytes of a stored segment are lost ({word})"),
            Read,
            &[WalCorrupt],
            move |m, dice| {
                stored(m.middle()?, codec, |bytes| {
                    bytes.truncate(bytes.len() - dice.between(1, 12));
                    Ok(())
                })
            },
        ));
    }
    all.extend(artefacts());
    all.extend(lengths());
    all
}

/// What uploads leave behind that went wrong.
fn artefacts() -> Vec<Damage> {
    let whole = |name: &'static str, what: &'static str, make: fn(&mut Dice, usize) -> Vec<u8>| {
        Damage::of_bytes(name, what, Read, &[WalCorrupt], move |m: &Materials, dice: &mut Dice| {
            let segment = m.middle()?;
            stored(segment, segment.codec(), |bytes| {
                *bytes = make(dice, bytes.len());
                Ok(())
            })
        })
    };
    vec![
        whole("wal_empty", "a stored segment holds no byte", |_, _| Vec::new()),
        whole("wal_14_bytes", "a stored segment holds 14 bytes of an error message", |_, _| {
            b"access denied\n".to_vec()
        }),
        whole("wal_noise", "a stored segment is noise of the same length", |dice, length| {
            dice.bytes(length)
        }),
        Damage::of_bytes(
            "wal_begin_noise",
            "the segment in which the backup begins is noise",
            Read,
            &[WalMissingForConsistency, WalCorrupt],
            |m, dice| {
                let segment = m.segment(0)?;
                let mut view = View::default();
                let noise = dice.bytes(segment.planned.object.size as usize);
                segment.store_as(&mut view, segment.codec(), noise);
                Ok(made(view, [segment.name()]))
            },
        ),
        Damage::of_bytes(
            "wal_wrong_extension",
            "a segment's extension names another compression than its bytes have",
            Read,
            &[WalCorrupt],
            |m, _| {
                let segment = m.middle()?;
                let other = if segment.codec() == Codec::Zstd { Codec::Gzip } else { Codec::Zstd };
                let bytes = encode(segment.codec(), &segment.bytes).map_err(|e| e.to_string())?;
                let mut view = View::default();
                segment.store_as(&mut view, other, bytes);
                Ok(made(view, [segment.name()]))
            },
        ),
        Damage::of_bytes(
            "wal_trailing_garbage",
            "noise follows the compressed stream of a segment",
            Read,
            &[WalCorrupt],
            |m, dice| {
                let segment = m.middle()?;
                stored(segment, segment.codec(), |bytes| {
                    bytes.extend(dice.bytes(100));
                    Ok(())
                })
            },
        ),
    ]
}

/// Sound streams of the wrong length, and content that was lost before it was compressed.
fn lengths() -> Vec<Damage> {
    let decoded = |name: &'static str, what: &'static str, change: fn(&mut Vec<u8>, &Segment)| {
        Damage::of_bytes(name, what, Read, &[WalCorrupt], move |m: &Materials, _: &mut Dice| {
            let segment = m.middle()?;
            if segment.records.is_empty() {
                return nothing("no record begins and ends in one page of the segment");
            }
            let mut bytes = segment.bytes.to_vec();
            change(&mut bytes, segment);
            let mut view = View::default();
            segment.show(&mut view, &bytes)?;
            Ok(made(view, [segment.name()]))
        })
    };
    vec![
        decoded("wal_short", "a well compressed segment is one page short", |bytes, _| {
            bytes.truncate(bytes.len() - PAGE);
        }),
        decoded("wal_long", "a well compressed segment is one page too long", |bytes, _| {
            bytes.extend([0; PAGE]);
        }),
        decoded("wal_twice", "a segment's content stands twice in its object", |bytes, _| {
            bytes.extend_from_within(..);
        }),
        decoded("wal_zeros", "a segment holds nothing but zeros", |bytes, _| bytes.fill(0)),
        decoded(
            "wal_tail_zeros",
            "the second half of a segment was never written",
            |bytes, segment| {
                bytes[segment.half().unwrap_or_default()..].fill(0);
            },
        ),
        decoded("wal_page_zeros", "one page of a segment is all zeros", |bytes, segment| {
            let page = segment.written() / 2 * PAGE;
            bytes[page..page + PAGE].fill(0);
        }),
        Damage::of_bytes(
            "wal_never_closed",
            "the archive's last segment was copied before it was full",
            Read,
            &[WalCorrupt],
            |m, _| {
                // The archive ends in a full segment that has lost its second half.
                let middle = m.middle_index()?;
                let segment = m.segment(middle)?;
                if m.fork_index().is_some_and(|fork| fork <= middle) {
                    return nothing("the newest timeline forks too early");
                }
                let mut view = View::default();
                for later in m.plan.wal.iter().skip(middle + 1) {
                    view.hide(later.object.key.as_str());
                }
                for history in m.histories.values() {
                    view.hide(history.object.key.as_str());
                }
                let mut bytes = segment.bytes.to_vec();
                let Some(half) = segment.half() else {
                    return nothing("no record begins and ends in one page of the segment");
                };
                bytes[half..].fill(0);
                segment.show(&mut view, &bytes)?;
                Ok(made(view, [segment.name()]))
            },
        ),
    ]
}

/// The middle segment in this codec with its stored bytes changed.
fn stored(
    segment: &Segment,
    codec: Codec,
    change: impl FnOnce(&mut Vec<u8>) -> Result<(), NotMade>,
) -> Result<crate::selftest::damage::Made, NotMade> {
    let mut bytes = encode(codec, &segment.bytes).map_err(|error| error.to_string())?;
    change(&mut bytes)?;
    let mut view = View::default();
    segment.store_as(&mut view, codec, bytes);
    Ok(made(view, [segment.name()]))
}

/// Inverts a bit that matters: a stream without a checksum may decode to other padding between
/// records, which is no damage.
fn flip(segment: &Segment, codec: Codec, bytes: &mut [u8], dice: &mut Dice) -> Result<(), NotMade> {
    let length = segment.bytes.len() as u64;
    for _ in 0..TRIES {
        let (at, mask) = (dice.between(bytes.len() / 8, bytes.len() / 8 * 7), dice.bit());
        bytes[at] ^= mask;
        match decode_exact(codec, &*bytes, length) {
            Ok(decoded) if !segment.is_hurt_by(&decoded) => bytes[at] ^= mask,
            _ => return Ok(()),
        }
    }
    nothing("no flipped bit reached a record")
}

pub(super) const fn word(codec: Codec) -> &'static str {
    match codec {
        Codec::Plain => "plain",
        Codec::Gzip => "gzip",
        Codec::Bzip2 => "bzip2",
        Codec::Xz => "xz",
        Codec::Snappy => "snappy",
        Codec::Zstd => "zstd",
        Codec::Lz4 => "lz4",
    }
}
