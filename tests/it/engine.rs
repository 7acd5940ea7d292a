//! The native engine on this machine: where it works, as whom, and what ends it.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::Path,
    process::Command,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use pgassay::{
    archive::{Backup, BackupInfo, CatalogBuilder, Codec, ObjectRef, catalog::TarSet},
    demo::source::{Source, SourceSpec, run},
    drill::{
        Code, DrillPlan, Error, FailureClass,
        expectation::Expectation,
        job::Target,
        plan::{PlannedWal, Window},
    },
    engine::{Engine, EngineContext, RestoreEnd, Restored, native::NativeEngine},
    pg::{Lsn, Major, SegmentNumber, SegmentSize, TimelineHistory, TimelineId},
    store::{ByteStream, GetRange, ListedObject, ObjectStore},
    telemetry::Progress,
};
use tokio_util::sync::CancellationToken;

use crate::support::{
    drill::{Answer, Drill, environment},
    fixture::{self, Archive, Recipe, Workshop},
    tools,
    workdir::{WorkDir, tree},
};

/// What is left below a work directory but empty bases and the locks of jobs.
fn left_below(work: &Path) -> Vec<String> {
    let harmless = |path: &String| {
        path.contains("locks") || path.starts_with("pgassay") && !path.contains('/')
    };
    tree(work).into_iter().filter(|path| !harmless(path)).collect()
}

#[test]
fn a_work_directory_whose_name_is_long_and_full_of_spaces() {
    let archive = fixture::rich();
    let drill = Drill::new(&archive.root, "rich", &archive.rows_of("end"));
    // Longer than the address of a Unix socket may be (108 bytes).
    let work = drill.work.join(&format!("it's a \"work\" $dir with 50% {}", "x".repeat(120)));
    fs::create_dir(&work).unwrap();
    let answer = Answer::from(drill.command_in(&work).output().unwrap());
    answer.expect("pass", 0);
    assert_eq!(left_below(&work), Vec::<String>::new());
}

#[test]
fn without_root() {
    let archive = fixture::rich();
    let drill = Drill::new(&archive.root, "rich", &archive.rows_of("end"));
    let (uid, gid) = tools::postgres_owner().expect("this test needs root to become another user");
    let work = drill.work.join("own");
    fs::create_dir(&work).unwrap();
    chown(&work, Some(uid), Some(gid)).unwrap();
    let program = drill.work.join("pgassay");
    fs::copy(env!("CARGO_BIN_EXE_pgassay"), &program).unwrap();
    let mut command = Command::new("setpriv");
    command
        .env_clear()
        .envs(environment())
        .arg(format!("--reuid={uid}"))
        .arg(format!("--regid={gid}"))
        .arg("--clear-groups")
        .arg(&program)
        .arg("drill")
        .arg(drill.work.join("job.yaml"))
        .args(["--output", "json", "--work-dir"])
        .arg(&work);
    let answer = Answer::from(command.output().unwrap());
    answer.expect("pass", 0);
    assert_eq!(left_below(&work), Vec::<String>::new());
}

#[test]
fn the_server_has_a_network_of_its_own() {
    let archive = fixture::rich();
    let answer = Drill::new(&archive.root, "rich", "  depth: restore").run(&[]);
    answer.expect("pass", 0);
    assert_eq!(answer.report["sandbox"]["network_isolated"], true, "{}", answer.stdout);
    assert_eq!(answer.report["sandbox"]["removed"], true);
}

#[test]
fn too_small_a_budget_is_refused_before_anything_is_fetched() {
    let archive = fixture::rich();
    let drill = Drill::new(&archive.root, "rich", "  sandbox: {diskBudget: 1MiB}");
    let answer = drill.run(&[]);
    answer.expect("inconclusive", 4);
    assert!(answer.stdout.contains("E003"), "{}", answer.stdout);
    let stages = answer.report["stages"].to_string();
    assert!(!stages.contains("\"fetch\""), "{stages}");
}

#[test]
fn a_server_of_another_major_is_no_help() {
    let archive = fixture::of_major(17);
    let drill = Drill::new(&archive.root, "major17", "");
    let mut command = drill.command();
    command.env_remove("PGASSAY_PG_BIN").env("PATH", "/usr/bin:/bin");
    let answer = Answer::from(command.output().unwrap());
    answer.expect("inconclusive", 4);
    let errors = answer.report["errors"].to_string();
    assert!(errors.contains("E001") && errors.contains("postgresql-17"), "{errors}");
    assert!(errors.contains(&format!("only {}", tools::packaged_major())), "{errors}");
    drill.assert_nothing_left(&answer);
}

