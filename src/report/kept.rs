//! The store of finished reports, which the history, trends and the monthly review read.
//!
//! Layout, in a folder or below a prefix of a bucket:
//! `reports/v1/<job>/<YYYY>/<MM>/<YYYYMMDD>T<HHMMSS.mmm>Z-<drill id>.json`, in UTC. A name tells all
//! that a listing shows, names sort by time, and no two drills share one, so that any number of
//! writers may add to a store without knowing of each other.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{Timestamp, civil, tz::TimeZone};

use crate::{
    drill::{
        Code, Error, FailureClass,
        job::{StoreLocation, StoreScheme},
    },
    store::s3_write::S3Writer,
};

mod bucket;
mod folder;

use bucket::Bucket;
use folder::Folder;

/// Root of this layout's version.
const ROOT: &str = "reports/v1";

/// Largest report that is read back: one is some kilobytes.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Which report.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeptId {
    /// To the millisecond.
    at: Timestamp,
    job: String,
    drill_id: String,
}

impl KeptId {
    /// `at` is cut to the millisecond, which is what a name holds.
    pub fn new(job: impl Into<String>, at: Timestamp, drill_id: impl Into<String>) -> Self {
        let at = Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at);
        Self { at, job: job.into(), drill_id: drill_id.into() }
    }

    /// When the drill started.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    #[must_use]
    pub fn job(&self) -> &str {
        &self.job
    }

    #[must_use]
    pub fn drill_id(&self) -> &str {
        &self.drill_id
    }

    /// The folder and the file below the root.
    fn path(&self) -> (String, String) {
        let at = self.at.to_zoned(TimeZone::UTC);
        let folder = format!("{ROOT}/{}/{}", escape(&self.job), at.strftime("%Y/%m"));
        let id = escape(&self.drill_id);
        (folder, format!("{}.{:03}Z-{id}.json", at.strftime("%Y%m%dT%H%M%S"), at.millisecond()))
    }

    /// From a job's name and a file's name, or `None` for a file that is not ours.
    fn parse(job: &str, file: &str) -> Option<Self> {
        let (time, id) = file.strip_suffix(".json")?.split_once("Z-")?;
        let (time, millis) = time.split_once('.')?;
        let at = civil::DateTime::strptime("%Y%m%dT%H%M%S", time).ok()?;
        let millis: i64 = millis.parse().ok()?;
        let at = at.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond() + millis;
        let id = Self::new(job, Timestamp::from_millisecond(at).ok()?, unescape(id)?);
        // Only the one way of writing an id is ours: two names for one report must not be.
        (id.path().1 == file).then_some(id)
    }
}

impl fmt::Display for KeptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of job `{}` at {}", self.drill_id, self.job, self.at)
    }
}

/// Keeps reports for ever.
#[async_trait]
pub trait ReportStore: Send + Sync + fmt::Debug {
    /// Keeps a report. It is seen whole or not at all. Keeping the same bytes again changes nothing.
    ///
    /// # Errors
    /// `ReportStore` where another report has the id, and what the folder or bucket gives.
    async fn put(&self, id: &KeptId, report: Bytes) -> Result<(), Error>;

    /// The newest reports, newest first, of one job or of all. Reads names only, and of these only
    /// as many months as it takes.
    async fn list(&self, job: Option<&str>, limit: usize) -> Result<Vec<KeptId>, Error>;

    /// A kept report's bytes.
    ///
    /// # Errors
    /// `ReportStore` where there is none.
    async fn get(&self, id: &KeptId) -> Result<Bytes, Error>;

    /// Whether the place is there, with or without reports. Of a bucket the first listing tells.
    async fn exists(&self) -> Result<bool, Error>;

    /// What messages call this store.
    fn describe(&self) -> String;
}

/// Opens the store of a job's `report.store`: `file:///folder` or `s3://bucket/prefix`.
///
/// # Errors
/// Those of [`S3Writer::connect`]. Nothing is asked of the store yet.
pub async fn open(location: &StoreLocation) -> Result<Box<dyn ReportStore>, Error> {
    Ok(match location.scheme {
        StoreScheme::File => Box::new(Kept(Folder::new(&location.prefix)?)),
        StoreScheme::S3 => {
            let writer = S3Writer::connect(location).await?;
            Box::new(Kept(Bucket::new(writer, &location.prefix)))
        }
    })
}

/// A tree of small files, which is all that the layout needs. Paths have slashes and no leading one.
#[async_trait]
trait Shelf: Send + Sync + fmt::Debug {
    /// Names of the folders in a folder; none where it does not exist.
    async fn folders(&self, path: &str) -> Result<Vec<String>, Error>;
    /// Names of the files in a folder; none where it does not exist.
    async fn files(&self, path: &str) -> Result<Vec<String>, Error>;
    /// Adds a file, whole or not at all. False where another file has the name.
    async fn create(&self, folder: &str, file: &str, bytes: Bytes) -> Result<bool, Error>;
    /// A file's bytes, no more than the limit.
    async fn read(&self, path: &str, limit: usize) -> Result<Option<Bytes>, Error>;
    /// Whether the root of the tree is there.
    async fn exists(&self) -> Result<bool, Error>;
    fn describe(&self) -> String;
}

/// The layout over a tree.
#[derive(Debug)]
struct Kept<S>(S);

#[async_trait]
impl<S: Shelf> ReportStore for Kept<S> {
    async fn put(&self, id: &KeptId, report: Bytes) -> Result<(), Error> {
        let (folder, file) = id.path();
        let created = self
            .0
            .create(&folder, &file, report)
            .await
            .map_err(|error| error.context(format!("cannot keep the report {id}")))?;
        if created {
            return Ok(());
        }
        Err(error(format!("cannot keep the report {id}: another one is kept under that id")))
    }

