//! Keys below a server's prefix (`barman/cloud.py`, `barman/xlog.py`, `barman/annotations.py`).
//!
//! Names count only in the spelling that Barman writes: PostgreSQL asks for upper-case segment names,
//! so an object in another spelling can never be restored and is unknown here.

use std::str::FromStr;

use super::Codec;
use crate::pg::WalFileName;

/// What a key means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// `base/<id>/…`
    Base { backup: &'a str, file: BaseFile },
    /// `wals/…`
    Wal { name: WalFileName, codec: Codec },
    /// A segment or history file with an extension that cannot be decoded here, such as `.gpg`.
    UnreadableWal { name: WalFileName, extension: &'a str },
    /// Nothing in this layout.
    Unknown,
}

/// A file in a base backup's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseFile {
    /// `backup.info`
    Info,
    /// `data.tar…`, `data_0001.tar…`, `<oid>.tar…`, `<oid>_0001.tar…`.
    Tar { tar: TarName, part: u32, codec: Codec },
    /// A tar with an extension that cannot be decoded here, such as `data.tar.gpg`.
    UnreadableTar { tar: TarName, part: u32 },
    /// `backup_label`: only backups in disk snapshots have it as an object of its own.
    Label,
    /// `annotations/keep`
    Keep,
}

/// Which tar of a base backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TarName {
    /// The data directory.
    Data,
    /// The tablespace of this oid.
    Tablespace(u32),
}

impl TarName {
    /// The file name of one part without the compression's extension, such as `data_0001.tar`.
    #[must_use]
    pub fn file_name(self, part: u32) -> String {
        let stem = match self {
            Self::Data => "data".to_owned(),
            Self::Tablespace(oid) => oid.to_string(),
        };
        if part == 0 { format!("{stem}.tar") } else { format!("{stem}_{part:04}.tar") }
    }
}

impl<'a> Key<'a> {
    /// Reads a key without the server's prefix, such as `base/20261122T190000/data.tar.gz`.
    #[must_use]
    pub fn parse(below_server: &'a str) -> Self {
        let known = match below_server.split_once('/') {
            Some(("base", rest)) => base(rest),
            Some(("wals", rest)) => wal(rest),
            _ => None,
        };
        known.unwrap_or(Self::Unknown)
    }
}

fn base(rest: &str) -> Option<Key<'_>> {
    let (backup, name) = rest.split_once('/')?;
    let file = match name {
        _ if backup.is_empty() => return None,
        "backup.info" => BaseFile::Info,
        "backup_label" => BaseFile::Label,
        "annotations/keep" => BaseFile::Keep,
        _ => tar(name)?,
    };
    Some(Key::Base { backup, file })
}

fn tar(name: &str) -> Option<BaseFile> {
    let (stem, extension) = name.split_once(".tar")?;
    let (stem, part) = match stem.split_once('_') {
        Some((stem, part)) => (stem, part.parse().ok().filter(|part| *part > 0)?),
        None => (stem, 0),
    };
    let tar = match stem {
        "data" => TarName::Data,
        oid => TarName::Tablespace(oid.parse().ok()?),
    };
    // Back to text and compared: `+7`, `007` and `_1` are not how Barman writes them.
    let written = tar.file_name(part);
    let rest = name.strip_prefix(written.as_str())?;
    debug_assert_eq!(rest, extension);
    match codec(extension) {
        Some(codec) => Some(BaseFile::Tar { tar, part, codec }),
        None if is_extension(extension) => Some(BaseFile::UnreadableTar { tar, part }),
        None => None,
    }
}

fn wal(rest: &str) -> Option<Key<'_>> {
    let (folder, file) = match rest.rsplit_once('/') {
        Some((folder, file)) => (Some(folder), file),
        None => (None, rest),
    };
    // The longest prefix that is a name; what follows is the extension. `….backup.gz` is a label.
    let (stem, codec) = Codec::split(file);
    let (name, extension) = if let Some(name) = wal_name(stem) {
        (name, None)
    } else {
        let (stem, _) = file.rsplit_once('.')?;
        (wal_name(stem)?, Some(&file[stem.len()..]))
    };
    let expected = match &name {
        WalFileName::History { .. } => None,
        _ => Some(&file[..16]),
    };
    if folder != expected {
        return None;
    }
    match extension {
        None => Some(Key::Wal { name, codec }),
        Some(extension) if is_extension(extension) => Some(Key::UnreadableWal { name, extension }),
        Some(_) => None,
    }
}

fn wal_name(text: &str) -> Option<WalFileName> {
    let upper =
        |t: &str| !t.split('.').next().unwrap_or("").bytes().any(|b| b.is_ascii_lowercase());
    let name = WalFileName::from_str(text).ok()?;
    // The offset in a label's name is the only other part with two spellings.
    let label = matches!(name, WalFileName::BackupLabel { .. });
    (upper(text) && (!label || name.to_string() == text)).then_some(name)
}

fn codec(extension: &str) -> Option<Codec> {
    Codec::ALL.into_iter().find(|codec| codec.extension() == extension)
}

