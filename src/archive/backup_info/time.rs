//! Times as Barman has written them over the years.

use jiff::{Timestamp, civil::DateTime, fmt::strtime, tz::TimeZone};

/// The moment, and whether the text said in which zone; without one it is read as UTC.
///
/// `2026-11-22 19:00:00.123456+00:00` (also with a `T`, without a fraction), and the `ctime` text of
/// old files, `Sun Nov 22 19:00:00 2026`.
pub(super) fn parse(text: &str) -> Option<(Timestamp, bool)> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some((at, true));
    }
    let civil: DateTime = match text.parse() {
        Ok(civil) => civil,
        Err(_) => strtime::parse("%a %b %e %H:%M:%S %Y", text).ok()?.to_datetime().ok()?,
    };
    Some((civil.to_zoned(TimeZone::UTC).ok()?.timestamp(), false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        let at: Timestamp = "2026-11-02T19:00:00Z".parse().unwrap();
        for (text, zoned) in [
            ("2026-11-02 19:00:00+00:00", true),
            ("2026-11-02T20:00:00.000000+01:00", true),
            ("2026-11-02 14:30:00-04:30", true),
            ("2026-11-02 19:00:00Z", true),
            ("2026-11-02 19:00:00", false),
            ("2026-11-02T19:00:00.000000", false),
            ("Mon Nov  2 19:00:00 2026", false),
            ("Mon Nov 2 19:00:00 2026", false),
        ] {
            assert_eq!(parse(text), Some((at, zoned)), "{text}");
        }
        for text in
            ["", "yesterday", "2026-13-01 00:00:00", "2026-11-02", "Mon Nov 32 19:00:00 2026"]
        {
            assert!(!matches!(parse(text), Some((_, true))), "{text}");
        }
        assert_eq!(parse("yesterday"), None);
    }
}
