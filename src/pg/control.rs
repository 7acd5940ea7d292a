//! `global/pg_control` (`ControlFileData`, `catalog/pg_control.h`), majors 14 to 18.
//!
//! Format 1300 (14 to 16), 1700 and 1800 share every offset used here but that of the checksum: 1700
//! put `wal_level` into padding of the checkpoint, 1800 put a byte before the nonce.

use std::fmt;

use super::{Lsn, Major, SegmentSize, TimelineId};

/// Length of the file (`PG_CONTROL_FILE_SIZE`); what follows the checksum is zeros.
pub const CONTROL_FILE_SIZE: usize = 8192;

/// Bytes that PostgreSQL reads of it (`sizeof(ControlFileData)`), padding after the checksum counted.
const CONTENT: usize = 296;

/// `FLOATFORMAT_VALUE`.
const FLOAT_FORMAT: f64 = 1_234_567.0;

/// `CATALOG_VERSION_NO` of the releases of each major (`catalog/catversion.h`); it never changes
/// after a major's first release.
const CATALOG_VERSIONS: [(u32, Major); 5] = [
    (202_107_181, Major::V14),
    (202_209_061, Major::V15),
    (202_307_071, Major::V16),
    (202_406_281, Major::V17),
    (202_506_291, Major::V18),
];

/// What state the cluster was in when the file was written (`DBState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DbState {
    Startup,
    ShutDown,
    ShutDownInRecovery,
    ShuttingDown,
    CrashRecovery,
    ArchiveRecovery,
    Production,
}

impl DbState {
    const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Startup,
            1 => Self::ShutDown,
            2 => Self::ShutDownInRecovery,
            3 => Self::ShuttingDown,
            4 => Self::CrashRecovery,
            5 => Self::ArchiveRecovery,
            6 => Self::Production,
            _ => return None,
        })
    }
}

impl fmt::Display for DbState {
    /// The words of `pg_controldata`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Startup => "starting up",
            Self::ShutDown => "shut down",
            Self::ShutDownInRecovery => "shut down in recovery",
            Self::ShuttingDown => "shutting down",
            Self::CrashRecovery => "in crash recovery",
            Self::ArchiveRecovery => "in archive recovery",
            Self::Production => "in production",
        })
    }
}

/// The setting `wal_level` (`WalLevel`, `access/xlog.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WalLevel {
    Minimal,
    Replica,
    Logical,
}

impl WalLevel {
    /// From the number in `pg_control` and in parameter-change records.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Minimal),
            1 => Some(Self::Replica),
            2 => Some(Self::Logical),
            _ => None,
        }
    }
}

impl fmt::Display for WalLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Minimal => "minimal",
            Self::Replica => "replica",
            Self::Logical => "logical",
        })
    }
}

/// The copy of the last checkpoint record (`CheckPoint`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckPoint {
    /// Where replay from this checkpoint begins.
    pub redo: Lsn,
    pub timeline: TimelineId,
    /// The one before, if the checkpoint began a timeline; else the same.
    pub previous_timeline: TimelineId,
    pub full_page_writes: bool,
    /// Epoch in the upper half, next transaction id in the lower.
    pub next_xid: u64,
    pub next_oid: u32,
    pub next_multi: u32,
    pub next_multi_offset: u32,
    pub oldest_xid: u32,
    pub oldest_xid_database: u32,
    /// Seconds since 1970.
    pub time: i64,
    pub oldest_active_xid: u32,
}

/// The fields of `pg_control` that recovery and verification need.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ControlFile {
    pub system_identifier: u64,
    /// `PG_CONTROL_VERSION`: 1300, 1700 or 1800.
    pub pg_control_version: u32,
    /// `CATALOG_VERSION_NO`: also part of a tablespace's folder name.
    pub catalog_version: u32,
    pub state: DbState,
    /// When the file was written, in seconds since 1970.
    pub time: i64,
    /// Position of the last checkpoint record.
    pub checkpoint: Lsn,
    pub checkpoint_copy: CheckPoint,
    /// Zero unless in archive recovery.
    pub min_recovery_point: Lsn,
    pub min_recovery_timeline: TimelineId,
    pub backup_start_point: Lsn,
    pub backup_end_point: Lsn,
    pub backup_end_required: bool,
    pub wal_level: WalLevel,
    pub wal_log_hints: bool,
    pub max_connections: u32,
    pub max_worker_processes: u32,
    pub max_wal_senders: u32,
    pub max_prepared_transactions: u32,
    pub max_locks_per_transaction: u32,
    pub track_commit_timestamp: bool,
    /// Alignment of tuples (`MAXIMUM_ALIGNOF`): 8, always.
    pub max_align: u32,
    /// Bytes of a data page (`BLCKSZ`).
    pub block_size: u32,
    /// Blocks of a relation file (`RELSEG_SIZE`).
    pub relation_segment_blocks: u32,
    /// Bytes of a WAL page (`XLOG_BLCKSZ`).
    pub wal_block_size: u32,
    pub wal_segment_size: SegmentSize,
    /// Version of the page checksums, 0 for none.
    pub data_checksum_version: u32,
}

