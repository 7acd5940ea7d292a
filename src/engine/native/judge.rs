//! What the fetched base says before PostgreSQL is started: whether it is what `backup.info` says. What
//! the WAL says is `drill::outlook`'s.

use crate::{
    drill::{
        DrillPlan, Finding,
        own_files::{self, Claims},
    },
    pg::{ControlFile, Lsn},
    restore::base::BaseRestored,
};

/// Reads `pg_control` and `backup_label` and compares them with `backup.info`.
///
/// # Errors
/// The findings that make recovery pointless, all of them.
pub fn base(
    plan: &DrillPlan,
    restored: &BaseRestored,
    begin: Lsn,
) -> Result<ControlFile, Vec<Finding>> {
    let claims = Claims {
        backup: &plan.backup.id,
        system_id: plan.system_id,
        major: plan.major,
        segment_size: plan.segment_size,
        begin,
        data_checksums: plan.backup.info.as_ref().ok().and_then(|info| info.data_checksums),
    };
    let files = own_files::judge(&claims, &restored.pg_control, restored.backup_label.as_deref())?;
    Ok(files.control)
}
