//! Looks addresses up in the binaries that they lie in: functions, inlined ones too, files and lines.
//!
//! A binary is believed if its build id is the one that the target had mapped. A stripped one is looked up in its debug file: one that
//! was given, one that its `.gnu_debuglink` names, or the system's. One binary at a time, and only the sections that are needed.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::{Path, PathBuf},
};

use addr2line::Context;
use gimli::{EndianSlice, RunTimeEndian};
use object::{Object as _, ObjectSection as _, ReadCache};

use super::{Where, names};
use crate::target::image;

/// Debug files of a folder that are looked at, at most.
const MOST_FILES: usize = 10_000;

/// Inlined functions of one address, at most.
const MOST_INLINED: usize = 64;

/// An address in the target's memory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// As it was: the address that a call returns to.
    pub absolute: u64,
    /// The file that was mapped there.
    pub image: Option<String>,
    /// Where that file begins in memory.
    pub base: u64,
    /// The build id that the file had then, if it was noted.
    pub build_id: Option<String>,
}

/// What is known of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The function, shortened.
    pub function: String,
    /// The file, as the compiler was told.
    pub file: Option<String>,
    /// The line, counted from 1.
    pub line: Option<u32>,
    /// Where the compiler ran.
    pub folder: Option<String>,
}

/// What was found of many addresses.
#[derive(Debug, Default)]
pub struct Symbols(BTreeMap<u64, Vec<Found>>);

