//! What this machine has for a process: memory, within the control group's bounds, and disk.

use std::fs;
use std::path::Path;

/// Bytes that can be written where a path lies, or will lie. `None`: it cannot be told.
pub(super) fn free(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|p| p.exists() || p.as_os_str().is_empty())?;
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let told = rustix::fs::statvfs(there).ok()?;
    Some(told.f_bavail.saturating_mul(told.f_frsize))
}

/// Memory there is for this process, in bytes: what the machine has free, and not more than the tightest control group
/// above it (version 1 or 2) leaves. `None`: it cannot be told.
pub(super) fn memory() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    [machine, left_in_groups(Path::new("/sys/fs/cgroup"), &groups)].into_iter().flatten().min()
}

/// What the control groups of a process leave, in bytes: each limit less what is used within it. Pages of files are not
/// counted as used: the system takes them back. `groups`: the lines of `/proc/PID/cgroup`.
fn left_in_groups(root: &Path, groups: &str) -> Option<u64> {
    let mut left = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (root, names) = match controllers {
            "" => (root.to_owned(), ["memory.max", "memory.current", "inactive_file "]),
            all if all.split(',').any(|one| one == "memory") => {
                let names = ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "];
                (root.join("memory"), names)
            }
            _ => continue,
        };
        // Inside a container the path may be the host's: what is not there says nothing, and the root is the container's.
        let group = Path::new(group.trim_start_matches('/'));
        for place in group.ancestors() {
            left = [left, left_in(&root.join(place), names)].into_iter().flatten().min();
        }
    }
    left
}

fn left_in(place: &Path, [limit, used, cache]: [&str; 3]) -> Option<u64> {
    let number = |name: &str| fs::read_to_string(place.join(name)).ok()?.trim().parse::<u64>().ok();
    let limit = number(limit)?;
    let text = fs::read_to_string(place.join("memory.stat")).unwrap_or_default();
    let cached = text.lines().find_map(|line| line.strip_prefix(cache)?.trim().parse::<u64>().ok());
    Some(limit.saturating_sub(number(used).unwrap_or(0).saturating_sub(cached.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_told_on_this_machine() {
        assert!(memory().is_some_and(|bytes| bytes > 1 << 20));
        let dir = tempfile::tempdir().expect("made");
        assert!(free(&dir.path().join("not/yet/made")).is_some_and(|bytes| bytes > 0));
    }

    #[test]
    fn the_tightest_control_group_counts_of_either_version_and_pages_of_files_are_not_used() {
        const MIB: u64 = 1 << 20;
        let dir = tempfile::tempdir().expect("made");
        let write = |place: &str, text: String| {
            let file = dir.path().join(place);
            fs::create_dir_all(file.parent().expect("it has one")).expect("made");
            fs::write(file, text).expect("written");
        };
        let left = |groups: &str| left_in_groups(dir.path(), groups);
        assert_eq!(left("0::/a/b\n"), None, "nothing is told");

        write("a/b/memory.max", "max\n".to_owned());
        assert_eq!(left("0::/a/b\n"), None, "no limit");
        write("a/memory.max", format!("{}\n", 256 * MIB));
        write("a/memory.current", format!("{}\n", 100 * MIB));
        write("a/memory.stat", format!("anon 1\ninactive_file {}\n", 90 * MIB));
        assert_eq!(left("0::/a/b\n"), Some(246 * MIB), "the group above it");
        write("a/b/memory.max", format!("{}\n", 64 * MIB));
        assert_eq!(left("0::/a/b\n"), Some(64 * MIB));
        assert_eq!(left("0::/elsewhere\n"), None);

        write("memory/c/memory.limit_in_bytes", format!("{}\n", 128 * MIB));
        write("memory/c/memory.usage_in_bytes", format!("{}\n", 28 * MIB));
        write("memory/memory.limit_in_bytes", "9223372036854771712\n".to_owned());
        assert_eq!(left("8:pids:/x\n4:memory:/c\n0::/\n"), Some(100 * MIB));
        assert!(
            left("4:cpu,memory:/host/path/not/here\n").is_some_and(|bytes| bytes > 1 << 50),
            "no limit here"
        );
    }
}
