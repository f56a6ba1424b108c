//! A soak, as a profile writes it: hours of blocks at realistic rates, judged as they pass (the method, §9).

use std::{collections::BTreeMap, ops::Range, time::Duration};

use serde::Deserialize;
use toml::Spanned;

use super::{
    ControlDose, EventDose, NetworkSpec, Probe, ReconnectSpec, Rests, Standing, TargetSpec,
};
use crate::units::{Leave, PerSecond, Period};

/// Blocks that a look needs before it says anything (the method, §8), with the one that they count from.
const LEAST_BLOCKS: u32 = 13;

/// A plan is a value in memory, and a regression of thousands of rows is no sharper than one of hundreds.
const MOST_BLOCKS: u32 = 4096;

/// The least share of a block that must be load.
const LEAST_LOAD: f64 = 0.25;

/// Blocks of load at a level drawn anew, with every factor's rate on or off by balanced random halves (the method, §9).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Soak {
    /// Length of the whole soak, priming included: `"24h"`.
    pub length: Spanned<Period>,
    /// Length of a block.
    #[serde(default = "five_minutes")]
    pub block: Period,
    /// Blocks before the judged ones, with everything on.
    #[serde(default = "two")]
    pub priming: u32,
    /// The same peak in every block, above any level of the population.
    pub probe: Spanned<Probe>,
    /// Streams that stay for a block.
    pub population: Population,
    /// What comes and goes beside them.
    pub rates: Rates,
    /// Everybody leaves before a reading: sharper, and the default where the target can be asked to tidy up.
    #[serde(default)]
    pub drain_to_read: Option<bool>,
    /// How long the target may take to forget who left: a little longer than its session TTL and its idle reaping.
    pub drain_within: Period,
    /// Drain at least this long, even when every count is back.
    #[serde(default)]
    pub drain_at_least: Option<Period>,
    /// Quiet time between the probe and a drained reading.
    #[serde(default = "four_seconds")]
    pub settle: Period,
    /// Length of a reading; if not given, 4 s drained and 60 s under load.
    #[serde(default)]
    pub read: Option<Period>,
    /// Rows count from when every way of leaving and the sessions have delivered so many units: no legitimate cache is larger.
    #[serde(default = "five_thousand")]
    pub cache_units: u32,
    /// Stretches without any load.
    #[serde(default)]
    pub rests: Option<Rests>,
    /// Streams and sessions held during the whole run.
    #[serde(default)]
    pub standing: Option<Standing>,
}

/// Streams that stay for a block and leave by FIN; how many is drawn anew for each block.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Population {
    /// What they say.
    pub script: Spanned<String>,
    /// The levels that are drawn from, in equal parts: `[150, 300, 450]`.
    pub live: Spanned<Vec<u32>>,
    /// They come back when their stream ends before the block does.
    #[serde(default)]
    pub reconnect: Option<ReconnectSpec>,
    /// The line that they are connected by.
    #[serde(default)]
    pub network: Option<NetworkSpec>,
}

/// How much of each factor a second of load gives when the factor is on.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Rates {
    /// Connections closed, by leave mode: `closed.fin = { script = "feed", per-second = 2 }`.
    pub closed: BTreeMap<Leave, ClosedRate>,
    /// Sessions made and left to the server.
    pub session: Option<Rate>,
    /// Turns in standing sessions.
    pub turn: Option<Rate>,
    /// Events beyond those that connections get anyway: fast streams for the whole block.
    pub event: Option<EventDose>,
    /// Blocks that the target retains on purpose, once a block in which this is on: what must be found.
    pub control: Option<ControlDose>,
}

/// Connections closed in one way.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClosedRate {
    /// What they say.
    pub script: Spanned<String>,
    /// How many a second.
    pub per_second: PerSecond,
    /// How long each one stays after its first event. Not for `complete` (to the end) and `stall` (to the end of the block).
    #[serde(default)]
    pub stay: Option<Period>,
}

/// Something done to its end, so often.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rate {
    /// What they say; its answer is read to the end.
    pub script: Spanned<String>,
    /// How many a second.
    pub per_second: PerSecond,
}

fn period(seconds: u64) -> Period {
    Period::new(Duration::from_secs(seconds)).expect("no default is zero")
}

fn five_minutes() -> Period {
    period(300)
}

fn four_seconds() -> Period {
    period(4)
}

const fn two() -> u32 {
    2
}

const fn five_thousand() -> u32 {
    5000
}

