//! `schedule`, `timeZone`, `after` and `start`: when drills begin.

use super::{
    value,
    walker::{Complaint, Fields, Value},
};
use crate::{
    calendar::{Expression, Refusal, Zone},
    drill::timing::{Missed, Overlap, Timing},
};

/// Highest and lowest priority.
const PRIORITIES: std::ops::RangeInclusive<i32> = -1000..=1000;

/// Reads these fields of `spec`.
pub(super) fn read(fields: &Fields<'_>) -> Timing {
    let schedule = fields.parsed("schedule", schedule);
    let time_zone = fields.parsed("timeZone", time_zone);
    let after_backup = fields.parsed("after", after).is_some();
    let start = fields.optional("start", |value| {
        if !fields.has("schedule") && !fields.has("after") {
            value.complain(Complaint::new(
                "there is nothing that would start",
                "Add `schedule: \"0 4 * * *\"` or `after: backup`, or remove `start`.",
            ));
        }
        start(value)
    });
    Timing { schedule, time_zone, after_backup, ..start.unwrap_or_default() }
}

fn start(value: Value<'_>) -> Option<Timing> {
    value.fields(|fields| {
        let default = Timing::default();
        Timing {
            window: fields.parsed("window", value::duration).unwrap_or_default(),
            deadline: fields.parsed("deadline", value::duration),
            missed: fields.parsed("missed", missed).unwrap_or_default(),
            overlap: fields.parsed("overlap", overlap).unwrap_or_default(),
            priority: fields.parsed("priority", priority).unwrap_or_default(),
            ..default
        }
    })
}

impl From<Refusal> for Complaint {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.message, refusal.hint)
    }
}

fn schedule(text: &str) -> Result<String, Complaint> {
    Ok(Expression::parse(text)?.text().to_owned())
}

fn time_zone(text: &str) -> Result<String, Complaint> {
    Ok(Zone::named(text)?.name().to_owned())
}

fn after(text: &str) -> Result<(), Complaint> {
    match text.trim() {
        "backup" => Ok(()),
        other => Err(Complaint::new(
            format!("`{}` is nothing that a drill can come after", value::short(other)),
            "Write `after: backup`: a drill begins when a new base backup has appeared.",
        )),
    }
}

fn missed(text: &str) -> Result<Missed, Complaint> {
    match text.trim() {
        "runOnce" => Ok(Missed::RunOnce),
        "skip" => Ok(Missed::Skip),
        other => Err(Complaint::new(
            format!("`{}` is no way to treat missed slots", value::short(other)),
            "Write `runOnce` or `skip`.",
        )),
    }
}

fn overlap(text: &str) -> Result<Overlap, Complaint> {
    match text.trim() {
        "forbid" => Ok(Overlap::Forbid),
        "queue" => Ok(Overlap::Queue),
        "replace" => Ok(Overlap::Replace),
        other => Err(Complaint::new(
            format!("`{}` is no way to treat a slot during a drill", value::short(other)),
            "Write `forbid`, `queue` or `replace`.",
        )),
    }
}

fn priority(text: &str) -> Result<i32, Complaint> {
    let number = text.trim().parse().ok().filter(|number| PRIORITIES.contains(number));
    number.ok_or_else(|| {
        Complaint::new(
            format!("`{}` is not a priority", value::short(text)),
            "Write a whole number from -1000 to 1000; the higher one comes first.",
        )
    })
}
