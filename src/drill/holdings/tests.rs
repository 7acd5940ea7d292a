use crate::drill::{
    CatalogReport, FailureClass, Verdict,
    plan::tests::world::{World, at, segment, wal_key},
};

use super::BackupState;

mod damage;
pub(crate) mod sample;
mod sound;

const OLD: &str = "20261122T120200";
const NEW: &str = "20261122T120500";

/// Two backups over segments 2 to 3 and 5 to 6, WAL from 2 to 9.
fn two() -> World {
    let mut world = World::new();
    world.backup(OLD, 1, 2, 3).backup(NEW, 1, 5, 6).wal(1, 2..=9);
    world
}

/// A failover in segment 6, and again in 9: timelines 1, 2 and 3.
fn cascade() -> World {
    let mut world = World::new();
    world.backup(OLD, 1, 2, 3).wal(1, 2..=5).wal(2, 6..=8).wal(3, 9..=11);
    world.object(&wal_key(1, 6).replace(".gz", ".partial.gz"), 500, 6);
    world.history(2, &[(1, "0/680000")]).history(3, &[(1, "0/680000"), (2, "0/980000")]);
    world.backup(NEW, 2, 7, 7);
    world
}

fn classes(found: &[crate::drill::Finding]) -> Vec<&'static str> {
    found.iter().map(|finding| finding.class.name()).collect()
}

fn states(report: &CatalogReport) -> Vec<&'static str> {
    report.backups.iter().map(|line| line.state.name()).collect()
}

/// The verdict, the classes of findings and those of attentions.
type Said = (Verdict, Vec<&'static str>, Vec<&'static str>);

fn said(world: &World) -> Said {
    let report = world.examined();
    (report.verdict, classes(&report.findings), classes(&report.attentions))
}

const NONE: [&str; 0] = [];

fn pass(attentions: &[&'static str]) -> Said {
    (Verdict::Pass, Vec::new(), attentions.to_vec())
}

fn fail(findings: &[&'static str], attentions: &[&'static str]) -> Said {
    (Verdict::Fail, findings.to_vec(), attentions.to_vec())
}
