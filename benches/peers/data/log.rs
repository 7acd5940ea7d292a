//! WAL of a pgbench run, taken to the archives by the real programs while it is written: all of it at
//! once would not fit beside the rest.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
};

use super::{MIXED, barman, cluster::Live};
use crate::{peer::pgbackrest::Stanza, scale::Scale, server::Server};

/// Segments that wait in the spool before they are taken away.
const BATCH: usize = 40;
/// Transactions of one client at a time.
const TRANSACTIONS: &str = "4000";

/// Writes WAL and delivers it to every archive of the cluster; the first segments are kept, too. The
/// names of the first and the last one that are to be walked.
pub fn make(
    live: &Live,
    scale: Scale,
    server: &Server,
    stanza: Option<&Stanza>,
    folder: &Path,
) -> [String; 2] {
    let servers = MIXED.map(|(name, _, wal)| (name, wal));
    let walk = folder.join("walk");
    // What was there before the load: the backups' own segments.
    live.switch_wal();
    deliver(files(live), server, &servers, stanza);
    let (mut delivered, mut kept) = (0, Vec::new());
    while delivered < scale.segments {
        let wanted = BATCH.min(scale.segments - delivered);
        let mut seed = delivered;
        while segments(&files(live)).count() < wanted {
            seed += 1;
            let (seed, transactions) = (format!("--random-seed={seed}"), TRANSACTIONS);
            live.pgbench(&["-n", "-M", "prepared", "-c", "4", "-t", transactions, &seed]);
        }
        if delivered + wanted >= scale.segments {
            live.switch_wal();
        }
        let here = files(live);
        for segment in segments(&here) {
            delivered += 1;
            if kept.len() <= scale.walked {
                // `pg_waldump` reads one more, for the record that the last one does not end.
                kept.push(keep(segment, &walk, kept.len() < scale.walked));
            }
        }
        deliver(here, server, &servers, stanza);
    }
    [kept[0].clone(), kept[scale.walked - 1].clone()]
}

/// Removes what was archived so far: no backup needs it.
pub fn forget(live: &Live) {
    live.switch_wal();
    for file in files(live) {
        fs::remove_file(file).unwrap();
    }
}

/// Copies a segment to where it is walked: into a folder with all of them, and as an archive has it.
fn keep(segment: &Path, walk: &Path, for_both: bool) -> String {
    let name = segment.file_name().unwrap().to_str().unwrap().to_owned();
    let archived = walk.join("archive/log/wals").join(&name[..16]);
    let flat = walk.join("flat");
    fs::create_dir_all(&archived).unwrap();
    fs::create_dir_all(&flat).unwrap();
    fs::copy(segment, flat.join(&name)).unwrap();
    if for_both {
        fs::hard_link(flat.join(&name), archived.join(&name)).unwrap();
    }
    name
}

/// The segments among them.
fn segments(files: &[PathBuf]) -> impl Iterator<Item = &PathBuf> {
    files.iter().filter(|path| path.file_name().is_some_and(|name| name.len() == 24))
}

/// All that is whole in the spool, `.backup` files, too, oldest first.
pub fn files(live: &Live) -> Vec<PathBuf> {
    let entries = fs::read_dir(&live.spool).unwrap().map(|entry| entry.unwrap());
    let whole = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
    let mut files: Vec<PathBuf> = whole.map(|entry| entry.path()).collect();
    files.sort();
    files
}

/// Takes files out of the spool to the archives, two programs at a time.
pub fn deliver(
    files: Vec<PathBuf>,
    server: &Server,
    servers: &[(&str, &[&str])],
    stanza: Option<&Stanza>,
) {
    let queue = Mutex::new(files.iter());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let next = || queue.lock().unwrap().next();
                while let Some(file) = next() {
                    for (name, compression) in servers {
                        barman(&server.plain, name).archive_wal(compression, file).unwrap();
                    }
                    if let Some(stanza) = stanza {
                        stanza.push(file).unwrap();
                    }
                }
            });
        }
    });
    for file in files {
        fs::remove_file(file).unwrap();
    }
}
