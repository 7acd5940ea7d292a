//! Where recovery begins: the checkpoint record that `backup_label` names.

use std::{fs, path::Path};

use pgassay::{
    archive::BackupInfo,
    pg::{BackupLabel, Lsn},
};

use crate::support::{
    damage::{backup_folder, rewrite_gz},
    drill::{Answer, Drill, damaged_copy},
    fixture,
};

/// Writes another checkpoint into the label in the tar and into its copy in `backup.info`, as if whatever
/// wrote one had written both.
fn name_checkpoint(root: &Path, change: impl Fn(&BackupLabel) -> Lsn) {
    let folder = backup_folder(root);
    let path = folder.join("backup.info");
    let text = fs::read_to_string(&path).unwrap();
    let label = BackupInfo::parse(&text).unwrap().backup_label.unwrap();
    let parsed = BackupLabel::parse(&label).unwrap();
    let line = |at: Lsn| format!("CHECKPOINT LOCATION: {at}\n");
    let (old, new) = (line(parsed.checkpoint_location), line(change(&parsed)));
    assert!(label.contains(&old) && old.len() == new.len() && old != new, "{old}{new}");
    let quoted = |line: &str| line.trim_end().to_owned();
    assert_eq!(text.matches(&quoted(&old)).count(), 1, "{text}");
    fs::write(&path, text.replace(&quoted(&old), &quoted(&new))).unwrap();
    let mut written = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "gz") {
            rewrite_gz(&path, |bytes| {
                let found = bytes.windows(old.len()).position(|window| window == old.as_bytes());
                if let Some(at) = found {
                    bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
                    written += 1;
                }
            });
        }
    }
    assert_eq!(written, 1, "labels");
}

const SCOPES: [&[&str]; 2] = [&[], &["--recovery-point"]];

#[track_caller]
fn is_refused(root: &Path, what: &str) {
    for scope in SCOPES {
        let answer = Drill::new(root, "rich", "").verify(scope);
        answer.expect("fail", 1).expect_finding("archive_corrupt", "backup_label");
        assert!(answer.report["checks"].to_string().contains(what), "{}", answer.stdout);
        assert_eq!(answer.report["backups"][0]["state"], "damaged");
    }
}

/// The record where the checkpoint began is not the checkpoint's. PostgreSQL says the same.
#[test]
fn a_label_that_names_another_record_than_its_checkpoint() {
    let copy = damaged_copy(&fixture::rich(), |root| {
        name_checkpoint(root, |label| label.start_wal_location);
    });
    is_refused(copy.path(), "of resource manager");
    let drilled: Answer = Drill::new(copy.path(), "rich", "").run(&[]);
    assert_eq!((drilled.exit, &drilled.report["verdict"]), (1, &"fail".into()), "{drilled:?}");
    let said = "could not locate required checkpoint record";
    assert!(drilled.stdout.contains(said), "{}", drilled.stdout);
}

#[test]
fn a_label_that_names_a_place_where_no_record_begins() {
    let copy = damaged_copy(&fixture::rich(), |root| {
        name_checkpoint(root, |label| Lsn(label.checkpoint_location.0 + 8));
    });
    is_refused(copy.path(), "no record begins there");
    // Without the copy in `backup.info` the tars are read once more.
    let path = backup_folder(copy.path()).join("backup.info");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("backup_label=")).collect();
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    is_refused(copy.path(), "no record begins there");
}

#[test]
fn a_label_that_names_a_place_outside_of_the_backup() {
    let copy = damaged_copy(&fixture::rich(), |root| {
        name_checkpoint(root, |label| Lsn(label.checkpoint_location.0 - (1 << 20)));
    });
    is_refused(copy.path(), "lies before its START WAL LOCATION");
}

/// Sound backups of every major, and of standbys, whose first record may be of another kind.
#[test]
#[ignore = "a matrix: make test-all"]
fn sound_labels_of_every_major() {
    for major in [14, 15, 16, 17, 18] {
        let archive = fixture::of_major(major);
        let server = format!("major{major}");
        for scope in SCOPES {
            Drill::new(&archive.root, &server, "").verify(scope).expect("pass", 0);
        }
    }
}
