//! The memory control group of a process, version 1 or 2, read from its files.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::proc::{self, ProcError};
use crate::units::ByteSize;

/// Where the kernel's control groups are mounted by convention.
pub const MOUNT: &str = "/sys/fs/cgroup";

/// The control group that a process's memory is charged to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    version: Version,
    /// The group's directory, and how far up its parents may limit it.
    directory: PathBuf,
    mount: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// What is charged to a control group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charged {
    /// Everything: anonymous memory, page cache, kernel objects.
    pub bytes: Option<u64>,
    /// The smallest limit on the way up; `None` without one.
    pub limit_bytes: Option<u64>,
    /// Socket buffers.
    pub socket_bytes: Option<u64>,
    /// How often the kernel killed a process of the group for want of memory.
    pub oom_kills: Option<u64>,
}

/// A number of a control group that is there and cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The process's own files.
    #[error(transparent)]
    Process(#[from] ProcError),
    /// The group is not where the process says that it is.
    #[error("control group `{path}` of process {pid} is not below {mount}", mount = mount.display())]
    NotMounted {
        /// The process.
        pid: u32,
        /// What the process's `cgroup` file says.
        path: String,
        /// Where we looked.
        mount: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read {file}", file = file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file holds something else than a number.
    #[error("{file}: expected a size in bytes, found `{found}`", file = file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is there.
        found: String,
    },
}

impl Cgroup {
    /// Finds the memory control group of a process below `mount` ([`MOUNT`], but for tests).
    ///
    /// # Errors
    /// If the process is gone, or its group is not mounted here.
    pub fn of(pid: u32, mount: &Path) -> Result<Self, CgroupError> {
        let text = proc::read(pid, "cgroup")?;
        let (version, path) = memory_group(&text);
        let mount = match version {
            Version::One => mount.join("memory"),
            Version::Two => mount.to_owned(),
        };
        let directory = find_below(&mount, path, version.usage_file());
        directory
            .map(|directory| Self {
                version,
                directory,
                mount: mount.clone(),
            })
            .ok_or_else(|| CgroupError::NotMounted {
                pid,
                path: path.to_owned(),
                mount,
            })
    }

    /// Makes a group below this one, with a limit on its memory. Version 2 lets nobody do that who has processes in the group itself,
    /// unless the memory controller was handed down to it.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn make_below(&self, name: &str, limit: ByteSize) -> io::Result<PathBuf> {
        let folder = self.directory.join(name);
        fs::create_dir(&folder)?;
        let (file, swap) = match self.version {
            Version::One => ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
            Version::Two => ("memory.max", "memory.swap.max"),
        };
        let limited = set(&folder.join(file), limit.0);
        let swap_limit = match self.version {
            Version::One => limit.0, // of memory and swap together
            Version::Two => 0,
        };
        set(&folder.join(swap), swap_limit).ok(); // not on every kernel; without it the target may swap first
        match limited {
            Ok(()) => Ok(folder),
            Err(error) => {
                fs::remove_dir(&folder).ok(); // empty: we have just made it
                Err(error)
            }
        }
    }

    /// Reads what is charged now. Cost: three small files, and one `memory.max` per parent in version 2.
    ///
    /// # Errors
    /// Says which file, and what it holds.
    pub fn charged(&self) -> Result<Charged, CgroupError> {
        Ok(match self.version {
            Version::One => Charged {
                bytes: self.number("memory.usage_in_bytes")?,
                limit_bytes: self
                    .entry("memory.stat", "hierarchical_memory_limit")?
                    .filter(|limit| *limit < NO_LIMIT),
                socket_bytes: self.number("memory.kmem.tcp.usage_in_bytes")?,
                oom_kills: self.oom_kills()?,
            },
            Version::Two => Charged {
                bytes: self.number("memory.current")?,
                limit_bytes: self.smallest_limit()?,
                socket_bytes: self.entry("memory.stat", "sock")?,
                oom_kills: self.oom_kills()?,
            },
        })
    }

    /// How often the kernel killed a process of this group for want of memory.
    ///
    /// # Errors
    /// Says which file, and what it holds.
    pub fn oom_kills(&self) -> Result<Option<u64>, CgroupError> {
        match self.version {
            Version::One => self.entry("memory.oom_control", "oom_kill"),
            Version::Two => self.entry("memory.events", "oom_kill"),
        }
    }

    fn smallest_limit(&self) -> Result<Option<u64>, CgroupError> {
        let mut smallest: Option<u64> = None;
        for directory in self.directory.ancestors() {
            if let Some(limit) = read_number(&directory.join("memory.max"))? {
                smallest = Some(smallest.map_or(limit, |before| before.min(limit)));
            }
            if directory == self.mount {
                break;
            }
        }
        Ok(smallest)
    }

    fn number(&self, file: &str) -> Result<Option<u64>, CgroupError> {
        read_number(&self.directory.join(file))
    }

    /// A line `key 123` of a file; `None` if the file or the key is missing: older kernels lack some.
    fn entry(&self, file: &str, key: &str) -> Result<Option<u64>, CgroupError> {
        let path = self.directory.join(file);
        let Some(text) = read_if_there(&path)? else {
            return Ok(None);
        };
        let value = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value);
        value.map(|value| parse_bytes(&path, value)).transpose()
    }
}

/// Version 1 writes "no limit" as the largest multiple of a page: anything near it is none.
const NO_LIMIT: u64 = 1 << 62;

