//! What of an archive's time can be recovered, as a picture: one bar for each backup from its end to the WAL
//! that it reaches, and above them what that comes to. Times are those at which backups ended and segments
//! were stored.

use jiff::Timestamp;
use maud::{Markup, html};

use crate::{
    drill::{
        CatalogReport,
        format::counted,
        holdings::{BackupLine, BackupState},
    },
    report::{html::page::text, terminal::time},
};

/// Units of the drawing; the page scales it.
const WIDTH: f64 = 1_000.0;
const ROW: f64 = 14.0;

/// Bars of backups, the newest ones.
const MOST_BARS: usize = 30;

/// A stretch of time, its end later than its beginning or the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub from: Timestamp,
    pub to: Timestamp,
}

/// What can be recovered, and what lies between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Coverage {
    pub recoverable: Vec<Stretch>,
    pub gaps: Vec<Stretch>,
}

impl Coverage {
    pub(super) fn of(report: &CatalogReport) -> Self {
        let mut stretches: Vec<Stretch> = report.backups.iter().filter_map(stretch).collect();
        stretches.sort_by_key(|stretch| stretch.from);
        let mut coverage = Self::default();
        for next in stretches {
            match coverage.recoverable.last_mut() {
                Some(last) if next.from <= last.to => last.to = last.to.max(next.to),
                Some(last) => {
                    coverage.gaps.push(Stretch { from: last.to, to: next.from });
                    coverage.recoverable.push(next);
                }
                None => coverage.recoverable.push(next),
            }
        }
        // WAL that is stored and that no recovery reaches.
        let newest = report.newest_wal.as_ref().map(|wal| wal.archived_at);
        let reached = coverage.recoverable.last().map(|last| last.to);
        if let (Some(newest), Some(reached)) = (newest, reached)
            && newest > reached
        {
            coverage.gaps.push(Stretch { from: reached, to: newest });
        }
        coverage
    }

    fn span(&self) -> Option<Stretch> {
        let from = self.recoverable.first()?.from;
        let last = self.recoverable.last()?.to;
        let to = self.gaps.last().map_or(last, |gap| gap.to.max(last));
        Some(Stretch { from, to })
    }
}

/// From the end of a backup as far as its WAL reaches.
fn stretch(line: &BackupLine) -> Option<Stretch> {
    match line.state {
        BackupState::Restorable | BackupState::Short | BackupState::Standalone => {}
        BackupState::Blocked | BackupState::UnderWay | BackupState::Unknown => return None,
    }
    let from = line.end_at?;
    let reach = line.reach.as_ref().and_then(|reach| reach.archived_at);
    Some(Stretch { from, to: reach.unwrap_or(from).max(from) })
}

/// The picture, and the gaps in words.
pub(super) fn figure(report: &CatalogReport) -> Markup {
    let coverage = Coverage::of(report);
    let Some(span) = coverage.span() else {
        return html! { p class="bad" { "Nothing can be recovered." } };
    };
    let first = report.backups.len().saturating_sub(MOST_BARS);
    let bars: Vec<(&BackupLine, Option<Stretch>)> =
        report.backups[first..].iter().map(|line| (line, stretch(line))).collect();
    let height = ROW * (bars.len() as f64 + 2.0);
    let label = format!(
        "Recoverable from {} to {}, with {}",
        time(span.from),
        time(span.to),
        counted(coverage.gaps.len() as u64, "gap")
    );
    html! {
        figure {
            svg class="chart window" viewBox={ "0 0 " (WIDTH) " " (height) } preserveAspectRatio="none" role="img"
                aria-label=(label) {
                title { (label) }
                @for stretch in &coverage.recoverable {
                    (bar(span, *stretch, 0.0, 1.5, "fill-good", &format!("recoverable from {} to {}", time(stretch.from), time(stretch.to))))
                }
                @for gap in &coverage.gaps {
                    (bar(span, *gap, 0.0, 1.5, "fill-bad", &said(gap)))
                }
                @for (index, (line, stretch)) in bars.iter().enumerate() {
                    @if let Some(stretch) = stretch {
                        (bar(span, *stretch, index as f64 + 2.0, 0.7, tone(line), &line.id))
                    }
                }
            }
            figcaption {
                (time(span.from)) " to " (time(span.to)) "; above what can be recovered, below each backup"
                @if first > 0 { " of the newest " (bars.len()) }
            }
        }
        @if coverage.gaps.is_empty() && report.gap_count == 0 {
            p class="good" { "There is no gap in between." }
        } @else if coverage.gaps.is_empty() {
            p class="doubt" { "Segments are missing, and the times at which the others were stored do not tell where." }
        } @else {
            ul { @for gap in &coverage.gaps { li class="bad" { (said(gap)) } } }
        }
    }
}

