//! Whose malloc, and which runtime, a process has: by the libraries that it has mapped, else by words in its program.

use std::{
    collections::BTreeSet,
    fmt,
    fs::File,
    io::{self, Read},
    path::Path,
};

use memchr::memmem::Finder;
use serde::Serialize;

use crate::target::proc::{self, ProcError};

/// Programs are looked through up to here, bytes.
const MOST: u64 = 512 << 20;

/// Whose malloc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Allocator {
    /// The C library of most systems.
    Glibc,
    /// jemalloc, linked or preloaded.
    Jemalloc,
    /// mimalloc.
    Mimalloc,
    /// tcmalloc.
    Tcmalloc,
    /// musl's.
    Musl,
    /// None of these could be recognised.
    Unknown,
}

/// Which runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runtime {
    /// CPython.
    Python,
    /// Node.js.
    Node,
    /// Go: its own allocator and collector.
    Go,
    /// A JVM.
    Java,
    /// Compiled, without a collector that we know.
    Native,
}

/// What a process manages its memory with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Heap {
    /// Whose malloc.
    pub allocator: Allocator,
    /// Which runtime.
    pub runtime: Runtime,
}

impl fmt::Display for Allocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Glibc => "glibc malloc",
            Self::Jemalloc => "jemalloc",
            Self::Mimalloc => "mimalloc",
            Self::Tcmalloc => "tcmalloc",
            Self::Musl => "musl malloc",
            Self::Unknown => "an unknown allocator",
        })
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Python => "Python",
            Self::Node => "Node.js",
            Self::Go => "Go",
            Self::Java => "Java",
            Self::Native => "native",
        })
    }
}

/// What a process has. Cost: its map of memory, and one pass over its program where the libraries do not say enough.
///
/// # Errors
/// The process is gone, or is not ours to read.
pub fn of(pid: u32) -> Result<Heap, ProcError> {
    let maps = proc::read(pid, "maps")?;
    let program = Path::new("/proc").join(pid.to_string()).join("exe");
    let words = File::open(program).and_then(words_in).unwrap_or_default();
    Ok(by(&libraries(&maps), &words))
}

/// File names that are mapped.
fn libraries(maps: &str) -> BTreeSet<&str> {
    let path = |line: &'_ str| -> Option<usize> { line.find('/') };
    maps.lines()
        .filter_map(|line| Some(&line[path(line)?..]))
        .filter_map(|path| path.rsplit('/').next())
        .collect()
}

/// Marks that programs carry when something is linked into them, written backwards: this program must not carry them itself.
const MARKS: [(&str, &[u8]); 7] = [
    ("jemalloc", b" :>collamej<"),
    ("jemalloc", b"fnoc_collam_mejr_"),
    ("mimalloc", b" :collamim"),
    ("tcmalloc", b"colla egral :collamct"),
    ("go", b":fnidliub oG "),
    ("node", b"ssecorPrePecnOezilaitinI::edon"),
    ("glibc", b" :)(etadilosnoc_collam"),
];

/// Which marks a program carries, read in pieces that overlap.
fn words_in(mut program: impl Read) -> io::Result<BTreeSet<&'static str>> {
    const OVERLAP: usize = 64;
    let finders: Vec<(&str, Finder<'_>)> = MARKS
        .iter()
        .map(|(name, mark)| (*name, Finder::new(&forwards(mark)).into_owned()))
        .collect();
    let mut found = BTreeSet::new();
    let mut buffer = vec![0; 1 << 20];
    let (mut kept, mut seen) = (0, 0);
    loop {
        let length = program.read(&mut buffer[kept..])?;
        seen += length as u64;
        if length == 0 || seen > MOST {
            return Ok(found);
        }
        let text = &buffer[..kept + length];
        let here = finders.iter().filter(|(_, mark)| mark.find(text).is_some());
        found.extend(here.map(|(name, _)| *name));
        let next = text.len().min(OVERLAP);
        let from = text.len() - next;
        buffer.copy_within(from..from + next, 0);
        kept = next;
    }
}