/// Why a binary says nothing.
#[derive(Debug, thiserror::Error)]
enum SymbolError {
    #[error(transparent)]
    File(#[from] std::io::Error),
    #[error(transparent)]
    Object(#[from] object::Error),
    #[error(transparent)]
    Dwarf(#[from] gimli::Error),
}

impl Symbols {
    /// Looks addresses up, each once. What cannot be is said in `notes`, one sentence a binary.
    pub fn look_up<'a>(
        addresses: impl Iterator<Item = &'a Address>,
        at: &Where,
        notes: &mut Vec<String>,
    ) -> Self {
        let mut images: BTreeMap<(&str, Option<&str>, u64), BTreeSet<u64>> = BTreeMap::new();
        for address in addresses {
            if let Some(image) = &address.image {
                let key = (image.as_str(), address.build_id.as_deref(), address.base);
                images.entry(key).or_default().insert(address.absolute);
            }
        }
        let mut found = BTreeMap::new();
        for ((path, build_id, base), wanted) in images {
            found.extend(of_image(
                Path::new(path),
                build_id,
                base,
                &wanted,
                at,
                notes,
            ));
        }
        Self(found)
    }

    /// Whether anything is known of an address.
    pub fn knows(&self, address: &Address) -> bool {
        self.0.contains_key(&address.absolute)
    }

    /// The frames at an address, the innermost first; the address itself where nothing is known.
    pub fn frames(&self, address: &Address) -> Vec<Found> {
        if let Some(found) = self.0.get(&address.absolute) {
            return found.clone();
        }
        let file = address
            .image
            .as_deref()
            .and_then(|path| Path::new(path).file_name());
        let function = match file {
            Some(file) => format!(
                "{}+{:#x}",
                file.to_string_lossy(),
                address.absolute.saturating_sub(address.base)
            ),
            None => format!("{:#x}", address.absolute),
        };
        vec![Found {
            function,
            ..Found::default()
        }]
    }
}

fn of_image(
    path: &Path,
    build_id: Option<&str>,
    base: u64,
    wanted: &BTreeSet<u64>,
    at: &Where,
    notes: &mut Vec<String>,
) -> BTreeMap<u64, Vec<Found>> {
    let name = path.display();
    let Some(file) = binary(path, build_id, at, notes) else {
        return BTreeMap::new();
    };
    match resolve(&file, base, wanted) {
        Ok((found, has_lines)) => {
            if !has_lines && !is_of_the_system(path) {
                notes.push(format!(
                    "{name} has no debug information: functions without files and lines; build with \
                     `debug = \"line-tables-only\"`, or name its debug file with --debug-file"
                ));
            }
            found
        }
        Err(error) => {
            notes.push(format!("{name} cannot be looked up: {error}"));
            BTreeMap::new()
        }
    }
}

/// Nobody expects debug information of a distribution's libraries.
fn is_of_the_system(path: &Path) -> bool {
    path.starts_with("/usr") || path.starts_with("/lib")
}

/// The file to look up in: the binary with the right build id, or its debug file.
fn binary(
    path: &Path,
    build_id: Option<&str>,
    at: &Where,
    notes: &mut Vec<String>,
) -> Option<PathBuf> {
    let there = image::build_id(path).map(|id| hex(&id));
    let is_right = path.is_file() && build_id.is_none_or(|id| there.as_deref() == Some(id));
    let id = build_id.map(String::from).or_else(|| there.clone());
    if is_right && has_debug_info(path) {
        return Some(path.into());
    }
    let debug = id.as_deref().and_then(|id| debug_file(path, id, at));
    if debug.is_some() {
        return debug;
    }
    if is_right {
        return Some(path.into()); // its symbol table is better than nothing
    }
    let name = path.display();
    let why = match (path.is_file(), there) {
        (false, _) => format!("{name} is not there any more"),
        (true, Some(there)) => format!(
            "{name} was built again: its build id is {there}, and the target ran {}",
            build_id.unwrap_or("another")
        ),
        (true, None) => format!("{name} has no build id any more"),
    };
    notes.push(format!(
        "{why}; its addresses are not looked up: name the binary of then with --debug-file"
    ));
    None
}

fn debug_file(path: &Path, id: &str, at: &Where) -> Option<PathBuf> {
    let of_system = id.get(..2).zip(id.get(2..)).map(|(first, rest)| {
        PathBuf::from("/usr/lib/debug/.build-id")
            .join(first)
            .join(format!("{rest}.debug"))
    });
    let given = at.debug.iter().flat_map(|given| files_of(given));
    let candidates = given.chain(linked(path)).chain(of_system);
    candidates
        .into_iter()
        .find(|file| image::build_id(file).is_some_and(|found| hex(&found) == id))
}

/// A file, or the files of a folder.
fn files_of(given: &Path) -> Vec<PathBuf> {
    if !given.is_dir() {
        return vec![given.into()];
    }
    let entries = fs::read_dir(given).into_iter().flatten().take(MOST_FILES);
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    files.filter(|path| path.is_file()).collect()
}

/// What `.gnu_debuglink` names, beside the binary and in `.debug/`.
fn linked(path: &Path) -> Vec<PathBuf> {
    let name = || {
        let cache = ReadCache::new(File::open(path).ok()?);
        let file = object::File::parse(&cache).ok()?;
        let (name, _) = file.gnu_debuglink().ok()??;
        Some(String::from_utf8_lossy(name).into_owned())
    };
    let folder = path.parent().unwrap_or(Path::new("/"));
    name().map_or_else(Vec::new, |name| {
        vec![folder.join(&name), folder.join(".debug").join(&name)]
    })
}

fn has_debug_info(path: &Path) -> bool {
    let has = || {
        let cache = ReadCache::new(File::open(path).ok()?);
        let file = object::File::parse(&cache).ok()?;
        file.section_by_name(".debug_info").map(|_| ())
    };
    has().is_some()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

type Slice<'a> = EndianSlice<'a, RunTimeEndian>;

/// The frames of every address, and whether there are lines at all.
fn resolve(
    file: &Path,
    base: u64,
    wanted: &BTreeSet<u64>,
) -> Result<(BTreeMap<u64, Vec<Found>>, bool), SymbolError> {
    let cache = ReadCache::new(File::open(file)?);
    let object = object::File::parse(&cache)?;
    let endian = if object.is_little_endian() {
        RunTimeEndian::Little
    } else {
        RunTimeEndian::Big
    };
    let load = |id: gimli::SectionId| -> Result<Cow<'_, [u8]>, gimli::Error> {
        let section = object.section_by_name(id.name());
        let data = section.and_then(|section| section.uncompressed_data().ok());
        Ok(data.unwrap_or(Cow::Borrowed(&[])))
    };
    let sections = gimli::DwarfSections::load(load)?;
    let dwarf = sections.borrow(|section| EndianSlice::new(section, endian));
    let context = Context::from_dwarf(dwarf)?;
    let symbols = object.symbol_map();
    let relocated = object.kind() == object::ObjectKind::Dynamic;
    let mut has_lines = false;
    let mut found = BTreeMap::new();
    for absolute in wanted {
        let address = if relocated {
            absolute.saturating_sub(base)
        } else {
            *absolute
        };
        let call = address.saturating_sub(1); // the call lies before where it returns to
        let mut frames = frames(&context, call)?;
        has_lines |= frames.iter().any(|frame| frame.file.is_some());
        if frames.is_empty() {
            frames.push(Found::default());
        }
        let nameless = |frame: &Found| frame.function.is_empty();
        if let Some(symbol) = symbols.containing(call) {
            let name = names::demangled(symbol.name());
            let unnamed = frames.iter_mut().filter(|frame| nameless(frame));
            unnamed.for_each(|frame| frame.function.clone_from(&name));
        }
        frames.retain(|frame| !nameless(frame));
        if !frames.is_empty() {
            found.insert(*absolute, frames);
        }
    }
    Ok((found, has_lines || wanted.is_empty()))
}

fn frames(context: &Context<Slice<'_>>, address: u64) -> Result<Vec<Found>, SymbolError> {
    let unit = context.find_dwarf_and_unit(address).skip_all_loads();
    let folder = unit.as_ref().and_then(|unit| unit.comp_dir);
    let folder = folder.map(|folder| folder.to_string_lossy().into_owned());
    let mut iterator = context.find_frames(address).skip_all_loads()?;
    let mut frames = Vec::new();
    while let Some(frame) = iterator.next()? {
        let location = frame.location.as_ref();
        let file = location.and_then(|location| location.file);
        // Line tables alone name only functions that others were inlined into; the symbol table knows the rest.
        let name = match &frame.function {
            Some(function) => names::in_file(&function.raw_name()?, file),
            None => String::new(),
        };
        frames.push(Found {
            function: name,
            file: file.map(String::from),
            line: location
                .and_then(|location| location.line)
                .filter(|line| *line > 0),
            folder: folder.clone(),
        });
        if frames.len() >= MOST_INLINED {
            break;
        }
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn somewhere_in_here() -> u64 {
        let here: fn() -> u64 = somewhere_in_here;
        here as usize as u64
    }

    #[test]
    fn our_own_functions_are_found_in_our_own_binary() {
        let own = std::env::current_exe().unwrap();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps
            .lines()
            .find(|line| line.ends_with(own.to_str().unwrap()))
            .unwrap();
        let base = u64::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
        let address = Address {
            absolute: somewhere_in_here() + 1,
            image: Some(own.display().to_string()),
            base,
            build_id: image::build_id(&own).map(|id| hex(&id)),
        };
        let mut notes = Vec::new();
        let symbols = Symbols::look_up([&address].into_iter(), &Where::default(), &mut notes);
        let frames = symbols.frames(&address);
        assert!(
            frames[0].function.ends_with("somewhere_in_here"),
            "{frames:?} {notes:?}"
        );
        assert!(
            frames[0]
                .file
                .as_deref()
                .is_some_and(|file| file.ends_with("symbols.rs")),
            "{frames:?}"
        );

        let other = Address {
            build_id: Some("00ff".into()),
            ..address
        };
        let symbols = Symbols::look_up([&other].into_iter(), &Where::default(), &mut notes);
        assert!(!symbols.knows(&other));
        assert!(
            notes.iter().any(|note| note.contains("built again")),
            "{notes:?}"
        );
    }
}