impl Soak {
    /// Every script that is named.
    pub(super) fn scripts(&self) -> impl Iterator<Item = &Spanned<String>> {
        let rates = &self.rates;
        [&self.probe.get_ref().script, &self.population.script]
            .into_iter()
            .chain(self.standing.iter().map(|standing| &standing.script))
            .chain(rates.closed.values().map(|rate| &rate.script))
            .chain(rates.session.iter().map(|rate| &rate.script))
            .chain(rates.turn.iter().map(|rate| &rate.script))
            .chain(rates.event.iter().map(|rate| &rate.script))
    }

    /// Whether everybody leaves before a reading.
    pub fn is_drained(&self, target: &TargetSpec) -> bool {
        self.drain_to_read
            .unwrap_or(target.admin.is_some() || target.ready_file.is_some())
    }

    /// Length of a reading.
    pub fn read(&self, target: &TargetSpec) -> Duration {
        let usual = if self.is_drained(target) { 4 } else { 60 };
        self.read.map_or(Duration::from_secs(usual), Period::get)
    }

    /// What a block leaves for load, beside probe, reading and, before a drained reading, drain and settling.
    pub fn load(&self, target: &TargetSpec) -> Duration {
        let quiet = if self.is_drained(target) {
            self.drain_within.get() + self.settle.get()
        } else {
            Duration::ZERO
        };
        let beside = self.probe.get_ref().hold.get() + self.read(target) + quiet;
        self.block.get().saturating_sub(beside)
    }

    /// How many blocks there are, priming included.
    pub fn blocks(&self) -> u32 {
        let blocks = self.length.get_ref().get().as_nanos() / self.block.get().as_nanos();
        u32::try_from(blocks).unwrap_or(u32::MAX)
    }

    pub(super) fn contradiction(&self, target: &TargetSpec) -> Option<(Range<usize>, String)> {
        let (blocks, least) = (self.blocks(), self.priming.saturating_add(LEAST_BLOCKS));
        if !(least..=MOST_BLOCKS).contains(&blocks) {
            let message = format!(
                "this is {blocks} blocks of {}; a soak has {least} to {MOST_BLOCKS}: change `length` or `block`",
                self.block
            );
            return Some((self.length.span(), message));
        }
        if self.load(target) < self.block.get().mul_f64(LEAST_LOAD) {
            let message = format!(
                "a block of {} leaves {} for load beside probe, drain, settling and reading: make `block` longer",
                self.block,
                humantime::format_duration(self.load(target))
            );
            return Some((self.length.span(), message));
        }
        let levels = self.population.live.get_ref();
        let Some(highest) = levels.iter().max() else {
            let message =
                "`live` is empty: write the levels that are drawn from, `[150, 300, 450]`";
            return Some((self.population.live.span(), message.into()));
        };
        if self.probe.get_ref().connections <= *highest {
            let message = format!(
                "the probe must be above every level of the population: more than {highest} connections"
            );
            return Some((self.probe.span(), message));
        }
        if let Some(slow) = self.never_judged(target) {
            return Some(slow);
        }
        let turn = self
            .rates
            .turn
            .as_ref()
            .filter(|_| self.standing.is_none())?;
        let message = "turns are taken in standing sessions: add `[run.soak.standing]`";
        Some((turn.script.span(), message.into()))
    }

    /// The judge waits for `cache-units` of every way of leaving and of sessions before its first look: a rate that never gets there, or only
    /// when the soak is nearly over, would make hours of nothing.
    fn never_judged(&self, target: &TargetSpec) -> Option<(Range<usize>, String)> {
        let rates = &self.rates;
        let closed = rates.closed.iter();
        let closed =
            closed.map(|(leave, rate)| (leave.name(), rate.script.span(), rate.per_second));
        let session = rates.session.iter();
        let session = session.map(|rate| ("session", rate.script.span(), rate.per_second));
        let on = self.blocks().saturating_sub(LEAST_BLOCKS) / 2;
        let given = |rate: PerSecond| u64::from(rate.count_in(self.load(target))) * u64::from(on);
        let (name, span, rate) = closed
            .chain(session)
            .find(|(_, _, rate)| given(*rate) < u64::from(self.cache_units))?;
        let message = format!(
            "in the blocks that are not left to the first look this rate gives about {} of `{name}`, and the judge does not look before there were {} of each (`cache-units`, what a cache of the target may hold): raise it, make `length` longer, or lower `cache-units`",
            given(rate),
            self.cache_units
        );
        Some((span, message))
    }
}
