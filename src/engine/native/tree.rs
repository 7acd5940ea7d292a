//! Removes a sandbox's files: whatever their modes, never through a link, never on another file
//! system.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, Dir, Mode, OFlags},
    io::Errno,
};

/// Folders within folders that are followed; a deeper tree is left behind.
const DEPTH: usize = 64;

/// Removes the folder at `path` and everything below it. Goes on after a failure.
///
/// # Errors
/// The first thing that could not be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("there is no such folder"));
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = rustix::fs::open(parent, flags, Mode::empty())?;
    let device = rustix::fs::fstat(&parent)?.st_dev;
    match remove_folder(&parent, name.as_encoded_bytes(), device, DEPTH) {
        Err(Errno::NOENT) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn remove_folder(parent: &OwnedFd, name: &[u8], device: u64, depth: usize) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // Ours, but closed even to us. Through a handle: the name may be a link by now.
            let closed = rustix::fs::openat(parent, name, flags | OFlags::PATH, Mode::empty())?;
            let handle = format!("/proc/self/fd/{}", closed.as_raw_fd());
            rustix::fs::chmod(handle.as_str(), Mode::RWXU)?;
            rustix::fs::openat(parent, name, flags, Mode::empty())?
        }
        opened => opened?,
    };
    let stat = rustix::fs::fstat(&folder)?;
    if stat.st_dev != device {
        return Err(Errno::XDEV);
    }
    if depth == 0 {
        return Err(Errno::NAMETOOLONG);
    }
    if stat.st_mode & 0o700 != 0o700 {
        rustix::fs::fchmod(&folder, Mode::RWXU)?;
    }
    let mut first = Ok(());
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let removed = match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => remove_folder(&folder, name, device, depth - 1),
            Err(Errno::NOENT) => Ok(()),
            other => other,
        };
        first = first.and(removed);
    }
    first.and_then(|()| rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn closed_folders_go_and_links_are_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("keep"), "x").unwrap();
        let top = tempfile::tempdir().unwrap();
        let root = top.path().join("sandbox");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path(), root.join("a/link")).unwrap();
        fs::set_permissions(root.join("a/b/file"), fs::Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(root.join("a/b"), fs::Permissions::from_mode(0o000)).unwrap();
        remove(&root).unwrap();
        assert!(!root.exists());
        assert!(outside.path().join("keep").exists());
        remove(&root).unwrap();
    }

    #[test]
    fn a_link_in_the_folders_place_is_left() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("keep"), "x").unwrap();
        let top = tempfile::tempdir().unwrap();
        let link = top.path().join("sandbox");
        std::os::unix::fs::symlink(outside.path(), &link).unwrap();
        assert!(remove(&link).is_err());
        assert!(outside.path().join("keep").exists());
    }
}
