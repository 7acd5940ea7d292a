//! The PostgreSQL majors that pgassay knows.

use std::fmt;

/// A supported PostgreSQL major version.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(into = "u32", try_from = "u32")]
pub enum Major {
    V14,
    V15,
    V16,
    V17,
    V18,
}

impl Major {
    /// Every supported major, oldest first.
    pub const ALL: [Self; 5] = [Self::V14, Self::V15, Self::V16, Self::V17, Self::V18];

    /// The major as a number, such as 17.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::V14 => 14,
            Self::V15 => 15,
            Self::V16 => 16,
            Self::V17 => 17,
            Self::V18 => 18,
        }
    }

    /// The major of that number, if it is supported.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|major| major.number() == number)
    }

    /// From `server_version_num` (`PG_VERSION_NUM`), such as 150018.
    #[must_use]
    pub fn from_version_num(version_num: u32) -> Option<Self> {
        Self::from_number(version_num / 10_000)
    }

    /// `XLOG_PAGE_MAGIC` (`access/xlog_internal.h`) of this major's WAL pages.
    #[must_use]
    pub const fn wal_page_magic(self) -> u16 {
        match self {
            Self::V14 => 0xD10D,
            Self::V15 => 0xD110,
            Self::V16 => 0xD113,
            Self::V17 => 0xD116,
            Self::V18 => 0xD118,
        }
    }
}

impl TryFrom<u32> for Major {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, String> {
        Self::from_number(number).ok_or_else(|| format!("PostgreSQL {number} is not known"))
    }
}

impl From<Major> for u32 {
    fn from(major: Major) -> Self {
        major.number()
    }
}

impl fmt::Display for Major {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
    }
}
