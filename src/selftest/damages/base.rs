//! Tars of the base backup that are missing, cut, flipped or lack what a data directory needs.

use crate::{
    archive::{Codec, key::TarName},
    drill::{
        FailureClass::{
            self, ArchiveCorrupt, BackupInfoMismatch, BackupPartMissing, CodecUnsupported,
            IncrementalChain, SystemIdMismatch,
        },
        selftest::Tier::{self, Catalog, Read},
    },
    restore::codec::{decode_small, encode},
    selftest::{
        damage::{Damage, Made, NotMade, made, nothing},
        dice::Dice,
        materials::{Content, Materials, Part},
        overlay::{Body, Edit, Shown, View},
        segment::key_in,
        tar::{self, Member},
    },
};

use super::wal_bytes::word;

/// What `barman-cloud-backup` compresses with.
const CODECS: [Codec; 5] = [Codec::Plain, Codec::Gzip, Codec::Bzip2, Codec::Snappy, Codec::Lz4];
const CORRUPT: &[FailureClass] = &[ArchiveCorrupt];

/// Changes the stored bytes of a part.
type Rewrite<'a> = dyn FnMut(&mut Vec<u8>, &Content) -> Result<(), NotMade> + 'a;
/// A member's other data, or `None` to drop it.
type MemberChange = fn(&Content, &Member) -> Result<Option<Vec<u8>>, NotMade>;

/// Offsets that are tried until a flipped bit breaks the stream.
const TRIES: usize = 100;

pub(super) fn all() -> Vec<Damage> {
    let mut all = objects();
    for codec in CODECS {
        all.extend(stored(codec));
    }
    all.extend(artefacts());
    all.extend(tars());
    all.extend(members());
    all
}

fn hidden(part: &Part) -> Made {
    let mut view = View::default();
    view.hide(part.object.key.as_str());
    made(view, [part.name(), part.object.key.clone()])
}

/// Whole objects.
fn objects() -> Vec<Damage> {
    const MISSING: &[FailureClass] = &[BackupPartMissing];
    vec![
        Damage::of_bytes(
            "base_first_part_missing",
            "the first part of the data directory is not there",
            Catalog,
            MISSING,
            |m, _| {
                let parts = m.data_parts();
                let [first, _, ..] = parts[..] else { return nothing("the tar is not split") };
                Ok(hidden(first))
            },
        ),
        Damage::of_bytes(
            "base_middle_part_missing",
            "a part in the middle of the data directory is not there",
            Catalog,
            MISSING,
            |m, _| {
                let parts = m.data_parts();
                let [_, middle, _, ..] = parts[..] else {
                    return nothing("the tar has fewer than three parts");
                };
                Ok(hidden(middle))
            },
        ),
        Damage::of_bytes(
            "base_last_part_missing",
            "the last part of the data directory is not there",
            Read,
            MISSING,
            |m, _| {
                let parts = m.data_parts();
                let [.., before, last] = parts[..] else { return nothing("the tar is not split") };
                let made = hidden(last);
                // A listing cannot know how many there were: the one before is named as the last.
                Ok(Made { subjects: vec![before.name(), m.plan.backup.id.clone()], ..made })
            },
        ),
        Damage::of_bytes(
            "base_all_parts_missing",
            "nothing but `backup.info` is left of the backup",
            Catalog,
            MISSING,
            |m, _| {
                let mut view = View::default();
                for part in &m.parts {
                    view.hide(part.object.key.as_str());
                }
                Ok(made(view, [m.plan.backup.id.clone()]))
            },
        ),
        Damage::of_bytes(
            "base_tablespace_missing",
            "the tar of a tablespace is not there",
            Catalog,
            MISSING,
            |m, _| {
                let mut spaces =
                    m.parts.iter().filter(|part| part.tar != TarName::Data && part.number == 0);
                let Some(space) = spaces.next() else {
                    return nothing("the cluster has no tablespaces");
                };
                Ok(hidden(space))
            },
        ),
        Damage::of_access(
            "base_encrypted",
            "a part is there only in an encrypted form, which nothing here can decode",
            Catalog,
            &[CodecUnsupported],
            |m, _| {
                let Some(part) = m.data_parts().into_iter().next() else {
                    return nothing("there is no part");
                };
                let mut made = hidden(part);
                let body = Body::Stored { key: part.object.key.clone(), edit: Edit::None };
                let shown = Shown { size: part.object.size, modified: part.object.modified, body };
                let key = format!("{}.gpg", key_in(&part.object.key, Codec::Plain));
                made.view.objects.insert(key, Some(shown));
                Ok(made)
            },
        ),
    ]
}

