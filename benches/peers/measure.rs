//! Running a program and what that took, by GNU time.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{fs::chown, process::CommandExt},
    process::{Child, Command, Output, Stdio},
    time::Instant,
};

use tempfile::NamedTempFile;

use crate::{Outcome, peak, tools};

/// What one run took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// On the clock.
    pub seconds: f64,
    /// Of all processors, user and system, with all children; `None` where it is not known.
    pub cpu: Option<f64>,
    /// Resident bytes of the largest process.
    pub peak: Option<u64>,
}

impl Measured {
    /// Something of which only the time is known.
    pub const fn of(seconds: f64) -> Self {
        Self { seconds, cpu: None, peak: None }
    }

    /// This and what follows it.
    pub fn then(self, next: Self) -> Self {
        Self {
            seconds: self.seconds + next.seconds,
            cpu: self.cpu.zip(next.cpu).map(|(one, two)| one + two),
            peak: self.peak.max(next.peak),
        }
    }
}

/// A program to be run and measured, as PostgreSQL's user where we are root, with nothing in its
/// environment but the path.
pub struct Timed {
    command: Command,
    figures: NamedTempFile,
}

impl Timed {
    /// As PostgreSQL's user.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self::by(program, tools::postgres_owner())
    }

    /// As the user that started the benchmark.
    pub fn ours(program: impl AsRef<OsStr>) -> Self {
        Self::by(program, None)
    }

    fn by(program: impl AsRef<OsStr>, owner: Option<(u32, u32)>) -> Self {
        let figures = NamedTempFile::new_in("/var/tmp").unwrap();
        let mut command = Command::new("/usr/bin/time");
        command.args(["-f", "%U %S %M", "-o"]).arg(figures.path()).arg(program);
        command.env_clear().envs([("LC_ALL", "C"), ("PATH", "/usr/bin:/bin")]);
        command.current_dir("/").stdin(Stdio::null());
        if let Some((uid, gid)) = owner {
            chown(figures.path(), Some(uid), Some(gid)).unwrap();
            command.uid(uid).gid(gid);
        }
        Self { command, figures }
    }

    pub fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.command.arg(word);
        self
    }

    pub fn args<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.command.args(words);
        self
    }

    pub fn envs(mut self, pairs: &[(String, String)]) -> Self {
        self.command.envs(pairs.iter().map(|(key, value)| (key, value)));
        self
    }

    /// Runs it to its end; with what it printed.
    ///
    /// # Errors
    /// It could not be run, or ended with another status than 0: its last lines.
    pub fn run(mut self) -> Outcome<(Measured, String)> {
        let since = Instant::now();
        let output = self.command.output().map_err(|error| format!("cannot be run: {error}"))?;
        let ended = self.ended(since, &output)?;
        if !output.status.success() {
            let said = if ended.stderr.trim().is_empty() { &ended.stdout } else { &ended.stderr };
            return Err(last_lines(said));
        }
        Ok((ended.measured, ended.stdout))
    }

    /// Runs it to its end, whatever that is. The peak is that of the program itself, without those that
    /// it starts.
    ///
    /// # Errors
    /// It could not be run.
    pub fn watched(mut self) -> Outcome<Ended> {
        let since = Instant::now();
        let failed = |error| format!("cannot be run: {error}");
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.command.spawn().map_err(failed)?;
        let (output, peak) = peak::output_and_peak(child);
        let mut ended = self.ended(since, &output.map_err(failed)?)?;
        ended.measured.peak = peak;
        Ok(ended)
    }

    fn ended(&self, since: Instant, output: &Output) -> Outcome<Ended> {
        let seconds = since.elapsed().as_secs_f64();
        let (cpu, peak) = read_figures(&self.figures)?;
        let measured = Measured { seconds, cpu: Some(cpu), peak: Some(peak) };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Ended { measured, stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }

    /// Starts a server, its output into a file.
    pub fn start(mut self, log: &std::path::Path) -> Outcome<Running> {
        let failed = |error| format!("cannot be started: {error}");
        let file = fs::File::options().create(true).append(true).open(log).map_err(failed)?;
        let again = file.try_clone().map_err(failed)?;
        let child = self.command.stdout(file).stderr(again).spawn().map_err(failed)?;
        Ok(Running { child, figures: self.figures })
    }
}

/// A program that was run to its end.
pub struct Ended {
    pub measured: Measured,
    pub stdout: String,
    pub stderr: String,
}

/// A server under measurement.
pub struct Running {
    child: Child,
    figures: NamedTempFile,
}

impl Running {
    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end, which somebody else must bring about: processor seconds, and the peak of its
    /// largest process.
    pub fn end(mut self) -> Outcome<(f64, u64)> {
        self.child.wait().map_err(|error| error.to_string())?;
        read_figures(&self.figures)
    }
}

/// The last line is ours; GNU time puts how a program ended before it.
fn read_figures(file: &NamedTempFile) -> Outcome<(f64, u64)> {
    let text = fs::read_to_string(file.path()).map_err(|error| error.to_string())?;
    let parse = || {
        let mut words = text.lines().last()?.split_whitespace();
        let mut seconds = || words.next()?.parse::<f64>().ok();
        let cpu = seconds()? + seconds()?;
        Some((cpu, words.next()?.parse::<u64>().ok()? << 10))
    };
    parse().ok_or_else(|| format!("GNU time said `{}`", text.trim()))
}

/// The end of what a program said, in one line.
pub fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(3)..].join(" / ");
    let cut = last.char_indices().rev().nth(400).map_or(0, |(at, _)| at);
    last[cut..].to_owned()
}

/// Middle, least and most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// `None` of nothing.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let even = values.len().is_multiple_of(2);
        let median =
            if even { f64::midpoint(values[half - 1], values[half]) } else { values[half] };
        Some(Self { median, least, most })
    }
}