    async fn list(&self, job: Option<&str>, limit: usize) -> Result<Vec<KeptId>, Error> {
        let jobs = if let Some(job) = job {
            vec![job.to_owned()]
        } else {
            let folders = self.0.folders(ROOT).await.map_err(listing)?;
            folders.iter().filter_map(|folder| unescape(folder)).collect()
        };
        let mut newest = Vec::new();
        for job in jobs {
            newest.extend(self.newest(&job, limit).await.map_err(listing)?);
            newest.sort_unstable_by(|a, b| b.cmp(a));
            newest.truncate(limit);
        }
        Ok(newest)
    }

    async fn get(&self, id: &KeptId) -> Result<Bytes, Error> {
        let (folder, file) = id.path();
        match self.0.read(&format!("{folder}/{file}"), MAX_BYTES).await {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(error(format!("the report {id} is not kept in {}", self.describe()))),
            Err(error) => Err(error.context(format!("cannot read the report {id}"))),
        }
    }

    async fn exists(&self) -> Result<bool, Error> {
        self.0.exists().await
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

impl<S: Shelf> Kept<S> {
    async fn newest(&self, job: &str, limit: usize) -> Result<Vec<KeptId>, Error> {
        let folder = format!("{ROOT}/{}", escape(job));
        let mut newest = Vec::new();
        for year in descending(self.0.folders(&folder).await?) {
            let year = format!("{folder}/{year}");
            for month in descending(self.0.folders(&year).await?) {
                if newest.len() >= limit {
                    return Ok(newest);
                }
                let files = self.0.files(&format!("{year}/{month}")).await?;
                newest.extend(descending(files).iter().filter_map(|file| KeptId::parse(job, file)));
                newest.truncate(limit);
            }
        }
        Ok(newest)
    }
}

fn descending(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable_by(|a, b| b.cmp(a));
    names
}

fn listing(error: Error) -> Error {
    error.context("cannot list the kept reports")
}

fn error(message: String) -> Error {
    Error::new(Code::ReportStore, message).class(FailureClass::InfraError)
}

/// A name that is one level of a path on every store: letters, digits, `-`, `_` and inner dots stay,
/// every other byte is `~` and two hexadecimal digits. The empty name is a lone `~`.
fn escape(name: &str) -> String {
    if name.is_empty() {
        return "~".to_owned();
    }
    let mut escaped = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' => escaped.push(byte as char),
            b'.' if at > 0 => escaped.push('.'),
            _ => escaped.extend(['~', digit(byte >> 4), digit(byte & 0xf)]),
        }
    }
    escaped
}

fn digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16).unwrap_or_default()
}

/// The reverse of [`escape`]; `None` for what it never makes.
fn unescape(escaped: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.as_bytes();
    while let Some((&first, more)) = rest.split_first() {
        rest = more;
        if first == b'~' && escaped.len() > 1 {
            let (digits, more) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = more;
        } else if first != b'~' {
            bytes.push(first);
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    (escape(&name) == escaped).then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DRILL: &str = "019aa8f5-7c00-7000-8000-000000000001";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_tells_everything() {
        let id = KeptId::new("orders-nightly", at("2026-11-02T04:05:06.789123Z"), DRILL);
        let (folder, file) = id.path();
        assert_eq!(folder, "reports/v1/orders-nightly/2026/11");
        assert_eq!(file, format!("20261102T040506.789Z-{DRILL}.json"));
        assert_eq!(KeptId::parse("orders-nightly", &file), Some(id));
    }

    #[test]
    fn other_files_are_not_reports() {
        for file in [
            "",
            "x.json",
            ".20261102T040506.789Z-a.json.1.tmp",
            "20261102T040506.789Z-a.json.tmp",
            "20261102T040506.78Z-a.json",
            "20261102T040506.7890Z-a.json",
            "20261302T040506.789Z-a.json",
            "20261102T040506.789Z-a/b.json",
            "20261102T040506.789Z-~.json2",
        ] {
            assert_eq!(KeptId::parse("job", file), None, "{file}");
        }
    }

    #[test]
    fn names_are_escaped() {
        for (name, escaped) in [
            ("a.b-c_D9", "a.b-c_D9"),
            ("..", "~2e."),
            (".hidden", "~2ehidden"),
            ("a/b", "a~2fb"),
            ("~", "~7e"),
            ("ü", "~c3~bc"),
            ("", "~"),
        ] {
            assert_eq!(escape(name), escaped);
            assert_eq!(unescape(escaped).as_deref(), Some(name));
        }
        for never in ["~2F", "~4", "a~", "~zz", "~41", ".", "ü", "~ff"] {
            assert_eq!(unescape(never), None, "{never}");
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back(name in any::<String>()) {
            let escaped = escape(&name);
            prop_assert!(!escaped.contains('/') && !escaped.starts_with('.') && !escaped.is_empty());
            prop_assert_eq!(unescape(&escaped), Some(name));
        }

        #[test]
        fn every_id_comes_back(
            job in any::<String>(),
            millis in 0..4_102_444_800_000_i64,
            drill_id in any::<String>(),
        ) {
            let id = KeptId::new(job.clone(), Timestamp::from_millisecond(millis).unwrap(), drill_id);
            prop_assert_eq!(KeptId::parse(&job, &id.path().1), Some(id));
        }

        #[test]
        fn names_sort_by_time(a in 0..4_102_444_800_000_i64, b in 0..4_102_444_800_000_i64) {
            let file = |millis| {
                let (folder, file) =
                    KeptId::new("j", Timestamp::from_millisecond(millis).unwrap(), "x").path();
                format!("{folder}/{file}")
            };
            prop_assert_eq!(a.cmp(&b), file(a).cmp(&file(b)));
        }
    }
}
