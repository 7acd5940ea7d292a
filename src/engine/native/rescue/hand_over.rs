//! The last steps: the recovered cluster, at rest, becomes what production's data directory was, and gets
//! its name. Each step can be done again, so that whatever breaks it off, the next run ends it.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt as _, chown, fchown},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Uid},
    io::Errno,
};

use super::{AUTO_CONF, CONTROL};
use crate::{
    drill::{Code, Error},
    engine::native::{place::Place, tree},
};

/// What a server or a recovery leaves that the next start must not meet: `pg_ctl restart` would take our
/// command line from the first.
const LEFTOVERS: [&str; 4] =
    ["postmaster.opts", "postmaster.pid", "recovery.signal", "standby.signal"];

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

type Owner = Option<(u32, u32)>;

/// Tablespaces that lie inside the data directory and are no links.
///
/// # Errors
/// `Io`
pub fn tablespaces_inside(data: &Path) -> Result<Vec<u32>, Error> {
    let list = || -> io::Result<Vec<u32>> {
        let data = rustix::fs::open(data, FOLDER, Mode::empty())?;
        let links = rustix::fs::openat(&data, "pg_tblspc", FOLDER, Mode::empty())?;
        let mut found = Vec::new();
        for entry in Dir::read_from(&links)? {
            let entry = entry?;
            let stat = rustix::fs::statat(&links, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
            let oid: Option<u32> = entry.file_name().to_str().ok().and_then(|n| n.parse().ok());
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                found.extend(oid);
            }
        }
        found.sort_unstable();
        Ok(found)
    };
    list()
        .map_err(|error| Error::io(format!("list the tablespaces in `{}`", data.display()), &error))
}

/// Makes the data directory of `place` the operator's `dir`. Gives what could not be as it should. Blocks.
///
/// # Errors
/// `RescueFolder` where something is in the folder by now, `Io`.
pub fn hand_over(
    place: &Place,
    dir: &Path,
    owner: Owner,
    tablespaces: &[(u32, PathBuf)],
) -> Result<Vec<String>, Error> {
    let failed = |what: &str, error: io::Error| {
        Error::io(format!("{what} `{}`", place.data.display()), &error)
    };
    let mut notes = Vec::new();
    let data = match rustix::fs::open(&place.data, FOLDER, Mode::empty()) {
        Ok(data) => data,
        // It has its name already.
        Err(Errno::NOENT) if dir.join("PG_VERSION").exists() => return Ok(notes),
        Err(error) => return Err(failed("open", error.into())),
    };
    // Until then segments may be one file with those in the spool.
    tree::remove(&place.wal).map_err(|error| failed("free the WAL of", error))?;
    own_segments(&data, owner).map_err(|error| failed("make the WAL its own in", error))?;
    for name in LEFTOVERS {
        match rustix::fs::unlinkat(&data, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(failed("tidy up", error.into())),
        }
    }
    let auto_conf = place.root.join(AUTO_CONF);
    if auto_conf.exists() {
        let copied = fs::read(&auto_conf).and_then(|text| put(&data, AUTO_CONF, &text, owner));
        copied.map_err(|error| failed("put `postgresql.auto.conf` back into", error))?;
    }
    for (oid, target) in tablespaces {
        if let Err(error) = move_out(&data, *oid, target, owner) {
            notes.push(format!(
                "tablespace {oid} could not be moved to `{}` ({error}) and lies inside the data directory",
                target.display()
            ));
        }
    }
    rustix::fs::syncfs(&data).map_err(|error| failed("make durable", error.into()))?;
    fs::rename(&place.data, dir).map_err(|error| {
        let what = format!("`{}` cannot get its name: {error}", dir.display());
        Error::new(Code::RescueFolder, what).hint(format!(
            "The cluster is whole and lies in `{}`: see what is in the way, and run the rescue again.",
            place.data.display()
        ))
    })?;
    for folder in [dir.parent(), Some(place.root.as_path())].into_iter().flatten() {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced
            .map_err(|error| Error::io(format!("make `{}` durable", folder.display()), &error))?;
    }
    // Nothing reads it any more.
    let _ = fs::remove_file(place.root.join(CONTROL));
    Ok(notes)
}

/// A file with more names than one is copied: nobody else may write to a server's WAL.
fn own_segments(data: &OwnedFd, owner: Owner) -> io::Result<()> {
    let folder = rustix::fs::openat(data, "pg_wal", FOLDER, Mode::empty())?;
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let stat = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink < 2 {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut from = File::from(rustix::fs::openat(&folder, name, flags, Mode::empty())?);
        let copy = "pgassay.copy";
        let mut to = create(&folder, copy, owner)?;
        io::copy(&mut from, &mut to)?;
        to.sync_all()?;
        rustix::fs::renameat(&folder, copy, &folder, name)?;
    }
    Ok(())
}

/// Writes a file anew.
fn put(folder: &OwnedFd, name: &str, bytes: &[u8], owner: Owner) -> io::Result<()> {
    use std::io::Write as _;

    let mut file = create(folder, name, owner)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn create(folder: &OwnedFd, name: &str, owner: Owner) -> io::Result<File> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?);
    if let Some((uid, gid)) = owner {
        fchown(&file, Some(uid), Some(gid))?;
    }
    Ok(file)
}

