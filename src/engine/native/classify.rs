//! Whose fault a stop of PostgreSQL is: the backup's or this machine's.
//!
//! FATAL and PANIC at the start or in recovery mean a bad backup, unless the cause is on the list of
//! causes of the environment: disk, memory, library, locale, parameter, permission. Messages are
//! looked at before SQLSTATEs, since PostgreSQL gives many of them none but `XX000`.

use super::log::{LogFacts, LogLine};
use crate::drill::{Code, Error, FailureClass, Finding};

/// Why the server stopped.
#[derive(Debug)]
pub enum Cause {
    /// The backup is not good.
    Backup(Finding),
    /// The machine, the settings or the installation.
    Environment(Error),
}

use FailureClass::{
    ConfigError, IncrementalChain, InfraError, LibraryMissing, LocaleMissing, ParamTooLow,
    RecoveryFailed, RelationMissing, TargetBeforeConsistency, TargetUnreachable,
    TimelineDivergence, TimelineHistoryMissing, WalCorrupt, WalLevelMinimal,
    WalMissingForConsistency,
};

/// Words of a message, the class that they mean and the next step. The first match counts.
const MESSAGES: &[(&str, FailureClass, &str)] = &[
    // The machine, our own answers to `restore_command` among it.
    ("could not restore file", InfraError, "Run the drill again."),
    ("No space left on device", InfraError, "Free some room or name another `--work-dir`."),
    ("Disk quota exceeded", InfraError, "Raise the quota or name another `--work-dir`."),
    ("Cannot allocate memory", InfraError, "Give the drill more memory."),
    ("could not create shared memory segment", InfraError, "Lower `sandbox.memory`."),
    ("could not map anonymous shared memory", InfraError, "Lower `sandbox.memory`."),
    ("could not create semaphores", InfraError, "Raise the kernel's semaphore limits."),
    ("could not fork", InfraError, "Raise the process limit of the unprivileged user."),
    ("Unix-domain socket", InfraError, "Name another folder with `--work-dir`."),
    ("could not create lock file", InfraError, "Name another folder with `--work-dir`."),
    ("invalid permissions", InfraError, "Name another folder with `--work-dir`."),
    ("has wrong ownership", InfraError, "Name another folder with `--work-dir`."),
    ("Permission denied", InfraError, "Look at the access rights of the sandbox's folder."),
    ("Too many open files", InfraError, "Raise the limit of open files."),
    ("Input/output error", InfraError, "The disk of this machine has errors."),
    // What is installed.
    ("could not load library", LibraryMissing, "Install the library for this server."),
    ("could not access file", LibraryMissing, "Install the library for this server."),
    ("resource manager with ID", LibraryMissing, "Install the library that wrote this WAL."),
    ("locale is incompatible", LocaleMissing, "Install the locale on this machine."),
    ("could not open collator", LocaleMissing, "Install a server with this ICU locale."),
    ("ICU is not supported", LocaleMissing, "Install a server that is built with ICU."),
    (
        "database files are incompatible with server",
        InfraError,
        "Install a server that is built \
      with the block sizes of the backup's.",
    ),
    // Settings.
    ("insufficient parameter settings", ParamTooLow, "Please report this: pgassay sets them."),
    (
        "maximum number of prepared transactions",
        ParamTooLow,
        "Please report this: pgassay sets \
      it from the WAL.",
    ),
    ("could not find free replication state", ParamTooLow, "Please report this message."),
    ("too many replication slots", ParamTooLow, "Please report this message."),
    ("contains errors", ConfigError, "Please report this with the server's log."),
    // The backup.
    ("recovery ended before configured recovery target", TargetUnreachable, ""),
    ("requested recovery stop point is before consistent", TargetBeforeConsistency, ""),
    ("WAL ends before end of online backup", WalMissingForConsistency, ""),
    ("WAL ends before consistent recovery point", WalMissingForConsistency, ""),
    ("could not locate required checkpoint record", WalMissingForConsistency, ""),
    ("is not a child of this server's history", TimelineDivergence, ""),
    ("does not contain minimum recovery point", TimelineDivergence, ""),
    ("unexpected timeline ID", TimelineDivergence, ""),
    ("recovery target timeline", TimelineHistoryMissing, ""),
    ("WAL was generated with", WalLevelMinimal, ""),
    ("this is an incremental backup", IncrementalChain, ""),
    ("has wrong size", WalCorrupt, ""),
];

/// SQLSTATEs of the environment (`utils/errcodes.txt`).
const STATES: &[(&str, FailureClass, &str)] = &[
    ("53100", InfraError, "Free some room or name another `--work-dir`."),
    ("53200", InfraError, "Give the drill more memory."),
    ("53300", ParamTooLow, "Please report this message."),
    ("53400", ParamTooLow, "Please report this message."),
    ("42501", InfraError, "Look at the access rights of the sandbox's folder."),
    ("58030", InfraError, "The disk of this machine has errors."),
    ("F0000", ConfigError, "Please report this with the server's log."),
];

