//! The programs and libraries that a process has mapped, and their build ids: what its addresses must be looked up in later.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
};

use object::{Object as _, ReadCache};

/// More mapped files than this are not looked at.
const MOST: usize = 512;

/// A mapped file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedFile {
    /// As the kernel names it.
    pub path: String,
    /// Its GNU build id; `None`: it has none, or is gone.
    pub build_id: Option<Vec<u8>>,
}

/// What a process has mapped executable; empty if it cannot be read.
pub fn mapped_files(pid: u32) -> Vec<MappedFile> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let mapped = executable_paths(&maps).into_iter().take(MOST);
    mapped
        .map(|path| MappedFile {
            build_id: build_id(&seen_by(pid, program.as_deref(), path)),
            path: path.into(),
        })
        .collect()
}

/// The program itself stays readable when its file was replaced meanwhile, and all others are seen from its own root.
fn seen_by(pid: u32, program: Option<&Path>, path: &str) -> PathBuf {
    if program == Some(Path::new(path)) {
        format!("/proc/{pid}/exe").into()
    } else {
        format!("/proc/{pid}/root{path}").into()
    }
}

fn executable_paths(maps: &str) -> BTreeSet<&str> {
    let lines = maps.lines().filter_map(|line| {
        let (rights, path) = (line.split_ascii_whitespace().nth(1)?, line.find('/')?);
        rights.contains('x').then_some(&line[path..])
    });
    lines.collect()
}

/// The GNU build id of a program or library; `None` if it has none or cannot be read.
pub fn build_id(path: &Path) -> Option<Vec<u8>> {
    let cache = ReadCache::new(File::open(path).ok()?);
    let file = object::File::parse(&cache).ok()?;
    Some(file.build_id().ok()??.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_executable_files_are_named_and_each_once() {
        let maps = "\
55f0-55f1 r--p 00000000 fe:00 1  /srv/a server
55f1-55f2 r-xp 00001000 fe:00 1  /srv/a server
55f4-55f5 r-xp 00009000 fe:00 1  /srv/a server
7f00-7f01 r-xp 00000000 00:00 0  [vdso]
7f02-7f03 rw-p 00000000 00:00 0
";
        assert_eq!(
            executable_paths(maps).into_iter().collect::<Vec<_>>(),
            ["/srv/a server"]
        );
    }

    #[test]
    fn our_own_program_is_among_our_mapped_files() {
        let own = std::env::current_exe().unwrap();
        let found = mapped_files(std::process::id());
        assert!(
            found.iter().any(|file| Path::new(&file.path) == own),
            "{found:?}"
        );
    }
}
