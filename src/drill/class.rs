//! Failure classes: the stable names of what can be wrong with a backup.

use std::fmt;

macro_rules! failure_classes {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)+) => {
        /// What kind of defect a finding reports. The names are part of the contract: reports, metrics
        /// and runbook anchors use them. Append only.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum FailureClass {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)+
        }

        impl FailureClass {
            /// Every class, in the order in which they were added.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable name, such as `wal_gap`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

failure_classes! {
    /// A segment that the base backup needs to become consistent is not in the archive.
    WalMissingForConsistency => "wal_missing_for_consistency",
    /// A segment between consistency and the newest one (or the target) is not in the archive.
    WalGap => "wal_gap",
    /// A timeline has WAL but no usable history file.
    TimelineHistoryMissing => "timeline_history_missing",
    /// Recovery ended before the position or commit that the archive promises.
    RecoveredShort => "recovered_short",
    /// The timelines contradict each other or a stray one would mislead the next restore.
    TimelineDivergence => "timeline_divergence",
    /// An object belongs to another database system.
    SystemIdMismatch => "system_id_mismatch",
    /// The newest WAL is older than the objective allows.
    ArchiveStale => "archive_stale",
    /// The archive is sound but the production tool cannot restore it.
    RestoreToolBug => "restore_tool_bug",
    /// An object's body ended before its length, also after retries.
    ObjectReadIncomplete => "object_read_incomplete",
    /// A compressed stream or tar is truncated or damaged.
    ArchiveCorrupt => "archive_corrupt",
    /// The object store answers in a way that makes reading impossible.
    ObjectStoreError => "object_store_error",
    /// A backup's size is far from that of its predecessors.
    BackupAnomalousSize => "backup_anomalous_size",
    /// The newest backup is older than the objective allows.
    BackupStale => "backup_stale",
    /// An object is compressed with something that cannot be decoded.
    CodecUnsupported => "codec_unsupported",
    /// An incremental backup's chain is not complete or not restorable from here.
    IncrementalChain => "incremental_chain",
    /// A page's checksum does not match its content.
    PageChecksum => "page_checksum",
    /// amcheck found a damaged heap or index.
    AmcheckIndex => "amcheck_index",
    /// A collation's version differs between the source and here.
    CollationMismatch => "collation_mismatch",
    /// A parameter is too low for recovery.
    ParamTooLow => "param_too_low",
    /// A library that recovery or a database needs is not installed here.
    LibraryMissing => "library_missing",
    /// An extension or its version is not installed here.
    ExtensionMissing => "extension_missing",
    /// A tablespace cannot be restored.
    Tablespace => "tablespace",
    /// The layout of the restored data directory is wrong.
    PgdataLayout => "pgdata_layout",
    /// The recovery target lies before the end of the oldest usable backup.
    TargetBeforeConsistency => "target_before_consistency",
    /// The recovery target lies beyond what the archive can reach.
    TargetUnreachable => "target_unreachable",
    /// The configuration contradicts itself.
    ConfigError => "config_error",
    /// Retention has removed what the declared window promises.
    RetentionGap => "retention_gap",
    /// An object vanished or was replaced while the drill ran.
    DeletedDuringDrill => "deleted_during_drill",
    /// The store refused access.
    AccessDenied => "access_denied",
    /// Rows cannot be decrypted with the keys at hand.
    DataKeyMissing => "data_key_missing",
    /// A role cannot log in.
    AuthCheck => "auth_check",
    /// A statement about the data does not hold.
    AssertionFailed => "assertion_failed",
    /// The restore took longer than the objective.
    RtoExceeded => "rto_exceeded",
    /// Bytes or positions stopped moving.
    NoProgress => "no_progress",
    /// The machine of the drill failed: disk, memory, quota.
    InfraError => "infra_error",
    /// No drill has passed for too long.
    DrillStale => "drill_stale",
    /// A WAL record or page is damaged.
    WalCorrupt => "wal_corrupt",
    /// A part of a split base backup is not in the archive.
    BackupPartMissing => "backup_part_missing",
    /// A relation's file is missing or cannot be read.
    RelationMissing => "relation_missing",
    /// A page that should hold rows is all zeros.
    PageZeroed => "page_zeroed",
    /// An index entry points to no row.
    IndexDangling => "index_dangling",
    /// `backup.info` contradicts the archive's own bytes.
    BackupInfoMismatch => "backup_info_mismatch",
    /// There are objects, but no backup that could be restored.
    NoRestorableBackup => "no_restorable_backup",
    /// A database's locale is not installed here.
    LocaleMissing => "locale_missing",
    /// WAL inside the range was written with `wal_level=minimal`.
    WalLevelMinimal => "wal_level_minimal",
    /// PostgreSQL stopped with FATAL or PANIC for a reason that is not the machine's.
    RecoveryFailed => "recovery_failed",
    /// The newest committed row is older than the objective allows.
    RpoExceeded => "rpo_exceeded",
    /// An object that must come is not in the archive yet, and may still be on its way.
    ArchiveUnsettled => "archive_unsettled",
    /// A kind of backup, or one of a PostgreSQL version, that pgassay cannot restore.
    BackupUnsupported => "backup_unsupported",
    /// Recovery went on beyond the position or commit that the archive promises.
    RecoveredBeyond => "recovered_beyond",
    /// A page of the base backup is bad, and whether anything needs it cannot be told.
    PageUndecided => "page_undecided",
    /// Rows refer to rows of another table that are not there.
    ForeignKeyBroken => "foreign_key_broken",
}

impl FailureClass {
    /// Classes that only ever make a `breach`, and only against an objective that the job states.
    #[must_use]
    pub const fn is_breach(self) -> bool {
        matches!(
            self,
            Self::ArchiveStale | Self::BackupStale | Self::RtoExceeded | Self::RpoExceeded
        )
    }

    /// Classes that say that this machine, store or job could not tell: never a `fail` by themselves.
    #[must_use]
    pub const fn is_environment(self) -> bool {
        matches!(
            self,
            Self::ObjectStoreError
                | Self::AccessDenied
                | Self::CodecUnsupported
                | Self::CollationMismatch
                | Self::ParamTooLow
                | Self::LibraryMissing
                | Self::ExtensionMissing
                | Self::LocaleMissing
                | Self::DataKeyMissing
                | Self::NoProgress
                | Self::InfraError
                | Self::ConfigError
                | Self::DeletedDuringDrill
                | Self::ArchiveUnsettled
                | Self::BackupUnsupported
                | Self::PageUndecided
        )
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
