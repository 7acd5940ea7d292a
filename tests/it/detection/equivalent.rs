//! A damage of barman-cloud's archive in terms of files, so that a peer's own backup of the same cluster
//! can be damaged in the same way.

use std::collections::BTreeMap;

use pgassay::{
    archive::Codec,
    restore::codec::{decode_small, encode},
    selftest::{
        materials::{Materials, Part},
        overlay::{Body, Edit, View},
        tar,
    },
    store::{GetRange, SharedStore, read_all},
};

use crate::support::tools::RUNTIME;

/// More than any object of the fixture holds.
const MOST: usize = 64 << 20;

/// A file of the data directory that is otherwise than it was.
#[derive(Clone, Debug)]
pub enum FileChange {
    Missing,
    /// Before and after.
    Other(Vec<u8>, Vec<u8>),
}

/// What happens to stored bytes as such.
#[derive(Clone, Debug)]
pub enum Stream {
    /// One bit, this far into the object in thousandths.
    Flip {
        place: usize,
        mask: u8,
    },
    /// What is left, in thousandths.
    Cut(usize),
    /// So many bytes at the end.
    Tail(usize),
    Append(Vec<u8>),
    Replaced(Vec<u8>),
}

/// A WAL segment, history file or `backup.info`, under another name or with other bytes.
#[derive(Clone, Debug, Default)]
pub struct Object {
    /// It is no longer what it was.
    pub gone: bool,
    /// What stands there instead, or beside it.
    pub shown: Vec<(Codec, Vec<u8>)>,
}

/// A damage, object by object.
#[derive(Debug, Default)]
pub struct Damaged {
    /// By the segment's or history file's name.
    pub wal: BTreeMap<String, Object>,
    pub info: Option<Object>,
    /// Paths in the data directory, those in tablespaces as `pg_tblspc/OID/…`.
    pub files: BTreeMap<String, FileChange>,
    /// A tar that no longer decodes: its compression, what happened, and the files that it held.
    pub stream: Option<(Codec, Stream, Vec<String>)>,
    /// Why there is no telling it in such terms.
    pub untold: Option<&'static str>,
}

impl Damaged {
    /// Compares a view with the archive that it is over.
    pub fn of(store: &SharedStore, m: &Materials, view: &View) -> Self {
        let mut this = Self::default();
        if !view.troubles.is_empty() {
            this.untold = Some("the store's trouble, not the archive's");
            return this;
        }
        let mut parts: BTreeMap<String, Object> = BTreeMap::new();
        for (key, shown) in &view.objects {
            let (file, codec) = Codec::split(key.rsplit('/').next().unwrap());
            let shown = shown.as_ref().map(|shown| (codec, bytes(store, &shown.body)));
            let part = m.parts.iter().find(|part| part.name() == file);
            let object = if let Some(part) = part {
                parts.entry(part.name()).or_default()
            } else if file == "backup.info" {
                this.info.get_or_insert_default()
            } else if key.contains("/wals/") && is_wal(file) {
                this.wal.entry(file.to_owned()).or_default()
            } else {
                this.untold = Some("a name that its own programs never write");
                continue;
            };
            match shown {
                None => object.gone = true,
                Some(shown) => object.shown.push(shown),
            }
        }
        for (name, object) in parts {
            let part = m.parts.iter().find(|part| part.name() == name).unwrap();
            this.part(store, part, object);
        }
        this
    }

    fn part(&mut self, store: &SharedStore, part: &Part, mut object: Object) {
        let content = part.content.as_ref().unwrap();
        let path = |member: &str| match part.name().trim_end_matches(".tar").parse::<u32>() {
            Ok(oid) => format!("pg_tblspc/{oid}/{member}"),
            Err(_) => member.to_owned(),
        };
        let files = content.members.iter().filter(|member| member.is_file);
        let Some((codec, stored)) = object.shown.pop() else {
            self.files.extend(files.map(|file| (path(&file.path), FileChange::Missing)));
            return;
        };
        let decoded = decode_small(codec, &stored, MOST as u64).ok();
        let members = decoded.as_ref().and_then(|tar| tar::members(tar));
        let (Some(decoded), Some(members)) = (&decoded, members) else {
            let mut before = vec![bytes(
                store,
                &Body::Stored { key: part.object.key.clone(), edit: Edit::None },
            )];
            before.push(encode(codec, &content.bytes).unwrap());
            let told = before.iter().find_map(|before| Stream::between(before, &stored));
            match decoded {
                // A well compressed tar that is none.
                Some(_) if codec != Codec::Plain => self.untold = Some("it has no tars"),
                _ => {
                    let told = told.unwrap_or(Stream::Replaced(stored));
                    let mut held: Vec<_> = files.map(|f| (f.data.len(), path(&f.path))).collect();
                    held.sort();
                    self.stream = Some((codec, told, held.into_iter().map(|(_, p)| p).collect()));
                }
            }
            return;
        };
        let after: BTreeMap<&str, &[u8]> =
            members.iter().map(|m| (m.path.as_str(), &decoded[m.data.clone()])).collect();
        for file in files {
            let before = &content.bytes[file.data.clone()];
            let change = match after.get(file.path.as_str()) {
                None => FileChange::Missing,
                Some(after) if *after == before => continue,
                Some(after) => FileChange::Other(before.to_vec(), after.to_vec()),
            };
            self.files.insert(path(&file.path), change);
        }
        if self.files.is_empty() {
            self.untold = Some("it has no tars");
        }
    }
}

