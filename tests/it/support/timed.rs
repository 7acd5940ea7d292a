//! A program and what it took, by GNU time.

use std::process::{Command, Stdio};

use tempfile::NamedTempFile;

use super::{drill::Answer, peak};

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// On the clock.
    pub seconds: f64,
    /// Of all processors, user and system.
    pub cpu: f64,
    /// Most resident bytes of the program itself.
    pub peak: u64,
}

/// Runs a command with exactly the environment that was set for it.
pub fn timed(plain: &Command) -> (Answer, Took) {
    let figures = NamedTempFile::new_in("/var/tmp").unwrap();
    let mut timed = Command::new("/usr/bin/time");
    timed.args(["-f", "%e %U %S", "-o"]).arg(figures.path());
    timed.arg(plain.get_program()).args(plain.get_args()).env_clear();
    timed.envs(plain.get_envs().filter_map(|(key, value)| Some((key, value?))));
    if let Some(folder) = plain.get_current_dir() {
        timed.current_dir(folder);
    }
    timed.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (output, peak) = peak::output_and_peak(timed.spawn().unwrap());
    let answer = Answer::from(output.unwrap());
    let text = std::fs::read_to_string(figures.path()).unwrap();
    // GNU time puts how a program ended before it.
    let line = text.lines().last().unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    let [elapsed, user, system] = *words else { panic!("GNU time said `{text}`") };
    let [seconds, user, system] = [elapsed, user, system].map(|word| word.parse::<f64>().unwrap());
    (answer, Took { seconds, cpu: user + system, peak: peak.unwrap() })
}
