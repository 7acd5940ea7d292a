//! A recovery target that the seed draws from what the archive can be recovered to.

use super::{
    Decided, Known, PlanRefusal,
    choose::{self, mix},
    decide,
};
use crate::{
    drill::job::{BackupChoice, RecoveryPoint, Target},
    pg::Lsn,
};

/// The target, and how it came about.
#[derive(Debug)]
pub(super) struct Drawn<'a> {
    pub target: Target,
    /// Behind the target, for people.
    pub how: String,
    /// The backup where the job chooses it before a target is known.
    pub first: Option<choose::Choice<'a>>,
}

impl Drawn<'_> {
    /// Nothing had to be drawn.
    pub(super) fn given(target: &Target) -> Self {
        Self { target: target.clone(), how: String::new(), first: None }
    }
}

/// Draws a position. Every one between the end of a backup and the beginning of the newest segment
/// that can be reached has a record behind it, at which recovery stops.
pub(super) fn draw<'a>(known: &Known<'a>, seed: u64) -> Result<Drawn<'a>, PlanRefusal> {
    let Decided { choice, route } = decide(known, seed)?;
    let newest = route.range.last().map(|(_, number)| number.start(choice.source.segment_size));
    let (from, first) = if known.point.backup == BackupChoice::Latest {
        // The target decides which backup, so that any of them may be the one.
        (oldest_end(known).unwrap_or(choice.source.end), None)
    } else {
        (choice.source.end, Some(choice))
    };
    let drawn = newest.and_then(|to| Some((to, between(from, to, seed)?)));
    Ok(match drawn {
        Some((to, lsn)) => Drawn {
            target: Target::Lsn(lsn),
            how: format!(", drawn from {from} to {to} by seed {seed}"),
            first,
        },
        None => Drawn {
            target: Target::Latest,
            how: format!(
                ", since no segment that begins behind {from} can be reached to draw from"
            ),
            first,
        },
    })
}

/// Where the oldest backup ends that the job lets be drilled and that can be restored.
fn oldest_end(known: &Known<'_>) -> Option<Lsn> {
    let point = RecoveryPoint { backup: BackupChoice::RetentionEdge, ..known.point.clone() };
    let oldest = choose::choose(&Known { point: &point, ..*known }, 0);
    oldest.ok().map(|choice| choice.source.end)
}

/// A position from `from` on and before `to`.
fn between(from: Lsn, to: Lsn, seed: u64) -> Option<Lsn> {
    let room = to.0.checked_sub(from.0).filter(|room| *room > 0)?;
    // Another number than the one that draws a backup.
    Some(Lsn(from.0 + mix(mix(seed)) % room))
}
