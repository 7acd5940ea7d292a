//! A second reading of a base backup whose tars are sound and what they hold is not: stores and
//! networks err once, and neither a tar nor every compression has a checksum of what it holds.
//!
//! Damage is what two readings show. What one has shown and no other could confirm or refute, since the
//! store failed or the time was over, is not known: an error that says what was seen.

use super::{Reading, base, base::BaseRead, interrupted};
use crate::{
    archive::Backup,
    drill::{Error, FailureClass, Finding},
    restore::{base::is_of_one_reading, seen_once, two_readings},
};

/// Reads `backup` once more where the first reading has found what the second one may not show.
/// What both show stands; what does not is an error: nothing is known of it.
///
/// # Errors
/// The caller cancelled, or this machine failed. `base` is as the first reading left it then.
pub(super) async fn read_again(
    reading: &Reading<'_>,
    backup: &Backup,
    base: &mut BaseRead,
) -> Result<(), Error> {
    if !base.findings.iter().any(|finding| is_of_one_reading(backup, finding)) {
        return Ok(());
    }
    let mut again = base::read(reading, backup).await?;
    if again.cut_off {
        return Err(interrupted());
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
    let missed = again.errors.first();
    base.errors.extend(gone.iter().map(|finding| {
        let what = name(backup, finding);
        match missed {
            None => two_readings(&what, &finding.detail),
            Some(missed) => seen_once(&what, &finding.detail, Some(missed)),
        }
    }));
    base.errors.append(&mut again.errors);
    Ok(())
}

/// What is left of a reading that the time has ended: what needs no second reading stands, what does is
/// not known.
pub(super) fn cut_off(backup: &Backup, base: BaseRead) -> BaseRead {
    let BaseRead { findings, mut errors, doubted, .. } = base;
    let of_one = |finding: &Finding| is_of_one_reading(backup, finding);
    let (once, findings): (Vec<Finding>, _) = findings.into_iter().partition(of_one);
    errors.extend(once.iter().map(|f| seen_once(&name(backup, f), &f.detail, None)));
    BaseRead { findings, errors, doubted, ..BaseRead::default() }
}

fn name(backup: &Backup, finding: &Finding) -> String {
    format!("{} of backup {}", finding.subject, backup.id)
}
