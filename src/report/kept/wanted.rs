//! Which reports a listing is asked for.

use jiff::{Timestamp, tz::TimeZone};

use super::KeptId;

/// A question to a listing. The default is every report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Names of jobs; none means all.
    pub jobs: Vec<String>,
    /// From then on.
    pub since: Option<Timestamp>,
    /// Before then.
    pub until: Option<Timestamp>,
    /// The newest so many of each job.
    pub each: Option<usize>,
    /// The newest so many of all.
    pub limit: Option<usize>,
}

impl Wanted {
    /// Every report of one job.
    pub fn job(name: impl Into<String>) -> Self {
        Self { jobs: vec![name.into()], ..Self::default() }
    }

    /// The newest `limit` reports of all jobs.
    #[must_use]
    pub fn newest(limit: usize) -> Self {
        Self::default().limit(limit)
    }

    /// No more than that.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    pub(super) fn has(&self, id: &KeptId) -> bool {
        self.since.is_none_or(|since| id.at() >= since)
            && self.until.is_none_or(|until| id.at() < until)
    }

    /// Whether a month may hold what is asked for.
    pub(super) fn may_be_in(&self, month: Month) -> bool {
        self.since.is_none_or(|since| month >= Month::of(since))
            && self.until.is_none_or(|until| month <= Month::of(until))
    }

    /// Whether a year may.
    pub(super) fn may_be_in_year(&self, year: i16) -> bool {
        self.since.is_none_or(|since| year >= Month::of(since).year)
            && self.until.is_none_or(|until| year <= Month::of(until).year)
    }
}

/// A month in UTC, as folders are named by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Month {
    pub year: i16,
    pub month: i8,
}

impl Month {
    pub fn of(at: Timestamp) -> Self {
        let at = at.to_zoned(TimeZone::UTC);
        Self { year: at.year(), month: at.month() }
    }

    /// From the names of two folders; `None` for what is not ours.
    pub fn parse(year: i16, month: &str) -> Option<Self> {
        Some(Self {
            year,
            month: number(month, 2)?.try_into().ok().filter(|m| (1..=12).contains(m))?,
        })
    }

    /// Below the folder of a job.
    pub fn path(self) -> String {
        format!("{:04}/{:02}", self.year, self.month)
    }
}

/// A folder's name of exactly so many digits.
pub(super) fn number(name: &str, digits: usize) -> Option<i16> {
    let plain = name.len() == digits && name.bytes().all(|sign| sign.is_ascii_digit());
    plain.then(|| name.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn only_months_that_matter() {
        let wanted = Wanted {
            since: Some(at("2026-03-31T23:59:59Z")),
            until: Some(at("2026-05-01T00:00:00Z")),
            ..Wanted::default()
        };
        let in_month = |month: &str| wanted.may_be_in(Month::parse(2026, month).unwrap());
        assert_eq!(["02", "03", "04", "05", "06"].map(in_month), [false, true, true, true, false]);
        assert_eq!([2025, 2026, 2027].map(|y| wanted.may_be_in_year(y)), [false, true, false]);
        let has = |time: &str| wanted.has(&KeptId::new("j", at(time), "d"));
        assert!(has("2026-03-31T23:59:59Z") && has("2026-04-30T23:59:59.999Z"));
        assert!(!has("2026-03-31T23:59:58.999Z") && !has("2026-05-01T00:00:00Z"));
        assert!(Wanted::default().may_be_in(Month { year: 1, month: 1 }));
    }

    #[test]
    fn folders_of_others_are_no_months() {
        for month in ["1", "00", "13", "1a", "+1", "012", ""] {
            assert_eq!(Month::parse(2026, month), None, "{month}");
        }
        assert_eq!(number("202", 4), None);
        assert_eq!(Month::parse(2026, "09").unwrap().path(), "2026/09");
    }
}
