//! Summaries in a file of the user: one for each job of a store, sorted by the reports' names.
//!
//! A file that is torn, foreign or of another version is as good as none: what it does not say is read
//! again. Writers do not wait for one another: each replaces the file by a whole one, and what the other
//! one knew beyond that is read again, too.
//!
//! Layout: a line that says what it is, then records of
//! `length of the rest: u32, CRC-32C of what follows: u32, verdict: u8, length of the name: u16, name,
//! summary`, numbers with the low byte first, summaries as postcard writes them.

use std::{
    collections::HashSet,
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{
    drill::{
        Verdict,
        history::{PAST_VERSION, Past},
        job::StoreLocation,
    },
    report::kept::{KeptId, escape},
};

/// Bytes of a record before its name.
const HEAD: usize = 11;

/// The summaries of a store's reports, in a folder.
#[derive(Clone, Debug)]
pub struct Remembered {
    folder: PathBuf,
    store: String,
}

impl Remembered {
    /// In a folder of its own below `cache`, by the name of the store.
    #[must_use]
    pub fn new(cache: &Path, location: &StoreLocation) -> Self {
        let endpoint = location.s3.endpoint.as_deref().unwrap_or_default();
        let store = format!("{} {endpoint}", location.url());
        let digest = Sha256::digest(store.as_bytes());
        let name = digest[..8].try_into().map_or(0, u64::from_be_bytes);
        Self { folder: cache.join("history").join(format!("{name:016x}")), store }
    }

    /// The first line of a job's file: another store, job or version is another line.
    fn title(&self, job: &str) -> Vec<u8> {
        format!("pgassay history {PAST_VERSION} {:?} {job:?}\n", self.store).into_bytes()
    }

    fn path(&self, job: &str) -> PathBuf {
        self.folder.join(escape(job))
    }

    /// What is known of a job's reports.
    #[must_use]
    pub fn load(&self, job: &str) -> Known {
        let title = self.title(job);
        let bytes = fs::read(self.path(job)).unwrap_or_default();
        if bytes.starts_with(&title) { Known::parse(bytes, title.len()) } else { Known::default() }
    }

    /// Replaces a job's file by one that knows `fresh`, too. With `listed`, the names of all reports that
    /// there are, those that are gone are forgotten. What cannot be written is read again next time.
    pub fn write<'a>(
        &self,
        job: &str,
        known: &Known,
        fresh: impl Iterator<Item = (&'a KeptId, &'a Past)>,
        listed: Option<&HashSet<String>>,
    ) {
        let stays = |name: &str| listed.is_none_or(|listed| listed.contains(name));
        let old: Vec<Record<'_>> = known.records().filter(|record| stays(record.name)).collect();
        let made: Vec<(String, Vec<u8>)> = fresh
            .filter_map(|(id, past)| {
                let name = id.file();
                let record = record(&name, past)?;
                Some((name, record))
            })
            .collect();
        // A few dead ones are not worth a file.
        if made.is_empty() && known.len() <= 2 * old.len() {
            return;
        }
        let mut all: Vec<(&str, &[u8])> = old.iter().map(|old| (old.name, old.bytes)).collect();
        all.extend(made.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
        all.sort_unstable_by_key(|(name, _)| *name);
        all.dedup_by_key(|(name, _)| *name);
        let mut bytes = self.title(job);
        for (_, record) in all {
            bytes.extend_from_slice(record);
        }
        if let Err(error) = self.replace(&self.path(job), &bytes) {
            tracing::debug!("the history of `{job}` is not remembered: {error}");
        }
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        // A name that no job has: `escape` begins none with a dot.
        let beside = self.folder.join(format!(".{}.tmp", Uuid::now_v7()));
        let mut options = fs::OpenOptions::new();
        let written = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&beside, path));
        if written.is_err() {
            // The error is the news.
            let _ = fs::remove_file(&beside);
        }
        written
    }
}

/// The content of a job's file.
#[derive(Debug, Default)]
pub struct Known {
    bytes: Vec<u8>,
    /// Where records begin, in the order of their names.
    starts: Vec<usize>,
}

/// What is known of one report.
#[derive(Clone, Debug, PartialEq)]
pub enum Recalled {
    Past(Box<Past>),
    /// It ended in another verdict than is asked for.
    Other,
    /// It has to be read.
    Unknown,
}

#[derive(Clone, Copy)]
struct Record<'a> {
    verdict: u8,
    name: &'a str,
    past: &'a [u8],
    bytes: &'a [u8],
}

impl Known {
    /// Records up to the first that does not hold together.
    fn parse(bytes: Vec<u8>, mut at: usize) -> Self {
        let mut starts = Vec::new();
        while let Some(record) = split(&bytes[at..]) {
            starts.push(at);
            at += record.bytes.len();
        }
        Self { bytes, starts }
    }

    /// Number of reports that are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether nothing is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The summary of the report of this name, where it ended in one of these verdicts; none means any.
    #[must_use]
    pub fn get(&self, name: &str, verdicts: &[Verdict]) -> Recalled {
        let name_at = |at: &usize| split(&self.bytes[*at..]).map_or("", |record| record.name);
        let found = self.starts.binary_search_by(|at| name_at(at).cmp(name)).ok();
        let record = found.and_then(|index| split(&self.bytes[self.starts[index]..]));
        let Some(record) = record.filter(Record::is_sound) else { return Recalled::Unknown };
        if !verdicts.is_empty()
            && !verdicts.iter().any(|verdict| number(*verdict) == record.verdict)
        {
            return Recalled::Other;
        }
        let past = postcard::from_bytes(record.past);
        past.map_or(Recalled::Unknown, |past| Recalled::Past(Box::new(past)))
    }

    fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let records = self.starts.iter().filter_map(|at| split(&self.bytes[*at..]));
        records.filter(Record::is_sound)
    }
}

impl Record<'_> {
    fn is_sound(&self) -> bool {
        let said = self.bytes[4..8].try_into().map_or(0, u32::from_le_bytes);
        crc32c::crc32c(&self.bytes[8..]) == said
    }
}

/// The first record, by its lengths alone.
fn split(bytes: &[u8]) -> Option<Record<'_>> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    let bytes = bytes.get(..usize::try_from(length).ok()?.checked_add(4)?)?;
    let name_length = u16::from_le_bytes(bytes.get(9..HEAD)?.try_into().ok()?);
    let (name, past) = bytes[HEAD..].split_at_checked(usize::from(name_length))?;
    Some(Record { verdict: bytes[8], name: std::str::from_utf8(name).ok()?, past, bytes })
}

/// How a record has a verdict.
fn number(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass => 0,
        Verdict::Breach => 1,
        Verdict::Fail => 2,
        Verdict::Inconclusive => 3,
    }
}

fn record(name: &str, past: &Past) -> Option<Vec<u8>> {
    let summary = postcard::to_stdvec(past).ok()?;
    let mut rest = vec![number(past.verdict)];
    rest.extend_from_slice(&u16::try_from(name.len()).ok()?.to_le_bytes());
    rest.extend_from_slice(name.as_bytes());
    rest.extend_from_slice(&summary);
    let mut record = u32::try_from(rest.len() + 4).ok()?.to_le_bytes().to_vec();
    record.extend_from_slice(&crc32c::crc32c(&rest).to_le_bytes());
    record.extend_from_slice(&rest);
    Some(record)
}
