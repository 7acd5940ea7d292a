//! Time zones, cut into pieces between two changes of the clock.

use jiff::{
    Timestamp,
    tz::{Offset, TimeZone},
};

use super::refusal::{Refusal, short};

/// A zone of the IANA time zone database: the system's, and where there is none the one built in.
#[derive(Clone, Debug)]
pub struct Zone {
    rules: TimeZone,
    name: String,
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

/// A stretch of constant offset. All numbers are seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Of Unix time: the first, and the first after it.
    pub start: i64,
    pub end: i64,
    /// What is added to Unix time for a local second.
    pub offset: i64,
    /// Local seconds below this have been before the piece begins. Above the piece's first local second
    /// the clock was put back and repeats what is between; below it, it was put forward and skips it.
    pub seen: i64,
}

impl Piece {
    /// Its first local second.
    pub(super) const fn opens(&self) -> i64 {
        self.start + self.offset
    }

    /// The local second after its last.
    pub(super) const fn closes(&self) -> i64 {
        self.end + self.offset
    }
}

impl Zone {
    /// # Errors
    /// The database has no zone of that name.
    pub fn named(name: &str) -> Result<Self, Refusal> {
        let name = name.trim();
        let part = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphabetic())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-+".contains(&b))
        };
        let refusal = || {
            Refusal::new(
                format!("`{}` is not a time zone", short(name)),
                "Write a name of the IANA database, such as `Europe/Berlin` or `UTC`.",
            )
        };
        if !name.split('/').all(part) {
            return Err(refusal());
        }
        let rules = TimeZone::get(name).map_err(|_| refusal())?;
        let name = rules.iana_name().unwrap_or(name).to_owned();
        Ok(Self { rules, name })
    }

    #[must_use]
    pub fn utc() -> Self {
        Self { rules: TimeZone::UTC, name: "UTC".to_owned() }
    }

    /// As the database spells it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the zone's clocks are ahead of UTC.
    #[must_use]
    pub fn offset_at(&self, instant: Timestamp) -> Offset {
        self.rules.to_offset(instant)
    }

    /// Whether its clocks are never changed again.
    #[must_use]
    pub fn is_fixed_after(&self, instant: Timestamp) -> bool {
        let offset = self.offset_at(instant);
        // Changes of the name alone are in the database, too.
        self.rules.following(instant).take(8).all(|change| change.offset() == offset)
    }

    fn seconds_ahead(&self, second: i64) -> i64 {
        self.rules.to_offset(instant(second)).seconds().into()
    }

    /// The piece that holds a second of Unix time.
    pub(super) fn piece(&self, second: i64) -> Piece {
        let at = instant(second);
        let offset = self.rules.to_offset(at).seconds().into();
        let end = self.rules.following(at).next();
        let end = end.map_or(Timestamp::MAX.as_second(), |t| t.timestamp().as_second());
        // `preceding` leaves out what is at the instant itself.
        let start = self.rules.preceding(instant(second + 1)).next();
        let Some(start) = start.map(|t| t.timestamp().as_second()) else {
            let start = Timestamp::MIN.as_second();
            return Piece { start, end, offset, seen: start + offset };
        };
        // No two changes of the database lie within three days of each other, so the one before matters
        // no more.
        Piece { start, end, offset, seen: start + self.seconds_ahead(start - 1) }
    }
}

/// A second of Unix time, kept within what the library can say.
pub(super) fn instant(second: i64) -> Timestamp {
    let second = second.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}
