//! The planted leaks: values handed in at seams, off by default, each with its ground truth in bytes per unit.
//!
//! One file per leak goes here. [`Defects`] is what `--defect NAME[=every:N]` (repeatable) adds up to; the honest server holds
//! [`Defects::default`] and reads as if this folder were empty. [`NAMES`] is the closed list; an unknown name is refused with it.
//! What a leak took is reported by [`Defects::report`] in `GET /v1/status`.
//!
//! # Seams
//!
//! | leak | where its value goes |
//! |---|---|
//! | session never expires; kept on disconnect | `Sessions::sweep`, `Visit`'s drop |
//! | history unbounded; replay log per event | `sessions::Session::remember`, `Session::next_event` (both end in `trim`) |
//! | sender kept in the registry; reference cycle | `stream::open` (has the session, the feeder and the body in hand) |
//! | generator outlives its client; zombie producer | `stream::queue::Feeder::wait_until` and `Feeder::send`, the two places that notice the client left |
//! | unbounded queue behind a stalled reader | `stream::queue::Feeder::send`, the full-queue branch |
//! | timer per connection; CLOSE_WAIT (`half_close`) | `listener::serve_connection` |
//! | leak on RST only; on early leave only | `stream::body::EventBody`'s drop: knows `Peer::left` and the events delivered |
//! | label per client in metrics | `instruments::metrics::Metrics`, at `stream::open` |
//! | leak per tick of time; caches; fragmentation | the sweeper's loop in `crate::sweep` (time), `routes::chat` (work) |

use std::num::NonZeroU32;

use serde::Serialize;

use crate::config::DefectSpec;

/// Every name `--defect` accepts.
pub const NAMES: &[&str] = &[];

/// The allowed names as a sentence part.
pub fn allowed() -> String {
    if NAMES.is_empty() {
        "none in this build".into()
    } else {
        NAMES.join(", ")
    }
}

/// A defect that is not on the list, or a rate that is not one.
#[derive(Debug, thiserror::Error)]
#[error("--defect {given}: {why}; the defects are: {}", allowed())]
pub struct UnknownDefect {
    given: String,
    why: &'static str,
}

/// One planted leak and how often it strikes: one in `every`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planted {
    /// One of [`NAMES`].
    pub name: &'static str,
    /// `1` strikes every time.
    pub every: NonZeroU32,
}

/// The planted leaks of this run. Honest when empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defects {
    planted: Vec<Planted>,
}

/// The ground truth of one planted leak, for `GET /v1/status`.
#[derive(Clone, Debug, Serialize)]
pub struct Truth {
    /// One of [`NAMES`].
    pub name: &'static str,
    /// What it follows: `session`, `event`, `fin`, ….
    pub unit: &'static str,
    /// Bytes the allocator keeps per unit, when that is a constant.
    pub bytes_per_unit: Option<u64>,
    /// How many units struck so far.
    pub units_total: u64,
    /// One sentence.
    pub text: &'static str,
}

impl Defects {
    /// Reads what was asked for.
    ///
    /// # Errors
    /// Names the part that is unknown and lists what is allowed.
    pub fn parse(specs: &[DefectSpec]) -> Result<Self, UnknownDefect> {
        specs
            .iter()
            .map(|spec| one(&spec.0))
            .collect::<Result<_, _>>()
            .map(|planted| Self { planted })
    }

    /// The planted leaks in the order given.
    pub fn planted(&self) -> &[Planted] {
        &self.planted
    }

    /// What each has taken so far.
    pub fn report(&self) -> Vec<Truth> {
        Vec::new()
    }
}

fn one(text: &str) -> Result<Planted, UnknownDefect> {
    let refuse = |why| UnknownDefect {
        given: text.to_owned(),
        why,
    };
    let (name, rate) = match text.split_once('=') {
        Some((name, rate)) => (name, Some(rate)),
        None => (text, None),
    };
    let name = NAMES
        .iter()
        .find(|known| **known == name)
        .ok_or_else(|| refuse("unknown name"))?;
    let every = match rate {
        None => NonZeroU32::MIN,
        Some(rate) => rate
            .strip_prefix("every:")
            .and_then(|n| n.parse().ok())
            .ok_or_else(|| refuse("a rate is written every:N with N at least 1"))?,
    };
    Ok(Planted { name, every })
}
