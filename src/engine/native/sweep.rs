//! Removes sandboxes that no live drill owns: what a killed drill left, and what was kept on purpose
//! until now.

use std::{
    fs,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{
    lease::{self, LeaseRecord, LeaseState},
    place, processes, tree,
};

/// What became of one sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    pub path: PathBuf,
    pub record: Option<LeaseRecord>,
    pub fate: Fate,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A drill owns it.
    Live,
    /// Kept on purpose until then.
    Kept(Timestamp),
    Removed,
    /// Would be removed.
    Leaked,
    /// Could not be removed, and why.
    Failed(String),
}

/// Looks at every sandbox below `parent` (a work directory) and removes those without an owner whose
/// time is over; with `dry` it only says so.
pub async fn sweep(parent: &Path, now: Timestamp, dry: bool) -> Vec<Swept> {
    let base = place::base_below(parent);
    // A link, or somebody else's folder, is none of ours.
    let ours = fs::symlink_metadata(&base).is_ok_and(|meta| {
        use std::os::unix::fs::MetadataExt;
        meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw()
    });
    let Ok(entries) = fs::read_dir(&base) else { return Vec::new() };
    if !ours {
        return Vec::new();
    }
    let mut swept = Vec::new();
    for entry in entries.flatten() {
        let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !folder || entry.file_name() == "locks" {
            continue;
        }
        let path = entry.path();
        let (record, fate) = match lease::inspect_settled(&base, &path) {
            Ok(LeaseState::Held) => (None, Fate::Live),
            Err(error) => (None, Fate::Failed(error.to_string())),
            Ok(LeaseState::Free(record)) => {
                let kept = record.as_ref().and_then(|record| record.keep_until);
                let fate = match kept.filter(|until| *until > now) {
                    Some(until) => Fate::Kept(until),
                    None if dry => Fate::Leaked,
                    None => remove(&path).await,
                };
                (record, fate)
            }
        };
        swept.push(Swept { path, record, fate });
    }
    swept.sort_by(|a, b| a.path.cmp(&b.path));
    swept
}

/// Another one may sweep at the same time: who renames the folder removes it.
async fn remove(path: &Path) -> Fate {
    processes::end_all(&path.join("data")).await;
    let claimed = path.with_file_name(format!("swept-{}", uuid::Uuid::now_v7()));
    let removed = match fs::rename(path, &claimed) {
        Ok(()) => tokio::task::spawn_blocking(move || tree::remove(&claimed)).await,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Fate::Removed,
        Err(error) => Ok(Err(error)),
    };
    match removed {
        Ok(Ok(())) => Fate::Removed,
        Ok(Err(error)) => Fate::Failed(error.to_string()),
        Err(error) => Fate::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::native::lease::Lease;

    #[tokio::test]
    async fn only_what_nobody_owns_and_nobody_wanted_to_keep() {
        let parent = tempfile::tempdir().unwrap();
        let base = place::base_below(parent.path());
        let now = Timestamp::from_second(1_000).unwrap();
        let record = LeaseRecord {
            drill_id: "d".to_owned(),
            job: "j".to_owned(),
            owner_pid: 1,
            owner_start: 0,
            started: Timestamp::UNIX_EPOCH,
            deadline: None,
            keep_until: None,
        };
        let sandbox = |name: &str| {
            let root = base.join(name);
            fs::create_dir_all(root.join("data")).unwrap();
            root
        };
        fs::create_dir_all(base.join("locks")).unwrap();
        let live = Lease::take(&sandbox("live"), record.clone()).unwrap();
        drop(Lease::take(&sandbox("dead"), record.clone()).unwrap());
        let mut kept = Lease::take(&sandbox("kept"), record.clone()).unwrap();
        kept.keep_until(Timestamp::from_second(2_000).unwrap()).unwrap();
        drop(kept);
        let mut over = Lease::take(&sandbox("over"), record).unwrap();
        over.keep_until(Timestamp::from_second(500).unwrap()).unwrap();
        drop(over);
        sandbox("nothing");
        let fates = |swept: Vec<Swept>| {
            let name = |s: &Swept| s.path.file_name().unwrap().to_string_lossy().into_owned();
            swept.iter().map(|s| (name(s), format!("{:?}", s.fate))).collect::<Vec<_>>()
        };
        let dry = fates(sweep(parent.path(), now, true).await);
        assert_eq!(dry[0], ("dead".to_owned(), "Leaked".to_owned()));
        assert!(base.join("dead").exists());
        let real = fates(sweep(parent.path(), now, false).await);
        let words: Vec<&str> = real.iter().map(|(_, fate)| fate.as_str()).collect();
        assert_eq!(words[0], "Removed");
        assert!(words[1].starts_with("Kept"));
        assert_eq!(words[2..], ["Live", "Removed", "Removed"]);
        assert!(base.join("live").exists() && base.join("locks").exists());
        assert!(!base.join("over").exists());
        drop(live);
    }
}