/// The first part's stored bytes in one codec.
fn stored(codec: Codec) -> Vec<Damage> {
    let word = word(codec);
    let changed = move |m: &Materials, change: &mut Rewrite<'_>| {
        let (part, content) = m.first_part()?;
        let mut bytes = encode(codec, &content.bytes).map_err(|error| error.to_string())?;
        change(&mut bytes, content)?;
        let mut view = View::default();
        part.store_as(&mut view, codec, bytes);
        Ok(made(view, [part.name()]))
    };
    vec![
        Damage::of_bytes(
            format!("base_bit_flip_{word}"),
            format!("one bit of a stored part is inverted ({word})"),
            Read,
            CORRUPT,
            move |m, dice| {
                changed(m, &mut |bytes, content| {
                    if codec == Codec::Plain {
                        // Only headers have a checksum in a plain tar.
                        let files: Vec<&Member> =
                            content.members.iter().filter(|m| m.is_file).collect();
                        let Some(member) = dice.pick(&files) else {
                            return nothing("the tar holds no file");
                        };
                        bytes[member.header() + dice.below(100)] ^= dice.bit();
                        return Ok(());
                    }
                    for _ in 0..TRIES {
                        let (at, mask) =
                            (dice.between(bytes.len() / 8, bytes.len() / 8 * 7), dice.bit());
                        bytes[at] ^= mask;
                        if decode_small(codec, bytes, content.bytes.len() as u64).is_err() {
                            return Ok(());
                        }
                        bytes[at] ^= mask;
                    }
                    nothing("no flipped bit broke the stream, which has no checksum of its content")
                })
            },
        ),
        Damage::of_bytes(
            format!("base_half_{word}"),
            format!("a stored part ends in its middle ({word})"),
            Read,
            CORRUPT,
            move |m, _| {
                changed(m, &mut |bytes, _| {
                    bytes.truncate(bytes.len() / 2);
                    Ok(())
                })
            },
        ),
        Damage::of_bytes(
            format!("base_last_bytes_{word}"),
            format!("the last bytes of a stored part are lost ({word})"),
            Read,
            CORRUPT,
            move |m, dice| {
                changed(m, &mut |bytes, _| {
                    bytes.truncate(bytes.len() - dice.between(1, 12));
                    Ok(())
                })
            },
        ),
    ]
}

/// What uploads leave behind that went wrong. Objects of any size.
fn artefacts() -> Vec<Damage> {
    let whole =
        |name: &'static str, what: &'static str, tier: Tier, make: fn(&Part, &mut Dice) -> Body| {
            Damage::of_bytes(name, what, tier, CORRUPT, move |m: &Materials, dice: &mut Dice| {
                let Some(part) = m.data_parts().into_iter().next() else {
                    return nothing("there is no part");
                };
                let body = make(part, dice);
                let size = match &body {
                    Body::Bytes(bytes) => bytes.len() as u64,
                    Body::Stored { edit: Edit::Cut(end), .. } => *end,
                    Body::Stored { edit: Edit::Append(more), .. } => {
                        part.object.size + more.len() as u64
                    }
                    Body::Stored { .. } => part.object.size,
                };
                let shown = Shown { size, modified: part.object.modified, body };
                let mut view = View::default();
                view.objects.insert(part.object.key.clone(), Some(shown));
                Ok(made(view, [part.name()]))
            })
        };
    vec![
        whole("base_empty", "a stored part holds no byte", Read, |_, _| {
            Body::Bytes(Vec::new().into())
        }),
        whole("base_14_bytes", "a stored part holds 14 bytes of an error message", Read, |_, _| {
            Body::Bytes(b"access denied\n".to_vec().into())
        }),
        whole("base_three_quarters", "a stored part ends after three quarters", Read, |part, _| {
            edited(part, Edit::Cut(part.object.size / 4 * 3))
        }),
        whole("base_trailing_garbage", "noise follows a stored part", Read, |part, dice| {
            edited(part, Edit::Append(dice.bytes(600).into()))
        }),
    ]
}

fn edited(part: &Part, edit: Edit) -> Body {
    Body::Stored { key: part.object.key.clone(), edit }
}

