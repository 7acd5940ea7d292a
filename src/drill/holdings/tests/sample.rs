//! Reports for the tests of who renders them.

use super::*;

fn stamped(mut report: CatalogReport) -> CatalogReport {
    report.pgassay_version = "0.0.0".to_owned();
    report
}

/// Two backups, all is well.
pub(crate) fn sound() -> CatalogReport {
    stamped(two().examined())
}

/// Three timelines, gaps, a failed backup, one that is being taken, an objective that is not met.
pub(crate) fn damaged() -> CatalogReport {
    let mut world = cascade();
    world.without_wal(1, 4).without_wal(3, 10);
    world
        .backup("20261122T120300", 1, 3, 3)
        .edit("20261122T120300", &["status=FAILED", "error=disk full"]);
    world.backup("20261122T121000", 3, 10, 11).edit("20261122T121000", &["status=STARTED"]);
    world.object("notes.txt", 12, 1);
    stamped(world.examined_for(std::time::Duration::from_mins(15)))
}

/// WAL that no base backup belongs to.
pub(crate) fn without_backups() -> CatalogReport {
    let mut world = World::new();
    world.wal(1, 1..=9);
    stamped(world.examined())
}
