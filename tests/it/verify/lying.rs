//! Stores and networks that give other bytes than they keep: no damage of the archive.

use std::sync::Arc;

use pgassay::{
    config::flags::default_job,
    drill::{FailureClass, Verdict, VerifyReport, verify_report::Scope},
    store::{
        SharedStore,
        faulty::{Call, Fault, Faulty, Rule},
    },
    telemetry::Progress,
    verify::{self, VerifyOptions},
};
use tokio_util::sync::CancellationToken;

use crate::support::{damage::MIDDLE, fixture, memory, tools::RUNTIME};

const SCOPES: [Scope; 2] = [Scope::Archive, Scope::RecoveryPoint];

fn verify_on(store: SharedStore, server: &str, scope: Scope) -> VerifyReport {
    let job = default_job("lying".into(), memory::location(server));
    let (progress, cancel) = (Progress::silent(), CancellationToken::new());
    let options = VerifyOptions { scope, seed: 0 };
    let work = Box::pin(verify::verify(&store, &job, options, &progress, &cancel));
    RUNTIME.block_on(work).unwrap()
}

/// The first reading of the object that `key` names has another byte, the second is right.
#[track_caller]
fn lies_once(archive: &fixture::Archive, server: &str, key: &str, byte: u64) {
    let objects = memory::objects(&archive.root);
    for scope in SCOPES {
        let rule = Rule::nth(Call::Get, key, 1, Fault::FlipByte(byte));
        let store = Faulty::new(objects.clone(), [rule]);
        let report = verify_on(Arc::new(store.clone()), server, scope);
        let found: Vec<_> = report.findings().collect();
        assert!(found.is_empty(), "{scope:?}, {key}: {found:#?}");
        assert_eq!(report.verdict, Verdict::Inconclusive, "{scope:?}, {key}: {report:#?}");
        let class = Some(FailureClass::ObjectReadIncomplete);
        let told =
            report.errors.iter().any(|error| error.class == class && error.message.contains(key));
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
    let objects = memory::objects(&archive.root);
    for scope in SCOPES {
        let rule = Rule::every(Call::Get, key, Fault::FlipByte(byte));
        let report = verify_on(Arc::new(Faulty::new(objects.clone(), [rule])), server, scope);
        assert_eq!(report.verdict, Verdict::Fail, "{scope:?}, {key}: {report:#?}");
        assert!(report.findings().any(|f| f.class == class), "{scope:?}, {key}: {report:#?}");
    }
}

#[test]
fn a_tar_that_never_decodes() {
    let archive = fixture::rich();
    lies_always(&archive, "rich", "data_0001.tar.gz", 60_000, FailureClass::ArchiveCorrupt);
}

#[test]
fn a_segment_that_does_not_decode_at_the_first_reading() {
    let archive = fixture::rich();
    let key = format!("{MIDDLE}.gz");
    lies_once(&archive, "rich", &key, 5000);
    lies_always(&archive, "rich", &key, 5000, FailureClass::WalCorrupt);
}
