//! The archive that everybody looks at, as it is and damaged.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::TryStreamExt as _;
use pgassay::{
    config,
    demo::s3_server::S3Server,
    selftest::{
        self, SelftestRequest,
        materials::Materials,
        overlay::{Overlay, View},
    },
    store::{self, GetRange, ObjectStore as _, SharedStore, read_all},
};
use tokio_util::sync::CancellationToken;

use super::cluster::{Backups, SERVER};
use crate::support::{
    tools::{ACCESS_KEY, RUNTIME, SECRET_KEY, s3_server},
    workdir::WorkDir,
};

/// More than any object of the fixture holds.
const MOST: usize = 64 << 20;

/// The sound archive, served, with a job that names it.
pub struct Stage {
    pub store: SharedStore,
    pub materials: Materials,
    pub job: PathBuf,
    pub work: WorkDir,
    _s3: S3Server,
}

/// A damaged archive, served.
pub struct Scene {
    pub s3: S3Server,
    _work: WorkDir,
}

impl Stage {
    pub fn new(backups: &Backups) -> Self {
        let s3 = s3_server(&backups.archive.root);
        s3.refuse_writes(true);
        let work = WorkDir::new();
        for (name, key) in [("id", ACCESS_KEY), ("secret", SECRET_KEY)] {
            fs::write(work.join(name), key).unwrap();
        }
        let text = format!(
            "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {{name: detection}}\nspec:\n  archive:\n    \
             url: s3://bucket/archive\n    server: {SERVER}\n    s3:\n      endpoint: {}\n      region: us-east-1\n      \
             pathStyle: true\n      credentials:\n        accessKeyId: {{file: {keys}/id}}\n        \
             secretAccessKey: {{file: {keys}/secret}}\n",
            s3.endpoint(),
            keys = work.path().display()
        );
        let path = work.join("job.yaml");
        fs::write(&path, &text).unwrap();
        let job = config::parse(&text, "job.yaml").unwrap();
        let store: SharedStore = RUNTIME.block_on(store::open(&job)).unwrap();
        let request = SelftestRequest {
            job,
            store: Arc::clone(&store),
            tiers: None,
            only: Vec::new(),
            seed: 1,
            cancel: CancellationToken::new(),
        };
        let materials = RUNTIME.block_on(selftest::prepare(&request)).unwrap();
        let materials = materials.expect("the archive is not sound");
        Self { store, materials, job: path, work, _s3: s3 }
    }

    /// Writes the archive as `view` shows it into a folder of its own, and serves that.
    pub fn show(&self, view: View) -> Scene {
        let work = WorkDir::new();
        let overlay = Overlay::new(Arc::clone(&self.store), view);
        RUNTIME.block_on(write_out(&overlay, &work.join("bucket")));
        let s3 = s3_server(work.path());
        s3.refuse_writes(true);
        Scene { s3, _work: work }
    }
}

/// Every object as a file.
async fn write_out(store: &Overlay, into: &Path) {
    let objects: Vec<_> = store.list("").try_concat().await.unwrap();
    assert!(!objects.is_empty(), "nothing is left of the archive");
    for object in objects {
        let path = into.join(&object.key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let bytes = read_all(store, GetRange::whole(&object.key), MOST).await.unwrap();
        assert_eq!(bytes.len() as u64, object.size, "`{}` lies about its size", object.key);
        fs::write(path, bytes).unwrap();
    }
}
