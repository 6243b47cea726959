//! The memory that this process may use, and the default of `--memory`.
//!
//! Rule: a default is made from what the process may use, not from what the machine has. Each limit of the kernel counts, the
//! smallest decides, and the log names it.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fmt, fs};

use log::{info, warn};
use procfs_core::process::{MountInfo, MountInfos};
use procfs_core::{FromRead, Meminfo, ProcessCGroup, ProcessCGroups};
use rlimit::Resource;

use crate::{logging, startup};

/// The smallest limit on this process's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemoryLimit {
    bytes: u64,
    source: Source,
}

/// What limits it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Physical,
    /// The file that the limit was read from.
    Cgroup(PathBuf),
    AddressSpace,
    /// None could be read.
    Assumed,
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes;
        match &self.source {
            Source::Physical => write!(f, "physical memory ({bytes} bytes)"),
            Source::Cgroup(file) => write!(f, "the cgroup limit ({bytes} bytes, {})", file.display()),
            Source::AddressSpace => write!(f, "RLIMIT_AS ({bytes} bytes)"),
            Source::Assumed => write!(f, "an assumed {bytes} bytes, as no limit could be read"),
        }
    }
}

/// Restarts the program with one heap for all threads if its address space is limited. Returns if that is not so, or not
/// possible.
///
/// Rule: no thread takes address space from the buffers. glibc reserves 64 MiB for the heap of each thread (`malloc(3)`,
/// Notes). Under `RLIMIT_AS` it tries to again and again, and an allocation of another thread meanwhile finds no room, which
/// ends the process. It reads the setting when it starts, and no safe interface changes it later.
pub(crate) fn share_one_heap() {
    const SETTING: &str = "MALLOC_ARENA_MAX";
    let is_limited = Resource::AS.get_soft().is_ok_and(|bytes| bytes != rlimit::INFINITY);
    // A restart would find an open stdout where there was none.
    if !cfg!(target_env = "gnu") || !is_limited || env::var_os(SETTING).is_some() || startup::stdout_is_closed() {
        return;
    }
    let (Ok(program), mut args) = (env::current_exe(), env::args_os()) else { return };
    let mut command = Command::new(program);
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    // It does not return, unless it fails: then it is as it was.
    let _ = command.args(args).env(SETTING, "1").exec();
}

impl MemoryLimit {
    pub(crate) fn of_this_process() -> Self {
        Self::within(Path::new("/"), Resource::AS.get_soft().ok())
    }

    /// The smallest of the limits that are found under `root`, and of `address_space`.
    fn within(root: &Path, address_space: Option<u64>) -> Self {
        let physical = Meminfo::from_file(root.join("proc/meminfo")).ok().map(|meminfo| meminfo.mem_total);
        let limits = physical.map(|bytes| Self { bytes, source: Source::Physical });
        let address_space = address_space.filter(|bytes| *bytes != rlimit::INFINITY);
        let limits = limits.into_iter().chain(cgroup_limits(root));
        let limits = limits.chain(address_space.map(|bytes| Self { bytes, source: Source::AddressSpace }));
        // A limit of 0 allows no process, so it is none that was set.
        let smallest = limits.filter(|limit| limit.bytes > 0).min_by_key(|limit| limit.bytes);
        smallest.unwrap_or(Self { bytes: ASSUMED, source: Source::Assumed })
    }

    fn quarter(&self) -> usize {
        usize::try_from(self.bytes / 4).unwrap_or(usize::MAX)
    }

    /// Logs which limit decided, if a quarter of it is what is used.
    pub(crate) fn log_default(&self, memory: usize) {
        if memory == self.quarter() {
            info!(target: logging::TARGET, "--memory is {memory} bytes, a quarter of {self}");
        }
    }
}

/// Where no limit can be read.
const ASSUMED: u64 = 4 << 30;

/// The default of `--memory`: a quarter of the limit, but as much as a server needs, `least`, if there is so much at all. With
/// less, the settings are refused, and the refusal says what to do.
pub(crate) fn default(limit: &MemoryLimit, least: usize) -> usize {
    let quarter = limit.quarter();
    if quarter >= least {
        return quarter;
    }
    let can_be_raised = limit.bytes >= least as u64;
    let what = if can_be_raised { format!("using {least}") } else { "more than there is".to_owned() };
    warn!(target: logging::TARGET,
        "a quarter of {limit} is {quarter} bytes, but --max-payload and --output-high-water need {least}: {what}; lower them \
         or set --memory"
    );
    if can_be_raised { least } else { quarter }
}

