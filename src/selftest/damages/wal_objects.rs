//! WAL objects that are missing, misplaced or not what their name says.

use crate::{
    archive::Codec,
    drill::{
        FailureClass::{
            CodecUnsupported, SystemIdMismatch, WalCorrupt, WalGap, WalMissingForConsistency,
        },
        selftest::Tier::{Catalog, Read},
    },
    selftest::{
        damage::{Damage, Made, NotMade, made, nothing},
        materials::Materials,
        overlay::{Body, Edit, Shown, View},
        segment::Segment,
    },
};

/// Hides the planned segment at `index`.
fn without(m: &Materials, index: usize) -> Result<Made, NotMade> {
    let key = m.wal_key(index)?;
    let mut view = View::default();
    view.hide(key.as_str());
    Ok(made(view, [file(&key)]))
}

/// Hides a segment.
fn hidden(segment: &Segment) -> View {
    let mut view = View::default();
    view.hide(segment.key());
    view
}

/// Shows what lies under one segment's key under another's.
fn moved(view: &mut View, from: &Segment, to: &str) {
    let object = &from.planned.object;
    let body = Body::Stored { key: object.key.clone(), edit: Edit::None };
    let shown = Shown { size: object.size, modified: object.modified, body };
    view.objects.insert(to.to_owned(), Some(shown));
}

