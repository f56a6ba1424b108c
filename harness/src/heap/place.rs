//! Whose code a frame is, and its file as the repository names it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::symbols::Found;
use crate::record::{Frame, Place};

/// Beginnings of names of functions that allocate or profile on somebody's behalf.
const ALLOCATORS: &[&str] = &[
    "prof_",
    "_rjem_",
    "je_",
    "imalloc",
    "ifree",
    "irealloc",
    "do_rallocx",
    "malloc",
    "calloc",
    "realloc",
    "posix_memalign",
    "aligned_alloc",
    "operator new",
    "__rust_alloc",
    "__rust_realloc",
    "__rustc::__rust",
    "__rdl_",
    "__rg_",
    "dhat::",
    "backtrace::",
    "_Unwind_",
    "tikv_jemallocator",
    "jemallocator",
    "mi_",
];

/// Parts of paths of allocators and profilers.
const ALLOCATOR_FILES: &[&str] = &["jemalloc", "/dhat-", "/backtrace-"];

/// Parts of paths of what others wrote.
const LIBRARY_FILES: &[&str] = &[
    "/.cargo/",
    "/registry/src/",
    "/git/checkouts/",
    "/site-packages/",
    "/node_modules/",
    "/pkg/mod/",
    "/target/release/build/",
    "/target/debug/build/",
    "/usr/",
];

/// Beginnings of names of a standard library, where no file tells.
const STANDARD: &[&str] = &[
    "std::",
    "core::",
    "alloc::",
    "__libc_",
    "__GI_",
    "clone3",
    "start_thread",
    "runtime.",
];

/// Says whose a frame is; remembers what it found out about files.
pub(super) struct Places {
    repo: Option<PathBuf>,
    known: BTreeMap<String, Option<String>>,
}

impl Places {
    pub(super) fn of(repo: Option<&Path>) -> Self {
        Self {
            repo: repo.map(|repo| repo.canonicalize().unwrap_or_else(|_| repo.into())),
            known: BTreeMap::new(),
        }
    }

    pub(super) fn frame(&mut self, found: Found) -> Frame {
        let place = foreign(&found);
        let own = match (&found.file, place) {
            (Some(file), None) => self.in_repository(file, found.folder.as_deref()),
            _ => None,
        };
        let place = place.unwrap_or(match (&own, &found.file) {
            (Some(_), _) => Place::Own,
            (None, Some(_)) => Place::Library,
            (None, None) => Place::Unknown,
        });
        Frame {
            function: found.function,
            file: own.or(found.file),
            line: found.line,
            place,
        }
    }

    /// The file as the repository names it; `None` if it is not in it.
    fn in_repository(&mut self, file: &str, folder: Option<&str>) -> Option<String> {
        if let Some(known) = self.known.get(file) {
            return known.clone();
        }
        let found = match &self.repo {
            Some(repo) => below(repo, file),
            None => Some(guessed(file, folder)),
        };
        self.known.insert(file.into(), found.clone());
        found
    }
}

/// Who else's it is, by its name or its file.
fn foreign(found: &Found) -> Option<Place> {
    let file = found.file.as_deref().unwrap_or_default();
    let begins = |with: &&str| found.function.starts_with(*with);
    let is_in = |part: &&str| file.contains(*part);
    if ALLOCATORS.iter().any(begins) || ALLOCATOR_FILES.iter().any(is_in) {
        return Some(Place::Allocator);
    }
    if file.starts_with("/rustc/") || file.starts_with("library/") || file.contains("/rustlib/src/")
    {
        return Some(Place::Standard);
    }
    if LIBRARY_FILES.iter().any(is_in) {
        return Some(Place::Library);
    }
    let nameless = file.is_empty() && STANDARD.iter().any(begins);
    nameless.then_some(Place::Standard)
}

/// The longest end of the path that is a file of the repository: the binary may have been built elsewhere.
fn below(repo: &Path, file: &str) -> Option<String> {
    if let Ok(inside) = Path::new(file).strip_prefix(repo) {
        return Some(inside.display().to_string());
    }
    let parts: Vec<&str> = file.split('/').filter(|part| !part.is_empty()).collect();
    let ends = (0..parts.len()).map(|from| parts[from..].join("/"));
    ends.into_iter().find(|end| repo.join(end).is_file())
}

/// Without a repository: relative to the nearest folder above that is one, or to where the compiler ran.
fn guessed(file: &str, folder: Option<&str>) -> String {
    let path = Path::new(file);
    let root = path
        .ancestors()
        .skip(1)
        .find(|folder| folder.join(".git").exists());
    let root = root.or(folder.map(Path::new));
    let inside = root.and_then(|root| path.strip_prefix(root).ok());
    inside.map_or_else(|| file.into(), |inside| inside.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(function: &str, file: &str) -> Found {
        Found {
            function: function.into(),
            file: (!file.is_empty()).then(|| file.into()),
            line: Some(1),
            folder: Some("/nowhere/repo".into()),
        }
    }

    #[test]
    fn frames_are_the_allocators_the_languages_the_libraries_or_our_own() {
        let mut places = Places::of(None);
        for (function, file, place) in [
            (
                "prof_alloc_prep",
                "/build/jemalloc/src/prof.c",
                Place::Allocator,
            ),
            ("__rust_alloc", "", Place::Allocator),
            (
                "alloc::vec::Vec::push",
                "/rustc/abc/library/alloc/src/vec/mod.rs",
                Place::Standard,
            ),
            (
                "hyper::serve",
                "/home/ann/.cargo/registry/src/x/hyper-1/src/lib.rs",
                Place::Library,
            ),
            ("server::enter", "/nowhere/repo/src/sessions.rs", Place::Own),
            ("start_thread", "", Place::Standard),
            ("0x1234", "", Place::Unknown),
        ] {
            assert_eq!(
                places.frame(found(function, file)).place,
                place,
                "{function}"
            );
        }
    }

    #[test]
    fn own_files_are_named_as_the_repository_names_them_wherever_they_were_built() {
        let repo = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut places = Places::of(Some(repo));
        let frame = places.frame(found("a", "/elsewhere/harness/src/heap/place.rs"));
        assert_eq!(frame.file.as_deref(), Some("src/heap/place.rs"));
        let frame = places.frame(found("a", "/elsewhere/no/such/file.rs"));
        assert_eq!(frame.place, Place::Library);
    }
}
