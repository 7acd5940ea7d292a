//! pgBackRest, with a repository of its own in the same S3 server, through TLS: it speaks nothing else.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{
    Outcome,
    bench::{Bench, Target, give},
    data::cluster::Live,
    measure::{Measured, Timed},
    say,
    server::{self, Server},
};

pub const PROGRAM: &str = "/usr/bin/pgbackrest";

/// What every command of it is told.
fn config(server: &Server, folder: &Path, lines: &str) -> Outcome<PathBuf> {
    if !Path::new(PROGRAM).exists() {
        return Err("pgBackRest is not installed: run `scripts/setup bench`".to_owned());
    }
    let tls = server.tls.as_ref().map_err(Clone::clone)?;
    let _ = fs::remove_dir_all(folder);
    for name in ["lock", "spool"] {
        fs::create_dir_all(folder.join(name)).unwrap();
        give(&folder.join(name));
    }
    give(folder);
    let file = folder.join("pgbackrest.conf");
    let text = format!(
        "[global]\nrepo1-type=s3\nrepo1-path=/pgbackrest\nrepo1-s3-bucket={}\nrepo1-s3-endpoint=127.0.0.1\n\
         repo1-s3-region={}\nrepo1-s3-key={}\nrepo1-s3-key-secret={}\nrepo1-s3-uri-style=path\n\
         repo1-storage-host=127.0.0.1\nrepo1-storage-port={}\nrepo1-storage-verify-tls=n\n\
         repo1-retention-full=1\nlog-level-file=off\nlog-level-console=error\nprocess-max=2\n\
         lock-path={5}/lock\nspool-path={5}/spool\n{lines}",
        server::BUCKET,
        server::REGION,
        server::ACCESS_KEY,
        server::SECRET_KEY,
        tls.port(),
        folder.display()
    );
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    give(&file);
    Ok(file)
}

fn command(config: &Path, stanza: &str) -> Timed {
    Timed::new(PROGRAM)
        .arg(format!("--config={}", config.display()))
        .arg(format!("--stanza={stanza}"))
}

/// A cluster under backup.
pub struct Stanza {
    name: &'static str,
    config: PathBuf,
}

impl Stanza {
    /// Backs up a live cluster; `None` where that cannot be done, which is said.
    pub fn of(
        server: &Server,
        name: &'static str,
        codec: &str,
        live: &Live,
        work: &Path,
    ) -> Option<Self> {
        say("backing it up with pgBackRest");
        let lines = format!(
            "compress-type={codec}\nstart-fast=y\narchive-check=n\n[{name}]\npg1-path={}\npg1-socket-path={}\npg1-user=postgres\n",
            live.source.data_dir().display(),
            live.source.socket_dir().display()
        );
        let made = config(server, &work.join("pgbackrest"), &lines).and_then(|config| {
            let stanza = Self { name, config };
            stanza.run("stanza-create", &[])?;
            stanza.run("backup", &["--type=full".as_ref()])?;
            Ok(stanza)
        });
        made.inspect_err(|why| say(&format!("no backup by pgBackRest: {why}"))).ok()
    }

    /// Archives a file as an `archive_command` would.
    pub fn push(&self, file: &Path) -> Outcome<()> {
        self.run("archive-push", &[file])
    }

    fn run(&self, verb: &str, arguments: &[&Path]) -> Outcome<()> {
        command(&self.config, self.name).arg(verb).args(arguments).run().map(|_| ())
    }
}

/// Restores the base; it syncs its files itself. It leaves a `restore_command` behind that fetches
/// segments ahead (`archive-async`).
pub fn restore(bench: &Bench, stanza: &str, target: &Target) -> Outcome<Measured> {
    let lines = format!(
        "archive-async=y\narchive-get-queue-max=256MiB\n[{stanza}]\npg1-path={}\n",
        target.data.display()
    );
    let config = config(&bench.server, &bench.work.join("pgbackrest"), &lines)?;
    fs::create_dir(&target.data).unwrap();
    give(&target.data);
    fs::set_permissions(&target.data, fs::Permissions::from_mode(0o700)).unwrap();
    let space = format!("--tablespace-map=space={}", target.space.display());
    let restore = command(&config, stanza).arg(space).arg("restore");
    restore.run().map(|(measured, _)| measured)
}
