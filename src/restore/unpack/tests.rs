use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
};

use proptest::prelude::*;

use super::{policy::Action, *};
use crate::restore::tar::{Entry, tests::Builder};

const DATA: TarSource<'static> = TarSource { key: "base/1/data.tar", place: Place::Data, part: 0 };

struct Case {
    dir: tempfile::TempDir,
    result: Result<(), UnpackFailure>,
    done: Unpacked,
}

fn unpack(source: TarSource<'_>, tar: &[u8]) -> Case {
    let dir = tempfile::tempdir().unwrap();
    let unpacker = Unpacker::open(&dir.path().join("pgdata"), None).unwrap();
    let result = unpacker.unpack(source, tar, &CancellationToken::new());
    Case { dir, result, done: unpacker.finish(true).unwrap() }
}

impl Case {
    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("pgdata").join(name)
    }

    fn classes(&self) -> Vec<FailureClass> {
        self.done.findings.iter().map(|finding| finding.class).collect()
    }
}

fn healthy() -> Builder {
    Builder::default()
        .folder("./")
        .file("PG_VERSION", b"15\n")
        .file("postgresql.conf", b"shared_preload_libraries = 'x'\n")
        .file("postgresql.auto.conf", b"port = 1\n")
        .file("custom.conf", b"a = 1\n")
        .file("pg_hba.conf", b"local all all trust\n")
        .folder("base")
        .folder("base/1")
        .file("base/1/1259", &vec![1; 700_000])
        .file("global/pg_control", &[9; 8192])
        .file("backup_label", b"START WAL LOCATION: 0/2000028\n")
}

