//! `manifest.json`: what was run, by whom, against what, and how it ended.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    plan::Stops,
    profile::{Forecast, Tolerances},
};

/// Version of the run directory's layout. Raised when a reader of the last version would misread.
pub const LAYOUT: u32 = 1;

/// What was run, and how it ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the run directory's layout.
    pub layout: u32,
    /// Version of sse-soak.
    pub version: String,
    /// The command line.
    pub command: Vec<String>,
    /// The profile's name.
    pub profile: String,
    /// SHA-256 of the profile's text.
    pub profile_sha256: String,
    /// Which kind of run.
    pub kind: String,
    /// What every random choice came from.
    pub seed: u64,
    /// Wall time at which the run's clock read zero, RFC 3339.
    pub started: String,
    /// The facts of the plan that a judge needs.
    pub plan: PlanFacts,
    /// The machine.
    pub host: serde_json::Value,
    /// The server under test.
    pub target: TargetFacts,
    /// How it ended; `None`: it was cut short.
    pub ended: Option<Ended>,
}

/// The facts of the plan that a judge needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlanFacts {
    /// The factors that were dosed.
    pub factors: Vec<String>,
    /// Priming cycles.
    pub priming: u32,
    /// Judged cycles.
    pub cycles: u32,
    /// Streams that stand during the whole run.
    pub standing: u32,
    /// How long a drain may take, seconds.
    pub drain_within_s: f64,
    /// Size of a control block, bytes.
    pub control_bytes: Option<u64>,
    /// What may stay without being a leak.
    #[serde(serialize_with = "tolerances", deserialize_with = "read_tolerances")]
    pub tolerances: Tolerances,
    /// How long the run may take at most, seconds.
    pub longest_s: f64,
    /// How a soak's rows are to be read; `None`: it is none.
    #[serde(default)]
    pub soak: Option<SoakFacts>,
    /// What a step load asked for; `None`: it is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<StepsFacts>,
    /// Where production stands, if the profile says so.
    #[serde(default)]
    pub forecast: Option<Forecast>,
    /// How an assay that was laid out as it went came by its length; `None`: it was planned beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptive: Option<AdaptiveFacts>,
}

/// How an assay that was laid out as it went came by its length. With the profile and the seed, it is what every cycle followed from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AdaptiveFacts {
    /// The time it was given, seconds.
    pub within_s: f64,
    /// Whether it was to end with the first leak that is found.
    pub stop_early: bool,
    /// What the pilot measured; `None`: it did not get so far.
    pub pilot: Option<PilotFacts>,
    /// How many times the profile's doses were given after the pilot.
    pub doses: u32,
    /// Cycles that the tolerance was thought to need, within what the time allows.
    pub planned_cycles: u32,
    /// After how many judged cycles it was looked at; the last one is the end. Every look spends its part of alpha.
    pub looks: Vec<u32>,
    /// What was said beforehand, and at every look.
    pub said: Vec<String>,
}

/// What a pilot measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PilotFacts {
    /// Judged cycles in it.
    pub cycles: u32,
    /// Length of a cycle, seconds.
    pub cycle_s: f64,
    /// When it was over, seconds since the run began.
    pub ended_s: f64,
    /// The signal that carries the verdict, by name.
    pub signal: String,
    /// By how much readings differ from cycle to cycle whatever is given: a standard deviation, bytes.
    pub noise_bytes: f64,
    /// What stays for a closed connection, whatever its way of leaving, bytes: part of it may be warm-up.
    pub kept_bytes_per_connection: f64,
    /// What an allocator that gives nothing back may hide, bytes.
    pub hidden_bytes: f64,
    /// Connections closed in a second of a dose.
    pub connections_per_s: f64,
    /// The most connections open in a dose.
    pub open_at_once: f64,
    /// The share of a core that the target was busy in doses; `None`: not known.
    pub cpu_share: Option<f64>,
    /// Units of each factor in a dose that gives it, by name.
    pub units: BTreeMap<String, f64>,
}

/// What a step load asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepsFacts {
    /// Users, step by step.
    pub users: Vec<u32>,
    /// How long a step is held, seconds.
    pub hold_s: f64,
    /// The pause after it, seconds.
    pub rest_s: f64,
    /// Of a closed loop: how long a user thinks between two conversations, seconds.
    pub think_s: Option<f64>,
    /// Of an open loop: how often a user begins, seconds.
    pub every_s: Option<f64>,
    /// What ends the run.
    pub stops: Stops,
    /// The target's own limit as the profile writes it, bytes; `None`: its control group's, if that has one.
    pub limit_bytes: Option<u64>,
}

/// How the rows of a soak are to be read.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct SoakFacts {
    /// Whether everybody had left before each reading.
    pub drained: bool,
    /// Units of every way of leaving and of sessions before the first row.
    pub cache_units: u32,
}

fn tolerances<S: serde::Serializer>(value: &Tolerances, output: S) -> Result<S::Ok, S::Error> {
    value.serialize(output)
}

fn read_tolerances<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Tolerances, D::Error> {
    Tolerances::deserialize(input)
}

/// The server under test.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TargetFacts {
    /// How it was started; empty when it ran already.
    pub argv: Vec<String>,
    /// The root of its process tree.
    pub pid: Option<u32>,
    /// Where it listens.
    pub url: String,
    /// What must be known of the way requests took: believed certificates, shared connections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What it said of itself before the first connection (allocator, defects, settings).
    pub status: Option<serde_json::Value>,
    /// What it said of itself at the end.
    pub status_at_end: Option<serde_json::Value>,
}

/// How a run ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// When, seconds on the run's clock.
    pub t_s: f64,
    /// `finished`, `interrupted`, `target-died`, `failed`.
    pub reason: String,
    /// In words.
    pub text: String,
}