/// The first part as another tar, well compressed.
fn rewritten(
    name: &'static str,
    what: &'static str,
    classes: &'static [FailureClass],
    change: fn(&Content, &mut Dice) -> Result<Vec<u8>, NotMade>,
) -> Damage {
    Damage::of_bytes(name, what, Read, classes, move |m: &Materials, dice: &mut Dice| {
        let (part, content) = m.first_part()?;
        let tar = change(content, dice)?;
        let mut view = View::default();
        part.show(&mut view, &tar)?;
        Ok(made(view, [part.name()]))
    })
}

/// Tars that are no proper archives.
fn tars() -> Vec<Damage> {
    vec![
        rewritten(
            "tar_header",
            "a bit of a tar header is flipped before it was compressed",
            CORRUPT,
            |content, dice| {
                let mut tar = content.bytes.clone();
                let Some(member) = dice.pick(&content.members) else {
                    return nothing("the tar is empty");
                };
                tar[member.header() + dice.below(100)] ^= dice.bit();
                Ok(tar)
            },
        ),
        rewritten(
            "tar_size",
            "a tar header says another size, and its checksum is right",
            CORRUPT,
            |content, dice| {
                let files: Vec<&Member> =
                    content.members.iter().filter(|m| m.is_file && m.data.len() >= 8192).collect();
                let Some(member) = dice.pick(&files) else {
                    return nothing("the tar holds no file");
                };
                let data = &content.bytes[member.data.clone()];
                let mut header =
                    tar::with_data(&content.bytes, member, &[data, &[0; 512]].concat());
                header.truncate(member.data.start);
                header.extend_from_slice(&content.bytes[member.data.start..]);
                Ok(header)
            },
        ),
        rewritten(
            "tar_extended_header",
            "an extended tar header is damaged",
            CORRUPT,
            |content, dice| {
                let extended: Vec<_> =
                    content.members.iter().filter_map(Member::extended).collect();
                let Some(place) = dice.pick(&extended) else {
                    return nothing("the tar has no extended headers");
                };
                let mut tar = content.bytes.clone();
                // The length of its first line.
                tar[place.start] ^= 0x40;
                Ok(tar)
            },
        ),
        rewritten(
            "tar_no_end",
            "a tar ends behind a member, without its end blocks",
            CORRUPT,
            |content, _| {
                let middle = content.members.len() / 2;
                Ok(content.bytes[..content.members[middle].end].to_vec())
            },
        ),
        rewritten(
            "tar_one_end_block",
            "a tar ends with one end block instead of two",
            CORRUPT,
            |content, _| {
                let end = content.members.last().map_or(0, |member| member.end);
                Ok(content.bytes[..end + 512].to_vec())
            },
        ),
        rewritten(
            "tar_zeros_inside",
            "some kilobytes in the middle of a tar are zeros",
            CORRUPT,
            |content, _| {
                let mut tar = content.bytes.clone();
                let middle = &content.members[content.members.len() / 2];
                tar[middle.header()..middle.end].fill(0);
                Ok(tar)
            },
        ),
    ]
}

/// A part that holds `path`, with that member changed or dropped.
fn member(
    name: &'static str,
    what: &'static str,
    path: &'static str,
    classes: &'static [FailureClass],
    change: MemberChange,
) -> Damage {
    Damage::of_bytes(name, what, Read, classes, move |m: &Materials, _: &mut Dice| {
        let find = |_: &Part, content: &Content| {
            content.members.iter().find(|member| member.path == path).cloned()
        };
        let (part, content, member) = m.part_with(path, find)?;
        let tar = match change(content, &member)? {
            Some(data) => tar::with_data(&content.bytes, &member, &data),
            None => tar::without(&content.bytes, &content.members, |m| m.path == path),
        };
        let mut view = View::default();
        part.show(&mut view, &tar)?;
        Ok(made(view, [m.plan.backup.id.clone(), part.name()]))
    })
}

fn data<'a>(content: &'a Content, member: &Member) -> &'a [u8] {
    &content.bytes[member.data.clone()]
}

