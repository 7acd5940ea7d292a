//! barman-cloud: `barman-cloud-restore`, and `barman-cloud-wal-restore` as a `restore_command`.

use std::{path::PathBuf, process::Command};

use pgassay::demo::barman;

use crate::{
    Outcome,
    bench::Target,
    data,
    machine::asked,
    measure::{Measured, Timed},
    server::Endpoint,
};

fn program(name: &str) -> Outcome<PathBuf> {
    barman::find_programs().map(|folder| folder.join(name)).map_err(|error| error.message)
}

pub fn version() -> String {
    program("barman-cloud-restore").map_or_else(
        |why| format!("missing: {why}"),
        |program| asked(Command::new(program).arg("--version")),
    )
}

/// What its programs need in their environment.
pub fn environment(endpoint: &Endpoint) -> Vec<(String, String)> {
    let mut pairs = data::barman(endpoint, "").environment();
    let ca = endpoint.ca.as_ref().map(|ca| ("AWS_CA_BUNDLE".into(), ca.display().to_string()));
    pairs.extend(ca);
    pairs
}

fn place(endpoint: &Endpoint) -> [String; 4] {
    ["--cloud-provider", "aws-s3", "--endpoint-url", &endpoint.url].map(str::to_owned)
}

/// The base of a server's backup, then a sync of the file system.
pub fn restore(
    endpoint: &Endpoint,
    name: &str,
    backup: &str,
    target: &Target,
) -> Outcome<Measured> {
    let barman = data::barman(endpoint, name);
    let program = Timed::new("sh").args(["-c", "\"$@\" && sync -f \"$0\""]).arg(&target.root);
    let program = program.arg(self::program("barman-cloud-restore")?).args(place(endpoint));
    let program = program.arg("--tablespace").arg(format!("space:{}", target.space.display()));
    let program = program.args([&barman.url, name, backup]).arg(&target.data);
    program.envs(&environment(endpoint)).run().map(|(measured, _)| measured)
}

/// A `restore_command`; with `parallel` it fetches so many segments ahead into a folder.
pub fn restore_command(
    endpoint: &Endpoint,
    name: &str,
    parallel: Option<(u32, &std::path::Path)>,
) -> Outcome<String> {
    let barman = data::barman(endpoint, name);
    let mut words = vec![program("barman-cloud-wal-restore")?.display().to_string()];
    words.extend(place(endpoint));
    if let Some((count, spool)) = parallel {
        words.extend(["-p".to_owned(), count.to_string(), "--spool-dir".to_owned()]);
        words.push(spool.display().to_string());
    }
    words.extend([barman.url.as_str(), name, "%f", "%p"].map(str::to_owned));
    Ok(words.join(" "))
}
