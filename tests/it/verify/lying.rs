//! Stores and networks that give other bytes than they keep: no damage of the archive.

use std::sync::Arc;

use futures_util::StreamExt as _;
use pgassay::{
    config::flags::default_job,
    drill::{Code, FailureClass, Verdict, VerifyReport, report::ErrorReport, verify_report::Scope},
    store::{
        ObjectStore as _, SharedStore,
        faulty::{Call, Fault, Faulty, Rule},
        memory::MemoryStore,
    },
    telemetry::Progress,
    verify::{self, VerifyOptions},
};
use tokio_util::sync::CancellationToken;

use crate::support::{
    damage::{MIDDLE, end_inside_a_record},
    fixture, memory,
    tools::RUNTIME,
};

const SCOPES: [Scope; 2] = [Scope::Archive, Scope::RecoveryPoint];

fn verify_on(store: &SharedStore, server: &str, scope: Scope) -> VerifyReport {
    let job = default_job("lying".into(), memory::location(server));
    let (progress, cancel) = (Progress::silent(), CancellationToken::new());
    let options = VerifyOptions { scope, seed: 0 };
    let work = Box::pin(verify::verify(store, &job, options, &progress, &cancel));
    RUNTIME.block_on(work).unwrap()
}

/// The first reading of the object that `key` names has another byte, the second is right.
#[track_caller]
fn lies_once(archive: &fixture::Archive, server: &str, key: &str, byte: u64) {
    errs_once(&memory::objects(&archive.root), server, key, Fault::FlipByte(byte));
}

/// As [`lies_once`], with any fault.
#[track_caller]
fn errs_once(objects: &MemoryStore, server: &str, key: &str, fault: Fault) {
    for scope in SCOPES {
        let store = Faulty::new(objects.clone(), [Rule::nth(Call::Get, key, 1, fault)]);
        let report = verify_on(&(Arc::new(store.clone()) as SharedStore), server, scope);
        let found: Vec<_> = report.findings().collect();
        assert!(found.is_empty(), "{scope:?}, {key}: {found:#?}");
        assert_eq!(report.verdict, Verdict::Inconclusive, "{scope:?}, {key}: {report:#?}");
        let class = Some(FailureClass::ObjectReadIncomplete);
        // A page's file is named, and of its tar only the backup.
        let backup = key.split('/').nth(1).unwrap_or(key);
        let names = |text: &str| text.contains(key) || text.contains(backup);
        let mut errors = report.errors.iter();
        let told = errors.any(|error| error.class == class && names(&error.message));
        assert!(told, "{scope:?}, {key}: {:#?}", report.errors);
        assert!(store.count(Call::Get, key) > 1);
    }
}

/// It has another byte at every reading: then that is what is kept.
#[track_caller]
fn lies_always(
    archive: &fixture::Archive,
    server: &str,
    key: &str,
    byte: u64,
    class: FailureClass,
) {
    errs_always(&memory::objects(&archive.root), server, key, Fault::FlipByte(byte), class);
}

/// As [`lies_always`], with any fault.
#[track_caller]
fn errs_always(objects: &MemoryStore, server: &str, key: &str, fault: Fault, class: FailureClass) {
    for scope in SCOPES {
        let rule = Rule::every(Call::Get, key, fault);
        let report = verify_on(
            &(Arc::new(Faulty::new(objects.clone(), [rule])) as SharedStore),
            server,
            scope,
        );
        assert_eq!(report.verdict, Verdict::Fail, "{scope:?}, {key}: {report:#?}");
        assert!(report.findings().any(|f| f.class == class), "{scope:?}, {key}: {report:#?}");
    }
}

/// The first readings have another byte, and the store fails when it is asked for the `nth`, which is to
/// confirm that.
#[track_caller]
fn lies_and_fails(archive: &fixture::Archive, server: &str, key: &str, byte: u64, nth: u64) {
    let objects = memory::objects(&archive.root);
    errs_and_fails(&objects, server, key, Fault::FlipByte(byte), nth);
}

/// As [`lies_and_fails`], with any fault.
#[track_caller]
fn errs_and_fails(objects: &MemoryStore, server: &str, key: &str, fault: Fault, nth: u64) {
    for scope in SCOPES {
        let fail = Rule::nth(Call::Get, key, nth, Fault::Error(Code::StoreUnavailable));
        let lie = Rule::every(Call::Get, key, fault);
        let store = Arc::new(Faulty::new(objects.clone(), [fail, lie])) as SharedStore;
        let report = verify_on(&store, server, scope);
        assert_eq!(report.verdict, Verdict::Inconclusive, "{scope:?}, {key}: {report:#?}");
        let told = |e: &ErrorReport| e.message.contains("seemed damaged");
        assert!(report.errors.iter().any(told), "{scope:?}, {key}: {:#?}", report.errors);
    }
}

#[test]
fn a_tar_that_does_not_decode_at_the_first_reading() {
    let archive = fixture::rich();
    lies_and_fails(&archive, "rich", "data_0001.tar.gz", 60_000, 2);
    lies_once(&archive, "rich", "data_0001.tar.gz", 60_000);
    lies_always(&archive, "rich", "data_0001.tar.gz", 60_000, FailureClass::ArchiveCorrupt);
}

#[test]
fn a_segment_that_does_not_decode_at_the_first_reading() {
    let archive = fixture::rich();
    let key = format!("{MIDDLE}.gz");
    lies_and_fails(&archive, "rich", &key, 5000, 2);
    lies_once(&archive, "rich", &key, 5000);
    lies_always(&archive, "rich", &key, 5000, FailureClass::WalCorrupt);
}

#[test]
fn an_end_of_the_wal_that_is_bad_at_the_first_reading() {
    let objects = memory::objects(&fixture::codecs().root);
    let (key, header) = end_inside_a_record(&objects, "plain");
    for fault in [Fault::FlipByte(header), Fault::ZerosFrom(500_000)] {
        errs_and_fails(&objects, "plain", &key, fault, 2);
        errs_once(&objects, "plain", &key, fault);
        errs_always(&objects, "plain", &key, fault, FailureClass::WalCorrupt);
    }
}

#[test]
fn a_page_that_is_bad_at_the_first_reading() {
    // Nothing of a plain tar has a checksum but the pages in it, `pg_control` and the tar's headers.
    let archive = fixture::codecs();
    let objects = memory::objects(&archive.root);
    let base = "archive/zstd/base/";
    let key = RUNTIME.block_on(objects.list(base).next()).unwrap().unwrap();
    let key = key.into_iter().find(|object| object.key.ends_with("/data.tar")).unwrap().key;
    let bytes = objects.bytes(&key).unwrap();
    let place = |needle: &[u8]| bytes.windows(needle.len()).position(|w| w == needle).unwrap();
    // `md5('1501' || '1')`: a row that nothing has touched since the backup.
    let row = place(b"21bf78373135b9673366fae7f6ddddeb") as u64;
    let name = &key["archive/zstd/".len()..];
    // The second looks into its catalogs.
    lies_and_fails(&archive, "zstd", name, row, 3);
    lies_once(&archive, "zstd", name, row);
    lies_always(&archive, "zstd", name, row, FailureClass::PageChecksum);
    // The first byte of the system identifier.
    let control = place(b"global/pg_control\0") as u64 + 512;
    lies_and_fails(&archive, "zstd", name, control, 2);
    lies_once(&archive, "zstd", name, control);
    lies_always(&archive, "zstd", name, control, FailureClass::ArchiveCorrupt);
}
