//! The helper words of the program: what it does when the sandbox starts it, before anything else is
//! set up. Each process here has one thread and either becomes another program or ends soon.
//!
//! `__pgassay-exec` gives PostgreSQL namespaces of its own and the unprivileged user, and ties its
//! life to ours. `__pgassay-wal` is the `restore_command`: it asks the drill for a WAL file.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{Read, Write},
    os::unix::{net::UnixStream, process::CommandExt},
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use rustix::{
    process::{DumpableBehavior, Gid, Pid, Signal, Uid},
    thread::UnshareFlags,
};

use super::identity::Identity;

const EXEC: &str = "__pgassay-exec";
const WAL: &str = "__pgassay-wal";
const PROBE: &str = "__pgassay-namespaces";
const NETWORK_PROBE: &str = "__pgassay-network";

/// Where the drill answers, from `PGDATA`.
const WAL_SOCKET: &str = "../run/wal.sock";

/// Status of the WAL helper for everything but a proven answer: above 125 ends PostgreSQL, where 1
/// would say "end of archive" and let it promote without the rest.
pub const WAL_FAILED: u8 = 200;

/// Status of the exec helper when it could not become the other program.
pub const EXEC_FAILED: u8 = 199;

/// Does what a helper word says, if the arguments start with one.
#[must_use]
pub fn dispatch(mut args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let word = args.nth(1)?;
    if word == WAL {
        Some(ExitCode::from(ask_for_wal(&args.collect::<Vec<_>>())))
    } else if word == EXEC {
        let why = become_program(&args.collect::<Vec<_>>());
        // PostgreSQL's standard error: the drill reads it.
        let _ = writeln!(std::io::stderr(), "{why}");
        Some(ExitCode::from(EXEC_FAILED))
    } else if word == PROBE {
        Some(if own_user_namespace().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    } else if word == NETWORK_PROBE {
        let own = unshare(UnshareFlags::NEWNET | UnshareFlags::NEWIPC);
        Some(if own.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    } else {
        None
    }
}

/// Whether a sandbox started by this program gets a network namespace of its own: as root directly,
/// else through a user namespace.
#[must_use]
pub fn network_isolation() -> bool {
    (rustix::process::geteuid().is_root() && answers(NETWORK_PROBE)) || namespaces_work()
}

/// The command that runs `program` as `identity` through the helper `shim`.
#[must_use]
pub fn command(shim: &Path, identity: &Identity, program: &Path) -> Command {
    let mut command = Command::new(shim);
    command
        .arg(EXEC)
        .arg(std::process::id().to_string())
        .arg(if identity.switch { identity.uid.to_string() } else { "-".to_owned() })
        .arg(if identity.switch { identity.gid.to_string() } else { "-".to_owned() })
        .arg(program);
    command
}

/// The command line of the WAL helper for `restore_command`.
#[must_use]
pub fn restore_command(helper: &str) -> String {
    format!("{helper} {WAL} %f %p")
}

/// Sends the two words to the drill and gives the status that it answers.
fn ask_for_wal(words: &[OsString]) -> u8 {
    let [file, path] = words else { return WAL_FAILED };
    let (Some(file), Some(path)) = (file.to_str(), path.to_str()) else { return WAL_FAILED };
    let ask = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(WAL_SOCKET)?;
        stream.write_all(format!("{file}\n{path}\n").as_bytes())?;
        let mut answer = String::new();
        stream.take(16).read_to_string(&mut answer)?;
        Ok(answer)
    };
    match ask() {
        Ok(answer) => answer.trim().parse().unwrap_or(WAL_FAILED),
        Err(_) => WAL_FAILED,
    }
}

/// Becomes the program, or says why not.
fn become_program(words: &[OsString]) -> String {
    let [parent, uid, gid, program, args @ ..] = words else {
        return "pgassay: the helper's arguments are wrong".to_owned();
    };
    let number = |word: &OsStr| word.to_str().and_then(|text| text.parse::<u32>().ok());
    let user = number(uid).zip(number(gid));
    let own_network =
        user.is_some() && unshare(UnshareFlags::NEWNET | UnshareFlags::NEWIPC).is_ok();
    if let Some((uid, gid)) = user
        && let Err(error) = drop_to(uid, gid)
    {
        return format!("pgassay: cannot become user {uid}: {error}");
    }
    if !own_network && namespaces_work() {
        // A user namespace without a map cannot be left again, so this was tried by another first.
        if let Err(error) = own_user_namespace() {
            return format!("pgassay: cannot make a namespace: {error}");
        }
    }
    // Nothing that a restored cluster starts gains rights, `sudo` and its like included.
    if let Err(error) = rustix::thread::set_no_new_privs(true) {
        return format!("pgassay: cannot give up new privileges: {error}");
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    // Last, since a change of credentials clears it. SIGQUIT is PostgreSQL's immediate shutdown.
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::QUIT)) {
        return format!("pgassay: cannot tie the server's life to ours: {error}");
    }
    let now = rustix::process::getppid().map(Pid::as_raw_pid).map(i32::cast_unsigned);
    if now != number(parent) {
        return "pgassay: the drill has ended".to_owned();
    }
    let error = Command::new(program).args(args).exec();
    format!("pgassay: cannot run `{}`: {error}", Path::new(program).display())
}

/// This process has one thread, so that thread's credentials are the process's.
fn drop_to(uid: u32, gid: u32) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

/// Whether a process of this user may have namespaces: systems differ in where they refuse.
fn namespaces_work() -> bool {
    answers(PROBE)
}

/// Whether this program, started with a helper word, succeeds.
fn answers(word: &str) -> bool {
    let mut probe = Command::new("/proc/self/exe");
    probe.arg(word).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

/// Namespaces without root: a user namespace in which we stay who we are.
fn own_user_namespace() -> std::io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    // After a change of user the kernel would give `/proc/self` to root.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET | UnshareFlags::NEWIPC)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

#[expect(unsafe_code, reason = "the only way to a namespace; the flags never share file tables")]
fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: what makes the call unsafe is `UnshareFlags::FILES`, which no caller passes, and this
    // process has one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}
