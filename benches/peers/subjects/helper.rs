//! The program that PostgreSQL starts for every segment.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixListener,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use super::super::{
    Outcome,
    bench::Bench,
    measure::Measured,
    subject::{Bar, Contender, Goal, Subject},
};

const OURS: &str = "pgassay";
/// Questions of one run.
const QUESTIONS: u32 = 200;

/// One after the other, each answered at once.
pub fn helper(bench: &Bench) -> Subject<'_> {
    let ours = move || {
        let top = bench.folder("helper");
        let (run, data) = (top.join("run"), top.join("data"));
        for folder in [&run, &data] {
            fs::create_dir(folder).map_err(|error| error.to_string())?;
        }
        let socket = UnixListener::bind(run.join("wal.sock")).map_err(|error| error.to_string())?;
        thread::spawn(move || {
            for stream in socket.incoming().take(QUESTIONS as usize) {
                let Ok(mut stream) = stream else { return };
                let _ = stream.read(&mut [0; 256]);
                let _ = stream.write_all(b"0");
            }
        });
        let words = ["__pgassay-wal", "000000010000000000000001", "pg_wal/RECOVERYXLOG"];
        started(Path::new(env!("CARGO_BIN_EXE_pgassay")), &words, &data)
    };
    let floor = || started(Path::new("/bin/true"), &[], Path::new("/"));
    Subject {
        title: "restore_command helper",
        counts: format!(
            "Seconds to start the program and have its answer, the mean of {QUESTIONS} in a row; where the segment \
             comes from is not in it."
        ),
        contenders: vec![
            Contender::new(OURS, "the helper of a drill, answered by a thread here", ours),
            Contender::new("/bin/true", "a program that does nothing", floor),
        ],
        goals: vec![Goal { ours: OURS, than: "", bar: Bar::Under(0.003) }],
    }
}

fn started(program: &Path, words: &[&str], folder: &Path) -> Outcome<Measured> {
    let since = Instant::now();
    for _ in 0..QUESTIONS {
        let mut command = Command::new(program);
        command.args(words).current_dir(folder).env_clear().stdin(Stdio::null());
        let status = command.status().map_err(|error| error.to_string())?;
        if !status.success() {
            return Err(format!("`{}` ended with {status}", program.display()));
        }
    }
    Ok(Measured::of(since.elapsed().as_secs_f64() / f64::from(QUESTIONS)))
}
