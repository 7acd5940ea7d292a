//! Base backups that wait where a test says, and sessions that stay open: what happens to a cluster
//! while it is copied.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use pgassay::demo::{barman::Barman, source::Source};

use super::{fixture::Workshop, tools, workdir::WorkDir};

/// barman-cloud's own code runs; this hook of its interpreter holds it right before it opens a file,
/// which is after it took the file's size.
const HOOK: &str = r#"
import os, sys, time
folder, files = os.environ["HOLD_FOLDER"], os.environ["HOLD_AT"].split("\n")
def hook(event, args):
    if event != "open" or not isinstance(args[0], str):
        return
    for index, file in enumerate(files):
        held = os.path.join(folder, "held-%d" % index)
        if args[0].endswith("/" + file) and not os.path.exists(held):
            os.mkdir(held)
            while not os.path.exists(os.path.join(folder, "go-%d" % index)):
                time.sleep(0.005)
sys.addaudithook(hook)
"#;

/// Lets a held backup go on, also where the test panics.
struct LetGo<'a>(&'a Path, usize);

impl Drop for LetGo<'_> {
    fn drop(&mut self) {
        for index in 0..self.1 {
            let _ = fs::write(self.0.join(format!("go-{index}")), "");
        }
    }
}

/// Takes a base backup of `source`. Right before it opens one of `files` (paths inside the data
/// directory, in whatever order it comes to them), `act` is called with the file's index.
pub fn backup_held_at(
    barman: &Barman,
    source: &Source,
    files: &[&str],
    arguments: &[&str],
    mut act: impl FnMut(usize),
) {
    let folder = WorkDir::new();
    fs::write(folder.join("sitecustomize.py"), HOOK).unwrap();
    let script = format!(
        "#!/bin/sh\nexport PYTHONPATH='{0}' HOLD_FOLDER='{0}' HOLD_AT='{1}'\nexec '{2}' \"$@\"\n",
        folder.path().display(),
        files.join("\n"),
        tools::tool("venv/bin/barman-cloud-backup").display(),
    );
    let program = folder.join("barman-cloud-backup");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut barman = barman.clone();
    barman.bin_dir = Some(folder.path().to_owned());
    let mut waiting: BTreeSet<usize> = (0..files.len()).collect();
    std::thread::scope(|scope| {
        let backup = scope.spawn(|| barman.backup(source, arguments));
        let let_go = LetGo(folder.path(), files.len());
        while !backup.is_finished() {
            let held = waiting.iter().copied().find(|i| folder.join(&format!("held-{i}")).exists());
            if let Some(index) = held {
                act(index);
                waiting.remove(&index);
                fs::write(folder.join(&format!("go-{index}")), "").unwrap();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(let_go);
        backup.join().unwrap().unwrap();
    });
    assert_eq!(waiting, BTreeSet::new(), "never opened, of {files:?}");
}

impl Workshop {
    /// Takes a base backup of the workshop's cluster, held before these files.
    pub fn backup_held_at(&self, files: &[&str], arguments: &[&str], act: impl FnMut(usize)) {
        backup_held_at(&self.barman, &self.source, files, arguments, act);
    }

    /// The file of a relation, inside the data directory.
    pub fn file_of(&self, relation: &str) -> String {
        self.sql("app", &format!("select pg_relation_filepath('{relation}')"))
    }

    /// The same on disk.
    pub fn on_disk(&self, file: &str) -> PathBuf {
        self.source.data_dir().join(file)
    }

    /// A session that runs these statements, each in a transaction of its own unless they say
    /// otherwise, and stays open.
    pub fn session(&self, database: &str, statements: &[&str]) -> Session {
        let mut command = self.client("psql");
        command.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut input = child.stdin.as_ref().unwrap();
        for statement in statements {
            input.write_all(format!("{statement};\n").as_bytes()).unwrap();
        }
        Session(child)
    }

    /// `pgbench` with these arguments, on the database `app`, until it is dropped.
    pub fn pgbench(&self, arguments: &[&str]) -> Session {
        let mut command = self.client("pgbench");
        command.args(arguments).arg("app").stdin(Stdio::null());
        Session(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Waits until no other session is left.
    pub fn alone(&self) {
        self.wait(
            "postgres",
            "select count(*) = 1 from pg_stat_activity where backend_type = 'client backend'",
        );
    }

    /// A client program of the distribution's, pointed at the source.
    pub fn client(&self, name: &str) -> Command {
        let mut command = Command::new(tools::postgres_bin(tools::packaged_major()).join(name));
        command.args(["-U", self.source.superuser(), "-p", "5432", "-h"]);
        command.arg(self.source.socket_dir());
        command
    }
}

/// A client that is ended when dropped; the server rolls its transaction back.
#[derive(Debug)]
pub struct Session(Child);

impl Session {
    /// Waits until its statements are done.
    pub fn end(mut self) {
        drop(self.0.stdin.take());
        let status = self.0.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
