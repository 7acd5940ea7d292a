//! Where something was measured, for the page that says so.

use std::{fs, process::Command, thread};

/// The machine in lines of name and value.
pub fn lines() -> Vec<(&'static str, String)> {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = memory.and_then(|text| text.trim().split(' ').next()?.parse::<u64>().ok());
    let cores = thread::available_parallelism().map_or(0, usize::from);
    vec![
        ("processor", format!("{} x {cores}", model.map_or("unknown", |(_, name)| name))),
        (
            "memory",
            kib.map_or_else(String::new, |kib| format!("{:.0} GiB", kib as f64 / 1_048_576.0)),
        ),
        ("system", format!("{}, {}", system(), asked(Command::new("uname").arg("-sr")))),
        ("pgassay", ours()),
    ]
}

fn ours() -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    let commit = asked(Command::new("git").args(["-C", root, "rev-parse", "--short", "HEAD"]));
    let profile = if cfg!(debug_assertions) {
        " (a development build: its times say nothing)"
    } else {
        ", release build"
    };
    format!("{} at commit {commit}{profile}", env!("CARGO_PKG_VERSION"))
}

fn system() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("unknown").trim_matches('"').to_owned()
}

/// The first line that a program prints.
pub fn asked(command: &mut Command) -> String {
    let Ok(output) = command.output() else { return "missing".to_owned() };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().unwrap_or("missing").split_whitespace().collect::<Vec<_>>().join(" ")
}
