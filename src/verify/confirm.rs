//! A second reading of a base backup whose tars are sound and what they hold is not: stores and
//! networks err once, and neither a tar nor every compression has a checksum of what it holds.

use super::{Reading, base, base::BaseRead};
use crate::{
    archive::Backup,
    drill::{Error, FailureClass, Finding},
    restore::two_readings,
};

/// Reads `backup` once more where the first reading has found what the second one may not show.
/// What both show stands; what does not is an error: nothing is known of it.
///
/// # Errors
/// The caller cancelled, or this machine failed.
pub(super) async fn read_again(
    reading: &Reading<'_>,
    backup: &Backup,
    base: &mut BaseRead,
) -> Result<(), Error> {
    if !base.findings.iter().any(|finding| is_of_one_reading(backup, finding)) {
        return Ok(());
    }
    let mut again = base::read(reading, backup).await?;
    if !again.errors.is_empty() {
        // The first reading stands, whatever became of the second.
        base.errors.append(&mut again.errors);
        return Ok(());
    }
    let control = again.own_files.as_ref().map(|own| own.control);
    let suspects = control.and_then(|control| again.watched.judged_by(&control).ok());
    let prints = suspects.map(|suspects| suspects.prints()).unwrap_or_default();
    let stands = |finding: &Finding| match finding.class {
        FailureClass::PageChecksum => base.prints.agree(&prints, &finding.subject),
        _ => !is_of_one_reading(backup, finding) || again.findings.contains(finding),
    };
    let (stand, gone): (Vec<Finding>, _) =
        std::mem::take(&mut base.findings).into_iter().partition(stands);
    base.findings = stand;
    base.errors.extend(gone.iter().map(|finding| {
        let what = format!("{} of backup {}", finding.subject, backup.id);
        two_readings(&what, &finding.detail)
    }));
    Ok(())
}

/// Damage that is not known from the listing, and not read twice already as that of a whole tar is.
fn is_of_one_reading(backup: &Backup, finding: &Finding) -> bool {
    match finding.class {
        FailureClass::BackupPartMissing => false,
        FailureClass::ArchiveCorrupt | FailureClass::ObjectReadIncomplete => {
            backup.objects().all(|object| object.key != finding.subject)
        }
        class => !class.is_environment(),
    }
}