/// Why a `pg_control` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    #[error("the file has {0} bytes, too few for `pg_control`")]
    TooShort(usize),
    #[error("the file was written on a machine with the other byte order")]
    ForeignByteOrder,
    #[error("format {0} of `pg_control` is not that of PostgreSQL 14 to 18")]
    UnknownVersion(u32),
    #[error("the stored CRC is {stored:08X}, the content's is {computed:08X}")]
    BadCrc { stored: u32, computed: u32 },
    #[error("the file was written on a machine with other alignment or floating point numbers")]
    ForeignMachine,
    #[error("`{field}` is {value}, which PostgreSQL never writes")]
    OutOfRange { field: &'static str, value: u64 },
}

/// Little-endian numbers at fixed offsets, on bytes whose length was checked.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        if let Some(source) = self.0.get(at..at + N) {
            out.copy_from_slice(source);
        }
        out
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }

    fn i64(&self, at: usize) -> i64 {
        i64::from_le_bytes(self.array(at))
    }

    fn bool(&self, at: usize) -> bool {
        self.array::<1>(at) != [0]
    }

    fn lsn(&self, at: usize) -> Lsn {
        Lsn(self.u64(at))
    }

    fn timeline(&self, at: usize) -> TimelineId {
        TimelineId(self.u32(at))
    }
}

impl ControlFile {
    /// Reads the bytes of `global/pg_control`; the zeros that fill the file up may be missing.
    ///
    /// # Errors
    /// A [`ControlError`] says what PostgreSQL would refuse. The CRC is verified before any other
    /// field is believed.
    pub fn parse(bytes: &[u8]) -> Result<Self, ControlError> {
        let f = Fields(bytes);
        if bytes.len() < 16 {
            return Err(ControlError::TooShort(bytes.len()));
        }
        let pg_control_version = f.u32(8);
        let crc_at = match pg_control_version {
            1300 | 1700 => 288,
            1800 => 292,
            other if matches!(other.swap_bytes(), 1300 | 1700 | 1800) => {
                return Err(ControlError::ForeignByteOrder);
            }
            other => return Err(ControlError::UnknownVersion(other)),
        };
        let Some(covered) = bytes.get(..crc_at).filter(|_| bytes.len() >= CONTENT) else {
            return Err(ControlError::TooShort(bytes.len()));
        };
        let (stored, computed) = (f.u32(crc_at), crc32c::crc32c(covered));
        if stored != computed {
            return Err(ControlError::BadCrc { stored, computed });
        }
        let max_align = f.u32(204);
        if max_align != 8 || f.u64(208) != FLOAT_FORMAT.to_bits() {
            return Err(ControlError::ForeignMachine);
        }
        let state = f.u32(16);
        let wal_level = f.u32(172);
        let wal_segment_size = f.u32(228);
        let out = |field, value: u32| ControlError::OutOfRange { field, value: u64::from(value) };
        let power_of_two = |field, value: u32, low: u32, high: u32| {
            let fits = value.is_power_of_two() && (low..=high).contains(&value);
            if fits { Ok(value) } else { Err(out(field, value)) }
        };
        Ok(Self {
            system_identifier: f.u64(0),
            pg_control_version,
            catalog_version: f.u32(12),
            state: DbState::from_number(state).ok_or_else(|| out("state", state))?,
            time: f.i64(24),
            checkpoint: f.lsn(32),
            checkpoint_copy: CheckPoint {
                redo: f.lsn(40),
                timeline: f.timeline(48),
                previous_timeline: f.timeline(52),
                full_page_writes: f.bool(56),
                next_xid: f.u64(64),
                next_oid: f.u32(72),
                next_multi: f.u32(76),
                next_multi_offset: f.u32(80),
                oldest_xid: f.u32(84),
                oldest_xid_database: f.u32(88),
                time: f.i64(104),
                oldest_active_xid: f.u32(120),
            },
            min_recovery_point: f.lsn(136),
            min_recovery_timeline: f.timeline(144),
            backup_start_point: f.lsn(152),
            backup_end_point: f.lsn(160),
            backup_end_required: f.bool(168),
            wal_level: WalLevel::from_number(wal_level)
                .ok_or_else(|| out("wal_level", wal_level))?,
            wal_log_hints: f.bool(176),
            max_connections: f.u32(180),
            max_worker_processes: f.u32(184),
            max_wal_senders: f.u32(188),
            max_prepared_transactions: f.u32(192),
            max_locks_per_transaction: f.u32(196),
            track_commit_timestamp: f.bool(200),
            max_align,
            block_size: power_of_two("blcksz", f.u32(216), 1024, 32_768)?,
            relation_segment_blocks: Some(f.u32(220))
                .filter(|n| *n > 0)
                .ok_or_else(|| out("relseg_size", 0))?,
            wal_block_size: power_of_two("xlog_blcksz", f.u32(224), 1024, 65_536)?,
            wal_segment_size: SegmentSize::new(wal_segment_size)
                .ok_or_else(|| out("xlog_seg_size", wal_segment_size))?,
            data_checksum_version: f.u32(252),
        })
    }

