//! WAL that leaves the cluster as fast as it is written, and goes to the archive behind it: one
//! `barman-cloud-wal-archive` after the other takes longer than a busy cluster needs to fill a segment.

use std::{fs, path::PathBuf, sync::Mutex};

use super::fixture::Workshop;

/// A folder that the `archive_command` copies to.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    compression: Vec<String>,
}

/// Files that are taken to the archive at a time.
const AT_A_TIME: usize = 3;

impl Workshop {
    /// From now on WAL goes to a folder, and from there to the archive when [`Workshop::deliver`] is
    /// called or the source is lost.
    pub fn spool_wal(&mut self, compression: &[&str]) {
        let dir = self.source.make_dir("spool").unwrap();
        let to = dir.display();
        let copy = format!("cp %p {to}/.%f && mv {to}/.%f {to}/%f");
        self.sql("postgres", &format!("alter system set archive_command = '{copy}'"));
        self.sql("postgres", "select pg_reload_conf()");
        self.wait("postgres", "select current_setting('archive_command') like 'cp %'");
        let compression = compression.iter().map(|&word| word.to_owned()).collect();
        self.spool = Some(Spool { dir, compression });
    }

    /// Takes what was spooled to the archive by the real program, several files at a time.
    pub fn deliver(&self) {
        let Some(Spool { dir, compression }) = &self.spool else { return };
        let compression: Vec<&str> = compression.iter().map(String::as_str).collect();
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
        let whole = entries.filter(|entry| !entry.file_name().to_str().unwrap().starts_with('.'));
        let mut files: Vec<PathBuf> = whole.map(|entry| entry.path()).collect();
        // Taken from the end.
        files.sort_unstable_by(|a, b| b.cmp(a));
        let files = Mutex::new(files);
        std::thread::scope(|scope| {
            for _ in 0..AT_A_TIME {
                scope.spawn(|| {
                    let next = || files.lock().unwrap().pop();
                    while let Some(file) = next() {
                        self.barman.archive_wal(&compression, &file).unwrap();
                        fs::remove_file(file).unwrap();
                    }
                });
            }
        });
    }
}
