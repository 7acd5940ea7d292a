//! Progress for a person: bars where stderr is a terminal, plain lines where it is not.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write},
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{
    Progress,
    progress::{ProgressEvent, ProgressSink},
};
use crate::{
    drill::{
        format::{bytes, count, duration, printable, rate},
        stage::{Stage, StageEnd},
    },
    pg::Lsn,
};

/// At most one plain line about a stage's way in this time.
const PLAIN_PAUSE: Duration = Duration::from_secs(5);

/// The bars of this process: one screen, so one set.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Runs `write` while no bar is on the screen.
pub fn above_bars(write: impl FnOnce()) {
    BARS.suspend(write);
}

/// What fits stderr: nothing if `quiet`, bars on a terminal, else lines.
#[must_use]
pub fn for_stderr(quiet: bool, color: bool) -> Progress {
    if quiet {
        Progress::silent()
    } else if io::stderr().is_terminal() {
        Progress::new(Arc::new(Bars { color, current: Mutex::new(None) }))
    } else {
        let start = Instant::now();
        Progress::new(Arc::new(Plain::new(io::stderr(), move || start.elapsed())))
    }
}

/// How far replay is, from 0 to 1.
fn replayed_share(at: Lsn, start: Lsn, end: Lsn) -> f64 {
    let whole = end.0.saturating_sub(start.0);
    if whole == 0 {
        return 1.0;
    }
    (at.0.saturating_sub(start.0) as f64 / whole as f64).clamp(0.0, 1.0)
}

/// Lines for logs and pipes: every start and end, and now and then the way between.
struct Plain<W, C> {
    /// Time since some start, monotonic.
    clock: C,
    state: Mutex<PlainState<W>>,
}

struct PlainState<W> {
    out: W,
    stage: Option<PlainStage>,
    /// When a check's progress was last told, or its start.
    check_line: Duration,
}

struct PlainStage {
    stage: Stage,
    started: Duration,
    last_line: Duration,
    total_bytes: Option<u64>,
    fetched: u64,
}

impl<W: Write + Send, C: Fn() -> Duration + Send + Sync> Plain<W, C> {
    fn new(out: W, clock: C) -> Self {
        Self {
            clock,
            state: Mutex::new(PlainState { out, stage: None, check_line: Duration::ZERO }),
        }
    }
}

impl<W: Write + Send, C: Fn() -> Duration + Send + Sync> ProgressSink for Plain<W, C> {
    fn event(&self, event: ProgressEvent) {
        let now = (self.clock)();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = state.line(event, now) {
            // Talk that cannot be written is not worth ending a drill.
            let _ = writeln!(state.out, "{line}");
        }
    }
}

impl<W> PlainState<W> {
    fn line(&mut self, event: ProgressEvent, now: Duration) -> Option<String> {
        match event {
            ProgressEvent::StageStarted { stage, total_bytes } => {
                self.stage = Some(PlainStage {
                    stage,
                    started: now,
                    last_line: now,
                    total_bytes,
                    fetched: 0,
                });
                let size = total_bytes.map_or_else(String::new, |b| format!(", {}", bytes(b)));
                Some(format!("{}: started{size}", stage.name()))
            }
            ProgressEvent::Fetched { bytes: fetched } => {
                let stage = self.stage.as_mut()?;
                stage.fetched = fetched;
                stage.due(now).then(|| stage.fetch_line(now))
            }
            ProgressEvent::Replayed { at, start, end } => {
                let stage = self.stage.as_mut()?;
                let share = replayed_share(at, start, end);
                stage.due(now).then(|| {
                    format!("{}: at {at} of {end} ({:.0} %)", stage.stage.name(), share * 100.0)
                })
            }
            ProgressEvent::StageFinished { stage, seconds, end } => {
                let ours = self.stage.take_if(|current| current.stage == stage);
                Some(finished(stage, seconds, end, ours.map_or(0, |s| s.fetched)))
            }
            ProgressEvent::CheckStarted { name } => {
                self.check_line = now;
                Some(format!("check {}: started", printable(&name)))
            }
            ProgressEvent::CheckProgress { name, done, total, unit } => {
                (now.saturating_sub(self.check_line) >= PLAIN_PAUSE).then(|| {
                    self.check_line = now;
                    format!("check {}: {}", printable(&name), checked(done, total, unit))
                })
            }
            ProgressEvent::CheckFinished { name, status, seconds } => {
                Some(format!("check {}: {status} after {}", printable(&name), duration(seconds)))
            }
            ProgressEvent::Note { text } => Some(format!("note: {}", printable(&text))),
        }
    }
}

impl PlainStage {
    fn due(&mut self, now: Duration) -> bool {
        let due = now.saturating_sub(self.last_line) >= PLAIN_PAUSE;
        if due {
            self.last_line = now;
        }
        due
    }