fn said(gap: &Stretch) -> String {
    format!("gap: no time from {} to {} can be recovered", time(gap.from), time(gap.to))
}

fn tone(line: &BackupLine) -> &'static str {
    match line.state {
        BackupState::Restorable => "fill-bar",
        _ => "fill-doubt",
    }
}

fn bar(span: Stretch, at: Stretch, row: f64, rows: f64, class: &str, label: &str) -> Markup {
    let all = span.to.duration_since(span.from).as_secs_f64().max(1.0);
    let place = |time: Timestamp| time.duration_since(span.from).as_secs_f64() / all * WIDTH;
    // What is too short to be seen is seen all the same.
    let width = (place(at.to) - place(at.from)).max(3.0);
    let left = place(at.from).min(WIDTH - width);
    let round = |value: f64| (value * 10.0).round() / 10.0;
    html! {
        rect class=(class) x=(round(left)) width=(round(width)) y=(row * ROW) height=(rows * ROW) {
            title { (text(label)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::holdings::sample;

    /// Backups by id, state, end, and when the last segment that they reach was stored.
    fn report(backups: &[(&str, BackupState, &str, Option<&str>)]) -> CatalogReport {
        let mut report = sample::sound();
        let like = report.backups[0].clone();
        let line = |(id, state, end, reach): &(&str, BackupState, &str, Option<&str>)| {
            let mut line = like.clone();
            (line.id, line.state, line.end_at) = ((*id).to_owned(), *state, Some(at(end)));
            match (&mut line.reach, reach) {
                (Some(known), Some(reach)) => known.archived_at = Some(at(reach)),
                (known, _) => *known = None,
            }
            line
        };
        report.backups = backups.iter().map(line).collect();
        let newest = backups.iter().filter_map(|(.., reach)| *reach).max().unwrap_or("01T00:00");
        report.newest_wal.as_mut().unwrap().archived_at = at(newest);
        report
    }

    fn at(text: &str) -> Timestamp {
        format!("2026-11-{text}:00Z").parse().unwrap()
    }

    fn stretch(from: &str, to: &str) -> Stretch {
        Stretch { from: at(from), to: at(to) }
    }

    #[test]
    fn backups_cover_what_their_wal_reaches() {
        let report = report(&[
            ("a", BackupState::Short, "01T04:00", Some("02T09:00")),
            // Within what the one before reaches, and as far.
            ("b", BackupState::Short, "02T04:00", Some("02T09:00")),
            ("c", BackupState::Blocked, "03T04:00", None),
            ("d", BackupState::Restorable, "04T04:00", Some("05T10:00")),
            ("e", BackupState::Restorable, "05T04:00", Some("05T10:00")),
        ]);
        let coverage = Coverage::of(&report);
        assert_eq!(
            coverage.recoverable,
            [stretch("01T04:00", "02T09:00"), stretch("04T04:00", "05T10:00")]
        );
        assert_eq!(coverage.gaps, [stretch("02T09:00", "04T04:00")]);
        let drawn = figure(&report).into_string();
        assert_eq!(drawn.matches("fill-good").count(), 2, "{drawn}");
        assert_eq!(drawn.matches("class=\"fill-bad\"").count(), 1, "{drawn}");
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
    }

    #[test]
    fn wal_that_nothing_reaches_is_a_gap() {
        let mut report = report(&[("a", BackupState::Short, "01T04:00", Some("02T09:00"))]);
        report.newest_wal.as_mut().unwrap().archived_at = at("03T12:00");
        assert_eq!(Coverage::of(&report).gaps, [stretch("02T09:00", "03T12:00")]);
    }

    #[test]
    fn one_moment_and_nothing_at_all_are_drawn_too() {
        let moment = report(&[("a", BackupState::Standalone, "01T04:00", None)]);
        assert!(!figure(&moment).into_string().contains("NaN"));
        let none = report(&[("a", BackupState::Blocked, "01T04:00", None)]);
        assert!(figure(&none).into_string().contains("Nothing can be recovered"));
    }
}
