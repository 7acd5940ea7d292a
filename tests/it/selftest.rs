//! The self-test on archives that barman-cloud made: damages of every kind, at the tier that can tell.

use std::{collections::BTreeMap, process::Command, sync::Arc};

use pgassay::{
    demo::source::run,
    drill::{
        Job, Verdict,
        selftest::{SelftestReport, Tier},
    },
    selftest::{
        self, SelftestRequest,
        overlay::{Overlay, View},
    },
    store::{ObjectStore as _, SharedStore},
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::support::{
    drill::{Answer, Drill, environment},
    fixture::{self, Archive, Recipe, Workshop},
    tools,
};

/// A few of each kind, the quick ones.
const FEW: [&str; 15] = [
    "wal_middle_missing",
    "wal_bit_flip_zstd",
    "wal_last_bytes_lz4",
    "wal_foreign_system",
    "wal_page_zeros",
    "wal_record_data",
    "wal_manager_unknown",
    "wal_level_minimal",
    "history_stray",
    "info_tablespaces",
    "base_bit_flip_snappy",
    "base_last_part_missing",
    "control_foreign",
    "store_info_vanished",
    "store_wal_denied",
];

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

/// The archive over HTTP from a server that refuses writes, and a job for it.
fn request(drill: &Drill, only: &[&str], tiers: Option<Vec<Tier>>) -> SelftestRequest {
    let text = std::fs::read_to_string(drill.work.join("job.yaml")).unwrap();
    let mut job: Job = pgassay::config::parse(&text, "job.yaml").unwrap();
    job.sandbox.work_dir = Some(drill.sandboxes());
    let keys = |name: &str, value: &str| {
        let path = drill.work.join(name);
        std::fs::write(&path, value).unwrap();
        pgassay::drill::job::SecretSource::File(path)
    };
    job.archive.store.s3.credentials = pgassay::drill::job::Credentials::Static {
        access_key_id: keys("id", crate::support::tools::ACCESS_KEY),
        secret_access_key: keys("key", crate::support::tools::SECRET_KEY),
        session_token: None,
    };
    let store: SharedStore = tokio::task::block_in_place(|| {
        tokio::runtime::Handle::current().block_on(pgassay::store::open(&job)).unwrap()
    });
    SelftestRequest {
        job,
        store,
        tiers,
        only: only.iter().map(|name| (*name).to_owned()).collect(),
        seed: 7,
        cancel: CancellationToken::new(),
    }
}

/// Runs the program on `rich` and gives its exit status and its JSON.
fn program(arguments: &[&str]) -> (i32, Value) {
    program_on(&fixture::rich(), "rich", arguments)
}

fn program_on(archive: &Archive, server: &str, arguments: &[&str]) -> (i32, Value) {
    let drill = Drill::new(&archive.root, server, "");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgassay"));
    command.env_clear().envs(environment()).arg("selftest").arg(drill.work.join("job.yaml"));
    command.args(["--output", "json", "--work-dir"]).arg(drill.sandboxes()).args(arguments);
    let answer = Answer::from(command.output().unwrap());
    assert_eq!(drill.server.writes_seen(), Vec::<String>::new(), "wrote to the archive");
    drill.assert_nothing_left(&answer);
    (answer.exit, answer.report)
}

/// What was not as it should be: name and reason.
fn wrong(report: &Value) -> BTreeMap<String, String> {
    let lists = ["controls", "damages"].map(|list| report[list].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    lists
        .into_iter()
        .flatten()
        .filter(|trial| !["caught", "not_applicable"].contains(&text(&trial["outcome"]).as_str()))
        .map(|trial| (text(&trial["name"]), text(&trial["why"])))
        .collect()
}

#[test]
fn a_few_damages_of_each_kind_are_caught() {
    let only: Vec<&str> = FEW.iter().flat_map(|name| ["--only", *name]).collect();
    let (exit, report) = program(&only);
    assert_eq!(wrong(&report), BTreeMap::new());
    assert_eq!(exit, 0);
    assert_eq!(report["caught"], FEW.len());
    assert_eq!(report["controls"].as_array().unwrap().len(), 1);
}

#[test]
#[ignore = "a matrix: make test-all"]
fn every_damage_is_caught_and_nothing_sound_refused() {
    let (exit, report) = program(&[]);
    assert_eq!(wrong(&report), BTreeMap::new());
    assert_eq!(exit, 0);
    assert!(report["caught"].as_u64().unwrap() >= 100, "{}", report["caught"]);
}

/// What changes bytes of a WAL segment by their place in it.
const PLACED: [&str; 8] = [
    "wal_page_magic",
    "wal_page_info",
    "wal_page_timeline",
    "wal_page_address",
    "wal_page_remaining",
    "wal_page_zeros",
    "wal_tail_zeros",
    "wal_never_closed",
];

/// Servers that have little to do close their segments early: what fills them up is no WAL.
#[test]
fn damages_hit_what_was_written_of_a_segment() {
    let archive = fixture::archive("idle", |root| {
        let recipe = Recipe { initdb: &["--wal-segsize=1"], ..Recipe::default() };
        let mut shop = Workshop::new(root, "idle", recipe);
        shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
        for i in 0..5 {
            shop.add(&format!("a{i}"), 60);
            shop.switch_wal();
        }
        shop.mark("end");
        shop.finish()
    });
    let only = PLACED.iter().flat_map(|name| ["--only", *name]);
    // Page headers are changed where chance wants it.
    for seed in ["1", "2", "3"] {
        let arguments: Vec<&str> =
            only.clone().chain(["--tiers", "read", "--seed", seed]).collect();
        let (exit, report) = program_on(&archive, "idle", &arguments);
        assert_eq!(wrong(&report), BTreeMap::new(), "seed {seed}");
        assert_eq!(exit, 0);
        assert_eq!(report["caught"], PLACED.len());
    }
}

/// Two backups of a cluster of half a gigabyte, with segments of 16 MiB between them and behind.
fn large() -> Archive {
    fixture::archive("large", |root| {
        let mut shop = Workshop::new(root, "large", Recipe::default());
        let bench = |shop: &Workshop, arguments: &[&str]| {
            let bin = tools::postgres_bin(tools::packaged_major());
            let mut pgbench = Command::new(bin.join("pgbench"));
            pgbench.arg("-h").arg(shop.source.socket_dir()).args(["-p", "5432", "-U", "postgres"]);
            run(pgbench.args(arguments).arg("app")).unwrap();
        };
        bench(&shop, &["-i", "-q", "-s", "30"]);
        shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
        bench(&shop, &["-n", "-c", "2", "-t", "2000"]);
        shop.switch_wal();
        shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
        for _ in 0..3 {
            bench(&shop, &["-n", "-c", "2", "-t", "1000"]);
            shop.switch_wal();
        }
        shop.mark("end");
        shop.finish()
    })
}

/// Its tars are more than a self-test rewrites in memory: what needs that is said to be skipped.
#[test]
#[ignore = "a matrix: make test-all"]
fn a_larger_archive_is_no_harder() {
    const OTHERS: [&str; 8] = [
        "wal_middle_missing",
        "wal_bit_flip_zstd",
        "wal_last_bytes_lz4",
        "wal_foreign_system",
        "wal_record_data",
        "store_info_vanished",
        "store_wal_denied",
        "page_zeros",
    ];
    let only = PLACED.iter().chain(&OTHERS).flat_map(|name| ["--only", *name]);
    let (exit, report) = program_on(&large(), "large", &only.collect::<Vec<_>>());
    let skipped = "the tars are too large to be rewritten".to_owned();
    assert_eq!(wrong(&report), BTreeMap::from([("page_zeros".to_owned(), skipped)]));
    assert_eq!(exit, 0);
    assert_eq!(report["caught"], PLACED.len() + OTHERS.len() - 1);
}

/// An archive that is bad already proves nothing about damages.
#[test]
fn an_archive_that_does_not_pass_is_not_damaged_further() {
    runtime().block_on(async {
        let drill = Drill::new(&fixture::rich().root, "rich", "");
        let mut request = request(&drill, &["wal_middle_missing"], Some(vec![Tier::Catalog]));
        let mut view = View::default();
        view.hide("archive/rich/wals/0000000100000000/000000010000000000000022.gz");
        request.store = Arc::new(Overlay::new(Arc::clone(&request.store), view));
        let report = selftest::run(&request, &|_| ()).await.unwrap();
        assert_eq!(report.false_alarms(), 1);
        assert!(report.damages.is_empty() && !report.is_good());
        assert_eq!(report.controls[0].seen[0].verdict, Verdict::Fail);
    });
}

/// Whatever is shown, the archive below stays as it is, and the same seed damages the same bytes.
#[test]
fn damages_are_views_and_come_out_the_same() {
    use futures_util::TryStreamExt as _;
    runtime().block_on(async {
        let drill = Drill::new(&fixture::rich().root, "rich", "");
        let request = request(&drill, &["wal_bit_flip_gzip"], Some(vec![Tier::Catalog]));
        let before: Vec<_> = request.store.list("archive/").try_concat().await.unwrap();
        let seen = |report: SelftestReport| {
            report.damages[0].expected.as_ref().map(|e| e.subjects.clone())
        };
        let first = seen(selftest::run(&request, &|_| ()).await.unwrap());
        let second = seen(selftest::run(&request, &|_| ()).await.unwrap());
        assert_eq!(first, second);
        let after: Vec<_> = request.store.list("archive/").try_concat().await.unwrap();
        assert_eq!(before, after);
    });
}
