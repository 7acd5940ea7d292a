//! Values that carry their unit, and other small words of a job. Flags use the same readers.

use std::time::Duration;

use jiff::Timestamp;

use super::walker::Complaint;
use crate::{
    drill::job::{
        BackupChoice, Comparison, Depth, EngineKind, Expectation, Target, TargetChoice,
        TargetTimeline,
    },
    pg::{Lsn, TimelineId},
};

type Parsed<T> = Result<T, Complaint>;

/// `15m`, `7d`, `1h30m`: whole numbers with `s`, `m`, `h`, `d` or `w`; never zero.
pub(super) fn duration(text: &str) -> Parsed<Duration> {
    let wrong = || {
        Complaint::new(
            format!("`{}` is not a duration", short(text)),
            "Write a whole number with a unit (`s`, `m`, `h`, `d`, `w`), such as `15m` or `1h30m`.",
        )
    };
    let mut rest = text.trim();
    let (mut seconds, mut last) = (0_u64, u64::MAX);
    while !rest.is_empty() {
        let (number, after) = split_number(rest).ok_or_else(wrong)?;
        let unit: u64 = match after.bytes().next() {
            Some(b's') => 1,
            Some(b'm') => 60,
            Some(b'h') => 3600,
            Some(b'd') => 86_400,
            Some(b'w') => 604_800,
            _ => return Err(wrong()),
        };
        // Each unit once, the longest first: `1m1h` is a slip of the pen.
        if unit >= last {
            return Err(wrong());
        }
        last = unit;
        seconds =
            number.checked_mul(unit).and_then(|s| s.checked_add(seconds)).ok_or_else(wrong)?;
        rest = &after[1..];
    }
    // A century is more than any backup is kept, and keeps sums of times far from their limits.
    if last == u64::MAX || seconds > 100 * 366 * 86_400 {
        return Err(wrong());
    }
    if seconds == 0 {
        return Err(Complaint::new("must be more than zero", "Remove the field for no limit."));
    }
    Ok(Duration::from_secs(seconds))
}

/// `4GiB`, `500MB`: whole numbers of bytes; never zero.
pub(super) fn bytes(text: &str) -> Parsed<u64> {
    size(text.trim()).ok_or_else(|| {
        let hint = match text.trim().strip_suffix(['i', 'b', 'B']).unwrap_or(text.trim()) {
            // Kubernetes writes `4Gi`, PostgreSQL `4GB` and means 4GiB.
            plain if plain.ends_with(['K', 'M', 'G', 'T', 'k', 'm', 'g', 't']) => {
                "Write the unit in full, such as `512MiB` or `4GiB`."
            }
            _ => "Write a whole number with a unit, such as `512MiB` or `4GiB`.",
        };
        Complaint::new(format!("`{}` is not a size", short(text)), hint)
    })
}

/// `200MiB/s`.
pub(super) fn rate(text: &str) -> Parsed<u64> {
    text.trim().strip_suffix("/s").and_then(|bytes| size(bytes.trim_end())).ok_or_else(|| {
        Complaint::new(
            format!("`{}` is not a rate", short(text)),
            "Write bytes a second with their unit, such as `200MiB/s`.",
        )
    })
}

fn size(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text)?;
    let factor: u64 = match unit.trim_start() {
        "B" => 1,
        "kB" => 1000,
        "MB" => 1000_u64.pow(2),
        "GB" => 1000_u64.pow(3),
        "TB" => 1000_u64.pow(4),
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(factor).filter(|bytes| *bytes > 0 && *bytes <= 1 << 60)
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    Some((number.parse().ok()?, rest))
}

/// An instant with a UTC offset, to the microsecond as PostgreSQL keeps it.
pub(super) fn time(text: &str) -> Parsed<Timestamp> {
    let text = text.trim();
    let example = "`2026-11-22T04:00:00Z` or `2026-11-22T05:00:00+01:00`";
    let Ok(instant) = text.parse::<Timestamp>() else {
        if text.parse::<jiff::civil::DateTime>().is_ok() {
            return Err(Complaint::new(
                format!("`{}` has no UTC offset, so it names no instant", short(text)),
                format!("Write the offset too, such as {example}."),
            ));
        }
        let message = format!("`{}` is not a time", short(text));
        return Err(Complaint::new(
            message,
            format!("Write a date, a time and a UTC offset, such as {example}."),
        ));
    };
    if instant.subsec_nanosecond() % 1000 != 0 {
        return Err(Complaint::new(
            format!("`{}` is finer than PostgreSQL's clock", short(text)),
            "Write six digits after the second at most.",
        ));
    }
    Ok(instant)
}

pub(super) fn lsn(text: &str) -> Parsed<Lsn> {
    match text.trim().parse::<Lsn>() {
        Ok(lsn) if lsn != Lsn::INVALID => Ok(lsn),
        _ => Err(Complaint::new(
            format!("`{}` is not an LSN", short(text)),
            "Write it as `pg_current_wal_lsn()` shows it, such as `16/B374D848`.",
        )),
    }
}

