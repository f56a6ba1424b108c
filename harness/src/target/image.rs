//! The programs and libraries that a process has mapped, and their build ids: what its addresses must be looked up in later.

use std::{
    collections::BTreeMap,
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
    /// From where its first byte lies in memory to the end of its last mapping.
    pub range: (u64, u64),
}

/// What a process has mapped executable; empty if it cannot be read.
pub fn mapped_files(pid: u32) -> Vec<MappedFile> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let mapped = executable(&maps).into_iter().take(MOST);
    mapped
        .map(|(path, range)| MappedFile {
            build_id: build_id(&seen_by(pid, program.as_deref(), path)),
            path: path.trim_end_matches(" (deleted)").into(),
            range,
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

/// Files of which a part can be executed, with the range of all their parts.
fn executable(maps: &str) -> BTreeMap<&str, (u64, u64)> {
    let mut files: BTreeMap<&str, (u64, u64, bool)> = BTreeMap::new();
    for (path, rights, start, end, offset) in maps.lines().filter_map(mapping) {
        let first = start.saturating_sub(offset);
        let known = files.entry(path).or_insert((first, end, false));
        *known = (
            known.0.min(first),
            known.1.max(end),
            known.2 || rights.contains('x'),
        );
    }
    let executable = files.into_iter().filter(|(_, (_, _, executes))| *executes);
    executable
        .map(|(path, (start, end, _))| (path, (start, end)))
        .collect()
}

fn mapping(line: &str) -> Option<(&str, &str, u64, u64, u64)> {
    let path = &line[line.find('/')?..];
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let rights = words.next()?;
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    Some((path, rights, hex(start)?, hex(end)?, hex(words.next()?)?))
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
55eb-55f1 r--p 00000000 fe:00 1  /srv/a server
55f1-55f2 r-xp 00000006 fe:00 1  /srv/a server
55f4-55f5 r-xp 00000009 fe:00 1  /srv/a server
7f00-7f01 r-xp 00000000 00:00 0  [vdso]
7f02-7f03 rw-p 00000000 00:00 0
";
        assert_eq!(
            executable(maps).into_iter().collect::<Vec<_>>(),
            [("/srv/a server", (0x55eb, 0x55f5))]
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
