//! What all subjects share: the server, the data, and a place to restore to.

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use crate::{
    Outcome,
    data::{self, Cluster, Facts},
    say,
    scale::Scale,
    server::{self, Server},
    tools,
};

/// A set-up benchmark.
pub struct Bench {
    pub scale: Scale,
    pub server: Server,
    pub facts: Facts,
    /// What is kept between runs.
    pub kept: PathBuf,
    /// Where restores go; emptied at the beginning and at the end.
    pub work: PathBuf,
    /// Held as long as this lives: two benchmarks at once measure each other.
    _lock: fs::File,
}

impl Bench {
    /// Starts the server, and makes the data that are not there yet.
    pub fn open(scale: Scale) -> Self {
        let own = env::var_os("PGASSAY_BENCH_DIR").map(PathBuf::from);
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
        let kept = own.clone().map_or(target, |dir| dir.join("kept"));
        let place = own.unwrap_or_else(|| "/var/tmp/pgassay-bench".into());
        let work = place.join("work");
        enterable(&place);
        let lock = fs::File::create(place.join("lock")).unwrap();
        let alone = flock(&lock, FlockOperation::NonBlockingLockExclusive);
        assert!(alone.is_ok(), "another benchmark works in `{}`", place.display());
        let _ = fs::remove_dir_all(&work);
        enterable(&work);

        let store = if server::garage().is_some() { "garage" } else { "embedded" };
        let size = if scale.quick { "quick" } else { "full" };
        let kept = kept.join(format!("{size}-{store}"));
        fs::create_dir_all(&kept).unwrap();
        if data::kept(&kept, scale).is_none() {
            let _ = fs::remove_dir_all(&kept);
            fs::create_dir_all(&kept).unwrap();
        }
        let server = Server::start(&kept, &work);
        let facts = data::kept(&kept, scale).unwrap_or_else(|| {
            say("making the data; that is done once");
            data::make(scale, &server, &kept, &work)
        });
        Self { scale, server, facts, kept, work, _lock: lock }
    }

    /// [`Self::place`] for the next restore; nothing that was written before is left to be synced.
    pub fn fresh(&self) -> Target {
        let target = self.place("target");
        rustix::fs::sync();
        target
    }

    /// An empty place to restore to: the folders of a data directory and of its tablespace, not yet
    /// there, in a folder of PostgreSQL's user.
    pub fn place(&self, name: &str) -> Target {
        let root = self.folder(name);
        Target { data: root.join("data"), space: root.join("space"), root }
    }

    /// A folder of PostgreSQL's user, empty.
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.work.join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        give(&folder);
        folder
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.work);
    }
}

/// Where one restore goes.
#[derive(Clone, Debug)]
pub struct Target {
    pub root: PathBuf,
    pub data: PathBuf,
    /// The tablespace `space`.
    pub space: PathBuf,
}

impl Target {
    /// Nobody is measured who did not restore all of it.
    ///
    /// # Errors
    /// It holds another number of bytes than the cluster, by more than a hundredth.
    pub fn holds(&self, cluster: &Cluster) -> Outcome<()> {
        let found = data::volume(&self.data).bytes + data::volume(&self.space).bytes;
        let difference = found.abs_diff(cluster.volume.bytes);
        if difference * 100 > cluster.volume.bytes || !self.data.join("global/pg_control").exists()
        {
            return Err(format!("it restored {found} bytes of {}", cluster.volume.bytes));
        }
        Ok(())
    }
}

/// A folder that every user can enter.
fn enterable(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Gives a file or folder to PostgreSQL's user.
pub fn give(path: &Path) {
    if let Some((uid, gid)) = tools::postgres_owner() {
        chown(path, Some(uid), Some(gid)).unwrap();
    }
}
