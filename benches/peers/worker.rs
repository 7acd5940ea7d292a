//! Parts of ours that no command runs alone, as programs of their own: so that they are measured as
//! their peers are, from a process's start to its end.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use pgassay::{
    archive::Codec,
    check::checksums::verify_cluster,
    config,
    drill::{Code, Error},
    restore::{
        codec::decoder,
        pages::{PageWatch, WatchRules},
        tar::TarReader,
    },
    store::{ByteStream, GetRange, ListedObject, ObjectStore, SharedStore},
    telemetry::Progress,
    verify::{self, VerifyOptions},
};
use tokio_util::sync::CancellationToken;

use crate::{Outcome, say, tools};

/// The first argument of such a program.
pub const WORD: &str = "worker";
/// Bytes of a file that are read at once.
const PIECE: usize = 128 << 10;

/// Does the work that is asked for, if this process is such a program.
pub fn work(words: &[String]) -> Option<ExitCode> {
    let [first, verb, rest @ ..] = words else { return None };
    if first != WORD {
        return None;
    }
    let done = match (verb.as_str(), rest) {
        ("checksums", [folder]) => checksums(Path::new(folder)),
        ("decode", [tar]) => decode(Path::new(tar), false),
        ("decode-and-check", [tar]) => decode(Path::new(tar), true),
        ("walk", [folder, count]) => walk(Path::new(folder), count.parse().unwrap()),
        _ => Err(format!("no such work: {words:?}")),
    };
    Some(done.map_or_else(
        |why| {
            say(&why);
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    ))
}

/// Every page of a cluster at rest.
fn checksums(data: &Path) -> Outcome<()> {
    let pages = verify_cluster(data, &Progress::silent(), &CancellationToken::new());
    let pages = pages.map_err(|error| error.message)?;
    if pages.findings.is_empty() && pages.checksums && pages.pages > 0 {
        Ok(())
    } else {
        Err(format!("{} pages, {} findings", pages.pages, pages.findings.len()))
    }
}

/// A tar in gzip, decoded and walked, and its pages verified on the way or not.
fn decode(tar: &Path, check: bool) -> Outcome<()> {
    let file = File::open(tar).map_err(|error| error.to_string())?;
    let input = BufReader::with_capacity(PIECE, decoder(Codec::Gzip, file));
    let mut tar = TarReader::new(input);
    let watch = PageWatch::new(WatchRules::default());
    while let Some(entry) = tar.next_entry().map_err(|error| error.to_string())? {
        let mut file = if check { watch.file(&entry.path) } else { None };
        loop {
            let piece = tar.data().map_err(|error| error.to_string())?;
            if piece.is_empty() {
                break;
            }
            if let Some(file) = &mut file {
                file.data(piece);
            }
            let count = piece.len();
            tar.consume(count);
        }
    }
    let pages = watch.finish();
    if pages.has_suspects() || check != (pages.checked().pages > 0) {
        return Err(format!("{:?}", pages.checked()));
    }
    Ok(())
}

/// Every record of so many segments, by a `verify` of an archive that has nothing else: that the tars of
/// its backup are missing is said, and all that is.
fn walk(folder: &Path, count: u64) -> Outcome<()> {
    let job = "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {name: walk}\nspec:\n  archive:\n    \
               url: s3://bucket/archive\n    server: log\n";
    let job = config::parse(job, "job.yaml").unwrap();
    let store: SharedStore = Arc::new(Folder { root: folder.to_owned(), spares: Arc::default() });
    let (progress, cancel) = (Progress::silent(), CancellationToken::new());
    let work = verify::verify(&store, &job, VerifyOptions::default(), &progress, &cancel);
    let report = tools::RUNTIME.block_on(work).map_err(|error| error.message)?;
    let bad: Vec<String> = report
        .findings()
        .filter(|finding| finding.class.name().starts_with("wal_"))
        .map(|finding| finding.detail.clone())
        .collect();
    let volume = report.volume;
    if volume.wal_segments == count && volume.wal_records > count && bad.is_empty() {
        Ok(())
    } else {
        Err(format!("read {volume:?}, found {bad:?}"))
    }
}

/// A folder as an object store.
#[derive(Debug)]
struct Folder {
    root: PathBuf,
    spares: Spares,
}

/// Buffers that were read: fresh memory for every piece would be half of what is measured.
type Spares = Arc<Mutex<Vec<Vec<u8>>>>;

/// Bytes of a file; the buffer goes back when nobody needs them any more.
struct Piece {
    buffer: Vec<u8>,
    length: usize,
    spares: Spares,
}

impl Piece {
    /// Reads the next one; `None` at the file's end.
    fn read(file: &mut impl Read, spares: &Spares) -> io::Result<Option<Self>> {
        let spare = spares.lock().unwrap().pop();
        let mut piece = Self {
            buffer: spare.unwrap_or_else(|| vec![0; PIECE]),
            length: 0,
            spares: Arc::clone(spares),
        };
        while piece.length < PIECE {
            match file.read(&mut piece.buffer[piece.length..])? {
                0 => break,
                count => piece.length += count,
            }
        }
        Ok((piece.length > 0).then_some(piece))
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.spares.lock().unwrap().push(std::mem::take(&mut self.buffer));
    }
}

impl Folder {
    fn below(&self, folder: &Path, found: &mut Vec<ListedObject>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                self.below(&path, found);
            } else {
                let key = path.strip_prefix(&self.root).unwrap().to_str().unwrap().to_owned();
                let size = entry.metadata().unwrap().len();
                found.push(ListedObject { key, size, etag: None, modified: None });
            }
        }
    }

    fn listed(&self, prefix: &str) -> Vec<ListedObject> {
        let mut found = Vec::new();
        self.below(&self.root, &mut found);
        found.retain(|object| object.key.starts_with(prefix));
        found.sort_by(|a, b| a.key.cmp(&b.key));
        found
    }
}

#[async_trait]
impl ObjectStore for Folder {
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Vec<ListedObject>, Error>> {
        stream::iter([Ok(self.listed(prefix))]).boxed()
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let listed = self.listed(prefix);
        let names = listed.iter().filter_map(|object| object.key[prefix.len()..].split_once('/'));
        let mut names: Vec<String> = names.map(|(name, _)| name.to_owned()).collect();
        names.dedup();
        Ok(names)
    }

    async fn get(&self, range: GetRange<'_>) -> Result<ByteStream, Error> {
        let missing = |_| Error::new(Code::ObjectMissing, range.key);
        let mut file = File::open(self.root.join(range.key)).map_err(missing)?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(range.offset)).unwrap();
        let mut file = file.take(range.length.unwrap_or(u64::MAX));
        let spares = Arc::clone(&self.spares);
        let pieces = stream::iter(std::iter::from_fn(move || {
            let piece = Piece::read(&mut file, &spares).transpose()?;
            Some(piece.map(Bytes::from_owner).map_err(|error| Error::io("read a segment", &error)))
        }));
        Ok(pieces.boxed())
    }

    fn describe(&self) -> String {
        "a folder".into()
    }
}
