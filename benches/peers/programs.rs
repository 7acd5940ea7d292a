//! What is said of a run beside the machine: the file system and the programs that were compared.

use std::{path::Path, process::Command};

use crate::{bench::Bench, machine::asked, peer, tools};

/// In lines of name and value.
pub fn lines(bench: &Bench) -> Vec<(&'static str, String)> {
    let postgres = tools::postgres_bin(tools::packaged_major()).join("postgres");
    vec![
        ("file system", file_system(&bench.work)),
        ("PostgreSQL", asked(Command::new(postgres).arg("--version"))),
        ("barman-cloud", peer::barman::version()),
        ("pgBackRest", asked(Command::new(peer::pgbackrest::PROGRAM).arg("version"))),
        ("S3 server", bench.server.describe()),
        ("TLS in front of it", bench.server.describe_tls()),
    ]
}

/// The kind of the file system that a folder is on.
fn file_system(folder: &Path) -> String {
    asked(Command::new("findmnt").args(["-n", "-o", "FSTYPE,SOURCE,OPTIONS", "-T"]).arg(folder))
}