#[test]
fn a_healthy_tar_is_written_with_closed_modes() {
    let case = unpack(DATA, &healthy().end());
    case.result.as_ref().unwrap();
    assert_eq!(case.classes(), []);
    assert_eq!(fs::read(case.path("base/1/1259")).unwrap(), vec![1; 700_000]);
    assert_eq!(case.done.pg_control, [9; 8192]);
    assert_eq!(case.done.backup_label.as_deref(), Some("START WAL LOCATION: 0/2000028\n"));
    assert!(case.path("backup_label").is_file());
    assert!(!case.path("postgresql.auto.conf").exists());
    let configs: Vec<_> = case.done.config_texts.keys().map(String::as_str).collect();
    assert_eq!(configs, ["custom.conf", "postgresql.auto.conf", "postgresql.conf"]);
    assert_eq!(case.done.config_texts["postgresql.auto.conf"], "port = 1\n");
    assert!(case.done.version_seen);
    assert_eq!(case.done.files, 7);
    assert_eq!(case.done.notes, Vec::<String>::new());
    for folder in
        OWN_FOLDERS.into_iter().chain(["pg_tblspc", "pg_wal/archive_status", "base/1", ""])
    {
        let mode = fs::metadata(case.path(folder)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o700, "{folder}");
    }
    assert_eq!(fs::metadata(case.path("base/1/1259")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn names_that_lead_out_are_refused() {
    for (name, class) in [
        ("/etc/passwd", FailureClass::ArchiveCorrupt),
        ("../up", FailureClass::ArchiveCorrupt),
        ("base/../../up", FailureClass::ArchiveCorrupt),
        ("base/..", FailureClass::ArchiveCorrupt),
        (".", FailureClass::ArchiveCorrupt),
    ] {
        let case = unpack(DATA, &Builder::default().file(name, b"x").end());
        assert_eq!(case.classes(), [class], "{name}");
        let outside: Vec<_> = fs::read_dir(case.dir.path()).unwrap().collect();
        assert_eq!(outside.len(), 1, "{name}");
    }
    assert_eq!(
        policy::decide(Place::Data, &entry(b"a\0b")),
        Action::Refuse(FailureClass::ArchiveCorrupt, "its name contains a NUL".into())
    );
    let deep = "a/".repeat(45);
    let case = unpack(DATA, &Builder::default().file(&format!("{deep}x"), b"x").end());
    assert_eq!(case.classes(), [FailureClass::ArchiveCorrupt]);
}

fn entry(path: &[u8]) -> Entry {
    Entry {
        path: path.to_vec(),
        kind: crate::restore::tar::EntryKind::File,
        size: 0,
        link: Vec::new(),
        offset: 0,
    }
}

#[test]
fn the_same_name_twice_is_damage() {
    let twice = Builder::default().file("base/1", b"a").file("./base//1", b"b").end();
    let case = unpack(DATA, &twice);
    assert_eq!(case.classes(), [FailureClass::ArchiveCorrupt]);
    assert_eq!(fs::read(case.path("base/1")).unwrap(), b"a");
    let below_a_file = Builder::default().file("base", b"a").file("base/1", b"b").end();
    assert_eq!(unpack(DATA, &below_a_file).classes(), [FailureClass::ArchiveCorrupt]);
    let over_a_folder = Builder::default().folder("base").file("base", b"b").end();
    assert_eq!(unpack(DATA, &over_a_folder).classes(), [FailureClass::ArchiveCorrupt]);
    let own_as_file = unpack(DATA, &Builder::default().file("pg_wal", b"b").end());
    assert!(own_as_file.classes().contains(&FailureClass::PgdataLayout));
}

#[test]
fn links_are_never_made() {
    let tar = healthy()
        .link("pg_wal", "/wal")
        .link("pg_tblspc/16384", "/space")
        .link("pg_log", "/var/log")
        .header("server.key", b'1', 0, "PG_VERSION")
        .header("pipe", b'6', 0, "")
        .header("device", b'3', 0, "")
        .end();
    let case = unpack(DATA, &tar);
    assert_eq!(case.classes(), []);
    assert!(case.path("pg_wal").symlink_metadata().unwrap().is_dir());
    assert!(case.path("pg_tblspc/16384").symlink_metadata().unwrap().is_dir());
    for name in ["pg_log", "server.key", "pipe", "device"] {
        assert!(case.path(name).symlink_metadata().is_err(), "{name}");
        assert!(case.done.notes.iter().any(|note| note.contains(&format!("`{name}`"))), "{name}");
    }
    assert_eq!(case.done.tablespace_links[&16384], "/space");

    for name in [
        "base",
        "base/1/2",
        "global/pg_control",
        "pg_xact/0000",
        "pg_multixact/members",
        "pg_commit_ts",
        "PG_VERSION",
        "pg_tblspc/x",
        "pg_tblspc/1/2",
    ] {
        for kind in [b'1', b'2'] {
            let case = unpack(DATA, &Builder::default().header(name, kind, 0, "/x").end());
            assert_eq!(case.classes(), [FailureClass::PgdataLayout], "{name}");
        }
    }
}

#[test]
fn what_would_lead_out_of_the_sandbox_is_left_out() {
    let mut tar = healthy();
    let files = [
        "postmaster.pid",
        "postmaster.opts",
        "tablespace_map",
        "standby.signal",
        "recovery.signal",
        "recovery.conf",
        "pg_replslot/slot/state",
        "pg_wal/000000010000000000000001",
        "pg_notify/0000",
        "pg_stat_tmp/global.stat",
    ];
    for name in files {
        tar = tar.file(name, b"x");
    }
    let case = unpack(DATA, &tar.folder("pg_replslot/slot").folder("pg_wal/summaries").end());
    assert_eq!(case.classes(), []);
    for name in files.into_iter().chain(["pg_replslot/slot"]) {
        assert!(!case.path(name).exists(), "{name}");
    }
    assert!(case.done.notes.iter().any(|note| note.contains("`standby.signal`")));
    assert!(case.done.notes.iter().any(|note| note.starts_with("left out 4 files")));
}

#[test]
fn tablespaces_go_in_place() {
    let source = TarSource { key: "base/1/16384.tar", place: Place::Tablespace(16384), part: 0 };
    let tar =
        Builder::default().folder("PG_15_202209061/5").file("PG_15_202209061/5/16385", b"rows");
    let case = unpack(source, &tar.end());
    assert_eq!(case.classes(), []);
    assert_eq!(fs::read(case.path("pg_tblspc/16384/PG_15_202209061/5/16385")).unwrap(), b"rows");
    let link = Builder::default().link("PG_15_202209061/5/16385", "/x").end();
    assert_eq!(unpack(source, &link).classes(), [FailureClass::PgdataLayout]);
    // Nothing in a tablespace is taken for a file of the data directory.
    let odd = unpack(source, &Builder::default().file("backup_label", b"x").end());
    assert_eq!(odd.done.backup_label, None);
    assert!(odd.path("pg_tblspc/16384/backup_label").is_file());
}

#[test]
fn the_backup_label_of_the_last_part_counts() {
    let dir = tempfile::tempdir().unwrap();
    let unpacker = Unpacker::open(dir.path(), None).unwrap();
    for (part, text) in [(2, "right"), (0, "stale")] {
        let tar = Builder::default().file("backup_label", text.as_bytes()).end();
        let source = TarSource { part, ..DATA };
        unpacker.unpack(source, &tar[..], &CancellationToken::new()).unwrap();
    }
    assert_eq!(unpacker.finish(false).unwrap().backup_label.as_deref(), Some("right"));
    assert_eq!(fs::read(dir.path().join("backup_label")).unwrap(), b"right");
}

#[test]
fn links_that_lie_in_the_tree_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let root = dir.path().join("root");
    let unpacker = Unpacker::open(&root, None).unwrap();
    symlink(&outside, root.join("base")).unwrap();
    symlink(outside.join("file"), root.join("PG_VERSION")).unwrap();
    let tar = Builder::default().file("base/1", b"x").file("PG_VERSION", b"x").folder("base").end();
    unpacker.unpack(DATA, &tar[..], &CancellationToken::new()).unwrap();
    assert_eq!(unpacker.finish(false).unwrap().findings.len(), 3);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_folder_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x"), "").unwrap();
    let error = Unpacker::open(dir.path(), None).unwrap_err();
    assert_eq!(error.code, Code::WorkDirectory);
}

#[test]
fn the_owner_is_set() {
    if !rustix::process::geteuid().is_root() {
        // Only root may give files away; to oneself anyone may.
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let dir = tempfile::tempdir().unwrap();
        Unpacker::open(&dir.path().join("x"), Some(own)).unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let unpacker = Unpacker::open(&dir.path().join("x"), Some((4242, 4343))).unwrap();
    unpacker.unpack(DATA, &healthy().end()[..], &CancellationToken::new()).unwrap();
    unpacker.finish(false).unwrap();
    for name in ["", "base", "base/1/1259", "backup_label", "pg_wal", "pg_wal/archive_status"] {
        let meta = fs::metadata(dir.path().join("x").join(name)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (4242, 4343), "{name}");
    }
}

#[test]
fn a_full_disk_is_an_error_and_not_a_finding() {
    for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
        let error = local("write", Path::new("/x"), &io::Error::from(kind));
        assert_eq!(error.code, Code::DiskFull);
    }
    let error = local("write", Path::new("/x"), &io::Error::from(ErrorKind::PermissionDenied));
    assert_eq!(error.code, Code::Io);
}

#[test]
fn findings_are_bounded() {
    let tar = (0..200).fold(Builder::default(), |tar, i| tar.file(&format!("../{i}"), b""));
    let case = unpack(DATA, &tar.end());
    assert_eq!(case.done.findings.len(), MAX_FINDINGS);
    assert!(case.done.findings[MAX_FINDINGS - 1].detail.contains("and 150 more"));
}

#[test]
fn cancelling_stops() {
    let dir = tempfile::tempdir().unwrap();
    let unpacker = Unpacker::open(dir.path(), None).unwrap();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let result = unpacker.unpack(DATA, &healthy().end()[..], &cancel);
    assert!(matches!(result, Err(UnpackFailure::Cancelled)));
}

proptest! {
    #[test]
    fn nothing_is_written_outside(
        names in prop::collection::vec("(\\.|\\.\\.|/|a|b|base|pg_tblspc|1){1,8}", 1..8),
        kinds in prop::collection::vec(prop::sample::select(b"01256".to_vec()), 8),
        tablespace: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let unpacker = Unpacker::open(&dir.path().join("x/pgdata"), None).unwrap();
        let tar = names.iter().zip(&kinds).fold(Builder::default(), |tar, (name, kind)| {
            tar.header(name, *kind, 0, "../../..")
        });
        let place = if tablespace { Place::Tablespace(7) } else { Place::Data };
        let source = TarSource { place, ..DATA };
        unpacker.unpack(source, &tar.end()[..], &CancellationToken::new()).unwrap();
        unpacker.finish(false).unwrap();
        let names = |path: &Path| -> Vec<_> {
            fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name()).collect()
        };
        prop_assert_eq!(names(dir.path()), ["x"]);
        prop_assert_eq!(names(&dir.path().join("x")), ["pgdata"]);
    }
}
