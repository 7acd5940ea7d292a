//! The peers that have a format of their own: `pgbackrest verify` and `pg_verifybackup`, each on its own
//! backup of the same cluster with an equivalent damage.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use pgassay::{
    archive::Codec,
    restore::codec::{decode_small, encode},
    selftest::materials::Materials,
};

use super::{
    cluster::{Backups, STANZA},
    equivalent::{Damaged, FileChange, Object, Stream},
    run::{self, Ended, as_owner, copy, ended, postgres},
    said::{Said, Word},
};
use crate::support::workdir::WorkDir;

/// Values of `backup.info` and where pgBackRest's manifest has the same.
const MANIFEST: [(&str, &str); 7] = [
    ("info_system_id", "db-system-id"),
    ("info_version", "db-version"),
    ("info_begin_wal", "backup-archive-start"),
    ("info_end_wal", "backup-archive-stop"),
    ("info_begin_lsn", "backup-lsn-start"),
    ("info_end_lsn", "backup-lsn-stop"),
    ("info_checksums", "option-checksum-page"),
];
/// The same for `pg_basebackup`'s.
const PLAIN_MANIFEST: [(&str, &str); 3] = [
    ("info_begin_lsn", "\"Start-LSN\""),
    ("info_end_lsn", "\"End-LSN\""),
    ("info_timeline", "\"Timeline\""),
];

/// Why a damage has no equivalent.
type NotHere = &'static str;

/// Changes a value's last digit or letter on the line that begins with `key`.
fn another_value(text: &str, key: &str) -> Option<String> {
    let at = text.find(key)? + key.len();
    let end = at + text[at..].find(['\n', ',', '}'])?;
    let last = at + text[at..end].rfind(|c: char| c.is_ascii_alphanumeric())?;
    let other = if &text[last..=last] == "8" { "6" } else { "8" };
    let mut text = text.to_owned();
    text.replace_range(last..=last, other);
    Some(text)
}

fn rewrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    // In place: the owner and the mode stay.
    fs::write(path, bytes).unwrap();
}

/// A manifest with the damage of `backup.info`.
fn manifest(
    path: &Path,
    name: &str,
    info: &Object,
    before: &[u8],
    keys: &[(&str, &str)],
) -> Result<(), NotHere> {
    let Some((_, after)) = info.shown.last() else {
        fs::remove_file(path).unwrap();
        return Ok(());
    };
    if name == "info_garbage" {
        rewrite(path, |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 0xA5));
    } else if before.starts_with(after) {
        rewrite(path, |bytes| bytes.truncate(bytes.len() * after.len() / before.len()));
    } else if name == "info_html" {
        rewrite(path, |bytes| bytes.clone_from(after));
    } else {
        let key = keys.iter().find(|(damage, _)| *damage == name).map(|(_, key)| key);
        let key = key.ok_or("its manifest has no such value")?;
        let text = fs::read_to_string(path).unwrap();
        let text = another_value(&text, key).ok_or("its manifest has no such value")?;
        rewrite(path, |bytes| *bytes = text.into_bytes());
    }
    Ok(())
}

/// `pgbackrest verify` on a damaged copy of the repository.
pub fn pgbackrest_says(
    backups: &Backups,
    name: &str,
    damaged: &Damaged,
    m: &Materials,
    sound: &Ended,
) -> Said {
    let work = WorkDir::new();
    copy(&backups.repository, &work.join("repository"));
    let repository = work.join("repository");
    if let Err(why) = damage_repository(&repository, name, damaged, m) {
        return Said::not_applicable(why);
    }
    let said = judge_verify(&verify(&repository, &work), sound);
    if said.word == Word::Silent && damaged.info.is_some() {
        return Said::new(Word::Harmless, "`backup.manifest.copy` is sound");
    }
    said
}

/// The same on the repository as it is.
pub fn pgbackrest_sound(backups: &Backups) -> Ended {
    let work = WorkDir::new();
    copy(&backups.repository, &work.join("repository"));
    verify(&work.join("repository"), &work)
}

fn verify(repository: &Path, work: &WorkDir) -> Ended {
    let mut command = as_owner("/usr/bin/pgbackrest");
    command.arg(format!("--stanza={STANZA}")).args(["--config=/dev/null", "--log-level-file=off"]);
    command.arg(format!("--repo1-path={}", repository.display()));
    let mut ended = ended(command.args(["--output=text", "--verbose", "verify"]));
    ended.text = ended.text.replace(&work.path().display().to_string(), "…");
    ended
}

/// Its exit status is 0 whatever it finds, so its report counts.
fn judge_verify(ended: &Ended, sound: &Ended) -> Said {
    let counts = ["missing:", "invalid:", "other:"];
    let bad = |line: &str| {
        let counted = counts.iter().any(|word| {
            line.match_indices(word).any(|(at, _)| {
                let number = line[at + word.len()..].trim_start();
                number.starts_with(|c: char| c.is_ascii_digit()) && !number.starts_with('0')
            })
        });
        counted
            || ["ERROR", "WARN", "status: error", "status: invalid"]
                .iter()
                .any(|w| line.contains(w))
    };
    let odd = |line: &&str| bad(line) && !sound.text.contains(run::bare(line));
    match ended.text.lines().find(odd) {
        Some(line) => {
            Said::new(Word::Caught, format!("status {}: {}", ended.status, run::bare(line)))
        }
        None if ended.status != 0 => {
            Said::new(Word::Caught, run::bare(ended.text.lines().last().unwrap_or_default()))
        }
        None => Said::new(Word::Silent, ""),
    }
}

