//! Heap: reads the dumps of allocation profilers, and looks their addresses up, outside the target.
//!
//! In: `heap/` of a run directory, as it was captured, and the binaries that the dumps name, by build id. Out:
//! [`Stacks`](crate::record::Stacks), written beside them as `heap/stacks.json`. Start at [`digest`]; [`v2`] reads jemalloc's format,
//! [`dhat`] that of dhat, [`symbols`] looks addresses up, [`names`] shortens what it finds.
//! Counts stay raw: what they stand for is [`diagnose`](crate::diagnose)'s business. Cost: nothing in the target (doing it there
//! adds 65 MiB to the patient); here the debug sections of the binaries that occur, one binary at a time.

pub mod dhat;
pub mod names;
mod place;
pub mod symbols;
pub mod v2;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader},
    path::{Path, PathBuf},
};

use self::{
    place::Places,
    symbols::{Address, Symbols},
};
use crate::{
    profile::Instrument,
    record::{
        Captured, CapturedWindow, Frame, HEAP_VERSION, RecordingError, Stack, Stacks, StacksWindow,
        files,
    },
};

/// Where to look beside the binaries that the dumps name.
#[derive(Clone, Debug, Default)]
pub struct Where {
    /// The repository whose code is the reviewers' own; `None`: the one that the binary was built from, if it is here.
    pub repo: Option<PathBuf>,
    /// Files with debug information, or folders of them, for stripped binaries.
    pub debug: Vec<PathBuf>,
}

