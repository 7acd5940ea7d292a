//! The processes of a sandbox: every PostgreSQL process, and what `restore_command` starts, has the
//! data directory as its working directory.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal};

/// Process ids whose working directory is `data`.
#[must_use]
pub fn of(data: &Path) -> Vec<u32> {
    let Ok(data) = fs::canonicalize(data) else { return Vec::new() };
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| works_in(*pid, &data)).collect()
}

fn works_in(pid: u32, data: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data)
}

/// Bytes that the sandbox's processes have read and written so far: tells whether they still work. The
/// postmaster's own do not count: it reads its pid file once a minute, whatever the others do
/// (`ServerLoop`, `postmaster.c`).
#[must_use]
pub fn bytes_moved(data: &Path, postmaster: u32) -> u64 {
    let one = |pid: u32| -> Option<u64> {
        let io = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
        let fields = io.lines().filter_map(|line| line.split_once(": "));
        let moved = fields.filter(|(name, _)| matches!(*name, "rchar" | "wchar"));
        Some(moved.filter_map(|(_, value)| value.parse::<u64>().ok()).sum())
    };
    of(data).into_iter().filter(|pid| *pid != postmaster).filter_map(one).sum()
}

/// Ends every process of the sandbox with `SIGKILL` and waits for them to be gone, a bounded time.
pub async fn end_all(data: &Path) {
    let Ok(real) = fs::canonicalize(data) else { return };
    let begun = Instant::now();
    loop {
        let left = of(&real);
        if left.is_empty() || begun.elapsed() > Duration::from_secs(10) {
            return;
        }
        for pid in left {
            kill(pid, &real);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Through a handle of the process, so that a number given anew is not hit.
fn kill(pid: u32, data: &Path) {
    let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    let Ok(handle) = rustix::process::pidfd_open(id, PidfdFlags::empty()) else { return };
    if works_in(pid, data) {
        let _ = rustix::process::pidfd_send_signal(&handle, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn what_the_postmaster_reads_is_no_progress() {
        let data = tempfile::tempdir().unwrap();
        let mut process = Command::new("cat")
            .current_dir(data.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        process.stdin.as_mut().unwrap().write_all(b"a line\n").unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(of(data.path()), [process.id()]);
        assert!(bytes_moved(data.path(), std::process::id()) >= 2 * line.len() as u64);
        assert_eq!(bytes_moved(data.path(), process.id()), 0);
        drop(process.stdin.take());
        process.wait().unwrap();
    }
}