    fn fetch_line(&self, now: Duration) -> String {
        let mut line = format!("{}: {}", self.stage.name(), bytes(self.fetched));
        let seconds = now.saturating_sub(self.started).as_secs_f64();
        if let Some(total) = self.total_bytes.filter(|total| *total > 0) {
            let share = (self.fetched as f64 / total as f64).min(1.0);
            let _ = write!(line, " of {} ({:.0} %)", bytes(total), share * 100.0);
        }
        if let Some(rate) = rate(self.fetched, seconds) {
            let _ = write!(line, ", {rate}");
        }
        if let Some(total) = self.total_bytes.filter(|_| self.fetched > 0) {
            let left = total.saturating_sub(self.fetched) as f64 * seconds / self.fetched as f64;
            let _ = write!(line, ", about {} left", duration(left));
        }
        line
    }
}

fn finished(stage: Stage, seconds: f64, end: StageEnd, fetched: u64) -> String {
    let end = match end {
        StageEnd::Done => "ended",
        StageEnd::Aborted => "aborted",
    };
    let mut line = format!("{}: {end} after {}", stage.name(), duration(seconds));
    if fetched > 0 {
        let _ = write!(line, ", {}", bytes(fetched));
        if let Some(rate) = rate(fetched, seconds) {
            let _ = write!(line, ", {rate}");
        }
    }
    line
}

/// How far a check is. The total may be an estimate, so it is left out where it was too low.
fn checked(done: u64, total: u64, unit: &str) -> String {
    let say = |amount: u64| if unit == "bytes" { bytes(amount) } else { count(amount) };
    let unit = if unit == "bytes" { String::new() } else { format!(" {unit}") };
    if total < done || total == 0 {
        format!("{}{unit}", say(done))
    } else {
        let share = done as f64 / total as f64 * 100.0;
        format!("{} of {}{unit} ({share:.0} %)", say(done), say(total))
    }
}

/// A bar for the stage or check at work, a line above it for each that has ended.
struct Bars {
    color: bool,
    current: Mutex<Option<Shown>>,
}

struct Shown {
    bar: ProgressBar,
    stage: Option<Stage>,
    fetched: u64,
}

impl Bars {
    fn show(
        &self,
        current: &mut Option<Shown>,
        stage: Option<Stage>,
        name: &str,
        total: Option<u64>,
    ) {
        if let Some(before) = current.take() {
            before.bar.finish_and_clear();
        }
        let bar = BARS.add(total.map_or_else(ProgressBar::no_length, ProgressBar::new));
        bar.set_style(self.style(if total.is_some() { BYTES } else { SPINNER }));
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(250));
        *current = Some(Shown { bar, stage, fetched: 0 });
    }

    fn style(&self, template: &str) -> ProgressStyle {
        let template = if self.color {
            template.replace(":32}", ":32.cyan/dim}")
        } else {
            template.to_owned()
        };
        // The templates are constants of this file; a test parses them.
        ProgressStyle::with_template(&template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ")
    }
}

const BYTES: &str = "{prefix:10} [{bar:32}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
const SPINNER: &str = "{prefix:10} {spinner} {elapsed} {msg}";
const POSITION: &str = "{prefix:10} [{bar:32}] {percent} % {msg}, {eta} left";

