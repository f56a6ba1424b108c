//! An assay, as a profile writes it: cycles of randomised doses.

use std::{collections::BTreeMap, ops::Range};

use serde::Deserialize;
use toml::Spanned;

use super::manners::{NetworkSpec, ReconnectSpec};
use crate::units::{ByteSize, Leave, Period};

/// Cycles of dose, drain, probe, settle, read, with every factor on in a random part of them (the method, §3).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Assay {
    /// Judged cycles.
    pub cycles: Spanned<u32>,
    /// Cycles before them with everything on, thrown away: no legitimate cache is larger than what they deliver.
    #[serde(default = "three")]
    pub priming: u32,
    /// Length of a dose.
    pub dose: Period,
    /// How long the target may take to forget who left: a little longer than its session TTL and its idle reaping.
    pub drain_within: Period,
    /// Drain at least this long, even when every count is back.
    #[serde(default)]
    pub drain_at_least: Option<Period>,
    /// Quiet time between the probe and the reading.
    pub settle: Period,
    /// Length of the reading.
    pub read: Period,
    /// Stretches without any load.
    #[serde(default)]
    pub rests: Option<Rests>,
    /// The same peak before every reading.
    pub probe: Probe,
    /// Streams and sessions held during the whole run.
    #[serde(default)]
    pub standing: Option<Standing>,
    /// What is dosed.
    pub doses: Doses,
}

/// How long nothing happens, and when.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rests {
    /// Before the first cycle.
    pub first: Period,
    /// After priming.
    pub primed: Period,
    /// At half time.
    pub middle: Period,
    /// At the end.
    pub last: Period,
}

/// The highest concurrency of every cycle: `connections + step · cycle` at once, held, then closed by FIN.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Probe {
    /// What they say.
    pub script: Spanned<String>,
    /// How many in cycle 0.
    pub connections: u32,
    /// How many more in each later cycle: it keeps renewing the high-water mark.
    pub step: u32,
    /// How long they are held.
    pub hold: Period,
}

/// Streams and sessions that stay for the whole run. Turns are taken in their sessions.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Standing {
    /// What they say.
    pub script: Spanned<String>,
    /// How many.
    pub connections: u32,
    /// Comes back when the server ends its stream: `reconnect = {}` is a browser's way.
    #[serde(default)]
    pub reconnect: Option<ReconnectSpec>,
    /// The line that it is connected by.
    #[serde(default)]
    pub network: Option<NetworkSpec>,
}

/// How much of each factor a cycle gives when the factor is on.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Doses {
    /// Connections closed, by leave mode: `[run.assay.doses.closed.fin]`.
    pub closed: BTreeMap<Leave, ClosedDose>,
    /// Sessions made and left to the server.
    pub session: Option<SessionDose>,
    /// Turns in standing sessions.
    pub turn: Option<TurnDose>,
    /// Events beyond those that connections get anyway.
    pub event: Option<EventDose>,
    /// Blocks that the target retains on purpose: what must be found.
    pub control: Option<ControlDose>,
}

/// Connections closed in one way.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClosedDose {
    /// What they say.
    pub script: Spanned<String>,
    /// How many.
    pub connections: u32,
    /// How long each one stays after its first event. Not for `complete` (to the end) and `stall` (to the end of the dose).
    #[serde(default)]
    pub stay: Option<Period>,
    /// Comes back when the server ends its stream: `reconnect = {}` is a browser's way.
    #[serde(default)]
    pub reconnect: Option<ReconnectSpec>,
    /// The line that it is connected by.
    #[serde(default)]
    pub network: Option<NetworkSpec>,
}

/// Sessions made.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SessionDose {
    /// What they say; its answer is read to the end.
    pub script: Spanned<String>,
    /// How many.
    pub sessions: u32,
}

/// Turns taken.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TurnDose {
    /// What they say; its answer is read to the end.
    pub script: Spanned<String>,
    /// How many.
    pub turns: u32,
}

/// Events delivered.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EventDose {
    /// What they say: a fast stream, left by FIN at the end of the dose.
    pub script: Spanned<String>,
    /// How many streams.
    pub streams: u32,
    /// Comes back when the server ends its stream: `reconnect = {}` is a browser's way.
    #[serde(default)]
    pub reconnect: Option<ReconnectSpec>,
    /// The line that it is connected by.
    #[serde(default)]
    pub network: Option<NetworkSpec>,
}

/// Blocks retained on purpose.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ControlDose {
    /// Size of a block.
    pub bytes: ByteSize,
    /// How many.
    pub blocks: u32,
}

const fn three() -> u32 {
    3
}

impl Assay {
    /// Every script that is named.
    pub(super) fn scripts(&self) -> impl Iterator<Item = &Spanned<String>> {
        let doses = &self.doses;
        [&self.probe.script]
            .into_iter()
            .chain(self.standing.iter().map(|standing| &standing.script))
            .chain(doses.closed.values().map(|dose| &dose.script))
            .chain(doses.session.iter().map(|dose| &dose.script))
            .chain(doses.turn.iter().map(|dose| &dose.script))
            .chain(doses.event.iter().map(|dose| &dose.script))
    }

    pub(super) fn contradiction(&self) -> Option<(Range<usize>, String)> {
        let few = 6;
        if *self.cycles.get_ref() < few {
            return Some((
                self.cycles.span(),
                format!(
                    "an assay needs at least {few} cycles to say anything; 24 for a sharp answer"
                ),
            ));
        }
        if let (Some(turn), None) = (&self.doses.turn, &self.standing) {
            let message = "turns are taken in standing sessions: add `[run.assay.standing]`".into();
            return Some((turn.script.span(), message));
        }
        None
    }
}
