//! How long damage was there before a drill found it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use crate::drill::{Verdict, history::Past};

/// A damage, by the first drill that found it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Detection {
    pub drill_id: String,
    pub found_at: Timestamp,
    /// When the newest object involved was stored: it was not there before.
    pub present_at: Timestamp,
    /// At most that long it stayed unseen.
    pub seconds: f64,
}

/// By the drills from `since` on. `past` is sorted by time: drills that find the same object again detect
/// nothing new, even where the first one was before.
pub(super) fn detections(past: &[&Past], since: Timestamp) -> Vec<Detection> {
    let mut known = BTreeSet::new();
    let mut found: Vec<Detection> = Vec::new();
    for past in past.iter().filter(|past| past.verdict == Verdict::Fail) {
        let Some(present_at) = past.damaged_object_at else { continue };
        if !known.insert(present_at) || past.started_at < since {
            continue;
        }
        let seconds = past.finished_at.duration_since(present_at).as_secs_f64().max(0.0);
        let drill_id = past.drill_id.clone();
        found.push(Detection { drill_id, found_at: past.finished_at, present_at, seconds });
    }
    found
}
