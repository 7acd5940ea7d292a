//! History files that are missing, damaged or wrong.

use std::fmt::Write as _;

use crate::{
    archive::Codec,
    drill::{
        FailureClass::{self, TimelineDivergence, TimelineHistoryMissing, WalGap},
        selftest::Tier::Catalog,
    },
    pg::{Lsn, TimelineId},
    restore::codec::encode,
    selftest::{
        damage::{Damage, Made, NotMade, made},
        dice::Dice,
        materials::{Materials, Small},
        overlay::View,
        segment::key_in,
    },
};

/// What may be said of a history file that cannot be used.
const UNUSABLE: &[FailureClass] = &[TimelineHistoryMissing, TimelineDivergence];

/// Another text of the file.
type TextChange = fn(&Materials, &[u8], &mut Dice) -> Result<Vec<u8>, NotMade>;

fn rewritten(
    name: &'static str,
    what: &'static str,
    classes: &'static [FailureClass],
    change: TextChange,
) -> Damage {
    Damage::of_bytes(name, what, Catalog, classes, move |m: &Materials, dice: &mut Dice| {
        let history = m.history()?;
        let bytes = change(m, &history.bytes, dice)?;
        shown(history, &bytes)
    })
}

fn shown(history: &Small, bytes: &[u8]) -> Result<Made, NotMade> {
    let stored = encode(history.object.codec, bytes).map_err(|error| error.to_string())?;
    let mut view = View::default();
    view.show(history.object.key.as_str(), stored, history.object.modified);
    Ok(made(view, [name(history)]))
}

fn name(history: &Small) -> String {
    let key = &history.object.key;
    Codec::split(key.rsplit('/').next().unwrap_or(key)).0.to_owned()
}

/// The last line of the file with another parent or position.
fn last_line(m: &Materials, text: &[u8], parent: Option<u32>, switch: Option<Lsn>) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let last = lines.iter().rposition(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    if let (Some(last), Some(parent_of)) = (last, m.plan.history.ancestors.last()) {
        let parent = parent.unwrap_or(parent_of.timeline.0);
        let switch = switch.unwrap_or(parent_of.switch);
        lines[last] = format!("{parent}\t{switch}\tno recovery target specified");
    }
    lines.join("\n").into_bytes()
}

pub(super) fn all() -> Vec<Damage> {
    vec![
        Damage::of_bytes(
            "history_missing",
            "the history file of a timeline that has WAL is not there",
            Catalog,
            &[TimelineHistoryMissing],
            |m, _| {
                let history = m.history()?;
                let mut view = View::default();
                view.hide(history.object.key.as_str());
                Ok(made(view, [name(history)]))
            },
        ),
        rewritten("history_empty", "a history file is empty", UNUSABLE, |_, _, _| Ok(Vec::new())),
        rewritten("history_cut", "a history file ends inside a line", UNUSABLE, |_, text, _| {
            Ok(text[..3].to_vec())
        }),
        rewritten("history_noise", "a history file is noise", UNUSABLE, |_, text, dice| {
            Ok(dice.bytes(text.len()))
        }),
        Damage::of_bytes(
            "history_stream",
            "the stored bytes of a history file are noise",
            Catalog,
            UNUSABLE,
            |m, dice| {
                let history = m.history()?;
                let key = key_in(&history.object.key, Codec::Gzip);
                let mut view = View::default();
                view.hide(history.object.key.as_str());
                view.show(key, dice.bytes(80), history.object.modified);
                Ok(made(view, [name(history)]))
            },
        ),
        rewritten(
            "history_parent_itself",
            "a history file names its own timeline as its parent",
            UNUSABLE,
            |m, text, _| Ok(last_line(m, text, Some(m.plan.history.timeline.0), None)),
        ),
        rewritten(
            "history_before_backup",
            "a history file says that the timeline forked before the backup ended",
            &[TimelineDivergence],
            |m, text, _| Ok(last_line(m, text, None, Some(Lsn(m.end.0 - 0x100)))),
        ),
        Damage::of_bytes(
            "history_earlier_fork",
            "a history file says that the timeline forked some segments earlier than it did",
            Catalog,
            &[TimelineDivergence, WalGap],
            |m, _| {
                let history = m.history()?;
                let number = m.middle()?.planned.number;
                let at = number.start(m.plan.segment_size);
                let text = last_line(m, &history.bytes, None, Some(Lsn(at.0 + 0x1000)));
                let mut made = shown(history, &text)?;
                // The new timeline has no WAL so early.
                let first = number.file_name(m.plan.history.timeline, m.plan.segment_size);
                made.subjects.push(first);
                Ok(made)
            },
        ),
        rewritten(
            "history_later_fork",
            "a history file says that the timeline forked many segments later than it did",
            &[TimelineDivergence, WalGap],
            |m, text, _| {
                let size = m.plan.segment_size.bytes();
                let switch = m.plan.history.ancestors.last().map_or(0, |a| a.switch.0);
                Ok(last_line(m, text, None, Some(Lsn(switch + 20 * size))))
            },
        ),
        Damage::of_bytes(
            "history_stray",
            "a higher timeline forks where its parent's WAL goes on, and would mislead a restore",
            Catalog,
            &[TimelineDivergence],
            |m, _| {
                let middle = m.middle()?;
                let number = middle.planned.number;
                let parent = middle.planned.timeline;
                let switch = Lsn(number.start(m.plan.segment_size).0 + 0x2000);
                let stray = TimelineId(m.plan.history.timeline.0 + 1);
                let mut view = View::default();
                let at = middle.planned.object.modified;
                let mut text = String::new();
                for ancestor in &m.plan.history.ancestors {
                    if ancestor.timeline < parent {
                        let _ =
                            writeln!(text, "{}\t{}\tbefore", ancestor.timeline, ancestor.switch);
                    }
                }
                let _ = writeln!(text, "{parent}\t{switch}\tno recovery target specified");
                let file = stray.history_file_name();
                view.show(format!("{}wals/{file}", m.root), text.into_bytes(), at);
                let segment = number.file_name(stray, m.plan.segment_size);
                let key = format!("{}wals/{}/{segment}", m.root, &segment[..16]);
                let mut bytes = middle.bytes.to_vec();
                for page in bytes.chunks_mut(crate::selftest::segment::PAGE) {
                    page[4..8].copy_from_slice(&stray.0.to_le_bytes());
                }
                view.show(key, bytes, at);
                Ok(made(view, [file, stray.to_string()]))
            },
        ),
    ]
}
