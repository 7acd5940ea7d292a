//! The ledger as a file: one line of JSON, then 45 bytes for each segment, then a SHA-256 of it all.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Read as _, Write},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    KnownBackup, Ledger, Rate,
    entry::{Entry, LENGTH},
};

const FORMAT: &str = "pgassay-ledger";
/// Raised when the meaning of the bytes changes.
const VERSION: u32 = 1;
/// Raised when `verify` looks at more than before: what an older one found good is then read anew.
const RULES: u32 = 2;
/// Longest head that is read: a backup takes some hundred bytes of it.
const MAX_HEAD: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    version: u32,
    rules: u32,
    archive: String,
    segments: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    rate: Option<Rate>,
    backups: BTreeMap<String, KnownBackup>,
    #[serde(default)]
    runs: u32,
    #[serde(default)]
    turns: BTreeMap<String, u32>,
    #[serde(default)]
    next: Option<(u32, u64)>,
}

/// Why bytes are no ledger of this archive.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("it is not a ledger of pgassay")]
    Foreign,
    #[error("it is the ledger of another archive, `{0}`")]
    OtherArchive(String),
    #[error("it is of version {0}, which this pgassay does not know")]
    Version(u64),
    #[error("what was good by the rules of another pgassay is read anew")]
    Rules,
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Unusable {
    /// Whether one may begin anew in its place: it is one of ours, and nothing is lost but time.
    #[must_use]
    pub const fn begins_anew(&self) -> bool {
        matches!(self, Self::Version(_) | Self::Rules | Self::Damaged(_))
    }
}

/// Sums up what goes through it.
struct Summed<T> {
    inner: T,
    sum: Sha256,
}

impl<W: Write> Summed<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.inner.write_all(bytes)
    }
}

pub(super) fn write(ledger: &Ledger, to: impl Write) -> io::Result<()> {
    let head = Head {
        format: FORMAT.to_owned(),
        version: VERSION,
        rules: RULES,
        archive: ledger.archive.clone(),
        segments: ledger.segments.len() as u64,
        rate: ledger.rate,
        backups: ledger.backups.clone(),
        runs: ledger.runs,
        turns: ledger.turns.clone(),
        next: ledger.next,
    };
    let mut to = Summed { inner: to, sum: Sha256::new() };
    to.put(&serde_json::to_vec(&head)?)?;
    to.put(b"\n")?;
    for entry in &ledger.segments {
        to.put(&entry.to_bytes())?;
    }
    let sum = to.sum.finalize();
    to.inner.write_all(&sum)?;
    to.inner.flush()
}

pub(super) fn read(mut bytes: impl BufRead, archive: &str) -> Result<Ledger, Unusable> {
    let mut line = Vec::new();
    (&mut bytes).take(MAX_HEAD).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(Unusable::Foreign);
    }
    let head: serde_json::Value = serde_json::from_slice(&line).map_err(|_| Unusable::Foreign)?;
    if head["format"] != FORMAT {
        return Err(Unusable::Foreign);
    }
    // Looked at before the rest: what another version means by it is not known here.
    match head["version"].as_u64() {
        Some(version) if version == u64::from(VERSION) => {}
        Some(other) => return Err(Unusable::Version(other)),
        None => return Err(Unusable::Damaged("its head has no version")),
    }
    let head: Head =
        serde_json::from_value(head).map_err(|_| Unusable::Damaged("its head lacks a field"))?;
    if head.archive != archive {
        return Err(Unusable::OtherArchive(head.archive));
    }
    if head.rules != RULES {
        return Err(Unusable::Rules);
    }
    let mut sum = Sha256::new();
    sum.update(&line);
    sum.update(b"\n");
    // A damaged head must not make a huge table.
    let mut segments = Vec::with_capacity(head.segments.min(1 << 20) as usize);
    let mut one = [0; LENGTH];
    for _ in 0..head.segments {
        fill(&mut bytes, &mut one)?;
        sum.update(one);
        segments.push(Entry::from_bytes(&one));
    }
    let mut written = [0; 32];
    fill(&mut bytes, &mut written)?;
    if sum.finalize()[..] != written || bytes.read(&mut [0])? != 0 {
        return Err(Unusable::Damaged("its checksum does not match"));
    }
    if !segments.windows(2).all(|pair| pair[0].key < pair[1].key) {
        return Err(Unusable::Damaged("its entries are not in order"));
    }
    let rate = head.rate.filter(Rate::is_usable);
    let Head { archive, backups, runs, turns, next, .. } = head;
    Ok(Ledger { archive, backups, segments, learned: Vec::new(), rate, runs, turns, next })
}

fn fill(bytes: &mut impl BufRead, to: &mut [u8]) -> Result<(), Unusable> {
    bytes.read_exact(to).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Unusable::Damaged("it ends too early"),
        _ => Unusable::Io(error),
    })
}