impl Stream {
    /// How one object came from another, where that is plain to see.
    fn between(before: &[u8], after: &[u8]) -> Option<Self> {
        let (long, short) = (before.len(), after.len());
        if long == short {
            let mut differ = (0..long).filter(|at| before[*at] != after[*at]);
            let at = differ.next()?;
            let mask = before[at] ^ after[at];
            return differ.next().is_none().then(|| Self::Flip { place: at * 1000 / long, mask });
        }
        if short > 0 && before.starts_with(after) {
            let lost = long - short;
            return Some(if lost < 64 { Self::Tail(lost) } else { Self::Cut(short * 1000 / long) });
        }
        after.strip_prefix(before).map(|more| Self::Append(more.to_vec()))
    }

    /// The same to other bytes.
    pub fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Flip { place, mask } => {
                let at = bytes.len() * place / 1000;
                bytes[at] ^= mask;
            }
            Self::Cut(left) => bytes.truncate(bytes.len() * left / 1000),
            Self::Tail(lost) => bytes.truncate(bytes.len() - lost),
            Self::Append(more) => bytes.extend(more),
            Self::Replaced(other) => bytes.clone_from(other),
        }
    }
}

impl FileChange {
    /// The same to a file that held nearly the same; `None`: it is gone.
    pub fn apply(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let Self::Other(before, after) = self else { return None };
        let mut out = bytes.to_vec();
        if before.len() == after.len() && before.len() <= out.len() {
            for at in (0..before.len()).filter(|at| before[*at] != after[*at]) {
                out[at] = after[at];
            }
        } else if before.starts_with(after) {
            out.truncate(after.len());
        } else {
            out.clone_from(after);
        }
        Some(out)
    }
}

fn is_wal(file: &str) -> bool {
    let name = file.strip_suffix(".history").unwrap_or(file);
    let upper = |b: u8| b.is_ascii_digit() || (b'A'..=b'F').contains(&b);
    [8, 24].contains(&name.len()) && name.bytes().all(upper)
}

/// What a reader gets.
fn bytes(store: &SharedStore, body: &Body) -> Vec<u8> {
    match body {
        Body::Bytes(bytes) => bytes.to_vec(),
        Body::Stored { key, edit } => {
            let read = read_all(&**store, GetRange::whole(key), MOST);
            let mut bytes = RUNTIME.block_on(read).unwrap().to_vec();
            match edit {
                Edit::None => {}
                Edit::Flip { at, mask } => bytes[*at as usize] ^= mask,
                Edit::Cut(end) => bytes.truncate(*end as usize),
                Edit::Append(more) => bytes.extend(more),
            }
            bytes
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_befell_one_object_befalls_another() {
        let before: Vec<u8> = (0..=255).cycle().take(2000).collect();
        let mut flipped = before.clone();
        flipped[500] ^= 4;
        let mut other = vec![0; 4000];
        Stream::between(&before, &flipped).unwrap().apply(&mut other);
        assert_eq!(other.iter().position(|b| *b == 4), Some(1000));
        Stream::between(&before, &before[..1000]).unwrap().apply(&mut other);
        assert_eq!(other.len(), 2000);
        Stream::between(&before, &before[..1997]).unwrap().apply(&mut other);
        assert_eq!(other.len(), 1997);
        assert!(Stream::between(&before, b"access denied\n").is_none());
    }

    #[test]
    fn a_file_that_differs_elsewhere_gets_the_same_change() {
        let before = vec![1; 100];
        let mut after = before.clone();
        after[10] = 7;
        let mut own = before.clone();
        own[50] = 9;
        let changed = FileChange::Other(before.clone(), after).apply(&own).unwrap();
        assert_eq!((changed[10], changed[50]), (7, 9));
        let cut = FileChange::Other(before.clone(), before[..30].to_vec());
        assert_eq!(cut.apply(&own).unwrap().len(), 30);
        assert!(FileChange::Missing.apply(&own).is_none());
        assert!(is_wal("00000002.history") && is_wal("00000001000000000000000A"));
        assert!(!is_wal("00000001000000000000000a"));
    }
}
