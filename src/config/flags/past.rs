//! Flags that look back: a store of reports and spans of time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

use super::{ArchiveFlags, Reader, s3};
use crate::{
    config::{Problems, archive::location, url, value, walker::Complaint},
    drill::job::{S3Spec, StoreLocation, StoreScheme},
};

/// The stores of `--store`, reached as the flags for S3 say.
///
/// # Errors
/// Every flag that is wrong.
pub fn report_stores(
    urls: &[String],
    flags: &ArchiveFlags,
) -> Result<Vec<StoreLocation>, Problems> {
    let reader = Reader::default();
    let s3 = s3(flags, &reader);
    let stores = urls.iter().filter_map(|text| {
        let url = reader.optional("--store", Some(text), url::store)?;
        let s3 = if url.scheme == StoreScheme::S3 { s3.clone() } else { S3Spec::default() };
        Some(location(url, s3))
    });
    let stores = stores.collect();
    reader.finish().map(|()| stores)
}

/// The flags that bound a span of time, as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpanFlags {
    pub since: Option<String>,
    pub until: Option<String>,
    pub older_than: Option<String>,
}

/// A span of time, and an age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub older_than: Option<Duration>,
}

impl SpanFlags {
    /// # Errors
    /// Every flag that is wrong, also a span that ends before it begins.
    pub fn read(&self, now: Timestamp) -> Result<Span, Problems> {
        let reader = Reader::default();
        let point = |flag: &str, text: &Option<String>| {
            reader.optional(flag, text.as_deref(), |text| point(text, now))
        };
        let span = Span {
            since: point("--since", &self.since),
            until: point("--until", &self.until),
            older_than: reader.optional(
                "--older-than",
                self.older_than.as_deref(),
                value::duration,
            ),
        };
        if let (Some(since), Some(until)) = (span.since, span.until)
            && since >= until
        {
            let message = format!("`--since`, {since}, is not before `--until`, {until}");
            reader.complain("--until", Complaint::new(message, "Exchange them."));
        }
        reader.finish().map(|()| span)
    }
}

/// A time with its UTC offset, a date (its midnight in UTC), or a time before now such as `30d`.
fn point(text: &str, now: Timestamp) -> Result<Timestamp, Complaint> {
    let text = text.trim();
    if let Ok(ago) = value::duration(text) {
        let ago = SignedDuration::try_from(ago).unwrap_or(SignedDuration::MAX);
        return Ok(now.checked_sub(ago).unwrap_or(Timestamp::MIN));
    }
    let is_date = text.len() == 10;
    if let (true, Ok(date)) = (is_date, text.parse::<Date>()) {
        let midnight = TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0));
        return midnight.map_err(|_| not_a_point(text));
    }
    match value::time(text) {
        Err(_) if !text.contains([':', 'T']) => Err(not_a_point(text)),
        read => read,
    }
}

fn not_a_point(text: &str) -> Complaint {
    Complaint::new(
        format!("`{}` is neither a time nor a duration", value::short(text)),
        "Write `30d` for thirty days ago, a date such as `2026-11-22`, or a time with its UTC offset \
         such as `2026-11-22T04:00:00Z`.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(since: &str, until: Option<&str>) -> Result<Span, Problems> {
        let flags = SpanFlags {
            since: Some(since.to_owned()),
            until: until.map(str::to_owned),
            older_than: None,
        };
        flags.read("2026-11-22T04:00:00Z".parse().unwrap())
    }

    #[test]
    fn points_in_time() {
        for (text, point) in [
            ("30d", "2026-10-23T04:00:00Z"),
            ("1h30m", "2026-11-22T02:30:00Z"),
            ("2026-02-28", "2026-02-28T00:00:00Z"),
            ("2026-02-28T05:00:00+01:00", "2026-02-28T04:00:00Z"),
        ] {
            let span = read(text, None).unwrap();
            assert_eq!(span.since.unwrap().to_string(), point, "{text}");
        }
        for wrong in ["", "yesterday", "2026-02-30", "2026-02-28T05:00:00", "30", "-1d"] {
            assert!(read(wrong, None).is_err(), "{wrong}");
        }
        assert!(read("1d", Some("2d")).unwrap_err().to_string().contains("not before"));
        assert!(read("2d", Some("1d")).is_ok());
    }

    #[test]
    fn stores_take_the_flags_of_s3() {
        let flags = ArchiveFlags {
            endpoint: Some("https://s3.example.net".to_owned()),
            ..ArchiveFlags::default()
        };
        let urls = ["s3://reports/all".to_owned(), "file:///var/lib/reports".to_owned()];
        let stores = report_stores(&urls, &flags).unwrap();
        assert_eq!(stores[0].url(), "s3://reports/all");
        assert_eq!(stores[0].s3.endpoint.as_deref(), Some("https://s3.example.net"));
        assert!(stores[0].s3.path_style);
        assert_eq!(
            (stores[1].url().as_str(), &stores[1].s3),
            ("file:///var/lib/reports", &S3Spec::default())
        );
        let wrong =
            report_stores(&["gs://b".to_owned(), "reports".to_owned()], &flags).unwrap_err();
        assert_eq!(wrong.problems.len(), 2);
    }
}