pub(super) fn all() -> Vec<Damage> {
    vec![
        Damage::of_bytes(
            "wal_begin_missing",
            "the segment in which the backup begins is not there",
            Catalog,
            &[WalMissingForConsistency],
            |m, _| without(m, 0),
        ),
        Damage::of_bytes(
            "wal_end_missing",
            "the segment in which the backup becomes consistent is not there",
            Catalog,
            &[WalMissingForConsistency],
            |m, _| without(m, m.end_index()),
        ),
        Damage::of_bytes(
            "wal_middle_missing",
            "a segment between the backup and the newest WAL is not there",
            Catalog,
            &[WalGap],
            |m, _| {
                let segment = m.middle()?;
                Ok(made(hidden(segment), [segment.name()]))
            },
        ),
        Damage::of_bytes(
            "wal_run_missing",
            "three segments in a row are not there",
            Catalog,
            &[WalGap],
            |m, _| {
                let middle = m.middle_index()?;
                let mut view = View::default();
                let run: Vec<String> = (middle - 1..=middle + 1)
                    .map(|index| m.wal_key(index))
                    .collect::<Result<_, _>>()?;
                for key in &run {
                    view.hide(key.as_str());
                }
                Ok(made(view, [file(&run[0])]))
            },
        ),
        Damage::of_bytes(
            "wal_fork_missing",
            "the first segment of the newest timeline is not there",
            Catalog,
            &[WalGap],
            |m, _| {
                let Some(fork) = m.fork_index() else {
                    return nothing("the archive has one timeline only");
                };
                without(m, fork)
            },
        ),
        Damage::of_bytes(
            "wal_before_fork_missing",
            "the last segment of the old timeline before the newest one forks is not there",
            Catalog,
            &[WalGap],
            |m, _| {
                let Some(fork) = m.fork_index().filter(|fork| *fork > m.end_index() + 1) else {
                    return nothing("the archive has one timeline only");
                };
                without(m, fork - 1)
            },
        ),
        Damage::of_bytes(
            "wal_lower_case",
            "a segment's name is in lower-case letters, which PostgreSQL never asks for",
            Catalog,
            &[WalGap],
            |m, _| {
                let middle = m.middle_index()?;
                let with_letter = |index: &usize| {
                    m.wal
                        .get(index)
                        .is_some_and(|s| s.name().bytes().any(|b| b.is_ascii_uppercase()))
                };
                let mut near =
                    (m.end_index() + 1..m.plan.wal.len().min(middle + 16)).filter(with_letter);
                let Some(segment) = near.next().map(|index| m.segment(index)) else {
                    return nothing("no segment has a letter in its name");
                };
                let segment = segment?;
                let mut view = hidden(segment);
                let lower = segment.key().replace(segment.name(), &segment.name().to_lowercase());
                moved(&mut view, segment, &lower);
                Ok(made(view, [segment.name()]))
            },
        ),
        Damage::of_access(
            "wal_encrypted",
            "a segment is there only in an encrypted form, which nothing here can decode",
            Catalog,
            &[CodecUnsupported],
            |m, _| {
                let segment = m.middle()?;
                let mut view = hidden(segment);
                moved(&mut view, segment, &format!("{}.gpg", segment.key_in(Codec::Plain)));
                Ok(made(view, [segment.name()]))
            },
        ),
        Damage::of_bytes(
            "wal_neighbour",
            "a segment's name holds the bytes of the segment before it",
            Read,
            &[WalCorrupt],
            |m, _| {
                let middle = m.middle_index()?;
                let (before, segment) = (m.segment(middle - 1)?, m.segment(middle)?);
                let mut view = View::default();
                let stored = crate::restore::codec::encode(segment.codec(), &before.bytes);
                segment.store_as(&mut view, segment.codec(), stored.map_err(|e| e.to_string())?);
                Ok(made(view, [segment.name()]))
            },
        ),
        Damage::of_bytes(
            "wal_swapped",
            "two neighbouring segments have each other's names",
            Read,
            &[WalCorrupt],
            |m, _| {
                let middle = m.middle_index()?;
                let (a, b) = (m.segment(middle)?, m.segment(middle + 1)?);
                let mut view = View::default();
                b.show(&mut view, &a.bytes)?;
                a.show(&mut view, &b.bytes)?;
                Ok(made(view, [a.name()]))
            },
        ),
        Damage::of_bytes(
            "wal_duplicate_plain_bad",
            "a segment is there twice, and the plain one, which a restore takes, is cut short",
            Read,
            &[WalCorrupt],
            |m, _| {
                let segment = m.middle()?;
                if segment.codec() == Codec::Plain {
                    return nothing("the segments are not compressed");
                }
                let mut view = View::default();
                let half = segment.bytes.slice(..segment.bytes.len() / 2);
                view.show(segment.key_in(Codec::Plain), half, segment.planned.object.modified);
                Ok(made(view, [segment.name()]))
            },
        ),
        Damage::of_bytes(
            "wal_duplicate_bzip2_bad",
            "a segment is there twice, and the one that comes first in the listing is noise",
            Read,
            &[WalCorrupt],
            |m, dice| {
                let segment = m.middle()?;
                if segment.codec().extension() <= Codec::Bzip2.extension() {
                    return nothing("no other compression sorts before that of the segments");
                }
                let mut view = View::default();
                let noise = dice.bytes(4096);
                view.show(segment.key_in(Codec::Bzip2), noise, segment.planned.object.modified);
                Ok(made(view, [segment.name()]))
            },
        ),
        Damage::of_bytes(
            "wal_foreign_system",
            "one segment was written by another database system",
            Read,
            &[SystemIdMismatch],
            |m, _| {
                let segment = m.middle()?;
                let mut view = View::default();
                segment.show(&mut view, &foreign(&segment.bytes))?;
                Ok(made(view, [segment.name()]))
            },
        ),
        Damage::of_bytes(
            "wal_two_writers",
            "from one segment on another cluster archives under the same name",
            Read,
            &[SystemIdMismatch],
            |m, _| {
                let middle = m.middle_index()?;
                let mut view = View::default();
                for (_, segment) in m.wal.range(middle..) {
                    segment.show(&mut view, &foreign(&segment.bytes))?;
                }
                Ok(made(view, [m.segment(middle)?.name()]))
            },
        ),
        Damage::of_bytes(
            "wal_begin_foreign",
            "the segment in which the backup begins was written by another database system",
            Read,
            &[SystemIdMismatch],
            |m, _| {
                let segment = m.segment(0)?;
                let mut view = View::default();
                segment.show(&mut view, &foreign(&segment.bytes))?;
                Ok(made(view, [segment.name()]))
            },
        ),
    ]
}

/// The same segment of another system: its identifier stands in the long header of the first page,
/// which no CRC covers.
fn foreign(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for byte in &mut bytes[24..28] {
        *byte ^= 0xFF;
    }
    bytes
}

/// The file's name without a compression's extension.
fn file(key: &str) -> String {
    Codec::split(key.rsplit('/').next().unwrap_or(key)).0.to_owned()
}
