//! `recoveryPoint:`: which backup, and how far to recover.

use super::{
    value,
    walker::{Complaint, Fields, Value},
};
use crate::drill::job::{BackupChoice, RecoveryPoint, Target, TargetChoice, TargetTimeline};

pub(super) fn read(value: Value<'_>) -> Option<RecoveryPoint> {
    value.fields(|fields| {
        let backup = fields.parsed("backup", value::backup).unwrap_or(BackupChoice::Latest);
        let within = fields.parsed("within", value::duration);
        let target = fields.optional("target", target);
        let exclusive = fields.boolean("exclusive").unwrap_or_default();
        let timeline = fields.parsed("timeline", value::timeline).unwrap_or(TargetTimeline::Latest);
        if !fields.has("target") || target.is_some() {
            let target = target.clone().unwrap_or(TargetChoice::Given(Target::Latest));
            if let Err(complaint) = check_exclusive(&target, exclusive) {
                fields.complain(complaint);
            }
        }
        let target = target.unwrap_or(TargetChoice::Given(Target::Latest));
        RecoveryPoint { backup, within, target, exclusive, timeline }
    })
}

/// `recovery_target_inclusive` only means something for targets that name one record.
pub(super) fn check_exclusive(target: &TargetChoice, exclusive: bool) -> Result<(), Complaint> {
    let applies = match target {
        TargetChoice::Given(target) => {
            matches!(target, Target::Time(_) | Target::Lsn(_) | Target::Xid(_))
        }
        TargetChoice::Random => true,
    };
    if exclusive && !applies {
        return Err(Complaint::new(
            "`exclusive` has no meaning for this target",
            "It leaves out a target of kind `time`, `lsn` or `xid`; remove it otherwise.",
        ));
    }
    Ok(())
}

const KINDS: [&str; 4] = ["time", "lsn", "xid", "name"];

fn target(value: Value<'_>) -> Option<TargetChoice> {
    if !value.is_mapping() {
        return value.parsed(value::target_word);
    }
    value.fields(|fields| {
        let found = kinds(fields);
        let given = fields.given(&KINDS);
        if given.len() == 1 {
            return found.map(TargetChoice::Given);
        }
        let message = match given.len() {
            0 => "names no target".to_owned(),
            _ => format!("`{}` exclude each other", given.join("`, `")),
        };
        let hint = "Give exactly one of `time`, `lsn`, `xid` and `name`.";
        fields.complain(Complaint::new(message, hint));
        None
    })?
}

fn kinds(fields: &Fields<'_>) -> Option<Target> {
    let time = fields.parsed("time", value::time).map(Target::Time);
    let lsn = fields.parsed("lsn", value::lsn).map(Target::Lsn);
    let xid = fields.parsed("xid", value::xid).map(Target::Xid);
    let name = fields.optional("name", |value| {
        let text = value.text()?;
        value.accepted(value::restore_point(text)).map(Target::Name)
    });
    time.or(lsn).or(xid).or(name)
}