/// A transaction id. The first three are reserved (`access/transam.h`).
pub(super) fn xid(text: &str) -> Parsed<u32> {
    let wrong = || {
        Complaint::new(
            format!("`{}` is not a transaction id", short(text)),
            "Write a number from 3 to 4294967295, without the epoch.",
        )
    };
    let text = text.trim();
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    text.parse().ok().filter(|xid| *xid >= 3).ok_or_else(wrong)
}

/// The name of a restore point: `recovery_target_name` takes at most 63 bytes (`MAXFNAMELEN`).
pub(super) fn restore_point(text: &str) -> Parsed<String> {
    if text.trim().is_empty() || text.len() > 63 || text.chars().any(char::is_control) {
        return Err(Complaint::new(
            format!("`{}` is not the name of a restore point", short(text)),
            "Write the name given to `pg_create_restore_point`, at most 63 bytes.",
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn timeline(text: &str) -> Parsed<TargetTimeline> {
    match text.trim() {
        "latest" => Ok(TargetTimeline::Latest),
        "current" => Ok(TargetTimeline::Current),
        number => match number.parse::<u32>() {
            Ok(id) if id > 0 && number.bytes().all(|b| b.is_ascii_digit()) => {
                Ok(TargetTimeline::Id(TimelineId(id)))
            }
            _ => Err(Complaint::new(
                format!("`{}` is not a timeline", short(text)),
                "Write `latest`, `current` or a timeline's number in decimal.",
            )),
        },
    }
}

/// The words of `target`; kinds with a value are fields of their own.
pub(super) fn target_word(text: &str) -> Parsed<TargetChoice> {
    match text.trim() {
        "latest" => Ok(TargetChoice::Given(Target::Latest)),
        "immediate" => Ok(TargetChoice::Given(Target::Immediate)),
        "random" => Ok(TargetChoice::Random),
        _ => Err(Complaint::new(
            format!("`{}` is not a target", short(text)),
            "Write `latest`, `immediate`, `random`, or one of `{time: …}`, `{lsn: …}`, `{xid: …}`, `{name: …}`.",
        )),
    }
}

/// A word such as `latest`, or a backup's id (`barman`: local time as `%Y%m%dT%H%M%S`).
pub(super) fn backup(text: &str) -> Parsed<BackupChoice> {
    let text = text.trim();
    match text {
        "latest" => return Ok(BackupChoice::Latest),
        "random" => return Ok(BackupChoice::Random),
        "worstCase" => return Ok(BackupChoice::WorstCase),
        "retentionEdge" => return Ok(BackupChoice::RetentionEdge),
        "leastRecentlyVerified" => return Ok(BackupChoice::LeastRecentlyVerified),
        _ => {}
    }
    let digits = |range: std::ops::Range<usize>| {
        text.get(range).is_some_and(|part| part.bytes().all(|b| b.is_ascii_digit()))
    };
    if text.len() == 15 && text.as_bytes()[8] == b'T' && digits(0..8) && digits(9..15) {
        return Ok(BackupChoice::Id(text.to_owned()));
    }
    Err(Complaint::new(
        format!("`{}` is not a choice of backup", short(text)),
        "Write `latest`, `random`, `worstCase`, `retentionEdge`, `leastRecentlyVerified` or a backup's id, \
         such as `20261122T040000`.",
    ))
}

pub(super) fn engine(text: &str) -> Parsed<EngineKind> {
    let hint = "Write `native` or remove the field.";
    match text.trim() {
        "native" => Ok(EngineKind::Native),
        word @ ("barman-cloud" | "cnpg") => Err(not_available(word, hint)),
        other => Err(Complaint::new(format!("`{}` is not an engine", short(other)), hint)),
    }
}

pub(super) fn depth(text: &str) -> Parsed<Depth> {
    let hint = "Write `catalog`, `read`, `restore` or `deep`.";
    match text.trim() {
        "catalog" => Ok(Depth::Catalog),
        "read" => Ok(Depth::Read),
        "restore" => Ok(Depth::Restore),
        "deep" => Ok(Depth::Deep),
        other => Err(Complaint::new(format!("`{}` is not a depth", short(other)), hint)),
    }
}

/// `>= 1000`: one of `= != < <= > >=` and a literal, kept as written.
pub(super) fn expectation(text: &str) -> Parsed<Expectation> {
    let trimmed = text.trim();
    let operators = [
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("=", Comparison::Equal),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ];
    let hint = "Write one of `=`, `!=`, `<`, `<=`, `>`, `>=` and a value, such as `\">= 1000\"`.";
    let found = operators
        .into_iter()
        .find_map(|(sign, operator)| Some((operator, trimmed.strip_prefix(sign)?.trim())));
    match found {
        Some((_, "")) => {
            Err(Complaint::new(format!("`{}` compares with nothing", short(trimmed)), hint))
        }
        Some((_, literal)) if literal.starts_with(['=', '<', '>', '!']) => {
            Err(Complaint::new(format!("`{}` has no known comparison", short(trimmed)), hint))
        }
        Some((operator, literal)) => Ok(Expectation { operator, literal: literal.to_owned() }),
        None => Err(Complaint::new(
            format!("`{}` does not begin with a comparison", short(trimmed)),
            hint,
        )),
    }
}

/// A name that is also a metric label and a file's name: as Kubernetes names its resources.
pub(super) fn resource_name(text: &str) -> Parsed<String> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let valid = text.len() <= 63
        && text.bytes().all(|b| inner(b) || matches!(b, b'-' | b'.'))
        && text.bytes().next().is_some_and(inner)
        && text.bytes().last().is_some_and(inner);
    if valid {
        return Ok(text.to_owned());
    }
    Err(Complaint::new(
        format!("`{}` is not a name", short(text)),
        "Use lower-case letters, digits, `-` and `.`, at most 63, a letter or digit at both ends.",
    ))
}

/// The problem of something that the job format knows and this version does not.
pub(super) fn not_available(word: &str, hint: &str) -> Complaint {
    Complaint::new(format!("`{}` is not available in this version", short(word)), hint)
}

/// A value for a message: one line, not endless.
pub(super) fn short(text: &str) -> String {
    let mut shown: String = text.trim().chars().filter(|c| !c.is_control()).take(60).collect();
    if text.trim().chars().count() > 60 {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let seconds = |text| duration(text).map(|d| d.as_secs()).ok();
        assert_eq!(seconds("15m"), Some(900));
        assert_eq!(seconds("7d"), Some(604_800));
        assert_eq!(seconds("1h30m"), Some(5400));
        assert_eq!(seconds("2w"), Some(1_209_600));
        for bad in [
            "",
            "15",
            "m",
            "0s",
            "1m1h",
            "1m1m",
            "1.5h",
            "-1h",
            "15 m",
            "999999999999w",
            "1y",
            "1µ",
        ] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_and_rates() {
        assert_eq!(bytes("4GiB").ok(), Some(4 << 30));
        assert_eq!(bytes("500 MB").ok(), Some(500_000_000));
        assert_eq!(rate("200MiB/s").ok(), Some(200 << 20));
        for bad in ["", "4", "4G", "4Gi", "0GiB", "-1GiB", "1.5GiB", "99999999TiB", "4gib"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        for bad in ["200MiB", "200", "200MiB/m", "/s"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_need_an_offset() {
        let utc: Timestamp = "2026-11-22T04:00:00Z".parse().unwrap();
        for same in
            ["2026-11-22T04:00:00Z", "2026-11-22 05:00:00+01", "2026-11-22T05:00:00.000+01:00"]
        {
            assert_eq!(time(same).ok(), Some(utc), "{same}");
        }
        let naive = time("2026-11-22T04:00:00").unwrap_err();
        assert!(naive.message.contains("no UTC offset"), "{naive:?}");
        assert!(time("2026-11-22").unwrap_err().message.contains("no UTC offset"));
        assert!(time("yesterday").is_err());
        assert!(time("2026-11-22T04:00:00.0000001Z").is_err());
    }

    #[test]
    fn expectations() {
        let read = |text| expectation(text).ok().map(|e| (e.operator, e.literal));
        assert_eq!(read(">= 1000"), Some((Comparison::GreaterOrEqual, "1000".into())));
        assert_eq!(read("=open"), Some((Comparison::Equal, "open".into())));
        assert_eq!(read("!= 'a b'"), Some((Comparison::NotEqual, "'a b'".into())));
        for bad in ["1000", "", ">=", "<> 1", "== 1", "> = 1", "~ x"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn small_words() {
        assert_eq!(xid("4294967295").ok(), Some(u32::MAX));
        assert!(["2", "4294967296", "+5", "", "0x10"].iter().all(|bad| xid(bad).is_err()));
        assert_eq!(timeline("7").ok(), Some(TargetTimeline::Id(TimelineId(7))));
        assert!(["0", "+1", "", "newest"].iter().all(|bad| timeline(bad).is_err()));
        assert_eq!(
            backup("20261122T040000").ok(),
            Some(BackupChoice::Id("20261122T040000".into()))
        );
        assert!(["lates", "20261122", "20261122T04000ü"].iter().all(|bad| backup(bad).is_err()));
        assert!(lsn("0/0").is_err() && lsn("0/3000060").is_ok());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in ".*") {
            let _ = (duration(&text), bytes(&text), rate(&text), time(&text), lsn(&text));
            let _ = (xid(&text), backup(&text), timeline(&text), expectation(&text));
        }
    }
}
