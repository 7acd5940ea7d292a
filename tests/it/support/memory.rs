//! An archive's objects in memory, where stores may lie and damage costs nothing.

use std::{fs, path::Path};

use futures_util::StreamExt as _;
use jiff::Timestamp;
use pgassay::{
    drill::job::{ArchiveLocation, S3Spec, StoreLocation, StoreScheme},
    store::{ObjectStore as _, memory::MemoryStore},
};

use super::tools::RUNTIME;

/// The objects of the bucket below `root`, with the times of the files.
pub fn objects(root: &Path) -> MemoryStore {
    fn walk(folder: &Path, top: &Path, into: &MemoryStore) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, top, into);
            } else {
                let key = path.strip_prefix(top).unwrap().to_str().unwrap();
                let modified = fs::metadata(&path).unwrap().modified().unwrap();
                let at = Timestamp::try_from(modified).unwrap();
                into.put_at(key, fs::read(&path).unwrap(), at);
            }
        }
    }
    let objects = MemoryStore::default();
    let bucket = root.join("bucket");
    walk(&bucket, &bucket, &objects);
    objects
}

/// Where the fixtures' servers are.
pub fn location(server: &str) -> ArchiveLocation {
    ArchiveLocation {
        store: StoreLocation {
            scheme: StoreScheme::S3,
            bucket: "bucket".into(),
            prefix: "archive".into(),
            s3: S3Spec::default(),
        },
        server: server.into(),
    }
}

/// The keys below `prefix`.
pub fn keys(objects: &MemoryStore, prefix: &str) -> Vec<String> {
    let listed = RUNTIME.block_on(objects.list(prefix).next()).unwrap().unwrap();
    listed.into_iter().map(|object| object.key).collect()
}