/// Judges a server that stopped by itself. `doing` names the stage, such as `recovery`.
#[must_use]
pub fn judge(facts: &LogFacts, doing: &str, exit: &str) -> Cause {
    if let Some(line) = facts.fatal.iter().find(|line| !is_echo(line)) {
        return judge_line(line, doing);
    }
    if let Some(text) = &facts.terminated {
        // The kernel ends processes with 9 when memory runs out, and with 7 when a disk fails.
        let by = |signal: &str| text.contains(&format!("signal {signal}:"));
        if by("9") || by("15") || by("7") {
            return Cause::Environment(environment(
                InfraError,
                &format!("PostgreSQL was ended from outside in {doing}: {text}"),
                "Look for the out-of-memory killer in the kernel's log.",
            ));
        }
        return Cause::Backup(failed(RecoveryFailed, doing, text));
    }
    if let Some(line) = facts.errors.first() {
        return judge_line(line, doing);
    }
    let tail = facts.tail_text(5);
    let said = if tail.is_empty() { "it said nothing".to_owned() } else { tail };
    Cause::Environment(environment(
        InfraError,
        &format!("PostgreSQL ended in {doing} with {exit} and gave no reason: {said}"),
        "Run the server of this installation by hand.",
    ))
}

/// Judges one message.
#[must_use]
pub fn judge_line(line: &LogLine, doing: &str) -> Cause {
    let quote = quote(line);
    let by_text = MESSAGES.iter().find(|(words, ..)| line.text.contains(words));
    let by_state = || STATES.iter().find(|(state, ..)| line.sqlstate == *state);
    match by_text.or_else(by_state) {
        Some((_, class, hint)) if class.is_environment() => Cause::Environment(environment(
            *class,
            &format!("PostgreSQL stopped in {doing}: {quote}"),
            hint,
        )),
        Some((_, class, _)) => Cause::Backup(failed(*class, doing, &quote)),
        None => {
            let missing = line.sqlstate == "58P01" && line.text.contains("could not open file");
            let class = if missing { RelationMissing } else { RecoveryFailed };
            Cause::Backup(failed(class, doing, &quote))
        }
    }
}

/// Messages that only repeat that another one ended the server.
fn is_echo(line: &LogLine) -> bool {
    line.sqlstate.starts_with("57P")
        || line.text.contains("the database system is")
        || line.text.starts_with("terminating")
}

/// The line as the server wrote it, with its detail.
fn quote(line: &LogLine) -> String {
    let detail = line.detail.as_ref().map_or_else(String::new, |detail| format!(" ({detail})"));
    format!("`{}:  {}`{detail}, SQLSTATE {}", line.word, line.text, line.sqlstate)
}

fn failed(class: FailureClass, doing: &str, said: &str) -> Finding {
    Finding::new(
        class,
        "PostgreSQL",
        format!("the server stopped in {doing}: {said}"),
        "Recover another backup, and look at the source's storage and archiving.",
    )
}

fn environment(class: FailureClass, message: &str, hint: &str) -> Error {
    Error::new(Code::PostgresFailed, message).class(class).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::native::log::ServerLog;

    fn class_of(log: &str) -> (bool, FailureClass) {
        let server = ServerLog::default();
        server.read_all(log.as_bytes(), None);
        match server.with(|facts| judge(facts, "recovery", "exit status 1")) {
            Cause::Backup(finding) => (true, finding.class),
            Cause::Environment(error) => (false, error.class.unwrap()),
        }
    }

    #[test]
    fn table() {
        let fatal = |state: &str, text: &str| format!("pgassay|9|{state}|FATAL:  {text}\n");
        for (state, text, backup, class) in [
            ("53100", "could not extend file \"base/5/1\": wrote only 4096", false, InfraError),
            ("XX000", "could not write: No space left on device", false, InfraError),
            ("42501", "could not open file \"base/5/1\"", false, InfraError),
            ("58030", "could not read block 7", false, InfraError),
            ("58P01", "could not access file \"pg_x\": No such file", false, LibraryMissing),
            ("XX000", "resource manager with ID 129 not registered", false, LibraryMissing),
            (
                "42704",
                "database locale is incompatible with operating system",
                false,
                LocaleMissing,
            ),
            ("53200", "maximum number of prepared transactions reached", false, ParamTooLow),
            (
                "22023",
                "recovery aborted because of insufficient parameter settings",
                false,
                ParamTooLow,
            ),
            (
                "F0000",
                "recovery ended before configured recovery target was reached",
                true,
                TargetUnreachable,
            ),
            ("F0000", "configuration file \"x\" contains errors", false, ConfigError),
            ("55000", "WAL ends before end of online backup", true, WalMissingForConsistency),
            (
                "55000",
                "WAL was generated with \"wal_level=minimal\", cannot continue recovering",
                true,
                WalLevelMinimal,
            ),
            (
                "XX000",
                "requested timeline 2 is not a child of this server's history",
                true,
                TimelineDivergence,
            ),
            ("XX001", "invalid page in block 2 of relation base/5/1", true, RecoveryFailed),
            ("58P01", "could not open file \"base/5/2662\": No such file", true, RelationMissing),
            ("XX000", "something that nobody has seen", true, RecoveryFailed),
        ] {
            assert_eq!(class_of(&fatal(state, text)), (backup, class), "{text}");
        }
    }

    #[test]
    fn the_cause_comes_before_its_echoes() {
        let log = "pgassay|9|57P03|FATAL:  the database system is starting up\n\
                   pgassay|8|XX001|PANIC:  invalid page\n";
        assert_eq!(class_of(log), (true, RecoveryFailed));
    }

    #[test]
    fn signals_and_silence() {
        let by = |signal: &str| {
            format!(
                "pgassay|1|00000|LOG:  startup process (PID 7) was terminated by signal {signal}\n"
            )
        };
        assert_eq!(class_of(&by("9: Killed")), (false, InfraError));
        assert_eq!(class_of(&by("11: Segmentation fault")), (true, RecoveryFailed));
        assert_eq!(class_of(""), (false, InfraError));
        assert_eq!(
            class_of("error while loading shared libraries: libx.so\n"),
            (false, InfraError)
        );
    }
}
