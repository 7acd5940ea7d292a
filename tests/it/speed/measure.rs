//! The same objects decoded to nowhere and verified.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read,
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};

use bytes::{Buf, Bytes};
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

/// The objects of a server, in memory: nothing is measured but what reads them.
#[derive(Clone, Debug)]
pub struct Objects(Arc<BTreeMap<String, Bytes>>);

impl Objects {
    /// Reads those of a server of a bucket's folder.
    pub fn of(bucket: &Path, server: &str) -> Self {
        let mut objects = BTreeMap::new();
        read_below(bucket, &bucket.join("archive").join(server), &mut objects);
        Self(Arc::new(objects))
    }

    /// Keys and bytes.
    pub fn into_map(self) -> BTreeMap<String, Bytes> {
        Arc::into_inner(self.0).unwrap()
    }

    fn listed(&self, prefix: &str) -> Vec<ListedObject> {
        let below = self.0.iter().filter(|(key, _)| key.starts_with(prefix));
        let listed = below.map(|(key, bytes)| ListedObject {
            key: key.clone(),
            size: bytes.len() as u64,
            etag: None,
            modified: None,
        });
        listed.collect()
    }
}

fn read_below(bucket: &Path, folder: &Path, found: &mut BTreeMap<String, Bytes>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_below(bucket, &path, found);
        } else {
            let key = path.strip_prefix(bucket).unwrap().to_str().unwrap().to_owned();
            found.insert(key, fs::read(path).unwrap().into());
        }
    }
}

#[async_trait::async_trait]
impl ObjectStore for Objects {
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Vec<ListedObject>, Error>> {
        stream::iter([Ok(self.listed(prefix))]).boxed()
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let folder = |object: &ListedObject| {
            object.key[prefix.len()..].split_once('/').map(|(folder, _)| folder.to_owned())
        };
        let folders: BTreeSet<String> = self.listed(prefix).iter().filter_map(folder).collect();
        Ok(folders.into_iter().collect())
    }

    async fn get(&self, range: GetRange<'_>) -> Result<ByteStream, Error> {
        assert_eq!((range.offset, range.length), (0, None), "only whole objects are asked for");
        let bytes = self.0.get(range.key).cloned();
        let bytes = bytes.ok_or_else(|| Error::new(Code::ObjectMissing, range.key))?;
        let pieces = (0..bytes.len().div_ceil(PIECE))
            .map(move |piece| Ok(bytes.slice(piece * PIECE..bytes.len().min((piece + 1) * PIECE))));
        Ok(stream::iter(pieces).boxed())
    }

    fn describe(&self) -> String {
        "memory".into()
    }
}

/// Runs `act`, which says how many bytes it was for.
pub fn measured(act: impl FnOnce() -> u64) -> Measured {
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

/// Decodes every tar and every segment to nowhere, each on one thread, on so many threads.
pub fn decode(objects: &Objects, threads: usize) -> Measured {
    let encoded = objects.0.iter().filter(|(key, _)| !key.ends_with("backup.info"));
    let left = Mutex::new(encoded);
    let decode_all = || {
        let mut sum = 0;
        loop {
            let Some((key, bytes)) = left.lock().unwrap().next() else { return sum };
            sum += decode_one(key, bytes.clone());
        }
    };
    measured(|| {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(decode_all)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        })
    })
}

fn decode_one(key: &str, bytes: Bytes) -> u64 {
    let mut decoder = decoder(Codec::split(key).1, bytes.reader());
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
pub fn verify(objects: &Objects, server: &str) -> Measured {
    let job = format!(
        "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {{name: test}}\nspec:\n  archive:\n    \
         url: s3://bucket/archive\n    server: {server}\n"
    );
    let job = config::parse(&job, "job.yaml").unwrap();
    let store: SharedStore = Arc::new(objects.clone());
    measured(|| {
        let (options, cancel) = (VerifyOptions::default(), CancellationToken::new());
        let progress = Progress::silent();
        let work = verify::verify(&store, &job, options, &progress, &cancel);
        let report = RUNTIME.block_on(work).unwrap();
        assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
        0
    })
}
