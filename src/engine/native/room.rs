//! How much memory the system has for the page cache.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Bytes that the page cache may come to: what is free or can be freed (`MemAvailable`, `proc(5)`), within
/// what control groups allow us. `None` where the system does not say.
#[must_use]
pub fn for_page_cache() -> Option<u64> {
    let available = available(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Some(
        within_groups(&groups, Path::new("/sys/fs/cgroup")).map_or(available, |l| l.min(available)),
    )
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The least limit of the groups that a process is in, and of those above them (`cgroups(7)`). In a
/// container the names may be those of the host, and what can be seen is below `root` itself.
fn within_groups(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap_or(""), fields.next().unwrap_or(""));
        let (top, file) = match controllers {
            "" => (root.to_path_buf(), "memory.max"),
            "memory" => (root.join("memory"), "memory.limit_in_bytes"),
            _ => return Vec::new(),
        };
        let below: PathBuf = top.join(path.trim_start_matches('/'));
        let folders = below.ancestors().take_while(|folder| folder.starts_with(&top));
        folders.map(|folder| folder.join(file)).collect()
    });
    let read = |file: PathBuf| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    limits.filter_map(read).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_or_can_be_freed() {
        let text = "MemTotal:       24682420 kB\nMemFree:  1 kB\nMemAvailable:   22548480 kB\n";
        assert_eq!(available(text), Some(22_548_480 << 10));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
        assert!(for_page_cache().is_some());
    }

    #[test]
    fn the_least_limit_of_all_groups_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("system.slice/memory.max", "3000\n");
        write("system.slice/drill.service/memory.max", "max\n");
        write("memory/box/memory.limit_in_bytes", "2000\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        let of = |groups| within_groups(groups, root.path());
        assert_eq!(of("0::/system.slice/drill.service\n"), Some(3000));
        assert_eq!(of("4:memory:/box\n1:cpu:/\n0::/\n"), Some(2000));
        assert_eq!(of("0::/../../elsewhere\n"), None);
        // A container that sees its own group as the top.
        write("memory.max", "1000\n");
        assert_eq!(of("0::/\n"), Some(1000));
        assert_eq!(of("0::/docker/0123\n"), Some(1000));
        assert_eq!(of(""), None);
    }
}