/// The limits of the process's cgroups and of their parents, as far up as they are mounted.
fn cgroup_limits(root: &Path) -> Vec<MemoryLimit> {
    let cgroups = ProcessCGroups::from_file(root.join("proc/self/cgroup"));
    let mounts = MountInfos::from_file(root.join("proc/self/mountinfo"));
    let (Ok(cgroups), Ok(mounts)) = (cgroups, mounts) else { return Vec::new() };
    let mut limits = Vec::new();
    for cgroup in &cgroups {
        let Some((file, mount)) = hierarchy(cgroup, &mounts) else { continue };
        let top = rooted(root, &mount.mount_point);
        // Seen from a container, the path may lie outside of what is mounted: then the mount is the nearest there is.
        let below = Path::new(&cgroup.pathname).strip_prefix(&mount.root).ok().filter(|path| !path.starts_with(".."));
        let own = below.map_or_else(|| top.clone(), |below| top.join(below));
        for directory in own.ancestors().take_while(|directory| directory.starts_with(&top)) {
            let file = directory.join(file);
            // "max" is no limit; nor is a file that is not there, as at the root of a hierarchy.
            let bytes = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
            limits.extend(bytes.map(|bytes| MemoryLimit { bytes, source: Source::Cgroup(file) }));
        }
    }
    limits
}

/// Where a cgroup's memory limit is: the file, and the mount of its hierarchy, which is that of version 2 or that with the
/// memory controller of version 1 (`cgroups(7)`).
fn hierarchy<'a>(cgroup: &ProcessCGroup, mounts: &'a MountInfos) -> Option<(&'static str, &'a MountInfo)> {
    let is_unified = cgroup.hierarchy == 0 && cgroup.controllers.is_empty();
    let has_memory = cgroup.controllers.iter().any(|controller| controller == "memory");
    let (file, fs_type) = match (is_unified, has_memory) {
        (true, _) => ("memory.max", "cgroup2"),
        (false, true) => ("memory.limit_in_bytes", "cgroup"),
        (false, false) => return None,
    };
    let is_its =
        |mount: &&MountInfo| mount.fs_type == fs_type && (is_unified || mount.super_options.contains_key("memory"));
    // Of several mounts, the one that shows the most of the path.
    let candidates = mounts.iter().filter(is_its);
    let mount = candidates.max_by_key(|mount| {
        let shows = Path::new(&cgroup.pathname).starts_with(&mount.root);
        (shows, std::cmp::Reverse(mount.root.len()))
    })?;
    Some((file, mount))
}