/// `pg_control` with other bytes and a right CRC. Where the CRC stands differs between majors.
fn control(content: &Content, member: &Member, change: fn(&mut [u8])) -> Result<Vec<u8>, NotMade> {
    let mut bytes = data(content, member).to_vec();
    let at = (200..512).step_by(4).find(|at| {
        bytes.get(*at..at + 4).is_some_and(|crc| crc == crc32c::crc32c(&bytes[..*at]).to_le_bytes())
    });
    let Some(at) = at else { return nothing("the CRC of `pg_control` was not found") };
    change(&mut bytes[..at]);
    let crc = crc32c::crc32c(&bytes[..at]).to_le_bytes();
    bytes[at..at + 4].copy_from_slice(&crc);
    Ok(bytes)
}

/// Files that a data directory cannot do without.
fn members() -> Vec<Damage> {
    const CONTROL: &str = "global/pg_control";
    const LABEL: &str = "backup_label";
    const MISSING: &[FailureClass] = &[BackupPartMissing, ArchiveCorrupt];
    const MISMATCH: &[FailureClass] = &[BackupInfoMismatch];
    const SYSTEM: &[FailureClass] = &[BackupInfoMismatch, SystemIdMismatch];
    let worded = |content: &Content, member: &Member, from: &str, to: &str| {
        let text = String::from_utf8_lossy(data(content, member)).into_owned();
        let changed = text.replacen(from, to, 1);
        if changed == text {
            nothing(format!("the label has no `{from}`"))
        } else {
            Ok(Some(changed.into_bytes()))
        }
    };
    vec![
        member("control_missing", "the backup holds no `pg_control`", CONTROL, MISSING, |_, _| {
            Ok(None)
        }),
        member(
            "control_bit_flip",
            "a bit of `pg_control` is flipped",
            CONTROL,
            CORRUPT,
            |content, member| {
                let mut bytes = data(content, member).to_vec();
                bytes[40] ^= 1;
                Ok(Some(bytes))
            },
        ),
        member("control_zeros", "`pg_control` is all zeros", CONTROL, CORRUPT, |_, member| {
            Ok(Some(vec![0; member.data.len()]))
        }),
        member(
            "control_short",
            "`pg_control` is cut short",
            CONTROL,
            CORRUPT,
            |content, member| Ok(Some(data(content, member)[..100].to_vec())),
        ),
        member(
            "control_foreign",
            "`pg_control` is of another database system, with a right CRC",
            CONTROL,
            SYSTEM,
            |content, member| control(content, member, |bytes| bytes[0] ^= 0xFF).map(Some),
        ),
        member("label_missing", "the backup holds no `backup_label`", LABEL, MISSING, |_, _| {
            Ok(None)
        }),
        member("label_garbage", "`backup_label` is not text", LABEL, CORRUPT, |_, member| {
            Ok(Some(vec![0xA5; member.data.len()]))
        }),
        member("label_empty", "`backup_label` is empty", LABEL, CORRUPT, |_, _| {
            Ok(Some(Vec::new()))
        }),
        member(
            "label_start",
            "`backup_label` begins at another position",
            LABEL,
            MISMATCH,
            move |content, member| {
                let text = String::from_utf8_lossy(data(content, member)).into_owned();
                let Some((line, rest)) = text.split_once('\n') else {
                    return nothing("the label has one line");
                };
                let mut line = line.to_owned();
                let Some(at) = line.find(" (file") else {
                    return nothing("the label names no file");
                };
                let digit = if line.as_bytes()[at - 2] == b'8' { "6" } else { "8" };
                line.replace_range(at - 2..=at - 2, digit);
                Ok(Some(format!("{line}\n{rest}").into_bytes()))
            },
        ),
        Damage::of_bytes(
            "label_incremental",
            "the label says that the backup holds only what changed since another",
            Read,
            &[IncrementalChain],
            move |m, _| {
                let find = |_: &Part, content: &Content| {
                    content.members.iter().find(|member| member.path == LABEL).cloned()
                };
                let (part, content, member) = m.part_with(LABEL, find)?;
                let data = worded(
                    content,
                    &member,
                    "START TIMELINE: ",
                    "INCREMENTAL FROM LSN: 0/1000028\nINCREMENTAL FROM TLI: 1\nSTART TIMELINE: ",
                )?;
                let tar = tar::with_data(&content.bytes, &member, &data.unwrap_or_default());
                let mut view = View::default();
                part.show(&mut view, &tar)?;
                Ok(made(view, [m.plan.backup.id.clone(), part.name()]))
            },
        ),
        member(
            "version_missing",
            "the backup holds no `PG_VERSION`",
            "PG_VERSION",
            MISSING,
            |_, _| Ok(None),
        ),
    ]
}
