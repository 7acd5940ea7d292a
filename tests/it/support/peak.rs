//! How much memory a program took itself, without those that it started: GNU time tells that of the largest
//! of them all, which in a drill is PostgreSQL's.

use std::{
    fs, io,
    process::{Child, Output},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// Waits for `timer`, a program such as GNU time that starts another one, and gives the most resident bytes
/// of that other one; `None` where it was never seen.
pub fn output_and_peak(timer: Child) -> (io::Result<Output>, Option<u64>) {
    let (id, done) = (timer.id(), AtomicBool::new(false));
    thread::scope(|scope| {
        let watch = scope.spawn(|| peak_of_child(id, &done));
        let output = timer.wait_with_output();
        done.store(true, Ordering::Relaxed);
        (output, watch.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// The high-water mark of the first child of a process, asked for again and again until it is gone: the
/// system keeps the mark, so that only what comes in the last moment can be missed.
fn peak_of_child(parent: u32, done: &AtomicBool) -> Option<u64> {
    let children = format!("/proc/{parent}/task/{parent}/children");
    let mut peak = None;
    while !done.load(Ordering::Relaxed) {
        let child = fs::read_to_string(&children).unwrap_or_default();
        let child = child.split_whitespace().next().unwrap_or("none");
        peak = child.parse().ok().and_then(so_far).max(peak);
        thread::sleep(Duration::from_millis(10));
    }
    peak
}

/// The high-water mark of a process that still runs.
pub fn so_far(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(mark.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}