/// Why the dumps of a run could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HeapError {
    /// What was captured cannot be read.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// A dump cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A dump is not in jemalloc's format.
    #[error("{path} cannot be used")]
    HeapV2 {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: v2::DumpError,
    },
    /// A dump is not in dhat's format.
    #[error("{path} cannot be used")]
    Dhat {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: dhat::DhatError,
    },
    /// What was made of the dumps cannot be written.
    #[error("{path} cannot be written")]
    Unwritten {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A stack before its addresses are looked up.
struct Raw {
    addresses: Vec<Address>,
    blocks: u64,
    bytes: u64,
    /// What the dump itself says of the addresses, where it does.
    said: Vec<String>,
}

/// Reads what was captured, looks it up, and writes `heap/stacks.json`; `None` if nothing was captured. Where `stacks.json` was made
/// before and the binaries are no longer what they were, what is not known any more says so in the notes.
///
/// # Errors
/// A dump is damaged, or a file cannot be read or written.
pub fn digest(folder: &Path, at: &Where) -> Result<Option<Stacks>, HeapError> {
    let Some(captured) = Captured::read(folder)? else {
        return Ok(None);
    };
    let raw: Vec<Vec<Raw>> = captured
        .windows
        .iter()
        .map(|window| read(folder, &captured, window))
        .collect::<Result<_, _>>()?;
    let stacks = symbolised(&captured, &raw, at);
    let path = folder.join(files::STACKS);
    stacks
        .write(folder)
        .map_err(|source| HeapError::Unwritten { path, source })?;
    Ok(Some(stacks))
}

fn read(
    folder: &Path,
    captured: &Captured,
    window: &CapturedWindow,
) -> Result<Vec<Raw>, HeapError> {
    let path = folder.join(files::HEAP).join(&window.file);
    let file = File::open(&path).map_err(|source| HeapError::Unreadable {
        path: path.clone(),
        source,
    })?;
    match captured.instrument {
        Instrument::Dhat => {
            let profile = dhat::read(BufReader::new(file))
                .map_err(|source| HeapError::Dhat { path, source })?;
            Ok(profile
                .stacks
                .into_iter()
                .map(|stack| of_dhat(captured, stack))
                .collect())
        }
        _ => {
            let dump = v2::Dump::read(BufReader::new(file))
                .map_err(|source| HeapError::HeapV2 { path, source })?;
            Ok(of_jemalloc(captured, dump))
        }
    }
}

fn of_jemalloc(captured: &Captured, dump: v2::Dump) -> Vec<Raw> {
    let ids: BTreeMap<&str, Option<&str>> = captured
        .images
        .iter()
        .map(|image| (image.path.as_str(), image.build_id.as_deref()))
        .collect();
    let v2::Dump {
        traces, mappings, ..
    } = dump;
    let locate = |address: &u64| {
        let place = v2::locate(&mappings, *address);
        Address {
            absolute: *address,
            image: place.map(|mapping| mapping.path.clone()),
            base: place.map_or(0, |mapping| v2::base(&mappings, &mapping.path)),
            build_id: place
                .and_then(|mapping| (*ids.get(mapping.path.as_str())?).map(String::from)),
        }
    };
    let raw = |trace: v2::Trace| Raw {
        addresses: trace.addresses.iter().map(locate).collect(),
        blocks: trace.blocks,
        bytes: trace.bytes,
        said: vec![],
    };
    traces.into_iter().map(raw).collect()
}

fn of_dhat(captured: &Captured, stack: dhat::Live) -> Raw {
    let locate = |address: u64| {
        let image = captured.images.iter().find(|image| {
            image
                .range
                .is_some_and(|(start, end)| (start..end).contains(&address))
        });
        Address {
            absolute: address,
            image: image.map(|image| image.path.clone()),
            base: image
                .and_then(|image| image.range)
                .map_or(0, |range| range.0),
            build_id: image.and_then(|image| image.build_id.clone()),
        }
    };
    let mut addresses: Vec<u64> = Vec::new();
    for (address, _) in &stack.frames {
        if addresses.last() != Some(address) {
            addresses.push(*address); // inlined frames of one address follow one another
        }
    }
    Raw {
        addresses: addresses.into_iter().map(locate).collect(),
        blocks: stack.blocks,
        bytes: stack.bytes,
        said: stack.frames.into_iter().map(|(_, said)| said).collect(),
    }
}

fn symbolised(captured: &Captured, raw: &[Vec<Raw>], at: &Where) -> Stacks {
    let mut notes: Vec<String> = captured.problem.clone().into_iter().collect();
    let addresses = raw.iter().flatten().flat_map(|stack| &stack.addresses);
    let symbols = Symbols::look_up(addresses, at, &mut notes);
    let mut places = Places::of(at.repo.as_deref());
    let mut frames = Frames::default();
    let windows = captured.windows.iter().zip(raw);
    let windows = windows
        .map(|(window, stacks)| StacksWindow {
            of: window.of,
            lg_sample: window.lg_sample,
            length_s: window.ended_s - window.began_s,
            quiet: window.quiet,
            given: window.given.clone(),
            stacks: stacks
                .iter()
                .map(|stack| frames.stack(stack, &symbols, &mut places))
                .collect(),
        })
        .collect();
    Stacks {
        version: HEAP_VERSION,
        instrument: captured.instrument.name().into(),
        windows,
        cost: captured.cost.clone(),
        frames: frames.all,
        notes,
    }
}

/// Every frame once, in the order in which they were met.
#[derive(Default)]
struct Frames {
    all: Vec<Frame>,
    places: BTreeMap<Frame, u32>,
}

impl Frames {
    fn stack(&mut self, raw: &Raw, symbols: &Symbols, places: &mut Places) -> Stack {
        let known = raw.addresses.iter().any(|address| symbols.knows(address));
        let found: Vec<symbols::Found> = if known || raw.said.is_empty() {
            let each = raw.addresses.iter();
            each.flat_map(|address| symbols.frames(address)).collect()
        } else {
            raw.said.iter().map(|said| dhat::said(said)).collect()
        };
        let found = found.into_iter().map(|found| places.frame(found));
        Stack {
            frames: found.map(|frame| self.place(frame)).collect(),
            blocks: raw.blocks,
            bytes: raw.bytes,
        }
    }

    fn place(&mut self, frame: Frame) -> u32 {
        if let Some(place) = self.places.get(&frame) {
            return *place;
        }
        let place = u32::try_from(self.all.len()).expect("fewer frames than fit a file");
        self.all.push(frame.clone());
        self.places.insert(frame, place);
        place
    }
}