impl ProgressSink for Bars {
    fn event(&self, event: ProgressEvent) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let line = match event {
            ProgressEvent::StageStarted { stage, total_bytes } => {
                let total = total_bytes.filter(|total| *total > 0);
                self.show(&mut current, Some(stage), stage.name(), total);
                None
            }
            ProgressEvent::Fetched { bytes: fetched } => {
                if let Some(shown) = current.as_mut() {
                    shown.fetched = fetched;
                    // While replay has the bar, its position is one in the WAL.
                    if shown.stage != Some(Stage::Replay) {
                        if shown.bar.length().is_some() {
                            shown.bar.set_position(fetched);
                        } else {
                            shown.bar.set_message(bytes(fetched));
                        }
                    }
                }
                None
            }
            ProgressEvent::Replayed { at, start, end } => {
                if let Some(shown) = current.as_mut() {
                    let whole = end.0.saturating_sub(start.0);
                    if shown.bar.length() != Some(whole) {
                        shown.bar.set_style(self.style(POSITION));
                        shown.bar.set_length(whole);
                    }
                    shown.bar.set_position(at.0.saturating_sub(start.0).min(whole));
                    shown.bar.set_message(format!("at {at} of {end}"));
                }
                None
            }
            ProgressEvent::StageFinished { stage, seconds, end } => {
                let ours = current.take_if(|shown| shown.stage == Some(stage));
                let fetched = ours.map_or(0, |shown| {
                    shown.bar.finish_and_clear();
                    shown.fetched
                });
                Some(finished(stage, seconds, end, fetched))
            }
            ProgressEvent::CheckStarted { name } => {
                self.show(&mut current, None, "check", None);
                if let Some(shown) = current.as_ref() {
                    shown.bar.set_message(printable(&name));
                }
                None
            }
            ProgressEvent::CheckProgress { name, done, total, unit } => {
                if let Some(shown) = current.as_ref().filter(|shown| shown.stage.is_none()) {
                    let far = checked(done, total, unit);
                    shown.bar.set_message(format!("{}: {far}", printable(&name)));
                }
                None
            }
            ProgressEvent::CheckFinished { name, status, seconds } => {
                if let Some(shown) = current.take_if(|shown| shown.stage.is_none()) {
                    shown.bar.finish_and_clear();
                }
                Some(format!("check {}: {status} after {}", printable(&name), duration(seconds)))
            }
            ProgressEvent::Note { text } => Some(format!("note: {}", printable(&text))),
        };
        if let Some(line) = line {
            above_bars(|| {
                let _ = writeln!(io::stderr(), "{line}");
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Events at given seconds, and the lines that came of them.
    fn told(events: Vec<(u64, ProgressEvent)>) -> String {
        let seconds = Arc::new(AtomicU64::new(0));
        let clock = {
            let seconds = Arc::clone(&seconds);
            move || Duration::from_secs(seconds.load(Ordering::Relaxed))
        };
        let plain = Plain::new(Vec::new(), clock);
        for (at, event) in events {
            seconds.store(at, Ordering::Relaxed);
            plain.event(event);
        }
        String::from_utf8(plain.state.into_inner().unwrap().out).unwrap()
    }

    fn end(stage: Stage, seconds: f64, end: StageEnd) -> ProgressEvent {
        ProgressEvent::StageFinished { stage, seconds, end }
    }

    #[test]
    fn a_line_each_few_seconds_and_always_start_and_end() {
        let fetched = |mib: u64| ProgressEvent::Fetched { bytes: mib << 20 };
        let stage = Stage::Fetch;
        let total_bytes = Some(1000 << 20);
        let text = told(vec![
            (0, ProgressEvent::StageStarted { stage, total_bytes }),
            (1, fetched(100)),
            (4, fetched(400)),
            (5, fetched(500)),
            (6, fetched(600)),
            (9, fetched(900)),
            (10, end(stage, 10.0, StageEnd::Done)),
            (10, ProgressEvent::Note { text: "two\nlines\u{7}".to_owned() }),
        ]);
        assert_eq!(
            text,
            "fetch: started, 1000.0 MiB\n\
             fetch: 500.0 MiB of 1000.0 MiB (50 %), 100.0 MiB/s, about 5.0 s left\n\
             fetch: ended after 10 s, 900.0 MiB, 90.0 MiB/s\n\
             note: two lines\\u{7}\n"
        );
    }

    #[test]
    fn replay_tells_positions_and_checks_their_end() {
        let (start, end) = (Lsn(0x100_0000), Lsn(0x500_0000));
        let replayed = |at| ProgressEvent::Replayed { at: Lsn(at), start, end };
        let relations = |done| {
            let name = "amcheck".to_owned();
            ProgressEvent::CheckProgress { name, done, total: 1_200, unit: "relations" }
        };
        let stage = Stage::Replay;
        let text = told(vec![
            (0, ProgressEvent::StageStarted { stage, total_bytes: None }),
            (6, replayed(0x200_0000)),
            (7, replayed(0x300_0000)),
            (12, replayed(0x900_0000)),
            (13, ProgressEvent::StageFinished { stage, seconds: 13.2, end: StageEnd::Done }),
            (13, ProgressEvent::CheckStarted { name: "amcheck".to_owned() }),
            (14, relations(90)),
            (18, relations(300)),
            (23, relations(1_300)),
            (
                24,
                ProgressEvent::CheckFinished {
                    name: "amcheck".to_owned(),
                    status: "passed",
                    seconds: 0.7,
                },
            ),
        ]);
        assert_eq!(
            text,
            "replay: started\n\
             replay: at 0/2000000 of 0/5000000 (25 %)\n\
             replay: at 0/9000000 of 0/5000000 (100 %)\n\
             replay: ended after 13 s\n\
             check amcheck: started\n\
             check amcheck: 300 of 1,200 relations (25 %)\n\
             check amcheck: 1,300 relations\n\
             check amcheck: passed after 0.7 s\n"
        );
    }

    #[test]
    fn nothing_divides_by_zero() {
        let stage = Stage::Fetch;
        let text = told(vec![
            (0, ProgressEvent::Fetched { bytes: 1 }),
            (0, ProgressEvent::StageStarted { stage, total_bytes: Some(0) }),
            (9, ProgressEvent::Fetched { bytes: 0 }),
            (9, ProgressEvent::Replayed { at: Lsn(0), start: Lsn(9), end: Lsn(9) }),
            (9, end(Stage::Plan, 0.0, StageEnd::Done)),
            (9, end(stage, 9.0, StageEnd::Aborted)),
        ]);
        assert_eq!(
            text,
            "fetch: started, 0 B\n\
             fetch: 0 B, 0 B/s\n\
             plan: ended after 0.0 s\n\
             fetch: aborted after 9.0 s\n"
        );
    }

    #[test]
    fn the_templates_parse() {
        for template in [BYTES, SPINNER, POSITION] {
            ProgressStyle::with_template(template).unwrap();
            ProgressStyle::with_template(&template.replace(":32}", ":32.cyan/dim}")).unwrap();
        }
    }
}
