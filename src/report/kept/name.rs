//! Names of kept reports: what a listing shows without reading a report.

use std::fmt;

use jiff::{Timestamp, civil, tz::TimeZone};

use super::ROOT;

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

    /// The folder below the root of the store.
    pub(in crate::report) fn folder(&self) -> String {
        let at = self.at.to_zoned(TimeZone::UTC);
        format!("{}/{:04}/{:02}", folder(&self.job), at.year(), at.month())
    }

    /// The file in its folder: unique in the job, and files sort by time.
    pub(in crate::report) fn file(&self) -> String {
        let at = self.at.to_zoned(TimeZone::UTC);
        format!(
            "{:04}{:02}{:02}T{:02}{:02}{:02}.{:03}Z-{}.json",
            at.year(),
            at.month(),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.millisecond(),
            escape(&self.drill_id)
        )
    }

    /// The file of its evidence, beside it: no listing takes it for a report.
    pub(in crate::report) fn evidence_file(&self) -> String {
        let file = self.file();
        format!("{}.dsse", file.strip_suffix(".json").unwrap_or(&file))
    }

    /// What it is called in evidence: its path below the root of the store.
    pub(in crate::report) fn path(&self) -> String {
        format!("{}/{}", self.folder(), self.file())
    }

    /// From a job's name and a file's name, or `None` for a file that is not ours. Only the one way of
    /// writing an id is ours: two names for one report must not be.
    pub(in crate::report) fn parse(job: &str, file: &str) -> Option<Self> {
        let (time, id) = file.strip_suffix(".json")?.split_at_checked(20)?;
        let id = id.strip_prefix('-')?;
        // `20261102T040506.789Z`; by hand, since there may be a hundred thousand names.
        let signs = time.as_bytes();
        if (signs[8], signs[15], signs[19]) != (b'T', b'.', b'Z') {
            return None;
        }
        let number = |from: usize, to: usize| {
            signs[from..to].iter().try_fold(0_i32, |number, sign| {
                sign.is_ascii_digit().then(|| number * 10 + i32::from(sign - b'0'))
            })
        };
        let small = |from: usize| i8::try_from(number(from, from + 2)?).ok();
        let at = civil::DateTime::new(
            i16::try_from(number(0, 4)?).ok()?,
            small(4)?,
            small(6)?,
            small(9)?,
            small(11)?,
            small(13)?,
            number(16, 19)? * 1_000_000,
        );
        let at = TimeZone::UTC.to_timestamp(at.ok()?).ok()?;
        Some(Self { at, job: job.to_owned(), drill_id: unescape(id)? })
    }
}

impl fmt::Display for KeptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of job `{}` at {}", self.drill_id, self.job, self.at)
    }
}

/// The folder of a job's reports.
pub(super) fn folder(job: &str) -> String {
    format!("{ROOT}/{}", escape(job))
}

/// A name that is one level of a path on every store: letters, digits, `-`, `_` and inner dots stay,
/// every other byte is `~` and two hexadecimal digits. The empty name is a lone `~`.
pub(in crate::report) fn escape(name: &str) -> String {
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
pub(super) fn unescape(escaped: &str) -> Option<String> {
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
        let (folder, file) = (id.folder(), id.file());
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
            "2026110 T040506.789Z-a.json",
            "20261102t040506.789Z-a.json",
            "20261102T040506,789Z-a.json",
            "20261102T040560.789Z-a.json",
            "20261102T040506.789Z_a.json",
            "20261102T040506.789Ü-a.json",
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
            prop_assert_eq!(KeptId::parse(&job, &id.file()), Some(id));
        }

        #[test]
        fn names_sort_by_time(a in 0..4_102_444_800_000_i64, b in 0..4_102_444_800_000_i64) {
            let file = |millis| {
                let id = KeptId::new("j", Timestamp::from_millisecond(millis).unwrap(), "x");
                format!("{}/{}", id.folder(), id.file())
            };
            prop_assert_eq!(a.cmp(&b), file(a).cmp(&file(b)));
        }
    }
}
