//! `heap/`: allocation profiles as they were captured (`windows.json` and a dump each), and what they say (`stacks.json`).
//!
//! The dumps stay as the target wrote them. `stacks.json` is made of them once, while the binaries that they name are at hand
//! ([`heap`](crate::heap)); every judge and report reads that alone, next year too.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufReader},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{files, reader::RecordingError};
use crate::{
    profile::{Instrument, Unit},
    timeline::Counts,
    units::{Factor, Leave},
};

/// Raised when a reader of the last version would misread.
pub const VERSION: u32 = 1;

/// `heap/windows.json`: what was captured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Captured {
    /// The version of the format.
    pub version: u32,
    /// What the target's profiler was.
    pub instrument: Instrument,
    /// The windows, in the order in which they were opened.
    pub windows: Vec<CapturedWindow>,
    /// What profiling cost, by rate.
    #[serde(default)]
    pub cost: Vec<Cost>,
    /// The programs and libraries that the target had mapped.
    #[serde(default)]
    pub images: Vec<Image>,
    /// Why there is no more.
    #[serde(default)]
    pub problem: Option<String>,
}

/// One window: everything allocated in it and still live at its end is in its dump, and nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CapturedWindow {
    /// The unit that it is about.
    pub of: Unit,
    /// The dump, a name in `heap/`.
    pub file: String,
    /// One sample in 2^this bytes; `None`: every allocation.
    pub lg_sample: Option<u8>,
    /// When it was opened, seconds on the run's clock.
    pub began_s: f64,
    /// When the dump was taken.
    pub ended_s: f64,
    /// Whether everybody was gone, by every count there is.
    pub quiet: bool,
    /// What the load did in it.
    pub given: Given,
}

/// How much of every factor was given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Given {
    /// Connections closed, by leave mode; only those that happened.
    pub closed: BTreeMap<Leave, u64>,
    /// Sessions created.
    pub sessions: u64,
    /// Turns taken.
    pub turns: u64,
    /// Events received.
    pub events: u64,
}

impl Given {
    /// What the load did between two counts.
    pub fn between(before: &Counts, after: &Counts) -> Self {
        let done = after.since(before);
        let closed = Leave::ALL.into_iter();
        Self {
            closed: closed
                .map(|leave| (leave, done.closed[leave.index()]))
                .filter(|(_, count)| *count > 0)
                .collect(),
            sessions: done.sessions_created,
            turns: done.turns,
            events: done.events,
        }
    }

    /// How much of one factor: sums of ways of leaving included. Nothing of wall time and of the positive control.
    pub fn of(&self, factor: Factor) -> u64 {
        match factor {
            Factor::Session => self.sessions,
            Factor::Turn => self.turns,
            Factor::Event => self.events,
            Factor::Time | Factor::Control => 0,
            closed => {
                let modes = self.closed.iter();
                let counted = modes.filter(|(leave, _)| closed.includes(Factor::Closed(**leave)));
                counted.map(|(_, count)| count).sum()
            }
        }
    }
}

/// What the same clients cost at one rate of sampling, in turns with the others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// One sample in 2^this bytes; `None`: the profiler is off.
    pub lg_sample: Option<u8>,
    /// Whether every allocation was noted (dhat).
    pub exact: bool,
    /// Clients served.
    pub clients: u64,
    /// Processor time of the target for them, seconds.
    pub cpu_s: f64,
}

/// A program or library that the target has mapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// As the kernel names it.
    pub path: String,
    /// Its GNU build id in hexadecimal digits; `None`: it has none, or could not be read.
    pub build_id: Option<String>,
}

/// `heap/stacks.json`: the dumps, read and symbolised.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stacks {
    /// The version of the format.
    pub version: u32,
    /// What the target's profiler was, for people.
    pub instrument: String,
    /// The windows, as in `windows.json`.
    pub windows: Vec<StacksWindow>,
    /// What profiling cost, by rate.
    #[serde(default)]
    pub cost: Vec<Cost>,
    /// Every frame that occurs; stacks name them by their place here.
    pub frames: Vec<Frame>,
    /// What could not be read or symbolised, in words.
    pub notes: Vec<String>,
}

/// The stacks of one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StacksWindow {
    /// The unit that it is about.
    pub of: Unit,
    /// One sample in 2^this bytes; `None`: every allocation.
    pub lg_sample: Option<u8>,
    /// How long it was open, seconds.
    pub length_s: f64,
    /// Whether everybody was gone.
    pub quiet: bool,
    /// What the load did in it.
    pub given: Given,
    /// Who allocated what is live.
    pub stacks: Vec<Stack>,
}

/// What one way to an allocation left live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stack {
    /// Places in [`Stacks::frames`], the innermost first.
    pub frames: Vec<u32>,
    /// Blocks that were sampled: raw, not scaled. The k of every interval.
    pub blocks: u64,
    /// Bytes of these blocks: raw, not scaled.
    pub bytes: u64,
}

/// One frame; an inlined function is a frame of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Frame {
    /// The function, demangled and shortened; an address if nothing is known.
    pub function: String,
    /// The file: relative to the repository if it is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Whose code it is.
    pub place: Place,
}

/// Whose code a frame is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The repository's: what a reviewer can change.
    Own,
    /// A library's.
    #[default]
    Library,
    /// The language's standard library.
    Standard,
    /// The allocator's or the profiler's.
    Allocator,
    /// Nobody knows.
    Unknown,
}

impl Stacks {
    /// Reads `heap/stacks.json` of a run; `None` if nothing was profiled.
    ///
    /// # Errors
    /// The file cannot be read, is no such file, or was written by a later version.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, RecordingError> {
        let path = folder.join(files::STACKS);
        let Some(stacks): Option<Self> = read(&path)? else {
            return Ok(None);
        };
        if stacks.version > VERSION {
            let layout = stacks.version;
            return Err(RecordingError::TooNew { path, layout });
        }
        Ok(Some(stacks.sound()))
    }

    /// Writes `heap/stacks.json` of a run.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let path = folder.join(files::STACKS);
        let fresh = path.with_extension("part");
        serde_json::to_writer(io::BufWriter::new(File::create(&fresh)?), self)?;
        fs::rename(fresh, path)
    }

    /// Without frames that are not there: a damaged file must not panic anyone.
    fn sound(mut self) -> Self {
        let known = self.frames.len();
        let stacks = self
            .windows
            .iter_mut()
            .flat_map(|window| &mut window.stacks);
        for stack in stacks {
            stack.frames.retain(|frame| (*frame as usize) < known);
        }
        self
    }
}

impl Captured {
    /// Reads `heap/windows.json` of a run; `None` if nothing was profiled.
    ///
    /// # Errors
    /// The file cannot be read, or is no such file.
    pub fn read(folder: &Path) -> Result<Option<Self>, RecordingError> {
        read(&folder.join(files::WINDOWS))
    }
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>, RecordingError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|source| RecordingError::Unreadable {
            path: path.into(),
            source,
        })?,
    };
    let parsed = serde_json::from_reader(BufReader::new(file));
    parsed.map(Some).map_err(|source| RecordingError::NotJson {
        path: path.into(),
        source,
    })
}