/// A tablespace to its own folder, with a link where it lay.
fn move_out(data: &OwnedFd, oid: u32, target: &Path, owner: Owner) -> io::Result<()> {
    let links = rustix::fs::openat(data, "pg_tblspc", FOLDER, Mode::empty())?;
    let name = oid.to_string();
    match rustix::fs::statat(&links, &name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => return Ok(()),
        Ok(_) => {
            if let Some(parent) = target.parent()
                && !parent.exists()
            {
                DirBuilder::new().mode(0o700).create(parent)?;
                owner.map_or(Ok(()), |(uid, gid)| chown(parent, Some(uid), Some(gid)))?;
            }
            // Over nothing, or over an empty folder.
            rustix::fs::renameat(&links, &name, CWD, target)?;
            let above = target.parent().unwrap_or(Path::new("/"));
            File::open(above)?.sync_all()?;
        }
        // Moved by a run that was broken off.
        Err(Errno::NOENT) if target.is_dir() => {}
        Err(error) => return Err(error.into()),
    }
    rustix::fs::symlinkat(target, &links, &name)?;
    if let Some((uid, gid)) = owner {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(&links, &name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    /// A data directory at rest in its working folder.
    fn arrived(top: &Path) -> Place {
        let place = Place::at(top.join("main.pgassay-rescue"));
        for folder in ["pg_wal/archive_status", "pg_tblspc/16384/PG_15_1/5", "global", "base"] {
            fs::create_dir_all(place.data.join(folder)).unwrap();
        }
        fs::create_dir(&place.wal).unwrap();
        for (name, text) in [
            ("PG_VERSION", "15"),
            ("postmaster.opts", "postgres -c config_file=ours"),
            ("pg_tblspc/16384/PG_15_1/5/7", "rows"),
        ] {
            fs::write(place.data.join(name), text).unwrap();
        }
        let segment = "000000020000000000000005";
        fs::write(place.wal.join(segment), "wal").unwrap();
        fs::hard_link(place.wal.join(segment), place.data.join("pg_wal").join(segment)).unwrap();
        // A name that is not in the spool.
        fs::hard_link(place.wal.join(segment), top.join("another name")).unwrap();
        fs::write(place.root.join(AUTO_CONF), "port = 1\n").unwrap();
        fs::write(place.root.join(CONTROL), "x").unwrap();
        place
    }

    #[test]
    fn a_cluster_gets_its_name_and_what_it_had() {
        let top = tempfile::tempdir().unwrap();
        let place = arrived(top.path());
        let dir = top.path().join("main");
        fs::create_dir(&dir).unwrap();
        assert_eq!(tablespaces_inside(&place.data).unwrap(), [16_384]);
        let target = top.path().join("main.tablespaces/16384");
        let tablespaces = [(16_384, target.clone())];
        let notes = hand_over(&place, &dir, None, &tablespaces).unwrap();
        assert_eq!(notes, Vec::<String>::new());
        let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
        assert_eq!(read(AUTO_CONF), "port = 1\n");
        assert_eq!(fs::read_link(dir.join("pg_tblspc/16384")).unwrap(), target);
        assert_eq!(read("pg_tblspc/16384/PG_15_1/5/7"), "rows");
        assert!(!dir.join("postmaster.opts").exists());
        let segment = dir.join("pg_wal/000000020000000000000005");
        assert_eq!(fs::metadata(&segment).unwrap().nlink(), 1);
        assert_eq!(fs::read_to_string(segment).unwrap(), "wal");
        assert!(!place.data.exists() && !place.wal.exists());
        // Once more, as after a break behind the last step.
        hand_over(&place, &dir, None, &tablespaces).unwrap();
        assert_eq!(tablespaces_inside(&dir).unwrap(), Vec::<u32>::new());
    }

    #[test]
    fn a_break_between_a_move_and_its_link_is_mended() {
        let top = tempfile::tempdir().unwrap();
        let place = arrived(top.path());
        let target = top.path().join("fast");
        fs::rename(place.data.join("pg_tblspc/16384"), &target).unwrap();
        let dir = top.path().join("main");
        hand_over(&place, &dir, None, &[(16_384, target.clone())]).unwrap();
        assert_eq!(fs::read_link(dir.join("pg_tblspc/16384")).unwrap(), target);
    }

    #[test]
    fn what_is_in_the_way_stays() {
        let top = tempfile::tempdir().unwrap();
        let place = arrived(top.path());
        let dir = top.path().join("main");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("x"), "mine").unwrap();
        let target = top.path().join("fast");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("y"), "mine").unwrap();
        let tablespaces = [(16_384, target.clone())];
        let error = hand_over(&place, &dir, None, &tablespaces).unwrap_err();
        assert_eq!(error.code, Code::RescueFolder);
        assert_eq!(fs::read_to_string(dir.join("x")).unwrap(), "mine");
        // Out of the way, it goes on; the tablespace stays where it is, and that is said.
        fs::remove_file(dir.join("x")).unwrap();
        let notes = hand_over(&place, &dir, None, &tablespaces).unwrap();
        assert!(notes[0].contains("lies inside the data directory"), "{notes:?}");
        assert_eq!(fs::read_to_string(target.join("y")).unwrap(), "mine");
        assert_eq!(tablespaces_inside(&dir).unwrap(), [16_384]);
    }
}
