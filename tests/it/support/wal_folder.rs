//! A folder that a cluster archives to, from where its WAL goes into an archive in any compression:
//! much faster than one run of barman-cloud for each segment.

use std::{
    fs,
    path::{Path, PathBuf},
};

use pgassay::{archive::Codec, restore::codec::encode};

use super::fixture::Workshop;

/// The folder. Its cluster archives there from [`WalFolder::open`] on.
#[derive(Debug)]
pub struct WalFolder(PathBuf);

impl WalFolder {
    pub fn open(shop: &Workshop) -> Self {
        let spool = Self(shop.source.make_dir("spool").unwrap());
        spool.reopen(shop);
        spool
    }

    /// Archives again after [`WalFolder::lose`].
    pub fn reopen(&self, shop: &Workshop) {
        command(shop, &format!("cp %p {}/%f", self.0.display()));
    }

    /// What comes next is not archived at all.
    pub fn lose(shop: &Workshop) {
        command(shop, "true");
    }

    /// The segments that are there, oldest first.
    pub fn segments(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.len() == 24);
        let mut segments: Vec<PathBuf> = files.filter(named).collect();
        segments.sort();
        segments
    }

    /// Puts every segment into the archive of `server` below `root`.
    pub fn deliver(&self, root: &Path, server: &str, codec: Codec) {
        let wals = root.join("bucket/archive").join(server).join("wals");
        for segment in self.segments() {
            let name = segment.file_name().unwrap().to_str().unwrap();
            encoded(&segment, &wals.join(&name[..16]).join(name), codec);
        }
    }

    /// Forgets all that was archived.
    pub fn clear(&self) {
        for file in fs::read_dir(&self.0).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
}

fn command(shop: &Workshop, command: &str) {
    shop.sql("postgres", &format!("alter system set archive_command = '{command}'"));
    shop.sql("postgres", "select pg_reload_conf()");
}

/// Writes `from` to `to`, encoded and with the codec's extension.
pub fn encoded(from: &Path, to: &Path, codec: Codec) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let to = format!("{}{}", to.display(), codec.extension());
    fs::write(to, encode(codec, &fs::read(from).unwrap()).unwrap()).unwrap();
}