fn forwards(mark: &[u8]) -> Vec<u8> {
    mark.iter().rev().copied().collect()
}

fn by(libraries: &BTreeSet<&str>, words: &BTreeSet<&str>) -> Heap {
    let mapped = |part: &str| libraries.iter().any(|name| name.contains(part));
    let named = |name: &str| {
        libraries.iter().any(|library| {
            library.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.') == name
        })
    };
    let allocator = match () {
        () if mapped("libjemalloc") => Allocator::Jemalloc,
        () if mapped("libmimalloc") => Allocator::Mimalloc,
        () if mapped("libtcmalloc") => Allocator::Tcmalloc,
        () if words.contains("jemalloc") => Allocator::Jemalloc,
        () if words.contains("mimalloc") => Allocator::Mimalloc,
        () if words.contains("tcmalloc") => Allocator::Tcmalloc,
        () if mapped("ld-musl") || mapped("libc.musl") => Allocator::Musl,
        () if mapped("libc.so.6") || mapped("libc-2.") || words.contains("glibc") => {
            Allocator::Glibc
        }
        () => Allocator::Unknown,
    };
    let runtime = match () {
        () if words.contains("go") => Runtime::Go,
        () if mapped("libjvm.so") => Runtime::Java,
        () if named("node") || mapped("libnode") || words.contains("node") => Runtime::Node,
        () if mapped("libpython") || named("python") => Runtime::Python,
        () => Runtime::Native,
    };
    Heap { allocator, runtime }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps(names: &[&str]) -> String {
        let lines = names
            .iter()
            .map(|name| format!("7f00-7f01 r-xp 00000000 08:01 42   /usr/lib/{name}\n"));
        lines
            .chain(["7f02-7f03 rw-p 00000000 00:00 0 \n".into()])
            .collect()
    }

    #[test]
    fn the_heap_is_known_by_what_is_mapped_and_by_what_is_linked_in() {
        let rows: [(&[&str], &[&str], Allocator, Runtime); 8] = [
            (
                &["python3.11", "libc.so.6"],
                &[],
                Allocator::Glibc,
                Runtime::Python,
            ),
            (&["node", "libc.so.6"], &[], Allocator::Glibc, Runtime::Node),
            (
                &["java", "libjvm.so", "libc.so.6"],
                &[],
                Allocator::Glibc,
                Runtime::Java,
            ),
            (
                &["server", "libc.so.6"],
                &["jemalloc"],
                Allocator::Jemalloc,
                Runtime::Native,
            ),
            (
                &["python3.12", "libjemalloc.so.2", "libc.so.6"],
                &[],
                Allocator::Jemalloc,
                Runtime::Python,
            ),
            (
                &["server", "ld-musl-x86_64.so.1"],
                &[],
                Allocator::Musl,
                Runtime::Native,
            ),
            (
                &["server", "libmimalloc.so.2", "libc.so.6"],
                &[],
                Allocator::Mimalloc,
                Runtime::Native,
            ),
            (&["server"], &["go"], Allocator::Unknown, Runtime::Go),
        ];
        for (names, words, allocator, runtime) in rows {
            let text = maps(names);
            let found = by(&libraries(&text), &words.iter().copied().collect());
            assert_eq!(found, Heap { allocator, runtime }, "{names:?} {words:?}");
        }
    }

    #[test]
    fn a_mark_is_found_where_two_pieces_meet() {
        for before in [0, 5, (1 << 20) - 4, (1 << 20) + 1] {
            let mut program = vec![b'x'; before];
            program.extend(forwards(MARKS[0].1));
            let found = words_in(program.as_slice()).unwrap();
            assert!(found.contains("jemalloc"), "{before} bytes before it");
        }
    }

    #[test]
    fn our_own_heap_is_known() {
        let heap = of(std::process::id()).unwrap();
        assert_eq!(heap.runtime, Runtime::Native);
        assert_ne!(heap.allocator, Allocator::Jemalloc, "the harness has none");
    }
}
