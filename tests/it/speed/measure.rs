//! The same objects through the same store, decoded to nowhere and verified.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};

use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use pgassay::{
    archive::Codec,
    config,
    drill::{Code, Error, Verdict},
    restore::codec::decoder,
    store::{ByteStream, GetRange, ListedObject, ObjectStore, SharedStore},
    telemetry::Progress,
    verify::{self, VerifyOptions},
};
use tokio_util::sync::CancellationToken;

use crate::support::tools::RUNTIME;

/// Objects that `verify` decodes at a time.
pub const AT_A_TIME: usize = 2;
/// Bytes of a body that come at once.
const PIECE: usize = 64 * 1024;

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// On the clock.
    pub seconds: f64,
    /// Of all processors.
    pub cpu: f64,
    /// Decoded; zero where nobody counted.
    pub bytes: u64,
}

/// A folder as a store: nothing but the system's page cache lies below.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn below(&self, folder: &Path, found: &mut Vec<ListedObject>) {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.below(&path, found);
            } else {
                let key = path.strip_prefix(&self.0).unwrap().to_str().unwrap().to_owned();
                let size = path.metadata().unwrap().len();
                found.push(ListedObject { key, size, etag: None, modified: None });
            }
        }
    }

    fn listed(&self, prefix: &str) -> Vec<ListedObject> {
        let mut found = Vec::new();
        self.below(&self.0.join(prefix), &mut found);
        found.retain(|object| object.key.starts_with(prefix));
        found.sort_by(|a, b| a.key.cmp(&b.key));
        found
    }
}

#[async_trait::async_trait]
impl ObjectStore for Folder {
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Vec<ListedObject>, Error>> {
        stream::iter([Ok(self.listed(prefix))]).boxed()
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let entries = fs::read_dir(self.0.join(prefix)).into_iter().flatten();
        let folders = entries.map(Result::unwrap).filter(|entry| entry.path().is_dir());
        Ok(folders.map(|entry| entry.file_name().into_string().unwrap()).collect())
    }

    async fn get(&self, range: GetRange<'_>) -> Result<ByteStream, Error> {
        assert_eq!((range.offset, range.length), (0, None), "only whole objects are asked for");
        let path = self.0.join(range.key);
        let file = File::open(path).map_err(|e| Error::new(Code::ObjectMissing, e.to_string()))?;
        Ok(stream::unfold(file, |mut file| async {
            let mut piece = Vec::with_capacity(PIECE);
            let count = (&mut file).take(PIECE as u64).read_to_end(&mut piece).unwrap();
            (count > 0).then(|| (Ok(Bytes::from(piece)), file))
        })
        .boxed())
    }

    fn describe(&self) -> String {
        self.0.display().to_string()
    }
}

fn measured(act: impl FnOnce() -> u64) -> Measured {
    let (since, cpu) = (Instant::now(), cpu_seconds());
    let bytes = act();
    Measured { seconds: since.elapsed().as_secs_f64(), cpu: cpu_seconds() - cpu, bytes }
}

/// Of this process, by the hundred ticks a second that Linux shows to everybody (`proc(5)`).
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap());
    ticks.sum::<u64>() as f64 / 100.0
}

/// Decodes every tar and every segment of a server to nowhere, each on one thread from the file that it
/// is, on so many threads.
pub fn decode(bucket: &Path, server: &str, threads: usize) -> Measured {
    let objects = Folder(bucket.to_owned()).listed(&format!("archive/{server}/"));
    let objects = objects.into_iter().filter(|object| !object.key.ends_with("backup.info"));
    let left = Mutex::new(objects);
    let decode_all = || {
        let mut sum = 0;
        loop {
            let Some(object) = left.lock().unwrap().next() else { return sum };
            sum += decode_one(&bucket.join(&object.key));
        }
    };
    measured(|| {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(decode_all)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        })
    })
}

fn decode_one(path: &Path) -> u64 {
    let file = File::open(path).unwrap();
    let mut decoder = decoder(Codec::split(path.to_str().unwrap()).1, file);
    let mut buffer = vec![0; 256 * 1024];
    let mut sum = 0;
    loop {
        match decoder.read(&mut buffer).unwrap() {
            0 => return sum,
            count => sum += count as u64,
        }
    }
}

/// Verifies a server.
pub fn verify(bucket: &Path, server: &str) -> Measured {
    let job = format!(
        "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {{name: test}}\nspec:\n  archive:\n    \
         url: s3://bucket/archive\n    server: {server}\n"
    );
    let job = config::parse(&job, "job.yaml").unwrap();
    let store: SharedStore = Arc::new(Folder(bucket.to_owned()));
    measured(|| {
        let (options, cancel) = (VerifyOptions::default(), CancellationToken::new());
        let progress = Progress::silent();
        let work = verify::verify(&store, &job, options, &progress, &cancel);
        let report = RUNTIME.block_on(work).unwrap();
        assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
        0
    })
}
