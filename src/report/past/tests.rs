use std::fs;

use jiff::Timestamp;

use super::*;
use crate::{
    drill::report::sample,
    report::{json, kept},
};

fn location(folder: &Path) -> StoreLocation {
    StoreLocation::folder(folder.to_str().unwrap())
}

fn id(n: i64) -> KeptId {
    let at = Timestamp::from_second(1_790_000_000 + n * 86_400).unwrap();
    KeptId::new(if n % 2 == 0 { "a" } else { "b/2" }, at, format!("d{n}"))
}

async fn filled(folder: &Path, count: i64) -> Arc<dyn ReportStore> {
    let store: Arc<dyn ReportStore> = kept::open(&location(folder)).await.unwrap().into();
    for n in 0..count {
        let mut report = sample::all()[usize::try_from(n % 4).unwrap()].clone();
        let id = id(n);
        (report.job, report.drill_id) = (id.job().to_owned(), id.drill_id().to_owned());
        store.put(&id, json::render(&report).into()).await.unwrap();
    }
    store
}

/// Every file of the cache.
fn files(cache: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for folder in fs::read_dir(cache.join("history")).unwrap() {
        let entries = fs::read_dir(folder.unwrap().path()).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    files.sort();
    files
}

fn drills(told: &[Told]) -> Vec<&str> {
    told.iter().map(|told| told.past.as_ref().unwrap().drill_id.as_str()).collect()
}

#[tokio::test]
async fn what_is_remembered_is_what_was_read() {
    let dir = tempfile::tempdir().unwrap();
    let (reports, cache) = (dir.path().join("reports"), dir.path().join("cache"));
    let store = filled(&reports, 9).await;
    let reader = |cache: Option<&Path>| PastReader::new(store.clone(), &location(&reports), cache);
    let plain = reader(None).read(&Wanted::default()).await.unwrap();
    assert_eq!(drills(&plain), ["d8", "d7", "d6", "d5", "d4", "d3", "d2", "d1", "d0"]);

    let some = reader(Some(&cache)).read(&Wanted::job("a").limit(2)).await.unwrap();
    assert_eq!(drills(&some), ["d8", "d6"]);
    assert_eq!(files(&cache).len(), 1);
    for _ in 0..2 {
        assert_eq!(reader(Some(&cache)).read(&Wanted::default()).await.unwrap(), plain);
    }
    let ended = |cache: Option<&Path>| {
        let reader = reader(cache);
        async move {
            let verdicts = [Verdict::Fail, Verdict::Breach];
            reader.read_ended(&Wanted::default(), &verdicts).await.unwrap()
        }
    };
    assert_eq!(drills(&ended(None).await), ["d6", "d5", "d2", "d1"]);
    assert_eq!(ended(Some(&cache)).await, ended(None).await);
    // Without the reports themselves: everything comes from what is remembered.
    for n in 0..9 {
        let id = id(n);
        fs::write(reports.join(id.folder()).join(id.file()), "gone").unwrap();
    }
    assert_eq!(reader(Some(&cache)).read(&Wanted::default()).await.unwrap(), plain);
    let unknown = reader(None).read(&Wanted::newest(1)).await.unwrap();
    assert!(matches!(unknown[0].past, Err(Unreadable::NoReport(_))), "{unknown:?}");
}

#[tokio::test]
async fn a_torn_or_foreign_file_is_as_good_as_none() {
    let dir = tempfile::tempdir().unwrap();
    let (reports, cache) = (dir.path().join("reports"), dir.path().join("cache"));
    let store = filled(&reports, 6).await;
    let reader = PastReader::new(store.clone(), &location(&reports), Some(&cache));
    let plain = reader.read(&Wanted::default()).await.unwrap();
    let file = files(&cache)[0].clone();
    let whole = fs::read(&file).unwrap();
    let mut spoilt: Vec<Vec<u8>> =
        (0..whole.len()).step_by(97).map(|n| whole[..n].to_vec()).collect();
    spoilt.extend((0..whole.len()).step_by(31).map(|n| {
        let mut bytes = whole.clone();
        bytes[n] ^= 0x55;
        bytes
    }));
    spoilt.push([whole.as_slice(), b"more"].concat());
    // The file of the other job.
    spoilt.push(fs::read(&files(&cache)[1]).unwrap());
    for bytes in spoilt {
        fs::write(&file, bytes).unwrap();
        assert_eq!(reader.read(&Wanted::default()).await.unwrap(), plain);
    }
}

#[tokio::test]
async fn what_was_removed_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (reports, cache) = (dir.path().join("reports"), dir.path().join("cache"));
    let store = filled(&reports, 20).await;
    let remembered = Remembered::new(&cache, &location(&reports));
    let reader = PastReader::new(store.clone(), &location(&reports), Some(&cache));
    reader.read(&Wanted::default()).await.unwrap();
    assert_eq!(remembered.load("a").len(), 10);
    for n in (0..14).step_by(2) {
        store.remove(&id(n)).await.unwrap();
    }
    // A part of the reports says nothing of the others.
    reader.read(&Wanted::job("a").limit(1)).await.unwrap();
    assert_eq!(remembered.load("a").len(), 10);
    let left = reader.read(&Wanted::job("a")).await.unwrap();
    assert_eq!(drills(&left), ["d18", "d16", "d14"]);
    assert_eq!(remembered.load("a").len(), 3);
    assert_eq!(remembered.load("b/2").len(), 10);
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let reports = dir.path().join("reports");
    let cache = dir.path().join("file");
    fs::write(&cache, "").unwrap();
    let store = filled(&reports, 3).await;
    let reader = PastReader::new(store, &location(&reports), Some(&cache));
    assert_eq!(drills(&reader.read(&Wanted::default()).await.unwrap()), ["d2", "d1", "d0"]);
}
