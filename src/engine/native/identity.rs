//! The unprivileged user that PostgreSQL runs as: it refuses root, and a drill must not lend root to
//! what a restored cluster may run.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::drill::{Code, Error};

/// A user and its primary group; no supplementary groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// For messages: the name, or the number where it has none.
    pub name: String,
    /// Whether processes must change to it: we are root and it is not.
    pub switch: bool,
}

impl Identity {
    /// Chooses the user: as root `wanted`, else `postgres`, else `nobody`; otherwise ourselves.
    ///
    /// # Errors
    /// `NoUnprivilegedUser` where there is none, or where it would take root to become `wanted`.
    pub fn choose(wanted: Option<&str>) -> Result<Self, Error> {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        resolve(uid, gid, wanted, &passwd)
    }

    /// User and group for `chown`, where files must change hands.
    #[must_use]
    pub const fn owner(&self) -> Option<(u32, u32)> {
        if self.switch { Some((self.uid, self.gid)) } else { None }
    }

    /// Whether the user can reach `path` and run what is there: every folder on the way and the file
    /// itself grant it by their mode. Access control lists are not looked at.
    ///
    /// # Errors
    /// The first folder or file that refuses or does not exist.
    pub fn may_execute(&self, path: &Path) -> Result<(), PathBuf> {
        let real = fs::canonicalize(path).map_err(|_| path.to_path_buf())?;
        for step in real.ancestors() {
            if !self.may_pass(step) {
                return Err(step.to_path_buf());
            }
        }
        Ok(())
    }

    /// Whether the mode of this one folder or file lets the user through.
    fn may_pass(&self, path: &Path) -> bool {
        let Ok(meta) = fs::metadata(path) else { return false };
        if self.uid == 0 {
            return meta.mode() & 0o111 != 0;
        }
        let shift = if meta.uid() == self.uid {
            6
        } else if meta.gid() == self.gid {
            3
        } else {
            0
        };
        meta.mode() >> shift & 0o1 != 0
    }
}

/// One line of `/etc/passwd`.
struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

fn entries(passwd: &str) -> impl Iterator<Item = Entry<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Entry { name, uid, gid })
    })
}

fn find(passwd: &str, wanted: &str) -> Option<Identity> {
    let number: Option<u32> = wanted.parse().ok();
    let known = entries(passwd).find(|e| e.name == wanted || Some(e.uid) == number);
    match (known, number) {
        (Some(e), _) => {
            Some(Identity { uid: e.uid, gid: e.gid, name: e.name.to_owned(), switch: true })
        }
        (None, Some(uid)) => {
            Some(Identity { uid, gid: uid, name: wanted.to_owned(), switch: true })
        }
        (None, None) => None,
    }
}

fn resolve(uid: u32, gid: u32, wanted: Option<&str>, passwd: &str) -> Result<Identity, Error> {
    if uid != 0 {
        let own = entries(passwd).find(|e| e.uid == uid).map(|e| e.name.to_owned());
        let me = Identity { uid, gid, name: own.unwrap_or_else(|| uid.to_string()), switch: false };
        return match wanted {
            Some(other) if other != me.name && other != uid.to_string() => Err(Error::new(
                Code::NoUnprivilegedUser,
                format!(
                    "only root can run PostgreSQL as `{other}`, and this is user `{}`",
                    me.name
                ),
            )
            .hint("Leave `sandbox.user` out to run PostgreSQL as yourself.")),
            _ => Ok(me),
        };
    }
    let choice = match wanted {
        Some(name) => find(passwd, name),
        None => find(passwd, "postgres").or_else(|| find(passwd, "nobody")),
    };
    let Some(identity) = choice else {
        let message = match wanted {
            Some(name) => format!("there is no user `{name}` here to run PostgreSQL as"),
            None => "neither `postgres` nor `nobody` exists here to run PostgreSQL as".to_owned(),
        };
        return Err(Error::new(Code::NoUnprivilegedUser, message)
            .hint("PostgreSQL refuses root. Name an unprivileged user in `sandbox.user`."));
    };
    if identity.uid == 0 {
        return Err(Error::new(
            Code::NoUnprivilegedUser,
            format!("user `{}` is root, and PostgreSQL refuses root", identity.name),
        )
        .hint("Name an unprivileged user in `sandbox.user`."));
    }
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\npostgres:x:105:109::/:/bin/sh\n\
        nobody:x:65534:65534::/:/bin/false\nbroken line\nann:x:1000:1001::/home/ann:/bin/sh\n";

    #[test]
    fn root_takes_the_wanted_user_then_postgres_then_nobody() {
        let ids = |wanted| resolve(0, 0, wanted, PASSWD).map(|i| (i.uid, i.gid, i.switch)).ok();
        assert_eq!(ids(None), Some((105, 109, true)));
        assert_eq!(ids(Some("ann")), Some((1000, 1001, true)));
        assert_eq!(ids(Some("1000")), Some((1000, 1001, true)));
        assert_eq!(ids(Some("4711")), Some((4711, 4711, true)));
        assert_eq!(ids(Some("bob")), None);
        assert_eq!(ids(Some("root")), None);
        let nobody = resolve(0, 0, None, "nobody:x:65534:65534::/:/bin/false").unwrap();
        assert_eq!(nobody.uid, 65534);
        assert!(resolve(0, 0, None, "").is_err());
    }

    #[test]
    fn others_stay_themselves() {
        let me = resolve(1000, 1001, None, PASSWD).unwrap();
        assert_eq!((me.name.as_str(), me.switch, me.owner()), ("ann", false, None));
        assert!(resolve(1000, 1001, Some("ann"), PASSWD).is_ok());
        assert!(resolve(1000, 1001, Some("postgres"), PASSWD).is_err());
    }

    #[test]
    fn a_closed_folder_on_the_way_is_named() {
        let top = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(top.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let closed = top.path().join("closed");
        fs::create_dir(&closed).unwrap();
        let program = closed.join("program");
        fs::write(&program, "x").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let stranger = Identity { uid: 4711, gid: 4711, name: "s".to_owned(), switch: true };
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let real = fs::canonicalize(&closed).unwrap();
        assert_eq!(stranger.may_execute(&program), Err(real));
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o711)).unwrap();
        assert_eq!(stranger.may_execute(&program), Ok(()));
    }
}
