//! Programs as PostgreSQL's user, and what they say without what changes from run to run.

use std::{
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::support::tools;

/// What a program ended with, and all that it printed.
#[derive(Clone, Debug)]
pub struct Ended {
    pub status: i32,
    pub text: String,
}

/// A program of the packaged PostgreSQL, as its unprivileged user.
pub fn postgres(program: &str) -> Command {
    as_owner(tools::postgres_bin(tools::packaged_major()).join(program))
}

/// Any program as that user, without the tests' environment.
pub fn as_owner(program: impl Into<PathBuf>) -> Command {
    let mut command = Command::new(program.into());
    command.current_dir("/").env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin");
    command.stdin(Stdio::null());
    if let Some((uid, gid)) = tools::postgres_owner() {
        command.uid(uid).gid(gid);
    }
    command
}

/// Runs it to its end, whatever that is.
pub fn ended(command: &mut Command) -> Ended {
    let output: Output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ended { status: output.status.code().unwrap_or(-1), text }
}

/// The same where nothing but success will do.
#[track_caller]
pub fn sound(command: &mut Command) -> String {
    let ended = ended(command);
    assert_eq!(ended.status, 0, "{command:?}: {}", ended.text);
    ended.text
}

/// A folder of that user.
pub fn folder(path: &Path) -> PathBuf {
    std::fs::create_dir_all(path).unwrap();
    give(path);
    path.to_owned()
}

/// Gives a file or folder to that user.
pub fn give(path: &Path) {
    if let Some((uid, gid)) = tools::postgres_owner() {
        chown(path, Some(uid), Some(gid)).unwrap();
    }
}

/// A copy with owners and links as they are.
pub fn copy(from: &Path, to: &Path) {
    sound(Command::new("cp").arg("-a").arg(from).arg(to));
}

/// A line without its time and process, as PostgreSQL, barman-cloud and pgBackRest write them.
pub fn bare(line: &str) -> &str {
    let dated = line.as_bytes().get(..4).is_some_and(|y| y.iter().all(u8::is_ascii_digit))
        && line.as_bytes().get(4) == Some(&b'-');
    if !dated {
        return line.trim();
    }
    let levels = ["ERROR", "WARN", "INFO", "LOG", "FATAL", "PANIC"];
    levels.iter().filter_map(|level| line.find(level)).min().map_or(line, |at| &line[at..]).trim()
}

/// The line with every number, position and name of a segment as `N`: the same for the same message.
pub fn shape(line: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for c in bare(line).chars().chain(['\n']) {
        if c.is_ascii_hexdigit() || c == '/' || c == '.' {
            word.push(c);
            continue;
        }
        let number = word.chars().any(|c| c.is_ascii_digit());
        out.push_str(if number { "N" } else { &word });
        word.clear();
        out.push(c);
    }
    out.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_message_have_one_shape() {
        let first = "2026-11-22 23:14:00,123 [77] ERROR: WAL file 00000001000000000000000A for server x does not exist";
        let second = "2026-11-23 01:02:03,004 [8] ERROR: WAL file 000000020000000000000011 for server x does not exist";
        assert_eq!(shape(first), shape(second));
        assert_eq!(shape(first), "ERROR: WAL file N for server x does not exist");
        let postgres =
            "2026-11-22 23:14:00.123 UTC [5] LOG:  redo done at 0/5000028 system usage: 0.01 s";
        assert_eq!(shape(postgres), "LOG:  redo done at N system usage: N s");
        assert_eq!(bare("FATAL:  no"), "FATAL:  no");
    }
}