/// A standby of the workshop's cluster, as CloudNativePG prefers to take backups from.
fn standby(shop: &Workshop) -> Source {
    let (uid, gid) = tools::postgres_owner().expect("this test needs root to become `postgres`");
    let mut standby = Source::create(SourceSpec {
        bin_dir: tools::postgres_bin(tools::packaged_major()),
        root: shop.work.join("standby"),
        owner: Some((uid, gid)),
        superuser: "postgres".to_owned(),
        initdb: Vec::new(),
        settings: Vec::new(),
        environment: Vec::new(),
    })
    .unwrap();
    standby.stop(true).unwrap();
    fs::remove_dir_all(standby.data_dir()).unwrap();
    let space = shop.work.join("standby-space");
    fs::create_dir(&space).unwrap();
    chown(&space, Some(uid), Some(gid)).unwrap();
    let mut mapping = shop.source.make_dir("space").unwrap().into_os_string();
    mapping.push("=");
    mapping.push(space);
    let mut copy = Command::new(tools::postgres_bin(tools::packaged_major()).join("pg_basebackup"));
    copy.uid(uid).gid(gid).current_dir("/").args(["-R", "-c", "fast", "-U", "postgres", "-D"]);
    copy.arg(standby.data_dir()).arg("-T").arg(mapping).arg("-h").arg(shop.source.socket_dir());
    run(&mut copy).unwrap();
    let socket = standby.socket_dir();
    let own = format!("archive_mode = off\nunix_socket_directories = '{}'\n", socket.display());
    standby.append_config(&own).unwrap();
    standby.start().unwrap();
    standby
}

/// An archive whose one backup was taken from a standby, server `standby`. Mark: `end`.
pub fn standby_archive() -> Archive {
    fixture::archive("standby", |root| {
        let recipe = Recipe { initdb: &["--wal-segsize=1"], ..Recipe::default() };
        let mut shop = Workshop::new(root, "standby", recipe);
        let mut standby = standby(&shop);
        for i in 0..3 {
            shop.add(&format!("before{i}"), 500);
        }
        shop.barman.backup(&standby, &["--gzip"]).unwrap();
        for i in 0..3 {
            shop.add(&format!("after{i}"), 500);
        }
        shop.mark("end");
        shop.switch_wal();
        standby.stop(true).unwrap();
        shop.finish()
    })
}

#[test]
fn a_backup_taken_from_a_standby() {
    let archive = standby_archive();
    let drill = Drill::new(&archive.root, "standby", &archive.rows_of("end"));
    drill.run(&[]).expect("pass", 0);
    drill.run(&["--target-time", &archive.marks["end"].time]).expect("pass", 0);
    // There is no record that ends such a backup: `pg_control` of the tar says when it is consistent.
    let immediate = Drill::new(&archive.root, "standby", "").run(&["--target-immediate"]);
    immediate.expect("pass", 0);
    assert_eq!(immediate.report["reached"]["end"], immediate.report["promise"]["end"]);
}

/// A store that never answers.
#[derive(Debug)]
struct Silent;

#[async_trait]
impl ObjectStore for Silent {
    fn list(&self, _prefix: &str) -> BoxStream<'static, Result<Vec<ListedObject>, Error>> {
        stream::pending().boxed()
    }

    async fn list_folders(&self, _prefix: &str) -> Result<Vec<String>, Error> {
        std::future::pending().await
    }

    async fn get(&self, _range: GetRange<'_>) -> Result<ByteStream, Error> {
        std::future::pending().await
    }

    fn describe(&self) -> String {
        "a store that never answers".to_owned()
    }
}

fn object(key: &str) -> ObjectRef {
    ObjectRef { key: key.to_owned(), size: 1000, etag: None, modified: None, codec: Codec::Plain }
}