/// The only folder in it that is no link.
fn only_folder(dir: &Path, fits: impl Fn(&str) -> bool) -> PathBuf {
    let mut found = fs::read_dir(dir).unwrap().map(|e| e.unwrap());
    let fits = |e: &fs::DirEntry| {
        e.file_type().unwrap().is_dir() && fits(&e.file_name().to_string_lossy())
    };
    found.find(fits).unwrap().path()
}

fn damage_repository(
    repository: &Path,
    name: &str,
    damaged: &Damaged,
    m: &Materials,
) -> Result<(), NotHere> {
    if let Some(why) = damaged.untold {
        return Err(why);
    }
    let archive = only_folder(&repository.join("archive").join(STANZA), |n| n.contains('-'));
    let backup = only_folder(&repository.join("backup").join(STANZA), |n| n.ends_with('F'));
    for (file, object) in &damaged.wal {
        // Its own backup needs other segments than barman-cloud's.
        let needed = |index: usize| m.wal_key(index).unwrap().contains(file.as_str());
        let file = &match (needed(0), needed(m.end_index())) {
            (true, _) => manifest_value(&backup, "backup-archive-start"),
            (_, true) => manifest_value(&backup, "backup-archive-stop"),
            _ => file.clone(),
        };
        let folder = if file.len() == 24 { archive.join(&file[..16]) } else { archive.clone() };
        let own = fs::read_dir(&folder).into_iter().flatten().map(|e| e.unwrap().path());
        // A segment's name goes on with its checksum; beside it may stand its partial and labels.
        let whole = if file.len() == 24 { format!("{file}-") } else { file.clone() };
        let mut own = own.filter(|p| p.file_name().unwrap().to_string_lossy().starts_with(&whole));
        let own = own.next();
        for (codec, bytes) in &object.shown {
            let extension = match codec {
                Codec::Plain => "",
                Codec::Gzip if file.len() == 24 => ".gz",
                Codec::Bzip2 if file.len() == 24 => ".bz2",
                Codec::Lz4 if file.len() == 24 => ".lz4",
                Codec::Zstd if file.len() == 24 => ".zst",
                _ => return Err("it has no such compression"),
            };
            // The checksum of the segment as it was archived is part of its name.
            let stem = own.as_deref().filter(|_| file.len() == 24);
            let stem = stem.map_or_else(|| folder.join(file), |own| own.with_extension(""));
            let path = PathBuf::from(format!("{}{extension}", stem.display()));
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, bytes).unwrap();
            run::give(&path);
            if Some(&path) == own.as_ref() {
                continue;
            }
            if object.gone
                && let Some(own) = own.as_ref().filter(|own| own.exists())
            {
                fs::remove_file(own).unwrap();
            }
        }
        if object.gone && object.shown.is_empty() {
            fs::remove_file(own.ok_or("it has no such segment")?).unwrap();
        }
    }
    if let Some(info) = &damaged.info {
        manifest(&backup.join("backup.manifest"), name, info, &m.info.bytes, &MANIFEST)?;
    }
    let stored = |path: &str| {
        let path = if path.starts_with("pg_tblspc/") {
            backup.join(format!("{path}.gz"))
        } else {
            backup.join(format!("pg_data/{path}.gz"))
        };
        path.exists().then_some(path)
    };
    let mut touched = damaged.files.is_empty();
    for (path, change) in &damaged.files {
        let Some(file) = stored(path) else { continue };
        touched = true;
        let mut bytes = Vec::new();
        let packed = fs::read(&file).unwrap();
        let decoded = decode_small(Codec::Gzip, &packed, 1 << 30).unwrap();
        (&decoded[..]).read_to_end(&mut bytes).unwrap();
        match change.apply(&bytes) {
            None => fs::remove_file(&file).unwrap(),
            Some(bytes) => fs::write(&file, encode(Codec::Gzip, &bytes).unwrap()).unwrap(),
        }
    }
    if let Some((codec, stream, held)) = &damaged.stream {
        if *codec != Codec::Gzip {
            return Err("its backup here is compressed with gzip");
        }
        let file = held.iter().rev().find_map(|path| stored(path)).ok_or("it has no such file")?;
        rewrite(&file, |bytes| stream.apply(bytes));
        touched = true;
    }
    if touched { Ok(()) } else { Err("its backup has no such file") }
}

/// A value of pgBackRest's manifest, without its quotes.
fn manifest_value(backup: &Path, key: &str) -> String {
    let text = fs::read_to_string(backup.join("backup.manifest")).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value.unwrap().trim_matches('"').to_owned()
}

