//! What killed drills have left on this machine goes before the next one begins.

use jiff::Timestamp;

use crate::{
    drill::{Job, job::Depth},
    engine::native::{
        place,
        sweep::{Fate, Swept, sweep},
    },
};

/// Removes the sandboxes that no live drill owns from where this drill will work, and says which. What
/// cannot be removed is said, too; the drill goes on.
pub async fn remove(job: &Job) -> Vec<String> {
    if job.depth < Depth::Restore {
        return Vec::new();
    }
    let mut notes = Vec::new();
    for parent in place::parents(job.sandbox.work_dir.as_deref()) {
        let swept = sweep(&parent, Timestamp::now(), false).await;
        notes.extend(swept.iter().filter_map(note));
    }
    for note in &notes {
        tracing::warn!("{note}");
    }
    notes
}

fn note(swept: &Swept) -> Option<String> {
    let path = swept.path.display();
    let of = swept.record.as_ref();
    let of = of.map_or_else(String::new, |record| format!(" of job `{}`", record.job));
    match &swept.fate {
        Fate::Removed => Some(format!("removed `{path}`, which a drill{of} had left behind")),
        Fate::Failed(why) => {
            Some(format!("cannot remove `{path}`, which a drill{of} had left behind: {why}"))
        }
        Fate::Live | Fate::Kept(_) | Fate::Leaked => None,
    }
}
