//! Profiles in the formats of other tools. Each is a function of the stacks alone; estimates are un-biased, per stack.
//!
//! Start at [`export`]. What a window holds *grew* in it, so there are no negative weights: viewers that refuse them take all of it.

mod dhat;
mod flamegraph;
mod folded;
mod pprof;
mod speedscope;

use std::{fs, io, path::Path};

use crate::{
    diagnose::allocations::estimate,
    record::{Frame, Place, Stack, Stacks, StacksWindow, files},
};

/// A format of another tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// `profile.pb.gz`: `go tool pprof`, Grafana, Parca, speedscope.
    Pprof,
    /// Folded stacks: flamegraph.pl, inferno, speedscope.
    Folded,
    /// speedscope's own.
    Speedscope,
    /// A page of its own, for any browser.
    Flamegraph,
    /// DHAT's JSON: dh_view, the Firefox Profiler.
    Dhat,
}

impl Export {
    /// Every format.
    pub const ALL: [Self; 5] = [
        Self::Pprof,
        Self::Folded,
        Self::Speedscope,
        Self::Flamegraph,
        Self::Dhat,
    ];

    /// The name of its file in `heap/`.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Pprof => "profile.pb.gz",
            Self::Folded => "profile.folded",
            Self::Speedscope => "profile.speedscope.json",
            Self::Flamegraph => "flamegraph.svg",
            Self::Dhat => "profile.dhat.json",
        }
    }
}

/// A profile in a format of another tool.
pub fn export(format: Export, stacks: &Stacks) -> Vec<u8> {
    match format {
        Export::Pprof => pprof::write(stacks),
        Export::Folded => folded::write(stacks).into_bytes(),
        Export::Speedscope => speedscope::write(stacks).into_bytes(),
        Export::Flamegraph => flamegraph::write(stacks).into_bytes(),
        Export::Dhat => dhat::write(stacks).into_bytes(),
    }
}

/// Writes every format into `heap/` of a run.
///
/// # Errors
/// A file cannot be written.
pub fn export_all(folder: &Path, stacks: &Stacks) -> io::Result<()> {
    for format in Export::ALL {
        fs::write(
            folder.join(files::HEAP).join(format.file()),
            export(format, stacks),
        )?;
    }
    Ok(())
}

/// A stack as viewers show it: from whoever asked for memory on, not what the allocator and the standard library did then; the
/// innermost first, with what it stands for.
struct Seen<'a> {
    frames: Vec<(u32, &'a Frame)>,
    bytes: u64,
    blocks: u64,
    bytes_per_thousand: u64,
}

fn seen<'a>(stacks: &'a Stacks, window: &'a StacksWindow) -> impl Iterator<Item = Seen<'a>> {
    let units = window.given.of(window.of.0).max(1) as f64;
    window.stacks.iter().map(move |stack: &Stack| {
        let (bytes, blocks) = estimate(stack, window.lg_sample);
        let known = stack
            .frames
            .iter()
            .filter_map(|id| Some((*id, stacks.frames.get(*id as usize)?)));
        let all: Vec<_> = known.collect();
        let folded =
            |(_, frame): &&(u32, &Frame)| matches!(frame.place, Place::Allocator | Place::Standard);
        let inner = all.iter().take_while(folded).count() % all.len().max(1);
        Seen {
            frames: all[inner..].to_vec(),
            bytes: count(bytes),
            blocks: count(blocks),
            bytes_per_thousand: count(bytes * 1000.0 / units),
        }
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from float saturates, and amounts are not negative"
)]
fn count(value: f64) -> u64 {
    value.round() as u64
}
