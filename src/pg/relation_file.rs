//! Names of files in a data directory that hold relations (`common/relpath.c`), and which of them
//! carry pages (`pg_checksums`: `scan_directory` and its list of files to skip).

use std::fmt;

/// One fork of a relation (`ForkNumber`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fork {
    Main,
    /// Free space map.
    Fsm,
    /// Visibility map.
    Vm,
    /// What an unlogged relation is reset to.
    Init,
}

impl Fork {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Fsm => "_fsm",
            Self::Vm => "_vm",
            Self::Init => "_init",
        }
    }
}

/// Where a relation's files lie.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Location {
    /// `global/`: shared catalogs.
    Global,
    /// `base/DB/`: the default tablespace.
    Base { database: u32 },
    /// `pg_tblspc/OID/PG_MAJOR_CATALOG/DB/`.
    Tablespace { tablespace: u32, version_dir: String, database: u32 },
}

impl Location {
    /// From a folder below the data directory, such as `base/5`.
    #[must_use]
    pub fn parse(folder: &str) -> Option<Self> {
        Some(match folder.split('/').collect::<Vec<_>>()[..] {
            ["global"] => Self::Global,
            ["base", database] => Self::Base { database: number(database)? },
            ["pg_tblspc", tablespace, version_dir, database] if version_dir.starts_with("PG_") => {
                Self::Tablespace {
                    tablespace: number(tablespace)?,
                    version_dir: version_dir.to_owned(),
                    database: number(database)?,
                }
            }
            _ => return None,
        })
    }

    /// `pg_class.reltablespace`'s meaning, the oid of `pg_default`, `pg_global` or a user's.
    #[must_use]
    pub const fn tablespace(&self) -> u32 {
        match self {
            Self::Base { .. } => 1663,
            Self::Global => 1664,
            Self::Tablespace { tablespace, .. } => *tablespace,
        }
    }

    /// The database's oid, 0 for shared catalogs.
    #[must_use]
    pub const fn database(&self) -> u32 {
        match self {
            Self::Global => 0,
            Self::Base { database } | Self::Tablespace { database, .. } => *database,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("global"),
            Self::Base { database } => write!(f, "base/{database}"),
            Self::Tablespace { tablespace, version_dir, database } => {
                write!(f, "pg_tblspc/{tablespace}/{version_dir}/{database}")
            }
        }
    }
}

/// One file of a permanent or unlogged relation. `Display` is its path below the data directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationFile {
    pub location: Location,
    /// The number in the file's name (`pg_class.relfilenode`, or from `pg_filenode.map`).
    pub filenode: u32,
    pub fork: Fork,
    /// Which file of the fork: 0 has no suffix, each but the last is full (1 GiB as built).
    pub segment: u32,
}

impl RelationFile {
    /// From a path below the data directory, such as `base/5/2619_vm.1`. `None` for every other file,
    /// those of temporary relations (`t3_16384`) among them.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (folder, name) = path.rsplit_once('/')?;
        let location = Location::parse(folder)?;
        let (stem, segment) = match name.split_once('.') {
            Some((stem, segment)) => (stem, number(segment)?),
            None => (name, 0),
        };
        let (filenode, fork) = match stem.split_once('_') {
            None => (stem, Fork::Main),
            Some((node, "fsm")) => (node, Fork::Fsm),
            Some((node, "vm")) => (node, Fork::Vm),
            Some((node, "init")) => (node, Fork::Init),
            Some(_) => return None,
        };
        Some(Self { location, filenode: number(filenode)?, fork, segment })
    }

    /// Number of the file's first block in the fork; `None` beyond the largest block number.
    #[must_use]
    pub fn first_block(&self, relation_segment_blocks: u32) -> Option<u32> {
        self.segment.checked_mul(relation_segment_blocks)
    }

    /// The same fork's file of another number.
    #[must_use]
    pub fn with_segment(&self, segment: u32) -> Self {
        Self { segment, ..self.clone() }
    }
}

impl fmt::Display for RelationFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.location, self.filenode, self.fork.suffix())?;
        if self.segment == 0 { Ok(()) } else { write!(f, ".{}", self.segment) }
    }
}

/// A decimal number as PostgreSQL prints it: no sign, no leading zero; segment `.0` does not exist.
fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    if plain { text.parse().ok() } else { None }
}

/// Whether `pg_checksums` passes over an entry of this name, file or folder, wherever it lies.
#[must_use]
pub fn is_skipped_by_pg_checksums(name: &str) -> bool {
    const EXACT: [&str; 5] =
        ["pg_control", "pg_filenode.map", "PG_VERSION", "config_exec_params", "pgsql_tmp"];
    EXACT.contains(&name) || name.starts_with("pg_internal.init") || name.starts_with("pgsql_tmp")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names() {
        for path in [
            "global/1262",
            "base/5/16384",
            "base/5/16384.2",
            "base/5/2619_vm",
            "base/5/2619_fsm.1",
            "base/5/16390_init",
            "pg_tblspc/16385/PG_15_202209061/5/16400.1",
        ] {
            assert_eq!(RelationFile::parse(path).unwrap().to_string(), path);
        }
        for path in [
            "",
            "16384",
            "base/16384",
            "base/5/t3_16384",
            "base/5/pg_filenode.map",
            "base/5/PG_VERSION",
            "base/5/16384.0",
            "base/5/16384.x",
            "base/5/016384",
            "base/5/+1",
            "base/5/16384_vm_fsm",
            "base/5/4294967296",
            "base/x/1",
            "pg_tblspc/1/x/5/1",
            "pg_wal/5/1",
        ] {
            assert_eq!(RelationFile::parse(path), None, "{path}");
        }
    }

    #[test]
    fn blocks_of_later_files() {
        let file = RelationFile::parse("base/5/16384.2").unwrap();
        assert_eq!(file.first_block(131_072), Some(262_144));
        assert_eq!(file.with_segment(1).to_string(), "base/5/16384.1");
        assert_eq!(file.with_segment(40_000).first_block(131_072), None);
    }

    #[test]
    fn skipped() {
        for name in ["pg_control", "pg_internal.init.123", "pgsql_tmp", "pgsql_tmp12.3"] {
            assert!(is_skipped_by_pg_checksums(name), "{name}");
        }
        assert!(!is_skipped_by_pg_checksums("pg_control_old"));
        assert!(!is_skipped_by_pg_checksums("16384"));
    }

    proptest! {
        #[test]
        fn what_parses_prints_the_same(path in "(base|global|pg_tblspc|PG_15|[0-9]{1,11}|[/._a-z])(/[0-9]{1,3}){0,3}(_vm|_fsm|_init|_x)?(\\.[0-9]{1,3})?") {
            if let Some(file) = RelationFile::parse(&path) {
                prop_assert_eq!(file.to_string(), path);
            }
        }
    }
}