/// `pg_verifybackup` on a damaged copy of the base backup.
pub fn verifybackup_says(backups: &Backups, name: &str, damaged: &Damaged, m: &Materials) -> Said {
    let work = WorkDir::new();
    let data = plain_copy(backups, &work);
    if let Err(why) = damage_plain(&data, name, damaged, m) {
        return Said::not_applicable(why);
    }
    let ended = verifybackup(&data, &work);
    if ended.status == 0 {
        return Said::new(Word::Silent, "");
    }
    let line = ended.text.lines().find(|line| line.contains("error"));
    let line = line.or(ended.text.lines().last()).unwrap_or_default();
    Said::new(Word::Caught, run::bare(line))
}

/// The same on the base backup as it is.
pub fn verifybackup_sound(backups: &Backups) -> Ended {
    let work = WorkDir::new();
    let data = plain_copy(backups, &work);
    verifybackup(&data, &work)
}

fn verifybackup(data: &Path, work: &WorkDir) -> Ended {
    let mut ended = ended(postgres("pg_verifybackup").arg(data));
    ended.text = ended.text.replace(&work.path().display().to_string(), "…");
    ended
}

/// A copy with its tablespace.
fn plain_copy(backups: &Backups, work: &WorkDir) -> PathBuf {
    let data = work.join("basebackup");
    copy(&backups.plain, &data);
    copy(&backups.plain.parent().unwrap().join("space"), &work.join("space"));
    for link in fs::read_dir(data.join("pg_tblspc")).unwrap() {
        let link = link.unwrap().path();
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(work.join("space"), &link).unwrap();
    }
    data
}

fn damage_plain(data: &Path, name: &str, damaged: &Damaged, m: &Materials) -> Result<(), NotHere> {
    if let Some(why) = damaged.untold {
        return Err(why);
    }
    for (file, object) in &damaged.wal {
        let index = m.plan.wal.iter().position(|s| s.object.key.contains(file.as_str()));
        let mut own: Vec<PathBuf> = fs::read_dir(data.join("pg_wal"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.file_name().unwrap().len() == 24)
            .collect();
        own.sort();
        let own = match index {
            Some(0) => own.first(),
            Some(index) if index == m.end_index() => own.last(),
            _ => return Err("it looks only at the WAL inside the backup"),
        };
        let own = own.ok_or("its backup holds no WAL")?;
        let segment = index.and_then(|index| m.wal.get(&index)).ok_or("its backup holds no WAL")?;
        match object.shown.last() {
            None => fs::remove_file(own).unwrap(),
            Some((codec, bytes)) => {
                let limit = m.plan.segment_size.bytes() * 2;
                let after = decode_small(*codec, bytes, limit).unwrap_or_else(|_| bytes.clone());
                let change = FileChange::Other(segment.bytes.to_vec(), after);
                rewrite(own, |bytes| *bytes = change.apply(bytes).unwrap_or_default());
            }
        }
    }
    if let Some(info) = &damaged.info {
        manifest(&data.join("backup_manifest"), name, info, &m.info.bytes, &PLAIN_MANIFEST)?;
    }
    let mut touched = damaged.files.is_empty();
    for (path, change) in &damaged.files {
        let file = data.join(path);
        let Ok(bytes) = fs::read(&file) else { continue };
        touched = true;
        match change.apply(&bytes) {
            None => fs::remove_file(&file).unwrap(),
            Some(bytes) => rewrite(&file, |old| *old = bytes),
        }
    }
    if let Some((codec, stream, held)) = &damaged.stream {
        match (codec, stream) {
            (_, Stream::Replaced(_)) | (Codec::Plain, Stream::Cut(_) | Stream::Tail(_)) => {}
            (Codec::Plain, _) => return Err("it has no tars"),
            _ => return Err("its files are not compressed"),
        }
        let file = held.iter().rev().map(|path| data.join(path)).find(|p| p.exists());
        rewrite(&file.ok_or("it has no such file")?, |bytes| stream.apply(bytes));
        touched = true;
    }
    if touched { Ok(()) } else { Err("its backup has no such file") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_pgbackrest_is_read_for_what_differs_from_the_sound_one() {
        let sound =
            Ended { status: 0, text: "status: ok\n  missing: 0, checksum invalid: 0".into() };
        let say = |text: &str| judge_verify(&Ended { status: 0, text: text.into() }, &sound).word;
        assert_eq!(say("status: ok\n  total: 39, missing: 0, checksum invalid: 0"), Word::Silent);
        assert_eq!(say("status: error\n  missing: 0, checksum invalid: 0"), Word::Caught);
        assert_eq!(say("status: ok\n  missing: 0, checksum invalid: 2"), Word::Caught);
    }

    #[test]
    fn one_value_of_a_manifest_changes() {
        let text = "[backup]\ndb-system-id=123\nnext=1\n";
        assert_eq!(another_value(text, "db-system-id").unwrap(), text.replace("123", "128"));
        let text = "{ \"Start-LSN\": \"0/2000028\", \"End-LSN\": \"0/2000100\" }";
        assert_eq!(another_value(text, "\"Start-LSN\"").unwrap(), text.replace("28\"", "26\""));
        assert!(another_value(text, "\"Timeline\"").is_none());
    }
}