/// Whether the text looks like one more compression or encryption: a dot and a short word.
fn is_extension(text: &str) -> bool {
    text.strip_prefix('.').is_some_and(|word| {
        (2..=8).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pg::TimelineId;

    fn tar_file(tar: TarName, part: u32, codec: Codec) -> Key<'static> {
        Key::Base { backup: "20261122T190000", file: BaseFile::Tar { tar, part, codec } }
    }

    #[test]
    fn what_barman_writes() {
        let base = |file: &str| format!("base/20261122T190000/{file}");
        let of = |file| Key::Base { backup: "20261122T190000", file };
        let oid = TarName::Tablespace(16385);
        for (file, expected) in [
            ("backup.info", of(BaseFile::Info)),
            ("backup_label", of(BaseFile::Label)),
            ("annotations/keep", of(BaseFile::Keep)),
            ("data.tar", tar_file(TarName::Data, 0, Codec::Plain)),
            ("data.tar.gz", tar_file(TarName::Data, 0, Codec::Gzip)),
            ("data_0001.tar.bz2", tar_file(TarName::Data, 1, Codec::Bzip2)),
            ("data_10000.tar.lz4", tar_file(TarName::Data, 10_000, Codec::Lz4)),
            ("16385.tar.snappy", tar_file(oid, 0, Codec::Snappy)),
            ("16385_0012.tar", tar_file(oid, 12, Codec::Plain)),
            ("data_0002.tar.gpg", of(BaseFile::UnreadableTar { tar: TarName::Data, part: 2 })),
        ] {
            assert_eq!(Key::parse(&base(file)), expected, "{file}");
        }
        let segment = WalFileName::Segment { timeline: TimelineId(1), log: 10, seg: 254 };
        let label =
            WalFileName::BackupLabel { timeline: TimelineId(1), log: 10, seg: 254, offset: 40 };
        let partial = WalFileName::Partial { timeline: TimelineId(1), log: 10, seg: 254 };
        let history = WalFileName::History { timeline: TimelineId(11) };
        for (file, name, codec) in [
            ("000000010000000A/000000010000000A000000FE", &segment, Codec::Plain),
            ("000000010000000A/000000010000000A000000FE.zst", &segment, Codec::Zstd),
            ("000000010000000A/000000010000000A000000FE.00000028.backup", &label, Codec::Plain),
            ("000000010000000A/000000010000000A000000FE.00000028.backup.gz", &label, Codec::Gzip),
            ("000000010000000A/000000010000000A000000FE.partial.xz", &partial, Codec::Xz),
            ("0000000B.history", &history, Codec::Plain),
            ("0000000B.history.bz2", &history, Codec::Bzip2),
        ] {
            let expected = Key::Wal { name: name.clone(), codec };
            assert_eq!(Key::parse(&format!("wals/{file}")), expected, "{file}");
        }
        assert_eq!(
            Key::parse("wals/000000010000000A/000000010000000A000000FE.gpg"),
            Key::UnreadableWal { name: segment, extension: ".gpg" }
        );
    }

    #[test]
    fn what_is_none_of_it() {
        for key in [
            "",
            "base",
            "base/",
            "base//backup.info",
            "base/x/backup.info.gz",
            "base/x/annotations/other",
            "base/x/data_1.tar",
            "base/x/data_0000.tar",
            "base/x/data_00001.tar",
            "base/x/data.tar.",
            "base/x/data.tar.gz.tmp",
            "base/x/data.tartar",
            "base/x/+16385.tar",
            "base/x/016385.tar",
            "base/x/99999999999.tar",
            // The folder is not that of the name.
            "wals/000000010000000B/000000010000000A000000FE",
            "wals/000000010000000A000000FE",
            "wals/x/000000010000000A/000000010000000A000000FE",
            "wals/000000010000000A/0000000B.history",
            // PostgreSQL never asks for this spelling.
            "wals/000000010000000a/000000010000000a000000fe",
            "wals/000000010000000A/000000010000000A000000FE.0000002a.backup",
            "wals/0000000b.history",
            "wals/000000010000000a/000000010000000a000000fe.partial",
            "wals/000000010000000A/000000010000000A000000FE.gz.gz.gz",
            "wals/000000010000000A/000000010000000A000000FE.",
            "wals/000000010000000A/000000010000000A000000F",
            "wals/000000010000000A/é0000010000000A000000FE",
            "other/file",
        ] {
            assert_eq!(Key::parse(key), Key::Unknown, "{key}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(base|wals)?/?[0-9A-F]{0,16}/?\\PC{0,40}") {
            let _ = Key::parse(&text);
        }

        #[test]
        fn names_come_back(timeline in 1u32.., log: u32, seg: u32, index in 0usize..7) {
            let codec = Codec::ALL[index];
            let name = WalFileName::Segment { timeline: TimelineId(timeline), log, seg };
            let text = name.to_string();
            let key = format!("wals/{}/{text}{}", &text[..16], codec.extension());
            prop_assert_eq!(Key::parse(&key), Key::Wal { name, codec });
        }
    }
}
