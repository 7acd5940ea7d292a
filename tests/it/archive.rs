//! Archives that barman-cloud made, read by the catalog and the planner, and compared with what
//! Barman's own programs say of them.

use std::{collections::BTreeMap, fs, path::Path, process::Command, sync::Arc, time::Duration};

use jiff::Timestamp;
use pgassay::{
    archive::{BackupInfo, Catalog, literal::Literal},
    demo::source::run,
    drill::{
        DrillPlan, Job,
        job::{
            BackupChoice, Depth, EngineKind, Limits, MetricsSpec, Objectives, RecoveryPoint,
            SandboxSpec, Target, TargetChoice,
        },
        plan::plan,
        timing::Timing,
    },
    pg::{SegmentNumber, SegmentSize, TimelineId},
    store::{SharedStore, memory::MemoryStore},
    survey::{servers, survey},
    telemetry::Progress,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::support::{
    fixture::{self, CODECS},
    memory::{self, location},
    tools::{ACCESS_KEY, RUNTIME, SECRET_KEY, s3_server, tool},
    workdir::WorkDir,
};

fn store(root: &Path) -> (MemoryStore, SharedStore) {
    let objects = memory::objects(root);
    (objects.clone(), Arc::new(objects))
}

fn catalog(store: &SharedStore, server: &str) -> Catalog {
    let (progress, cancel) = (Progress::silent(), CancellationToken::new());
    RUNTIME.block_on(survey(store, &location(server), &progress, &cancel)).unwrap()
}

fn planned(catalog: &Catalog, recovery_point: RecoveryPoint) -> DrillPlan {
    let job = Job {
        name: "archive".into(),
        labels: BTreeMap::new(),
        timing: Timing::default(),
        archive: location("any"),
        recovery_point,
        engine: EngineKind::Native,
        depth: Depth::Deep,
        sandbox: SandboxSpec {
            work_dir: None,
            disk_budget: None,
            memory: 1 << 30,
            keep_on_failure: None,
            user: None,
            postgres_bin: None,
            fsync: true,
        },
        objectives: Objectives::default(),
        checks: Vec::new(),
        limits: Limits {
            total: None,
            no_progress: Duration::from_mins(1),
            bandwidth: None,
            connections: std::num::NonZeroUsize::MIN,
        },
        report_store: None,
        sign: None,
        metrics: MetricsSpec::default(),
        notify: Vec::new(),
    };
    plan(&job, catalog, Timestamp::now(), 0).unwrap_or_else(|refusal| panic!("{refusal:#?}"))
}

/// Runs a barman-cloud program on the archive below `root`.
fn barman(root: &Path, program: &str, arguments: &[&str]) -> String {
    let s3 = s3_server(root);
    let mut command = Command::new(tool(&format!("venv/bin/{program}")));
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .args(["--cloud-provider", "aws-s3", "--endpoint-url", &s3.endpoint()])
        .args(arguments);
    run(&mut command).unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// Runs a Python program where Barman is installed.
fn python(program: &str) -> String {
    run(Command::new(tool("venv/bin/python")).args(["-c", program])).unwrap()
}

#[test]
fn what_barman_says_of_a_backup() {
    let archive = fixture::rich();
    let (_, shared) = store(&archive.root);
    let catalog = catalog(&shared, "rich");
    assert_eq!(catalog.backups.len(), 1);
    let backup = &catalog.backups[0];
    let info = backup.info.as_ref().unwrap();
    let shown = barman(
        &archive.root,
        "barman-cloud-backup-show",
        &["--format", "json", "s3://bucket/archive", "rich", &backup.id],
    );
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let shown = &shown["cloud"];
    let text = |value: Option<String>| Value::from(value.unwrap());
    assert_eq!(shown["status"], info.status.to_string());
    assert_eq!(shown["begin_xlog"], text(info.begin_xlog.map(|lsn| lsn.to_string())));
    assert_eq!(shown["end_xlog"], text(info.end_xlog.map(|lsn| lsn.to_string())));
    assert_eq!(shown["begin_wal"], text(info.begin_wal.clone()));
    assert_eq!(shown["end_wal"], text(info.end_wal.clone()));
    assert_eq!(shown["systemid"], text(info.system_id.map(|id| id.to_string())));
    assert_eq!(shown["timeline"], info.timeline.unwrap().0);
    assert_eq!(shown["version"], info.version.unwrap());
    assert_eq!(shown["xlog_segment_size"], info.segment_size.unwrap().bytes());
    assert_eq!(shown["cluster_size"], info.cluster_size.unwrap());
    assert_eq!(shown["data_checksums"], "on");
    assert_eq!(shown["tablespaces"].as_array().unwrap().len(), info.tablespaces.len());
    assert_eq!(info.tablespaces[0].name, "space");
    let label = Literal::parse(shown["backup_label"].as_str().unwrap()).unwrap();
    assert_eq!(label.as_str(), info.backup_label.as_deref());
    for (key, at) in [("begin_time_iso", info.begin_time), ("end_time_iso", info.end_time)] {
        let iso: Timestamp = shown[key].as_str().unwrap().parse().unwrap();
        assert_eq!(iso, at.unwrap(), "{key}");
    }
    assert_eq!((info.unknown_keys.len(), info.warnings.len()), (0, 0), "{info:?}");
    assert!(!info.is_from_standby() && !info.is_incremental());
}

#[test]
fn every_object_has_a_meaning_and_a_place_in_the_plan() {
    let archive = fixture::rich();
    let (_, shared) = store(&archive.root);
    let catalog = catalog(&shared, "rich");
    assert_eq!(catalog.unknown_keys, [""; 0]);
    let backup = &catalog.backups[0];
    assert!(backup.data.parts.len() > 1, "the fixture's backup has parts");
    assert_eq!((backup.tablespaces.len(), backup.part_gaps().len()), (1, 0));

    let plan = planned(&catalog, RecoveryPoint::default());
    assert_eq!(plan.findings, []);
    assert_eq!(plan.expectation.timeline, TimelineId(2));
    assert!(plan.wal.stored().is_sorted_by(|one, next| one.number.next() == next.number));
    let end: pgassay::pg::Lsn = archive.marks["end"].lsn.parse().unwrap();
    assert!(plan.expectation.at_most >= end && plan.expectation.at_least < end);
    // Each key leads to an object of exactly that size.
    let bucket = archive.root.join("bucket");
    for planned in plan.wal.iter() {
        let size = fs::metadata(bucket.join(&planned.object.key)).unwrap().len();
        assert_eq!(size, planned.object.size, "{}", planned.object.key);
    }

    let immediate = RecoveryPoint {
        target: TargetChoice::Given(Target::Immediate),
        ..RecoveryPoint::default()
    };
    let immediate = planned(&catalog, immediate);
    assert!(immediate.wal.len() < plan.wal.len() && immediate.findings.is_empty());
    let found = RUNTIME.block_on(servers(&shared, "archive")).unwrap();
    assert_eq!(found.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["rich"]);
}

#[test]
fn every_compression_is_planned() {
    let archive = fixture::codecs();
    let (_, shared) = store(&archive.root);
    for (server, ..) in CODECS {
        let catalog = catalog(&shared, server);
        assert_eq!(catalog.unknown_key_count, 0, "{server}: {:?}", catalog.unknown_keys);
        let latest = BackupChoice::Id(catalog.backups[0].id.clone());
        let plan = planned(&catalog, RecoveryPoint { backup: latest, ..Default::default() });
        assert_eq!(plan.findings, [], "{server}");
        assert!(!plan.wal.is_empty());
    }
}

/// Where a segment is there in several forms, barman-cloud-wal-restore and the index take the same.
#[test]
fn of_two_forms_the_same_one_is_taken() {
    let name = "000000010000000000000002";
    let forms: [(&str, &[&str]); 7] = [
        ("", &[]),
        (".gz", &["--gzip"]),
        (".bz2", &["--bzip2"]),
        (".xz", &["--xz"]),
        (".snappy", &["--snappy"]),
        (".zst", &["--zstd"]),
        (".lz4", &["--lz4"]),
    ];
    let work = WorkDir::new();
    let root = work.join("s3");
    fs::create_dir_all(root.join("bucket")).unwrap();
    for (index, (_, compression)) in forms.iter().enumerate() {
        // Each form holds another byte, so that it can be told which one was restored.
        let file = work.join(name);
        fs::write(&file, vec![index as u8; 1 << 20]).unwrap();
        let file = file.to_str().unwrap();
        // Barman refuses to archive over a segment of another form: put it beside by a server of
        // its own.
        let server = format!("form{index}");
        let arguments = [compression, &["s3://bucket/archive", &server, file][..]].concat();
        barman(&root, "barman-cloud-wal-archive", &arguments);
    }
    let archive = root.join("bucket/archive");
    let folder = |server: &str| archive.join(server).join("wals/0000000100000000");
    for first in 0..forms.len() {
        let both = folder("both");
        let _ = fs::remove_dir_all(&both);
        fs::create_dir_all(&both).unwrap();
        for (index, (extension, _)) in forms.iter().enumerate().skip(first) {
            let file = format!("{name}{extension}");
            fs::copy(folder(&format!("form{index}")).join(&file), both.join(&file)).unwrap();
        }
        let out = work.join("out");
        let spool = work.join("spool").join(first.to_string());
        let arguments = [
            "--spool-dir",
            spool.to_str().unwrap(),
            "s3://bucket/archive",
            "both",
            name,
            out.to_str().unwrap(),
        ];
        barman(&root, "barman-cloud-wal-restore", &arguments);
        let restored = forms[fs::read(&out).unwrap()[0] as usize].0;

        let (_, shared) = store(&root);
        let catalog = catalog(&shared, "both");
        let size = SegmentSize::new(1 << 20).unwrap();
        let taken = catalog.wal.segment(TimelineId(1), SegmentNumber(2), size).unwrap();
        assert_eq!(taken.codec.extension(), restored, "from {first}");
        assert_eq!(catalog.wal.segment_count(), 1);
    }
}

fn json(literal: &Literal) -> Value {
    match literal {
        Literal::None => Value::Null,
        Literal::Bool(value) => Value::from(*value),
        Literal::Int(value) => Value::from(i64::try_from(*value).unwrap()),
        Literal::Float(value) => Value::from(format!("float {}", value.to_bits())),
        Literal::Str(value) => Value::from(value.as_str()),
        Literal::List(items) | Literal::Tuple(items) => items.iter().map(json).collect(),
        Literal::Dict(pairs) => {
            pairs.iter().map(|(k, v)| (k.as_str().unwrap().to_owned(), json(v))).collect()
        }
        Literal::Bytes(_) | Literal::Call(..) => panic!("unexpected {literal}"),
    }
}

/// Texts as Python's `repr` writes them, and what they mean as JSON.
#[test]
fn literals_as_python_writes_them() {
    let program = r#"
import json, random, struct
random.seed(7)
alphabet = list("ab'\"\\\n\t\r\0\x7f\x85é€😀 {}[](),:") + [chr(c) for c in range(0x250)]
def text(): return "".join(random.choice(alphabet) for _ in range(random.randrange(8)))
def value(depth):
    kind = random.randrange(8 if depth else 5)
    if kind == 0: return None
    if kind == 1: return random.random() < .5
    if kind == 2: return random.randrange(-10**18, 10**18)
    if kind == 3: return random.randrange(-2**40, 2**40) / 1024
    if kind == 4: return text()
    if kind == 5: return [value(depth - 1) for _ in range(random.randrange(4))]
    if kind == 6: return tuple(value(depth - 1) for _ in range(random.randrange(4)))
    return {text(): value(depth - 1) for _ in range(random.randrange(4))}
# JSON's reader may round the last digit of a fraction, so fractions are compared by their bits.
def plain(v):
    if isinstance(v, float): return "float %d" % struct.unpack("<Q", struct.pack("<d", v))
    if isinstance(v, (list, tuple)): return [plain(i) for i in v]
    if isinstance(v, dict): return {k: plain(i) for k, i in v.items()}
    return v
for _ in range(2000):
    v = value(3)
    print(json.dumps([repr(v), plain(v)]))
"#;
    let output = python(program);
    assert_eq!(output.lines().count(), 2000);
    for line in output.lines() {
        let pair: Value = serde_json::from_str(line).unwrap();
        let source = pair[0].as_str().unwrap();
        let literal = Literal::parse(source).unwrap_or_else(|error| panic!("{source}: {error}"));
        assert_eq!(json(&literal), pair[1], "{source}");
    }
}

/// A description that Barman's own class writes, with names that need quoting.
#[test]
fn a_description_as_barman_writes_it() {
    let program = r#"
import io, sys, datetime
import barman.output
from barman.infofile import BackupInfo, Tablespace
from dateutil import tz
info = BackupInfo("20261122T190000")
info.set_attribute("status", "DONE")
info.set_attribute("version", 170011)
info.set_attribute("systemid", "7412345678901234567")
info.set_attribute("timeline", 10)
info.set_attribute("begin_wal", "0000000A0000000A000000FE")
info.set_attribute("begin_xlog", "A/FE000028")
info.set_attribute("xlog_segment_size", 16777216)
info.set_attribute("tablespaces", [Tablespace("it's", 16385, "/srv/a b"), Tablespace('q"q', 16386, "/srv/é\n")])
info.set_attribute("begin_time", datetime.datetime(2026, 11, 22, 19, 0, 0, 123456, tzinfo=tz.tzoffset(None, 3600)))
info.set_attribute("end_time", datetime.datetime(2026, 11, 22, 18, 0, 5, tzinfo=tz.tzutc()))
info.set_attribute("backup_label", "START WAL LOCATION: A/FE000028 (file 0000000A0000000A000000FE)\nSTART TIMELINE: 10\nLABEL: it's \"q\"\n")
info.set_attribute("copy_stats", {"total_time": 1.5, "analysis_time_per_item": {"a": 0}})
out = io.BytesIO()
info.save(file_object=out)
sys.stdout.write(out.getvalue().decode())
"#;
    let text = python(program);
    let info = BackupInfo::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(info.tablespaces[0].name, "it's");
    assert_eq!(info.tablespaces[1].name, "q\"q");
    assert_eq!(info.tablespaces[1].location, "/srv/é\n");
    assert_eq!(info.begin_time, Some("2026-11-22T18:00:00.123456Z".parse().unwrap()));
    assert_eq!(info.end_time, Some("2026-11-22T18:00:05Z".parse().unwrap()));
    assert_eq!(info.label_start().unwrap().to_string(), "A/FE000028");
    assert_eq!(info.label_timeline(), Some(TimelineId(10)));
    assert!(info.backup_label.unwrap().ends_with("LABEL: it's \"q\"\n"));
    assert_eq!((info.unknown_keys, info.warnings), (vec![], vec![]));
}