/// An absolute path, under another root.
fn rooted(root: &Path, absolute: &Path) -> PathBuf {
    root.join(absolute.strip_prefix("/").unwrap_or(absolute))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;
    /// What version 1 shows where no limit is set: the largest number of whole pages.
    const UNLIMITED: &str = "9223372036854771712\n";
    const V2_MOUNT: &str = "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1_MOUNTS: &str = "31 25 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                             32 25 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

    /// A root with these files, removed at the end.
    struct Root(tempfile::TempDir);

    impl Root {
        fn new(files: &[(&str, &str)]) -> Self {
            let root = tempfile::tempdir().unwrap();
            for (path, text) in files {
                let path = root.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }

        /// The limit, with the path of its file from here.
        fn limit(&self, address_space: Option<u64>) -> (u64, String) {
            let MemoryLimit { bytes, source } = MemoryLimit::within(self.0.path(), address_space);
            let source = match source {
                Source::Physical => "physical".to_owned(),
                Source::Cgroup(file) => file.strip_prefix(self.0.path()).unwrap().display().to_string(),
                Source::AddressSpace => "address space".to_owned(),
                Source::Assumed => "assumed".to_owned(),
            };
            (bytes, source)
        }
    }

    /// `/proc/meminfo` of a machine with 8 GiB, as far as its reader insists on.
    fn meminfo() -> String {
        let names = [
            "MemTotal",
            "MemFree",
            "Buffers",
            "Cached",
            "SwapCached",
            "Active",
            "Inactive",
            "SwapTotal",
            "SwapFree",
            "Dirty",
            "Writeback",
            "Mapped",
            "Slab",
            "Committed_AS",
            "VmallocTotal",
            "VmallocUsed",
            "VmallocChunk",
        ];
        names.iter().map(|name| format!("{name}: {} kB\n", 8 * GIB / 1_024)).collect()
    }

    #[test]
    fn physical_memory_applies_where_nothing_is_smaller() {
        let meminfo = meminfo();
        let cases: [&[(&str, &str)]; 4] = [
            &[],
            &[("proc/self/cgroup", "0::/a\n"), ("proc/self/mountinfo", V2_MOUNT)],
            &[
                ("proc/self/cgroup", "0::/a\n"),
                ("proc/self/mountinfo", V2_MOUNT),
                ("sys/fs/cgroup/a/memory.max", "max\n"),
            ],
            &[
                ("proc/self/cgroup", "4:memory:/a\n3:cpu,cpuacct:/a\n"),
                ("proc/self/mountinfo", V1_MOUNTS),
                ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", UNLIMITED),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", UNLIMITED),
                // Another controller's directory, which does not count.
                ("sys/fs/cgroup/cpu/a/memory.limit_in_bytes", "1000000\n"),
            ],
        ];
        for files in cases {
            let root = Root::new(&[files, &[("proc/meminfo", &meminfo)]].concat());
            assert_eq!(root.limit(Some(rlimit::INFINITY)), (8 * GIB, "physical".to_owned()), "{files:?}");
        }
    }

    #[test]
    fn smallest_cgroup_limit_applies_also_if_it_is_a_parents() {
        let meminfo = meminfo();
        for (own, parent, file) in [
            ("268435456\n", "1073741824\n", "sys/fs/cgroup/a/b/memory.max"),
            ("1073741824\n", "268435456\n", "sys/fs/cgroup/a/memory.max"),
            ("max\n", "268435456\n", "sys/fs/cgroup/a/memory.max"),
        ] {
            let root = Root::new(&[
                ("proc/meminfo", &meminfo),
                ("proc/self/cgroup", "0::/a/b\n"),
                ("proc/self/mountinfo", V2_MOUNT),
                ("sys/fs/cgroup/a/b/memory.max", own),
                ("sys/fs/cgroup/a/memory.max", parent),
            ]);
            assert_eq!(root.limit(None), (256 * MIB, file.to_owned()));
        }
        for (own, parent, file) in [
            ("268435456\n", UNLIMITED, "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes"),
            (UNLIMITED, "268435456\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes"),
        ] {
            // Both versions at once, as systemd mounts them in its hybrid mode.
            let mounts = [V1_MOUNTS, "33 25 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"].concat();
            let root = Root::new(&[
                ("proc/meminfo", &meminfo),
                ("proc/self/cgroup", "9:name=systemd:/\n4:memory:/a/b\n0::/\n"),
                ("proc/self/mountinfo", &mounts),
                ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", own),
                ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", parent),
            ]);
            assert_eq!(root.limit(None), (256 * MIB, file.to_owned()));
        }
    }

    #[test]
    fn mounted_part_of_the_hierarchy_applies_in_a_container() {
        let meminfo = meminfo();
        // Without a namespace of its own the container's cgroup is mounted; with one, the path may begin above the mount.
        for (cgroup, mount_root) in [("/docker/c1", "/docker/c1"), ("/docker/c1/own", "/docker/c1"), ("/../other", "/")]
        {
            let mountinfo = format!("32 25 0:28 {mount_root} /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
            let cgroup = format!("4:memory:{cgroup}\n");
            let root = Root::new(&[
                ("proc/meminfo", &meminfo),
                ("proc/self/cgroup", &cgroup),
                ("proc/self/mountinfo", &mountinfo),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "134217728\n"),
            ]);
            let file = "sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned();
            assert_eq!(root.limit(None), (128 * MIB, file), "{cgroup}");
        }
    }

    #[test]
    fn address_space_applies_where_it_is_smaller() {
        let meminfo = meminfo();
        let root = Root::new(&[("proc/meminfo", &meminfo)]);
        assert_eq!(root.limit(Some(GIB)), (GIB, "address space".to_owned()));
        assert_eq!(root.limit(Some(9 * GIB)), (8 * GIB, "physical".to_owned()));
        assert_eq!(Root::new(&[]).limit(Some(GIB)), (GIB, "address space".to_owned()));
    }

    #[test]
    fn files_that_cannot_be_read_leave_what_can() {
        let meminfo = meminfo();
        assert_eq!(Root::new(&[]).limit(None), (ASSUMED, "assumed".to_owned()));
        assert_eq!(Root::new(&[("proc/meminfo", "MemTotal: many\n")]).limit(None), (ASSUMED, "assumed".to_owned()));
        for (cgroup, mounts, limit) in [
            ("no cgroup", V2_MOUNT, "268435456\n"),
            ("0::/a\n", "no mount", "268435456\n"),
            ("0::/a\n", V2_MOUNT, "a lot\n"),
            ("0::/a\n", V2_MOUNT, "-1\n"),
            ("0::/a\n", V2_MOUNT, "0\n"),
            ("0::/a\n", V2_MOUNT, ""),
        ] {
            let root = Root::new(&[
                ("proc/meminfo", &meminfo),
                ("proc/self/cgroup", cgroup),
                ("proc/self/mountinfo", mounts),
                ("sys/fs/cgroup/a/memory.max", limit),
            ]);
            assert_eq!(root.limit(None), (8 * GIB, "physical".to_owned()), "{cgroup:?} {mounts:?} {limit:?}");
        }
    }

    #[test]
    fn default_memory_is_a_quarter_or_the_minimum_needed() {
        let limit = |bytes| MemoryLimit { bytes, source: Source::AddressSpace };
        assert_eq!(default(&limit(128 * MIB), 17 << 20), 32 << 20);
        assert_eq!(default(&limit(68 * MIB), 17 << 20), 17 << 20);
        assert_eq!(default(&limit(67 * MIB), 17 << 20), 17 << 20);
        assert_eq!(default(&limit(17 * MIB), 17 << 20), 17 << 20);
        assert_eq!(default(&limit(16 * MIB), 17 << 20), 4 << 20);
    }

    #[test]
    fn limit_names_what_it_comes_from() {
        let cgroup = MemoryLimit { bytes: 5, source: Source::Cgroup("/sys/fs/cgroup/a/memory.max".into()) };
        assert_eq!(cgroup.to_string(), "the cgroup limit (5 bytes, /sys/fs/cgroup/a/memory.max)");
        assert!(MemoryLimit::of_this_process().bytes > 0);
    }
}