fn plan() -> DrillPlan {
    let timeline = TimelineId(1);
    let info =
        "begin_xlog=0/2000028\nend_xlog=0/2000100\nstatus=DONE\nsystemid=7\nversion=150018\n";
    let backup = Backup {
        id: "20261122T040000".to_owned(),
        info: Ok(BackupInfo::parse(info).unwrap()),
        unsettled: false,
        info_object: None,
        data: TarSet { parts: BTreeMap::from([(0, object("data.tar"))]) },
        tablespaces: BTreeMap::new(),
        unreadable: Vec::new(),
        label_object: false,
        keep: None,
        modified: None,
    };
    let mut listed = CatalogBuilder::new("");
    listed.add("wals/0000000100000000/000000010000000000000002", 1000, None, None);
    let (size, number) = (SegmentSize::DEFAULT, SegmentNumber(2));
    let wal = listed.finish().wal.select(size, [(timeline, number, number)]);
    DrillPlan {
        backup,
        why: "the only one".to_owned(),
        major: Major::from_number(tools::packaged_major()).unwrap(),
        segment_size: size,
        system_id: 7,
        target: Target::Latest,
        target_words: "latest".to_owned(),
        exclusive: false,
        history: TimelineHistory::root(timeline),
        history_files: Vec::new(),
        wal: PlannedWal::new(wal),
        expectation: Expectation { timeline, at_least: Lsn(0x200_0100), at_most: Lsn(0x300_0000) },
        backups_apart: None,
        base_bytes: 1000,
        wal_bytes: 1000,
        disk_bytes: 1 << 20,
        findings: Vec::new(),
        notes: Vec::new(),
        window: Window::default(),
    }
}

/// Restores from a store that never answers, with `limits` from a job.
async fn restore_from_silence(work: &Path, limits: &str, cancel: CancellationToken) -> Restored {
    let text = format!(
        "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {{name: silent}}\nspec:\n  \
         archive: {{url: s3://bucket/path, server: silent}}\n  limits: {limits}\n"
    );
    let mut job = pgassay::config::parse(&text, "job.yaml").unwrap();
    job.sandbox.work_dir = Some(work.to_path_buf());
    let context = EngineContext {
        job: Arc::new(job),
        plan: Arc::new(plan()),
        store: Arc::new(Silent),
        drill_id: "0199f3a0-0000-7000-8000-00000000abcd".to_owned(),
        progress: Progress::silent(),
        cancel,
    };
    NativeEngine::with_program(env!("CARGO_BIN_EXE_pgassay").into()).restore(context).await
}

async fn expect_error(restored: Restored, code: Code, class: Option<FailureClass>, work: &Path) {
    let RestoreEnd::Errored(error) = restored.end else { panic!("{:?}", restored.end) };
    assert_eq!((error.code, error.class), (code, class), "{error}");
    assert_eq!(restored.stages.0.len(), 1, "only the fetch was under way");
    let sandbox = restored.sandbox.unwrap();
    let private = fs::metadata(work.join("pgassay/silent-00000000abcd/data")).unwrap();
    assert_eq!(private.permissions().mode() & 0o077, 0);
    let report = sandbox.teardown(true).await;
    assert!(report.removed);
    assert_eq!(left_below(work), Vec::<String>::new());
}

#[tokio::test]
async fn a_drill_in_which_nothing_moves_is_ended() {
    let work = WorkDir::new();
    let restored =
        restore_from_silence(work.path(), "{noProgress: 1s}", CancellationToken::new()).await;
    let class = Some(FailureClass::NoProgress);
    expect_error(restored, Code::DeadlineExceeded, class, work.path()).await;
}

#[tokio::test]
async fn a_drill_over_its_time_is_ended() {
    let work = WorkDir::new();
    let restored = restore_from_silence(work.path(), "{total: 1s}", CancellationToken::new()).await;
    let class = Some(FailureClass::InfraError);
    expect_error(restored, Code::DeadlineExceeded, class, work.path()).await;
}

#[tokio::test]
async fn an_interrupted_fetch_is_ended() {
    let work = WorkDir::new();
    let cancel = CancellationToken::new();
    let soon = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        soon.cancel();
    });
    let restored = restore_from_silence(work.path(), "{}", cancel).await;
    let RestoreEnd::Errored(error) = &restored.end else { panic!("{:?}", restored.end) };
    assert_eq!(error.code, Code::Interrupted);
    if let Some(sandbox) = restored.sandbox {
        assert!(sandbox.teardown(true).await.removed);
    }
    assert_eq!(left_below(work.path()), Vec::<String>::new());
}