impl Version {
    const fn usage_file(self) -> &'static str {
        match self {
            Self::One => "memory.usage_in_bytes",
            Self::Two => "memory.current",
        }
    }
}

/// `4:memory:/a/b` of version 1 wins over `0::/a`: where both exist, memory is counted by the first.
fn memory_group(text: &str) -> (Version, &str) {
    let groups = || {
        text.lines().filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            rest.split_once(':')
        })
    };
    let counts_memory = |controllers: &str| controllers.split(',').any(|name| name == "memory");
    if let Some((_, path)) = groups().find(|(controllers, _)| counts_memory(controllers)) {
        return (Version::One, path);
    }
    let two = groups().find(|(controllers, _)| controllers.is_empty());
    (Version::Two, two.map_or("/", |(_, path)| path))
}

/// In a container the path is often the host's while the mount shows only the inside; then leading parts are dropped until it fits.
fn find_below(mount: &Path, path: &str, usage_file: &str) -> Option<PathBuf> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    (0..=parts.len())
        .map(|skipped| mount.join(parts[skipped..].join("/")))
        .map(|found| found.components().collect::<PathBuf>()) // without a trailing slash
        .find(|directory| directory.join(usage_file).exists())
}

/// Never makes the file: a group without the controller has none.
fn set(file: &Path, bytes: u64) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(file)?;
    file.write_all(bytes.to_string().as_bytes())
}

/// A file with one number; `None` if there is no such file, or it says `max`.
fn read_number(path: &Path) -> Result<Option<u64>, CgroupError> {
    match read_if_there(path)?.as_deref().map(str::trim) {
        None | Some("max") => Ok(None),
        Some(text) => parse_bytes(path, text).map(Some),
    }
}

fn read_if_there(path: &Path) -> Result<Option<String>, CgroupError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CgroupError::Unreadable {
            file: path.to_owned(),
            source,
        }),
    }
}

fn parse_bytes(path: &Path, text: &str) -> Result<u64, CgroupError> {
    text.trim().parse().map_err(|_| CgroupError::Malformed {
        file: path.to_owned(),
        found: proc::shortened(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A version 2 tree as systemd makes it: `user.slice/app.scope`, the limit one level up.
    fn version_two(files: &[(&str, &str)]) -> (tempfile::TempDir, Cgroup) {
        let mount = tempfile::tempdir().unwrap();
        let directory = mount.path().join("user.slice/app.scope");
        fs::create_dir_all(&directory).unwrap();
        for (file, text) in files {
            fs::write(directory.join(file), text).unwrap();
        }
        let cgroup = Cgroup {
            version: Version::Two,
            directory,
            mount: mount.path().to_owned(),
        };
        (mount, cgroup)
    }

    #[test]
    fn version_two_is_read_and_the_limit_of_a_parent_counts() {
        let (mount, cgroup) = version_two(&[
            ("memory.current", "41943040\n"),
            ("memory.max", "max\n"),
            ("memory.stat", "anon 4096\nfile 8192\nsock 12288\nshmem 0\n"),
            (
                "memory.events",
                "low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\n",
            ),
        ]);
        fs::write(mount.path().join("user.slice/memory.max"), "536870912\n").unwrap();
        assert_eq!(
            cgroup.charged().unwrap(),
            Charged {
                bytes: Some(41_943_040),
                limit_bytes: Some(512 << 20),
                socket_bytes: Some(12_288),
                oom_kills: Some(1),
            }
        );
    }

    #[test]
    fn what_version_two_does_not_have_is_missing_and_what_it_garbles_is_said() {
        let (_mount, bare) = version_two(&[]);
        assert_eq!(bare.charged().unwrap(), Charged::default());
        let (_mount, garbled) = version_two(&[("memory.current", "plenty\n")]);
        let error = garbled.charged().unwrap_err().to_string();
        assert!(
            error.ends_with("memory.current: expected a size in bytes, found `plenty`"),
            "{error}"
        );
    }

    #[test]
    fn the_group_is_found_in_what_the_process_says() {
        for (text, found) in [
            (
                "0::/user.slice/app.scope\n",
                (Version::Two, "/user.slice/app.scope"),
            ),
            (
                "9:name=systemd:/x\n4:memory:/docker/ab\n0::/y\n",
                (Version::One, "/docker/ab"),
            ),
            ("3:cpu,memory:/a:b\n", (Version::One, "/a:b")),
            ("", (Version::Two, "/")),
        ] {
            assert_eq!(memory_group(text), found, "{text:?}");
        }
    }

    #[test]
    fn a_path_of_the_host_is_found_inside_a_container() {
        let mount = tempfile::tempdir().unwrap();
        fs::write(mount.path().join("memory.current"), "1\n").unwrap();
        assert_eq!(
            find_below(
                mount.path(),
                "/system.slice/docker-ab.scope",
                "memory.current"
            )
            .as_deref(),
            Some(mount.path())
        );
    }

    #[test]
    fn our_own_group_can_be_read_on_this_machine() {
        let Ok(cgroup) = Cgroup::of(std::process::id(), Path::new(MOUNT)) else {
            return; // no memory controller here: nothing to read
        };
        assert!(
            cgroup
                .charged()
                .unwrap()
                .bytes
                .is_some_and(|bytes| bytes > 0)
                || cgroup.directory == cgroup.mount
        );
    }
}
