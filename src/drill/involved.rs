//! The newest object that a damage involves: before that one was stored, the damage was not there.

use jiff::Timestamp;

use super::{DrillPlan, Finding, report::CheckReport};
use crate::{
    archive::ObjectRef,
    pg::{SegmentNumber, WalFileName},
};

/// Checks that look at the archive itself, so that what they find lies in what was fetched.
const OF_THE_ARCHIVE: [&str; 4] = ["plan", "restore", "base", "wal"];

/// When the newest object was stored that a finding names. `None` where no finding leads to one: rows that
/// are wrong may have been wrong on production.
#[must_use]
pub fn newest_object(plan: &DrillPlan, checks: &[CheckReport]) -> Option<Timestamp> {
    let of_archive = checks.iter().filter(|check| OF_THE_ARCHIVE.contains(&check.name.as_str()));
    let findings = of_archive.flat_map(|check| &check.findings);
    let damages = findings.filter(|f| !f.class.is_breach() && !f.class.is_environment());
    damages.filter_map(|finding| stored(plan, finding)).max()
}

fn stored(plan: &DrillPlan, finding: &Finding) -> Option<Timestamp> {
    let name = finding.subject.rsplit('/').next().unwrap_or_default();
    if let Some(number) = segment_named(plan, name) {
        return of_segment(plan, number);
    }
    let is_it = |object: &&ObjectRef| {
        object.key == finding.subject || object.key.rsplit('/').next() == Some(name)
    };
    if let Some(object) = plan.backup.objects().find(is_it) {
        return object.modified;
    }
    match finding.lsn {
        Some(lsn) => of_segment(plan, plan.segment_size.segment_of(lsn)),
        // A file or a page of the base backup.
        None => plan.backup.modified,
    }
}

/// The segment that a name with or without an extension means.
fn segment_named(plan: &DrillPlan, name: &str) -> Option<SegmentNumber> {
    let plain = name.get(..24)?;
    match plain.parse::<WalFileName>().ok()? {
        WalFileName::Segment { log, seg, .. } => WalFileName::number(log, seg, plan.segment_size),
        _ => None,
    }
}

/// One that is missing was missed when the last one before it was there.
fn of_segment(plan: &DrillPlan, number: SegmentNumber) -> Option<Timestamp> {
    let segment = plan.wal.segment(number);
    let segment = segment.or_else(|| plan.wal.last().filter(|last| last.number < number));
    segment?.object.modified
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::{
        CheckOutcome, FailureClass,
        plan::tests::world::{World, at, segment},
    };

    fn planned() -> DrillPlan {
        let mut world = World::new();
        world.backup("20261122T120500", 1, 3, 5).wal(1, 3..=20);
        world.planned()
    }

    fn newest(check: &str, class: FailureClass, subject: &str) -> Option<Timestamp> {
        let plan = planned();
        let finding = Finding::new(class, subject, "d", "h");
        let check = CheckReport::new(check, CheckOutcome::Failed(vec![finding]), 0.0);
        newest_object(&plan, &[check])
    }

    #[test]
    fn objects_by_their_names() {
        let plan = planned();
        let first = plan.wal.first().unwrap();
        let (number, stored) = (first.number.0, first.object.modified);
        assert!(stored.is_some());
        let key = first.object.key;
        for subject in [key.as_str(), &segment(1, number), &format!("a/{}.gz", segment(1, number))]
        {
            assert_eq!(newest("wal", FailureClass::WalCorrupt, subject), stored, "{subject}");
        }
        let last = plan.wal.last().unwrap();
        let missing = segment(1, last.number.0 + 1);
        assert_eq!(newest("plan", FailureClass::WalGap, &missing), last.object.modified);
        let tar = plan.backup.objects().next().unwrap();
        assert_eq!(newest("base", FailureClass::ArchiveCorrupt, &tar.key), tar.modified);
        assert_eq!(
            newest("restore", FailureClass::PageChecksum, "base/5/1259"),
            plan.backup.modified
        );
        assert!(plan.backup.modified.is_some_and(|modified| modified <= at(60)));
    }

    #[test]
    fn what_says_nothing_of_an_object() {
        assert_eq!(newest("amcheck", FailureClass::AmcheckIndex, "s.p.t"), None);
        assert_eq!(newest("restore", FailureClass::InfraError, "x"), None);
        assert_eq!(newest("plan", FailureClass::ArchiveStale, "x"), None);
    }
}
