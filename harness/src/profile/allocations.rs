//! Allocation profiles, as a profile writes them: which instrument, of which units, how many of each.

use serde::{Deserialize, Serialize};

use super::forecast::Unit;
use crate::units::Period;

/// Which lines keep what: windows of the target's own allocation profiler, after the judged part of the run.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Allocations {
    /// What the target's profiler is.
    #[serde(default)]
    pub instrument: Instrument,
    /// Units in each window: connections, sessions, turns. Events come as fast as the profile's event script gives them.
    #[serde(default = "twenty_thousand")]
    pub connections: u32,
    /// How long all windows together may take; they share it evenly.
    #[serde(default = "three_minutes")]
    pub within: Period,
    /// Only these ways of leaving, `session`, `turn`, `event`; if not given, everything that the profile doses.
    #[serde(default)]
    pub of: Vec<Unit>,
    /// One sample in 2^this bytes; if not given, chosen for each window after a first look at what it leaves.
    #[serde(default)]
    pub lg_sample: Option<u8>,
}

/// The target's profiler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Instrument {
    /// Nothing is profiled.
    #[default]
    None,
    /// Samples by jemalloc, in heap_v2.
    Jemalloc,
    /// Every allocation, by dhat.
    Dhat,
}

impl Instrument {
    /// The name used in files and flags.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Jemalloc => "jemalloc",
            Self::Dhat => "dhat",
        }
    }
}

impl Default for Allocations {
    fn default() -> Self {
        Self {
            instrument: Instrument::None,
            connections: twenty_thousand(),
            within: three_minutes(),
            of: vec![],
            lg_sample: None,
        }
    }
}

const fn twenty_thousand() -> u32 {
    20_000
}

fn three_minutes() -> Period {
    Period::new(std::time::Duration::from_secs(180)).expect("it is not zero")
}
