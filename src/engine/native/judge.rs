//! What the fetched base says before PostgreSQL is started: whether it is what `backup.info` says. What
//! the WAL says is `drill::outlook`'s.

use crate::{
    drill::{
        DrillPlan, Finding,
        own_files::{self, Claims, OwnFiles},
    },
    pg::Lsn,
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
) -> Result<OwnFiles, Vec<Finding>> {
    let info = plan.backup.info.as_ref().ok();
    let claims = Claims {
        backup: &plan.backup.id,
        system_id: plan.system_id,
        major: plan.major,
        segment_size: plan.segment_size,
        begin,
        label: info.and_then(|info| info.backup_label.as_deref()),
        data_checksums: info.and_then(|info| info.data_checksums),
    };
    own_files::judge(&claims, &restored.pg_control, restored.backup_label.as_deref())
}