    /// The major whose releases write this catalog version; `None` for betas, forks and what is not
    /// supported.
    #[must_use]
    pub fn major(&self) -> Option<Major> {
        major_of_catalog(self.catalog_version)
    }

    /// Whether data pages carry checksums.
    #[must_use]
    pub const fn has_data_checksums(&self) -> bool {
        self.data_checksum_version != 0
    }
}

/// The major whose releases have this `CATALOG_VERSION_NO`.
#[must_use]
pub fn major_of_catalog(catalog_version: u32) -> Option<Major> {
    CATALOG_VERSIONS.iter().find(|(number, _)| *number == catalog_version).map(|(_, major)| *major)
}

/// The `CATALOG_VERSION_NO` of the releases of `major`, as in `PG_15_202209061`.
#[must_use]
pub fn catalog_of_major(major: Major) -> Option<u32> {
    CATALOG_VERSIONS.iter().find(|(_, of)| *of == major).map(|(number, _)| *number)
}

#[cfg(test)]
pub(crate) use tests::bytes as sample;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bytes of a plausible file, with a right CRC.
    pub(crate) fn bytes(version: u32, catalog: u32) -> Vec<u8> {
        let mut bytes = vec![0; CONTROL_FILE_SIZE];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &7_301_234_567_890_123_456u64.to_le_bytes());
        put(8, &version.to_le_bytes());
        put(12, &catalog.to_le_bytes());
        put(16, &6u32.to_le_bytes());
        put(32, &0x16_B374_D848u64.to_le_bytes());
        put(172, &1u32.to_le_bytes());
        put(204, &8u32.to_le_bytes());
        put(208, &FLOAT_FORMAT.to_le_bytes());
        for (at, value) in [(216, 8192u32), (220, 131_072), (224, 8192), (228, 16 << 20)] {
            put(at, &value.to_le_bytes());
        }
        seal(&mut bytes, version);
        bytes
    }

    fn seal(bytes: &mut [u8], version: u32) {
        let at = if version == 1800 { 292 } else { 288 };
        let crc = crc32c::crc32c(&bytes[..at]);
        bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    }

    #[test]
    fn every_format() {
        for (version, catalog, major) in [
            (1300, 202_107_181, Some(Major::V14)),
            (1300, 202_209_061, Some(Major::V15)),
            (1700, 202_406_281, Some(Major::V17)),
            (1800, 202_506_291, Some(Major::V18)),
            (1300, 202_209_062, None),
        ] {
            let control = ControlFile::parse(&bytes(version, catalog)).unwrap();
            assert_eq!(control.major(), major);
            assert_eq!(control.checkpoint.to_string(), "16/B374D848");
            assert_eq!(control.wal_segment_size, SegmentSize::DEFAULT);
        }
        for major in Major::ALL {
            assert_eq!(catalog_of_major(major).and_then(major_of_catalog), Some(major));
        }
    }

    #[test]
    fn refusals() {
        let good = bytes(1300, 202_209_061);
        let with = |at: usize, value: u32| {
            let mut bytes = good.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            seal(&mut bytes, 1300);
            ControlFile::parse(&bytes).unwrap_err()
        };
        assert_eq!(ControlFile::parse(&good[..10]), Err(ControlError::TooShort(10)));
        assert_eq!(ControlFile::parse(&good[..295]), Err(ControlError::TooShort(295)));
        assert!(ControlFile::parse(&good[..296]).is_ok());
        assert_eq!(with(8, 1300u32.swap_bytes()), ControlError::ForeignByteOrder);
        assert_eq!(with(8, 1201), ControlError::UnknownVersion(1201));
        assert_eq!(with(204, 4), ControlError::ForeignMachine);
        let range = |field, value| ControlError::OutOfRange { field, value };
        assert_eq!(with(16, 7), range("state", 7));
        assert_eq!(with(216, 8000), range("blcksz", 8000));
        assert_eq!(with(228, 3 << 20), range("xlog_seg_size", 3 << 20));
    }

    proptest! {
        #[test]
        fn a_flipped_byte_is_never_believed(at in 0..292usize, mask in 1u8..) {
            let mut damaged = bytes(1300, 202_209_061);
            damaged[at] ^= mask;
            prop_assert!(ControlFile::parse(&damaged).is_err());
        }

        #[test]
        fn never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), known: bool) {
            if known && bytes.len() >= 296 {
                bytes[8..12].copy_from_slice(&1300u32.to_le_bytes());
                seal(&mut bytes, 1300);
            }
            let _ = ControlFile::parse(&bytes);
        }
    }
}
